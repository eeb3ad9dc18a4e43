"""The machine over Secrets Manager and IAM keys, both played by moto with its strict layer: an emulator, no AWS."""

from __future__ import annotations

import itertools
import json
import logging
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.rotations import ConflictError, RotationError, State, Target, Transition
from tasks.core.secret_refs import Secret
from tasks.rotation.machine import Machine, Rules
from tests.aws_rotations import Aws, Killed, aws_of_tests
from tests.rotation_fakes import FakeTarget, Hook, TurnTaker, World
from tests.thorough import THOROUGH, examples

GRACE = Rules(grace=timedelta(seconds=60), settle=timedelta(0), lease=timedelta(0))
KINDS = ("pair", "keys")
#: Of the moments of a rotation, every so-manieth is tried.
EVERY = 1 if THOROUGH else 11
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


@dataclass
class Place:
    """A secret in the emulator, and what accepts its credential: two users in memory, or the keys of an IAM user."""

    aws: Aws
    kind: str
    heard: list[Transition] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.kind == "keys":
            self.user, fields = self.aws.new_user()
        else:
            self.world = World()
            fields = {"username": "app_a", "password": "first"}
        self.secret = self.aws.new_secret(fields)

    def machine(self, hook: Hook = lambda _name: None) -> Machine:
        target: Target = self.aws.target(self.user) if self.kind == "keys" else FakeTarget(self.world, hook)
        return Machine(
            self.secret, self.aws.backend(self.secret), target, GRACE,
            value=lambda: Secret(f"value {next(_numbers)}"), tell=self.heard.append, sleep=lambda _s: None,
        )  # fmt: skip

    def accepted(self) -> dict[str, str]:
        if self.kind == "keys":
            keys = self.aws.strict.keys(self.user)
            return {name: secret for name, (secret, status) in keys.items() if status == "Active"}
        return self.world.accepted

    def current(self) -> tuple[str, str]:
        value = self.aws.strict.value(self.secret)
        if self.kind == "keys":
            return value["aws_access_key_id"], value["aws_secret_access_key"]
        return value["username"], value["password"]

    def check(self, _name: str = "") -> None:
        """What must hold at every moment."""
        identity, secret = self.current()
        accepted = self.accepted()
        assert accepted.get(identity) == secret, "the value in force is not accepted"
        assert len(accepted) <= 2
        named = {identity}
        for label in {"AWSCURRENT", "AWSPENDING"} & self.aws.strict.labels(self.secret).keys():
            mark = json.loads(self.aws.strict.value(self.secret, label).get("nightwarden", "{}"))
            named |= {mark.get("identity"), mark.get("replaces")}
        # A key that was just issued is known to nobody until it is staged; the next run removes it.
        assert len(accepted.keys() - named) <= (1 if self.kind == "keys" else 0)

    def is_done(self) -> None:
        """One credential is accepted, the one in force, and nothing of ours is left."""
        identity, secret = self.current()
        assert self.accepted() == {identity: secret}
        assert set(self.aws.strict.labels(self.secret)) <= {"AWSCURRENT", "AWSPREVIOUS"}

    def rotate(self, slot: str | None = "monday", hook: Hook = lambda _name: None) -> State | None:
        with self.aws.hearing(hook):
            return self.machine(hook).rotate(slot).state

    def finish(self, slot: str | None = "monday") -> None:
        """What the runs after it do."""
        for _ in range(2):
            self.rotate(slot, self.check)
            self.aws.strict.later(61)
        self.is_done()


@pytest.fixture(params=KINDS)
def place(aws: Aws, request: pytest.FixtureRequest) -> Place:
    return Place(aws, request.param)


def test_moto_a_rotation_goes_through_its_states_and_leaves_one_credential(place: Place) -> None:
    first = place.current()
    assert place.rotate(hook=place.check) is State.GRACE
    assert place.current() != first and len(place.accepted()) == 2
    assert place.rotate() is State.GRACE
    place.aws.strict.later(60)
    assert place.rotate() is State.GRACE, "its grace is counted by AWS's clock, from the next second on"
    place.aws.strict.later(1)
    assert place.rotate(hook=place.check) is State.RETIRED
    place.is_done()
    assert list(dict.fromkeys(t.state for t in place.heard)) == [
        State.PREPARED, State.APPLIED, State.VERIFIED, State.PROMOTED, State.GRACE, State.RETIRED,
    ]  # fmt: skip
    before = place.aws.strict.labels(place.secret)
    assert place.rotate() is None and place.aws.strict.labels(place.secret) == before, "once in a slot"
    for day in ("tuesday", "wednesday"):
        assert place.rotate(day, place.check) is State.GRACE
        place.aws.strict.later(61)
        assert place.rotate(day, place.check) is State.RETIRED
    place.is_done()


