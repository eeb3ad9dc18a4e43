"""A newer tool or newer rules: looked at within the nightly budget, and findings that vanish say why."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.core.keys import HmacKey
from tasks.core.types import Cause, Outcome, Parsed, RawReport, ScopeState, Target, Unit
from tasks.lake.views import run_query
from tasks.patrol import publishing, scanning
from tasks.patrol.plan import Action, Planned, within_budget
from tasks.repos import trees
from tests import patrols
from tests.patrols import CLOCK, SECONDS_A_FILE, FakeTool, House
from tests.unit.test_plan import planned, scope

NIGHT = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def looked_at(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three repositories, looked at by version 1; ``b`` has the oldest evidence."""
    house = House(tmp_path_factory.mktemp("looked-at"), rules=("F1", "F2"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "time", SimpleNamespace(monotonic=CLOCK.monotonic))
        for number, slug in enumerate("bca"):
            house.commit(slug, t=f"flaw {slug}")
            house.run(at=NIGHT + timedelta(hours=number))
    return house.place


@pytest.fixture
def house(looked_at: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """The same for one test alone."""
    monkeypatch.setattr(scanning, "time", SimpleNamespace(monotonic=CLOCK.monotonic))
    shutil.copytree(looked_at, tmp_path, symlinks=True, dirs_exist_ok=True)
    return House(tmp_path, rules=("F1", "F2"))


def said(house: House) -> dict[str, tuple[str, str | None, str]]:
    """Outcome, reason and tool version of the newest run, by repository."""
    run = house.lake().snapshot().run
    assert run is not None
    rows = house.rows("scans", run_id=[run["run_id"]])
    return {r["slug"]: (r["outcome"], r["reason_code"], r["tool_version"]) for r in rows}


def reasons(house: House) -> dict[str, str | None]:
    return {f["path"]: f["fixed_reason"] if f["status"] == "fixed" else None for f in house.rows("findings")}


AWAITS = ("unchanged", "awaiting_upgrade", "1")


# -- the budget ---------------------------------------------------------------------------------------------------


def test_an_upgrade_takes_the_oldest_first_and_the_next_nights_do_the_rest(house: House) -> None:
    house.version, house.upgrade_s = "2", 1.5 * SECONDS_A_FILE
    summary = house.run()
    assert said(house) == {"b": ("ok", None, "2"), "c": AWAITS, "a": AWAITS}
    assert summary is not None
    assert (summary.awaiting, summary.gap_rows) == (2, 0), "awaiting is no gap"
    assert "2 await an upgrade" in summary.sentence()
    house.run()
    assert said(house) == {"b": ("unchanged", None, "2"), "c": ("ok", None, "2"), "a": AWAITS}
    last = house.run()
    assert said(house)["a"] == ("ok", None, "2")
    assert last is not None and last.awaiting == 0 and "await" not in last.sentence()
    assert house.starts == ["b", "c", "a"]


def test_a_row_that_awaits_refers_to_the_look_that_stands(house: House) -> None:
    before = {r["slug"]: r for r in house.rows("scopes")}
    house.version, house.upgrade_s = "2", 0
    house.run()
    assert set(said(house).values()) == {AWAITS}
    run = house.lake().snapshot().run
    assert run is not None
    for row in house.rows("scans", run_id=[run["run_id"]]):
        for column in ("scan_name", "result_name", "config_digest", "rules_digest", "observations"):
            assert row[column] == before[row["slug"]][column], column
        assert row["cause"] == "tool"
        assert row["detail"] == "looked at with 1"
    assert {r["slug"]: r for r in house.rows("scopes")} == before
    assert house.starts == []


def unfetched(house: House, _: pytest.MonkeyPatch) -> None:
    for slug in "abc":
        (house.repo(slug).git_dir / "packed-refs").write_bytes(b"\x00garbage that is no ref\n")


def uninstalled(_: House, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(patrols, "ToolHome", lambda **_: "it is not installed")


@pytest.mark.parametrize(
    ("fault", "told"),
    [(unfetched, ("stale", "fetch_stale", "1")), (uninstalled, ("failed", "tool_missing", None))],
    ids=["stale", "failed"],
)
def test_who_awaits_is_no_longer_what_the_night_before_failed_at(
    house: House, fault: Callable[[House, pytest.MonkeyPatch], None], told: tuple[str, str, str | None]
) -> None:
    house.commit("c", u="unread")
    house.run()
    before = house.rows("scopes")
    with pytest.MonkeyPatch.context() as patch:
        fault(house, patch)
        house.run()
        assert set(said(house).values()) == {told}
    for packed in house.place.glob("org/*/.git/packed-refs"):
        packed.unlink()
    house.version, house.upgrade_s = "2", 0
    summary = house.run()
    assert set(said(house).values()) == {AWAITS}
    columns = ("outcome", "reason_code", "commit", "tips", "tool_version", "evidence_at", "attempts")
    after = house.rows("scopes")
    of = {r["slug"]: {c: r[c] for c in columns} for r in before}
    assert {r["slug"]: {c: r[c] for c in columns} for r in after} == of
    assert {r["slug"]: r["outcome"] for r in after} == {"a": "ok", "b": "ok", "c": "partial"}
    _, gaps = run_query(house.lake().snapshot(), "SELECT slug, reason_code, path FROM gaps_now")
    assert list(gaps) == [("c", "unparsable", "u.txt")]
    assert summary is not None and summary.gap_rows == 1


def test_a_look_longer_than_the_budget_is_done_alone(house: House) -> None:
    house.version, house.upgrade_s = "2", 1.0
    house.run()
    assert house.starts == ["b"]


def test_changed_files_are_always_looked_at(house: House) -> None:
    house.version, house.upgrade_s = "2", 0
    house.commit("a", t="other")
    house.run()
    assert said(house) == {"a": ("ok", None, "2"), "b": AWAITS, "c": AWAITS}


def test_a_commit_that_leaves_the_files_alone_awaits(house: House) -> None:
    house.version, house.upgrade_s = "2", 0
    house.repo("a").commit({"README.md": b"words"})
    house.run()
    assert said(house)["a"] == AWAITS


def test_rules_of_another_language_await_where_the_commit_is_the_same(house: House) -> None:
    """They read other files: the name under the old configuration cannot be told from the new list."""
    house.repo("a").commit({"x.md": b"flaw"})
    house.run()
    wider = replace(FakeTool().reads, suffixes=(b".md", b".txt"))
    house.scanners, house.upgrade_s = (FakeTool(reads=wider),), 0
    house.run()
    assert said(house)["a"] == AWAITS


def test_newer_rules_await_too(house: House) -> None:
    house.rules_digest, house.upgrade_s = "s", 0
    house.run()
    assert set(said(house).values()) == {AWAITS}


def test_force_ignores_the_budget(house: House) -> None:
    house.version, house.upgrade_s = "2", 0
    house.run(force=True)
    assert sorted(house.starts) == ["a", "b", "c"]


def test_the_plan_says_who_awaits(house: House) -> None:
    house.version, house.upgrade_s = "2", 1.5 * SECONDS_A_FILE
    plans = house.plan()
    assert {slug: p.action for slug, p in plans.items()} == {"b": Action.RUN, "c": Action.AWAIT, "a": Action.AWAIT}


def test_killed_and_run_again_every_repository_is_looked_at_once(house: House) -> None:
    house.version = "2"
    assert house.run(kill_at=2) is None
    house.run()
    assert sorted(house.starts) == ["a", "b", "c"]
    assert {version for _, _, version in said(house).values()} == {"2"}


def test_twins_are_looked_at_once_and_await_together(house: House) -> None:
    house.commit("z", t="flaw b")  # the same as b's
    house.run(at=NIGHT + timedelta(hours=9))
    house.version, house.upgrade_s = "2", 1.5 * SECONDS_A_FILE
    house.run()
    assert said(house) == {"b": ("ok", None, "2"), "z": ("unchanged", None, "2"), "c": AWAITS, "a": AWAITS}


def test_a_twin_that_cannot_wait_takes_the_others_along(house: House) -> None:
    """A new repository with the same files: the look is needed tonight, and serves both."""
    house.version, house.upgrade_s = "2", 0
    house.commit("z", t="flaw a")
    house.run()
    assert said(house)["z"][0::2] in (("ok", "2"), ("unchanged", "2"))
    assert said(house)["a"][0::2] in (("ok", "2"), ("unchanged", "2"))
    assert said(house)["b"] == AWAITS


def look(slug: str, at: int | None, **more: Any) -> tuple[Planned, ScopeState]:
    p = planned(repo_id=slug, slug=slug, cause=Cause.TOOL, scan_name=more.pop("name", slug), same_files=True, **more)
    evidence = NIGHT + timedelta(days=at) if at is not None else None
    return p, scope(repo_id=slug, evidence_at=evidence, outcome=Outcome.OK)


def chosen(budget_s: float, *looks: tuple[Planned, ScopeState], cost_s: float = 10.0) -> dict[str, Action]:
    states = {p.scope: state for p, state in looks}
    left = within_budget([p for p, _ in looks], lambda p: states[p.scope], lambda _: cost_s, budget_s)
    return {p.slug: p.action for p in left}


def test_evidence_of_an_unknown_age_is_the_oldest() -> None:
    assert chosen(10, look("a", 1), look("b", None)) == {"a": Action.AWAIT, "b": Action.RUN}


def test_a_twin_costs_nothing_and_lends_its_age() -> None:
    looks = (look("a", 5, name="same"), look("b", 3), look("c", 1, name="same", leader=False))
    assert chosen(10, *looks) == {"a": Action.RUN, "b": Action.AWAIT, "c": Action.RUN}
    assert chosen(0, *looks) == dict.fromkeys("abc", Action.AWAIT)


# -- why a finding is gone ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, {"t.txt": "code_changed", "u.txt": None}),
        ({"rules": ("F2",), "rules_digest": "s", "harmless": frozenset({"flaw"})},
         {"t.txt": "rule_gone", "u.txt": "rule_gone"}),
        ({"rules_digest": "s", "harmless": frozenset({"flaw"})}, {"t.txt": "code_or_tool", "u.txt": "tool_changed"}),
        ({"version": "2", "harmless": frozenset({"flaw"})}, {"t.txt": "code_or_tool", "u.txt": "tool_changed"}),
        ({"version": "2"}, {"t.txt": "code_or_tool", "u.txt": None}),
        ({"scanners": (FakeTool(parse_revision=2),)}, {"t.txt": "code_or_tool", "u.txt": None}),
        ({"rules": ("F2",), "rules_digest": "s", "harmless": frozenset({"flaw"}), "not_run": frozenset({"F1"})},
         {"t.txt": None, "u.txt": None}),
        ({"rules": ("F2",), "rules_digest": "s", "harmless": frozenset({"flaw"}), "not_run": frozenset({"F*"})},
         {"t.txt": None, "u.txt": None}),
        ({"rules": None, "rules_digest": "s", "harmless": frozenset({"flaw"}), "not_run": frozenset({"F1"})},
         {"t.txt": None, "u.txt": None}),
        ({"rules_digest": "s", "harmless": frozenset({"flaw"}), "not_run": frozenset({"F1", "F*"})},
         {"t.txt": "code_or_tool", "u.txt": "tool_changed"}),  # the rule is in force: it did run
        ({"rules_digest": "s", "harmless": frozenset({"flaw"}), "not_run": frozenset({"F11", "E*"})},
         {"t.txt": "code_or_tool", "u.txt": "tool_changed"}),
    ],
)  # fmt: skip
def test_a_finding_says_why_it_is_gone(tmp_path: Path, change: dict[str, Any], why: dict[str, str | None]) -> None:
    """The file ``t.txt`` changes too, and is mended; ``u.txt`` stays as it is."""
    house = House(tmp_path, rules=("F1", "F2"))
    house.commit("a", t="flaw", u="flaw")
    house.run()
    for name, value in change.items():
        setattr(house, name, value)
    house.commit("a", t="mended")
    house.run()
    assert reasons(house) == why


def test_a_reading_by_a_newer_parser_counts_as_another_tool(tmp_path: Path) -> None:
    class Blind(FakeTool):
        def parse(self, report: Any, target: Any, key: Any) -> Any:
            return replace(FakeTool.parse(self, report, target, key), observations=())

    house = House(tmp_path, rules=("F1",))
    house.commit("a", t="flaw")
    house.run()
    house.scanners = (Blind(parse_revision=2),)
    house.run()
    assert reasons(house) == {"t.txt": "tool_changed"}


@pytest.mark.parametrize(
    ("commit", "why"),
    [
        ({}, {"t.txt": "tool_changed", "u.txt": "tool_changed"}),
        ({"README.md": b"words"}, {"t.txt": "tool_changed", "u.txt": "tool_changed"}),
        ({"u.txt": b"other flaw"}, {"t.txt": "code_or_tool", "u.txt": "code_or_tool"}),
        ({"v.txt": b"new"}, {"t.txt": "code_or_tool", "u.txt": "code_or_tool"}),
    ],
    ids=["nothing", "what it does not read", "another file", "one more file"],
)
def test_to_a_tool_that_reads_a_tree_every_file_may_matter(
    tmp_path: Path, commit: dict[str, bytes], why: dict[str, str]
) -> None:
    house = House(tmp_path, scanners=(FakeTool(unit=Unit.TREE),))
    house.commit("a", t="flaw", u="flaw")
    house.run()
    house.version, house.harmless = "2", frozenset({"flaw"})
    if commit:
        house.repo("a").commit(commit)
    house.run()
    assert reasons(house) == why


class Historical(FakeTool):
    """The tool for a history: it is given blobs by their ids, and finds flaws wherever they stood."""

    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        parsed = FakeTool.parse(self, report, target, key)
        if "control" in target.commit:
            return parsed
        found = []
        for o in parsed.observations:
            blob = str(o.path).rsplit("/", 1)[-1]
            places = [p.path for p in target.occurrences.get(blob, ())] if target.occurrences is not None else [None]
            found += [replace(o, blob=blob, path=p, anchor_uid=blob, occurrence_uid=f"{blob} {p}") for p in places]
        return replace(parsed, observations=tuple(found))


@pytest.mark.parametrize(("moved", "why"), [(False, "tool_changed"), (True, "code_or_tool")])
def test_in_a_history_everything_is_the_same_while_no_ref_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool, why: str
) -> None:
    house = House(tmp_path, scanners=(Historical(unit=Unit.BLOB),))
    house.commit("a", t="flaw", u="a flaw")
    house.commit("a", t="mended")
    house.run()
    assert reasons(house) == {"t.txt": None, "u.txt": None}
    house.version, house.harmless = "2", frozenset({"flaw"})
    if moved:
        house.commit("a", v="new")
    monkeypatch.setattr(publishing, "read_tree", lambda *_: pytest.fail("no tree need be read"))
    house.run()
    assert reasons(house) == {"t.txt": why, "u.txt": why}


