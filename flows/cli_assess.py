"""The commands about vulnerable packages: match them with the advisories, ask who has one, and what to raise."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flows.cli_lake import Format, FormatOption, emit
from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption, WaitOption
from flows.settings import load
from tasks.core.errors import UsageError
from tasks.core.text import one_line

if TYPE_CHECKING:
    from tasks.patrol.answers import Answer
    from tasks.patrol.sbom_intake import Intake

_MAX_GAPS_SHOWN = 20


def assess(
    sbom: Annotated[
        list[Path] | None,
        typer.Option("--sbom", metavar="FILE", help="Take in this SBOM of --repo first (CycloneDX, SPDX); repeatable."),
    ] = None,
    repo: Annotated[
        str | None, typer.Option("--repo", metavar="SLUG", help="The repository that an SBOM is about.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Call the SBOM so; its file's name if absent.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option("--ref", metavar="BRANCH", help="The branch it was made of; the default if absent.")
    ] = None,
    new_repo: Annotated[bool, typer.Option("--new-repo", help="Make a row of a repository no patrol knows.")] = False,
    withdraw: Annotated[
        str | None, typer.Option("--withdraw", metavar="NAME", help="Take the SBOM of this name back.")
    ] = None,
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
    on either side. With --sbom an inventory that was made elsewhere stands beside what patrols find; a newer file
    replaces the older one of its name. Exit 3 when something could not be judged, when the advisories are old, or when
    a registry could not be asked; 2 when a file is no SBOM, and nothing is taken in.
    """
    from flows.advisory_feeds import folder_of
    from flows.means import opened_lake
    from flows.registries import listing_of
    from tasks.deps.advisories.keyed import ready_in
    from tasks.patrol.assessing import assess as judge
    from tasks.patrol.assessing import is_ready
    from tasks.patrol.sbom_intake import read_files, take_in
    from tasks.patrol.sbom_intake import withdraw as take_back

    about = _checked(sbom, repo, withdraw, given={"--name": name, "--ref": ref, "--new-repo": new_repo or None})
    settings = load(config, lake=lake, wait_minutes=wait)
    out = Console(highlight=False, markup=False, soft_wrap=True)
    err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    listing = listing_of(settings)
    sboms = read_files(sbom or (), name)
    if not dry_run and listing.ecosystems:
        with opened_lake(settings, write=False) as (opened, _key):
            err.print(f"packages known by registries: {listing.warm(opened)}")
    with opened_lake(settings, write=not dry_run) as (opened, key):
        if withdraw is not None:
            slug, branch, rows = take_back(opened, withdraw, repo=about, ref=ref, dry_run=dry_run)
            done = "would be taken back" if dry_run else "taken back"
            out.print(f"{one_line(slug)} {one_line(branch)} {one_line(withdraw)}: {done}, {rows} vulnerable")
            return
        gaps = False
        if sboms:
            intake = take_in(opened, sboms, key, repo=about, ref=ref, new_repo=new_repo, dry_run=dry_run)
            _tell(out, intake, dry_run=dry_run)
            gaps = intake.has_gaps
            if dry_run:
                raise typer.Exit(EXIT_GAPS if gaps else 0)
            if not is_ready(opened):
                out.print("there are no advisories yet, nothing was matched: run `nightwarden advisories sync`, then")
                out.print("`nightwarden assess`")
                raise typer.Exit(EXIT_GAPS)
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
    raise typer.Exit(EXIT_GAPS if told.has_gaps or gaps else 0)


def _checked(sbom: list[Path] | None, repo: str | None, withdraw: str | None, given: dict[str, object]) -> str:
    """The repository that is named; empty where none is needed. Raises UsageError."""
    if sbom and withdraw is not None:
        raise UsageError("--sbom and --withdraw exclude each other", advice="Call them one after the other.")
    if sbom or withdraw is not None:
        if not repo:
            raise UsageError("whose SBOM it is is not said", advice="Give --repo SLUG.")
        return repo
    extra = [option for option, value in {"--repo": repo, **given}.items() if value is not None]
    if extra:
        raise UsageError(f"{extra[0]} says something of an SBOM", advice="Give --sbom FILE too, or leave it out.")
    return ""


