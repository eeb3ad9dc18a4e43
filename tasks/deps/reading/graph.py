"""The graph of a lock file: which package asks for which, and what follows for direct, development and parents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.deps.manifest import Source, Why
from tasks.deps.reading.fields import shown
from tasks.deps.reading.rows import Rows

#: How a format names a package in its own file: anything that can be hashed.
Key = Any
#: Parents that are named of one package. A chain to the direct one needs few; a hostile file may have millions.
MAX_PARENTS = 200
#: Names that the row of an incomplete lock file gives.
_NAMED = 5


@dataclass(slots=True, kw_only=True)
class Node:
    """One package of a lock file. ``development`` is what the file says itself; the graph fills in what it does not."""

    name: str
    version: str | None = None
    requirement: str | None = None
    line: int | None = None
    source: Source = Source.REGISTRY
    revision: str | None = None
    development: bool | None = None
    wants: list[Key] = field(default_factory=list)


def lacking(rows: Rows, missing: Mapping[str, int | None], *, own: int = 0) -> None:
    """A row where a lock file asks for packages that it has not: it was cut, or a merge lost them.

    ``missing`` are their names with the lines that ask. As many as ``own`` may be the project itself, for which a
    package can ask again and which its own lock does not list.
    """
    if len(missing) > own:
        names = [shown(name) for name in missing][:_NAMED]
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        line = next((line for line in missing.values() if line is not None), None)
        rows.gap(Why.MALFORMED, f"the file is not whole: it asks for {', '.join(names)}{more} and lacks them", line)


class Graph:
    """Packages by keys of the format's own, and what the project itself asks for.

    A key that nothing has is passed over: lock files leave out what a platform does not need. A format that tells what
    a lock must have says what it has not by ``lacking``.
    """

    def __init__(self) -> None:
        self.nodes: dict[Key, Node] = {}
        self._runtime: dict[Key, None] = {}
        self._development: dict[Key, None] = {}
        self._unknown: dict[Key, None] = {}
        self._direct: set[Key] = set()

    def root(self, key: Key, development: bool | None) -> None:
        """The project asks for a package: at run time, for development, or (None) for something unknown."""
        self._direct.add(key)
        of_its_kind = self._unknown if development is None else self._development if development else self._runtime
        of_its_kind[key] = None

    def into(self, rows: Rows, *, knows_roots: bool) -> None:
        """Add every package to ``rows``.

        Where the roots are unknown, a package that no other asks for is direct, for something must ask for it, and
        of the others nothing is said.
        """
        asked = self._asked(rows)
        runtime, development = self._reached(self._runtime), self._reached(self._development)
        unknown = self._reached(self._unknown)
        for key, node in self.nodes.items():
            parents = asked.get(key, ())
            told = node.development
            if told is None:
                told = False if key in runtime else True if key in development and key not in unknown else None
            rows.add(
                node.name,
                version=node.version,
                requirement=node.requirement,
                direct=key in self._direct if knows_roots else True if not parents else None,
                development=told,
                line=node.line,
                source=node.source,
                parents=tuple(parents)[:MAX_PARENTS],
                revision=node.revision,
            )

    def _asked(self, rows: Rows) -> dict[Key, dict[str, None]]:
        found: dict[Key, dict[str, None]] = {}
        for key, node in self.nodes.items():
            parent = rows.key(node.name, node.version) if node.wants else None
            for wanted in node.wants:
                if parent is not None and wanted != key and wanted in self.nodes:
                    found.setdefault(wanted, {})[parent] = None
        return found

    def _reached(self, roots: Iterable[Key]) -> set[Key]:
        found, waiting = set(roots), list(roots)
        while waiting:
            node = self.nodes.get(waiting.pop())
            for wanted in node.wants if node is not None else ():
                if wanted not in found:
                    found.add(wanted)
                    waiting.append(wanted)
        return found
