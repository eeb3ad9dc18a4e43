"""Semantic Versioning 2.0.0: what crates.io, Go, npm and GitHub Actions share, and crates.io itself.

Source: https://semver.org (precedence is clause 11), and for crates.io https://docs.rs/semver (``cmp_precedence``;
its ``Ord`` also looks at build metadata, which no range of Cargo or of OSV's type SEMVER does).

Key: three numbers, then 0xFF for a release; else the identifiers of the pre-release, a number as itself, text as 0xF8,
its ASCII and 0x00, and at last 0x00. So numbers come before text, fewer identifiers before more, and all before 0xFF.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tasks.deps.ordering.digits import LONGEST, NUMBER
from tasks.deps.ordering.grammar import Grammar, never, plain

#: Major, minor and patch as digits, and the identifiers of a pre-release (None: it is a release).
Parts = tuple[str, str, str, str | None]
RELEASE = b"\xff"
_TEXT, _END = b"\xf8", b"\x00"
_NUMBER = "(?:0|[1-9][0-9]*+)"
_IDENTIFIER = f"(?:[0-9]*[A-Za-z-][0-9A-Za-z-]*+|{_NUMBER})"
#: The parts of a strict version, for patterns: pre-release (a group) and build metadata (none).
STRICT_NUMBER = f"({_NUMBER})"
PRERELEASE = rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*+))?"
BUILD = r"(?:\+[0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+)?"
_version = re.compile(rf"{STRICT_NUMBER}\.{STRICT_NUMBER}\.{STRICT_NUMBER}{PRERELEASE}{BUILD}").fullmatch
#: The crate holds major, minor and patch in 64 bits.
_U64 = 2**64
_U64_SAFE = 19


def prerelease(identifiers: str) -> bytes:
    """The bytes of identifiers between dots; none may be empty."""
    return (
        b"".join(
            [NUMBER[part] if part.isdigit() else _TEXT + part.encode("ascii") + _END for part in identifiers.split(".")]
        )
        + _END
    )


def semantic(parts_of: Callable[[str], Parts | None], is_moving: Callable[[str], bool] = never) -> Grammar:
    """The grammar of versions that are taken apart by ``parts_of``, which answers None for what is no version."""

    def key(version: str) -> bytes | None:
        parts = parts_of(version)
        if parts is None:
            return None
        major, minor, patch, identifiers = parts
        head = NUMBER[major] + NUMBER[minor] + NUMBER[patch]
        return head + RELEASE if identifiers is None else head + prerelease(identifiers)

    def is_prerelease(version: str) -> bool | None:
        parts = parts_of(version)
        return None if parts is None else parts[3] is not None

    def release(version: str) -> tuple[str, ...] | None:
        parts = parts_of(version)
        return None if parts is None else plain(parts[:3])

    return Grammar(key=key, is_prerelease=is_prerelease, release=release, is_moving=is_moving)


def _parts(version: str) -> Parts | None:
    found = _version(version) if len(version) <= LONGEST else None
    if found is None:
        return None
    major, minor, patch, identifiers = found.groups()
    for number in (major, minor, patch):
        if len(number) > _U64_SAFE and int(number) >= _U64:
            return None
    return major, minor, patch, identifiers


CRATES = semantic(_parts)
