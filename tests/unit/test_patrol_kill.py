"""A patrol that is killed at any start of a tool: the next run finishes it, and nothing that ended is done again.

What ended badly counts as much as what ended well.
"""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.types import Cause, FailedScan, Outcome, Scan, Unit
from tasks.lake.places import FolderPlace
from tasks.lake.spool import Spool, dumps_failed, failed_name, loads_failed
from tasks.lake.verify import verify
from tasks.patrol.plan import Action, Planned, decide
from tasks.patrol.summary import plan_text
from tests.patrols import FakeRunner, House, Options
from tests.unit.test_plan import NAME, NOW, TOOL, planned, scope

#: What differs between any two runs, and (the last one) between places.
VOLATILE = {
    "run_id", "started_at", "finished_at", "duration_s", "first_seen_at", "changed_at", "evidence_at", "scan_s",
    "last_attempt_at", "next_attempt_at", "fixed_at", "first_seen_run", "opened_run", "fixed_run", "peak_rss_bytes",
    "whole_duration_s", "url", "opened_at", "event_at", "open_s",
}  # fmt: skip
TABLES = (
    "runs", "repositories", "ledger", "scopes", "scans", "scan_gaps", "observations", "findings", "finding_events",
)  # fmt: skip
#: Repositories in the order they are scanned. ``b-twin`` has the very files of ``b-crashes``.
FILES = {
    "a-fine": {"a": "flaw"},
    "b-crashes": {"b": "flaw crash"},
    "b-twin": {"b": "flaw crash"},
    "c-hangs": {"c": "hang"},
    "d-partial": {"d": "flaw", "e": "unread"},
    "e-fine": {"f": "flaw flaw"},
}
NIGHTS = [datetime(2026, 3, day, 2, tzinfo=UTC) for day in (1, 2)] + [datetime(2026, 3, 2, 3, tzinfo=UTC)]
STARTS = Counter(["a-fine", "b-crashes", "c-hangs", "d-partial", "e-fine"])


@pytest.fixture(scope="module")
def organisation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("organisation")
    house = House(place)
    for slug, files in FILES.items():
        house.commit(slug, **files)
    return place


@pytest.fixture
def house(organisation: Path, tmp_path: Path) -> House:
    shutil.copytree(organisation, tmp_path / "house", symlinks=True)
    return House(tmp_path / "house")


@pytest.fixture(scope="module")
def calm(organisation: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Counter[str]]]:
    """What the lake holds after one, two and three nights that nothing disturbed."""
    place = tmp_path_factory.mktemp("calm") / "house"
    shutil.copytree(organisation, place, symlinks=True)
    house, nights = House(place), []
    for at in NIGHTS:
        assert house.run(at=at) is not None
        if at == NIGHTS[0]:
            assert Counter(house.starts) == STARTS
        nights.append(content(house))
    assert Counter(house.starts) == STARTS + Counter(["b-crashes", "c-hangs"]), "the third night waits"
    return nights


def content(house: House) -> dict[str, Counter[str]]:
    lake = house.lake()
    assert not verify(lake)
    assert (lake.spool.load(), lake.spool.load_failed()) == ({}, {})
    return {name: Counter(_row(r) for r in house.rows(name)) for name in TABLES}


def _row(row: dict[str, Any]) -> str:
    return repr(sorted((k, v) for k, v in row.items() if k not in VOLATILE))


def attempts(house: House) -> dict[str, int]:
    return {r["slug"]: r["attempts"] for r in house.rows("scopes") if r["attempts"]}


@pytest.mark.parametrize("kill_at", range(1, len(STARTS) + 1))
def test_a_killed_night_ends_as_if_it_had_not_been(house: House, calm: list[Any], kill_at: int) -> None:
    assert house.run(kill_at=kill_at, at=NIGHTS[0]) is None
    assert house.run(at=NIGHTS[0]) is not None
    assert Counter(house.starts) == STARTS, "what ended, ended; what was in flight had not"
    assert content(house) == calm[0]
    assert attempts(house) == {"b-crashes": 1, "b-twin": 1, "c-hangs": 1}


def test_the_nights_after_a_killed_one_are_as_ever(house: House, calm: list[Any]) -> None:
    assert house.run(kill_at=3, at=NIGHTS[0]) is None
    for at, after in zip(NIGHTS, calm, strict=True):
        assert house.run(at=at) is not None
        assert content(house) == after


def test_a_night_killed_at_every_start_ends_as_if_it_had_not_been(house: House, calm: list[Any]) -> None:
    kills = 0
    while house.run(kill_at=2) is None:
        kills += 1
    assert kills == len(STARTS) - 1
    assert Counter(house.starts) == STARTS
    assert content(house) == calm[0]


