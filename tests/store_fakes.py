"""A store of secrets in memory, for tests of the inventory: it holds what it is given, refuses and stops as told."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.rotations import RotationError
from tasks.core.secret_stores import StoredKind, StoredSecret, StoreFlaw, StoreGap, StoreRule
from tasks.patrol.secret_reading import ConfiguredStore

VAULT, AWS = "vault:https://vault.test", "aws:123456789012/eu-central-1"
RULES = (
    StoreRule(
        rule_id="vault-no-audit", title="Nobody writes down who reads secrets.", severity="high",
        remedy="Switch an audit device on.", source="https://vault.test/audit",
    ),
    StoreRule(
        rule_id="vault-wide-policy", title="A policy allows more than it needs.", severity="medium",
        remedy="Narrow it.", source="ours",
    ),
)  # fmt: skip


def ago(days: float) -> datetime:
    """A time so many days before now."""
    return datetime.now(UTC) - timedelta(days=days)


def stored(name: str, **more: Any) -> StoredSecret:
    """A key-value secret of ten days that was changed and used since."""
    values: dict[str, Any] = {
        "kind": StoredKind.KV, "place": name if ":" in name else f"vault:secret/{name}", "created_at": ago(10),
        "rotated_at": ago(5), "rotation_is_told": True, "last_used_at": ago(1), "use_is_told": True, "version": "2",
        "owner": "team-shop", "readers": ("shop", "admin"),
    }  # fmt: skip
    return StoredSecret(**{**values, **more})


def old(name: str, **more: Any) -> StoredSecret:
    """One whose value is older than it may be."""
    return stored(name, **{"created_at": ago(900), "rotated_at": ago(300), **more})


@dataclass
class FakeStore:
    """One store. ``fails``: by the call's name (open, store_id, inventory, audit) the reason it fails with;
    ``after`` so many items."""

    secrets: Iterable[StoredSecret | StoreGap] = ()
    flaws: Iterable[StoreFlaw | StoreGap] = ()
    called: str = VAULT
    tool: str = "vault"
    rules: tuple[StoreRule, ...] = RULES
    fails: dict[str, str | Exception] = field(default_factory=dict)
    after: int = 0

    def _fail(self, call: str) -> None:
        why = self.fails.get(call)
        if why is not None:
            raise RotationError(why, f"{call} failed") if isinstance(why, str) else why

    def store_id(self) -> str:
        self._fail("store_id")
        return self.called

    def inventory(self) -> Iterator[StoredSecret | StoreGap]:
        yield from self._told("inventory", self.secrets)

    def audit(self) -> Iterator[StoreFlaw | StoreGap]:
        yield from self._told("audit", self.flaws)

    def _told(self, call: str, items: Iterable[Any]) -> Iterator[Any]:
        for n, item in enumerate(items):
            if n == self.after:
                self._fail(call)
            yield item
        self._fail(call)

    def configured(self, label: str = "") -> ConfiguredStore:
        """As the settings name it."""

        def opened() -> FakeStore:
            self._fail("open")
            return self

        return ConfiguredStore(label=label or self.called, tool=self.tool, open=opened)
