"""The commands of secret rotation: how each stands, what would be done, do it, finish it, what was done, policies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from flows.cli_approve import approve
from flows.cli_inventory import inventory
from flows.cli_lake import Format, FormatOption, emit
from flows.cli_patrol import EXIT_GAPS, ConfigOption, LakeOption
from flows.interruption import told
from flows.settings import Settings, load
from tasks.core.errors import UsageError
from tasks.core.text import one_line

if TYPE_CHECKING:
    from tasks.core.rotations import Transition
    from tasks.patrol.leaks import Leak
    from tasks.patrol.rotating import Look, Managed, Rotated
    from tasks.patrol.rotation_run import Choice, RotationRun

app = typer.Typer(
    help="Rotate secrets: a fresh value beside the old one, tried, brought into force, and the old one retired once its"
    " consumers had time to read again.\n\n"
    "What is rotated stands in `rotation` of org.yaml (`nightwarden config init` shows it); no secret stands there.\n\n"
    "Exit codes: 0 nothing is left to do, 3 something is (a grace, a failure, what was not begun or not published), "
    "1 failed, 2 usage. The flow `rotate` ends CompletedWithGaps only where somebody must act; a running grace is no "
    "gap there.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
NamesArgument = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Secrets; all when absent.")]
_COLUMNS = (
    "secret", "place", "target", "identity", "age_days", "last_used_at", "readers", "due", "due_at", "state", "until",
    "leaked", "consumers", "approval", "reason_code", "detail",
)  # fmt: skip
_MAX = 400
app.command()(inventory)
_KEPT = "what was done is kept; `nightwarden rotate resume` finishes what is under way"


@app.command("list")
def list_(config: ConfigOption = None, format: FormatOption = Format.TABLE) -> None:
    """Show how each secret stands.

    That is where it lies, which credential is in force and how old it is, when it is due, what is under way, and
    whether patrols have found its value in a repository (`leaked`).

    Stores are asked, and nothing is changed. When it was last used and how many may read it is what the last `rotate
    inventory` was told; empty: nobody told. Exit 3 when one could not be read; its reason says why (`nightwarden
    explain REASON`).
    """
    from flows.rotations import opened

    settings = load(config)
    with opened(settings) as managed:
        run = _run(settings, managed)
        looks = run.look()
        told_before = _inventoried(settings)
        rows = [_row(seen, told_before.get(seen.managed.name, {})) for seen in looks]
        if format is Format.TABLE:  # what is long stands below it
            emit(_COLUMNS[:-1], [row[:-1] for row in rows], format, None)
            out = _console()
            for name, *_, why in rows:
                if why:
                    out.print(one_line(f"{name}: {why}", _MAX), soft_wrap=True)
            for line in _leaked(run):
                out.print(one_line(line, _MAX), soft_wrap=True)
        else:
            emit(_COLUMNS, rows, format, None)
        raise typer.Exit(EXIT_GAPS if run.unread() or run.unlooked() else 0)


@app.command()
def plan(
    names: NamesArgument = None,
    now: Annotated[bool, typer.Option("--now", help="As if all of them were due.")] = False,
    leaks: Annotated[bool, typer.Option("--leaks", help="Only what patrols have found in a repository.")] = False,
    config: ConfigOption = None,
) -> None:
    """Show each step that `rotate run` would do, with warnings. Nothing is changed, and no value is made.

    Exit 3 when a secret could not be read.
    """
    from flows.rotations import opened, section_of
    from tasks.patrol.rotation_run import Choice

    settings = load(config)
    with opened(settings, names) as managed:
        run = _run(settings, managed)
        _plan(run, settings, Choice(most=section_of(settings).max_per_run, at_once=now, leaks_only=leaks))
        raise typer.Exit(EXIT_GAPS if run.unread() or run.unlooked() else 0)


@app.command()
def run(
    names: NamesArgument = None,
    now: Annotated[
        bool, typer.Option("--now", help="Rotate the named ones also when they are not due, whatever age and window.")
    ] = False,
    leaks: Annotated[
        bool, typer.Option("--leaks", help="Rotate only what patrols have found in a repository, and prove it refused.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", metavar="MINUTES", help="Wait so long for graces to end, and retire then.", min=0)
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="As `rotate plan`.")] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Rotate what has leaked or is due; finish what is under way.

    In this order: what has leaked, what is under way, what is due. The old credential works until the grace of its
    policy is over; a later run (or --wait, or `rotate resume`) retires it. Stop it at any moment, also by kill -9: the
    next run goes on where it stopped, whoever starts it. `max_per_run` of the configuration does not hold for secrets
    that are named.

    \b
      nightwarden rotate run
      nightwarden rotate run shop-db --now --wait 30
    """
    from flows.rotations import section_of
    from tasks.patrol.rotation_run import Choice

    if now and not names:
        raise UsageError("--now needs the names of secrets", advice="`nightwarden rotate list` shows them.")
    if now and leaks:
        raise UsageError("--now and --leaks exclude each other", advice="What has leaked is rotated at once anyway.")
    if dry_run and wait:
        raise UsageError("--dry-run and --wait exclude each other", advice="Leave one of them out.")
    if dry_run:
        plan(names, now, leaks, config)
    settings = load(config, lake=lake)
    # Who names secrets has counted them.
    most = None if names else section_of(settings).max_per_run
    _go_on(settings, names, Choice(most=most, at_once=now, leaks_only=leaks), wait)


