"""What is open in the lake, as of a run, made ready for a report writer: scope by scope."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tasks.core.errors import UsageError
from tasks.core.keys import HmacKey
from tasks.core.reasons import GAP_OUTCOMES
from tasks.core.types import Gap, Kind, Observation, Outcome, ScopeState, digest
from tasks.lake.lake import Lake, Snapshot
from tasks.patrol.hygiene_rows import STORE_SOURCE
from tasks.patrol.naming import PACK
from tasks.report.sarif import ScopeReport, sarif_pieces


@dataclass(frozen=True, slots=True, kw_only=True)
class SarifLog:
    """A log to be written. ``gaps`` says, before it is, how many of its scopes name something unread."""

    pieces: Iterator[str]
    scopes: int
    gaps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What an export is about: the lake as of a run, the scopes chosen, and the rule packs of which not all runs."""

    snapshot: Snapshot
    states: tuple[ScopeState, ...]
    packs: dict[str, tuple[Gap, ...]]
    repos: tuple[str, ...]
    tools: tuple[str, ...]

    @property
    def gaps(self) -> int:
        """How many of the scopes name something unread."""
        return sum(1 for s in self.states if self.has_gaps(s))

    def has_gaps(self, s: ScopeState) -> bool:
        """Whether something of a scope was not read, or not by all rules."""
        return bool(s.gaps or str(s.outcome) in GAP_OUTCOMES or _never(s) or s.tool in self.packs)

    def gaps_of(self, states: Iterable[ScopeState]) -> Iterator[tuple[ScopeState, Gap]]:
        """What was not read of these scopes; they are looked up together, so give some at a time."""
        mine = list(states)
        found = self.snapshot.gaps_of([s.result_name for s in mine if s.result_name and s.gaps])
        for s in mine:
            gaps = [*found.get(s.result_name or "", ()), *_of_the_whole(s)]
            if not s.repo_id.startswith(PACK):
                gaps += self.packs.get(s.tool, ())
            yield from ((s, gap) for gap in gaps)


def chosen(lake: Lake, *, repos: tuple[str, ...], tools: tuple[str, ...], run_id: str | None) -> Chosen:
    """The scopes of these repositories (patterns) and tools as of a run (None: the newest); without any, all.

    Raises UsageError: no such run, or nothing in the lake is chosen (an empty file would read as "nothing is open").
    """
    snapshot = lake.snapshot(run_id)
    if snapshot.run is None:
        raise UsageError("the lake has no run yet", advice="Run `nightwarden patrol` or `nightwarden import` first.")
    known = snapshot.scope_states(None).values()
    states = [s for s in known if _chosen(s, repos, tools)]
    if not states:
        raise UsageError(
            "no repository or tool of the lake is chosen",
            advice="`nightwarden query 'SELECT DISTINCT slug, tool FROM scopes'` lists them.",
        )
    states.sort(key=lambda s: (s.slug, s.repo_id, s.ref, s.tool))
    return Chosen(snapshot=snapshot, states=tuple(states), packs=_faulty_packs(known), repos=repos, tools=tools)


def own_version() -> str:
    """The version of this program; empty where it is not installed."""
    try:
        return version("nightwarden")
    except PackageNotFoundError:
        return ""


def sarif_log(
    lake: Lake, *, repos: tuple[str, ...], tools: tuple[str, ...], run_id: str | None, key: HmacKey | None = None
) -> SarifLog:
    """The open findings of what is ``chosen``, sealed with ``key`` if it is the lake's. Raises UsageError as that."""
    about = chosen(lake, repos=repos, tools=tools, run_id=run_id)
    rows = {r["repo_id"]: r for r in about.snapshot.table("repositories").to_pylist()}
    if key is not None and key.key_id != lake.key_id:
        key = None  # what another key masked is not ours to vouch for
    scopes = (_scope(about.snapshot, s, rows[s.repo_id], about.packs) for s in about.states)
    return SarifLog(
        pieces=sarif_pieces(scopes, version=own_version(), key=key), scopes=len(about.states), gaps=about.gaps
    )


