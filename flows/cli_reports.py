"""The command that takes report files into the lake."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn

from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption, WaitOption
from flows.settings import load
from tasks.core.text import one_line

if TYPE_CHECKING:
    from tasks.patrol.importing import ImportSummary, Watcher

_LINE_EVERY_S = 30.0
_MAX_GAPS_SHOWN = 20


def import_(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Reports of other tools (SARIF 2.1.0).")],
    repo: Annotated[str, typer.Option("--repo", metavar="SLUG", help="The repository they are about.")],
    tool: Annotated[
        str | None, typer.Option("--tool", metavar="NAME", help="Call the tool so, whatever the file says.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", metavar="BRANCH", help="The branch that was read; the default one if absent.")
    ] = None,
    new_repo: Annotated[bool, typer.Option("--new-repo", help="Make a row of a repository no patrol knows.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count; write nothing.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    wait: WaitOption = None,
) -> None:
    """Take report files into the lake: one scope import/TOOL for each tool, apart from the scanners' own.

    All FILEs of one call are together what a tool says of the branch: findings of an earlier import that are gone are
    fixed. Exit 3 when something in them could not be read, 2 when a file is no report.
    """
    from flows.means import opened_lake, owner_files
    from tasks.patrol.importing import Request, import_reports, read_files

    settings = load(config, lake=lake, wait_minutes=wait)
    request = Request(files=tuple(files), repo=repo, tool=tool, ref=ref, new_repo=new_repo)
    with opened_lake(settings, write=not dry_run) as (opened, key):
        with _progress() as watch:
            reports = read_files(request.files, key, watch)
        summary = import_reports(opened, request, reports, dry_run=dry_run, owners_in=lambda: owner_files(settings))
    _tell(summary, dry_run=dry_run)
    raise typer.Exit(EXIT_GAPS if summary.has_gaps else 0)


def _tell(summary: ImportSummary, *, dry_run: bool) -> None:
    out = Console(highlight=False, markup=False, soft_wrap=True)
    for t in summary.tools:
        state = "known already, nothing changed" if t.known else "would be written" if dry_run else "written"
        twice = f" ({t.repeated} more stand in several files)" if t.repeated else ""
        out.print(f"{one_line(summary.slug)} {one_line(summary.ref)} {t.tool}: {t.records} records{twice}, {state}")
        for gap in t.gaps[:_MAX_GAPS_SHOWN]:
            out.print(f"  not read: {one_line(gap.path) or 'the report as a whole'}: {gap.reason_code}, {gap.detail}")
        if len(t.gaps) > _MAX_GAPS_SHOWN:
            out.print(f"  and {len(t.gaps) - _MAX_GAPS_SHOWN} more")
    if not summary.tools:
        out.print("the files hold no run of any tool: nothing was written")
    if summary.run_id is not None:
        out.print(f"findings: {summary.opened} new, {summary.fixed} fixed; run {summary.run_id}")


@contextmanager
def _progress() -> Iterator[Watcher]:
    """A bar in a terminal, else a line every 30 s."""
    out = Console(stderr=True, highlight=False, markup=False)
    if out.is_terminal:
        with Progress(BarColumn(), DownloadColumn(), TimeElapsedColumn(), console=out, transient=True) as bar:
            item = bar.add_task("import", total=None)
            yield lambda done, total: bar.update(item, completed=done, total=total)
        return
    last = [time.monotonic()]

    def line(done: int, total: int) -> None:
        if time.monotonic() - last[0] >= _LINE_EVERY_S:
            last[0] = time.monotonic()
            out.print(f"read {done * 100 // max(total, 1)} % of {total // 2_000_000} MB (twice)")

    yield line
