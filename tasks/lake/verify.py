"""Checks that a lake is whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core import duck
from tasks.core.errors import LakeError
from tasks.lake.gc import marks
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.pending import committed, pending
from tasks.lake.places import DeafStorageError, Teller
from tasks.lake.schema import TABLES
from tasks.lake.shelves import THERE
from tasks.lake.views import connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, in one table or folder."""

    table: str
    message: str


#: When the scope ``s`` came to its result, rules of the pack of finding ``f`` did not run, so that it may have stayed
#: open (``tasks.lake.findings``). The runs of a result agree on that, but for those in which it awaits an upgrade.
_RULES_DID_NOT_RUN = (
    "SELECT 1 FROM scans n JOIN scans p USING (run_id) WHERE n.repo_id = s.repo_id AND n.ref = s.ref"
    " AND n.tool = s.tool AND n.result_name = s.result_name AND n.reason_code IS DISTINCT FROM 'awaiting_upgrade'"
    " AND p.tool = s.tool AND starts_with(p.repo_id, 'pack:') AND p.outcome IN ('failed', 'stale')"
    " AND starts_with(f.rule_id, substr(p.repo_id, 6) || '.')"
)
#: Each query counts rows that must not exist.
_CHECKS = (
    ("scans", "refer to a result the ledger lacks",
     "SELECT count(*) FROM scans s ANTI JOIN ledger l USING (result_name) WHERE s.result_name IS NOT NULL"),
    ("scans", "belong to no run", "SELECT count(*) FROM scans s ANTI JOIN runs r USING (run_id)"),
    ("observations", "belong to no result",
     "SELECT count(*) FROM observations o ANTI JOIN ledger l USING (result_name)"),
    ("scan_gaps", "belong to no result", "SELECT count(*) FROM scan_gaps g ANTI JOIN ledger l USING (result_name)"),
    ("scan_gaps", "have an unknown reason",
     "SELECT count(*) FROM scan_gaps g ANTI JOIN reasons r ON r.code = g.reason_code"),
    ("scans", "have an unknown reason",
     "SELECT count(*) FROM scans s ANTI JOIN reasons r ON r.code = s.reason_code WHERE s.reason_code IS NOT NULL"),
    ("ledger", "count other observations than there are",
     "SELECT count(*) FROM ledger l LEFT JOIN (SELECT result_name, count(*) AS n FROM observations GROUP BY 1) o"
     " USING (result_name) WHERE l.observations <> coalesce(o.n, 0)"),
    ("ledger", "count other gaps than there are",
     "SELECT count(*) FROM ledger l LEFT JOIN (SELECT result_name, count(*) AS n FROM scan_gaps GROUP BY 1) g"
     " USING (result_name) WHERE l.gaps <> coalesce(g.n, 0)"),
    ("scans", "belong to no scope", "SELECT count(*) FROM scans s ANTI JOIN scopes c USING (repo_id, ref, tool)"),
    ("findings", "lie where another status belongs",
     f"SELECT count(*) FROM findings WHERE (shelf >= '{THERE}') <> (scan_status IN ('open', 'reopened'))"),
    ("findings", "belong to no scope", "SELECT count(*) FROM findings f ANTI JOIN scopes c USING (repo_id, ref, tool)"),
    ("scopes", "belong to no repository", "SELECT count(*) FROM scopes s ANTI JOIN repositories r USING (repo_id)"),
    ("scopes", "refer to a result the ledger lacks",
     "SELECT count(*) FROM scopes s ANTI JOIN ledger l USING (result_name) WHERE s.result_name IS NOT NULL"),
    ("findings", "are open without being in the scope's current result",
     "SELECT count(*) FROM findings f JOIN scopes s USING (repo_id, ref, tool)"
     " ANTI JOIN (SELECT result_name, anchor_uid FROM observations) o"
     " ON o.result_name = s.result_name AND o.anchor_uid = f.anchor_uid"
     " WHERE f.scan_status IN ('open', 'reopened')"
     " AND s.result_name IS NOT NULL AND NOT EXISTS (SELECT 1 FROM scan_gaps g"
     " WHERE g.result_name = s.result_name AND (g.path IN (f.path, '') OR list_contains(f.unread_paths, g.path)))"
     f" AND NOT EXISTS ({_RULES_DID_NOT_RUN})"),
    ("findings", "have another status than their last event",
     "SELECT count(*) FROM findings f LEFT JOIN (SELECT finding_uid, ref, tool, arg_max(status, seq) AS last FROM"
     " finding_events GROUP BY ALL) e USING (finding_uid, ref, tool) WHERE f.status IS DISTINCT FROM e.last"),
    ("finding_events", "do not begin where the one before ended",
     "SELECT count(*) FROM (SELECT status_before, lag(status) OVER (PARTITION BY finding_uid, ref, tool ORDER BY seq)"
     " AS until_then FROM finding_events) WHERE status_before IS DISTINCT FROM until_then"),
    ("scopes", "name another month than the ledger for their result",
     "SELECT count(*) FROM scopes s JOIN ledger l USING (result_name) WHERE s.result_part IS DISTINCT FROM l.part"),
    ("runs", "expected other than their scans",
     "SELECT count(*) FROM runs r LEFT JOIN (SELECT run_id, count(*) AS n FROM scans GROUP BY 1) s USING (run_id)"
     " WHERE r.expected <> coalesce(s.n, 0)"),
)  # fmt: skip


