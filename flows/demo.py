"""The demo: a small organisation made on the spot, patrolled twice, judged against a truth written beforehand."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from flows import server as prefect_server
from flows.cli_patrol import EXIT_GAPS, run
from flows.means import tool_homes
from flows.org_models import SourceSettings, ToolSettings
from flows.settings import Settings, load
from tasks.core.errors import NightwardenError, UsageError
from tasks.core.ports import PlatformTool
from tasks.core.reasons import REASONS
from tasks.lake.lake import Lake
from tasks.lake.views import run_query
from tasks.patrol import demo_org
from tasks.patrol.demo_files import ABOUT, day_two
from tasks.patrol.demo_judge import Row, Verdict, declared, truth
from tasks.patrol.demo_night import judge
from tasks.scanners import SCANNERS

#: The scanners whose scans are judged. A machine may have more: what they find counts, how they end does not.
JUDGED = frozenset({"kingfisher", "bandit", "checkov", "semgrep", "zizmor", "cfn-lint", "hadolint"})

_NEWEST = "run_id = (SELECT run_id FROM runs ORDER BY seq DESC LIMIT 1)"


def play(place: Path, *, verbose: bool, keep: bool = False) -> int:
    """Make, patrol, judge, change, patrol again, judge.

    Returns 0 when nothing planted is missing that is not declared out of reach, and scans, gaps and ages are as they
    must be, on both days; else 1. False alarms are counted and fail nothing. ``keep`` says that ``place`` stays.

    Raises UsageError when the folder holds a demo already, NightwardenError when a scanner is not installed.
    """
    org = place / "org"
    for folder in (org, place / "home"):
        if folder.exists():
            raise UsageError(f"{folder} is there already", advice="Name an empty folder.")
    # Where nobody looks at a terminal, Rich takes it for a narrow one.
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    settings = _settings(place)
    _say(out, f"An organisation of {len(ABOUT)} repositories is made in {org}")
    for slug, about in ABOUT.items():
        _say(out, f"  {slug:<16}{about}")
    demo_org.build(org, step=1)
    with _server(settings) as ui:
        if ui:
            state = prefect_server.state_file(settings.home)
            _say(out, f"\nThe Prefect UI is at {ui} while the demo runs (sign in with the `auth` of {state})")
        out.print("\nDAY ONE: everything is new, so everything is read", style="bold")
        first = _day(settings, 1, out, verbose=verbose)
        out.print("\nDAY TWO: two commits later; only what they changed is read", style="bold")
        for commit in day_two():
            touched = ", ".join([*commit.write, *(f"{path} deleted" for path in commit.remove)])
            _say(out, f"  {commit.slug:<16}{commit.message}: {touched}")
        demo_org.advance(org)
        second = _day(settings, 2, out, verbose=verbose, before=first)
    _say(out, f"\nThe Prefect UI was at {ui}; below is how to start it again." if ui else "")
    _farewell(out, settings, place, keep=keep)
    return 0 if first.agrees and second.agrees else 1


def _farewell(out: Console, settings: Settings, place: Path, *, keep: bool) -> None:
    """Where everything lies, and how to ask it."""
    lake = settings.lake_dir if keep else Path("DIR/home/lake")
    if not keep:
        _say(out, "To look around, keep it: `nightwarden demo --keep DIR`. Then:")
    else:
        _say(out, f"Organisation, mirrors and lake stay in {place}.")
    query = "SELECT slug, path, line_start, tool, rule_id FROM findings WHERE is_open"
    home = settings.home if keep else Path("DIR/home")
    for line in (
        f"nightwarden query --saved secrets --lake {lake}",
        f'nightwarden query "{query}" --lake {lake}',
        f"NIGHTWARDEN_HOME={home} nightwarden server start     the Prefect UI, with the runs of both nights",
        "nightwarden patrol --repos DIR     repositories of your own",
    ):
        _say(out, f"  {line}")


def _say(out: Console, text: str) -> None:
    out.print(text, soft_wrap=True, markup=False)


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
    missing = sorted(name for name, home in tool_homes(settings).items() if isinstance(home, str) and name in JUDGED)
    if missing:
        raise NightwardenError(
            f"the demo needs its scanners; not installed: {', '.join(missing)}",
            advice="Run `nightwarden tools install` first.",
        )
    return settings


@contextmanager
def _server(settings: Settings) -> Iterator[str | None]:
    """A local Prefect server for both days, stopped at the end; none if an API is configured. Yields its UI's place."""
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    with prefect_server.used(settings.home) as server:
        yield server.ui_url


