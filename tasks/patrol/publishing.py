"""The end of a run: rows, repositories and findings to the lake, and what the run says of itself."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tasks.core.disk import told_when_full
from tasks.core.errors import ScanGapError
from tasks.core.reasons import GAP_OUTCOMES
from tasks.core.types import Outcome, Scan, ScanResult, ScopeState, ToolHome, Unit, digest, display_path
from tasks.lake.changes import Change, Origin
from tasks.lake.publish import PublishBatch, publish
from tasks.patrol.deciding import Deciding
from tasks.patrol.hygiene_rows import STORE_SOURCE
from tasks.patrol.owning import answering, team_rows, teams_of
from tasks.patrol.plan import SETTINGS_REF, config_digest, revision_of
from tasks.patrol.rows import Closing, close_run, is_gap
from tasks.patrol.session import Patrol, RepoState, ScopeKey
from tasks.patrol.summary import RunSummary, coverage_of, group_gaps
from tasks.repos.trees import read_tree


def publish_run(patrol: Patrol) -> RunSummary:
    """Write the run; whole or not at all. Returns its summary."""
    means = patrol.means
    closing = close_run(patrol)
    gap_rows = [s for s in closing.scans if is_gap(s)]
    slugs = {repo_id: s.repo.slug for repo_id, s in patrol.repos.items()}
    deciding = Deciding(
        patrol.snapshot, datetime.now(UTC), means.decisions, means.git, means.forges.values(), slugs=slugs
    )
    accepted = _accepted(patrol, deciding, closing.scans, gap_rows)
    has_gaps = accepted < len(gap_rows) or bool(deciding.unread)
    ran = [r for r in closing.scans if r.sandbox]
    finished = datetime.now(UTC)
    outcomes = Counter(str(s.outcome) for s in closing.scans)
    homes = {n: t for n, t in means.tools.items() if isinstance(t, ToolHome)}
    run: dict[str, Any] = {
        "run_id": patrol.run_id,
        "started_at": patrol.started_at,
        "finished_at": finished,
        "state": "CompletedWithGaps" if has_gaps else "Completed",
        "sources": [s.name for s in patrol.sources],
        "filters": json.dumps({"only": patrol.options.only, "tools": patrol.options.tools}),
        "config_digest": digest(*(config_digest(s, homes[s.name]) for s in means.scanners if s.name in homes)),
        "versions": json.dumps({n: t.version for n, t in sorted(homes.items())}),
        "sandbox": means.runner.sandbox.label,
        "repositories": len(patrol.repos),
        "expected": len(closing.scans),
        "tools_started": len(ran),
        "gaps": len(gap_rows),
        "gaps_accepted": accepted,
        "sla": means.sla,
        "decisions_digest": deciding.digest,
        "outcomes": json.dumps(dict(sorted(outcomes.items()))),
        "duration_s": (finished - patrol.started_at).total_seconds(),
        "scan_s": sum(r.duration_s for r in ran),
    }
    # What finished scans saw is read from the spool, which forgets them when they are published.
    entries = ((reason, tool, outcome, slug) for _, reason, tool, outcome, slug, _ in _gap_entries(patrol, gap_rows))
    unread = []
    if deciding.unread and means.decisions is not None:
        unread = [("decisions_unread", "decisions", "failed", means.decisions.file.name)]
    gaps = group_gaps(itertools.chain(unread, entries), _known_gaps(patrol))
    rows = _repositories(patrol, finished)
    reowned = patrol.owning.settle(rows)
    with told_when_full("the run could not be published"):
        published = publish(
            means.lake,
            patrol.snapshot,
            PublishBatch(
                run=run,
                repositories=[
                    row for repo_id, row in rows.items() if _differs(row, patrol.known_repositories.get(repo_id))
                ],
                discoveries=patrol.tallies,
                scans=closing.scans,
                results=closing.results,
                scopes=closing.scopes,
                changes=_changes(patrol, closing),
                rules=list(_rules(patrol, closing, homes)),
                failures=closing.failures,
                judge=deciding.judge(),
                reconsider=deciding.reconsider(),
                decisions=deciding.rows,
                assign=patrol.owning.assign,
                reowned=reowned,
                teams=team_rows(patrol.snapshot, means.teams),
            ),
        )
    _settle_mirrors(patrol, closing)
    means.mirrors.collect(patrol.repos, means.unused_mirror_days)
    return RunSummary(
        run_id=patrol.run_id,
        expected=len(closing.scans),
        repositories=len(patrol.repos),
        outcomes=dict(outcomes),
        tools_started=len(ran),
        gap_rows=len(gap_rows),
        gaps=gaps,
        coverage=coverage_of(closing.scans),
        opened=published.opened,
        fixed=published.fixed,
        open_findings=published.open_findings,
        duration_s=run["duration_s"],
        sandbox=means.runner.sandbox.label,
        sandbox_why=means.runner.sandbox.why_not,
        awaiting=sum(s.reason_code == "awaiting_upgrade" for s in closing.scans),
        accepted_gaps=accepted,
        decisions_unread=bool(deciding.unread),
        decision_notes=deciding.notes(),
        owner_notes=patrol.owning.notes(),
    )


def _settle_mirrors(patrol: Patrol, closing: Closing) -> None:
    """Tell mirrors which of the refs that may have been forced are not what their scopes cover yet."""
    states = {**patrol.states, **{(s.repo_id, s.ref, s.tool): s for s in closing.scopes}}
    behind: dict[str, set[str]] = {}
    for scan in closing.scans:
        mirror, state = patrol.repos[scan.repo_id].mirror, states.get((scan.repo_id, scan.ref, scan.tool))
        if mirror is None or state is None or state.commit is None or scan.unit is Unit.BLOB:
            continue
        if state.commit != mirror.refs.get(scan.ref) and (mirror.forced is None or scan.ref in mirror.forced):
            behind.setdefault(scan.repo_id, set()).add(scan.ref)
    for repo_id, s in patrol.repos.items():
        left = frozenset(behind.get(repo_id, ()))
        if s.mirror is not None and s.mirror.forced != left:
            patrol.means.mirrors.settle(repo_id, s.mirror, left)


def _accepted(patrol: Patrol, deciding: Deciding, scans: Iterable[Scan], gap_rows: list[Scan]) -> int:
    """How many scans with gaps there are of which decisions accept each gap."""
    if not deciding.knows_gaps:
        return 0
    found = [*_gap_entries(patrol, gap_rows)]
    words = ("number", "reason_code", "tool", "outcome", "slug", "path")
    told = [dict(zip(words, entry, strict=True)) for entry in itertools.chain(found, _gaps_beside(patrol, scans))]
    by = deciding.accept(told)
    open_still = {entry[0] for entry, decision in zip(found, by, strict=False) if decision is None}
    return len({entry[0] for entry in found} - open_still)


def _gaps_beside(patrol: Patrol, scans: Iterable[Scan]) -> Iterator[tuple[int, str, str, str, str, str]]:
    """As ``_gap_entries``: the gaps that stand in scopes that a narrowed run leaves alone, and those of stores of
    secrets, which no patrol looks at. A decision counts them, too, else it would seem to match nothing, or less than
    there is."""
    is_whole = patrol.options.all_sources and not patrol.options.only and not patrol.options.tools
    idle = patrol.means.switched_off
    looked = {(s.repo_id, s.ref, s.tool) for s in scans if s.reason_code != "switched_off" or s.tool in idle}
    tools = {s.name for s in patrol.means.scanners} - set(idle)
    states = patrol.snapshot.scope_states(None)
    beside = [
        s for key, s in states.items()
        if s.source == STORE_SOURCE or (not is_whole and key not in looked and s.tool in tools)
    ]  # fmt: skip
    partial = [s for s in beside if s.outcome not in GAP_OUTCOMES - {Outcome.PARTIAL} and s.result_name and s.gaps]
    unread = patrol.snapshot.gaps_of(s.result_name for s in partial if s.result_name)
    for s in beside:
        if s.outcome in GAP_OUTCOMES - {Outcome.PARTIAL}:
            yield (-1, s.reason_code or str(s.outcome), s.tool, str(s.outcome), s.slug, "")
        elif s.reason_code != "ref_unwatched":
            for gap in unread.get(s.result_name or "", ()):
                yield (-1, gap.reason_code, s.tool, "partial", s.slug, gap.path)


def _changes(patrol: Patrol, closing: Closing) -> list[Change]:
    commits = {(s.repo_id, s.ref, s.tool): s for s in closing.scans}
    # One set a tool: of a thousand repositories with seven tools each its own would take 200 MB.
    rules = {
        name: frozenset(r.rule_id for r in home.rules)
        for name, home in patrol.means.tools.items()
        if isinstance(home, ToolHome) and home.rules is not None
    }
    looks = _Looks(patrol)
    unread = patrol.snapshot.gaps_of(
        b.result_name for key in closing.changed if (b := patrol.states.get(key)) and b.gaps and b.result_name
    )
    changes = []
    for key, result in closing.changed.items():
        before = patrol.states.get(key)
        other = before is not None and result is not None and _other_tool(before, result)
        changes.append(
            Change(
                repo_id=key[0],
                ref=key[1],
                tool=key[2],
                slug=commits[key].slug,
                commit=commits[key].commit,
                result=result,
                before=before.result_name if before is not None else None,
                empty_reason=commits[key].reason_code or "nothing_to_read",
                origin=looks.origin(key),
                other_tool=other,
                same_paths=(
                    partial(_same_paths, patrol, before, result, commits[key].commit)
                    if other and before and result
                    else frozenset
                ),
                of_settings=commits[key].unit is Unit.SETTINGS,
                same_commit=before is not None and before.commit == commits[key].commit,
                unread_before=frozenset(g.path for g in (unread.get(before.result_name or "", ()) if before else ())),
                rules=rules.get(key[2]),
                rules_before=partial(looks.rules, before),
                not_run=patrol.means.not_run.get(key[2], frozenset()),
                paths=partial(_paths, patrol, commits[key].repo_id, commits[key].unit, commits[key].commit),
                paths_before=partial(_paths, patrol, key[0], commits[key].unit, before.commit if before else None),
            )
        )
    return changes


class _Looks:
    """What was looked at before this run."""

    def __init__(self, patrol: Patrol) -> None:
        self._snapshot, self._states = patrol.snapshot, patrol.states
        looked = [s for s in patrol.states.values() if s.evidence_at is not None]
        self._repositories = {s.repo_id for s in looked}
        self._tools = {(s.repo_id, s.tool) for s in looked}
        self._rules: dict[tuple[str | None, ...], frozenset[str] | None] = {}

    def origin(self, scope: ScopeKey) -> Origin | None:
        """Why all that a scope holds now is new, if it is for one reason: it was not looked at before."""
        before = self._states.get(scope)
        if before is None and scope[1] == SETTINGS_REF:
            return Origin.BACKLOG  # nobody asked until now
        if before is not None:  # expected before; that it failed until now makes nothing in it younger
            return None if before.evidence_at is not None else Origin.BACKLOG
        repo_id, _ref, tool = scope
        if repo_id not in self._repositories:
            return Origin.BACKLOG
        return None if (repo_id, tool) in self._tools else Origin.RULES

    def rules(self, before: ScopeState | None) -> frozenset[str] | None:
        """The rules that were in force when a scope was looked at last. None if they are not known."""
        if before is None or before.tool_version is None or before.rules_digest is None:
            return None
        name = (before.tool, before.tool_version, before.rules_digest)
        if name not in self._rules:
            self._rules[name] = self._snapshot.rule_ids(*name) or None
        return self._rules[name]


def _paths(patrol: Patrol, repo_id: str, unit: Unit, commit: str | None) -> frozenset[str] | None:
    """The paths of a commit, none where there is no commit. None if they cannot be told."""
    if unit in (Unit.BLOB, Unit.SETTINGS):
        return None  # a history forgets no path, and settings have none
    if commit is None:
        return frozenset()
    mirror = patrol.repos[repo_id].mirror
    if mirror is None:
        return None
    try:
        tree = read_tree(patrol.means.git, mirror.path, commit)
    except ScanGapError:
        return None
    return frozenset(display_path(e.path) for e in tree.entries)


def _other_tool(before: ScopeState, result: ScanResult) -> bool:
    """Whether a result was made, or read, in another way than the one before it."""
    if before.result_name is None:
        return False
    return before.config_digest != result.config_digest or revision_of(before.result_name) != result.parse_revision


def _same_paths(patrol: Patrol, before: ScopeState, result: ScanResult, commit: str | None) -> frozenset[str] | None:
    """Paths that hold the same file as when the scope was looked at before. None if it cannot be found out any more.

    ``commit`` is the scope's own: the result may come from a twin, whose commits are in another mirror. Of a history it
    can be found out only if no ref has moved; then every place is the same.
    """
    if result.unit is Unit.BLOB:
        if set(before.tips) != set(result.tips):
            return None
        seen = patrol.snapshot.observations_of([before.result_name or ""]).get(before.result_name or "", ())
        return frozenset(o.path or "" for o in seen)
    mirror = patrol.repos[before.repo_id].mirror
    if mirror is None or before.commit is None or commit is None or result.unit is Unit.SETTINGS:
        return None
    try:
        old, new = (read_tree(patrol.means.git, mirror.path, c) for c in (before.commit, commit))
    except ScanGapError:
        return None  # a rewritten history
    if result.unit is Unit.TREE:
        # What stands in one file may follow from another one.
        reads = next(s.reads for s in patrol.means.scanners if s.name == result.tool)
        one, other = ({(e.path, e.blob) for e in tree.entries if reads(e.path)} for tree in (old, new))
        if one != other:
            return frozenset()
    blobs = {e.path: e.blob for e in old.entries}
    return frozenset(display_path(e.path) for e in new.entries if blobs.get(e.path) == e.blob)


def _rules(patrol: Patrol, closing: Closing, homes: Mapping[str, ToolHome]) -> Iterator[dict[str, Any]]:
    """The rules of tools of this run whose version or rules the lake does not know yet.

    A night in which a tool did nothing, and that begins with the version it ends with, need not ask the lake.
    """
    seen = {(s.tool, s.tool_version, s.rules_digest) for s in patrol.states.values()}
    used = {s.tool for s in closing.scans if s.outcome is not Outcome.SKIPPED}
    made = {r.tool for r in closing.results}
    for tool, home in sorted(homes.items()):
        if not home.rules or tool not in used:
            continue
        if (tool, home.version, home.rules_digest) in seen and tool not in made:
            continue
        if patrol.snapshot.has_rules(tool, home.version, home.rules_digest):
            continue
        for rule in home.rules:
            yield {"tool": tool, "tool_version": home.version, "rules_digest": home.rules_digest, **asdict(rule)}


def _repositories(patrol: Patrol, now: datetime) -> dict[str, dict[str, Any]]:
    """The rows of ``repositories`` of this run."""
    teams = patrol.means.teams if patrol.means.teams is not None else teams_of(patrol.snapshot)
    rows = {}
    for repo_id, state in patrol.repos.items():
        row = _repository(state, patrol.known_repositories.get(repo_id), now)
        if row["owner"] is None and state.found and not row["source"].startswith("("):
            row["owner"] = answering(teams, row["slug"])
        rows[repo_id] = row | patrol.owning.columns(repo_id)
    return rows


def _differs(row: Mapping[str, Any], old: Mapping[str, Any] | None) -> bool:
    return old is None or any(row[k] != old[k] for k in row if k != "changed_at")


def _repository(state: RepoState, old: dict[str, Any] | None, now: datetime) -> dict[str, Any]:
    repo, mirror = state.repo, state.mirror
    return {
        "repo_id": repo.repo_id,
        "slug": repo.slug,
        "source": repo.source,
        "url": repo.url,
        "default_branch": repo.default_branch,
        "head": mirror.refs.get(mirror.head_ref or "") if mirror else (old["head"] if old else None),
        "owner": repo.owner,
        "criticality": repo.criticality,
        "exposure": repo.exposure,
        "scopes": list(repo.scopes),
        "present": state.found,
        "reason_code": state.reason_code,
        "first_seen_at": old["first_seen_at"] if old else now,
        "changed_at": now,
    }


def _gap_entries(patrol: Patrol, gap_rows: list[Scan]) -> Iterator[tuple[int, str, str, str, str, str]]:
    """(number of the row, reason, tool, outcome, slug, path) of each unscanned scan and unread path that counts now."""
    # By their own names: that of a forced look that saw something else is not the planned one.
    results = {r.result_name: r for r in patrol.results.values()}
    inherited = [s for s in gap_rows if s.outcome is Outcome.UNCHANGED and s.result_name not in results]
    unread = patrol.snapshot.gaps_of(s.result_name for s in inherited if s.result_name)
    for n, s in enumerate(gap_rows):
        if s.outcome not in (Outcome.PARTIAL, Outcome.UNCHANGED):
            yield (n, s.reason_code or str(s.outcome), s.tool, str(s.outcome), s.slug, "")
            continue
        own = results.get(s.result_name or "")
        for gap in own.gaps if own is not None else unread.get(s.result_name or "", ()):
            yield (n, gap.reason_code, s.tool, "partial", s.slug, gap.path)


def _known_gaps(patrol: Patrol) -> frozenset[tuple[str, str]] | None:
    """The (reason, tool) pairs of the run before; None when there was none."""
    if patrol.snapshot.run is None:
        return None
    pairs = {
        (s.reason_code, s.tool) for s in patrol.states.values() if s.reason_code and s.outcome is not Outcome.SKIPPED
    }
    partial = [s.result_name for s in patrol.states.values() if s.outcome is Outcome.PARTIAL and s.result_name]
    tools = {s.result_name: s.tool for s in patrol.states.values() if s.result_name}
    for name, gaps in patrol.snapshot.gaps_of(partial).items():
        pairs |= {(g.reason_code, tools[name]) for g in gaps}
    return frozenset(pairs)
