"""The storage calls: Delta tables in a folder. The one module to change for another storage."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from tasks.core.errors import LakeError
from tasks.lake import duck
from tasks.lake.schema import TABLES, Table

#: One application id for all commits; its version is the run's number, so a commit is never applied twice.
_APP = "nightwarden"
_SURROGATE = re.compile("[\ud800-\udfff]")
#: Column to the values that are asked for.
Where = Mapping[str, Collection[str]]
Columns = Sequence[str] | None


def relation(table: Table, files: Sequence[str]) -> str:
    """The files of a table as a DuckDB relation."""
    listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
    # Partitions are folders (part=2026-11); their names are text, whatever they look like.
    kinds = "{" + ", ".join(f"'{p}': VARCHAR" for p in table.partition) + "}"
    hive = f"hive_partitioning = true, hive_types = {kinds}" if table.partition else "hive_partitioning = false"
    return f"read_parquet([{listed}], {hive})"


class Store:
    """Delta tables below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """The folder of a table."""
        return self._root / name

    def create(self) -> None:
        """Make the tables that are not there."""
        for table in TABLES.values():
            if not DeltaTable.is_deltatable(str(self.path(table.name))):
                DeltaTable.create(
                    str(self.path(table.name)),
                    schema=Schema.from_arrow(table.schema),
                    mode="ignore",
                    name=table.name,
                    description=table.description,
                    partition_by=list(table.partition) or None,
                )

    def open(self, name: str, version: int | None = None) -> DeltaTable:
        """A table at a version (the newest when None). Raises LakeError."""
        try:
            return DeltaTable(str(self.path(name)), version=version)
        except (DeltaError, OSError, ValueError) as e:
            raise LakeError(
                f"the table {name} cannot be opened{'' if version is None else f' at version {version}'}: {e}",
                advice="Run `nightwarden lake verify`; restore the folder from a backup.",
            ) from e

    def columns(self, name: str, version: int | None = None) -> list[str]:
        """The columns a table has."""
        return [f.name for f in self.open(name, version).schema().fields]

    def version(self, name: str) -> int:
        """The newest version of a table."""
        return self.open(name).version()

    def read(
        self, name: str, version: int | None = None, where: Where | None = None, columns: Columns = None
    ) -> pa.Table:
        """Rows of a table whose ``where`` columns hold one of the values asked for.

        DuckDB reads the files: over a pyarrow dataset a filter fails, because Parquet that delta-rs (1.6) merged
        is typed as string views, which Arrow 26 cannot compare with strings.
        """
        return self._rows(TABLES[name], self.files(name, version, where), where, columns)

    def newest(self, name: str) -> dict[str, Any] | None:
        """The row with the greatest ``seq`` of a table that has one; None when the table is empty.

        However many runs there were, only the files are read that by the log's statistics can hold it. Files without
        statistics are read as well, and all of them where the log's number of the last run leads to no row.
        """
        log = self.open(name)
        last = log.transaction_version(_APP) or 0
        for pruning in ([("seq", ">=", last)], None):
            rows = self._rows(TABLES[name], self._located(name, log, pruning)).to_pylist()
            row: dict[str, Any] | None = max(rows, key=lambda r: r["seq"], default=None)
            if row is not None and row["seq"] >= last:
                break
        return row

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

    def files(self, name: str, version: int | None = None, where: Where | None = None) -> list[str]:
        """The Parquet files a table consists of at a version; of the partitions that ``where`` asks for, if it does."""
        asked = [(c, "in", sorted(set(where[c]))) for c in TABLES[name].partition if c in where] if where else []
        if any(not values for *_, values in asked):
            return []
        return self._located(name, self.open(name, version), asked or None)

    def _located(self, name: str, log: DeltaTable, pruning: Any = None) -> list[str]:
        root = str(self.path(name).resolve()) + "/"
        uris = log.file_uris(file_pruning_predicate=pruning)
        return [str(self.path(name) / unquote(uri.removeprefix("file://")).removeprefix(root)) for uri in uris]

    def applied(self, name: str) -> int:
        """The number of the last run whose rows this table holds; 0 when there is none."""
        version: int | None = self.open(name).transaction_version(_APP)
        return version or 0

    def apply(self, table: Table, rows: pa.Table | pa.RecordBatchReader, seq: int) -> bool:
        """Append or merge the rows of run ``seq`` unless the table holds them already. Returns whether it wrote.

        A reader is written batch by batch; it must have rows.
        """
        if (isinstance(rows, pa.Table) and rows.num_rows == 0) or self.applied(table.name) >= seq:
            return False
        properties = CommitProperties(app_transactions=[Transaction(_APP, seq)])
        if table.mode == "append":
            write_deltalake(
                str(self.path(table.name)),
                rows,
                mode="append",
                partition_by=list(table.partition) or None,
                commit_properties=properties,
            )
            return True
        on = " AND ".join(f"t.{k} = s.{k}" for k in table.key)
        (
            self.open(table.name)
            .merge(rows, predicate=on, source_alias="s", target_alias="t", commit_properties=properties)
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute()
        )
        return True


def to_arrow(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as an Arrow table of the table's schema; text that is not UTF-8 is made so, loudly marked by U+FFFD."""
    try:
        return pa.Table.from_pylist(rows, schema=table.schema)
    except (UnicodeEncodeError, pa.ArrowInvalid):
        clean = [{k: _utf8(v) for k, v in row.items()} for row in rows]
        return pa.Table.from_pylist(clean, schema=table.schema)


def _utf8(value: Any) -> Any:
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value
