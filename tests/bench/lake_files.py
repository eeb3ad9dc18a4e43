"""Read a lake from its files: the Delta logs with the standard library, the Parquet with DuckDB.

No module of the product takes part, so that what is compared with the product is not read by it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb


def files_of(table: Path) -> list[str]:
    """The Parquet files that the newest version of a Delta table consists of."""
    log = table / "_delta_log"
    live: dict[str, None] = {}
    start = -1
    pointer = log / "_last_checkpoint"
    if pointer.is_file():
        start = int(json.loads(pointer.read_text())["version"])
        sql = "SELECT add.path FROM read_parquet(?) WHERE add.path IS NOT NULL"
        for (path,) in duckdb.execute(sql, [str(log / f"{start:020d}.checkpoint.parquet")]).fetchall():
            live[path] = None
    for commit in sorted(log.glob("*.json")):
        if not commit.stem.isdigit() or int(commit.stem) <= start:
            continue
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                live[action["add"]["path"]] = None
            elif "remove" in action:
                live.pop(action["remove"]["path"], None)
    return [str(table / unquote(path)) for path in live]


def connect(lake: Path) -> duckdb.DuckDBPyConnection:
    """A connection with the tables of a lake, and ``latest``: each scope's scan in the last run that expected it."""
    con = duckdb.connect(":memory:")
    for log in sorted(lake.glob("*/_delta_log")):
        files = files_of(log.parent)
        if files:
            listed = ", ".join("'" + f.replace("'", "''") + "'" for f in files)
            sql = f"SELECT * FROM read_parquet([{listed}], hive_partitioning = false, union_by_name = true)"
            con.execute(f'CREATE VIEW "{log.parent.name}" AS {sql}')
    con.execute("""
        CREATE VIEW latest AS SELECT s.* EXCLUDE (seq) FROM (
            SELECT s.*, r.seq, max(r.seq) OVER (PARTITION BY repo_id, ref, tool) AS newest
            FROM scans s JOIN runs r USING (run_id)) s WHERE seq = newest""")
    return con


def rows(con: duckdb.DuckDBPyConnection, sql: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
    """The rows of a query by name."""
    cursor = con.execute(sql, parameters or [])
    names = [d[0] for d in cursor.description or ()]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