#: Marts: the view that they hold, and the columns that no newer program writes otherwise.
_MARTS = {
    "findings": (f"(SELECT * FROM findings WHERE shelf >= '{THERE}')", ", ".join(TABLES["findings"].schema.names)),
    "gaps": ("gaps_now", "repo_id, slug, ref, tool, outcome, reason_code, path, detail, evidence_at"),
    "freshness": ("freshness", "repo_id, slug, ref, tool, outcome, reason_code, evidence_at, commit, attempts"),
}
#: So long before the newest run the tables as of a run can be opened, unless a collection says otherwise.
_OPENABLE = timedelta(days=30)


@duck.interruptible()
def verify(lake: Lake, tell: Teller = lambda _line: None) -> list[Problem]:
    """Everything that is wrong with a lake; empty when it is whole. ``tell`` is told of a run that publishes
    meanwhile: what it has not finished is not wrong."""
    return list(_problems(lake, tell))


def _problems(lake: Lake, tell: Teller) -> Iterator[Problem]:
    yield from _settled(lake, _waiting, tell)
    try:
        lake.place.check_conditions()
    except DeafStorageError as e:
        yield Problem(table="storage", message=e.message)
    except LakeError:
        pass  # who may only read cannot try; what else is wrong is found below
    try:
        snapshot = lake.snapshot()
    except LakeError as e:
        yield Problem(table="runs", message=e.message)
        return
    unreadable = list(_unreadable(lake, snapshot))
    yield from unreadable
    if unreadable:
        return  # the questions below need every table
    yield from _runs(lake, snapshot)
    con = connect(snapshot)
    for name, table in TABLES.items():
        key = ", ".join(table.key)
        extra = con.execute(
            f"SELECT count(*) FROM (SELECT 1 FROM {name} GROUP BY {key} HAVING count(*) > 1)"
        ).fetchone()
        if extra and extra[0]:
            yield Problem(table=name, message=f"{extra[0]} keys stand there more than once")
    for name, words, sql in _CHECKS:
        bad = con.execute(sql).fetchone()
        if bad and bad[0]:
            yield Problem(table=name, message=f"{bad[0]} rows {words}")
    yield from _kept_reports(lake, con)
    yield from _settled(lake, _marts, tell)


def _settled(lake: Lake, look: Callable[[Lake], Iterator[Problem]], tell: Teller) -> list[Problem]:
    """What is wrong and no run is about to finish. A publish may end while we look: hence the second look."""
    found: list[Problem] = []
    for _ in range(2):
        found = list(look(lake))
        if not found:
            break
        if (holder := lake.place.holder()) and pending(lake):
            tell(f"a run ({holder}) is publishing: what it has not finished is left out")
            return []
    return found


def _waiting(lake: Lake) -> Iterator[Problem]:
    for folder, entries in pending(lake).items():
        # What never got a number is nothing; it goes by itself.
        if lake.place.lock_is_sure or committed(lake, folder, entries):
            name = folder.removeprefix("_pending/")
            yield Problem(table="_pending", message=f"{name} waits to be finished by the next run")


def _unreadable(lake: Lake, snapshot: Snapshot) -> Iterator[Problem]:
    for name, table in TABLES.items():
        try:
            missing = sorted(set(table.schema.names) - set(lake.store.columns(name, snapshot.versions.get(name))))
            if missing:
                yield Problem(table=name, message=f"lacks the columns {', '.join(missing)}")
            else:
                for _ in snapshot.batches(name):
                    pass
        except LakeError as e:
            yield Problem(table=name, message=e.message)


