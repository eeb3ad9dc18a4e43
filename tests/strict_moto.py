"""moto inside this process, made to fail where AWS does and moto does not. It is an emulator all the same.

By the API reference of Secrets Manager (the texts of the operations, and "quotas" of the user guide):

* PutSecretValue: a token that is a version's id, with another value → ResourceExistsException; with the same, nothing
  is done, labels included. Labels are moved from other versions. More than 20 labels at a secret →
  LimitExceededException.
* UpdateSecretVersionStage: the label is on another version and no RemoveFromVersionId is given, or that version does
  not have it → InvalidParameterException. AWSCURRENT cannot be taken away. AWSPREVIOUS follows it.
* GetSecretValue without version and label reads AWSCURRENT.
* ListSecretVersionIds: versions without labels only with IncludeDeprecated; by pages.

By the guides of IAM: a key that is inactive or deleted, or whose secret is another one, is not known to STS
(InvalidClientTokenId, SignatureDoesNotMatch), and trying it is no use of it. What is new is not known everywhere at
once ("troubleshoot general issues", eventual consistency): for ``settles_s`` STS does not know a new key, nor do lists
have it. That a user has two keys at most is moto's own. See also ``strict_moto_account``.

Not by any reference, but assumed: Secrets Manager's reads see every write that was answered; the order of checks.

moto's own classes are replaced, so a moto server that is started in the block is strict for other processes too; its
clock is the machine's then. ``tests/moto_server.py`` is such a server.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from moto import mock_aws
from moto.core import responses as core_responses
from moto.core.exceptions import InvalidClientTokenIdError
from moto.iam import models as iam_models
from moto.iam.access_control import IAMRequest
from moto.iam.exceptions import LimitExceededException as IAMLimitExceededException
from moto.secretsmanager.exceptions import (
    InvalidParameterException,
    InvalidRequestException,
    OperationNotPermittedOnReplica,
    ResourceExistsException,
    ResourceNotFoundException,
    SecretNotFoundException,
    SecretsManagerClientError,
)
from moto.secretsmanager.models import ReplicaSecret, SecretsManagerBackend, secretsmanager_backends
from moto.secretsmanager.responses import SecretsManagerResponse
from moto.sts.responses import TokenResponse

from tests.strict_moto_account import patch_account

ACCOUNT, REGION = "123456789012", "eu-central-1"
_LABELS = 20
#: The key that moto signs with inside a process, and that of those who ask its server.
_OF_TESTS = ("Credential=FOOBARKEY/", "Credential=testing/")
_WHO_AM_I = b"Action=GetCallerIdentity&Version=2011-06-15"


class StrictAws:
    """What the emulator holds. ``clock`` is AWS's; tests let it go on. ``page``: versions on one page of a list;
    ``settles_s``: how long a new key of IAM is not known everywhere."""

    def __init__(self) -> None:
        self.clock = datetime(2026, 3, 1, tzinfo=UTC)
        self.page = 100
        self.settles_s = 0.0

    def later(self, seconds: float) -> None:
        """Let time pass at AWS."""
        self.clock += timedelta(seconds=seconds)

    def secret(self, name: str, region: str = REGION) -> Any:
        """A secret as moto has it."""
        return secretsmanager_backends[ACCOUNT][region].secrets[name]

    def labels(self, name: str) -> dict[str, str]:
        """Label → version."""
        found = self.secret(name).versions.items()
        return {label: v for v, version in found for label in version["version_stages"]}

    def value(self, name: str, label: str = "AWSCURRENT") -> dict[str, Any]:
        """What is stored under a label."""
        secret = self.secret(name)
        told: dict[str, Any] = json.loads(secret.versions[self.labels(name)[label]]["secret_string"])
        return told

    def keys(self, user: str) -> dict[str, tuple[str, str]]:
        """The keys of a user: id → secret, status."""
        found = iam_models.iam_backends[ACCOUNT]["aws"].get_user(user).access_keys
        return {k.access_key_id: (k.secret_access_key, k.status) for k in found}


class _LabelsError(SecretsManagerClientError):
    def __init__(self) -> None:
        super().__init__("LimitExceededException", "too many labels")


_lock = threading.RLock()


def _writable(store: SecretsManagerBackend, secret_id: str) -> Any:
    secret = store.secrets.get(secret_id)
    if secret is None:
        raise SecretNotFoundException
    if isinstance(secret, ReplicaSecret):
        raise OperationNotPermittedOnReplica
    if secret.is_deleted():
        raise InvalidRequestException("It was marked for deletion.")
    return secret


def _holder(secret: Any, label: str) -> str | None:
    return next((v for v, version in secret.versions.items() if label in version["version_stages"]), None)


def _move(secret: Any, label: str, to: str | None) -> None:
    """Take a label from where it is, and put it there."""
    there = _holder(secret, label)
    if there == to:
        return
    if there is not None:
        secret.versions[there]["version_stages"].remove(label)
    if to is not None:
        secret.versions[to]["version_stages"].append(label)
    if label == "AWSCURRENT":
        secret.default_version_id = to
        _move(secret, "AWSPREVIOUS", there)


def _refuse_labels(secret: Any, *new: str) -> None:
    if len({label for v in secret.versions.values() for label in v["version_stages"]} | set(new)) > _LABELS:
        raise _LabelsError


def _put(
    self: SecretsManagerBackend, secret_id: str, secret_string: str, secret_binary: str, client_request_token: str,
    version_stages: list[str],
) -> str:  # fmt: skip
    with _lock:
        secret = _writable(self, secret_id)
        version = self._from_client_request_token(client_request_token)
        there = secret.versions.get(version)
        if there is not None and there.get("secret_string") != secret_string:
            raise ResourceExistsException("You can't use ClientRequestToken of an existing version.")
        if there is None:
            _refuse_labels(secret, *version_stages)
            secret.versions[version] = {
                "createdate": int(time.time()), "version_id": version, "version_stages": [],
                "secret_string": secret_string,
            }  # fmt: skip
            for label in version_stages:
                _move(secret, label, version)
        return str(secret.to_short_dict(include_version_stages=True, version_id=version))


def _update_stage(
    self: SecretsManagerBackend, secret_id: str, version_stage: str, remove_from_version_id: str | None,
    move_to_version_id: str | None,
) -> tuple[str, str]:  # fmt: skip
    with _lock:
        secret = _writable(self, secret_id)
        there = _holder(secret, version_stage)
        if move_to_version_id is not None and move_to_version_id not in secret.versions:
            raise ResourceNotFoundException("there is no such version")
        if remove_from_version_id is not None and remove_from_version_id != there:
            raise InvalidParameterException("the label is not on the version to remove it from")
        if remove_from_version_id is None and there not in (None, move_to_version_id):
            raise InvalidParameterException("the label is on another version")
        if move_to_version_id is None and (version_stage == "AWSCURRENT" or remove_from_version_id is None):
            raise InvalidParameterException("nothing to move it to")
        if move_to_version_id is not None:
            _refuse_labels(secret, version_stage)
        _move(secret, version_stage, move_to_version_id)
        return secret.arn, secret.name


_get = SecretsManagerBackend.get_secret_value


def _get_current(self: SecretsManagerBackend, secret_id: str, version_id: str, version_stage: str) -> dict[str, Any]:
    if not version_id and not version_stage:
        version_stage = "AWSCURRENT"
    with _lock:
        return _get(self, secret_id, version_id, version_stage)


def _lister(aws: StrictAws) -> Callable[[Any], str]:
    def list_versions(self: Any) -> str:
        secret = self.backend.secrets.get(self._get_param("SecretId"))
        if secret is None:
            raise SecretNotFoundException
        start, deprecated = int(self._get_param("NextToken") or 0), self._get_param("IncludeDeprecated")
        with _lock:
            found = [
                {
                    "VersionId": v,
                    "VersionStages": list(version["version_stages"]),
                    "CreatedDate": version["createdate"],
                }
                for v, version in secret.versions.items()
                if version["version_stages"] or deprecated
            ]
        told: dict[str, Any] = {"ARN": secret.arn, "Name": secret.name, "Versions": found[start : start + aws.page]}
        if start + aws.page < len(found):
            told["NextToken"] = str(start + aws.page)
        return json.dumps(told)

    return list_versions


_visited = iam_models.mark_account_as_visited
_identity = TokenResponse.get_caller_identity


def _visit(account_id: str, access_key: str, service: str, region: str) -> None:
    """Who is refused has used nothing."""
    key = iam_models.iam_backends[account_id]["aws"].access_keys.get(access_key)
    if key is not None and key.status == "Active":
        _visited(account_id, access_key, service, region)


def _is_settled(key: Any, aws: StrictAws) -> bool:
    return bool(key.create_date + timedelta(seconds=aws.settles_s) <= iam_models.utcnow())


def _teller(aws: StrictAws) -> Callable[[Any], Any]:
    def caller(self: Any) -> Any:
        """Whose key it is, if it is known, active, and signed with its secret. Those of tests (``testing``) are."""
        key_id = self.get_access_key()
        # moto takes ids of another length for one of its own.
        told = self.headers.get("Authorization", "")
        if key_id.startswith("AKIA") and not any(of in told for of in _OF_TESTS):
            key = iam_models.iam_backends[ACCOUNT]["aws"].access_keys.get(key_id)
            if key is None or key.status != "Active" or not _is_settled(key, aws):
                raise InvalidClientTokenIdError
            IAMRequest(
                account_id=ACCOUNT, method="POST", path="/", data={}, body=_WHO_AM_I, headers=self.headers,
                action="GetCallerIdentity",
            ).check_signature()  # fmt: skip
        return _identity(self)

    return caller


_issued = iam_models.IAMBackend.create_access_key


def _issue(self: Any, user_name: str, prefix: str = "AKIA", status: str = "Active") -> Any:
    """The limit counts also keys that lists do not have yet."""
    if len(self.get_user(user_name).access_keys) >= iam_models.LIMIT_KEYS_PER_USER:
        raise IAMLimitExceededException("Cannot exceed quota for AccessKeysPerUser")
    return _issued(self, user_name, prefix, status)


def _key_lister(aws: StrictAws) -> Callable[[Any, str], Any]:
    def list_keys(self: Any, user_name: str) -> Any:
        return [key for key in self.get_user(user_name).access_keys if _is_settled(key, aws)]

    return list_keys


@contextmanager
def strict_moto() -> Iterator[StrictAws]:
    """The emulator, while the block lasts, for clients without an endpoint of their own."""
    aws = StrictAws()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_SESSION_TOKEN"):
            patch.delenv(name, raising=False)
        for name, value in {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }.items():  # fmt: skip
            patch.setenv(name, value)
        for module in (iam_models, core_responses):
            patch.setattr(module, "utcnow", lambda: aws.clock.replace(tzinfo=None))
        patch_account(patch, lambda: aws.clock)
        with strict_classes(aws), mock_aws():
            yield aws


@contextmanager
def strict_classes(aws: StrictAws) -> Iterator[None]:
    """moto's classes, made strict while the block lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SecretsManagerBackend, "put_secret_value", _put)
        patch.setattr(SecretsManagerBackend, "update_secret_version_stage", _update_stage)
        patch.setattr(SecretsManagerBackend, "get_secret_value", _get_current)
        patch.setattr(SecretsManagerResponse, "list_secret_version_ids", _lister(aws))
        patch.setattr(TokenResponse, "get_caller_identity", _teller(aws))
        patch.setattr(iam_models.IAMBackend, "create_access_key", _issue)
        patch.setattr(iam_models.IAMBackend, "list_access_keys", _key_lister(aws))
        patch.setattr(iam_models, "mark_account_as_visited", _visit)
        yield
