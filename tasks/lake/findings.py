"""From results to findings: what a changed scope opens, keeps, closes and carries along. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from tasks.core.identity import FP_VERSION, finding_uid
from tasks.core.reports import is_finding
from tasks.core.types import Kind, Observation
from tasks.lake.changes import (
    PRESENT,
    Change,
    Judge,
    Moment,
    Origin,
    Places,
    ScopeKey,
    Status,
    did_not_run,
    key_of,
    scope_of,
    undecided,
)
from tasks.lake.events import settle

Row = dict[str, Any]
#: Of more paths none is kept: nobody reads them, and a secret may stand in each file of a large tree.
_MAX_PATHS = 100
#: Causes of opening by origin.
_CAUSE_OF = {
    Origin.BACKLOG: "first_scan",
    Origin.CODE: "code_changed",
    Origin.RULES: "rules_changed",
    Origin.ADVISORY: "advisory",
    Origin.IMPORT: "import",
    Origin.TIME: "time_passed",
    Origin.SETTINGS: "settings_changed",
}


class Transition(NamedTuple):
    """A row of ``findings`` to merge, and the row of ``finding_events`` if its status is another one."""

    row: Row
    event: Row | None


def transitions(
    known: Iterable[Mapping[str, Any]],
    changes: Iterable[Change],
    moment: Moment,
    places: Places | None = None,
    judge: Judge = undecided,
) -> Iterator[Transition]:
    """The rows to merge, made one by one: a result may hold millions.

    ``known`` are all rows of ``findings`` of these repositories, ``places`` the paths at which the results before saw
    them. A finding closes only when its scope's new result lacks its anchor and did read every one of its paths (a
    gap without a path may be any) by a tool whose rules all ran; it opens again when it is seen again. Where a file
    was renamed, what closes under its old path and opens under the new one is carried over, if there is exactly one
    such pair. What another ref holds, or held until it was archived, is as old here as it is there. Rows that would
    not change are left out.
    """
    by_scope: dict[ScopeKey, dict[str, Mapping[str, Any]]] = {}
    for row in known:
        by_scope.setdefault(scope_of(row), {})[row["finding_uid"]] = row
    refs: dict[tuple[str, str], list[dict[str, Mapping[str, Any]]]] = {}
    for (repo_id, _ref, tool), rows in by_scope.items():
        refs.setdefault((repo_id, tool), []).append(rows)
    for change in changes:
        everywhere = refs.get((change.repo_id, change.tool), ())
        scope = _Scope(change, by_scope.get(change.key, {}), everywhere, moment, places or {}, judge)
        yield from scope.transitions()


class _Scope:
    """One changed scope."""

    def __init__(
        self,
        change: Change,
        before: dict[str, Mapping[str, Any]],
        everywhere: Sequence[Mapping[str, Mapping[str, Any]]],
        moment: Moment,
        places: Places,
        judge: Judge,
    ) -> None:
        """``before`` are the rows of the scope, ``everywhere`` those of each ref of its repository and tool."""
        self._change, self._before, self._moment, self._judge = change, before, moment, judge
        self._everywhere = everywhere
        self._stood = places.get(change.before or "", {})
        self._unread = {g.path for g in change.result.gaps} if change.result is not None else set()

    def transitions(self) -> Iterator[Transition]:
        seen = _seen(self._change)
        gone = {
            uid: where
            for uid, old in self._before.items()
            if uid not in seen and old["scan_status"] in PRESENT
            for where in [self._where(old)]
        }
        closing: dict[str, set[str]] = {}
        for uid, where in gone.items():
            old = self._before[uid]
            doubtful = self._doubtful(old, where)
            if not doubtful:
                closing[uid] = where
            else:
                left = sorted(doubtful) if doubtful != {old["path"] or ""} else None
                yield from self._stays(old, {**old, "unread_paths": left})
        carried = self._carried(seen, closing)
        for uid, observations in seen.items():
            yield from self._there(uid, observations, carried.get(uid))
        moved = set(carried.values())
        for uid, where in closing.items():
            old = self._before[uid]
            cause = "moved" if uid in moved else self._why_gone(old["rule_id"], where)
            yield self._settled(old, self._closed(old, cause), cause)

    @cached_property
    def _same_paths(self) -> frozenset[str] | None:
        return self._change.same_paths()

    def _settled(self, old: Mapping[str, Any] | None, row: Row, cause: str) -> Transition:
        return Transition(*settle(old, row, cause, self._judge, self._moment))

    def _stays(self, old: Mapping[str, Any], row: Row) -> Iterator[Transition]:
        """A finding that is there as before, if anything but the commit has changed of it."""
        t = self._settled(old, row, "")
        if {**t.row, "commit": old["commit"]} != old:
            yield t

    # -- what is there ----------------------------------------------------------------------------------

    def _there(self, uid: str, observations: Sequence[Observation], source: str | None) -> Iterator[Transition]:
        """A finding that the result holds; ``source`` names the one whose life it goes on."""
        old = self._before.get(uid)
        row = self._described(uid, observations)
        if old is not None and old["scan_status"] in PRESENT:
            doubtful = _of(self._where(old), self._unread) - {o.path or "" for o in observations}
            yield from self._stays(old, {**old, **row, "unread_paths": sorted(doubtful) or None})
            return
        if source is not None:
            goes_on = self._before[source]
            yield self._settled(old, {**self._opened(row, goes_on), "moved_from": source}, "moved")
            return
        going_on = self._unmended(uid)
        if old is None and going_on is not None:
            status = going_on["scan_status"] if going_on["scan_status"] in PRESENT else Status.OPEN
            life = {**self._opened(row, going_on), "scan_status": status, "moved_from": going_on["moved_from"]}
            yield self._settled(None, life, "branched")
            return
        origin = self._origin(row)
        life = self._opened(row, old, origin)
        if old is not None:
            since = going_on or {"opened_run": self._moment.run_id, "opened_at": self._moment.at}
            life |= {
                "scan_status": Status.REOPENED, "opened_run": since["opened_run"], "opened_at": since["opened_at"],
                "moved_from": old["moved_from"],
            }  # fmt: skip
        is_back = old is not None and old["scan_status"] == Status.ARCHIVED
        yield self._settled(old, life, "restored" if is_back else _CAUSE_OF[origin])

    def _unmended(self, uid: str) -> Mapping[str, Any] | None:
        """The longest open life of a finding that goes on: in a ref that holds it, or in one that held it until it was
        archived and since when no ref mended it. None if there is none, so that its clock starts now."""
        rows = [row for ref in self._everywhere if (row := ref.get(uid)) is not None]
        mended = [r["fixed_at"] for r in rows if r["scan_status"] == Status.FIXED and r["fixed_reason"] != "moved"]
        last = max(mended, default=None)
        going_on = [
            r
            for r in rows
            if r["scan_status"] in PRESENT
            or (r["scan_status"] == Status.ARCHIVED and (last is None or r["fixed_at"] >= last))
        ]
        return min(going_on, key=lambda r: (r["opened_at"], r["first_seen_at"], r["ref"]), default=None)

    def _described(self, uid: str, observations: Sequence[Observation]) -> Row:
        """What a finding's places say of it, told by the first one."""
        first = min(observations, key=lambda o: (o.path or "", o.line_start or 0, o.occurrence_uid))
        paths = sorted({o.path or "" for o in observations}) if len(observations) > 1 else []
        change = self._change
        return {
            "finding_uid": uid,
            "repo_id": change.repo_id,
            "ref": change.ref,
            "tool": change.tool,
            "slug": change.slug,
            "anchor_uid": first.anchor_uid,
            "carry_uid": first.carry_uid,
            "flaw_uid": first.flaw_uid,
            "kind": str(first.kind),
            "rule_id": first.rule_id,
            "title": first.title,
            "severity_tool": first.severity_tool,
            "severity_score": first.extra.get("security_severity"),
            "path": first.path,
            "line_start": first.line_start,
            "line_end": first.line_end,
            "resource": first.resource,
            "advisories": str(first.extra.get("advisories") or "").split() or None,
            "occurrences": len(observations),
            "paths": paths if 0 < len(paths) <= _MAX_PATHS else None,
            "commit": change.commit,
        }

    def _opened(self, row: Row, life: Mapping[str, Any] | None, origin: Origin = Origin.CODE) -> Row:
        """A row that is there now; ``life`` is the one whose first sighting, opening and origin it keeps."""
        now = self._moment
        return {
            **row,
            "scan_status": life["scan_status"] if life is not None else Status.OPEN,
            "origin": life["origin"] if life is not None else origin,
            "first_seen_run": life["first_seen_run"] if life is not None else now.run_id,
            "first_seen_at": life["first_seen_at"] if life is not None else now.at,
            "opened_run": life["opened_run"] if life is not None else now.run_id,
            "opened_at": life["opened_at"] if life is not None else now.at,
            "moved_from": None,
            "owners": None,  # said when it is written (tasks.lake.ownership)
            "owner_from": None,
            "fixed_run": None,
            "fixed_at": None,
            "fixed_reason": None,
            "unread_paths": None,
            "fp_version": FP_VERSION,
            "key_id": now.key_id,
        }

    def _origin(self, row: Row) -> Origin:
        """Why a finding is there that was not there before."""
        change = self._change
        if change.origin is not None:
            return change.origin
        path = row["path"] or ""
        if path in change.unread_before:
            return Origin.BACKLOG
        came = Origin.SETTINGS if change.of_settings else Origin.CODE
        if not change.other_tool:
            aged = change.same_commit and row["kind"] == Kind.POSTURE and not change.of_settings
            return Origin.TIME if aged or change.aged(row["rule_id"], path) else came
        if self._same_paths is not None and path in self._same_paths:
            return Origin.ADVISORY if row["kind"] == Kind.DEPENDENCY else Origin.RULES
        known = change.rules_before()
        return came if known is None or row["rule_id"] in known else Origin.RULES

    # -- what is gone -----------------------------------------------------------------------------------

    def _where(self, old: Mapping[str, Any]) -> set[str]:
        """Where a finding was seen and, as far as is known, still stands."""
        if self._change.unjudged is not None:
            return {old["path"] or ""}
        places = {*self._stood.get(old["anchor_uid"], ()), *(old["unread_paths"] or ())}
        return places or {old["path"] or ""}

    def _doubtful(self, old: Mapping[str, Any], where: set[str]) -> set[str]:
        """Where a finding that is not seen may be all the same."""
        if self._change.unjudged is None:
            return _of(where, self._unread) | self._withheld(old["rule_id"], where)
        gap = self._change.unjudged(old["rule_id"], old["path"] or "")
        return {gap} if gap is not None else set()

    def _withheld(self, rule_id: str, where: set[str]) -> set[str]:
        """Paths at which a finding was not looked for because its rule did not run, though they are still there."""
        if not did_not_run(rule_id, self._change.not_run, self._change.rules):
            return set()
        there = self._change.paths()
        return where if there is None else where & (there | {""})

    def _closed(self, old: Mapping[str, Any], cause: str) -> Row:
        return {
            **old,
            "scan_status": Status.ARCHIVED if self._change.archives else Status.FIXED,
            "fixed_run": self._moment.run_id,
            "fixed_at": self._moment.at,
            "fixed_reason": cause,
            "unread_paths": None,
            "commit": self._change.commit,
            "slug": self._change.slug,
        }

    def _why_gone(self, rule_id: str, where: set[str]) -> str:
        """Why a finding is not seen any more: only ``code_changed`` and ``file_gone`` say that the code, and
        nothing else, has changed."""
        change = self._change
        if change.archives is not None:
            return change.archives
        if change.result is None:
            # Tools read files by their names: where one is still there, it is the tool that reads it no more.
            there = change.paths()
            return "code_or_tool" if there is None else "tool_changed" if where & there else "file_gone"
        if change.origin is Origin.IMPORT:
            # A report does not say what it read: of the tool at most that it is another one.
            return "code_or_tool" if change.other_tool else "import"
        if change.rules is not None and rule_id not in change.rules:
            # One that should have run is not gone: its file is.
            return self._how_mended(where) if did_not_run(rule_id, change.not_run, change.rules) else "rule_gone"
        if not change.other_tool:
            return self._how_mended(where)
        if self._same_paths is not None and where <= self._same_paths:
            return "tool_changed"
        return "code_or_tool"

    def _how_mended(self, where: set[str]) -> str:
        if self._change.of_settings:
            return "settings_changed"
        there = self._change.paths()
        return "file_gone" if there is not None and where.isdisjoint(there | {""}) else "code_changed"

    # -- what was renamed -------------------------------------------------------------------------------

    def _carried(self, seen: Mapping[str, Sequence[Observation]], closing: Mapping[str, set[str]]) -> dict[str, str]:
        """The uid that opens → the one that closes, of which it is the same flaw under another path."""
        leaving: dict[str, list[str]] = {}
        for uid in closing:
            if (carry := self._before[uid]["carry_uid"]) is not None:
                leaving.setdefault(carry, []).append(uid)
        coming: dict[str, list[str]] = {}
        if leaving:
            for uid, observations in seen.items():
                old = self._before.get(uid)
                carry = observations[0].carry_uid
                if carry in leaving and (old is None or old["scan_status"] not in PRESENT):
                    coming.setdefault(carry, []).append(uid)
        if not coming:
            return {}
        after, before = self._change.paths(), self._change.paths_before()
        if after is None or before is None:
            return {}
        pairs = {}
        for carry, uids in coming.items():
            # A rename takes a path away and brings one that was not there.
            left = [u for u in leaving[carry] if closing[u].isdisjoint(after | {""})]
            came = [u for u in uids if all((o.path or "") not in before | {""} for o in seen[u])]
            if len(left) == len(came) == 1:
                pairs[came[0]] = left[0]
        return pairs


