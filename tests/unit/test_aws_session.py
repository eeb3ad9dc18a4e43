"""What AWS's refusals mean, by botocore's Stubber and events; roles by moto, an emulator."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore import exceptions as e
from botocore.stub import Stubber

from tasks.core.aws_access import AwsAccess
from tasks.core.reasons import REASONS
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.aws_session import AwsAccount, AwsError, AwsRole, AwsSession, aws_time
from tests.aws_rotations import Aws, aws_of_tests

CANARY = "c4nary-value"
ROLE = AwsRole(arn="arn:aws:iam::123456789012:role/rotation", external_id="theirs", session_name="night")


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


def refused(session: AwsSession, *, part: str = "backend", service: str = "secretsmanager") -> RotationError:
    operation = {"secretsmanager": "describe_secret", "iam": "list_access_keys"}[service]
    params = {"SecretId": "x"} if service == "secretsmanager" else {"UserName": "x"}
    with pytest.raises(RotationError) as error:
        session.call(service, operation, part=part, about="the secret x", **params)
    told = error.value
    assert told.reason_code in REASONS and told.advice
    assert CANARY not in str(told) + repr(told.args)
    assert told.__cause__ is None and told.__context__ is None, "what a library said is not chained"
    return told


@pytest.mark.parametrize(
    ("code", "status", "backend", "target", "is_passing"),
    [
        ("AccessDeniedException", 400, "backend_denied", "target_denied", False),
        ("ExpiredTokenException", 400, "backend_denied", "target_denied", False),
        ("InvalidClientTokenId", 403, "backend_denied", "target_denied", False),
        ("DecryptionFailure", 400, "backend_denied", "target_denied", False),
        ("EncryptionFailure", 400, "backend_denied", "target_denied", False),
        ("ThrottlingException", 400, "backend_limited", "target_unreachable", True),
        ("RequestLimitExceeded", 503, "backend_limited", "target_unreachable", True),
        ("InternalServiceError", 500, "backend_unreachable", "target_unreachable", True),
        ("ServiceUnavailable", 503, "backend_unreachable", "target_unreachable", True),
        ("Anything", 502, "backend_unreachable", "target_unreachable", True),
        ("ResourceNotFoundException", 400, "secret_missing", "target_missing", False),
        ("NoSuchEntity", 404, "secret_missing", "target_missing", False),
        ("LimitExceededException", 400, "backend_limited", "target_error", False),
        ("New", 400, "backend_error", "target_error", False),
    ],
)  # fmt: skip
def test_stub_what_aws_refuses_has_a_reason(
    aws: Aws, code: str, status: int, backend: str, target: str, is_passing: bool
) -> None:
    session = aws.session
    for part, service, reason in (("backend", "secretsmanager", backend), ("target", "iam", target)):
        operation = "describe_secret" if part == "backend" else "list_access_keys"
        with Stubber(session._client(service, 3)) as stub:
            stub.add_client_error(operation, code, f"user {CANARY}", status)
            told = refused(session, part=part, service=service)
        assert (told.reason_code, told.is_passing) == (reason, is_passing)
        assert isinstance(told, AwsError) and told.code == code and code in told.message


@pytest.mark.parametrize(
    ("error", "reason", "is_passing"),
    [
        (e.ReadTimeoutError(endpoint_url=CANARY), "backend_unreachable", True),
        (e.ConnectTimeoutError(endpoint_url=CANARY), "backend_unreachable", True),
        (e.ConnectionClosedError(endpoint_url=CANARY), "backend_unreachable", True),
        (e.EndpointConnectionError(endpoint_url=CANARY), "backend_unreachable", True),
        (e.SSLError(endpoint_url=CANARY, error=CANARY), "backend_unreachable", False),
        (e.NoCredentialsError(), "credentials_unreadable", False),
        (e.NoRegionError(), "backend_error", False),
        (FileNotFoundError(2, CANARY), "backend_error", False),
        (KeyError(CANARY), "backend_error", False),
        (AttributeError(CANARY), "backend_error", False),
    ],
)
def test_mocked_what_kept_us_from_an_answer_has_a_reason(
    aws: Aws, error: Exception, reason: str, is_passing: bool
) -> None:
    def fail(_name: str) -> None:
        raise error

    with aws.hearing(fail):
        told = refused(aws.session)
    assert (told.reason_code, told.is_passing) == (reason, is_passing)


def test_moto_what_passes_is_asked_again_and_what_must_not_be_done_twice_is_not(aws: Aws) -> None:
    session, sent = AwsSession(AwsAccount()), list[str]()

    def throttle(request: Any, **_: Any) -> None:
        sent.append(request.url)
        raise e.ConnectionClosedError(endpoint_url="https://aws.example")

    session.session().events.register_first("before-send", throttle)
    refused(session)
    assert len(sent) == 3
    sent.clear()
    with pytest.raises(RotationError):
        session.call("iam", "create_access_key", part="target", about="x", once=True, UserName="x")
    assert len(sent) == 1


def test_moto_a_role_is_taken_on_with_its_external_id_and_anew_before_it_ends(aws: Aws) -> None:
    session = AwsSession(AwsAccount(role=ROLE))
    asked: list[dict[str, Any]] = []
    session._own().events.register("provide-client-params.sts.AssumeRole", lambda params, **_: asked.append(params))
    name = aws.new_secret({"a": "b"})

    def who() -> str:
        return str(session.call("sts", "get_caller_identity", part="backend", about="x")["Arn"])

    tokens = []
    for at in (0, 60, 2640, 2760):  # the last is less than a quarter of an hour before its end
        credentials = session.session().get_credentials()
        if tokens:
            now = credentials._expiry_time - timedelta(seconds=3600 - at)
            credentials._time_fetcher = lambda now=now: now
        told = session.call("secretsmanager", "describe_secret", part="backend", about="x", SecretId=name)
        assert told["Name"] == name
        tokens.append(credentials._frozen_credentials.token)
    assert len(asked) == len(set(tokens)) == 2 and len(set(tokens[:3])) == 1
    assert who().endswith(":assumed-role/rotation/night")
    assert asked[0] == {
        "RoleArn": ROLE.arn, "RoleSessionName": "night", "ExternalId": "theirs", "DurationSeconds": 3600
    }  # fmt: skip


def test_moto_a_role_that_we_may_not_take_on_is_told_once_and_nothing_is_chained(aws: Aws) -> None:
    session = AwsSession(AwsAccount(role=ROLE))

    def deny(**_: Any) -> None:
        raise e.ClientError({"Error": {"Code": "AccessDenied", "Message": CANARY}}, "AssumeRole")

    session._own().events.register("before-call.sts.AssumeRole", deny)
    told = refused(session)
    assert told.reason_code == "backend_denied" and ROLE.arn in told.message and "assume_role" in told.message


def test_moto_no_secret_over_plain_http_unless_allowed(aws: Aws) -> None:
    clear = "http://aws.example.invalid"
    told = refused(AwsSession(AwsAccount(access=AwsAccess(endpoint=clear))))
    assert "no TLS" in told.message
    told = refused(AwsSession(AwsAccount(endpoints={"iam": clear})), part="target", service="iam")
    assert "no TLS" in told.message
    allowed = AwsSession(AwsAccount(access=AwsAccess(endpoint=clear, allow_http=True), endpoints={"iam": clear}))
    assert allowed._client("secretsmanager", 1).meta.endpoint_url == clear
    assert allowed._client("iam", 1).meta.endpoint_url == clear
    assert allowed._client("sts", 1).meta.endpoint_url.startswith("https://")


@pytest.mark.usefixtures("aws")
def test_who_is_asked_without_tls_is_known() -> None:
    clear = {"iam": "http://aws.example", "sts": "http://127.0.0.1:5000", "kms": "https://aws.example"}
    session = AwsSession(AwsAccount(access=AwsAccess(allow_http=True), endpoints=clear))
    assert session.asked_in_the_clear() == []
    for service in ("sts", "kms", "iam", "secretsmanager"):
        session._client(service, 1)
    assert session.asked_in_the_clear() == ["iam"], "this machine hears what it says anyway"


@pytest.mark.usefixtures("aws")
def test_moto_a_ca_file_that_is_not_there_and_a_profile_that_nobody_has(tmp_path: Path) -> None:
    missing = AwsSession(AwsAccount(access=AwsAccess(profile="nobody")))
    assert "no such AWS profile" in refused(missing).message
    own = AwsSession(AwsAccount(access=AwsAccess(ca_file=tmp_path / "ca.pem")))
    assert own._client("secretsmanager", 1)._endpoint.http_session._verify == str(tmp_path / "ca.pem")


@pytest.mark.usefixtures("aws")
def test_a_key_is_not_said_by_the_session_nor_by_its_error() -> None:
    session = AwsSession(AwsAccount())
    with pytest.raises(AwsError) as error:
        session.call_as("AKIAUNKNOWN00000", Secret(CANARY), "sts", "get_caller_identity", part="target", about="a key")
    assert error.value.code == "InvalidClientTokenId"
    assert CANARY not in str(error.value) + repr(session) + repr(vars(session))


def test_the_time_is_that_of_the_answer() -> None:
    answer = {"ResponseMetadata": {"HTTPHeaders": {"date": "Sun, 01 Mar 2026 00:00:30 GMT"}}}
    assert aws_time(answer) == datetime(2026, 3, 1, 0, 0, 30, tzinfo=UTC)
    for headers in ({}, {"date": "soon"}, {"date": None}):
        with pytest.raises(RotationError) as error:
            aws_time({"ResponseMetadata": {"HTTPHeaders": headers}})
        assert error.value.reason_code == "backend_error"
