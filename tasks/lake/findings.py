"""From results to findings: what a changed scope opens, keeps and closes. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tasks.core.identity import FP_VERSION, finding_uid
from tasks.core.reports import is_finding
from tasks.core.types import Kind, Observation, ScanResult

ScopeKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A scope that now refers to another result; ``result`` is None when there is nothing to read any more.

    ``before`` names the result it referred to until now.
    """

    repo_id: str
    ref: str
    tool: str
    slug: str
    commit: str | None
    result: ScanResult | None
    before: str | None = None
    fixed_reason: str = "not_seen"
    #: Whether tool, rules, options or parser are others than those of the result before.
    other_tool: bool = False
    #: Of those cases, paths whose file is the same as then (None: it could not be found out).
    same_paths: frozenset[str] | None = frozenset()
    #: The rules in force (None: the tool does not list them).
    rules: frozenset[str] | None = None
    #: Rules, or beginnings of rules that end in ``*``, that should have run and did not: their findings stay while
    #: one of their files is there.
    not_run: frozenset[str] = frozenset()
    #: Tells the paths of the commit (None: they could not be told); asked only where a rule did not run.
    paths: Callable[[], frozenset[str] | None] = field(default=lambda: None, repr=False, compare=False)

    @property
    def key(self) -> ScopeKey:
        """The scope's key."""
        return (self.repo_id, self.ref, self.tool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The run in whose name findings change."""

    run_id: str
    at: datetime
    key_id: str


#: Paths at which a result saw each anchor.
Places = Mapping[str, Mapping[str, frozenset[str]]]


def places_of(results: Mapping[str, Iterable[Observation]]) -> Places:
    """Result name → anchor → paths."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    for name, observations in results.items():
        by_anchor = found.setdefault(name, {})
        for o in observations:
            by_anchor[o.anchor_uid] = by_anchor.get(o.anchor_uid, frozenset()) | {o.path or ""}
    return found


def transitions(
    known: Iterable[Mapping[str, Any]], changes: Iterable[Change], moment: Moment, places: Places | None = None
) -> Iterator[dict[str, Any]]:
    """The rows to merge, made one by one: a result may hold millions.

    ``known`` are all rows of ``findings`` of the changed scopes, ``places`` the paths at which the results before saw
    them. A finding closes only when its scope's new result lacks its anchor and did read every one of its paths (a
    gap without a path may be any) by a tool whose rules all ran; it opens again when it is seen again.
    ``fixed_reason`` says whether its rule or the tool may be why it is gone. Rows that would not change are left out.
    """
    by_scope: dict[ScopeKey, dict[str, Mapping[str, Any]]] = {}
    for row in known:
        by_scope.setdefault((row["repo_id"], row["ref"], row["tool"]), {})[row["finding_uid"]] = row
    for change in changes:
        before = by_scope.get(change.key, {})
        seen = _seen(change)
        unread = {g.path for g in change.result.gaps} if change.result is not None else set()
        stood = (places or {}).get(change.before or "", {})
        for uid, observations in seen.items():
            old = before.get(uid)
            row = _row(change, uid, observations)
            if old is None:
                yield _opened(row, moment)
                continue
            doubtful = _unread(_where(old, stood), unread) - {o.path or "" for o in observations}
            fresh = {**_merged(old, row, moment), "unread_paths": sorted(doubtful) or None}
            if any(fresh[k] != old[k] for k in fresh if k != "commit"):
                yield fresh
        for uid, old in before.items():
            if uid in seen or old["status"] != "open":
                continue
            where = _where(old, stood)
            doubtful = _unread(where, unread) | _withheld(change, old["rule_id"], where)
            if not doubtful:
                yield _fixed(old, change, moment, where)
            elif (left := sorted(doubtful) if doubtful != {old["path"] or ""} else None) != old["unread_paths"]:
                yield {**old, "unread_paths": left}


def _where(old: Mapping[str, Any], stood: Mapping[str, frozenset[str]]) -> set[str]:
    """Where a finding was seen and, as far as is known, still stands."""
    places = {*stood.get(old["anchor_uid"], ()), *(old["unread_paths"] or ())}
    return places or {old["path"] or ""}


def _unread(where: set[str], unread: set[str]) -> set[str]:
    """Those of the paths that were not read; a gap without a path may be any."""
    return set(where) if "" in unread else where & unread


def _fixed(old: Mapping[str, Any], change: Change, moment: Moment, where: set[str]) -> dict[str, Any]:
    return {
        **old,
        "status": "fixed",
        "fixed_run": moment.run_id,
        "fixed_at": moment.at,
        "fixed_reason": change.fixed_reason if change.result is None else _why_gone(change, old["rule_id"], where),
        "unread_paths": None,
        "commit": change.commit,
        "slug": change.slug,
    }


def counted(
    rows: Iterable[dict[str, Any]], known: Iterable[Mapping[str, Any]], tally: Counter[str]
) -> Iterator[dict[str, Any]]:
    """The rows of ``transitions`` as they are; findings ``opened`` and ``fixed`` by them are counted when all are out.

    A finding is open as long as it is open in any scope: what is gone from one branch and stands in another is not
    fixed, and what comes to a second branch is not new. ``known`` are the rows of all scopes of these repositories.
    """
    standing = {_key(row) for row in known if row["status"] == "open"}
    before = Counter(uid for uid, _, _ in standing)
    moves = Counter[str]()
    for row in rows:
        moves[row["finding_uid"]] += (row["status"] == "open") - (_key(row) in standing)
        yield row
    for uid, move in moves.items():
        tally["opened"] += before[uid] == 0 and move > 0
        tally["fixed"] += before[uid] > 0 and before[uid] + move == 0


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return (row["finding_uid"], row["ref"], row["tool"])


def did_not_run(rule_id: str, not_run: Collection[str], rules: Collection[str] | None) -> bool:
    """Whether a rule should have run and did not; ``not_run`` and ``rules`` as in ``Change``.

    One in force did run, whatever else of its pack is at fault.
    """
    return (rules is None or rule_id not in rules) and any(
        rule_id.startswith(rule[:-1]) if rule.endswith("*") else rule_id == rule for rule in not_run
    )


def _withheld(change: Change, rule_id: str, where: set[str]) -> set[str]:
    """Paths at which a finding was not looked for because its rule did not run, though they are still there."""
    if not did_not_run(rule_id, change.not_run, change.rules):
        return set()
    there = change.paths()
    return where if there is None else where & (there | {""})


def _why_gone(change: Change, rule_id: str, where: set[str]) -> str:
    """Why a finding is not seen any more: only ``not_seen`` says that the code, and nothing else, has changed."""
    if change.rules is not None and rule_id not in change.rules:
        # One that should have run is not gone: its file is.
        return "not_seen" if did_not_run(rule_id, change.not_run, change.rules) else "rule_gone"
    if not change.other_tool:
        return "not_seen"
    if change.same_paths is not None and where <= change.same_paths:
        return "tool_changed"
    return "code_or_tool"


def _seen(change: Change) -> dict[str, list[Observation]]:
    """The findings of a result: the places of each, by its id."""
    seen: dict[str, list[Observation]] = {}
    for o in filter(is_finding, change.result.observations if change.result is not None else ()):
        if o.kind is not Kind.PACKAGE:  # an inventory: nothing is wrong with what is listed
            seen.setdefault(finding_uid(repo_id=change.repo_id, anchor_uid=o.anchor_uid), []).append(o)
    return seen


def _row(change: Change, uid: str, observations: Sequence[Observation]) -> dict[str, Any]:
    """One finding, described by its first place."""
    first = min(observations, key=lambda o: (o.path or "", o.line_start or 0, o.occurrence_uid))
    return {
        "finding_uid": uid,
        "repo_id": change.repo_id,
        "ref": change.ref,
        "tool": change.tool,
        "slug": change.slug,
        "anchor_uid": first.anchor_uid,
        "kind": str(first.kind),
        "rule_id": first.rule_id,
        "title": first.title,
        "severity_tool": first.severity_tool,
        "path": first.path,
        "line_start": first.line_start,
        "line_end": first.line_end,
        "resource": first.resource,
        "occurrences": len(observations),
        "commit": change.commit,
    }


def _opened(row: Mapping[str, Any], moment: Moment) -> dict[str, Any]:
    return {
        **row,
        "status": "open",
        "first_seen_run": moment.run_id,
        "first_seen_at": moment.at,
        "opened_run": moment.run_id,
        "fixed_run": None,
        "fixed_at": None,
        "fixed_reason": None,
        "unread_paths": None,
        "fp_version": FP_VERSION,
        "key_id": moment.key_id,
    }


def _merged(old: Mapping[str, Any], row: Mapping[str, Any], moment: Moment) -> dict[str, Any]:
    """A known finding seen again: its first sighting stays."""
    reopened = old["status"] != "open"
    return {
        **_opened(row, moment),
        "first_seen_run": old["first_seen_run"],
        "first_seen_at": old["first_seen_at"],
        "opened_run": moment.run_id if reopened else old["opened_run"],
    }
