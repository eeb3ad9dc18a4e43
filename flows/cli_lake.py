"""The commands that read the lake."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.cli_patrol import ConfigOption, LakeOption, WaitOption
from flows.interruption import told
from flows.lake_location import lake_location, lake_to_read, tell_other_run
from flows.settings import Settings, load
from flows.standard_output import standard_output
from tasks.core.errors import LakeError, ToolMissingError, UsageError
from tasks.core.text import one_line

if TYPE_CHECKING:
    from tasks.lake.lake import Snapshot

app = typer.Typer(help="Describe and check the lake.", no_args_is_help=True, rich_markup_mode=None)
_MAX_CELL = 120
#: Into a pipe nothing is cut to fit a screen.
_PIPE_WIDTH = 4000


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class SchemaFormat(StrEnum):
    """For whom tables are described."""

    MARKDOWN = "markdown"
    ATHENA = "athena"
    SPARK = "spark"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="table, csv or json.")]


def query(
    sql: Annotated[
        str, typer.Argument(metavar="[SQL]", help="A SELECT over the tables and views (`nightwarden lake schema`).")
    ] = "",
    saved: Annotated[
        str | None,
        typer.Option("--saved", metavar="NAME", help="A saved query by name; without SQL and name, list them."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DATE", help="For `new-since`, and `getvariable('since')` of SQL: a day, UTC."),
    ] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    format: FormatOption = Format.TABLE,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Print at most so many rows.", min=1)] = None,
) -> None:
    """Query the lake with SQL (DuckDB), as it was after the newest whole run."""
    from tasks.lake.saved import SAVED
    from tasks.lake.views import run_query
    from tasks.policy import POLICY

    known = {**SAVED, **POLICY.saved}
    if saved is not None and saved not in known:
        raise UsageError(f"no saved query {one_line(saved, 40)!r}", advice=f"There are: {', '.join(sorted(known))}.")
    if not sql and saved is None:
        for name, entry in sorted(known.items()):
            print(f"{name:<24} {entry.description}")
        return
    snapshot = lake_to_read(load(config, lake=lake)).snapshot()
    columns, rows = run_query(snapshot, known[saved].sql if saved else sql, POLICY, _moment(since))
    emit(columns, rows, format, limit)


def _moment(text: str | None) -> datetime | None:
    """A day, or a day and time, in UTC unless it says otherwise. Raises UsageError."""
    if text is None:
        return None
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"--since {one_line(text, 40)!r} is no date", advice="Write it as 2026-11-01 or 2026-11-01T18:30."
        ) from None
    return given if given.tzinfo is not None else given.replace(tzinfo=UTC)


def emit(columns: Sequence[str], rows: Iterable[Sequence[Any]], format: Format, limit: int | None) -> None:
    """Print rows; text is escaped for its sink (terminal control characters, spreadsheet formulas).

    Raises OutputError: standard output cannot be written.
    """
    from tasks.report.spreadsheets import csv_pieces

    if limit is not None:
        rows = (row for _, row in zip(range(limit), rows, strict=False))
    with standard_output() as out:
        if format is Format.CSV:
            for piece in csv_pieces(columns, rows, end="\n"):
                out.write(piece)
            return
        if format is Format.JSON:
            for row in rows:
                told = dict(zip(columns, row, strict=True))
                out.write(json.dumps(told, default=_json, ensure_ascii=True) + "\n")
            return
        table = Table(*columns)
        for row in rows:
            table.add_row(*["" if v is None else one_line(_text(v), _MAX_CELL) for v in row])
        console = Console(highlight=False, markup=False)
        if not console.is_terminal:
            console.width = _PIPE_WIDTH
        with console.capture() as shown:
            console.print(table)
            console.print(f"{table.row_count} rows")
        out.write(shown.get())


def _text(value: Any) -> str:
    return f"{_utc(value):%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else str(value)


def _utc(value: datetime) -> datetime:
    """The lake's times are UTC; DuckDB hands them over in the zone of this machine."""
    return value.astimezone(UTC) if value.tzinfo is not None else value


def _json(value: Any) -> Any:
    return _utc(value).isoformat() if isinstance(value, datetime) else str(value)


