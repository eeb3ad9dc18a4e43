"""One run over the secrets that are rotated: look at each, go on with what is to be done, tell the lake.

Free of Prefect: a flow and the command line drive the same. What goes wrong with one secret is the reason of that
secret, and never the end of the run.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tasks.core.rotations import RotationError, Standing, State, Transition
from tasks.lake.lake import Lake
from tasks.patrol.leak_response import Answer, answered
from tasks.patrol.leaks import KnownSecrets, Leak, Role, is_of_leak, leaks_of
from tasks.patrol.leaks import State as LeakState
from tasks.patrol.rotating import Classes, Look, Managed, Rotated, Step, chosen, go_on, look, steps, take_back
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_rows import Published, told
from tasks.rotation.schedule import Due, manual_slot

#: A credential that is used after its grace is looked at again after so long, while somebody waits for it.
_AGAIN_S = 10.0
#: A store's clock is read in whole seconds.
_SECOND = 1.0
#: Of what is still under way, what somebody must do something about.
_TROUBLE = frozenset({"old_in_use", "value_rejected", "rotation_conflict"})
#: Nothing is wrong with a secret that another runner is at.
_BUSY = "rotation_busy"
#: What is in force is not taken back any more.
_PROMOTED = "rotation_promoted"
#: What troubles of no secret are called.
LEAKS = "leaks"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a run is about: at most so many new rotations (``most``); ``at_once``: also what is not due, whatever age
    and window; ``begins`` False: only what is under way is finished; ``leaks_only``: only what has leaked is gone on
    with. What has leaked is begun whenever it is, and not counted."""

    most: int | None = None
    at_once: bool = False
    begins: bool = True
    leaks_only: bool = False


