"""Bring a lake of an earlier schema to this one: rows stay as they are, new columns are null, new tables are empty.

Schemas grow by addition, so nothing is judged anew. A table that lacks columns is written anew in one commit, since
whoever globs its files should find the same columns in all of them. The migration is a run with a number of its own
(``tasks.lake.pending``): killed anywhere, the same command goes on, and the lake says its new schema last of all. Who
opened it before still reads the tables as they were; afterwards the tables as of an earlier run cannot be opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from tasks.core import duck
from tasks.core.errors import LakeError
from tasks.lake.card import note_schema
from tasks.lake.gc import note
from tasks.lake.lake import Lake
from tasks.lake.marts import write_marts
from tasks.lake.pending import (
    Watcher,
    claim,
    commit,
    commit_of,
    committed,
    drop,
    is_old,
    new_folder,
    own_run,
    pending,
    run_row,
)
from tasks.lake.schema import SCHEMA_VERSION, TABLES
from tasks.lake.store import FORM, relation, to_arrow

#: The source of a migration's row in ``runs``; no configuration can name it.
MIGRATION_SOURCE = "(migrate)"
_BATCH = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What a migration adds: columns by table, and tables; ``rows`` are those of tables that are written anew."""

    before: int
    after: int
    columns: Mapping[str, tuple[str, ...]]
    tables: tuple[str, ...]
    rows: int


def planned(lake: Lake) -> Migration:
    """What there is to add. Raises LakeError: a table holds columns that this program does not know."""
    there = {name for name in TABLES if _is_there(lake, name)}
    columns: dict[str, tuple[str, ...]] = {}
    for name in sorted(there):
        has, wanted = lake.store.columns(name), TABLES[name].schema.names
        if more := set(has) - set(wanted):
            raise LakeError(
                f"the table {name} has columns that this Nightwarden does not know: {', '.join(sorted(more))}",
                advice="Use the program that made them.",
            )
        if lacking := tuple(c for c in wanted if c not in has):
            columns[name] = lacking
    return Migration(
        before=lake.schema_version, after=SCHEMA_VERSION, columns=columns,
        tables=tuple(sorted(TABLES.keys() - there)), rows=sum(_count(lake, name) for name in columns),
    )  # fmt: skip


def migrate(lake: Lake, *, watch: Watcher = lambda _step: None) -> Migration:
    """Add what is lacking. The lock is held by the caller, and the lake was opened with ``to_migrate``.

    Raises LakeError: a publish was cut off, which only the program that began it can finish; nothing is changed then.
    """
    found = planned(lake)
    begun = None
    for folder, entries in pending(lake).items():
        if not committed(lake, folder, entries):
            if lake.place.lock_is_sure or is_old(lake, entries):
                drop(lake, folder)  # it never had a number, and nobody is at it
            continue
        told = commit_of(lake, folder)
        if not told.get("migrates"):
            raise LakeError(
                f"run {told['seq']} of {lake.place} was cut off while it was published",
                advice="Finish it with the Nightwarden that began it (any patrol does), then migrate.",
            )
        begun = (folder, told)
    watch("tables")
    lake.store.create()
    if begun is None and found.columns:
        begun = _begun(lake, found, watch)
    if begun is not None:
        _finish(lake, *begun, watch)
    watch("card")
    note_schema(lake.place)
    return found


def _begun(lake: Lake, found: Migration, watch: Watcher) -> tuple[str, dict[str, Any]]:
    """The number of the migration, and what it has to do."""
    # Of a table that lacks columns the log alone is asked.
    seq = lake.store.applied("runs") + 1
    run = own_run(MIGRATION_SOURCE, seq=seq, key_id=lake.key_id, filters={"from": found.before, "to": found.after})
    folder = new_folder(seq)
    watch("commit")
    told = commit(lake, folder, seq, run, migrates=sorted(found.columns))
    watch("claim")
    claim(lake, folder, seq)
    return folder, told


def _finish(lake: Lake, folder: str, told: Mapping[str, Any], watch: Watcher) -> None:
    """Write the tables anew, ``runs`` last with the row of the migration; may be done again."""
    seq, run = int(told["seq"]), run_row(told)
    for name in (n for n in told["migrates"] if n != "runs"):
        watch(name)
        _write_anew(lake, name, seq)
    watch("runs")
    run["table_versions"] = json.dumps({name: lake.store.version(name) for name in TABLES if name != "runs"})
    row = to_arrow(TABLES["runs"], [run])
    if "runs" in told["migrates"]:
        _write_anew(lake, "runs", seq, row)
    else:
        lake.store.apply(TABLES["runs"], row, seq)
    note(lake, snapshots_from=seq)
    watch("marts")
    write_marts(lake, changed=lake.snapshot().present_in(), standing=True)
    watch("end")
    drop(lake, folder)


def _is_there(lake: Lake, name: str) -> bool:
    try:
        return DeltaTable.is_deltatable(lake.store.uri(name), storage_options=lake.place.delta_options())
    except (DeltaError, OSError) as e:
        raise LakeError(
            f"the table {name} cannot be looked at: {lake.place.plain(e)}",
            advice="Look at the lake's place and the rights there.",
        ) from None


def _count(lake: Lake, name: str) -> int:
    """How many rows a table has."""
    return sum(lake.store.open(name).get_add_actions(flatten=True)["num_records"].to_pylist())


def _write_anew(lake: Lake, name: str, seq: int, more: pa.Table | None = None) -> None:
    """All rows of a table, and ``more``, with all columns, in one commit of run ``seq`` unless it has that already."""
    table, files = TABLES[name], lake.store.files(name)
    has = [c for c in table.schema.names if c in lake.store.columns(name)]
    con = duck.connection()
    try:
        rows = _completed(con, f"SELECT {', '.join(has)} FROM {relation(table, files)}", table.schema) if files else ()
        extra = more.to_batches() if more is not None else ()
        reader = pa.RecordBatchReader.from_batches(table.schema, (b for some in (rows, extra) for b in some))

        def write(log: DeltaTable, properties: CommitProperties) -> None:
            write_deltalake(
                log, reader, mode="overwrite", schema_mode="overwrite", partition_by=list(table.partition) or None,
                writer_properties=FORM, commit_properties=properties,
            )  # fmt: skip

        with duck.interruptible():
            lake.store.commit(table, seq, write)
    except duckdb.Error as e:
        duck.forget()
        raise LakeError(f"the table {name} cannot be read: {e}", advice="Run `nightwarden lake verify`.") from e
    finally:
        con.close()
        del con


def _completed(con: duckdb.DuckDBPyConnection, sql: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The batches of a query with the columns that it lacks, as nulls."""
    for batch in con.sql(sql).to_arrow_reader(_BATCH):
        columns = [
            batch.column(f.name).cast(f.type) if f.name in batch.schema.names else pa.nulls(batch.num_rows, f.type)
            for f in schema
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
