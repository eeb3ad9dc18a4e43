"""The life of a finding: what a changed scope opens, keeps, fixes and opens again."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.identity import FP_VERSION, finding_uid
from tasks.core.types import Gap, Kind, ScanResult
from tasks.lake.changes import Change, Moment, Origin, Places, Status, Verdict, places_of
from tasks.lake.events import judged
from tasks.lake.findings import Transition, counted, transitions
from tasks.lake.schema import TABLES
from tasks.lake.shelves import bucket
from tests.lake_rows import KEY_ID, NIGHT, change_of, observation, result

Rows = dict[tuple[str, str, str], dict[str, Any]]


def moment(number: int) -> Moment:
    return Moment(run_id=f"run-{number}", seq=number, at=NIGHT + timedelta(days=number), key_id=KEY_ID)


def written(
    known: Sequence[Mapping[str, Any]],
    changes: Iterable[Change],
    now: Moment,
    places: Places | None = None,
) -> tuple[list[dict[str, Any]], int, int]:
    """(rows written, opened, fixed)"""
    tally = Counter[str]()
    found = list(counted(transitions(known, changes, now, places), known, frozenset(), tally))
    return [t.row for t in found], tally["opened"], tally["fixed"]


class Table:
    """The table of findings, merged by its key as the lake does."""

    def __init__(self) -> None:
        self.rows: Rows = {}
        self.night = 0

    def see(self, *changes: Change, places: Places | None = None) -> tuple[list[dict[str, Any]], int, int]:
        """One night; returns what was written and the two counts."""
        self.night += 1
        rows, opened, fixed = written(list(self.rows.values()), changes, moment(self.night), places)
        for row in rows:
            self.rows[row["finding_uid"], row["ref"], row["tool"]] = row
        return rows, opened, fixed

    def status(self) -> dict[str, str]:
        """Status by path."""
        return {str(r["path"]): r["status"] for r in self.rows.values()}

    def open_paths(self) -> set[str]:
        """Paths of open findings."""
        return {str(r["path"]) for r in self.rows.values() if r["is_open"]}

    def only(self) -> Mapping[str, Any]:
        (row,) = self.rows.values()
        return row


FLAW = observation("flaw")
OTHER = observation("other", "lib.py", 9)


def test_a_new_finding_opens() -> None:
    table = Table()
    rows, opened, fixed = table.see(change_of(result("1", FLAW)))
    assert (opened, fixed) == (1, 0)
    row = table.only()
    assert rows == [row]
    assert set(row) == set(TABLES["findings"].schema.names), "every column is given"
    assert row == {
        "finding_uid": finding_uid(repo_id="team/app", anchor_uid=FLAW.anchor_uid),
        "repo_id": "team/app",
        "shelf": f"p{bucket('team/app')}",
        "ref": "refs/heads/main",
        "tool": "bandit",
        "slug": "team/app",
        "anchor_uid": FLAW.anchor_uid,
        "kind": "code",
        "rule_id": "R1",
        "title": "a flaw",
        "severity_tool": "HIGH",
        "severity_score": None,
        "path": "app.py",
        "line_start": 3,
        "line_end": 3,
        "resource": None,
        "advisories": None,
        "occurrences": 1,
        "paths": None,
        "carry_uid": None,
        "flaw_uid": None,
        "status": "open",
        "is_open": True,
        "scan_status": "open",
        "origin": "code",
        "decision_id": None,
        "decided_until": None,
        "first_seen_run": "run-1",
        "first_seen_at": moment(1).at,
        "opened_run": "run-1",
        "opened_at": moment(1).at,
        "moved_from": None,
        "owners": None,
        "owner_from": None,
        "fixed_run": None,
        "fixed_at": None,
        "fixed_reason": None,
        "commit": result("1").commit,
        "unread_paths": None,
        "fp_version": FP_VERSION,
        "key_id": KEY_ID,
    }


def test_a_finding_seen_again_writes_nothing() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    assert table.see(change_of(result("2", FLAW))) == ([], 0, 0), "another commit alone is no change"
    assert table.only()["commit"] == result("1").commit


@pytest.mark.parametrize(
    "changed",
    [
        {"line": 7},
        {"severity_tool": "LOW"},
        {"extra": {"security_severity": "9.8"}},
        {"title": "another word"},
        {"resource": "aws_s3_bucket.b"},
    ],
)
def test_a_finding_that_moved_is_the_same_finding(changed: dict[str, Any]) -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    before = dict(table.only())
    rows, opened, fixed = table.see(change_of(result("2", observation("flaw", **changed))))
    assert (len(rows), opened, fixed) == (1, 0, 0)
    after = table.only()
    assert after["finding_uid"] == before["finding_uid"]
    assert {n: after[n] for n in ("status", "first_seen_run", "first_seen_at", "opened_run")} == {
        n: before[n] for n in ("status", "first_seen_run", "first_seen_at", "opened_run")
    }
    assert after != before


def test_a_finding_no_longer_seen_is_fixed() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW, OTHER)))
    rows, opened, fixed = table.see(change_of(result("2", OTHER)))
    assert (len(rows), opened, fixed) == (1, 0, 1)
    assert table.status() == {"app.py": "fixed", "lib.py": "open"}
    (row,) = rows
    assert (row["fixed_run"], row["fixed_at"], row["fixed_reason"]) == ("run-2", moment(2).at, "code_changed")
    assert (row["first_seen_run"], row["opened_run"]) == ("run-1", "run-1")
    assert row["commit"] == result("2").commit
    assert table.see(change_of(result("3", OTHER))) == ([], 0, 0), "it is fixed once"


def test_a_finding_seen_after_it_was_fixed_opens_again() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    table.see(change_of(result("2")))
    rows, opened, fixed = table.see(change_of(result("3", FLAW)))
    assert (len(rows), opened, fixed) == (1, 1, 0)
    row = table.only()
    assert (row["status"], row["opened_run"], row["opened_at"]) == ("reopened", "run-3", moment(3).at)
    assert (row["first_seen_run"], row["first_seen_at"]) == ("run-1", moment(1).at), "the first sighting stays"
    assert (row["fixed_run"], row["fixed_at"], row["fixed_reason"]) == (None, None, None)


def test_a_finding_on_a_path_that_was_not_read_stays_open() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW, OTHER)))
    gap = Gap(path="app.py", reason_code="unparsable")
    rows, opened, fixed = table.see(change_of(result("2", gaps=(gap,))))
    assert (opened, fixed) == (0, 1)
    assert [r["path"] for r in rows] == ["lib.py"], "a gap covers its own path only"
    assert table.status() == {"app.py": "open", "lib.py": "fixed"}
    assert table.see(change_of(result("3")))[1:] == (0, 1), "read without it, it closes"
    assert table.status() == {"app.py": "fixed", "lib.py": "fixed"}


def test_nothing_closes_while_something_unread_may_stand_anywhere() -> None:
    """A limit left blobs unread, and nobody knows their paths."""
    table = Table()
    table.see(change_of(result("1", FLAW, OTHER)))
    rest = Gap(path="", reason_code="total_size", detail="5 of 9 blobs were not read")
    assert table.see(change_of(result("2", FLAW, gaps=(rest,))))[1:] == (0, 0)
    assert set(table.status().values()) == {"open"}
    assert table.see(change_of(result("3", FLAW)))[1:] == (0, 1)


def test_a_gap_opens_nothing() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    table.see(change_of(result("2")))
    gap = Gap(path="app.py", reason_code="unparsable")
    assert table.see(change_of(result("3", gaps=(gap,)))) == ([], 0, 0)
    assert table.status() == {"app.py": "fixed"}


def test_another_finding_may_be_seen_on_a_path_that_was_read_in_part() -> None:
    table = Table()
    gap = Gap(path="app.py", reason_code="unparsable")
    table.see(change_of(result("1", FLAW, gaps=(gap,))))
    rows, opened, fixed = table.see(change_of(result("2", observation("second"), gaps=(gap,))))
    assert (len(rows), opened, fixed) == (1, 1, 0)
    assert {r["status"] for r in table.rows.values()} == {"open"}


@pytest.mark.parametrize(
    ("reason", "paths", "status", "cause"),
    [
        ("nothing_to_read", None, "fixed", "code_or_tool"),
        ("nothing_to_read", frozenset({"app.py", "lib.py"}), "fixed", "tool_changed"),
        ("nothing_to_read", frozenset({"README.md"}), "fixed", "file_gone"),
        ("empty_repository", frozenset(), "fixed", "file_gone"),
        ("ref_gone", frozenset(), "archived", "ref_gone"),
        ("repository_gone", None, "archived", "archived"),
    ],
)
def test_a_scope_with_nothing_left_to_read_closes_with_its_cause(
    reason: str, paths: frozenset[str] | None, status: str, cause: str
) -> None:
    table = Table()
    table.see(change_of(result("1", FLAW, OTHER)))
    gone = change_of(None, empty_reason=reason, commit=None, paths=lambda: paths)
    rows, opened, fixed = table.see(gone)
    assert (len(rows), opened, fixed) == (2, 0, 2 if status == "fixed" else 0), "what is archived is not mended"
    assert {(r["status"], r["fixed_reason"], r["is_open"]) for r in rows} == {(status, cause, False)}
    assert {r["commit"] for r in rows} == {None}


def test_scopes_never_close_each_other() -> None:
    table = Table()
    scopes: list[dict[str, Any]] = [
        {},
        {"repo_id": "team/fork"},
        {"ref": "refs/heads/release"},
        {"tool": "checkov"},
    ]
    table.see(*[change_of(result("1", FLAW, **s)) for s in scopes])
    assert len(table.rows) == 4, "one row a scope, though three share a finding_uid"
    # Three scopes share the finding: it is fixed when the last of them is.
    for closed, (scope, gone) in enumerate(zip(scopes, (0, 1, 0, 1), strict=True), start=1):
        rows, opened, fixed = table.see(change_of(result("2", **scope)))
        assert (len(rows), opened, fixed) == (1, 0, gone)
        assert sum(r["status"] == "fixed" for r in table.rows.values()) == closed

    def all_at_once(name: str, seen_in: int) -> tuple[int, int]:
        found = [result(name, *([FLAW] if n < seen_in else []), **s) for n, s in enumerate(scopes)]
        return table.see(*map(change_of, found))[1:]

    assert all_at_once("3", 2) == (2, 0)
    assert all_at_once("4", 4) == (0, 0)
    assert all_at_once("5", 2) == (0, 0)
    reopened = {(r["repo_id"], r["ref"], r["tool"]) for r in table.rows.values() if r["status"] == "reopened"}
    assert reopened == {
        ("team/app", "refs/heads/main", "bandit"),
        ("team/fork", "refs/heads/main", "bandit"),
    }


RELEASE = "refs/heads/release"


def test_a_finding_is_as_old_as_on_the_branch_that_held_it_longest() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW), origin=Origin.BACKLOG))
    table.see(change_of(None, empty_reason="ref_gone", commit=None))
    table.see(change_of(result("2", FLAW, ref=RELEASE)))
    lives = {r["ref"]: (r["status"], r["origin"], r["opened_run"], r["first_seen_run"]) for r in table.rows.values()}
    assert lives["refs/heads/release"] == ("open", "backlog", "run-1", "run-1")


def test_its_clock_starts_anew_when_no_branch_holds_it_since_one_mended_it() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)), change_of(result("1", FLAW, ref=RELEASE)))
    table.see(change_of(result("2")))
    table.see(change_of(result("3", FLAW)))
    assert table.rows[next(iter(table.rows))]["opened_run"] == "run-1", "the other branch held it all the time"
    table.see(change_of(None, ref=RELEASE, empty_reason="ref_gone", commit=None))
    table.see(change_of(result("4")))
    table.see(change_of(result("5", FLAW)), change_of(result("5", FLAW, ref=RELEASE)))
    assert {r["opened_run"] for r in table.rows.values()} == {"run-6"}


def test_a_decision_about_what_nobody_watches_opens_nothing() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    old, tally = table.only(), Counter[str]()
    verdict = Verdict(decision_id="d", status=Status.ACCEPTED, until=moment(9).at)
    found = itertools.starmap(Transition, judged([old], lambda _row: verdict, moment(2)))
    (told,) = counted(found, [old], {(old["repo_id"], old["ref"], old["tool"])}, tally)
    assert (told.row["status"], tally["opened"], tally["fixed"]) == ("accepted", 0, 0)


def test_a_gap_of_one_scope_keeps_nothing_open_in_another() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)), change_of(result("1", FLAW, ref="refs/heads/release")))
    gap = Gap(path="app.py", reason_code="unparsable")
    table.see(change_of(result("2")), change_of(result("2", ref="refs/heads/release", gaps=(gap,))))
    assert {r["ref"]: r["status"] for r in table.rows.values()} == {
        "refs/heads/main": "fixed",
        "refs/heads/release": "open",
    }


def test_an_unchanged_scope_is_not_looked_at() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    known = list(table.rows.values())
    assert written(known, [], moment(2)) == ([], 0, 0)
    foreign = change_of(result("2", repo_id="team/other"))
    assert written(known, [foreign], moment(2)) == ([], 0, 0), "rows of other scopes are left alone"


def test_one_anchor_at_many_places_is_one_finding_described_by_the_first() -> None:
    table = Table()
    places = [("z.env", 1), ("a.env", 9), ("a.env", 2), (None, None)]
    seen = [observation("secret", path, line, kind=Kind.SECRET) for path, line in places]
    assert table.see(change_of(result("1", *seen[:3])))[1] == 1
    row = table.only()
    assert (row["path"], row["line_start"], row["occurrences"]) == ("a.env", 2, 3)
    assert table.see(change_of(result("2", *reversed(seen[:3])))) == ([], 0, 0), "their order says nothing"
    table.see(change_of(result("3", seen[0])))
    assert (table.only()["path"], table.only()["occurrences"]) == ("z.env", 1)


def test_a_renamed_repository_keeps_its_findings() -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    rows, opened, fixed = table.see(change_of(result("2", FLAW), slug="team/renamed"))
    assert ([r["slug"] for r in rows], opened, fixed) == (["team/renamed"], 0, 0)


ANCHORS = st.frozensets(st.sampled_from("abcde"))


@given(st.lists(st.tuples(ANCHORS, ANCHORS), max_size=8))
def test_any_history_of_nights(nights: list[tuple[frozenset[str], frozenset[str]]]) -> None:
    table = Table()
    open_now: set[str] = set()
    ever: set[str] = set()
    for n, (seen, unread) in enumerate(nights):
        gaps = tuple(Gap(path=f"{a}.py", reason_code="unparsable") for a in sorted(unread))
        found = result(str(n), *[observation(a, f"{a}.py") for a in sorted(seen)], gaps=gaps)
        _rows, opened, fixed = table.see(change_of(found))
        now = seen | (open_now & unread)
        assert opened == len(now - open_now)
        assert fixed == len(open_now - now)
        open_now, ever = set(now), ever | seen
        assert table.open_paths() == {f"{a}.py" for a in open_now}
        assert set(table.status()) == {f"{a}.py" for a in ever}, "no finding is forgotten"
        assert all((r["status"] == "fixed") == (r["fixed_run"] is not None) for r in table.rows.values())


BROKEN = (Gap(path="b.py", reason_code="unparsable"),)
TWO_PLACES = (observation("flaw", "a.py", 3), observation("flaw", "b.py", 7))


def nights(*results: ScanResult) -> list[tuple[str, list[str] | None]]:
    """Status and ``unread_paths`` of the one finding after each night, whose results follow one another."""
    table, told = Table(), []
    for n, now in enumerate(results):
        before = results[n - 1] if n else None
        change = replace(change_of(now), before=before.result_name if before else None)
        seen = [(before.result_name, o.anchor_uid, o.path) for o in before.observations] if before else []
        table.see(change, places=places_of(seen))
        told.append((table.only()["status"], table.only()["unread_paths"]))
    return told


def test_a_finding_of_several_places_stays_open_while_one_of_them_is_unread() -> None:
    """However many nights that takes: the results between them know nothing of it."""
    gone = [result(n, gaps=BROKEN) for n in "23"]
    assert nights(result("1", *TWO_PLACES), *gone, result("4")) == [
        ("open", None), ("open", ["b.py"]), ("open", ["b.py"]), ("fixed", None),
    ]  # fmt: skip


def test_a_place_that_was_unread_counts_also_when_the_finding_was_seen_at_another() -> None:
    seen = result("2", TWO_PLACES[0], gaps=BROKEN)
    assert nights(result("1", *TWO_PLACES), seen, result("3", gaps=BROKEN), result("4", *TWO_PLACES)) == [
        ("open", None), ("open", ["b.py"]), ("open", ["b.py"]), ("open", None),
    ]  # fmt: skip


def test_a_gap_without_a_path_may_be_any_of_the_places() -> None:
    anywhere = result("2", gaps=(Gap(path="", reason_code="unreadable_by_tool"),))
    assert nights(result("1", *TWO_PLACES), anywhere, result("3", gaps=BROKEN), result("4")) == [
        ("open", None), ("open", ["a.py", "b.py"]), ("open", ["b.py"]), ("fixed", None),
    ]  # fmt: skip


def test_trees_are_compared_only_where_something_came_or_is_gone() -> None:
    """Of an upgrade in all repositories, the paths of all trees are more than memory should hold."""
    table, asked = Table(), list[str]()
    same = lambda: asked.append("paths") or frozenset({"app.py"})  # noqa: E731
    table.see(change_of(result("1", FLAW)))
    table.see(change_of(result("2", FLAW), other_tool=True, same_paths=same))
    assert asked == []
    second, third = observation("second"), observation("third")
    table.see(change_of(result("3", second, third), other_tool=True, same_paths=same))
    assert asked == ["paths"], "once a scope"
    assert {(r["status"], r["origin"], r["fixed_reason"]) for r in table.rows.values()} == {
        ("fixed", "code", "tool_changed"), ("open", "rules", None),
    }  # fmt: skip


@pytest.mark.parametrize("nothing", [True, False], ids=["nothing to read", "read without it"])
@pytest.mark.parametrize(
    ("paths", "rules", "reason"),
    [
        (None, None, ""),
        (frozenset({"app.py"}), frozenset({"R2"}), ""),
        (frozenset({"lib.py"}), frozenset({"R2"}), "file_gone"),
        (frozenset(), None, "file_gone"),
        (frozenset({"app.py"}), frozenset({"R1"}), "code_changed"),
    ],
    ids=["cannot be told", "there", "another file", "no file", "the rule did run"],
)
def test_a_finding_of_a_rule_that_did_not_run_stays_while_its_file_is_there(
    nothing: bool, paths: frozenset[str] | None, rules: frozenset[str] | None, reason: str
) -> None:
    table = Table()
    table.see(change_of(result("1", FLAW)))
    change = replace(change_of(result("2")), not_run=frozenset({"R*"}), rules=rules, paths=lambda: paths)
    table.see(replace(change, result=None, empty_reason="empty_repository") if nothing else change)
    wanted = "tool_changed" if nothing and reason == "code_changed" else reason
    assert (table.only()["fixed_reason"] or "") == wanted