@app.command()
def resume(
    names: NamesArgument = None,
    withdraw: Annotated[
        list[str] | None,
        typer.Option("--withdraw", metavar="NAME", help="Take back what is under way of this secret. Repeatable."),
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", metavar="MINUTES", help="Wait so long for graces to end, and retire then.", min=0)
    ] = 0,
    lake: LakeOption = None,
    config: ConfigOption = None,
) -> None:
    """Finish rotations that are under way; nothing new is begun.

    With --withdraw one is taken back instead, which can be done until its value is in force: the value before stays,
    also one that somebody else has written meanwhile.
    """
    from tasks.patrol.rotation_run import Choice

    if withdraw and names:
        raise UsageError("--withdraw and names exclude each other", advice="Call it once for each.")
    settings = load(config, lake=lake)
    _go_on(settings, withdraw or names, Choice(begins=False), wait, withdraw=bool(withdraw))


@app.command(short_help="Show the steps of rotations, newest first.")
def history(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this secret.")] = None,
    lake: LakeOption = None,
    config: ConfigOption = None,
    format: FormatOption = Format.TABLE,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Print at most so many rows.", min=1)] = None,
) -> None:
    """Show the steps of rotations, newest first, and what became of leaked values.

    A rotation that a leak started has a slot `leak-…`; `leak revoked` means that the old value was tried and refused.
    """
    from flows.lake_location import lake_to_read
    from flows.rotations import log_of

    settings = load(config, lake=lake)
    wanted, snapshot = ({"secret": [name]} if name is not None else None), lake_to_read(settings).snapshot()
    rows = snapshot.table("rotations", wanted).to_pylist()
    rows += [_as_step(row) for row in snapshot.table("leaks", wanted).to_pylist()]
    rows.sort(key=lambda r: (r["done_at"], r["rotation_id"] or ""), reverse=True)
    columns = ("done_at", "secret", "state", "identity", "replaces", "slot", "until", "reason_code", "detail",
               "rotation_id")  # fmt: skip
    emit(columns, [[row.get(c) for c in columns] for row in rows], format, limit)
    waiting = len(log_of(settings).kept()[0])
    if waiting:
        print(f"{waiting} steps are not in the lake yet: the next run publishes them", file=sys.stderr)


