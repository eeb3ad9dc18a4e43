"""Columns of a feed in Parquet files, laid over each other: a whole reading below, what changed since above it.

A file is written once, is known by its checksum, and never changes. What a night changes is one small layer; a reader
leaves out of the lower ones what an upper one holds or takes away.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.deps.advisories.records import Record

_TIME = pa.timestamp("us", tz="UTC")
_TEXTS = pa.list_(pa.string())
ADVISORIES = pa.schema(
    [
        pa.field("advisory_id", pa.string(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("match_digest", pa.string(), nullable=False),
        ("listed", pa.string()),
        ("aliases", _TEXTS),
        ("related", _TEXTS),
        ("summary", pa.string()),
        ("published_at", _TIME),
        ("modified_at", _TIME),
        ("withdrawn_at", _TIME),
        pa.field("is_withdrawn", pa.bool_(), nullable=False),
        ("cvss_v4", pa.string()),
        ("cvss_v3", pa.string()),
        ("cvss_v2", pa.string()),
        ("cvss_score", pa.float64()),
        ("cvss_malformed", pa.int64()),
        ("severity", pa.string()),
        ("cwes", _TEXTS),
        ("url", pa.string()),
        ("reason", pa.string()),
        ("record", pa.binary()),
    ]
)
RANGES = pa.schema(
    [
        pa.field("advisory_id", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("ecosystem", pa.string(), nullable=False),
        ("package", pa.string()),
        ("type", pa.string()),
        ("introduced", pa.string()),
        ("fixed", pa.string()),
        ("last_affected", pa.string()),
        ("limit_version", pa.string()),
        ("versions", _TEXTS),
        ("repo", pa.string()),
        ("last_known", pa.string()),
        ("ordered", pa.bool_()),
        ("reason", pa.string()),
    ]
)
SCHEMAS = {"advisories": ADVISORIES, "ranges": RANGES}
_OF_RECORD = [n for n in ADVISORIES.names if n not in ("listed", "record")]
_OF_RANGE = [n for n in RANGES.names if n != "advisory_id"]
#: Records whose rows are held in memory at a time; a group of rows of a file is as many.
_CHUNK = 4_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One Parquet file: its name in the folder of parts, its checksum, its size and its rows."""

    name: str
    sha256: str
    size_bytes: int
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Files by what they hold, and ids that are no more: they hide what lies below."""

    parts: Mapping[str, Part]
    removed: tuple[str, ...] = field(default=())

    @property
    def rows(self) -> int:
        """Advisories in it."""
        return self.parts["advisories"].rows if "advisories" in self.parts else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A record with its bytes, and the ``modified`` that the list gave it (None: it is looked at again)."""

    record: Record
    content: bytes
    listed: str | None


def write_layer(folder: Path, taken: Iterable[Taken], removed: Iterable[str] = ()) -> Layer:
    """The rows of some records as files; few records are in memory at a time. Raises what ``taken`` raises, and then
    leaves no file."""
    names = {what: folder / f".{what}-{secrets.token_hex(8)}" for what in SCHEMAS}
    writers = {what: _writer(path, SCHEMAS[what]) for what, path in names.items()}
    left = iter(taken)
    try:
        try:
            while chunk := list(islice(left, _CHUNK)):
                writers["advisories"].write_table(_advisories(chunk))
                writers["ranges"].write_table(_ranges(chunk))
        finally:
            for writer in writers.values():
                writer.close()
        parts = {what: settle(path, folder, what) for what, path in names.items()}
    finally:
        for path in names.values():
            path.unlink(missing_ok=True)
    return Layer(parts=parts, removed=tuple(sorted(removed)))


def write_part(folder: Path, what: str, table: pa.Table) -> Part:
    """One table as a file."""
    path = folder / f".{what}-{secrets.token_hex(8)}"
    try:
        with _writer(path, table.schema) as writer:
            writer.write_table(table)
        return settle(path, folder, what)
    finally:
        path.unlink(missing_ok=True)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Ids, digests and records differ in every row: a dictionary of them would only be thrown away.
    alike = [n for n in schema.names if n not in ("advisory_id", "digest", "match_digest", "record", "cve")]
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=alike)


