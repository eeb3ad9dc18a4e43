"""Who else would hear a secret that is sent to an address."""

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
    if host == "localhost" or host.endswith(".localhost"):
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True
