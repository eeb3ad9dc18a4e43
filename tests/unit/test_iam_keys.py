"""What access keys of IAM promise as a target. They are played by moto with its strict layer: an emulator, no AWS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.stub import Stubber

from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.aws_session import AwsAccount, AwsSession
from tasks.rotation.iam_keys import IamKeys, IamUser
from tests.aws_rotations import Aws, aws_of_tests
from tests.rotation_fakes import plain

CANARY = "c4nary-value"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


def secrets(fields: dict[str, str]) -> dict[str, Secret]:
    return {k: Secret(v) for k, v in fields.items()}


def held(fields: dict[str, Secret]) -> Held:
    return Held(fields=fields, version="1", mark=None)


def status(aws: Aws, user: str) -> dict[str, str]:
    return {name: told for name, (_, told) in aws.strict.keys(user).items()}


def test_moto_a_key_is_issued_probed_retired_and_deleted(aws: Aws) -> None:
    user, first = aws.new_user()
    target, old = aws.target(user), first["aws_access_key_id"]
    assert (target.is_issued, target.in_place, target.issued()) == (True, False, {old})
    current = secrets({**first, "region": "eu-central-1"})
    assert target.probe(current)
    made = target.issue("rid", current)
    new = target.identity(made)
    assert made["region"].reveal() == "eu-central-1" and new != old and target.issued() == {old, new}
    assert plain(made)["aws_secret_access_key"] == aws.strict.keys(user)[new][0]
    target.apply(held(made), held(current))
    assert target.probe(made) and target.probe(current)
    target.retire(old, in_force=new)
    target.retire(old, in_force=new)
    assert status(aws, user) == {old: "Inactive", new: "Active"}
    assert not target.probe(current)
    target.restore(held(current))
    assert target.probe(current), "people can take it back"
    target.retire(old, in_force=new)
    target.revoke(frozenset({old}))
    target.revoke(frozenset({old}))
    target.retire(old, in_force=new)
    assert status(aws, user) == {new: "Active"}
    assert not target.probe(current), "it is deleted"
    with pytest.raises(RotationError) as error:
        target.restore(held(current))
    assert error.value.reason_code == "target_missing"


def test_moto_another_secret_is_no_key_of_the_user_nor_is_another_users(aws: Aws) -> None:
    user, first = aws.new_user()
    _, other = aws.new_user()
    target = aws.target(user)
    assert not target.probe(secrets({**first, "aws_secret_access_key": CANARY}))
    with pytest.raises(RotationError) as error:
        target.probe(secrets(other))
    assert error.value.reason_code == "secret_shape" and other["aws_secret_access_key"] not in str(error.value)


def test_moto_a_key_that_is_used_and_that_nobody_knows_is_kept(aws: Aws) -> None:
    user, first = aws.new_user()
    target = aws.target(user)
    theirs = target.issue("rid", secrets(first))
    name = target.identity(theirs)
    assert target.probe(theirs), "which uses it"
    with pytest.raises(RotationError) as error:
        target.revoke(frozenset({name}))
    assert error.value.reason_code == "value_not_issued" and name in error.value.message
    assert status(aws, user)[name] == "Active"
    aws.iam.update_access_key(UserName=user, AccessKeyId=name, Status="Inactive")
    target.revoke(frozenset({name}))
    assert name not in status(aws, user), "whoever made it inactive: nobody uses it"


def test_moto_a_key_that_was_never_used_is_deleted(aws: Aws) -> None:
    user, first = aws.new_user()
    target = aws.target(user)
    name = target.identity(target.issue("rid", secrets(first)))
    target.revoke(frozenset({name, "AKIAGONE000000000000"}))
    assert target.issued() == {first["aws_access_key_id"]}


def test_moto_never_over_two_keys(aws: Aws) -> None:
    user, first = aws.new_user()
    target = aws.target(user)
    target.issue("rid", secrets(first))
    with pytest.raises(RotationError) as error:
        target.issue("rid", secrets(first))
    assert (error.value.reason_code, error.value.is_passing) == ("target_error", True)
    assert error.value.__context__ is None and len(target.issued()) == 2


def test_moto_the_key_in_force_is_never_retired(aws: Aws) -> None:
    user, first = aws.new_user()
    name = first["aws_access_key_id"]
    with pytest.raises(RotationError, match="in force"):
        aws.target(user).retire(name, in_force=name)
    assert status(aws, user)[name] == "Active"


def test_moto_when_a_key_was_used_last(aws: Aws) -> None:
    user, first = aws.new_user()
    target, name, before = aws.target(user), first["aws_access_key_id"], aws.strict.clock
    assert target.used_since(name, before) is False
    aws.strict.later(60)
    assert target.probe(secrets(first))
    assert target.used_since(name, before) is True
    assert target.used_since(name, before + timedelta(seconds=61)) is False
    target.retire(name, in_force="another")
    aws.strict.later(600)
    assert not target.probe(secrets(first))
    assert target.used_since(name, before + timedelta(seconds=61)) is False, "who is refused has used nothing"
    aws.calls.clear()
    assert target.used_since("AKIAGONE000000000000", before) is False
    assert [operation for _, operation, _ in aws.calls] == ["ListAccessKeys"]


def test_moto_a_key_that_was_made_and_whose_answer_got_lost_is_seen(aws: Aws) -> None:
    user, first = aws.new_user()
    target = aws.target(user)

    def lose(call: str) -> None:
        if call == "after CreateAccessKey":
            raise ReadTimeoutError(endpoint_url="https://iam.example")

    with aws.hearing(lose), pytest.raises(RotationError) as error:
        target.issue("rid", secrets(first))
    assert (error.value.reason_code, error.value.is_passing) == ("target_unreachable", True)
    assert len(target.issued()) == 2
    target.revoke(target.issued() - {first["aws_access_key_id"]})
    assert len(target.issued()) == 1


@pytest.mark.usefixtures("aws")
def test_mocked_a_key_is_never_asked_for_twice() -> None:
    session, sent = AwsSession(AwsAccount()), list[str]()

    def cut(request: Any, **_: Any) -> None:
        sent.append(request.body)
        raise ConnectionClosedError(endpoint_url="https://iam.example")

    session.session().events.register_first("before-send.iam.CreateAccessKey", cut)
    with pytest.raises(RotationError):
        IamKeys(session, IamUser(name="robot")).issue("rid", {})
    assert len(sent) == 1


def test_moto_names_of_fields_are_configured_and_told_where_they_lack(aws: Aws) -> None:
    user, first = aws.new_user()
    target = IamKeys(aws.session, IamUser(name=user, id_field="id", secret_field="key"))
    fields = {"id": first["aws_access_key_id"], "key": first["aws_secret_access_key"]}
    assert target.probe(secrets(fields))
    assert set(target.issue("rid", secrets(fields))) == {"id", "key"}
    for wrong in ({"id": CANARY}, {"key": CANARY}, {"id": f"{CANARY}\n", "key": CANARY}):
        with pytest.raises(RotationError) as error:
            target.identity(secrets(wrong))
        assert error.value.reason_code == "secret_shape" and CANARY not in str(error.value)
    with pytest.raises(RotationError):
        target.propose(secrets(fields), instead_of=None, value=Secret("x"))
    with target.exclusive():
        pass


def test_moto_a_user_that_is_gone(aws: Aws) -> None:
    with pytest.raises(RotationError) as error:
        aws.target("nobody").issued()
    assert error.value.reason_code == "target_missing"


@pytest.mark.usefixtures("aws")
def test_stub_keys_come_on_many_pages_and_one_that_goes_meanwhile_is_gone() -> None:
    session = AwsSession(AwsAccount())
    target = IamKeys(session, IamUser(name="robot"))
    keys = [{"AccessKeyId": f"AKIA{n:016}", "Status": "Active", "UserName": "robot"} for n in range(2)]
    with Stubber(session._client("iam", 3)) as stub:
        stub.add_response(
            "list_access_keys", {"AccessKeyMetadata": keys[:1], "IsTruncated": True, "Marker": "m"},
            {"UserName": "robot"},
        )  # fmt: skip
        stub.add_response(
            "list_access_keys", {"AccessKeyMetadata": keys[1:], "IsTruncated": False},
            {"UserName": "robot", "Marker": "m"},
        )  # fmt: skip
        stub.add_client_error("get_access_key_last_used", "NoSuchEntity", "gone", 404)
        stub.add_client_error("delete_access_key", "NoSuchEntity", "gone", 404)
        target.revoke(frozenset({keys[1]["AccessKeyId"]}))
        stub.assert_no_pending_responses()


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("code", ["AccessDenied", "Throttling", "InternalFailure"])
def test_mocked_what_says_nothing_of_the_key_is_no_refusal_of_it(code: str) -> None:
    session = AwsSession(AwsAccount())
    target = IamKeys(session, IamUser(name="robot"))

    def answer(**_: object) -> tuple[object, dict[str, object]]:
        response = type("Answer", (), {"status_code": 403})
        return response, {"Error": {"Code": code, "Message": CANARY}, "ResponseMetadata": {}}

    session.session().events.register("before-call.sts", answer)
    with pytest.raises(RotationError) as error:
        target.probe(secrets({"aws_access_key_id": "A" * 20, "aws_secret_access_key": CANARY}))
    assert error.value.reason_code in ("target_denied", "target_unreachable") and CANARY not in str(error.value)
