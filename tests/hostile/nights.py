"""Whole nights without Prefect: the phases of ``flows.patrol`` in their order, and what the lake says afterwards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.means import opened
from flows.settings import Settings, load
from tasks.core.process import ProcessRunner
from tasks.core.types import Command
from tasks.lake.lake import Lake
from tasks.patrol.plan import Options
from tasks.patrol.publishing import publish_run
from tasks.patrol.scanning import Scanning
from tasks.patrol.session import Means, Patrol
from tasks.patrol.summary import RunSummary
from tasks.scanners.limited import with_limits

Rows = dict[tuple[str, str], list[dict[str, Any]]]
#: What in a command line tells which tool is started.
_MARKS = {
    "kingfisher": "--no-validate",
    "bandit": "bandit",
    "semgrep": "--x-ignore-semgrepignore-files",
    "checkov": "/nightwarden/checkov_server.py",
    "zizmor": "/nightwarden/zizmor_program.py",
    "hadolint": "/nightwarden/hadolint_program.py",
    "cfn-lint": "/nightwarden/cfn_lint_program.py",
    "posture": "/nightwarden/posture_program.py",
}


class Journal(ProcessRunner):
    """A runner that runs everything for real and notes every start of a tool."""

    def __init__(self, runner: ProcessRunner) -> None:
        super().__init__(runner.sandbox)
        self.starts: list[str] = []

    def spawn(self, cmd: Command) -> subprocess.Popen[bytes]:
        self.starts += [tool for tool, mark in _MARKS.items() if mark in cmd.argv]
        return super().spawn(cmd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """One run: its own rows of ``scans``, the ``scan_gaps`` of the results they refer to, all ``findings``, scopes.

    ``starts`` names the tool of every process that was started, control checkouts included.
    """

    summary: RunSummary
    run: dict[str, Any]
    starts: tuple[str, ...]
    scans: Rows
    gaps: Rows
    findings: Rows
    scopes: Rows

    def scan(self, slug: str, tool: str, ref: str | None = None) -> dict[str, Any]:
        """The one row of ``scans`` of this repository and tool (and ref, where there are several)."""
        rows = [r for r in self.scans.get((slug, tool), []) if ref in (None, r["ref"])]
        assert len(rows) == 1, (slug, tool, [(r["ref"], r["outcome"], r["reason_code"]) for r in rows])
        return rows[0]

    def said(self, slug: str, tool: str) -> tuple[str, str | None]:
        """(outcome, reason code) of that row."""
        row = self.scan(slug, tool)
        return row["outcome"], row["reason_code"]

    def unread(self, slug: str, tool: str) -> set[tuple[str, str]]:
        """(path, reason code) of the gaps of that repository and tool."""
        return {(g["path"], g["reason_code"]) for g in self.gaps.get((slug, tool), [])}

    def open(self, slug: str, tool: str) -> set[tuple[str, str]]:
        """(path, rule) of the open findings."""
        return {(f["path"], f["rule_id"]) for f in self.findings.get((slug, tool), []) if f["is_open"]}

    def fixed(self, slug: str, tool: str) -> set[tuple[str, str, str]]:
        """(path, rule, reason) of the findings that are gone: fixed, or archived with their branch or repository."""
        rows = [f for f in self.findings.get((slug, tool), []) if f["fixed_reason"] is not None]
        return {(f["path"], f["rule_id"], f["fixed_reason"]) for f in rows}

    def still_open(self) -> set[str]:
        """The open findings of everything."""
        return {f["finding_uid"] for rows in self.findings.values() for f in rows if f["is_open"]}


def night(
    home: Path,
    org: Path,
    tools_dir: Path | None = None,
    tools: Sequence[str] = (),
    *,
    only: Sequence[str] = (),
    force: bool = False,
    retry_failed: bool = False,
    at: datetime | None = None,
    each_tool: Mapping[str, Mapping[str, Any]] | None = None,
    stdout_bytes: Mapping[str, int] | None = None,
    **settings: Any,
) -> Night:
    """Patrol ``org`` once. ``tools`` are those asked for, ``each_tool`` their settings, ``at`` another time of day.

    ``stdout_bytes`` lowers a limit that the settings do not offer.
    """
    chosen = Settings(
        home=home,
        tools_home=tools_dir or load().tools_dir,
        tools=each_tool or {},
        **{"workers": 2, "sources": ({"name": "org", "path": org},), **settings},
    )
    options = Options(only=tuple(only), tools=tuple(tools), force=force, retry_failed=retry_failed)
    with opened(chosen, asked=tools) as means:
        journal = Journal(means.runner)
        means = replace(means, runner=journal, scanners=_limited(means, stdout_bytes or {}))
        patrol = Patrol(means, chosen.select([]), options)
        if at is not None:
            patrol.started_at = at
        scanning = Scanning(patrol)
        try:
            patrol.discover()
            patrol.refresh()
            patrol.plan()
            patrol.each(patrol.changed(), scanning.scan_repository)  # type: ignore[arg-type]
            summary = publish_run(patrol)
        finally:
            scanning.close()
    return _told(Lake.open(chosen.lake_dir, key_id=None, create=False), summary, journal)


def _limited(means: Means, stdout_bytes: Mapping[str, int]) -> tuple[Any, ...]:
    return tuple(
        with_limits(s, replace(s.limits, stdout_bytes=stdout_bytes[s.name])) if s.name in stdout_bytes else s
        for s in means.scanners
    )


def _told(lake: Lake, summary: RunSummary, journal: Journal) -> Night:
    snapshot = lake.snapshot()
    assert snapshot.run is not None and snapshot.run["run_id"] == summary.run_id
    scans = snapshot.table("scans", {"run_id": [summary.run_id]}).to_pylist()
    by_result: dict[str, list[dict[str, Any]]] = {}
    for gap in snapshot.table("scan_gaps").to_pylist():
        by_result.setdefault(gap["result_name"], []).append(gap)
    gaps: Rows = {}
    for row in scans:
        gaps.setdefault((row["slug"], row["tool"]), []).extend(by_result.get(row["result_name"], []))
    return Night(
        summary=summary,
        run=snapshot.run,
        starts=tuple(journal.starts),
        scans=_grouped(scans),
        gaps=gaps,
        findings=_grouped(snapshot.table("findings").to_pylist()),
        scopes=_grouped(snapshot.table("scopes").to_pylist()),
    )


def _grouped(rows: list[dict[str, Any]]) -> Rows:
    found: Rows = {}
    for row in rows:
        found.setdefault((row["slug"], row["tool"]), []).append(row)
    return found


def copied(place: Path, to: Path) -> Path:
    """A copy of a home or an organisation, so that each test goes on from the same night alone."""
    shutil.copytree(place, to, symlinks=True)
    return to
