"""Whether somebody approved in git that a secret of a dangerous kind is rotated.

Approvals are entries of the file of decisions, of the kind ``approved_rotation``, and count when decisions do: whoever
signed or reviewed them is not their author. Each is of one secret as it was configured then (``digest``). Nothing is
remembered: what cannot be read now approves nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from tasks.core.errors import ForgeError, NightwardenError, ScanGapError
from tasks.core.origins import DecisionPlace
from tasks.core.ports import Forge
from tasks.core.text import one_line
from tasks.patrol.deciding import approvals_of, read_place
from tasks.policy.decisions import BrokenEntry, Decision, Kind
from tasks.policy.judging import Standing
from tasks.repos.approvals import Provenance
from tasks.repos.config_file import ConfigFile
from tasks.repos.git import Git

MISSING, UNREAD = "approval_missing", "approval_unread"
_MAX = 400
_HOW = {"signed": "signs the commit", "reviewed": "reviews it"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Whether a secret may be rotated that is dangerous to rotate, which ``dangers`` say for people.

    ``reason_code`` None: somebody approved it (``approver``; None of a trial), with ``entry`` from ``commit``, until
    the day ``until``. Else ``problem`` says why not, with the remedy.
    """

    dangers: tuple[str, ...]
    approver: str | None = None
    how: str | None = None
    commit: str | None = None
    entry: str | None = None
    until: date | None = None
    reason_code: str | None = None
    problem: str = ""

    @property
    def refusal(self) -> tuple[str, str] | None:
        """Why no rotation of it begins."""
        return (self.reason_code, self.problem) if self.reason_code is not None else None

    @property
    def told(self) -> str:
        """In one line, for people."""
        if self.reason_code is not None:
            return "missing" if self.reason_code == MISSING else "unread"
        commit = f", commit {self.commit[:12]}" if self.commit else ""
        return f"by {self.approver or 'whoever writes the file'} ({self.how}) until {self.until}{commit}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to be approved: a secret as it is configured now (``digest``), and why it is dangerous."""

    digest: str
    dangers: tuple[str, ...]


def refused_all(subjects: Mapping[str, Subject], reason_code: str, why: str) -> dict[str, Approval]:
    """None of them may begin, for one reason."""
    told = one_line(" ".join(why.split()), _MAX)
    return {name: Approval(dangers=s.dangers, reason_code=reason_code, problem=told) for name, s in subjects.items()}


def read_approvals(
    place: DecisionPlace, git: Git, subjects: Mapping[str, Subject], at: datetime, forges: Iterable[Forge] = ()
) -> dict[str, Approval]:
    """Of each of these secrets, by name, whether it is approved at a moment. Raises no error but for an interruption:
    what cannot be read is the reason of all of them."""
    if not subjects:
        return {}
    try:
        return _read(place, git, subjects, at, forges)
    except (ScanGapError, ForgeError) as e:
        if e.reason_code == "cancelled":
            raise
        why = e.detail if isinstance(e, ScanGapError) else e.message
        return refused_all(subjects, UNREAD, f"{place.file.name}: {why} {e.advice}")
    except NightwardenError as e:
        return refused_all(subjects, UNREAD, f"{place.file.name}: {e.message} {e.advice}")
    except Exception as e:  # whatever it is: it approves nothing, and what is under way is finished
        return refused_all(subjects, UNREAD, f"{place.file.name}: {type(e).__name__}")


def _read(
    place: DecisionPlace, git: Git, subjects: Mapping[str, Subject], at: datetime, forges: Iterable[Forge]
) -> dict[str, Approval]:
    data, file, told = read_place(place, git)
    named: defaultdict[str, list[Decision]] = defaultdict(list)
    for d in told.decisions:
        secret = d.by("secret") or ""
        if d.kind is Kind.APPROVED_ROTATION and secret in subjects:
            named[secret].append(d)
    # Only who approved what is configured now is asked of git: a signature takes some milliseconds.
    fitting = [d for name, all_ in named.items() for d in all_ if d.by("digest") == subjects[name].digest]
    origins = approvals_of(place, file, data, replace(told, decisions=tuple(fitting)), at, forges) if fitting else {}
    is_changed = file is not None and file.is_changed(data)
    return {
        name: _approval(name, s, named.get(name, ()), origins, at, _hint(name, place, file, told.broken, is_changed))
        for name, s in subjects.items()
    }


def _hint(
    name: str, place: DecisionPlace, file: ConfigFile | None, broken: Iterable[BrokenEntry], is_changed: bool
) -> str:
    """What to do where no entry is about a secret."""
    if any(b.id in (name, f"rotate-{name}") for b in broken):
        return f"an entry of {place.file.name} is broken: `nightwarden decide check`"
    if is_changed:
        return (
            f"{place.file.name} holds changes that are not committed: commit `nightwarden rotate approve {name}`; "
            f"it counts once somebody else {_HOW[place.approval]}"
        )
    after = f"; it counts once somebody else {_HOW[place.approval]}" if file is not None else ""
    return f"`nightwarden rotate approve {name}` writes the entry{after}"


def _approval(
    name: str, subject: Subject, entries: Iterable[Decision], origins: Mapping[str, Provenance], at: datetime, hint: str
) -> Approval:
    problems: list[str] = []
    others = [d for d in entries if d.id not in origins]
    for d in (d for d in entries if d.id in origins):
        origin = origins[d.id]
        if origin.problem:
            problems.append(f"{d.id}: {origin.problem}")
            continue
        ends = Standing(decision=d, decided_at=origin.decided_at or at).until("unknown")
        if ends <= at:
            problems.append(f"{d.id} has expired: `nightwarden rotate approve {name}` renews it")
            continue
        return Approval(
            dangers=subject.dangers, approver=origin.approver, how=origin.how, commit=origin.commit, entry=d.id,
            until=(ends - timedelta(microseconds=1)).date(),
        )  # fmt: skip
    if others and not problems:
        problems = [f"{others[0].id} approves it as it was configured before: `nightwarden rotate approve {name}` anew"]
    why = "; ".join(problems) or f"nobody has approved it ({', '.join(subject.dangers)}): {hint}"
    return Approval(dangers=subject.dangers, reason_code=MISSING, problem=one_line(" ".join(why.split()), _MAX))
