"""Go: a module proxy.

Source: https://go.dev/ref/mod#goproxy-protocol (``@v/list``, ``@latest``, ``.info``, ``.mod``; an upper-case letter
becomes ``!`` and the lower-case one) and https://go.dev/ref/mod#go-mod-file-retract: what the go.mod of the highest
version retracts counts as withdrawn, and its ``// Deprecated:`` is a word against the module. The list tells no times;
each version's ``.info`` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime

from tasks.deps import ordering
from tasks.deps.advisories.export import dated
from tasks.deps.registries.port import Gathering, Get, Listed, Registry, Unlisted, UnlistedError, the_object

_ELEMENT = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
#: The first element is a host: what has no dot there is the standard library's.
_NAME = re.compile(rf"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?:/{_ELEMENT})*")
_VERSION = re.compile(r"v[0-9]++\.[0-9]++\.[0-9]++[0-9A-Za-z.+-]*+")
_RETRACTED = re.compile(r"(?:retract\s+)?(?:\[\s*(v[^\s,\]]+)\s*,\s*(v[^\s,\]]+)\s*\]|(v[^\s,\]]+))")
_MODULE = re.compile(r"module\b")
_DEPRECATED = re.compile(r"//\s*Deprecated:\s*(.*)")
_SMALL = 1 << 20
_LONGEST = 500


def _escaped(text: str) -> str:
    return re.sub("[A-Z]", lambda m: "!" + m[0].lower(), text)


def _read(package: str, get: Get) -> Listed:
    place = _escaped(package)
    lines = get(f"{place}/@v/list").decode("utf-8", "replace").split()
    found = Gathering()
    if not lines:
        # No version has a tag: the proxy names the newest commit as one.
        newest = the_object(get(f"{place}/@latest", max_bytes=_SMALL))
        found.add(newest.get("Version"), at=newest.get("Time"))
        return found.listed()
    versions = [v for v in lines if _VERSION.fullmatch(v)]
    found.unread += len(lines) - len(versions)
    keyed = [(k, v) for v in versions if (k := ordering.key("Go", v)) is not None]
    if not keyed:
        raise UnlistedError(Unlisted.INVALID, "the list holds no version of a module")
    releases = [(k, v) for k, v in keyed if not ordering.is_prerelease("Go", v)]
    text = ""
    try:
        text = get(f"{place}/@v/{_escaped(max(releases or keyed)[1])}.mod", max_bytes=_SMALL).decode("utf-8", "replace")
    except UnlistedError as e:
        if e.reason is Unlisted.UNREACHABLE:
            raise
        found.unread += 1  # what is retracted is then not known
    gone = list(_retracted(text))
    for key, version in keyed:
        found.add(version, is_withdrawn=any(low <= key <= high for low, high in gone))
    return found.listed(_deprecated(text))


def _retracted(text: str) -> Iterator[tuple[bytes, bytes]]:
    """The lowest and the highest key of what is retracted."""
    inside = False
    for line in text.splitlines():
        bare = line.partition("//")[0].strip()
        if inside and bare == ")":
            inside = False
        elif re.fullmatch(r"retract\s*\(", bare):
            inside = True
        elif (inside or bare.startswith("retract")) and len(bare) < _LONGEST and (m := _RETRACTED.fullmatch(bare)):
            low, high = ordering.key("Go", m[1] or m[3]), ordering.key("Go", m[2] or m[3])
            if low is not None and high is not None:
                yield low, high


def _deprecated(text: str) -> str | None:
    """The comment at or above the line ``module``."""
    word = None
    for line in text.splitlines():
        if (m := _DEPRECATED.search(line)) is not None:
            word = m[1].strip() or "deprecated"
        if _MODULE.match(line.strip()):
            return word
        if not line.strip():
            word = None  # a comment that stands alone
    return None


def _times(package: str, versions: Sequence[str], get: Get) -> dict[str, datetime]:
    found = {}
    for version in versions:
        spelled = version if version.startswith("v") else f"v{version}"
        if _VERSION.fullmatch(spelled):
            told = the_object(get(f"{_escaped(package)}/@v/{_escaped(spelled)}.info", max_bytes=_SMALL))
            if (at := dated(told.get("Time"))) is not None:
                found[version] = at
    return found


GO = Registry(
    ecosystem="Go", revision=1, accepts=lambda name: _NAME.fullmatch(name) is not None, read=_read, times=_times
)
