"""npm, and mirrors of its registry.

Source: https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md and docs/responses/package-metadata.md. One
answer a package, with all its versions, times and words of deprecation; where that is too large, the abbreviated form
without times. What was unpublished is not in the list.
"""

from __future__ import annotations

import re
from typing import Any

from tasks.deps.registries.port import (
    Gathering,
    Get,
    Listed,
    Registry,
    Unlisted,
    UnlistedError,
    another_package,
    the_object,
)

_SHORT = "application/vnd.npm.install-v1+json"
_PART = r"[A-Za-z0-9_~-][A-Za-z0-9._~-]*"
_NAME = re.compile(rf"(?:@{_PART}/)?{_PART}")
_LONGEST_NAME = 214


def _read(package: str, get: Get) -> Listed:
    try:
        told = the_object(get(package, accept="application/json"))
    except UnlistedError as e:
        if e.reason is not Unlisted.TOO_LARGE:
            raise
        told = the_object(get(package, accept=_SHORT))
    if told.get("name") != package:
        raise another_package()
    versions, times = told.get("versions", {}), _object(told.get("time"))
    if not isinstance(versions, dict):
        raise UnlistedError(Unlisted.INVALID, "the answer has no versions")
    found = Gathering()
    for version, about in versions.items():
        # False and an empty text say that it is not deprecated any more.
        found.add(version, at=times.get(version), word=_object(about).get("deprecated"))
    latest = _object(told.get("dist-tags")).get("latest")
    newest = _object(versions.get(latest)) if isinstance(latest, str) else {}
    return found.listed(newest.get("deprecated"))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _accepts(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


NPM = Registry(ecosystem="npm", revision=1, accepts=_accepts, read=_read)