def test_a_retry_that_was_killed_is_counted_once(house: House, calm: list[Any]) -> None:
    first, second, _ = NIGHTS
    house.run(at=first)
    before = Counter(house.starts)
    assert house.run(kill_at=2, at=second) is None, "b crashes again, c is in flight"
    house.run(at=second + timedelta(hours=1))
    assert Counter(house.starts) - before == Counter(["b-crashes", "c-hangs"])
    assert content(house) == calm[1]
    waits = {r["slug"]: r["next_attempt_at"] for r in house.rows("scopes") if r["attempts"]}
    assert waits["b-crashes"] == second + timedelta(hours=12), "from the run that tried"
    assert waits["c-hangs"] == second + timedelta(hours=13)


def killed_after_the_crash(house: House) -> None:
    assert house.run(kill_at=3) is None
    assert house.starts == ["a-fine", "b-crashes"]


def test_the_plan_of_the_next_run_tells_what_a_killed_one_met(house: House) -> None:
    killed_after_the_crash(house)
    plans = house.plan()
    for slug in ("b-crashes", "b-twin"):
        p = plans[slug]
        assert (p.action, p.cause, p.outcome, p.reason_code) == (Action.ADOPT, Cause.NEW, Outcome.FAILED, "signal")
    assert plans["c-hangs"].action is Action.RUN
    with house.patrol(FakeRunner(), Options()) as (run, _):
        assert "! failed: signal (fake, 2): b-crashes, b-twin" in plan_text(run)


@pytest.mark.parametrize("asked", [{"force": True}, {"retry_failed": True}])
def test_what_a_killed_run_met_is_tried_again_if_asked(house: House, asked: dict[str, bool]) -> None:
    killed_after_the_crash(house)
    house.run(**asked)
    assert Counter(house.starts) == STARTS + Counter(["b-crashes"])
    assert attempts(house) == {"b-crashes": 1, "b-twin": 1, "c-hangs": 1}
    assert house.lake().spool.load_failed() == {}


def test_a_failure_of_the_past_is_forgotten(house: House) -> None:
    """The repository changed after the kill: the failure is of files that nobody asks about."""
    killed_after_the_crash(house)
    for slug in ("b-crashes", "b-twin"):
        house.commit(slug, b=f"flaw of {slug}")
    house.run()
    assert attempts(house) == {"c-hangs": 1}
    assert house.lake().spool.load_failed() == {}


def test_a_failure_waits_for_a_run_that_can_decide_on_it(house: House, calm: list[Any]) -> None:
    killed_after_the_crash(house)
    house.run(only=["e-*"])
    scope = ("b-crashes", "refs/heads/main", "fake")
    assert list(house.lake().spool.load_failed()) == [scope]
    house.run(tools=["another"])
    assert {r["outcome"] for r in house.rows("scopes")} == {"ok", "skipped"}
    assert list(house.lake().spool.load_failed()) == [scope]
    (house.place / "org" / "b-crashes").rename(house.place / "away")
    house.run(only=["b-crashes"])
    assert list(house.lake().spool.load_failed()) == [scope]
    (house.place / "away").rename(house.place / "org" / "b-crashes")
    house.run()
    assert Counter(house.starts) == STARTS
    assert attempts(house) == {"b-crashes": 1, "b-twin": 1, "c-hangs": 1}


def test_a_twin_does_not_try_what_failed_beside_it(house: House) -> None:
    killed_after_the_crash(house)
    house.run(only=["b-twin"])
    assert house.starts == ["a-fine", "b-crashes"]
    (row,) = house.rows("scans")
    assert (row["outcome"], row["reason_code"], row["started_at"], row["attempts"]) == ("failed", "signal", None, 1)
    house.run()
    assert attempts(house)["b-crashes"] == 1


def test_a_twin_whose_failing_brother_is_gone_is_tried_when_it_is_due(house: House) -> None:
    """What a killed run left of the brother is never decided on; it counts for the twin once."""
    killed_after_the_crash(house)
    shutil.rmtree(house.place / "org" / "b-crashes")
    house.run(only=["b-twin"])
    assert house.starts == ["a-fine", "b-crashes"]
    house.harmless = frozenset({"crash"})
    house.run(only=["b-twin"])
    assert house.starts[-1] == "b-twin"
    assert [r["outcome"] for r in house.rows("scopes") if r["slug"] == "b-twin"] == ["ok"]


