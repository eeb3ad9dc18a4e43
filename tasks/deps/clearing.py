"""What one change clears across an organisation: "raising X to Y in these 41 repositories clears 97 findings".

A change is one package raised in one repository, for that is what somebody has to review and merge. Rows are in order
of the risk that each change clears, so that whoever can do few of them does those; of equal ones the row that clears
more altogether comes first. What no change clears is rows, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.deps.ordering import Step
from tasks.deps.upgrades import Reason
from tasks.deps.upgrading import Advised, Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Flaw:
    """One finding: a group of advisories about a package of a repository. ``risk`` is the caller's, not below 0."""

    finding_uid: str
    repo_id: str
    ecosystem: str
    package: str
    version: str
    group_id: str
    risk: float = 0.0
    direct: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Raising ``package`` from any of ``versions`` to ``to`` in ``repositories``.

    ``findings`` are those that it clears, ``risk`` is theirs together, ``risk_per_change`` is for each repository.
    ``remaining`` counts findings of the same versions that it leaves (a partial fix). ``is_breaking``: one of the steps
    may break. ``is_checked``: a registry has the version; else only advisories name it. ``transitive`` counts the
    repositories that do not ask for the package themselves, where refreshing the lock or raising what it comes through
    may be the way.
    """

    ecosystem: str
    package: str
    to: str
    versions: tuple[str, ...]
    repositories: tuple[str, ...]
    findings: tuple[str, ...]
    risk: float
    risk_per_change: float
    remaining: int
    is_breaking: bool
    is_checked: bool
    transitive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """Findings of a version that no change clears. ``reason`` None: nobody looked for a step."""

    ecosystem: str
    package: str
    version: str
    reason: Reason | None
    repositories: tuple[str, ...]
    findings: tuple[str, ...]
    risk: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """Every finding is in one of ``changes`` or of ``left``, and in one only."""

    changes: tuple[Change, ...]
    left: tuple[Left, ...]


def clearing(flaws: Iterable[Flaw], advised: Iterable[Advised]) -> Clearing:
    """The organisation's view of steps. Pure."""
    steps = {(a.ecosystem, a.package, a.upgrade.version): a for a in advised}
    raised: defaultdict[tuple[str, str, str], list[Flaw]] = defaultdict(list)
    left: defaultdict[tuple[str, str, str], list[Flaw]] = defaultdict(list)
    open_at: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for flaw in flaws:
        version = (flaw.ecosystem, flaw.package, flaw.version)
        step = steps.get(version)
        to = step.upgrade.to if step is not None else None
        if step is not None and to is not None and flaw.group_id in step.upgrade.cleared:
            raised[flaw.ecosystem, flaw.package, to].append(flaw)
        else:
            left[version].append(flaw)
            if to is not None:
                open_at[flaw.ecosystem, flaw.package, to] += 1
    changes = [_change(*key, some, steps, open_at[key]) for key, some in raised.items()]
    changes.sort(key=lambda c: (-c.risk_per_change, -c.risk, -len(c.findings), c.ecosystem, c.package, c.to))
    rest = [_left(*key, some, steps.get(key)) for key, some in left.items()]
    rest.sort(key=lambda r: (-r.risk, r.ecosystem, r.package, r.version))
    return Clearing(changes=tuple(changes), left=tuple(rest))


def in_words(change: Change) -> str:
    """The sentence for people."""
    where, what = len(change.repositories), len(change.findings)
    notes = [
        "a breaking step" if change.is_breaking else "",
        f"{change.remaining} remain" if change.remaining else "",
        f"in {change.transitive} it comes through others" if change.transitive else "",
        "" if change.is_checked else "not checked with a registry",
    ]
    told = "; ".join(filter(None, notes))
    return (
        f"raising {change.package} to {change.to} in {where} {'repository' if where == 1 else 'repositories'} clears "
        f"{what} {'finding' if what == 1 else 'findings'}" + (f" ({told})" if told else "")
    )


def _change(
    ecosystem: str,
    package: str,
    to: str,
    flaws: list[Flaw],
    steps: Mapping[tuple[str, str, str], Advised],
    remaining: int,
) -> Change:
    versions = sorted({f.version for f in flaws})
    mine = [steps[ecosystem, package, v] for v in versions]
    repositories = sorted({f.repo_id for f in flaws})
    asked = {f.repo_id for f in flaws if f.direct}
    risk = sum(f.risk for f in flaws)
    return Change(
        ecosystem=ecosystem,
        package=package,
        to=to,
        versions=tuple(versions),
        repositories=tuple(repositories),
        findings=tuple(sorted(f.finding_uid for f in flaws)),
        risk=risk,
        risk_per_change=risk / len(repositories),
        remaining=remaining,
        # A step that an ecosystem does not tell may break as well.
        is_breaking=any(a.upgrade.step in (Step.MAJOR, Step.NONE) for a in mine),
        is_checked=all(a.basis is Basis.REGISTRY for a in mine),
        transitive=len({f.repo_id for f in flaws if f.direct is False} - asked),
    )


def _left(ecosystem: str, package: str, version: str, flaws: list[Flaw], step: Advised | None) -> Left:
    return Left(
        ecosystem=ecosystem,
        package=package,
        version=version,
        reason=step.upgrade.reason if step is not None else None,
        repositories=tuple(sorted({f.repo_id for f in flaws})),
        findings=tuple(sorted(f.finding_uid for f in flaws)),
        risk=sum(f.risk for f in flaws),
    )
