"""The plan: which of the expected scans must run, made before any task is mapped. Pure: starts nothing.

A scan is named by everything that can change its result. ``decide`` compares that name with what the scope last
completed, what it failed at, and what the ledger knows, and says what to do and why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from statistics import median

from tasks.core.origins import OddTag
from tasks.core.ports import Scanner
from tasks.core.types import Cause, Outcome, Scan, ScopeState, ToolHome, TreeEntry, Unit, digest, tree_digest
from tasks.lake.package_tables import is_judged

ScopeKey = tuple[str, str, str]
#: The ref of a scan that reads the history of all heads and tags.
ALL_REFS = "refs/*"
#: The ref of what a forge tells of a repository's settings; no ref has brackets at its ends.
SETTINGS_REF = "(settings)"
#: The ref of a scan that was expected before any branch was known.
UNKNOWN_REF = "HEAD"
#: What the tools of imported reports are called by: ``import/<tool>``.
SCOPE_PREFIX = "import/"
#: Wait before the n-th retry of the same scan name; the last one repeats. The first comes with the next run.
BACK_OFF = (timedelta(0), timedelta(hours=12), timedelta(days=1), timedelta(days=2), timedelta(days=4))


def is_beside(tool: str) -> bool:
    """Whether no patrol looks at scopes of a tool: of imported reports and SBOMs, of what advisories say."""
    return tool.startswith(SCOPE_PREFIX) or is_judged(tool)


class Action(StrEnum):
    """What to do about one expected scan."""

    RUN = "run"  # start the tool
    REUSE = "reuse"  # the ledger (or a twin in this run) has the result
    REREAD = "reread"  # read the kept report again with a newer parser
    KEEP = "keep"  # nothing changed since the scope's last completed look
    AWAIT = "await"  # the files are the same, the tool is newer, and tonight's budget for that is used up
    EMPTY = "empty"  # the tree holds nothing this tool reads
    WAIT = "wait"  # failed before; its back-off has not passed
    ADOPT = "adopt"  # it failed in a run that was killed before it could say so: this run says it
    GIVE_UP = "give_up"  # cannot be done tonight: outcome and reason are set


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """One expected (repository, ref, tool) with its decision. ``estimate_s`` is None when there is no history.

    ``files`` are those the tool reads in the tree, as far as it was looked at to name the scan.
    """

    repo_id: str
    slug: str
    ref: str
    tool: str
    unit: Unit
    action: Action
    cause: Cause
    commit: str | None = None
    tips: tuple[str, ...] = ()
    scan_name: str | None = None
    result_name: str | None = None
    config_digest: str | None = None
    estimate_s: float | None = None
    files: int = 0
    outcome: Outcome | None = None
    reason_code: str | None = None
    detail: str = ""
    leader: bool = True
    #: Whether the files are those of the scope's last completed look, by a tool or rules that have changed since.
    same_files: bool = False
    #: From then on the same files may be judged otherwise; None: never, or the tree was not read.
    again_at: datetime | None = None
    #: When the forge told the settings that it names (unit settings).
    told_at: datetime | None = None

    @property
    def scope(self) -> ScopeKey:
        """The key of its scope."""
        return (self.repo_id, self.ref, self.tool)


def needs_work(p: Planned) -> bool:
    """Whether a plan asks for work of its own."""
    return p.action in (Action.RUN, Action.REREAD) and p.leader


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller asked for: patterns of slugs, tools, and which doors to force.

    ``all_sources``: none was chosen, so the sources of the run are all there are.
    """

    only: tuple[str, ...] = ()
    all_sources: bool = False
    tools: tuple[str, ...] = ()
    force: bool = False
    retry_failed: bool = False


def config_digest(scanner: Scanner, tool: ToolHome) -> str:
    """Digest of what, beside the files read, can change a result: adapter, tool, version, rules, argv, limits."""
    return digest(
        scanner.name,
        scanner.revision,
        tool.version,
        tool.rules_digest,
        scanner.argv_label(),
        scanner.limits.label(),
        scanner.reads.label(),
        scanner.unit,
    )


def tree_scan_name(config: str, entries: Iterable[TreeEntry]) -> str:
    """Name of a scan of unit tree or file: the configuration and (path, mode, blob) of what it reads."""
    return digest("tree", config, tree_digest(entries))


def settings_scan_name(config: str, document: bytes) -> str:
    """Name of a judgement of settings: the configuration and what the forge told."""
    return digest("settings", config, document)


