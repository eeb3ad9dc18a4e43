"""The port of who issues certificates, and what is said of one."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from tasks.core.secret_refs import Secret

_HOST = re.compile(
    r"^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A fresh certificate. All PEM; ``ca_chain`` begins with who signed it, and may be without the root."""

    certificate: str
    private_key: Secret
    ca_chain: str


class Issuer(Protocol):
    """Issues the certificates of one secret. Thread-safe. Every method raises RotationError; none says a key.

    Serial numbers are as ``serial_text`` writes them; none is given twice.
    """

    def issue(self, common_name: str, alt_names: tuple[str, ...], ttl: timedelta) -> Issued:
        """A new certificate with a new key. ``alt_names`` are names of hosts, addresses and URIs. The common name is
        one of the alternative names as well, if it is a name of a host or an address."""
        ...

    def issued(self) -> frozenset[str]:
        """Serials that were issued for *this secret*, and are neither revoked nor expired.

        One that does not keep for whom it issued says none: what it listed beyond that would be revoked, though it is
        somebody else's. Nothing depends on it that is valid: the key of a certificate that was issued and never
        stored is nowhere, so nobody can use it; it ends with its time.
        """
        ...

    def revoke(self, serial: str) -> None:
        """Revoke a certificate. One that is revoked, expired or unknown is done."""
        ...

    def is_revoked(self, serial: str) -> bool | None:
        """Whether it was revoked; None: that is not known."""
        ...


def serial_text(serial: int) -> str:
    """A serial number as pairs of lower-case hexadecimal digits, which others part by colons."""
    return serial.to_bytes(max(1, (serial.bit_length() + 7) // 8), "big").hex()


def is_host(name: str) -> bool:
    """Whether clients look for such a name among the alternative ones: of a host, or an address."""
    return address(name) is not None or (len(name) <= 253 and _HOST.match(name) is not None)


def address(name: str) -> str | None:
    """An IP address in its one form; None for what is none."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None
