"""From plans and results to the rows of a run: one ``scans`` row for every expected scan, and the scopes after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from tasks.core.reasons import COMPLETE_OUTCOMES, GAP_OUTCOMES
from tasks.core.types import Gap, Outcome, Scan, ScanResult, ScopeState, ToolHome, Unit
from tasks.patrol.look import row_of_result
from tasks.patrol.plan import Action, Planned, next_attempt_at
from tasks.patrol.session import Patrol, ScopeKey
from tasks.repos.history import is_ancestor


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The coverage record of a run: its rows, the scopes it leaves behind, and what changed in them."""

    scans: tuple[Scan, ...]
    scopes: tuple[ScopeState, ...]
    #: Scopes whose current result changed: the result that now holds, or None when there is nothing to read.
    changed: dict[ScopeKey, ScanResult | None]
    results: tuple[ScanResult, ...]
    #: Scopes whose spooled failure this run says, or knows to be of the past.
    failures: tuple[ScopeKey, ...]


def close_run(patrol: Patrol) -> Closing:
    """Make every expected scan a row. Reads results that the ledger has for reused names."""
    plans = [p for s in patrol.repos.values() for p in s.plans]
    reused, details = _reused(patrol, plans), _details(patrol, plans)
    scans: list[Scan] = []
    scopes: list[ScopeState] = []
    changed: dict[ScopeKey, ScanResult | None] = {}
    is_older = _Ancestry(patrol)
    for p in plans:
        before = patrol.states.get(p.scope)
        row, result = _row(patrol, p, before, reused)
        if before is not None and (result is not None or p.action is Action.EMPTY) and is_older(p, before):
            scans.append(replace(row, reason_code="older_commit", detail=f"an ancestor of {before.commit}"))
            held = replace(_held(before), slug=p.slug, reason_code="older_commit", detail=p.commit or "")
            scopes.append(held)
            continue
        after = _scope(patrol, p, row, result, before, details)
        scans.append(replace(row, attempts=after.attempts))
        if after != before:
            scopes.append(after)
        if result is not None and (before is None or before.result_name != result.result_name):
            changed[p.scope] = result
        elif row.outcome is Outcome.NOTHING_TO_READ and p.action is Action.EMPTY and _had_result(before):
            changed[p.scope] = None
    scopes += _named_anew(patrol, {p.scope for p in plans})
    return Closing(
        scans=tuple(scans),
        scopes=tuple(scopes),
        changed=changed,
        results=tuple(patrol.results.values()),
        failures=tuple(_failures(patrol, plans)),
    )


def _named_anew(patrol: Patrol, planned: set[ScopeKey]) -> Iterator[ScopeState]:
    """Scopes that nothing is expected of tonight, of repositories that are called otherwise now."""
    for key, state in patrol.states.items():
        s = patrol.repos.get(state.repo_id)
        if s is not None and key not in planned and state.slug != s.repo.slug:
            yield replace(state, slug=s.repo.slug)


class _Ancestry:
    """Whether what a ref names is older than what its scope covers, and was not so in the last run."""

    def __init__(self, patrol: Patrol) -> None:
        self._patrol = patrol
        self._known: dict[tuple[str, str, str], bool] = {}

    def __call__(self, p: Planned, before: ScopeState) -> bool:
        mirror = self._patrol.repos[p.repo_id].mirror
        if p.unit in (Unit.BLOB, Unit.SETTINGS) or mirror is None:
            return False
        if p.commit in (None, before.commit) or before.commit is None:
            return False
        if mirror.forced is not None and p.ref not in mirror.forced:
            return False
        if before.reason_code == "older_commit" and before.detail == p.commit:
            return False  # told twice
        key = (p.repo_id, p.commit or "", before.commit)
        if key not in self._known:
            self._known[key] = is_ancestor(self._patrol.means.git, mirror.path, key[1], key[2])
        return self._known[key]


def _failures(patrol: Patrol, plans: Iterable[Planned]) -> Iterator[ScopeKey]:
    """Of what is spooled as failed, what this run has decided on; the rest waits for a run that can."""
    fresh = {scope for scope, row in patrol.rows.items() if row.outcome not in COMPLETE_OUTCOMES}
    for p in plans:
        if p.action is not Action.GIVE_UP and (p.scope in patrol.failed or p.scope in fresh):
            yield p.scope


def _had_result(before: ScopeState | None) -> bool:
    return before is not None and before.result_name is not None


def _reused(patrol: Patrol, plans: Iterable[Planned]) -> dict[str, ScanResult]:
    """Results that planned scans refer to without having run: from this run, the spool, or the lake."""
    # In the order in which they will be gone through: the lake reads some at a time.
    names = dict.fromkeys(p.result_name for p in plans if p.action is Action.REUSE and p.result_name is not None)
    found = {n: patrol.results[n] for n in names if n in patrol.results}
    found.update(patrol.snapshot.results(n for n in names if n not in found))
    return found


