"""Packagist, and other Composer repositories with metadata of version 2.

Source: https://packagist.org/apidoc#get-package-metadata-v2 and https://github.com/composer/metadata-minifier: each
version tells only what differs from the one before, and ``__unset`` takes a field away. ``abandoned`` is true or the
package that stands in its place. The address is the root of the repository; its folder ``p2`` is read.
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

_PART = r"[a-z0-9](?:[a-z0-9]|[._-](?=[a-z0-9._-]*[a-z0-9]))*"
_NAME = re.compile(rf"{_PART}/{_PART}")
_LONGEST_NAME = 200
#: The fields that are read; the others would only be carried along.
_FIELDS = ("version", "time", "abandoned")


def _read(package: str, get: Get) -> Listed:
    told = the_object(get(f"p2/{package}.json"))
    packages = told.get("packages")
    if not isinstance(packages, dict):
        raise UnlistedError(Unlisted.INVALID, "the answer is no metadata of Composer")
    rows = packages.get(package)
    if not isinstance(rows, list):
        raise another_package()
    found, state, newest = Gathering(), dict[str, Any](), None
    for row in rows:
        if not isinstance(row, dict):
            found.unread += 1
            continue
        if told.get("minified") != "composer/2.0":
            state = {}
        state |= {f: row[f] for f in _FIELDS if f in row}
        state = {f: v for f, v in state.items() if v != "__unset"}
        word = _word(state.get("abandoned"))
        # The first row is the newest version: what it says is about the package.
        newest = newest if newest is not None else word or ""
        found.add(state.get("version"), at=state.get("time"), word=word)
    return found.listed(newest)


def _word(abandoned: object) -> str | None:
    if isinstance(abandoned, str) and abandoned:
        return f"abandoned, in its place: {abandoned}"
    return "abandoned" if abandoned is True else None


def _accepts(name: str) -> bool:
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


PACKAGIST = Registry(ecosystem="Packagist", revision=1, accepts=_accepts, read=_read)
