"""Decisions over what scans say, and the transitions that follow: rows of ``finding_events``. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks.lake.changes import PRESENT, Judge, Moment, Status, Verdict
from tasks.lake.shelves import shelf_of

Row = dict[str, Any]
#: When and why a finding ended.
_ENDED = ("fixed_run", "fixed_at", "fixed_reason")
#: What an event says of its finding as it is then, so that questions about the past need not look at what it is now.
_TOLD = (
    "finding_uid", "repo_id", "ref", "tool", "slug", "path", "commit", "origin",
    "kind", "rule_id", "severity_tool", "severity_score",
)  # fmt: skip


def settle(old: Mapping[str, Any] | None, row: Row, cause: str, judge: Judge, moment: Moment) -> tuple[Row, Row | None]:
    """A row of ``findings`` with the status that scans and decisions give it, and its event if that is another one.

    ``row`` has what scans say (``scan_status`` and all that is no status); ``cause`` is why that changed, "" if it
    did not. A decision speaks only of what is there. What is revoked has ended, although scans still see it: when and
    why stands where it would stand of what is fixed.
    """
    verdict = judge(row) if row["scan_status"] in PRESENT else None
    settled = {
        **row,
        "scan_status": str(row["scan_status"]),
        "origin": str(row["origin"]) if row["origin"] is not None else None,
        "status": str(verdict.status if verdict is not None else row["scan_status"]),
        "is_open": verdict is None and row["scan_status"] in PRESENT,
        "decision_id": verdict.decision_id if verdict is not None else None,
        "decided_until": verdict.until if verdict is not None else None,
    }
    settled |= _ended(old, settled, verdict, moment)
    settled["shelf"] = shelf_of(settled)
    if old is not None and old["status"] == settled["status"] and old["decision_id"] == settled["decision_id"]:
        return settled, None
    return settled, _event(old, settled, cause or _why_decided(old, verdict, moment), moment)


def judged(rows: Iterable[Mapping[str, Any]], judge: Judge, moment: Moment) -> Iterator[tuple[Row, Row | None]]:
    """Rows whose scopes did not change, and about which decisions now say something else."""
    for old in rows:
        row, event = settle(old, dict(old), "", judge, moment)
        if row != old:
            yield row, event


def _ended(old: Mapping[str, Any] | None, row: Row, verdict: Verdict | None, moment: Moment) -> Row:
    """When a finding that is there was revoked, and nothing of the kind once it is not."""
    if verdict is not None and verdict.status is Status.REVOKED:
        if old is not None and old["status"] == Status.REVOKED:
            return {name: old[name] for name in _ENDED}
        return dict(zip(_ENDED, (moment.run_id, moment.at, str(Status.REVOKED)), strict=True))
    return dict.fromkeys(_ENDED) if row["scan_status"] in PRESENT else {}


def _why_decided(old: Mapping[str, Any] | None, verdict: Verdict | None, moment: Moment) -> str:
    if verdict is not None and verdict.status is Status.REVOKED:
        return "revoked"
    if old is not None and old["status"] == Status.REVOKED:
        return "works_again"
    if verdict is None and old is not None and old["decided_until"] is not None and old["decided_until"] <= moment.at:
        return "expiry"
    return "decision"


def _event(old: Mapping[str, Any] | None, row: Row, cause: str, moment: Moment) -> Row:
    return {
        "run_id": moment.run_id,
        "seq": moment.seq,
        "event_at": moment.at,
        "part": f"{moment.at:%Y-%m}",
        **{n: row[n] for n in _TOLD},
        "status_before": old["status"] if old is not None else None,
        "status": row["status"],
        "cause": cause,
        "decision_id": row["decision_id"] or (old["decision_id"] if old is not None else None),
        "opened_at": row["opened_at"],
        # Since when it was open, by the clock of the runs, which may have gone backwards.
        "open_s": max(0.0, (moment.at - row["opened_at"]).total_seconds()),
    }
