"""Where repositories come from, and our mirrors of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where repositories are discovered: a folder tree on this machine, or one repository's URL."""

    name: str
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OddTag:
    """What a tag names that names no commit, all annotations peeled off: ``kind`` is ``blob`` or ``tree``."""

    kind: str
    oid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Our own bare mirror of one repository after a refresh.

    ``refs`` maps heads and tags (full names) to commits (tags peeled), ``odd`` the tags that name a blob or a tree;
    every head and tag is in one of the two. ``head_ref`` is the default branch if it exists.
    """

    path: Path
    head_ref: str | None
    refs: Mapping[str, str]
    odd: Mapping[str, OddTag]
    fetched: bool

    @property
    def tips(self) -> tuple[str, ...]:
        """The distinct objects that all heads and tags name, sorted: commits, and the blobs and trees of ``odd``."""
        return tuple(sorted({*self.refs.values(), *(o.oid for o in self.odd.values())}))


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSource:
    """Where a rule pack comes from: a folder, or (with ``commit``, whole and in hex) a git address."""

    name: str
    location: str
    commit: str | None = None
    folder: str = ""
