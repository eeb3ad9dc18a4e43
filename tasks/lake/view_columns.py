"""What the columns of views mean: those that a view makes, and those that it takes from tables as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from tasks.core.view_sets import NO_VIEWS, ViewSet
from tasks.lake.schema import TABLES
from tasks.lake.views import FUNCTIONS, VIEWS, over_nothing

_TOOLS = "the tools that see it, in order"
_REASON = {
    "meaning": "what its reason means",
    "remedy": "what to do about it",
    "detail": "more about it, masked",
}
#: By view, the columns that no table has, or that mean another thing there.
_MADE: Mapping[str, Mapping[str, str]] = {
    "gaps": {
        **_REASON,
        "path": "the unread path; null: the scan as a whole",
        "is_latest": "whether no later run expected this scope",
        "since_seq": "number of the first run that has this gap",
    },
    "gaps_now": {
        **_REASON,
        "outcome": "that of the scope; partial where a path is unread",
        "path": "the unread path; null: the scan as a whole",
    },
    "freshness": {"age_hours": "hours from evidence_at to the end of the newest run; null: never looked at"},
    "findings_counted": {
        "status": "as in findings; unwatched: scans last saw it on a ref that nobody watches any more",
        "counts": "whether it is open and its ref is watched: what people count",
    },
    "findings_over_refs": {
        "tools": _TOOLS,
        "path": "where it is on the ref whose status is told",
        "line_start": "first line there",
        "owner": "the first of owners",
        "status": "over all refs: open while a watched one holds it, then what was decided, fixed, unwatched, archived",
        "is_open": "whether a watched ref holds it and nobody has decided about it",
        "open_refs": "watched refs on which it is open",
        "fixed_refs": "refs on which it is fixed",
        "unwatched_refs": "refs on which it was when they were watched last",
        "origin": "why it came first",
        "first_seen_at": "when a ref first had it, UTC",
        "opened_at": "the earliest of those refs on which it is open, UTC",
        "fixed_at": "when the last ref lost it, UTC; null while it is open",
    },
    "flaws": {
        "flaw_uid": "the flaw: what tools that see it name alike, else digest of place and weakness, else finding_uid",
        "path": "the place that most of its findings share",
        "line_start": "first line there",
        "cwe": "the weakness that the rules name",
        "first_seen_at": "when the first of its findings was seen, UTC",
        "tools": _TOOLS,
        "rule_ids": "rules that see it",
        "refs": "watched refs that hold it",
        "finding_uids": "its open findings",
    },
    "scan_results": {
        "scanned_commit": "the commit that this run's scan is about",
        "finding_uid": "the finding it is; null for an entry of an inventory",
        "commit": "of a secret in the history: a commit that holds it",
    },
    "reasons": {"code": "a reason_code", "meaning": "what it means", "remedy": "what to do about it"},
    "outcomes": {"outcome": "an outcome of scans and scopes", "meaning": "what it means"},
    "causes": {"cause": "a cause of finding_events", "meaning": "what it means"},
    "inventory": {
        "slug": "the repository's name for people",
        "commit": "the commit it was read from",
        "evidence_at": "when its manifests were really looked at, UTC",
    },
    "manifests": {
        "manifest": "path of the manifest or lock file; sbom://NAME of an SBOM made elsewhere",
        "format": "its form",
        "state": "ok, unpinned, unresolved, unsupported or error: the worst of what is in it",
        "pinned": "packages with an exact version",
    },
    "vulnerable": {"slug": "the repository's name for people"},
    "feeds": {
        "data_age_days": "days since as_of; null where the feed has no date",
        "age_days": "days since checked_at",
        "reason_code": "why what it says is missing or old, or why the last sync left it as it was",
        "meaning": "of the reason",
        "remedy": "of the reason",
    },
    "findings_at": {
        "status": "status as of that date",
        "is_open": "whether it was open then",
        "opened_at": "when the opening that held then began, UTC; null of what was not open",
    },
}
#: By view, the tables whose columns it hands on, the first that has one.
_FROM: Mapping[str, Sequence[str]] = {
    "patrols": ("runs",),
    "latest": ("scans",),
    "gaps": ("scans", "runs"),
    "gaps_now": ("scopes",),
    "freshness": ("scopes",),
    "findings_counted": ("findings",),
    "findings_over_refs": ("findings",),
    "flaws": ("findings",),
    "decisions_now": ("decisions",),
    "scan_results": ("observations", "scans"),
    "inventory": ("packages", "scopes"),
    "manifests": ("scopes",),
    "vulnerable": ("vulnerabilities", "advisories"),
    "feeds": ("advisory_feeds",),
    "findings_at": ("findings",),
}
_TYPES = {
    "VARCHAR": "string",
    "BIGINT": "int64",
    "HUGEINT": "int64",
    "DOUBLE": "float64",
    "BOOLEAN": "bool",
    "TIMESTAMP WITH TIME ZONE": "timestamp UTC",
    "VARCHAR[]": "list of string",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewColumn:
    """A column of a view: its type, what it means, and the table that it is a column of (None: the view makes it)."""

    name: str
    type: str
    meaning: str
    table: str | None


def view_columns(more: ViewSet = NO_VIEWS) -> dict[str, list[ViewColumn]]:
    """The columns of every view of the lake and of ``more``; of a table function by its name alone.

    Raises KeyError: there is a column that nothing is said of.
    """
    names = [*VIEWS, *(v.name for v in more.views)]
    asked = {**{n: n for n in names}, **{f.partition("(")[0]: f for f in FUNCTIONS}}
    with over_nothing(more) as con:
        return {name: [*_described(con, name, call, more)] for name, call in asked.items()}


def _described(con: duckdb.DuckDBPyConnection, name: str, call: str, more: ViewSet) -> list[ViewColumn]:
    made = more.columns.get(name) or _MADE.get(name, {})
    tables = more.handed_on.get(name) or _FROM.get(name, ())
    found = []
    for column, kind, *_ in con.execute(f"DESCRIBE SELECT * FROM {call}").fetchall():
        table = None if column in made else next((t for t in tables if column in TABLES[t].schema.names), None)
        meaning = made[column] if table is None else TABLES[table].schema.field(column).metadata[b"comment"].decode()
        found.append(ViewColumn(name=column, type=_TYPES[kind], meaning=meaning, table=table))
    return found


def view_columns_markdown(more: ViewSet) -> str:
    """Every view with its columns, for people."""
    calls = {f.partition("(")[0]: f for f in FUNCTIONS}
    told = {**VIEWS, **{v.name: v.meaning for v in more.views}, **{n: FUNCTIONS[f] for n, f in calls.items()}}
    parts = []
    for name, columns in view_columns(more).items():
        parts.append(f"### {calls.get(name, name)}\n\n{told[name]}\n\n| column | type | meaning |\n|---|---|---|")
        parts += [f"| {c.name} | {c.type} | {c.meaning} |" for c in columns]
        parts.append("")
    return "\n".join(parts)
