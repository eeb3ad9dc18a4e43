"""Rotations of many secrets: which are due, each gone on with as far as may be, and what the lake is told of it.

Unfinished rotations are finished first, whenever it is; new ones begin where they are due and their window is open, the
oldest first, so many a run. After the first failure in a class (a kind of target, as a rule) no other of it is begun:
what is wrong with one is likely to be wrong with all.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tasks.core.rotations import Backend, Held, RotationError, Rotator, Standing, State, Target, Transition
from tasks.core.secret_refs import Secret
from tasks.core.types import digest
from tasks.lake.lake import Lake
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.rotation_tables import INVENTORY_COLUMNS
from tasks.patrol.approving import Approval
from tasks.patrol.deciding import Deciding
from tasks.patrol.leak_response import Answer, leak_rows
from tasks.patrol.leaks import Leak
from tasks.patrol.revoked import rejudged
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.secret_rows import managed_rows
from tasks.rotation.machine import Machine, Rules
from tasks.rotation.schedule import Due, Schedule, in_turn, manual_time, slot_begins

#: The source of such a run in ``runs``; no configuration can name it.
ROTATE_SOURCE = "(rotate)"
#: Pauses before a step is tried again that a store or target had no time for, in seconds.
_PAUSES = (1.0, 3.0, 9.0)
#: Stands for the fresh value where one only asks whose it would be.
_NO_VALUE = Secret("(a fresh value)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Managed:
    """One secret that is rotated. ``target_kind`` and ``failure_class`` are words for people. ``refused``: why no new
    rotation of it begins, as a reason code with its detail; what was begun for the same ``subject`` is finished, the
    digest of place, target and grace as they are configured. ``approval``: what is known of its approval, if it needs
    one. ``rotator``: what rotates it at once, where its store does that by itself and keeps no mark of it."""

    name: str
    backend: Backend
    target: Target
    target_kind: str
    rules: Rules
    schedule: Schedule
    value: Callable[[], Secret]
    failure_class: str
    consumers: tuple[str, ...] = ()
    refused: tuple[str, str] | None = None
    subject: str | None = None
    approval: Approval | None = None
    rotator: Callable[[Callable[[Transition], None]], Rotator] | None = None
    #: The grace of a value that has leaked, where it is to be shorter.
    leak_grace: timedelta | None = None

    def leaked(self) -> Managed:
        """As it is rotated once its value has leaked: who still uses the old one may be who found it."""
        grace = self.rules.grace if self.leak_grace is None else min(self.leak_grace, self.rules.grace)
        return replace(self, rules=replace(self.rules, grace=grace, hold=timedelta(0)))

    def machine(self, tell: Callable[[Transition], None], sleep: Callable[[float], None] = time.sleep) -> Rotator:
        """What rotates it."""
        if self.rotator is not None:
            return self.rotator(tell)
        return Machine(
            self.name, self.backend, self.target, self.rules, value=self.value, tell=tell, sleep=sleep,
            subject=self.subject, refused=self.refused,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one secret is like. ``current`` None: it could not be read, ``reason_code`` says why."""

    managed: Managed
    at: datetime
    due: Due | None
    standing: Standing
    current: Held | None = None
    identity: str | None = None
    reason_code: str | None = None
    detail: str = ""
    #: Its values that have leaked, and why that could not be looked for (reason, detail).
    leaks: tuple[Leak, ...] = ()
    uncompared: tuple[str, str] | None = None

    @property
    def is_unfinished(self) -> bool:
        """Whether a rotation is under way."""
        return not self.standing.is_finished

    @property
    def begins(self) -> bool:
        """Whether a rotation would begin now."""
        return self._is_due and self.managed.refused is None

    @property
    def is_refused(self) -> bool:
        """Whether a rotation would begin now, and may not."""
        return self._is_due and self.managed.refused is not None

    @property
    def _is_due(self) -> bool:
        return self.due in (Due.DUE, Due.OVERDUE) and not self.is_unfinished

    def due_at(self) -> datetime | None:
        """When it is next to be rotated; of one that may begin now, since when it may."""
        if self.due is None or self.current is None:
            return None
        schedule, since = self.managed.schedule, self.current.since
        if self.due in (Due.DUE, Due.OVERDUE):
            return min(schedule.next_opening(self._due_since()), self.at)
        if self.due is Due.WINDOW_CLOSED:
            return schedule.next_opening(self.at)
        if self.due is Due.TOO_YOUNG and since is not None:
            return schedule.next_opening(since + schedule.minimum_age)
        if self.current.mark is None and self.managed.rotator is None and since is not None:  # no rotation made it
            return schedule.next_opening(since + schedule.every)
        return schedule.next_opening(schedule.slot_ends(self.at))

    def _due_since(self) -> datetime:
        """When the period of the value in force was over, windows aside: the same at each look."""
        assert self.current is not None
        schedule, slot = self.managed.schedule, self.current.mark.slot if self.current.mark is not None else ""
        begun, since = slot_begins(slot), self.current.since or manual_time(slot)
        if begun is not None:
            over = schedule.slot_ends(begun)
        elif since is None:
            return schedule.slot_ends(self.at) - schedule.every
        elif self.managed.rotator is not None:
            over = schedule.slot_ends(since)
        else:  # of one that was asked for its minimum age alone counts
            over = since if slot else since + schedule.every
        return max(over, since + schedule.minimum_age) if since is not None else over


