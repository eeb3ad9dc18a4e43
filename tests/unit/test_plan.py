"""The plan: names, causes, back-off, twins and estimates; pure, nothing is started."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.origins import OddTag
from tasks.core.types import Cause, Limits, Outcome, ScopeState, ToolHome, TreeEntry, Unit, digest
from tasks.patrol.plan import (
    BACK_OFF,
    Action,
    Estimates,
    Options,
    Planned,
    config_digest,
    decide,
    follow_twins,
    history_scan_name,
    next_attempt_at,
    result_name,
    revision_of,
    tree_scan_name,
)
from tasks.scanners.bandit import BANDIT
from tasks.scanners.limited import with_limits

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOOL = ToolHome(
    name="bandit", version="1.9.4", executable=Path("/opt/b/bin/bandit"), mounts=(), rules_digest="r1", origin="test"
)
CONFIG = config_digest(BANDIT, TOOL)
FILES = (
    TreeEntry(path=b"a.py", mode="100644", blob="a" * 40, size_bytes=1),
    TreeEntry(path=b"b/c.py", mode="100755", blob="b" * 40, size_bytes=2),
)
NAME = tree_scan_name(CONFIG, FILES)


def planned(**more: Any) -> Planned:
    values: dict[str, Any] = {
        "repo_id": "r", "slug": "team/r", "ref": "refs/heads/main", "tool": "bandit", "unit": Unit.FILE,
        "action": Action.RUN, "cause": Cause.NONE, "commit": "c" * 40, "scan_name": NAME, "config_digest": CONFIG,
    }  # fmt: skip
    return Planned(**(values | more))


def scope(**more: Any) -> ScopeState:
    values: dict[str, Any] = {
        "repo_id": "r", "ref": "refs/heads/main", "tool": "bandit", "slug": "team/r", "source": "s",
        "scan_name": NAME, "result_name": result_name(NAME, BANDIT.parse_revision), "config_digest": CONFIG,
        "tool_version": TOOL.version, "rules_digest": TOOL.rules_digest, "outcome": Outcome.OK,
    }  # fmt: skip
    return ScopeState(**(values | more))


def decided(state: ScopeState | None = None, **more: Any) -> Planned:
    given_: dict[str, Any] = {
        "state": state, "scanner": BANDIT, "tool": TOOL, "done": {}, "unpublished": (), "options": Options(),
        "now": NOW,
    }  # fmt: skip
    base = more.pop("base", planned())
    return decide(base, **(given_ | more))


# -- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        replace(FILES[0], path=b"z.py"),
        replace(FILES[0], mode="100755"),
        replace(FILES[0], blob="d" * 40),
    ],
)
def test_a_tree_name_follows_path_mode_and_blob(changed: TreeEntry) -> None:
    assert tree_scan_name(CONFIG, (changed, FILES[1])) != NAME


def test_a_tree_name_follows_nothing_else() -> None:
    assert tree_scan_name(CONFIG, reversed(FILES)) == NAME
    assert tree_scan_name(CONFIG, (replace(FILES[0], size_bytes=9), FILES[1])) == NAME


def test_a_configuration_follows_everything_that_can_change_a_result() -> None:
    others = {
        config_digest(BANDIT, replace(TOOL, version="1.9.5")),
        config_digest(BANDIT, replace(TOOL, rules_digest="r2")),
        config_digest(replace(BANDIT, revision=BANDIT.revision + 1), TOOL),
        config_digest(with_limits(BANDIT, replace(BANDIT.limits, max_files=3)), TOOL),
        config_digest(with_limits(BANDIT, Limits()), TOOL),
        config_digest(replace(BANDIT, unit=Unit.TREE), TOOL),
        config_digest(replace(BANDIT, reads=replace(BANDIT.reads, suffixes=(b".py",))), TOOL),
    }
    assert len(others - {CONFIG}) == 7
    assert config_digest(BANDIT, replace(TOOL, executable=Path("/elsewhere"), origin="x")) == CONFIG
    assert config_digest(replace(BANDIT, parse_revision=9), TOOL) == CONFIG


@given(st.lists(st.text("0123456789abcdef", min_size=40, max_size=40), min_size=1, max_size=8))
def test_a_history_name_follows_the_set_of_tips(tips: list[str]) -> None:
    name = history_scan_name(CONFIG, tips)
    assert history_scan_name(CONFIG, [*reversed(tips), tips[0]]) == name
    assert history_scan_name(CONFIG, [*tips, "0" * 39 + "g"]) != name
    assert name == digest("history", CONFIG, "\n".join(sorted(set(tips)))), "what the ledgers that are there say"


def test_a_history_name_follows_the_names_of_tagged_blobs() -> None:
    """A tagged blob stands at its tag's name; a tagged tree has paths of its own."""
    blob, tree = OddTag(kind="blob", oid="b" * 40), OddTag(kind="tree", oid="d" * 40)
    tips = ["a" * 40, blob.oid, tree.oid]
    odd = [
        {},
        {"refs/tags/one": blob},
        {"refs/tags/two": blob},
        {"refs/tags/one": blob, "refs/tags/two": blob},
        {"refs/tags/one": replace(blob, oid="c" * 40)},
    ]
    names = [history_scan_name(CONFIG, tips, o) for o in odd]
    assert len(set(names)) == len(odd)
    assert history_scan_name(CONFIG, tips, {"refs/tags/of-a-tree": tree, "refs/tags/one": blob}) == names[1]


