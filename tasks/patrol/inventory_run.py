"""One run over the stores of secrets: ask each, judge what it told, tell the lake. Free of Prefect.

No repository is touched and nothing in a store changed. Every store that is configured, or was known, leaves a row of
``scans`` for each of its scopes; what could not be read closes nothing.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tasks.core.reasons import GAP_OUTCOMES
from tasks.core.types import Gap, Outcome, Scan, ScopeState, digest
from tasks.lake.changes import ScopeKey
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.ownership import Owned
from tasks.lake.publish import PublishBatch, publish
from tasks.patrol.deciding import Deciding
from tasks.patrol.hygiene_rows import (
    STORE_SOURCE,
    Hygiene,
    Part,
    audited,
    rule_rows,
    scope_rows,
    store_row,
    unreached,
    unwatched,
)
from tasks.patrol.secret_reading import ConfiguredStore, StoreReading, read_store
from tasks.patrol.secret_rows import known_rows, owners_of
from tasks.patrol.stored_secrets import Configured, Joined, Known, joined, secret_rows
from tasks.policy.secret_hygiene import HygieneLimits, Judgement

#: The source of such a run in ``runs``; no configuration can name it.
INVENTORY_SOURCE = "(inventory)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was made of one store: as it was read, joined with the configuration and judged. ``slug`` is how it is
    called; ``found`` None: its inventory could not be read at all."""

    reading: StoreReading
    slug: str
    secrets: Part
    audit: Part
    found: Joined | None = None
    judged: Mapping[str, Judgement] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InventoryTold:
    """What a run told the lake."""

    run_id: str
    opened: int
    fixed: int
    gaps: int
    accepted: int


