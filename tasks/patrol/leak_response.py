"""What becomes of a leaked value: it is replaced, retired, and then tried where it was accepted.

Only a refusal proves that it works no more, and only where the value in force is let in at the same moment; what cannot
be tried is never told to be refused. Nothing is remembered between runs but the row of ``leaks``, and everything that
matters of it is found again without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tasks.core.rotations import Backend, Held, RotationError, Target
from tasks.patrol.leaks import KnownSecrets, Leak, Role, State

#: The first pause before a credential is tried again that was retired and may be accepted for some seconds more.
_PAUSE_S = 0.5
#: Reasons that nobody here can do anything about once nobody finds it any more.
_NOTHING_TO_DO = frozenset({"leak_unverified", "leak_kept", "leak_unrotated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Where a leaked value stands after what was done. ``is_in_force``: it still is, so that it is to be replaced.

    ``reason_code`` None: nothing is wrong, if only time is still to pass.
    """

    leak: Leak
    state: State
    at: datetime
    rotation_id: str | None = None
    verified_at: datetime | None = None
    reason_code: str | None = None
    detail: str = ""
    is_in_force: bool = False


def answered(
    leak: Leak,
    backend: Backend,
    target: Target,
    *,
    known: KnownSecrets,
    settle_s: float,
    uncompared: int = 0,
    why_not: tuple[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Find out where it stands, now that its secret was gone on with as far as may be; ``why_not`` is why that ended
    early (reason, detail). While other secrets were not compared (``uncompared``), it is never told to be refused: they
    may hold the same value. Nothing is changed, and no error is raised: it is in the answer."""
    began = datetime.now(UTC)
    try:
        found = _answered(leak, backend, target, known, settle_s, why_not, sleep)
    except RotationError as e:
        found = _answer(leak, State.UNVERIFIED, reason_code=e.reason_code, detail=e.message)
    if found.state is State.REVOKED and uncompared:
        others = "1 secret was not compared" if uncompared == 1 else f"{uncompared} secrets were not compared"
        what = f"{found.detail}; {others}, which may hold the same value"
        found = replace(
            found, state=State.UNVERIFIED, verified_at=None, reason_code="leak_unverified", detail=what
        )  # fmt: skip
    elif not leak.flaw.is_there and found.reason_code in _NOTHING_TO_DO and found.state is not State.WORKS:
        found = replace(found, state=State.GONE, detail=f"none of its findings is there; {found.detail}")
    return replace(found, at=began)


def _answered(
    leak: Leak, backend: Backend, target: Target, known: KnownSecrets, settle_s: float,
    why_not: tuple[str, str] | None, sleep: Callable[[float], None],
) -> Answer:  # fmt: skip
    if leak.flaw.is_there and not leak.flaw.is_open:
        return _answer(leak, State.DECIDED, detail="by decisions none of its findings is open")
    current, staged = backend.current(), backend.staged()
    made_by = current.rotation_id or None
    if _holds(current, leak, target, known):
        is_ours = current.mark is not None and current.mark.slot == leak.flaw.slot
        if not leak.changes or is_ours or leak.is_kept:
            return _answer(
                replace(leak, changes=False), State.KEPT, reason_code="leak_kept", is_in_force=True,
                detail=f"no rotation changes it in the field {leak.field} of {backend.place}",
            )  # fmt: skip
        told = f"{why_not[0]}: {why_not[1]}" if why_not is not None else "no rotation was begun for it"
        return _answer(leak, State.WAITING, reason_code="leak_unrotated", detail=told, is_in_force=True)
    if staged is not None and _holds(staged, leak, target, known) and staged.rotation_id != current.rotation_id:
        told = f"{why_not[0]}: {why_not[1]}" if why_not is not None else "it is staged, and was not taken back"
        return _answer(leak, State.WAITING, reason_code="leak_unrotated", detail=told)
    if leak.role in (Role.BEFORE, Role.LOST) and leak.known is not None and leak.known["rotation_id"]:
        made_by = leak.known["rotation_id"]
    if not leak.changes:
        what = f"in the field {leak.field} no rotation changes it, so nobody here knows where it is accepted"
        return _answer(leak, State.UNVERIFIED, made_by, reason_code="leak_unverified", detail=what)
    is_graced = staged is not None and staged.mark is not None and staged.rotation_id == current.rotation_id
    if is_graced and staged is not None and staged.mark is not None and staged.mark.replaces == leak.identity:
        reason, detail = (None, "its grace is not over") if why_not is None else ("leak_unrotated", ": ".join(why_not))
        return _answer(leak, State.WAITING, made_by, reason_code=reason, detail=detail)
    return _tried(leak, target, current, made_by, settle_s, sleep)


def _tried(
    leak: Leak, target: Target, current: Held, made_by: str | None, settle_s: float, sleep: Callable[[float], None]
) -> Answer:
    """Whether what accepted it refuses it."""
    if leak.held is None:
        if _is_deleted(leak, target, current):
            return _revoked(leak, made_by, f"{leak.identity} is deleted")
        what = "the store does not keep it any more, so it cannot be tried"
        return _answer(leak, State.UNVERIFIED, made_by, reason_code="leak_unverified", detail=what)
    if not target.probe(current.fields):
        what = "the value in force is refused as well, so a refusal proves nothing"
        return _answer(leak, State.UNVERIFIED, made_by, reason_code="leak_unverified", detail=what)
    waited, pause = 0.0, _PAUSE_S
    while not target.is_refused(leak.held.fields):
        if waited >= settle_s:
            what = f"{leak.identity or 'it'} is accepted as before"
            return _answer(leak, State.WORKS, made_by, reason_code="leak_works", detail=what)
        sleep(pause)
        waited, pause = waited + pause, pause * 2
    return _revoked(leak, made_by, f"{leak.identity or 'it'} is refused by it")


def _is_deleted(leak: Leak, target: Target, current: Held) -> bool:
    """Whether a credential that is not kept is none any more, by a list that has the one in force."""
    if not target.is_issued or leak.identity is None:
        return False
    issued = target.issued()
    return target.identity(current.fields) in issued and leak.identity not in issued


def _holds(held: Held, leak: Leak, target: Target, known: KnownSecrets) -> bool:
    """Whether a value is, or is a part of, what a store holds: in any field and form, not only where it was found."""
    try:
        identity = target.identity(held.fields) if held.fields else None
    except RotationError:
        identity = None  # a value of another shape may hold it all the same
    if next(known.fields_of(leak.flaw.flaw_uid, held.fields, identity), None) is not None:
        return True
    if leak.held is None or leak.field not in leak.held.fields or leak.field not in held.fields:
        return False
    return held.fields[leak.field].reveal() == leak.held.fields[leak.field].reveal()


def _revoked(leak: Leak, made_by: str | None, detail: str) -> Answer:
    return _answer(leak, State.REVOKED, made_by, detail=detail, verified_at=datetime.now(UTC))


def _answer(leak: Leak, state: State, rotation_id: str | None = None, **more: Any) -> Answer:
    return Answer(leak=leak, state=state, rotation_id=rotation_id, at=datetime.now(UTC), **more)


# -- the lake -----------------------------------------------------------------------------------------------------

#: What is no news by itself.
_NO_NEWS = ("changed_at", "run_id", "verified_at", "finding_uids")


def leak_rows(
    answers: Iterable[tuple[str, str, Answer]], known: Collection[Mapping[str, Any]], run_id: str,
    configured: Collection[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of ``leaks`` that differ from those ``known``, of (secret, place, answer). What another run has found
    out since stays. Those of secrets that are not ``configured`` any more are settled: nobody looks at them again."""
    by_key = {(row["flaw_uid"], row["secret"]): row for row in known}
    rows = []
    for secret, place, answer in answers:
        before = by_key.get((answer.leak.flaw.flaw_uid, secret))
        row = _row(answer, secret, place, run_id, before)
        if before is None or (before["changed_at"] <= answer.at and not _same(row, before)):
            rows.append(row)
    told = {"state": str(State.UNCONFIGURED), "reason_code": None, "detail": "its secret is not configured any more"}
    over = (State.REVOKED, State.UNCONFIGURED)
    gone = (row for row in known if row["secret"] not in configured and row["state"] not in over)
    return rows + [{**row, **told, "changed_at": datetime.now(UTC), "run_id": run_id} for row in gone]


def _row(answer: Answer, secret: str, place: str, run_id: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    leak = answer.leak
    return {
        "flaw_uid": leak.flaw.flaw_uid, "secret": secret, "place": place, "field": leak.field,
        "version": leak.version, "identity": leak.identity if leak.changes else None,
        "finding_uids": list(leak.flaw.finding_uids),
        "found_at": known["found_at"] if known is not None else answer.at, "state": str(answer.state),
        "rotation_id": answer.rotation_id, "verified_at": answer.verified_at, "reason_code": answer.reason_code,
        "detail": answer.detail or None, "changed_at": answer.at, "run_id": run_id,
    }  # fmt: skip


def _same(row: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    return all(row[name] == known[name] for name in row if name not in _NO_NEWS)
