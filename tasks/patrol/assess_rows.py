"""The rows of a run that judged: results, scopes and the coverage record of the scopes ``assess``."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from tasks.core.reasons import GAP_OUTCOMES
from tasks.core.types import Cause, Gap, Kind, Outcome, Scan, ScanResult, ScopeState, Unit, digest
from tasks.deps import ordering
from tasks.lake.changes import Change, Origin, ScopeKey
from tasks.lake.lake import Snapshot
from tasks.lake.package_tables import ASSESS, INVENTORY, judged_as
from tasks.lake.publish import PublishBatch
from tasks.patrol.importing import form_of
from tasks.patrol.manifest_blobs import ManifestBlobs
from tasks.patrol.vulnerable import Differences, Package, Row, observations, told_of

#: The source of such a run in ``runs``; no configuration can name it.
ASSESS_SOURCE = "(assess)"
#: Raised when the same inventory and advisories give another result.
REVISION = 3


@dataclass(slots=True, kw_only=True)
class Work:
    """One scope that is judged. ``packages`` None: whole."""

    inventory: ScopeState
    before: ScopeState | None
    packages: frozenset[Package] | None
    found: Differences = field(default_factory=lambda: Differences(changed=(), there=()))
    gaps: tuple[Gap, ...] = ()
    gaps_before: tuple[Gap, ...] = ()

    @property
    def key(self) -> ScopeKey:
        """The scope's key."""
        return key_of(self.inventory)

    def looks_at(self, row: Mapping[str, Any]) -> bool:
        """Whether a row of ``vulnerabilities`` is about what is judged."""
        return self.packages is None or (row["ecosystem"], row["package"]) in self.packages


def key_of(inventory: ScopeState) -> ScopeKey:
    """The scope in which an inventory is matched."""
    return (inventory.repo_id, inventory.ref, judged_as(inventory.tool))


def result_of(w: Work) -> str:
    """The inventory that is judged."""
    assert w.inventory.result_name is not None
    return w.inventory.result_name


def result_before(w: Work) -> str | None:
    """What the scope said before."""
    return w.before.result_name if w.before is not None else None


def judged_over(inventory: ScopeState, covered: Collection[str]) -> str:
    """What a scope says that was judged over this inventory, with advisories of these ecosystems."""
    return digest(ASSESS, REVISION, inventory.result_name, *sorted(covered))


def config_digest() -> str:
    """What a run says that judged by these rules."""
    return digest(ASSESS, REVISION)


def highest(ecosystem: str, versions: Iterable[str]) -> str | None:
    """The greatest of some versions; None where none follows the ecosystem's grammar."""
    keyed = [(key, v) for v in versions if (key := ordering.key(ecosystem, v)) is not None]
    return max(keyed)[1] if keyed else None


