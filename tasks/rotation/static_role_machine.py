"""The rotation of a static role: its store changes the password at once, and keeps no mark of who asked for it.

There is nothing to stage, to verify or to wait for, so there are two steps: PROMOTED, the store says that it holds a
new password, and RETIRED, which is the same moment, for the old one is refused from then on. Whether the new one logs
in nobody here tried: no password is read.

What a mark is elsewhere, the store's own time of its last rotation is here. In a slot of the schedule one that is
younger than the slot's beginning is that of the slot, whoever asked for it: also the store itself, by its own period.
Of what somebody asked for now, one counts that came after the first look of this machine, so an answer that was lost
is not asked for again. Whoever was killed between call and answer leaves nothing behind: the next run finds the
secret young, and its steps are not among the rows. Runners of one machine are alone by a lock; two of two machines that
ask within one moment may change it twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from tasks.core.rotations import Held, RotationError, Standing, State, Transition, rotation_id
from tasks.core.secret_refs import Secret
from tasks.rotation.runner_lock import alone
from tasks.rotation.schedule import slot_begins
from tasks.rotation.vault_static_roles import StaticRole, VaultStaticRole

_MOMENT, _EVER = timedelta(microseconds=1), datetime.min.replace(tzinfo=UTC)
NO_GRACE_WARNING = (
    "Vault changes the password at once, and the old one is refused from then on: there is no grace. Logins of "
    "consumers that remember it fail until they have asked Vault again, and so may one that has asked just before."
)


class StaticRoleMachine:
    """Rotates one static role. ``tell`` hears of each step after it was done."""

    def __init__(
        self, name: str, role: VaultStaticRole, tell: Callable[[Transition], None], *, lock_file: Path
    ) -> None:
        self._name, self._role, self._tell, self._lock_file = name, role, tell, lock_file
        self._first: StaticRole | None = None

    def standing(self) -> Standing:
        """Nothing is ever under way here."""
        return Standing(state=None)

    def withdraw(self) -> Standing:
        """There is nothing to take back."""
        return Standing(state=None)

    def rotate(self, slot: str | None) -> Standing:
        """Have it rotated for a slot, unless it was; None: nothing is to be finished. Raises RotationError."""
        if slot is None:
            return Standing(state=None)
        if self._first is None:
            self._first = self._role.state()
        first = self._first.rotated_at
        # What came after our first look counts, whoever asked for it.
        later = first + _MOMENT if first is not None else _EVER
        with alone(self._lock_file, self._name):
            begins = self._begins(slot)
            now = self._role.rotate(unless_since=later if begins is None else min(begins, later))
        for state in (State.PROMOTED, State.RETIRED):
            self._say(state, slot, now)
        return Standing(state=State.RETIRED, rotation_id=rotation_id(self._name, slot), slot=slot)

    def _begins(self, slot: str) -> datetime | None:
        """The beginning of a slot of the schedule, by the store's clock."""
        begins = slot_begins(slot)
        return begins + (self._role.now() - datetime.now(UTC)) if begins is not None else None

    def _say(self, state: State, slot: str, role: StaticRole) -> None:
        at = role.rotated_at.isoformat() if role.rotated_at is not None else None
        self._tell(
            Transition(
                secret=self._name, place=self._role.place, rotation_id=rotation_id(self._name, slot), slot=slot,
                state=state, at=datetime.now(UTC), identity=role.username, replaces=None, version=at,
            )
        )  # fmt: skip


class StaticRoleSecret:
    """A static role as backend and target in one, as far as it is either: what is in force and since when. It stages
    nothing, and every call that would raises RotationError(rotation_elsewhere)."""

    is_issued = False
    in_place = True
    issued_fields: frozenset[str] | None = frozenset()

    def __init__(self, role: VaultStaticRole) -> None:
        self._role = role

    @property
    def place(self) -> str:
        """See ``Backend``."""
        return self._role.place

    def current(self) -> Held:
        """See ``Backend``: the user alone, and the time of the last rotation as the version."""
        role = self._role.state()
        version = role.rotated_at.isoformat() if role.rotated_at is not None else "never rotated"
        return Held(fields={"username": Secret(role.username)}, version=version, mark=None, since=role.rotated_at)

    def staged(self) -> Held | None:
        """See ``Backend``."""
        return None

    def at(self, version: str) -> Held | None:
        """See ``Backend``: Vault keeps no password that it has changed."""
        return None

    def now(self) -> datetime:
        """See ``Backend``."""
        return self._role.now()

    def identity(self, fields: Any) -> str:
        """See ``Target``."""
        found: str = fields["username"].reveal()
        return found

    def issued(self) -> frozenset[str]:
        """See ``Target``."""
        return frozenset()

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """See ``Target``: nobody tells."""
        return None

    def _elsewhere(self, *_args: Any, **_more: Any) -> NoReturn:
        raise RotationError(
            "rotation_elsewhere", f"{self.place}: Vault itself changes a static role", advice="Have Vault rotate it."
        )

    stage = promote = refuse = forget = _elsewhere
    exclusive = propose = revoke = issue = apply = probe = is_refused = retire = restore = _elsewhere
