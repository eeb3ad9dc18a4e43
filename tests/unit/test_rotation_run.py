"""One run over many secrets: what is begun, what is waited for, what goes wrong, and what the lake is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.rotations import Held, RotationError, State
from tasks.core.secret_refs import Secret
from tasks.lake.lake import Lake
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol.rotating import Managed, look
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_run import Choice, RotationRun
from tasks.rotation.machine import Rules
from tasks.rotation.schedule import Due, Schedule, manual_slot, manual_time
from tests.rotation_fakes import FakeBackend, FakeTarget, World, later

GRACE = timedelta(seconds=60)


def nothing(_name: str) -> None:
    return


def managed(name: str, world: World, hook: Callable[[str], None] = nothing, **more: Any) -> Managed:
    given: dict[str, Any] = {
        "backend": FakeBackend(world, hook), "target": FakeTarget(world, hook), "failure_class": name,
        "rules": Rules(grace=GRACE, settle=timedelta(0), lease=timedelta(0)), **more,
    }  # fmt: skip
    schedule = Schedule(every=timedelta(days=30), minimum_age=timedelta(days=15))
    return Managed(name=name, target_kind="fake", schedule=schedule, value=lambda: Secret("fresh"), **given)


def old() -> World:
    """A secret that was set 40 days ago, by the clock of this machine."""
    world = World(clock=datetime.now(UTC) - timedelta(days=40))
    later(world, 40 * 86400)
    return world


@pytest.fixture
def log(tmp_path: Path) -> RotationLog:
    return RotationLog(tmp_path / "rotations")


def done(run: RotationRun, choice: Choice | None = None) -> RotationRun:
    run.look()
    run.choose(choice or Choice())
    run.all()
    run.look_again()
    return run


def test_a_step_is_told_once_and_a_grace_is_left_until_it_was_waited_for(log: RotationLog) -> None:
    world = old()
    heard: list[State] = []
    run = RotationRun(
        [managed("shop", world)], log, tell=lambda t: heard.append(t.state), sleep=lambda s: later(world, s)
    )
    done(run)
    assert "in grace" in run.sentence() and not run.is_done
    run.wait(timedelta(seconds=30))
    assert not run.is_done, "it is not waited for longer than asked"
    run.wait(timedelta(minutes=2))
    assert run.is_done and set(world.accepted) == {"app_b"}
    assert [*map(str, heard)] == ["prepared", "applied", "verified", "promoted", "grace", "retired"]
    assert run.sentence() == "1 secrets: 1 rotated"


def test_what_is_asked_for_begins_after_what_is_under_way(log: RotationLog) -> None:
    world = old()
    done(RotationRun([managed("shop", world)], log))
    run = RotationRun([managed("shop", world)], log, sleep=lambda s: later(world, s))
    done(run, Choice(at_once=True))
    standing = run.done["shop"].standing
    assert standing is not None and standing.state is State.GRACE and not (standing.slot or "").startswith("manual")
    run.wait(timedelta(minutes=5))
    assert run.is_done and world.current.mark is not None and world.current.mark.slot == manual_slot(run.began)
    assert set(world.accepted) == {"app_a"}


def test_a_rotation_by_hand_is_not_followed_at_once_by_one_of_the_schedule() -> None:
    class Forgetful(FakeBackend):
        """As Secrets Manager, which tells since when a value is in force only while somebody waits for it."""

        def current(self) -> Held:
            return replace(super().current(), since=None)

    world = old()
    now = datetime(2026, 6, 15, tzinfo=UTC)
    mark = FakeBackend(world).current().refusing("r", identity="app_a")
    world.write(world.current.fields, replace(mark, slot=manual_slot(now - timedelta(hours=1))))
    seen = look(managed("shop", world, backend=Forgetful(world)), now)
    assert seen.due is Due.TOO_YOUNG
    assert look(managed("shop", world, backend=Forgetful(world)), now + timedelta(days=31)).due is Due.DUE
    assert manual_time("2026-06-15T00:00Z") is None and manual_time("manual-then") is None


def test_nothing_new_is_begun_by_who_only_finishes(log: RotationLog) -> None:
    worlds = [old(), old()]
    done(RotationRun([managed("begun", worlds[0])], log))
    later(worlds[0], 61)
    run = done(RotationRun([managed(n, w) for n, w in zip(("begun", "due"), worlds, strict=True)], log),
               Choice(begins=False))  # fmt: skip
    assert [*run.done] == ["begun"] and run.is_done and set(worlds[1].accepted) == {"app_a"}


@pytest.mark.parametrize("at_once", [False, True])
def test_what_nobody_approved_is_not_begun_and_finished_all_the_same(
    log: RotationLog, tmp_path: Path, at_once: bool
) -> None:
    why = ("approval_missing", "nobody has approved it")
    begun, due = old(), old()
    done(RotationRun([managed("begun", begun)], log))
    later(begun, 61)
    choice = Choice(at_once=at_once)
    run = done(RotationRun([managed(n, w, refused=why) for n, w in (("begun", begun), ("due", due))], log), choice)
    assert [*run.done] == ["begun"] and set(begun.accepted) == {"app_b"}, "the old one is retired"
    assert set(due.accepted) == {"app_a"} and due.pending is None
    assert [s.managed.name for s in run.unapproved()] == ["due"]
    assert not run.is_done and "1 due and not approved" in run.sentence() and run.troubles() == run.left_out() == []
    lake = Lake.open(tmp_path / "lake", key_id="k")
    run.publish(lake)
    assert lake.snapshot().table("runs").to_pylist()[0]["state"] == "CompletedWithGaps"
    rows = {r["secret"]: r["reason_code"] for r in lake.snapshot().table("secrets").to_pylist()}
    assert rows == {"begun": "approval_missing", "due": "approval_missing"}


@pytest.mark.parametrize("is_promoted", [False, True])
def test_what_was_begun_for_another_configuration_stops_where_that_of_now_is_not_approved(
    log: RotationLog, is_promoted: bool
) -> None:
    """The one that is under way may only be taken back, at the store alone, and stops nobody of its class."""
    why, calls, world, other = ("approval_missing", "nobody has approved it"), [], old(), old()
    target = FakeTarget(world, calls.append)

    def stop(name: str) -> None:
        if name == "before apply" and not is_promoted:
            raise RotationError("target_denied", "it refuses us")

    done(RotationRun([managed("shop", world, stop, subject="approved")], log))
    later(world, 61)
    before = dict(world.accepted)
    shop = managed("shop", world, subject="another", refused=why, target=target)
    run = done(RotationRun([shop, managed("other", other)], log))
    assert [(t.name, t.reason_code) for t in run.troubles()] == [("shop", "approval_missing")]
    assert "begun for another configuration" in run.done["shop"].detail and not calls and not run.is_done
    assert world.pending is not None and world.accepted == before
    assert run.done["other"].standing is not None, "it says nothing of its class"
    taken = run.withdraw("shop")
    if is_promoted:
        assert taken.reason_code == "rotation_promoted" and world.pending is not None
    else:
        assert taken.standing is not None and taken.standing.state is State.WITHDRAWN and world.pending is None
        assert world.current.fields["password"].reveal() == "first" and "was not touched" in taken.detail
    assert not calls and world.accepted == before
    if is_promoted:
        same = done(RotationRun([managed("shop", world, subject="approved", refused=why)], log))
        assert same.done["shop"].standing is not None and same.done["shop"].standing.state is State.RETIRED


def test_no_more_are_begun_than_may_and_that_is_told(log: RotationLog) -> None:
    run = done(RotationRun([managed("a", old()), managed("b", old())], log), Choice(most=1))
    assert [s.managed.name for s in run.left_out()] == ["b"] and not run.is_done
    assert "1 due and not begun" in run.sentence()


def test_one_secret_that_nobody_foresaw_is_not_the_end_of_the_run(lake: Lake, log: RotationLog) -> None:
    def surprising(name: str) -> None:
        if name == "before apply":
            raise ValueError("hunter2")

    def unreadable(_name: str) -> None:
        raise ZeroDivisionError("hunter2")

    class Full(RotationLog):
        def put(self, step: Any) -> None:
            if step.secret == "full":
                raise OSError(28, "No space left on device")
            super().put(step)

    def denied(name: str) -> None:
        if name == "before apply":
            raise RotationError("target_denied", "it may not")

    secrets = [
        managed("fine", old()), managed("odd", old(), surprising), managed("unread", old(), unreadable),
        managed("full", old()), managed("denied", old(), denied),
    ]  # fmt: skip
    run = done(RotationRun(secrets, Full(log._folder)))
    assert {d.name: d.reason_code for d in run.troubles()} == {
        "odd": "rotation_failed", "full": "rotation_unnoted", "denied": "target_denied",
    }  # fmt: skip
    with lake.lock():
        run.publish(lake)
    assert verify(lake) == []
    rows = [*run_query(lake.snapshot(), "SELECT secret, reason_code, detail FROM secrets ORDER BY secret")[1]]
    assert {r[0]: r[1] for r in rows} == {
        "denied": "target_denied", "fine": None, "full": "rotation_unnoted", "odd": "rotation_failed",
        "unread": "rotation_failed",
    }  # fmt: skip
    assert "hunter2" not in str(rows)
    assert [*run_query(lake.snapshot(), "SELECT gaps, state FROM runs")[1]] == [(4, "CompletedWithGaps")]


def test_a_run_of_one_says_nothing_of_the_others(lake: Lake, log: RotationLog) -> None:
    world = old()
    both = [managed("a", world), managed("b", old())]
    with lake.lock():
        done(RotationRun(both, log, configured=("a", "b"))).publish(lake)
        done(RotationRun(both[:1], log, configured=("a", "b"))).publish(lake)
        rows = run_query(lake.snapshot(), "SELECT secret FROM secrets WHERE present ORDER BY secret")[1]
        assert [r[0] for r in rows] == ["a", "b"]
        later(world, 61)
        done(RotationRun(both[:1], log, configured=("a",))).publish(lake)
    rows = run_query(lake.snapshot(), "SELECT secret FROM secrets WHERE present")[1]
    assert [r[0] for r in rows] == ["a"], "what left the configuration is gone"


def test_so_many_at_a_time_and_none_is_begun_after_an_interruption(log: RotationLog) -> None:
    lock, now, most = threading.Lock(), 0, 0
    ready = threading.Barrier(2, timeout=10)

    def counted(name: str) -> None:
        nonlocal now, most
        with lock:
            now += {"before apply": 1, "after apply": -1}.get(name, 0)
            most = max(most, now)
        if name == "before apply":
            ready.wait()

    secrets = [managed(f"s{n}", old(), counted) for n in range(6)]
    done(RotationRun(secrets, log, workers=2))
    assert most == 2

    begun: list[str] = []

    def hook(which: str) -> Callable[[str], None]:
        def interrupted(name: str) -> None:
            if name == "before apply":
                begun.append(which)
                time.sleep(0.05)
                if which == "i0":
                    raise KeyboardInterrupt

        return interrupted

    run = RotationRun([managed(f"i{n}", old(), hook(f"i{n}")) for n in range(9)], log, workers=1)
    run.look()
    run.choose(Choice(at_once=True))
    with pytest.raises(KeyboardInterrupt):
        run.all()
    assert begun[0] == "i0" and len(begun) <= 2


def test_a_withdrawn_one_is_told_and_what_is_in_force_is_not_taken_back(log: RotationLog) -> None:
    def down(name: str) -> None:
        if name == "before apply":
            raise RotationError("target_unreachable", "it is down")

    world = old()
    done(RotationRun([managed("shop", world, down)], log))
    run = RotationRun([managed("shop", world)], log)
    run.look()
    assert run.withdraw("shop").standing is not None and run.is_done and run.sentence() == "1 secrets: 1 withdrawn"
    done(RotationRun([managed("shop", world)], log), Choice(at_once=True))
    assert run.withdraw("shop").reason_code == "rotation_promoted"


def test_a_grace_is_left_to_do_for_the_command_and_no_gap_for_the_flow(log: RotationLog) -> None:
    """One question each: is anything left, and must somebody look."""
    from flows.rotate import _state

    run = done(RotationRun([managed("a", old()), managed("b", old())], log), Choice(most=1))
    assert "1 in grace" in run.sentence() and run.left_out() and not run.is_done
    assert _state(run, run.sentence()).name == "Completed"
    assert _state(run, run.sentence(), is_whole=False).name == "CompletedWithGaps", "the lake was locked"
    run = done(RotationRun([managed("c", old(), refused=("approval_missing", "nobody"))], log))
    state = _state(run, run.sentence())
    assert state.name == "CompletedWithGaps" and "c: approval_missing" in (state.message or "")
