"""Values of a manifest with the lines they stand in, as the readers of JSON and YAML give them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.deps.manifest import MalformedError, Unread, Why

#: Rows of ``unread`` of one manifest, before the last that says there are more.
MAX_UNREAD = 1000


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

    def listed(self, key: str) -> list[Table]:
        """The tables in the list under a key."""
        return [item for item in self.items_of(key) if isinstance(item, Table)]

    def text(self, key: str) -> str | None:
        """The text under a key."""
        found = self.get(key)
        return found if isinstance(found, str) else None

    def items_of(self, key: str) -> list[Any]:
        """The list under a key; an empty one where there is none."""
        found = self.get(key)
        return found if isinstance(found, list) else []


class Gaps:
    """Rows of what is not read of a manifest, and after ``MAX_UNREAD`` of them only how many more there are."""

    def __init__(self) -> None:
        self._rows: list[Unread] = []
        self._more = 0

    def add(self, why: Why, detail: str, line: int | None = None) -> None:
        """One more. ``detail`` is ours and quotes nothing but names that were checked."""
        self.put(Unread(why=why, detail=detail, line=line))

    def put(self, row: Unread) -> None:
        """One more."""
        if len(self._rows) < MAX_UNREAD:
            self._rows.append(row)
        else:
            self._more += 1

    def tables(self, table: Table, *keys: str) -> None:
        """A row for each key under which something else than a table stands; nothing (``null``) is none."""
        for key in keys:
            if table.get(key) not in (None, "") and not isinstance(table[key], Table):
                self.add(Why.MALFORMED, f"{key} is no table", table.lines[key])

    def twice(self, line: int) -> None:
        """A key stands twice in its table. The last of them counts, as it does for most tools."""
        self.add(Why.MALFORMED, "a key stands twice; the last counts", line)

    def rows(self) -> tuple[Unread, ...]:
        """All of them."""
        if not self._more:
            return tuple(self._rows)
        return (*self._rows, Unread(why=Why.TOO_LARGE, detail=f"{self._more} more of these are not listed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """The tables of a file (YAML may have several documents), and what was not read of it, as keys that stand twice."""

    tables: tuple[Table, ...]
    gaps: Gaps

    @property
    def table(self) -> Table:
        """The first table. Raises MalformedError where there is none."""
        if not self.tables:
            raise MalformedError("empty", line=1)
        return self.tables[0]
