"""Rotations of many secrets: order, limits, failures, and what the lake is told."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tasks.core.rotations import Mark, RotationError, State
from tasks.core.secret_refs import Secret
from tasks.lake.lake import Lake
from tasks.lake.verify import verify
from tasks.lake.views import run_query
from tasks.patrol.inventory_run import InventoryRun
from tasks.patrol.rotating import Classes, Look, Managed, chosen, go_on, look, steps
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_rows import Published, told
from tasks.patrol.stored_secrets import Configured
from tasks.policy.secret_hygiene import HygieneLimits
from tasks.rotation.machine import Rules
from tasks.rotation.schedule import Due, Schedule, Window, manual_slot
from tests.rotation_fakes import FakeBackend, FakeTarget, World, later
from tests.store_fakes import FakeStore, stored

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULES = Rules(grace=timedelta(seconds=60), settle=timedelta(0), lease=timedelta(0))


def managed(name: str, world: World, hook: Callable[[str], None] = lambda _n: None, cls: str = "pg") -> Managed:
    return Managed(
        name=name, backend=FakeBackend(world, hook), target=FakeTarget(world, hook), target_kind="fake", rules=RULES,
        schedule=Schedule(every=timedelta(days=30), minimum_age=timedelta(days=1)), value=lambda: Secret("fresh"),
        failure_class=cls, consumers=("api",),
    )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> RotationLog:
    return RotationLog(tmp_path / "rotations")


def published(lake: Lake, log: RotationLog, *looks: Look) -> Published:
    with lake.lock():
        done = told(lake, looks, log, datetime.now(UTC))
    assert verify(lake) == []
    return done


def aged(world: World, days: float) -> World:
    later(world, days * 86400)
    return world


def test_a_run_leaves_a_row_a_step_and_how_the_secret_stands(lake: Lake, log: RotationLog) -> None:
    world = aged(World(), 40)
    m = managed("shop", world)
    seen = look(m, world.clock)
    assert seen.begins and chosen([seen], most=None) == {"shop": m.schedule.slot(world.clock)}
    told_of = go_on(m, m.schedule.slot(world.clock), log, Classes())
    assert told_of.standing is not None and told_of.standing.state is State.GRACE
    first = published(lake, log, look(m, world.clock))
    assert (first.secrets, first.steps) == (1, 5)
    later(world, 61)
    assert chosen([look(m, world.clock)], most=0) == {"shop": None}, "an unfinished one is finished"
    go_on(m, None, log, Classes())
    assert published(lake, log, look(m, world.clock)).states == {"retired": 1}
    rows = run_query(lake.snapshot(), "SELECT state, identity, replaces FROM rotations ORDER BY done_at")[1]
    assert [tuple(r) for r in rows] == [
        (s, "app_b", "app_a") for s in ("prepared", "applied", "verified", "promoted", "grace", "retired")
    ]
    (row,) = run_query(lake.snapshot(), "SELECT secret, identity, state, due, present FROM secrets")[1]
    assert tuple(row) == ("shop", "app_b", None, "not_yet", True)
    assert list(run_query(lake.snapshot(), "SELECT count(*) FROM patrols")[1]) == [(0,)], "it is no patrol"
    assert published(lake, log, look(m, world.clock)).run_id is None, "nothing is other than it was"
    published(lake, log)
    assert list(run_query(lake.snapshot(), "SELECT present FROM secrets")[1]) == [(False,)]


def test_no_value_is_in_the_lake_or_the_log(lake: Lake, log: RotationLog, tmp_path: Path) -> None:
    world = aged(World(), 40)
    canary = "canary-7f3a91"
    m = managed("shop", world)
    m = Managed(**{**{f: getattr(m, f) for f in m.__dataclass_fields__}, "value": lambda: Secret(canary)})
    go_on(m, "monday", log, Classes())
    assert world.current.fields["password"].reveal() == canary
    found = [p for p in tmp_path.rglob("*") if p.is_file() and canary.encode() in p.read_bytes()]
    published(lake, log, look(m, world.clock))
    found += [p for p in lake.path.rglob("*") if p.is_file() and canary.encode() in p.read_bytes()]
    assert not found


def test_the_oldest_begin_first_and_no_more_than_may() -> None:
    old, young, unread = aged(World(), 0), World(), World()
    later(young, 86400 * 50)
    young.versions[0] = young.write(young.current.fields, None)  # set now
    later(young, 86400 * 40)
    later(old, 86400 * 90)

    def fails(name: str) -> None:
        raise RotationError("backend_sealed", "sealed")

    looks = [
        look(managed("young", young), young.clock), look(managed("old", old), old.clock),
        look(managed("unread", unread, fails), NOW),
    ]  # fmt: skip
    assert [*chosen(looks, most=None)] == ["old", "young"] and [*chosen(looks, most=1)] == ["old"]
    assert (looks[2].reason_code, looks[2].due) == ("backend_sealed", None)


def test_when_one_is_due_next_is_when_it_is_then_due(log: RotationLog) -> None:
    """Of a value that somebody wrote by hand a whole period counts, of one that a rotation made its slot."""
    world = World()
    m = managed("shop", world)
    later(world, 5 * 86400)
    world.versions[0] = world.write(world.current.fields, None)
    for days in (2, 10):
        later(world, days * 86400)
        seen = look(m, world.clock)
        due_at = seen.due_at()
        assert due_at is not None and not seen.begins
        assert not look(m, due_at - timedelta(minutes=1)).begins and look(m, due_at).begins, days
    later(world, 30 * 86400)
    go_on(m, m.schedule.slot(world.clock), log, Classes())
    later(world, 61)
    go_on(m, None, log, Classes())
    assert look(m, world.clock).due_at() == m.schedule.slot_ends(world.clock)


def test_what_waits_is_told_once_however_often_it_is_looked_at(lake: Lake, log: RotationLog) -> None:
    """One that is due and not begun, as by a window, by `max_per_run` or without approval, since when it is so."""
    opens = Window(zone=ZoneInfo("UTC"), opens=time(9), closes=time(17))
    by_hand, by_slot, by_wish, unapproved = (World() for _ in range(4))
    for world, slot in ((by_slot, "2026-01-21T00:00Z"), (by_wish, manual_slot(NOW))):
        world.versions[0] = world.write(world.current.fields, _mark(slot))
    for world in (by_hand, by_slot, by_wish, unapproved):
        later(world, 75 * 86400 + 10 * 3600)
    looked = [
        managed("hand", by_hand), managed("slot", by_slot), managed("wish", by_wish),
        replace(managed("unapproved", unapproved), refused=("approval_missing", "nobody has")),
    ]  # fmt: skip
    looked = [replace(m, schedule=replace(m.schedule, windows=(opens,))) for m in looked]
    first = NOW + timedelta(days=75, hours=10)
    assert published(lake, log, *(look(m, first) for m in looked)).secrets == 4
    for minutes in (1, 61):
        again = [look(m, first + timedelta(minutes=minutes)) for m in looked]
        assert published(lake, log, *again).run_id is None
    rows = {r["secret"]: r["due_at"] for r in lake.snapshot().table("secrets").to_pylist()}
    assert rows["hand"] == rows["unapproved"] == NOW + timedelta(days=30, hours=9)
    assert all(due_at <= first and due_at.hour == 9 for due_at in rows.values())
    assert rows["wish"] == NOW + timedelta(days=1, hours=9), "its minimum age is over"
    looked = [replace(m, schedule=replace(m.schedule, windows=())) for m in looked]
    rows = {m.name: look(m, first).due_at() for m in looked}
    for m in looked:
        due_at = rows[m.name]
        assert due_at is not None
        assert look(m, due_at).due is Due.DUE and not look(m, due_at - timedelta(minutes=1)).begins, m.name


def _mark(slot: str) -> Mark:
    return Mark(rotation_id="r", slot=slot, base="0", identity="app_a", replaces=None, staged_at="")


def test_after_the_first_failure_no_other_of_its_class_is_begun(log: RotationLog) -> None:
    broken, classes = World(), Classes()
    broken.rejects = lambda value: value == "fresh"
    assert go_on(managed("first", broken), "monday", log, classes).reason_code == "value_rejected"
    second = go_on(managed("second", World()), "monday", log, classes)
    assert second.reason_code == "class_stopped" and "first failed" in second.detail
    other = go_on(managed("other", World(), cls="iam"), "monday", log, classes)
    assert other.standing is not None and other.standing.state is State.GRACE
    world = World()
    go_on(managed("third", world), "monday", log, Classes())
    finishing = go_on(managed("third", world), None, log, classes)
    assert finishing.standing is not None, "what was begun is gone on with"


def test_what_passes_is_tried_again_and_what_does_not_is_told(log: RotationLog) -> None:
    world, left = World(), [2]

    def flaky(name: str) -> None:
        if name == "before promote" and left[0]:
            left[0] -= 1
            raise RotationError("backend_unreachable", "no answer", is_passing=True)

    pauses: list[float] = []
    done = go_on(managed("shop", world, flaky), "monday", log, Classes(), sleep=pauses.append)
    assert done.standing is not None and done.standing.state is State.GRACE and pauses == [1.0, 3.0]

    def denied(name: str) -> None:
        raise RotationError("backend_denied", "no")

    done = go_on(managed("shop", World(), denied), "monday", log, Classes(), sleep=pauses.append)
    assert (done.standing, done.reason_code, len(pauses)) == (None, "backend_denied", 2)


def test_a_dry_run_names_each_step_and_touches_nothing() -> None:
    world = aged(World(), 40)
    calls: list[str] = []
    m = managed("shop", world, calls.append)
    plan = steps(look(m, world.clock))
    assert [s.state for s in plan] == [
        State.PREPARED, State.APPLIED, State.VERIFIED, State.PROMOTED, State.GRACE, State.RETIRED,
    ]  # fmt: skip
    assert "app_b" in plan[1].what and "app_a" in plan[-1].what
    assert {c.split()[1] for c in calls} <= {"current", "staged"}
    m.machine(lambda _t: None).rotate("monday")
    assert [s.state for s in steps(look(m, world.clock))] == [State.GRACE, State.RETIRED]


def test_a_step_that_cannot_be_noted_is_the_last_one(tmp_path: Path) -> None:
    class Full(RotationLog):
        def put(self, step: object) -> None:
            raise OSError(28, "No space left on device")

    world = World()
    with pytest.raises(OSError, match="No space"):
        go_on(managed("shop", world), "monday", Full(tmp_path), Classes())
    assert world.current.version == "1" and world.pending is not None, "staged, and nothing further"


def test_steps_that_follow_one_that_found_no_room_are_whole(log: RotationLog, tmp_path: Path) -> None:
    found = []
    go_on(managed("shop", World()), "monday", log, Classes(), tell=found.append)
    (path,) = (tmp_path / "rotations").iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for room in (0, 10, 1000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                log.put(replace(found[0], rotation_id=f"no room {room}", detail="x" * 1000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        log.put(replace(found[0], rotation_id=f"room after {room}"))
    told, read = log.kept()
    assert {t.state for t in told if t.rotation_id == found[0].rotation_id} == {t.state for t in found}
    later = ["room after 0", "room after 10", "room after 1000"]
    assert sorted(t.rotation_id for t in told if t.rotation_id != found[0].rotation_id) == later
    log.drop(read.items())
    assert not [*path.parent.iterdir()]


def test_what_nobody_goes_on_with_is_let_go_though_its_last_line_is_torn(log: RotationLog, tmp_path: Path) -> None:
    go_on(managed("shop", World()), "monday", log, Classes())
    (path,) = (tmp_path / "rotations").iterdir()
    with path.open("ab") as f:
        f.write(b'{"torn": ')
    read = log.kept()[1]
    log.drop(read.items())
    assert path.exists(), "its writer may be about to end the line"
    os.utime(path, (0, 0))
    log.drop(read.items())
    assert not path.exists()


def test_a_torn_line_is_left_out_and_a_file_that_grew_stays(log: RotationLog, tmp_path: Path) -> None:
    world = World()
    go_on(managed("shop", world), "monday", log, Classes())
    (path,) = (tmp_path / "rotations").iterdir()
    with path.open("ab") as f:
        f.write(b'{"torn": ')
    kept, read = log.kept()
    assert len(kept) == 5
    log.drop(read.items())
    assert path.exists(), "more is in it than was read"
    os.truncate(path, read[path])
    log.drop(read.items())
    assert not path.exists()


def test_a_rotation_leaves_what_an_inventory_told(lake: Lake, log: RotationLog) -> None:
    world = aged(World(), 3)
    mine = stored("fake:secret", readers=("a",))
    shop = Configured(
        name="shop", store="vault", at="secret", target="fake", failure_class="pg", every=timedelta(days=30),
        grace=timedelta(0),
    )  # fmt: skip
    told_of = FakeStore([replace(mine, place="vault:secret"), stored("other")])
    run = InventoryRun([told_of.configured()], [shop], HygieneLimits())
    run.all()
    with lake.lock():
        run.publish(lake)
    m = managed("shop", world)
    m.backend.place = "vault:secret"  # type: ignore[misc]
    published(lake, log, look(m, world.clock))
    sql = "SELECT secret, present, is_managed, identity, kind, readers FROM secrets ORDER BY secret"
    assert [tuple(r) for r in run_query(lake.snapshot(), sql)[1]] == [
        ("shop", True, True, "app_a", "kv", ["a"]),
        ("vault:secret/other", True, False, None, "kv", ["admin", "shop"]),
    ]
    m.backend.place = "vault:elsewhere"  # type: ignore[misc]
    published(lake, log, look(m, world.clock))
    assert next(iter(run_query(lake.snapshot(), sql)[1]))[4] is None, "what was told is of another place"
