"""The Delta tables of a lake, wherever it lies; DuckDB reads their Parquet files from this machine."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import (
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError

from tasks.core import duck
from tasks.core.errors import LakeError
from tasks.lake.columns import Table
from tasks.lake.compaction import File, due
from tasks.lake.places import Entry, Place
from tasks.lake.schema import TABLES
from tasks.lake.shelves import THERE

#: Delta clears its log by the age of commits, but ``runs`` may name a version that was the last for months.
#: ``tasks.lake.gc`` removes what no kept run needs.
_KEEP_LOG = {"delta.enableExpiredLogCleanup": "false"}
#: One application id for all commits; its version is the run's number, so a commit is never applied twice.
_APP = "nightwarden"
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Rows of a group of a Parquet file. Who writes or reads holds a whole one in memory: of a million by default.
GROUP = 16_384
FORM = WriterProperties(max_row_group_size=GROUP, compression="ZSTD")
_BATCH = 10_000
#: Column to the values that are asked for.
Where = Mapping[str, Collection[str]]
Columns = Sequence[str] | None
#: Conditions on partitions, as delta-rs takes them: column, operator, value. All must hold.
Pruning = Sequence[tuple[str, str, Any]]


def relation(table: Table, files: Sequence[str]) -> str:
    """The files of a table as a DuckDB relation."""
    listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
    # Partitions are folders (part=2026-11); their names are text, whatever they look like.
    kinds = "{" + ", ".join(f"'{p}': VARCHAR" for p in table.partition) + "}"
    hive = f"hive_partitioning = true, hive_types = {kinds}" if table.partition else "hive_partitioning = false"
    return f"read_parquet([{listed}], {hive})"


class Store:
    """Delta tables of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        #: Tables as they were at a version, which no commit changes: opened once. On S3 each opening asks many times.
        self._at: dict[tuple[str, int], DeltaTable] = {}
        #: The logs that commits are made to. They move on, so that nobody else is given them.
        self._tips: dict[str, DeltaTable] = {}

    def uri(self, name: str) -> str:
        """The address of a table, as delta-rs takes it."""
        return f"{self._place.uri}/{name}"

    def create(self) -> None:
        """Make the tables that are not there. Raises LakeError."""
        options = self._place.delta_options()
        for table in TABLES.values():
            try:
                DeltaTable.create(
                    self.uri(table.name),
                    schema=Schema.from_arrow(table.schema),
                    mode="ignore",
                    name=table.name,
                    description=table.description,
                    partition_by=list(table.partition) or None,
                    storage_options=options,
                    # Opening reads every commit since the last checkpoint, on S3 one request or more for each.
                    configuration={**_KEEP_LOG, **({"delta.checkpointInterval": "10"} if options else {})},
                )
            except (DeltaError, OSError) as e:
                if isinstance(e, CommitFailedError):
                    continue  # of two that make it at once the other one has
                raise LakeError(
                    f"the table {table.name} cannot be made: {self._place.plain(e)}",
                    advice="Look at the lake's place and the rights there.",
                ) from None

    def open(self, name: str, version: int | None = None) -> DeltaTable:
        """A table at a version (the newest when None). Raises LakeError."""
        if version is not None and (name, version) in self._at:
            return self._at[name, version]
        found = self._opened(name, version)
        for known in [k for k in list(self._at) if k[0] == name][:-1]:
            self._at.pop(known, None)  # a run reads one version, or two
        return self._at.setdefault((name, found.version()), found)

    def _opened(self, name: str, version: int | None = None) -> DeltaTable:
        try:
            return DeltaTable(self.uri(name), version=version, storage_options=self._place.delta_options())
        except (DeltaError, OSError, ValueError) as e:
            raise LakeError(
                f"the table {name} cannot be opened{'' if version is None else f' at version {version}'}: "
                f"{self._place.plain(e)}",
                advice="Run `nightwarden lake verify`; restore it from a backup.",
            ) from None

    def columns(self, name: str, version: int | None = None) -> list[str]:
        """The columns a table has."""
        return [f.name for f in self.open(name, version).schema().fields]

    def version(self, name: str) -> int:
        """The newest version of a table."""
        return self._tip(name).version()

    def _tip(self, name: str) -> DeltaTable:
        """The log of a table as it is now. Raises LakeError."""
        log = self._tips.pop(name, None)
        if log is not None:
            try:
                log.update_incremental()
            except (DeltaError, OSError, ValueError):
                log = None  # its credentials may be too old; opened anew it says what is wrong
        return self._tips.setdefault(name, log or self._opened(name))

    def read(
        self,
        name: str,
        version: int | None = None,
        where: Where | None = None,
        columns: Columns = None,
        pruning: Sequence[Pruning] = ((),),
    ) -> pa.Table:
        """Rows of a table whose ``where`` columns hold one of the values asked for.

        ``pruning`` names the partitions to look into: each of its entries tells some, as delta-rs filters files.

        DuckDB reads the files: over a pyarrow dataset a filter fails, because Parquet that delta-rs (1.6) merged
        is typed as string views, which Arrow 26 cannot compare with strings.
        """
        files = [f for some in pruning for f in self.files(name, version, where, some)]
        return self._rows(TABLES[name], files, where, columns)

    def batches(self, name: str, version: int) -> Iterator[pa.RecordBatch]:
        """All rows of a table, some at a time. Raises LakeError."""
        table, files = TABLES[name], self.files(name, version)
        if not files:
            return
        con = duck.connection()
        try:
            with duck.interruptible():
                rows = con.sql(f"SELECT {', '.join(table.schema.names)} FROM {relation(table, files)}")
                for batch in rows.to_arrow_reader(_BATCH):
                    yield batch.cast(table.schema)
        except (duckdb.Error, OSError, pa.ArrowInvalid) as e:
            duck.forget()
            raise LakeError(
                f"the table {table.name} cannot be read: {e}", advice="Run `nightwarden lake verify`."
            ) from e
        finally:
            con.close()
            del con

    def newest(self, name: str) -> tuple[dict[str, Any] | None, int]:
        """The row with the greatest ``seq`` of a table that has one (None when the table is empty), and the version
        of the table in which it is the newest.

        However many runs there were, only the files are read that by the log's statistics can hold it. Files without
        statistics are read as well, and all of them where the log's number of the last run leads to no row.
        """
        log = self._tip(name)
        version, last = log.version(), log.transaction_version(_APP) or 0
        for pruning in ([("seq", ">=", last)], None):
            rows = self._rows(TABLES[name], self._located(name, log, pruning)).to_pylist()
            row: dict[str, Any] | None = max(rows, key=lambda r: r["seq"], default=None)
            if row is not None and row["seq"] >= last:
                break
        return row, version

    @duck.interruptible()
    def _rows(
        self, table: Table, files: Sequence[str], where: Where | None = None, columns: Columns = None
    ) -> pa.Table:
        schema = table.schema if columns is None else pa.schema([table.schema.field(c) for c in columns])
        if not files or any(not values for values in (where or {}).values()):
            return schema.empty_table()
        con = duck.connection()
        try:
            sql = f"SELECT {', '.join(schema.names)} FROM {relation(table, files)} t"
            for n, (column, values) in enumerate((where or {}).items()):
                con.register(f"wanted_{n}", pa.table({"v": pa.array(sorted(set(values)), pa.string())}))
                sql += f" SEMI JOIN wanted_{n} ON t.{column} = wanted_{n}.v"
            return con.sql(sql).to_arrow_table().cast(schema)
        except duckdb.Error as e:
            duck.forget()
            raise LakeError(
                f"the table {table.name} cannot be read: {e}", advice="Run `nightwarden lake verify`."
            ) from e
        finally:
            con.close()
            del con  # a traceback that is kept must not keep it: DuckDB complains when Python ends

    def files(
        self, name: str, version: int | None = None, where: Where | None = None, pruning: Pruning = ()
    ) -> list[str]:
        """The Parquet files a table consists of at a version; of the partitions that ``where`` asks for, if it does."""
        asked = [(c, "in", sorted(set(where[c]))) for c in TABLES[name].partition if c in where] if where else []
        asked += pruning
        if any(not values for *_, values in asked):
            return []
        return self._located(name, self.open(name, version), asked or None)

    def _located(self, name: str, log: DeltaTable, pruning: Any = None) -> list[str]:
        keys = [f"{name}/{key}" for key in self.keys(log, pruning)]
        try:
            return [str(path) for path in self._place.fetched(keys)]
        except FileNotFoundError as e:
            raise LakeError(f"the file {e} of the lake is gone", advice="Run `nightwarden lake verify`.") from None

    @staticmethod
    def keys(log: DeltaTable, pruning: Any = None) -> list[str]:
        """The Parquet files of an opened table, below its own place."""
        root = unquote(log.table_uri.removeprefix("file://")).rstrip("/") + "/"
        return [
            unquote(u.removeprefix("file://")).removeprefix(root) for u in log.file_uris(file_pruning_predicate=pruning)
        ]

    def keys_of(self, name: str, version: int) -> list[str]:
        """The Parquet files of a table at a version. Raises LakeError."""
        return [f"{name}/{key}" for key in self.keys(self._opened(name, version))]

    def keys_at(self, name: str, versions: Iterable[int]) -> Iterator[str]:
        """The Parquet files of a table at these versions, as far as its log reaches back, and as it is now.

        Raises LakeError: a version that the log still has cannot be opened.
        """
        for version in (None, *sorted(versions)):
            try:
                log = self._opened(name, version)
            except LakeError:
                if version is None or self._remembers(name, version):
                    raise
                continue  # the log has forgotten it: nobody can open it any more
            yield from (f"{name}/{key}" for key in self.keys(log))

    def _remembers(self, name: str, version: int) -> bool:
        """Whether the log leads to a version: from its beginning or a checkpoint, without a hole."""
        log = list(self._log(name))
        commits = {number for number, kind, _ in log if kind == "json"}
        checkpoints = {-1, *(number for number, kind, _ in log if kind.startswith("checkpoint"))}
        while version in commits and version not in checkpoints:
            version -= 1
        return version in checkpoints

    def _log(self, name: str) -> Iterator[tuple[int, str, Entry]]:
        """The files of a table's log: version, kind, entry."""
        for entry in self._place.entries(f"{name}/_delta_log/"):
            number, _, kind = entry.key.rpartition("/")[2].partition(".")
            if number.isdigit():
                yield int(number), kind, entry

    def log_before(self, name: str, version: int) -> Iterator[Entry]:
        """The files of a table's log that nobody needs who opens this version, or a later one: those before the last
        checkpoint that leads to it."""
        log = list(self._log(name))
        whole = [n for n, kind, _ in log if kind == "checkpoint.parquet" and n <= version]
        yield from (entry for n, _, entry in log if n < max(whole, default=0))

    def applied(self, name: str) -> int:
        """The number of the last run whose rows this table holds; 0 when there is none."""
        version: int | None = self._tip(name).transaction_version(_APP)
        return version or 0

    def apply(self, table: Table, rows: pa.Table | pa.RecordBatchReader, seq: int, lain: Collection[str] = ()) -> bool:
        """Append or merge the rows of run ``seq`` unless the table holds them already. Returns whether it wrote.

        A reader is written batch by batch; it must have rows. ``lain`` are the partitions that hold rows to replace, of
        a table of which rows may move.
        """
        if isinstance(rows, pa.Table) and rows.num_rows == 0:
            return False
        return self.commit(table, seq, lambda log, properties: _put(table, log, rows, properties, lain))

    def compact(self, name: str) -> int:
        """Put small files of a table together (``tasks.lake.compaction``). Returns how many times that was needed.

        The next run's row names the version that this makes; what older ones name stays until it is collected. What was
        cut off is done by the next run. Raises LakeError.
        """
        table, log = TABLES[name], self._tip(name)
        column = table.partition[0] if table.partition else None
        adds = log.get_add_actions(flatten=True)
        sizes = adds["size_bytes"].to_pylist()
        lie_in = adds[f"partition.{column}"].to_pylist() if column else [None] * len(sizes)
        months = [p for p in lie_in if p is not None and p < THERE]
        done = 0
        try:
            for part, size in due(map(File, lie_in, sizes), current=max(months, default=None)):
                log.optimize.compact(
                    partition_filters=[(column, "=", part)] if column else None,
                    target_size=size, max_concurrent_tasks=1, writer_properties=FORM,
                )  # fmt: skip
                done += 1
        except (DeltaError, OSError) as e:
            self._tips.pop(name, None)
            raise LakeError(
                f"the table {name} cannot be written: {self._place.plain(e)}",
                advice="Nothing is lost: run the same command again.",
            ) from None
        return done

    def take_out(self, name: str, keys: pa.Table, seq: int) -> bool:
        """Remove the rows whose values in the columns of ``keys`` stand there, unless run ``seq`` has already."""
        on = " AND ".join(f"t.{k} = s.{k}" for k in keys.column_names)

        def write(log: DeltaTable, properties: CommitProperties) -> None:
            merger = log.merge(keys, predicate=on, source_alias="s", target_alias="t", commit_properties=properties)
            merger.when_matched_delete().execute()

        return keys.num_rows > 0 and self.commit(TABLES[name], seq, write)

    def exchange_runs(self, row: pa.Table, gone: Sequence[str], seq: int) -> bool:
        """Add one row to ``runs`` and remove others, in one commit."""
        run_ids = pa.table({"run_id": pa.array(gone, pa.string()), "is_gone": [True] * len(gone)})
        given = row.append_column("is_gone", pa.array([False] * row.num_rows))
        loose = pa.schema([f.with_nullable(True) for f in given.schema])  # of those that go only the id is told
        source = pa.concat_tables([given.cast(loose), run_ids], promote_options="default")

        def write(log: DeltaTable, properties: CommitProperties) -> None:
            merger = log.merge(
                source, predicate="t.run_id = s.run_id", source_alias="s", target_alias="t",
                commit_properties=properties,
            )  # fmt: skip
            merger.when_matched_delete(predicate="s.is_gone").when_not_matched_insert(
                {c: f"s.{c}" for c in TABLES["runs"].schema.names}, predicate="NOT s.is_gone"
            ).execute()

        return self.commit(TABLES["runs"], seq, write)

    def commit(self, table: Table, seq: int, write: Callable[[DeltaTable, CommitProperties], None]) -> bool:
        """One commit of run ``seq``, unless the table has it. What is looked at is what is written to: if another
        run commits in between, delta-rs refuses, because both name the same application.

        Raises LakeError.
        """
        log = self._tip(table.name)
        if (log.transaction_version(_APP) or 0) >= seq:
            return False
        try:
            _keep_log(log)
            write(log, CommitProperties(app_transactions=[Transaction(_APP, seq)]))
        except (DeltaError, OSError) as e:
            self._tips.pop(table.name, None)
            if isinstance(e, CommitFailedError) and self.applied(table.name) >= seq:
                return False  # who took the lake over has finished this run
            raise LakeError(
                f"the table {table.name} cannot be written: {self._place.plain(e)}",
                advice="Nothing is lost: run the same command again.",
            ) from None
        return True


