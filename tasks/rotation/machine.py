"""The rotation of one secret, step by step: PREPARED, APPLIED, VERIFIED, PROMOTED, GRACE, RETIRED.

Nothing is remembered between steps but what backend and target hold: whoever calls looks there first, finishes what is
unfinished, and begins only then. So a rotation that was killed anywhere is gone on with by any runner, and two at once
do the same.

1. PREPARED: a fresh value and the mark of the rotation are staged in the backend, before the target is touched.
2. APPLIED: the target accepts it. A login tells whether it does already.
3. VERIFIED: it works, and may do what it must. If not, the backend is made to refuse its promotion, the target forgets
   it, and the rotation is WITHDRAWN.
4. PROMOTED: it comes into force in one step that fails if the value in force is another one than it began with.
5. GRACE: consumers go on with the old credential for as long as they may remember it. If the new one is refused
   meanwhile, a fresh one takes its place (FORWARDED), and the old one is kept.
6. RETIRED: the old credential is refused from now on. Not while it is used, and never while it is in force.

At every moment the value in force is accepted, unless the target has one identity only (``Target.in_place``); every
credential that is accepted is named in the backend; and there are at most two.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from tasks.core.rotations import (
    Backend,
    ConflictError,
    Held,
    Mark,
    RotationError,
    SpentError,
    Standing,
    State,
    Target,
    Transition,
    rotation_id,
)
from tasks.core.secret_refs import Secret

#: Times that what others do meanwhile is followed in one call.
_ROUNDS = 20
#: Values that were withdrawn in one slot before we give up.
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a secret is rotated.

    ``grace``: how long consumers may remember a value. ``hold``: how much longer a credential that is still used is
    kept (None: for as long as it is used). ``settle``: how long a new credential may take until it is accepted.
    ``lease``: how long a runner that is about to have a credential issued is left to it; nothing depends on it but that
    two runners do not disturb each other.
    """

    grace: timedelta
    hold: timedelta | None = None
    settle: timedelta = timedelta(seconds=10)
    lease: timedelta = timedelta(seconds=60)