def status(lake: LakeOption = None, config: ConfigOption = None, format: FormatOption = Format.TABLE) -> None:
    """Show the last runs, how old the evidence of each tool is, and of which day the advisories are."""
    from tasks.lake.views import run_query

    snapshot = lake_to_read(load(config, lake=lake)).snapshot()
    columns, rows = run_query(
        snapshot,
        "SELECT seq, started_at, date_diff('second', started_at, finished_at) AS seconds, state, expected,"
        " gaps FROM runs ORDER BY seq DESC LIMIT 10",
    )
    emit(columns, rows, format, None)
    columns, rows = run_query(
        snapshot,
        "SELECT tool, count(*) AS scopes, count(evidence_at) AS looked_at, min(evidence_at) AS oldest_evidence,"
        " max(evidence_at) AS newest_evidence FROM freshness GROUP BY tool ORDER BY tool",
    )
    kept = list(rows)
    emit(columns, kept, format, None)
    if snapshot.run is not None and format is Format.TABLE:
        _tell_newest_patrol(snapshot)
        _tell_advisories(snapshot)
        _tell_old_databases(load(config, lake=lake), {str(r[0]) for r in kept})


def _tell_newest_patrol(snapshot: Snapshot) -> None:
    """Say when the newest patrol ended and what awaits; an import since says nothing of that."""
    from tasks.core.reasons import REASONS
    from tasks.lake.views import run_query

    newest = list(run_query(snapshot, "SELECT run_id, finished_at FROM patrols ORDER BY seq DESC LIMIT 1")[1])
    if not newest:
        print("there was no patrol yet")
        return
    run_id, finished_at = newest[0]
    waiting = snapshot.table("scans", {"run_id": [run_id]}, ["reason_code"]).column("reason_code")
    if n := waiting.to_pylist().count("awaiting_upgrade"):
        print(f"{n} scans of the newest patrol await an upgrade: {REASONS['awaiting_upgrade'].remedy}")
    print(f"the newest patrol ended {(datetime.now(UTC) - finished_at).total_seconds() / 3600:.1f} hours ago")


def _tell_advisories(snapshot: Snapshot) -> None:
    """Say of which day the advisories are, where there are any."""
    from tasks.patrol.feed_dates import advisories_as_of, feeds_of

    if line := advisories_as_of(feeds_of(snapshot), datetime.now(UTC)):
        print(one_line(line, 400))


def _tell_old_databases(settings: Settings, tools: set[str]) -> None:
    """Say which of the tools that the lake knows judge by old data."""
    from tasks.core.ports import UsesDatabase
    from tasks.core.reasons import REASONS
    from tasks.scanners import SCANNERS
    from tasks.scanners.databases import current

    for name in (s.name for s in SCANNERS if isinstance(s, UsesDatabase) and s.name in tools):
        try:
            found = current(settings.tools_dir, name)
        except ToolMissingError as e:
            print(f"{name}: {e.message}")
            continue
        days = (datetime.now(UTC) - found.updated_at).total_seconds() / 86_400 if found else 0.0
        if found is None:
            print(f"{name}: database_missing; {REASONS['database_missing'].remedy}")
        elif days > settings.database_max_age_days:
            print(f"{name}: database_old, fetched {days:.1f} days ago; {REASONS['database_old'].remedy}")


@app.command()
def schema(
    format: Annotated[SchemaFormat, typer.Option("--format", "-f", help="markdown, athena or spark.")] = (
        SchemaFormat.MARKDOWN
    ),
    lake: LakeOption = None,
    config: ConfigOption = None,
    at: Annotated[
        str | None, typer.Option(metavar="PLACE", help="Where athena or spark sees the lake; its own place if absent.")
    ] = None,
    database: Annotated[str, typer.Option(metavar="NAME", help="The database of athena or spark.")] = "nightwarden",
) -> None:
    """Print tables and views, their columns, units and meaning; or the SQL that makes them known to Athena or Spark."""
    from tasks.lake.schema import table_schema_markdown
    from tasks.lake.table_definitions import athena_ddl, spark_ddl
    from tasks.lake.view_columns import view_columns_markdown
    from tasks.policy import POLICY

    if format is not SchemaFormat.MARKDOWN:
        place = at or str(lake_to_read(load(config, lake=lake)).place)
        print(athena_ddl(place, database) if format is SchemaFormat.ATHENA else spark_ddl(place, database))
        return
    print(table_schema_markdown())
    print("## views\n")
    print(view_columns_markdown(POLICY))


