"""Where a SARIF result points (SARIF 2.1.0, §3.4 artifactLocation, §3.14.14 originalUriBaseIds, §3.30 region)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

#: Names by which tools call the folder of the repository.
_ROOTS = ("%srcroot%", "srcroot", "projectroot", "repository_root", "root_path")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:")
_DRIVE = re.compile(r"^/?[A-Za-z]:[/\\]")
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """``path`` is relative to the repository (an absolute one that lies under no known folder stays absolute);
    ``outside`` is told instead when it leads out of the repository or is no file."""

    path: str | None = None
    outside: str | None = None


@dataclass(slots=True)
class Bases:
    """The folders that a run's relative addresses are meant from."""

    given: Mapping[str, Any] = field(default_factory=dict)
    mapped: list[Any] = field(default_factory=list)

    def place(self, location: Mapping[str, Any]) -> Place:
        """The place of an artifactLocation whose index is resolved. Raises TypeError: another form."""
        uri = location.get("uri")
        base = location.get("uriBaseId")
        if uri is None:
            return Place()
        if not isinstance(uri, str) or not isinstance(base, str | None):
            raise TypeError("uri")
        whole, prefix = uri, ""
        if not _absolute(uri):
            prefix = self._prefix(base)
            whole = f"{prefix}{uri}"
        return self._judged(whole)

    def _prefix(self, name: str | None) -> str:
        """What the relative bases put before an address; the absolute one they end in is the repository or a folder
        of it."""
        parts: list[str] = []
        seen: set[str] = set()
        while name is not None and name not in seen:
            seen.add(name)
            entry = self.given.get(name)
            if not isinstance(entry, dict):
                break
            uri = entry.get("uri")
            if isinstance(uri, str) and uri:
                folder = uri if uri.endswith("/") else f"{uri}/"
                parts.append(folder)
                if _absolute(uri):
                    break
            name = entry.get("uriBaseId") if isinstance(entry.get("uriBaseId"), str) else None
        return "".join(reversed(parts))

    def _roots(self) -> list[str]:
        """Absolute folders, the likeliest to be the repository first: mapped ones, known names, then the shortest."""
        named = []
        for entry in self.mapped:
            if isinstance(entry, dict):
                uri, base = entry.get("uri"), entry.get("uriBaseId")
                own = uri if isinstance(uri, str) and uri else ""
                named.append(own if _absolute(own) else self._prefix(base if isinstance(base, str) else None) + own)
        known = [self._prefix(n) for n in self.given if n.lower() in _ROOTS]
        others = sorted((self._prefix(n) for n in self.given), key=len)
        folders = [_folder(u) for u in (*named, *known, *others) if u and _absolute(u)]
        return list(dict.fromkeys(f for f in folders if f and f != "/"))

    def _judged(self, uri: str) -> Place:
        uri = uri.split("#", 1)[0]
        if _SCHEME.match(uri) and not uri.lower().startswith("file:") and not _DRIVE.match(uri):
            return Place(outside=_bare(uri))
        path = _path_of(uri)
        for root in self._roots():
            if path.startswith(root):
                path = path[len(root) :]
                break
        clean = posixpath.normpath(path) if path else ""
        if clean.startswith("//"):
            clean = clean[1:]
        if clean in ("", "."):
            return Place(path="." if path else None)
        if clean == ".." or clean.startswith("../"):
            return Place(outside=clean)
        return Place(path=clean)


def _absolute(uri: str) -> bool:
    return bool(_SCHEME.match(uri)) or uri.startswith("/") or bool(_DRIVE.match(uri))


def _path_of(uri: str) -> str:
    """The path of a file: address or a relative one, decoded; back slashes of a drive path become slashes."""
    if uri.lower().startswith("file:"):
        uri = uri[5:]
        if uri.startswith("//"):
            host, _, rest = uri[2:].partition("/")
            uri = f"/{rest}" if host.lower() in ("", "localhost") else f"//{host}/{rest}"
    path = unquote(uri, errors="backslashreplace")
    return path.replace("\\", "/") if "/" not in path or _DRIVE.match(path) else path


def _folder(uri: str) -> str:
    path = posixpath.normpath(_path_of(uri))
    return path if path.endswith("/") else f"{path}/"


def _bare(uri: str) -> str:
    """An address without login, query and fragment: these can hold secrets."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return uri.split(":", 1)[0] + ":"
    return f"{parts.scheme}:{'//' if parts.netloc else ''}{parts.netloc.rsplit('@', 1)[-1]}{parts.path}"[:500]


def lines(region: Any) -> tuple[int | None, int | None]:
    """First and last line of a region; (None, None) when it has offsets only. Raises TypeError, ValueError."""
    if region is None:
        return None, None
    if not isinstance(region, dict):
        raise TypeError("region")
    start = _number(region.get("startLine"))
    if start is None or start < 1:
        return None, None
    end = _number(region.get("endLine"))
    return start, end if end is not None and end >= start else start


def _number(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("number")
    if value != int(value) or not -1 <= value <= _LARGEST:
        raise ValueError("number")
    return int(value)
