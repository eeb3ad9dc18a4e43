"""The ranges of a snapshot made ready for matching (``tasks.deps.prepared``), kept beside it.

::

    keyed/<checksum of a file of ranges>-<revisions>.parquet   of one layer, written once

A layer's ranges never change, so its keys are made once, however many snapshots are made of it. The revisions of the
ordering and of ``prepared`` stand in the name: what another grammar made is not found. A file that is damaged, or is
of something else, is made anew; where nothing can be written it is made each time.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.deps import ordering
from tasks.deps.advisories.layers import Layer, Part, hidden, read_part, sync_to_disk, without
from tasks.deps.advisories.snapshots import Snapshot, Snapshots
from tasks.deps.prepared import RANGES, REVISION, ROWS, Prepared, prepare

#: Seconds after which what a killed process was writing is taken away.
_ABANDONED_S = 86_400


def prepared(snapshot: Snapshot) -> Prepared:
    """All ranges of a snapshot that are in force, ready for matching with ``ordering.key``: those of
    ``Snapshot.matchable``. What was not made yet is made and kept. Raises OSError: a file of ranges cannot be read.
    """
    told = snapshot.advisories(["advisory_id", "is_withdrawn"]).filter(pc.field("is_withdrawn"))
    withdrawn = set(told["advisory_id"].to_pylist())
    tables = [
        without(_rows(snapshot, layer.parts["ranges"]), gone | withdrawn)
        for name in snapshot.ecosystems()
        for layer, gone in hidden(snapshot.parts, snapshot.feeds[name].layers)
    ]
    return Prepared(rows=pa.concat_tables(tables) if tables else ROWS.empty_table())


def ready_in(folder: Path) -> Callable[[str], Prepared | None]:
    """What tells the ranges of a snapshot in this folder, by its id; None where it is not kept, or cannot be read."""

    def ready(snapshot_id: str) -> Prepared | None:
        found = Snapshots(folder).open(snapshot_id)
        try:
            return prepared(found) if found is not None else None
        except OSError:
            return None

    return ready


def make_ready(store: Snapshots, snapshot: Snapshot) -> None:
    """Make what was not made yet of a new snapshot, and remove what was made of ranges that no snapshot has any more,
    or by other revisions. Called under the lock."""
    for layer in _layers(snapshot):
        if not _path(snapshot, layer.parts["ranges"]).exists():
            _rows(snapshot, layer.parts["ranges"])
    kept = [s for s in map(store.open, store.ids()) if s is not None]
    wanted = {_name(layer.parts["ranges"]) for s in kept for layer in _layers(s)}
    folder = store.folder / "keyed"
    for path in folder.iterdir() if folder.is_dir() else ():
        # Somebody may be writing what begins with a dot, and does not hold the lock.
        with suppress(FileNotFoundError):
            is_old = path.stat().st_mtime < time.time() - _ABANDONED_S
            if path.name not in wanted and (is_old or not path.name.startswith(".")):
                path.unlink()


def _layers(snapshot: Snapshot) -> Iterator[Layer]:
    for name in snapshot.ecosystems():
        yield from (layer for layer in snapshot.feeds[name].layers if layer.parts)


def _name(part: Part) -> str:
    return f"{part.sha256[:24]}-{ordering.REVISION}.{REVISION}.parquet"


def _path(snapshot: Snapshot, part: Part) -> Path:
    return snapshot.folder / "keyed" / _name(part)


def _rows(snapshot: Snapshot, part: Part) -> pa.Table:
    path = _path(snapshot, part)
    kept = _kept(path)
    if kept is not None:
        return kept
    ranges = read_part(snapshot.parts, part).filter(pc.field("reason").is_null())
    ranges = ranges.rename_columns(["range_type" if c == "type" else c for c in ranges.column_names])
    rows = prepare(ranges.select(RANGES.names), ordering.key).rows
    with suppress(OSError):  # a home that cannot be written to, or is full, costs time and nothing else
        _keep(path, rows)
    return rows


def _kept(path: Path) -> pa.Table | None:
    """What was kept, if it is whole: pages bear checksums."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            rows = file.read()
    except (OSError, pa.ArrowException):
        return None
    return rows if rows.schema.equals(ROWS) else None


def _keep(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        # Keys differ in almost every row: a dictionary of them would only be thrown away.
        coded = [n for n in ROWS.names if n not in ("low", "high")]
        pq.write_table(rows, fresh, compression="zstd", use_dictionary=coded, write_page_checksum=True)
        sync_to_disk(fresh)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