def _keep_log(log: DeltaTable) -> None:
    """Of a table that was made before we said so: before the commit at which Delta would clear its log."""
    if _KEEP_LOG.items() <= log.metadata().configuration.items():
        return
    neither = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)
    log.alter.set_table_properties(_KEEP_LOG, post_commithook_properties=neither)


def _put(
    table: Table,
    log: DeltaTable,
    rows: pa.Table | pa.RecordBatchReader,
    properties: CommitProperties,
    lain: Collection[str],
) -> None:
    if table.before is not None and not lain:  # nothing is replaced
        rows = _without(rows, table.before)
    rows = _bare(rows)
    if table.mode == "append" or (table.before is not None and not lain):
        write_deltalake(
            log, rows, mode="append", partition_by=list(table.partition) or None,
            writer_properties=FORM, commit_properties=properties,
        )  # fmt: skip
        return
    on = [f"t.{k} = s.{k}" for k in table.key]
    if table.before is not None:
        # Told as a list, these partitions alone are opened.
        (column,), named = table.partition, ", ".join(f"'{p}'" for p in sorted(lain))
        on = [f"t.{column} IN ({named})", f"t.{column} = s.{table.before}", *on]
    columns = {c: f"s.{c}" for c in table.schema.names}
    (
        log.merge(
            rows,
            predicate=" AND ".join(on),
            source_alias="s",
            target_alias="t",
            writer_properties=FORM,
            commit_properties=properties,
        )
        .when_matched_update(columns)
        .when_not_matched_insert(columns)
        .execute()
    )