def _of(where: set[str], unread: set[str]) -> set[str]:
    """Those of the paths that were not read; a gap without a path may be any."""
    return set(where) if "" in unread else where & unread


def counted(
    found: Iterable[Transition],
    known: Iterable[Mapping[str, Any]],
    unwatched: Collection[ScopeKey],
    tally: Counter[str],
) -> Iterator[Transition]:
    """The transitions, their events with the scopes that then hold the finding open; findings ``opened`` and ``fixed``
    by them are counted when all are out.

    A finding is there as long as it is in any scope: what is gone from one branch and stands in another is not
    fixed, and what comes to a second branch is not new. What was renamed is neither, and what is archived is not
    fixed. ``known`` are the rows of all scopes of these repositories; of ``unwatched`` scopes none counts.
    """
    watched = [row for row in known if scope_of(row) not in unwatched]
    standing = {key_of(row) for row in watched if row["scan_status"] in PRESENT}
    before = Counter(uid for uid, _, _ in standing)
    was_open = {key_of(row) for row in watched if row["is_open"]}
    holding = Counter(uid for uid, _, _ in was_open)
    moves = Counter[str]()
    mended = set[str]()
    for t in found:
        uid, key = t.row["finding_uid"], key_of(t.row)
        is_watched = scope_of(t.row) not in unwatched
        if is_watched:
            holding[uid] += t.row["is_open"] - (key in was_open)
        if t.event is not None:
            t.event["open_scopes"] = holding[uid]
        if is_watched and (t.event is None or t.event["cause"] != "moved"):
            moves[uid] += (t.row["scan_status"] in PRESENT) - (key in standing)
            if t.row["scan_status"] == Status.FIXED:
                mended.add(uid)
        yield t
    for uid, move in moves.items():
        tally["opened"] += before[uid] == 0 and move > 0
        tally["fixed"] += before[uid] > 0 and before[uid] + move == 0 and uid in mended


def _seen(change: Change) -> dict[str, list[Observation]]:
    """The findings of a result: the places of each, by its id."""
    seen: dict[str, list[Observation]] = {}
    for o in filter(is_finding, change.result.observations if change.result is not None else ()):
        if o.kind is not Kind.PACKAGE:  # an inventory: nothing is wrong with what is listed
            seen.setdefault(finding_uid(repo_id=change.repo_id, anchor_uid=o.anchor_uid), []).append(o)
    return seen