class RotationRun:
    """One run. Thread-safe. ``configured`` are the names of all secrets that there are, also of those not in it;
    ``known`` are the secrets that were found in repositories (None: leaks are not looked for)."""

    def __init__(
        self,
        managed: Sequence[Managed],
        log: RotationLog,
        *,
        configured: Collection[str] = (),
        workers: int = 4,
        tell: Callable[[Transition], None] = lambda _t: None,
        sleep: Callable[[float], None] = time.sleep,
        known: KnownSecrets | None = None,
    ) -> None:
        self.began = datetime.now(UTC)
        self.looks: list[Look] = []
        self.chosen: dict[str, str | None] = {}
        self.done: dict[str, Rotated] = {}
        #: What became of leaked values, by secret.
        self.leaks: dict[str, tuple[Answer, ...]] = {}
        self.known = known
        self._managed = {m.name: m for m in managed}
        self._others = set(configured) - self._managed.keys()
        self._log, self._workers, self._sleep = log, workers, sleep
        self._tell = _once(tell)
        self._classes = Classes()
        self._begins = True
        self._lock = threading.Lock()
        self._leaks: dict[str, tuple[Leak, ...]] = {}
        #: The slot of what was under way, by secret; and of how many secrets nobody knows what they hold.
        self._under_way: dict[str, str | None] = {}
        self._uncompared = 0

    def look(self) -> list[Look]:
        """How each stands now. Nothing is changed."""
        with ThreadPoolExecutor(self._workers) as pool:
            self.looks = list(pool.map(self._compared, self._managed.values()))
        self._leaks = {seen.managed.name: seen.leaks for seen in self.looks if seen.leaks}
        self._under_way = {seen.managed.name: seen.standing.slot for seen in self.looks if seen.is_unfinished}
        unread = [seen for seen in self.looks if seen.current is None or seen.uncompared is not None]
        self._uncompared = len(unread) + len(self._others)
        return self.looks

    def choose(self, choice: Choice) -> dict[str, str | None]:
        """What is gone on with, in this order: the slot by secret, None for what is only finished."""
        self._begins = choice.begins and not choice.leaks_only
        if choice.leaks_only:
            self.chosen = {}
        elif choice.at_once:
            self.looks = [at_once(seen) for seen in self.looks]
            slot = manual_slot(self.began)
            able = [s for s in self.looks if s.current is not None and (s.is_unfinished or s.managed.refused is None)]
            # What may not begin is finished all the same.
            self.chosen = {
                s.managed.name: slot if s.managed.refused is None else None
                for s in sorted(able, key=lambda s: not s.is_unfinished)
            }
        else:
            self.chosen = chosen(self.looks, most=choice.most)
            if not choice.begins:
                self.chosen = {name: slot for name, slot in self.chosen.items() if slot is None}
        leaked = {s.managed.name: _leak_slot(s) if choice.begins else None for s in self.looks if s.leaks}
        rest = {name: slot for name, slot in self.chosen.items() if not leaked.get(name)}
        # What has leaked comes first; where only something before it has, what else is to be done is.
        self.chosen = {name: slot or rest.get(name) for name, slot in leaked.items()} | rest
        return self.chosen

    def planned(self, seen: Look) -> tuple[list[Step], str]:
        """What would be done to a secret that was chosen, or why that cannot be told."""
        if seen.managed.name not in self.chosen:
            return [], ""
        try:
            return steps(seen), ""
        except RotationError as e:
            return [], f"{e.reason_code}: {e.message}"

    def one(self, name: str) -> Rotated:
        """Go on with one that was chosen. Raises nothing: what went wrong is in the answer."""
        managed, slot, leaks = self._managed[name], self.chosen[name], self._leaks.get(name, ())
        before = self.done.get(name)
        under_way = _slot(before) if before is not None else self._under_way.get(name)
        hastened = frozenset[str]().union(*(leak.hastens for leak in leaks))

        def gone_on(managed: Managed, slot: str | None) -> Rotated:
            return go_on(managed, slot, self._log, self._classes, tell=self._tell, sleep=self._sleep)

        def work() -> Rotated:
            if any(leak.role is Role.STAGED and leak.flaw.is_open for leak in leaks):
                back = take_back(managed, self._log, self._tell, self._sleep)  # nobody has read it yet
                if back.standing is None and back.reason_code != _PROMOTED:
                    return back  # going on would bring it into force
            if slot in hastened:
                return gone_on(managed.leaked(), slot)
            if under_way in hastened:
                done = gone_on(managed.leaked(), None)
                if slot is None or done.standing is None or not done.standing.is_finished:
                    return done
            return gone_on(managed, slot)  # what replaces nothing that leaked has its grace

        done = self._noted(name, work)
        if leaks:
            self._respond(managed, leaks, done)
        return done

    def withdraw(self, name: str) -> Rotated:
        """Take back what is under way of one."""
        managed = self._managed[name]
        return self._noted(name, lambda: take_back(managed, self._log, self._tell))

    def all(self) -> None:
        """Go on with all that were chosen, so many at a time. On an interruption none is begun any more, and what is
        under way ends its step."""
        pool = ThreadPoolExecutor(self._workers)
        try:
            futures: list[Future[Rotated]] = [pool.submit(self.one, name) for name in self.chosen]
            for future in futures:
                future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def wait(self, most: timedelta) -> None:
        """Wait until the graces of this run are over, at most so long, and finish what waits for them."""
        end, slots = time.monotonic() + most.total_seconds(), dict(self.chosen)
        while waiting := [d for d in self.done.values() if _is_in_grace(d)]:
            pauses = [self._left(d) for d in waiting]
            pause = max(min(pauses), 0.0)
            if time.monotonic() + pause > end:
                return
            self._sleep(pause)
            over = [d for d, left in zip(waiting, pauses, strict=True) if left <= pause]
            # After one that was under way before, that which was asked for begins.
            self.chosen = {
                d.name: slots[d.name] if _slot(d) != slots[d.name] and not self._is_replaced(d.name, slots) else None
                for d in over
            }
            self.all()

    def look_again(self) -> list[Look]:
        """How those stand now that something was done about, with what went wrong with them."""
        with ThreadPoolExecutor(self._workers) as pool:
            self.looks = list(pool.map(self._again, self.looks))
        return self.looks

    def publish(self, lake: Lake) -> Published:
        """Tell the lake how the secrets stand, as they were last looked at, and all steps that nobody told it. The lake
        is locked by the caller: no store is asked meanwhile. Raises LakeError, OSError."""
        gaps = len({d.name for d in self.troubles()} | {s.managed.name for s in (*self.unread(), *self.unapproved())})
        leaks = [(name, self._managed[name].backend.place, a) for name, some in self.leaks.items() for a in some]
        return told(lake, self.looks, self._log, self.began, failures=gaps, others=self._others, leaks=leaks)

    # -- what became of it --------------------------------------------------------------------------------------

    def troubles(self) -> list[Rotated]:
        """What somebody must do something about; of leaks also what stands in the way of looking for them."""
        return [*self.unlooked(), *self._leak_troubles(), *(
            d for d in self.done.values()
            if (d.is_failure and d.reason_code != _BUSY)
            or (d.standing is not None and not d.standing.is_finished and d.standing.reason_code in _TROUBLE)
        )]  # fmt: skip

    def unlooked(self) -> list[Rotated]:
        """Why leaks were not looked for, of all secrets or of some."""
        found = []
        if self.known is not None and self.known.reason_code is not None:
            found.append(_trouble(LEAKS, self.known.reason_code, self.known.detail))
        elif self.known is not None and self.known.others:
            detail = f"{self.known.others} findings of secrets are named by another key"
            found.append(_trouble(LEAKS, "leaks_incomparable", detail))
        return found + [_trouble(s.managed.name, *s.uncompared) for s in self.looks if s.uncompared is not None]

    def leaked(self, name: str) -> tuple[Leak, ...]:
        """What has leaked of a secret, as it was looked at first."""
        return self._leaks.get(name, ())

    def unread(self) -> list[Look]:
        """Those that could not even be looked at."""
        return [s for s in self.looks if s.current is None]

    def left_out(self) -> list[Look]:
        """Those that are due, and were not chosen."""
        return [s for s in self.looks if self._begins and s.begins and s.managed.name not in self.done]

    def unapproved(self) -> list[Look]:
        """Those that are due, and may not begin: nobody has approved it."""
        return [s for s in self.looks if self._begins and s.is_refused and s.managed.name not in self.done]

    @property
    def is_done(self) -> bool:
        """Whether nothing is left: no grace, no failure, nothing due that was not begun."""
        unfinished = any(d.standing is None or not d.standing.is_finished for d in self.done.values())
        return not (unfinished or self.troubles() or self.unread() or self.left_out() or self.unapproved())

    def sentence(self) -> str:
        """What was done, in one line. No value and nothing that somebody else wrote is in it."""
        counts = Counter(_word(d) for d in self.done.values())
        parts = [f"{n} {word}" for word, n in sorted(counts.items())]
        if left := len(self.left_out()):
            parts.append(f"{left} due and not begun")
        if unapproved := len(self.unapproved()):
            parts.append(f"{unapproved} due and not approved")
        if unread := len(self.unread()):
            parts.append(f"{unread} could not be read")
        states = Counter(str(a.state) for some in self.leaks.values() for a in some)
        if states:
            parts.append(f"of {sum(states.values())} leaked {', '.join(f'{n} {s}' for s, n in sorted(states.items()))}")
        elif self.known is not None and self.known.reason_code is not None:
            parts.append(f"leaks not looked for ({self.known.reason_code})")
        return f"{len(self._managed)} secrets: {', '.join(parts) or 'nothing was to be done'}"

    # -- one of it ----------------------------------------------------------------------------------------------

    def _look(self, managed: Managed) -> Look:
        now = datetime.now(UTC)
        try:
            return look(managed, now)
        except Exception as e:  # one secret is never the end of the run; its words may hold what must not be told
            return Look(
                managed=managed, at=now, due=None, standing=Standing(state=None), reason_code="rotation_failed",
                detail=type(e).__name__,
            )  # fmt: skip

    def _compared(self, managed: Managed) -> Look:
        """A look, with what has leaked."""
        seen = self._look(managed)
        if self.known is None or seen.current is None:
            return seen
        try:
            return replace(
                seen, leaks=leaks_of(managed.name, managed.backend, managed.target, seen.current, self.known)
            )
        except RotationError as e:
            return replace(seen, uncompared=(e.reason_code, e.message))
        except Exception as e:  # as above
            return replace(seen, uncompared=("rotation_failed", type(e).__name__))

    def _respond(self, managed: Managed, leaks: Sequence[Leak], done: Rotated) -> None:
        """Find out what became of what has leaked."""
        why_not = (done.reason_code, done.detail) if done.standing is None and done.reason_code else None
        why_not = why_not or managed.refused
        settle_s = managed.rules.settle.total_seconds()
        known = self.known or KnownSecrets()

        def one(leak: Leak) -> Answer:
            try:
                return answered(
                    leak, managed.backend, managed.target, known=known, settle_s=settle_s,
                    uncompared=self._uncompared, why_not=why_not, sleep=self._sleep,
                )  # fmt: skip
            except Exception as e:  # as above
                return Answer(
                    leak=leak, state=LeakState.UNVERIFIED, at=datetime.now(UTC), reason_code="rotation_failed",
                    detail=type(e).__name__,
                )  # fmt: skip

        with self._lock:
            self.leaks[managed.name] = ()
        answers = tuple(one(leak) for leak in leaks)
        with self._lock:
            self.leaks[managed.name] = answers

    def _is_replaced(self, name: str, slots: Mapping[str, str | None]) -> bool:
        """Whether a leak was to be answered, and what was under way before did that."""
        return is_of_leak(slots[name]) and not any(a.is_in_force for a in self.leaks.get(name, ()))

    def _leak_troubles(self) -> list[Rotated]:
        return [
            _trouble(name, a.reason_code, f"leaked ({a.leak.field}): {a.detail}")
            for name, some in self.leaks.items() for a in some if a.reason_code is not None
        ]  # fmt: skip

    def _noted(self, name: str, work: Callable[[], Rotated]) -> Rotated:
        try:
            done = work()
        except OSError as e:
            done = Rotated(name=name, standing=None, reason_code="rotation_unnoted", detail=e.strerror or "")
        except Exception as e:  # as above
            done = Rotated(name=name, standing=None, reason_code="rotation_failed", detail=type(e).__name__)
        with self._lock:
            self.done[name] = done
        return done

    def _left(self, done: Rotated) -> float:
        assert done.standing is not None
        if done.standing.reason_code == "old_in_use" or done.standing.until is None:
            return _AGAIN_S
        try:
            now = self._managed[done.name].backend.now()
        except Exception:  # asked again soon, by what tells it
            return _AGAIN_S
        return (done.standing.until - now).total_seconds() + _SECOND

    def _again(self, seen: Look) -> Look:
        done = self.done.get(seen.managed.name)
        if done is None:
            return replace(seen, at=datetime.now(UTC))
        now = self._look(seen.managed)
        if done.reason_code is None or now.reason_code is not None:
            return now
        return replace(now, reason_code=done.reason_code, detail=done.detail, leaks=seen.leaks)


