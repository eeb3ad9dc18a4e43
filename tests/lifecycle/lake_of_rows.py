"""The pure life of findings, driven night by night as ``publish`` drives it, over rows in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from itertools import starmap
from typing import Any

from tasks.core.identity import finding_uid
from tasks.core.types import Gap, Observation, ScanResult, digest
from tasks.lake.changes import Change, Judge, Moment, Origin, Status, Verdict, places_of
from tasks.lake.events import judged
from tasks.lake.findings import Transition, counted, transitions
from tests.lake_rows import KEY_ID, NIGHT, observation, result
from tests.lifecycle.world import Look, Name, Night, Scope


def moment(night: int) -> Moment:
    """The run of a night."""
    return Moment(run_id=f"run-{night}", seq=night, at=NIGHT + timedelta(days=night), key_id=KEY_ID)


def uid_of(name: Name) -> str:
    """The id of a finding."""
    return finding_uid(repo_id=name[0], anchor_uid=digest("anchor", *name[1:]))


def judge_of(night: Night) -> Judge:
    """The judge of a night's decisions."""

    def judge(row: Mapping[str, Any]) -> Verdict | None:
        for d in night.decisions:
            if d.until > night.number and d.rule == row["rule_id"] and d.path in (None, row["path"]):
                return Verdict(decision_id=d.id, status=Status(d.status), until=moment(d.until).at)
        return None

    return judge


def result_of(look: Look) -> ScanResult | None:
    """The result of a look, None if there was nothing to read."""
    if look.empty:
        return None
    repo, ref, tool = look.scope
    observations = [_seen(name, path, tool) for name, paths in sorted(look.seen().items()) for path in sorted(paths)]
    gaps = tuple(Gap(path=p, reason_code="unparsable") for p in sorted(look.unread))
    return result(
        f"{look.scope} {look.night}", *observations, repo_id=repo, ref=ref, tool=tool, gaps=gaps,
        config_digest=digest(*map(str, look.config)),
    )  # fmt: skip


def _seen(name: Name, path: str, tool: str) -> Observation:
    _repo, rule, at, text = name
    anchor = digest("anchor", rule, at, text)
    carry = digest("carry", rule, text) if tool == "code" else None
    return Observation(
        **{
            **{n: getattr(observation("any"), n) for n in ("kind", "title", "severity_tool")},
            "anchor_uid": anchor, "occurrence_uid": digest(anchor, path), "rule_id": rule, "path": path,
            "carry_uid": carry,
        }
    )  # fmt: skip


class Changes:
    """Makes of a night's looks what the patrol makes of them."""

    def __init__(self) -> None:
        self.last: dict[Scope, tuple[Look, ScanResult | None]] = {}

    def of(self, night: Night) -> list[Change]:
        """The changes of a night."""
        looked = set(self.last)
        made = [self._change(look, looked) for look in night.looks]
        self.last |= {look.scope: (look, change.result) for look, change in zip(night.looks, made, strict=True)}
        return made

    def _change(self, look: Look, looked: set[Scope]) -> Change:
        repo, ref, tool = look.scope
        last, before = self.last.get(look.scope, (None, None))
        trees = (last.tree if last is not None else {}, look.tree)
        listed = tool == "code"
        return Change(
            repo_id=repo, ref=ref, tool=tool, slug=repo, commit=None, result=result_of(look),
            before=before.result_name if before is not None else None,
            empty_reason=look.empty or "nothing_to_read",
            origin=self._origin(look, looked) if last is None else None,
            other_tool=before is not None and last is not None and not look.empty and last.config != look.config,
            same_paths=lambda: frozenset(p for p, f in trees[1].items() if trees[0].get(p) == f),
            unread_before=last.unread if last is not None else frozenset(),
            rules=look.rules if listed else None,
            rules_before=lambda: last.rules if last is not None and listed else None,
            not_run=look.not_run,
            paths=lambda: frozenset(trees[1]),
            paths_before=lambda: frozenset(trees[0]),
        )  # fmt: skip

    @staticmethod
    def _origin(look: Look, looked: set[Scope]) -> Origin | None:
        repo, _ref, tool = look.scope
        if look.expected_before or not any(s[0] == repo for s in looked):
            return Origin.BACKLOG
        return None if any((s[0], s[2]) == (repo, tool) for s in looked) else Origin.RULES


class LakeOfRows:
    """Findings and their events."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []
        self._changes = Changes()

    def publish(self, night: Night) -> int:
        """One night; how many rows it wrote."""
        changes, now, judge = self._changes_and_places(night), moment(night.number), judge_of(night)
        keys = {c.key for c in changes[0]}
        known = sorted(self.rows.values(), key=lambda r: (r["repo_id"], r["ref"], r["tool"]))
        rest = [r for r in known if (r["repo_id"], r["ref"], r["tool"]) not in keys]
        made = sorted(changes[0], key=lambda c: c.key)
        transits = [*transitions(known, made, now, changes[1], judge), *starmap(Transition, judged(rest, judge, now))]
        found = list(counted(transits, list(self.rows.values()), frozenset(), Counter()))
        for row, event in found:
            self.rows[row["finding_uid"], row["ref"], row["tool"]] = row
            if event is not None:
                self.events.append(event)
        return len(found)

    def _changes_and_places(self, night: Night) -> tuple[list[Change], Any]:
        before = [
            (r.result_name, o.anchor_uid, o.path)
            for _, r in self._changes.last.values()
            if r is not None
            for o in r.observations
        ]
        return self._changes.of(night), places_of(before)
