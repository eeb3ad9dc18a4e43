"""OpenVEX over the lake: statements about our repositories become decisions, decisions on advisories statements."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from tasks.core.text import one_line
from tasks.lake.changes import PRESENT
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.patrol.deciding import decision_of
from tasks.patrol.matching import matched
from tasks.policy.decision_edit import free_id
from tasks.policy.decisions import Decision, Kind
from tasks.policy.openvex import Statement, VexDocument, product_id, vex_document

_IN_FORCE = "SELECT * FROM decisions_now WHERE state IN ('in_force', 'over_count') ORDER BY decision_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class VexDecisions:
    """The decisions that a document makes, and a line for each statement that makes none."""

    decisions: tuple[Decision, ...]
    notes: tuple[str, ...]


def decisions_of(
    snapshot: Snapshot, document: VexDocument, *, repos: Collection[str], until: date, known: Collection[Decision]
) -> VexDecisions:
    """False positives of what a document says is not affected; ``known`` are the entries there are.

    It is about the repositories that its products name as ``export vex`` does, or about ``repos`` (patterns) where the
    caller says so: what a vendor calls its product nobody here knows.
    """
    slugs = {product_id(r["slug"], r["url"]): r["slug"] for r in snapshot.repository_rows(None).values()}
    made: list[Decision] = []
    notes = list(document.notes)
    about = {d.matchers for d in known}
    for s in document.statements:
        mine = list(repos) or sorted({slugs[p] for p in s.products if p in slugs})
        if not mine:
            notes.append(f"statement {s.number}: its products name no repository of the lake; say which by --repo")
        for repo in mine:
            found = _decision(snapshot, s, repo, until, [d.id for d in (*known, *made)])
            if found is None:
                notes.append(one_line(f"statement {s.number}: {repo} has no finding of {', '.join(s.names)}", 300))
            elif found.matchers in about:
                notes.append(one_line(f"statement {s.number}: there is a decision about {found.about} already", 300))
            else:
                about.add(found.matchers)
                made.append(found)
    return VexDecisions(decisions=tuple(made), notes=tuple(notes))


def _decision(snapshot: Snapshot, s: Statement, repo: str, until: date, taken: list[str]) -> Decision | None:
    for name in s.names:
        made = Decision(
            id=free_id(f"vex-{name}-{repo}", taken),
            kind=Kind.FALSE_POSITIVE,
            matchers=(("cve", name.upper()), ("repository", repo)),
            matches=1,
            reason=one_line(s.reason, 1500),
            expires=until,
            justification=s.justification,
        )
        if matched(snapshot, made, shown=0).count:
            return made
    return None


def document_of(snapshot: Snapshot, *, author: str, at: datetime) -> dict[str, Any]:
    """The decisions in force on advisories as an OpenVEX document. Raises UsageError: there is none."""
    rows = arrow_of(snapshot, _IN_FORCE).to_pylist()
    repositories = {i: product_id(r["slug"], r["url"]) for i, r in snapshot.repository_rows(None).items()}
    found = snapshot.table("findings", {"scan_status": PRESENT}, ["repo_id", "decision_id"]).to_pylist()
    products: dict[str, set[str]] = {}
    for f in found:
        if f["decision_id"] is not None and f["repo_id"] in repositories:
            products.setdefault(f["decision_id"], set()).add(repositories[f["repo_id"]])
    decided = [(decision_of(r), r["decided_at"] or at, sorted(products.get(r["decision_id"], ()))) for r in rows]
    return vex_document(decided, author=author, at=at)
