"""The access keys of all IAM users of an account. A key's secret is told once, when it is made, and never again.

Who has keys, and when each was used last, is asked for all users at once in the credential report
(https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_getting-report.html): for 5,000 users that have none it
saves 5,000 questions, and for each key one. AWS makes a report every four hours at most, so a last use may be as late,
and the first key of a user who had none is seen that much later. The ids of keys are not in it: users that have some,
or that it does not know, are asked. Without a report every user is asked, and then every key.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.rotations import RotationError
from tasks.core.secret_stores import StoredKind, StoredSecret
from tasks.core.text import escaped
from tasks.rotation.aws_asking import AwsAsking, RefusedError, understood
from tasks.rotation.aws_secrets import utc_time
from tasks.rotation.aws_session import aws_time

_PAGE = 1000
_ABOUT = "IAM"
_GONE = "NoSuchEntity"
#: A report that is older was not made for us.
_OLDEST_REPORT = timedelta(hours=5)
#: A report of a large account takes some seconds.
_POLLS, _POLL_S = 15, 2.0
_NOT_READY = frozenset({"ReportInProgress", "ReportNotPresent"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """One key. ``use_is_told`` with no ``used_at``: it was never used."""

    user: str
    key_id: str
    created_at: datetime | None
    is_active: bool
    used_at: datetime | None
    use_is_told: bool

    def stored(self) -> StoredSecret:
        """As the inventory has it. Its age is since it was made; no key is ever changed, another one is made."""
        return StoredSecret(
            kind=StoredKind.ACCESS_KEY, place=f"{place_of_user(self.user)}/{self.key_id}", created_at=self.created_at,
            last_used_at=self.used_at, use_is_told=self.use_is_told,
            owner=f"user/{escaped(self.user)}", readers=(), is_active=self.is_active,
        )  # fmt: skip


@dataclass(slots=True)
class KeyListing:
    """What was listed. ``refused``: why users are not known; ``of_users``: why the keys of one are not; ``use``: why
    the last use of some keys is not."""

    keys: list[AccessKey] = field(default_factory=list)
    refused: RefusedError | None = None
    of_users: dict[str, RefusedError] = field(default_factory=dict)
    use: dict[str, RefusedError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Reported:
    """A user in the report: when it was created, and (made, last used) of its keys."""

    created_at: datetime | None
    keys: tuple[tuple[datetime | None, datetime | None], ...]


def place_of_user(user: str) -> str:
    """What the places of a user's keys begin with."""
    return f"aws-iam:user/{escaped(user)}"


class AccessKeys:
    """The keys of one account. Asked once."""

    def __init__(self, asking: AwsAsking) -> None:
        self._asking = asking
        self._listing: KeyListing | None = None

    def listed(self) -> KeyListing:
        """All keys of all users, those of the root user left out."""
        if self._listing is None:
            self._listing = KeyListing()
            try:
                with understood(f"{_ABOUT}: list_users"):
                    self._list(self._listing)
            except RefusedError as refused:
                self._listing.refused = refused
        return self._listing

    def _list(self, found: KeyListing) -> None:
        report: dict[str, _Reported] | None = None
        for page in self._asking.pages("iam", "list_users", _ABOUT, MaxItems=_PAGE):
            for user in page.get("Users") or ():
                if report is None:
                    report = self._report()
                name = str(user.get("UserName") or "")
                known = report.get(name)
                if known is not None and known.created_at != _second(utc_time(user.get("CreateDate"))):
                    known = None  # another user of the same name
                if known is not None and not known.keys:
                    continue
                try:
                    with understood(f"{_ABOUT}: list_access_keys"):
                        self._of_user(name, known, found)
                except RefusedError as refused:
                    if refused.code != _GONE:
                        found.of_users[name] = refused

    def _of_user(self, user: str, known: _Reported | None, found: KeyListing) -> None:
        for page in self._asking.pages("iam", "list_access_keys", _ABOUT, UserName=user):
            for told in page.get("AccessKeyMetadata") or ():
                key = self._key(user, told, known, found)
                if key is not None:
                    found.keys.append(key)

    def _key(self, user: str, told: Mapping[str, Any], known: _Reported | None, found: KeyListing) -> AccessKey | None:
        key_id, created_at = escaped(str(told.get("AccessKeyId") or "")), utc_time(told.get("CreateDate"))
        is_told, used_at = True, None
        same = [used for made, used in (known.keys if known else ()) if made == _second(created_at)]
        if len(same) == 1 and created_at is not None:
            used_at = same[0]
        else:
            try:
                used_at = self._last_used(key_id)
            except RefusedError as refused:
                if refused.code == _GONE:
                    return None
                is_told = False
                found.use[key_id] = refused
        return AccessKey(
            user=user, key_id=key_id, created_at=created_at, is_active=told.get("Status") == "Active",
            used_at=used_at, use_is_told=is_told,
        )  # fmt: skip

    def _last_used(self, key_id: str) -> datetime | None:
        told = self._asking.call("iam", "get_access_key_last_used", _ABOUT, AccessKeyId=key_id)
        return utc_time((told.get("AccessKeyLastUsed") or {}).get("LastUsedDate"))

    # -- the report ---------------------------------------------------------------------------------------------

    def _report(self) -> dict[str, _Reported]:
        """What the credential report says of each user; nothing, where there is none: then everybody is asked."""
        try:
            self._asking.call("iam", "generate_credential_report", _ABOUT)
            for left in reversed(range(_POLLS)):
                try:
                    answer = self._asking.call("iam", "get_credential_report", _ABOUT)
                except RefusedError as refused:
                    if refused.code not in _NOT_READY or not left:
                        raise
                    self._asking.sleep(_POLL_S)
                else:
                    return _read(answer)
        except (RefusedError, RotationError, ValueError, KeyError, AttributeError, csv.Error):
            # Signed out: the next question says so.
            return {}
        return {}


def _read(answer: Mapping[str, Any]) -> dict[str, _Reported]:
    """Raises ValueError, KeyError, csv.Error, RotationError: it is no report, or an old one."""
    made_at = utc_time(answer.get("GeneratedTime"))
    if made_at is None or aws_time(answer) - made_at > _OLDEST_REPORT:
        return {}
    rows = csv.DictReader(io.StringIO(bytes(answer["Content"]).decode()), strict=True)
    return {
        row["user"]: _Reported(
            _time(row["user_creation_time"]),
            tuple(
                (_time(row[f"access_key_{n}_last_rotated"]), _time(row[f"access_key_{n}_last_used_date"]))
                for n in (1, 2)
                if row[f"access_key_{n}_active"] == "true" or _time(row[f"access_key_{n}_last_rotated"]) is not None
            ),
        )
        for row in rows
    }


def _time(text: str) -> datetime | None:
    """A time of the report; None for ``N/A`` and ``no_information``. Raises ValueError."""
    if text in ("N/A", "no_information", "not_supported"):
        return None
    return _second(datetime.fromisoformat(text).astimezone(UTC))


def _second(at: datetime | None) -> datetime | None:
    return at.replace(microsecond=0) if at is not None else None
