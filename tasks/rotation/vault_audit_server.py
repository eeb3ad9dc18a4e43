"""The audit of the server of a Vault or OpenBao: its configuration, its seal, its audit devices, its certificate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from tasks.core.secret_stores import StoreFlaw
from tasks.rotation.vault_asking import RefusedError
from tasks.rotation.vault_audit_sight import Sight, flaw, whole
from tasks.rotation.vault_peer import peer_certificate, weakness
from tasks.rotation.vault_wire import moment

_CONFIGURED = ("tls-off", "tls-version", "lease-long", "storage", "debug-endpoint", "mlock", "metrics-open")
_DEVICES = ("audit-none", "audit-single", "audit-raw", "audit-accessors", "audit-file-mode")
_OLD_TLS = ("tls10", "tls11")
_SHORT_LIVED = {"inmem": "memory alone", "inmem_ha": "memory alone", "inmem_transactional": "memory alone",
                "file": "files, without transactions or high availability"}  # fmt: skip
#: The maximum of a lease where nothing else is configured (32 days).
DEFAULT_LEASE = timedelta(days=32)


def look_at_server(of: Sight) -> Iterator[StoreFlaw]:
    """Everything that is wrong. Raises RotationError."""
    yield from _certificate(of)
    yield from _configuration(of)
    yield from _devices(of)
    yield from _seal(of)
    yield from _barrier(of)
    for mount in (*of.mounts, *of.known.mounts):
        yield from _clear_keys(mount.path, mount.config)
        if not mount.is_its_own and mount.kind != "pki":  # its certificates have a rule of their own
            yield from _long_leases(f"mount/{mount.path}", mount.config)
    if (refused := of.known.holders_refused.get("sys/auth")) is not None:
        of.blind(refused, "lease-long", "audit-clear-keys")


def _certificate(of: Sight) -> Iterator[StoreFlaw]:
    access, address = of.asking.session.access, of.asking.session.address()
    if address.lower().startswith("http://"):
        yield flaw("tls-off", "address", "our own requests, and the token with them, are sent without TLS")
        return
    try:
        host, certificate = peer_certificate(address, access)
    except RefusedError as refused:
        of.blind(refused, "tls-certificate")
        return
    if why := weakness(certificate):
        yield flaw("tls-certificate", f"certificate of {host}", why)
    elif certificate.not_valid_after_utc - of.now < of.left:
        yield flaw(
            "tls-certificate", f"certificate of {host}", f"it ends on {certificate.not_valid_after_utc:%Y-%m-%d}"
        )


def _configuration(of: Sight) -> Iterator[StoreFlaw]:
    try:
        told = of.asking.told("sys/config/state/sanitized")
    except RefusedError as refused:
        of.blind(refused, *_CONFIGURED)
        return
    listeners, storage = told.get("listeners"), told.get("storage")
    if not isinstance(listeners, list):
        of.blind(RefusedError("store_untold", "listeners are not told"), "tls-off", "tls-version", "metrics-open")
    for listener in listeners if isinstance(listeners, list) else ():
        yield from _listener(listener)
    kind = storage.get("type") if isinstance(storage, dict) else None
    if not isinstance(kind, str):
        of.blind(RefusedError("store_untold", "the storage is not told"), "storage")
    elif kind in _SHORT_LIVED:
        yield flaw("storage", "server", f"`{kind}`: {_SHORT_LIVED[kind]}")
    for name in ("raw_storage_endpoint", "introspection_endpoint"):
        if told.get(name) is True:
            yield flaw("debug-endpoint", f"server/{name}")
        elif name == "raw_storage_endpoint" and told.get(name) is None:
            of.blind(RefusedError("store_untold", f"{name} is not told"), "debug-endpoint")
    # With raft it is advised to switch it off; OpenBao has no such setting.
    if told.get("disable_mlock") is True and kind != "raft":
        yield flaw("mlock", "server")
    yield from _long_leases("server", told)


def _listener(told: Any) -> Iterator[StoreFlaw]:
    config = told.get("config") if isinstance(told, dict) else None
    if not isinstance(config, dict):
        return
    name = f"listener/{config.get('address')}"
    if config.get("tls_disable") in (True, "true", "1", 1):
        yield flaw("tls-off", name)
    if config.get("tls_min_version") in _OLD_TLS:
        yield flaw("tls-version", name, str(config["tls_min_version"]))
    telemetry = config.get("telemetry")
    for some in telemetry if isinstance(telemetry, list) else [telemetry]:
        if isinstance(some, dict) and some.get("unauthenticated_metrics_access") in (True, "true"):
            yield flaw("metrics-open", name)


def _devices(of: Sight) -> Iterator[StoreFlaw]:
    try:
        told = of.asking.told("sys/audit")
        # Where devices are told beside other fields of the answer, those are no objects with a type.
        devices = {path: d for path, d in told.items() if isinstance(d, dict) and isinstance(d.get("type"), str)}
        if told and not devices:
            raise RefusedError("backend_error", "sys/audit: what Vault answers is no list of devices")
    except RefusedError as refused:
        of.blind(refused, *_DEVICES)
        return
    if not devices:
        yield flaw("audit-none", "server")
    elif len(devices) == 1:
        yield flaw("audit-single", "server")
    for path, device in sorted(devices.items()):
        options, name = device.get("options"), f"audit/{path.strip('/')}"
        options = options if isinstance(options, dict) else {}
        if _is(options.get("log_raw"), "true"):
            yield flaw("audit-raw", name)
        if _is(options.get("hmac_accessor"), "false"):
            yield flaw("audit-accessors", name)
        mode = options.get("mode")
        if device["type"] == "file" and isinstance(mode, str) and re.fullmatch(r"(?:0o?)?[0-7]{2}[1-7]", mode):
            yield flaw("audit-file-mode", name, f"mode {mode}")


def _seal(of: Sight) -> Iterator[StoreFlaw]:
    try:
        told = of.asking.told("sys/seal-status")
    except RefusedError as refused:
        of.blind(refused, "seal-single")
        return
    needed, kind = whole(told.get("t")), told.get("type")
    if needed is None or not isinstance(kind, str):
        of.blind(RefusedError("store_untold", "how many key shares are needed is not told"), "seal-single")
    elif needed == 1:
        what = "recovery key" if told.get("recovery_seal") is True else "unseal key"
        yield flaw("seal-single", "server", f"one share of the {what} is enough; the seal is `{kind}`")


def _barrier(of: Sight) -> Iterator[StoreFlaw]:
    try:
        told = of.asking.told("sys/key-status")
        at = told.get("install_time")
        installed_at = moment(at) if isinstance(at, str) else None
        if installed_at is None:
            raise RefusedError("store_untold", "sys/key-status: since when the key is used is not told")
        if of.now - installed_at <= of.key_age:
            return
        seal = of.asking.told("sys/seal-status").get("type")
    except RefusedError as refused:
        of.blind(refused, "barrier-key-old")
        return
    detail = f"in use since {installed_at:%Y-%m-%d}, term {whole(told.get('term'))}, the seal is `{seal}`"
    yield flaw("barrier-key-old", "server", detail)


def _clear_keys(path: str, config: Mapping[str, Any]) -> Iterator[StoreFlaw]:
    for name in ("audit_non_hmac_request_keys", "audit_non_hmac_response_keys"):
        keys = config.get(name)
        if isinstance(keys, list) and keys:
            yield flaw("audit-clear-keys", f"mount/{path}/{name}", ", ".join(sorted(map(str, keys))[:20]))


def _long_leases(name: str, config: Mapping[str, Any]) -> Iterator[StoreFlaw]:
    longest = max(whole(config.get(n)) or 0 for n in ("default_lease_ttl", "max_lease_ttl"))
    if longest > DEFAULT_LEASE.total_seconds():
        yield flaw("lease-long", name, f"{longest // 86400} days")


def _is(told: Any, word: str) -> bool:
    return str(told).lower() in ((word, "1") if word == "true" else (word, "0"))
