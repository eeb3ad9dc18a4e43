"""The secrets that Secrets Manager of one region holds, and the policies attached to them. No value is ever asked for.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_SecretListEntry.html

* ``LastRotatedDate`` tells of rotations by Secrets Manager alone; a value that people or programs put is newer, and
  nothing in the list says so but the label AWSPREVIOUS, which is there once a value took the place of another. Then the
  versions are asked when the one in force was made, unless our own tag tells since when it is.
* ``LastAccessedDate`` is a day, at midnight, and of this region only; our own reads count too.
* A replica belongs to its primary, in another region, which tells it with its policy.
* A secret may have policies beside the one called ``default``; those are made by AWS and are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.rotations import RotationError
from tasks.core.secret_stores import StoredKind, StoredSecret
from tasks.core.text import escaped
from tasks.rotation.aws_asking import AwsAsking, RefusedError
from tasks.rotation.aws_session import aws_time
from tasks.rotation.iam_statements import PolicyError, Statement, read_policy
from tasks.rotation.secrets_manager import CURRENT, PREVIOUS, SINCE_TAG

_PAGE = 100
#: A name is 512 characters at most.
_LONGEST = 600
#: How long after the last rotation a change still belongs to it.
_SAME_CHANGE = timedelta(hours=1)
_ABOUT = "Secrets Manager"


def place_of(secret_id: str) -> str:
    """The place of a secret by its name or its complete ARN: what differs between the two is taken away."""
    name = secret_id
    if secret_id.startswith("arn:"):
        whole = secret_id.partition(":secret:")[2]
        name = whole[:-7] if whole[-7:-6] == "-" else whole
    return f"aws-sm:{escaped(name, _LONGEST)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSecret:
    """What the list tells of a secret. ``versions``: labels by the ids of versions."""

    name: str
    arn: str
    created_at: datetime | None
    rotated_at: datetime | None
    changed_at: datetime | None
    used_at: datetime | None
    deleted_at: datetime | None
    next_rotation_at: datetime | None
    versions: Mapping[str, tuple[str, ...]]
    tags: Mapping[str, str]
    kms_key: str | None
    rotated_by: str | None
    owner: str | None

    @property
    def place(self) -> str:
        """Its place in the inventory."""
        return place_of(self.name)

    @property
    def current(self) -> str | None:
        """The id of the version in force."""
        return next((v for v, labels in self.versions.items() if CURRENT in labels), None)


@dataclass(slots=True)
class Listing:
    """What was listed. ``refused``: why not more; ``unreadable``: entries that nobody can read; ``as_of``: when, by the
    clock of AWS."""

    secrets: list[ListedSecret] = field(default_factory=list)
    refused: RefusedError | None = None
    unreadable: int = 0
    as_of: datetime | None = None


class SecretsOfRegion:
    """All secrets of one region. What was asked once is not asked again."""

    def __init__(self, asking: AwsAsking, region: str) -> None:
        self._asking = asking
        self._region = region
        self._listing: Listing | None = None
        self._policies: dict[str, tuple[Statement, ...] | RefusedError] = {}

    def listed(self) -> Listing:
        """Every secret but replicas, also those that are to be deleted."""
        if self._listing is None:
            self._listing = self._list()
        return self._listing

    def policy(self, secret: ListedSecret) -> tuple[Statement, ...]:
        """The policy attached to a secret; empty: there is none. Raises RefusedError."""
        if secret.arn not in self._policies:
            self._policies[secret.arn] = self._asked_policy(secret)
        found = self._policies[secret.arn]
        if isinstance(found, RefusedError):
            raise RefusedError(found.reason_code, found.detail, found.code)
        return found

    def changed(self, secret: ListedSecret) -> tuple[datetime | None, bool]:
        """When the value was last changed, and whether that is told: (None, True) is never. Raises RefusedError."""
        current = secret.current
        told, _, since = secret.tags.get(SINCE_TAG, "").partition(" ")
        if current is not None and told == current and (at := _iso_time(since)) is not None:
            return at, True
        if secret.rotated_at is not None and (
            secret.changed_at is None or secret.changed_at - secret.rotated_at < _SAME_CHANGE
        ):
            return secret.rotated_at, True
        if current is None:
            return secret.rotated_at, secret.rotated_at is not None
        if secret.rotated_at is None and not any(PREVIOUS in labels for labels in secret.versions.values()):
            return None, True
        made_at = self._made_at(secret, current)
        return made_at or secret.rotated_at, made_at is not None or secret.rotated_at is not None

    def stored(
        self, secret: ListedSecret, changed: tuple[datetime | None, bool], readers: tuple[str, ...] | None
    ) -> StoredSecret:
        """As the inventory has it."""
        return StoredSecret(
            kind=StoredKind.SECRETS_MANAGER, place=secret.place, created_at=secret.created_at,
            rotated_at=changed[0], rotation_is_told=changed[1], last_used_at=secret.used_at, use_is_told=True,
            version=secret.current, owner=secret.owner, rotated_by=secret.rotated_by, readers=readers,
            is_active=secret.deleted_at is None,
            orphan="it is marked for deletion" if secret.deleted_at is not None else None,
        )  # fmt: skip

    # -- questions ----------------------------------------------------------------------------------------------

    def _list(self) -> Listing:
        found, seen = Listing(), set[str]()
        try:
            for page in self._pages():
                found.as_of = found.as_of or _answered_at(page)
                for entry in page.get("SecretList") or ():
                    secret = _listed(entry)
                    if secret is None:
                        found.unreadable += 1
                    elif entry.get("PrimaryRegion") in (None, "", self._region) and secret.place not in seen:
                        seen.add(secret.place)
                        found.secrets.append(secret)
        except RefusedError as refused:
            found.refused = refused
        return found

    def _pages(self) -> Iterator[Mapping[str, Any]]:
        return self._asking.pages(
            "secretsmanager", "list_secrets", _ABOUT, MaxResults=_PAGE, IncludePlannedDeletion=True
        )  # fmt: skip

    def _asked_policy(self, secret: ListedSecret) -> tuple[Statement, ...] | RefusedError:
        try:
            text = self._asking.call("secretsmanager", "get_resource_policy", _ABOUT, SecretId=secret.arn).get(
                "ResourcePolicy"
            )
            return read_policy(text) if text else ()
        except RefusedError as refused:
            return refused
        except PolicyError as e:
            return RefusedError("policy_unreadable", f"the policy of a secret cannot be read: {e}")

    def _made_at(self, secret: ListedSecret, version: str) -> datetime | None:
        pages = self._asking.pages(
            "secretsmanager", "list_secret_version_ids", _ABOUT, SecretId=secret.arn, MaxResults=_PAGE
        )
        for page in pages:
            for one in page.get("Versions") or ():
                if isinstance(one, Mapping) and one.get("VersionId") == version:
                    return utc_time(one.get("CreatedDate"))
        return None


def _listed(entry: Any) -> ListedSecret | None:
    """An entry of the list; None: it is not what the reference says."""
    if not isinstance(entry, Mapping):
        return None
    name, arn = entry.get("Name"), entry.get("ARN")
    if not (isinstance(name, str) and name and isinstance(arn, str) and arn):
        return None
    versions = entry.get("SecretVersionsToStages")
    tags = {
        str(t.get("Key")): str(t.get("Value", "")) for t in _items(entry.get("Tags")) if isinstance(t, Mapping)
    }  # fmt: skip
    service = entry.get("OwningService")
    by = entry.get("RotationLambdaARN") or service or "Secrets Manager"
    return ListedSecret(
        name=name, arn=arn, created_at=utc_time(entry.get("CreatedDate")),
        rotated_at=utc_time(entry.get("LastRotatedDate")), changed_at=utc_time(entry.get("LastChangedDate")),
        used_at=utc_time(entry.get("LastAccessedDate")), deleted_at=utc_time(entry.get("DeletedDate")),
        next_rotation_at=utc_time(entry.get("NextRotationDate")),
        versions={str(v): tuple(map(str, _items(labels))) for v, labels in versions.items()}
        if isinstance(versions, Mapping) else {},
        tags=tags, kms_key=str(entry["KmsKeyId"]) if entry.get("KmsKeyId") else None,
        rotated_by=str(by) if entry.get("RotationEnabled") else None,
        owner=str(service) if service else _owner(tags),
    )  # fmt: skip


def _owner(tags: Mapping[str, str]) -> str | None:
    """Who owns it by its tags, however they are written."""
    return next((value for key, value in sorted(tags.items()) if key.lower() == "owner" and value), None)


def _items(told: Any) -> Iterable[Any]:
    return told if isinstance(told, list | tuple) else ()


def _answered_at(page: Mapping[str, Any]) -> datetime | None:
    try:
        return aws_time(page)
    except RotationError:
        return None


def _iso_time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.astimezone(UTC) if at.tzinfo is not None else None


def utc_time(told: Any) -> datetime | None:
    """A time as botocore read it, in UTC; None for anything else."""
    return told.astimezone(UTC) if isinstance(told, datetime) and told.tzinfo is not None else None
