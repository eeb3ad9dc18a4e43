"""The machine that rotates one secret, over a store and targets in memory, with every call failing anywhere."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.rotations import ConflictError, RotationError, State, Transition
from tasks.core.secret_refs import Secret
from tasks.rotation.machine import Machine, Rules
from tests.rotation_fakes import FakeBackend, FakeTarget, TurnTaker, World, later, plain, renamed
from tests.thorough import examples

GRACE = Rules(grace=timedelta(seconds=60), settle=timedelta(0), lease=timedelta(0))
KINDS = ("pair", "single", "issued")
#: What the target hears of nobody who lost the lock.
TOLD = ("before apply", "before retire", "before restore")


class Killed(BaseException):
    """As by kill -9: nothing that is done about errors is done about this."""


class LostError(RotationError):
    """As from a target that is told something by a session that it ended."""


class Heard(list[Transition]):
    """What a machine told, as states."""

    @property
    def states(self) -> list[State]:
        return list(dict.fromkeys(t.state for t in self))


def machine(
    world: World, heard: Heard | None = None, hook: Callable[[str], None] = lambda _n: None, rules: Rules = GRACE
) -> Machine:
    return Machine(
        "shop-db", FakeBackend(world, hook), FakeTarget(world, hook), rules,
        value=lambda: Secret(f"value {next(world.numbers)}"), tell=(heard if heard is not None else Heard()).append,
        sleep=lambda _s: None,
    )  # fmt: skip


def accepted_alone(world: World) -> None:
    """The value in force is accepted, and nothing else is; nothing is left."""
    held = plain(world.current.fields)
    assert world.accepted == {held["username"]: held["password"]} and world.pending is None


# -- without faults -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_rotation_goes_through_its_states_and_leaves_one_credential(kind: str) -> None:
    world, heard = World(kind=kind), Heard()
    m = machine(world, heard)
    first = m.rotate("monday")
    assert (first.state, first.until) == (State.GRACE, world.clock + timedelta(seconds=60))
    assert len(world.accepted) == (1 if kind == "single" else 2)
    assert m.rotate("monday") == first, "nothing is done before the grace is over"
    later(world, 60)
    assert m.rotate("monday").state is State.RETIRED
    assert heard.states == [
        State.PREPARED, State.APPLIED, State.VERIFIED, State.PROMOTED, State.GRACE, State.RETIRED,
    ]  # fmt: skip
    accepted_alone(world)
    before = world.current
    assert m.rotate("monday").state is None and world.current == before, "once in a slot"
    m.rotate("tuesday")
    assert world.current != before


@pytest.mark.parametrize("kind", KINDS)
def test_fields_that_the_target_does_not_change_are_kept(kind: str) -> None:
    world = World(kind=kind)
    world.versions.append(renamed(world.current, **plain(world.current.fields), host="db.example"))
    machine(world).rotate("monday")
    assert plain(world.current.fields)["host"] == "db.example"


def test_an_unfinished_rotation_is_finished_before_the_next_begins() -> None:
    world, heard = World(), Heard()
    m = machine(world, heard)
    m.rotate("monday")
    assert m.rotate("tuesday").slot == "monday", "its grace is not over"
    later(world, 61)
    assert m.rotate("tuesday").slot == "tuesday"
    assert len({t.rotation_id for t in heard}) == 2
    assert m.rotate(None).slot == "tuesday"
    later(world, 61)
    assert m.rotate(None).state is State.RETIRED
    assert m.rotate(None).state is None
    accepted_alone(world)


def test_a_value_that_the_target_refuses_is_taken_back_and_nobody_reads_it() -> None:
    world, heard = World(), Heard()
    world.rejects = lambda value: value != "first"
    before = plain(world.current.fields)
    told = machine(world, heard).rotate("monday")
    assert (told.state, told.reason_code) == (State.WITHDRAWN, "value_rejected")
    assert plain(world.current.fields) == before and all(plain(v.fields) == before for v in world.versions)
    accepted_alone(world)
    world.rejects = lambda _value: False
    assert machine(world).rotate("monday").state is State.GRACE, "the slot is tried again"


def test_a_single_identity_gets_its_value_back() -> None:
    world = World(kind="single")
    world.rejects = lambda value: value != "first"
    assert machine(world).rotate("monday").state is State.WITHDRAWN
    accepted_alone(world)


def test_what_somebody_else_wrote_stops_the_rotation_and_nothing_is_touched() -> None:
    world = World()
    machine_that_stops = machine(world, hook=_kill_at("before promote"))
    with pytest.raises(Killed):
        machine_that_stops.rotate("monday")
    world.write({"username": Secret("app_a"), "password": Secret("theirs")}, None)
    world.accepted["app_a"] = "theirs"
    before = dict(world.accepted)
    for _ in range(2):
        with pytest.raises(ConflictError, match="somebody changed it"):
            machine(world).rotate("monday")
    assert world.accepted == before and world.current.fields["password"].reveal() == "theirs"
    assert machine(world).withdraw().state is State.WITHDRAWN
    accepted_alone(world)


def test_what_somebody_else_wrote_before_the_target_was_touched_is_gone_on_from() -> None:
    world = World()
    with pytest.raises(Killed):
        machine(world, hook=_kill_at("after stage")).rotate("monday")
    world.write({"username": Secret("app_a"), "password": Secret("theirs")}, None)
    world.accepted["app_a"] = "theirs"
    told = machine(world).rotate("monday")
    assert (told.state, told.reason_code) == (State.WITHDRAWN, "rotation_conflict"), "it is told"
    accepted_alone(world)
    assert machine(world).rotate("monday").state is State.GRACE


def test_a_promoted_value_cannot_be_taken_back() -> None:
    world = World()
    machine(world).rotate("monday")
    with pytest.raises(RotationError, match="in force already"):
        machine(world).withdraw()


def test_a_promoted_value_that_is_refused_is_replaced_and_the_old_one_is_kept() -> None:
    world, heard = World(), Heard()
    m = machine(world, heard)
    m.rotate("monday")
    bad = plain(world.current.fields)
    world.accepted[bad["username"]] = "somebody set another one"
    told = m.rotate("monday")
    assert told.state is State.GRACE and State.FORWARDED in heard.states
    now = plain(world.current.fields)
    assert now["username"] == bad["username"] and now["password"] != bad["password"]
    assert world.accepted["app_a"] == "first", "the old one is kept"
    later(world, 61)
    assert m.rotate("monday").state is State.RETIRED
    accepted_alone(world)


def test_an_old_credential_that_is_used_is_kept_as_long_as_may_be() -> None:
    world = World()
    world.used = {"app_a"}
    m = machine(world, rules=Rules(grace=timedelta(seconds=60), hold=timedelta(seconds=60), settle=timedelta(0)))
    m.rotate("monday")
    later(world, 61)
    assert m.rotate("monday").reason_code == "old_in_use" and "app_a" in world.accepted
    later(world, 60)
    assert m.rotate("monday").state is State.RETIRED
    accepted_alone(world)


def test_a_value_in_force_that_nobody_can_use_is_replaced_in_its_place() -> None:
    world = World()
    world.accepted["app_a"] = "somebody set another one"
    machine(world).rotate("monday")
    assert plain(world.current.fields)["username"] == "app_a"
    later(world, 61)
    machine(world).rotate(None)
    accepted_alone(world)


# -- killed, failing, two at once ---------------------------------------------------------------------------------


def _kill_at(moment: str, nth: int = 1) -> Callable[[str], None]:
    seen = itertools.count(1)

    def hook(name: str) -> None:
        if name == moment and next(seen) == nth:
            raise Killed

    return hook


def check(world: World) -> None:
    """What must hold at every moment."""
    held = plain(world.current.fields)
    if world.kind != "single":
        assert world.accepted.get(held["username"]) == held["password"], "the value in force is not accepted"
    assert len(world.accepted) <= 2, "more than two credentials are accepted"
    forgotten = set(world.accepted) - world.named()
    # A key that was just issued is known to nobody until it is staged; the next run removes it.
    assert len(forgotten) <= (1 if world.kind == "issued" else 0), f"{forgotten} is accepted and named nowhere"


def converges(world: World) -> None:
    """Without faults, what was begun is finished and the next rotation goes through."""
    for _ in range(4):
        machine(world).rotate(None)
        later(world, 61)
    check(world)
    machine(world).rotate("last")
    later(world, 61)
    machine(world).rotate(None)
    accepted_alone(world)


class Chaos:
    """At every call: look, and by the choices of a test kill, fail, or let another runner go before us."""

    def __init__(self, world: World, choices: random.Random, depth: int = 0) -> None:
        self.world, self.choices, self.depth = world, choices, depth

    def __call__(self, name: str) -> None:
        check(self.world)
        roll = self.choices.random()
        if roll < 0.06:
            raise Killed
        if roll < 0.12:
            raise RotationError("backend_unreachable", "no answer in time", is_passing=True)
        if roll < 0.20 and self.depth < 2:
            _run(self.world, Chaos(self.world, self.choices, self.depth + 1), self.choices)
        if roll > 0.97:
            later(self.world, 40)


def _a_third(value: str) -> bool:
    return crc32(value.encode()) % 3 == 0


def _run(world: World, hook: Callable[[str], None], choices: random.Random) -> None:
    with suppress(Killed, RotationError):
        machine(world, hook=hook).rotate(f"day {choices.randrange(4)}")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(600))
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_however_it_is_killed_and_whoever_runs_beside_some_credential_is_valid_and_none_is_forgotten(
    kind: str, seed: int
) -> None:
    world, choices = World(kind=kind), random.Random(seed)
    for _ in range(12):
        _run(world, Chaos(world, choices), choices)
        if choices.random() < 0.15:
            world.rejects = _a_third if choices.random() < 0.5 else lambda _value: False
        check(world)
    world.rejects = lambda _value: False
    converges(world)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(200))
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_in_whatever_order_runners_take_turns_some_credential_is_valid_and_none_is_forgotten(
    kind: str, seed: int
) -> None:
    world, choices = World(kind=kind), random.Random(seed)
    turns = TurnTaker(choices.randrange)

    def hook(name: str) -> None:
        check(world)
        turns.hook(name)
        check(world)
        roll = choices.random()
        if roll < 0.02:
            raise Killed
        if roll > 0.95:
            later(world, 40)

    def runner() -> None:
        for _ in range(3):
            _run(world, hook, choices)

    turns.run(runner, runner, runner)
    assert not turns.errors, turns.errors
    converges(world)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_before_and_after_every_single_call_it_is_finished_by_the_next(kind: str) -> None:
    calls: list[str] = []
    probe = World(kind=kind)
    m = machine(probe, hook=calls.append)
    m.rotate("monday")
    later(probe, 61)
    m.rotate("monday")
    assert len(calls) > 20
    for n in range(1, len(calls) + 1):
        world, seen = World(kind=kind), itertools.count(1)

        def hook(_name: str, world: World = world, seen: itertools.count[int] = seen, n: int = n) -> None:
            check(world)
            if next(seen) == n:
                raise Killed

        killed = machine(world, hook=hook)
        for wait in (61, 0):
            try:
                killed.rotate("monday")
            except Killed:
                break
            later(world, wait)
        for _ in range(2):
            machine(world).rotate("monday")
            check(world)
            later(world, 61)
        accepted_alone(world)
        assert world.current.mark is not None and world.current.mark.slot == "monday"


def _frozen_at(n: int, kind: str, days: tuple[str, ...]) -> bool:
    """Freeze a runner at its n-th call until others have rotated in all slots; False: it makes fewer calls."""
    world, heard, calls = World(kind=kind), Heard(), list[str]()

    def hook(name: str) -> None:
        calls.append(name)
        if len(calls) == n:
            world.lock = None
            for day in days:
                for _ in range(2):
                    machine(world, heard).rotate(day)
                    later(world, 60)
        if len(calls) >= n and name in TOLD and kind != "issued" and world.lock is None:
            raise LostError("target_unreachable", "its session was lost with the lock", is_passing=True)

    m = machine(world, heard, hook)
    for _ in range(2):
        if len(calls) < n:
            if n <= len(calls) + 3:  # it has not seen what is in force: it is one that is asked for it too late
                return True
            with suppress(LostError):
                assert m.rotate("monday").reason_code is None, calls[-6:]
            later(world, 60)
    if len(calls) < n:
        return False
    assert len(world.versions) == 1 + len(days), f"one rotation a slot: {calls[n - 2 :]}"
    assert not {State.WITHDRAWN, State.FORWARDED} & set(heard.states), calls[n - 2 :]
    accepted_alone(world)
    return True


@pytest.mark.parametrize("days", [("monday",), ("monday", "tuesday")], ids=["it", "it and the next"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_that_was_frozen_anywhere_while_others_finished_it_alarms_nobody_and_begins_nothing(
    kind: str, days: tuple[str, ...]
) -> None:
    assert next(n for n in itertools.count(1) if not _frozen_at(n, kind, days)) > 20


def test_a_change_of_somebody_elses_at_the_moment_of_the_promotion_stops_it() -> None:
    world = World()

    def hook(name: str) -> None:
        if name == "before promote":
            world.write(renamed(world.current, password="by hand").fields, None)
            world.accepted["app_a"] = "by hand"

    with pytest.raises(ConflictError):
        machine(world, hook=hook).rotate("monday")
    assert plain(world.current.fields)["password"] == "by hand" and world.pending is not None
