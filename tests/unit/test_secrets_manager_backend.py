"""What Secrets Manager promises as a backend. It is played by moto with its strict layer: an emulator, no AWS."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tasks.core.aws_access import AwsAccess
from tasks.core.rotations import ConflictError, Held, Mark, RotationError, SpentError, rotation_id
from tasks.core.secret_refs import Secret
from tasks.rotation.aws_session import AwsAccount, AwsSession
from tasks.rotation.secrets_manager import OWN_LABEL, SINCE_TAG, SecretPlace, SecretsManagerBackend
from tests.aws_rotations import Aws, Killed, aws_of_tests
from tests.rotation_fakes import plain

FIRST = {"username": "app_a", "password": "first", "port": 5432, "tls": True}
NEXT = {"username": Secret("app_b"), "password": Secret("next"), "port": Secret("5432"), "tls": Secret("true")}
CANARY = "c4nary-value"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


def mark(base: Held, slot: str = "monday", attempt: int = 0, **changes: Any) -> Mark:
    return Mark(
        rotation_id=rotation_id("x", slot, attempt), slot=slot, base=base.version, identity="app_b",
        replaces="app_a", staged_at="", **changes,
    )  # fmt: skip


def refused(backend: SecretsManagerBackend) -> RotationError:
    with pytest.raises(RotationError) as error:
        backend.current()
    told = error.value
    assert told.advice and CANARY not in str(told) and told.__context__ is None and told.__cause__ is None
    return told


# -- what is in force ---------------------------------------------------------------------------------------------


def test_moto_numbers_are_text_for_targets_and_stay_numbers_in_the_store(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    current = backend.current()
    assert plain(current.fields) == {"username": "app_a", "password": "first", "port": "5432", "tls": "true"}
    assert current.mark is None and backend.place == f"aws-sm:{name}"
    backend.promote(backend.stage(NEXT, mark(current)))
    stored = aws.strict.value(name)
    told = stored.pop("nightwarden")
    assert stored == {"username": "app_b", "password": "next", "port": 5432, "tls": True}
    assert json.loads(told)["identity"] == "app_b"
    assert plain(backend.current().fields) == plain(NEXT)


@pytest.mark.parametrize(
    "text",
    [
        f'["{CANARY}"]', CANARY, f'{{"a": {{"b": "{CANARY}"}}}}', f'{{"a": "{CANARY}", "a": "x"}}', '{"a": null}', "{}",
        "[" * 20_000,
    ],
)  # fmt: skip
def test_moto_a_value_of_another_shape_is_told_and_not_said(aws: Aws, text: str) -> None:
    name = aws.new_secret(FIRST)
    aws.people.put_secret_value(SecretId=name, SecretString=text)
    assert refused(aws.backend(name)).reason_code == "secret_shape"


def test_moto_binary_missing_deleted_and_empty_secrets(aws: Aws) -> None:
    binary = aws.new_secret(FIRST)
    aws.strict.secret(binary).versions[aws.strict.labels(binary)["AWSCURRENT"]].pop("secret_string")
    aws.strict.secret(binary).versions[aws.strict.labels(binary)["AWSCURRENT"]]["secret_binary"] = "AAAA"
    assert refused(aws.backend(binary)).reason_code == "secret_shape"
    assert refused(aws.backend("nothing")).reason_code == "secret_missing"
    aws.people.delete_secret(SecretId=(deleted := aws.new_secret(FIRST)))
    told = refused(aws.backend(deleted))
    assert told.reason_code == "secret_missing" and "deletion" in told.message
    aws.people.create_secret(Name="empty")
    assert refused(aws.backend("empty")).reason_code == "secret_missing"


def test_moto_a_secret_that_something_else_rotates_is_refused(aws: Aws) -> None:
    by_aws = aws.new_secret(FIRST)
    secret = aws.strict.secret(by_aws)
    secret.rotation_requested = secret.rotation_enabled = True
    assert refused(aws.backend(by_aws)).reason_code == "rotation_elsewhere"
    owned = aws.new_secret(FIRST, Tags=[{"Key": "aws:secretsmanager:owningService", "Value": "rds"}])
    assert refused(aws.backend(owned)).reason_code == "rotation_elsewhere"
    other = aws.new_secret(FIRST)
    aws.people.put_secret_value(SecretId=other, SecretString=f'{{"a": "{CANARY}"}}', VersionStages=["AWSPENDING"])
    with pytest.raises(RotationError) as error:
        aws.backend(other).staged()
    assert error.value.reason_code == "rotation_elsewhere" and CANARY not in str(error.value)
    started = aws.new_secret(FIRST)
    token = str(uuid.uuid4())
    aws.strict.secret(started).versions[token] = {
        "version_id": token, "version_stages": ["AWSPENDING"], "createdate": 0
    }  # fmt: skip
    with pytest.raises(RotationError) as error:
        aws.backend(started).staged()
    assert error.value.reason_code == "rotation_elsewhere", "a Lambda has begun, and has no value yet"


def test_moto_a_label_that_was_left_on_the_value_in_force_is_taken_over(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    current = backend.current()
    aws.people.update_secret_version_stage(SecretId=name, VersionStage="AWSPENDING", MoveToVersionId=current.version)
    assert backend.staged() is None
    staged = backend.stage(NEXT, mark(current))
    assert aws.strict.labels(name)["AWSPENDING"] == staged.version == mark(current).rotation_id


def test_moto_a_replica_is_refused_and_the_primary_is_rotated(aws: Aws) -> None:
    name = aws.new_secret(FIRST, AddReplicaRegions=[{"Region": "eu-west-1"}], KmsKeyId="alias/ours")
    there = SecretsManagerBackend(
        AwsSession(AwsAccount(access=AwsAccess(region="eu-west-1"))), SecretPlace(secret_id=name)
    )
    told = refused(there)
    assert told.reason_code == "secret_missing" and "replica" in told.message and "eu-central-1" in told.advice
    backend = aws.backend(name)
    backend.promote(backend.stage(NEXT, mark(backend.current())))
    assert aws.strict.value(name)["password"] == "next"
    about = aws.people.describe_secret(SecretId=name)
    assert about["KmsKeyId"] == "alias/ours" and about["ReplicationStatus"][0]["Status"] == "InSync"


# -- staging ------------------------------------------------------------------------------------------------------


def test_moto_what_is_staged_is_never_overwritten(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    current = backend.current()
    assert backend.staged() is None
    first = backend.stage(NEXT, mark(current))
    again = backend.stage({**NEXT, "password": Secret("another")}, mark(current))
    other = backend.stage(NEXT, mark(current, "tuesday"))
    assert first.version == again.version == other.version
    assert plain(again.fields)["password"] == "next" and other.rotation_id == mark(current).rotation_id
    assert aws.strict.value(name)["password"] == "first"
    assert not [label for label in aws.strict.labels(name) if label.startswith(OWN_LABEL)]


def test_moto_only_what_is_named_is_replaced_and_its_rotation_ended(aws: Aws) -> None:
    backend = aws.backend(aws.new_secret(FIRST))
    current = backend.current()
    first = backend.stage(NEXT, mark(current))
    second = backend.stage(NEXT, mark(current, "b"), over=first)
    assert second.rotation_id == mark(current, "b").rotation_id
    late = backend.stage(NEXT, mark(current, "c"), over=first)
    assert late.version == second.version, "the first is not staged any more"
    backend.forget(second.rotation_id or "")
    for slot in ("monday", "b"):
        with pytest.raises(SpentError):
            backend.stage(NEXT, mark(current, slot))
    with pytest.raises(SpentError):
        backend.stage(NEXT, mark(current, "d"), over=second)
    assert backend.staged() is None, "what was to be replaced is gone"


def test_moto_an_intention_is_replaced_by_whoever_holds_it(aws: Aws) -> None:
    backend = aws.backend(aws.new_secret(FIRST))
    current = backend.current()
    mine = backend.stage({}, mark(current, runner="a"))
    assert mine.is_intention and mine.mark == mark(current, runner="a")
    theirs = backend.stage({}, mark(current, runner="b"), over=mine)
    lost = backend.stage(NEXT, mark(current), over=mine)
    assert lost.version == theirs.version and lost.is_intention, "the first runner comes too late"
    made = backend.stage(NEXT, mark(current), over=theirs)
    assert plain(made.fields) == plain(NEXT) and backend.promote(made).version == made.version
    assert backend.stage(NEXT, mark(current)).version == made.version
    backend.forget(mark(current).rotation_id)
    with pytest.raises(SpentError):
        backend.stage({}, mark(current, runner="c"))


def test_moto_a_value_that_was_made_before_a_kill_is_staged_and_no_other(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    current = backend.current()

    def kill(call: str) -> None:
        if call == "after PutSecretValue":
            raise Killed

    with aws.hearing(kill), pytest.raises(Killed):
        backend.stage(NEXT, mark(current))
    assert backend.staged() is None
    staged = backend.stage({**NEXT, "password": Secret("another")}, mark(current))
    assert plain(staged.fields)["password"] == "next"
    assert len(aws.strict.secret(name).versions) == 2


def test_moto_what_a_killed_one_labelled_is_tidied_up(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))

    def kill(call: str) -> None:
        if call == "after PutSecretValue":
            raise Killed

    with aws.hearing(kill), pytest.raises(Killed):
        backend.refuse(staged, "app_a")
    assert [label for label in aws.strict.labels(name) if label.startswith(OWN_LABEL)]
    backend.forget(staged.rotation_id or "")
    assert set(aws.strict.labels(name)) == {"AWSCURRENT"}


def test_moto_two_that_stage_at_once_agree_on_one(aws: Aws) -> None:
    """The other one stages between each two calls of the first."""
    for slot in ("monday", "tuesday"):
        for n in range(18):
            backend = aws.backend(name := aws.new_secret(FIRST))
            current, seen, theirs = backend.current(), iter(range(1000)), list[Held]()

            def other(
                _call: str, backend: SecretsManagerBackend = backend, current: Held = current,
                seen: Iterator[int] = seen, n: int = n, slot: str = slot, theirs: list[Held] = theirs,
            ) -> None:  # fmt: skip
                if next(seen) == n:
                    theirs.append(backend.stage({**NEXT, "password": Secret("theirs")}, mark(current, slot)))

            with aws.hearing(other):
                try:
                    mine = backend.stage(NEXT, mark(current))
                except SpentError:
                    mine = backend.stage(NEXT, mark(current, attempt=1))
            staged = backend.staged()
            assert staged is not None and mine.version == staged.version
            assert plain(mine.fields) == plain(staged.fields)
            assert all(held.version == staged.version for held in theirs), "what they were told is staged"
            assert not [label for label in aws.strict.labels(name) if label.startswith(OWN_LABEL)]


def test_moto_a_list_of_versions_has_many_pages(aws: Aws) -> None:
    backend = aws.backend(aws.new_secret(FIRST))
    current = backend.current()
    aws.strict.page = 2
    try:
        for n in range(4):
            backend.stage(NEXT, mark(current, f"slot {n}"))
            backend.forget(mark(current, f"slot {n}").rotation_id)
        for n in range(4):
            with pytest.raises(SpentError):
                backend.stage(NEXT, mark(current, f"slot {n}"))
    finally:
        aws.strict.page = 100


# -- promotion ----------------------------------------------------------------------------------------------------


def test_moto_promotion_is_a_compare_and_set(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))
    promoted = backend.promote(staged)
    assert promoted == replace(backend.promote(staged), fields=promoted.fields), "done already"
    assert promoted.version == staged.version and plain(promoted.fields) == plain(NEXT)
    assert aws.strict.labels(name)["AWSPENDING"] == staged.version, "it is staged until it is forgotten"
    backend.forget(staged.rotation_id or "")
    assert set(aws.strict.labels(name)) == {"AWSCURRENT", "AWSPREVIOUS"}


@pytest.mark.parametrize("step", ["promote", "refuse"])
def test_moto_whenever_somebody_writes_it_is_not_overwritten(aws: Aws, step: str) -> None:
    """Before and after each call of a promotion, and of a refusal."""
    conflicts: list[tuple[str, str]] = []
    for n in range(100):
        backend = aws.backend(name := aws.new_secret(FIRST))
        staged, wrote, seen = backend.stage(NEXT, mark(backend.current())), list[str](), iter(range(1000))

        def write(
            _call: str, n: int = n, name: str = name, wrote: list[str] = wrote, seen: Iterator[int] = seen
        ) -> None:
            if next(seen) == n:
                told = aws.people.put_secret_value(SecretId=name, SecretString='{"password": "theirs"}')
                wrote.append(told["VersionId"])

        with aws.hearing(write):
            try:
                if step == "promote":
                    backend.promote(staged)
                else:
                    backend.refuse(staged, "app_a")
            except ConflictError as error:
                conflicts.append((error.message, wrote[0]))
        if not wrote:
            break
        assert not [label for label in aws.strict.labels(name) if label.startswith(OWN_LABEL)]
        assert aws.strict.value(name) == {"password": "theirs"}, n
    assert len(conflicts) >= 3 and n < 50
    assert all(theirs in message for message, theirs in conflicts)


def test_moto_a_value_that_is_refused_is_never_promoted(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))
    assert backend.refuse(staged, "app_a") and backend.refuse(staged, "app_a")
    stored = aws.strict.value(name)
    assert {k: stored[k] for k in FIRST} == FIRST, "numbers too"
    current = backend.current()
    assert current.mark is not None and (current.mark.refused, current.mark.identity) == (staged.rotation_id, "app_a")
    with pytest.raises(ConflictError):
        backend.promote(staged)
    backend.forget(staged.rotation_id or "")
    next_one = backend.stage(NEXT, mark(current, "tuesday"))
    backend.promote(next_one)
    assert not backend.refuse(next_one, "app_a"), "it is in force"


def test_moto_a_value_that_was_in_force_is_told_as_long_as_it_is_kept(aws: Aws) -> None:
    backend = aws.backend(aws.new_secret(FIRST))
    first = backend.current()
    for slot in ("monday", "tuesday"):  # after the second nothing labels the first
        staged = backend.stage(NEXT, mark(backend.current(), slot))
        backend.promote(staged)
        backend.forget(staged.rotation_id or "")
    before = backend.at(first.version)
    assert before is not None and (before.mark, plain(before.fields)) == (None, plain(first.fields))
    now = backend.at(staged.version)
    assert now is not None and now.mark == staged.mark
    assert backend.at("0" * 32) is None and aws.backend(aws.new_secret(FIRST)).at(staged.version) is None


def test_moto_only_its_own_rotation_is_forgotten(aws: Aws) -> None:
    backend = aws.backend(aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))
    backend.forget("another")
    assert backend.staged() is not None
    backend.forget(staged.rotation_id or "")
    backend.forget(staged.rotation_id or "")
    assert backend.staged() is None


# -- since when ---------------------------------------------------------------------------------------------------


def test_moto_since_when_is_kept_by_aws_and_by_its_clock(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))
    promoted = backend.promote(staged)
    at = aws.strict.clock + timedelta(seconds=1)
    assert promoted.since == at == backend.now() + timedelta(seconds=1)
    aws.strict.later(30)
    assert backend.current().since == at and backend.now() == at + timedelta(seconds=29)
    assert aws.people.describe_secret(SecretId=name)["Tags"] == [
        {"Key": SINCE_TAG, "Value": f"{staged.version} {at.isoformat()}"}
    ]


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_moto_no_grace_is_shorter_for_a_clock_that_tells_whole_seconds(aws: Aws, fraction: float) -> None:
    backend = aws.backend(aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))
    aws.strict.clock = aws.strict.clock.replace(microsecond=int(fraction * 1_000_000))
    since = backend.promote(staged).since
    assert since is not None and since >= aws.strict.clock >= backend.now()
    aws.strict.clock = aws.strict.clock.replace(microsecond=0)


@pytest.mark.parametrize(
    "tag",
    [None, "other 2020-01-01T00:00:00+00:00", "VERSION soon", "VERSION 2020-01-01T00:00", "VERSION 2999-01-01T00:00Z"],
)
def test_moto_where_nobody_noted_since_when_the_grace_begins_now(aws: Aws, tag: str | None) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))

    def kill(call: str) -> None:
        if call == "before TagResource":
            raise Killed

    with aws.hearing(kill), pytest.raises(Killed):
        backend.promote(staged)
    if tag is not None:
        tags = [{"Key": SINCE_TAG, "Value": tag.replace("VERSION", staged.version)}]
        aws.people.tag_resource(SecretId=name, Tags=tags)
    aws.strict.later(500)
    looked = aws.strict.clock + timedelta(seconds=1)
    assert backend.current().since == looked
    aws.strict.later(5)
    assert backend.current().since == looked


def test_moto_the_age_is_known_when_the_rotation_has_ended_and_not_of_what_a_person_wrote_since(aws: Aws) -> None:
    backend = aws.backend(name := aws.new_secret(FIRST))
    staged = backend.stage(NEXT, mark(backend.current()))
    backend.promote(staged)
    at = aws.strict.clock + timedelta(seconds=1)
    assert staged.rotation_id is not None
    backend.forget(staged.rotation_id)
    aws.strict.later(86400)
    aws.calls.clear()
    assert backend.current().since == at and backend.staged() is None
    assert {operation for _, operation, _ in aws.calls} == {"DescribeSecret", "GetSecretValue"}, "nothing is written"
    aws.people.put_secret_value(SecretId=name, SecretString='{"username": "app_a", "password": "theirs"}')
    assert backend.current().since is None, "nobody knows"


def test_moto_reading_a_value_that_nobody_waits_for_writes_nothing(aws: Aws) -> None:
    backend = aws.backend(aws.new_secret(FIRST))
    aws.calls.clear()
    assert backend.current().since is None and backend.staged() is None
    assert {operation for _, operation, _ in aws.calls} == {"DescribeSecret", "GetSecretValue"}
    reads = [params for _, operation, params in aws.calls if operation == "GetSecretValue"]
    assert all(params["VersionStage"] == "AWSCURRENT" for params in reads)


# -- the strict layer itself --------------------------------------------------------------------------------------


def test_the_strict_layer_fails_as_the_api_reference_says(aws: Aws) -> None:
    name, token, people = aws.new_secret(FIRST), str(uuid.uuid4()), aws.people

    def put(text: str, token: str, *labels: str) -> str:
        try:
            people.put_secret_value(
                SecretId=name, ClientRequestToken=token, SecretString=text, VersionStages=list(labels)
            )
        except ClientError as e:
            return str(e.response["Error"]["Code"])
        return ""

    def move(label: str, to: str | None, away: str | None) -> str:
        params = {"MoveToVersionId": to, "RemoveFromVersionId": away}
        try:
            people.update_secret_version_stage(
                SecretId=name, VersionStage=label, **{k: v for k, v in params.items() if v}
            )
        except ClientError as e:
            return str(e.response["Error"]["Code"])
        return ""

    first = aws.strict.labels(name)["AWSCURRENT"]
    assert put("a", token, "one") == put("a", token, "two") == ""
    assert aws.strict.labels(name) == {"AWSCURRENT": first, "one": token}
    assert put("b", token, "one") == "ResourceExistsException"
    other = str(uuid.uuid4())
    assert put("c", other, "other") == ""
    assert move("one", other, None) == move("one", other, first) == "InvalidParameterException"
    assert move("one", token, None) == "" == move("one", other, token)
    assert move("AWSCURRENT", None, first) == "InvalidParameterException"
    assert move("AWSCURRENT", other, first) == "" and aws.strict.labels(name)["AWSPREVIOUS"] == first
    assert move("one", str(uuid.uuid4()), other) == "ResourceNotFoundException"
    assert put("d", str(uuid.uuid4()), *(f"l{n}" for n in range(20))) == "LimitExceededException"
    assert people.get_secret_value(SecretId=name)["VersionId"] == other
