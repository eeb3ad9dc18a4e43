"""What is vulnerable: the inventories of the organisation matched with the advisories, as a run of its own.

No repository is touched and no tool started. A scope ``assess`` stands beside each scope ``inventory``. It is judged
whole when its inventory is another one, and for some packages when advisories that name them are others than in the
last run that did this; a night in which nothing changed matches nothing.

What an inventory could not read it takes over as unread, so that nothing there closes. A package whose version cannot
be told or compared any more keeps what was known of it.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tasks.core.errors import LakeError, UsageError
from tasks.core.reasons import GAP_OUTCOMES
from tasks.core.types import Cause, Gap, Kind, Outcome, Scan, ScanResult, ScopeState, Unit, digest
from tasks.deps import ordering
from tasks.lake.changes import Change, Origin, ScopeKey
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.package_tables import INVENTORY
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.views import GONE, arrow_of
from tasks.patrol.deciding import Deciding
from tasks.patrol.plan import ASSESS
from tasks.patrol.vulnerable import (
    Differences,
    Found,
    Package,
    Row,
    differences,
    form_of,
    matched,
    observations,
    told_of,
)

#: The source of such a run in ``runs``; no configuration can name it.
ASSESS_SOURCE = "(assess)"
#: Raised when the same inventory and advisories give another result.
REVISION = 1
#: Gaps of an inventory after which it is known all the same what is there, if not in which version.
_KNOWN_TO_BE_THERE = frozenset({"version_unpinned", "version_unresolved"})
_GONE = frozenset(GONE.replace("'", "").split(", "))

#: Told of each step: a word, and how much there is of it.
Watcher = Callable[[str, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """What a run did. ``run_id`` None: nothing was written, for nothing is other than it was (or it was a dry run).

    ``advisories`` are those that are others than before, None where nobody can tell so that all was judged;
    ``matched`` the distinct package versions that some advisory names.
    """

    run_id: str | None
    scopes: int
    judged: int
    advisories: int | None
    packages: int
    matched: int
    vulnerable: int
    gone: int
    opened: int = 0
    fixed: int = 0
    gaps: int = 0
    old_feeds: tuple[str, ...] = ()

    def sentence(self) -> str:
        """What was done, for people."""
        what = "all advisories" if self.advisories is None else f"{self.advisories} advisories changed"
        rows = f"{self.vulnerable} vulnerable packages new or changed, {self.gone} gone"
        findings = f"{self.opened} new, {self.fixed} fixed"
        return f"{self.judged} of {self.scopes} inventories judged ({what}): {rows}; findings: {findings}"


@dataclass(slots=True, kw_only=True)
class _Work:
    """One scope that is judged. ``packages`` None: whole."""

    inventory: ScopeState
    before: ScopeState | None
    packages: frozenset[Package] | None
    found: Differences = field(default_factory=lambda: Differences(changed=(), there=()))
    gaps: tuple[Gap, ...] = ()

    @property
    def key(self) -> ScopeKey:
        return (self.inventory.repo_id, self.inventory.ref, ASSESS)

    def looks_at(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of ``vulnerabilities`` is about what is judged."""
        return self.packages is None or (row["ecosystem"], row["package"]) in self.packages


