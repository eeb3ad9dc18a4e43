"""Of what is named without an exact version: where nobody can tell which version is installed.

A lock file that speaks for the manifest tells, by the rule by which inventories have gaps (``tasks.deps.locking``), and
its own row is judged. Where there is none, a range tells that no version of an interval is there.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tasks.deps.locking import is_locked
from tasks.deps.requiring import Interval, interval, meets
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of

#: Of a place: repository, ref, manifest, ecosystem and package.
Place = tuple[str, ...]
_PLACE = ("repo_id", "ref", "manifest", "ecosystem", "package")
#: The places that name a package without a version, and the files of the same inventory that tell one. A requirement
#: that is not of a registry says nothing of what is installed.
_UNPINNED = f"""
    WITH named AS (
        SELECT {", ".join(_PLACE)}, format, version, revision,
               CASE WHEN source = 'registry' THEN requirement END AS requirement
        FROM inventory i WHERE {{of_packages}}
    ), unpinned AS (
        SELECT {", ".join(_PLACE)}, min(format) AS format, list(DISTINCT coalesce(requirement, '')) AS requirements
        FROM named WHERE version IS NULL GROUP BY ALL
    ), pinned AS (
        SELECT repo_id, ref, ecosystem, package, list(DISTINCT manifest) AS files
        FROM named SEMI JOIN unpinned USING (repo_id, ref, ecosystem, package)
        WHERE version IS NOT NULL OR revision IS NOT NULL GROUP BY ALL
    )
    SELECT u.*, coalesce(p.files, []) AS files
    FROM unpinned u LEFT JOIN pinned p USING (repo_id, ref, ecosystem, package)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpinned:
    """A place of whose package no lock file tells the version. Each of ``requirements`` may let one in; "": any."""

    place: Place
    requirements: tuple[str, ...]

    def may_be_in(self, intervals: Collection[Interval] | None) -> bool:
        """Whether a version that a requirement lets in may lie in one of the intervals; None: they are not known."""
        if intervals is None:
            return True
        asked = [_interval(self.place[_PLACE.index("ecosystem")], r) if r else None for r in self.requirements]
        return any(one is None or any(meets(one, other) for other in intervals) for one in asked)


def place_of(row: dict[str, Any]) -> Place:
    """The place of a row of the inventory."""
    return tuple(row[column] for column in _PLACE)


def unpinned(snapshot: Snapshot, of_packages: str) -> list[Unpinned]:
    """The places whose version nobody can tell, of the packages for which a condition on ``inventory i`` holds.

    Raises LakeError.
    """
    rows = arrow_of(snapshot, _UNPINNED.format(of_packages=of_packages)).to_pylist()
    return [
        Unpinned(place=place_of(row), requirements=tuple(sorted(row["requirements"]))) for row in rows
        if not is_locked(row["manifest"], row["format"], set(row["files"]))
    ]  # fmt: skip


#: Most of an organisation asks for a package in few ways.
_interval = lru_cache(maxsize=4096)(interval)
