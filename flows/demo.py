"""The demo: a small organisation made on the spot, patrolled twice, judged against a truth written beforehand."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows import server as prefect_server
from flows.cli_patrol import EXIT_GAPS, run
from flows.means import tool_homes, unused_tools
from flows.settings import Settings, SourceSettings, ToolSettings, load
from tasks.core.errors import NightwardenError, UsageError
from tasks.core.ports import PlatformTool
from tasks.core.reasons import REASONS
from tasks.lake.lake import Lake
from tasks.lake.views import run_query
from tasks.patrol import demo_org
from tasks.patrol.demo_files import ABOUT, DAY_TWO
from tasks.scanners import SCANNERS

Row = Mapping[str, Any]

_NEWEST = "run_id = (SELECT run_id FROM runs ORDER BY seq DESC LIMIT 1)"


def play(place: Path, *, verbose: bool) -> int:
    """Make, patrol, judge, change, patrol again, judge. Returns 0 when both days agree with the truth.

    Raises UsageError when the folder holds a demo already, NightwardenError when a scanner is not installed or
    what was seen differs from the truth.
    """
    org = place / "org"
    for folder in (org, place / "home"):
        if folder.exists():
            raise UsageError(f"{folder} is there already", advice="Name an empty folder.")
    out = Console(highlight=False)
    settings = _settings(place)
    out.print(f"An organisation of {len(ABOUT)} repositories is made in {org}", soft_wrap=True, markup=False)
    for slug, about in ABOUT.items():
        out.print(f"  {slug:<12} {about}", soft_wrap=True, markup=False)
    demo_org.build(org, step=1)
    with _server(settings):
        out.print("\nDAY ONE: everything is new, so everything is read", style="bold")
        out.print("  below: what each tool was given to read tonight, and how many of its findings are open")
        _day(settings, 1, out, verbose=verbose)
        out.print("\nDAY TWO: four commits later; only what they changed is read", style="bold")
        for commit in DAY_TWO:
            touched = ", ".join([*commit.write, *(f"{path} deleted" for path in commit.remove)])
            out.print(f"  {commit.slug:<12} {commit.message}: {touched}", soft_wrap=True, markup=False)
        demo_org.advance(org)
        _day(settings, 2, out, verbose=verbose)
    out.print(
        "\nBoth days agree with the truth written beforehand."
        "\nTo look around, keep it: `nightwarden demo --keep DIR`, then"
        " `nightwarden query --saved secrets --lake DIR/home/lake`."
        "\nFor repositories of your own: `nightwarden patrol --repos DIR`.",
        soft_wrap=True,
        markup=False,
    )
    return 0


def _settings(place: Path) -> Settings:
    """A home of the demo's own; of the user's settings only where the scanners are. Raises if one is missing."""
    given = load()
    settings = Settings(
        home=place / "home",
        tools_home=given.tools_dir,
        # Its truth knows the scanners with a lock: what a platform has besides would find more.
        tools={
            s.name: ToolSettings(enabled=False)
            if isinstance(s, PlatformTool)
            else ToolSettings(binary=given.tools.get(s.name, ToolSettings()).binary)
            for s in SCANNERS
        },
        workers=given.workers,
        allow_no_sandbox=given.allow_no_sandbox,
        sources=(SourceSettings(name="demo", path=place / "org"),),
    )
    unused = unused_tools(settings)
    missing = sorted(n for n, home in tool_homes(settings).items() if isinstance(home, str) and n not in unused)
    if missing:
        raise NightwardenError(
            f"the demo needs all scanners; not installed: {', '.join(missing)}",
            advice="Run `nightwarden tools install` first.",
        )
    return settings


@contextmanager
def _server(settings: Settings) -> Iterator[None]:
    """One local Prefect server for both days, stopped at the end; none if an API is configured."""
    if os.environ.get("PREFECT_API_URL"):
        yield
        return
    with prefect_server.used(settings.home):
        yield


def _day(settings: Settings, day: int, out: Console, *, verbose: bool) -> None:
    """Patrol once, show the night in one table, and judge it."""
    parameters = {
        "sources": ["demo"],
        "only": [],
        "tools": [],
        "force": False,
        "retry_failed": False,
    }
    # The summary of a patrol fills a screen; the demo tells the same in fewer lines.
    with nullcontext() if verbose else redirect_stdout(io.StringIO()):
        code = run(settings, parameters, keep_server=False, verbose=verbose)
    if code not in (0, EXIT_GAPS):
        raise NightwardenError(f"the patrol of day {day} ended with exit code {code}")
    snapshot = Lake.open(settings.lake_dir, key_id=None, create=False).snapshot()
    scans = _rows(snapshot, f"SELECT * FROM scans WHERE {_NEWEST}")
    seen = _rows(snapshot, f"SELECT * FROM scan_results WHERE {_NEWEST}")
    gaps = _rows(snapshot, f"SELECT * FROM gaps WHERE {_NEWEST}")
    findings = _rows(snapshot, "SELECT * FROM findings")
    out.print(_night(scans, seen))
    for line in _unread(gaps, explain=day == 1):
        out.print(f"  not looked at: {line}", soft_wrap=True, markup=False)
    for line in _changes(findings, str(scans[0]["run_id"])) if day > 1 else ():
        out.print(f"  {line}", soft_wrap=True, markup=False)
    verdict = demo_org.judge(demo_org.truth(), scans, seen, gaps=gaps, findings=findings, day=day)
    out.print(verdict.text(), style="green" if verdict.agrees else "red", markup=False, soft_wrap=True)
    if not verdict.agrees:
        raise NightwardenError(f"day {day} does not agree with the truth", advice="The lines above say where.")


def _night(scans: Sequence[Row], seen: Sequence[Row]) -> Table:
    """A row a repository, a column a tool: what was read and found."""
    tools = sorted({row["tool"] for row in scans})
    by_scope = {(row["slug"], row["tool"]): row for row in scans}
    table = Table("  repository", *tools, box=None, padding=(0, 2, 0, 0))
    for slug in ABOUT:
        table.add_row(f"  {slug}", *(_cell(by_scope.get((slug, tool)), seen) for tool in tools))
    return table


def _cell(row: Row | None, seen: Sequence[Row]) -> str:
    if row is None:
        return "no row"
    if row["outcome"] not in ("ok", "partial"):
        return str(row["outcome"]).replace("_", " ")
    found = {o["finding_uid"] for o in seen if (o["slug"], o["tool"]) == (row["slug"], row["tool"])}
    return f"{'partial: ' if row['outcome'] == 'partial' else ''}{row['files_read']} read, {len(found)} open"


def _unread(gaps: Sequence[Row], *, explain: bool) -> Iterator[str]:
    """One line a reason and place; the meaning of the reason if asked for."""
    lines: dict[tuple[str, str], list[str]] = {}
    for gap in gaps:
        place = f"{gap['slug']}/{gap['path']}" if gap["path"] else str(gap["slug"])
        lines.setdefault((place, gap["reason_code"]), []).append(gap["tool"])
    for (place, code), tools in sorted(lines.items()):
        meaning = f"\n    {REASONS[code].meaning}" if explain else ""
        yield f"{place} ({', '.join(sorted(tools))}): {code}{meaning}"


def _changes(findings: Sequence[Row], run_id: str) -> Iterator[str]:
    """What the night opened and fixed, by file."""
    for word, column in (("new", "opened_run"), ("fixed", "fixed_run")):
        files: dict[str, int] = {}
        for f in findings:
            if f[column] == run_id:
                place = f"{f['slug']}/{f['path']}"
                files[place] = files.get(place, 0) + 1
        yield f"findings {word}: " + (", ".join(f"{n} in {p}" for p, n in sorted(files.items())) or "none")


def _rows(snapshot: object, sql: str) -> list[dict[str, Any]]:
    columns, rows = run_query(snapshot, sql)  # type: ignore[arg-type]
    return [dict(zip(columns, row, strict=True)) for row in rows]