def test_a_result_name_tells_its_revision() -> None:
    assert revision_of(result_name(NAME, 7)) == 7
    assert revision_of(result_name(NAME, 12) + "+0123abcd") == 12


# -- causes -----------------------------------------------------------------------------------------------------


def test_what_the_scope_holds_is_kept() -> None:
    kept = decided(scope())
    assert (kept.action, kept.cause, kept.result_name) == (Action.KEEP, Cause.NONE, scope().result_name)


def test_a_forced_result_is_kept_as_well() -> None:
    name = f"{scope().result_name}+0123abcd"
    assert decided(scope(result_name=name)).result_name == name


@pytest.mark.parametrize(
    ("state", "cause"),
    [
        (None, Cause.NEW),
        (scope(scan_name=None, result_name=None), Cause.NEW),
        (scope(scan_name="other", result_name="other.1"), Cause.CHANGED),
        (scope(scan_name="other", result_name="other.1", config_digest="x", tool_version="1.0"), Cause.TOOL),
        (scope(scan_name="other", result_name="other.1", config_digest="x", rules_digest="r0"), Cause.RULES),
        (scope(scan_name="other", result_name="other.1", config_digest="x"), Cause.TOOL),
        (scope(scan_name="other", result_name="other.1", failed_name=NAME), Cause.RETRY),
        (scope(scan_name=None, result_name=None, failed_name="another"), Cause.CHANGED),
    ],
)
def test_why_a_scan_runs(state: ScopeState | None, cause: Cause) -> None:
    done = decided(state)
    assert (done.action, done.cause) == (Action.RUN, cause)
    assert done.result_name == result_name(NAME, BANDIT.parse_revision)


def test_a_known_name_is_reused_by_other_scopes() -> None:
    done = decided(None, done={NAME: result_name(NAME, 1)})
    assert (done.action, done.cause, done.result_name) == (Action.REUSE, Cause.NEW, result_name(NAME, 1))


def test_a_newer_parser_reads_the_kept_report() -> None:
    newer = replace(BANDIT, parse_revision=2)
    old = result_name(NAME, 1)
    done = decided(scope(), scanner=newer, done={NAME: old})
    assert (done.action, done.cause, done.result_name) == (Action.REREAD, Cause.PARSER, result_name(NAME, 2))


def test_force_scans_what_is_known_but_not_what_a_killed_run_finished() -> None:
    forced = Options(force=True)
    assert decided(scope(), options=forced, done={NAME: result_name(NAME, 1)}).action is Action.RUN
    again = decided(scope(), options=forced, done={NAME: result_name(NAME, 1)}, unpublished={NAME})
    assert (again.action, again.cause) == (Action.REUSE, Cause.FORCED)


# -- back-off -----------------------------------------------------------------------------------------------------


def test_back_off_grows_and_stays() -> None:
    waits = [next_attempt_at(n, NOW) - NOW for n in range(1, 9)]
    assert waits[: len(BACK_OFF)] == list(BACK_OFF)
    assert waits[0] == timedelta(0)
    assert waits == sorted(waits)
    assert set(waits[len(BACK_OFF) :]) == {BACK_OFF[-1]}


