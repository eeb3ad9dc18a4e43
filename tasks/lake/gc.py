"""Collect the garbage of a lake: what no retained run and no live scope needs, a day after it was seen to be unneeded.

Rows go as they come, through the write-ahead log (``tasks.lake.pending``): the collection is a run with a number of its
own, and what it removes vanishes for readers all at once, with its row in ``runs``. It contends for its number with
every other run, so that no plan made before it can refer to what it removed.

Files go in two steps: what nobody needs is marked with the storage's time, and removed by a collection a day later if
it is still not needed. Whoever opened the lake before the mark has that day.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core import duck
from tasks.core.errors import LakeError
from tasks.lake.lake import MARKS, Lake, Snapshot
from tasks.lake.pending import (
    LEFT_ALONE,
    Watcher,
    claim,
    commit,
    committed,
    expect_row,
    new_folder,
    own_run,
    pending,
    run_row,
    unless_finished,
)
from tasks.lake.places import Entry
from tasks.lake.schema import TABLES
from tasks.lake.store import to_arrow
from tasks.lake.views import GONE, arrow_of, connect

#: The source of a collection's row in ``runs``; no configuration can name it.
GC_SOURCE = "(gc)"
_BATCH = 500
#: Which rows go, by table: columns that name them. ``runs`` goes with the new row.
_BY_RUN = ("scans", "discoveries")
_ORDER = (*_BY_RUN, "ledger", "observations", "scan_gaps", "decisions", "secrets")
#: Of certificates that their store has no more as long as runs are kept, what no open finding is about.
_OLD_CERTIFICATES = """
    SELECT secret FROM secrets s
    WHERE kind = 'certificate' AND NOT present AND is_managed = false AND looked_at < $since AND NOT EXISTS (
        FROM findings f WHERE f.is_open AND f.repo_id = s.store AND f.path = s.place
    )"""
#: Of a decision what no retained run said and a later one says otherwise; of one that was withdrawn the last word too.
_OLD_DECISIONS = """
    SELECT run_id, decision_id FROM (
        SELECT *, max(seq) OVER one = seq AS newest, bool_or(r.run_id IS NOT NULL) OVER one AS is_retained
        FROM decisions d LEFT JOIN retained r USING (run_id)
        WINDOW one AS (PARTITION BY decision_id, CASE WHEN decision_id LIKE '(%' THEN kept_in END)
    )
    WHERE run_id NOT IN (SELECT run_id FROM retained) AND (NOT newest OR (state = 'withdrawn' AND NOT is_retained))"""
_RETAINED = f"""
    SELECT run_id FROM runs WHERE finished_at >= $since
    UNION SELECT arg_max(run_id, seq) FROM runs
    UNION SELECT arg_max(run_id, seq) FROM patrols
    UNION SELECT l.run_id FROM latest l JOIN scopes s USING (repo_id, ref, tool)
        WHERE s.reason_code IS NULL OR s.reason_code NOT IN ({GONE})"""
#: Results of retained runs and live scopes, and what those extend.
_NEEDED = """
    WITH live AS (
        SELECT result_name FROM scans WHERE run_id IN (SELECT run_id FROM retained)
        UNION SELECT result_name FROM scopes
    )
    SELECT result_name FROM live WHERE result_name IS NOT NULL
    UNION SELECT base_result_name FROM ledger JOIN live USING (result_name) WHERE base_result_name IS NOT NULL"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unneeded:
    """Rows that go: runs, and keys of the rows of each table."""

    run_ids: tuple[str, ...]
    keys: Mapping[str, pa.Table]
    rows: Mapping[str, int]
    #: All runs from this number on stay.
    whole_from: int

    @property
    def is_empty(self) -> bool:
        """Whether every row stays."""
        return not self.run_ids and not any(self.rows.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What a collection did, or would do: rows a table, files marked now, files removed, and their bytes."""

    rows: Mapping[str, int]
    marked: int
    marked_bytes: int
    waiting: int
    removed: int
    removed_bytes: int


def collect(
    lake: Lake,
    *,
    keep_days: float,
    snapshot_days: float = 30,
    dry_run: bool = False,
    watch: Watcher = lambda _step: None,
) -> Collected:
    """Remove what is not needed; with the lock held and cut-off publishes finished, unless it is a ``dry_run``.

    Runs of the last ``keep_days`` stay, the newest ones, and the last that looked at a live scope. The tables as of
    a run can be opened for ``snapshot_days``. Raises LakeError; it may be called again at any time.
    """
    snapshot, now = lake.snapshot(), lake.place.now()
    rows: Mapping[str, int] = {}
    if snapshot.run is not None:
        unneeded = find(snapshot, now - timedelta(days=keep_days))
        rows = {"runs": len(unneeded.run_ids), **unneeded.rows}
        if not unneeded.is_empty and not dry_run:
            watch("prepare")
            note(lake, whole_from=max(unneeded.whole_from, int(marks(lake).get("whole_from", 1))))
            _remove_rows(lake, snapshot, unneeded, keep_days, watch)
    watch("files")
    return _files(lake, now, snapshot_days, rows, dry_run=dry_run, watch=watch)


# -- rows --------------------------------------------------------------------------------------------------------


@duck.interruptible()
def find(snapshot: Snapshot, since: datetime) -> Unneeded:
    """The rows that no retained run and no live scope needs."""
    con = connect(snapshot)
    try:
        con.execute(f"CREATE TEMP TABLE retained AS {_RETAINED}", {"since": since})
        con.execute(f"CREATE TEMP TABLE needed AS {_NEEDED}")
        con.execute(
            "CREATE TEMP TABLE gone AS SELECT result_name, part FROM ledger ANTI JOIN needed USING (result_name)"
        )
        runs = con.sql("SELECT run_id, seq FROM runs ANTI JOIN retained USING (run_id) ORDER BY seq").fetchall()
        keys, rows = {}, {}
        for name in _BY_RUN:
            other = f"{name} ANTI JOIN retained USING (run_id)"
            keys[name] = con.sql(f"SELECT DISTINCT run_id FROM {other}").to_arrow_table()
            rows[name] = _count(con, other)
        keys["decisions"] = con.sql(_OLD_DECISIONS).to_arrow_table()
        rows["decisions"] = keys["decisions"].num_rows
        keys["secrets"] = con.sql(_OLD_CERTIFICATES, params={"since": since}).to_arrow_table()
        rows["secrets"] = keys["secrets"].num_rows
        for name in ("ledger", "observations", "scan_gaps"):
            wanted = f"SELECT DISTINCT result_name{', part' if TABLES[name].partition else ''} FROM {name}"
            keys[name] = con.sql(f"{wanted} SEMI JOIN gone USING (result_name)").to_arrow_table()
            rows[name] = _count(con, f"{name} SEMI JOIN gone USING (result_name)")
    finally:
        con.close()
    return Unneeded(run_ids=tuple(r[0] for r in runs), keys=keys, rows=rows, whole_from=runs[-1][1] + 1 if runs else 1)


def _count(con: Any, what: str) -> int:
    return int(con.sql(f"SELECT count(*) FROM {what}").fetchall()[0][0])


def _remove_rows(lake: Lake, snapshot: Snapshot, gone: Unneeded, keep_days: float, watch: Watcher) -> None:
    seq = snapshot.seq + 1
    folder = new_folder(seq)
    tables = {**gone.keys, "runs": pa.table({"run_id": pa.array(gone.run_ids, pa.string())})}
    for name, keys in tables.items():
        with lake.place.writing(f"{folder}/{name}.parquet") as path:
            pq.write_table(keys, path, compression="zstd")
    done = {"keep_days": keep_days, "removed": dict(gone.rows)}
    run = own_run(GC_SOURCE, seq=seq, key_id=lake.key_id, filters=done)
    watch("commit")
    told = commit(lake, folder, seq, run, removes=True)
    watch("claim")
    claim(lake, folder, seq)
    take_out(lake, folder, told, watch)


def take_out(lake: Lake, folder: str, told: Mapping[str, Any], watch: Watcher) -> None:
    """Finish a collection that has its number; may be done again, by several at once."""
    there = {e.key for e in lake.place.entries(f"{folder}/")}  # an older version wrote fewer of them
    files = {name: key for name in (*_ORDER, "runs") if (key := f"{folder}/{name}.parquet") in there}
    if unless_finished(lake, told, lambda: _taken_out(lake, files, told, watch)) is not None:
        watch("end")
        lake.place.remove([f"{folder}/COMMIT"])
        lake.place.remove([*files.values()])


def _taken_out(lake: Lake, files: Mapping[str, str], told: Mapping[str, Any], watch: Watcher) -> bool:
    seq, run = int(told["seq"]), run_row(told)
    read = lake.place.fetched([*files.values()])
    keys = {name: pq.read_table(path) for name, path in zip(files, read, strict=True)}
    for name in (name for name in _ORDER if name in keys):
        watch(name)
        lake.store.take_out(name, keys[name], seq)
    watch("runs")
    run["table_versions"] = json.dumps({name: lake.store.version(name) for name in TABLES if name != "runs"})
    if not lake.store.exchange_runs(to_arrow(TABLES["runs"], [run]), keys["runs"]["run_id"].to_pylist(), seq):
        expect_row(lake, run["run_id"], seq)
    return True


# -- files -------------------------------------------------------------------------------------------------------


def _files(
    lake: Lake, now: datetime, snapshot_days: float, rows: Mapping[str, int], *, dry_run: bool, watch: Watcher
) -> Collected:
    known = marks(lake)
    snapshot = lake.snapshot()
    kept = _snapshots(snapshot, now - timedelta(days=snapshot_days))
    since_seq = max(min((seq for seq, _ in kept), default=0), int(known.get("snapshots_from", 0)))
    found = {e.key: e for e in _garbage(lake, snapshot, [versions for _, versions in kept])}
    seen = {key: str(known.get("files", {}).get(key, now.isoformat())) for key in found}
    due = sorted(k for k, at in seen.items() if now - datetime.fromisoformat(at) >= LEFT_ALONE)
    fresh = [k for k in seen if k not in known.get("files", {})]
    if not dry_run:
        watch("mark")
        note(lake, snapshots_from=since_seq, files=seen)
        watch("sweep")
        for n in range(0, len(due), _BATCH):
            if lake.lost():
                raise LakeError(
                    "another run has taken the lake over while this one slept",
                    advice="Run `nightwarden lake gc` again.",
                )
            lake.place.remove(due[n : n + _BATCH])
        watch("end")
    return Collected(
        rows=rows,
        marked=len(fresh),
        marked_bytes=sum(found[k].size_bytes for k in fresh),
        waiting=len(seen) - len(fresh) - len(due),
        removed=len(due),
        removed_bytes=sum(found[k].size_bytes for k in due),
    )


def _snapshots(snapshot: Snapshot, since: datetime) -> list[tuple[int, dict[str, int]]]:
    """The table versions of runs that can still be opened as they were: the newest, and those since then."""
    if snapshot.run is None:
        return []
    rows = snapshot.table("runs", None, ["seq", "finished_at", "table_versions"]).to_pylist()
    return [
        (r["seq"], json.loads(r["table_versions"]))
        for r in rows
        if r["seq"] == snapshot.seq or r["finished_at"] >= since
    ]


def _garbage(lake: Lake, snapshot: Snapshot, kept: list[dict[str, int]]) -> Iterator[Entry]:
    """Objects that nothing refers to. Of what we do not know we say nothing."""
    for name in TABLES:
        # Of ``runs`` the newest version is asked for, of whatever run.
        versions = {v[name] for v in kept if name in v} or {lake.store.version(name)}
        yield from lake.store.log_before(name, min(versions))
        needed = set(lake.store.keys_at(name, versions))
        for entry in lake.place.entries(f"{name}/"):
            if "/_delta_log/" not in entry.key and entry.key not in needed:
                yield entry
    reports = set(arrow_of(snapshot, "SELECT DISTINCT unnest(raw_parts) AS sha FROM ledger")["sha"].to_pylist())
    reports |= {sha for r in lake.spool.load(tidy=False).values() for sha in r.raw_parts}
    wanted = {lake.raw.key(sha) for sha in reports}
    yield from (e for e in lake.place.entries("_raw/") if e.key not in wanted)
    for folder, entries in pending(lake).items():
        if not committed(lake, folder, entries):
            yield from entries
    yield from lake.place.entries("_spool/rejected/")
    yield from lake.place.entries("_probe/")
    # Who has a number that old is done; who takes it again finds out (``tasks.lake.pending.claim``).
    yield from (e for e in lake.place.entries("_commits/") if _number(e.key) < snapshot.seq)
    if lake.place.is_here:
        yield from (e for e in lake.place.entries("") if e.key.startswith(".") and "/" not in e.key)


def _number(claim: str) -> int:
    """The number of a claim; of one that is being written, or was when its run was killed, the lowest."""
    name = claim.rpartition("/")[2]
    return int(name) if name.isdigit() else 0


def marks(lake: Lake) -> dict[str, Any]:
    """What collections have noted; empty before the first."""
    try:
        told: dict[str, Any] = json.loads(lake.place.read(MARKS))
    except FileNotFoundError:
        return {}
    except ValueError as e:
        raise LakeError(f"{lake.place}/{MARKS} cannot be read", advice="Remove it: files are then marked anew.") from e
    return told


def note(lake: Lake, **more: Any) -> None:
    """Add to what was noted."""
    lake.place.write(MARKS, json.dumps({**marks(lake), **more}, indent=0, sort_keys=True).encode())