class Machine:
    """Rotates one secret. ``value`` makes a fresh value; ``tell`` hears of each step after it was done and before it is
    forgotten, of some more than once: (rotation, state) is the key of what it hears.

    ``sleep`` waits for a new credential to be accepted. ``subject`` is the digest of what is rotated, as it is
    configured now. ``refused``: why nobody may rotate that (reason code, detail); only what was begun for the same
    subject is finished then. Raises RotationError from every method: the rotation stays where it is.
    """

    def __init__(
        self,
        name: str,
        backend: Backend,
        target: Target,
        rules: Rules,
        *,
        value: Callable[[], Secret],
        tell: Callable[[Transition], None] = lambda _t: None,
        sleep: Callable[[float], None] = time.sleep,
        subject: str | None = None,
        refused: tuple[str, str] | None = None,
    ) -> None:
        self._name, self._backend, self._target, self._rules = name, backend, target, rules
        self._subject, self._refused = subject, refused
        self._value, self._tell, self._sleep = value, tell, sleep
        #: Who we are, among all that run.
        self._runner = uuid.uuid4().hex

    def standing(self) -> Standing:
        """Where it stands; nothing is done. A staged value that is not promoted is told as PREPARED."""
        staged = self._backend.staged()
        if staged is None:
            return Standing(state=None)
        current = self._backend.current()
        if current.rotation_id == _mark(staged).rotation_id:
            return self._in(State.GRACE, staged, until=self._until(current))
        return self._in(State.PREPARED, staged)

    def rotate(self, slot: str | None) -> Standing:
        """Finish what is unfinished, then rotate in ``slot`` unless that was done (None: finish only).

        Ends with GRACE while consumers may remember the old value; call again after ``until``. Raises ConflictError
        when somebody changed the value in force: nothing is touched.
        """
        begun = False
        for _ in range(_ROUNDS):
            staged, current = self._backend.staged(), self._backend.current()
            if staged is None:
                if slot is None:
                    return Standing(state=None)
                if current.mark is not None and current.mark.slot == slot:
                    return Standing(state=None, rotation_id=current.rotation_id, slot=slot)
                if begun:  # we were frozen for so long that others have finished it, and the next one, too
                    return Standing(state=None, slot=slot)
                if self._refused is not None:
                    raise RotationError(self._refused[0], f"{self._name}: {self._refused[1]}")
                begun = self._prepare(slot, current)
                continue
            if self._is_closed_to(staged):
                raise self._unapproved(staged, current)
            begun = begun or _mark(staged).slot == slot
            try:
                ended = self._go_on(staged, current)
            except ConflictError:
                if self._is_staged(staged):
                    raise
                continue  # nobody's change: others have finished it while we were frozen
            if ended is not None and (not ended.is_finished or ended.slot == slot or slot is None):
                return ended
        raise RotationError(
            "rotation_busy", f"{self._name}: others change it faster than we can follow", is_passing=True
        )

    def withdraw(self) -> Standing:
        """Take back what is under way, by an operator's wish; also where somebody changed the value in force, which
        stays as it is. Raises RotationError once it was promoted: then it only goes forward. A target that nobody has
        approved is not touched: the store alone forgets the value."""
        staged, current = self._backend.staged(), self._backend.current()
        if staged is None:
            return Standing(state=None)
        if current.rotation_id == _mark(staged).rotation_id:
            raise RotationError(
                "rotation_promoted",
                f"{self._name}: the new value is in force already",
                advice="Rotate once more instead; the old credential may be refused any moment.",
            )
        is_closed = self._is_closed_to(staged)
        in_force = _mark(staged).replaces or "" if is_closed else self._identity(current)
        # Whoever changed it has moved the version on: that promotion fails for good.
        if current.version == _mark(staged).base and not self._backend.refuse(staged, in_force):
            return self.withdraw()
        if is_closed and self._refused is not None:
            why = "by an operator; what accepts it was not touched: nobody has approved it as it is configured now"
            self._say(State.WITHDRAWN, staged, reason_code=self._refused[0], detail=why)
            self._backend.forget(_mark(staged).rotation_id)
            return self._in(State.WITHDRAWN, staged, reason_code=self._refused[0], detail=why)
        return self._take_back(staged, "withdrawn", "by an operator") or Standing(state=None)

    def _is_closed_to(self, staged: Held) -> bool:
        """Whether it was begun for another subject than what nobody may rotate now."""
        return self._refused is not None and _mark(staged).subject != self._subject

    def _unapproved(self, staged: Held, current: Held) -> RotationError:
        is_promoted = current.rotation_id == _mark(staged).rotation_id
        assert self._refused is not None
        return RotationError(
            self._refused[0],
            f"{self._name}: it was begun for another configuration than the one now, which nobody has approved;"
            f" nothing was touched since. {self._refused[1]}",
            advice="Approve it as it is now, or configure it as it was"
            + ("." if is_promoted else "; `nightwarden rotate resume --withdraw NAME` takes it back."),
        )

    # -- one round ----------------------------------------------------------------------------------------------

    def _go_on(self, staged: Held, current: Held) -> Standing | None:
        """One round of a rotation that was begun; None: look again."""
        mark = _mark(staged)
        if current.rotation_id == mark.rotation_id:
            return self._leave(staged) if staged.is_intention else self._finish(staged, current)
        if current.mark is not None and current.mark.refused == mark.rotation_id:
            return self._take_back(staged, "value_rejected", "")
        if current.version != mark.base:
            return self._stand_back(staged, current)
        if staged.is_intention:
            self._issue(staged, current)
            return None
        return self._bring_in(staged, current)

    def _prepare(self, slot: str, current: Held) -> bool:
        """Stage a fresh value, or the intention to have one issued. Whether the rotation in this slot was begun, by us
        or by others; not if that of another slot is to be finished first."""
        in_force = self._identity(current)
        works = self._target.probe(current.fields)
        # Nobody can use a value that is refused, so its identity is free; the one before it may be what still works.
        keep = in_force if works else current.mark.replaces if current.mark is not None else None
        for attempt in range(_ATTEMPTS):
            try:
                staged = self._stage(
                    rotation_id(self._name, slot, attempt), slot, current, keep, None if works else in_force, None
                )
                return _mark(staged).slot == slot
            except SpentError:
                if self._backend.current().version != current.version:
                    return True  # it ended since we looked, and was not withdrawn before
        raise RotationError(
            "value_rejected", f"{self._name}: {_ATTEMPTS} values were withdrawn in this slot", advice="Look at why."
        )

    def _stage(
        self, rid: str, slot: str, current: Held, keep: str | None, instead_of: str | None, over: Held | None
    ) -> Held:
        """What is staged then: the value of ``rid``, or what somebody else staged before."""
        mark = Mark(
            rotation_id=rid, slot=slot, base=current.version, identity="", replaces=keep,
            staged_at=self._backend.now().isoformat(), runner=self._runner, subject=self._subject,
        )  # fmt: skip
        if self._target.is_issued:
            return self._backend.stage({}, mark, over=over)
        proposed = self._target.propose(current.fields, instead_of=instead_of, value=self._value())
        fields = {**current.fields, **proposed}  # what the target does not change is kept
        identity = self._target.identity(fields)
        replaces = keep if keep != identity else None
        mark = replace(mark, identity=identity, replaces=replaces, runner=None)
        staged = self._backend.stage(fields, mark, over=over)
        self._say(State.PREPARED, staged)
        return staged

    def _issue(self, intention: Held, current: Held) -> None:
        """Have a value issued, and stage it in place of the intention.

        Whoever holds the intention deletes what nobody refers to, and may do that as late as it likes: what is issued
        to others can only be staged over their own intention, which is gone, and no identity comes back.
        """
        mark = _mark(intention)
        if mark.runner != self._runner:
            if self._backend.now() < datetime.fromisoformat(mark.staged_at) + self._rules.lease:
                raise RotationError(
                    "rotation_busy", f"{self._name}: another runner is having a credential issued", is_passing=True
                )
            mine = replace(mark, runner=self._runner, staged_at=self._backend.now().isoformat())
            taken = self._staged_over(intention, {}, mine)
            if taken is None or _mark(taken).runner != self._runner:
                return
            intention = taken
        there = self._target.issued()
        if not self._is_still(intention, current):
            return
        in_force = self._identity(current)
        keep = {mark.replaces, in_force} if self._target.probe(current.fields) else {mark.replaces}
        self._target.revoke(frozenset(there - keep))
        fields = {**current.fields, **self._target.issue(mark.rotation_id, current.fields)}
        identity = self._target.identity(fields)
        made = replace(_mark(intention), identity=identity, runner=None)
        staged = self._staged_over(intention, fields, made)
        if staged is None or _mark(staged).identity != identity:
            # Another runner went on meanwhile; what was issued to us nobody will know.
            self._target.revoke(frozenset({identity}))
            return
        self._say(State.PREPARED, staged)

    def _staged_over(self, intention: Held, fields: dict[str, Secret], mark: Mark) -> Held | None:
        """What is staged after this was staged over the intention; None: its rotation ended meanwhile."""
        try:
            return self._backend.stage(fields, mark, over=intention)
        except SpentError:
            return None

    def _bring_in(self, staged: Held, current: Held) -> Standing | None:
        """Apply, verify, promote."""
        self._say(State.PREPARED, staged)
        with self._target.exclusive():
            if not self._is_still(staged, current):
                return None
            if not self._target.probe(staged.fields):
                self._target.apply(staged, current)
            self._say(State.APPLIED, staged)
            if self._accepted(staged):
                self._say(State.VERIFIED, staged)
                self._say(State.PROMOTED, staged, self._backend.promote(staged))
                return None
        self._backend.refuse(staged, self._identity(current))
        return None

    def _accepted(self, staged: Held) -> bool:
        """Whether the target accepts it, within the time that it may take."""
        waited, pause = 0.0, 0.5
        while not self._target.probe(staged.fields):
            if waited >= self._rules.settle.total_seconds():
                return False
            self._sleep(pause)
            waited, pause = waited + pause, pause * 2
        return True

    def _is_staged(self, staged: Held) -> bool:
        """Whether it is what is staged, asked again."""
        now = self._backend.staged()
        return now is not None and (now.rotation_id, now.version) == (staged.rotation_id, staged.version)

    def _is_still(self, staged: Held, current: Held) -> bool:
        """Whether both are as they were seen, asked again by who is alone at the target."""
        now, there = self._backend.staged(), self._backend.current()
        return now is not None and (now.rotation_id, now.version, there.version) == (
            staged.rotation_id, staged.version, current.version,
        )  # fmt: skip

    def _stand_back(self, staged: Held, current: Held) -> Standing | None:
        """The value in force is another one than the rotation began with. What the target does not accept yet is given
        up. Raises ConflictError where it does: nobody but a person can say which is wanted."""
        mark = _mark(staged)
        with self._target.exclusive():
            if not self._is_still(staged, current):
                return None
            is_accepted = not staged.is_intention and self._target.probe(staged.fields)
            if not is_accepted and _is_after(current, mark):
                return self._leave(staged)
            if is_accepted:
                raise ConflictError(
                    f"{self._name}: somebody changed it after the rotation began (version {current.version}, it began"
                    f" with {mark.base}); nothing was touched since",
                    advice="Look at who changed it; `nightwarden rotate resume --withdraw NAME` keeps theirs.",
                )
            why = f"version {current.version} is in force, it began with {mark.base}"
            self._say(State.WITHDRAWN, staged, reason_code="rotation_conflict", detail=why)
            self._backend.forget(mark.rotation_id)
        return self._in(State.WITHDRAWN, staged, reason_code="rotation_conflict", detail=why)

    def _leave(self, staged: Held) -> Standing | None:
        """Its rotation ended before: who staged it once more was frozen meanwhile, in a store that cannot tell. Nothing
        is said of it, and it is looked again."""
        self._backend.forget(_mark(staged).rotation_id)
        return None

    # -- after the promotion ------------------------------------------------------------------------------------

    def _finish(self, staged: Held, current: Held) -> Standing | None:
        """Wait for the grace, then retire the old credential. None: look again."""
        mark, until = _mark(staged), self._until(current)
        if not self._target.probe(current.fields):
            return self._forward(staged, current)
        self._say(State.PROMOTED, staged, current)
        self._say(State.GRACE, staged, current, until=until)
        now = self._backend.now()
        if now < until:
            return self._in(State.GRACE, staged, until=until)
        old = mark.replaces
        if old is not None:
            held = self._rules.hold
            if self._target.used_since(old, until) and (held is None or now < until + held):
                why = f"{old} is used after the grace"
                self._say(State.GRACE, staged, current, until=until, reason_code="old_in_use", detail=why)
                return self._in(State.GRACE, staged, until=until, reason_code="old_in_use", detail=why)
            with self._target.exclusive():
                if not self._is_still(staged, current):
                    return None
                self._target.retire(old, in_force=self._identity(current))
        self._say(State.RETIRED, staged, current)
        self._backend.forget(mark.rotation_id)
        return self._in(State.RETIRED, staged)

    def _forward(self, staged: Held, current: Held) -> Standing | None:
        """The value in force is refused: a fresh one of its identity takes its place, and the old one is kept."""
        mark, in_force = _mark(staged), self._identity(current)
        why = f"{in_force} is refused"
        for attempt in range(_ATTEMPTS):
            rid = rotation_id(self._name, f"{mark.slot}|{mark.rotation_id}", attempt)
            try:
                fresh = self._stage(rid, mark.slot, current, mark.replaces, in_force, staged)
            except SpentError:
                if not self._is_staged(staged):
                    return None
                continue
            if fresh.rotation_id != rid:
                return None
            self._say(State.FORWARDED, staged, current, reason_code="value_rejected", detail=why)
            return None
        return self._in(State.GRACE, staged, reason_code="value_rejected", detail=why)

    # -- back ---------------------------------------------------------------------------------------------------

    def _take_back(self, staged: Held, reason_code: str, detail: str) -> Standing | None:
        """Let the target forget a value that can no longer be promoted, then the backend."""
        mark = _mark(staged)
        with self._target.exclusive():
            now, current = self._backend.staged(), self._backend.current()
            if now is None or now.rotation_id != mark.rotation_id:
                return None
            identity, in_force = mark.identity, self._identity(current)
            if not identity:
                pass  # it was never issued, or is revoked by the next that has one issued
            elif identity != in_force:
                self._target.retire(identity, in_force=in_force)
            elif not self._target.probe(current.fields):
                self._target.restore(current)
            self._say(State.WITHDRAWN, staged, reason_code=reason_code, detail=detail)
            self._backend.forget(mark.rotation_id)
        return self._in(State.WITHDRAWN, staged, reason_code=reason_code, detail=detail)

    # -- words --------------------------------------------------------------------------------------------------

    def _identity(self, held: Held) -> str:
        return self._target.identity(held.fields)

    def _until(self, current: Held) -> datetime:
        return (current.since or self._backend.now()) + self._rules.grace

    def _in(self, state: State, staged: Held, *, until: datetime | None = None, reason_code: str | None = None,
            detail: str = "") -> Standing:  # fmt: skip
        mark = _mark(staged)
        return Standing(
            state=state, rotation_id=mark.rotation_id, slot=mark.slot, until=until, reason_code=reason_code,
            detail=detail,
        )  # fmt: skip

    def _say(self, state: State, staged: Held, current: Held | None = None, *, until: datetime | None = None,
             reason_code: str | None = None, detail: str = "") -> None:  # fmt: skip
        mark = _mark(staged)
        self._tell(
            Transition(
                secret=self._name, place=self._backend.place, rotation_id=mark.rotation_id, slot=mark.slot, state=state,
                at=datetime.now(UTC), identity=mark.identity, replaces=mark.replaces,
                version=current.version if current is not None else None, until=until, reason_code=reason_code,
                detail=detail,
            )
        )  # fmt: skip


def _mark(staged: Held) -> Mark:
    """The mark of a staged value; only rotations stage values."""
    assert staged.mark is not None
    return staged.mark


def _is_after(current: Held, mark: Mark) -> bool:
    """Whether the value in force was staged after a rotation: one is staged at a time, so that one ended."""
    ours = current.mark is not None and current.mark.rotation_id != mark.rotation_id
    return ours and current.mark is not None and current.mark.staged_at >= mark.staged_at != ""