class InventoryRun:
    """One run. ``whole``: whether all configured stores are in it, so that a known one that is not is missed."""

    def __init__(
        self,
        stores: Sequence[ConfiguredStore],
        configured: Collection[Configured],
        limits: HygieneLimits,
        *,
        whole: bool = True,
        workers: int = 4,
        own: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``own`` asks which store of AWS our own access leads to (None: nobody knows); it raises nothing."""
        self.began = datetime.now(UTC)
        self.readings: dict[str, StoreReading] = {}
        self.looked: list[Looked] = []
        #: Lines about stores that were passed over.
        self.notes: list[str] = []
        self._stores = {s.label: s for s in stores}
        self._configured, self._limits = tuple(configured), limits
        self._whole, self._workers, self._ask_own = whole, workers, own
        self._own: str | None = None
        self._lock = threading.Lock()

    @property
    def labels(self) -> tuple[str, ...]:
        """The stores, as the configuration calls them."""
        return tuple(self._stores)

    def read(self, label: str) -> StoreReading:
        """Ask one store. Raises nothing: what went wrong is in the answer."""
        reading = read_store(self._stores[label])
        with self._lock:
            self.readings[label] = reading
            if reading.store.tool == "aws" and self._own is None and any(c.is_untold for c in self._configured):
                self._own = self._ask_own()
        return reading

    def all(self) -> None:
        """Ask all of them, so many at a time."""
        with ThreadPoolExecutor(self._workers) as pool:
            list(pool.map(self.read, self._stores))

    def judge(self, snapshot: Snapshot | None) -> list[Looked]:
        """What is wrong, beside what the lake knows (None: there is none). Raises LakeError."""
        stores = snapshot.repository_rows([STORE_SOURCE]) if snapshot is not None else {}
        self._store_rows = stores
        self.looked, self.notes = [], []
        ids: dict[str, str] = {}
        readings = [self.readings[label] for label in self._stores if label in self.readings]
        there = {i for i, row in stores.items() if row["present"]}
        there |= {reading.store_id for reading in readings if reading.store_id is not None}
        places = {s.place for reading in readings for s in reading.secrets}
        self._known = Known(known_rows(snapshot, places) if snapshot is not None else ())
        self._placed = tuple(c.among(self._own, there) for c in self._configured)
        for reading in readings:
            store_id = reading.store_id or self._last_id(reading.store.label)
            if store_id in ids:
                self.notes.append(f"{reading.store.label} is the same store as {ids[store_id]}: it was told once")
                continue
            ids[store_id] = reading.store.label
            self.looked.append(self._look(reading, store_id))
        return self.looked

    def publish(self, lake: Lake) -> InventoryTold:
        """Tell the lake. It is locked by the caller, and no store asked meanwhile. Raises LakeError, OSError."""
        snapshot = lake.snapshot()
        self.judge(snapshot)
        states = snapshot.scope_states(None, lambda tool: tool in {p.key[2] for p in self._parts()} | _TOOLS)
        scans, scopes, changes, results = [], [], [], []
        for look in self.looked:
            for part in (look.secrets, look.audit):
                scan, scope, change = scope_rows(part, states.get(part.key), look.reading, look.slug)
                scans.append(scan)
                scopes.append(scope)
                if change is not None:
                    changes.append(change)
                    results += [part.result] if part.result is not None else []
        for scan, scope in self._missed(states):
            scans.append(scan)
            scopes.append(scope)
        at = datetime.now(UTC)
        deciding = Deciding(snapshot, at)
        gap_scans = [s for s in scans if s.outcome in GAP_OUTCOMES or s.gaps]
        accepted = self._accepted(deciding, gap_scans)
        run = self._row(scans, at, gaps=len(gap_scans), accepted=accepted)
        rules = [
            row for row in rule_rows([*self._parts()])
            if not snapshot.has_rules(row["tool"], row["tool_version"], row["rules_digest"])
        ]  # fmt: skip
        owners, reowned = self._owners(snapshot)
        batch = PublishBatch(
            run=run, repositories=[*self._repositories(scopes, at)], scans=scans, results=results, scopes=scopes,
            changes=changes, rules=rules, judge=deciding.judge(), reowned=reowned,
            assign=lambda store, paths: _owned(owners.get(store, {}), paths) if store in owners else None,
            plain={"secrets": secret_rows(self._joined(), self._configured, self._known)},
        )  # fmt: skip
        done = publish(lake, snapshot, batch)
        return InventoryTold(
            run_id=run["run_id"], opened=done.opened, fixed=done.fixed, gaps=len(gap_scans), accepted=accepted
        )  # fmt: skip

    # -- what became of it --------------------------------------------------------------------------------------

    @property
    def gaps(self) -> list[tuple[str, Gap]]:
        """What was not read or told, with the store; of a scope as a whole the path is its tool's word."""
        return [(look.slug, gap) for look in self.looked for part in (look.secrets, look.audit) for gap in _gaps(part)]

    def sentence(self) -> str:
        """What was found, in one line. Nothing that somebody else wrote is in it."""
        secrets = sum(len(k.found.secrets) for k in self.looked if k.found is not None)
        managed = sum(len(k.found.names) for k in self.looked if k.found is not None)
        bad = sum(bool(j.found) for k in self.looked for j in k.judged.values())
        flaws = sum(len(k.reading.flaws) for k in self.looked)
        return (
            f"{len(self.looked)} stores: {secrets} secrets ({managed} managed), {bad} of them with something wrong;"
            f" {flaws} flaws of the stores; {len(self.gaps)} things not told"
        )

    # -- its parts ----------------------------------------------------------------------------------------------

    def _look(self, reading: StoreReading, store_id: str) -> Looked:
        if reading.store_id is None:
            secrets, audit = unreached(reading, store_id)
            return Looked(reading=reading, slug=store_id, secrets=secrets, audit=audit)
        return self._judged(reading)

    def _judged(self, reading: StoreReading) -> Looked:
        assert reading.store_id is not None
        found = joined(reading, self._placed, self._known)
        made = Hygiene(reading, found, self._limits, self._known.places(reading.store_id))
        return Looked(
            reading=reading, slug=reading.store_id, secrets=made.part(), audit=audited(reading), found=found,
            judged=made.judged,
        )  # fmt: skip

    def _last_id(self, label: str) -> str:
        """What a store said that it is when it was read last; else what it is called here."""
        mine = [(not row["present"], i) for i, row in self._store_rows.items() if row["url"] == label and i != label]
        return min(mine)[1] if mine else label

    def _parts(self) -> Iterator[Part]:
        for look in self.looked:
            yield look.secrets
            yield look.audit

    def _joined(self) -> list[tuple[StoreReading, Joined]]:
        return [(k.reading, k.found) for k in self.looked if k.found is not None and k.reading.is_read]

    def _missed(self, states: Mapping[ScopeKey, ScopeState]) -> Iterator[tuple[Scan, ScopeState]]:
        """Rows of known stores that are not in this run: they are configured no more, or go by another name now."""
        if not self._whole:
            return
        mine, labels = {k.slug for k in self.looked}, {k.reading.store.label for k in self.looked}
        for key, state in sorted(states.items()):
            row = self._store_rows.get(key[0])
            if row is None or key[0] in mine or state.reason_code == "gap_gone":
                continue
            if state.evidence_at is None:
                outcome, code, detail = Outcome.NOTHING_TO_READ, "gap_gone", "it was never read under this name"
            else:
                again = "; its name leads to another store now" if row["url"] in labels else ""
                outcome, code, detail = Outcome.MISSING, "store_removed", f"it is configured no more{again}"
            yield unwatched(state, self.began, code, outcome, detail)

    def _repositories(self, scopes: Iterable[ScopeState], at: datetime) -> Iterator[dict[str, Any]]:
        """The rows of stores that say something new."""
        labels = {k.slug: k.reading.store.label for k in self.looked}
        reasons = {s.repo_id: s.reason_code for s in scopes}
        for store_id in sorted(reasons):
            before = self._store_rows.get(store_id)
            label = labels.get(store_id) or (before["url"] if before is not None else store_id)
            reason = None if store_id in labels else reasons[store_id]
            row = store_row(store_id, label, before, present=store_id in labels, reason=reason, at=at)
            if before is None or any(row[k] != before[k] for k in row if k not in ("changed_at", "scopes")):
                yield row

    def _owners(self, snapshot: Snapshot) -> tuple[dict[str, dict[str, str | None]], list[str]]:
        """Who each secret of each store belongs to, and the stores of which some belong to others than before."""
        owners: dict[str, dict[str, str | None]] = {}
        before = owners_of(snapshot)
        for reading, found in self._joined():
            assert reading.store_id is not None
            owners[reading.store_id] = before.get(reading.store_id, {}) | {s.place: s.owner for s in found.secrets}
        return owners, [store for store, told in owners.items() if store in before and told != before[store]]

    def _accepted(self, deciding: Deciding, scans: Sequence[Scan]) -> int:
        """How many scans with gaps there are of which decisions accept each gap."""
        if not deciding.knows_gaps:
            return 0
        gaps = {part.key: list(_gaps(part)) for part in self._parts()}
        entries = [
            (n, {"reason_code": g.reason_code, "tool": s.tool, "slug": s.slug, "path": g.path, "outcome": s.outcome})
            for n, s in enumerate(scans)
            for g in gaps.get((s.repo_id, s.ref, s.tool)) or [Gap(path="", reason_code=s.reason_code or str(s.outcome))]
        ]
        by = deciding.accept([told for _, told in entries])
        still = {n for (n, _), decision in zip(entries, by, strict=True) if decision is None}
        return len({n for n, _ in entries} - still)

    def _row(self, scans: Sequence[Scan], at: datetime, *, gaps: int, accepted: int) -> dict[str, Any]:
        outcomes = Counter(str(s.outcome) for s in scans)
        told = {"stores": sorted(self._stores), "whole": self._whole}
        return {
            "run_id": uuid.uuid4().hex, "started_at": self.began, "finished_at": at,
            "state": "CompletedWithGaps" if gaps > accepted else "Completed", "sources": [INVENTORY_SOURCE],
            "filters": json.dumps(told), "config_digest": digest("inventory", self._limits.label()),
            "versions": "{}", "sandbox": "none: no tool was started",
            "repositories": len({s.repo_id for s in scans}), "expected": len(scans), "tools_started": 0, "gaps": gaps,
            "gaps_accepted": accepted, "outcomes": json.dumps(dict(sorted(outcomes.items()))),
            "duration_s": (at - self.began).total_seconds(),
            "scan_s": sum(k.reading.duration_s for k in self.looked),
        }  # fmt: skip


#: The tools of all scopes that stores have.
_TOOLS = frozenset({"secrets", "vault", "aws"})


def _gaps(part: Part) -> Iterator[Gap]:
    if part.result is not None:
        yield from part.result.gaps
    elif part.stop is not None:
        yield Gap(path="", reason_code=part.stop.reason_code, detail=part.stop.detail)


def _owned(owners: Mapping[str, str | None], paths: Collection[str | None]) -> dict[str | None, Owned]:
    told = {path: owners.get(path or "") for path in paths}
    return {path: Owned((owner,), "store") if owner else Owned() for path, owner in told.items()}
