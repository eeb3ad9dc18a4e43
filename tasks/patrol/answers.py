"""What a question about dependencies is answered with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows with their columns, and what should be known of them. ``is_whole``: nothing that was asked is unknown.
    ``as_of``: of which day the advisories are that it rests on; None: on none."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: tuple[str, ...] = ()
    is_whole: bool = True
    as_of: str | None = None


def answer_of(table: pa.Table, notes: Iterable[str], *, is_whole: bool = True, as_of: str | None = None) -> Answer:
    """The answer that a table is."""
    rows = list(zip(*(table.column(c).to_pylist() for c in table.column_names), strict=True))
    return Answer(columns=table.column_names, rows=rows, notes=tuple(notes), is_whole=is_whole, as_of=as_of)
