"""The rows of ``secrets`` that an inventory makes: what is managed and what its store holds are one row, by place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from tasks.core.rotations import BESIDE
from tasks.core.secret_stores import StoredKind, StoredSecret, StoreGap
from tasks.core.text import escaped
from tasks.lake.rotation_tables import INVENTORY_COLUMNS
from tasks.patrol.secret_reading import StoreReading
from tasks.policy.secret_hygiene import Rotated, value_since

Row = dict[str, Any]
#: Of a path of Vault.
_LONGEST = 8000
_LEFT = "a value that a rotation staged, of a secret that is not configured"
#: arn:PARTITION:secretsmanager:REGION:ACCOUNT:secret:NAME-RANDOM
_ARN = re.compile(r"arn:aws[a-z-]*:secretsmanager:(?P<region>[^:]*):(?P<account>[^:]*):secret:(?P<name>.+)")
_RANDOM = re.compile(r"-[A-Za-z0-9]{6}$")
_PARTITIONS = ("aws", "aws-cn", "aws-us-gov")


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """One secret of the configuration. ``at`` is its path with the mount, or its name or ARN at AWS; ``staged_at``
    where its next value waits, ``region`` and ``account`` those of AWS, where they are told; ``iam_user`` the user
    whose access key it is, ``iam_account`` theirs. ``is_unsure``: more than one store may be the one it lies in."""

    name: str
    store: str
    at: str
    staged_at: str | None = None
    region: str | None = None
    account: str | None = None
    iam_user: str | None = None
    iam_account: str | None = None
    is_unsure: bool = False
    target: str
    failure_class: str
    every: timedelta
    grace: timedelta
    consumers: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it lies, for people."""
        return _place(self.store, self.at)

    @property
    def is_untold(self) -> bool:
        """Whether the configuration does not say which account and region of AWS it, or its user, lies in."""
        is_in = _ARN.fullmatch(self.at) is not None or (self.account is not None and self.region is not None)
        return self.store == "aws" and not (is_in and (self.iam_user is None or self.iam_account is not None))

    def among(self, own: str | None, stores: Collection[str]) -> Configured:
        """With what is not told taken from ``own``, the store that our own access leads to (None: nobody knows); and
        whether more than one of these stores may be meant all the same."""
        if not self.is_untold:
            return self
        account, region = _where(own) if own is not None else (None, None)
        known = replace(
            self, account=self.account or account, region=self.region or region,
            iam_account=self.iam_account or account,
        )  # fmt: skip
        return replace(known, is_unsure=sum(bool(known.places_in(s)) for s in stores) > 1)

    def places_in(self, store_id: str) -> frozenset[str]:
        """The places by which a store may call it; none: it lies in another one."""
        kind = store_id.partition(":")[0]
        if kind != self.store:
            return frozenset()
        if kind == "vault":
            return frozenset({self.place})
        account, region = _where(store_id)
        if not region:  # what belongs to the account alone: keys of users
            return frozenset()
        arn = _ARN.fullmatch(self.at)
        name = arn["name"] if arn is not None else self.at
        mine = (arn["region"], arn["account"]) if arn is not None else (self.region, self.account)
        if any(told and told != there for told, there in zip(mine, (region, account), strict=True)):
            return frozenset()
        # Only an ARN ends in what AWS adds; a part of one may do without.
        names = {name, *([_RANDOM.sub("", name)] if arn is not None else ())}
        arns = (f"arn:{p}:secretsmanager:{region}:{account}:secret:" for p in _PARTITIONS)
        return frozenset(_place("aws", f"{before}{n}") for before in ("", *arns) for n in names)


def _where(store_id: str) -> tuple[str, str]:
    """Account and region of a store of AWS: aws:ACCOUNT/REGION."""
    account, _, region = store_id.partition(":")[2].partition("/")
    return account, region


def _place(store: str, at: str) -> str:
    """A place as stores write it: what nobody sees of a name is written out."""
    return f"{'vault' if store == 'vault' else 'aws-sm'}:{escaped(at, _LONGEST)}"


@dataclass(slots=True)
class Joined:
    """What one store holds, beside what is configured. ``names`` has the configured secret of a place, ``rotated`` what
    rotates what lies there, ``secrets`` all of them without staged values of configured ones. ``gaps``: what may be one
    of the configuration, or one of another store is."""

    secrets: list[StoredSecret] = field(default_factory=list)
    names: dict[str, Configured] = field(default_factory=dict)
    rotated: dict[str, Rotated] = field(default_factory=dict)
    gaps: list[StoreGap] = field(default_factory=list)