def _chosen(s: ScopeState, repos: tuple[str, ...], tools: tuple[str, ...]) -> bool:
    return (not repos or any(fnmatchcase(s.slug, p) for p in repos)) and (not tools or s.tool in tools)


def _faulty_packs(states: Iterable[ScopeState]) -> dict[str, tuple[Gap, ...]]:
    """By tool, the rule packs of which something does not run: no scan of that tool is whole (as for ``--only``, they
    count whichever repositories are chosen)."""
    found: dict[str, tuple[Gap, ...]] = {}
    for s in sorted(states, key=lambda s: s.slug):
        if s.repo_id.startswith(PACK) and str(s.outcome) in GAP_OUTCOMES:
            gap = Gap(path="", reason_code=s.reason_code or "rule_broken", detail=f"{s.slug}: {s.detail}")
            found[s.tool] = (*found.get(s.tool, ()), gap)
    return found


def _never(s: ScopeState) -> bool:
    """Whether no tool has ever read what there is to read, and not because it is switched off."""
    return s.evidence_at is None and s.outcome not in (Outcome.NOTHING_TO_READ, Outcome.SKIPPED)


def _scope(snapshot: Snapshot, s: ScopeState, repo: dict[str, Any], packs: dict[str, tuple[Gap, ...]]) -> ScopeReport:
    """One scope: its observations that are open findings, and findings that the newest look did not rule out."""
    found = {f["anchor_uid"]: f for f in snapshot.findings_of([(s.repo_id, s.ref, s.tool)]) if f["is_open"]}
    names = [s.result_name] if s.result_name else []
    seen = [o for o in snapshot.observations_of(names).get(s.result_name or "", ()) if o.anchor_uid in found]
    there = {o.anchor_uid for o in seen}
    gaps = list(snapshot.gaps_of(names).get(s.result_name or "", ()))
    unread = {g.path for g in gaps}
    left = [_standing(f, _why_kept(f, unread, s.tool in packs)) for anchor, f in found.items() if anchor not in there]
    gaps += _of_the_whole(s)
    if not s.repo_id.startswith(PACK):
        gaps += packs.get(s.tool, ())
    looked = s.evidence_at is not None or s.outcome is Outcome.NOTHING_TO_READ
    assert snapshot.run is not None
    return ScopeReport(
        repo_id=s.repo_id,
        slug=s.slug,
        url=repo["url"] if repo["source"] != STORE_SOURCE else "",  # no code comes from there
        ref=s.ref,
        commit=s.commit or None,
        tool=s.tool,
        tool_version=s.tool_version,
        looked_at=(s.evidence_at or snapshot.run["finished_at"]) if looked else None,
        observations=(*seen, *left),
        gaps=tuple(gaps),
        findings={a: (f["finding_uid"], f["first_seen_at"]) for a, f in found.items()},
    )


def _of_the_whole(s: ScopeState) -> list[Gap]:
    """Why the scope as a whole was not read."""
    if s.evidence_at is None and s.outcome is Outcome.SKIPPED:
        return [Gap(path="", reason_code="switched_off", detail=s.detail)]
    if (str(s.outcome) in GAP_OUTCOMES and s.outcome is not Outcome.PARTIAL) or _never(s):
        return [Gap(path="", reason_code=s.reason_code or str(s.outcome), detail=s.detail)]
    return []


def _why_kept(f: dict[str, Any], unread: set[str], rules_failed: bool) -> str:
    """Why a finding stands that the newest look did not see."""
    if unread & {"", f["path"]}:
        return "its place was not read by the newest look"
    if rules_failed:
        return "not all rules ran in the newest look"
    return "one of its places was not read by the newest look, or its rule did not run"


def _standing(f: dict[str, Any], why: str) -> Observation:
    """A finding that the newest look neither saw nor ruled out."""
    same = ("anchor_uid", "rule_id", "title", "severity_tool", "path", "line_start", "line_end", "resource")
    return Observation(
        **{n: f[n] for n in same},
        occurrence_uid=digest(f["anchor_uid"], "standing"),
        kind=Kind(f["kind"]),
        extra={"standing": why},
    )
