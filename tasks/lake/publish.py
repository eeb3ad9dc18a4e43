"""Publish a run: whole or absent, and finished by the next run if it was killed (design rules 6 and 7).

1. All rows of all tables are written to ``_pending/<number>-<word>/``, last ``COMMIT``, which says what they are.
2. The run's number is claimed: ``_commits/<number>`` is created if it is not there and names the folder. Of two runs
   that both believe to be alone (``tasks.lake.lease``) one gets the number; the other has published nothing.
3. Small files of each table that gets rows are put together where there are many (``tasks.lake.compaction``). The table
   is appended to or merged, with a Delta application transaction of the run's number: a table that holds the number
   already is passed over, so a repetition changes nothing.
4. The row of ``runs`` goes last and names the version of every table: readers open exactly those.
5. Marts are written anew where something changed, the spool forgets what is published, the pending folder goes.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.identity import FP_VERSION
from tasks.core.types import Scan, ScanResult, ScopeState
from tasks.lake.advisory_tables import ADVISORY_TABLES
from tasks.lake.changes import PRESENT, Change, Judge, Moment, ScopeKey, key_of, places_of, scope_of, undecided
from tasks.lake.columns import Table
from tasks.lake.events import judged
from tasks.lake.findings import Transition, counted, transitions
from tasks.lake.gc import take_out
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.marts import write_marts
from tasks.lake.ownership import Assign, owned, unassigned
from tasks.lake.package_tables import package_rows
from tasks.lake.pending import (
    Watcher,
    claim,
    commit,
    commit_of,
    committed,
    drop,
    expect_row,
    free_number,
    is_anothers,
    is_old,
    new_folder,
    pending,
    run_row,
    unless_finished,
)
from tasks.lake.places import Teller
from tasks.lake.rotation_tables import ROTATION_TABLES
from tasks.lake.schema import SCHEMA_VERSION, TABLES
from tasks.lake.spool import failed_name
from tasks.lake.store import GROUP, to_arrow

_T = TypeVar("_T")
#: Of a row of findings that is prepared: where the row lies that it replaces.
_LAIN = str(TABLES["findings"].before)
#: Rows made, written and read at a time: one result may hold millions.
_BATCH = 5_000
#: Groups of rows that are put in order at a time.
_SORTED = 16
#: Repositories whose findings are compared at a time.
_REPOSITORIES = 200
#: Tables whose rows are handed over as they are.
_PLAIN = (
    *(t.name for t in ADVISORY_TABLES), "vulnerabilities", "upgrades", "releases", *(t.name for t in ROTATION_TABLES)
)  # fmt: skip
#: Order of application; ``runs`` is last, and everything before it is unseen until then.
_ORDER = (
    "rules",
    "observations",
    "packages",
    "scan_gaps",
    "ledger",
    "discoveries",
    "repositories",
    "scopes",
    "findings",
    "finding_events",
    "decisions",
    "teams",
    *_PLAIN,
    "scans",
    "runs",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishBatch:
    """What a run wants published. ``run`` holds the columns of ``runs`` that the caller knows."""

    run: dict[str, Any]
    repositories: Sequence[dict[str, Any]] = ()
    #: Rows of ``discoveries`` without the run.
    discoveries: Sequence[dict[str, Any]] = ()
    #: Rows of ``rules`` that the lake has not yet, without ``first_run``.
    rules: Sequence[dict[str, Any]] = ()
    scans: Sequence[Scan] = ()
    results: Sequence[ScanResult] = ()
    scopes: Sequence[ScopeState] = ()
    changes: Sequence[Change] = ()
    #: What decisions in force say of a finding.
    judge: Judge = undecided
    #: Whether decisions are others than in the last run, so that findings are judged whose scopes did not change.
    reconsider: bool = False
    #: Repositories whose findings are judged although none of their scopes changed.
    rejudge: Collection[str] = ()
    #: Rows of ``decisions`` without the run, asked for when all findings were judged.
    decisions: Callable[[], Sequence[dict[str, Any]]] = tuple
    #: Who answers for paths, and the repositories in which others do than before.
    assign: Assign = unassigned
    reowned: Collection[str] = ()
    #: Rows of ``teams`` that differ from what the lake has.
    teams: Sequence[dict[str, Any]] = ()
    #: Rows of ``_PLAIN`` tables that differ from what the lake has, by table.
    plain: Mapping[str, Iterable[dict[str, Any]]] = field(default_factory=dict)
    #: Scopes whose spooled failure is in these rows, or has lost its meaning.
    failures: Sequence[ScopeKey] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What became of the findings."""

    seq: int
    opened: int
    fixed: int
    open_findings: int


