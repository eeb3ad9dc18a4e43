"""SQL over the lake: the tables and views of the newest whole run in DuckDB. Reads only."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from tasks.core import duck
from tasks.core.errors import LakeError, UsageError
from tasks.core.feed_reasons import PACES, STANDS_STILL_DAYS
from tasks.core.reasons import OUTCOMES, REASONS
from tasks.core.types import digest
from tasks.core.view_sets import NO_VIEWS, ViewSet, set_of
from tasks.lake.changes import CAUSES
from tasks.lake.lake import Snapshot
from tasks.lake.package_tables import ASSESS, ASSESS_SBOM, INVENTORY, SBOM, SBOM_PATH
from tasks.lake.schema import TABLES
from tasks.lake.store import relation

_BATCH = 10_000
#: Comments and texts: what they name is not read.
_NOT_NAMES = re.compile(r"--[^\n]*|'[^']*'")
_EXPLAIN = re.compile(r"^\s*EXPLAIN\s+(?:ANALYZE\s+)?", re.IGNORECASE)

#: Reasons of scopes that are not expected again: `lake gc` need not keep the run that said so for ever.
GONE_REASONS = ("ref_gone", "repository_gone", "gap_gone", "sbom_withdrawn")
GONE = ", ".join(f"'{reason}'" for reason in GONE_REASONS)

#: Scopes ``s`` that are inventories, and the scope in which a row ``v`` of a manifest was matched.
_INVENTORIES = f"(s.tool = '{INVENTORY}' OR starts_with(s.tool, '{SBOM}'))"
_JUDGED_IN = (
    f"CASE WHEN starts_with(v.manifest, '{SBOM_PATH}') THEN '{ASSESS_SBOM}' || substr(v.manifest, {len(SBOM_PATH) + 1})"
    f" ELSE '{ASSESS}' END"
)

#: Days after which a feed that says nothing new stands still, as ``tasks.deps.advisories.ages`` reckons them.
_STILL = (
    "CASE "
    + " ".join(f"WHEN feed = '{f}' THEN {d}" for f, d in STANDS_STILL_DAYS.items() if f != "osv")
    + f" ELSE greatest({STANDS_STILL_DAYS['osv']}, {PACES} * coalesce((facts ->> 'pace_days')::INT, 0)) END"
)

#: Views over the tables. ``latest`` holds, of every scope, the row of the last run that expected it; of what is gone,
#: none when that run was collected, for older rows would say that it is there. ``gaps`` tells of every run,
#: ``gaps_now`` of what stands; only the first reads the history.
_VIEWS = {
    "patrols": "SELECT * FROM runs"
    " WHERE NOT list_has_any(coalesce(sources, []),"
    " ['(import)', '(gc)', '(migrate)', '(advisories)', '(assess)', '(rotate)', '(inventory)'])",
    "feeds": f"""
        WITH told AS (
            SELECT *, date_diff('second', checked_at, now()) / 86400.0 AS age_days,
                   date_diff('second', as_of, now()) / 86400.0 AS data_age_days,
                   min(date_diff('second', as_of, now()) / 86400.0) FILTER (feed LIKE 'osv/%') OVER () AS osv_age_days
            FROM advisory_feeds WHERE configured
        ), still AS (
            SELECT *, (feed LIKE 'osv/%' AND osv_age_days > max_age_days) OR data_age_days > greatest(max_age_days,
                {_STILL}) AS stands
            FROM told
        ), judged AS (
            SELECT *, CASE WHEN checked_at IS NULL THEN 'advisories_missing'
                           WHEN age_days > max_age_days THEN 'advisories_old'
                           WHEN stands THEN 'advisories_old' END AS old
            FROM still
        )
        SELECT j.feed, j.records, j.as_of, j.data_age_days, j.checked_at, j.age_days, j.max_age_days, j.refused,
               coalesce(j.old, j.reason_code) AS reason_code, w.meaning, w.remedy,
               coalesce(CASE WHEN stands AND age_days <= max_age_days THEN
                   'its newest record is ' || floor(data_age_days)::INT || ' days old; ' END, '') ||
               coalesce(j.detail, '') AS detail, j.address
        FROM judged j LEFT JOIN reasons w ON w.code = coalesce(j.old, j.reason_code)""",
    "inventory": f"""
        SELECT s.repo_id, s.slug, s.ref, s.commit, s.evidence_at,
               p.* EXCLUDE (result_name, part, n)
        FROM scopes s JOIN packages p USING (result_name)
        WHERE {_INVENTORIES} AND s.reason_code IS DISTINCT FROM 'ref_unwatched'""",
    "manifests": f"""
        SELECT s.repo_id, s.slug, s.ref, o.path AS manifest, o.title AS format, o.extra ->> 'state' AS state,
               (o.extra ->> 'pinned')::BIGINT AS pinned, s.evidence_at
        FROM scopes s JOIN observations o USING (result_name)
        WHERE {_INVENTORIES} AND o.rule_id = 'manifest' AND s.reason_code IS DISTINCT FROM 'ref_unwatched'""",
    "vulnerable": f"""
        SELECT v.* EXCLUDE (gone_at, present), s.slug, a.summary, a.severity, a.cvss_score, a.cwes, a.url,
               a.published_at
        FROM vulnerabilities v
        JOIN scopes s ON s.repo_id = v.repo_id AND s.ref = v.ref AND s.tool = {_JUDGED_IN}
            AND s.result_name IS NOT NULL AND s.reason_code IS DISTINCT FROM 'ref_unwatched'
        LEFT JOIN advisories a USING (advisory_id) WHERE v.present""",
    "latest": f"""
        SELECT s.* FROM scans s JOIN (
            SELECT repo_id, ref, tool, max(seq) AS seq FROM scans JOIN runs USING (run_id) GROUP BY ALL
        ) USING (repo_id, ref, tool) JOIN runs r USING (run_id, seq)
        ANTI JOIN (SELECT repo_id, ref, tool, reason_code AS gone FROM scopes WHERE reason_code IN ({GONE})) g
        ON g.repo_id = s.repo_id AND g.ref = s.ref AND g.tool = s.tool AND s.reason_code IS DISTINCT FROM g.gone""",
    "gaps": """
        WITH named AS (
            SELECT s.run_id, r.seq, s.repo_id, s.slug, s.ref, s.tool, s.outcome, s.reason_code, NULL AS path, s.detail
            FROM scans s JOIN runs r USING (run_id)
            WHERE s.outcome IN ('failed', 'timeout', 'stale', 'missing')
            UNION ALL
            SELECT s.run_id, r.seq, s.repo_id, s.slug, s.ref, s.tool, s.outcome, g.reason_code, g.path, g.detail
            FROM scans s JOIN runs r USING (run_id) JOIN scan_gaps g USING (result_name)
        )
        SELECT n.*, w.meaning, w.remedy, l.run_id IS NOT NULL AS is_latest,
               min(n.seq) OVER (PARTITION BY n.repo_id, n.ref, n.tool, n.reason_code, n.path) AS since_seq
        FROM named n LEFT JOIN reasons w ON w.code = n.reason_code
        LEFT JOIN (SELECT run_id, repo_id, ref, tool FROM latest) l USING (run_id, repo_id, ref, tool)""",
    "gaps_now": """
        WITH named AS (
            SELECT repo_id, slug, ref, tool, outcome, reason_code, NULL AS path, detail, evidence_at
            FROM scopes WHERE outcome IN ('failed', 'timeout', 'stale', 'missing')
            UNION ALL
            SELECT s.repo_id, s.slug, s.ref, s.tool, 'partial', g.reason_code, g.path, g.detail, s.evidence_at
            FROM scopes s JOIN scan_gaps g USING (result_name) WHERE s.reason_code IS DISTINCT FROM 'ref_unwatched'
        )
        SELECT n.*, w.meaning, w.remedy FROM named n LEFT JOIN reasons w ON w.code = n.reason_code""",
    "freshness": """
        SELECT repo_id, slug, ref, tool, outcome, reason_code, evidence_at,
               date_diff('second', evidence_at, (SELECT arg_max(finished_at, seq) FROM runs)) / 3600.0 AS age_hours,
               commit, tool_version, attempts, next_attempt_at
        FROM scopes""",
    "findings_counted": """
        SELECT f.* REPLACE (CASE WHEN s.ref IS NOT NULL AND f.scan_status IN ('open', 'reopened') THEN 'unwatched'
                            ELSE f.status END AS status),
               f.is_open AND s.ref IS NULL AS counts
        FROM findings f LEFT JOIN (SELECT repo_id, ref, tool FROM scopes WHERE reason_code = 'ref_unwatched') s
        USING (repo_id, ref, tool)""",
    "findings_over_refs": f"""
        WITH ordered AS (
            SELECT *, list_position(['open', 'reopened', 'accepted', 'false_positive', 'wont_fix', 'revoked', 'fixed',
                                     'unwatched', 'archived'], status) AS rank
            FROM findings_counted
        )
        SELECT finding_uid, repo_id, any_value(slug) AS slug, {set_of("list(tool)")} AS tools,
               any_value(kind) AS kind, any_value(rule_id) AS rule_id, any_value(title) AS title,
               any_value(severity_tool) AS severity_tool, arg_min(path, rank) AS path,
               arg_min(line_start, rank) AS line_start, arg_min_null(owners[1], rank) AS owner,
               arg_min_null(owners, rank) AS owners,
               arg_min_null(owner_from, rank) AS owner_from, arg_min(status, rank) AS status,
               bool_or(counts) AS is_open,
               coalesce({set_of("list(ref) FILTER (counts)")}, []) AS open_refs,
               coalesce({set_of("list(ref) FILTER (status = 'fixed')")}, []) AS fixed_refs,
               coalesce({set_of("list(ref) FILTER (status = 'unwatched')")}, []) AS unwatched_refs,
               arg_min(origin, first_seen_at) AS origin, min(first_seen_at) AS first_seen_at,
               min(opened_at) FILTER (counts) AS opened_at,
               CASE WHEN NOT bool_or(counts) THEN max(fixed_at) END AS fixed_at
        FROM ordered GROUP BY finding_uid, repo_id""",
    "flaws": """
        WITH cwes AS (SELECT tool, rule_id, any_value(cwe) AS cwe FROM rules WHERE cwe IS NOT NULL GROUP BY ALL),
        placed AS (
            SELECT f.*, c.cwe, coalesce(f.flaw_uid, CASE WHEN f.kind = 'code' AND c.cwe IS NOT NULL
                AND f.path IS NOT NULL AND f.line_start IS NOT NULL
                THEN sha256(concat_ws('|', f.repo_id, f.path, f.line_start, c.cwe)) END, f.finding_uid) AS place
            FROM findings_counted f LEFT JOIN cwes c USING (tool, rule_id) WHERE f.counts
        ),
        -- One that stands at several lines (on several refs) counts at the place that it shares with most others.
        several AS (SELECT finding_uid FROM placed GROUP BY ALL HAVING min(place) <> max(place)),
        mine AS (SELECT finding_uid, place, path, line_start FROM placed SEMI JOIN several USING (finding_uid)),
        shared AS (
            SELECT place, count(DISTINCT finding_uid) AS findings FROM placed SEMI JOIN mine USING (place) GROUP BY ALL
        ),
        chosen AS (
            SELECT finding_uid, place AS flaw FROM mine JOIN shared USING (place)
            QUALIFY row_number() OVER (
                PARTITION BY finding_uid ORDER BY findings DESC, path, line_start, place) = 1
        ),
        named AS (SELECT p.*, coalesce(c.flaw, p.place) AS flaw FROM placed p LEFT JOIN chosen c USING (finding_uid))
        SELECT flaw AS flaw_uid, repo_id, any_value(slug) AS slug, any_value(kind) AS kind,
               min(path) FILTER (place = flaw) AS path, min(line_start) FILTER (place = flaw) AS line_start,
               any_value(cwe) AS cwe, min(first_seen_at) AS first_seen_at,
               list(DISTINCT tool ORDER BY tool) AS tools, list(DISTINCT rule_id ORDER BY rule_id) AS rule_ids,
               list(DISTINCT ref ORDER BY ref) AS refs, list(DISTINCT finding_uid ORDER BY finding_uid) AS finding_uids
        FROM named GROUP BY flaw, repo_id""",
    "decisions_now": """
        SELECT * EXCLUDE (newest) FROM (
            SELECT *, seq = max(seq) OVER (
                PARTITION BY decision_id, CASE WHEN decision_id LIKE '(%' THEN kept_in END
            ) AS newest FROM decisions
        ) WHERE newest AND state <> 'withdrawn'""",
    "scan_results": """
        SELECT s.run_id, s.repo_id, s.slug, s.ref, s.commit AS scanned_commit, s.outcome, s.cause,
               CASE WHEN o.kind <> 'package' THEN sha256(s.repo_id || '|' || o.anchor_uid) END AS finding_uid,
               o.* EXCLUDE (part, scan_name)
        FROM scans s JOIN observations o USING (result_name)""",
}


#: A table function. What came after the date is undone, so a date costs what happened since; the date's run is the
#: last one whose clock was not past it, for the order of events is the number of the run. Events tell of runs, too: the
#: row of a run may have been collected.
_MACROS = {
    "findings_at": """
    CREATE TEMP MACRO findings_at(date) AS TABLE
    WITH kept AS (SELECT coalesce(max(seq), 0) AS seq FROM runs WHERE finished_at <= date::TIMESTAMPTZ),
    told AS (
        SELECT greatest(any_value(kept.seq), coalesce(max(e.seq), 0)) AS seq FROM kept
        LEFT JOIN finding_events e ON e.seq > kept.seq AND e.event_at <= date::TIMESTAMPTZ
    ),
    since AS (
        SELECT finding_uid, ref, tool, arg_min(e.status_before, e.seq) AS status_then,
               arg_min_null(CASE WHEN e.status_before IN ('fixed', 'archived') THEN NULL ELSE e.opened_at END, e.seq)
                   AS opened_then, bool_or(e.status_before IS NULL) AS is_younger
        FROM finding_events e, told WHERE e.seq > told.seq GROUP BY ALL
    )
    SELECT f.* EXCLUDE (scan_status, decision_id, decided_until, fixed_run, fixed_at, fixed_reason, unread_paths,
                        opened_run)
           REPLACE (
               CASE WHEN s.ref IS NULL THEN f.status ELSE s.status_then END AS status,
               CASE WHEN s.ref IS NULL THEN f.is_open
                    ELSE s.status_then IN ('open', 'reopened') END AS is_open,
               CASE WHEN s.ref IS NULL THEN f.opened_at ELSE s.opened_then END AS opened_at)
    FROM findings f LEFT JOIN since s USING (finding_uid, ref, tool)
    WHERE s.is_younger IS NOT TRUE""",
}
VIEWS: dict[str, str] = {
    "patrols": "a run that looked for itself: all runs but imports, collections of garbage and syncs of advisories",
    "feeds": "how old each feed of advisories is, and why it is a gap: not asked for too long, or nothing in it is"
    " younger",
    "inventory": "the packages of every watched ref as they stand, with the age of the evidence",
    "manifests": "every manifest as it stands: ok, unpinned, unresolved, unsupported or error",
    "vulnerable": "the packages that are vulnerable now, with what the advisory says; one row an advisory",
    "latest": "of every scope (repository, ref, tool), the row of scans of the last run that expected it;"
    " none of what is gone once that run was collected",
    "gaps": "what each run did not look at: scans without a result, and unread paths; meaning, remedy, since which run",
    "gaps_now": "what is not looked at as things stand, with the age of the evidence",
    "freshness": "how old the evidence of each scope is, and when a failure is tried again",
    "findings_counted": "findings, with `counts`: whether it is open and its ref watched (on another ref its status is"
    " unwatched)",
    "findings_over_refs": "one row a finding, whatever refs hold it: open while a watched ref holds it, fixed when it"
    " is gone from all of them, unwatched when only refs held it that nobody watches any more",
    "flaws": "open findings, those of several tools or rules at the same place and of the same weakness (or the same"
    " secret, or the same dependency and advisory) as one row that names them all",
    "decisions_now": "what became of each decision of the files: in force, ignored, expired … and its problem",
    "scan_results": "observations joined to every run whose scan refers to them; use it, not observations. Entries of"
    " an inventory (kind package) have no finding_uid",
    "reasons": "every reason code with its meaning and remedy",
    "outcomes": "every outcome with its meaning",
    "causes": "every cause of finding_events with its meaning",
}


#: Table functions, by how they are asked.
FUNCTIONS: dict[str, str] = {
    "findings_at('2026-03-01')": "findings with the status they had at a date: as of the last run until then",
}

_EVERY = frozenset([*TABLES, *_VIEWS, *_MACROS])


def form() -> str:
    """Digest of what the views say that is not in the tables: their SQL, and the words of reasons and outcomes."""
    words = [(r.code, r.meaning, r.remedy) for r in REASONS.values()]
    return digest(*_VIEWS.items(), *_MACROS.items(), *words, *OUTCOMES.items(), *CAUSES.items())


@duck.interruptible()
def connect(snapshot: Snapshot, sql: str = "", more: ViewSet = NO_VIEWS) -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own with tables (as the files of their version, not loaded) and views, at least those that
    ``sql`` reads (all, where it names none), and ``more``. No other file or network is in reach. Raises LakeError when
    a table cannot be read.
    """
    try:
        con = duck.confined(f"{snapshot.lake.path.resolve()}/")
        _define(con, snapshot, sql, more)
        return con
    except duckdb.Error as e:
        duck.forget()
        raise _unreadable(e) from e


