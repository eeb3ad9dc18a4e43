"""Questions to the history of all heads and tags: which blobs are new, and where a blob stood."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.core.types import Occurrence, display_path
from tasks.repos.git import Git
from tasks.repos.trees import blob_sizes

#: More places than this of one blob tell nobody more.
MAX_EACH = 1000


def blobs_between(git: Git, mirror: Path, tips: Sequence[str], done_tips: Sequence[str]) -> list[tuple[str, int]]:
    """(object id, bytes) of every blob that ``tips`` reach and ``done_tips`` do not, sorted by id.

    Tips that are gone from the mirror are ignored. The result is exact: ``rev-list --not`` walks only the edge
    of what is excluded and lists a blob again that an older excluded commit holds, so those few are looked for.
    """
    there = _existing(git, mirror, done_tips)
    if there and set(tips) <= set(there):
        return []
    listed = _objects(git, mirror, tips, there)
    if there and listed:
        listed -= _objects(git, mirror, there, [])
    return sorted(blob_sizes(git, mirror, sorted(listed)).items())


def _existing(git: Git, mirror: Path, commits: Sequence[str]) -> list[str]:
    if not commits:
        return []
    out = git.check(
        ["cat-file", "--batch-check=%(objectname) %(objecttype)"],
        mirror=mirror,
        stdin="\n".join(commits).encode() + b"\n",
    )
    return [line.split(" ")[0] for line in out.decode().splitlines() if line.endswith(" commit")]


def _objects(git: Git, mirror: Path, tips: Sequence[str], exclude: Sequence[str]) -> set[str]:
    """Ids of the objects (commits, trees and blobs) that ``tips`` reach and the edge of ``exclude`` does not."""
    if not tips:
        return set()
    revisions = [*tips, *(f"^{c}" for c in exclude)]
    out = git.check(
        ["rev-list", "--objects", "--no-object-names", "--stdin"],
        mirror=mirror,
        stdin="\n".join(revisions).encode() + b"\n",
    )
    return set(out.decode("ascii").split())


def occurrences(
    git: Git, mirror: Path, tips: Sequence[str], blobs: Iterable[str], max_each: int = MAX_EACH
) -> dict[str, tuple[Occurrence, ...]]:
    """Every place of the given blobs in the history of ``tips``: (path, the oldest commit that put it there).

    A commit counts when it adds or changes the path to the blob against its first parent; blobs that only a
    merge holds (an evil merge, or a side branch's name kept by the merge) are found against every parent.
    Order: path, then commit.
    """
    wanted = set(blobs)
    if not wanted or not tips:
        return {}
    scan = _RawLog(wanted)
    git.check(
        [
            "log",
            "--stdin",
            "--reverse",
            "--topo-order",
            "--raw",
            "-z",
            "-m",
            "--root",
            "--no-renames",
            "--no-abbrev",
            "--diff-filter=AMT",
            "--no-ext-diff",
            "--no-textconv",
            "--ignore-submodules=all",
            "--format=commit %H",
        ],
        mirror=mirror,
        stdin="\n".join(tips).encode() + b"\n",
        sink=scan.feed,
    )
    return {
        blob: tuple(
            Occurrence(path=display_path(path), commit=commit) for path, commit in sorted(places.items())[:max_each]
        )
        for blob, places in scan.places.items()
    }


class _RawLog:
    """Reads ``git log --raw -z`` in pieces: NUL-separated; `:<modes> <old> <new> <status>` is followed by a path."""

    def __init__(self, wanted: set[str]) -> None:
        self._wanted = wanted
        self._rest = b""
        self._commit = ""
        self._blob: str | None = None
        self._path_next = False
        self.places: dict[str, dict[bytes, str]] = {}

    def feed(self, chunk: bytes) -> None:
        *fields, self._rest = (self._rest + chunk).split(b"\0")
        for field in fields:
            if self._path_next:
                self._path_next = False
                if self._blob is not None:
                    # Oldest first: the first commit that puts the blob at a path is the one that counts.
                    self.places.setdefault(self._blob, {}).setdefault(field, self._commit)
                continue
            # The first raw record follows its commit's line without a NUL between them.
            for line in field.split(b"\n"):
                if line.startswith(b"commit "):
                    self._commit = line[7:47].decode("ascii", "replace")
                elif line.startswith(b":"):
                    new = line.split(b" ")[3].decode("ascii", "replace")
                    self._blob = new if new in self._wanted else None
                    self._path_next = True
