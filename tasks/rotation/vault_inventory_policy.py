"""The policy that the inventory and the audit of a Vault or OpenBao need, as HCL: names, ages and settings, no value.

https://openbao.org/docs/concepts/policies/. Paths that need sudo are those of
https://openbao.org/docs/concepts/policies/#root-protected-api-endpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from tasks.core.errors import UsageError
from tasks.rotation.vault_grants import LISTED

_SERVER = (
    ("auth/token/lookup-self", "Our own token.", ("read",)),
    ("auth/token/renew-self", "", ("update",)),
    ("auth/token/revoke-self", "", ("update",)),
    ("auth/token/accessors", "Which tokens there are: root tokens, endless ones.", ("list", "sudo")),
    ("auth/token/lookup-accessor", "", ("update",)),
    ("sys/mounts", "What is mounted.", ("read",)),
    ("sys/auth", "", ("read",)),
    ("sys/namespaces", "", ("list",)),
    ("sys/audit", "How the server is kept.", ("read", "sudo")),
    ("sys/config/state/sanitized", "", ("read",)),
    ("sys/key-status", "", ("read",)),
    ("sys/policies/acl", "Who may read what.", ("list",)),
    ("sys/policies/acl/*", "", ("read",)),
    ("identity/entity/id", "", ("list",)),
    ("identity/entity/id/+", "", ("read",)),
    ("identity/group/id", "", ("list",)),
    ("identity/group/id/+", "", ("read",)),
    ("identity/mfa/login-enforcement", "", ("list",)),
    ("identity/mfa/login-enforcement/+", "", ("read",)),
)
_ENGINES: Mapping[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    # The values of version 2 lie below data/, which is not named.
    "kv-v2": (("metadata/*", ("list", "read")),),
    # Of version 1 reading is reading the value: names alone.
    "kv-v1": (("*", ("list",)),),
    "database": (
        ("static-roles", ("list",)),
        ("static-roles/*", ("read",)),
        ("config", ("list",)),
        ("config/+", ("read",)),
    ),
    "pki": (("certs", ("list",)), ("cert/+", ("read",)), ("roles", ("list",)), ("roles/+", ("read",))),
    "transit": (("keys", ("list",)), ("keys/+", ("read",))),
}


def inventory_policy(mounts: Mapping[str, str], *, sign_ins: Mapping[str, str] | None = None) -> str:
    """The policy for some mounts by their kind (``kv-v1``, ``kv-v2``, ``database``, ``pki``, ``transit``; others need
    nothing) and ways to sign in by their type (``approle``, …). The same for the same in any order. Raises UsageError:
    a mount that no policy can name alone."""
    rules = [*_SERVER]
    for path, kind in sorted(mounts.items()):
        for number, (below, capabilities) in enumerate(_ENGINES.get(kind, ())):
            why = f"{path}: what it holds, not the values." if number == 0 else ""
            rules.append((f"{_alone(path)}/{below}", why, capabilities))
    for path, kind in sorted((sign_ins or {}).items()):
        for listed, read in LISTED.get(kind, ()):
            rules.append((f"auth/{_alone(path)}/{listed}", f"auth/{path}: who holds which policies.", ("list",)))
            rules.append((f"auth/{_alone(path)}/{read}/+", "", ("read",)))
    return "\n".join(_rule(*rule) for rule in rules)


def _alone(mount: str) -> str:
    path = mount.strip("/")
    if not path or "*" in path or "+" in path.split("/") or "{{" in path or "${" in path or not path.isprintable():
        raise UsageError(f"no policy of Vault can name the mount {path!a} alone", advice="Give the mount another path.")
    return path


def _rule(path: str, why: str, capabilities: tuple[str, ...]) -> str:
    lines = [f"# {why}"] if why else []
    quoted = json.dumps(path, ensure_ascii=False)
    return "\n".join([*lines, f"path {quoted} {{", f"  capabilities = {json.dumps(sorted(capabilities))}", "}", ""])