@pytest.mark.parametrize(
    ("harmless", "why"),
    [
        (frozenset({"flaw"}), {"t.txt": "code_or_tool", "u.txt": "code_or_tool"}),
        (frozenset(), {"t.txt": "code_or_tool", "u.txt": None}),
    ],
    ids=["a tool that is content", "a tool that finds the same"],
)
def test_where_the_old_commit_is_gone_nobody_knows_which_it_was(
    tmp_path: Path, harmless: frozenset[str], why: dict[str, str | None]
) -> None:
    house = House(tmp_path)
    house.commit("a", t="flaw", u="flaw")
    house.run()
    house.version, house.harmless = "2", harmless
    house.repo("a").git("checkout", "-q", "--orphan", "fresh")
    house.commit("a", t="mended", u="flaw", v="new")
    house.repo("a").git("branch", "-q", "-M", "main")
    for mirror in (tmp_path / "mirrors").glob("??/*"):
        shutil.rmtree(mirror) if mirror.is_dir() else mirror.unlink()
    trees._cache.clear()  # it is another process
    house.run()
    assert reasons(house) == why


@pytest.mark.parametrize("first", [(), ("b",)], ids=["twins of one night", "known to the ledger"])
def test_of_twins_each_is_asked_for_its_own_files(tmp_path: Path, first: tuple[str, ...]) -> None:
    """They share a result, not their commits: the old one of ``z`` is in no other mirror."""
    house = House(tmp_path, rules=("F1",))
    house.commit("b", t="flaw", u="flaw")
    house.repo("z").commit({"README.md": b"words"})
    house.commit("z", t="flaw", u="flaw")
    house.run()
    house.version, house.harmless = "2", frozenset({"flaw"})
    for slug in "bz":
        house.commit(slug, t="mended")
    house.starts.clear()
    if first:
        house.run(only=first)
    house.run()
    assert house.starts == ["b"]
    why = {(f["slug"], f["path"]): f["fixed_reason"] for f in house.rows("findings")}
    assert why == {(slug, f"{t}.txt"): r for slug in "bz" for t, r in (("t", "code_or_tool"), ("u", "tool_changed"))}


# -- the table of rules -------------------------------------------------------------------------------------------


def test_rules_are_written_once_for_each_version_that_is_used(tmp_path: Path) -> None:
    house = House(tmp_path, rules=("F1",))
    house.commit("a", t="flaw")
    house.run()
    house.run()
    house.commit("a", t="flaw again")
    house.run()
    house.version, house.rules = "2", ("F1", "F3")
    house.run()
    house.run()
    rows = sorted((r["tool_version"], r["rule_id"], r["title"]) for r in house.rows("rules"))
    assert rows == [("1", "F1", "about F1"), ("2", "F1", "about F1"), ("2", "F3", "about F3")]


def test_rules_that_became_known_later_are_written_with_the_next_look(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.commit("a", t="flaw")
    house.run()
    assert house.rows("rules") == []
    house.rules = ("F1",)
    house.commit("a", t="flaw again")
    house.run()
    assert [r["rule_id"] for r in house.rows("rules")] == ["F1"]