def settle(path: Path, folder: Path, what: str) -> Part:
    """Give a finished file its name, which follows from what it holds; it is on the disk afterwards."""
    made, size = hashlib.sha256(), 0
    with path.open("rb") as f:
        while piece := f.read(1 << 20):
            made.update(piece)
            size += len(piece)
    digest = made.hexdigest()
    part = Part(
        name=f"{what}-{digest[:24]}.parquet", sha256=digest, size_bytes=size, rows=pq.read_metadata(path).num_rows
    )
    sync_to_disk(path)
    path.replace(folder / part.name)
    return part


def sync_to_disk(path: Path) -> None:
    """What was written to a file, or the names in a folder, outlast a loss of power."""
    import os

    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _advisories(chunk: Sequence[Taken]) -> pa.Table:
    columns: dict[str, Any] = {n: [getattr(t.record, n) for t in chunk] for n in _OF_RECORD}
    columns["listed"], columns["record"] = [t.listed for t in chunk], [t.content for t in chunk]
    return pa.table({n: pa.array(columns[n], ADVISORIES.field(n).type) for n in ADVISORIES.names}, schema=ADVISORIES)


def _ranges(chunk: Sequence[Taken]) -> pa.Table:
    rows = [(t.record.advisory_id, a) for t in chunk for a in t.record.affected]
    columns: dict[str, Any] = {n: [getattr(a, n) for _, a in rows] for n in _OF_RANGE}
    columns["advisory_id"] = [i for i, _ in rows]
    return pa.table({n: pa.array(columns[n], RANGES.field(n).type) for n in RANGES.names}, schema=RANGES)


def read_part(folder: Path, part: Part, columns: Sequence[str] | None = None) -> pa.Table:
    """A file, or some columns of it."""
    return pq.read_table(folder / part.name, columns=list(columns) if columns is not None else None, partitioning=None)


def read(folder: Path, layers: Sequence[Layer], what: str, columns: Sequence[str] | None = None) -> pa.Table:
    """What the layers are together, of ``advisories`` or ``ranges``."""
    wanted = list(columns) if columns is not None else SCHEMAS[what].names
    asked = wanted if "advisory_id" in wanted else [*wanted, "advisory_id"]
    found = [without(read_part(folder, layer.parts[what], asked), gone) for layer, gone in hidden(folder, layers)]
    return pa.concat_tables(reversed(found)).select(wanted) if found else _empty(what, wanted)


def batches(folder: Path, layers: Sequence[Layer], what: str, columns: Sequence[str]) -> Iterator[pa.Table]:
    """The same, some rows at a time."""
    for layer, gone in hidden(folder, layers):
        with pq.ParquetFile(folder / layer.parts[what].name) as file:
            for batch in file.iter_batches(batch_size=_CHUNK, columns=list(columns)):
                yield without(pa.Table.from_batches([batch]), gone)


def hidden(folder: Path, layers: Sequence[Layer]) -> Iterator[tuple[Layer, set[str]]]:
    """The layers that have rows, the uppermost first, each with the ids that those above it hide."""
    gone: set[str] = set()
    for n in range(len(layers) - 1, -1, -1):
        layer = layers[n]
        if layer.parts:
            yield layer, set(gone)
        if n:
            gone |= set(layer.removed)
            if layer.parts:
                ids = read_part(folder, layer.parts["advisories"], ["advisory_id"])
                gone |= set(ids["advisory_id"].to_pylist())


def without(table: pa.Table, gone: Collection[str]) -> pa.Table:
    """The rows of other advisories than these."""
    if not gone:
        return table
    return table.filter(pc.invert(pc.is_in(table["advisory_id"], pa.array(sorted(gone), pa.string()))))


def _empty(what: str, columns: Sequence[str]) -> pa.Table:
    return SCHEMAS[what].empty_table().select(list(columns))