@app.command()
def policy(
    store: Annotated[Literal["vault", "aws"], typer.Argument(help="For which store.")],
    inventory: Annotated[
        bool, typer.Option("--inventory", help="What `rotate inventory` needs, instead of what rotations do.")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Print the least policies that rotation needs.

    They are for exactly what the configuration names, and no more. With --inventory those that `rotate inventory`
    needs, which read no value: of Vault for what is mounted there now, which is asked by the credentials of the section
    `vault`; of AWS for the configured regions.

    \b
      nightwarden rotate policy vault | vault policy write nightwarden -
      nightwarden rotate policy aws > policy.json

    Of AWS there is one for each role, and more where one would be too long; what each is for is told on standard error.
    """
    from flows.inventory_policies import aws_inventory_policies, vault_inventory_policy
    from flows.rotation_policies import aws_policies, vault_policy

    settings = load(config)
    if store == "vault":
        print(vault_inventory_policy(settings) if inventory else vault_policy(settings))
        return
    for purpose, text in aws_inventory_policies(settings) if inventory else aws_policies(settings):
        print(one_line(purpose, _MAX), file=sys.stderr)
        if text:
            print(text)


app.command("approve")(approve)


# -- one run ------------------------------------------------------------------------------------------------------


def _run(settings: Settings, managed: list[Managed]) -> RotationRun:
    from flows.leaks import known_secrets
    from flows.rotations import log_of, section_of
    from tasks.patrol.rotation_run import RotationRun

    section = section_of(settings)
    if not section.secrets:
        raise UsageError(
            "no secret is configured to be rotated",
            advice="Write `rotation` into org.yaml and name it with --config; `nightwarden config init` shows one.",
        )
    return RotationRun(
        managed, log_of(settings), configured=section.secrets, workers=section.concurrency, tell=_tell_step,
        known=known_secrets(settings),
    )  # fmt: skip


def _go_on(settings: Settings, names: list[str] | None, choice: Choice, wait: float, *, withdraw: bool = False) -> None:
    from flows.rotations import opened, told_to_lake

    with told(_KEPT), opened(settings, names) as managed:
        run = _run(settings, managed)
        run.look()
        run.choose(choice)
        try:
            if withdraw:
                for one in managed:
                    run.withdraw(one.name)
            else:
                run.all()
                if wait:
                    run.wait(timedelta(minutes=wait))
        finally:
            is_published, lake = told_to_lake(run, settings)
    out = _console()
    for line in _told(run):
        out.print(one_line(line, _MAX), soft_wrap=True)
    out.print(f"{run.sentence()}; {lake}", soft_wrap=True)
    raise typer.Exit(0 if run.is_done and is_published else EXIT_GAPS)


def _told(run: RotationRun) -> Iterator[str]:
    """A line a secret: what became of it, and what is left."""
    for name, done in run.done.items():
        yield f"{name}: {_became(run, done)}"
    for name, answers in run.leaks.items():
        for a in answers:
            why = f": {a.reason_code}" if a.reason_code else ""
            yield f"{name}: leaked {a.leak.field} {a.state}{why}: {_plain(a.detail)}"
    for trouble in run.unlooked():
        yield f"{trouble.name}: {trouble.reason_code}: {_plain(trouble.detail)}"
    for seen in run.unread():
        yield f"{seen.managed.name}: {seen.reason_code}: {_plain(seen.detail)}"
    for seen in run.left_out():
        yield f"{seen.managed.name}: {seen.due}, and not begun: {seen.detail or 'max_per_run'}"
    for seen in run.unapproved():
        reason, detail = seen.managed.refused or ("", "")
        yield f"{seen.managed.name}: {seen.due}, and not begun: {reason}: {_plain(detail)}"


def _became(run: RotationRun, done: Rotated) -> str:
    standing = done.standing
    why = f": {done.reason_code}: {_plain(done.detail)}" if done.reason_code else ""
    if standing is None:
        return f"failed{why}" if done.reason_code != "class_stopped" else f"not begun{why}"
    if standing.state is None:
        return "nothing was to be done"
    text = str(standing.state)
    if standing.until is not None:
        text += f" until {standing.until:%Y-%m-%d %H:%M:%S} UTC"
        asked = run.chosen.get(done.name)
        if asked is not None and standing.slot != asked:
            text += ", of the rotation before; run again after that"
    return text + why


def _plan(run: RotationRun, settings: Settings, choice: Choice) -> None:
    from tasks.patrol.rotation_run import why_nothing

    out = _console()
    run.look()
    run.choose(choice)
    for seen in run.looks:
        name = seen.managed.name
        out.print(one_line(f"{name}  {seen.managed.backend.place}  {seen.due or seen.reason_code}", _MAX))
        for leak in seen.leaks:
            out.print(one_line(f"  LEAKED    {_found(leak)}", _MAX), soft_wrap=True)
        for warning in _warnings(seen, settings):
            out.print(one_line(f"  warning: {warning}", 1000), soft_wrap=True)
        if (approval := seen.managed.approval) is not None and approval.reason_code is None:
            out.print(one_line(f"  approved {approval.told}: {', '.join(approval.dangers)}", _MAX), soft_wrap=True)
        if seen.current is None:
            out.print(one_line(f"  {_plain(seen.detail)}", _MAX), soft_wrap=True)
            continue
        found, why_not = run.planned(seen)
        for step in found:
            out.print(one_line(f"  {str(step.state).upper():<9} {step.what}", _MAX), soft_wrap=True)
        if why_not:
            out.print(one_line(f"  what would be done cannot be told: {why_not}", _MAX), soft_wrap=True)
        elif not found:
            out.print(one_line(f"  nothing: {why_nothing(seen)}", _MAX * 2), soft_wrap=True)

    for trouble in run.unlooked():
        out.print(one_line(f"{trouble.name}: {trouble.reason_code}: {_plain(trouble.detail)}", _MAX), soft_wrap=True)


def _found(leak: Leak) -> str:
    """What has leaked, where it was found, and what would be done."""
    where, findings = ", ".join(leak.flaw.slugs) or "findings that are gone", ", ".join(leak.flaw.finding_uids)
    if not leak.flaw.is_open:
        what = "decided, so nothing is done"
    elif leak.is_urgent:
        what = "in force: rotated at once"
    elif not leak.changes or leak.is_kept:
        what = "no rotation changes this field"
    else:
        what = {"staged": "staged: taken back"}.get(leak.role, "replaced: retired after its grace, then tried")
    return f"{leak.field} stands in {where}: {what} (finding {findings})"


def _leaked(run: RotationRun) -> Iterator[str]:
    for seen in run.looks:
        for leak in seen.leaks:
            yield f"{seen.managed.name}: {_found(leak)}"
    for trouble in run.unlooked():
        yield f"{trouble.name}: {trouble.reason_code}: {_plain(trouble.detail)}"


def _as_step(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ``leaks`` among those of ``rotations``."""
    told = f"{row['field']}, found by {', '.join(uid[:12] for uid in row['finding_uids'])}"
    return {
        **row, "state": f"leak {row['state']}", "done_at": row["verified_at"] or row["changed_at"],
        "detail": f"{told}: {row['detail']}" if row["detail"] else told,
    }  # fmt: skip


def _warnings(seen: Look, settings: Settings) -> Iterator[str]:
    from flows.rotations import section_of
    from tasks.core.rotations import RotationError
    from tasks.rotation.sql_users import IN_PLACE_WARNING
    from tasks.rotation.static_role_machine import NO_GRACE_WARNING

    try:
        in_place = seen.managed.target.in_place
    except RotationError:
        return
    is_at_once = seen.managed.rotator is not None
    if in_place:
        yield NO_GRACE_WARNING if is_at_once else IN_PLACE_WARNING
    told = section_of(settings).secrets[seen.managed.name]
    if not told.consumers:
        what = "that nobody remembers the password" if is_at_once else "whether the grace is long enough"
        yield f"no consumer is configured, so nothing says {what}"
    caching = [f"{c.name} ({c.cache_minutes:g} minutes)" for c in told.consumers if c.cache_minutes]
    if is_at_once and caching:
        yield f"these remember it, and their logins will fail for as long: {', '.join(caching)}"


def _inventoried(settings: Settings) -> dict[str, dict[str, Any]]:
    """What the last inventory was told of managed secrets, by name; nothing where no lake can be read."""
    from flows.lake_location import lake_to_read
    from tasks.core.errors import NightwardenError

    columns = ("secret", "last_used_at", "readers")
    try:
        rows = lake_to_read(settings).snapshot().table("secrets", None, columns).to_pylist()
    except NightwardenError:
        return {}  # how a secret stands is told all the same
    return {row["secret"]: row for row in rows}


def _row(seen: Look, before: dict[str, Any]) -> list[Any]:
    readers = before.get("readers")
    since = seen.current.since if seen.current is not None else None
    return [
        seen.managed.name, seen.managed.backend.place, seen.managed.target_kind, seen.identity,
        round((seen.at - since) / timedelta(days=1), 1) if since is not None else None,
        _minute(before.get("last_used_at")), len(readers) if readers is not None else None,
        str(seen.due) if seen.due is not None else "unknown", _minute(seen.due_at()),
        str(seen.standing.state) if seen.standing.state is not None else None, _minute(seen.standing.until),
        ", ".join(f"{leak.field} ({leak.role})" for leak in seen.leaks) or None,
        ", ".join(seen.managed.consumers), seen.managed.approval.told if seen.managed.approval is not None else None,
        seen.reason_code, _plain(seen.detail) or None,
    ]  # fmt: skip


def _minute(at: datetime | None) -> datetime | None:
    return at.astimezone(UTC).replace(microsecond=0) if at is not None else None


def _plain(text: str) -> str:
    return " ".join(text.split())


def _tell_step(step: Transition) -> None:
    """On standard error as it happens; the end is told on standard output."""
    print(one_line(f"{step.secret}: {step.state} {step.identity}".rstrip(), _MAX), file=sys.stderr, flush=True)


def _console() -> Console:
    return Console(highlight=False, markup=False)
