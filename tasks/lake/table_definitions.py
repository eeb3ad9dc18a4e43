"""SQL that makes the tables and marts of a lake known to Amazon Athena and to Apache Spark. Made from the schema.

Both read the columns of a Delta table from its log and refuse others, so its statement names none; they stand above it
as comments. ``mart_findings`` are plain Parquet files, so their statement names all.

Sources: https://docs.aws.amazon.com/athena/latest/ug/delta-lake-tables.html (``table_type`` = ``DELTA``, read only) and
https://docs.delta.io/latest/delta-batch.html (``USING DELTA LOCATION``).
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from tasks.core.errors import UsageError
from tasks.lake.columns import Table
from tasks.lake.schema import TABLES

#: Types of columns, as Hive, Athena and Spark call them alike.
_TYPES = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamp",
    pa.list_(pa.string()): "array<string>",
}
#: Marts that are one file each; Athena reads folders only.
FILES = ("gaps", "freshness")


def athena_ddl(place: str, database: str) -> str:
    """The statements for Athena (engine 3), each ended by a semicolon. Raises UsageError: ``place`` is not on S3."""
    _check(database)
    if not place.startswith("s3://"):
        raise UsageError(
            f"Athena reads S3 only, and the lake is in {place}", advice="Say where it sees the lake: --at s3://…"
        )
    at = place.rstrip("/")
    parts = [f"CREATE DATABASE IF NOT EXISTS {database};"]
    for name, table in TABLES.items():
        parts.append(
            f"{_told(table)}\nCREATE EXTERNAL TABLE {database}.{name}\n"
            f"LOCATION {_quoted(f'{at}/{name}/')}\nTBLPROPERTIES ('table_type' = 'DELTA');"
        )
    parts.append(
        f"-- marts/findings: the table findings as plain Parquet files.\n"
        f"CREATE EXTERNAL TABLE {database}.mart_findings (\n{_columns()}\n)\n"
        f"STORED AS PARQUET\nLOCATION {_quoted(f'{at}/marts/findings/')};"
    )
    return "\n\n".join(parts)


def spark_ddl(place: str, database: str) -> str:
    """The statements for Spark SQL with Delta Lake, each ended by a semicolon."""
    _check(database)
    at = place.rstrip("/")
    at = f"file://{at}" if at.startswith("/") else at
    parts = [f"CREATE DATABASE IF NOT EXISTS {database};"]
    for name, table in TABLES.items():
        parts.append(
            f"{_told(table)}\nCREATE TABLE IF NOT EXISTS {database}.{name}\n"
            f"USING DELTA\nLOCATION {_quoted(f'{at}/{name}')};"
        )
    parts.append(
        f"-- marts/findings: the table findings as plain Parquet files.\n"
        f"CREATE TABLE IF NOT EXISTS {database}.mart_findings (\n{_columns()}\n)\n"
        f"USING PARQUET\nLOCATION {_quoted(f'{at}/marts/findings')};"
    )
    for name in FILES:
        parts.append(
            f"CREATE TABLE IF NOT EXISTS {database}.mart_{name}\n"
            f"USING PARQUET\nLOCATION {_quoted(f'{at}/marts/{name}.parquet')};"
        )
    return "\n\n".join(parts)


def type_of(field: pa.Field) -> str:
    """The type of a column in the words of Hive, Athena and Spark."""
    return _TYPES[field.type]


def _told(table: Table) -> str:
    columns = (f"--   {f.name} {type_of(f)}{'' if f.nullable else ', never null'}: {_meaning(f)}" for f in table.schema)
    return "\n".join((f"-- {table.name}: {table.description} Key: {', '.join(table.key)}.", *columns))


def _columns() -> str:
    return ",\n".join(_column_lines())


def _column_lines() -> Iterator[str]:
    for f in TABLES["findings"].schema:
        yield f"  `{f.name}` {type_of(f)} COMMENT {_quoted(_meaning(f))}"


def _meaning(field: pa.Field) -> str:
    return str(field.metadata[b"comment"].decode())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _check(database: str) -> None:
    if not (database.isascii() and database.isidentifier()):
        raise UsageError(
            f"{database!r} is no name for a database", advice="Use letters, digits and underscores, a letter first."
        )
