"""What accepts a secret that nobody has approved to be rotated as it is configured now: it is not touched.

What was begun while it was approved is finished: where the staged value says that it was begun for the same subject
(``Mark.subject``), every call goes through. Else each raises the reason of the refusal. The store is asked for that at
each call, as who finishes the rotation may be another runner.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime

from tasks.core.rotations import Backend, Held, RotationError, Target
from tasks.core.secret_refs import Secret


class UnapprovedTarget:
    """A ``Target`` over the configured one. ``refusal``: the reason code and its detail. ``names_itself``: the target
    names identities and proposes values without asking anybody; one that does not (an executable) is not started for
    that either, and whether it issues values is answered by no: who has not asked does not know it."""

    def __init__(
        self, target: Target, backend: Backend, subject: str, refusal: tuple[str, str], *, names_itself: bool
    ) -> None:
        self._target, self._backend, self._subject = target, backend, subject
        self._refusal, self._names_itself = refusal, names_itself

    @property
    def is_closed(self) -> bool:
        """Whether nothing is under way that was begun for the same subject. Raises RotationError."""
        staged = self._backend.staged()
        return staged is None or staged.mark is None or staged.mark.subject != self._subject

    @property
    def is_issued(self) -> bool:
        """See ``Target``."""
        return self._target.is_issued if self._names_itself or not self.is_closed else False

    @property
    def in_place(self) -> bool:
        """See ``Target``."""
        return self._named().in_place

    @property
    def issued_fields(self) -> frozenset[str] | None:
        """See ``Target``."""
        return self._target.issued_fields if self._names_itself or not self.is_closed else None

    def _named(self) -> Target:
        return self._target if self._names_itself else self._open()

    def _open(self) -> Target:
        if self.is_closed:
            raise RotationError(self._refusal[0], f"it was not asked: {self._refusal[1]}")
        return self._target

    def identity(self, fields: Mapping[str, Secret]) -> str:
        """See ``Target``."""
        return self._named().identity(fields)

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> dict[str, Secret]:
        """See ``Target``."""
        return self._named().propose(current, instead_of=instead_of, value=value)

    def exclusive(self) -> AbstractContextManager[None]:
        """See ``Target``."""
        return self._open().exclusive()

    def issued(self) -> frozenset[str]:
        """See ``Target``."""
        return self._open().issued()

    def revoke(self, identities: frozenset[str]) -> None:
        """See ``Target``."""
        self._open().revoke(identities)

    def issue(self, rotation_id: str, current: Mapping[str, Secret]) -> dict[str, Secret]:
        """See ``Target``."""
        return self._open().issue(rotation_id, current)

    def apply(self, staged: Held, current: Held) -> None:
        """See ``Target``."""
        self._open().apply(staged, current)

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        """See ``Target``."""
        return self._open().probe(fields)

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        """See ``Target``."""
        return self._open().is_refused(fields)

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """See ``Target``."""
        return self._open().used_since(identity, since)

    def retire(self, identity: str, *, in_force: str) -> None:
        """See ``Target``."""
        self._open().retire(identity, in_force=in_force)

    def restore(self, current: Held) -> None:
        """See ``Target``."""
        self._open().restore(current)
