"""Who else would hear what is sent to an address."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def in_the_clear(address: str) -> bool:
    """Whether what is sent there goes over http to another machine, so that whoever is on the way can read it."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return True
    if parts.scheme != "http":
        return False
    return not _is_loopback(host)


def stays_here(address: str) -> bool:
    """Whether an address is of this machine: what is sent there must go through no proxy, which would hear it."""
    try:
        return _is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
