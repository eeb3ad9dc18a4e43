"""Reports of scanners: what is read of them, what never gets out of them, and that a report is not taken for whole."""

from __future__ import annotations

import copy
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.types import Outcome
from tasks.scanners.kingfisher import KINGFISHER
from tests.contract import report_forms as forms
from tests.contract import samples
from tests.contract.report_losses import less, without_gaps
from tests.thorough import examples

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


@settings(max_examples=examples(30))
@given(random=st.randoms(use_true_random=False))
def test_order_of_a_report_does_not_matter(scanner, target, random):
    document = samples.recorded(scanner.name)
    where, field, other = forms.TWINS[scanner.name]
    for entry in list(forms.at(document, where)):
        twin = copy.deepcopy(entry)
        forms.at(twin, field[:-1])[field[-1]] = other
        forms.at(document, where).append(twin)
    first = scanner.mask(samples.as_output(document), samples.stderr(scanner.name), samples.KEY)
    for path in forms.LISTS[scanner.name]:
        random.shuffle(forms.at(document, path))
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


#: Stands in no value, so that no piece of one is found across two texts.
_BETWEEN = "\u2588"


def _assert_silent(value, texts):
    """No piece of eight characters of the value stands in the texts."""
    assert _BETWEEN not in value
    everything = _BETWEEN.join(texts)
    for start in range(len(value) - 7):
        assert value[start : start + 8] not in everything, "a piece of a value got out"


def _said(scanner, document, target):
    """Everything that mask and parse let out about a report: the kept body, rows, gaps, or the error."""
    try:
        body = scanner.mask(samples.as_output(document), samples.stderr(scanner.name), samples.KEY)
        parsed = samples.parse_masked(scanner, body, target)
    except ScanGapError as e:
        return [str(e), repr(e), e.detail, *map(str, e.args)]
    rows = [samples.golden_observations(parsed), samples.golden_gaps(parsed), parsed.detail]
    return [body.decode(), *forms.strings(json.loads(body)), *forms.strings(rows), repr(parsed)]


def test_no_piece_of_a_recorded_value_is_kept(scanner, target):
    document = samples.recorded(scanner.name)
    if scanner.name not in forms.QUOTE_NOTHING:
        *_, first = samples.tokens(scanner.name).values()
        assert any(first in text for text in forms.strings(document)), "the recorded report holds no value to be masked"
    texts = _said(scanner, document, target)
    for value in samples.secrets(scanner.name):
        _assert_silent(value, texts)


#: Characters that no text of a report holds eight in a row of: quotation marks, line ends, non-ASCII, control.
_VALUES = st.text("QZJ'\"`\n\r\0\t\\{}é中🔑\u202e\u2028\ud800", min_size=8, max_size=60)


@settings(max_examples=examples(150))
@given(value=_VALUES, data=st.data())
@example(value="""QZ'QZ"QZ`QZ'QZ, 'QZJ'""", data=None)
@example(value="QZJQZJQZJ\nJZQJZQJZQ\r\n'\"QZJQZJQZJ", data=None)
@example(value="'''''''''", data=None)
def test_no_piece_of_any_value_is_kept(scanner, target, value, data):
    for quote in forms.QUOTES[scanner.name]:
        document = samples.recorded(scanner.name)
        if data is not None and forms.LISTS[scanner.name]:
            entries = forms.at(document, forms.LISTS[scanner.name][0])
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


# -- a report that says itself that it is not whole --------------------------------------------------------------


def test_report_that_tells_of_less_than_was_given_is_never_ok(scanner, target):
    document, target = without_gaps(scanner, target)
    assert samples.judge(scanner, samples.as_output(document), target).outcome is Outcome.OK
    ways = list(less(scanner, document, target))
    assert len(ways) > 3
    for changed in ways:
        parsed = forms.judged(scanner, samples.as_output(changed), target)
        assert parsed is None or parsed.outcome is not Outcome.OK
        assert parsed is None or parsed.gaps or parsed.reason_code


def test_hit_without_a_known_place_is_no_silence(scanner, target):
    """A finding is never dropped because its place cannot be read: it stays, or a gap says so, or it is no report."""
    document = samples.recorded(scanner.name)
    where = forms.PLACE[scanner.name]
    before = len(samples.golden(scanner.name, "observations")) + len(samples.golden(scanner.name, "gaps"))
    entry = forms.at(document, forms.LISTS[scanner.name][0])[0]
    for nowhere in ("", None, 7, "somewhere/else"):
        forms.at(entry, where[:-1])[where[-1]] = nowhere
        parsed = forms.judged(scanner, samples.as_output(document), target)
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
