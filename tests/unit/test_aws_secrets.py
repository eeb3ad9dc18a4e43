"""AWS Secrets Manager, played by moto inside this process."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from tasks.core.aws_access import AwsAccess
from tasks.core.errors import SecretError
from tasks.core.secret_refs import parse_ref
from tasks.credentials.aws import SecretsManager

CANARY = "c4nary-value"


@pytest.fixture(scope="module")
def moto_aws() -> Iterator[Any]:
    """moto's Secrets Manager; a client of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        with mock_aws():
            client = boto3.client("secretsmanager")
            client.create_secret(Name="git", SecretString=json.dumps({"token": CANARY, "n": 3, "none": ""}))
            client.create_secret(Name="plain", SecretString=CANARY)
            client.create_secret(Name="list", SecretString=f'["{CANARY}"]')
            client.create_secret(Name="binary", SecretBinary=CANARY.encode())
            yield client


#: Making a client costs more than all questions to it.
STORE = SecretsManager(AwsAccess())


def read(text: str, store: SecretsManager = STORE) -> str:
    return store.read(parse_ref(text)).reveal()


def refused(text: str, store: SecretsManager = STORE) -> str:
    with pytest.raises(SecretError) as error:
        read(text, store)
    assert error.value.advice
    assert CANARY not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None, "what a library said is not chained"
    return error.value.message.removeprefix(f"{text}: ")


def test_moto_a_field_and_the_whole_secret(moto_aws: Any) -> None:
    assert read("aws-sm:git#token") == CANARY
    assert read("aws-sm:plain") == CANARY
    arn = moto_aws.describe_secret(SecretId="git")["ARN"]
    assert read(f"aws-sm:{arn}#token") == CANARY


def test_moto_always_the_version_in_force(moto_aws: Any) -> None:
    moto_aws.create_secret(Name="turning", SecretString="first")
    moto_aws.put_secret_value(SecretId="turning", SecretString="next", VersionStages=["AWSPENDING"])
    assert read("aws-sm:turning") == "first"
    moto_aws.put_secret_value(SecretId="turning", SecretString="rotated")
    assert read("aws-sm:turning") == "rotated"
    moto_aws.delete_secret(SecretId="turning")
    assert refused("aws-sm:turning") == "it cannot be read now"


@pytest.mark.usefixtures("moto_aws")
def test_moto_what_is_not_there() -> None:
    assert refused("aws-sm:nothing") == "there is no such secret"
    assert refused("aws-sm:git#Token") == "the secret has no such text field"
    assert refused("aws-sm:git#n") == "the secret has no such text field"
    assert refused("aws-sm:git#none") == "the secret has no such text field"
    assert refused("aws-sm:plain#token") == "the secret is no JSON object"
    assert refused("aws-sm:list#0") == "the secret is no JSON object"
    assert refused("aws-sm:binary") == "it is binary, or empty"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("AccessDeniedException", "access is denied"), ("ExpiredTokenException", "the credentials have expired"),
        ("UnrecognizedClientException", "AWS does not know the credentials"), ("New", "AWS refuses (New)"),
    ],
)  # fmt: skip
def test_what_aws_refuses_mocked(code: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(**_: object) -> None:
        raise ClientError({"Error": {"Code": code, "Message": f"user {CANARY}"}}, "GetSecretValue")

    monkeypatch.setattr(SecretsManager, "_connected", lambda *_: type("Client", (), {"get_secret_value": deny}))
    assert refused("aws-sm:git", SecretsManager(AwsAccess())) == told


def test_a_server_that_is_not_there_mocked(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url="https://none.example")

    monkeypatch.setattr(SecretsManager, "_connected", lambda *_: type("Client", (), {"get_secret_value": none}))
    assert refused("aws-sm:git", SecretsManager(AwsAccess())) == "AWS is not reached"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(2, "x", CANARY), "a file or program that boto3's chain names is not there"),
        (AttributeError(CANARY), "the answer cannot be read (AttributeError)"),
        (TypeError(CANARY), "the answer cannot be read (TypeError)"),
    ],
)
def test_what_botocore_raises_of_odd_answers_is_told_mocked(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise error

    monkeypatch.setattr(SecretsManager, "_connected", lambda *_: type("Client", (), {"get_secret_value": fail}))
    assert refused("aws-sm:git", SecretsManager(AwsAccess())).startswith(told)


@pytest.mark.usefixtures("moto_aws")
def test_moto_no_secret_over_plain_http_unless_allowed() -> None:
    clear = "http://secretsmanager.example.invalid"
    assert refused("aws-sm:git", SecretsManager(AwsAccess(endpoint=clear))) == "the endpoint of AWS has no TLS"
    allowed = SecretsManager(AwsAccess(endpoint=clear, allow_http=True))
    assert allowed._connected(parse_ref("aws-sm:git")).meta.endpoint_url == clear


@pytest.mark.usefixtures("moto_aws")
def test_moto_without_credentials_region_or_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("aws-sm:git", SecretsManager(AwsAccess(profile="nobody"))) == "there is no such AWS profile"
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert refused("aws-sm:git", SecretsManager(AwsAccess())) == "there are no AWS credentials"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert refused("aws-sm:git", SecretsManager(AwsAccess())) == "no AWS region is set"


@pytest.mark.usefixtures("moto_aws")
def test_moto_no_value_in_a_log_at_its_loudest(caplog: pytest.LogCaptureFixture) -> None:
    for name in (None, "botocore", "botocore.parsers"):
        caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger("botocore.parsers").debug("it would be seen here")
    assert read("aws-sm:git#token") == CANARY
    assert "it would be seen here" in caplog.text
    assert CANARY not in caplog.text
