"""Secrets that were proved to work no more: what the table ``leaks`` says of findings.

A scan goes on seeing such a value in the history, and that is what ``scan_status`` says; what it means is judged over
it, as decisions are (``tasks.lake.events.settle``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.types import Kind
from tasks.lake.changes import Status, Verdict
from tasks.lake.lake import Snapshot

#: The state of a leak whose value is proved to be refused.
REVOKED = "revoked"
#: That of a leak whose secret is configured no more: it says nothing of the value.
UNCONFIGURED = "unconfigured"
#: Columns of ``findings`` that this rests on.
ASKED = ("kind", "flaw_uid", "status")


class Revoked:
    """The revoked secrets of a lake. ``leaks`` are rows of that table which the lake has not yet."""

    def __init__(self, snapshot: Snapshot, leaks: Iterable[Mapping[str, Any]] = ()) -> None:
        self.flaws = revoked_flaws(snapshot.table("leaks").to_pylist(), leaks)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.flaws)

    def verdict(self, row: Mapping[str, Any]) -> Verdict | None:
        """What is said of a row of ``findings`` that is there."""
        is_so = self.flaws and row["kind"] == Kind.SECRET and row["flaw_uid"] in self.flaws
        return Verdict(status=Status.REVOKED) if is_so else None

    def concerned(self, rows: pa.Table) -> pa.ChunkedArray:
        """Which rows are revoked, or were."""
        return pc.or_(pc.is_in(rows["flaw_uid"], pa.array(self.flaws, pa.string())), pc.equal(rows["status"], REVOKED))


def rejudged(snapshot: Snapshot, rows: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The repositories with findings of which rows of ``leaks``, which the lake has not yet, say something else."""
    rows = list(rows)
    known = snapshot.table("leaks").to_pylist() if rows else []
    other = revoked_flaws(known) ^ revoked_flaws(known, rows)
    if not other:
        return frozenset()
    there = snapshot.present(["repo_id", "flaw_uid"], {"kind": [str(Kind.SECRET)]})
    return frozenset(row["repo_id"] for row in there.to_pylist() if row["flaw_uid"] in other)


def revoked_flaws(*rows: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The secrets (``flaw_uid``) that are revoked wherever they are kept; of rows of one key the later ones count."""
    states = {(row["flaw_uid"], row["secret"]): row["state"] for some in rows for row in some}
    works = {flaw for (flaw, _), state in states.items() if state not in (REVOKED, UNCONFIGURED)}
    return frozenset(flaw for (flaw, _), state in states.items() if state == REVOKED and flaw not in works)
