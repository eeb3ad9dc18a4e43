"""Findings and gaps of the lake as rows of a table and as events of OCSF, as of a run. Rows come as they are read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from tasks.core.reasons import REASONS
from tasks.lake.views import run_query
from tasks.patrol.exporting import Chosen, own_version
from tasks.policy import POLICY
from tasks.policy.severity import severity_of
from tasks.report.ocsf import Dependency, GappyScan, LivingFinding, finding_event, scan_event

#: Scopes whose gaps are looked up together.
_TOGETHER = 500
#: What a finding's scopes say of it. Only where it is there does the last look tell when it was seen.
_TOLD = """told AS (
    SELECT f.finding_uid, max(s.evidence_at) FILTER (f.scan_status IN ('open', 'reopened')) AS evidence_at,
           any_value(f.decision_id) AS decision_id, max(f.decided_until) AS decided_until,
           arg_max(f.fixed_reason, f.fixed_at) AS fixed_reason, max(f.fixed_at) AS gone_at
    FROM findings f LEFT JOIN scopes s USING (repo_id, ref, tool) GROUP BY f.finding_uid
)"""
#: What only the results know: packages, the rule's page, and whether the finding is in the newest one.
_SEEN = """seen AS (
    SELECT f.finding_uid, max(s.evidence_at) AS seen_at, max(o.url) AS url, max(o.extra->>'cwe') AS cwe_seen,
           max(f.line_end) AS line_end, list(DISTINCT f.tool ORDER BY f.tool) AS seen_by,
           list(DISTINCT {'purl': o.purl, 'version': o.version, 'fixed_in': o.extra->>'fixed_in'})
               FILTER (o.purl IS NOT NULL) AS packages
    FROM findings f JOIN scopes s USING (repo_id, ref, tool)
    JOIN observations o ON o.result_name = s.result_name AND o.anchor_uid = f.anchor_uid GROUP BY f.finding_uid
), ids AS (
    SELECT finding_uid, list_sort(list_distinct(flatten(list(advisories)))) AS advisories,
           arg_max(opened_run, opened_at) AS opened_run, max(line_end) AS last_line
    FROM findings GROUP BY finding_uid
), known AS (
    SELECT tool, rule_id, max(cwe) AS cwe, max(remedy) AS remedy, max(url) AS url FROM rules GROUP BY ALL
), ruled AS (
    SELECT f.finding_uid, max(cwe) AS cwe, max(remedy) AS remedy, max(k.url) AS url
    FROM (SELECT DISTINCT finding_uid, tool, rule_id FROM findings) f JOIN known k USING (tool, rule_id) GROUP BY ALL
)"""
_ROWS = """
    SELECT r.priority, r.score, r.severity, v.status, r.* EXCLUDE (priority, score, severity), t.evidence_at
    FROM ranked r JOIN findings_over_refs v USING (finding_uid) JOIN told t USING (finding_uid)"""
_CLOSED = """
    UNION ALL BY NAME
    SELECT v.status, v.kind, v.slug, v.rule_id, v.title, v.path, v.line_start, v.origin, v.tools, v.severity_tool,
           v.first_seen_at, v.finding_uid, v.repo_id, p.owner, p.criticality, p.exposure, t.evidence_at,
           t.decision_id, t.decided_until, t.fixed_reason, coalesce(v.fixed_at, t.gone_at) AS gone_at
    FROM findings_over_refs v JOIN told t USING (finding_uid) LEFT JOIN repositories p USING (repo_id)
    WHERE NOT v.is_open"""
_ORDER = " ORDER BY score DESC NULLS LAST, slug, kind, rule_id, path NULLS FIRST, line_start NULLS FIRST, finding_uid"
#: What an event needs beyond a row of the table, and the table does not show.
_EVENT_ONLY = ("seen_at", "url", "cwe", "last_line", "opened_run", "remedy", "advisories", "packages")
GAP_COLUMNS = ("slug", "ref", "tool", "outcome", "reason_code", "path", "detail", "meaning", "remedy", "evidence_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows to be written, with the names of their columns."""

    columns: Sequence[str]
    rows: Iterator[Sequence[Any]]


def finding_rows(about: Chosen, *, everything: bool = False) -> Rows:
    """The open findings that are chosen, as the view ``ranked`` has them, the most urgent first; with ``everything``
    also those that are decided, fixed or archived (column ``status``). Raises LakeError when a table cannot be read.
    """
    sql = f"WITH {_TOLD} {_ROWS}{_CLOSED if everything else ''}{_ORDER}"
    columns, rows = run_query(about.snapshot, sql, POLICY)
    return _filtered(about, columns, rows)


def _filtered(about: Chosen, columns: Sequence[str], rows: Iterator[Sequence[Any]]) -> Rows:
    slug, tools = columns.index("slug"), columns.index("tools")

    @cache
    def is_named(name: str) -> bool:
        return not about.repos or any(fnmatchcase(name, p) for p in about.repos)

    mine = frozenset(about.tools)
    left = (row for row in rows if is_named(row[slug]) and (not mine or not mine.isdisjoint(row[tools] or ())))
    return Rows(columns=columns, rows=left)


