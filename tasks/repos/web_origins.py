"""What a credential is bound to: scheme, host and port of a web address."""

from __future__ import annotations

from urllib.parse import urlsplit

#: The schemes over which credentials are shown.
DEFAULT_PORTS = {"http": 80, "https": 443}


def origin_of(url: str) -> str:
    """Scheme, host and port (default ports left out) of an http(s) address, in lower case; "" of anything else."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    scheme, host = parts.scheme.lower(), parts.hostname
    if scheme not in DEFAULT_PORTS or not host:
        return ""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + (f":{port}" if port not in (None, DEFAULT_PORTS[scheme]) else "")


def host_of(url: str) -> str:
    """Host, and the port where it is not the default one, of an http(s) address."""
    return origin_of(url).partition("://")[2]


def place_of(url: str) -> str:
    """Host, port and path of an http(s) address: what begins repositories' ids. Several forges may share a host."""
    return "/".join((host_of(url), *(part for part in urlsplit(url).path.split("/") if part)))
