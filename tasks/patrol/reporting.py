"""Joins the lake, the views of policy and the room of reports: what a report of all, of a team or of some repositories
tells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.errors import UsageError
from tasks.core.view_sets import ViewSet
from tasks.lake.changes import Origin
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.views import arrow_of
from tasks.patrol import report_rows as rows
from tasks.patrol.deciding import decision_of
from tasks.patrol.feed_dates import advisories_as_of, feeds_of
from tasks.patrol.naming import PACK
from tasks.patrol.report_tables import UID_DIGITS, gap_paths, key_of, page_tables, rules_of
from tasks.patrol.report_trends import charts
from tasks.policy import POLICY
from tasks.policy.decisions import Kind
from tasks.policy.judging import Standing, accepted_gaps
from tasks.policy.owners import NOBODY
from tasks.report.html import PRIORITIES, REOPENED, SEVERITIES, UNTOLD, ReportData, Team
from tasks.report.html_cwe import cwe_numbers

_LISTED = 10
_DUE_SOON_DAYS = 14
_CWES = 5
_YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one snapshot of a lake says, once for all reports that are made from it."""

    snapshot: Snapshot
    policy: ViewSet
    repos: Sequence[str]
    made_at: datetime
    patrol: Mapping[str, Any] | None
    findings: pa.Table
    gaps: Sequence[Mapping[str, Any]]
    scopes: pa.Table
    repositories: pa.Table
    rules: pa.Table
    places: pa.Table
    twins: pa.Table
    decisions: Sequence[Mapping[str, Any]]
    events: pa.Table
    gone: pa.Table
    champions: Mapping[str, Sequence[str]]
    trend: pa.Table
    overdue_trend: pa.Table
    advisories: str | None

    @property
    def teams(self) -> list[str]:
        """Everybody who has open findings, the most burdened first, then who has repositories only."""
        found = [t["team"] for t in _counted(self.findings)]
        return found + sorted(set(self.repositories.column("team").to_pylist()) - {*found, NOBODY})


def facts(
    lake: Lake, *, run_id: str | None = None, repos: Sequence[str] = (), policy: ViewSet = POLICY,
    now: datetime | None = None,
) -> Facts:  # fmt: skip
    """Read the lake as of a run (None: the newest), of the repositories whose names match any of ``repos`` (none: all).

    Raises UsageError: there is no run, or no repository of that name (an empty report would read as "nothing is open").
    """
    snapshot = lake.snapshot(run_id)
    if snapshot.run is None:
        raise UsageError("the lake has no run yet", advice="Run `nightwarden patrol` or `nightwarden import` first.")
    known = rows.repositories(snapshot)
    if repos:
        known = known.filter(pa.array([_wanted(s, repos) for s in known.column("slug").to_pylist()], pa.bool_()))
        if not known.num_rows:
            raise UsageError(
                f"no repository of the lake is called {', '.join(repos)}",
                advice="`nightwarden query 'SELECT slug FROM repositories'` lists them.",
            )
    chosen = known.select(["repo_id"])
    patrols = arrow_of(snapshot, "SELECT * FROM patrols ORDER BY seq DESC LIMIT 1").to_pylist()
    since = int(patrols[0]["seq"]) if patrols else 0
    told = rows.decisions(snapshot).to_pylist()
    ids = chosen.column("repo_id")
    ended = cast(datetime, snapshot.run["finished_at"])
    made_at = now or datetime.now(UTC)
    return Facts(
        snapshot=snapshot,
        policy=policy,
        repos=repos,
        made_at=made_at,
        patrol=patrols[0] if patrols else None,
        findings=_of(rows.findings(snapshot, policy, since), ids),
        gaps=[
            g for g in _gaps(snapshot, told, ended) if not repos or _whole(g) or g["repo_id"] in set(ids.to_pylist())
        ],
        scopes=_of(rows.scopes(snapshot), ids),
        repositories=known,
        rules=rows.rules(snapshot),
        places=rows.places(snapshot),
        twins=rows.twins(snapshot),
        decisions=told,
        events=rows.events(snapshot),
        gone=_of(rows.gone(snapshot, since), ids),
        champions={t["team"]: t["champions"] or [] for t in rows.teams(snapshot).to_pylist()},
        trend=rows.trend(snapshot, policy, ended - _YEAR, chosen),
        overdue_trend=(
            rows.overdue(snapshot, policy, chosen, None)
            if repos
            else arrow_of(snapshot, "SELECT * FROM sla_trend", policy)
        ),
        advisories=advisories_as_of(feeds_of(snapshot), made_at),
    )