def _once(tell: Callable[[Transition], None]) -> Callable[[Transition], None]:
    """Tell each step when it is first heard of: machines tell some again, for whoever did not note them."""
    heard: set[tuple[str, State, str | None]] = set()
    lock = threading.Lock()

    def first(step: Transition) -> None:
        key = (step.rotation_id, step.state, step.reason_code)
        with lock:
            is_new = key not in heard
            heard.add(key)
        if is_new:
            tell(step)

    return first


def at_once(seen: Look) -> Look:
    """The look at a secret that is to be rotated now, whatever its schedule says."""
    return seen if seen.current is None else replace(seen, due=Due.DUE)


def _leak_slot(seen: Look) -> str | None:
    """The slot of the rotation that is begun because its value has leaked."""
    if seen.managed.refused is not None:
        return None
    return min((leak.flaw.slot for leak in seen.leaks if leak.is_urgent), default=None)


def _trouble(name: str, reason_code: str, detail: str) -> Rotated:
    return Rotated(name=name, standing=None, reason_code=reason_code, detail=detail)


def why_nothing(seen: Look) -> str:
    """Why nothing would be done to a secret that could be looked at."""
    if seen.managed.refused is not None:
        return ": ".join(seen.managed.refused)
    if seen.begins:
        return "max_per_run secrets are begun before it"
    due_at = seen.due_at()
    return f"next at {due_at:%Y-%m-%d %H:%M} UTC" if due_at is not None else seen.detail or "it is not due"


def _is_in_grace(done: Rotated) -> bool:
    return done.standing is not None and done.standing.state is State.GRACE


def _slot(done: Rotated) -> str | None:
    return done.standing.slot if done.standing is not None else None


def _word(done: Rotated) -> str:
    standing = done.standing
    if standing is None:
        return "not begun" if done.reason_code == "class_stopped" else "failed"
    if standing.state is State.GRACE:
        return "in grace"
    if standing.state is None:
        return "done before"
    return {State.RETIRED: "rotated", State.WITHDRAWN: "withdrawn"}.get(standing.state, str(standing.state))
