"""What scanners that judge by more than contents are told, and how it enters the names of their scans.

A date makes yesterday's answer wrong without a commit. The name therefore holds the dates that count and whether they
have turned, so it changes once, on the day an answer can change. When that is, the scope keeps (``again_at``): until
then an unchanged commit keeps its name without a look at its tree, and git is asked for dates only where there are
files of that kind and the commit, the tool or the day is another.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.around import Around
from tasks.core.errors import ScanGapError
from tasks.core.ports import LooksAround, Scanner
from tasks.core.types import digest
from tasks.repos.git import Git
from tasks.repos.trees import Tree, unwritten

#: Of more dated files than this only the first ones, by path, are asked about: each is a walk through the history.
MAX_DATED = 20
#: A date that nobody could tell is asked for again after this.
_ASK_AGAIN = timedelta(days=7)
_TIMEOUT_S = 120.0


def around_of(git: Git, mirror: Path, tree: Tree, scanner: Scanner, at: datetime) -> Around | None:
    """What is told to a scanner that looks around; None for any other."""
    if not isinstance(scanner, LooksAround):
        return None
    present = {e.path for e in tree.entries if e.size_bytes != 0 and scanner.reads(e.path)}
    names = present | {e.path for e in unwritten(tree, scanner.reads) if scanner.reads(e.path)}
    changed_at: dict[bytes, datetime | None] = dict.fromkeys(sorted(n for n in names if scanner.dated(n)))
    for path in list(changed_at)[:MAX_DATED]:
        changed_at[path] = _last_change(git, mirror, tree.commit, path, at)
    return Around(at=at, names=frozenset(names), changed_at=changed_at)


def named_with(name: str, around: Around | None, scanner: Scanner) -> tuple[str, datetime | None]:
    """The name of a scan, with what lies around it; and when the same files begin to be judged otherwise."""
    if around is None or not isinstance(scanner, LooksAround) or not around.changed_at:
        return name, None
    turns_at = scanner.turns_at(around.changed_at)
    turned = turns_at is not None and turns_at <= around.at
    again_at = None if turned else turns_at
    if None in around.changed_at.values():
        again_at = min(again_at or around.at + _ASK_AGAIN, around.at + _ASK_AGAIN)
    return digest("around", name, *_told(around.changed_at), turned), again_at


def _told(changed_at: Mapping[bytes, datetime | None]) -> list[object]:
    return [part for path, at in sorted(changed_at.items()) for part in (path, at.isoformat() if at else "")]


def _last_change(git: Git, mirror: Path, commit: str, path: bytes, now: datetime) -> datetime | None:
    """When the last commit that changed a path was made, as its committer's clock said.

    None where git cannot tell, and for a date that is still to come: it would keep the file young for ever.
    """
    asked = ["log", "-1", "--format=%ct", commit, "--", f":(literal){path.decode('utf-8', 'surrogateescape')}"]
    try:
        said = git.check(asked, mirror=mirror, timeout_s=_TIMEOUT_S).decode("ascii", "replace").strip()
    except ScanGapError as e:
        if e.reason_code == "cancelled":
            raise
        return None
    if not said.isdigit() or len(said) > 11:
        return None
    at = datetime.fromtimestamp(int(said), UTC)
    return at if at <= now else None
