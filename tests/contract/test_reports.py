"""Reports, whole and broken: what is read of them, what never gets out of them, and that none of them is a crash."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.types import Outcome, Parsed
from tasks.scanners.kingfisher import KINGFISHER
from tests.contract import samples

_MEGABYTES = 50
#: Where each report lists what was found or not read, in the tool's own order.
_LISTS = {
    "kingfisher": (("findings",),),
    "bandit": (("results",), ("errors",)),
    "checkov": (("report", "checks"), ("report", "unparsed")),
    **dict.fromkeys(("zizmor", "hadolint", "cfn-lint"), (("findings",), ("read",), ("others",), ("unparsed",))),
    "gitleaks": ((),),
    "trivy": (("Results",),),
    "osv-scanner": (("results",),),
    "grype": (("matches",),),
    "syft": (("artifacts",),),
    "gosec": (("Issues",),),
    "brakeman": (("warnings",), ("errors",)),
    "dependency-check": (("dependencies",),),
}
#: A field in which two entries can differ that are the same otherwise: (list, path in the entry, another value).
_TWINS = {
    "kingfisher": (("findings",), ("finding", "confidence"), "low"),
    "bandit": (("errors",), ("reason",), "exception while scanning file"),
    "checkov": (("report", "checks"), ("guideline",), "https://example.invalid/guideline"),
    **dict.fromkeys(("zizmor", "hadolint", "cfn-lint"), (("findings",), ("severity",), "another")),
    "gitleaks": ((), ("EndLine",), 7),
    "trivy": (("Results",), ("Class",), "custom"),
    "osv-scanner": (("results",), ("source", "type"), "sbom"),
    "grype": (("matches",), ("vulnerability", "severity"), "Low"),
    "syft": (("artifacts",), ("type",), "another"),
    "gosec": (("Issues",), ("column",), "99"),
    "brakeman": (("warnings",), ("confidence",), "Weak"),
    "dependency-check": (("dependencies",), ("fileName",), "another"),
}
#: Where each report quotes what stands in a file.
_QUOTES = {
    "kingfisher": [
        lambda d, v: d["findings"][0]["finding"].update(snippet=v),
        lambda d, v: d["findings"][0]["finding"].update(validate_command=f"kingfisher validate '{v}'"),
        lambda d, v: d["findings"][0]["finding"]["validation"].update(response=v),
    ],
    "bandit": [
        *(
            lambda d, v, rule=rule: d["results"][0].update(
                test_id=rule, issue_text=f"Possible hardcoded password: '{v}'", code=f"1 {v}\n"
            )
            for rule in ("B105", "B106", "B107")
        ),
        lambda d, v: d["errors"][0].update(reason=f"cannot parse {v}"),
    ],
    # The server passes no source on; what else stands in its answer is dropped.
    "checkov": [
        lambda d, v: d["report"]["checks"][0].update(code_block=v),
        lambda d, v: d["report"].update(log=v),
        lambda d, v: d.update(ok=False, error=f"ValueError: {v}"),
    ],
    **dict.fromkeys(
        ("zizmor", "hadolint", "cfn-lint"),
        (
            lambda d, v: d["findings"][0].update(title=f"it says '{v}'"),
            lambda d, v: d["findings"][0].update(snippet=v),
            lambda d, v: d["unparsed"].append({"path": d["read"][0], "reason": f"cannot parse {v}"}),
        ),
    ),
    "gitleaks": [
        lambda d, v: d[0].update(Secret=v, Match=f"token = {v}"),
        lambda d, v: d[0].update(Fingerprint=v, Message=v, Author=v, Description=v),
    ],
    "trivy": [
        lambda d, v: _failed_check(d).update(Message=v, Traces=[v]),
        lambda d, v: _failed_check(d)["CauseMetadata"].update(Code={"Lines": [{"Content": v}]}),
        lambda d, v: d["Results"][0].update(Secrets=[{"Match": v}]),
    ],
    "osv-scanner": [lambda d, v: d["results"][0]["packages"][0]["vulnerabilities"][0].update(details=v)],
    "grype": [
        lambda d, v: d["matches"][0]["artifact"].update(metadata={"resolved": v}, licenses=[v]),
        lambda d, v: d["matches"][0].update(matchDetails=[{"searchedBy": v}]),
    ],
    "syft": [lambda d, v: d["artifacts"][0].update(metadata={"resolved": v}, licenses=[{"contents": v}])],
    "gosec": [
        lambda d, v: d["Issues"][0].update(code=v, autofix=v, details=f"a credential: '{v}'"),
        lambda d, v: d["Golang errors"]["/sample/broken.go"][0].update(error=v),
    ],
    "brakeman": [
        lambda d, v: d["warnings"][0].update(code=v, message=v, user_input=v),
        lambda d, v: d["errors"][0].update(error=f"/sample/app/models/broken.rb:1 :: {v}", location=v),
    ],
    "dependency-check": [
        lambda d, v: d["dependencies"][0].update(description=v, license=v, evidenceCollected={"x": [{"value": v}]}),
        lambda d, v: d["dependencies"][0]["vulnerabilities"][0].update(description=v, notes=v),
    ],
}
#: Their programs pass no source on, so their recorded reports hold no value.
_QUOTE_NOTHING = {"checkov", "zizmor", "cfn-lint"}
#: Those whose reports name each file once (see ``tasks.scanners.filewise``).
_FILEWISE = {"zizmor", "hadolint", "cfn-lint"}
#: Where a report names the file of a finding.
_PLACE = {
    "kingfisher": ("finding", "path"),
    "bandit": ("filename",),
    "checkov": ("path",),
    "gitleaks": ("File",),
    "trivy": ("Target",),
    "osv-scanner": ("source", "path"),
    "grype": ("artifact", "locations", 0, "path"),
    "syft": ("locations", 0, "path"),
    "gosec": ("file",),
    "brakeman": ("file",),
    "dependency-check": ("filePath",),
    **dict.fromkeys(("zizmor", "hadolint", "cfn-lint", "semgrep"), ("path",)),
}


def _failed_check(document):
    """The first check of trivy's report."""
    return next(r["Misconfigurations"][0] for r in document["Results"] if "Misconfigurations" in r)


