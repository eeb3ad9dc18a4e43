"""The commands that take report files into the lake and write them from it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn

from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption, WaitOption
from flows.settings import load
from tasks.core.errors import UsageError
from tasks.core.text import one_line

if TYPE_CHECKING:
    from tasks.patrol.importing import ImportSummary, Watcher

export_app = typer.Typer(help="Write what is open for other programs.", no_args_is_help=True, rich_markup_mode=None)
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file; else standard output.")
]
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


@export_app.command("sarif")
def export_sarif(
    repo: Annotated[
        list[str] | None, typer.Option("--repo", metavar="PATTERN", help="Only repositories of this pattern.")
    ] = None,
    tool: Annotated[
        list[str] | None, typer.Option("--tool", metavar="NAME", help="Only this tool, as in the lake.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="As of this run; the newest if absent.")
    ] = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the open findings as one SARIF 2.1.0 log, a run for each repository, branch and tool.

    What was not looked at is a notification of the run, which then says executionSuccessful = false. Exit 3 when
    there is any.
    """
    from flows.lake_location import lake_to_read
    from flows.means import key_if_there
    from tasks.patrol.exporting import sarif_log

    settings = load(config, lake=lake)
    opened = lake_to_read(settings)
    key = key_if_there(settings)
    log = sarif_log(opened, repos=tuple(repo or ()), tools=tuple(tool or ()), run_id=run, key=key)
    _put(output, log.pieces)
    raise typer.Exit(EXIT_GAPS if log.gaps else 0)


@export_app.command("vex")
def export_vex(
    author: Annotated[
        str, typer.Option("--author", metavar="TEXT", help="Who says it: a person or a team.")
    ] = "Nightwarden",
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the decisions in force on advisories as an OpenVEX 0.2.0 document.

    A false positive is not_affected, with its justification or reason; what is accepted or will not be fixed is
    affected, with the reason. Products are the repositories that have it.
    """
    from flows.lake_location import lake_to_read
    from tasks.patrol.vexing import document_of

    snapshot = lake_to_read(load(config, lake=lake)).snapshot()
    text = json.dumps(document_of(snapshot, author=author, at=datetime.now(UTC)), indent=2, ensure_ascii=False)
    _put(output, [text])


def _put(output: Path | None, pieces: Iterable[str]) -> None:
    """Write a document to standard output, or to a file: whole or not at all."""
    if output is None:
        for piece in pieces:
            sys.stdout.write(piece)
        sys.stdout.write("\n")
    else:
        _write(output, pieces)


def _write(path: Path, pieces: Iterable[str]) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("w", encoding="utf-8") as f:
            for piece in pieces:
                f.write(piece)
            f.write("\n")
        part.replace(path)
    except OSError as e:
        raise UsageError(f"{path} cannot be written: {e.strerror}", advice="Give --output another place.") from None
    finally:
        part.unlink(missing_ok=True)
