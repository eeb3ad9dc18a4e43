"""Rules that should have run and did not: their findings stay, and what only they read is a gap, not nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.types import PathFilter
from tests.patrols import FakeTool, House
from tests.thorough import thorough
from tests.unit.test_upgrades import reasons, said


def test_a_finding_of_a_rule_that_did_not_run_closes_when_its_file_is_gone(tmp_path: Path) -> None:
    house = House(tmp_path, rules=("F1", "F2"))
    house.commit("a", t="flaw", u="flaw", v="words")
    house.run()
    house.rules, house.rules_digest, house.harmless = ("F2",), "s", frozenset({"flaw"})
    house.not_run = frozenset({"F*"})
    house.repo("a").commit({"t.txt": None})
    house.run()
    assert reasons(house) == {"t.txt": "file_gone", "u.txt": None}


# -- files that only rules which do not run would read -------------------------------------------------------------

NARROW = FakeTool(reads=PathFilter(suffixes=(b".other",)))


@pytest.fixture
def unread(tmp_path: Path) -> House:
    """Two flaws in files that nothing reads any more: the rule that did is broken."""
    house = House(tmp_path, rules=("F1", "F2"))
    house.commit("a", t="flaw", u="flaw")
    house.run()
    house.scanners, house.rules, house.rules_digest = (NARROW,), ("F2",), "s"
    house.not_run = frozenset({"F1"})
    return house


def test_what_is_read_no_more_because_of_a_rule_is_a_gap_and_stays_open(unread: House) -> None:
    for _ in range(2):
        summary = unread.run()
        assert summary is not None and summary.gap_rows == 1
        assert said(unread)["a"][:2] == ("failed", "rule_broken")
        assert reasons(unread) == {"t.txt": None, "u.txt": None}
    unread.scanners, unread.rules, unread.rules_digest, unread.not_run = (FakeTool(),), ("F1", "F2"), "r", frozenset()
    unread.commit("a", t="mended")
    unread.run()
    assert said(unread)["a"][:2] == ("ok", None)
    assert reasons(unread) == {"t.txt": "code_changed", "u.txt": None}


def test_files_that_are_really_gone_close_their_findings(unread: House) -> None:
    unread.run()
    unread.repo("a").commit({"words.md": b"words", "t.txt": None, "u.txt": None})
    unread.run()
    assert said(unread)["a"][:2] == ("nothing_to_read", None)
    assert reasons(unread) == {"t.txt": "file_gone", "u.txt": "file_gone"}


@thorough
def test_a_branch_that_is_gone_closes_findings_of_rules_that_did_not_run(unread: House) -> None:
    repo = unread.repo("a")
    repo.git("branch", "-m", "trunk")
    unread.run()
    closed = [f["fixed_reason"] for f in unread.rows("findings") if f["status"] == "archived"]
    assert closed == ["ref_gone", "ref_gone"]


@thorough
def test_a_repository_of_which_nothing_was_read_says_that_rules_did_not_run(tmp_path: Path) -> None:
    """Of a pack that is gone nobody knows which files it would read."""
    house = House(tmp_path, scanners=(NARROW,), rules=("F2",), not_run=frozenset({"F*"}))
    house.commit("a", t="flaw")

    def details() -> set[tuple[str, str]]:
        run = house.lake().snapshot().run
        assert run is not None
        rows = [*house.rows("scans", run_id=[run["run_id"]]), *house.rows("scopes")]
        return {(r["outcome"], r["detail"]) for r in rows}

    for _ in range(2):
        house.run()
        assert details() == {("nothing_to_read", "rules that did not run may read files of it")}
    house.not_run, house.rules_digest = frozenset(), "s"
    for _ in range(2):
        house.run()
        assert details() == {("nothing_to_read", "")}


@thorough
def test_rules_that_are_not_at_fault_hold_nothing_open(unread: House) -> None:
    unread.not_run = frozenset({"E*"})
    unread.run()
    assert reasons(unread) == {"t.txt": "tool_changed", "u.txt": "tool_changed"}


def test_a_tool_without_any_rule_is_not_started(tmp_path: Path) -> None:
    house = House(tmp_path, rules=("F1",))
    house.commit("a", t="flaw")
    house.run()
    house.starts.clear()
    house.without_rules, house.rules, house.rules_digest = "no rule pack is configured", ("F0",), "s"
    house.commit("a", t="mended")
    summary = house.run()
    assert summary is not None and summary.gap_rows == 1
    assert said(house)["a"][:2] == ("failed", "no_rules")
    assert house.starts == []
    assert reasons(house) == {"t.txt": None}
