"""What a credential is bound to: scheme, host and port of a web address."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

#: The schemes over which credentials are shown.
DEFAULT_PORTS = {"http": 80, "https": 443}
_SSH = re.compile(r"(?:ssh://)?git@([^:/]+)(?::\d+/|[:/])(.+)")
_SLUG = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)+")


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


def slug_at(web: str, address: str) -> str | None:
    """The whole name of the repository at an address (http, or ssh as git writes it) of the forge at ``web``.

    None of an address elsewhere.
    """
    root = urlsplit(web).path.strip("/")
    if (ssh := _SSH.fullmatch(address)) is not None:
        here = ssh[1].lower() == urlsplit(web).hostname
        path = ssh[2].strip("/")
    else:
        here = bool(origin_of(web)) and origin_of(address) == origin_of(web)
        path = address.partition("://")[2].partition("/")[2].strip("/")
        if root:
            here, path = here and path.startswith(f"{root}/"), path.removeprefix(f"{root}/")
    slug = path.removesuffix(".git")
    return slug if here and _SLUG.fullmatch(slug) else None