def _every(more: ViewSet) -> frozenset[str]:
    """Every table and view. Raises ValueError where ``more`` has a name of the lake's own."""
    given = {v.name for v in more.views}
    if taken := given & _EVERY:
        raise ValueError(f"views of the lake are called so: {', '.join(sorted(taken))}")
    return _EVERY | given


def _asked(sql: str, more: ViewSet, is_empty: Callable[[str], bool], known: Collection[str] = ()) -> dict[str, str]:
    """The tables and views to define for a query, what it reads itself and by its views, with their SELECTs ("" for a
    table). ``known`` are tables that are there already."""
    # Whoever reads a table writes its name, and not as a text. A word too many costs a file too many.
    every, own, given = _every(more), {**_VIEWS, **_MACROS}, {v.name: v for v in more.views}
    words = _words(sql)
    left = words & every
    if not words & {*every, *known}:
        left = every  # without a name it may ask what tables there are
    asked: dict[str, str] = {}
    while left:
        asked |= {n: given[n].over(is_empty) if n in given else own.get(n, "") for n in left}
        left = frozenset().union(*(_words(asked[n]) for n in left)) & every - asked.keys()
    return asked


def _words(sql: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", _NOT_NAMES.sub(" ", sql).lower()))


def _define(
    con: duckdb.DuckDBPyConnection, snapshot: Snapshot, sql: str, more: ViewSet, known: Collection[str] = ()
) -> None:
    """Make the tables and views that a query reads, for this connection only."""
    asked = _asked(sql, more, snapshot.is_empty, known)
    for name, table in TABLES.items():
        if name not in asked:
            continue
        found = snapshot.files(name)
        if found:
            columns = ", ".join(table.schema.names)
            upto = f" WHERE seq <= {snapshot.seq}" if name == "runs" else ""
            con.execute(f"CREATE TEMP VIEW {name} AS SELECT {columns} FROM {relation(table, found)}{upto}")
        else:
            con.register(name, table.schema.empty_table())
    _define_views(con, asked, more)


@contextmanager
def over_nothing(more: ViewSet = NO_VIEWS) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB with all views over empty tables: it tells what columns they have, without a lake."""
    with duckdb.connect(":memory:") as con:
        for name, table in TABLES.items():
            con.register(name, table.schema.empty_table())
        _define_views(con, _asked("", more, lambda _table: False), more)
        yield con


def _define_views(con: duckdb.DuckDBPyConnection, asked: Mapping[str, str], more: ViewSet) -> None:
    reasons = pa.table(
        {
            "code": [r.code for r in REASONS.values()],
            "meaning": [r.meaning for r in REASONS.values()],
            "remedy": [r.remedy for r in REASONS.values()],
        }
    )
    con.register("reasons", reasons)
    con.register("causes", pa.table({"cause": list(CAUSES), "meaning": list(CAUSES.values())}))
    con.register("outcomes", pa.table({"outcome": list(OUTCOMES), "meaning": list(OUTCOMES.values())}))
    for name in (*_VIEWS, *(v.name for v in more.views)):
        if name in asked:
            con.execute(f"CREATE TEMP VIEW {name} AS {asked[name]}")
    for name in asked & _MACROS.keys():
        con.execute(_MACROS[name])


def _unreadable(e: Exception) -> LakeError:
    return LakeError(f"the lake cannot be read: {e}", advice="Run `nightwarden lake verify`.")


@duck.interruptible()
def run_query(
    snapshot: Snapshot, sql: str, more: ViewSet = NO_VIEWS, since: datetime | None = None
) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
    """(column names, rows), over the lake's views and ``more``; ``since`` is what ``getvariable('since')`` says.

    One statement that reads; raises UsageError with DuckDB's words otherwise.
    """
    try:
        try:
            return _run(connect(snapshot, sql, more), sql, since)
        except duckdb.CatalogException:  # a name that is none: where all are defined, DuckDB tells of near ones
            return _run(connect(snapshot, "", more), sql, since)
    except duckdb.Error as e:
        views = ", ".join([*_VIEWS, *(v.name for v in more.views)])
        raise UsageError(
            f"the query failed: {e}", advice=f"`nightwarden lake schema` shows tables; views: {views}"
        ) from e


def _run(
    con: duckdb.DuckDBPyConnection, sql: str, since: datetime | None
) -> tuple[Sequence[str], Iterator[Sequence[Any]]]:
    con.execute("SET VARIABLE since = ?::TIMESTAMPTZ", [since])
    statements = con.extract_statements(sql)
    # EXPLAIN ANALYZE runs what it explains, so that must be one SELECT as well.
    explained = con.extract_statements(_EXPLAIN.sub("", sql)) if _EXPLAIN.match(sql) else statements
    if [s.type for s in explained] != [duckdb.StatementType.SELECT] or len(statements) != 1:
        raise UsageError("one SELECT is expected", advice="The lake is written by runs only.")
    cursor = con.execute(statements[0])
    return [d[0] for d in cursor.description or ()], _fetch(con, cursor)


def _fetch(con: duckdb.DuckDBPyConnection, cursor: duckdb.DuckDBPyConnection) -> Iterator[Sequence[Any]]:
    try:
        with duck.interruptible():
            while rows := cursor.fetchmany(_BATCH):
                yield from rows
    except duckdb.Error as e:
        raise UsageError(f"the query failed: {e}") from e
    finally:
        con.close()


@duck.interruptible()
def arrow_of(snapshot: Snapshot, sql: str, more: ViewSet = NO_VIEWS, **given: pa.Table) -> pa.Table:
    """The answer to one of our own queries as an Arrow table; it may read ``more`` views and ``given`` tables too.

    Raises LakeError when a table cannot be read.
    """
    con = duck.connection()
    try:
        for name, table in given.items():
            con.register(name, table)
        _define(con, snapshot, sql, more, given)
        return con.sql(sql).to_arrow_table()
    except duckdb.Error as e:
        duck.forget()
        raise _unreadable(e) from e
    finally:
        con.close()
        del con  # a traceback that is kept must not keep it: DuckDB complains when Python ends


def arrow_batches(
    snapshot: Snapshot, sql: str, size: int, more: ViewSet = NO_VIEWS, **given: pa.Table
) -> Iterator[pa.Table]:
    """The same, at most ``size`` rows at a time. Raises LakeError while it is gone through."""
    con = duck.connection()
    try:
        with duck.interruptible():
            for name, table in given.items():
                con.register(name, table)
            _define(con, snapshot, sql, more, given)
            for batch in con.sql(sql).to_arrow_reader(size):
                yield pa.Table.from_batches([batch])
    except (duckdb.Error, OSError, pa.ArrowInvalid) as e:
        duck.forget()
        raise _unreadable(e) from e
    finally:
        con.close()
        del con
