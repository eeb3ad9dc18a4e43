"""How far a run is: what is counted, and what the time left is reckoned from."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tasks.patrol import progress as module
from tasks.patrol.progress import Progress
from tests.patrols import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def progress(clock: Clock) -> Progress:
    """A run that has looked around for 100 s and now scans: one large repository and two small ones."""
    progress = Progress()
    clock.now_s += 100
    progress.start("scan", {"large": 80.0, "small": 10.0, "tiny": 10.0})
    return progress


def test_a_new_run_has_nothing_to_tell(clock: Clock) -> None:
    look = Progress().look()
    assert (look.phase, look.total, look.done, look.failed, look.running) == ("starting", 0, 0, 0, ())
    assert look.left_s is None


def test_done_running_and_failed_are_counted(progress: Progress) -> None:
    progress.begin("large")
    progress.begin("small")
    look = progress.look()
    assert (look.phase, look.total, look.done, look.failed, look.running) == ("scan", 3, 0, 0, ("large", "small"))
    progress.end("large", failed=False)
    progress.begin("tiny")
    progress.end("small", failed=True)
    look = progress.look()
    assert (look.total, look.done, look.failed, look.running) == (3, 2, 1, ("tiny",))
    progress.end("tiny", failed=True)
    look = progress.look()
    assert (look.done, look.failed, look.running) == (3, 2, ())


def test_there_is_no_time_left_to_tell_before_anything_is_done(progress: Progress, clock: Clock) -> None:
    progress.begin("large")
    clock.now_s += 50
    assert progress.look().left_s is None


def test_the_time_left_is_weighted_by_the_estimates(progress: Progress, clock: Clock) -> None:
    progress.begin("small")
    clock.now_s += 20
    progress.end("small", failed=False)
    # A tenth of the work took 20 s, whatever the estimates' seconds were worth.
    assert progress.look().left_s == pytest.approx(180.0)
    clock.now_s += 160
    progress.end("large", failed=False)
    assert progress.look().left_s == pytest.approx(20.0)
    clock.now_s += 20
    progress.end("tiny", failed=True)
    assert progress.look().left_s == pytest.approx(0.0)


def test_every_phase_counts_anew(progress: Progress, clock: Clock) -> None:
    clock.now_s += 20
    progress.end("small", failed=True)
    progress.begin("large")
    progress.start("publish", {"a": 1.0, "b": 1.0})
    look = progress.look()
    assert (look.phase, look.total, look.done, look.failed, look.running, look.left_s) == ("publish", 2, 0, 0, (), None)
    clock.now_s += 7
    progress.end("a", failed=False)
    assert progress.look().left_s == pytest.approx(7.0)


def test_what_nobody_estimated_is_counted_and_weighs_nothing(progress: Progress, clock: Clock) -> None:
    clock.now_s += 5
    progress.end("unexpected", failed=False)
    look = progress.look()
    assert (look.done, look.left_s) == (1, None)


def test_work_that_weighs_nothing_gives_no_time_left(clock: Clock) -> None:
    progress = Progress()
    progress.start("refresh", {"a": 0.0, "b": 0.0})
    clock.now_s += 5
    progress.end("a", failed=False)
    assert progress.look().left_s is None
