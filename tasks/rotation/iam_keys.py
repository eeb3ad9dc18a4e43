"""Access keys of an IAM user as a target: AWS makes them, says the secret once, and a user has two at most.

https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_access-keys.html#rotating_access_keys

All keys of the user are ours to rotate: the one in force, the one before it, and nothing else. A key is retired by
making it inactive, which people can take back; the next rotation needs its place and deletes it. An inactive key works
for nobody, so deleting it disturbs nobody, whatever its last use was and whoever made it inactive. An active one that
no rotation knows is deleted only if it was never used; else somebody depends on it, and a person has to decide.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.aws_session import AwsError, AwsSession, aws_time

_KEYS_PER_USER = 2
#: https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKey.html
_KEY_ID = re.compile(r"[A-Z0-9]{16,128}")
#: What STS says of a key that it does not know, that is inactive, or whose secret is another one.
_REFUSES = frozenset({
    "InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException", "InvalidSignatureException",
    "IncompleteSignature", "InvalidAccessKeyId",
})  # fmt: skip
_GONE = "NoSuchEntity"


@dataclass(frozen=True, slots=True, kw_only=True)
class IamUser:
    """A user, and the names of the fields that hold its key. ``quiet``: a key that was not used for so long is used by
    nobody; a job of every night uses it in the meantime."""

    name: str
    id_field: str = "aws_access_key_id"
    secret_field: str = "aws_secret_access_key"
    quiet: timedelta = timedelta(hours=25)


class IamKeys:
    """The target of one user's keys."""

    is_issued = True
    in_place = False

    def __init__(self, aws: AwsSession, user: IamUser) -> None:
        self._aws = aws
        self._user = user

    @property
    def issued_fields(self) -> frozenset[str] | None:
        """See ``Target``."""
        return frozenset((self._user.id_field, self._user.secret_field))

    def identity(self, fields: Mapping[str, Secret]) -> str:
        """See ``Target``."""
        for name in (self._user.id_field, self._user.secret_field):
            if name not in fields:
                raise RotationError(
                    "secret_shape", f"the secret of the IAM user {self._user.name} has no field {name}",
                    advice="Store the key under that name, or configure the names of its fields.",
                )  # fmt: skip
        key_id = fields[self._user.id_field].reveal()
        if not _KEY_ID.fullmatch(key_id):
            raise RotationError(
                "secret_shape", f"the field {self._user.id_field} is no id of an access key",
                advice="Compare the names of the fields with what they hold.",
            )  # fmt: skip
        return key_id

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """See ``Target``: no id of a key comes back, so nothing is locked."""
        yield

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> dict[str, Secret]:
        """Nobody but AWS makes a key."""
        raise RotationError("target_error", "an access key is issued, not proposed")

    def issued(self) -> frozenset[str]:
        """See ``Target``."""
        return frozenset(self._keys())

    def revoke(self, identities: frozenset[str]) -> None:
        """See ``Target``."""
        keys = self._keys()
        for key_id in sorted(identities & keys.keys()):
            if keys[key_id] == "Active" and self._last_used(key_id) is not None:
                raise RotationError(
                    "value_not_issued",
                    f"the IAM user {self._user.name} has the active key {key_id}, which is used and which no rotation"
                    " knows; it stands in the place of the next one",
                    advice="Find out who uses it. Make it inactive once nobody does: then it is deleted.",
                )
            self._change("delete_access_key", key_id)

    def issue(self, rotation_id: str, current: Mapping[str, Secret]) -> dict[str, Secret]:
        """See ``Target``. Never asked twice: whether a key was made is seen in ``issued``."""
        try:
            made = self._call("create_access_key", once=True)["AccessKey"]
        except AwsError as e:
            is_full = e.code == "LimitExceeded"
            if not is_full:
                raise
        else:
            new = {
                self._user.id_field: Secret(str(made["AccessKeyId"])),
                self._user.secret_field: Secret(str(made["SecretAccessKey"])),
            }
            return {**current, **new}
        raise RotationError(
            "target_error", f"the IAM user {self._user.name} has {_KEYS_PER_USER} keys, and may have no other",
            advice="The next run removes those that no rotation knows.", is_passing=True,
        )  # fmt: skip

    def apply(self, staged: Held, current: Held) -> None:
        """See ``Target``: a key works from when it is issued; one that was made inactive since is not made active."""

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        """See ``Target``: whether STS knows the key as one of this user. A new key is known after some seconds."""
        key_id = self.identity(fields)
        try:
            told = self._aws.call_as(
                key_id, fields[self._user.secret_field], "sts", "get_caller_identity",
                part="target", about=f"the key {key_id}",
            )  # fmt: skip
        except AwsError as e:
            if e.code not in _REFUSES:
                raise
            return False
        if str(told.get("Arn", "")).rpartition("/")[2] == self._user.name:
            return True
        raise RotationError(
            "secret_shape", f"the key {key_id} is none of the IAM user {self._user.name}",
            advice="Compare the configured user with whose key is stored.",
        )  # fmt: skip

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        """See ``Target``."""
        return not self.probe(fields)

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """See ``Target``. AWS tells the last use with some delay, and never forgets it: one that is long ago keeps no
        key from being retired."""
        if identity not in self._keys():
            return False  # asked of a key that is not there, AWS may say that we are denied
        told = self._use(identity)
        last = _last(told)
        return last is not None and last > since and aws_time(told) - last < self._user.quiet

    def retire(self, identity: str, *, in_force: str) -> None:
        """See ``Target``: it is made inactive. Not looked up before: lists lack new keys for a while."""
        if identity == in_force:
            raise RotationError("target_error", f"the key {identity} is in force, and is not retired")
        self._change("update_access_key", identity, Status="Inactive")

    def restore(self, current: Held) -> None:
        """See ``Target``. Raises RotationError(target_missing): it was deleted, which nobody can take back."""
        identity = self.identity(current.fields)
        keys = self._keys()
        if identity not in keys:
            raise RotationError(
                "target_missing", f"the key {identity}, which is in force, is deleted",
                advice="Rotate: a new key takes its place.",
            )  # fmt: skip
        if keys[identity] != "Active":
            self._change("update_access_key", identity, Status="Active")

    # -- calls --------------------------------------------------------------------------------------------------

    def _keys(self) -> dict[str, str]:
        """The keys of the user: id → Active or Inactive."""
        found: dict[str, str] = {}
        more: dict[str, Any] = {}
        while True:
            page = self._call("list_access_keys", **more)
            found |= {str(k["AccessKeyId"]): str(k["Status"]) for k in page["AccessKeyMetadata"]}
            if not page.get("IsTruncated"):
                return found
            more = {"Marker": page["Marker"]}

    def _last_used(self, key_id: str) -> datetime | None:
        """When a key was last used; None: never, or it is gone."""
        return _last(self._use(key_id))

    def _use(self, key_id: str) -> Mapping[str, Any]:
        """What AWS tells of the use of a key; nothing, if it is gone."""
        try:
            told: Mapping[str, Any] = self._aws.call(
                "iam", "get_access_key_last_used", part="target", about=f"the key {key_id}", AccessKeyId=key_id
            )
        except AwsError as e:
            if e.code != _GONE:
                raise
            return {}
        return told

    def _change(self, operation: str, key_id: str, **params: Any) -> None:
        """Change or delete a key; one that is gone is."""
        try:
            self._call(operation, AccessKeyId=key_id, **params)
        except AwsError as e:
            if e.code != _GONE:
                raise

    def _call(self, operation: str, *, once: bool = False, **params: Any) -> Any:
        return self._aws.call(
            "iam", operation, part="target", about=f"the IAM user {self._user.name}", once=once,
            UserName=self._user.name, **params,
        )  # fmt: skip


def _last(told: Mapping[str, Any]) -> datetime | None:
    """When the key was last used."""
    last: datetime | None = told.get("AccessKeyLastUsed", {}).get("LastUsedDate")
    return last
