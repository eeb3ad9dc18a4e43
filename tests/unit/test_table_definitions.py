"""Table definitions for Athena and Spark: they parse, and name every column of the schema with its type."""

from __future__ import annotations

import re

import pytest
import sqlglot
from sqlglot import exp

from tasks.core.errors import UsageError
from tasks.lake.schema import TABLES
from tasks.lake.table_definitions import FILES, athena_ddl, spark_ddl, type_of

AT = "s3://bucket/it's"
TEXTS = {"athena": athena_ddl(AT, "sec"), "spark": spark_ddl(AT, "sec")}


def created(dialect: str) -> dict[str, exp.Create]:
    """The statements by the table they make; what cannot be parsed is an error."""
    found = [s for s in sqlglot.parse(TEXTS[dialect], dialect=dialect) if s is not None]
    assert all(isinstance(s, exp.Create) for s in found)
    tables = {s.find(exp.Table).name: s for s in found if s.args["kind"] == "TABLE"}
    assert len(found) == len(tables) + 1, "one more for the database"
    return tables


@pytest.mark.parametrize("dialect", ["athena", "spark"])
def test_every_table_is_made_from_where_it_lies(dialect: str) -> None:
    tables = created(dialect)
    more = {"mart_findings"} if dialect == "athena" else {"mart_findings", *(f"mart_{f}" for f in FILES)}
    assert set(tables) == {*TABLES, *more}
    for name, statement in tables.items():
        (location,) = [p.this.this for p in statement.find_all(exp.LocationProperty)]
        folder = name if name in TABLES else f"marts/{name.removeprefix('mart_')}"
        assert location.rstrip("/").removesuffix(".parquet") == f"{AT}/{folder}"
        if name in TABLES:
            assert not list(statement.find_all(exp.ColumnDef)), "columns of a Delta table come from its log"
            assert "delta" in statement.sql(dialect=dialect).lower()


@pytest.mark.parametrize("dialect", ["athena", "spark"])
def test_the_marts_columns_have_their_types_and_meanings(dialect: str) -> None:
    columns = list(created(dialect)["mart_findings"].find_all(exp.ColumnDef))
    schema = TABLES["findings"].schema
    assert [c.name for c in columns] == schema.names
    for column, field in zip(columns, schema, strict=True):
        assert column.args["kind"].sql(dialect="hive").lower() == type_of(field)
        assert column.find(exp.CommentColumnConstraint).this.this == field.metadata[b"comment"].decode()


@pytest.mark.parametrize("dialect", ["athena", "spark"])
def test_comments_tell_all_columns_of_all_tables(dialect: str) -> None:
    told = re.findall(r"^--   (\w+) (\S+?)(?:, never null)?: ", TEXTS[dialect], re.MULTILINE)
    assert told == [(f.name, type_of(f)) for t in TABLES.values() for f in t.schema]


def test_what_cannot_be_said_is_refused() -> None:
    with pytest.raises(UsageError, match="S3 only"):
        athena_ddl("/srv/lake", "sec")
    for name in ("a b", "a;DROP TABLE x", "", "é"):
        with pytest.raises(UsageError, match="no name"):
            spark_ddl(AT, name)
    assert "LOCATION 'file:///srv/lake/runs'" in spark_ddl("/srv/lake/", "sec")