def _bare(rows: pa.Table | pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The rows without the columns' meanings: a table that was made when a meaning was told in other words would take
    no row that tells it in ours (Delta: "Cannot merge metadata with different values")."""
    bare = pa.schema([f.remove_metadata() for f in rows.schema])
    batches = rows.to_batches() if isinstance(rows, pa.Table) else rows
    return pa.RecordBatchReader.from_batches(
        bare, (pa.RecordBatch.from_arrays(b.columns, schema=bare) for b in batches)
    )


def _without(rows: pa.Table | pa.RecordBatchReader, column: str) -> pa.Table | pa.RecordBatchReader:
    if isinstance(rows, pa.Table):
        return rows.drop_columns(column)
    schema = rows.schema.remove(rows.schema.get_field_index(column))
    return pa.RecordBatchReader.from_batches(schema, (b.drop_columns([column]) for b in rows))


def to_arrow(table: Table, rows: list[dict[str, Any]], *, merged: bool = False) -> pa.Table:
    """Rows as an Arrow table of the table's schema (or of what is ``merged`` into it); text that is not UTF-8 is made
    so, loudly marked by U+FFFD."""
    schema = table.merged if merged else table.schema
    try:
        return pa.Table.from_pylist(rows, schema=schema)
    except (UnicodeEncodeError, pa.ArrowInvalid):
        clean = [{k: _utf8(v) for k, v in row.items()} for row in rows]
        return pa.Table.from_pylist(clean, schema=schema)


def _utf8(value: Any) -> Any:
    if isinstance(value, list):
        return [_utf8(v) for v in value]
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value
