"""Reports that are cut, changed, deep or huge: a gap with a reason or a reading of the rest, never a crash."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.core.errors import ScanGapError
from tasks.core.types import Parsed
from tests.contract import report_forms as forms
from tests.contract import samples
from tests.thorough import THOROUGH, examples

#: One filler of each kind is given at full length, the others at a tenth: what grows with the square of a length hangs
#: at 5 MB as well. `make test-thorough` gives all of them at full length.
_MEGABYTES = 50
_OTHERS = _MEGABYTES if THOROUGH else _MEGABYTES // 10


# -- broken reports ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stdout", [b"", b" \n\t ", b"\r\n" * 1000])
def test_empty_report_is_no_report(scanner, target, stdout):
    with pytest.raises(ScanGapError) as caught:
        samples.judge(scanner, stdout, target)
    assert caught.value.reason_code == "report_empty"


@settings(max_examples=examples(100))
@given(share=st.floats(0, 1, exclude_max=True))
def test_report_that_was_cut_is_no_report(scanner, target, share):
    whole = samples.as_output(samples.recorded(scanner.name))
    with pytest.raises(ScanGapError):
        samples.judge(scanner, whole[: int(len(whole) * share)], target)


@settings(max_examples=examples(200))
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


def _kinds_of_places(document):
    """The first node of each kind: the same place in another entry of a list is no other kind."""
    first = {}
    for path in forms.places(document):
        first.setdefault(tuple(0 if isinstance(step, int) else step for step in path), path)
    return list(first.values())


def test_no_kind_of_wrong_node_is_a_crash(scanner, target):
    document = samples.recorded(scanner.name)
    refused, forms_of_wrong = 0, [*forms.INSTEAD, forms.REMOVE]
    # All wrong forms at all places, or at each place every third one, beginning with another.
    step = 1 if THOROUGH else 3
    for n, path in enumerate(_kinds_of_places(document)):
        for new in forms_of_wrong[n % step :: step]:
            refused += forms.judged(scanner, samples.as_output(forms.changed(document, path, new)), target) is None
    assert refused > 50 // step, "hardly any form is looked at"


@settings(max_examples=examples(150))
@given(data=st.data(), new=st.sampled_from([*forms.INSTEAD, forms.REMOVE]))
def test_report_with_a_wrong_node_is_never_a_crash(scanner, target, data, new):
    document = samples.recorded(scanner.name)
    path = data.draw(st.sampled_from(list(forms.places(document))))
    forms.judged(scanner, samples.as_output(forms.changed(document, path, new)), target)


@settings(max_examples=examples(150))
@given(data=st.data(), new=st.sampled_from([*forms.INSTEAD, forms.REMOVE]))
def test_kept_report_with_a_wrong_node_is_never_a_crash(scanner, target, data, new):
    document = json.loads(
        scanner.mask(samples.as_output(samples.recorded(scanner.name)), samples.stderr(scanner.name), samples.KEY)
    )
    path = data.draw(st.sampled_from(list(forms.places(document))))
    reason = None
    try:
        assert isinstance(
            samples.parse_masked(scanner, samples.as_output(forms.changed(document, path, new)), target), Parsed
        )
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
    for path in [p for p in forms.places(document) if len(p) <= 3][:12]:
        stdout = samples.as_output(forms.changed(document, path, "DEEP")).replace(b'"DEEP"', deep)
        assert deep in stdout
        parsed = forms.judged(scanner, stdout, target)
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
    assert forms.judged(scanner, whole + b"\0", target) is not None


@pytest.mark.parametrize(("filler", "megabytes"), [("x", _MEGABYTES), ("'", _OTHERS), ("Aa", _OTHERS), ("🔑", _OTHERS)])
def test_50_megabytes_in_a_report_are_read_or_refused(scanner, target, filler, megabytes):
    if not THOROUGH and scanner.name not in ("bandit", "semgrep"):
        megabytes = min(megabytes, _OTHERS)
    big = filler * (megabytes * 1024**2 // len(filler.encode()))
    document = samples.recorded(scanner.name)
    entries = forms.at(document, forms.LISTS[scanner.name][0])
    for entry in entries[:1]:
        for field in ("title", "name", "snippet", "issue_text", "code", "lines", "format"):
            for part in (entry, *(v for v in entry.values() if isinstance(v, dict))):
                if isinstance(part.get(field), str):
                    part[field] = big
    if samples.is_mocked(scanner):
        forms.QUOTES[scanner.name][0](document, big)
    stdout = json.dumps(document, ensure_ascii=False).encode()
    assert len(stdout) > megabytes * 1024**2 * 0.9
    body = scanner.mask(stdout, samples.stderr(scanner.name), samples.KEY)
    assert len(body) < 1024**2, "what was quoted is kept"
    assert len(samples.parse_masked(scanner, body, target).observations) == len(
        samples.golden(scanner.name, "observations")
    )


@pytest.mark.parametrize("filler", [b" ", b"[", b"{", b"0", b"\0", b'"'])
def test_50_megabytes_of_one_character_are_no_report(scanner, target, filler):
    megabytes = _MEGABYTES if filler in b" [" else _OTHERS
    with pytest.raises(ScanGapError):
        samples.judge(scanner, filler * (megabytes * 1024**2), target)
