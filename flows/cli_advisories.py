"""The commands about advisories: fetch them, and say how old they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli_lake import Format, FormatOption, emit
from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption, WaitOption
from flows.settings import Settings, load
from tasks.core.text import one_line

if TYPE_CHECKING:
    from tasks.deps.advisories.ages import Standing
    from tasks.deps.advisories.syncing import Outcome

app = typer.Typer(help="Advisories: fetch them, say how old they are.", no_args_is_help=True, rich_markup_mode=None)
_SHOWN = 20


@app.command()
def sync(
    whole: Annotated[
        bool,
        typer.Option("--whole", help="Fetch everything again, and take feeds that are older or smaller than before."),
    ] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    wait: WaitOption = None,
) -> None:
    """Bring all feeds up to date and take what changed into the lake. Scans and matching never touch the network.

    What a feed does wrong leaves its last good state in force. Exit 3 when one is not up to date.
    """
    from flows.advisory_feeds import synced

    settings = load(config, lake=lake, wait_minutes=wait)
    began = datetime.now(UTC)
    out = Console(highlight=False, markup=False, soft_wrap=True)
    report, taken = synced(settings, whole=whole, tell=lambda o: _tell(o, out))
    got = report.traffic
    size = f"{got.bytes} bytes" if got.bytes < 1_000_000 else f"{got.bytes / 1e6:.1f} MB"
    out.print(f"{got.requests} requests, {got.unchanged} unchanged, {size} in {_seconds(began):.1f} s")
    if report.hubs:
        out.print(f"ids that too many share to be aliases: {one_line(', '.join(report.hubs), 400)}")
    same = report.snapshot is not None and report.before is not None and report.snapshot.id == report.before.id
    told = ", ".join(f"{n} of {name}" for name, n in taken.rows.items() if n)
    out.print(f"snapshot {report.snapshot.id if report.snapshot else 'none'}{' as before' if same else ''}")
    out.print(f"lake: {told or 'nothing new'}" + (f"; run {taken.run_id}" if taken.run_id else ""))
    old = [row for row in _standing(settings) if row.reason_code]
    for row in old:
        out.print(f"not up to date: {row.feed}: {row.reason_code}; {one_line(row.detail or '', 200)}")
    raise typer.Exit(EXIT_GAPS if old or any(o.reason_code for o in report.outcomes) else 0)


def _standing(settings: Settings) -> list[Standing]:
    """How each configured feed stands."""
    from flows.advisory_feeds import feeds_of, folder_of, section_of
    from tasks.deps.advisories.ages import standing
    from tasks.deps.advisories.snapshots import Snapshots

    names = [f.name for f in feeds_of(settings)]
    limit = section_of(settings).max_age_days
    return list(standing(Snapshots(folder_of(settings)), names, datetime.now(UTC), limit))


@app.command()
def status(config: ConfigOption = None, format: FormatOption = Format.TABLE) -> None:
    """Show each feed: what it holds, how old it is, and why it is a gap. Exit 3 when one is. Asks no network."""
    from tasks.core.reasons import REASONS

    rows = _standing(load(config))
    columns = ("feed", "records", "as_of", "age_days", "fetched_at", "refused", "reason_code", "detail")
    emit(columns, [[getattr(r, c) for c in columns] for r in rows], format, None)
    gaps = [r for r in rows if r.reason_code]
    if format is Format.TABLE:
        for code in dict.fromkeys(r.reason_code for r in gaps if r.reason_code):
            print(f"{code}: {REASONS[code].remedy}")
        for row in gaps:
            for refused in row.refusals[:_SHOWN]:
                print(f"{row.feed}: {one_line(refused, 200)}")
    raise typer.Exit(EXIT_GAPS if gaps else 0)


def _tell(outcome: Outcome, out: Console) -> None:
    reason = f"{outcome.reason_code}: " if outcome.reason_code else ""
    records = outcome.content.records if outcome.content is not None else 0
    out.print(f"{outcome.name}: {records} records; {reason}{one_line(outcome.how, 300)}")
    for refused in outcome.refused[:_SHOWN]:
        out.print(f"  {one_line(refused.record)}: {one_line(refused.why, 200)}")
    if len(outcome.refused) > _SHOWN:
        out.print(f"  and {len(outcome.refused) - _SHOWN} more")


def _seconds(began: datetime) -> float:
    return (datetime.now(UTC) - began).total_seconds()
