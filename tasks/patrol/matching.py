"""What decisions would be about, as the lake knows findings and gaps now, counted as a run counts them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tasks.core.text import one_line
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.policy.decisions import Decision, Kind, longest_days
from tasks.policy.judging import JUDGED, Bench, Index, Standing, severity_of_row

_FINDING = (*JUDGED, "line_start", "status")
_GAPS = "SELECT slug, tool, reason_code, path FROM gaps_now"
_ROWS = 10_000
_GRAVEST = ("critical", "high", "medium", "low", "info", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What matches: how many (of findings, each once over refs, tools and names), a line for each of some, the gravest.

    ``elsewhere`` are findings that stand at other paths too than it names, or at some that nobody knows: it is not
    about them.
    """

    count: int
    lines: tuple[str, ...]
    severity: str
    elsewhere: int = 0

    def latest(self, kind: Kind, today: date) -> date:
        """The last day that a decision of today is in force about all of it."""
        return today + timedelta(days=longest_days(kind, self.severity) - 1)


@dataclass(slots=True)
class _Found:
    """What one decision is about, while it is counted: lines by place."""

    lines: dict[str, str] = field(default_factory=dict)
    grave: int = len(_GRAVEST) - 1


def matched(snapshot: Snapshot, decisions: Sequence[Decision], shown: int = 20) -> list[Matched]:
    """What each decision is about by itself, the first ``shown`` as lines for people; findings are read once."""
    gaps = _gaps(snapshot, [d for d in decisions if d.kind is Kind.ACCEPTED_GAP], shown)
    others = _findings(snapshot, [d for d in decisions if d.kind is not Kind.ACCEPTED_GAP], shown)
    return [next(gaps if d.kind is Kind.ACCEPTED_GAP else others) for d in decisions]


def moves(snapshot: Snapshot) -> dict[str, str]:
    """Of each finding that was renamed, the one it goes on for."""
    rows = snapshot.table("findings", None, ["finding_uid", "moved_from"])
    told = zip(*rows.filter(rows["moved_from"].is_valid()).to_pydict().values(), strict=True)
    # One that was renamed from several, on several branches, has the same name in each run.
    return dict(sorted(told, reverse=True))


def _gaps(snapshot: Snapshot, decisions: Sequence[Decision], shown: int) -> Iterator[Matched]:
    gaps = arrow_of(snapshot, _GAPS).to_pylist() if decisions else []
    for d in decisions:
        index = Index([d])
        told = [f"{g['slug']} {g['tool']} {g['reason_code']} {g['path'] or ''}" for g in gaps if index.of(g)]
        lines = tuple(one_line(t, 200) for t in told[:shown])
        yield Matched(count=len(told), lines=lines, severity="unknown")


def _findings(snapshot: Snapshot, decisions: Sequence[Decision], shown: int) -> Iterator[Matched]:
    if not decisions:
        return
    now = datetime.now(UTC)
    # Whatever it pins, and until when: that is told of what is found.
    asked = [replace(d, id=f"#{n}", expires=date(9999, 1, 1)) for n, d in enumerate(decisions)]
    bench = Bench([Standing(decision=d, decided_at=now) for d in asked], now)
    found = [_Found() for _ in decisions]
    for row, place, numbers in bench.hear(_present(snapshot), moves(snapshot)):
        for n in numbers:
            f = found[n]
            f.grave = min(f.grave, _GRAVEST.index(severity_of_row(row)))
            if place not in f.lines:
                f.lines[place] = _line(row) if len(f.lines) < shown else ""
    for n, f in enumerate(found):
        lines, elsewhere = tuple(f.lines.values())[:shown], len(bench.counts[f"#{n}"].elsewhere)
        yield Matched(count=len(f.lines), lines=lines, severity=_GRAVEST[f.grave], elsewhere=elsewhere)


def _line(row: Mapping[str, Any]) -> str:
    where = f"{row['path'] or ''}:{row['line_start'] or ''}".rstrip(":")
    word = severity_of_row(row)
    return one_line(f"{row['slug']} {where} {row['rule_id']} ({word}, {row['status']}) {row['finding_uid']}", 250)


def _present(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    rows = snapshot.present(_FINDING)
    for batch in rows.to_batches(max_chunksize=_ROWS):
        yield from batch.to_pylist()