def look(managed: Managed, now: datetime) -> Look:
    """How a secret stands. Nothing is changed, and no error is raised: it is in the answer."""
    try:
        current, standing = managed.backend.current(), managed.machine(lambda _t: None).standing()
        identity = _identity(managed, current)
    except RotationError as e:
        return Look(
            managed=managed,
            at=now,
            due=None,
            standing=Standing(state=None),
            reason_code=e.reason_code,
            detail=e.in_one_line(),
        )
    slot = current.mark.slot or None if current.mark is not None else None
    if managed.rotator is not None and current.since is not None:  # who asked for it is not known, and when is
        slot = managed.schedule.slot(current.since)
    # A store may not tell since when a value is in force; of one that somebody asked for, its slot does.
    due = managed.schedule.due(now=now, slot=slot, since=current.since or manual_time(slot))
    reason, detail = managed.refused or (None, "")
    return Look(
        managed=managed, at=now, due=due, standing=standing, current=current, identity=identity, reason_code=reason,
        detail=detail,
    )  # fmt: skip


def _identity(managed: Managed, current: Held) -> str | None:
    """Whose credential is in force; None: only a target could tell that nobody has approved to be asked. Raises
    RotationError."""
    try:
        return managed.target.identity(current.fields)
    except RotationError as e:
        if managed.refused is None or e.reason_code != managed.refused[0]:
            raise
    return current.mark.identity or None if current.mark is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that a run would do to a secret."""

    state: State
    what: str


def steps(seen: Look) -> list[Step]:
    """What a run would do now; nothing is done. Empty: nothing. No value is made for it. Raises RotationError."""
    m = seen.managed
    if seen.current is None or seen.identity is None:
        return []
    old, place = seen.identity, m.backend.place
    if seen.standing.state is State.GRACE:
        until = seen.standing.until
        when = f"{until:%Y-%m-%d %H:%M} UTC" if until is not None else "the end of the grace"
        replaced = seen.current.mark.replaces if seen.current.mark is not None else None
        return [
            Step(state=State.GRACE, what=f"wait until {when}: consumers may remember the value before"),
            Step(state=State.RETIRED, what=f"{m.target_kind} refuses {replaced or 'no credential'}"),
        ]
    if not seen.begins and not seen.is_unfinished:
        return []
    if m.rotator is not None:
        return [
            Step(state=State.PROMOTED, what=f"the store of {place} changes the password of {old} at once"),
            Step(state=State.RETIRED, what=f"the old one is refused from that moment: there is no grace for {old}"),
        ]
    if m.target.is_issued:
        new = "a new credential"
    else:
        new = m.target.identity(m.target.propose(seen.current.fields, instead_of=None, value=_NO_VALUE))
    found = [
        Step(state=State.PREPARED, what=f"stage a fresh value beside {place}"),
        Step(state=State.APPLIED, what=f"{m.target_kind} accepts it for {new}"),
        Step(state=State.VERIFIED, what=f"log in with it as {new}, and check what it may do"),
        Step(state=State.PROMOTED, what=f"{place} holds it in place of version {seen.current.version}"),
        Step(state=State.GRACE, what=f"wait {m.rules.grace}: consumers may remember {old}"),
        Step(state=State.RETIRED, what=f"{m.target_kind} refuses {old}" if new != old else "nothing to retire"),
    ]
    return found[1:] if seen.is_unfinished else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What became of one secret in a run. ``standing`` None: an error, ``reason_code`` says which; or it was not begun,
    with the reason ``class_stopped``."""

    name: str
    standing: Standing | None
    reason_code: str | None = None
    detail: str = ""

    @property
    def is_failure(self) -> bool:
        """Whether somebody must look at it."""
        bad = {"value_rejected", "rotation_conflict"}
        return self.standing is None or self.standing.reason_code in bad


