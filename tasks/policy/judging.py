"""Which decision speaks of a finding or a gap, and for how many. Pure.

Decisions are found by index: by what they name exactly, else by the plain beginning or end of their patterns, so that
ten thousand of them over a million findings are no 10^10 comparisons. Patterns are matched against the whole text,
``*`` also across slashes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import translate
from functools import cache
from typing import Any

from tasks.policy.decisions import Decision, Kind, longest_days
from tasks.policy.lineage import Lineage
from tasks.policy.severity import severity_of

#: Texts of which an index keeps the answer: repositories come again and again, paths a few times.
_REMEMBERED = 20_000
_WILD = re.compile(r"[*?\[]")
_OF_NO_FINDING = (Kind.ACCEPTED_GAP, Kind.APPROVED_ROTATION)


def severity_of_row(row: Mapping[str, Any]) -> str:
    """The severity of a row of ``findings``."""
    return str(severity_of(row["tool"], row.get("severity_tool"), row.get("severity_score")))


#: The columns of ``findings`` that a verdict rests on.
JUDGED = (
    "finding_uid", "repo_id", "ref", "slug", "path", "paths", "unread_paths", "occurrences", "tool", "rule_id",
    "advisories", "severity_tool", "severity_score", "moved_from", "opened_run", "decision_id", "first_seen_at",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A decision in force and since when its author decided it: the longest expiry counts from there."""

    decision: Decision
    decided_at: datetime

    def until(self, severity: str) -> datetime:
        """The first moment it is in force no more about something of a severity."""
        longest = self.decided_at + timedelta(days=longest_days(self.decision.kind, severity))
        return min(self.decision.ends_at, longest)


@cache
def _matcher(pattern: str) -> Callable[[str], object]:
    """Whether a text matches, as ``fnmatchcase`` says it; compiling thousands of patterns takes seconds."""
    parts = _WILD.split(pattern)
    if len(parts) == 1:
        return pattern.__eq__
    if len(parts) == 2 and pattern.startswith("*"):
        return lambda text: text.endswith(parts[1])
    if len(parts) == 2 and pattern.endswith("*"):
        return lambda text: text.startswith(parts[0])
    return re.compile(translate(pattern)).match


