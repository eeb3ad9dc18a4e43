"""What a store of secrets holds, and how it is kept: the words of the inventory, and the port of its adapters.

An adapter only asks. Values are never asked for, but by what cannot tell anything else; none is handed over. What a
store does not tell stays unknown (None) and is never guessed; what it refuses to tell is a gap with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class StoredKind(StrEnum):
    """What a stored secret is."""

    KV = "kv"
    STATIC_ROLE = "static_role"
    CERTIFICATE = "certificate"
    SECRETS_MANAGER = "secrets_manager"
    ACCESS_KEY = "access_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSecret:
    """One secret that a store holds. Times are UTC by the store's clock.

    ``place`` is its name for people and the same in every night, written as in ``rotation``: ``vault:secret/shop/db``,
    ``vault:database/static-roles/shop``, ``vault:pki/certs/<serial>``, ``aws-sm:<ARN without the random end, or
    name>``, ``aws-iam:user/<user>/<key id>``. ``rotated_at``: when its value was last changed after it was created;
    None with ``rotation_is_told`` True: never. ``last_used_at``: None with ``use_is_told`` True: never.
    ``readers``: who may read the value by policy (names of policies, roles, users), None where the store does not tell.
    ``rotated_by``: what of the store's own rotates it. ``orphan``: why nothing can use it any more (its user or
    connection is gone, it is to be deleted); None: nothing says so. ``is_active``: whether it is accepted.
    """

    kind: StoredKind
    place: str
    created_at: datetime | None = None
    rotated_at: datetime | None = None
    rotation_is_told: bool = False
    last_used_at: datetime | None = None
    use_is_told: bool = False
    expires_at: datetime | None = None
    version: str | None = None
    owner: str | None = None
    rotated_by: str | None = None
    readers: tuple[str, ...] | None = None
    is_active: bool = True
    orphan: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRule:
    """What an audit looks for. ``severity`` is low, medium, high or critical; ``source`` is who says that it matters
    (a page of the vendor's, a control of a benchmark)."""

    rule_id: str
    title: str
    severity: str
    remedy: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFlaw:
    """One thing that is wrong with a store. ``resource`` names what (a policy, a mount, a key) and stays the same while
    the flaw does: no count, no date. ``detail`` says more; neither holds a value or a token."""

    rule_id: str
    resource: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreGap:
    """What could not be read. ``topic`` is ``inventory/…`` or ``audit/…`` with the place or the rule; what is not said
    below it is unknown, not absent. ``reason_code`` is one of ``tasks.core.reasons``."""

    topic: str
    reason_code: str
    detail: str = ""


class SecretStore(Protocol):
    """One store as we are signed in to it. Asks as little as it can, in pages. Nothing is changed there."""

    @property
    def tool(self) -> str:
        """``vault`` or ``aws``."""
        ...

    @property
    def rules(self) -> tuple[StoreRule, ...]:
        """All rules of its audit."""
        ...

    def store_id(self) -> str:
        """What this store is, the same whoever asks: ``vault:<address>[/<namespace>]``, ``aws:<account>/<region>``,
        ``aws:<account>`` of what belongs to no region. Raises RotationError: it cannot be asked at all."""
        ...

    def inventory(self) -> Iterator[StoredSecret | StoreGap]:
        """Everything that it holds, each place once. What is refused is a gap. Raises RotationError: the store stopped
        answering, so that nothing can be said of what is left."""
        ...

    def audit(self) -> Iterator[StoreFlaw | StoreGap]:
        """What is wrong with the store itself; a rule that could not be looked at is the gap ``audit/<rule_id>``.
        Raises RotationError, as ``inventory``."""
        ...
