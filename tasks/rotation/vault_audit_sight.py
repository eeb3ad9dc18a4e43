"""What the parts of the audit of a Vault or OpenBao look at, and how they tell what they could not see."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tasks.core.secret_stores import StoreFlaw, StoreGap
from tasks.core.text import one_line
from tasks.rotation.vault_asking import Asking, RefusedError
from tasks.rotation.vault_grants import Grants
from tasks.rotation.vault_mounts import Mount

_MOST_NAMED = 3


@dataclass(slots=True)
class Sight:
    """One look at a store. ``key_age`` is how old a key may get, ``left`` how long a certificate must still hold."""

    asking: Asking
    known: Grants
    mounts: list[Mount]
    now: datetime
    key_age: timedelta
    left: timedelta
    _blind: dict[str, list[RefusedError]] = field(default_factory=lambda: defaultdict(list))

    def blind(self, refused: RefusedError, *rules: str) -> None:
        """Rules (without ``vault-``) could not be looked at, or not everywhere."""
        for rule in rules:
            self._blind[rule].append(refused)

    def gaps(self) -> Iterator[StoreGap]:
        """One for each rule that could not be looked at everywhere."""
        for rule, some in self._blind.items():
            details = dict.fromkeys(r.detail for r in some)
            more = f"; {len(details) - _MOST_NAMED} more" if len(details) > _MOST_NAMED else ""
            yield StoreGap(
                topic=f"audit/vault-{rule}",
                reason_code=some[0].reason_code,
                detail=one_line("; ".join([*details][:_MOST_NAMED]) + more, 400),
            )

    def mounts_of(self, *kinds: str) -> Iterable[Mount]:
        """The engines of some kinds."""
        return [m for m in self.mounts if m.kind in kinds]


def flaw(rule: str, resource: str, detail: str = "") -> StoreFlaw:
    """One thing that is wrong; ``rule`` is written without ``vault-``."""
    return StoreFlaw(rule_id=f"vault-{rule}", resource=one_line(resource, 300), detail=one_line(detail, 400))


def whole(told: object) -> int | None:
    """A number of seconds or the like; None: it is none."""
    return told if isinstance(told, int) and not isinstance(told, bool) else None