def _runs(lake: Lake, snapshot: Snapshot) -> Iterator[Problem]:
    rows = snapshot.table("runs").to_pylist()
    numbers = sorted(r["seq"] for r in rows)
    # Before this number a collection of garbage may have left holes.
    whole_from = int(marks(lake).get("whole_from", 1))
    if [n for n in numbers if n >= whole_from] != list(range(whole_from, snapshot.seq + 1)):
        yield Problem(table="runs", message="the numbers of the runs have holes")
    for row in rows:
        for name, version in json.loads(row["table_versions"]).items():
            if version > lake.store.version(name):
                yield Problem(table=name, message=f"run {row['seq']} refers to version {version}, which is not there")
    yield from _older(lake, rows)


def _older(lake: Lake, rows: list[dict[str, Any]]) -> Iterator[Problem]:
    """Of runs that can be opened as they were, what is lost."""
    first = int(marks(lake).get("snapshots_from", 0))
    since = max((r["finished_at"] for r in rows), default=None)
    seen: dict[str, dict[int, int]] = {}
    for row in sorted(rows, key=lambda r: r["seq"]):
        if row["seq"] >= first and since is not None and row["finished_at"] >= since - _OPENABLE:
            for name, version in json.loads(row["table_versions"]).items():
                seen.setdefault(name, {}).setdefault(version, row["seq"])
    for name, versions in seen.items():
        there = {e.key for e in lake.place.entries(f"{name}/")}
        for version, seq in versions.items():
            if version > lake.store.version(name):
                continue
            try:
                lost = len(set(lake.store.keys_of(name, version)) - there)
            except LakeError as e:
                yield Problem(table=name, message=f"as run {seq} saw it: {e.message}")
                continue
            if lost:
                yield Problem(table=name, message=f"{lost} files are gone that it had when run {seq} saw it")


def _kept_reports(lake: Lake, con: duckdb.DuckDBPyConnection) -> Iterator[Problem]:
    wanted = con.execute("SELECT DISTINCT unnest(raw_parts) AS sha FROM ledger ORDER BY 1")
    while rows := wanted.fetchmany(1000):
        yield from _damaged(lake, [sha for (sha,) in rows])


def _damaged(lake: Lake, reports: list[str]) -> Iterator[Problem]:
    for sha in reports:
        try:
            lake.raw.get(sha)
        except LakeError as e:
            yield Problem(table="ledger", message=e.message)


def _marts(lake: Lake) -> Iterator[Problem]:
    snapshot = lake.snapshot()
    if snapshot.run is None:
        return
    keys = [e.key for e in lake.place.entries("marts/findings/")]
    if not keys:
        yield Problem(table="marts", message="marts/findings is not there")
        return
    told = {"findings": keys} | {name: [f"marts/{name}.parquet"] for name in _MARTS if name != "findings"}
    con = connect(snapshot)
    for name, (view, columns) in _MARTS.items():
        said = [_content(con, _mart(lake, key), columns) for key in told[name]]
        in_marts, in_lake = (sum(n for n, _ in said), sum(h for _, h in said)), _content(con, view, columns)
        if in_marts[0] != in_lake[0]:
            yield Problem(table="marts", message=f"marts/{name} holds {in_marts[0]} {name}, the lake {in_lake[0]}")
        elif in_marts != in_lake:
            yield Problem(table="marts", message=f"marts/{name} says other than the lake")


def _mart(lake: Lake, key: str) -> pa.Table | None:
    """The rows of a mart; None if it is not there or no Parquet."""
    try:
        return pq.read_table(pa.BufferReader(lake.place.read(key)))
    except (FileNotFoundError, pa.ArrowInvalid):
        return None


def _content(con: duckdb.DuckDBPyConnection, rows: pa.Table | str | None, columns: str) -> tuple[int, int]:
    """How many rows there are, and a number that is another one where they say something else, in whatever order."""
    if rows is None:
        return 0, 0
    if not isinstance(rows, str):
        con.register("mart", rows)
    sql = f"SELECT count(*), coalesce(sum(hash({columns})), 0) FROM {rows if isinstance(rows, str) else 'mart'}"
    try:
        found = con.execute(sql).fetchall()[0]
    except duckdb.Error:  # of other columns
        return 0, 0
    return int(found[0]), int(found[1])
