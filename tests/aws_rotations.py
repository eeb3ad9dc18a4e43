"""Rotations over the strict emulator of AWS: one session whose every call tests hear of, and stop."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3

from tasks.rotation.aws_session import AwsAccount, AwsSession
from tasks.rotation.iam_keys import IamKeys, IamUser
from tasks.rotation.secrets_manager import SecretPlace, SecretsManagerBackend
from tests.rotation_fakes import Hook
from tests.strict_moto import StrictAws, strict_moto

_numbers = itertools.count(1)


class Killed(BaseException):
    """As by kill -9: nothing that is done about errors is done about this."""


class Aws:
    """The emulator, and our session with it. ``hook`` is called before and after each call, with its name."""

    def __init__(self, strict: StrictAws, account: AwsAccount | None = None) -> None:
        self.strict = strict
        self.hook: Hook = lambda _name: None
        self.session = AwsSession(account or AwsAccount())
        #: (service, operation, parameters) of every call that was sent.
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        events = self.session.session().events
        events.register("before-call", lambda model, **_: self.hook(f"before {model.name}"))
        events.register("after-call", lambda model, **_: self.hook(f"after {model.name}"))
        events.register("provide-client-params", self._note)
        #: Clients of somebody else, who is not heard.
        self.people = boto3.client("secretsmanager")
        self.iam = boto3.client("iam")

    def _note(self, model: Any, params: dict[str, Any], **_: Any) -> None:
        self.calls.append((model.service_model.service_name, model.name, dict(params)))

    def new_secret(self, fields: dict[str, Any], **params: Any) -> str:
        """A secret with a first value; its name."""
        name = f"shop/db-{next(_numbers)}"
        self.people.create_secret(Name=name, SecretString=json.dumps(fields), **params)
        return name

    def new_user(self) -> tuple[str, dict[str, str]]:
        """An IAM user with a first key: its name, and the fields that hold the key."""
        name = f"robot-{next(_numbers)}"
        self.iam.create_user(UserName=name)
        key = self.iam.create_access_key(UserName=name)["AccessKey"]
        return name, {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}

    def backend(self, name: str) -> SecretsManagerBackend:
        """The backend of a secret."""
        return SecretsManagerBackend(self.session, SecretPlace(secret_id=name))

    def target(self, user: str) -> IamKeys:
        """The keys of a user."""
        return IamKeys(self.session, IamUser(name=user))

    @contextmanager
    def hearing(self, hook: Callable[[str], None]) -> Iterator[None]:
        """Call a hook at each call, while the block lasts."""
        self.hook = hook
        try:
            yield
        finally:
            self.hook = lambda _name: None


@contextmanager
def aws_of_tests() -> Iterator[Aws]:
    """Both, while the block lasts."""
    with strict_moto() as strict:
        yield Aws(strict)