def _tell(out: Console, intake: Intake, *, dry_run: bool) -> None:
    for s in intake.sboms:
        state = "known already" if s.known else "would be taken in" if dry_run else "taken in"
        late = "; what stood there was made later" if s.is_older else ""
        found = f", {s.vulnerable} vulnerable" if s.vulnerable is not None else ""
        out.print(
            f"{one_line(intake.slug)} {one_line(intake.ref)} {s.name}: {s.packages} packages{found}, {state}{late}"
        )
        for gap in s.gaps[:_MAX_GAPS_SHOWN]:
            out.print(f"  not matched: {one_line(gap.path)}: {gap.reason_code}, {one_line(gap.detail, 1000)}")
        if len(s.gaps) > _MAX_GAPS_SHOWN:
            out.print(f"  and {len(s.gaps) - _MAX_GAPS_SHOWN} more")


def affected(
    what: Annotated[str, typer.Argument(metavar="ID|PACKAGE[@RANGE]", help="CVE-…, GHSA-…, or PyPI/requests@<2.33.")],
    lake: LakeOption = None,
    config: ConfigOption = None,
    format: FormatOption = Format.TABLE,
) -> None:
    """Show which repositories have an advisory, or a package.

    Of a package the ecosystem stands before it, as OSV names it; @VERSION asks for one version, @<2.33 or @>=1,<2.33
    for a range, in the order of the ecosystem. An advisory is matched when it is asked, also before the next
    `nightwarden assess`; rows `unknown` have the package, and whether they are affected nobody can tell (reason_code).

    Exit 0 also when nobody has it; 3 when the answer may not be whole: something is unknown, no advisory is called so,
    an inventory could not be made, or advisories are old. What should be known of the rows stands below the table; of
    csv and json on standard error.
    """
    from flows.lake_location import lake_to_read
    from tasks.patrol.asking import ask

    answer = ask(lake_to_read(load(config, lake=lake)).snapshot(), what)
    columns, rows = list(answer.columns), answer.rows
    if format is Format.TABLE and "status" in columns:
        columns, rows = list(_ADVISORY), _only(columns, rows, _ADVISORY)
    emit(columns, rows, format, None)
    _note(answer, format)
    raise typer.Exit(0 if answer.is_whole else EXIT_GAPS)


def _note(answer: Answer, format: Format) -> None:
    """Say what should be known of an answer: for people below it, else beside it."""
    for line in (*answer.notes, *((answer.as_of,) if answer.as_of else ())):
        print(one_line(line, 400), file=sys.stdout if format is Format.TABLE else sys.stderr)


#: Columns that fit a screen; CSV and JSON have them all.
_ADVISORY = ("status", "slug", "ref", "manifest", "line", "package", "version", "fixed_version", "advisory_id",
             "is_direct", "reason_code")  # fmt: skip
_SHOWN = ("risk_per_change", "risk", "ecosystem", "sentence")
_PLACES = ("slug", "manifest", "line", "package", "version", "to_version", "to_do")
_VERSIONS = ("version", "repositories", "outcome", "to_version", "step", "clears", "leaves", "newest", "basis", "word",
             "unjudged")  # fmt: skip


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

    Exit 0, also when nothing is vulnerable; 3 when a step is not known yet, or a registry could not be asked. What
    should be known of the rows stands below the table; of csv and json on standard error.
    """
    from flows.lake_location import lake_to_read
    from tasks.patrol.asking_steps import what_to_raise

    answer = what_to_raise(lake_to_read(load(config, lake=lake)).snapshot(), repo=repo, package=package)
    columns, rows = list(answer.columns), answer.rows
    if format is Format.TABLE:
        shown = _PLACES if repo else _VERSIONS if package else _SHOWN
        if repo and len({row[columns.index("ref")] for row in rows}) > 1:
            shown = ("ref", *shown)
        columns, rows = list(shown), _only(columns, rows, shown)
    emit(columns, rows, format, limit)
    _note(answer, format)
    raise typer.Exit(0 if answer.is_whole else EXIT_GAPS)


def _only(columns: Sequence[str], rows: Sequence[Sequence[Any]], shown: Sequence[str]) -> list[list[Any]]:
    places = [columns.index(c) for c in shown]
    return [[_cell(row[n]) for n in places] for row in rows]


def _cell(value: Any) -> Any:
    """A list as people read it, a number without what nobody reads."""
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return round(value, 1) if isinstance(value, float) else value
