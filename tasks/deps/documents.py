"""A manifest as a JSON document and back: what the program in the sandbox hands out, and what is kept.

``from_document`` trusts nothing: who wrote the document has read what anybody may have written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tasks.deps.manifest import Dependency, Manifest, Source, Unread, Why

#: In place of a text that may hold an address, and with it a login.
HIDDEN = "…"
_ADDRESS = re.compile(r"://|:[^/]*@|//[^/]*@")
#: The same of a key of a package: Maven's ``group:artifact@version`` is no login.
_ADDRESS_IN_KEY = re.compile(r"://|//[^/]*@")
_LONGEST = 500
_LARGEST = 2**31 - 1
_PLAIN = ("requirement", "version", "revision")
_MARKS = ("direct", "development")


def to_document(manifest: Manifest) -> dict[str, Any]:
    """What is not said of a dependency is left out."""
    return {
        "format": manifest.format,
        "dependencies": [_dependency(d) for d in manifest.dependencies],
        "open": [_dependency(d) for d in manifest.open],
        "unread": [[str(u.why), u.detail, u.line] for u in manifest.unread],
        "refers": [list(r) for r in manifest.refers],
        "offers": dict(manifest.offers),
    }


def from_document(document: Mapping[str, Any]) -> Manifest:
    """The manifest. Raises KeyError, TypeError or ValueError: it is none."""
    return Manifest(
        format=_text(document["format"]),
        dependencies=tuple(_read(d) for d in _list(document["dependencies"])),
        open=tuple(_read(d) for d in _list(document["open"])),
        unread=tuple(Unread(why=Why(w), detail=_text(d), line=_line(n)) for w, d, n in _list(document["unread"])),
        refers=tuple((_text(kind), _text(name)) for kind, name in _list(document["refers"])),
        offers={_text(k): _text(v) for k, v in dict(document["offers"]).items()},
    )


def _dependency(d: Dependency) -> dict[str, Any]:
    told: dict[str, Any] = {"ecosystem": d.ecosystem, "name": d.name}
    told |= {n: v for n in (*_PLAIN, *_MARKS, "line") if (v := getattr(d, n)) is not None}
    if d.source is not Source.REGISTRY:
        told["source"] = str(d.source)
    if d.parents:
        told["parents"] = list(d.parents)
    return told


def _read(told: Any) -> Dependency:
    given = dict(told)
    return Dependency(
        ecosystem=_text(given["ecosystem"]),
        name=_text(given["name"]),
        version=_text_or_none(given.get("version")),
        requirement=_text_or_none(given.get("requirement")),
        direct=_mark(given.get("direct")),
        development=_mark(given.get("development")),
        revision=_text_or_none(given.get("revision")),
        line=_line(given.get("line")),
        source=Source(given.get("source", "registry")),
        parents=tuple(_text(p, _ADDRESS_IN_KEY) for p in _list(given.get("parents", []))),
    )


def _text(value: object, hidden: re.Pattern[str] = _ADDRESS) -> str:
    if not isinstance(value, str):
        raise TypeError("no string")
    clean = value.encode("utf-8", "backslashreplace").decode()[:_LONGEST]
    return HIDDEN if hidden.search(clean) else clean


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _mark(value: object) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise TypeError("no mark")
    return value


def _line(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= _LARGEST:
        raise ValueError("no line")
    return value
