"""A static role of the database engine of Vault or OpenBao: the store itself rotates its password, on its own schedule
or when it is told to, and consumers ask for it each time. There is nothing to stage here, and no password is read.

https://openbao.org/api-docs/secret/databases/#static-roles.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote

from tasks.core.errors import UsageError
from tasks.core.rotations import RotationError
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_wire import Answer, moment

_OK, _NOT_FOUND = 200, 404


@dataclass(frozen=True, slots=True, kw_only=True)
class RolePlace:
    """A role of a mount: a static role of a data base, or one that certificates are issued by."""

    mount: str
    role: str

    def __post_init__(self) -> None:
        for name, part in (("mount", self.mount), ("role", self.role)):
            if any(p in ("", ".", "..") for p in part.strip("/").split("/")):
                raise UsageError(f"`{name}` of a role in Vault is none", advice="Write it as for `vault read`.")
            object.__setattr__(self, name, part.strip("/"))

    def __str__(self) -> str:
        return f"vault:{self.mount}/{self.role}"

    def url(self, kind: str) -> str:
        """Where a kind of call goes."""
        return f"{quote(self.mount)}/{kind}/{quote(self.role)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticRole:
    """What the store tells of a role: its user, when it was rotated by the store's clock (None: never), how often."""

    username: str
    rotated_at: datetime | None
    period: timedelta | None


class VaultStaticRole:
    """One static role. Thread-safe. Every method raises RotationError."""

    def __init__(self, session: VaultSession, place: RolePlace) -> None:
        self._session, self._at = session, place

    @property
    def place(self) -> str:
        """``vault:MOUNT/static-roles/ROLE``, as an inventory calls it."""
        return f"vault:{self._at.mount.strip('/')}/static-roles/{self._at.role}"

    def state(self) -> StaticRole:
        """How it stands. Raises RotationError(secret_missing): there is no such role."""
        answer = self._session.ask("get", self._at.url("static-roles"), accepts=(_OK, _NOT_FOUND))
        username, period = answer.data.get("username"), answer.data.get("rotation_period")
        if answer.status == _NOT_FOUND or not isinstance(username, str):
            raise RotationError(
                "secret_missing",
                f"{self.place}: there is no such static role",
                advice="Compare mount and role, and their case.",
            )
        return StaticRole(
            username=username,
            rotated_at=self._rotated_at(answer),
            period=timedelta(seconds=period) if isinstance(period, int) and 0 < period < 2**31 else None,
        )

    def _rotated_at(self, answer: Answer) -> datetime | None:
        """When it was rotated; a role that never was has a time of the year 1, or none. What is no time is an error:
        else it would be rotated again and again."""
        told = answer.data.get("last_vault_rotation")
        at = moment(told) if isinstance(told, str) else None
        if at is None and told is not None:
            raise RotationError(
                "backend_error", f"{self.place}: Vault does not tell when it rotated it", advice="Is it Vault?"
            )
        return at if at is not None and at.year > 1 else None

    def now(self) -> datetime:
        """The time by the store's clock, in whole seconds that have passed."""
        return self._session.now()

    def rotate(self, *, unless_since: datetime) -> StaticRole:
        """Have it rotated, unless it was since that time (by the store's clock): so a call whose answer was lost is
        repeated with the same time. The new state.

        Where the data base does not answer, the store goes on trying by itself; the old password stays until then.
        """
        before = self.state()
        if before.rotated_at is not None and before.rotated_at >= unless_since:
            return before
        self._session.ask("post", self._at.url("rotate-role"), body={})
        after = self.state()
        if after.rotated_at is None or (before.rotated_at is not None and after.rotated_at <= before.rotated_at):
            raise RotationError(
                "backend_error", f"{self.place}: Vault says that it rotated it, and did not", advice="Look at its log."
            )
        return after
