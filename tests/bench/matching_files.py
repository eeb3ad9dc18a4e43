"""The vulnerable rows of an inventory that lies in Parquet files, written as Parquet again.

Rows are read some hundred thousand at a time. While one part is written the next one is matched.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.deps.matching import MATCHES, PACKAGES, judging
from tasks.deps.prepared import Key, Prepared, remembering
from tasks.deps.vulnerable_rows import vulnerable_rows

#: Rows that are matched at a time.
_BATCH = 500_000
#: Bytes a value below which a column is taken to lie there as a dictionary, which is then read as one.
_DICTIONARY = 6
#: Bytes of a dictionary that are not worth a thought.
_SMALL = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """``rows`` were read, and ``vulnerable`` written: one for each row and advisory that is about it."""

    rows: int
    vulnerable: int


def write_vulnerable(
    files: Iterable[Path], prepared: Prepared, key: Key, out: Path, *, carried: Sequence[str] = ("repo_id", "manifest")
) -> Written:
    """Match all rows of ``files`` (columns: ``PACKAGES`` and those that are ``carried`` along) with ``prepared`` and
    write to ``out``: ``row`` (its number over all files in their order, from 0), what is carried, ``MATCHES``.

    Order is that of the rows. ``out`` is there whole, or as it was before when this raises: OSError, and pyarrow's
    errors for files that are no Parquet or lack a column.
    """
    fresh = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        written = _write([*files], prepared, key, fresh, carried)
        fresh.replace(out)
        return written
    finally:
        fresh.unlink(missing_ok=True)


def _write(files: Sequence[Path], prepared: Prepared, key: Key, out: Path, carried: Sequence[str]) -> Written:
    rows = vulnerable = 0
    writer: pq.ParquetWriter | None = None
    try:
        with judging(prepared, remembering(key)) as judge, ThreadPoolExecutor(1) as behind:
            begun = None
            for some in _batches(files, [*carried, *PACKAGES.names]):
                found, _ = vulnerable_rows(judge, some, carried, rows)
                rows += some.num_rows
                vulnerable += found.num_rows
                writer = writer or _writer(out, found.schema)
                if begun is not None:
                    begun.result()
                begun = behind.submit(writer.write_table, found)
            if begun is not None:
                begun.result()
        if writer is None:
            writer = _writer(out, pa.schema([("row", pa.int64()), *((c, pa.string()) for c in carried), *MATCHES]))
    finally:
        if writer is not None:
            writer.close()
    return Written(rows=rows, vulnerable=vulnerable)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator[pa.Table]:
    """The rows of all files, some at a time."""
    coded: list[str] | None = None
    held: list[pa.RecordBatch] = []
    for path in files:
        with pq.ParquetFile(path) as plain:
            coded = _few(plain, columns) if coded is None else coded
        with pq.ParquetFile(path, read_dictionary=coded) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns)):
                if held and held[0].schema != batch.schema:  # files may be written differently
                    yield pa.Table.from_batches(held)
                    held = []
                held.append(batch)
                if sum(b.num_rows for b in held) >= _BATCH:
                    yield pa.Table.from_batches(held)
                    held = []
    if held:
        yield pa.Table.from_batches(held)


def _few(file: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """The columns of texts that lie there as dictionaries, by the size of their first values."""
    if not file.num_row_groups:
        return []
    group = file.metadata.row_group(0)
    chunks = (group.column(n) for n in range(group.num_columns))
    small = {c.path_in_schema for c in chunks if c.total_uncompressed_size < _DICTIONARY * c.num_values + _SMALL}
    return [c for c in columns if c in small and _is_text(file.schema_arrow.field(c).type)]


def _writer(out: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # A reader sees texts, not the dictionaries that they were here; row numbers lie close to each other. Statistics of
    # texts that lie in no order rule out nothing, and take twice as long as all else of the writing.
    coded = [c for c in schema.names if c != "row"]
    return pq.ParquetWriter(
        out, schema, compression="zstd", store_schema=False, use_dictionary=coded,
        column_encoding={"row": "DELTA_BINARY_PACKED"}, write_statistics=["row"],
    )  # fmt: skip
