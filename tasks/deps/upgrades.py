"""The smallest step that fixes a vulnerable package: to a version that no advisory is about, and that really exists.

"The highest of the fixed versions" is still vulnerable in one case of seventeen, so every published version is judged
against all advisories of its package. The rules:

1. never a downgrade, never a version that was withdrawn (yanked), no pre-release unless one is in use already;
2. of the versions that no advisory is about, the lowest of the nearest step: patch, else minor, else major (in 0.x a
   minor step counts as major, https://semver.org/#spec-item-4). Where releases come in flavours (``32.0-jre`` and
   ``32.0-android`` of Maven) one of the same flavour goes before others of that step, and of these one that the
   registry does not speak against (deprecated) before those;
3. if there is none, the version above that keeps the fewest of the advisories and adds no other one: a partial fix;
4. else none, with the reason.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import islice

from tasks.deps import ordering
from tasks.deps.ordering import Step


class Outcome(StrEnum):
    """What became of the search."""

    SAFE = "safe"
    PARTIAL = "partial"
    NONE = "none"


class Reason(StrEnum):
    """Why there is no safe version, or none at all: codes of ``tasks.core.reasons``, which has their meanings."""

    UNKNOWN_VERSION = "unknown_version"
    NOT_PUBLISHED = "not_published"
    NOTHING_ABOVE = "nothing_above"
    ALL_VULNERABLE = "all_vulnerable"
    ONLY_PRERELEASES = "only_prereleases"
    ONLY_WITHDRAWN = "only_withdrawn"


_FLAVOUR = re.compile(r"[.-]([A-Za-z]+[0-9]*)$")
#: The nearest first. A step that an ecosystem does not tell is as far as any.
_FAR = {Step.PATCH: 0, Step.MINOR: 1, Step.MAJOR: 2, Step.NONE: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One version in its registry. ``at`` is None where it does not tell; ``word`` is the registry's that nobody should
    use it any more (deprecated, end of life)."""

    version: str
    at: datetime | None = None
    is_withdrawn: bool = False
    word: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The step to take from ``version``.

    ``cleared`` and ``remaining`` are groups of advisories. ``releases_skipped`` counts the published versions between
    (withdrawn ones and pre-releases left out), ``days_behind`` lies between the publication of both, ``newest`` is the
    highest version that a step might go to. ``is_breaking``: by its number the step may break (None: not known).
    ``word`` is the registry's against the version ``to``.
    """

    version: str
    outcome: Outcome
    to: str | None = None
    reason: Reason | None = None
    step: Step = Step.NONE
    is_breaking: bool | None = None
    cleared: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    releases_skipped: int = 0
    days_behind: int | None = None
    newest: str | None = None
    word: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far behind a version is, vulnerable or not.

    ``newest`` is the highest version that is neither withdrawn nor (unless the version in use is one) a pre-release;
    None: nothing is above. ``is_withdrawn`` is None where the registry does not know the version. ``word`` is the
    registry's against the version in use.
    """

    version: str
    newest: str | None = None
    releases_behind: int = 0
    days_behind: int | None = None
    is_withdrawn: bool | None = None
    word: str | None = None


class _Candidate:
    """One version with what is known of it. ``advisories`` are groups."""

    __slots__ = ("_line", "advisories", "is_prerelease", "key", "published")

    def __init__(self, ecosystem: str, key: bytes, published: Published, advisories: frozenset[str]) -> None:
        self.key, self.published, self.advisories = key, published, advisories
        self.is_prerelease = bool(ordering.is_prerelease(ecosystem, published.version))
        self._line: tuple[str, str, str] | bool | None = False

    def line(self, ecosystem: str) -> tuple[str, str, str] | None:
        # Of most versions nobody asks.
        if isinstance(self._line, bool):
            self._line = ordering.line(ecosystem, self.published.version)
        return self._line


class _Row:
    """Some versions in order. ``safe`` are those that no advisory is about."""

    __slots__ = ("all", "keys", "safe", "safe_keys")

    def __init__(self, some: list[_Candidate]) -> None:
        self.all, self.keys = some, [c.key for c in some]
        self.safe = [c for c in some if not c.advisories]
        self.safe_keys = [c.key for c in self.safe]


