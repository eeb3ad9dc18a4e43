"""The commands about vulnerable packages: match the inventories with the advisories, and ask who has one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from flows.cli_lake import Format, FormatOption, emit
from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption, WaitOption
from flows.settings import load
from tasks.core.text import one_line


def assess(
    everything: Annotated[
        bool, typer.Option("--all", help="Judge all packages, also those that are as before.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Match and count; ask and write nothing.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    wait: WaitOption = None,
) -> None:
    """Match the packages that the last patrols found with the advisories of the last sync, and look for the step that
    mends each (`nightwarden upgrades` lists them).

    Asks no repository, and the network only for the registries that `registries` of org.yaml names; judges what is new
    on either side. Exit 3 when something could not be judged, when the advisories are old, or when a registry could not
    be asked.
    """
    from flows.advisory_feeds import folder_of
    from flows.means import opened_lake
    from flows.registries import listing_of
    from tasks.deps.advisories.keyed import ready_in
    from tasks.patrol.assessing import assess as judge

    settings = load(config, lake=lake, wait_minutes=wait)
    out = Console(highlight=False, markup=False, soft_wrap=True)
    err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    listing = listing_of(settings)
    if not dry_run and listing.ecosystems:
        with opened_lake(settings, write=False) as (opened, _key):
            err.print(f"packages known by registries: {listing.warm(opened)}")
    with opened_lake(settings, write=not dry_run) as (opened, _key):
        told = judge(
            opened,
            listing=listing,
            everything=everything,
            dry_run=dry_run,
            advisories=ready_in(folder_of(settings)),
            watch=lambda step, n: err.print(f"{step}: {n}"),
        )
    out.print(f"{told.sentence()}; {told.matched} versions matched")
    for line in told.late():
        out.print(f"not up to date: {one_line(line)}")
    if told.run_id is not None:
        out.print(f"{told.gaps} scopes with gaps; run {told.run_id}")
    elif not dry_run:
        out.print("nothing is other than it was: nothing was written")
    raise typer.Exit(EXIT_GAPS if told.has_gaps else 0)


def affected(
    what: Annotated[str, typer.Argument(metavar="ID|PACKAGE[@RANGE]", help="CVE-…, GHSA-…, or PyPI/requests@<2.33.")],
    lake: LakeOption = None,
    config: ConfigOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show which repositories have an advisory, or a package.

    Of a package the ecosystem stands before it, as OSV names it; @VERSION asks for one version, @<2.33 or @>=1,<2.33
    for a range, in the order of the ecosystem. Exit 0 also when nobody has it.
    """
    from flows.means import opened_lake
    from tasks.patrol.asking import ask

    settings = load(config, lake=lake)
    with opened_lake(settings, write=False) as (opened, _key):
        answer = ask(opened.snapshot(), what)
    emit(answer.columns, answer.rows, format, None)
    if format is Format.TABLE:
        for line in answer.notes:
            print(one_line(line, 400))
