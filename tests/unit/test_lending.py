"""The order of a night, and its end: the longest first, and no worker idle while a large repository has scans left."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.core.process import Sink
from tasks.core.types import Command, Completed
from tasks.patrol import scanning
from tasks.patrol.plan import Options
from tests.patrols import CLOCK, FakeRunner, FakeTool, House

TOOLS = (FakeTool(), FakeTool(name="other"), FakeTool(name="third"))


class MeetingRunner(FakeRunner):
    """A tool's run ends only when so many are at work at once."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.meeting = threading.Barrier(count)

    def run(self, cmd: Command, *, sink: Sink | None = None) -> Completed:
        if cmd.argv[0] == "fake" and cmd.argv[1] != "control":
            self.meeting.wait(30)
        return super().run(cmd, sink=sink)


@pytest.mark.parametrize("workers", [2, 3])
def test_idle_workers_take_over_scans_of_the_repository_that_is_left(tmp_path: Path, workers: int) -> None:
    house = House(tmp_path, scanners=TOOLS[:workers])
    house.commit("giant", a="flaw")
    with house.patrol(MeetingRunner(workers), Options()) as (run, scans), ThreadPoolExecutor(1) as pool:
        (state,) = run.changed()
        scans.expect([state])
        scans.lend(workers - 1)
        scans.lend(workers - 1)
        rows = pool.submit(scans.scan_repository, state).result(60)
    assert sorted((r.tool, r.outcome) for r in rows) == [(t.name, "ok") for t in TOOLS[:workers]]


def test_nothing_is_lent_where_nobody_is_idle(tmp_path: Path) -> None:
    house = House(tmp_path, scanners=TOOLS)
    house.commit("giant", a="flaw")
    with house.patrol(FakeRunner(), Options()) as (run, scans):
        scans.expect(run.changed())
        scans.lend(0)
        assert scans._helpers == []
        assert len(scans.scan_repository(run.changed()[0])) == 3
        scans.lend(2)
        assert scans._helpers == [], "and nothing is left"


def test_a_cancelled_helper_leaves_its_scan_to_the_next_run(tmp_path: Path) -> None:
    house = House(tmp_path, scanners=TOOLS[:2])
    house.commit("giant", a="flaw")
    runner = FakeRunner()
    with house.patrol(runner, Options()) as (run, scans):
        scans.expect(run.changed())
        runner.cancel()
        scans.lend(1)
        for helper in scans._helpers:
            helper.join(30)
        assert run.rows == {}
    summary = house.run()
    assert summary is not None and summary.outcomes == {"ok": 2}


def test_the_order_of_the_second_night_follows_the_first_over_all_tools_and_refs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "time", SimpleNamespace(monotonic=CLOCK.monotonic))
    house = House(tmp_path, scanners=TOOLS[:2])
    sizes = {"ant": 2, "bee": 9, "cat": 5}
    for slug, files in sizes.items():
        house.commit(slug, **{f"{slug}{n}": "x" for n in range(files)})
    house.run()
    with house.patrol(FakeRunner(), Options(force=True)) as (run, scans):
        assert [s.repo.slug for s in run.changed()] == ["bee", "cat", "ant"]
        assert [run.expected_s(s) for s in run.changed()] == [180.0, 100.0, 40.0], "both tools count"
        scans.expect(reversed(run.changed()))
        assert scans._sharing is not None
        lent = [scans._sharing.borrow() for _ in range(3)]
        assert [found[0].repo.slug for found in lent if found] == ["bee", "bee", "cat"]