class Known:
    """The rows of ``secrets`` before this run."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.rows: dict[str, Row] = {row["secret"]: row for row in rows}
        self._by_place = {
            (r["store"], r["place"]): r["secret"] for r in self.rows.values() if r["is_managed"] is False
        }  # fmt: skip

    def key(self, store_id: str, place: str, taken: Collection[str]) -> str:
        """What a secret is called that nobody configured: by its place, and where another store has that, by both."""
        known: str | None = self._by_place.get((store_id, place))
        if known is not None:
            return known
        return place if place not in self.rows and place not in taken else f"{place} ({store_id})"

    def since(self, name: str) -> datetime | None:
        """Since when the value of a managed secret is in force, as its own store said it last."""
        at: datetime | None = self.rows[name]["in_force_since"] if name in self.rows else None
        return at

    def places(self, store_id: str) -> frozenset[str]:
        """Places of a store that are known and were there."""
        return frozenset(r["place"] for r in self.rows.values() if r["store"] == store_id and r["present"])


def joined(reading: StoreReading, configured: Collection[Configured], known: Known) -> Joined:
    """What a store holds, with what is configured of it."""
    found = Joined()
    assert reading.store_id is not None
    places = {p: c for c in configured for p in c.places_in(reading.store_id)}
    vault = reading.store_id.startswith("vault:")
    staged = (
        {_place("vault", c.staged_at) for c in configured if c.store == "vault" and c.staged_at} if vault else set()
    )
    account = _where(reading.store_id)[0]
    keys = {
        f"aws-iam:user/{c.iam_user}/": c for c in configured
        if c.iam_user and (c.iam_account or account) == account
    }  # fmt: skip
    for s in reading.secrets:
        if s.place in staged:
            continue
        mine = places.get(s.place)
        if mine is not None and mine.is_unsure:
            detail = f"it may be the managed secret {mine.name}, or one of another account or region is"
            found.gaps.append(StoreGap(topic=s.place, reason_code="account_not_told", detail=detail))
        elif mine is not None:
            found.names[s.place] = mine
            found.rotated[s.place] = Rotated(every=mine.every, since=known.since(mine.name))
        elif s.kind is StoredKind.ACCESS_KEY and (by := _user_of(s.place, keys)) is not None:
            # Its secret has the schedule, and is told where that is overdue.
            found.rotated[s.place] = Rotated(every=None)
            s = replace(s, rotated_by=s.rotated_by or f"the managed secret {by.name}")
        elif s.kind is StoredKind.KV and s.place.endswith(BESIDE) and s.orphan is None:
            s = replace(s, orphan=_LEFT)
        found.secrets.append(s)
    return found


def _user_of(place: str, keys: Mapping[str, Configured]) -> Configured | None:
    return keys.get(f"{place.rpartition('/')[0]}/") if keys else None


def secret_rows(
    read: Sequence[tuple[StoreReading, Joined]], configured: Collection[Configured], known: Known
) -> Iterator[Row]:
    """Rows of ``secrets`` that say something new."""
    told: dict[str, Row] = {}
    for reading, found in read:
        assert reading.store_id is not None
        for s in found.secrets:
            mine = found.names.get(s.place)
            key = mine.name if mine is not None else known.key(reading.store_id, s.place, told)
            if key in told:
                continue  # two stores of one account tell of the same user's key
            before = known.rows.get(key)
            row = _managed(mine, before, reading.at) if mine is not None else _unmanaged(key, s, reading.at)
            told[key] = row | _told(s, reading.store_id)
    gone = _gone(read, configured, known, told)
    for key, row in (*told.items(), *gone):
        if _differs(row, known.rows.get(key)):
            yield row


def _gone(
    read: Sequence[tuple[StoreReading, Joined]],
    configured: Collection[Configured],
    known: Known,
    told: Mapping[str, Row],
) -> Iterator[tuple[str, Row]]:
    """What is there no more: of what is managed its configuration, of the others their place. What may be there and was
    not read stays as it is."""
    names = {c.name for c in configured}
    looked = {reading.store_id: reading for reading, _ in read}
    for key, row in known.rows.items():
        if key in told:
            continue
        if row["is_managed"] is not False:
            if row["present"] and key not in names:
                yield key, {**row, "present": False}
            elif row["store"] in looked and looked[row["store"]].hides(row["place"]) is None:
                yield key, {**row, **dict.fromkeys(INVENTORY_COLUMNS)}
        elif row["present"] and row["store"] in looked and looked[row["store"]].hides(row["place"]) is None:
            yield key, {**row, "present": False, "looked_at": looked[row["store"]].at}


def _managed(c: Configured, before: Row | None, at: datetime) -> Row:
    if before is not None:
        return {**before, "is_managed": True, "present": True, "looked_at": at}
    return {
        "secret": c.name, "place": c.place, "target": c.target, "failure_class": c.failure_class, "identity": None,
        "version": None, "in_force_since": None, "rotation_id": None, "slot": None, "state": None, "due": "unknown",
        "due_at": None, "every_days": c.every / timedelta(days=1), "grace_s": c.grace.total_seconds(),
        "consumers": list(c.consumers), "reason_code": None, "detail": None, "looked_at": at, "present": True,
        "is_managed": True,
    }  # fmt: skip


def _unmanaged(key: str, s: StoredSecret, at: datetime) -> Row:
    return {
        "secret": key, "place": s.place, "target": None, "failure_class": None, "identity": None, "version": s.version,
        "in_force_since": value_since(s), "rotation_id": None, "slot": None, "state": None, "due": None, "due_at": None,
        "every_days": None, "grace_s": None, "consumers": None, "reason_code": None, "detail": None, "looked_at": at,
        "present": True, "is_managed": False,
    }  # fmt: skip


def _told(s: StoredSecret, store_id: str) -> Row:
    """The columns of an inventory."""
    return {
        "kind": str(s.kind), "store": store_id, "created_at": s.created_at, "rotated_at": s.rotated_at,
        "rotation_is_told": s.rotation_is_told, "last_used_at": s.last_used_at, "use_is_told": s.use_is_told,
        "expires_at": s.expires_at, "owner": s.owner, "rotated_by": s.rotated_by,
        "readers": s.readers, "is_active": s.is_active, "orphan": s.orphan,
    }  # fmt: skip


def _differs(row: Row, before: Row | None) -> bool:
    if before is None:
        return True
    plain = {"looked_at": None, "consumers": None}
    return {**row, **plain} != {**before, **plain} or (row["consumers"] or []) != (before["consumers"] or [])