def test_moto_a_key_that_was_used_late_is_kept_until_nobody_used_it_for_a_day(aws: Aws) -> None:
    place = Place(aws, "keys")
    old, secret = place.current()
    assert place.rotate() is State.GRACE
    aws.strict.later(90)
    assert aws.session.call_as(
        old, Secret(secret), "sts", "get_caller_identity", part="target", about="a late consumer"
    )  # fmt: skip
    for wait in (10, 3600, 23 * 3600):
        aws.strict.later(wait)
        standing = place.machine().rotate("monday")
        assert (standing.state, standing.reason_code) == (State.GRACE, "old_in_use")
        place.check()
    aws.strict.later(3600)
    assert place.rotate() is State.RETIRED
    place.is_done()


# -- killed, failing, two at once ---------------------------------------------------------------------------------


def moments(aws: Aws, kind: str) -> list[str]:
    """What is called in one rotation, before and after."""
    place, calls = Place(aws, kind), list[str]()
    place.rotate(hook=calls.append)
    aws.strict.later(61)
    place.rotate(hook=calls.append)
    place.is_done()
    return calls


def killed(_name: str) -> None:
    raise Killed


def unanswered(name: str) -> None:
    """No answer in time: whether it was done is not known."""
    raise ReadTimeoutError(endpoint_url=f"https://{name}.example")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stop", [killed, unanswered])
def test_moto_stopped_before_and_after_every_call_of_aws_it_is_finished_by_the_next(
    aws: Aws, kind: str, stop: Callable[[str], None]
) -> None:
    count = len(moments(aws, kind))
    assert count > 80
    offset, errors = 0 if stop is killed else EVERY // 2, list[RotationError]()
    for n in range(offset, count, EVERY):
        place, seen = Place(aws, kind), itertools.count()

        def hook(name: str, place: Place = place, seen: Iterator[int] = seen, n: int = n) -> None:
            place.check()
            if next(seen) == n and name.split()[1][0].isupper():  # the calls of AWS
                stop(name)

        for wait in (61, 0):
            try:
                place.rotate(hook=hook)
            except Killed:
                break
            except RotationError as e:
                errors.append(e)
                break
            aws.strict.later(wait)
        place.finish()
        assert json.loads(aws.strict.value(place.secret)["nightwarden"])["slot"] == "monday"
    assert all(e.is_passing and not e.reason_code.endswith("_error") for e in errors)
    assert bool(errors) == (stop is unanswered)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=examples(24))
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_moto_in_whatever_order_runners_take_turns_some_credential_is_valid(aws: Aws, kind: str, seed: int) -> None:
    place, choices = Place(aws, kind), random.Random(seed)
    turns = TurnTaker(choices.randrange)

    def hook(name: str) -> None:
        place.check()
        turns.hook(name)
        place.check()
        roll = choices.random()
        if roll < 0.01:
            raise Killed
        if roll < 0.02:
            raise ReadTimeoutError(endpoint_url="https://aws.example")
        if roll > 0.97:
            aws.strict.later(40)

    def runner() -> None:
        for day in ("monday", "tuesday"):
            with suppress(Killed, RotationError, ReadTimeoutError):
                place.machine(hook).rotate(day)

    with aws.hearing(hook):
        turns.run(runner, runner)
    assert not turns.errors, turns.errors
    for _ in range(3):
        place.rotate(None, place.check)
        aws.strict.later(61)
    place.finish("last")


def test_moto_many_threads_share_one_session(aws: Aws) -> None:
    places = [Place(aws, KINDS[n % 2]) for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda place: place.machine().rotate("monday").state, places))
    assert told == [State.GRACE] * 8
    for place in places:
        place.check()
    aws.strict.later(61)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda place: place.machine().rotate("monday").state, places))
    assert told == [State.RETIRED] * 8
    for place in places:
        place.is_done()


@pytest.mark.parametrize("days", [("monday",), ("monday", "tuesday"), ("monday", "tuesday", "wednesday")])
def test_moto_who_was_frozen_as_it_staged_and_comes_after_all_ended_alarms_nobody(
    place: Place, days: tuple[str, ...]
) -> None:
    thawed = list[str]()

    def others(name: str) -> None:
        place.check()
        if name == "after PutSecretValue" and not thawed:
            thawed.append(name)
            for day in days:
                for _ in range(2):
                    place.machine().rotate(day)
                    place.aws.strict.later(61)
                place.is_done()

    assert place.rotate("monday", others) in (None, State.RETIRED)
    place.is_done()
    assert {t.state for t in place.heard}.isdisjoint({State.WITHDRAWN, State.FORWARDED})
    assert all(t.identity for t in place.heard), "what is told of a rotation names its credential"
    assert json.loads(place.aws.strict.value(place.secret)["nightwarden"])["slot"] == days[-1]