def assess(
    lake: Lake, *, everything: bool = False, dry_run: bool = False, watch: Watcher = lambda _step, _n: None
) -> Assessed:
    """Match what is new on either side. The lake is locked by the caller unless ``dry_run``; ``everything`` judges all.

    Raises UsageError: there is no inventory, or there are no advisories. Raises LakeError.
    """
    began = datetime.now(UTC)
    snapshot = lake.snapshot()
    states = snapshot.scope_states(None)
    inventories = [s for s in states.values() if s.tool == INVENTORY and s.reason_code not in _GONE]
    if not inventories:
        advice = "Run `nightwarden patrol`: its scanner `inventory` lists the packages of each."
        raise UsageError("no repository has an inventory yet", advice=advice)
    feeds = arrow_of(snapshot, "SELECT * FROM feeds WHERE feed LIKE 'osv/%' ORDER BY feed").to_pylist()
    if not any(f["records"] for f in feeds):
        raise UsageError("there are no advisories yet", advice="Run `nightwarden advisories sync`.")
    covered = {f["feed"].partition("/")[2] for f in feeds if f["records"]}
    changed = None if everything else _changed_advisories(snapshot)
    works = _works(snapshot, states, inventories, changed, covered)
    watch("scopes", len(works))
    named = {p for w in works for p in w.packages or ()}
    found = matched(
        snapshot,
        {_result(w) for w in works if w.packages is None},
        {_result(w) for w in works if w.packages is not None},
        named,
        key=ordering.key,
        covered=covered,
    )
    watch("versions", found.judged)
    _judge(snapshot, works, found, covered, began)
    old = tuple(f"{f['feed']}: {f['reason_code']}" for f in feeds if f["reason_code"])
    rows = [row for w in works for row in w.found.changed]
    told = Assessed(
        run_id=None, scopes=len(inventories), judged=len(works),
        advisories=len(changed) if changed is not None else None, packages=found.packages, matched=found.judged,
        vulnerable=sum(1 for r in rows if r["present"]), gone=sum(1 for r in rows if not r["present"]), old_feeds=old,
    )  # fmt: skip
    if dry_run:
        return told
    batch = _Batch(snapshot, states, inventories, works, old, covered, new_advisories=bool(changed), began=began).made()
    if batch is None:
        return told
    watch("publish", len(rows))
    judge = Deciding(snapshot, batch.run["finished_at"]).judge()
    done = publish(lake, snapshot, replace(batch, judge=judge))
    run_id, gaps = batch.run["run_id"], batch.run["gaps"]
    return replace(told, run_id=run_id, opened=done.opened, fixed=done.fixed, gaps=gaps)


def is_ready(lake: Lake) -> bool:
    """Whether advisories were ever fetched and packages ever listed, so that there is something to match."""
    snapshot = lake.snapshot()
    fetched = snapshot.table("advisory_feeds", None, ["records"]).column("records").to_pylist()
    return any(fetched) and snapshot.table("scopes", {"tool": [INVENTORY]}, ["tool"]).num_rows > 0


# -- what is to be judged --------------------------------------------------------------------------------------


def _changed_advisories(snapshot: Snapshot) -> frozenset[str] | None:
    """Advisories that match otherwise than in the last run that judged, by the tables as of that run.

    None: there was no such run, or its tables are not kept any more.
    """
    last = arrow_of(
        snapshot,
        f"SELECT run_id FROM runs WHERE list_contains(sources, '{ASSESS_SOURCE}') AND config_digest = '{_config()}'"
        " ORDER BY seq DESC LIMIT 1",
    ).to_pylist()  # fmt: skip
    if not last:
        return None
    columns = ("advisory_id", "match_digest", "group_id", "aliases", "is_withdrawn", "unmatchable_reason", "present")
    try:
        before = Snapshot(snapshot.lake, last[0]["run_id"])
        if before.versions.get("advisories") == snapshot.versions.get("advisories"):
            return frozenset()
        old = before.table("advisories", None, columns)
    except LakeError:
        return None
    now = f"SELECT {', '.join(columns)} FROM advisories"
    differ = f"SELECT advisory_id FROM (({now} EXCEPT FROM old) UNION ALL (FROM old EXCEPT {now}))"
    rows = arrow_of(snapshot, differ, old=old)
    return frozenset(rows.column("advisory_id").to_pylist())


