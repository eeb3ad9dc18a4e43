"""What the lake is told of rotations: how each secret stands, every step, and what became of leaked values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tasks.core.rotations import Transition
from tasks.core.types import digest
from tasks.lake.lake import Lake
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.rotation_tables import INVENTORY_COLUMNS
from tasks.patrol.deciding import Deciding
from tasks.patrol.leak_response import Answer, leak_rows
from tasks.patrol.revoked import rejudged
from tasks.patrol.rotating import Look
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.secret_rows import managed_rows

#: The source of such a run in ``runs``; no configuration can name it.
ROTATE_SOURCE = "(rotate)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What a run told the lake; ``run_id`` None: nothing was other than it was."""

    run_id: str | None
    secrets: int = 0
    steps: int = 0
    states: Mapping[str, int] = field(default_factory=dict)


def told(
    lake: Lake,
    looks: Collection[Look],
    log: RotationLog,
    began: datetime,
    *,
    failures: int = 0,
    others: Collection[str] = (),
    leaks: Collection[tuple[str, str, Answer]] = (),
) -> Published:
    """Publish how the secrets stand, all steps that nobody published yet, and what became of leaks (secret, place,
    answer), which closes or opens findings. The lake is locked by the caller. ``others`` are configured and were not
    looked at: nothing is said of them. Raises LakeError, OSError."""
    snapshot = lake.snapshot()
    kept, read = log.kept()
    run_id, now = uuid4().hex, datetime.now(UTC)
    known = managed_rows(snapshot, {seen.managed.name for seen in looks})
    rows = [row for seen in looks if _differs(row := _row(seen, known), known.get(row["secret"]))]
    names = {seen.managed.name for seen in looks} | set(others)
    gone = (row for name, row in known.items() if row["present"] and name not in names)
    rows += [{**row, "present": False} for row in gone if row["is_managed"] is not False]
    before = {
        (r["rotation_id"], r["state"]): r
        for r in snapshot.table("rotations", {"rotation_id": {t.rotation_id for t in kept}}).to_pylist()
    }
    new = [r for t in kept if (r := _transition(t, run_id, before.get((t.rotation_id, str(t.state))))) is not None]
    leaked = leak_rows(leaks, snapshot.table("leaks").to_pylist(), run_id, names)
    if not rows and not new and not leaked:
        log.drop(read.items())
        return Published(run_id=None)
    states = Counter(str(row["state"]) for row in new)
    run: dict[str, Any] = {
        "run_id": run_id,
        "started_at": began,
        "finished_at": now,
        "state": "CompletedWithGaps" if failures else "Completed",
        "sources": [ROTATE_SOURCE],
        "filters": json.dumps({"secrets": len(looks), "steps": dict(sorted(states.items()))}),
        "config_digest": digest(*sorted(names)),
        "versions": "{}",
        "sandbox": "none: no tool was started",
        "repositories": 0,
        "expected": 0,
        "tools_started": 0,
        "gaps": failures,
        "outcomes": "{}",
        "duration_s": (now - began).total_seconds(),
        "scan_s": 0.0,
    }
    judge = Deciding(snapshot, now, leaks=leaked).judge()
    plain = {"secrets": rows, "rotations": new, "leaks": leaked}
    publish(
        lake, snapshot, PublishBatch(run=run, plain=plain, judge=judge, rejudge=rejudged(snapshot, leaked))
    )  # fmt: skip
    log.drop(read.items())
    return Published(run_id=run_id, secrets=len(rows), steps=len(new), states=states)


def _row(seen: Look, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    m, current = seen.managed, seen.current
    before = known.get(m.name, {})
    if before.get("place") != m.backend.place:
        before = {}  # what an inventory told is of another place
    mark = current.mark if current is not None else None
    return {
        "secret": m.name, "place": m.backend.place, "target": m.target_kind, "failure_class": m.failure_class,
        "identity": seen.identity or _known_identity(seen, before),
        "version": current.version if current is not None else None,
        "in_force_since": current.since if current is not None else None,
        "rotation_id": mark.rotation_id or None if mark is not None else None,
        "slot": mark.slot or None if mark is not None else None,
        "state": str(seen.standing.state) if seen.standing.state is not None else None,
        "due": str(seen.due) if seen.due is not None else "unknown", "due_at": seen.due_at(),
        "every_days": m.schedule.every / timedelta(days=1), "grace_s": m.rules.grace.total_seconds(),
        "consumers": list(m.consumers), "reason_code": seen.reason_code, "detail": seen.detail or None,
        "looked_at": seen.at, "present": True, "is_managed": True,
        **{name: before.get(name) for name in INVENTORY_COLUMNS},
    }  # fmt: skip


def _known_identity(seen: Look, before: Mapping[str, Any]) -> str | None:
    """Of a value whose target may not be asked, what it was known by."""
    is_same = seen.current is not None and before.get("version") == seen.current.version
    known: str | None = before.get("identity") if is_same else None
    return known


def _differs(row: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
    """Whether it says something new; a look that finds what was known is none."""
    if before is None:
        return True
    same = {**row, "looked_at": before["looked_at"], "consumers": row["consumers"] or []}
    return same != {**before, "consumers": before["consumers"] or []}


def _transition(step: Transition, run_id: str, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A row of ``rotations``; None where the lake has it as it is."""
    at = min(step.at, before["done_at"]) if before is not None else step.at
    row = {
        "rotation_id": step.rotation_id, "state": str(step.state), "secret": step.secret, "place": step.place,
        "slot": step.slot, "done_at": at, "identity": step.identity, "replaces": step.replaces, "version": step.version,
        "until": step.until, "reason_code": step.reason_code, "detail": step.detail or None,
    }  # fmt: skip
    if before is not None and row == {k: v for k, v in before.items() if k != "run_id"}:
        return None
    return {**row, "run_id": run_id}