def _at(document, path):
    for step in path:
        document = document[step]
    return document


def _strings(node):
    """Every string of a document, keys included."""
    found = []
    samples.everywhere(node, lambda text: found.append(text) or text)
    return found


def _judged(scanner, stdout, target):
    """Mask and parse: a Parsed, or None for a ScanGapError. Any other exception is a failure of the test."""
    gap = None
    try:
        return _storable(samples.judge(scanner, stdout, target))
    except ScanGapError as e:
        gap = e
    assert gap.reason_code in {"report_invalid", "report_empty", "tool_error"}
    assert len(gap.detail) < 300
    return None


def _storable(parsed):
    """What the lake's columns can hold: text in UTF-8 and numbers of 32 bits."""
    assert isinstance(parsed, Parsed)
    assert parsed.outcome in {Outcome.OK, Outcome.PARTIAL, Outcome.FAILED}
    assert (parsed.outcome is Outcome.FAILED) == (parsed.reason_code is not None)
    for row in (*samples.golden_observations(parsed), *samples.golden_gaps(parsed)):
        json.dumps(row, ensure_ascii=False).encode("utf-8")
        assert row.get("line_start") is None or 0 < row["line_start"] < 2**31
        assert row.get("line_end") is None or 0 < row["line_end"] < 2**31
    return parsed


# -- whole reports -----------------------------------------------------------------------------------------------


def test_recorded_report_gives_the_golden_rows(scanner, target):
    parsed = samples.judge(scanner, samples.as_output(samples.recorded(scanner.name)), target)
    assert samples.golden_observations(parsed) == samples.golden(scanner.name, "observations")
    gaps = samples.golden(scanner.name, "gaps")
    assert samples.golden_gaps(parsed) == gaps
    assert parsed.outcome == (Outcome.PARTIAL if gaps else Outcome.OK)


def test_what_follows_a_report_is_not_read(scanner, target):
    whole = samples.as_output(samples.recorded(scanner.name))
    again = samples.judge(scanner, b"\n " + whole + b"\nthat was all\n{}", target)
    assert again == samples.judge(scanner, whole, target)


@settings(max_examples=30)
@given(random=st.randoms(use_true_random=False))
def test_order_of_a_report_does_not_matter(scanner, target, random):
    document = samples.recorded(scanner.name)
    where, field, other = _TWINS[scanner.name]
    for entry in list(_at(document, where)):
        twin = copy.deepcopy(entry)
        _at(twin, field[:-1])[field[-1]] = other
        _at(document, where).append(twin)
    first = scanner.mask(samples.as_output(document), samples.stderr(scanner.name), samples.KEY)
    for path in _LISTS[scanner.name]:
        random.shuffle(_at(document, path))
    if isinstance(document, dict):
        document = dict(reversed(document.items()))
    second = scanner.mask(samples.as_output(document), samples.stderr(scanner.name), samples.KEY)
    assert second == first
    assert samples.parse_masked(scanner, second, target) == samples.parse_masked(scanner, first, target)


