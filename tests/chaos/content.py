"""What a lake holds, to be compared: the rows of its tables without what differs between any two runs.

Two questions are asked of a disturbed home. After kills (``as_it_was``) the run that did the work must have left the
very rows of ``scans`` that an undisturbed run leaves. After a fault that a night reports as gaps (``settled``), a night
without the fault must end where the undisturbed one ended: the same ledger, observations, gaps, findings and their
events, scopes and repositories, and each completed look exactly once over both nights. There the causes differ (what
failed is tried again for another reason than what is new), and so do the rows that say what could not be done. Left
out are scopes ``HEAD``, which stood in for a repository of which no branch was known yet, and whatever there is of
tools that the command does not ask for: a failed fetch marks those scopes too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from tasks.core.reasons import COMPLETE_OUTCOMES
from tasks.lake.lake import Lake, Snapshot

Content = Mapping[str, Counter[str]]
TABLES = ("ledger", "observations", "scan_gaps", "findings", "finding_events", "scopes", "repositories", "rules")
#: When, how long, how large, and the names given to the runs.
_VOLATILE = frozenset({
    "run_id", "started_at", "finished_at", "duration_s", "whole_duration_s", "peak_rss_bytes", "first_seen_at",
    "changed_at", "evidence_at", "last_attempt_at", "next_attempt_at", "fixed_at", "first_seen_run", "opened_run",
    "fixed_run", "first_run", "opened_at", "event_at", "open_s", "seq",
})  # fmt: skip
#: What a second try of the same scan says otherwise.
_OF_A_RETRY = frozenset({"cause", "attempts"})


def as_it_was(lake: Lake, after: int = 0) -> Content:
    """The tables, and the scans of the run that did the work: the first one after run number ``after``.

    A publish that a kill cut off is finished by the next command, which then makes a run of its own.
    """
    snapshot = lake.snapshot()
    return {**_tables(snapshot), "scans": Counter(_row(r, _VOLATILE) for r in _first_run(snapshot, after))}


def settled(lake: Lake, after: int = 0) -> Content:
    """The tables, and the completed looks of all runs after number ``after``."""
    snapshot = lake.snapshot()
    runs = {r["run_id"] for r in snapshot.table("runs").to_pylist() if r["seq"] > after}
    looks = (r for r in snapshot.table("scans").to_pylist() if r["run_id"] in runs)
    rows = Counter(_row(r, _VOLATILE | _OF_A_RETRY) for r in looks if r["outcome"] in COMPLETE_OUTCOMES)
    tables = {name: of for name, of in _tables(snapshot).items() if name != "rules"}  # those too know such tools
    asked = set(snapshot.table("ledger", None, ["tool"]).column("tool").to_pylist())
    scopes = (r for r in snapshot.table("scopes").to_pylist() if r["tool"] in asked and not _stood_in(r))
    return {**tables, "scopes": Counter(_row(r, _VOLATILE) for r in scopes), "scans": rows}


def _stood_in(scope: Mapping[str, Any]) -> bool:
    return scope["ref"] == "HEAD" and scope["reason_code"] == "ref_gone" and scope["result_name"] is None


def differences(was: Content, now: Content) -> tuple[int, int, list[str]]:
    """(rows lost, rows too many, what they are: the first of each table)."""
    lost, more, words = 0, 0, []
    for name in was:
        gone, new = was[name] - now[name], now[name] - was[name]
        lost, more = lost + gone.total(), more + new.total()
        for sign, rows in (("lost", gone), ("too many", new)):
            if rows:
                words.append(f"{name}: {rows.total()} rows {sign}, as {next(iter(rows))}")
    return lost, more, words


def _tables(snapshot: Snapshot) -> dict[str, Counter[str]]:
    return {n: Counter(_row(r, _VOLATILE) for r in snapshot.table(n).to_pylist()) for n in TABLES}


def _first_run(snapshot: Snapshot, after: int) -> list[dict[str, Any]]:
    runs = [r for r in snapshot.table("runs").to_pylist() if r["seq"] > after]
    if not runs:
        return []
    first = min(runs, key=lambda r: r["seq"])["run_id"]
    return [r for r in snapshot.table("scans").to_pylist() if r["run_id"] == first]


def _row(row: dict[str, Any], without: frozenset[str]) -> str:
    return repr(sorted((k, v) for k, v in row.items() if k not in without))
