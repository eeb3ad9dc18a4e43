"""The life of findings over real nights: why each came and went, what is carried along, what is only recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.origins import DecisionPlace
from tasks.lake.saved import SAVED
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol import rows
from tasks.repos.history import is_ancestor
from tests.patrols import FakeTool, House
from tests.thorough import thorough
from tests.unit.test_deciding import write
from tests.unit.test_importing import bring, report
from tests.unit.test_upgrades import said


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, rules=("F1",))


def lives(house: House) -> dict[str, tuple[str, str, str | None]]:
    """Status, origin and why it is gone, by path."""
    return {f["path"]: (f["status"], f["origin"], f["fixed_reason"]) for f in house.rows("findings")}


def events(house: House) -> list[tuple[str, str | None, str, str]]:
    """(path, status before, status, cause) in their order."""
    rows = sorted(house.rows("finding_events"), key=lambda e: (e["seq"], e["path"]))
    return [(e["path"], e["status_before"], e["status"], e["cause"]) for e in rows]


def ask(house: House, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in run_query(house.lake().snapshot(), sql)[1]]


def test_what_the_first_scan_finds_is_backlog_and_what_comes_later_is_code(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    house.commit("a", u="flaw")
    house.run()
    house.commit("b", t="flaw")
    house.run()
    assert sorted((f["slug"], f["path"], f["origin"]) for f in house.rows("findings")) == [
        ("a", "t.txt", "backlog"), ("a", "u.txt", "code"), ("b", "t.txt", "backlog"),
    ]  # fmt: skip
    assert [e[3] for e in events(house)] == ["first_scan", "code_changed", "first_scan"]


def test_a_scan_that_failed_until_now_makes_nothing_younger(house: House) -> None:
    """The repository was there all the time; only this tool could not look at it."""
    house.commit("a", t="crash")
    house.run()
    house.commit("a", t="flaw")
    house.run(retry_failed=True)
    assert lives(house) == {"t.txt": ("open", "backlog", None)}


def test_what_a_new_tool_finds_in_old_code_came_with_the_tool(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    house.scanners = (FakeTool(), FakeTool(name="other"))
    house.run()
    assert {f["tool"]: f["origin"] for f in house.rows("findings")} == {"fake": "backlog", "other": "rules"}


def test_what_a_new_rule_finds_in_an_old_file_came_with_the_rule(house: House) -> None:
    house.harmless = frozenset({"flaw"})
    house.commit("a", t="flaw", u="words")
    house.run()
    assert lives(house) == {}
    house.harmless, house.rules_digest = frozenset(), "s"
    house.commit("a", u="flaw")
    house.run()
    assert lives(house) == {"t.txt": ("open", "rules", None), "u.txt": ("open", "code", None)}


def test_a_file_that_could_not_be_read_until_now_is_backlog(house: House) -> None:
    house.commit("a", t="unread", u="words")
    house.run()
    house.commit("a", t="flaw")
    house.run()
    assert lives(house) == {"t.txt": ("open", "backlog", None)}


def test_what_is_mended_says_how(house: House) -> None:
    house.commit("a", t="flaw", u="flaw")
    house.run()
    house.repo("a").commit({"t.txt": b"mended", "u.txt": None})
    house.run()
    assert lives(house) == {"t.txt": ("fixed", "backlog", "code_changed"), "u.txt": ("fixed", "backlog", "file_gone")}
    house.commit("a", t="flaw")
    house.run()
    assert lives(house)["t.txt"] == ("reopened", "backlog", None)
    assert [e for e in events(house) if e[0] == "t.txt"] == [
        ("t.txt", None, "open", "first_scan"),
        ("t.txt", "open", "fixed", "code_changed"),
        ("t.txt", "fixed", "reopened", "code_changed"),
    ]
    assert verify(house.lake()) == []


# -- renames --------------------------------------------------------------------------------------------------------


def test_a_renamed_file_takes_its_finding_along(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    (first,) = house.rows("findings")
    house.repo("a").commit({"t.txt": None, "moved.txt": b"more words flaw"})
    summary = house.run()
    assert summary is not None and (summary.opened, summary.fixed) == (0, 0), "nothing is new, nothing was mended"
    rows = {f["path"]: f for f in house.rows("findings")}
    assert lives(house) == {"t.txt": ("fixed", "backlog", "moved"), "moved.txt": ("open", "backlog", None)}
    kept = ("first_seen_at", "first_seen_run", "opened_at", "opened_run")
    assert {n: rows["moved.txt"][n] for n in kept} == {n: first[n] for n in kept}
    assert rows["moved.txt"]["moved_from"] == first["finding_uid"]


@thorough
def test_a_file_that_is_renamed_back_is_the_same_finding_again(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    for old, new in (("t.txt", "u.txt"), ("u.txt", "t.txt")):
        house.repo("a").commit({old: None, new: b"flaw"})
        house.run()
    assert lives(house) == {"t.txt": ("open", "backlog", None), "u.txt": ("fixed", "backlog", "moved")}
    assert verify(house.lake()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"t": "flaw"}, {"t.txt": None, "u.txt": b"flaw", "v.txt": b"flaw"}),
        ({"t": "flaw", "u": "flaw"}, {"t.txt": None, "u.txt": None, "v.txt": b"flaw"}),
        ({"t": "flaw", "u": "words"}, {"t.txt": None, "u.txt": b"flaw"}),
        ({"t": "flaw"}, {"t.txt": b"mended", "u.txt": b"flaw"}),
    ],
    ids=["two came", "two went", "the file was there before", "the file is still there"],
)
def test_what_may_be_another_flaw_is_not_carried_over(
    house: House, before: dict[str, str], after: dict[str, bytes | None]
) -> None:
    house.commit("a", **before)
    house.run()
    house.repo("a").commit(after)
    house.run()
    assert {f["moved_from"] for f in house.rows("findings")} == {None}
    assert "moved" not in {e[3] for e in events(house)}


# -- branches and repositories that are renamed, and that are gone ---------------------------------------------------


def test_a_renamed_branch_takes_its_findings_along(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    (first,) = house.rows("findings")
    house.commit("a", u="flaw")
    house.repo("a").git("branch", "-m", "trunk")
    house.run()
    rows = {(f["ref"], f["path"]): f for f in house.rows("findings")}
    assert rows["refs/heads/main", "t.txt"]["status"] == "archived"
    kept = ("status", "origin", "first_seen_at", "first_seen_run", "opened_at", "opened_run")
    trunk = rows["refs/heads/trunk", "t.txt"]
    assert {n: trunk[n] for n in kept} == {n: first[n] for n in kept}, "nobody mended it: its deadline stays"
    assert rows["refs/heads/trunk", "u.txt"]["origin"] == "code"
    assert events(house)[-2:] == [("t.txt", None, "open", "branched"), ("u.txt", None, "open", "code_changed")]
    assert [row[4] for row in ask(house, SAVED["new"].sql)] == ["u.txt"]
    house.repo("a").git("branch", "-m", "main")
    house.run()
    back = next(f for f in house.rows("findings") if (f["ref"], f["path"]) == ("refs/heads/main", "t.txt"))
    assert (back["status"], back["opened_at"]) == ("reopened", first["opened_at"])


def names(house: House, *tables: str) -> set[str]:
    return {row["slug"] for table in tables for row in house.rows(table)}


@pytest.fixture
def renamed(house: House) -> House:
    """A repository that stands under another name now; a flaw of it is mended, and a report was imported."""
    house.commit("a", t="flaw", u="flaw")
    house.repo("a").git("remote", "add", "origin", "https://git.test/a.git")
    house.run()
    house.commit("b", t="flaw")
    house.commit("a", u="mended")
    house.run()
    bring(house, report("R1"), repo="a")
    (house.place / "org" / "a").rename(house.place / "org" / "c")
    return house


def test_a_renamed_repository_is_called_so_in_every_row_of_today(renamed: House) -> None:
    before, told = renamed.rows("findings"), renamed.rows("finding_events")
    renamed.run()
    assert names(renamed, "repositories", "findings", "scopes") == {"b", "c"}
    after = {(f["finding_uid"], f["tool"]): f for f in renamed.rows("findings")}
    assert after == {(f["finding_uid"], f["tool"]): {**f, "slug": "c" if f["slug"] == "a" else "b"} for f in before}
    assert {f["status"] for f in before} == {"open", "fixed"}
    assert renamed.rows("finding_events") == told, "nothing has happened to them"
    assert verify(renamed.lake()) == []


def decided(house: House) -> dict[str, str | None]:
    """The decision about the flaw of each repository."""
    return {f["slug"]: f["decision_id"] for f in house.rows("findings", tool=["fake"]) if f["path"] == "t.txt"}


@thorough
def test_decisions_go_by_the_name_of_today(renamed: House) -> None:
    """Who takes the name over does not take the decisions along, and a new name counts at once."""
    renamed.decisions = DecisionPlace(file=renamed.place / "d.yaml", approval="none")
    ends = (datetime.now(UTC) + timedelta(days=30)).date().isoformat()
    old, new = ({"id": n, "repository": n, "rule": "F1", "expires": ends} for n in ("a", "c"))
    write(renamed.decisions.file, old, new)
    summary = renamed.run()
    assert summary is not None
    assert [n.split()[1:3] for n in summary.decision_notes[1:]] == [["a", "matches_nothing:"]]
    assert decided(renamed) == {"b": None, "c": "c"}
    renamed.commit("a", t="flaw")
    renamed.run()
    assert decided(renamed) == {"a": "a", "b": None, "c": "c"}


@thorough
def test_what_reports_said_of_a_branch_goes_with_it(house: House) -> None:
    house.commit("a", t="flaw")
    house.repo("a").git("branch", "side")
    house.run()
    for ref in ("side", "main", "refs/pull/7/head"):
        bring(house, report("R1"), repo="a", ref=ref)
    house.repo("a").git("branch", "-D", "side")
    for expected in (2, 1):
        summary = house.run()
        assert summary is not None and summary.expected == expected, "it is said once"
    assert {f["ref"]: (f["status"], f["fixed_reason"]) for f in house.rows("findings", tool=["import/lint"])} == {
        "refs/heads/side": ("archived", "ref_gone"),
        "refs/heads/main": ("open", None),
        "refs/pull/7/head": ("open", None),
    }
    assert verify(house.lake()) == []
    bring(house, report("R1"), repo="a", ref="side")
    rows = house.rows("findings", tool=["import/lint"], ref=["refs/heads/side"])
    assert [f["status"] for f in rows] == ["reopened"]


# -- commits that are older ------------------------------------------------------------------------------------------


@pytest.fixture
def rewound(house: House) -> House:
    """A branch that was looked at, then set back to the commit before."""
    house.commit("a", t="flaw")
    house.run()
    house.commit("a", t="mended", u="flaw")
    house.run()
    house.repo("a").git("reset", "--quiet", "--hard", "HEAD~1")
    return house


FORWARD = {"t.txt": ("fixed", "backlog", "code_changed"), "u.txt": ("open", "code", None)}


def test_the_scan_of_an_ancestor_is_recorded_and_not_applied(rewound: House) -> None:
    before = rewound.rows("findings")
    rewound.run()
    assert said(rewound)["a"][:2] == ("unchanged", "older_commit")
    assert rewound.rows("findings") == before
    assert verify(rewound.lake()) == []


@thorough
def test_an_ancestor_that_is_found_twice_counts(rewound: House) -> None:
    rewound.run()
    rewound.run()
    assert lives(rewound) == {"t.txt": ("reopened", "backlog", None), "u.txt": ("fixed", "code", "file_gone")}
    rewound.run()
    assert said(rewound)["a"][:2] == ("unchanged", None)


@thorough
def test_a_branch_that_comes_forward_again_leaves_no_trace(rewound: House) -> None:
    rewound.run()
    rewound.repo("a").git("reset", "--quiet", "--hard", "ORIG_HEAD")
    rewound.run()
    assert lives(rewound) == FORWARD
    assert [s["reason_code"] for s in rewound.rows("scopes")] == [None]


@thorough
def test_an_ancestor_after_a_night_that_failed_is_no_failure(house: House) -> None:
    house.commit("a", t="flaw", v="unread")
    house.commit("a", t="mended")
    house.run()
    house.commit("a", t="crash")
    house.run()
    house.repo("a").git("reset", "--quiet", "--hard", "HEAD~2")
    house.run()
    (scope,) = house.rows("scopes")
    assert (scope["outcome"], scope["reason_code"]) == ("partial", "older_commit")
    assert (scope["failed_name"], scope["attempts"], scope["next_attempt_at"]) == (None, 0, None)
    assert ask(house, "SELECT reason_code, path FROM gaps_now") == [("unparsable", "v.txt")]
    house.repo("a").git("reset", "--quiet", "--hard", "HEAD@{1}")
    house.commit("a", t="mended")
    house.run()
    assert [(s["outcome"], s["reason_code"], s["detail"]) for s in house.rows("scopes")] == [
        ("partial", None, "1 unparsable")
    ]


@thorough
def test_git_is_asked_only_of_what_was_forced(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question costs a start of git, one after another."""
    asked: list[str] = []
    monkeypatch.setattr(rows, "is_ancestor", lambda *given: asked.append(given[2]) or is_ancestor(*given))
    for text in ("flaw", "flaw flaw", "crash"):
        house.commit("a", t=text)
        house.run()
    assert asked == []
    house.repo("a").git("reset", "--quiet", "--hard", "HEAD~2")
    house.run()
    assert len(asked) == 1
    house.run()
    house.commit("a", t="mended")
    house.run()
    assert len(asked) == 1, "what was forced is settled when it was looked at"
    assert lives(house) == {"t.txt": ("fixed", "backlog", "code_changed")}