def publish(lake: Lake, snapshot: Snapshot, batch: PublishBatch, *, watch: Watcher = lambda _step: None) -> Published:
    """Publish a run; the lock is held by the caller and ``snapshot`` is the newest one."""
    seq = snapshot.seq + 1
    at: datetime = batch.run["finished_at"]
    moment = Moment(run_id=batch.run["run_id"], seq=seq, at=at, key_id=lake.key_id)
    tally = Counter[str]()
    moved = {(s.repo_id, s.ref, s.tool): s.reason_code == "ref_unwatched" for s in batch.scopes}
    unwatched = (snapshot.unwatched() - moved.keys()) | {key for key, is_so in moved.items() if is_so}
    lives = _found(snapshot, batch, moment, tally, unwatched)
    found = owned(lives, batch.assign, batch.reowned, snapshot.findings_in)
    tables = _tables(lake, snapshot, batch, f"{at:%Y-%m}")
    watch("prepare")
    folder = new_folder(seq)
    told_by = {"run_id": moment.run_id, "seq": seq}
    try:
        _prepare(lake, folder, tables, found, lambda: [{**d, **told_by} for d in batch.decisions()])
    except OSError:  # most likely there is no room: what was written takes some of it
        lake.place.remove([f"{folder}/{name}.parquet" for name in _ORDER[:-1]])
        raise
    watch("commit")
    run = {
        **batch.run,
        "seq": seq,
        "findings_opened": tally["opened"],
        "findings_fixed": tally["fixed"],
        "key_id": lake.key_id,
        "fp_version": FP_VERSION,
        "schema_version": SCHEMA_VERSION,
    }
    spooled = [*(r.result_name for r in batch.results), *(failed_name(scope) for scope in batch.failures)]
    versions = {name: v for name, v in snapshot.versions.items() if name != "runs"}
    told = commit(lake, folder, seq, run, spooled=spooled, versions=versions)
    watch("claim")
    claim(lake, folder, seq)
    _apply(lake, folder, told, watch)
    return Published(
        seq=seq, opened=tally["opened"], fixed=tally["fixed"], open_findings=lake.snapshot().open_findings()
    )


def adopt(lake: Lake, *, watch: Watcher = lambda _step: None, tell: Teller = lambda _line: None) -> list[str]:
    """Finish every pending publish that was committed, drop those that were not, and those whose number turns out to
    be another run's. Returns the run ids finished."""
    finished = []
    for folder, entries in pending(lake).items():
        if committed(lake, folder, entries):
            try:
                told = commit_of(lake, folder)
            except FileNotFoundError:
                continue  # somebody has finished it meanwhile
            if is_anothers(lake, told):
                drop(lake, folder)
                tell(f"dropped what a run prepared that slept too long: run {told['seq']} is another one")
                continue
            finished.append(str(told["run"]["run_id"]))
            _apply(lake, folder, told, watch)
        elif lake.place.lock_is_sure or is_old(lake, entries):
            # Where a lock can be lost, a run that only sleeps may still claim its number.
            drop(lake, folder)
    free_number(lake)
    return finished


def _found(
    snapshot: Snapshot,
    batch: PublishBatch,
    moment: Moment,
    tally: Counter[str],
    unwatched: Collection[ScopeKey],
) -> Iterator[Transition]:
    """The findings that change, with their events: those of changed scopes, those of which decisions now say something
    else (all where decisions were changed, else those whose decision has expired), and those of repositories that are
    called otherwise now. Counted in ``tally`` when all are out, refs that nobody watches left out.

    What is known is read a few repositories at a time: of a whole organisation it may be more than memory holds.
    """
    by_repo: dict[str, list[Change]] = {}
    for c in batch.changes:
        by_repo.setdefault(c.repo_id, []).append(c)
    reconsidered = set(batch.rejudge)
    if batch.judge is not undecided:  # who knows no decision leaves them as they are
        reconsidered |= set(snapshot.present_in() if batch.reconsider else snapshot.expired_in(moment.at))
    renamed = _renamed(snapshot, batch)
    reconsidered |= renamed.keys()
    left = iter([*by_repo, *sorted(reconsidered - by_repo.keys())])
    while repos := list(itertools.islice(left, _REPOSITORIES)):
        # In an order of their own: events say how many scopes hold a finding, and two equal runs say the same.
        some = sorted((c for repo in repos for c in by_repo.get(repo, ())), key=lambda c: c.key)
        known = sorted(snapshot.findings_in(repos), key=scope_of)
        misnamed = _named_anew(known, renamed)
        # At which places a finding stood matters where something was not read, or not looked for, and where the tool
        # may be why it is gone: of what is there alone, for an inventory may be far more than memory should hold.
        doubtful = {c.key for c in some if c.not_run or c.other_tool or (c.result and c.result.gaps)}
        anchors = {r["anchor_uid"] for r in known if r["scan_status"] in PRESENT and scope_of(r) in doubtful}
        befores = [c.before for c in some if c.before and c.key in doubtful]
        places = places_of(snapshot.places_of(befores, anchors))
        changed = {c.key for c in some}
        rest = [row for row in known if row["repo_id"] in reconsidered and scope_of(row) not in changed]
        found = itertools.chain(
            transitions(known, some, moment, places, batch.judge),
            itertools.starmap(Transition, judged(rest, batch.judge, moment)),
        )
        lain = {key_of(row): row["shelf"] for row in known}
        for t in counted(found, known, unwatched, tally):
            misnamed.pop(key_of(t.row), None)
            t.row[_LAIN] = lain.get(key_of(t.row))
            yield t
        # Nothing has happened to these: they have no event.
        yield from (Transition({**row, _LAIN: row["shelf"]}, None) for row in misnamed.values())


