"""Entries of ``decisions.yaml``: each mistake has its place and remedy, and disables nothing but itself."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from tasks.core.mistakes import ConfigurationError
from tasks.core.strict_yaml import parse
from tasks.policy.decisions import MAX_ENTRIES, DecisionFile, Kind, longest_days, read_decisions, repeats

FILE = Path("decisions.yaml")
GOOD = """\
  - id: weak-hash
    kind: accepted
    rule: B303
    path: legacy/*
    matches: 2
    reason: The hash is no protection here.
    expires: 2027-01-31
"""
UID = "a" * 64


def read(*entries: str) -> DecisionFile:
    return read_decisions(("decisions:\n" + "".join(entries)).encode(), FILE)


def entry(**changes: str | None) -> str:
    """An entry that is right but for the changes; None leaves a setting out."""
    fields = {"id": "other", "kind": "accepted", "cve": "cve-2024-0001", "matches": "1", "reason": "It is.",
              "expires": "2027-01-31"}  # fmt: skip
    lines = [f"{k}: {v}" for k, v in {**fields, **changes}.items() if v is not None]
    return "  - " + "\n    ".join(lines) + "\n"


def test_an_entry_is_read_with_its_line() -> None:
    told = read(GOOD, entry(finding=UID, matches=None, decided_by="the board"))
    assert not told.mistakes()
    first, second = told.decisions
    assert (first.id, first.kind, first.line, first.matches) == ("weak-hash", Kind.ACCEPTED, 2, 2)
    assert first.matchers == (("rule", "B303"), ("path", "legacy/*"))
    assert first.expires == date(2027, 1, 31)
    assert first.ends_at == datetime(2027, 2, 1, tzinfo=UTC)
    assert (second.by("cve"), second.matches, second.decided_by) == ("CVE-2024-0001", 1, "the board")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"id": None}, "it has no id"),
        ({"id": "a b"}, "it is no id"),
        ({"kind": "acepted"}, "Did you mean accepted?"),
        ({"cve": None}, "it does not say what it is about"),
        ({"finding": "abc"}, "it is no id of a finding"),
        ({"gap": "too_large"}, "only accepted_gap is about gaps"),
        ({"kind": "accepted_gap"}, "a gap has no such thing"),
        ({"kind": "accepted_gap", "cve": None, "gap": "to_large"}, "Did you mean too_large?"),
        ({"reason": None}, "it has no reason"),
        ({"reason": "''"}, "it has no reason"),
        ({"expires": None}, "it does not say until when"),
        ({"expires": "2027-02-30"}, "expires is no date"),
        ({"expires": "tomorrow"}, "expires is no date"),
        ({"matches": None}, "it does not pin how many"),
        ({"matches": "0"}, "no whole number above 0"),
        ({"justification": "component_not_present"}, "only a false_positive has one"),
        ({"kind": "false_positive", "justification": "so"}, "it is none of OpenVEX"),
        ({"reasn": "x"}, "Did you mean reason?"),
        ({"reason": "hvs." + "CAESIJ" * 8}, ""),
    ],
)  # fmt: skip
def test_each_mistake_disables_its_entry_alone(changes: dict[str, str | None], what: str) -> None:
    told = read(GOOD, entry(**changes), entry(id="third", cve="CVE-2"))
    assert [d.id for d in told.decisions] == ["weak-hash", "third"]
    (broken,) = told.broken
    assert broken.line == 9
    text = "\n".join(m.told("decisions.yaml") for m in told.mistakes())
    assert what in text
    assert all(9 <= m.place.line < 16 and m.remedy for m in told.mistakes())
    assert "CAESIJ" not in text


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"decisions:\n<<<<<<< HEAD\n" + GOOD.encode() + b"=======\n>>>>>>> other\n", "decisions.yaml:2:1: a conflict"),
        (b"decisions: [\n", "decisions.yaml:2:1: a value is missing"),
        (b"decisions: 3\n", "a list of decisions is expected"),
        (b"", "it holds no setting"),
        (b"- id: x\n", "a list of decisions is expected"),
        (b"\xff", "it is not UTF-8"),
    ],
)
def test_what_cannot_be_read_decides_nothing(data: bytes, what: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        read_decisions(data, FILE)
    assert what in str(error.value)


def test_of_several_with_one_id_none_is_meant() -> None:
    """The first would else decide by what git says of the second. Nor does one that is broken for another reason
    lend its id."""
    told = read(entry(id="weak-hash"), GOOD, entry(id="third", cve="CVE-2"))
    assert [d.id for d in told.decisions] == ["third"]
    assert [(b.id, b.line) for b in told.broken] == [("weak-hash", 2), ("weak-hash", 8)]
    text = "\n".join(m.told("decisions.yaml") for m in told.mistakes())
    assert "the decision in line 8 has the same id" in text
    assert "the decision in line 2 has the same id" in text
    for other in (entry(id="weak-hash", kind="odd"), "  - &a\n    id: weak-hash\n"):
        assert read(other, GOOD).decisions == ()


def test_what_is_about_the_same_is_told_of_the_later_one() -> None:
    again = entry(id="again", cve=None, rule="B303", path="legacy/*")
    told = read(GOOD, again, entry(id="other"))
    assert [d.id for d in told.decisions] == ["weak-hash", "again", "other"]
    assert "weak-hash decides about the same" in repeats(told.decisions).pop("again")
    assert repeats(told.decisions[1:]) == {}, "the first is not approved: it takes no place"


@pytest.mark.parametrize(
    "text",
    [
        "- 1\n" * (MAX_ENTRIES + 1),
        "- {" + "".join(f"k{n}: 1, " for n in range(MAX_ENTRIES + 1)) + "}\n",
    ],
)
def test_more_than_anybody_looked_at_is_no_list(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ConfigurationError) as error:
        read_decisions(b"decisions:\n" + text.encode(), FILE)
    assert "stand here" in str(error.value)
    assert time.process_time() - started < 10
    assert parse("decisions:\n" + ("- [" + "1," * 40 + "]\n") * 9, FILE, most_items=40).whole
    assert not parse("decisions:\n" + ("- [" + "1," * 40 + "]\n") * 31, FILE, most_items=40).whole, "all in all"


def test_settings_without_number_are_not_guessed_at_one_by_one() -> None:
    told = read("  - {id: x, " + "".join(f"reasonn{n}: 1, " for n in range(500)) + "}\n")
    (broken,) = told.broken
    assert len(broken.mistakes) < 20
    assert "500 settings are unknown" in str(broken.mistakes)


def test_an_empty_list_is_no_mistake_and_an_unknown_top_disables_nothing() -> None:
    assert read_decisions(b"decisions: []\n", FILE) == DecisionFile(decisions=(), broken=(), notes=())
    told = read_decisions(b"version: 1\ndecisions:\n" + GOOD.encode(), FILE)
    assert [d.id for d in told.decisions] == ["weak-hash"]
    assert "there is no such setting" in str(told.notes)


def test_the_longest_goes_by_severity() -> None:
    assert [longest_days(Kind.ACCEPTED, s) for s in ("critical", "HIGH", "medium", "low", "odd")] == [
        30, 90, 180, 365, 365,
    ]  # fmt: skip
    assert longest_days(Kind.FALSE_POSITIVE, "critical") == 730