def history_scan_name(config: str, tips: Sequence[str], odd: Mapping[str, OddTag] | None = None) -> str:
    """Name of a scan of unit blob: the configuration and the distinct objects that all heads and tags name.

    They determine every reachable blob and every place it stood at, but for a blob that a tag names: that stands at
    the tag's own name, so ``odd`` (``Mirror.odd``) is asked for these names.
    """
    places = sorted(f"{o.oid} {name}" for name, o in (odd or {}).items() if o.kind == "blob")
    return digest("history", config, "\n".join(sorted(set(tips))), *places)


def revision_of(result: str) -> int:
    """The parse revision of a result's name."""
    return int(result.split(".")[1].split("+", maxsplit=1)[0])


def result_name(scan_name: str, parse_revision: int) -> str:
    """Name of one reading of a scan. A forced scan that saw something else than it has ``+<run>`` appended."""
    return f"{scan_name}.{parse_revision}"


def next_attempt_at(attempts: int, now: datetime) -> datetime:
    """When a scan that has failed ``attempts`` times may be tried again."""
    return now + _back_off(attempts)


def _back_off(attempts: int) -> timedelta:
    return BACK_OFF[min(max(attempts, 1), len(BACK_OFF)) - 1]


def waits(state: ScopeState | None, name: str | None, options: Options, now: datetime) -> bool:
    """Whether a name failed before in this scope and is not to be tried yet.

    By a clock that was ahead in that night it would wait for years: a try that is still to come counts as none.
    """
    if state is None or state.failed_name != name or options.retry_failed or options.force:
        return False
    if state.next_attempt_at is None:
        return False
    return state.next_attempt_at - _back_off(state.attempts) <= now < state.next_attempt_at


def cause_of(state: ScopeState | None, tool: ToolHome, config: str, name: str) -> Cause:
    """Why ``name`` is not what the scope last completed."""
    if state is None or (state.scan_name is None and state.failed_name is None):
        return Cause.NEW
    if state.failed_name == name:
        return Cause.RETRY
    if state.scan_name is None:
        return Cause.CHANGED
    if state.config_digest != config:
        return (
            Cause.RULES
            if state.tool_version == tool.version and state.rules_digest != tool.rules_digest
            else Cause.TOOL
        )
    return Cause.CHANGED


def decide(
    base: Planned,
    *,
    state: ScopeState | None,
    scanner: Scanner,
    tool: ToolHome,
    done: Mapping[str, str],
    unpublished: Collection[str],
    options: Options,
    now: datetime,
    failed: Scan | None = None,
) -> Planned:
    """Fill in action and cause of a scan whose name is known.

    ``done`` maps completed scan names (ledger and spool) to their newest result;
    ``unpublished`` are those a killed run finished, which even a forced run does not repeat. ``failed`` is the row of
    this name that a killed run left, of this scope or of a twin: it is not tried again unless that is asked for.
    """
    name, config = base.scan_name, base.config_digest
    assert name is not None and config is not None
    cause = cause_of(state, tool, config, name)
    wanted = result_name(name, scanner.parse_revision)
    if options.force:
        cause = Cause.FORCED
        if name not in unpublished:
            return _with(base, Action.RUN, cause, wanted)
    elif (
        state is not None
        and state.scan_name == name
        and state.result_name is not None
        and revision_of(state.result_name) == scanner.parse_revision
    ):
        return _with(base, Action.KEEP, Cause.NONE, state.result_name)
    if name in done:
        if revision_of(done[name]) >= scanner.parse_revision:
            return _with(base, Action.REUSE, cause, done[name])
        return _with(base, Action.REREAD, Cause.PARSER, wanted)
    if options.retry_failed:
        failed = None
    if failed is not None and (failed.repo_id, failed.ref, failed.tool) == base.scope:
        # Before the back-off of earlier failures: it was over, or set aside, when the killed run tried.
        return _adopted(base, failed, failed.cause)
    if state is not None and state.next_attempt_at is not None and waits(state, name, options, now):
        return _with(
            base,
            Action.WAIT,
            cause,
            None,
            outcome=state.outcome,
            reason_code=state.reason_code,
            detail=f"{state.attempts} attempts; again after {state.next_attempt_at:%Y-%m-%d %H:%M} UTC; {state.detail}",
        )
    if failed is not None:
        return _adopted(base, failed, cause)
    return _with(base, Action.RUN, cause, wanted)


