"""The audit of the engines of a Vault or OpenBao: key-value mounts, PKI roles, connections to data bases, transit keys.

A connection to a data base is read, as nothing else tells how it is encrypted; where somebody wrote a password into its
URL, that comes with it. Nothing of a URL is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.secret_stores import StoreFlaw
from tasks.rotation.vault_asking import RefusedError, is_name, shown
from tasks.rotation.vault_audit_server import DEFAULT_LEASE
from tasks.rotation.vault_audit_sight import Sight, flaw, whole
from tasks.rotation.vault_mounts import Mount
from tasks.rotation.vault_wire import moment

#: How many roles, connections or keys are read of one mount.
MOST_NAMES = 5_000
_PKI = ("pki-any-name", "pki-long", "pki-unstored")
_DATABASE = ("database-unencrypted", "database-url-password", "database-any-role")
_TRANSIT = ("transit-key-old", "transit-exportable", "transit-deletable")
#: The longest that browsers take (https://cabforum.org/working-groups/server/baseline-requirements/).
_LONGEST = timedelta(days=398)
_A_DAY = timedelta(days=1)
_NOT_VERIFIED = re.compile(
    r"(?:^|[?&;\s])(sslmode=(?:disable|allow|prefer)|tls=(?:false|skip-verify|preferred)|ssl=false|encrypt=(?:disable|false)"
    r"|trustservercertificate=true|tlsinsecure=true|tlsallowinvalidcertificates=true|tlsallowinvalidhostnames=true"
    r"|sslinsecure=true|ssl-verify=(?:false|none))(?:$|[&;\s])"
)
_PASSWORD = re.compile(
    r"://[^/?#@\s:]*:(?P<url>[^/?#@\s]+)@"
    r"|^[^/?#@\s:]+:(?P<dsn>(?!//)[^@\s]+)@"
    r"|(?:^|[?&;\s])(?:password|pwd|passwd)\s*=\s*(?P<named>[^&;\s]+)",
    re.IGNORECASE,
)


def look_at_engines(of: Sight) -> Iterator[StoreFlaw]:
    """Everything that is wrong. Raises RotationError."""
    for mount in of.mounts_of("kv-v1"):
        yield flaw("kv-v1", f"mount/{mount.path}")
    for mount in of.mounts_of("pki"):
        for name, told in _each(of, mount, "roles", _PKI):
            yield from _pki_role(mount, name, told)
    for mount in of.mounts_of("database"):
        for name, told in _each(of, mount, "config", _DATABASE):
            yield from _connection(of, mount, name, told)
    for mount in of.mounts_of("transit"):
        for name, told in _each(of, mount, "keys", _TRANSIT):
            yield from _key(of, mount, name, told)


def _each(of: Sight, mount: Mount, kind: str, rules: tuple[str, ...]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        names, is_cut = of.asking.keys(mount.path, kind, most=MOST_NAMES)
    except RefusedError as refused:
        of.blind(refused, *rules)
        return
    if is_cut:
        of.blind(
            RefusedError("store_limit", f"{shown((mount.path, kind))}: more than {MOST_NAMES} are not read"), *rules
        )
    for name in names:
        try:
            if not is_name(name):
                raise RefusedError("backend_error", f"{shown((mount.path, kind))}: a name that no path of Vault has")
            told = of.asking.read(mount.path, kind, name)
        except RefusedError as refused:
            of.blind(refused, *rules)
            continue
        if told is not None:
            yield name, told


def _pki_role(mount: Mount, name: str, told: Mapping[str, Any]) -> Iterator[StoreFlaw]:
    resource = f"{mount.path}/roles/{name}"
    if told.get("allow_any_name") is True:
        yield flaw("pki-any-name", resource)
    longest = whole(told.get("max_ttl")) or whole(mount.config.get("max_lease_ttl")) or DEFAULT_LEASE.total_seconds()
    if longest > _LONGEST.total_seconds():
        yield flaw("pki-long", resource, f"{int(longest) // 86400} days")
    if told.get("no_store") is True and longest > _A_DAY.total_seconds():
        yield flaw("pki-unstored", resource)


def _connection(of: Sight, mount: Mount, name: str, told: Mapping[str, Any]) -> Iterator[StoreFlaw]:
    resource, details = f"{mount.path}/config/{name}", told.get("connection_details")
    if not isinstance(details, dict):
        of.blind(RefusedError("store_untold", f"{shown((resource,))}: how it connects is not told"), *_DATABASE[:2])
        details = {}
    url = details.get("connection_url")
    if (how := _unverified(url, details)) is not None:
        yield flaw("database-unencrypted", resource, how)
    if isinstance(url, str) and holds_password(url):
        yield flaw("database-url-password", resource)
    roles = told.get("allowed_roles")
    if isinstance(roles, list) and "*" in roles:
        yield flaw("database-any-role", resource)


def _unverified(url: Any, details: Mapping[str, Any]) -> str | None:
    """The setting by which a connection is not encrypted or not verified; one of ours, and nothing of the URL's."""
    if isinstance(url, str) and (found := _NOT_VERIFIED.search(url.lower())) is not None:
        return found[1]
    for name in ("insecure_tls", "insecure", "tls_skip_verify"):
        if details.get(name) in (True, "true"):
            return f"{name}=true"
    return "tls=false" if details.get("tls") in (False, "false") else None


def holds_password(url: str) -> bool:
    """Whether a URL or DSN holds a password, and not where one is filled in."""
    return any("{{" not in str(found[found.lastgroup or 0]) for found in _PASSWORD.finditer(url))


def _key(of: Sight, mount: Mount, name: str, told: Mapping[str, Any]) -> Iterator[StoreFlaw]:
    resource = f"{mount.path}/keys/{name}"
    if told.get("exportable") is True or told.get("allow_plaintext_backup") is True:
        yield flaw("transit-exportable", resource)
    if told.get("deletion_allowed") is True:
        yield flaw("transit-deletable", resource)
    if whole(told.get("auto_rotate_period")):
        return
    versions = told.get("keys")
    made_at = _made_at(versions.get(str(told.get("latest_version"))) if isinstance(versions, dict) else None)
    if made_at is None:
        of.blind(
            RefusedError("store_untold", f"{shown((resource,))}: since when it is used is not told"), "transit-key-old"
        )
    elif of.now - made_at > of.key_age:
        yield flaw("transit-key-old", resource, f"in use since {made_at:%Y-%m-%d}, rotated by nobody")


def _made_at(version: Any) -> datetime | None:
    """When a version of a key was made: a number, or, of keys with a public part, a text."""
    told = version.get("creation_time") if isinstance(version, dict) else version
    try:
        if (seconds := whole(told)) is not None:
            return datetime.fromtimestamp(seconds, UTC)
        return moment(told) if isinstance(told, str) else None
    except (OverflowError, ValueError, OSError):
        return None
