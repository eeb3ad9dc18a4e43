"""The commands about decisions: write one, list what became of them, check the file, OpenVEX in."""

from __future__ import annotations

import difflib
import os
import secrets
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.cli_lake import Format, FormatOption, emit
from flows.cli_patrol import ConfigOption, LakeOption
from flows.lake_location import lake_to_read
from flows.settings import Settings, load
from tasks.core.errors import ScanGapError, UsageError
from tasks.core.origins import DecisionPlace
from tasks.core.text import one_line
from tasks.policy.decision_edit import free_id, with_decision
from tasks.policy.decisions import (
    FALSE_POSITIVE_DAYS,
    JUSTIFICATIONS,
    MATCHERS,
    Decision,
    Kind,
    read_decisions,
    repeats,
)

app = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
)
#: When an entry counts, by the setting `approval`.
HOW = {
    "signed": "somebody else signs the commit, or a merge that says `Approves: ID`",
    "reviewed": "somebody else reviews it",
    "none": "the next run takes it (approval: none)",
}
_LIST = """
    SELECT decision_id, state, kind, matchers, matched, matches AS pinned, expires, approver, problem
    FROM decisions_now ORDER BY state = 'in_force', line NULLS FIRST, decision_id"""


def _matcher(name: str, help: str) -> object:
    return typer.Option(f"--{name}", metavar=name.upper(), help=help)


