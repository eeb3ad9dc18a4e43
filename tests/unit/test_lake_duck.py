"""The DuckDB that all reads of a process share: readers do not see each other, and an error ends it for nobody else."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from tasks.lake import duck


def test_what_one_reader_registers_no_other_one_sees() -> None:
    one, other = duck.connection(), duck.connection()
    one.register("wanted", pa.table({"v": [1]}))
    with pytest.raises(duckdb.CatalogException):
        other.sql("SELECT * FROM wanted")
    assert one.sql("SELECT v FROM wanted").fetchall() == [(1,)]


def test_it_is_started_once_and_anew_after_an_error() -> None:
    duck.forget()
    duck.connection().execute("CREATE TABLE here (v INTEGER)")
    reader = duck.connection()
    assert reader.execute("SELECT * FROM here").fetchall() == [], "another connection to the same one"
    duck.forget()
    with pytest.raises(duckdb.CatalogException):
        duck.connection().execute("SELECT * FROM here")
    assert reader.execute("SELECT * FROM here").fetchall() == [], "who reads is left alone"
