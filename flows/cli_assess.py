"""The commands about vulnerable packages: match them with the advisories, ask who has one, and what to raise."""

from __future__ import annotations

from typing import Annotated, Any

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
    from flows.lake_location import lake_to_read
    from tasks.patrol.asking import ask

    answer = ask(lake_to_read(load(config, lake=lake)).snapshot(), what)
    emit(answer.columns, answer.rows, format, None)
    if format is Format.TABLE:
        for line in answer.notes:
            print(one_line(line, 400))


#: Columns of the list of changes that fit a screen; CSV and JSON have them all.
_SHOWN = ("risk_per_change", "risk", "ecosystem", "sentence")
_PLACES = ("slug", "manifest", "line", "package", "version", "to_version", "to_do")
_VERSIONS = ("version", "repositories", "outcome", "to_version", "step", "clears", "leaves", "newest", "basis", "word")


def upgrades(
    repo: Annotated[
        str,
        typer.Option("--repo", metavar="SLUG", help="Only this repository (or 'shop/*'): manifest, line, what to do."),
    ] = "",
    package: Annotated[
        str, typer.Option("--package", metavar="ECOSYSTEM/NAME", help="Only this package: every version in use.")
    ] = "",
    lake: LakeOption = None,
    config: ConfigOption = None,
    format: FormatOption = Format.TABLE,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Print at most so many rows.", min=1)] = None,
) -> None:
    """Show what to raise: the smallest step out of each vulnerable version, to one that no advisory is about.

    Without an option, the changes of the organisation, the one first that clears most risk in each repository that must
    be changed: "raising X to Y in 41 repositories clears 97 findings". The steps are those of the last
    `nightwarden assess`: never a downgrade, never a withdrawn version, a pre-release only where one is in use; the
    lowest safe version of the nearest step (patch, minor, major), else one that is partly safe, else none and why. What
    a package comes through is told of transitive ones; that a newer release of that asks for a safe version nobody can
    promise. Versions are those that the registries of `registries` in org.yaml list, else those that advisories name.

    \b
      nightwarden upgrades --limit 20
      nightwarden upgrades --repo shop/cart
      nightwarden upgrades --package PyPI/requests --format json

    Exit 0, also when nothing is vulnerable; 3 when a step is not known yet, or a registry could not be asked.
    """
    from flows.lake_location import lake_to_read
    from tasks.patrol.asking_steps import what_to_raise

    answer = what_to_raise(lake_to_read(load(config, lake=lake)).snapshot(), repo=repo, package=package)
    columns, rows = list(answer.columns), answer.rows
    if format is Format.TABLE:
        shown = _PLACES if repo else _VERSIONS if package else _SHOWN
        if repo and len({row[columns.index("ref")] for row in rows}) > 1:
            shown = ("ref", *shown)
        places = [columns.index(c) for c in shown]
        columns, rows = list(shown), [[_cell(row[n]) for n in places] for row in rows]
    emit(columns, rows, format, limit)
    if format is Format.TABLE:
        for line in answer.notes:
            print(one_line(line, 400))
    raise typer.Exit(0 if answer.is_whole else EXIT_GAPS)


def _cell(value: Any) -> Any:
    """A list as people read it, a number without what nobody reads."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return round(value, 1) if isinstance(value, float) else value
