"""The views of the policy over tables of a test's own, without a lake."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import duckdb

from tasks.lake import views
from tasks.lake.schema import TABLES
from tasks.lake.store import to_arrow
from tasks.policy import POLICY

#: When the newest run ended.
NOW = datetime(2026, 6, 1, 2, 0, tzinfo=UTC)
_READ = (
    "runs", "repositories", "scopes", "findings", "finding_events", "decisions", "teams", "packages", "advisories",
    "advisory_feeds", "enrichment", "vulnerabilities", "upgrades", "releases",
)  # fmt: skip


@contextmanager
def policy_views() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with the views, over tables that ``fill`` fills."""
    with duckdb.connect(":memory:") as opened:
        opened.execute("SET TimeZone = 'UTC'")
        fill(opened)
        opened.sql("CREATE TABLE reasons (code VARCHAR, meaning VARCHAR)")
        for name in (
            "patrols", "findings_counted", "findings_over_refs", "decisions_now", "vulnerable", "inventory",
        ):  # fmt: skip
            opened.sql(f"CREATE VIEW {name} AS {views._VIEWS[name]}")
        for view in POLICY.views:
            opened.sql(f"CREATE VIEW {view.name} AS {view.sql}")
        yield opened


def fill(con: duckdb.DuckDBPyConnection, **tables: list[dict[str, Any]]) -> None:
    """Tables with these rows; what is not said of a row is null, and tables that are not named are empty."""
    rows = {"runs": [{"seq": 1, "finished_at": NOW}], **tables}
    for name in _READ:
        con.register(name, to_arrow(TABLES[name], rows.get(name, [])))


def finding(uid: str, **more: Any) -> dict[str, Any]:
    """A row of ``findings``."""
    values = {
        "finding_uid": uid, "repo_id": "app", "ref": "main", "tool": "bandit", "slug": "app", "kind": "code",
        "rule_id": "R1", "severity_tool": "HIGH", "status": "open", "scan_status": "open", "is_open": True,
        "first_seen_at": NOW, "opened_at": NOW, "origin": "code",
    }  # fmt: skip
    return {**values, **more}


def asked(con: duckdb.DuckDBPyConnection, sql: str) -> list[dict[str, Any]]:
    """The rows of an answer."""
    rows: list[dict[str, Any]] = con.sql(sql).to_arrow_table().to_pylist()
    return rows