def _works(
    snapshot: Snapshot,
    states: Mapping[ScopeKey, ScopeState],
    inventories: Iterable[ScopeState],
    changed: Collection[str] | None,
    covered: Collection[str],
) -> list[_Work]:
    """The scopes that are judged: whole where the inventory is another one, else for the packages that changed
    advisories name."""
    works: list[_Work] = []
    rest: dict[str, list[tuple[ScopeState, ScopeState]]] = {}
    for s in inventories:
        if s.result_name is None or s.reason_code == "ref_unwatched":
            continue
        before = states.get((s.repo_id, s.ref, ASSESS))
        if changed is None or before is None or before.result_name is None or before.config_digest != _of(s, covered):
            works.append(_Work(inventory=s, before=before, packages=None))
        else:
            rest.setdefault(s.result_name, []).append((s, before))
    if changed:
        for name, packages in _packages(snapshot, changed, rest).items():
            works += [_Work(inventory=s, before=b, packages=frozenset(packages)) for s, b in rest[name]]
    return sorted(works, key=lambda w: w.key)


def _packages(snapshot: Snapshot, changed: Collection[str], results: Collection[str]) -> dict[str, set[Package]]:
    """Of some inventories, the packages that some advisories name or named."""
    import pyarrow as pa

    rows = arrow_of(
        snapshot,
        "SELECT DISTINCT p.result_name, p.ecosystem, p.package FROM packages p SEMI JOIN results USING (result_name)"
        " SEMI JOIN (FROM advisory_ranges r SEMI JOIN changed c ON c.id = r.advisory_id) r"
        " ON r.ecosystem = p.ecosystem AND r.package = p.package",
        changed=pa.table({"id": pa.array(sorted(changed), pa.string())}),
        results=pa.table({"result_name": pa.array(sorted(results), pa.string())}),
    )
    found: dict[str, set[Package]] = {}
    for row in rows.to_pylist():
        found.setdefault(row["result_name"], set()).add((row["ecosystem"], row["package"]))
    return found


def _judge(snapshot: Snapshot, works: Iterable[_Work], found: Found, covered: Collection[str], now: datetime) -> None:
    """What of each scope is vulnerable now, and what nobody can tell. Of an ecosystem whose advisories are not fetched
    nothing goes."""
    known: dict[tuple[str, str], list[Row]] = {}
    repos = {w.inventory.repo_id for w in works}
    for row in snapshot.table("vulnerabilities", {"repo_id": repos}).to_pylist() if repos else ():
        known.setdefault((row["repo_id"], row["ref"]), []).append(row)
    read = snapshot.gaps_of(_result(w) for w in works)
    before = snapshot.gaps_of(w.before.result_name for w in works if w.before and w.before.result_name)

    def looked_at(w: _Work, row: Row) -> bool:
        return w.looks_at(row) and row["ecosystem"].partition(":")[0] in covered

    for w in works:
        name = _result(w)
        w.found = differences(
            w.inventory.repo_id,
            w.inventory.ref,
            found.rows.get(name, ()),
            known.get((w.inventory.repo_id, w.inventory.ref), ()),
            judged=partial(looked_at, w),
            unknown=found.unknown.get(name, set()),
            now=now,
        )
        if w.packages is None:
            w.gaps = (*(g for g in read[name] if g.reason_code not in _KNOWN_TO_BE_THERE), *found.gaps.get(name, ()))
        elif w.before is not None and w.before.result_name is not None:
            w.gaps = tuple(before[w.before.result_name])


def _result(w: _Work) -> str:
    assert w.inventory.result_name is not None
    return w.inventory.result_name


def _of(inventory: ScopeState, covered: Collection[str]) -> str:
    """What a scope says that was judged over this inventory, with advisories of these ecosystems."""
    return digest(ASSESS, REVISION, inventory.result_name, *sorted(covered))


def _config() -> str:
    return digest(ASSESS, REVISION)


def _highest(ecosystem: str, versions: Iterable[str]) -> str | None:
    keyed = [(key, v) for v in versions if (key := ordering.key(ecosystem, v)) is not None]
    return max(keyed)[1] if keyed else None


# -- what is written -------------------------------------------------------------------------------------------


