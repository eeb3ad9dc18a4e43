"""Rotations of many secrets: which are due, and each gone on with as far as may be.

Unfinished rotations are finished first, whenever it is; new ones begin where they are due and their window is open, the
oldest first, so many a run. After the first failure in a class (a kind of target, as a rule) no other of it is begun:
what is wrong with one is likely to be wrong with all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from tasks.core.rotations import Backend, Held, RotationError, Rotator, Standing, State, Target, Transition
from tasks.core.secret_refs import Secret
from tasks.patrol.approving import Approval
from tasks.patrol.leaks import Leak
from tasks.patrol.rotation_log import RotationLog
from tasks.rotation.machine import Machine, Rules
from tasks.rotation.schedule import Due, Schedule, in_turn, manual_time, slot_begins

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
    with the reason ``class_stopped``. ``is_passing``: asked again it may be done."""

    name: str
    standing: Standing | None
    reason_code: str | None = None
    detail: str = ""
    is_passing: bool = False

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
            done = Rotated(
                name=name, standing=None, reason_code=e.reason_code, detail=e.in_one_line(), is_passing=e.is_passing
            )
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