def gap_rows(about: Chosen) -> Rows:
    """What was not read of what is chosen: one row a gap, ``path`` null for a scope as a whole."""

    def found() -> Iterator[Sequence[Any]]:
        for s, gap in _gaps(about):
            reason = REASONS.get(gap.reason_code)
            words = (reason.meaning, reason.remedy) if reason is not None else (None, None)
            place = (s.slug, s.ref, s.tool, str(s.outcome), gap.reason_code, gap.path or None, gap.detail)
            yield (*place, *words, s.evidence_at)

    return Rows(columns=GAP_COLUMNS, rows=found())


def _gaps(about: Chosen) -> Iterator[tuple[Any, Any]]:
    states = [s for s in about.states if about.has_gaps(s)]
    for n in range(0, len(states), _TOGETHER):
        yield from about.gaps_of(states[n : n + _TOGETHER])


def about_rows(about: Chosen, *, everything: bool) -> list[tuple[str, Any]]:
    """What a reader of a file must know of how it came about: (name, value)."""
    run = about.snapshot.run
    assert run is not None
    return [
        ("written by", f"Nightwarden {own_version()}".strip()),
        ("run", run["run_id"]),
        ("run ended", run["finished_at"]),
        ("repositories", ", ".join(about.repos) or "all"),
        ("tools", ", ".join(about.tools) or "all"),
        ("findings", "open, decided, fixed and archived" if everything else "open"),
        ("scopes (repository, branch, tool)", len(about.states)),
        ("scopes of which something was not read", about.gaps),
    ]


def ocsf_events(about: Chosen, *, everything: bool = False) -> Iterator[dict[str, Any]]:
    """Events of OCSF: first of what was not read, then of the findings (see ``tasks.report.ocsf``)."""
    run, own = about.snapshot.run, own_version()
    assert run is not None
    run_id, at = run["run_id"], run["finished_at"]
    for s in about.states:
        if about.has_gaps(s):
            gaps = [gap for _, gap in about.gaps_of([s])]
            reasons = Counter(g.reason_code for g in gaps)
            whole = next((g for g in gaps if not g.path), gaps[0] if gaps else None)
            scan = GappyScan(
                repo_id=s.repo_id,
                slug=s.slug,
                ref=s.ref,
                tool=s.tool,
                looked_at=s.evidence_at,
                failed=any(not g.path for g in gaps),
                skipped=sum(1 for g in gaps if g.path),
                reason_code=whole.reason_code if whole is not None else str(s.outcome),
                detail=whole.detail if whole is not None else "",
                reasons=reasons,
            )
            yield scan_event(scan, run_id=run_id, at=at, version=own)
    sql = f"""
        WITH {_TOLD}, {_SEEN}, shown AS ({_ROWS}{_CLOSED if everything else ""})
        SELECT shown.*, seen.seen_at, coalesce(ruled.url, seen.url) AS url, coalesce(seen.cwe_seen, ruled.cwe) AS cwe,
               ids.last_line, ids.opened_run, ruled.remedy, ids.advisories, seen.packages
        FROM shown JOIN ids USING (finding_uid) LEFT JOIN seen USING (finding_uid) LEFT JOIN ruled USING (finding_uid)
        {_ORDER}"""
    found = _filtered(about, *run_query(about.snapshot, sql, POLICY))
    for row in found.rows:
        yield finding_event(
            _living(dict(zip(found.columns, row, strict=True)), run_id), run_id=run_id, at=at, version=own
        )


#: Columns that an event says in the schema's own words.
_SAID = frozenset(
    {"severity", "kind", "rule_id", "title", "path", "line_start", "tools", "first_seen_at", "finding_uid", "gone_at"}
)


def _living(row: dict[str, Any], run_id: str) -> LivingFinding:
    severity = row["severity"] or str(severity_of(row["tools"][0], row["severity_tool"], None))
    rest = {k: _plain(v) for k, v in row.items() if k not in _SAID and k not in _EVENT_ONLY and k != "status"}
    return LivingFinding(
        finding_uid=row["finding_uid"],
        repo_id=row["repo_id"],
        slug=row["slug"],
        kind=row["kind"],
        rule_id=row["rule_id"],
        title=row["title"],
        status=row["status"],
        severity=severity,
        path=row["path"],
        line_start=row["line_start"],
        line_end=max(row["line_start"] or 0, row["last_line"] or 0) or None,
        first_seen_at=row["first_seen_at"],
        seen_at=row["seen_at"],
        closed_at=row.get("gone_at"),
        is_new=row["opened_run"] == run_id and row["status"] == "open",
        owner=row["owner"],
        criticality=row["criticality"],
        cwe=row["cwe"],
        url=row["url"],
        remedy=row["remedy"],
        tools=tuple(row["tools"] or ()),
        advisories=tuple(row["advisories"] or ()),
        packages=tuple(Dependency(**p) for p in row["packages"] or ()),
        rest=rest,
    )


def _plain(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def ocsf_pieces(events: Iterator[dict[str, Any]], *, array: bool) -> Iterator[str]:
    """Events as text: a line each, or one JSON array."""
    if array:
        yield "["
    for n, event in enumerate(events):
        text = json.dumps(event, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
        yield f"{',' if array and n else ''}{text}\n"
    if array:
        yield "]\n"