@app.command()
def verify(lake: LakeOption = None, config: ConfigOption = None) -> None:
    """Check that the lake is whole: tables, runs, results, kept reports, marts. Exit 1 names what is wrong."""
    from tasks.lake.verify import verify as check

    found = lake_to_read(load(config, lake=lake))
    problems = check(found, tell_other_run)
    for p in problems:
        print(f"{p.table}: {one_line(p.message, 400)}")
    if problems:
        raise LakeError(f"{len(problems)} problems in {found.place}", advice="Restore the named parts from a backup.")
    print(f"{found.place}: whole")


@app.command()
def gc(
    keep_days: Annotated[
        float | None,
        typer.Option(
            metavar="DAYS",
            help="Runs of so many days stay, with all they refer to; keep_runs_days when not given.",
            min=1,
        ),
    ] = None,
    snapshot_days: Annotated[
        float, typer.Option(metavar="DAYS", help="The tables as of a run can be opened for so many days.", min=1)
    ] = 30,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    wait: WaitOption = None,
) -> None:
    """Remove what no retained run and no live scope needs.

    Rows go at once; whoever has opened the lake before still reads them. Files are marked, and removed by a call a day
    later. The newest run and patrol stay however old they are, and the last run of each scope that is still there.
    """
    from flows.means import locked
    from tasks.lake.gc import collect

    settings = load(config, lake=lake, wait_minutes=wait)
    found = lake_to_read(settings)
    with told("what was removed was not needed, the same command goes on with the rest"), ExitStack() as stack:
        if not dry_run:
            stack.enter_context(locked(found, settings))
        kept = settings.keep_runs_days if keep_days is None else keep_days
        done = collect(found, keep_days=kept, snapshot_days=snapshot_days, dry_run=dry_run)
    gone = ", ".join(f"{n} {name}" for name, n in done.rows.items() if n) or "none"
    print(f"{found.place}")
    print(f"rows {'that would go' if dry_run else 'removed'}: {gone}")
    verb = "that would be removed" if dry_run else "removed"
    print(f"files {verb}: {done.removed}, {done.removed_bytes / 1_000_000:.1f} MB")
    if done.marked or done.waiting:
        print(
            f"files no longer needed: {done.marked} more, {done.marked_bytes / 1_000_000:.1f} MB, and {done.waiting} "
            "seen before; `nightwarden lake gc` removes each a day after it was first seen"
        )


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be added; change nothing.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    wait: WaitOption = None,
) -> None:
    """Bring a lake that an older Nightwarden made to the tables of this one. Back it up first: there is no way back.

    Rows stay; new columns are null, new tables empty. Tables that lack columns are written anew, which takes as much
    room again until `lake gc` has removed the old files. Killed, it goes on where it was when it is called again.
    """
    from flows.means import locked
    from tasks.lake.lake import Lake
    from tasks.lake.migration import migrate as add_what_is_lacking
    from tasks.lake.migration import planned

    settings = load(config, lake=lake, wait_minutes=wait)
    found = Lake.open(lake_location(settings), key_id=None, create=False, to_migrate=True)
    with told("what is migrated stays, the same command goes on with the rest"), ExitStack() as stack:
        if not dry_run:
            stack.enter_context(locked(found, settings))
        done = planned(found) if dry_run else add_what_is_lacking(found)
    verb = "would become" if dry_run else "became"
    print(f"{found.place}: schema {done.before} {verb} {done.after}")
    for name in done.tables:
        print(f"  {name}: a new table")
    for name, columns in done.columns.items():
        print(f"  {name}: new columns {', '.join(columns)}")
    if done.before == done.after and not done.tables and not done.columns:
        print("  nothing is lacking")
