"""crates.io, and mirrors of its sparse index.

Source: https://doc.rust-lang.org/cargo/reference/registry-index.html: one JSON object a line for each version, with
``yanked`` and, in newer ones, ``pubtime``. The address is that of the index.
"""

from __future__ import annotations

import re

import orjson

from tasks.deps.registries.port import Gathering, Get, Listed, Registry, another_package

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SHORT = 3


def _path(package: str) -> str:
    name = package.lower()
    if len(name) < _SHORT:
        return f"{len(name)}/{name}"
    return f"3/{name[0]}/{name}" if len(name) == _SHORT else f"{name[:2]}/{name[2:4]}/{name}"


def _read(package: str, get: Get) -> Listed:
    found = Gathering()
    for line in get(_path(package)).splitlines():
        if not line.strip():
            continue
        try:
            told = orjson.loads(line)
        except orjson.JSONDecodeError:
            told = None
        if not isinstance(told, dict) or not isinstance(told.get("name"), str):
            found.unread += 1
        elif told["name"].lower() != package.lower():
            raise another_package()
        else:
            found.add(told.get("vers"), at=told.get("pubtime"), is_withdrawn=told.get("yanked") is True)
    return found.listed()


CRATES = Registry(ecosystem="crates.io", revision=1, accepts=lambda name: _NAME.fullmatch(name) is not None, read=_read)
