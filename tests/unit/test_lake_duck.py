"""The DuckDB that all reads of a process share: readers do not see each other, and an error ends it for nobody else."""

from __future__ import annotations

import signal

import duckdb
import pyarrow as pa
import pytest
import typer

from flows.interruption import told
from tasks.core import duck


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


def interrupted(number: signal.Signals) -> None:
    """A query that a signal comes to: DuckDB drops what the handler raised, and raises an error of its own."""
    try:
        signal.raise_signal(number)
    except BaseException:
        raise RuntimeError("Query interrupted") from None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_query_as_it_ends_a_command(number: signal.Signals, code: int) -> None:
    # A shell starts what it puts into the background with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(typer.Exit) as ended, told("nothing is lost."), duck.interruptible():
            interrupted(number)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.exit_code == code


def test_another_error_of_that_kind_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="something else"), duck.interruptible():
        raise RuntimeError("something else")
