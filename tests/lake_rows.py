"""Rows for a lake: results, scans, scopes, and whole nights to publish."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.types import Cause, Kind, Observation, Outcome, Scan, ScanResult, ScopeState, Unit, digest
from tasks.lake.changes import Change
from tasks.lake.publish import PublishBatch

NIGHT = datetime(2026, 3, 1, 2, 0, tzinfo=UTC)
KEY_ID = "0123456789abcdef"


def observation(anchor: str, path: str | None = "app.py", line: int | None = 3, **more: Any) -> Observation:
    """One thing seen; ``anchor`` is any word, it becomes a uid."""
    anchor_uid = digest("anchor", anchor)
    values: dict[str, Any] = {
        "anchor_uid": anchor_uid,
        "occurrence_uid": digest(anchor_uid, path, line),
        "kind": Kind.CODE,
        "rule_id": "R1",
        "title": "a flaw",
        "severity_tool": "HIGH",
        "path": path,
        "line_start": line,
        "line_end": line,
    }
    return Observation(**{**values, **more})


def result(name: str, *observations: Observation, repo_id: str = "team/app", **more: Any) -> ScanResult:
    """A completed scan called ``name``."""
    scan_name = digest("scan", name)
    values: dict[str, Any] = {
        "scan_name": scan_name,
        "result_name": f"{scan_name}.1",
        "tool": "bandit",
        "tool_version": "1.9.0",
        "kind": Kind.CODE,
        "unit": Unit.TREE,
        "config_digest": digest("config"),
        "rules_digest": digest("rules"),
        "parse_revision": 1,
        "repo_id": repo_id,
        "ref": "refs/heads/main",
        "commit": digest("commit", name)[:40],
        "outcome": Outcome.PARTIAL if more.get("gaps") else Outcome.OK,
        "observations": observations,
        "started_at": NIGHT,
        "duration_s": 1.5,
        "exit_code": 0,
        "sandbox": "bubblewrap:test",
        "files_read": 3,
        "bytes_read": 300,
        "peak_rss_bytes": 1_000_000,
    }
    return ScanResult(**{**values, **more})


def scan_of(found: ScanResult, **more: Any) -> Scan:
    """The coverage row of a result: of the night that made it, unless ``more`` says otherwise."""
    values: dict[str, Any] = {
        "slug": found.repo_id,
        "cause": Cause.NEW,
        "started_at": found.started_at,
        "observations": len(found.observations),
        "gaps": len(found.gaps),
        "raw_sha256": found.raw_parts[-1] if found.raw_parts else None,
    }
    same = (
        "scan_name", "result_name", "repo_id", "ref", "commit", "tool", "tool_version", "unit", "config_digest",
        "rules_digest", "outcome", "duration_s", "exit_code", "sandbox", "files_read", "bytes_read", "peak_rss_bytes",
    )  # fmt: skip
    return Scan(**{**values, **{n: getattr(found, n) for n in same}, **more})


def scope_of(found: ScanResult, **more: Any) -> ScopeState:
    """The scope that refers to a result."""
    same = (
        "repo_id", "ref", "tool", "scan_name", "result_name", "config_digest", "tool_version", "rules_digest",
        "commit", "tips", "outcome", "duration_s",
    )  # fmt: skip
    values: dict[str, Any] = {"slug": found.repo_id, "source": "test", "evidence_at": found.started_at}
    return ScopeState(**{**values, **{n: getattr(found, n) for n in same}, **more})


def change_of(found: ScanResult | None, **more: Any) -> Change:
    """The change of a scope to a result; without one, name the scope in ``more``."""
    values: dict[str, Any] = {"repo_id": "team/app", "ref": "refs/heads/main", "tool": "bandit", "commit": "c" * 40}
    if found is not None:
        values = {n: getattr(found, n) for n in ("repo_id", "ref", "tool", "commit")}
    values = {**values, **more}
    return Change(**{"slug": values["repo_id"], "result": found, **values})


def repository_row(repo_id: str, when: datetime, **more: Any) -> dict[str, Any]:
    """A row of ``repositories``."""
    return {
        "repo_id": repo_id,
        "slug": repo_id,
        "source": "test",
        "url": f"/srv/{repo_id}",
        "default_branch": "refs/heads/main",
        "head": None,
        "owner": None,
        "codeowners": None,
        "codeowners_path": None,
        "codeowners_kind": None,
        "codeowners_reason": None,
        "criticality": None,
        "exposure": None,
        "scopes": [],
        "present": True,
        "reason_code": None,
        "first_seen_at": when,
        "changed_at": when,
        **more,
    }


def discovery_row(**more: Any) -> dict[str, Any]:
    """A row of ``discoveries`` but for its run."""
    numbers = dict.fromkeys(("listed", "expected", "filtered", "hidden", "missing", "gone"), 0)
    told = {"source": "test", "kind": "folder", "location": "/org", "total": None, "total_from": None, "notes": []}
    return {**numbers, **told, "selected": None, "unread": False, **more}


def rule_row(**more: Any) -> dict[str, Any]:
    """A row of ``rules``."""
    values = {"tool": "bandit", "tool_version": "1.9.0", "rules_digest": digest("rules"), "rule_id": "R1"}
    return {**values, **dict.fromkeys(("title", "severity_tool", "cwe", "remedy", "url", "pack")), **more}


def night(number: int, *results: ScanResult, scans: Sequence[Scan] | None = None, **more: Any) -> PublishBatch:
    """A whole run, the ``number``-th night, that made these results and refers every scope to them."""
    when = NIGHT + timedelta(days=number)
    rows = [scan_of(r) for r in results] if scans is None else list(scans)
    run = {
        "run_id": f"run-{number}",
        "started_at": when,
        "finished_at": when + timedelta(minutes=5),
        "state": "Completed",
        "sources": ["test"],
        "filters": "{}",
        "config_digest": digest("config"),
        "versions": "{}",
        "sandbox": "bubblewrap:test",
        "repositories": len({r.repo_id for r in rows}),
        "expected": len(rows),
        "tools_started": len(results),
        "gaps": 0,
        "outcomes": "{}",
        "duration_s": 300.0,
        "scan_s": 1.5,
    }
    values: dict[str, Any] = {
        "rules": [rule_row()] if number == 1 else [],
        "discoveries": [discovery_row()],
        "repositories": [repository_row(i, when) for i in sorted({r.repo_id for r in results})],
        "scans": rows,
        "results": list(results),
        "scopes": [scope_of(r) for r in results],
        "changes": [change_of(r) for r in results],
    }
    return PublishBatch(run=run, **{**values, **more})