class _Batch:
    """The rows of a run."""

    def __init__(
        self,
        snapshot: Snapshot,
        states: Mapping[ScopeKey, ScopeState],
        inventories: Collection[ScopeState],
        works: Collection[_Work],
        old: Collection[str],
        covered: Collection[str],
        *,
        new_advisories: bool,
        began: datetime,
    ) -> None:
        self._snapshot, self._states, self._inventories = snapshot, states, inventories
        self._works = {w.key: w for w in works}
        self._old, self._covered = old, covered
        self._new_advisories, self._began = new_advisories, began
        self._told = told_of(snapshot, (r["advisory_id"] for w in works for r in w.found.there))

    def made(self) -> PublishBatch | None:
        """None: nothing is other than it was."""
        results: dict[ScopeKey, ScanResult] = {k: self._result(w) for k, w in self._works.items()}
        scans, scopes, changes = [], [], []
        for inventory in sorted(self._inventories, key=lambda s: (s.repo_id, s.ref)):
            key = (inventory.repo_id, inventory.ref, ASSESS)
            before, result = self._states.get(key), results.get(key)
            scan, scope = self._row(inventory, before, result)
            scans.append(scan)
            if before is None or _standing(scope) != _standing(before):
                scopes.append(scope)
            had, has = before.result_name if before else None, scope.result_name
            if had != has:
                changes.append(self._change(inventory, before, result, scope))
        rows = [r for w in self._works.values() for r in w.found.changed]
        if not (scopes or rows):
            return None
        finished = datetime.now(UTC)
        outcomes = Counter(str(s.outcome) for s in scans)
        partly = sum(1 for s in scans if s.outcome in GAP_OUTCOMES or s.gaps)
        run: dict[str, Any] = {
            "run_id": uuid.uuid4().hex,
            "started_at": self._began,
            "finished_at": finished,
            "state": "CompletedWithGaps" if partly else "Completed",
            "sources": [ASSESS_SOURCE],
            "filters": json.dumps({"judged": len(self._works)}),
            "config_digest": _config(),
            "versions": json.dumps({ASSESS: str(REVISION)}),
            "sandbox": "none: no tool was started",
            "repositories": len({s.repo_id for s in scans}),
            "expected": len(scans),
            "tools_started": 0,
            "gaps": partly,
            "outcomes": json.dumps(dict(sorted(outcomes.items()))),
            "duration_s": (finished - self._began).total_seconds(),
            "scan_s": 0.0,
        }
        return PublishBatch(
            run=run, scans=scans, results=list(results.values()), scopes=scopes, changes=changes,
            plain={"vulnerabilities": rows},
        )  # fmt: skip

    def _result(self, w: _Work) -> ScanResult:
        seen = tuple(observations(w.found.there, self._told, _highest))
        gaps = tuple(sorted(set(w.gaps), key=lambda g: (g.path, g.reason_code, g.detail)))
        said = [f"{g.path}|{g.reason_code}|{g.detail}" for g in gaps]
        name = digest(ASSESS, REVISION, _result(w), *map(form_of, seen), *said)
        return ScanResult(
            scan_name=name,
            result_name=f"{name}.{REVISION}",
            tool=ASSESS,
            tool_version=str(REVISION),
            kind=Kind.DEPENDENCY,
            unit=Unit.TREE,
            config_digest=_of(w.inventory, self._covered),
            rules_digest=_config(),
            parse_revision=REVISION,
            repo_id=w.inventory.repo_id,
            ref=w.inventory.ref,
            commit=w.inventory.commit or "",
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=seen,
            gaps=gaps,
            base_result_name=_result(w),
            started_at=self._began,
            duration_s=0.0,
            exit_code=None,
            sandbox="none",
            files_read=0,
            bytes_read=0,
            peak_rss_bytes=0,
        )

    def _row(
        self, inventory: ScopeState, before: ScopeState | None, result: ScanResult | None
    ) -> tuple[Scan, ScopeState]:
        """The row of the coverage record, and the scope as it stands."""
        has = result.result_name if result is not None else before.result_name if before is not None else None
        same = before is not None and before.result_name == has
        cause, reason, detail = Cause.NONE, inventory.reason_code, inventory.detail
        if inventory.result_name is None or inventory.reason_code == "ref_unwatched":
            # Nothing of it was ever read, there is nothing to read, or nobody watches it.
            outcome = inventory.outcome
            has = has if reason == "ref_unwatched" else None
        else:
            reason, detail = (None, "") if not self._old else ("advisories_old", "; ".join(self._old))
            outcome = Outcome.UNCHANGED if same else result.outcome if result is not None else Outcome.OK
            outcome = Outcome.STALE if self._old else outcome
            cause = Cause.NONE if same else Cause.NEW if before is None else Cause.CHANGED
        scan_name, seen, gaps = None, 0, 0
        if has and result is not None:
            scan_name, seen, gaps = result.scan_name, len(result.observations), len(result.gaps)
        elif has and before is not None:
            scan_name, seen, gaps = before.scan_name or "", before.observations, before.gaps
        evidence = inventory.evidence_at if has else None
        common: dict[str, Any] = {
            "scan_name": scan_name,
            "result_name": has,
            "repo_id": inventory.repo_id,
            "ref": inventory.ref,
            "tool": ASSESS,
            "slug": inventory.slug,
            "commit": inventory.commit,
            "tool_version": str(REVISION),
            "config_digest": _of(inventory, self._covered) if has else None,
            "rules_digest": _config(),
            "outcome": outcome,
            "reason_code": reason,
            "detail": detail,
            "observations": seen,
            "gaps": gaps,
        }
        scan = Scan(**common, unit=Unit.TREE, cause=cause, started_at=None if same else self._began)
        part = before.result_part if before is not None and same else None
        scope = ScopeState(**common, source=inventory.source, evidence_at=evidence, result_part=part)
        if scope.outcome is Outcome.UNCHANGED and before is not None:
            scope = replace(scope, outcome=Outcome.PARTIAL if gaps else Outcome.OK)
        return scan, scope

    def _change(
        self, inventory: ScopeState, before: ScopeState | None, result: ScanResult | None, scope: ScopeState
    ) -> Change:
        had = before.result_name if before is not None else None
        unread = self._snapshot.gaps_of([had]).get(had, ()) if had else ()
        return Change(
            repo_id=scope.repo_id,
            ref=scope.ref,
            tool=ASSESS,
            slug=scope.slug,
            commit=scope.commit,
            result=result if scope.result_name else None,
            before=had,
            empty_reason=inventory.reason_code or "nothing_to_read",
            origin=Origin.BACKLOG if had is None else None,
            other_tool=self._new_advisories and had is not None,
            same_paths=partial(self._same_manifests, had, inventory.result_name),
            same_commit=before is not None and before.commit == scope.commit,
            unread_before=frozenset(g.path for g in unread),
            paths=partial(self._manifests, inventory.result_name),
        )

    def _manifests(self, inventory: str | None) -> frozenset[str] | None:
        return frozenset(path for path, _ in self._blobs(inventory)) if inventory else frozenset()

    def _same_manifests(self, had: str | None, inventory: str | None) -> frozenset[str] | None:
        """Manifests that are the same as when the scope was judged before."""
        rows = self._snapshot.table("ledger", {"result_name": [had]}, ["base_result_name"]).to_pylist() if had else []
        if not rows or inventory is None:
            return None
        return frozenset(path for path, _ in self._blobs(rows[0]["base_result_name"]) & self._blobs(inventory))

    def _blobs(self, inventory: str) -> frozenset[tuple[str, str]]:
        seen = self._snapshot.observations_of([inventory]).get(inventory, ())
        return frozenset((o.path or "", o.blob or "") for o in seen if o.rule_id == "manifest")


def _standing(s: ScopeState) -> tuple[object, ...]:
    """What of a scope is worth a row."""
    return (s.result_name, s.config_digest, s.commit, s.outcome, s.reason_code, s.detail, s.evidence_at, s.slug)