def _wanted(slug: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(slug, p) for p in patterns)


def _of(table: pa.Table, repo_ids: pa.ChunkedArray) -> pa.Table:
    return table.filter(pc.is_in(table.column("repo_id"), repo_ids.combine_chunks()))


def _of_team(table: pa.Table, team: str) -> pa.Table:
    return table.filter(pc.equal(table.column("team"), team))


def _whole(gap: Mapping[str, Any]) -> bool:
    """Whether a gap is of no repository, but of a source or a rule pack: it concerns everybody."""
    return str(gap["repo_id"]).startswith((PACK, "source:"))


def _gaps(snapshot: Snapshot, decided: Sequence[Mapping[str, Any]], at: datetime) -> list[dict[str, Any]]:
    """One row for each (reason, repository, ref, tool, detail), its paths in a list; ``accepted``: how many of them."""
    found = rows.gaps(snapshot).to_pylist()
    standing = [
        Standing(decision=decision_of(d), decided_at=d["decided_at"])
        for d in decided
        if d["kind"] == str(Kind.ACCEPTED_GAP) and d["state"] == "in_force" and d["decided_at"] is not None
    ]
    by, _ = accepted_gaps(standing, at, found) if standing else ([None] * len(found), {})
    grouped: dict[tuple[Any, ...], dict[str, Any]] = {}
    for gap, decision in zip(found, by, strict=True):
        key = tuple(gap[k] for k in ("reason_code", "repo_id", "ref", "tool", "outcome", "detail"))
        row = grouped.setdefault(key, {**gap, "paths": [], "count": 0, "accepted": 0, "decisions": set(), "key": ""})
        row["key"] = key_of(gap["repo_id"])
        row["count"] += 1
        if gap["path"] is not None:
            row["paths"].append(gap["path"])
        if decision is not None:
            row["accepted"] += 1
            row["decisions"].add(decision)
    return list(grouped.values())


def report_of(
    known: Facts, *, team: str | None = None, files: Mapping[str, str] | None = None, home: str | None = None
) -> ReportData:
    """The report of all that is known, or of one team. ``files``: the file of each team's own report.

    Raises UsageError: nobody is called so.
    """
    subject = ", ".join(known.repos) or "all repositories"
    found, gaps, repositories, gone = known.findings, list(known.gaps), known.repositories, known.gone
    if team is not None:
        found = _of_team(found, team)
        owned = _of_team(repositories, team).column("repo_id").to_pylist()
        mine = set(owned) | set(found.column("repo_id").to_pylist())
        if not mine:
            raise UsageError(
                f"no team of the lake is called {team!r}",
                advice="`nightwarden query --saved priorities` lists who owns what.",
            )
        repositories = _of(repositories, pa.chunked_array([pa.array(sorted(mine), pa.string())]))
        gaps = [g for g in gaps if g["repo_id"] in mine or _whole(g)]
        gone = _of(gone, repositories.column("repo_id"))
        subject = f"team {team}" + (f" in {subject}" if known.repos else "")
    ids = repositories.column("repo_id")
    scopes = _of(known.scopes, ids)
    run = cast(Mapping[str, Any], known.snapshot.run)
    patrol = known.patrol
    is_open = pc.is_in(found.column("status"), pa.array(["open", "reopened"]))
    there = found.filter(is_open)
    rules = rules_of(known.rules, found)
    tables, notes = page_tables(known, found, repositories, scopes, rules)
    teams = _teams(there, rules, files or {}, known.teams if team is None else [team], known.champions)
    overdue = there.filter(there.column("is_overdue"))
    soon = _due_soon(there, run["finished_at"])
    looked = scopes.filter(pc.invert(pc.is_in(scopes.column("outcome"), pa.array(["nothing_to_read", "skipped"]))))
    shown, tables["gap_paths"] = gap_paths(gaps)
    late = known.overdue_trend
    if team is not None:
        late = rows.overdue(known.snapshot, known.policy, known.repositories.select(["repo_id"]), team)
    drawn, more = charts(known.trend, late, there, run["finished_at"], team)
    notes += more
    return ReportData(
        subject=subject,
        made_at=known.made_at,
        run=run,
        patrol=patrol,
        patrol_age_hours=(known.made_at - patrol["finished_at"]).total_seconds() / 3600 if patrol else 0.0,
        gaps=shown,
        oldest=looked.slice(0, _LISTED).to_pylist(),
        never=looked.column("evidence_at").null_count,
        skipped=_skipped(scopes),
        new=_new(there),
        gone=gone.slice(0, rows.MOST_GONE).to_pylist(),
        gone_causes=_causes(gone),
        overdue=_short(overdue.sort_by([("overdue_days", "descending")])) if overdue.num_rows else [],
        overdue_count=overdue.num_rows,
        due_soon=_short(soon),
        due_soon_count=soon.num_rows,
        charts=drawn,
        teams=teams,
        tables=tables,
        counts=_counts(there, found, shown, repositories),
        decisions=[d for d in known.decisions if d["kind"] is not None],
        advisories=known.advisories,
        notes=notes,
        home=home,
    )