class _Patterns:
    """Decisions by a pattern for one text."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = {}
        #: By the plain beginning or end of a pattern, whichever is longer; with the lengths there are.
        self._starts: dict[str, list[tuple[str, int]]] = {}
        self._ends: dict[str, list[tuple[str, int]]] = {}
        self._start_sizes: set[int] = set()
        self._end_sizes: set[int] = set()
        self._known: dict[str, list[int]] = {}

    def add(self, pattern: str, n: int) -> None:
        parts = _WILD.split(pattern)
        if len(parts) == 1:
            self._exact.setdefault(pattern, []).append(n)
            return
        # Behind a bracket the text is no plain end.
        last = "" if "[" in pattern else parts[-1]
        if len(parts[0]) >= len(last):
            self._starts.setdefault(parts[0], []).append((pattern, n))
            self._start_sizes.add(len(parts[0]))
        else:
            self._ends.setdefault(last, []).append((pattern, n))
            self._end_sizes.add(len(last))

    def of(self, text: str) -> list[int]:
        if (found := self._known.get(text)) is None:
            near = [p for size in self._start_sizes for p in self._starts.get(text[:size], ())]
            near += [p for size in self._end_sizes for p in self._ends.get(text[len(text) - size :], ())]
            found = [*self._exact.get(text, ()), *(n for pattern, n in near if _matcher(pattern)(text))]
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[text] = found
        return found


@dataclass(slots=True)
class _Bucket:
    """Decisions that share what they name exactly, by their path, else their repository."""

    paths: _Patterns = field(default_factory=_Patterns)
    repositories: _Patterns = field(default_factory=_Patterns)
    rest: list[int] = field(default_factory=list)

    def add(self, decision: Decision, n: int) -> None:
        if (path := decision.by("path")) is not None:
            self.paths.add(path, n)
        elif (repository := decision.by("repository")) is not None:
            self.repositories.add(repository, n)
        else:
            self.rest.append(n)

    def of(self, paths: Collection[str], slug: str) -> Iterator[int]:
        for path in paths:
            yield from self.paths.of(path)
        yield from self.repositories.of(slug)
        yield from self.rest


class Index:
    """Finds the decisions that match, in the order of the file."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self._buckets: dict[tuple[str, str], _Bucket] = {}
        self._matchers = [{k: v for k, v in d.matchers if k not in ("path", "repository")} for d in decisions]
        self._patterns = [{k: v for k, v in d.matchers if k in ("path", "repository")} for d in decisions]
        for n, d in enumerate(decisions):
            name = next((k for k in ("finding", "cve", "rule", "gap", "tool") if d.by(k) is not None), "")
            self._buckets.setdefault((name, d.by(name) or ""), _Bucket()).add(d, n)

    def of(self, thing: Mapping[str, Any], uids: Iterable[str] = ()) -> list[int]:
        """The numbers of the decisions about something: ``rule_id``, ``advisories``, ``slug``, ``tool``, its places
        (``path`` and, of findings, ``paths``, ``unread_paths``, ``occurrences``) and, of a gap, ``reason_code``;
        ``uids`` are the ids it has, and had before its file was renamed."""
        return self.look(thing, uids)[0]

    def look(self, thing: Mapping[str, Any], uids: Iterable[str] = ()) -> tuple[list[int], list[int]]:
        """Beside those of ``of`` the decisions that name some of its places, and not all, or nobody knows all."""
        slug, uids = thing["slug"], tuple(uids)
        paths, is_all = _places(thing)
        cves = {str(i).upper() for i in (thing.get("rule_id"), *(thing.get("advisories") or ())) if i}
        keys = [
            *(("finding", uid) for uid in uids),
            *(("cve", cve) for cve in cves),
            ("rule", thing.get("rule_id") or ""),
            ("gap", thing.get("reason_code") or ""),
            ("tool", thing["tool"]),
            ("", ""),
        ]
        found = {n for key in keys if (b := self._buckets.get(key)) is not None for n in b.of(paths, slug)}
        about: list[int] = []
        in_part: list[int] = []
        for n in sorted(found):
            if self._holds(n, thing, uids, cves):
                pattern = self._patterns[n].get("path")
                holds = pattern is None or (is_all and all(_matcher(pattern)(p) for p in paths))
                (about if holds else in_part).append(n)
        return about, in_part

    def _holds(self, n: int, thing: Mapping[str, Any], uids: tuple[str, ...], cves: set[str]) -> bool:
        """Whether all matchers hold, but for the path."""
        for name, value in self._matchers[n].items():
            if name == "finding":
                holds = value in uids
            elif name == "cve":
                holds = value in cves
            else:
                column = {"rule": "rule_id", "gap": "reason_code"}.get(name, name)
                holds = thing.get(column) == value
            if not holds:
                return False
        repository = self._patterns[n].get("repository")
        return repository is None or bool(_matcher(repository)(thing["slug"]))


def _places(thing: Mapping[str, Any]) -> tuple[list[str], bool]:
    """The paths at which something stands or may stand, and whether these are all."""
    found = {thing.get("path") or "", *(thing.get("paths") or ()), *(thing.get("unread_paths") or ())}
    return sorted(found), (thing.get("occurrences") or 1) == 1 or thing.get("paths") is not None


@dataclass(slots=True)
class Count:
    """What a decision matches: places of findings it holds, and those beyond its pinned count, which stay open.

    A finding and those for which it goes on take one place (``tasks.policy.lineage``).
    """

    held: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)
    #: Those that stand at other paths too than it names, or at some that nobody knows: they stay open.
    elsewhere: set[str] = field(default_factory=set)
    #: Whether something is of a severity for which it is in force no more, though it has not expired.
    cut_short: bool = False

    @property
    def matches(self) -> int:
        """All it matches."""
        return len(self.held) + len(self.over)


