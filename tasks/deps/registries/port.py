"""What a registry offers here, and why the versions of a package may not be known; adapters are files beside it.

An adapter is a file that ends in one typed constant, a ``Registry``. It asks through the ``Get`` that it is given,
which knows the address, sends what is known of the last answer, and bounds what comes; it trusts no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import orjson

from tasks.core.text import one_line
from tasks.deps.advisories.export import dated
from tasks.deps.upgrades import Published

#: Bytes of one answer, unless an adapter says otherwise.
MAX_BYTES = 32 << 20
#: Versions of one package; the largest of real registries have a few thousand.
MAX_VERSIONS = 50_000
_LONGEST_VERSION = 256
_LONGEST_WORD = 300


class Unlisted(StrEnum):
    """Why the versions of a package are not known, or not as they are today: codes of ``tasks.core.reasons``."""

    NO_REGISTRY = "registry_none"
    NOT_CONFIGURED = "registry_not_configured"
    OFFLINE = "registry_offline"
    BAD_NAME = "registry_bad_name"
    NOT_FOUND = "registry_not_found"
    NO_VERSIONS = "registry_no_versions"
    DENIED = "registry_denied"
    UNREACHABLE = "registry_unreachable"
    INVALID = "registry_invalid"
    TOO_LARGE = "registry_too_large"
    DISK_FULL = "registry_disk_full"


class UnlistedError(Exception):
    """The versions cannot be told; ``detail`` is in our own words and quotes nothing."""

    def __init__(self, reason: Unlisted, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


class Get(Protocol):
    """Asks one registry for one package."""

    address: str

    def __call__(self, path: str, *, accept: str | None = None, max_bytes: int = MAX_BYTES) -> bytes:
        """The body at a path below the address (unquoted). Raises UnlistedError.

        The first call for a package is conditional: where its answer is what it was, the adapter is not heard any more.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """The versions of a package, each once, in no order. ``word`` is the registry's against the whole package;
    ``unread`` counts what was there and could not be read."""

    versions: tuple[Published, ...]
    word: str | None = None
    unread: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """How the registry of one ecosystem is asked.

    ``accepts`` judges a name (as ``naming.normal`` spells it) before it becomes part of an address. ``read`` asks for
    all versions and raises UnlistedError. ``times`` asks when some versions were published, where ``read`` cannot tell.
    Raise ``revision`` when the same answers give something else.
    """

    ecosystem: str
    revision: int
    accepts: Callable[[str], bool]
    read: Callable[[str, Get], Listed]
    times: Callable[[str, Sequence[str], Get], dict[str, datetime]] | None = None


class Gathering:
    """Versions as they are read, in any order and as often as they come."""

    def __init__(self) -> None:
        self._found: dict[str, Published] = {}
        self.unread = 0

    def add(self, version: object, *, at: object = None, is_withdrawn: bool = False, word: object = None) -> None:
        """One version, or one file of it: it was published with the first, and is withdrawn when all are. What is no
        text that could be a version counts as unread. Raises UnlistedError."""
        if not isinstance(version, str) or not 0 < len(version) <= _LONGEST_VERSION or not version.isprintable():
            self.unread += 1
            return
        before, time = self._found.get(version), dated(at)
        if before is None and len(self._found) == MAX_VERSIONS:
            raise UnlistedError(Unlisted.TOO_LARGE, f"there are more than {MAX_VERSIONS} versions")
        times = [t for t in (time, before.at if before else None) if t is not None]
        self._found[version] = Published(
            version=version,
            at=min(times, default=None),
            is_withdrawn=is_withdrawn and (before is None or before.is_withdrawn),
            word=said(word) or (before.word if before else None),
        )

    def listed(self, word: object = None) -> Listed:
        """What was found. Raises UnlistedError: nothing was, or nothing that is a version."""
        if not self._found:
            if self.unread:
                raise UnlistedError(Unlisted.INVALID, "nothing that it lists is a version")
            raise UnlistedError(Unlisted.NO_VERSIONS, "the registry lists no version")
        return Listed(versions=tuple(self._found.values()), word=said(word), unread=self.unread)


def said(word: object) -> str | None:
    """What a registry says against a package or version, in one printable line; None where it says nothing."""
    if word is True:
        return "deprecated"
    return one_line(word.strip(), _LONGEST_WORD) or None if isinstance(word, str) else None


def parsed(body: bytes) -> Any:
    """The JSON of an answer. Raises UnlistedError."""
    try:
        return orjson.loads(body)  # refuses what nests deeper than 1,024
    except orjson.JSONDecodeError:
        raise UnlistedError(Unlisted.INVALID, "the answer is no JSON, or half of one") from None


def the_object(body: bytes) -> dict[str, Any]:
    """The JSON object of an answer. Raises UnlistedError."""
    found = parsed(body)
    if not isinstance(found, dict):
        raise UnlistedError(Unlisted.INVALID, "the answer is no JSON object")
    return found


def another_package() -> UnlistedError:
    """The answer is about another package than was asked for."""
    return UnlistedError(Unlisted.INVALID, "the answer is about another package")
