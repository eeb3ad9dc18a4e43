"""The command that approves the rotation of a secret: it writes an entry, and git makes it count."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.cli_patrol import ConfigOption
from flows.settings import load
from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.policy.decision_edit import free_id, with_decision
from tasks.policy.decisions import ROTATION_DAYS, Decision, DecisionFile, Kind, read_decisions

if TYPE_CHECKING:
    from tasks.patrol.approving import Subject


def approve(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The secret.")],
    reason: Annotated[str, typer.Option("--reason", help="Why it may be. Whoever approves it reads this.")],
    until: Annotated[
        str | None, typer.Option("--until", metavar="YYYY-MM-DD", help="The last day it is in force; a year if absent.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the change; write nothing.")] = False,
    config: ConfigOption = None,
) -> None:
    """Approve rotations of a secret of a dangerous kind.

    Dangerous are: one user that is changed under its consumers (in_place), static roles, an executable of yours
    (program), keys of AWS (iam), certificates that are revoked, and kinds that `rotation.dangerous` names. Until
    somebody has approved it, no rotation of such a secret begins; what is under way is finished.

    Writes an entry into the file of `decisions`. It counts once it is committed and somebody else than its author
    signed the commit, or a merge whose message says `Approves: ID`, or reviewed it. It is for the secret as it is
    configured now: another place, target, user or executable needs another approval. It ends: --until, at most a year.

    \b
      nightwarden rotate approve broker --reason 'tried in staging'
    """
    from flows.cli_decide import HOW, day, decision_place, save, text_of
    from flows.rotation_approvals import approvals, subjects
    from flows.rotations import named

    settings = load(config)
    named(settings, [name])
    subject = subjects(settings).get(name)
    if subject is None:
        raise UsageError(
            f"{name} needs no approval: its kind is not dangerous", advice="`rotation.dangerous` names more kinds."
        )
    place = decision_place(settings)
    before = text_of(place.file)
    told = read_decisions(before.encode(), place.file) if before.strip() else None
    now = approvals(settings)[name]
    if now.reason_code is None:
        raise UsageError(
            f"{name} is approved already: {now.entry}, {now.told}",
            advice="Renew it when it has expired, or change the entry by hand.",
        )
    today = datetime.now(UTC).date()
    latest = today + timedelta(days=ROTATION_DAYS - 1)
    wanted = day(until) if until is not None else latest
    if not today <= wanted <= latest:
        raise UsageError(f"{wanted} is {'past' if wanted < today else 'too far'}", advice=f"The latest is {latest}.")
    out = Console(highlight=False, markup=False, soft_wrap=True)
    made = _entry(name, subject, told, reason, wanted)
    there = next((d for d in told.decisions if d.id == made.id), None) if told is not None else None
    if there is not None and there.matchers == made.matchers and there.expires >= today:
        out.print(one_line(f"{made.id} is in {place.file.name} already, and not in force: {now.problem}", 600))
        out.print(f"Nothing was written. It counts when {HOW[place.approval]}.")
        return
    out.print(one_line(f"{name}: {', '.join(subject.dangers)}", 400))
    save(place, before, with_decision(before, made), dry_run=dry_run)
    if not dry_run:
        out.print("`nightwarden decide check` says who approved it, `nightwarden rotate list` whether it is in force.")


def _entry(name: str, subject: Subject, told: DecisionFile | None, reason: str, until: date) -> Decision:
    """The entry, in place of that which approves the secret as it was configured before."""
    made = Decision(
        id="", kind=Kind.APPROVED_ROTATION, matchers=(("secret", name), ("digest", subject.digest)), matches=1,
        reason=reason, expires=until,
    )  # fmt: skip
    known = told.decisions if told is not None else ()
    mine = [d for d in known if d.kind is Kind.APPROVED_ROTATION and d.by("secret") == name]
    same = next((d for d in mine if d.matchers == made.matchers), None) or (mine[0] if mine else None)
    if same is not None:
        return replace(made, id=same.id)
    taken = [*(d.id for d in known), *(b.id for b in told.broken)] if told is not None else []
    return replace(made, id=free_id(f"rotate-{name}", taken))