class Classes:
    """Which classes have failed in this run. Thread-safe."""

    def __init__(self) -> None:
        self._failed: dict[str, str] = {}
        self._lock = threading.Lock()

    def fail(self, name: str, secret: str) -> None:
        """One of a class has failed."""
        with self._lock:
            self._failed.setdefault(name, secret)

    def failed(self, name: str) -> str | None:
        """The secret that was the first of its class to fail."""
        with self._lock:
            return self._failed.get(name)


def go_on(
    managed: Managed,
    slot: str | None,
    log: RotationLog,
    classes: Classes,
    *,
    tell: Callable[[Transition], None] = lambda _t: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Rotated:
    """Finish what is unfinished of a secret, then rotate it in ``slot`` (None: finish only). Raises OSError: a step
    could not be noted, and no further one is done."""

    def heard(step: Transition) -> None:
        log.put(step)
        tell(step)

    if slot is not None and (first := classes.failed(managed.failure_class)) is not None:
        detail = f"{first} failed before it, of the class {managed.failure_class}"
        return Rotated(name=managed.name, standing=None, reason_code="class_stopped", detail=detail)
    machine = managed.machine(heard, sleep)
    done = _patiently(managed.name, lambda: machine.rotate(slot), sleep)
    # What nobody approved, or another runner is at, says nothing of its class.
    if done.is_failure and done.reason_code not in ("rotation_busy", managed.refused and managed.refused[0]):
        classes.fail(managed.failure_class, managed.name)
    return done


def _patiently(name: str, work: Callable[[], Standing], sleep: Callable[[float], None]) -> Rotated:
    """What became of a step, which is tried again if that may help."""
    for pause in (*_PAUSES, None):
        try:
            standing = work()
        except RotationError as e:
            done = Rotated(name=name, standing=None, reason_code=e.reason_code, detail=e.in_one_line())
            if not e.is_passing or pause is None:
                break
            sleep(pause)
        else:
            return Rotated(name=name, standing=standing, reason_code=standing.reason_code, detail=standing.detail)
    return done


def take_back(
    managed: Managed,
    log: RotationLog,
    tell: Callable[[Transition], None] = lambda _t: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Rotated:
    """Withdraw what is under way, by an operator's wish, or because its value has leaked. Raises OSError, as
    ``go_on``."""

    def heard(step: Transition) -> None:
        log.put(step)
        tell(step)

    return _patiently(managed.name, managed.machine(heard, sleep).withdraw, sleep)


def chosen(looks: Sequence[Look], *, most: int | None) -> dict[str, str | None]:
    """What a run goes on with: the slot by secret, None for what is only finished. Unfinished ones come first and are
    not counted."""
    found: dict[str, str | None] = {seen.managed.name: None for seen in looks if seen.is_unfinished}
    due = {seen.managed.name: seen for seen in looks if seen.begins}
    ages = [(name, seen.current.since if seen.current is not None else None) for name, seen in due.items()]
    for name in in_turn(ages, most):
        found[name] = due[name].managed.schedule.slot(due[name].at)
    return found


# -- the lake ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a run told the lake; ``run_id`` None: nothing was other than it was."""

    run_id: str | None
    secrets: int = 0
    steps: int = 0
    states: Mapping[str, int] = field(default_factory=dict)


def told(
    lake: Lake,
    looks: Collection[Look],
    log: RotationLog,
    began: datetime,
    *,
    failures: int = 0,
    others: Collection[str] = (),
    leaks: Collection[tuple[str, str, Answer]] = (),
) -> Published:
    """Publish how the secrets stand, all steps that nobody published yet, and what became of leaks (secret, place,
    answer), which closes or opens findings. The lake is locked by the caller. ``others`` are configured and were not
    looked at: nothing is said of them. Raises LakeError, OSError."""
    snapshot = lake.snapshot()
    kept, read = log.kept()
    run_id, now = uuid4().hex, datetime.now(UTC)
    known = managed_rows(snapshot, {seen.managed.name for seen in looks})
    rows = [row for seen in looks if _differs(row := _row(seen, known), known.get(row["secret"]))]
    names = {seen.managed.name for seen in looks} | set(others)
    gone = (row for name, row in known.items() if row["present"] and name not in names)
    rows += [{**row, "present": False} for row in gone if row["is_managed"] is not False]
    before = {
        (r["rotation_id"], r["state"]): r
        for r in snapshot.table("rotations", {"rotation_id": {t.rotation_id for t in kept}}).to_pylist()
    }
    new = [r for t in kept if (r := _transition(t, run_id, before.get((t.rotation_id, str(t.state))))) is not None]
    leaked = leak_rows(leaks, snapshot.table("leaks").to_pylist(), run_id, names)
    if not rows and not new and not leaked:
        log.drop(read.items())
        return Published(run_id=None)
    states = Counter(str(row["state"]) for row in new)
    run: dict[str, Any] = {
        "run_id": run_id,
        "started_at": began,
        "finished_at": now,
        "state": "CompletedWithGaps" if failures else "Completed",
        "sources": [ROTATE_SOURCE],
        "filters": json.dumps({"secrets": len(looks), "steps": dict(sorted(states.items()))}),
        "config_digest": digest(*sorted(names)),
        "versions": "{}",
        "sandbox": "none: no tool was started",
        "repositories": 0,
        "expected": 0,
        "tools_started": 0,
        "gaps": failures,
        "outcomes": "{}",
        "duration_s": (now - began).total_seconds(),
        "scan_s": 0.0,
    }
    judge = Deciding(snapshot, now, leaks=leaked).judge()
    plain = {"secrets": rows, "rotations": new, "leaks": leaked}
    publish(
        lake, snapshot, PublishBatch(run=run, plain=plain, judge=judge, rejudge=rejudged(snapshot, leaked))
    )  # fmt: skip
    log.drop(read.items())
    return Published(run_id=run_id, secrets=len(rows), steps=len(new), states=states)


def _row(seen: Look, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    m, current = seen.managed, seen.current
    before = known.get(m.name, {})
    if before.get("place") != m.backend.place:
        before = {}  # what an inventory told is of another place
    mark = current.mark if current is not None else None
    return {
        "secret": m.name, "place": m.backend.place, "target": m.target_kind, "failure_class": m.failure_class,
        "identity": seen.identity or _known_identity(seen, before),
        "version": current.version if current is not None else None,
        "in_force_since": current.since if current is not None else None,
        "rotation_id": mark.rotation_id or None if mark is not None else None,
        "slot": mark.slot or None if mark is not None else None,
        "state": str(seen.standing.state) if seen.standing.state is not None else None,
        "due": str(seen.due) if seen.due is not None else "unknown", "due_at": seen.due_at(),
        "every_days": m.schedule.every / timedelta(days=1), "grace_s": m.rules.grace.total_seconds(),
        "consumers": list(m.consumers), "reason_code": seen.reason_code, "detail": seen.detail or None,
        "looked_at": seen.at, "present": True, "is_managed": True,
        **{name: before.get(name) for name in INVENTORY_COLUMNS},
    }  # fmt: skip


def _known_identity(seen: Look, before: Mapping[str, Any]) -> str | None:
    """Of a value whose target may not be asked, what it was known by."""
    is_same = seen.current is not None and before.get("version") == seen.current.version
    known: str | None = before.get("identity") if is_same else None
    return known


def _differs(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    """Whether it says something new; a look that finds what was known is none."""
    if before is None:
        return True
    same = {**row, "looked_at": before["looked_at"], "consumers": row["consumers"] or []}
    return same != {**before, "consumers": before["consumers"] or []}


def _transition(step: Transition, run_id: str, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A row of ``rotations``; None where the lake has it as it is."""
    at = min(step.at, before["done_at"]) if before is not None else step.at
    row = {
        "rotation_id": step.rotation_id, "state": str(step.state), "secret": step.secret, "place": step.place,
        "slot": step.slot, "done_at": at, "identity": step.identity, "replaces": step.replaces, "version": step.version,
        "until": step.until, "reason_code": step.reason_code, "detail": step.detail or None,
    }  # fmt: skip
    if before is not None and row == {k: v for k, v in before.items() if k != "run_id"}:
        return None
    return {**row, "run_id": run_id}
