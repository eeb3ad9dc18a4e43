"""Which managed secrets have leaked: their values, in memory, against the secret findings of the lake.

A finding names its value by a keyed HMAC. Each value that a store holds gets the same name here, and nothing of that is
kept: what is told is a finding that is there anyway. Compared are the value in force, the staged one, and those that
the one in force replaced within its rotation; beyond them, what the lake knows to have leaked, by its version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from tasks.core.identity import secret_flaw
from tasks.core.keys import HmacKey
from tasks.core.rotations import Backend, Held, RotationError, Target
from tasks.core.secret_refs import Secret
from tasks.lake.changes import Status
from tasks.lake.lake import Snapshot
from tasks.patrol.revoked import REVOKED, UNCONFIGURED
from tasks.rotation.leaked_forms import forms
from tasks.scanners.history_secrets import value_hmac

#: What is read of findings of secrets that are there.
_COLUMNS = ("finding_uid", "flaw_uid", "repo_id", "slug", "status", "key_id")
#: Statuses by which nobody decided to live with it.
_OPEN = frozenset({Status.OPEN, Status.REOPENED, Status.REVOKED})
#: Versions that are looked back: a rotation whose values were refused makes some.
_BACK = 10
#: Findings that a row names at most: a value may stand in every repository.
_NAMED = 100
#: The slot of a rotation for a leak begins so; a part of the flaw's id follows, so that whoever asks means the same.
_SLOT = "leak-"
#: Stands for the fresh value where one only asks which fields it would change.
_NO_VALUE = Secret("(a fresh value)")


def is_of_leak(slot: str | None) -> bool:
    """Whether a rotation of this slot was started by a leak."""
    return slot is not None and slot.startswith(_SLOT)


class State(StrEnum):
    """Where a leaked value stands: the words of ``leaks.state``."""

    WAITING = "waiting"
    REVOKED = REVOKED
    WORKS = "works"
    UNVERIFIED = "unverified"
    KEPT = "kept"
    DECIDED = "decided"
    GONE = "gone"
    UNCONFIGURED = UNCONFIGURED


#: States of which the next run tries to know more.
_UNPROVED = frozenset(State) - {State.REVOKED}
#: States of which that is over once none of its findings is there.
_SETTLED = frozenset({State.DECIDED, State.GONE})


class Role(StrEnum):
    """What a value that has leaked is to its store now."""

    CURRENT = "current"
    STAGED = "staged"
    BEFORE = "before"  # it was replaced
    LOST = "lost"  # it was replaced, and the store does not keep it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """A value that was found in repositories, by its name (``findings.flaw_uid``), with its findings."""

    flaw_uid: str
    finding_uids: tuple[str, ...] = ()
    repo_ids: frozenset[str] = frozenset()
    slugs: tuple[str, ...] = ()
    is_open: bool = False
    #: Whether any of its findings is there.
    is_there: bool = True

    @property
    def slot(self) -> str:
        """The slot of the rotation that it starts."""
        return f"{_SLOT}{self.flaw_uid[:16]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A managed secret that holds, or held, a value that was found. ``held`` None: it is not kept any more.

    ``changes``: whether a rotation changes it. ``known`` is its row of ``leaks``, if there is one. ``replaced_in``: the
    slot of the rotation under way that replaces it; None: none does.
    """

    flaw: Flaw
    role: Role
    field: str
    held: Held | None
    identity: str | None
    changes: bool = True
    known: Mapping[str, Any] | None = None
    replaced_in: str | None = None

    @property
    def version(self) -> str | None:
        """The version of the store that holds it; None: it is staged, or nobody knows."""
        if self.role is Role.STAGED:
            return None
        told: str | None = self.held.version if self.held is not None else (self.known or {}).get("version")
        return told

    @property
    def is_urgent(self) -> bool:
        """Whether a rotation is to begin for it now."""
        return self.role is Role.CURRENT and self.flaw.is_open and self.changes and not self.is_kept

    @property
    def hastens(self) -> frozenset[str]:
        """The slots of rotations that it hastens: those that replace it, and no others."""
        if not self.flaw.is_open or not self.changes or self.is_kept:
            return frozenset()
        own = {self.flaw.slot} if self.is_urgent else set()
        return frozenset(own if self.replaced_in is None else own | {self.replaced_in})

    @property
    def is_kept(self) -> bool:
        """Whether a rotation for it has left it in force, so that it is in a field that none changes."""
        if self.role is not Role.CURRENT or self.held is None:
            return False
        is_ours = self.held.mark is not None and self.held.mark.slot == self.flaw.slot
        return is_ours or (self.known is not None and self.known["state"] == State.KEPT)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownSecrets:
    """The secrets that were found and are there, and the leaks that the lake knows. ``reason_code``: why nothing can be
    compared, as of a lake of another key, and ``others``: findings of another key, which cannot be either."""

    flaws: Mapping[str, Flaw] = field(default_factory=dict)
    leaks: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    key: HmacKey | None = None
    others: int = 0
    reason_code: str | None = None
    detail: str = ""

    def named(self, value: str) -> Flaw | None:
        """The flaw that a value is."""
        if self.key is None:
            return None
        return self.flaws.get(secret_flaw(value_hmac=value_hmac(value, self.key)))

    def fields_of(self, flaw_uid: str, fields: Mapping[str, Secret], identity: str | None) -> Iterator[str]:
        """The fields of a value in which a flaw stands, in any form; also of a flaw that nobody finds any more."""
        for name, form in forms(fields, identity or "") if self.key is not None else ():
            if self.key is not None and secret_flaw(value_hmac=value_hmac(form, self.key)) == flaw_uid:
                yield name

    def of(self, secret: str, flaw_uid: str) -> Mapping[str, Any] | None:
        """What the lake knows of a value in a managed secret."""
        return next((row for row in self.leaks.get(secret, ()) if row["flaw_uid"] == flaw_uid), None)