def test_a_failure_that_waits_learns_when_it_is_due_that_a_twin_was_scanned(house: House) -> None:
    """A fork that comes later is tried at once, and by then the tool is well."""

    def outcomes() -> dict[str, str]:
        return {r["slug"]: r["outcome"] for r in house.rows("scopes")}

    for at in NIGHTS:
        house.run(only=["c-*"], at=at)
    house.commit("f-fork", c="hang")
    house.harmless = frozenset({"hang"})
    house.run(only=["c-*", "f-*"], at=NIGHTS[-1] + timedelta(minutes=1))
    assert outcomes() == {"c-hangs": "timeout", "f-fork": "ok"}
    starts = list(house.starts)
    house.run(only=["c-*"], at=NIGHTS[-1] + timedelta(hours=13))
    assert outcomes() == {"c-hangs": "ok", "f-fork": "ok"}
    assert house.starts == starts


# -- the plan, purely ----------------------------------------------------------------------------------------


def failed_row(**more: Any) -> Scan:
    values: dict[str, Any] = {
        "scan_name": NAME, "result_name": None, "repo_id": "r", "slug": "old/slug", "ref": "refs/heads/main",
        "commit": "c" * 40, "tool": "bandit", "tool_version": "1", "unit": Unit.FILE, "config_digest": "x",
        "rules_digest": "r", "cause": Cause.RETRY, "outcome": Outcome.TIMEOUT, "reason_code": "timeout",
        "detail": "killed after 9 s", "started_at": NOW, "duration_s": 9.5,
    }  # fmt: skip
    return Scan(**(values | more))


def decided(**more: Any) -> Planned:
    from tasks.scanners.bandit import BANDIT

    values: dict[str, Any] = {
        "state": None, "scanner": BANDIT, "tool": TOOL, "done": {}, "unpublished": (), "options": Options(),
        "now": NOW, "failed": failed_row(),
    }  # fmt: skip
    return decide(planned(), **(values | more))


def test_a_failure_is_adopted_unless_the_name_was_completed_or_a_retry_is_asked_for() -> None:
    assert decided().action is Action.ADOPT
    assert decided(done={NAME: f"{NAME}.1"}).action is Action.REUSE
    assert decided(state=scope()).action is Action.KEEP
    assert decided(options=Options(retry_failed=True)).action is Action.RUN
    assert decided(options=Options(force=True)).action is Action.RUN


def test_an_own_failure_comes_before_the_back_off_a_twins_after_it() -> None:
    waits = scope(scan_name=None, result_name=None, failed_name=NAME, attempts=2, outcome=Outcome.FAILED,
                  next_attempt_at=NOW + timedelta(hours=1))  # fmt: skip
    own = decided(state=waits)
    assert (own.action, own.outcome, own.detail) == (Action.ADOPT, Outcome.TIMEOUT, "killed after 9 s")
    assert decided(state=waits, failed=failed_row(repo_id="twin")).action is Action.WAIT
    twin = decided(failed=failed_row(repo_id="twin"))
    assert (twin.action, twin.cause) == (Action.ADOPT, Cause.NEW), "its own cause"


# -- the spool -----------------------------------------------------------------------------------------------


def test_a_spooled_failure_reads_back() -> None:
    for row in (failed_row(), failed_row(started_at=None, detail="caf\udce9\n", outcome=Outcome.FAILED)):
        failed = FailedScan(row=row, tried_at=NOW)
        assert loads_failed(dumps_failed(failed)) == failed


def test_of_a_scope_the_last_failure_is_kept_beside_what_finished(tmp_path: Path) -> None:
    spool = Spool(FolderPlace(tmp_path))
    scope = ("r", "refs/heads/main", "bandit")
    for name in ("one", "two"):
        spool.put_failed(FailedScan(row=failed_row(scan_name=name), tried_at=NOW))
    spool.put_failed(FailedScan(row=failed_row(tool="other"), tried_at=NOW))
    found = spool.load_failed()
    assert found.keys() == {scope, ("r", "refs/heads/main", "other")}
    assert found[scope].row.scan_name == "two"
    assert spool.load() == {}
    spool.remove([failed_name(scope)])
    assert list(spool.load_failed()) == [("r", "refs/heads/main", "other")]


@pytest.mark.parametrize("damage", [b"", b"no form at all"])
def test_a_torn_failure_is_put_aside_by_whoever_holds_the_lake(tmp_path: Path, damage: bytes) -> None:
    spool = Spool(FolderPlace(tmp_path))
    spool.put_failed(FailedScan(row=failed_row(), tried_at=NOW))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage)
    assert spool.load_failed(tidy=False) == {} and path.is_file()
    assert spool.load_failed() == {} and not path.is_file()
    assert spool.rejected_names == [path.name]