def _day(settings: Settings, day: int, out: Console, *, verbose: bool, before: Verdict | None = None) -> Verdict:
    """Patrol once, show the night in one table, and judge it."""
    parameters = {
        "sources": ["demo"],
        "only": [],
        "tools": [],
        "force": False,
        "retry_failed": False,
    }
    # The summary of a patrol fills a screen; the demo tells the same in fewer lines. Progress goes to stderr.
    with nullcontext() if verbose else redirect_stdout(io.StringIO()):
        code = run(settings, parameters, keep_server=False, verbose=verbose)
    if code not in (0, EXIT_GAPS):
        raise NightwardenError(f"the patrol of day {day} ended with exit code {code}")
    snapshot = Lake.open(settings.lake_dir, key_id=None, create=False).snapshot()
    scans = _rows(snapshot, f"SELECT * FROM scans WHERE {_NEWEST}")
    seen = _rows(snapshot, f"SELECT * FROM scan_results WHERE {_NEWEST}")
    gaps = _rows(snapshot, f"SELECT * FROM gaps WHERE {_NEWEST}")
    findings = _rows(snapshot, "SELECT * FROM findings")
    absent = _absent(scans)
    taking = [row for row in scans if row["tool"] not in absent]
    _say(out, "  files read / findings open; ! some files unread, = unchanged, - no file for this tool")
    out.print(_night(taking, seen))
    read, total = sum(row["files_read"] for row in taking), sum(1 for row in taking if row["files_read"])
    _say(out, f"  {total} of {len(taking)} scans read anything: {read} files and blobs")
    if absent:
        _say(out, f"  not on this machine, so no part of the demo: {', '.join(sorted(absent))}")
    for line in _unread([gap for gap in gaps if gap["tool"] not in absent], explain=day == 1):
        _say(out, f"  not looked at: {line}")
    for line in _changes(findings, str(scans[0]["run_id"])) if day > 1 and scans else ():
        _say(out, f"  {line}")
    verdict = judge(
        truth(),
        declared(),
        [s for s in SCANNERS if s.name in JUDGED],
        day=day,
        scans=scans,
        seen=seen,
        gaps=gaps,
        findings=findings,
        before=before,
    )
    _tell(verdict, out)
    return verdict


def _absent(scans: Sequence[Row]) -> set[str]:
    """Tools that the demo does without: none of their scans was done, because they are not installed."""
    tools = {str(row["tool"]) for row in scans} - JUDGED
    return tools - {str(row["tool"]) for row in scans if row["reason_code"] not in ("tool_missing", "incomplete")}


def _tell(verdict: Verdict, out: Console) -> None:
    *details, result = verdict.lines()
    for line in details:
        _say(out, f"  {line}")
    out.print(result, style="green" if verdict.agrees else "red", markup=False, soft_wrap=True)


def _night(scans: Sequence[Row], seen: Sequence[Row]) -> Table:
    """A row a repository, a column a tool: what was read and found. Eight tools fit 120 columns."""
    tools = sorted({row["tool"] for row in scans})
    by_scope = {(row["slug"], row["tool"]): row for row in scans}
    found: dict[tuple[str, str], set[str]] = {}
    for o in seen:
        found.setdefault((o["slug"], o["tool"]), set()).add(o["finding_uid"])
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("  repository", min_width=max(len(slug) for slug in ABOUT) + 2, no_wrap=True)
    for tool in tools:
        table.add_column(tool, no_wrap=True)
    for slug in ABOUT:
        cells = (_cell(by_scope.get((slug, tool)), len(found.get((slug, tool), ()))) for tool in tools)
        table.add_row(f"  {slug}", *cells)
    return table


def _cell(row: Row | None, found: int) -> str:
    if row is None:
        return "no row"
    outcome = str(row["outcome"])
    if outcome == "nothing_to_read":
        return "-"
    if outcome == "unchanged":
        return f"=/{found}"
    if outcome not in ("ok", "partial"):
        return outcome
    return f"{row['files_read']}/{found}{'!' if outcome == 'partial' else ''}"


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
