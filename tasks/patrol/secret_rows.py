"""Rows of ``secrets`` as the lake has them: of managed secrets, of what is there, and of places that come back.

What is gone is not read: where certificates are issued daily, that is most of the table.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.lake.lake import Snapshot

Row = dict[str, Any]
_BATCH = 500


class Shared:
    """Equal sequences of names as one tuple: many secrets have the same readers."""

    def __init__(self) -> None:
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._names: dict[str, str] = {}

    def of(self, names: Collection[str]) -> tuple[str, ...]:
        """The names, as they were told first."""
        given = tuple(names)
        found = self._tuples.get(given)
        if found is None:
            found = tuple(self._names.setdefault(n, n) for n in given)
            self._tuples[found] = found
        return found


def managed_rows(snapshot: Snapshot, names: Collection[str]) -> dict[str, Row]:
    """Rows of managed secrets, and of these names. Raises LakeError."""
    keys = snapshot.table("secrets", None, ["secret", "is_managed"])
    wanted = pc.or_(_is_managed(keys), _is_in(keys["secret"], names))
    return {row["secret"]: row for row in _read(snapshot, keys, wanted)}


def known_rows(snapshot: Snapshot, places: Collection[str]) -> list[Row]:
    """Rows of managed secrets, of what is there, and of these places. Raises LakeError."""
    keys = snapshot.table("secrets", None, ["secret", "place", "is_managed", "present"])
    wanted = pc.or_(pc.or_(_is_managed(keys), keys["present"]), _is_in(keys["place"], places))
    return _read(snapshot, keys, wanted)


def owners_of(snapshot: Snapshot) -> dict[str, dict[str, str | None]]:
    """Who each secret belongs to that a store holds or held, by store and place. Raises LakeError."""
    found: dict[str, dict[str, str | None]] = {}
    read = snapshot.table("secrets", None, ["store", "place", "owner"])
    for store, place, owner in zip(*(column.to_pylist() for column in read.columns), strict=True):
        if store is not None:
            found.setdefault(store, {})[place] = owner
    return found


def _is_managed(keys: pa.Table) -> Any:
    """Null of a row that is older than inventories: it is managed."""
    return pc.fill_null(keys["is_managed"], fill_value=True)


def _is_in(column: Any, names: Collection[str]) -> Any:
    return pc.is_in(column, value_set=pa.array(sorted(names), pa.string()))


def _read(snapshot: Snapshot, keys: pa.Table, wanted: Any) -> list[Row]:
    names = keys["secret"].filter(wanted).to_pylist()
    rows, shared = [], Shared()
    for batch in snapshot.table("secrets", {"secret": names}).to_batches(max_chunksize=_BATCH):
        for row in batch.to_pylist():
            row["readers"] = shared.of(row["readers"]) if row["readers"] is not None else None
            rows.append(row)
    return rows
