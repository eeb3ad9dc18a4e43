"""What an address tells before anybody is asked: what stands in it beside the place, and who else would hear a secret."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit


def surplus(address: str) -> str:
    """What an address holds beside host and path, in words that do not quote it; empty if nothing.

    A user, a query and a fragment are where tokens are put, and an address is printed, stored and listed by processes.
    In ``file://`` a ``?`` and a ``#`` are letters of the path.
    """
    scheme, colon, rest = address.partition("://")
    if not colon:
        return ""
    host = rest.replace("\\", "/").partition("/")[0]
    if "@" in host.partition("?")[0].partition("#")[0]:
        return "a user or a password"
    if scheme.lower() == "file":
        return ""
    # The first of both decides: a `#` ends a query, and a `?` behind it is its own.
    first = min((rest.find(c), c) for c in "?#" if c in rest)[1] if set(rest) & set("?#") else ""
    return {"?": "a query", "#": "a fragment"}.get(first, "")


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
