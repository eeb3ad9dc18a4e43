"""What becomes of a leaked value: it is replaced, retired, and then tried where it was accepted.

Only a refusal proves that it works no more, and only where the value in force is let in at the same moment; what cannot
be tried is never told to be refused. Nothing is remembered between runs but the row of ``leaks``, and everything that
matters of it is found again without.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from tasks.core.rotations import Backend, Held, RotationError, Target
from tasks.patrol.leaks import Leak, Role, State

#: The first pause before a credential is tried again that was retired and may be accepted for some seconds more.
_PAUSE_S = 0.5


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
    settle_s: float,
    why_not: tuple[str, str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Find out where it stands, now that its secret was gone on with as far as may be; ``why_not`` is why that ended
    early (reason, detail). Nothing is changed, and no error is raised: it is in the answer."""
    began = datetime.now(UTC)
    try:
        found = _answered(leak, backend, target, settle_s, why_not, sleep)
    except RotationError as e:
        found = _answer(leak, State.UNVERIFIED, reason_code=e.reason_code, detail=e.message)
    return replace(found, at=began)


def _answered(
    leak: Leak, backend: Backend, target: Target, settle_s: float, why_not: tuple[str, str] | None,
    sleep: Callable[[float], None],
) -> Answer:  # fmt: skip
    if not leak.flaw.is_open:
        return _answer(leak, State.DECIDED, detail="by decisions none of its findings is open")
    current, staged = backend.current(), backend.staged()
    made_by = current.rotation_id or None
    if _holds(current, leak):
        is_ours = current.mark is not None and current.mark.slot == leak.flaw.slot
        if not leak.changes or is_ours or leak.is_kept:
            return _answer(
                leak, State.KEPT, reason_code="leak_kept", is_in_force=True,
                detail=f"no rotation changes the field {leak.field} of {backend.place}",
            )  # fmt: skip
        told = f"{why_not[0]}: {why_not[1]}" if why_not is not None else "no rotation was begun for it"
        return _answer(leak, State.WAITING, reason_code="leak_unrotated", detail=told, is_in_force=True)
    if staged is not None and _holds(staged, leak) and staged.rotation_id != current.rotation_id:
        told = f"{why_not[0]}: {why_not[1]}" if why_not is not None else "it is staged, and was not taken back"
        return _answer(leak, State.WAITING, reason_code="leak_unrotated", detail=told)
    if leak.role is Role.BEFORE and leak.known is not None and leak.known["rotation_id"]:
        made_by = leak.known["rotation_id"]
    if not leak.changes:
        what = f"the field {leak.field} is changed by no rotation, so nobody here knows where it is accepted"
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


def _holds(held: Held, leak: Leak) -> bool:
    """Whether a value is, or is a part of, what a store holds."""
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
    answers: Iterable[tuple[str, str, Answer]], known: Iterable[Mapping[str, Any]], run_id: str
) -> list[dict[str, Any]]:
    """The rows of ``leaks`` that differ from those ``known``, of (secret, place, answer). What another run has found
    out since stays."""
    by_key = {(row["flaw_uid"], row["secret"]): row for row in known}
    rows = []
    for secret, place, answer in answers:
        before = by_key.get((answer.leak.flaw.flaw_uid, secret))
        row = _row(answer, secret, place, run_id, before)
        if before is None or (before["changed_at"] <= answer.at and not _same(row, before)):
            rows.append(row)
    return rows


def _row(answer: Answer, secret: str, place: str, run_id: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
    leak = answer.leak
    return {
        "flaw_uid": leak.flaw.flaw_uid, "secret": secret, "place": place, "field": leak.field,
        "version": leak.version, "identity": leak.identity, "finding_uids": list(leak.flaw.finding_uids),
        "found_at": known["found_at"] if known is not None else answer.at, "state": str(answer.state),
        "rotation_id": answer.rotation_id, "verified_at": answer.verified_at, "reason_code": answer.reason_code,
        "detail": answer.detail or None, "changed_at": answer.at, "run_id": run_id,
    }  # fmt: skip


def _same(row: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    return all(row[name] == known[name] for name in row if name not in _NO_NEWS)
