"""HashiCorp Vault or OpenBao as a store of secrets: its inventory, and the audit of how it is kept.

Only this namespace is looked into; others below it are gaps. What is asked changes nothing, and no value is read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from urllib.parse import urlsplit

from tasks.core.rotations import RotationError
from tasks.core.secret_stores import StoredSecret, StoreFlaw, StoreGap, StoreRule
from tasks.core.text import one_line
from tasks.rotation.vault_asking import Asking, RefusedError, shown
from tasks.rotation.vault_audit_access import look_at_access
from tasks.rotation.vault_audit_engines import look_at_engines
from tasks.rotation.vault_audit_rules import RULES
from tasks.rotation.vault_audit_server import look_at_server
from tasks.rotation.vault_audit_sight import Sight
from tasks.rotation.vault_grants import grants
from tasks.rotation.vault_inventory import MOST_CERTIFICATES, MOST_SECRETS, Inventory
from tasks.rotation.vault_inventory_policy import inventory_policy
from tasks.rotation.vault_mounts import Mount, engines, sign_ins
from tasks.rotation.vault_readers import Readership
from tasks.rotation.vault_session import VaultSession

#: How old a key may get before the audit says so, and how long a certificate must still hold.
KEY_AGE, LEFT = timedelta(days=365), timedelta(days=14)
_MOST_NAMESPACES = 1000


class VaultStore:
    """``tasks.core.secret_stores.SecretStore`` of a signed-in session. ``mounts``: only these, None: all."""

    def __init__(
        self,
        session: VaultSession,
        *,
        mounts: tuple[str, ...] | None = None,
        key_age: timedelta = KEY_AGE,
        left: timedelta = LEFT,
        most_secrets: int = MOST_SECRETS,
        most_certificates: int = MOST_CERTIFICATES,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._session, self._mounts = session, mounts
        self._key_age, self._left = key_age, left
        self._most_secrets, self._most_certificates = most_secrets, most_certificates
        self._asking = Asking(session, pause=pause)

    @property
    def tool(self) -> str:
        """``vault``; OpenBao is asked likewise."""
        return "vault"

    @property
    def rules(self) -> tuple[StoreRule, ...]:
        """All rules of the audit."""
        return RULES

    def store_id(self) -> str:
        """``vault:<address>[/<namespace>]``; nothing of a user in an address. Raises RotationError."""
        parts = urlsplit(self._session.address())
        host = parts.netloc.rpartition("@")[2].lower()
        self._asking.sign_in()
        whole = [f"vault:{parts.scheme}://{host}{parts.path.rstrip('/')}", (self._session.namespace() or "").strip("/")]
        return one_line("/".join(part for part in whole if part), 500)

    def inventory(self) -> Iterator[StoredSecret | StoreGap]:
        """Everything that the mounts hold, as the port says."""
        self._asking.sign_in()
        now = self._session.now()
        readership = Readership(grants(self._asking), now)
        yield from readership.gaps()
        if self._mounts is None:
            yield from self._namespaces()
        inventory = Inventory(
            self._asking,
            readership,
            now,
            most_secrets=self._most_secrets,
            most_certificates=self._most_certificates,
        )
        for mount in engines(self._asking, self._mounts):
            if isinstance(mount, StoreGap):
                yield mount
            else:
                yield from inventory.of(mount)

    def audit(self) -> Iterator[StoreFlaw | StoreGap]:
        """What is wrong with the server, its policies, roles and tokens, and the mounts, as the port says."""
        self._asking.sign_in()
        now = self._session.now()
        known = grants(self._asking)
        mounts: list[Mount] = []
        of = Sight(self._asking, known, mounts, now, self._key_age, self._left)
        for mount in engines(self._asking, self._mounts):
            if isinstance(mount, Mount):
                mounts.append(mount)
            else:
                of.blind(RefusedError(mount.reason_code, mount.detail or mount.topic), *_OF_MOUNTS)
        for look in (look_at_server, look_at_access, look_at_engines):
            yield from look(of)
        yield from of.gaps()

    def policy(self) -> str:
        """The least policy, as HCL, for the inventory and the audit of what is mounted now; ``inventory_policy``.
        Raises RotationError, UsageError."""
        self._asking.sign_in()
        kinds: dict[str, str] = {}
        refused: RefusedError | None = None
        for mount in engines(self._asking, self._mounts):
            if isinstance(mount, Mount):
                kinds[mount.path] = mount.kind
            else:
                refused = RefusedError(mount.reason_code, f"{mount.topic}: {mount.detail}")
        try:
            ways = {m.path: m.plugin for m in sign_ins(self._asking)}
        except RefusedError as e:
            refused = e
        if refused is not None:
            advice = "Sign in as who may read sys/mounts and sys/auth, and name mounts that are there."
            raise RotationError(refused.reason_code, refused.detail, advice=advice)
        return inventory_policy(kinds, sign_ins=ways)

    def _namespaces(self) -> Iterator[StoreGap]:
        """Those below ours. A Vault without namespaces has no such path."""
        try:
            names, _ = self._asking.keys("sys/namespaces", most=_MOST_NAMESPACES)
        except RefusedError as refused:
            if refused.reason_code != "store_untold":
                yield StoreGap(topic="inventory/namespaces", reason_code=refused.reason_code, detail=refused.detail)
            return
        for name in names:
            yield StoreGap(
                topic=f"inventory/namespaces/{shown((name,))}",
                reason_code="store_untold",
                detail="a namespace of its own; name it in the configuration to have it looked into",
            )


#: What is looked at mount by mount.
_OF_MOUNTS = (
    "lease-long", "audit-clear-keys", "policy-mount-wide", "policy-reads-all", "kv-v1", "pki-any-name", "pki-long",
    "pki-unstored", "database-unencrypted", "database-url-password", "database-any-role", "transit-key-old",
    "transit-exportable", "transit-deletable",
)  # fmt: skip
