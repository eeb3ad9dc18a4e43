"""The command that writes the report people open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption
from flows.settings import load
from tasks.core.errors import UsageError

if TYPE_CHECKING:
    from tasks.report.html import ReportData


def report(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="One file; nightwarden.html if neither is given."),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="index.html for all, and a file for each team.")
    ] = None,
    team: Annotated[str | None, typer.Option("--team", metavar="NAME", help="Only what this team answers for.")] = None,
    repo: Annotated[
        list[str] | None, typer.Option("--repo", metavar="PATTERN", help="Only repositories of this pattern.")
    ] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="RUN", help="As of this run; the newest if absent.")
    ] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write what the lake says as HTML that opens without a network: send it, archive it, print it.

    In this order: what was not looked at, what is new since last night and why, what is overdue, trends, teams with
    their commonest weaknesses, repositories, and all open findings with evidence and remedy to search and filter.

    A file is self-contained: data, styles, charts and scripts are in it, and its policy forbids every request. It holds
    what the lake holds (paths, rules, owners; never a secret's value), so keep it where the lake may be read.

    nightwarden report -o tonight.html

    nightwarden report --folder /srv/www/security    (once a night; files of teams that are gone are removed)

    nightwarden report --team payments -o payments.html

    Exit 3 when something was not looked at and no decision accepts that.
    """
    from flows.lake_location import lake_to_read
    from tasks.patrol.report_files import write_file, write_folder
    from tasks.patrol.reporting import facts, report_of
    from tasks.report.html import pieces

    if folder is not None and (output is not None or team is not None):
        raise UsageError("--folder goes with neither --output nor --team", advice="It holds one file for each team.")
    known = facts(lake_to_read(load(config, lake=lake)), run_id=run, repos=tuple(repo or ()))
    whole = report_of(known, team=team)
    if folder is not None:
        files = write_folder(folder, known, whole)
        print(f"{len(files)} files in {folder}: open {files[0]}")
    else:
        place = output if output is not None else Path("nightwarden.html")
        size = write_file(place, pieces(whole))
        print(f"{place}: {size / 1e6:.1f} MB")
    _tell(whole)
    raise typer.Exit(EXIT_GAPS if whole.counts["gaps"] > whole.counts["gaps_accepted"] else 0)


def _tell(report: ReportData) -> None:
    counts = report.counts
    accepted = f" ({counts['gaps_accepted']} accepted)" if counts["gaps_accepted"] else ""
    gaps = f"{counts['gaps']} places not looked at{accepted}"
    print(f"{gaps}; {counts['open']} findings open, {counts['new']} new, {report.overdue_count} overdue")
