"""What kept reports that list ``results``, ``errors`` and ``files`` by path have in common.

Paths are as the tool saw them, below ``Target.inside``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.core.types import Target


def beginning(target: Target) -> str:
    """What stands before every name of the target's files."""
    return target.inside.rstrip("/") + "/"


def renamed(
    document: Mapping[str, Any], target: Target, names: Mapping[str, str]
) -> tuple[list[Any], list[Any], list[str]]:
    """Results, errors and files of some files alone, under their names in a part (see ``ports.Divisible``)."""
    inside = beginning(target)
    named = {inside + name: inside + other for name, other in names.items()}
    found, bad = (
        [{**entry, "path": named[entry["path"]]} for entry in document[kind] if entry["path"] in named]
        for kind in ("results", "errors")
    )
    return found, bad, [named[path] for path in document["files"] if path in named]


def accounted(document: Mapping[str, Any], target: Target) -> frozenset[str]:
    """Files the tool read, and those it names as errors."""
    paths = {*document["files"], *(e["path"] for e in document["errors"])}
    return frozenset(p.removeprefix(beginning(target)) for p in paths) & target.files.keys()