def _noises(scanner):
    said = samples.stderr(scanner.name)
    return [said, said + b"warning: noise on stderr\n", b"\xff\0\n" + said]


def test_masked_report_is_stable(scanner, target):
    stdout = samples.as_output(samples.recorded(scanner.name))
    bodies = {scanner.mask(stdout, noise, samples.KEY) for noise in _noises(scanner)}
    assert len(bodies) == 1
    body = bodies.pop()
    parsed = samples.parse_masked(scanner, body, target)
    assert parsed == samples.parse_masked(scanner, body, target)
    assert len({o.occurrence_uid for o in parsed.observations}) == len(parsed.observations)


# -- values ------------------------------------------------------------------------------------------------------


def _assert_silent(value, texts):
    """No piece of eight characters of the value stands in the texts."""
    for start in range(len(value) - 7):
        piece = value[start : start + 8]
        assert not any(piece in text for text in texts), "a piece of a value got out"


def _said(scanner, document, target):
    """Everything that mask and parse let out about a report: the kept body, rows, gaps, or the error."""
    try:
        body = scanner.mask(samples.as_output(document), samples.stderr(scanner.name), samples.KEY)
        parsed = samples.parse_masked(scanner, body, target)
    except ScanGapError as e:
        return [str(e), repr(e), e.detail, *map(str, e.args)]
    rows = [samples.golden_observations(parsed), samples.golden_gaps(parsed), parsed.detail]
    return [body.decode(), *_strings(json.loads(body)), *_strings(rows), repr(parsed)]


def test_no_piece_of_a_recorded_value_is_kept(scanner, target):
    document = samples.recorded(scanner.name)
    if scanner.name not in _QUOTE_NOTHING:
        _, first = samples.tokens(scanner.name).popitem()
        assert any(first in text for text in _strings(document)), "the recorded report holds no value to be masked"
    texts = _said(scanner, document, target)
    for value in samples.secrets(scanner.name):
        _assert_silent(value, texts)


#: Characters that no text of a report holds eight in a row of: quotation marks, line ends, non-ASCII, control.
_VALUES = st.text("QZJ'\"`\n\r\0\t\\{}é中🔑\u202e\u2028\ud800", min_size=8, max_size=60)


@settings(max_examples=150)
@given(value=_VALUES, data=st.data())
@example(value="""QZ'QZ"QZ`QZ'QZ, 'QZJ'""", data=None)
@example(value="QZJQZJQZJ\nJZQJZQJZQ\r\n'\"QZJQZJQZJ", data=None)
@example(value="'''''''''", data=None)
def test_no_piece_of_any_value_is_kept(scanner, target, value, data):
    for quote in _QUOTES[scanner.name]:
        document = samples.recorded(scanner.name)
        if data is not None and _LISTS[scanner.name]:
            entries = _at(document, _LISTS[scanner.name][0])
            entries.insert(0, entries.pop(data.draw(st.integers(0, len(entries) - 1))))
        quote(document, value)
        _assert_silent(value, _said(scanner, document, target))