@thorough
def test_an_ancestor_is_known_though_the_mirror_was_lost(rewound: House) -> None:
    rewound.repo("a").git("branch", "kept", "ORIG_HEAD")
    for place in (rewound.place / "mirrors").glob("??/*/state.json"):
        place.unlink()
    rewound.run()
    assert said(rewound)["a"][:2] == ("unchanged", "older_commit")
    assert lives(rewound) == FORWARD


@thorough
def test_a_rewritten_branch_is_no_ancestor(house: House) -> None:
    house.commit("a", t="words")
    house.commit("a", t="flaw")
    house.run()
    house.repo("a").git("reset", "--quiet", "--hard", "HEAD~1")
    house.commit("a", t="mended")
    house.run()
    assert lives(house) == {"t.txt": ("fixed", "backlog", "code_changed")}


# -- the past ---------------------------------------------------------------------------------------------------------


def test_any_past_date_can_be_asked_for(house: House) -> None:
    house.commit("a", t="flaw")
    house.run()
    house.repo("a").commit({"t.txt": b"mended", "u.txt": b"flaw"})
    house.run()
    house.commit("a", t="flaw")
    house.run()
    times = [at for (at,) in ask(house, "SELECT finished_at FROM runs ORDER BY seq")]
    at = "SELECT path, status, is_open, opened_at FROM findings_at('{}') ORDER BY path"
    told = [ask(house, at.format(t)) for t in times]
    assert [[row[:3] for row in rows] for rows in told] == [
        [("t.txt", "open", True)],
        [("t.txt", "fixed", False), ("u.txt", "open", True)],
        [("t.txt", "reopened", True), ("u.txt", "open", True)],
    ]
    assert [rows[0][3] for rows in told] == [times[0], None, times[2]]
    assert ask(house, at.format("2001-01-01")) == []
