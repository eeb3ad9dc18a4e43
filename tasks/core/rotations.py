"""The words of secret rotation, and its ports: where a secret is kept, and what accepts it.

A **backend** keeps the value in force (CURRENT), which consumers read, and at most one staged value (PENDING), which is
written before anything else is touched. A **target** accepts credentials: a database, a cloud account, a program. Both
are asked anew for every step and remember nothing; whoever stops anywhere is gone on for by whoever comes next.

Values are ``Secret``s from end to end. What is not secret of a credential is its ``identity``, as the target names it:
a user, the id of a key. Rows, logs and errors name identities, versions and rotations, never a value (design rule 4).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from tasks.core.errors import NightwardenError
from tasks.core.secret_refs import Secret

#: The namespace of rotation ids.
_NAMESPACE = uuid.UUID("6f1f4b0e-6d0c-5d0a-9c55-3e6d2f0a7b11")
#: The field of a stored value that tells of its rotation; consumers pass it over.
MARK = "nightwarden"
#: What is put behind the path of a secret for the place of its next value.
BESIDE = "-nightwarden"


class State(StrEnum):
    """What a rotation has reached. Before PROMOTED it may go back (WITHDRAWN); after it, only forward (FORWARDED: the
    promoted value is refused where it was accepted, and a fresh one takes its place)."""

    PREPARED = "prepared"
    APPLIED = "applied"
    VERIFIED = "verified"
    PROMOTED = "promoted"
    GRACE = "grace"
    RETIRED = "retired"
    WITHDRAWN = "withdrawn"
    FORWARDED = "forwarded"


class RotationError(NightwardenError):
    """A step could not be done; the rotation stays where it is, and the next run goes on.

    ``reason_code`` is one of ``tasks.core.rotation_reasons``. ``is_passing``: trying again soon may help, and whether
    the step was done is not known. Neither message nor advice holds a value; nothing is chained whose text may.
    """

    def __init__(self, reason_code: str, message: str, *, advice: str = "", is_passing: bool = False) -> None:
        super().__init__(message, advice=advice)
        self.reason_code = reason_code
        self.is_passing = is_passing


class ConflictError(RotationError):
    """The value in force is another one than the rotation began with, and not ours: somebody changed it."""

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__("rotation_conflict", message, advice=advice)


class SpentError(Exception):
    """The backend knows a rotation of this id that ended, and takes no other value under it; or the staged value that
    another one was to replace has gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a stored value tells of the rotation that made it; nothing of it is secret.

    ``base`` is the version of CURRENT that it replaces, ``identity`` its own, ``replaces`` that of the credential to
    be retired once it is in force (None: there was none, or it is replaced in place). ``refused`` is the rotation that
    was called back while this value was in force, so that it can no longer be promoted over it. ``runner`` is who is
    about to have a value issued; a mark with it stands beside no fields. ``subject`` is the digest of what was to be
    rotated when it was staged: place, target and grace as they were configured (None: nobody said, as in old marks).
    """

    rotation_id: str
    slot: str
    base: str
    identity: str
    replaces: str | None
    staged_at: str
    refused: str | None = None
    runner: str | None = None
    subject: str | None = None

    def text(self) -> str:
        """As it is stored."""
        return json.dumps({k: v for k, v in asdict(self).items() if v is not None}, sort_keys=True)


def read_mark(text: str | None) -> Mark | None:
    """A mark as it was stored; None for anything else: people may write what they like."""
    try:
        told: Any = json.loads(text) if text else None
        return Mark(**{"replaces": None, **told}) if isinstance(told, dict) else None
    except (ValueError, TypeError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A stored value: ``fields`` by name (without the mark), the backend's ``version`` of it, and its mark, if a
    rotation made it. ``since`` is when it came into force by the backend's clock (of CURRENT; None: it does not tell).
    """

    fields: Mapping[str, Secret]
    version: str
    mark: Mark | None
    since: datetime | None = None

    @property
    def rotation_id(self) -> str | None:
        """The rotation that made it."""
        return self.mark.rotation_id if self.mark is not None else None

    @property
    def is_intention(self) -> bool:
        """Whether it is no value yet: a runner has said that it will have one issued."""
        return not self.fields

    def refusing(self, rotation_id: str, *, identity: str) -> Mark:
        """Its mark, once a rotation over it was called back."""
        if self.mark is not None:
            return replace(self.mark, refused=rotation_id)
        return Mark(
            rotation_id="", slot="", base="", identity=identity, replaces=None, staged_at="", refused=rotation_id
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One step that was done: a row of ``rotations``. ``at`` is by our clock."""

    secret: str
    place: str
    rotation_id: str
    slot: str
    state: State
    at: datetime
    identity: str
    replaces: str | None
    version: str | None = None
    until: datetime | None = None
    reason_code: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the rotation of a secret stands. ``state`` None: nothing is under way, and nothing was to be begun."""

    state: State | None
    rotation_id: str | None = None
    slot: str | None = None
    until: datetime | None = None
    reason_code: str | None = None
    detail: str = ""

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in (None, State.RETIRED, State.WITHDRAWN)


class Rotator(Protocol):
    """What rotates one secret. Every method raises RotationError. Made anew for each run, and asked again by it after
    an error that may pass."""

    def standing(self) -> Standing:
        """Where its rotation stands. Nothing is changed."""
        ...

    def rotate(self, slot: str | None) -> Standing:
        """Finish what is unfinished, then rotate it for a slot, unless it was (None: finish only)."""
        ...

    def withdraw(self) -> Standing:
        """Take back what is under way, by an operator's wish."""
        ...


def rotation_id(secret: str, slot: str, attempt: int = 0) -> str:
    """The id of the rotation of a secret in a slot of its schedule: the same whoever asks, and however often."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps([secret, slot, attempt])))


class Backend(Protocol):
    """One secret of one store. Thread-safe. Every method raises RotationError, and none says a value in it.

    A repeated call changes nothing: whether the one before it arrived need not be known.
    """

    @property
    def place(self) -> str:
        """Where it lies, for people: ``vault:secret/shop/db``, ``aws-sm:shop/db``."""
        ...

    def current(self) -> Held:
        """The value in force, asked of the store. Raises RotationError(secret_missing, secret_shape …)."""
        ...

    def staged(self) -> Held | None:
        """The value that is staged and not done with, if there is one."""
        ...

    def at(self, version: str) -> Held | None:
        """A value that was in force, by its version; None: the store does not keep it any more, or never had it."""
        ...

    def stage(self, fields: Mapping[str, Secret], mark: Mark, *, over: Held | None = None) -> Held:
        """Stage a value, and tell which one is staged then: this, or the one that somebody else staged before. Without
        fields it is an intention.

        Never overwrites, but for ``over``: then it takes the place of exactly that staged value, in one step, and the
        rotation of that one ended if it was another. Raises SpentError: the rotation of this id ended, or ``over`` is
        gone and nothing is staged.
        """
        ...

    def promote(self, staged: Held) -> Held:
        """Bring the staged value into force if CURRENT is still the version of ``staged.mark.base``, and tell what is.

        Done already: nothing is done. Raises ConflictError: CURRENT is another value.
        """
        ...

    def refuse(self, staged: Held, identity: str) -> bool:
        """Make sure that a staged value is never promoted: CURRENT gets a new version with the same value and a mark
        that refuses it. False: it is in force already. ``identity`` is that of the value in force. Raises ConflictError
        when CURRENT is neither its base nor a value that refuses it."""
        ...

    def forget(self, rotation_id: str) -> None:
        """The rotation ended: no value is staged any more. Only if the staged one is of this rotation."""
        ...

    def now(self) -> datetime:
        """The time by the store's clock, which said ``Held.since``, UTC."""
        ...


class Target(Protocol):
    """What accepts the credentials of one secret. Thread-safe. Every method raises RotationError; none says a value.

    ``is_issued``: the target makes the values itself (keys of a cloud account), and says them once; no identity is
    used twice.
    ``in_place``: there is one identity, whose value is changed under its consumers; between APPLIED and PROMOTED, and
    until they read again, they fail.
    """

    @property
    def is_issued(self) -> bool: ...
    @property
    def in_place(self) -> bool: ...
    @property
    def issued_fields(self) -> frozenset[str] | None:
        """Where ``is_issued``: the fields that ``issue`` gives; None: it does not tell before."""
        ...

    def identity(self, fields: Mapping[str, Secret]) -> str:
        """The public name of a credential. Raises RotationError(secret_shape): it has none that this target knows."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """Alone at the target, among all runners, for as long as it lasts; ends with the process, and what the target
        is told afterwards by one that lost it does not arrive. Raises RotationError(busy, passing).

        Targets whose identities never come back need no lock.
        """
        ...

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> dict[str, Secret]:
        """The fields of the next credential, with a fresh value; the target is not touched. Of alternating identities
        it takes the one that is not in force, or ``instead_of``, whose value is refused. Fields of the current value
        that it leaves out stay, as they do where a credential is issued."""
        ...

    def issued(self) -> frozenset[str]:
        """Where ``is_issued``: all identities of this secret's account that were issued and not deleted. Else empty."""
        ...

    def revoke(self, identities: frozenset[str]) -> None:
        """Where ``is_issued``: delete credentials that nobody knows. One that is in use is kept, and raises
        RotationError(value_not_issued). One that is gone is deleted."""
        ...

    def issue(self, rotation_id: str, current: Mapping[str, Secret]) -> dict[str, Secret]:
        """Where ``is_issued``: make a credential. It is said once; if it gets lost, ``issued`` has its identity."""
        ...

    def apply(self, staged: Held, current: Held) -> None:
        """Let the target accept the staged credential, and no other of its identity."""
        ...

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        """Whether the credential is accepted and may do what it must (a login, and the configured check)."""
        ...

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        """Whether the credential is not let in at all: more than that it may not do what is checked."""
        ...

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """Whether a credential was used after a time; None: the target does not tell."""
        ...

    def retire(self, identity: str, *, in_force: str) -> None:
        """Let the target refuse a credential, so that people can take it back. Never the one in force (that is
        refused); one that is gone is retired."""
        ...

    def restore(self, current: Held) -> None:
        """Let the target accept the value in force again, which it refuses: its identity was given another one."""
        ...
