"""Advisories taken into the lake: what differs from what it holds, as a run of its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.types import digest
from tasks.deps.advisories.enrichments import CVE, SCHEMAS
from tasks.deps.advisories.snapshots import Snapshot
from tasks.lake.lake import Lake
from tasks.lake.lake import Snapshot as LakeSnapshot
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.schema import TABLES

#: The source of such a run in ``runs``; no configuration can name it.
ADVISORY_SOURCE = "(advisories)"
_PLAIN = (
    "advisory_id", "aliases", "related", "summary", "severity", "cvss_v4", "cvss_v3", "cvss_v2", "cvss_score", "cwes",
    "url", "published_at", "modified_at", "withdrawn_at", "is_withdrawn", "digest", "match_digest",
)  # fmt: skip
#: Advisories whose rows are made at a time.
_CHUNK = 10_000
_RENAMED = {"reason": "unmatchable_reason", "type": "range_type"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a run took into the lake: rows by table. ``run_id`` None: the lake held it all."""

    run_id: str | None
    rows: Mapping[str, int]


def take_in(
    lake: Lake,
    snapshot: Snapshot | None,
    state: Mapping[str, Mapping[str, Any]],
    *,
    feeds: Sequence[str],
    max_age_days: float,
    began: datetime,
    now: datetime,
) -> Taken:
    """Publish what differs between a snapshot and the lake's tables, whoever wrote those. The lake is locked by the
    caller. ``feeds`` are those that are configured. Raises LakeError.

    The lake is asked for digests, so that neither a lost home nor another machine's makes rows that are there again.
    """
    there = lake.snapshot()
    counts: Counter[str] = Counter()
    feed_rows = _feed_rows(there, snapshot, state, feeds, max_age_days)
    rows: dict[str, Iterable[dict[str, Any]]] = {"advisory_feeds": feed_rows}
    some = bool(feed_rows)
    if snapshot is not None and snapshot.id not in _held(there, feeds):
        groups = snapshot.groups()
        group_of = dict(zip(groups["id"].to_pylist(), groups["group_id"].to_pylist(), strict=True))
        changed, matched, gone = _differing(there, snapshot, group_of)
        enrichment = list(_enrichment_rows(there, snapshot, group_of))
        some |= bool(changed or matched or gone or enrichment)
        # Made while they are written: of the public export there are a million.
        rows["advisories"] = chain(_advisory_rows(snapshot, changed, group_of), _gone(there, gone))
        rows["advisory_ranges"] = _range_rows(there, snapshot, matched | gone)
        rows["enrichment"] = enrichment
    if not some:
        return Taken(run_id=None, rows=counts)
    run_id = uuid4().hex
    late = sum(1 for f in feeds if state.get(f, {}).get("reason_code"))
    run: dict[str, Any] = {
        "run_id": run_id,
        "started_at": began,
        "finished_at": now,
        "state": "CompletedWithGaps" if late else "Completed",
        "sources": [ADVISORY_SOURCE],
        "filters": json.dumps({"advisories": snapshot.id if snapshot is not None else None}),
        "config_digest": digest(*sorted(feeds)),
        "versions": "{}",
        "sandbox": "none: no tool was started",
        "repositories": 0,
        "expected": 0,
        "tools_started": 0,
        "gaps": 0,
        "outcomes": "{}",
        "duration_s": (now - began).total_seconds(),
        "scan_s": 0.0,
    }
    publish(lake, there, PublishBatch(run=run, plain={n: _counted(n, r, counts) for n, r in rows.items()}))
    return Taken(run_id=run_id, rows=counts)


def _counted(name: str, rows: Iterable[dict[str, Any]], counts: Counter[str]) -> Iterator[dict[str, Any]]:
    for row in rows:
        counts[name] += 1
        yield row


def _held(there: LakeSnapshot, feeds: Sequence[str]) -> set[str | None]:
    """The snapshot that all feeds of the lake are of; empty where they differ."""
    told = there.table("advisory_feeds", None, ["feed", "snapshot_id", "configured"]).to_pylist()
    ids = {r["snapshot_id"] for r in told if r["configured"]}
    return ids if len(ids) == 1 and {r["feed"] for r in told if r["configured"]} == set(feeds) else set()


