"""OpenVEX over the lake: statements about our repositories become decisions, decisions on advisories statements."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from fnmatch import fnmatchcase
from glob import escape
from typing import Any

from tasks.core.text import one_line
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.patrol.deciding import decision_of
from tasks.policy.decision_edit import free_id
from tasks.policy.decisions import Decision, Kind
from tasks.policy.openvex import Stand, Statement, VexDocument, product_id, vex_document

_IN_FORCE = "SELECT * FROM decisions_now WHERE state IN ('in_force', 'over_count') ORDER BY decision_id"
#: What speaks of findings.
_SPEAKING = frozenset(map(str, Kind)) - {str(Kind.ACCEPTED_GAP), str(Kind.APPROVED_ROTATION)}
_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class VexDecisions:
    """The decisions that a document makes, and a line for each statement that makes none."""

    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]


def decisions_of(
    snapshot: Snapshot, document: VexDocument, *, repos: Collection[str], until: date, known: Collection[Decision]
) -> VexDecisions:
    """False positives of what a document says is not affected; ``known`` are the entries there are.

    It is about the repositories that its products name as ``export vex`` does, else about ``repos`` (patterns): what a
    vendor calls its product nobody here knows. There no statement may say otherwise of any product that may be one of
    these repositories.
    """
    reading = _Reading(snapshot, document)
    made: list[Decision] = []
    notes = list(document.notes)
    about = {d.matchers for d in known}
    for s in document.statements:
        ours = reading.ours(s)
        if not ours and not repos:
            notes.append(f"statement {s.number}: its products name no repository of the lake; say which by --repo")
        for repo in [escape(slug) for slug in ours] or repos:
            name = reading.name_in(s, repo)
            other = None if ours else reading.otherwise(s, repo)
            if name is None:
                notes.append(one_line(f"statement {s.number}: {repo} has no finding of {', '.join(s.names)}", 300))
                continue
            if other is not None:
                why = f"statement {other} says otherwise of a product that may be {repo} as well"
                notes.append(one_line(f"statement {s.number}: {why}; decide by hand", 300))
                continue
            matchers = (("cve", name), ("repository", repo))
            if matchers in about:
                told = f"there is a decision about cve {name}, repository {repo} already"
                notes.append(one_line(f"statement {s.number}: {told}", 300))
                continue
            about.add(matchers)
            made.append(
                Decision(
                    id=free_id(f"vex-{name}-{repo}", [d.id for d in (*known, *made)]),
                    kind=Kind.FALSE_POSITIVE,
                    matchers=matchers,
                    matches=1,
                    reason=one_line(s.reason, 1500),
                    expires=until,
                    justification=s.justification,
                )
            )
    return VexDecisions(decisions=tuple(made), notes=tuple(notes))


class _Reading:
    """A document beside the lake: which repositories are meant, and which have what it speaks of."""

    def __init__(self, snapshot: Snapshot, document: VexDocument) -> None:
        self._slugs = {product_id(r["slug"], r["url"]): r["slug"] for r in snapshot.repository_rows(None).values()}
        #: By vulnerability, the repositories that have it: findings are read once for all statements.
        self._has: dict[str, set[str]] = {name: set() for s in document.statements for name in s.names}
        if self._has:
            for row in _present(snapshot, ("slug",)):
                for name in _names(row) & self._has.keys():
                    self._has[name].add(row["slug"])
        self._otherwise: dict[str, list[Statement]] = {}
        for s in document.otherwise:
            for name in s.names:
                self._otherwise.setdefault(name, []).append(s)

    def ours(self, s: Statement) -> list[str]:
        """The repositories that its products name."""
        return sorted({self._slugs[p] for names in s.products for p in names if p in self._slugs})

    def name_in(self, s: Statement, repo: str) -> str | None:
        """The first of its names of which a repository (a pattern) has a finding."""
        return next((n for n in s.names if any(fnmatchcase(slug, repo) for slug in self._has[n])), None)

    def otherwise(self, s: Statement, repo: str) -> int | None:
        """The number of a statement that may be about these repositories (a pattern) and says otherwise."""
        for other in (o for name in s.names for o in self._otherwise.get(name, ())):
            ours = self.ours(other)
            if not ours or any(fnmatchcase(slug, repo) for slug in ours):
                return other.number
        return None


def document_of(snapshot: Snapshot, *, author: str, at: datetime) -> dict[str, Any]:
    """What decisions in force on advisories make of them, as an OpenVEX document. Raises UsageError: there is none.

    In a repository all findings of the advisory count that a watched ref has, whichever decision holds them.
    """
    rows = arrow_of(snapshot, _IN_FORCE).to_pylist()
    decided = {r["decision_id"]: (decision_of(r), r["decided_at"] or at) for r in rows if r["kind"] in _SPEAKING}
    wanted = {name for d, _ in decided.values() if (name := d.by("cve")) is not None}
    products = {i: product_id(r["slug"], r["url"]) for i, r in snapshot.repository_rows(None).items()}
    unwatched = snapshot.unwatched()
    held: dict[tuple[str, str], set[str]] = {}
    left: dict[tuple[str, str], set[str]] = {}
    for row in _present(snapshot, ("repo_id", "ref", "tool", "finding_uid", "decision_id")) if wanted else ():
        if row["repo_id"] not in products or (row["repo_id"], row["ref"], row["tool"]) in unwatched:
            continue
        for name in _names(row) & wanted:
            key = (name, products[row["repo_id"]])
            if row["decision_id"] in decided:
                held.setdefault(key, set()).add(row["decision_id"])
            else:
                left.setdefault(key, set()).add(row["finding_uid"])
    stands = [
        Stand(
            name=name, product=p, decided=tuple(decided[i] for i in sorted(ids)), undecided=len(left.get((name, p), ()))
        )
        for (name, p), ids in held.items()
    ]
    return vex_document(stands, author=author, at=at)


def _present(snapshot: Snapshot, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """What is there, with these columns and those of ``_names``."""
    rows = snapshot.present((*columns, "rule_id", "advisories"))
    for batch in rows.to_batches(max_chunksize=_ROWS):
        yield from batch.to_pylist()


def _names(row: Mapping[str, Any]) -> set[str]:
    """How a finding may be called by those who speak of vulnerabilities."""
    return {str(i).upper() for i in (row["rule_id"], *(row["advisories"] or ())) if i}
