"""Questions to the history of all heads and tags: which blobs are new, and where a blob stood.

Tips are object ids. Most are commits; a tag may name a tree or a blob as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tasks.core.origins import OddTag
from tasks.core.types import Completed, Occurrence, display_path
from tasks.repos.git import Git, failure
from tasks.repos.trees import blob_sizes

#: More places than this of one blob tell nobody more.
MAX_EACH = 1000
#: A few kilobytes of trees can name thousands of millions of paths, and git keeps all of one commit in memory. This is
#: about three million changed paths in one commit.
LOG_MEMORY_BYTES = 1024**3


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


def is_reached(git: Git, mirror: Path, commit: str) -> bool:
    """Whether a head or tag reaches a commit. Raises ScanGapError."""
    if not _existing(git, mirror, [commit]):
        return False
    return bool(git.check(["for-each-ref", "--count=1", f"--contains={commit}"], mirror=mirror).strip())


def is_ancestor(git: Git, mirror: Path, commit: str, of: str) -> bool:
    """Whether a commit is one of those that another one follows from; False where the mirror lacks one of them."""
    return git.run(["merge-base", "--is-ancestor", commit, of], mirror=mirror).exit_code == 0


def _existing(git: Git, mirror: Path, tips: Sequence[str]) -> list[str]:
    if not tips:
        return []
    out = git.check(
        ["cat-file", "--batch-check=%(objectname) %(objecttype)"],
        mirror=mirror,
        stdin="\n".join(tips).encode() + b"\n",
    )
    return [line.split(" ")[0] for line in out.decode().splitlines() if line.endswith((" commit", " tree", " blob"))]


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
    git: Git,
    mirror: Path,
    tips: Sequence[str],
    blobs: Iterable[str],
    odd: Mapping[str, OddTag] | None = None,
    max_each: int = MAX_EACH,
    limited: Callable[[str], None] = lambda _: None,
) -> dict[str, tuple[Occurrence, ...]]:
    """Every place of the given blobs in the history of ``tips``: (path, the oldest commit that put it there).

    A commit counts when it adds or changes the path to the blob against its first parent; blobs that only a
    merge holds (an evil merge, or a side branch's name kept by the merge) are found against every parent.
    What ``odd`` names (``tips`` may hold those objects) stands at its path in the tagged tree, or at the tag's full
    name for a tagged blob, and at no commit: the tagged object takes its part, where no commit has the same place.
    Order: path, then commit. More than ``max_each`` places of one blob are not kept: the oldest ones are.

    Where git cannot tell all places (a tree of too many paths, folders too deep for it, no time left), each blob has
    one of them, and ``limited`` is told why.
    """
    wanted, odd = set(blobs), odd or {}
    if not wanted:
        return {}
    places: dict[str, dict[bytes, str]] = {}
    tagged = {o.oid for o in odd.values()}
    commits = [t for t in tips if t not in tagged]
    trees = sorted({o.oid for o in odd.values() if o.kind == "tree"})
    for roots, read in ((commits, _read_log), (trees, _read_trees)):
        if not roots:
            continue
        raw = _Raw(wanted, {}, max_each)
        done = read(git, mirror, roots, raw)
        if why := _too_much(done):
            # Not what it said until then: where it stopped is chance, and the same history must read the same.
            limited(why)
            raw = _Raw(wanted, {}, 1)
            _read_objects(git, mirror, roots, raw)
        elif done.exit_code != 0:
            raise failure(done)
        for blob, there in raw.places.items():
            places[blob] = {**there, **places.get(blob, {})}
    for name, o in odd.items():
        if o.kind == "blob" and o.oid in wanted:
            places.setdefault(o.oid, {}).setdefault(name.encode("utf-8"), o.oid)
    return {
        blob: tuple(Occurrence(path=display_path(path), commit=commit) for path, commit in sorted(there.items()))
        for blob, there in places.items()
    }


def _too_much(done: Completed) -> str:
    """Why git could not list all paths, if that was it: no memory, no time, or a stack that is too small for them."""
    if done.cancelled or done.exit_code == 0:
        return ""
    if done.timed_out:
        return "the history names more paths than can be listed in time"
    deep = done.exit_code is not None and done.exit_code < 0
    if done.out_of_memory or deep or failure(done).reason_code == "memory":
        return "a commit names more paths than can be listed, or folders nest too deep"
    return ""


def _read_objects(git: Git, mirror: Path, roots: Sequence[str], raw: _Raw) -> None:
    """One place of each blob, at the oldest commit that has it: every object is visited once, however many paths."""
    asked = set(roots)
    rest, commit = b"", ""

    def feed(chunk: bytes) -> None:
        nonlocal rest, commit
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            oid, blank, path = line.partition(b" ")
            name = oid.decode("ascii", "replace")
            # A commit has no blank after it; of the trees that were asked for, the path is empty.
            if not blank or (not path and name in asked):
                commit = name
            elif path:
                raw.add(name, path, commit)

    git.check(
        ["rev-list", "--objects", "--in-commit-order", "--topo-order", "--reverse", "--stdin"],
        mirror=mirror,
        stdin="\n".join(roots).encode() + b"\n",
        sink=feed,
    )


def _read_log(git: Git, mirror: Path, commits: Sequence[str], raw: _Raw) -> Completed:
    """Every blob that a commit puts at a path, oldest commit first."""
    return git.run(
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
        stdin="\n".join(commits).encode() + b"\n",
        sink=raw.feed,
        memory_bytes=LOG_MEMORY_BYTES,
    )


def _read_trees(git: Git, mirror: Path, trees: Sequence[str], raw: _Raw) -> Completed:
    """Every blob of some trees, in one process: what each adds to the empty tree, which git knows without an object."""
    empty = hashlib.new("sha1" if len(trees[0]) == 40 else "sha256", b"tree 0\0").hexdigest()
    return git.run(
        ["diff-tree", "--stdin", "-r", "--raw", "-z", "--no-renames", "--no-abbrev", "--ignore-submodules=all"],
        mirror=mirror,
        stdin="".join(f"{empty} {tree}\n" for tree in trees).encode(),
        sink=raw.feed,
        memory_bytes=LOG_MEMORY_BYTES,
    )


class _Raw:
    """Reads what ``git log`` and ``git diff-tree`` write for ``--raw -z``, in pieces, and adds it to ``places``.

    NUL-separated; `:<modes> <old> <new> <status>` is followed by a path. A line that ends in the commit, or in the
    second of two trees, stands before its records.
    """

    def __init__(self, wanted: set[str], places: dict[str, dict[bytes, str]], max_each: int) -> None:
        self._wanted = wanted
        self._max_each = max_each
        self.places = places
        self._rest = b""
        self._commit = ""
        self._blob: str | None = None
        self._path_next = False

    def add(self, blob: str, path: bytes, commit: str) -> None:
        """Oldest first: the first commit that puts a blob at a path is the one that counts."""
        if blob in self._wanted:
            places = self.places.setdefault(blob, {})
            if len(places) < self._max_each:
                places.setdefault(path, commit)

    def feed(self, chunk: bytes) -> None:
        *fields, self._rest = (self._rest + chunk).split(b"\0")
        for field in fields:
            if self._path_next:
                self._path_next = False
                if self._blob is not None:
                    self.add(self._blob, field, self._commit)
                continue
            # The first raw record follows its commit's line without a NUL between them.
            for line in field.split(b"\n"):
                if line.startswith(b":"):
                    new = line.split(b" ")[3].decode("ascii", "replace")
                    self._blob = new if new in self._wanted else None
                    self._path_next = True
                elif line:
                    self._commit = line.split(b" ")[-1].decode("ascii", "replace")