def _details(patrol: Patrol, plans: Iterable[Planned]) -> dict[str, str]:
    """What scopes whose last completed look holds again say of its gaps: a failure since may have overwritten it."""
    states = [patrol.states.get(p.scope) for p in plans if p.action in (Action.KEEP, Action.AWAIT)]
    told = [s for s in states if s is not None and s.result_name and s.gaps]
    lost = [s.result_name or "" for s in told if s.outcome is not Outcome.PARTIAL or s.reason_code is not None]
    return {name: result_detail(gaps) for name, gaps in patrol.snapshot.gaps_of(lost).items()}


def _row(
    patrol: Patrol, p: Planned, before: ScopeState | None, reused: dict[str, ScanResult]
) -> tuple[Scan, ScanResult | None]:
    """The row of one expected scan, and the result it now refers to if that is not the scope's old one."""
    if p.action in (Action.RUN, Action.REREAD):
        own = patrol.rows.get(p.scope)
        result = patrol.results.get(p.result_name or "")
        if own is not None:
            return own, result if own.outcome in (Outcome.OK, Outcome.PARTIAL) else None
        if result is not None:  # a twin in this run has read it
            return _plain(patrol, p, Outcome.UNCHANGED, result=result), result
        leader = next((r for r in patrol.rows.values() if r.scan_name == p.scan_name), None)
        if leader is not None:
            return _plain(patrol, p, leader.outcome, leader.reason_code, leader.detail), None
        return _plain(patrol, p, Outcome.FAILED, "cancelled", "the run ended before this scan"), None
    if p.action is Action.REUSE:
        result = reused[p.result_name or ""]
        if p.scan_name in patrol.unpublished and (result.repo_id, result.ref) == (p.repo_id, p.ref):
            # A killed run finished it: the row it would have left.
            return row_of_result(p, result), result
        return _plain(patrol, p, Outcome.UNCHANGED, result=result), result
    if p.action in (Action.KEEP, Action.AWAIT):
        row = _plain(patrol, p, Outcome.UNCHANGED, p.reason_code, p.detail)
        if p.action is Action.AWAIT and before is not None:
            # The look that stands is an older tool's: the row must not say that today's has seen it.
            row = replace(
                row,
                scan_name=before.scan_name,
                tool_version=before.tool_version,
                rules_digest=before.rules_digest,
                config_digest=before.config_digest,
            )
        return replace(
            row,
            observations=before.observations if before else 0,
            gaps=before.gaps if before else 0,
        ), None
    failed = patrol.failed.get(p.scope)
    if p.action is Action.ADOPT and failed is not None and failed.row.scan_name == p.scan_name:
        # A killed run tried it: the row it would have left.
        return replace(failed.row, slug=p.slug, commit=p.commit), None
    return _plain(patrol, p, p.outcome or Outcome.FAILED, p.reason_code, p.detail), None


def _plain(
    patrol: Patrol,
    p: Planned,
    outcome: Outcome,
    reason_code: str | None = None,
    detail: str = "",
    *,
    result: ScanResult | None = None,
) -> Scan:
    """A row for which no tool was started."""
    home = patrol.means.tools.get(p.tool)
    tool = home if isinstance(home, ToolHome) else None
    return Scan(
        scan_name=p.scan_name,
        result_name=(result.result_name if result else p.result_name) if outcome is Outcome.UNCHANGED else None,
        repo_id=p.repo_id,
        slug=p.slug,
        ref=p.ref,
        commit=p.commit,
        tool=p.tool,
        tool_version=tool.version if tool else None,
        unit=p.unit,
        config_digest=p.config_digest,
        rules_digest=tool.rules_digest if tool else None,
        cause=p.cause,
        outcome=outcome,
        reason_code=reason_code,
        detail=detail,
        observations=len(result.observations) if result else 0,
        gaps=len(result.gaps) if result else 0,
    )


