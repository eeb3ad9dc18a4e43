"""How tables are written down: columns with their meaning, and what a table is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

TYPES: dict[str, pa.DataType] = {
    "s": pa.string(),
    "i": pa.int64(),
    "f": pa.float64(),
    "b": pa.bool_(),
    "t": pa.timestamp("us", tz="UTC"),
    "l": pa.list_(pa.string()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One Delta table. ``append`` tables only grow; rows of ``merge`` tables are replaced by ``key``.

    Rows of a ``merge`` table with a partition may move to another one: what is merged tells in ``before`` where each
    row that it replaces lies (null: it is new).
    """

    name: str
    description: str
    mode: Literal["append", "merge"]
    key: tuple[str, ...]
    schema: pa.Schema
    partition: tuple[str, ...] = ()
    #: Columns by which rows of an append table lie beside each other, as far as one run has them: who asks for few
    #: values reads few groups of rows.
    beside: tuple[str, ...] = ()

    @property
    def before(self) -> str | None:
        """The column that says, of rows to be merged, in which partition the row lies that each replaces."""
        return f"{self.partition[0]}_before" if self.mode == "merge" and self.partition else None

    @property
    def merged(self) -> pa.Schema:
        """The columns of rows to be written."""
        return self.schema if self.before is None else self.schema.append(pa.field(self.before, pa.string()))


def columns(*columns: str) -> pa.Schema:
    """Columns written as ``name type meaning``; a trailing ``!`` of the type means never null."""
    fields = []
    for column in columns:
        name, kind, meaning = column.split(" ", 2)
        fields.append(
            pa.field(name, TYPES[kind.rstrip("!")], nullable=not kind.endswith("!"), metadata={"comment": meaning})
        )
    return pa.schema(fields)


RUN = "run_id s! the run this row belongs to"
SCOPE = (
    "repo_id s! forge host and immutable id, else the origin's address, else the relative path",
    "ref s! the branch that was read, refs/* for the history of all heads and tags, (settings) for those of the forge",
    "tool s! the scanner",
    "slug s! the repository's name for people",
)
