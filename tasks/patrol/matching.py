"""What a decision would be about, as the lake knows findings and gaps now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tasks.core.text import one_line
from tasks.lake.changes import PRESENT
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.policy.decisions import Decision, Kind, longest_days
from tasks.policy.judging import Index, severity_of_row

_FINDING = (
    "finding_uid", "slug", "path", "line_start", "tool", "rule_id", "title", "advisories", "severity_tool",
    "severity_score", "moved_from", "status",
)  # fmt: skip
_GAPS = "SELECT slug, tool, reason_code, path FROM gaps_now"
_ROWS = 10_000
_GRAVEST = ("critical", "high", "medium", "low", "info", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """What matches: how many (of findings, each once over refs and tools), a line for each of some, the gravest."""

    count: int
    lines: tuple[str, ...]
    severity: str

    def latest(self, kind: Kind, today: date) -> date:
        """The last day that a decision of today is in force about all of it."""
        return today + timedelta(days=longest_days(kind, self.severity) - 1)


def matched(snapshot: Snapshot, decision: Decision, shown: int = 20) -> Matched:
    """What a decision is about, the first ``shown`` as lines for people."""
    index = Index([decision])
    if decision.kind is Kind.ACCEPTED_GAP:
        gaps = [row for row in arrow_of(snapshot, _GAPS).to_pylist() if index.of(row)]
        told = [f"{g['slug']} {g['tool']} {g['reason_code']} {g['path'] or ''}" for g in gaps]
        return Matched(count=len(gaps), lines=tuple(one_line(t, 200) for t in told[:shown]), severity="unknown")
    found: dict[str, str] = {}
    grave = len(_GRAVEST) - 1
    for row in _present(snapshot):
        uids = [u for u in (row["finding_uid"], row["moved_from"]) if u]
        if index.of(row, uids):
            where = f"{row['path'] or ''}:{row['line_start'] or ''}".rstrip(":")
            word = severity_of_row(row)
            grave = min(grave, _GRAVEST.index(word))
            line = f"{row['slug']} {where} {row['rule_id']} ({word}, {row['status']}) {row['finding_uid']}"
            found.setdefault(row["finding_uid"], one_line(line, 250))
    return Matched(count=len(found), lines=tuple(list(found.values())[:shown]), severity=_GRAVEST[grave])


def _present(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    rows = snapshot.table("findings", {"scan_status": PRESENT}, _FINDING)
    for batch in rows.to_batches(max_chunksize=_ROWS):
        yield from batch.to_pylist()