@app.callback()
def decide(
    ctx: typer.Context,
    kind: Annotated[
        Kind | None,
        typer.Option(
            "--kind",
            help="accepted: the risk is taken. false_positive: it is no flaw. wont_fix: it is one and stays. "
            "accepted_gap: what is not looked at may stay so. approved_rotation: see `nightwarden rotate approve`.",
        ),
    ] = None,
    finding: Annotated[str | None, _matcher("finding", "One finding, by its whole finding_uid.")] = None,
    rule: Annotated[str | None, _matcher("rule", "A tool's rule, as in findings.rule_id.")] = None,
    cve: Annotated[str | None, _matcher("cve", "An advisory: CVE-…, GHSA-….")] = None,
    path: Annotated[str | None, _matcher("path", "A path, or a pattern as legacy/*.")] = None,
    repo: Annotated[str | None, _matcher("repo", "A repository, or a pattern as shop/*.")] = None,
    tool: Annotated[str | None, _matcher("tool", "A tool.")] = None,
    gap: Annotated[str | None, _matcher("gap", "A reason code of a gap (nightwarden explain).")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Why. Whoever approves it reads this.")] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="YYYY-MM-DD", help="The last day it is in force.")
    ] = None,
    justification: Annotated[
        str | None, typer.Option("--justification", help="Of a false positive: " + ", ".join(JUSTIFICATIONS) + ".")
    ] = None,
    decided_by: Annotated[
        str | None, typer.Option("--decided-by", metavar="TEXT", help="A note who decided; approves nothing.")
    ] = None,
    ident: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The entry's id; one that is there is changed (renewed).")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the change and what it would be about; write nothing.")
    ] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Decide about findings: accept a risk, name a false positive, leave something unfixed, accept a gap.

    Writes an entry into decisions.yaml beside org.yaml. The next patrol applies it once it is committed and approved.

    What it is about: one or more of --finding, --rule, --cve, --path, --repo, --tool, all of which must hold; of gaps
    --gap, --tool, --repo, --path. --path is about what stands at such paths alone: a secret in docs/ and src/ is not
    closed by 'docs/*'. How many match today is pinned (`matches`): of more than that the newest stay open until
    somebody has looked at them.

    It ends: --until, at most 30 days for what is critical, 90 for high, 180 for medium, 365 for all else, 730 for a
    false positive. What has expired is open again.

    It counts when somebody else than its author signed its commit, or a merge whose message says `Approves: ID`, or
    reviewed it.
    `nightwarden decide check` says who did; `nightwarden decide list` what became of each.

    \b
    nightwarden decide --kind false_positive --rule B303 --path 'tests/*' \\
        --reason 'the hash protects nothing here' --until 2027-06-30 --dry-run
    nightwarden decide --kind accepted_gap --gap too_large --repo shop/assets \\
        --reason 'images only' --until 2027-06-30
    """
    if ctx.invoked_subcommand is not None:
        return
    if kind is Kind.APPROVED_ROTATION:
        raise UsageError(
            "an approval is of one secret as it is configured", advice="Run `nightwarden rotate approve NAME`."
        )
    given = {"finding": finding, "rule": rule, "cve": cve, "path": path, "repository": repo, "tool": tool, "gap": gap}
    matchers = tuple((n, v.upper() if n == "cve" else v) for n in MATCHERS if (v := given.get(n)) is not None)
    if kind is None or not matchers or not reason or until is None:
        raise UsageError(
            "a decision needs --kind, --reason, --until and what it is about",
            advice="As in: nightwarden decide --kind accepted --rule B303 --reason WHY --until 2027-01-31; see --help.",
        )
    settings = load(config, lake=lake)
    place = decision_place(settings)
    before = text_of(place.file)
    # The id of a broken entry is taken, too: what stands there is to be mended, not lost.
    told = read_decisions(before.encode(), place.file) if before.strip() else None
    taken = [*(d.id for d in told.decisions), *(b.id for b in told.broken)] if told is not None else []
    words = f"{kind}-{(finding or '')[:12] or rule or cve or gap or path or repo or tool}"
    wanted = ident or free_id(words, taken)
    made = Decision(
        id=wanted, kind=kind, matchers=matchers, matches=1, reason=reason, expires=day(until),
        justification=justification, decided_by=decided_by,
    )  # fmt: skip
    write([made], settings, place, before, dry_run=dry_run)


def write(
    decisions: Sequence[Decision], settings: Settings, place: DecisionPlace, before: str, *, dry_run: bool
) -> None:
    """Pin what each is about and write them; with ``dry_run`` show it only. Raises UsageError."""
    from dataclasses import replace

    from tasks.patrol.matching import matched

    out = Console(highlight=False, markup=False, soft_wrap=True)
    snapshot, today, after = lake_to_read(settings).snapshot(), datetime.now(UTC).date(), before
    for d, found in zip(decisions, matched(snapshot, decisions), strict=True):
        also = f"{found.elsewhere} that stand at other paths too, or at too many to be known, stay open"
        if not found.count:
            raise UsageError(
                f"nothing in the lake matches {one_line(d.about, 200)}" + (f"; {also}" if found.elsewhere else ""),
                advice="Patterns are matched against the whole text, as 'src/*'; `nightwarden query` shows it.",
            )
        latest = found.latest(d.kind, today)
        if not today <= d.expires <= latest:
            raise UsageError(
                f"{d.expires} is {'past' if d.expires < today else 'too far'}",
                advice=f"The latest for {d.kind} of what is {found.severity} is {latest}.",
            )
        after = with_decision(after, replace(d, matches=found.count))
        out.print(f"{d.id}: {one_line(d.about, 200)} matches {found.count}, pinned")
        for line in found.lines:
            out.print(f"  {line}")
        if found.count > len(found.lines):
            out.print(f"  and {found.count - len(found.lines)} more")
        if found.elsewhere:
            out.print(f"  {also}")
    save(place, before, after, dry_run=dry_run)


def save(place: DecisionPlace, before: str, after: str, *, dry_run: bool) -> None:
    """Show a change of the file and make it, unless ``dry_run``. Raises UsageError."""
    out, name = Console(highlight=False, markup=False, soft_wrap=True), place.file.name
    for line in difflib.unified_diff(before.splitlines(), after.splitlines(), f"a/{name}", f"b/{name}", lineterm=""):
        out.print(one_line(line, 400))
    if dry_run:
        out.print("nothing was written")
        return
    _replace(place.file, after)
    out.print(f"{place.file}: written. Commit it; it counts when {HOW[place.approval]}.")


@app.command("list")
def list_(lake: LakeOption = None, config: ConfigOption = None, format: FormatOption = Format.TABLE) -> None:
    """What became of each decision in the last run: what has a problem first."""
    from tasks.lake.views import run_query

    columns, rows = run_query(lake_to_read(load(config, lake=lake)).snapshot(), _LIST)
    emit(columns, rows, format, None)


@app.command()
def check(config: ConfigOption = None) -> None:
    """Say what is wrong with the file, all of it, and who approved each entry. Writes nothing.

    Exit 0: each entry is right and approved; 2: one is not, or what lies there is not what is committed.
    """
    from flows.means import open_forges
    from tasks.core.process import ProcessRunner
    from tasks.core.sandbox import detect
    from tasks.patrol.deciding import approvals_of, read_place
    from tasks.repos.git import Git

    settings = load(config)
    place, out = decision_place(settings), Console(highlight=False, markup=False, soft_wrap=True)
    wrong = [m.told(place.file.name) for m in read_decisions(text_of(place.file).encode(), place.file).mistakes()]
    runner = ProcessRunner(detect())
    git = Git(runner, config_dir=settings.home / "git")
    forges = open_forges(settings, [s.source() for s in settings.sources], settings.secrets(), runner)
    try:
        data, file, told = read_place(place, git)
        origins = approvals_of(place, file, data, told, datetime.now(UTC), forges.values())
    except ScanGapError as e:
        raise UsageError(f"{place.file.name}: {e.detail}", advice=e.advice) from None
    again = repeats(d for d in told.decisions if not origins[d.id].problem)
    for d in told.decisions:
        o = origins[d.id]
        where = f"{place.file.name}:{d.line}: {d.id}"
        if problem := o.problem or again.get(d.id):
            wrong.append(one_line(f"{where}: {problem}", 400))
            continue
        by = f"approved by {o.approver} ({o.how}), written by {o.author}" if o.approver else "nobody asked (none)"
        past = ", expired" if d.expires < datetime.now(UTC).date() else ""
        out.print(one_line(f"{where}: until {d.expires}{past}; {by}{_of_rotation(d, settings)}", 400))
    if file is not None and file.is_changed(data):
        wrong.append(f"{place.file.name}: it holds changes that are not committed; they are not in force")
    for line in wrong:
        out.print(line)
    if wrong:
        raise UsageError(f"{len(wrong)} faults in {place.file.name}", advice="Each line above says what to do.")


@app.command("import-vex")
def import_vex(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An OpenVEX document (0.2.0).")],
    repo: Annotated[
        list[str] | None,
        typer.Option(
            "--repo", metavar="PATTERN", help="The repositories it is about, where its products name none of ours."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="YYYY-MM-DD", help="The last day; the latest if absent.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change; write nothing.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Make decisions of an OpenVEX document: what is not_affected becomes a false_positive with its justification.

    Of several statements about a vulnerability of a product the newest counts. Those that are affected, fixed or
    under_investigation make none, nor do those about a component of a product alone, and say so. --repo is for products
    that are no repository of the lake; there no statement may say otherwise. Decisions from a document count as any
    other: once somebody else than the author of the commit approved it.
    """
    from tasks.patrol.vexing import decisions_of
    from tasks.policy.openvex import read_vex

    settings = load(config, lake=lake)
    place = decision_place(settings)
    before = text_of(place.file)
    known = read_decisions(before.encode(), place.file).decisions if before.strip() else ()
    try:
        document = read_vex(file.read_bytes())
    except OSError as e:
        raise UsageError(f"{file} cannot be read: {e.strerror}", advice="Name an OpenVEX document.") from None
    latest = datetime.now(UTC).date() + timedelta(days=FALSE_POSITIVE_DAYS - 1)
    snapshot = lake_to_read(settings).snapshot()
    made = decisions_of(snapshot, document, repos=repo or (), until=day(until) if until else latest, known=known)
    for note in made.notes:
        print(note)
    if made.decisions:
        write(made.decisions, settings, place, before, dry_run=dry_run)
    else:
        print("no decision was made")