def _adopted(base: Planned, failed: Scan, cause: Cause) -> Planned:
    told = {"outcome": failed.outcome, "reason_code": failed.reason_code, "detail": failed.detail}
    return _with(base, Action.ADOPT, cause, None, **told)


def _with(base: Planned, action: Action, cause: Cause, result: str | None, **more: object) -> Planned:
    return replace(base, action=action, cause=cause, result_name=result, **more)  # type: ignore[arg-type]


def follow_twins(plans: Iterable[Planned]) -> list[Planned]:
    """Of several scans with the same name in one run, the first runs and the others refer to its result."""
    seen: set[str] = set()
    out: list[Planned] = []
    for p in plans:
        if p.action in (Action.RUN, Action.REREAD) and p.scan_name is not None:
            name = p.scan_name
            if name in seen:
                p = replace(p, leader=False)
            seen.add(name)
        out.append(p)
    return out


def within_budget(
    plans: Sequence[Planned],
    awaiting: Callable[[Planned], ScopeState | None],
    seconds: Callable[[Planned], float],
    budget_s: float,
) -> list[Planned]:
    """Let looks that only an upgrade asks for run until their seconds reach the budget, oldest evidence first.

    The first one runs however long it takes, unless the budget is nought: else a scan longer than the budget would
    never be done. The others keep the result they have, and say that they await the upgrade. Twins wait together, and
    only if each of them can: one look serves them all.
    """
    looks: dict[str, list[Planned]] = {}
    for p in plans:
        if p.action is Action.RUN and p.scan_name is not None:
            looks.setdefault(p.scan_name, []).append(p)
    waiting = []
    for name, twins in looks.items():
        states = [state for p in twins if (state := awaiting(p)) is not None]
        if len(states) == len(twins):
            waiting.append((min((s.evidence_at for s in states if s.evidence_at is not None), default=None), name))
    spent, late = 0.0, set()
    for _, name in sorted(waiting, key=lambda w: (w[0] is not None, w)):
        cost = sum(seconds(p) for p in looks[name] if p.leader)
        if budget_s <= 0 or (spent and spent + cost > budget_s):
            late.add(name)
        else:
            spent += cost
    return [_late(p, awaiting(p)) if p.action is Action.RUN and p.scan_name in late else p for p in plans]


def _late(p: Planned, state: ScopeState | None) -> Planned:
    assert state is not None
    detail = f"looked at with {state.tool_version}" if p.cause is Cause.TOOL else "looked at with older rules"
    return _with(
        p,
        Action.AWAIT,
        p.cause,
        state.result_name,
        outcome=Outcome.UNCHANGED,
        reason_code="awaiting_upgrade",
        detail=detail,
    )


#: Causes for which everything is read again, whatever was read before.
_WHOLE = frozenset({Cause.NEW, Cause.TOOL, Cause.RULES, Cause.FORCED})


class Estimates:
    """Seconds a scan will take: what this scope took before, else the median of its tool.

    A whole look counts like earlier whole looks, one that extends a result like the last look: that may have been
    a second where the whole takes an hour.
    """

    def __init__(self, states: Iterable[ScopeState]) -> None:
        known = list(states)
        self._last = _Durations({_key(s): s.duration_s for s in known if s.duration_s})
        self._whole = _Durations({_key(s): s.whole_duration_s for s in known if s.whole_duration_s})
        self._complete = {_key(s) for s in known if s.scan_name is not None}

    def of(self, scope: ScopeKey, cause: Cause) -> float | None:
        """Seconds, or None when nothing of the kind was ever run. A scope without a result is always read whole."""
        likely, other = self._last, self._whole
        if cause in _WHOLE or scope not in self._complete:
            likely, other = other, likely
        found = likely.of(scope)
        return found if found is not None else other.of(scope)


class _Durations:
    """Seconds by scope, with the median of each tool for scopes that have none."""

    def __init__(self, own: Mapping[ScopeKey, float]) -> None:
        by_tool: dict[str, list[float]] = {}
        for scope, seconds in own.items():
            by_tool.setdefault(scope[2], []).append(seconds)
        self._own = own
        self._median = {tool: median(v) for tool, v in by_tool.items()}

    def of(self, scope: ScopeKey) -> float | None:
        return self._own.get(scope, self._median.get(scope[2]))


def _key(s: ScopeState) -> ScopeKey:
    return (s.repo_id, s.ref, s.tool)
