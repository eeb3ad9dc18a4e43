"""Reads a commit's tree from the mirror, without a checkout."""

from __future__ import annotations

import posixpath
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

from tasks.core.errors import ScanGapError
from tasks.core.types import Gap, PathFilter, TreeEntry, display_path
from tasks.repos.git import Git, failure

_REGULAR = ("100644", "100755", "100664")
_SYMLINK, _SUBMODULE = "120000", "160000"
_CACHED, _CACHED_FILES = 64, 500_000
#: A hostile tree can name millions of files in a few kilobytes of objects; this is about a million.
MAX_LISTING_BYTES = 128 * 1024**2
#: Sizes are asked with the names as long as the names are so few: git looks up a blob's size each time it is named.
_SIZED_LISTING_BYTES = 8 * 1024**2
#: PATH_MAX of Linux.
_MAX_LINK_BYTES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of one commit. ``others`` are the paths that are no regular file, with mode and object id."""

    commit: str
    entries: tuple[TreeEntry, ...]
    others: tuple[tuple[bytes, str, str], ...]


#: What could not be listed is kept as well: each tool asks anew, and a listing that ends at the limit takes long.
_cache: OrderedDict[tuple[str, str], Tree | ScanGapError] = OrderedDict()
_lock = Lock()


def read_tree(git: Git, mirror: Path, commit: str) -> Tree:
    """All files of a commit, in git's order. Raises ScanGapError (incomplete, corrupt) when it cannot be read.

    A blob that is missing has size -1: the checkout makes it a gap. The newest trees are kept in memory.
    """
    key = (str(mirror), commit)
    with _lock:
        known = _cache.get(key)
        if known is not None:
            _cache.move_to_end(key)
    if isinstance(known, ScanGapError):
        raise ScanGapError(known.reason_code, known.detail)
    if known is not None:
        return known
    try:
        tree = _listed(git, mirror, commit)
    except ScanGapError as e:
        if e.reason_code == "too_many_files":
            _keep(key, e)
        raise
    _keep(key, tree)
    return tree


def _keep(key: tuple[str, str], tree: Tree | ScanGapError) -> None:
    with _lock:
        _cache[key] = tree
        while len(_cache) > _CACHED or (
            len(_cache) > 1 and sum(len(t.entries) for t in _cache.values() if isinstance(t, Tree)) > _CACHED_FILES
        ):
            _cache.popitem(last=False)


def _listed(git: Git, mirror: Path, commit: str) -> Tree:
    """One call where the names are few and all blobs are there (``-l`` dies on the first missing one); else two."""
    listing = ["ls-tree", "-r", "-z", "--full-tree"]
    done = git.run([*listing, "-l", commit], mirror=mirror, stdout_bytes=min(_SIZED_LISTING_BYTES, MAX_LISTING_BYTES))
    if done.exit_code == 0:
        return _parse(commit, done.stdout)
    done = git.run([*listing, commit], mirror=mirror, stdout_bytes=MAX_LISTING_BYTES)
    if done.output_overflow:
        raise ScanGapError("too_many_files", f"the names of the tree are more than {MAX_LISTING_BYTES // 1024**2} MB")
    if done.exit_code != 0:
        raise failure(done)
    tree = _parse(commit, done.stdout)
    sizes = blob_sizes(git, mirror, sorted({e.blob for e in tree.entries}))
    return replace(tree, entries=tuple(replace(e, size_bytes=sizes.get(e.blob, -1)) for e in tree.entries))


def _parse(commit: str, listing: bytes) -> Tree:
    """The records of ``ls-tree -z``: mode, type, object id and, with ``-l``, the size; then the path."""
    entries: list[TreeEntry] = []
    others: list[tuple[bytes, str, str]] = []
    for record in listing.split(b"\0"):
        if not record:
            continue
        head, tab, path = record.partition(b"\t")
        fields = head.decode("ascii", "replace").split()
        if not tab or len(fields) not in (3, 4):
            raise ScanGapError("corrupt", f"git listed a tree entry that cannot be read in {commit}")
        mode, _kind, oid = fields[:3]
        if mode in _REGULAR:
            size = int(fields[3]) if len(fields) == 4 and fields[3].isdigit() else -1
            entries.append(TreeEntry(path=path, mode=mode, blob=oid, size_bytes=size))
        else:
            others.append((path, mode, oid))
    return Tree(commit=commit, entries=tuple(entries), others=tuple(others))


def blob_sizes(git: Git, mirror: Path, oids: list[str]) -> dict[str, int]:
    """Size in bytes of each object that is a blob; missing ones and other kinds are left out."""
    if not oids:
        return {}
    out = git.check(
        ["cat-file", "--batch-check=%(objectname) %(objecttype) %(objectsize)", "--buffer"],
        mirror=mirror,
        stdin="\n".join(oids).encode() + b"\n",
    )
    sizes: dict[str, int] = {}
    for line in out.decode("ascii", "replace").splitlines():
        fields = line.split(" ")
        if len(fields) == 3 and fields[1] == "blob":
            sizes[fields[0]] = int(fields[2])
    return sizes


def unwritten(tree: Tree, reads: PathFilter) -> list[TreeEntry]:
    """What no checkout holds and a tool that reads such names may miss: links it would read, and every submodule."""
    return [
        TreeEntry(path=path, mode=mode, blob=oid, size_bytes=-1)
        for path, mode, oid in tree.others
        if mode == _SUBMODULE or (mode == _SYMLINK and reads(path))
    ]


def gaps_for(tree: Tree, reads: PathFilter, target: Callable[[bytes], bytes | None] | None = None) -> tuple[Gap, ...]:
    """What a tool that reads such names cannot be given: submodules, links whose target it would not read, and all
    but the last of files of one name.

    A link to a regular file of the tree that the tool reads under its own name hides nothing. ``target`` returns
    the text of a link; without it every link the tool would read is a gap.
    """
    paths = {e.path: e for e in tree.entries}
    # A hostile tree may hold one name twice: the last one is read, and the others are not.
    gaps = [
        Gap(path=display_path(e.path), reason_code="unsafe_path", blob=e.blob)
        for e in tree.entries
        if paths[e.path] is not e and reads(e.path)
    ]
    for path, mode, oid in tree.others:
        if mode == _SUBMODULE:
            gaps.append(Gap(path=display_path(path), reason_code="submodule", blob=None))
        elif mode == _SYMLINK and reads(path):
            text = target(oid.encode()) if target is not None else None
            if text is not None:
                place = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
                if place in paths and reads(place):
                    continue
            gaps.append(Gap(path=display_path(path), reason_code="symlink", blob=oid))
    return tuple(gaps)


def links_of(git: Git, mirror: Path, tree: Tree, reads: PathFilter) -> Callable[[bytes], bytes | None]:
    """The texts of the links a tool would read; for ``gaps_for``. What is too long for a path is no link's text."""
    from tasks.repos.checkout import read_blobs

    named = sorted({oid for path, mode, oid in tree.others if mode == _SYMLINK and reads(path)})
    oids = [oid for oid, size in blob_sizes(git, mirror, named).items() if size <= _MAX_LINK_BYTES]
    texts = {oid.encode(): data for oid, data in read_blobs(git, mirror, oids).items()} if oids else {}
    return texts.get