def _of_rotation(d: Decision, settings: Settings) -> str:
    """What an approval is worth by the configuration."""
    if d.kind is not Kind.APPROVED_ROTATION:
        return ""
    from flows.rotation_approvals import subjects

    secret = d.by("secret")
    now = subjects(settings).get(secret or "")
    if now is None:
        return f"; {secret} is not configured, or needs no approval"
    if now.digest != d.by("digest"):
        return f"; {secret} is configured otherwise since, and not approved: `nightwarden rotate approve {secret}`"
    return f"; of {secret} as it is configured"


def decision_place(settings: Settings) -> DecisionPlace:
    """Where decisions are kept. Raises UsageError: the configuration does not say it."""
    if settings.decisions is None:
        raise UsageError(
            "the configuration does not say where decisions are kept",
            advice="Add to org.yaml: `decisions: {allowed_signers: FILE}`; `nightwarden config init` explains it.",
        )
    return settings.decisions.place()


def text_of(file: Path) -> str:
    """What the file holds on the disk; empty where there is none. Raises UsageError."""
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{file} cannot be read: {type(e).__name__}", advice="Save it as UTF-8, readable.") from None


def day(text: str) -> date:
    """The day that --until names. Raises UsageError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError("--until is no date", advice="Write it as 2027-01-31.") from None


def _replace(file: Path, text: str) -> None:
    """Whole or not at all."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        part.write_text(text, "utf-8")
        if file.exists():
            os.chmod(part, file.stat().st_mode & 0o777)  # noqa: PTH101
        part.replace(file)
    except OSError as e:
        raise UsageError(f"{file} cannot be written: {e.strerror}", advice="Make its folder writable.") from None
    finally:
        part.unlink(missing_ok=True)