def test_moto_however_often_it_is_killed_no_labels_pile_up(aws: Aws) -> None:
    place = Place(aws, "pair")
    for n in range(25):
        with suppress(Killed):
            place.rotate(f"slot {n}", lambda name: killed(name) if name == "after PutSecretValue" else None)
        place.aws.people.put_secret_value(
            SecretId=place.secret, SecretString=json.dumps({"username": "app_a", "password": "first", "n": str(n)})
        )
    assert len(place.aws.strict.labels(place.secret)) <= 4
    place.finish("last")


# -- people in between --------------------------------------------------------------------------------------------


def test_moto_what_somebody_wrote_meanwhile_stops_it_and_nothing_is_touched(aws: Aws) -> None:
    place = Place(aws, "pair")
    update = itertools.count()

    def before_promotion(name: str) -> None:
        # The first move of a label stages, the second takes our own away, the third would promote.
        if name == "before UpdateSecretVersionStage" and next(update) == 2:
            theirs = {"username": "app_a", "password": "theirs"}
            aws.people.put_secret_value(SecretId=place.secret, SecretString=json.dumps(theirs))
            place.world.accepted["app_a"] = "theirs"

    with pytest.raises(ConflictError, match="somebody changed it"):
        place.rotate(hook=before_promotion)
    before = dict(place.world.accepted), aws.strict.labels(place.secret)
    assert place.current() == ("app_a", "theirs")
    with pytest.raises(ConflictError):
        place.rotate("tuesday")
    assert (place.world.accepted, aws.strict.labels(place.secret)) == before
    assert place.machine().withdraw().state is State.WITHDRAWN
    assert place.current() == ("app_a", "theirs")
    place.is_done()


def test_moto_going_back_to_the_version_before_is_no_reason_to_promote_again(aws: Aws) -> None:
    place = Place(aws, "pair")
    place.rotate()
    labels = aws.strict.labels(place.secret)
    aws.people.update_secret_version_stage(
        SecretId=place.secret, VersionStage="AWSCURRENT", MoveToVersionId=labels["AWSPREVIOUS"],
        RemoveFromVersionId=labels["AWSCURRENT"],
    )  # fmt: skip
    with pytest.raises(ConflictError):
        place.rotate()
    assert place.current() == ("app_a", "first") and len(place.accepted()) == 2
    assert place.machine().withdraw().state is State.WITHDRAWN
    assert place.current() == ("app_a", "first")
    place.is_done()


def test_moto_who_edits_the_value_in_force_and_keeps_our_mark_is_somebody_else(aws: Aws) -> None:
    place = Place(aws, "pair")
    place.rotate()
    theirs = {**aws.strict.value(place.secret), "password": "theirs"}
    aws.people.put_secret_value(SecretId=place.secret, SecretString=json.dumps(theirs))
    place.world.accepted["app_b"] = "theirs"
    aws.strict.later(61)
    assert place.rotate("monday") is State.WITHDRAWN, "the staged one is no longer accepted, so it is given up"
    assert place.current() == ("app_b", "theirs") and place.world.accepted["app_b"] == "theirs"


def test_moto_a_value_that_is_refused_is_taken_back(aws: Aws) -> None:
    place = Place(aws, "pair")
    place.world.rejects = lambda value: value != "first"
    assert place.rotate(hook=place.check) is State.WITHDRAWN
    assert place.current() == ("app_a", "first")
    place.is_done()
    place.world.rejects = lambda _value: False
    place.finish()


# -- no value is said ---------------------------------------------------------------------------------------------


def test_moto_no_value_in_what_is_told_nor_in_a_log_at_its_loudest(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "botocore", "botocore.parsers", "botocore.auth", "botocore.endpoint", "boto3", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)
    values = {place.current()[1]}
    place.rotate()
    values.add(place.current()[1])
    aws = place.aws
    staged, current = aws.backend(place.secret).staged(), aws.backend(place.secret).current()
    told = repr([place.heard, staged, current, aws.session, aws.backend(place.secret).place])
    aws.strict.later(61)
    place.rotate()
    assert len(values) == 2 and place.heard
    for value in values:
        assert value not in told and value not in caplog.text and value not in repr(place.heard)


@pytest.mark.parametrize("operation", ["PutSecretValue", "GetSecretValue", "UpdateSecretVersionStage"])
def test_moto_no_value_in_an_error_and_nothing_is_chained(aws: Aws, operation: str) -> None:
    place = Place(aws, "pair")
    canary = "c4nary-value"

    def fail(name: str) -> None:
        if name == f"after {operation}":
            raise ValueError(canary)

    with pytest.raises(RotationError) as error:
        place.rotate(hook=fail)
    chain: list[Any] = [error.value, error.value.__cause__, error.value.__context__]
    assert chain[1:] == [None, None]
    assert canary not in repr(chain) + str(error.value) + error.value.advice