def read_known(snapshot: Snapshot, key: HmacKey) -> KnownSecrets:
    """What the lake knows: one read of its findings of secrets, one of its leaks. Raises LakeError."""
    rows = snapshot.present(_COLUMNS, {"kind": ["secret"]}).to_pylist()
    by_flaw: dict[str, list[dict[str, Any]]] = defaultdict(list)
    others = set()
    for row in rows:
        if row["key_id"] != key.key_id:
            others.add(row["finding_uid"])
        elif row["flaw_uid"] is not None:
            by_flaw[row["flaw_uid"]].append(row)
    known: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in snapshot.table("leaks").to_pylist():
        known[row["secret"]].append(row)
    return KnownSecrets(
        flaws={uid: _flaw(uid, some) for uid, some in by_flaw.items()},
        leaks={secret: tuple(some) for secret, some in known.items()}, key=key, others=len(others),
    )  # fmt: skip


def incomparable(detail: str) -> KnownSecrets:
    """Nothing can be compared, and why."""
    return KnownSecrets(reason_code="leaks_incomparable", detail=detail)


def _flaw(flaw_uid: str, rows: list[dict[str, Any]]) -> Flaw:
    return Flaw(
        flaw_uid=flaw_uid,
        finding_uids=tuple(sorted({row["finding_uid"] for row in rows}))[:_NAMED],
        repo_ids=frozenset(row["repo_id"] for row in rows),
        slugs=tuple(sorted({row["slug"] for row in rows})),
        is_open=any(row["status"] in _OPEN for row in rows),
    )


# -- one secret ---------------------------------------------------------------------------------------------------


def leaks_of(secret: str, backend: Backend, target: Target, current: Held, known: KnownSecrets) -> tuple[Leak, ...]:
    """What has leaked of one secret; each flaw once, as what it is first of: in force, staged, replaced. Nothing is
    changed. Raises RotationError: the store does not tell the values before, or what is staged."""
    if not known.flaws and not known.leaks.get(secret):
        return ()
    found: dict[str, Leak] = {}
    staged = backend.staged()
    for role, held in _values(backend, current, staged):
        for leak in _leaks_in(secret, target, role, held, known):
            slot = _replaced_in(leak, current, staged)
            found.setdefault(leak.flaw.flaw_uid, replace(leak, replaced_in=slot))
    for row in known.leaks.get(secret, ()):
        is_over = row["state"] in _SETTLED and row["flaw_uid"] not in known.flaws
        if row["flaw_uid"] not in found and row["state"] in _UNPROVED and not is_over:
            found[row["flaw_uid"]] = _before(backend, target, row, known)
    return tuple(leak for leak in found.values() if not _is_over(leak))


