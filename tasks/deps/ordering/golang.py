"""Go: module versions, and the names of Go's own releases.

Sources: https://go.dev/ref/mod#versions and https://pkg.go.dev/golang.org/x/mod/semver: Semantic Versioning with a
leading ``v``, where minor and patch may be missing from a release. Advisories write it without the ``v``, so it is
optional here. A pseudo-version is a pre-release and needs no rule of its own; ``+incompatible`` is build metadata and
is ignored. Names of releases of Go (``go1.21rc2``) are read as the Go vulnerability database writes them
(``1.21.0-rc.2``; https://go.dev/doc/toolchain#version). Key: as in ``semver``.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.digits import LONGEST
from tasks.deps.ordering.semver import BUILD, PRERELEASE, STRICT_NUMBER, Parts, semantic

_version = re.compile(
    rf"v?{STRICT_NUMBER}(?:\.{STRICT_NUMBER}(?:\.{STRICT_NUMBER}{PRERELEASE}{BUILD})?)?"
).fullmatch  # fmt: skip
_toolchain = re.compile(
    rf"go{STRICT_NUMBER}\.{STRICT_NUMBER}(?:\.{STRICT_NUMBER})?(?:(beta|rc)([1-9][0-9]*+))?"
).fullmatch


def _parts(version: str) -> Parts | None:
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


GO = semantic(_parts)