def _renamed(snapshot: Snapshot, batch: PublishBatch) -> dict[str, str]:
    """Repositories that the lake knows by another name, with today's."""
    names = {row["repo_id"]: row["slug"] for row in batch.repositories}
    if not names:
        return {}
    known = snapshot.table("repositories", {"repo_id": names}, ["repo_id", "slug"])
    return {row["repo_id"]: names[row["repo_id"]] for row in known.to_pylist() if row["slug"] != names[row["repo_id"]]}


def _named_anew(
    known: Iterable[dict[str, Any]], renamed: Mapping[str, str]
) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Give rows today's name of their repository; returns those that had another one."""
    misnamed = {}
    for row in known:
        if row["slug"] != (slug := renamed.get(row["repo_id"], row["slug"])):
            row["slug"] = slug
            misnamed[key_of(row)] = row
    return misnamed


def _tables(lake: Lake, snapshot: Snapshot, batch: PublishBatch, part: str) -> dict[str, Iterable[dict[str, Any]]]:
    """The rows of each table but findings and their events, made when they are asked for."""
    made = {r.result_name: r for r in batch.results}
    moved = {s.result_name for s in batch.scopes if s.result_name and not s.result_part}
    parts = snapshot.parts_of(made.keys() | moved)
    fresh = {n: r for n, r in sorted(made.items()) if n not in parts}
    parts |= dict.fromkeys(fresh, part)
    scopes = [replace(s, result_part=s.result_part or parts.get(s.result_name or "")) for s in batch.scopes]
    return {
        "rules": ({**row, "first_run": batch.run["run_id"]} for row in batch.rules),
        "observations": _observations(fresh, part),
        "packages": (row for r in fresh.values() for row in package_rows(r, part)),
        "scan_gaps": (
            {**_row(g, TABLES["scan_gaps"].schema), **_base(r, part)} for r in fresh.values() for g in r.gaps
        ),
        "ledger": (
            {
                **_row(r, TABLES["ledger"].schema),
                "part": part,
                "observations": len(r.observations),
                "gaps": len(r.gaps),
                "key_id": lake.key_id,
            }
            for r in fresh.values()
        ),
        "discoveries": ({**row, "run_id": batch.run["run_id"]} for row in batch.discoveries),
        "repositories": batch.repositories,
        "teams": batch.teams,
        "scopes": (_row(s, TABLES["scopes"].schema) for s in scopes),
        **{name: batch.plain.get(name, ()) for name in _PLAIN},
        "scans": ({**_row(s, TABLES["scans"].schema), "run_id": batch.run["run_id"]} for s in batch.scans),
    }


def _observations(results: Mapping[str, ScanResult], part: str) -> Iterator[dict[str, Any]]:
    schema = TABLES["observations"].schema
    for result in results.values():
        base = _base(result, part)
        for o in result.observations:
            yield {**_row(o, schema), **base, "extra": json.dumps(dict(o.extra), sort_keys=True)}


def _base(result: ScanResult, part: str) -> dict[str, Any]:
    return {"result_name": result.result_name, "scan_name": result.scan_name, "part": part, "tool": result.tool}


def _row(item: Any, schema: pa.Schema) -> dict[str, Any]:
    """The fields of a dataclass that a table has."""
    kind: Any = type(item)  # mypy does not know that a class can be hashed
    return {n: getattr(item, n) for n in _shared(kind, tuple(schema.names))}


