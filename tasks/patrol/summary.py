"""What a run says of itself: the plan as text, the summary that puts gaps first, the tables of the artifacts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from tasks.core.reasons import OUTCOMES, REASONS
from tasks.core.text import one_line
from tasks.core.types import Cause, Outcome, Scan
from tasks.patrol.plan import Action, Planned
from tasks.patrol.session import Patrol

#: Rows an artifact holds at most, and repositories a row names.
MAX_ROWS = 200
MAX_NAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class GapGroup:
    """One reason: how many scans or paths of which tool or tools, in which repositories, and what to do."""

    reason_code: str
    tool: str
    outcome: str
    count: int
    repositories: tuple[str, ...]
    repository_count: int
    is_new: bool

    @property
    def remedy(self) -> str:
        """What an operator can do about it."""
        reason = REASONS.get(self.reason_code)
        return reason.remedy if reason else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """A finished run in figures. ``gap_rows`` counts the scans that name something unscanned."""

    run_id: str
    expected: int
    repositories: int
    outcomes: dict[str, int]
    tools_started: int
    gap_rows: int
    gaps: tuple[GapGroup, ...]
    coverage: dict[str, dict[str, int]]
    opened: int
    fixed: int
    open_findings: int
    duration_s: float
    sandbox: str
    sandbox_why: str
    #: Scans of unchanged files that wait for a look by a newer tool or newer rules; no gaps.
    awaiting: int = 0
    #: Of ``gap_rows``, those of which decisions accept everything.
    accepted_gaps: int = 0
    #: Whether the file of decisions could not be read.
    decisions_unread: bool = False
    #: What people should know of decisions, a line each.
    decision_notes: tuple[str, ...] = ()
    #: What people should know of CODEOWNERS files, a line each.
    owner_notes: tuple[str, ...] = ()

    @property
    def has_gaps(self) -> bool:
        """Whether something was not looked at, or not read, and no decision accepts that."""
        return self.gap_rows > self.accepted_gaps or self.decisions_unread

    def sandbox_note(self) -> str:
        """What an operator must know of the sandbox in force; empty when it is the best there is."""
        if not self.sandbox_why:
            return ""
        much = "tools and git saw this machine and its network" if self.sandbox == "none" else "the second choice"
        return f"sandbox {self.sandbox.partition(':')[0]} ({much}): {one_line(self.sandbox_why, 200)}"

    def sentence(self) -> str:
        """One line for a state's message."""
        note = self.sandbox_note() if self.sandbox == "none" else ""
        said = ", ".join(f"{n} {o}" for o, n in sorted(self.outcomes.items()))
        return (
            f"{self.expected} scans of {self.repositories} repositories: {said}; "
            f"{self.gap_rows} with gaps{self.accepted_note()}; "
            f"findings {self.open_findings} open, {self.opened} new, {self.fixed} fixed"
            + self.awaiting_note()
            + self.decisions_note()
            + self.owners_note()
            + (f"; {note}" if note else "")
        )

    def accepted_note(self) -> str:
        """How many gaps are accepted, to be added to their number; empty when none is."""
        return f" ({self.accepted_gaps} accepted)" if self.accepted_gaps else ""

    def decisions_note(self) -> str:
        """That something is to be known of decisions, to be added to a line; empty when nothing is."""
        n = len(self.decision_notes)
        return f"; {n} note{'s' if n > 1 else ''} about decisions (nightwarden decide list)" if n else ""

    def owners_note(self) -> str:
        """That CODEOWNERS files could not be read whole, to be added to a line; empty when all could."""
        n = len(self.owner_notes)
        return f"; {n} note{'s' if n > 1 else ''} about CODEOWNERS (query --saved without-owner)" if n else ""

    def awaiting_note(self) -> str:
        """How many scans await an upgrade, to be added to a line; empty when none does."""
        return f"; {self.awaiting} await an upgrade (upgrade_minutes)" if self.awaiting else ""


