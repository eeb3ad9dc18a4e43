"""The policy that a rotation needs in Vault or OpenBao, for exactly the secrets that are configured, as HCL.

https://openbao.org/docs/concepts/policies/. What signing in and asking for the time need no policy allows or denies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from tasks.core.errors import UsageError
from tasks.rotation.vault_kv import KvPlace
from tasks.rotation.vault_static_roles import RolePlace


def policy(
    secrets: Iterable[KvPlace] = (),
    *,
    static_roles: Iterable[RolePlace] = (),
    pki_roles: Iterable[RolePlace] = (),
    reads: Iterable[str] = (),
) -> str:
    """The policy; ``reads`` are paths that are only read, as of accounts that targets are administered by. The
    same for the same places in any order. Raises UsageError: a place that no policy can name alone, as
    ``*``, ``+`` and ``{{`` in it mean others too."""
    rules: dict[str, tuple[str, set[str]]] = {}

    def allow(path: str, why: str, *capabilities: str) -> None:
        if "*" in path or "+" in path.split("/") or "{{" in path or "${" in path or not path.isprintable():
            raise UsageError(f"no policy of Vault can name {path} alone", advice="Give the secret another path.")
        rules.setdefault(path, (why, set()))[1].update(capabilities)

    allow("auth/token/lookup-self", "Our own token: how long it lasts, to renew it, to give it back.", "read")
    allow("auth/token/renew-self", "", "update")
    allow("auth/token/revoke-self", "", "update")
    for s in secrets:
        allow(f"{s.mount}/data/{s.path}", f"{s}: the value in force.", "read", "update")
        allow(f"{s.mount}/data/{s.pending_path}", f"{s}: its next value.", "create", "read", "update")
        allow(f"{s.mount}/metadata/{s.pending_path}", "How many versions of it are kept.", "create", "update")
    for path in reads:
        allow(path, "Read for the targets.", "read")
    for r in static_roles:
        allow(
            f"{r.mount}/static-roles/{r.role}",
            f"vault:{r.mount}/static-roles/{r.role}: when Vault rotated it; not its password.",
            "read",
        )
        allow(f"{r.mount}/rotate-role/{r.role}", "To rotate it now.", "update")
    for r in pki_roles:
        allow(f"{r.mount}/issue/{r.role}", f"{r}: certificates.", "update")
        # By serial number, which comes into being with a certificate: no policy can name ours alone.
        allow(f"{r.mount}/revoke", "", "update")
    return "\n".join(_rule(path, *rules[path]) for path in _in_order(rules))


def _in_order(rules: Iterable[str]) -> list[str]:
    own = [p for p in rules if p.startswith("auth/token/")]
    return own + sorted(p for p in rules if p not in own)


def _rule(path: str, why: str, capabilities: set[str]) -> str:
    lines = [f"# {why}"] if why else []
    quoted = json.dumps(path, ensure_ascii=False)
    return "\n".join([*lines, f"path {quoted} {{", f"  capabilities = {json.dumps(sorted(capabilities))}", "}", ""])