@cache
def _shared(kind: type, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are attributes of a dataclass too; asked once, not for each of a million rows."""
    return tuple(n for n in columns if hasattr(kind, n))


def _prepare(
    lake: Lake,
    folder: str,
    tables: Mapping[str, Iterable[dict[str, Any]]],
    found: Iterable[Transition],
    decisions: Callable[[], list[dict[str, Any]]],
) -> None:
    """Write all rows of all tables; without ``COMMIT`` they are nothing yet."""
    for name, rows in tables.items():
        with _prepared(lake, folder, name) as put:
            for chunk in _chunks(rows):
                put(chunk)
    with _prepared(lake, folder, "findings") as put, _prepared(lake, folder, "finding_events") as put_events:
        for some in _chunks(found):
            # A row that changed in nothing but its owners lies where it lay.
            put([{_LAIN: t.row["shelf"], **t.row} for t in some])
            put_events([t.event for t in some if t.event is not None])
    with _prepared(lake, folder, "decisions") as put:
        put(decisions())


@contextmanager
def _prepared(lake: Lake, folder: str, name: str) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """A way to write rows of a table into the folder."""
    with (
        lake.place.writing(f"{folder}/{name}.parquet") as path,
        pq.ParquetWriter(path, TABLES[name].merged, compression="zstd") as writer,
    ):
        yield lambda rows: writer.write_table(to_arrow(TABLES[name], rows, merged=True)) if rows else None


def _chunks(rows: Iterable[_T]) -> Iterator[list[_T]]:
    left = iter(rows)
    while chunk := list(itertools.islice(left, _BATCH)):
        yield chunk


def _apply(lake: Lake, folder: str, told: Mapping[str, Any], watch: Watcher) -> None:
    """Take the rows of a claimed folder into the tables, as far as they are not there. May be done by several at once.

    Raises LakeError when the number turns out to be another run's.
    """
    if told.get("removes"):
        take_out(lake, folder, told, watch)
        return
    keys = [f"{folder}/{name}.parquet" for name in _ORDER[:-1]]
    taken = unless_finished(lake, told, lambda: _take(lake, keys, told, watch))
    if taken is None or lake.lost():
        return  # the run is there; who has the lake now, or comes next, tidies up
    watch("marts")
    changed, standing = taken
    write_marts(lake, changed=changed, standing=standing)
    if lake.lost():
        return
    watch("spool")
    lake.spool.remove(told["spooled"])
    watch("end")
    # First what says that there is something to finish.
    lake.place.remove([f"{folder}/COMMIT"])
    lake.place.remove(keys)


def _lain(rows: pq.ParquetFile, table: Table) -> set[str]:
    """The partitions in which rows lie that are replaced."""
    if table.before is None:
        return set()
    column = rows.read(columns=[table.before]).column(table.before)
    return {v for v in column.unique().to_pylist() if v is not None}


def _laid(table: Table, rows: pq.ParquetFile) -> Iterator[pa.RecordBatch]:
    """The rows as they are, or, of a table that wants it, some hundred thousand at a time put in order."""
    if not table.beside:
        yield from rows.iter_batches(batch_size=_BATCH)
        return
    left = rows.iter_batches(batch_size=_BATCH)
    while some := list(itertools.islice(left, max(1, _SORTED * GROUP // _BATCH))):
        ordered = pa.Table.from_batches(some).sort_by([(c, "ascending") for c in table.beside]).combine_chunks()
        # Each becomes a group of rows; delta-rs keeps no order among them.
        yield from ordered.to_batches(max_chunksize=GROUP)


def _take(lake: Lake, keys: Sequence[str], told: Mapping[str, Any], watch: Watcher) -> tuple[set[str], bool]:
    """All tables, and last the row of the run. Returns the repositories whose findings changed, and whether a scope
    did: scopes say what stands, with them change the gaps and the evidence."""
    seq, run = int(told["seq"]), run_row(told)
    written = dict(zip(_ORDER[:-1], lake.place.fetched(keys), strict=True))
    changed = set(pq.read_table(written["findings"], columns=["repo_id"])["repo_id"].unique().to_pylist())
    standing = pq.read_metadata(written["scopes"]).num_rows > 0
    watch("compact")
    filled = {name for name in _ORDER[:-1] if pq.read_metadata(written[name]).num_rows}
    for name in _ORDER:
        # A table that gets no rows grows by no file: on S3 to look at it would cost requests every night.
        if name == "runs" or name in filled:
            lake.store.compact(name)
    for name in _ORDER[:-1]:
        watch(name)
        with pq.ParquetFile(written[name]) as rows:
            if rows.metadata.num_rows:
                reader = pa.RecordBatchReader.from_batches(TABLES[name].merged, _laid(TABLES[name], rows))
                lake.store.apply(TABLES[name], reader, seq, _lain(rows, TABLES[name]))
    watch("runs")
    # A table that got no rows is as the run before saw it: to ask its log costs a moment, on S3 many requests.
    had = {name: v for name, v in told.get("versions", {}).items() if name not in filled}
    run["table_versions"] = json.dumps(
        {name: had[name] if name in had else lake.store.version(name) for name in _ORDER[:-1]}
    )
    if not lake.store.apply(TABLES["runs"], to_arrow(TABLES["runs"], [run]), seq):
        expect_row(lake, run["run_id"], seq)
    return changed, standing
