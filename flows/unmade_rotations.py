"""What stands for a secret that could not be made ready to be rotated: it says why, and the others go on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NoReturn

from flows.org_rotation import RotatedSettings
from tasks.core.errors import NightwardenError
from tasks.core.rotations import RotationError


@dataclass(frozen=True, slots=True)
class Unmade:
    """A backend and a target whose every call says why there is none."""

    place: str
    why: str
    advice: str
    is_issued: bool = False
    in_place: bool = False
    issued_fields: frozenset[str] | None = None

    def _raise(self, *_args: Any, **_more: Any) -> NoReturn:
        raise RotationError("rotation_unmade", self.why, advice=self.advice)

    current = staged = at = stage = promote = refuse = forget = now = _raise
    identity = exclusive = propose = issued = revoke = issue = apply = probe = _raise
    is_refused = used_since = retire = restore = _raise


def unmade(name: str, told: RotatedSettings, error: Exception) -> tuple[Unmade, Unmade]:
    """Both parts of a secret, of the error that there was."""
    if isinstance(error, NightwardenError):
        why, advice = error.message, error.advice
    else:  # whose words may hold what must not be told
        why, advice = f"{name}: {type(error).__name__}", "Report it with the configuration, without its secrets."
    made = Unmade(told.place, f"{name}: {why}" if not why.startswith(name) else why, advice)
    return made, made
