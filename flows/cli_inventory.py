"""`nightwarden rotate inventory`: what stores of secrets hold, how it is kept, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flows.cli_lake import Format, FormatOption, emit
from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption
from flows.interruption import told
from flows.settings import Settings, load
from tasks.core.text import one_line

if TYPE_CHECKING:
    from tasks.core.secret_stores import StoredSecret
    from tasks.patrol.inventory_run import InventoryRun, Looked

#: ``kind``: what is stored; ``audit``: something wrong with the store itself; ``gap``: what was not read or told.
COLUMNS = (
    "secret", "kind", "store", "owner", "age_days", "last_used_at", "readers", "expires_at", "rotated_by", "wrong",
    "detail",
)  # fmt: skip
#: What a table shows; the rest is in the other formats.
_SHOWN = ("secret", "kind", "age_days", "last_used_at", "readers", "wrong")
_MAX = 400
_KEPT = "nothing was written; the same command asks the stores anew"


def inventory(
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="NAME", help="vault, aws, or one store's name; a wrong name lists all names."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask and show; write nothing to the lake.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    format: FormatOption = Format.TABLE,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Print at most so many rows.", min=1)] = None,
) -> None:
    """Look at all that the stores hold, and how they are kept.

    Also at what nobody configured. Shows each secret with its age, its last use, how many may read it by policy, and
    what is wrong with it; below that what is wrong with the store itself and what it did not tell. An empty cell: the
    store does not tell. No value is read. What is wrong becomes findings of kind secret-hygiene in the lake; they close
    when their place is read without them. What is looked at stands in `rotation.inventory` of org.yaml, with the ages
    from when on it is wrong.

    \b
      nightwarden rotate inventory --dry-run
      nightwarden rotate inventory --store vault --format csv > vault.csv
      nightwarden query --saved secret-hygiene

    Exit 0 when all was read and told, 3 when something was not and no decision accepts that, 1 failed.
    """
    from flows.inventory_stores import opened_run

    settings = load(config, lake=lake)
    with told(_KEPT), opened_run(settings, store) as run:
        run.all()
        written, has_gaps = _looked(run, settings, dry_run=dry_run)
    rows = [*_rows(run)]
    if format is Format.TABLE:
        shown = [COLUMNS.index(name) for name in _SHOWN]
        emit(_SHOWN, ([row[n] for n in shown] for row in rows if row[1] not in ("audit", "gap")), format, limit)
        _tell(run, written)
    else:
        emit(COLUMNS, rows, format, limit)
    raise typer.Exit(EXIT_GAPS if has_gaps else 0)


def _looked(run: InventoryRun, settings: Settings, *, dry_run: bool) -> tuple[str, bool]:
    """A line about what was written, and whether something was not told that no decision accepts."""
    from flows.means import opened_lake

    with opened_lake(settings, write=not dry_run) as (lake, _key):
        if dry_run:
            run.judge(lake.snapshot() if lake.exists else None)
            return "nothing was written", bool(run.gaps)
        done = run.publish(lake)
    line = f"published as run {done.run_id}: {done.opened} findings new, {done.fixed} fixed"
    return line, done.gaps > done.accepted


def _rows(run: InventoryRun) -> Iterator[list[Any]]:
    for look in run.looked:
        for s in look.found.secrets if look.found is not None else ():
            yield _row(look, s)
        for flaw in look.reading.flaws:
            yield [flaw.resource, "audit", look.slug, *[None] * 6, flaw.rule_id, flaw.detail or None]
    for slug, gap in run.gaps:
        yield [gap.path or None, "gap", slug, *[None] * 6, gap.reason_code, gap.detail or None]


def _row(look: Looked, s: StoredSecret) -> list[Any]:
    from tasks.policy.secret_hygiene import value_since

    assert look.found is not None
    mine, since = look.found.names.get(s.place), value_since(s)
    found = look.judged[s.place].found
    return [
        mine.name if mine is not None else s.place, str(s.kind), look.slug, s.owner,
        round((look.reading.at - since) / timedelta(days=1), 1) if since is not None else None,
        s.last_used_at.replace(microsecond=0) if s.last_used_at is not None else "never" if s.use_is_told else None,
        len(s.readers) if s.readers is not None else None, s.expires_at, s.rotated_by,
        ", ".join(sorted(found)) or None, s.orphan,
    ]  # fmt: skip


def _tell(run: InventoryRun, written: str) -> None:
    """What is wrong with the stores, what was not told, and the end."""
    out = Console(highlight=False, markup=False)
    for look in run.looked:
        titles = {r.rule_id: f"{r.severity}: {r.title}" for r in look.reading.rules}
        for flaw in look.reading.flaws:
            detail = f" ({flaw.detail})" if flaw.detail else ""
            line = f"{look.slug}: {flaw.rule_id} {flaw.resource}: {titles.get(flaw.rule_id, '')}{detail}"
            out.print(one_line(line, _MAX), soft_wrap=True)
    for slug, gap in run.gaps:
        detail = f": {gap.detail}" if gap.detail else ""
        out.print(one_line(f"{slug}: not told: {gap.path or 'anything'}: {gap.reason_code}{detail}", _MAX),
                  soft_wrap=True)  # fmt: skip
    for note in run.notes:
        out.print(one_line(note, _MAX), soft_wrap=True)
    out.print(one_line(f"{run.sentence()}; {written}", _MAX), soft_wrap=True)