def _is_over(leak: Leak) -> bool:
    """Whether it was proved that this is refused, and it lies where it lay then."""
    known = leak.known
    is_past = leak.role in (Role.BEFORE, Role.LOST)
    return is_past and known is not None and known["state"] == REVOKED and known["version"] == leak.version


def _replaced_in(leak: Leak, current: Held, staged: Held | None) -> str | None:
    """The slot of the rotation under way that replaces it."""
    if staged is None or staged.mark is None:
        return None
    is_promoted = staged.rotation_id == current.rotation_id
    if leak.role is Role.CURRENT and not is_promoted:
        return staged.mark.slot
    is_replaced = leak.role is Role.BEFORE and leak.identity is not None and leak.identity == staged.mark.replaces
    return staged.mark.slot if is_promoted and is_replaced else None


def _values(backend: Backend, current: Held, staged: Held | None) -> Iterator[tuple[Role, Held]]:
    yield Role.CURRENT, current
    if staged is not None and not staged.is_intention and staged.rotation_id != current.rotation_id:
        yield Role.STAGED, staged
    after = current
    for _ in range(_BACK):
        # A value that is refused, or refuses another, is followed by more of the same slot.
        base = after.mark.base if after.mark is not None else ""
        before = backend.at(base) if base else None
        if before is None:
            return
        yield Role.BEFORE, before
        if before.mark is None or after.mark is None or before.mark.slot != after.mark.slot:
            return
        after = before


def _leaks_in(secret: str, target: Target, role: Role, held: Held, known: KnownSecrets) -> Iterator[Leak]:
    identity = _identity(target, held)
    first: dict[str, tuple[Flaw, list[str]]] = {}
    for name, form in forms(held.fields, identity or ""):
        if (flaw := known.named(form)) is not None:
            first.setdefault(flaw.flaw_uid, (flaw, []))[1].append(name)
    if not first:
        return
    after = _after(target, held)
    for flaw, names in first.values():
        left = frozenset(known.fields_of(flaw.flaw_uid, after, identity))
        name = next((n for n in names if n not in left), names[0])
        yield Leak(
            flaw=flaw, role=role, field=name, held=held, identity=identity, changes=name not in left,
            known=known.of(secret, flaw.flaw_uid),
        )  # fmt: skip


def _before(backend: Backend, target: Target, row: Mapping[str, Any], known: KnownSecrets) -> Leak:
    """A leak that the lake knows, of a value that is neither in force nor staged, nor lies right behind it."""
    held = backend.at(row["version"]) if row["version"] else None
    flaw = known.flaws.get(row["flaw_uid"])
    if flaw is None:  # nobody finds it any more
        flaw = Flaw(flaw_uid=row["flaw_uid"], finding_uids=tuple(row["finding_uids"]), is_there=False)
    if held is not None and row["field"] not in known.fields_of(flaw.flaw_uid, held.fields, _identity(target, held)):
        held = None  # it is another value by now
    # What no rotation changes is of no credential, whatever became of the one beside it since.
    changes = row["state"] != State.KEPT and row["identity"] is not None
    if changes and held is not None:
        left = known.fields_of(flaw.flaw_uid, _after(target, held), _identity(target, held))
        changes = row["field"] not in left
    return Leak(
        flaw=flaw, role=Role.BEFORE if held is not None else Role.LOST, field=row["field"], held=held,
        identity=_identity(target, held) if held is not None else row["identity"], changes=changes, known=row,
    )  # fmt: skip


def _identity(target: Target, held: Held) -> str | None:
    try:
        return target.identity(held.fields)
    except RotationError:
        return None  # a value of another shape may have leaked all the same


def _after(target: Target, held: Held) -> dict[str, Secret]:
    """What a rotation leaves of a value. Where nobody can tell before, nothing: once one was rotated it shows."""
    if target.is_issued:
        issued = target.issued_fields if target.issued_fields is not None else frozenset(held.fields)
        return {n: v for n, v in held.fields.items() if n not in issued}
    try:
        proposed = target.propose(held.fields, instead_of=None, value=_NO_VALUE)
    except RotationError:
        return {}
    return {**held.fields, **proposed}