def _counts(
    there: pa.Table, found: pa.Table, gaps: Sequence[Mapping[str, Any]], repositories: pa.Table
) -> dict[str, Any]:
    priorities = Counter(there.column("priority").to_pylist())
    severities = Counter(there.column("severity").to_pylist())
    return {
        "open": there.num_rows,
        "decided": found.num_rows - there.num_rows,
        "new": pc.sum(there.column("is_new")).as_py() or 0,
        "priorities": {p: priorities[p] for p in PRIORITIES},
        "severities": {s: severities[s] for s in SEVERITIES},
        "gaps": sum(g["count"] for g in gaps),
        "gaps_accepted": sum(g["accepted"] for g in gaps),
        "gap_repositories": len({g["repo_id"] for g in gaps}),
        "repositories": repositories.num_rows,
    }


def _short(found: pa.Table) -> list[dict[str, Any]]:
    """The first few findings, as the template lists them."""
    names = ["finding_uid", "slug", "path", "line_start", "rule_id", "title", "severity", "priority", "team",
             "overdue_days", "due_at"]  # fmt: skip
    listed = found.slice(0, _LISTED).select(names).to_pylist()
    return [{**f, "uid": f["finding_uid"][:UID_DIGITS]} for f in listed]


def _due_soon(there: pa.Table, at: datetime) -> pa.Table:
    due = there.column("due_at")
    limit = pa.scalar(at + timedelta(days=_DUE_SOON_DAYS), due.type)
    soon = pc.and_(pc.less_equal(due, limit), pc.invert(there.column("is_overdue")))
    return there.filter(pc.fill_null(soon, False)).sort_by([("due_at", "ascending")])


def _new(there: pa.Table) -> list[dict[str, Any]]:
    """What is new by origin: a row an origin, with a count for each severity; what came back is a row of its own, for
    its origin is why it came first. Their totals are all that is new."""
    fresh = there.filter(there.column("is_new"))
    names = [
        REOPENED if status == "reopened" else origin or UNTOLD
        for origin, status in zip(fresh.column("origin").to_pylist(), fresh.column("status").to_pylist(), strict=True)
    ]
    counts = Counter(zip(names, fresh.column("severity").to_pylist(), strict=True))
    order = [*(o for o in map(str, Origin) if o != Origin.BACKLOG), REOPENED, str(Origin.BACKLOG)]
    told = []
    for origin in [*order, *sorted({*names} - {*order})]:
        by = {s: counts[origin, s] for s in SEVERITIES}
        if total := sum(by.values()):
            told.append({"origin": origin, "severities": by, "total": total})
    return told


