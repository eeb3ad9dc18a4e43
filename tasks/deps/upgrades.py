"""The smallest step that fixes a vulnerable package: to a version that no advisory is about, and that really exists.

"The highest of the fixed versions" is still vulnerable in one case of seventeen, so every published version is judged
against all advisories of its package. The rules:

1. never a downgrade, never a version that was withdrawn (yanked), no pre-release unless one is in use already;
2. of the versions that no advisory is about, the lowest of the nearest step: patch, else minor, else major (in 0.x a
   minor step counts as major, https://semver.org/#spec-item-4);
3. if there is none, the version above that keeps the fewest of the advisories and adds no other one: a partial fix;
4. else none, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class Ordering(Protocol):
    """How the versions of one ecosystem are ordered."""

    def key(self, version: str) -> bytes | None:
        """Bytes that compare as versions do; None: it follows no grammar."""
        ...

    def is_prerelease(self, version: str) -> bool | None: ...

    def step(self, before: str, after: str) -> str | None:
        """``patch``, ``minor`` or ``major``; None where the ecosystem has no such steps."""
        ...


class Outcome(StrEnum):
    """What became of the search."""

    SAFE = "safe"
    PARTIAL = "partial"
    NONE = "none"


class Reason(StrEnum):
    """Why there is no safe version, or none at all."""

    UNKNOWN_VERSION = "unknown_version"  # the version in use follows no grammar of its ecosystem
    NOT_PUBLISHED = "not_published"  # nothing is known to be published of the package
    NOTHING_ABOVE = "nothing_above"  # the version in use is the newest
    ALL_VULNERABLE = "all_vulnerable"  # an advisory is about every version above
    ONLY_PRERELEASES = "only_prereleases"  # what is safe above is a pre-release
    ONLY_WITHDRAWN = "only_withdrawn"  # what is safe above was withdrawn


#: The nearest first. A step that an ecosystem does not tell is as far as any.
_STEPS = {"patch": 0, "minor": 1, "major": 2, None: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One version in its registry. ``at`` is None where it does not tell."""

    version: str
    at: datetime | None = None
    is_withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """The step to take from ``version``.

    ``cleared`` and ``remaining`` are groups of advisories. ``releases_skipped`` counts the published versions between
    (withdrawn ones and pre-releases left out), ``days_behind`` lies between the publication of both, ``newest`` is the
    highest version that a step might go to. ``is_breaking``: by its number the step may break (None: not known).
    """

    version: str
    outcome: Outcome
    to: str | None = None
    reason: Reason | None = None
    step: str | None = None
    is_breaking: bool | None = None
    cleared: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()
    releases_skipped: int = 0
    days_behind: int | None = None
    newest: str | None = None


@dataclass(frozen=True, slots=True)
class _Candidate:
    key: bytes
    published: Published
    #: Groups of the advisories that are about it.
    advisories: frozenset[str]
    is_prerelease: bool


class Releases:
    """The published versions of one package, in order, each judged against all advisories of the package."""

    def __init__(
        self,
        published: Iterable[Published],
        ordering: Ordering,
        judge: Callable[[Sequence[str]], Mapping[str, Iterable[str]]],
    ) -> None:
        """``judge`` tells of each of some versions the groups of advisories about it. A version that follows no grammar
        is no candidate: nobody can say that it is not a downgrade."""
        self._ordering = ordering
        keyed: dict[bytes, Published] = {}
        for p in published:
            key = ordering.key(p.version)
            # Of several spellings of one version the one that is not withdrawn counts.
            if key is not None and (key not in keyed or keyed[key].is_withdrawn):
                keyed[key] = p
        judged = judge([p.version for p in keyed.values()])
        self._all = [
            _Candidate(key, p, frozenset(judged.get(p.version, ())), bool(ordering.is_prerelease(p.version)))
            for key, p in sorted(keyed.items())
        ]

    def upgrade(self, version: str, advisories: Iterable[str]) -> Upgrade:
        """The step from a version that ``advisories`` (groups) are about."""
        now, key = frozenset(advisories), self._ordering.key(version)
        if key is None:
            return Upgrade(version=version, outcome=Outcome.NONE, reason=Reason.UNKNOWN_VERSION, remaining=_told(now))
        above = [c for c in self._all if c.key > key]
        with_prereleases = bool(self._ordering.is_prerelease(version))
        open_to = [c for c in above if not c.published.is_withdrawn and (with_prereleases or not c.is_prerelease)]
        newest = open_to[-1].published.version if open_to else None
        safe = [c for c in open_to if not c.advisories]
        if safe:
            best = min(safe, key=lambda c: (self._distance(version, c), c.key))
            return self._step(version, key, best, now, newest, None)
        reason = self._reason(above, open_to)
        better = [c for c in open_to if c.advisories < now]
        if better:
            best = min(better, key=lambda c: (len(c.advisories), self._distance(version, c), c.key))
            return self._step(version, key, best, now, newest, reason)
        return Upgrade(version=version, outcome=Outcome.NONE, reason=reason, remaining=_told(now), newest=newest)

    def _distance(self, version: str, candidate: _Candidate) -> int:
        return _STEPS[self._ordering.step(version, candidate.published.version)]

    def _reason(self, above: Sequence[_Candidate], open_to: Sequence[_Candidate]) -> Reason:
        if not self._all:
            return Reason.NOT_PUBLISHED
        if not above:
            return Reason.NOTHING_ABOVE
        if any(not c.advisories and not c.published.is_withdrawn for c in above):
            return Reason.ONLY_PRERELEASES
        if any(not c.advisories for c in above):
            return Reason.ONLY_WITHDRAWN
        return Reason.ALL_VULNERABLE if open_to else Reason.NOTHING_ABOVE

    def _step(
        self, version: str, key: bytes, best: _Candidate, now: frozenset[str], newest: str | None, reason: Reason | None
    ) -> Upgrade:
        step = self._ordering.step(version, best.published.version)
        between = [
            c for c in self._all if key < c.key < best.key and not c.published.is_withdrawn and not c.is_prerelease
        ]  # fmt: skip
        mine = next((c.published.at for c in self._all if c.key == key), None)
        days = (best.published.at - mine).days if best.published.at and mine else None
        return Upgrade(
            version=version,
            outcome=Outcome.SAFE if reason is None else Outcome.PARTIAL,
            to=best.published.version,
            reason=reason,
            step=step,
            is_breaking=None if step is None else step == "major",
            cleared=_told(now - best.advisories),
            remaining=_told(best.advisories),
            releases_skipped=len(between),
            days_behind=days,
            newest=newest,
        )


def _told(groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(groups))