class Releases:
    """The published versions of one package, in order, each judged against all advisories of the package."""

    def __init__(
        self,
        ecosystem: str,
        published: Iterable[Published],
        judged: Mapping[str, frozenset[str]],
        key: Callable[[str, str], bytes | None] = ordering.key,
    ) -> None:
        """``judged`` tells of each vulnerable version the groups of advisories about it. ``key`` may be one that
        remembers. A version that follows no grammar is no candidate: nobody can say that it is not a downgrade."""
        self._ecosystem, self._key = ecosystem, key
        keyed: dict[bytes, Published] = {}
        for p in published:
            made = key(ecosystem, p.version)
            # Of several spellings of one version the one that is not withdrawn counts.
            if made is not None and (made not in keyed or keyed[made].is_withdrawn):
                keyed[made] = p
        none: frozenset[str] = frozenset()
        self._all = [_Candidate(ecosystem, k, p, judged.get(p.version, none)) for k, p in sorted(keyed.items())]
        self._by_key = {c.key: c for c in self._all}
        self._rows: dict[bool, _Row] = {}

    def upgrade(self, version: str, advisories: Iterable[str]) -> Upgrade:
        """The step from a version that ``advisories`` (groups) are about."""
        now, mine = frozenset(advisories), self._mine(version)
        if mine is None:
            return Upgrade(version=version, outcome=Outcome.NONE, reason=Reason.UNKNOWN_VERSION, remaining=_told(now))
        row = self._open(mine.is_prerelease)
        newest = row.all[-1].published.version if row.all and row.keys[-1] > mine.key else None
        first = bisect_right(row.safe_keys, mine.key)
        if first < len(row.safe):
            return self._to(version, mine, self._nearest(mine, row.safe, first), now, newest, None)
        above = row.all[bisect_right(row.keys, mine.key) :]
        reason = self._reason(mine.key, above)
        better = [c for c in above if c.advisories < now]
        if better:
            fewest = min(len(c.advisories) for c in better)
            best = self._nearest(mine, [c for c in better if len(c.advisories) == fewest], 0)
            return self._to(version, mine, best, now, newest, reason)
        return Upgrade(version=version, outcome=Outcome.NONE, reason=reason, remaining=_told(now), newest=newest)

    def standing(self, version: str) -> Standing:
        """How far behind the newest version one is, whatever advisories say."""
        mine = self._mine(version)
        if mine is None:
            return Standing(version=version)
        there = self._by_key.get(mine.key)
        is_withdrawn = there.published.is_withdrawn if there is not None else None
        row = self._open(mine.is_prerelease)
        newest = row.all[-1] if row.all and row.keys[-1] > mine.key else None
        return Standing(
            version=version,
            newest=newest.published.version if newest is not None else None,
            releases_behind=self._between(mine.key, newest.key) + 1 if newest is not None else 0,
            days_behind=self._days(mine, newest) if newest is not None else None,
            is_withdrawn=is_withdrawn,
            word=mine.published.word,
        )

    def _mine(self, version: str) -> _Candidate | None:
        """The version in use, published or not; None where it follows no grammar."""
        key = self._key(self._ecosystem, version)
        if key is None:
            return None
        return self._by_key.get(key) or _Candidate(self._ecosystem, key, Published(version=version), frozenset())

    def _open(self, with_prereleases: bool) -> _Row:
        """What a step may go to."""
        if with_prereleases not in self._rows:
            self._rows[with_prereleases] = _Row(
                [c for c in self._all if not c.published.is_withdrawn and (with_prereleases or not c.is_prerelease)]
            )
        return self._rows[with_prereleases]

    def _nearest(self, mine: _Candidate, some: Sequence[_Candidate], first: int) -> _Candidate:
        """The lowest of the nearest step, of those from ``first`` on; they stand in order and above ``mine``."""
        line, flavour = mine.line(self._ecosystem), self._flavour(mine)
        best, best_far = some[first], (len(_FAR), True, True)
        for c in islice(some, first, None):
            step = ordering.step_up(line, c.line(self._ecosystem))
            is_other = flavour is not None and self._flavour(c) != flavour
            far = (_FAR[step], is_other, c.published.word is not None)
            if far < best_far:
                best, best_far = c, far
            if far == (0, False, False):
                break
        return best

    def _flavour(self, candidate: _Candidate) -> str | None:
        """The word at the end of a release of Maven; None where there is none, and of a pre-release, which is on its
        way to another word."""
        if self._ecosystem != "Maven" or candidate.is_prerelease:
            return None
        found = _FLAVOUR.search(candidate.published.version)
        return found[1].lower() if found is not None else None

    def _between(self, low: bytes, high: bytes) -> int:
        """How many releases are between two versions."""
        keys = self._open(False).keys
        return bisect_left(keys, high) - bisect_right(keys, low)

    def _reason(self, key: bytes, open_to: Sequence[_Candidate]) -> Reason:
        if not self._all:
            return Reason.NOT_PUBLISHED
        if self._all[-1].key <= key:
            return Reason.NOTHING_ABOVE
        safe = [c for c in self._all if not c.advisories and c.key > key]
        if safe:
            every_one = all(c.published.is_withdrawn for c in safe)
            return Reason.ONLY_WITHDRAWN if every_one else Reason.ONLY_PRERELEASES
        return Reason.ALL_VULNERABLE if open_to else Reason.NOTHING_ABOVE

    def _to(
        self,
        version: str,
        mine: _Candidate,
        best: _Candidate,
        now: frozenset[str],
        newest: str | None,
        reason: Reason | None,
    ) -> Upgrade:
        step = ordering.step_up(mine.line(self._ecosystem), best.line(self._ecosystem))
        return Upgrade(
            version=version,
            outcome=Outcome.SAFE if reason is None else Outcome.PARTIAL,
            to=best.published.version,
            reason=reason,
            step=step,
            is_breaking=None if step is Step.NONE else step is Step.MAJOR,
            cleared=_told(now - best.advisories),
            remaining=_told(best.advisories),
            releases_skipped=self._between(mine.key, best.key),
            days_behind=self._days(mine, best),
            newest=newest,
            word=best.published.word,
        )

    def _days(self, before: _Candidate, after: _Candidate) -> int | None:
        """Days between the publication of two versions: 0 where the higher one came first."""
        old, new = before.published.at, after.published.at
        return max(0, (new - old).days) if old is not None and new is not None else None


@lru_cache(maxsize=4_096)
def _told(groups: frozenset[str]) -> tuple[str, ...]:
    # Neighbouring versions have the same flaws.
    return tuple(sorted(groups))
