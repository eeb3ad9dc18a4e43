"""The AWS stage of the rotation scenario: Secrets Manager and IAM as an emulator with a strict layer has them, and
PostgreSQL. One half of the secrets are access keys of IAM users, the other users of PostgreSQL.

A consumer logs in with a key by asking STS who it is; the strict layer refuses keys that are inactive, deleted or new.
"""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.core.aws_access import AwsAccess
from tasks.core.rotations import MARK, Target
from tasks.patrol.rotating import Managed
from tasks.rotation.aws_session import AwsAccount, AwsSession
from tasks.rotation.iam_keys import IamKeys, IamUser
from tasks.rotation.machine import Rules
from tasks.rotation.schedule import Schedule
from tasks.rotation.secrets_manager import SecretPlace, SecretsManagerBackend
from tests.chaos.rotation_postgresql import SqlAccess, SqlUsers
from tests.chaos.rotation_stage import AwayError, Credential, Hook, Seen, Shop, Site, Stage, stepped
from tests.integration.sql_servers import PostgreSqlHere, postgresql
from tests.moto_server import REGION, MotoServer, asking_who_i_am, reading

#: The calls of backend and target at which runners are stopped, and those of AWS that change something.
_ALIKE = ("staged", "current", "probe", "stage", "promote", "retire", "forget", "PutSecretValue",
          "UpdateSecretVersionStage", "TagResource")  # fmt: skip
