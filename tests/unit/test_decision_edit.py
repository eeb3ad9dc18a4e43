"""Editing decisions.yaml: comments, order and other entries stay; what is written is read back."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import UsageError
from tasks.policy.decision_edit import free_id, scalar, with_decision
from tasks.policy.decisions import Decision, Kind, read_decisions

FILE = Path("decisions.yaml")
MADE = Decision(
    id="new", kind=Kind.ACCEPTED, matchers=(("rule", "R1"), ("path", "src/*")), matches=3, reason="It's so: really",
    expires=date(2027, 1, 31),
)  # fmt: skip
KEPT = """\
# the head
decisions:   # all of them
  # about the first
  - id: first
    kind: wont_fix   # we know
    rule: R9
    matches: 1
    reason: >-
      a long
      story
    expires: 2027-01-01
    # said the board

  - id: second
    cve: CVE-2024-1
    kind: accepted
    matches: 1
    reason: so
    expires: 2027-01-01
# the end
"""


def decision(text: str, ident: str) -> Decision:
    return next(replace(d, line=0) for d in read_decisions(text.encode(), FILE).decisions if d.id == ident)


def test_an_entry_is_added_at_the_end_of_the_list() -> None:
    text = with_decision(KEPT, MADE)
    assert decision(text, "new") == MADE
    added = text.replace("\n# the end\n", "").removeprefix(KEPT.replace("\n# the end\n", ""))
    assert added.splitlines()[1:] == [
        "  - id: new",
        "    kind: accepted",
        "    rule: R1",
        "    path: 'src/*'",
        "    matches: 3",
        "    reason: 'It''s so: really'",
        "    expires: 2027-01-31",
    ]
    assert text.endswith("# the end\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "decisions: []\n",
        "decisions: []  # none\n",
        "# head\ndecisions:\n",
        "# head\n",
    ],
)
def test_an_entry_is_added_to_what_is_there(text: str) -> None:
    made = with_decision(text, MADE)
    assert decision(made, "new") == MADE
    assert [line for line in text.splitlines() if "#" in line and "[" not in line] == [
        line for line in made.splitlines() if "#" in line and line in text
    ]


def test_an_entry_is_changed_in_its_place() -> None:
    renewed = replace(decision(KEPT, "first"), reason="short", expires=date(2028, 1, 1), decided_by="us")
    text = with_decision(KEPT, renewed)
    assert decision(text, "first") == renewed
    assert decision(text, "second") == decision(KEPT, "second")
    before, after = KEPT.splitlines(), text.splitlines()
    assert [line for line in before if line not in after] == [
        "    kind: wont_fix   # we know", "    reason: >-", "      a long", "      story",
    ]  # fmt: skip
    assert after.index("    # said the board") > after.index("  - id: first")
    other = with_decision(KEPT, replace(MADE, id="second"))
    assert "CVE-2024-1" not in other
    assert decision(other, "second") == replace(MADE, id="second")


def test_what_would_be_no_right_entry_is_not_written() -> None:
    for text, made in (
        ("decisions: [{id: a}]\n", MADE),
        ("decisions:\n  - {id: a, kind: accepted}\n", MADE),
        (KEPT, replace(decision(KEPT, "first"), id="twice")),
        ("", replace(MADE, reason="a\nb")),
    ):
        with pytest.raises(UsageError):
            with_decision(text, made)


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), min_size=1, max_size=30))
def test_any_text_is_read_back(text: str) -> None:
    if not text.strip() or "\ufffe" in text or "\uffff" in text:
        return
    try:
        made = with_decision("", replace(MADE, reason=text))
    except UsageError:
        return  # it looks like a secret
    assert decision(made, "new").reason == text


def test_ids_are_free_and_words_that_yaml_takes_for_others_are_quoted() -> None:
    assert free_id("accepted-R1 x/*", ["accepted-R1-x"]) == "accepted-R1-x-2"
    words = ("yes", "12", "a: b", "2027-01-31", "R1")
    assert [scalar(t) for t in words] == [
        "'yes'",
        "'12'",
        "'a: b'",
        "2027-01-31",
        "R1",
    ]