def _differing(
    there: LakeSnapshot, snapshot: Snapshot, group_of: Mapping[str, str]
) -> tuple[set[str], set[str], set[str]]:
    """Advisories whose row differs, those whose ranges may, and those that are not there any more."""
    columns = ["advisory_id", "digest", "match_digest"]
    held = {
        r[0]: r[1:]
        for r in zip(
            *there.table("advisories", None, [*columns, "group_id", "present"]).to_pydict().values(), strict=True
        )
    }
    changed, matched, seen = set(), set(), set()
    for one, whole, match in zip(*snapshot.advisories(columns).to_pydict().values(), strict=True):
        seen.add(one)
        was = held.get(one)
        if was is None or was != (whole, match, group_of.get(one, one), True):
            changed.add(one)
        if was is None or was[1] != match or not was[3]:
            matched.add(one)
    return changed, matched, {one for one, was in held.items() if one not in seen and was[3]}


def _advisory_rows(snapshot: Snapshot, ids: set[str], group_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if not ids:
        return
    for batch in _only(snapshot.advisories([*_PLAIN, "reason"]), ids).to_batches(max_chunksize=_CHUNK):
        for row in batch.to_pylist():
            one, reason = row["advisory_id"], row.pop("reason")
            yield {**row, "unmatchable_reason": reason, "group_id": group_of.get(one, one), "present": True}


def _gone(there: LakeSnapshot, ids: set[str]) -> Iterator[dict[str, Any]]:
    if ids:
        yield from ({**r, "present": False} for r in there.table("advisories", {"advisory_id": ids}).to_pylist())


def _range_rows(there: LakeSnapshot, snapshot: Snapshot, ids: set[str]) -> Iterator[dict[str, Any]]:
    """The ranges of some advisories that differ from the lake's, and those of the lake that are no more."""
    if not ids:
        return
    table, ordered = _only(snapshot.ranges(), ids), sorted(ids)
    for start in range(0, len(ordered), _CHUNK):
        some = set(ordered[start : start + _CHUNK])
        rows = there.table("advisory_ranges", {"advisory_id": some}).to_pylist()
        held = {(r["advisory_id"], r["ecosystem"], r["n"]): r for r in rows}
        for row in _only(table, some).to_pylist():
            made = {_RENAMED.get(n, n): v for n, v in row.items()} | {"present": True}
            was = held.pop((row["advisory_id"], row["ecosystem"], row["n"]), None)
            if was != made:
                yield made
        for was in held.values():
            if was["present"]:
                yield {**was, "present": False}


def _enrichment_rows(there: LakeSnapshot, snapshot: Snapshot, group_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Rows of CVEs that advisories are about, as far as they are other ones than the lake has."""
    wanted = {one for one in group_of if CVE.fullmatch(one)}
    wanted |= {one for one in snapshot.advisories(["advisory_id"])["advisory_id"].to_pylist() if CVE.fullmatch(one)}
    found: dict[str, dict[str, Any]] = {}
    for name in SCHEMAS:
        table = snapshot.enrichment(name)
        if table is None:
            continue
        for row in _only(table, wanted, "cve").to_pylist():
            found.setdefault(row["cve"], {}).update(row, **({"is_exploited": True} if name == "kev" else {}))
    columns = TABLES["enrichment"].schema.names
    held = {r["cve"]: r for r in there.table("enrichment").to_pylist()}
    for cve in sorted(found.keys() | held.keys()):
        made = {**dict.fromkeys(columns), "cve": cve, "is_exploited": False, **found.get(cve, {})}
        if held.get(cve) != made:
            yield made


def _feed_rows(
    there: LakeSnapshot,
    snapshot: Snapshot | None,
    state: Mapping[str, Mapping[str, Any]],
    feeds: Sequence[str],
    max_age_days: float,
) -> list[dict[str, Any]]:
    held = {r["feed"]: r for r in there.table("advisory_feeds").to_pylist()}
    made = []
    for feed in feeds:
        told = state.get(feed, {})
        content = snapshot.feeds.get(feed) if snapshot is not None else None
        made.append(
            {
                "feed": feed,
                "address": told.get("address"),
                "snapshot_id": snapshot.id if snapshot is not None else None,
                "records": content.records if content is not None else 0,
                "facts": json.dumps(dict(content.facts), sort_keys=True) if content is not None else None,
                "as_of": _time(content.as_of if content is not None else None),
                **{name: _time(told.get(name)) for name in ("fetched_at", "checked_at", "tried_at")},
                "max_age_days": max_age_days,
                "refused": int(told.get("refused_count") or 0),
                "reason_code": told.get("reason_code"),
                "detail": told.get("detail"),
                "configured": True,
            }
        )
    made += [{**row, "configured": False} for name, row in held.items() if name not in feeds and row["configured"]]
    return [row for row in made if held.get(row["feed"]) != row]


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _only(table: pa.Table, ids: set[str], column: str = "advisory_id") -> pa.Table:
    return table.filter(pc.is_in(table[column], pa.array(sorted(ids), pa.string())))