class Bench:
    """Decisions in force at a moment, over all findings that are there.

    ``seat`` it with the findings the lake knows (those that are there, with the columns of ``JUDGED``), then ask
    ``verdict``. Of more matches than pinned the newest by first sighting stay open; of one moment those that the
    decision held already are kept, then those of the smaller id. Findings that came since are held in the order in
    which they are asked about, while there is room. One decision speaks of a finding: the first given whose count has
    room for it.
    """

    def __init__(
        self,
        standing: Sequence[Standing],
        at: datetime,
        severity_of: Callable[[Mapping[str, Any]], str] = severity_of_row,
    ) -> None:
        self._standing = [s for s in standing if s.decision.kind not in _OF_NO_FINDING and s.decision.ends_at > at]
        self._index = Index([s.decision for s in self._standing])
        self._at, self._severity_of = at, severity_of
        self._lineage = Lineage({})
        self.counts = {s.decision.id: Count() for s in self._standing}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is decided."""
        return not self._standing

    def seat(self, rows: Iterable[Mapping[str, Any]], moved: Mapping[str, str]) -> None:
        """Count what the lake knows; ``moved`` names, of each finding that was renamed, the one it goes on for."""
        first: dict[str, tuple[datetime, bool, str]] = {}
        wanted: dict[str, set[tuple[int, ...]]] = {}
        for row, place, speaking in self.hear(rows, moved):
            wanted.setdefault(place, set()).add(tuple(speaking))
            holds = row["decision_id"] in {self._standing[n].decision.id for n in speaking}
            key = (row["first_seen_at"], not holds, row["finding_uid"])
            first[place] = min(first.get(place, key), key)
        for place in sorted(wanted, key=first.__getitem__):
            for some in sorted(wanted[place]):
                self._sit(place, some)

    def hear(
        self, rows: Iterable[Mapping[str, Any]], moved: Mapping[str, str]
    ) -> Iterator[tuple[Mapping[str, Any], str, list[int]]]:
        """Of each row of which decisions speak its place and their numbers; nobody is held by that."""
        self._lineage = Lineage(moved)
        later = []
        for row in rows:
            if self._lineage.concerns(row):
                later.append(row)
            elif speaking := self._speaking(row):
                yield row, row["finding_uid"], speaking
        self._lineage.see(later)
        for row in later:
            if speaking := self._speaking(row):
                yield row, self._lineage.place(row), speaking

    def verdict(self, row: Mapping[str, Any]) -> tuple[Decision, datetime] | None:
        """The decision about a finding that is there and until when, None without one."""
        speaking, place = self._speaking(row), self._lineage.place(row)
        # The same flaw under another name, or on another ref: its place is not taken twice.
        n = next((n for n in speaking if place in self._count(n).held), None)
        if n is None:
            n = self._sit(place, speaking)
        if n is None:
            return None
        standing = self._standing[n]
        return standing.decision, standing.until(self._severity_of(row))

    def held(self) -> Iterator[str]:
        """The ids of all findings that decisions hold, and of those for which these go on."""
        return self._lineage.sharing(place for count in self.counts.values() for place in count.held)

    def _count(self, n: int) -> Count:
        return self.counts[self._standing[n].decision.id]

    def _sit(self, place: str, speaking: Sequence[int]) -> int | None:
        """Give a place to the first decision that has room; all that have none count it as beyond their pin."""
        for n in speaking:
            count = self._count(n)
            if place in count.held:
                return n
            if len(count.held) < self._standing[n].decision.matches:
                count.held.add(place)
                count.over.discard(place)
                return n
            count.over.add(place)
        return None

    def _speaking(self, row: Mapping[str, Any]) -> list[int]:
        """The decisions in force about a row."""
        about, in_part = self._index.look(row, self._lineage.names(row))
        for n in in_part:
            self._count(n).elsewhere.add(row["finding_uid"])
        found = []
        for n in about:
            if self._is_anothers(n, row):
                continue
            if self._standing[n].until(self._severity_of(row)) > self._at:
                found.append(n)
            else:
                self._count(n).cut_short = True
        return found

    def _is_anothers(self, n: int, row: Mapping[str, Any]) -> bool:
        """Whether a decision names the finding for which a row once went on, and which is there beside it again: the
        row keeps what it has, and gets nothing new."""
        decision = self._standing[n].decision
        uid = decision.by("finding")
        if uid is None or uid == row["finding_uid"] or row.get("decision_id") == decision.id:
            return False
        return self._lineage.is_beside(row, uid)


def accepted_gaps(
    standing: Sequence[Standing], at: datetime, gaps: Iterable[Mapping[str, Any]]
) -> tuple[list[str | None], dict[str, int]]:
    """Of each gap (``reason_code``, ``tool``, ``slug``, ``path``) the decision that accepts it, and how many each
    decision matches. One that matches more gaps than it pins accepts none: gaps have no age by which to choose."""
    mine = [s for s in standing if s.decision.kind is Kind.ACCEPTED_GAP and s.until("unknown") > at]
    index = Index([s.decision for s in mine])
    told = [index.of(g) for g in gaps]
    counts = {s.decision.id: 0 for s in mine}
    for numbers in told:
        for n in numbers:
            counts[mine[n].decision.id] += 1
    fits = [counts[s.decision.id] <= s.decision.matches for s in mine]
    return [next((mine[n].decision.id for n in numbers if fits[n]), None) for numbers in told], counts
