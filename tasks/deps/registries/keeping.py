"""What registries answered, kept in a folder: one small file a package, written whole, named by a digest.

A file names the ecosystem, the package, the address and the adapter's revision it is of. One that is of others, of a
later form or damaged is as good as none: the registry is asked again.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from tasks.deps.advisories.fetching import Validator
from tasks.deps.registries.port import MAX_VERSIONS, Listed, Registry, Unlisted
from tasks.deps.upgrades import Published

_FORMAT = 1
_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer: versions, or why there are none. ``validator`` is of the first body that the adapter asked for."""

    asked_at: datetime
    listed: Listed | None
    reason: Unlisted | None = None
    detail: str = ""
    validator: Validator | None = None


class Keeping:
    """The folder. Written by several threads and processes at once: the last answer stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, registry: Registry, address: str, package: str) -> Kept | None:
        """What is kept of a package; None where nothing is that can be read."""
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            path = self._path(registry, address, package)
            if path.stat().st_size > _MAX_BYTES:
                return None
            told = orjson.loads(path.read_bytes())
            if told["of"] == _of(registry, address, package):
                return _kept(told)
        return None

    def write(self, registry: Registry, address: str, package: str, kept: Kept) -> None:
        """Keep an answer. Raises OSError."""
        path = self._path(registry, address, package)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            fresh.write_bytes(orjson.dumps({"of": _of(registry, address, package), **_told(kept)}))
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    def tidy(self, older_than_s: float) -> int:
        """Take away what nobody asked for so long, and what a killed process left half. How many files went."""
        limit, gone = time.time() - older_than_s, 0
        for path in self._folder.glob("*/??/*"):
            with suppress(OSError):
                if path.lstat().st_mtime < limit:
                    path.unlink()
                    gone += 1
        return gone

    def _path(self, registry: Registry, address: str, package: str) -> Path:
        # A name may hold anything, and may be longer than a file's may be: its digest is a name.
        name = hashlib.sha256(orjson.dumps([address, package])).hexdigest()
        return self._folder / registry.ecosystem / name[:2] / f"{name[2:40]}.json"


def _of(registry: Registry, address: str, package: str) -> list[Any]:
    return [_FORMAT, registry.ecosystem, registry.revision, address, package]


def _told(kept: Kept) -> dict[str, Any]:
    listed, known = kept.listed, kept.validator
    versions = listed.versions if listed is not None else ()
    rows = [[v.version, v.at.isoformat() if v.at else None, v.is_withdrawn, v.word] for v in versions]
    return {
        "asked_at": kept.asked_at.isoformat(),
        "reason": kept.reason,
        "detail": kept.detail,
        "validator": [known.sha256, known.size_bytes, known.etag, known.last_modified] if known is not None else None,
        "listed": {"word": listed.word, "unread": listed.unread, "versions": rows} if listed is not None else None,
    }


def _kept(told: dict[str, Any]) -> Kept:
    found, known = told["listed"], told["validator"]
    listed = None
    if found is not None:
        versions = tuple(_published(*row) for row in found["versions"][:MAX_VERSIONS])
        listed = Listed(versions=versions, word=found["word"], unread=int(found["unread"]))
    validator = None
    if known is not None:
        sha256, size, etag, modified = known
        validator = Validator(sha256=str(sha256), size_bytes=int(size), etag=etag, last_modified=modified)
    return Kept(
        asked_at=datetime.fromisoformat(told["asked_at"]),
        listed=listed,
        reason=Unlisted(told["reason"]) if told["reason"] is not None else None,
        detail=str(told["detail"]),
        validator=validator,
    )


def _published(version: object, at: str | None, gone: bool, word: str | None) -> Published:
    if not isinstance(version, str):
        raise TypeError("a version is no text")
    time = datetime.fromisoformat(at) if at is not None else None
    return Published(version=version, at=time, is_withdrawn=bool(gone), word=word)
