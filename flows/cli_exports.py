"""The commands that write what the lake holds for other programs: SARIF, OCSF, OpenVEX, CycloneDX, CSV and XLSX."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption
from flows.settings import load
from flows.standard_output import standard_output
from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.core.whole_files import replacing

if TYPE_CHECKING:
    from tasks.patrol.exporting import Chosen

export_app = typer.Typer(help="Write what is open for other programs.", no_args_is_help=True, rich_markup_mode=None)
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="A file; else standard output.")
]
ReposOption = Annotated[
    list[str] | None, typer.Option("--repo", metavar="PATTERN", help="Only repositories of this pattern.")
]
ToolsOption = Annotated[
    list[str] | None, typer.Option("--tool", metavar="NAME", help="Only this tool, as in the lake.")
]
RunOption = Annotated[str | None, typer.Option("--run", metavar="RUN", help="As of this run; the newest if absent.")]
AllOption = Annotated[bool, typer.Option("--all", help="Also what is decided, fixed or archived; the status says it.")]


@export_app.command("sarif")
def export_sarif(
    repo: ReposOption = None,
    tool: ToolsOption = None,
    run: RunOption = None,
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


@export_app.command("sbom")
def export_sbom(
    repo: Annotated[str, typer.Option("--repo", metavar="SLUG", help="The repository.")],
    ref: Annotated[
        str | None, typer.Option("--ref", metavar="BRANCH", help="The branch; the default one if absent.")
    ] = None,
    run: RunOption = None,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the packages of one branch of a repository as CycloneDX 1.6 (JSON).

    What manifests name and SBOMs that were taken in, each package once with the places that name it. What was not read
    is a property of the document, whose composition is incomplete then; exit 3.
    """
    from tasks.patrol.exported_bom import bom_of

    made = bom_of(_about(config, lake, [repo], None, run), ref)
    _put(output, [json.dumps(made.document, indent=1, ensure_ascii=False)])
    if made.gaps:
        print(f"{made.gaps} gaps: properties `nightwarden:gap` of the document say what was not read", file=sys.stderr)
    raise typer.Exit(EXIT_GAPS if made.gaps else 0)


@export_app.command("ocsf")
def export_ocsf(
    repo: ReposOption = None,
    tool: ToolsOption = None,
    run: RunOption = None,
    everything: AllOption = False,
    array: Annotated[bool, typer.Option("--array", help="One JSON array instead of an event a line.")] = False,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the open findings as events of OCSF 1.5.0, JSON, one a line.

    What was not looked at comes first, as events of the class Scan Activity (6007) that failed. Exit 3 when there is
    any.
    """
    from tasks.patrol.exported_findings import ocsf_events, ocsf_pieces

    about = _about(config, lake, repo, tool, run)
    _put(output, ocsf_pieces(ocsf_events(about, everything=everything), array=array), end="")
    raise typer.Exit(_tell_gaps(about))


@export_app.command("csv")
def export_csv(
    repo: ReposOption = None,
    tool: ToolsOption = None,
    run: RunOption = None,
    everything: AllOption = False,
    output: OutputOption = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the open findings as CSV (RFC 4180, UTF-8), the most urgent first; formulas are defused.

    It has no place for what was not looked at: a line on standard error counts it. Exit 3 when there is any.
    """
    from tasks.patrol.exported_findings import finding_rows
    from tasks.report.spreadsheets import csv_pieces

    about = _about(config, lake, repo, tool, run)
    found = finding_rows(about, everything=everything)
    _put(output, csv_pieces(found.columns, found.rows), end="")
    raise typer.Exit(_tell_gaps(about))


@export_app.command("xlsx")
def export_xlsx(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")],
    repo: ReposOption = None,
    tool: ToolsOption = None,
    run: RunOption = None,
    everything: AllOption = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Write the open findings as an Excel workbook: sheets findings, gaps and about. Texts stay texts.

    Exit 3 when something was not looked at.
    """
    from tasks.patrol.exported_findings import about_rows, finding_rows, gap_rows
    from tasks.report.spreadsheets import Sheet, write_xlsx

    about = _about(config, lake, repo, tool, run)
    found, gaps = finding_rows(about, everything=everything), gap_rows(about)
    sheets = [
        Sheet(name="findings", columns=found.columns, rows=found.rows),
        Sheet(name="gaps", columns=gaps.columns, rows=gaps.rows),
        Sheet(name="about", columns=("what", "value"), rows=about_rows(about, everything=everything)),
    ]
    assert about.snapshot.run is not None
    made_at = about.snapshot.run["finished_at"]
    _whole(output, lambda part: write_xlsx(part, sheets, made_at=made_at))
    raise typer.Exit(_tell_gaps(about))


def _about(
    config: Path | None, lake: str | None, repo: list[str] | None, tool: list[str] | None, run: str | None
) -> Chosen:
    from flows.lake_location import lake_to_read
    from tasks.patrol.exporting import chosen

    opened = lake_to_read(load(config, lake=lake))
    return chosen(opened, repos=tuple(repo or ()), tools=tuple(tool or ()), run_id=run)


def _tell_gaps(about: Chosen) -> int:
    """Say on standard error how much was not looked at; the exit code."""
    if not about.gaps:
        return 0
    print(
        f"{about.gaps} of {len(about.states)} scopes (repository, branch, tool) hold something that was not read;"
        " `nightwarden query --saved gaps` says what and why",
        file=sys.stderr,
    )
    return EXIT_GAPS


def _put(output: Path | None, pieces: Iterable[str], *, end: str = "\n") -> None:
    """Write a document to standard output, or to a file: whole or not at all."""
    if output is None:
        with standard_output() as out:
            for piece in pieces:
                out.write(piece)
            out.write(end)
        return

    def write(part: Path) -> None:
        with part.open("w", encoding="utf-8", newline="") as f:
            for piece in pieces:
                f.write(piece)
            f.write(end)

    _whole(output, write)


def _whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make a file and put it there when it is whole."""
    try:
        with replacing(path) as part:
            write(part)
    except OSError as e:
        raise UsageError(
            f"{one_line(str(path))} cannot be written: {e.strerror}", advice="Give --output another place."
        ) from None