def group_gaps(
    entries: Iterable[tuple[str, str, str, str]], known: frozenset[tuple[str, str]] | None
) -> tuple[GapGroup, ...]:
    """Group (reason_code, tool, outcome, slug) entries; new (reason, tool) pairs first, then by count.

    Tools that tell the same of the same repositories share a group: a repository that cannot be read is one line.
    ``known`` are the pairs of the run before; None when there was none, and then nothing counts as new.
    """
    count: Counter[tuple[str, str]] = Counter()
    outcome: dict[tuple[str, str], str] = {}
    names: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for reason, tool, what, slug in entries:
        count[reason, tool] += 1
        outcome.setdefault((reason, tool), what)
        names[reason, tool][slug] = None
    alike: defaultdict[tuple[str, str, int, bool, frozenset[str]], list[str]] = defaultdict(list)
    for (reason, tool), n in count.items():
        is_new = known is not None and (reason, tool) not in known
        alike[reason, outcome[reason, tool], n, is_new, frozenset(names[reason, tool])].append(tool)
    groups = [
        GapGroup(
            reason_code=reason,
            tool=", ".join(sorted(tools)),
            outcome=what,
            count=n * len(tools),
            repositories=tuple(sorted(slugs)[:MAX_NAMES]),
            repository_count=len(slugs),
            is_new=is_new,
        )
        for (reason, what, n, is_new, slugs), tools in alike.items()
    ]
    return tuple(sorted(groups, key=lambda g: (not g.is_new, -g.count, g.reason_code, g.tool)))


def coverage_of(scans: Iterable[Scan]) -> dict[str, dict[str, int]]:
    """Rows a tool and outcome."""
    table: dict[str, Counter[str]] = {}
    for row in scans:
        table.setdefault(row.tool, Counter())[row.outcome] += 1
    return {tool: {o: counts[o] for o in OUTCOMES if counts[o]} for tool, counts in sorted(table.items())}


_CAUSES = (Cause.NEW, Cause.CHANGED, Cause.TOOL, Cause.RULES, Cause.RETRY, Cause.FORCED, Cause.PARSER)


def plan_text(patrol: Patrol) -> str:
    """The plan for people: scans to run by cause and tool with estimated minutes, then what will not be scanned."""
    plans = [p for s in patrol.repos.values() for p in s.plans]
    work = [p for p in plans if p.action in (Action.RUN, Action.REREAD) and p.leader]
    lines = [f"{len(plans)} scans expected of {len(patrol.repos)} repositories; {len(work)} to do"]
    for cause in _CAUSES:
        mine = [p for p in work if p.cause is cause]
        if mine:
            lines.append(f"  {cause:<8} {len(mine):>6} scans  {_minutes(mine, patrol.means.workers)}")
            by_tool = Counter(p.tool for p in mine)
            for tool, n in sorted(by_tool.items()):
                names = [p.slug for p in mine if p.tool == tool]
                more = f" and {n - MAX_NAMES} more" if n > MAX_NAMES else ""
                lines.append(f"    {tool:<12} {n:>6}  {', '.join(sorted(names)[:MAX_NAMES])}{more}")
    rest = Counter(
        "await an upgrade"
        if p.action is Action.AWAIT
        else "unchanged"
        if p.action in (Action.KEEP, Action.REUSE) or not p.leader
        else str(p.outcome)
        for p in plans
        if p not in work
    )
    lines += [f"  {what:<16} {n:>6}" for what, n in sorted(rest.items())]
    gaps = group_gaps(
        ((p.reason_code or str(p.outcome), p.tool, str(p.outcome), p.slug) for p in plans if _cannot(p)), None
    )
    for g in gaps:
        lines.append(f"  ! {g.outcome}: {g.reason_code} ({g.tool}, {g.count}): {', '.join(g.repositories)}")
    lines.append("nothing was started")
    return "\n".join(one_line(line, 400) for line in lines)


def _cannot(p: Planned) -> bool:
    return p.action in (Action.GIVE_UP, Action.WAIT, Action.ADOPT) and p.outcome not in (
        Outcome.SKIPPED,
        Outcome.NOTHING_TO_READ,
    )


def _minutes(plans: list[Planned], workers: int) -> str:
    known = [p.estimate_s for p in plans if p.estimate_s is not None]
    if not known:
        return "no history to estimate from"
    mean = sum(known) / len(known)
    minutes = (sum(known) + mean * (len(plans) - len(known))) / 60 / workers
    unknown = len(plans) - len(known)
    return f"about {minutes:.1f} min" + (f" ({unknown} without history, taken at the mean)" if unknown else "")
