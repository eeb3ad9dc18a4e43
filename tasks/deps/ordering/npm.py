"""npm: Semantic Versioning as node's ``semver`` reads it when it is told to be loose, which is what npm tells it.

Source: https://github.com/npm/node-semver (README, "Versions" and "loose"). It allows signs ``v`` and ``=`` before, a
pre-release without a hyphen, and leading zeros; at most 256 characters; major, minor and patch up to 2^53 - 1.
Numbers in a pre-release past that are compared as floating-point numbers there, so 2^53 and 2^53 + 1 are equal here
too. Of blanks around it only those of ASCII are left out. Build metadata is ignored. Key: as in ``semver``.
"""

from __future__ import annotations

import re

from tasks.deps.ordering.semver import BUILD, Parts, semantic

_LONGEST = 256
_SAFE = 2**53 - 1
_SAFE_DIGITS = 15
#: The third number gives digits back to a pre-release without a hyphen: 1.2.34.5 is 1.2.3-4.5 to npm.
_version = re.compile(
    r"[v=\s]*+([0-9]++)\.([0-9]++)\.([0-9]+)(?:-?([0-9A-Za-z-]++(?:\.[0-9A-Za-z-]++)*+))?" + BUILD + r"\s*+", re.ASCII
).fullmatch
_long_number = re.compile(r"(?<![0-9A-Za-z-])[0-9]{16,}(?![0-9A-Za-z-])")


def _parts(version: str) -> Parts | None:
    found = _version(version) if len(version) <= _LONGEST else None
    if found is None:
        return None
    major, minor, patch, identifiers = found.groups()
    for number in (major, minor, patch):
        if len(number) > _SAFE_DIGITS and int(number) > _SAFE:
            return None
    if identifiers is not None and len(identifiers) > _SAFE_DIGITS:
        identifiers = _long_number.sub(lambda digits: str(int(float(digits[0]))), identifiers)
    return major, minor, patch, identifiers


NPM = semantic(_parts)