def _scope(
    patrol: Patrol,
    p: Planned,
    row: Scan,
    result: ScanResult | None,
    before: ScopeState | None,
    details: Mapping[str, str],
) -> ScopeState:
    """The scope after this run. Equal to ``before`` when nothing was learnt."""
    source = patrol.repos[p.repo_id].repo.source
    state = before or ScopeState(
        repo_id=p.repo_id, ref=p.ref, tool=p.tool, slug=p.slug, source=source, outcome=row.outcome
    )
    state = replace(state, slug=p.slug, source=source)
    if p.action is Action.KEEP:
        # The same files under a newer commit: the next extension may start from it.
        return replace(
            _standing(state, details),
            commit=p.commit,
            tips=p.tips,
            failed_name=None,
            attempts=0,
            next_attempt_at=None,
            again_at=p.again_at or state.again_at,
            evidence_at=p.told_at or state.evidence_at,
        )
    if p.action is Action.AWAIT:
        return _standing(state, details)
    if row.reason_code == "ref_unwatched":
        # What was seen there stands, and is told apart from what is watched; watched again, it is tried at once.
        return _settled(state, row)
    if p.action is Action.WAIT or row.outcome is Outcome.SKIPPED:
        return state
    if result is not None:
        home = patrol.tool(p.tool)
        ran = row.outcome is not Outcome.UNCHANGED
        # A kept report read again, or a look that found nothing new, says nothing of how long the tool takes.
        timed = ran and row.sandbox is not None
        return replace(
            state,
            scan_name=result.scan_name,
            result_name=result.result_name,
            result_part=state.result_part if state.result_name == result.result_name else None,
            config_digest=p.config_digest,
            tool_version=home.version,
            rules_digest=home.rules_digest,
            commit=p.commit,
            tips=p.tips,
            evidence_at=p.told_at or result.started_at,
            duration_s=row.duration_s if timed else state.duration_s,
            whole_duration_s=(row.duration_s if timed and result.base_result_name is None else state.whole_duration_s),
            observations=len(result.observations),
            gaps=len(result.gaps),
            outcome=result.outcome,
            reason_code=None,
            detail=result_detail(result.gaps),
            failed_name=None,
            attempts=0,
            last_attempt_at=row.started_at if ran else state.last_attempt_at,
            next_attempt_at=None,
            again_at=p.again_at,
        )
    if row.outcome is Outcome.NOTHING_TO_READ and p.action is Action.EMPTY:
        told = (row.outcome, p.commit, p.detail, p.config_digest)
        if before is not None and (before.outcome, before.commit, before.detail, before.config_digest) == told:
            return state
        return replace(
            _settled(state, row),
            scan_name=None,
            result_name=None,
            result_part=None,
            config_digest=p.config_digest,
            commit=p.commit,
            evidence_at=patrol.started_at,
            observations=0,
            gaps=0,
        )
    adopted = patrol.failure_of(p) if p.action is Action.ADOPT else None
    return _failed(state, p, row, adopted.tried_at if adopted is not None else patrol.started_at)


def _settled(state: ScopeState, row: Scan) -> ScopeState:
    """A scope that is as its row says, with nothing to be tried again."""
    return replace(
        state,
        outcome=row.outcome,
        reason_code=row.reason_code,
        detail=row.detail,
        failed_name=None,
        attempts=0,
        next_attempt_at=None,
    )


def _standing(state: ScopeState, details: Mapping[str, str]) -> ScopeState:
    """A scope whose last completed look holds: what kept it from being looked at since is of the past."""
    said = details.get(state.result_name or "", "")
    return replace(
        state,
        outcome=Outcome.PARTIAL if state.gaps else Outcome.OK,
        reason_code=None,
        detail=state.detail if state.outcome is Outcome.PARTIAL and state.reason_code is None else said,
    )


def _held(state: ScopeState) -> ScopeState:
    """A scope that goes on as it is: whatever it covered last, nothing of it failed tonight."""
    last = _standing(state, {}) if state.result_name else replace(state, outcome=Outcome.NOTHING_TO_READ)
    return replace(last, failed_name=None, attempts=0, next_attempt_at=None)


def _failed(state: ScopeState, p: Planned, row: Scan, now: datetime) -> ScopeState:
    """A scope that could not be looked at: what it last completed stays, the failure is counted."""
    tried = p.action in (Action.RUN, Action.REREAD, Action.ADOPT)
    again = tried and state.failed_name == p.scan_name
    attempts = (state.attempts + 1 if again else 1) if tried else 0
    return replace(
        state,
        outcome=row.outcome,
        reason_code=row.reason_code,
        detail=row.detail,
        failed_name=p.scan_name if tried else state.failed_name,
        attempts=attempts if tried else state.attempts,
        last_attempt_at=(row.started_at or now) if tried else state.last_attempt_at,
        next_attempt_at=next_attempt_at(attempts, now) if tried else state.next_attempt_at,
    )


def result_detail(gaps: Iterable[Gap]) -> str:
    """A short count of what a partial result did not read."""
    count: dict[str, int] = {}
    for g in gaps:
        count[g.reason_code] = count.get(g.reason_code, 0) + 1
    return ", ".join(f"{n} {code}" for code, n in sorted(count.items()))


def is_gap(row: Scan) -> bool:
    """Whether a row names something unscanned; an unchanged scan inherits the gaps of the result it refers to."""
    if row.outcome is Outcome.UNCHANGED:
        return row.gaps > 0
    return row.outcome in GAP_OUTCOMES
