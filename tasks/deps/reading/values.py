"""Values of a manifest with the lines they stand in, as the readers of JSON and YAML give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.deps.manifest import MalformedError, Unread


class Table(dict[str, Any]):
    """An object of JSON or mapping of YAML. ``line`` is where it begins, ``lines`` where each key stands, from 1."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}

    def table(self, key: str) -> Table:
        """The table under a key; an empty one where there is none."""
        found = self.get(key)
        return found if isinstance(found, Table) else Table(self.line)

    def tables(self, key: str) -> Iterator[tuple[str, Table, int]]:
        """The tables in the table under a key, with their lines."""
        inside = self.table(key)
        for name, value in inside.items():
            if isinstance(value, Table):
                yield name, value, inside.lines[name]

    def texts(self, key: str) -> Iterator[tuple[str, str, int]]:
        """The texts in the table under a key, with their lines."""
        inside = self.table(key)
        for name, value in inside.items():
            if isinstance(value, str):
                yield name, value, inside.lines[name]

    def text(self, key: str) -> str | None:
        """The text under a key."""
        found = self.get(key)
        return found if isinstance(found, str) else None

    def items_of(self, key: str) -> list[Any]:
        """The list under a key; an empty one where there is none."""
        found = self.get(key)
        return found if isinstance(found, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The tables of a file (YAML may have several documents), and the keys that stood in it twice."""

    tables: tuple[Table, ...]
    twice: tuple[Unread, ...] = ()

    @property
    def table(self) -> Table:
        """The first table. Raises MalformedError where there is none."""
        if not self.tables:
            raise MalformedError("empty", line=1)
        return self.tables[0]
