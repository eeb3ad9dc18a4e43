"""Whether a repository on this machine still lists the refs it listed, told without starting git.

git reads the heads and tags of a repository from ``HEAD``, ``config``, ``packed-refs`` and the files below ``refs``
(gitrepository-layout(5)). The bytes of all of these are compared, not their times, so nothing can hide a change;
where anything is otherwise than in a plain repository only git can tell.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FILES = ("HEAD", "config", "packed-refs")
#: Where refs are kept in another way, or elsewhere.
_OTHERWISE = ("commondir", "reftable")
#: More than this is left to git.
_MAX_BYTES = 64 * 1024**2
_MAX_FILES = 20_000


class _UnusualError(Exception):
    """Only git can tell."""


def fingerprint(repository: Path) -> str | None:
    """Digest of all that decides which heads and tags a repository lists; None where only git can tell."""
    dot_git = repository / ".git"
    try:
        git_dir = dot_git if os.path.lexists(dot_git) else repository
        if not stat.S_ISDIR(git_dir.lstat().st_mode) or any(os.path.lexists(git_dir / name) for name in _OTHERWISE):
            return None
        found = hashlib.sha256()
        for name, data in _parts(git_dir):
            for part in (os.fsencode(name), data):
                found.update(len(part).to_bytes(8, "big") + part)
    except (OSError, _UnusualError):
        return None
    return found.hexdigest()


def _parts(git_dir: Path) -> Iterator[tuple[str, bytes]]:
    left = _MAX_BYTES
    for name in _FILES:
        if name == "HEAD" or os.path.lexists(git_dir / name):
            data = _read(git_dir / name, left)
            left -= len(data)
            yield name, data
    todo, count = [git_dir / "refs"], 0
    while todo:
        folder = todo.pop()
        if not stat.S_ISDIR(folder.lstat().st_mode):
            raise _UnusualError
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            count += 1
            if count > _MAX_FILES:
                raise _UnusualError
            if entry.is_dir(follow_symlinks=False):
                todo.append(Path(entry.path))
                continue
            data = _read(Path(entry.path), left)
            left -= len(data)
            yield os.path.relpath(entry.path, git_dir), data


def _read(path: Path, at_most: int) -> bytes:
    """A regular file, no link followed and no pipe waited for."""
    fd = os.open(path, _FLAGS)
    with os.fdopen(fd, "rb") as f:
        told = os.fstat(fd)
        if not stat.S_ISREG(told.st_mode) or told.st_size > at_most:
            raise _UnusualError
        return f.read(at_most)
