"""One DuckDB in memory for all reads and joins of a process, and one for what users ask.

Starting one takes 30 ms of a processor, a further connection to it 0.02 ms, and a patrol reads some fifteen times.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

#: What DuckDB (2.0.0) gets wrong: asked for the first rows of a group (``row_number() … = 1``) over a join of Parquet
#: files, it fetched rows anew and filled a column with another one (like https://github.com/duckdb/duckdb/pull/25267).
DISABLED_OPTIMIZERS = "top_n_window_elimination"
#: By process: one that was forked must not use, nor close, what its parent started.
_started: dict[int, duckdb.DuckDBPyConnection] = {}
#: The same of one that is confined to a folder: the last folder.
_confined: dict[int, tuple[str, duckdb.DuckDBPyConnection]] = {}


def connection() -> duckdb.DuckDBPyConnection:
    """A connection of its own, to be closed: what is registered there, and temporary tables, nobody else sees.

    Thread-safe. A table that is not temporary stays for all.
    """
    pid = os.getpid()
    found = _started.get(pid)
    if found is None:
        # What a file held is not remembered: the next reader looks at the file.
        fresh = duckdb.connect(":memory:", config={"enable_external_file_cache": "false"})
        fresh.execute(f"SET GLOBAL disabled_optimizers = '{DISABLED_OPTIMIZERS}'")
        fresh.execute("SET GLOBAL TimeZone = 'UTC'")  # months and days are those of UTC, wherever we are
        found = _started.setdefault(pid, fresh)
    return found.cursor()


def confined(folder: str) -> duckdb.DuckDBPyConnection:
    """The same to a DuckDB for what others ask: it reads below one folder and nothing else, loads nothing, and none of
    its settings can be changed. Of the last folder one is kept.
    """
    pid = os.getpid()
    kept = _confined.get(pid)
    if kept is None or kept[0] != folder:
        fresh = duckdb.connect(
            ":memory:",
            config={
                "autoinstall_known_extensions": "false", "autoload_known_extensions": "false",
                "disabled_optimizers": DISABLED_OPTIMIZERS, "enable_external_file_cache": "false",
            },
        )  # fmt: skip
        fresh.execute("SET GLOBAL TimeZone = 'UTC'")
        fresh.execute("SET allowed_directories = ?", [[folder]])
        fresh.execute("SET enable_external_access = false")
        fresh.execute("SET lock_configuration = true")
        kept = _confined[pid] = (folder, fresh)
    return kept[1].cursor()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal end what DuckDB does, as one outside it would: raises KeyboardInterrupt.

    DuckDB (2.0) looks for signals while it works, drops the exception that their handler raised and raises a
    RuntimeError of its own, which says nothing of its cause.
    """
    try:
        yield
    except RuntimeError as e:
        if str(e) != "Query interrupted":
            raise
        forget()
        raise KeyboardInterrupt from None


def forget() -> None:
    """Let the next reader start anew: after an error of its own DuckDB refuses all. Who reads now is left alone."""
    _started.pop(os.getpid(), None)
    _confined.pop(os.getpid(), None)


# DuckDB complains when it is still there as Python ends.
atexit.register(forget)
