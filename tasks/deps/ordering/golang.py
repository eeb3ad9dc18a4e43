"""Go: module versions, and the names of Go's own releases.

Sources: https://go.dev/ref/mod#versions and https://pkg.go.dev/golang.org/x/mod/semver: Semantic Versioning with a
leading ``v``, where minor and patch may be missing from a release. Advisories write it without the ``v``, so it is
optional here. A pseudo-version is a pre-release and needs no rule of its own; ``+incompatible`` is build metadata and
is ignored. Names of releases of Go (``go1.21rc2``) are read as the Go vulnerability database writes them
(``1.21.0-rc.2``; https://go.dev/doc/toolchain#version). Key: as in ``semver``.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST, NUMBER
from tasks.deps.ordering.grammar import Grammar, plain
from tasks.deps.ordering.semver import BUILD, PRERELEASE, RELEASE, STRICT_NUMBER, prerelease

_version = re.compile(
    rf"v?{STRICT_NUMBER}(?:\.{STRICT_NUMBER}(?:\.{STRICT_NUMBER}{PRERELEASE}{BUILD})?)?"
).fullmatch  # fmt: skip
_toolchain = re.compile(
    rf"go{STRICT_NUMBER}\.{STRICT_NUMBER}(?:\.{STRICT_NUMBER})?(?:(beta|rc)([1-9][0-9]*+))?"
).fullmatch


def _parts(version: str) -> tuple[str, str, str, str | None] | None:
    if len(version) > LONGEST:
        return None
    found = _version(version)
    if found is not None:
        major, minor, patch, identifiers = found.groups()
        return major, minor or "0", patch or "0", identifiers
    found = _toolchain(version)
    if found is None:
        return None
    major, minor, patch, word, number = found.groups()
    return major, minor, patch or "0", f"{word}.{number}" if word else None


def _key(version: str) -> bytes | None:
    parts = _parts(version)
    if parts is None:
        return None
    major, minor, patch, identifiers = parts
    head = NUMBER[major] + NUMBER[minor] + NUMBER[patch]
    return head + RELEASE if identifiers is None else head + prerelease(identifiers)


def _is_prerelease(version: str) -> bool | None:
    parts = _parts(version)
    return None if parts is None else parts[3] is not None


def _release(version: str) -> tuple[str, ...] | None:
    parts = _parts(version)
    return None if parts is None else plain(parts[:3])


GO = Grammar(key=_key, is_prerelease=_is_prerelease, release=_release)