class Batch:
    """The rows of a run. ``works`` are the scopes that may say something else than before, of ``judged``; ``more`` the
    rows of other tables, ``troubles`` what of these could not be asked."""

    def __init__(
        self,
        snapshot: Snapshot,
        states: Mapping[ScopeKey, ScopeState],
        inventories: Collection[ScopeState],
        works: Collection[Work],
        old: Collection[str],
        covered: Collection[str],
        *,
        judged: int,
        new_advisories: bool,
        began: datetime,
        more: Mapping[str, Collection[Row]],
        troubles: int,
    ) -> None:
        self._snapshot, self._states, self._inventories = snapshot, states, inventories
        self._works = {w.key: w for w in works}
        self._old, self._covered = old, covered
        self._judged, self._new_advisories, self._began = judged, new_advisories, began
        self._more, self._troubles = more, troubles
        #: Scopes in which something is not judged, whether it is new or not; known when the rows are made.
        self.gaps = 0
        self._told = told_of(snapshot, (r["advisory_id"] for w in works for r in w.found.there))

    def made(self) -> PublishBatch | None:
        """None: nothing is other than it was."""
        results: dict[ScopeKey, ScanResult] = {k: self._result(w) for k, w in self._works.items()}
        scans, scopes, others = [], [], []
        for inventory in sorted(self._inventories, key=lambda s: (s.repo_id, s.ref)):
            key = key_of(inventory)
            before, result = self._states.get(key), results.get(key)
            scan, scope = self._row(inventory, before, result)
            scans.append(scan)
            if before is None or _standing(scope) != _standing(before):
                scopes.append(scope)
            had, has = before.result_name if before else None, scope.result_name
            if had != has:
                others.append((inventory, before, result, scope))
        rows = [r for w in self._works.values() for r in w.found.changed]
        self.gaps = sum(1 for s in scans if s.outcome in GAP_OUTCOMES or s.gaps)
        if not (scopes or rows or any(self._more.values())):
            return None
        changes = self._changes(others)
        finished = datetime.now(UTC)
        outcomes = Counter(str(s.outcome) for s in scans)
        run: dict[str, Any] = {
            "run_id": uuid.uuid4().hex,
            "started_at": self._began,
            "finished_at": finished,
            "state": "CompletedWithGaps" if self.gaps or self._troubles else "Completed",
            "sources": [ASSESS_SOURCE],
            "filters": json.dumps({"judged": self._judged}),
            "config_digest": config_digest(),
            "versions": json.dumps({ASSESS: str(REVISION)}),
            "sandbox": "none: no tool was started",
            "repositories": len({s.repo_id for s in scans}),
            "expected": len(scans),
            "tools_started": 0,
            "gaps": self.gaps,
            "outcomes": json.dumps(dict(sorted(outcomes.items()))),
            "duration_s": (finished - self._began).total_seconds(),
            "scan_s": 0.0,
        }
        return PublishBatch(
            run=run, scans=scans, results=list(results.values()), scopes=scopes, changes=changes,
            plain={"vulnerabilities": rows, **self._more},
        )  # fmt: skip

    def _result(self, w: Work) -> ScanResult:
        seen = tuple(observations(w.found.there, self._told, highest))
        gaps = tuple(sorted(set(w.gaps), key=lambda g: (g.path, g.reason_code, g.detail)))
        said = [f"{g.path}|{g.reason_code}|{g.detail}" for g in gaps]
        name = digest(ASSESS, REVISION, result_of(w), *map(form_of, seen), *said)
        return ScanResult(
            scan_name=name,
            result_name=f"{name}.{REVISION}",
            tool=w.key[2],
            tool_version=str(REVISION),
            kind=Kind.DEPENDENCY,
            unit=Unit.TREE,
            config_digest=judged_over(w.inventory, self._covered),
            rules_digest=config_digest(),
            parse_revision=REVISION,
            repo_id=w.inventory.repo_id,
            ref=w.inventory.ref,
            commit=w.inventory.commit or "",
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=seen,
            gaps=gaps,
            base_result_name=result_of(w),
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
            "tool": judged_as(inventory.tool),
            "slug": inventory.slug,
            "commit": inventory.commit,
            "tool_version": str(REVISION),
            "config_digest": judged_over(inventory, self._covered) if has else None,
            "rules_digest": config_digest(),
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

    def _changes(
        self, others: Sequence[tuple[ScopeState, ScopeState | None, ScanResult | None, ScopeState]]
    ) -> list[Change]:
        """The scopes whose result is another one. What they said before is read for all of them."""
        had = [before.result_name for _, before, *_ in others if before is not None and before.result_name]
        has = [inventory.result_name for inventory, *_ in others if inventory.result_name]
        self._blobs, self._unread = ManifestBlobs(self._snapshot, has, had), self._snapshot.gaps_of(had)
        return [self._change(*other) for other in others]

    def _change(
        self, inventory: ScopeState, before: ScopeState | None, result: ScanResult | None, scope: ScopeState
    ) -> Change:
        had = before.result_name if before is not None else None
        unread = self._unread.get(had, ()) if had else ()
        return Change(
            repo_id=scope.repo_id,
            ref=scope.ref,
            tool=scope.tool,
            slug=scope.slug,
            commit=scope.commit,
            result=result if scope.result_name else None,
            before=had,
            empty_reason=inventory.reason_code or "nothing_to_read",
            origin=self._origin(inventory, had),
            other_tool=self._new_advisories and had is not None,
            same_paths=partial(self._blobs.same, had, inventory.result_name),
            same_commit=before is not None and before.commit == scope.commit,
            unread_before=frozenset(g.path for g in unread),
            paths=partial(self._manifests, inventory.result_name),
        )

    def _origin(self, inventory: ScopeState, had: str | None) -> Origin | None:
        """Why all that is new in a scope is new, if it is for one reason. An SBOM that is another one says nothing of
        code that changed: it names other packages."""
        if inventory.tool == INVENTORY:
            return Origin.BACKLOG if had is None else None
        same = self._blobs.same(had, inventory.result_name)
        return None if same else Origin.IMPORT

    def _manifests(self, inventory: str | None) -> frozenset[str] | None:
        return frozenset(path for path, _ in self._blobs.of(inventory)) if inventory else frozenset()


def _standing(s: ScopeState) -> tuple[object, ...]:
    """What of a scope is worth a row."""
    return (s.result_name, s.config_digest, s.commit, s.outcome, s.reason_code, s.detail, s.evidence_at, s.slug)