def _causes(gone: pa.Table) -> list[dict[str, Any]]:
    """Why findings ended: (cause, meaning, count), the commonest first."""
    told = (
        gone.group_by(["cause", "meaning"]).aggregate([([], "count_all")]).rename_columns(["cause", "meaning", "count"])
    )
    return list(told.sort_by([("count", "descending"), ("cause", "ascending")]).to_pylist())


def _skipped(scopes: pa.Table) -> list[dict[str, Any]]:
    """What is left out on purpose: a row for each (reason, tool), with the repositories."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    off = scopes.filter(pc.equal(scopes.column("outcome"), "skipped"))
    for s in off.select(["slug", "tool", "reason_code", "detail"]).to_pylist():
        key = (s["reason_code"] or "skipped", s["tool"])
        row = found.setdefault(key, {"reason": key[0], "tool": key[1], "slugs": set(), "scopes": 0})
        row["slugs"].add(s["slug"])
        row["scopes"] += 1
    return [{**r, "slugs": sorted(r["slugs"])} for r in sorted(found.values(), key=lambda r: (r["reason"], r["tool"]))]


def _teams(
    there: pa.Table, rules: pa.Table, files: Mapping[str, str], names: Sequence[str],
    champions: Mapping[str, Sequence[str]],
) -> list[Team]:  # fmt: skip
    """The teams with open findings, then those of ``names`` that have none."""
    weak = dict(
        zip(zip(*(rules.column(c).to_pylist() for c in ("tool", "rule_id")), strict=True),
            rules.column("cwe").to_pylist(), strict=True)
    )  # fmt: skip
    cwes: dict[str, Counter[str]] = {}
    tools = pc.list_element(there.column("tools"), 0) if there.num_rows else pa.array([], pa.string())
    told = pa.table({"team": there.column("team"), "tool": tools, "rule_id": there.column("rule_id")})
    for row in told.group_by(["team", "tool", "rule_id"]).aggregate([([], "count_all")]).to_pylist():
        for number in cwe_numbers(weak.get((row["tool"], row["rule_id"]))):
            cwes.setdefault(row["team"], Counter())[f"CWE-{number}"] += row["count_all"]
    counted = _counted(there)
    return [
        Team(
            name=t["team"],
            champions=champions.get(t["team"], ()),
            priorities={p: t["priorities"][p] for p in PRIORITIES},
            severities={s: t["severities"][s] for s in SEVERITIES},
            open=t["open"],
            overdue=t["overdue"],
            new=t["new"],
            oldest_days=t["oldest_days"],
            cwes=sorted(cwes.get(t["team"], Counter()).items(), key=lambda i: (-i[1], i[0]))[:_CWES],
            file=files.get(t["team"]),
        )
        for t in [*counted, *(_nobody(n) for n in names if n not in {t["team"] for t in counted})]
    ]


def _nobody(team: str) -> dict[str, Any]:
    """The counts of a team before anything is counted."""
    return {"team": team, "priorities": Counter(), "severities": Counter(), "open": 0, "overdue": 0, "new": 0,
            "oldest_days": 0}  # fmt: skip


def _counted(there: pa.Table) -> list[dict[str, Any]]:
    """The teams with what counts for each; who has most of the gravest first."""
    there = there.filter(pc.is_in(there.column("status"), pa.array(["open", "reopened"])))
    found: dict[str, dict[str, Any]] = {}
    names = ["team", "priority", "severity", "is_overdue", "is_new"]
    for row in there.select(names).group_by(names).aggregate([([], "count_all")]).to_pylist():
        n = row["count_all"]
        team = found.setdefault(row["team"], _nobody(row["team"]))
        team["priorities"][row["priority"]] += n
        team["severities"][row["severity"]] += n
        team["open"] += n
        team["overdue"] += n if row["is_overdue"] else 0
        team["new"] += n if row["is_new"] else 0
    ages = there.select(["team", "opened_at"]).group_by("team").aggregate([("opened_at", "min")]).to_pylist()
    newest = pc.max(there.column("opened_at")).as_py()
    for row in ages:
        found[row["team"]]["oldest_days"] = (newest - row["opened_at_min"]).days
    return sorted(found.values(), key=lambda t: ([-t["priorities"][p] for p in PRIORITIES], t["team"]))