def test_a_failure_waits_until_its_time_unless_told() -> None:
    failed = scope(
        scan_name=None, result_name=None, failed_name=NAME, attempts=2, outcome=Outcome.TIMEOUT, reason_code="timeout",
        next_attempt_at=NOW + timedelta(hours=1),
    )  # fmt: skip
    waiting = decided(failed)
    assert (waiting.action, waiting.outcome, waiting.reason_code) == (Action.WAIT, Outcome.TIMEOUT, "timeout")
    assert "2 attempts" in waiting.detail
    assert decided(failed, options=Options(retry_failed=True)).action is Action.RUN
    assert decided(failed, now=NOW + timedelta(hours=1)).action is Action.RUN
    assert decided(failed, base=planned(scan_name="changed meanwhile")).action is Action.RUN


@pytest.mark.parametrize(
    ("attempts", "tried", "waits"),
    [(2, -1, True), (2, 0, True), (2, 1, False), (2, 90_000, False), (9, -95, True), (9, 1, False)],
)
def test_a_clock_that_was_ahead_delays_nothing_for_years(attempts: int, tried: int, waits: bool) -> None:
    """``tried`` in hours from now: who failed in a time that is still to come did not fail yet."""
    failed = scope(
        failed_name=NAME, scan_name=None, result_name=None, attempts=attempts, outcome=Outcome.FAILED,
        reason_code="signal", next_attempt_at=next_attempt_at(attempts, NOW + timedelta(hours=tried)),
    )  # fmt: skip
    assert (decided(failed).action is Action.WAIT) == waits


# -- estimates ----------------------------------------------------------------------------------------------------

WHOLE = (Cause.NEW, Cause.TOOL, Cause.RULES, Cause.FORCED)
PART = (Cause.CHANGED, Cause.RETRY, Cause.PARSER)


def estimate(cause: Cause, *states: ScopeState, repo_id: str = "r", tool: str = "bandit") -> float | None:
    return Estimates(states).of((repo_id, "refs/heads/main", tool), cause)


@pytest.mark.parametrize("cause", WHOLE + PART)
def test_a_whole_look_is_estimated_by_the_last_whole_look(cause: Cause) -> None:
    others = [scope(repo_id=f"o{n}", duration_s=50.0, whole_duration_s=50.0) for n in range(3)]
    looked = scope(duration_s=1.0, whole_duration_s=3600.0)
    assert estimate(cause, looked, *others) == (3600.0 if cause in WHOLE else 1.0)


@pytest.mark.parametrize("cause", WHOLE + PART)
def test_where_a_scope_has_no_duration_its_tools_median_counts(cause: Cause) -> None:
    others = [scope(repo_id=f"o{n}", duration_s=float(n), whole_duration_s=100.0 * n) for n in (1, 2, 9)]
    foreign = scope(repo_id="z", tool="checkov", duration_s=7.0, whole_duration_s=8.0)
    reused = scope()
    assert estimate(cause, reused, *others, foreign) == (200.0 if cause in WHOLE else 2.0)
    # Without a result there is nothing to extend: whatever the cause, everything is read.
    for without in ((), (scope(scan_name=None, result_name=None, failed_name=NAME),)):
        assert estimate(cause, *without, *others, foreign) == 200.0


def test_an_estimate_of_the_other_kind_is_better_than_none() -> None:
    assert estimate(Cause.NEW, scope(repo_id="o", duration_s=4.0)) == 4.0
    assert estimate(Cause.CHANGED, scope(), scope(repo_id="o", whole_duration_s=40.0)) == 40.0
    assert estimate(Cause.CHANGED, scope(tool="checkov", duration_s=4.0)) is None


# -- twins --------------------------------------------------------------------------------------------------------


def test_of_twins_the_first_runs() -> None:
    plans = follow_twins([planned(repo_id="a"), planned(repo_id="b"), planned(repo_id="c", scan_name="other")])
    assert [p.leader for p in plans] == [True, False, True]


def test_what_needs_no_run_leads_nobody() -> None:
    plans = follow_twins([planned(repo_id="a", action=Action.GIVE_UP), planned(repo_id="b")])
    assert [p.leader for p in plans] == [True, True]