CALLS_OF_USERS = (*_ALIKE, "apply")
CALLS_OF_KEYS = (*_ALIKE, "issue", "revoke", "CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey")
#: What part of the calls fails, how long a new key is not known everywhere, and how long the server is frozen.
_FAULTS, _SETTLES_S, _FROZEN_S = 0.02, 0.6, 3.0
#: Nothing depends on it but how long a runner waits for one that was killed as it had a key issued.
_LEASE = timedelta(seconds=2)
_REFUSES = (b"InvalidClientTokenId", b"SignatureDoesNotMatch")
#: An answer must begin within so long, seconds.
_TIMEOUT_S = 20
_KEY_FIELDS = ("aws_access_key_id", "aws_secret_access_key")


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsSite(Site):
    """See ``Site``."""

    endpoint: str
    sql: SqlAccess

    def consumer(self) -> AwsConsumer:
        """See ``Site``."""
        return AwsConsumer(self)

    @contextmanager
    def managed(self, shop: Shop, hook: Hook = lambda _step: None) -> Iterator[Managed]:
        """See ``Site``."""
        os.environ |= {
            "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }  # fmt: skip
        access = AwsAccess(region=REGION, endpoint=self.endpoint)
        aws = AwsSession(AwsAccount(access=access, endpoints={"iam": self.endpoint, "sts": self.endpoint}))
        events = aws.session().events
        for when, event in (("before", "before-call"), ("after", "after-call")):
            for call in shop.calls:
                events.register(f"{event}.*.{call}", lambda step=f"{when} {call}", **_: hook(step))
        if is_of_keys(shop):
            kind = "iam"
            target: Target = stepped(
                IamKeys(aws, IamUser(name=shop.users[0], quiet=timedelta(seconds=self.grace_s))), shop.calls, hook
            )
        else:
            kind, target = "postgresql", self.sql.target(shop, hook)
        yield Managed(
            name=shop.name, backend=stepped(SecretsManagerBackend(aws, shop.place), shop.calls, hook), target=target,
            target_kind=kind, rules=Rules(grace=timedelta(seconds=self.grace_s), lease=_LEASE),
            schedule=Schedule(every=timedelta(days=1)), value=self.sql.fresh, failure_class=kind,
        )  # fmt: skip


def is_of_keys(shop: Shop) -> bool:
    """Whether it is the key of an IAM user."""
    return len(shop.users) == 1


class AwsConsumer:
    """Reads as anybody may, and logs in at STS or PostgreSQL."""

    def __init__(self, site: AwsSite) -> None:
        self._site = site

    def read(self, shop: Shop) -> Credential:
        """See ``Consumer``."""
        try:
            request = reading(self._site.endpoint, shop.place.secret_id)
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as told:
                answer: Any = json.load(told)
        except http.client.HTTPException as e:
            raise ConnectionError(type(e).__name__) from None
        value = json.loads(answer["SecretString"])
        user, password = _credential(shop, value)
        return Credential(user=user, password=password, version=answer["VersionId"])

    def log_in(self, shop: Shop, credential: Credential) -> str | None:
        """See ``Consumer``."""
        if not is_of_keys(shop):
            return self._site.sql.log_in(credential)
        return who_i_am(self._site.endpoint, credential.user, credential.password)


def who_i_am(endpoint: str, key_id: str, secret: str, **headers: str) -> str | None:
    """What STS says against a key; None: it knows it. Raises AwayError."""
    request = asking_who_i_am(endpoint, (key_id, secret))
    for name, value in headers.items():
        request.add_header(name, value)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            answer.read()
        return None
    except urllib.error.HTTPError as e:
        said = e.read()
        if any(code in said for code in _REFUSES):
            return said.decode()
        raise AwayError from None
    except (OSError, http.client.HTTPException):
        raise AwayError from None


def _as_operator(request: Any, **_: Any) -> None:
    request.headers["X-Operator"] = "1"


def _credential(shop: Shop, value: Any) -> tuple[str, str]:
    names = _KEY_FIELDS if is_of_keys(shop) else ("username", "password")
    return value[names[0]], value[names[1]]


class AwsServers(Stage):
    """The emulator and PostgreSQL, with the secrets."""

    store, target = "the emulator of Secrets Manager", "its STS, or PostgreSQL,"

    def __init__(self, aws: MotoServer, db: PostgreSqlHere) -> None:
        super().__init__()
        self.aws, self.sql = aws, SqlUsers(db)

    def make_shops(self, number: int) -> None:
        """Secrets: users of PostgreSQL, and keys of IAM users, in turn."""
        import boto3

        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        made = {"endpoint_url": self.aws.endpoint, "region_name": REGION, **keys}
        iam, secrets = boto3.client("iam", **made), boto3.client("secretsmanager", **made)
        for client in (iam, secrets):
            client.meta.events.register(
                "before-sign", lambda request, **_: request.headers.add_header("X-Operator", "1")
            )
        for i in range(number):
            name = f"shop{i + 1}"
            if i % 2:
                iam.create_user(UserName=name)
                key = iam.create_access_key(UserName=name)["AccessKey"]
                value: dict[str, Any] = dict(
                    zip(_KEY_FIELDS, (key["AccessKeyId"], key["SecretAccessKey"]), strict=True)
                )
                users: tuple[str, ...] = (name,)
            else:
                users, password = self.sql.make()
                value = {"username": users[0], "password": password, "port": self.sql.db.port}
                self.first_values.append(password)
            secrets.create_secret(Name=name, SecretString=json.dumps(value))
            calls = CALLS_OF_KEYS if i % 2 else CALLS_OF_USERS
            self.shops.append(Shop(name=name, place=SecretPlace(secret_id=name), users=users, calls=calls))

    def site(self, place: Path, grace_s: float) -> AwsSite:
        """See ``Stage``."""
        (place / "said").mkdir()
        return AwsSite(
            endpoint=self.aws.endpoint, sql=self.sql.access(place, place / "book"), steps=place / "steps",
            said=place / "said", book=place / "book", grace_s=grace_s,
        )  # fmt: skip

    @property
    def shown(self) -> list[int]:
        """See ``Stage``."""
        return [self.aws.pid]

    def disturbances(self) -> list[tuple[str, Callable[[], None]]]:
        """See ``Stage``."""
        return [
            (f"{_FROZEN_S:g} s of freezing AWS", lambda: self.aws.freeze(_FROZEN_S)),
            ("kill -9 of PostgreSQL", self.sql.restart),
        ]

    # -- what an operator sees --------------------------------------------------------------------------------------

    def seen(self, shop: Shop) -> Seen:
        """See ``Stage``."""
        told = self.aws.look(shop.place.secret_id)
        user, password = _credential(shop, told["values"]["AWSCURRENT"])
        staged = told["values"].get("AWSPENDING", {}).get(MARK)
        return Seen(
            version=told["labels"]["AWSCURRENT"], user=user, password=password,
            mark=json.loads(staged) if staged is not None else None,
        )  # fmt: skip

    def accepts(self, shop: Shop, seen: Seen) -> bool:
        """See ``Stage``."""
        if not is_of_keys(shop):
            return self.sql.db.accepts(seen.user, seen.password)
        try:
            return who_i_am(self.aws.endpoint, seen.user, seen.password, **{"X-Operator": "1"}) is None
        except AwayError:
            raise ConnectionError from None

    def live(self, shop: Shop) -> set[str]:
        """See ``Stage``."""
        if not is_of_keys(shop):
            return self.sql.live(shop.users)
        keys = self.aws.look(user=shop.users[0])["keys"]
        return {key for key, status in keys.items() if status == "Active"}

    def strangers(self) -> set[str]:
        """See ``Stage``."""
        return self.sql.strangers()

    def end_locks(self) -> int:
        """See ``Stage``."""
        return self.sql.end_locks()

    def faults(self) -> str:
        """See ``Stage``."""
        return "AWS " + ", ".join(f"{what} {n} times" for what, n in sorted(self.aws.look()["faults"].items()))

    def logs(self) -> dict[Path, bytes]:
        """See ``Stage``."""
        return {self.sql.db.log_file: b"ALTER ROLE", self.aws.log: b"POST / HTTP"}


@contextmanager
def aws_servers(place: Path, shops: int) -> Iterator[AwsServers]:
    """Both running, with so many secrets. Skips a test where a program is not installed."""
    with ExitStack() as both:
        db = both.enter_context(postgresql())
        aws = MotoServer(place, settles_s=_SETTLES_S, faults=_FAULTS)
        both.callback(aws.stop)
        aws.start()
        made = AwsServers(aws, db)
        made.make_shops(shops)
        yield made