def test_error_about_a_broken_report_quotes_nothing_of_it(scanner, target):
    whole = samples.as_output(samples.recorded(scanner.name))
    values = samples.secrets(scanner.name)
    for cut in range(0, len(whole), max(1, len(whole) // 60)):
        with pytest.raises(ScanGapError) as caught:
            samples.judge(scanner, whole[:cut], target)
        for value in values:
            _assert_silent(value, [str(caught.value), repr(caught.value)])


# -- broken reports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stdout", [b"", b" \n\t ", b"\r\n" * 1000])
def test_empty_report_is_no_report(scanner, target, stdout):
    with pytest.raises(ScanGapError) as caught:
        samples.judge(scanner, stdout, target)
    assert caught.value.reason_code == "report_empty"


@settings(max_examples=100)
@given(share=st.floats(0, 1, exclude_max=True))
def test_report_that_was_cut_is_no_report(scanner, target, share):
    whole = samples.as_output(samples.recorded(scanner.name))
    with pytest.raises(ScanGapError):
        samples.judge(scanner, whole[: int(len(whole) * share)], target)


@settings(max_examples=200)
@given(stdout=st.binary(max_size=200) | st.text(max_size=100).map(lambda t: t.encode("utf-8", "surrogatepass")))
@example(stdout=b"\0" * 1000)
@example(stdout=b"null")
@example(stdout=b"[]")
@example(stdout=b"{}")
@example(stdout=b"\xef\xbb\xbf{}")
@example(stdout=b'{"ok": true, "report": null}')
@example(stdout=b"9" * 10_000)
@example(stdout=b"Traceback (most recent call last):\n  ...\nMemoryError")
def test_what_is_no_report_is_a_gap(scanner, target, stdout):
    if scanner.name == "gitleaks" and stdout.lstrip().startswith(b"[]"):
        return  # a list without a hit: what it read, it says beside it
    with pytest.raises(ScanGapError):
        samples.judge(scanner, stdout, target)


#: Instead of a node: each kind of JSON, and numbers and texts that Python reads but no column holds.
_INSTEAD = [None, True, -1, 0, 10**30, 1.5, float("inf"), float("nan"), "", "x", "\ud800", "\0", [], [None], [[1]], {}]
_INSTEAD += [{"x": 1}, "x" * 10_000, "7"]
_REMOVE = object()


def _places(node, path=()):
    """Every node of a document but the root."""
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for step, child in inner:
        yield (*path, step)
        yield from _places(child, (*path, step))


def _with(document, path, new):
    changed = copy.deepcopy(document)
    parent = _at(changed, path[:-1])
    if new is _REMOVE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = new
    return changed


def _kinds_of_places(document):
    """The first node of each kind: the same place in another entry of a list is no other kind."""
    first = {}
    for path in _places(document):
        first.setdefault(tuple(0 if isinstance(step, int) else step for step in path), path)
    return list(first.values())


def test_no_kind_of_wrong_node_is_a_crash(scanner, target):
    document = samples.recorded(scanner.name)
    refused = 0
    for path in _kinds_of_places(document):
        for new in (*_INSTEAD, _REMOVE):
            refused += _judged(scanner, samples.as_output(_with(document, path, new)), target) is None
    assert refused > 50, "hardly any form is looked at"


@settings(max_examples=150)
@given(data=st.data(), new=st.sampled_from([*_INSTEAD, _REMOVE]))
def test_report_with_a_wrong_node_is_never_a_crash(scanner, target, data, new):
    document = samples.recorded(scanner.name)
    path = data.draw(st.sampled_from(list(_places(document))))
    _judged(scanner, samples.as_output(_with(document, path, new)), target)


@settings(max_examples=150)
@given(data=st.data(), new=st.sampled_from([*_INSTEAD, _REMOVE]))
def test_kept_report_with_a_wrong_node_is_never_a_crash(scanner, target, data, new):
    document = json.loads(
        scanner.mask(samples.as_output(samples.recorded(scanner.name)), samples.stderr(scanner.name), samples.KEY)
    )
    path = data.draw(st.sampled_from(list(_places(document))))
    reason = None
    try:
        assert isinstance(samples.parse_masked(scanner, samples.as_output(_with(document, path, new)), target), Parsed)
    except ScanGapError as e:
        reason = e.reason_code
    assert reason in {None, "report_invalid"}


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{}", b"\0", b"[" * 100_000, b'{"hits": []'])
def test_kept_report_that_is_none_is_a_gap(scanner, target, body):
    with pytest.raises(ScanGapError) as caught:
        samples.parse_masked(scanner, body, target)
    assert caught.value.reason_code == "report_invalid"


@pytest.mark.parametrize("opening", [b"[", b'{"findings":', b'{"results":[', b'{"ok":true,"report":{"checks":['])
def test_100_000_brackets_are_no_report(scanner, target, opening):
    with pytest.raises(ScanGapError) as caught:
        samples.judge(scanner, opening * 100_000, target)
    assert caught.value.reason_code == "report_invalid"


@pytest.mark.parametrize("depth", [100, 500, 900, 960, 990, 1_100, 3_000, 100_000])
def test_deep_node_in_a_report_is_never_a_crash(scanner, target, depth):
    document = samples.recorded(scanner.name)
    deep = b"[" * depth + b"]" * depth
    read = set()
    for path in [p for p in _places(document) if len(p) <= 3][:12]:
        stdout = samples.as_output(_with(document, path, "DEEP")).replace(b'"DEEP"', deep)
        assert deep in stdout
        parsed = _judged(scanner, stdout, target)
        read.add(parsed is not None)
    if depth == 100_000:
        assert read == {False}
    assert read


def test_nul_bytes_in_a_report_are_never_a_crash(scanner, target):
    whole = samples.as_output(samples.recorded(scanner.name))
    middle = len(whole) // 2
    before = [] if scanner.name == "dependency-check" else [b"\0" + whole]  # a log may stand before its report
    for broken in (*before, whole[:middle] + b"\0" + whole[middle:], whole.replace(b",", b"\0", 1)):
        with pytest.raises(ScanGapError):
            samples.judge(scanner, broken, target)
    assert _judged(scanner, whole + b"\0", target) is not None


@pytest.mark.parametrize("filler", ["x", "'", "Aa", "🔑"])
def test_50_megabytes_in_a_report_are_read_or_refused(scanner, target, filler):
    big = filler * (_MEGABYTES * 1024**2 // len(filler.encode()))
    document = samples.recorded(scanner.name)
    entries = _at(document, _LISTS[scanner.name][0])
    for entry in entries[:1]:
        for field in ("title", "name", "snippet", "issue_text", "code"):
            for part in (entry, *(v for v in entry.values() if isinstance(v, dict))):
                if field in part:
                    part[field] = big
    if samples.is_mocked(scanner):
        _QUOTES[scanner.name][0](document, big)
    stdout = json.dumps(document, ensure_ascii=False).encode()
    assert len(stdout) > _MEGABYTES * 1024**2 * 0.9
    body = scanner.mask(stdout, samples.stderr(scanner.name), samples.KEY)
    assert len(body) < 1024**2, "what was quoted is kept"
    assert len(samples.parse_masked(scanner, body, target).observations) == len(
        samples.golden(scanner.name, "observations")
    )


@pytest.mark.parametrize("filler", [b" ", b"[", b"{", b"0", b"\0", b'"'])
def test_50_megabytes_of_one_character_are_no_report(scanner, target, filler):
    with pytest.raises(ScanGapError):
        samples.judge(scanner, filler * (_MEGABYTES * 1024**2), target)


# -- a report that says itself that it is not whole --------------------------------------------------------------


def _whole(scanner, target):
    """The sample without what the tool could not read: (document, target), whose outcome is ok."""
    document = samples.recorded(scanner.name)
    lost = {g["path"] for g in samples.golden(scanner.name, "gaps")}
    if scanner.name == "bandit":
        document["errors"] = []
        for name in lost:
            del document["metrics"][f"{samples.INSIDE}/{name}"]
    if scanner.name == "checkov":
        document["report"]["unparsed"] = []
    if scanner.name in _FILEWISE:
        document["unparsed"] = []
    if scanner.name == "gosec":
        document["Golang errors"] = {}
    if scanner.name == "brakeman":
        document["errors"] = []
    return document, replace(target, files={n: e for n, e in target.files.items() if n not in lost})


#: Reports in which every manifest that was read stands, as an entry of these lists.
_NAMED_BY = {
    "trivy": (("Results",),),
    "osv-scanner": (("results",),),
    "syft": (("artifacts",),),
    "dependency-check": (("dependencies",),),
}
#: Reports that cannot tell that less was read: only what makes them no report.
_NAMES_ONLY_FINDINGS = {"grype": ("matches", "descriptor")}


def _less(scanner, document, target):
    """The report, changed in each way in which it can say that less was read than was given."""
    if scanner.name == "gitleaks":
        # Its report is a list of hits: what was read, it says beside it.
        pytest.skip("see test_gitleaks_judges_by_the_bytes_it_read")
    if scanner.name == "kingfisher":
        summary = ("metadata", "summary")
        for count in (len(target.files) - 1, 1, 0, None, -1):
            yield _with(document, (*summary, "blobs_scanned"), count)
        for count in (0, None):
            yield _with(document, (*summary, "rules_applied"), count)
        yield _with(document, (*summary, "rules_applied"), _REMOVE)
        yield _with(document, (*summary, "blobs_scanned"), _REMOVE)
        for field in ("scan_failed", "scan_partial"):
            yield _with(document, ("audit", "summary", field), 1)
    elif scanner.name == "bandit":
        for name in target.files:
            inside = f"{samples.INSIDE}/{name}"
            yield _with(document, ("metrics", inside), _REMOVE)
            yield _with(document, ("metrics", inside), None)
            yield _with(document, ("errors",), [{"filename": inside, "reason": "said by bandit"}])
        yield _with(document, ("metrics",), {})
    elif scanner.name == "checkov":
        for name in (*target.files, "a/file/that/we/do/not/know.tf"):
            yield _with(document, ("report", "unparsed"), [{"framework": "terraform", "path": name}])
        yield _with(document, ("ok",), False)
    elif scanner.name in _FILEWISE:
        for name in target.files:
            for kind in ("read", "others"):
                if name in document[kind]:
                    yield _with(document, (kind, document[kind].index(name)), _REMOVE)
            yield _with(document, ("unparsed",), [{"path": name, "reason": ""}])
        yield _with(document, ("read",), [])
        yield _with(document, ("read",), None)
    elif samples.is_mocked(scanner):
        yield from _less_of_platform(scanner, document, target)
    else:
        pytest.fail(f"say here how a report of {scanner.name} tells that it is not whole")


def _less_of_platform(scanner, document, target):
    """As ``_less``, for the tools of a platform."""
    if scanner.name in _NAMES_ONLY_FINDINGS:
        for field in _NAMES_ONLY_FINDINGS[scanner.name]:
            yield _with(document, (field,), None)
            yield _with(document, (field,), _REMOVE)
    elif scanner.name in _NAMED_BY:
        for where in _NAMED_BY[scanner.name]:
            for n, entry in enumerate(_at(document, where)):
                # What trivy could not read of Terraform it does not tell; its adapter says so.
                if entry.get("Type") != "terraform":
                    yield _with(document, (*where, n), _REMOVE)
            yield _with(document, where, [])
            yield _with(document, where, _REMOVE)
            yield _with(document, where, None)
    elif scanner.name == "gosec":
        for count in (0, 1, len(target.files) - 2, None, -1):
            if count is None or count < 1:
                yield _with(document, ("Stats", "files"), count)
        yield _with(document, ("Stats",), _REMOVE)
        yield _with(document, ("Golang errors",), {f"{samples.INSIDE}/main.go": [{"error": "said by Go"}]})
        yield _with(document, ("Golang errors",), {"": [{"error": "said by Go"}]})
    elif scanner.name == "brakeman":
        yield _with(document, ("scan_info", "checks_performed"), [])
        for said in ("app/models/user.rb:1 :: no", "Gemfile.lock: no", "no name", ""):
            yield _with(document, ("errors",), [{"error": said, "location": ""}])
        yield _with(document, ("errors",), _REMOVE)
    else:
        pytest.fail(f"say here how a report of {scanner.name} tells that it is not whole")


def test_report_that_tells_of_less_than_was_given_is_never_ok(scanner, target):
    document, target = _whole(scanner, target)
    assert samples.judge(scanner, samples.as_output(document), target).outcome is Outcome.OK
    ways = list(_less(scanner, document, target))
    assert len(ways) > 3
    for changed in ways:
        parsed = _judged(scanner, samples.as_output(changed), target)
        assert parsed is None or parsed.outcome is not Outcome.OK
        assert parsed is None or parsed.gaps or parsed.reason_code


def test_hit_without_a_known_place_is_no_silence(scanner, target):
    """A finding is never dropped because its place cannot be read: it stays, or a gap says so, or it is no report."""
    document = samples.recorded(scanner.name)
    where = _PLACE[scanner.name]
    before = len(samples.golden(scanner.name, "observations")) + len(samples.golden(scanner.name, "gaps"))
    entry = _at(document, _LISTS[scanner.name][0])[0]
    for nowhere in ("", None, 7, "somewhere/else"):
        _at(entry, where[:-1])[where[-1]] = nowhere
        parsed = _judged(scanner, samples.as_output(document), target)
        assert parsed is None or len(parsed.observations) + len(parsed.gaps) >= before


def test_a_private_key_keeps_its_name_when_it_is_indented_or_ends_its_lines_otherwise() -> None:
    lines = ["-----BEGIN KEY-----", "c2FtcGxl", "bGluZXM=", "-----END KEY-----"]

    def named(value: str) -> list[str]:
        hit = {
            "rule": {"id": "key", "name": "key"},
            "finding": {"snippet": value, "path": f"/work/aa/{'a' * 40}", "line": 1, "confidence": "high"},
        }
        summary = {"blobs_scanned": 1, "rules_applied": 1, "bytes_scanned": 1}
        report = json.dumps({"findings": [hit], "metadata": {"summary": summary}}).encode()
        return [h["value_hmac"] for h in json.loads(KINGFISHER.mask(report, b"", HmacKey(b"k" * 32)))["hits"]]

    plain = named("\n".join(lines))
    assert named("\r\n".join(lines)) == plain
    assert named("\n    ".join(lines)) == plain
    assert named("\n".join(reversed(lines))) != plain
