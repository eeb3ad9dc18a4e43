"""Hygiene of stored secrets: what is wrong with one, by what its store tells of it. Pure.

========================= ==========================================================================================
secret-overdue            its value is older than it may be: of a managed secret a whole period went by without a
                          rotation, of another one ``maximum_age_days``
secret-never-rotated      the same, and its value was never changed since it was created (it stands in its place)
secret-unused             not used for ``unused_days``, or never since it was created that long ago
secret-orphaned           nothing can use it any more: its user or connection is gone, or a rotation of a secret that is
                          configured no more left it
secret-expiring           it ends within ``expiring_days`` (of what lives shorter than thrice that: in the last third)
                          and nothing of the same owner ends later
secret-expired            it ended in the last ``unused_days``, and nothing of the same owner ends later
========================= ==========================================================================================

What the store does not tell is unknown: neither a finding nor clean. Of a value that nobody says the age of it is known
that it is no older than its secret. Certificates have an end and no age; what is not accepted any more is judged by its
use alone, and of what is orphaned nothing else is wrong: it goes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tasks.core.secret_stores import StoredKind, StoredSecret, StoreRule

OVERDUE, NEVER, UNUSED = "secret-overdue", "secret-never-rotated", "secret-unused"
ORPHANED, EXPIRING, EXPIRED = "secret-orphaned", "secret-expiring", "secret-expired"
#: Raised when the same secret is judged otherwise.
REVISION = 1
#: A managed secret is overdue once a whole period went by without a rotation, as ``rotation.schedule.Due`` has it.
_PERIODS = 2
#: What lives shorter than so many times ``expiring_days`` is expiring in the last such part of its life.
_PART = 3
#: What a certificate's place is below: others of the same mount and owner replace it.
_CERTIFICATES = "/certs/"

RULES = (
    StoreRule(
        rule_id=OVERDUE,
        title="The value of a secret is older than it may be.",
        severity="medium",
        remedy="Rotate it; `rotation.secrets` of org.yaml does so on schedule. Of a managed one `nightwarden rotate"
        " list` says why it was not.",
        source="AWS Security Hub SecretsManager.4 and IAM.3, CIS AWS Foundations Benchmark 3.0 1.14: at least every 90"
        " days",
    ),
    StoreRule(
        rule_id=NEVER,
        title="The value of an old secret was never changed.",
        severity="medium",
        remedy="Rotate it once by hand, so that somebody knows how, then on schedule (`rotation.secrets` of org.yaml).",
        source="AWS Security Hub SecretsManager.4 and IAM.3, CIS AWS Foundations Benchmark 3.0 1.14: at least every 90"
        " days",
    ),
    StoreRule(
        rule_id=UNUSED,
        title="Nobody has used a secret for a long time.",
        severity="low",
        remedy="Ask its owner. Switch it off for some days, then delete it with what accepts it.",
        source="AWS Security Hub SecretsManager.3 (unused for 90 days) and IAM.22, CIS AWS Foundations Benchmark 3.0"
        " 1.12 (credentials unused for 45 days)",
    ),
    StoreRule(
        rule_id=ORPHANED,
        title="Nothing can use a secret any more.",
        severity="medium",
        remedy="Delete it; the detail says what it was for.",
        source="OWASP Secrets Management Cheat Sheet, secret lifecycle: what is no longer needed is revoked",
    ),
    StoreRule(
        rule_id=EXPIRING,
        title="A secret ends soon, and nothing has replaced it.",
        severity="medium",
        remedy="Renew it, and see that its consumers take the new one; `rotation.secrets` of org.yaml does so for"
        " certificates.",
        source="AWS Security Hub ACM.1: renewed 30 days before they end",
    ),
    StoreRule(
        rule_id=EXPIRED,
        title="A secret has ended, and nothing has replaced it.",
        severity="medium",
        remedy="Renew it if anything uses it; else delete it.",
        source="AWS Security Hub ACM.1: renewed 30 days before they end",
    ),
)
#: Rules that find something for no other reason than that time has passed.
BY_TIME = frozenset({OVERDUE, NEVER, UNUSED, EXPIRING, EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class HygieneLimits:
    """From when on it is too late."""

    maximum_age_days: float = 90
    unused_days: float = 90
    expiring_days: float = 30

    def label(self) -> str:
        """All that can change what is judged."""
        return f"{REVISION};{self.maximum_age_days:g};{self.unused_days:g};{self.expiring_days:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What rotates a secret. ``every`` None: something else answers for its age. ``since``: since when its value is
    known to be in force, whoever says so."""

    every: timedelta | None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The rules that find something, and those that cannot be judged. Any other is clean."""

    found: frozenset[str] = field(default=frozenset())
    unknown: frozenset[str] = field(default=frozenset())


class Successors:
    """Which certificate replaces which: one of the same mount and owner that is accepted and ends later."""

    def __init__(self, secrets: Iterable[StoredSecret]) -> None:
        self._last: dict[tuple[str, str], datetime] = {}
        for s in secrets:
            if s.is_active and s.expires_at is not None and (key := _line_of(s)) is not None:
                self._last[key] = max(self._last.get(key, s.expires_at), s.expires_at)

    def has(self, s: StoredSecret) -> bool:
        """Whether something ends later that replaces it."""
        key = _line_of(s)
        return key is not None and s.expires_at is not None and self._last.get(key, s.expires_at) > s.expires_at


def _line_of(s: StoredSecret) -> tuple[str, str] | None:
    mount, below, _ = s.place.rpartition(_CERTIFICATES)
    return (mount, s.owner) if s.owner and below and s.kind is StoredKind.CERTIFICATE else None


def value_since(s: StoredSecret) -> datetime | None:
    """When its value came to be; None where the store does not tell. That of an access key is never changed: another
    key takes its place."""
    if s.kind is StoredKind.ACCESS_KEY:
        return s.created_at
    return (s.rotated_at or s.created_at) if s.rotation_is_told else None


def judge(
    s: StoredSecret, now: datetime, limits: HygieneLimits, *, by: Rotated | None = None, is_replaced: bool = False
) -> Judgement:
    """What is wrong with a secret. ``by``: what rotates it (None: nobody is known to); ``is_replaced``: something else
    takes its place when it ends."""
    if s.orphan is not None:
        return Judgement(found=frozenset({ORPHANED}))
    told = [_use(s, now, limits)]
    if s.is_active:
        told.append(_age(s, now, limits, by))
        if not is_replaced:
            told.append(_end(s, now, limits))
    return Judgement(
        found=frozenset[str]().union(*(j.found for j in told)),
        unknown=frozenset[str]().union(*(j.unknown for j in told)),
    )


def _age(s: StoredSecret, now: datetime, limits: HygieneLimits, by: Rotated | None) -> Judgement:
    if s.kind is StoredKind.CERTIFICATE or (by is not None and by.every is None):
        return Judgement()
    most = timedelta(days=limits.maximum_age_days) if by is None or by.every is None else _PERIODS * by.every
    since = max(filter(None, (value_since(s), by.since if by is not None else None)), default=None)
    if since is None:
        # The value is no older than the secret.
        young = s.created_at is not None and now - s.created_at < most
        return Judgement() if young else Judgement(unknown=frozenset({OVERDUE, NEVER}))
    if now - since < most:
        return Judgement()
    is_changed = s.kind is not StoredKind.ACCESS_KEY
    is_first = is_changed and s.rotation_is_told and s.rotated_at is None and since == s.created_at
    return Judgement(found=frozenset({NEVER if is_first else OVERDUE}))


def _use(s: StoredSecret, now: datetime, limits: HygieneLimits) -> Judgement:
    if s.kind is StoredKind.CERTIFICATE:
        return Judgement()
    most = timedelta(days=limits.unused_days)
    if s.created_at is not None and now - s.created_at < most:
        return Judgement()
    since = s.last_used_at or s.created_at if s.use_is_told else None
    if since is None:
        return Judgement(unknown=frozenset({UNUSED}))
    return Judgement(found=frozenset({UNUSED})) if now - since >= most else Judgement()


def _end(s: StoredSecret, now: datetime, limits: HygieneLimits) -> Judgement:
    if s.expires_at is None:
        unknown = {EXPIRING, EXPIRED} if s.kind is StoredKind.CERTIFICATE else ()
        return Judgement(unknown=frozenset(unknown))
    left = s.expires_at - now
    if left <= timedelta(0):
        # What ended long ago is missed by nobody.
        return Judgement(found=frozenset({EXPIRED}) if -left < timedelta(days=limits.unused_days) else frozenset())
    soon = timedelta(days=limits.expiring_days)
    if s.created_at is not None:
        soon = min(soon, (s.expires_at - s.created_at) / _PART)
    return Judgement(found=frozenset({EXPIRING}) if left <= soon else frozenset())
