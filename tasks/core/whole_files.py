"""Files that are there whole or not at all, made in a hidden folder beside their place.

The folder is locked while it is used, so that what a killed process left behind is known: the next one that makes a
file of the same name takes it away.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = "lock"
_ENDING = ".part"
#: Bytes of a file's name that its folder bears; a name may have 255.
_NAMED = 100


@contextmanager
def workplace(parent: Path, name: str) -> Iterator[Path]:
    """A hidden folder of one's own in ``parent``, gone in the end; those of killed processes under ``name`` go first.

    Raises OSError: it cannot be made.
    """
    begin = f".{os.fsdecode(os.fsencode(name)[:_NAMED])}."
    _sweep(parent, begin)
    while True:
        made = Path(tempfile.mkdtemp(prefix=begin, suffix=_ENDING, dir=parent))
        try:
            lock = _locked(made)
            if lock is None:
                continue
            try:
                yield made
            finally:
                os.close(lock)
            return
        finally:
            shutil.rmtree(made, ignore_errors=True)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The place for a new file; when the block ends well it stands at ``path``, with the rights of what stood there.

    A link is followed. What is no file (a pipe, a device, standard output under ``/dev``) gets the bytes once they are
    whole. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    try:
        before = path.stat()
    except FileNotFoundError:
        before = None
    if before is not None and stat.S_ISDIR(before.st_mode):
        raise IsADirectoryError(21, "it is a folder")
    is_file = before is None or stat.S_ISREG(before.st_mode)
    with workplace(target.parent if is_file else Path(tempfile.gettempdir()), target.name) as place:
        whole = place / "whole"
        yield whole
        if not is_file:
            with whole.open("rb") as made, path.open("wb") as to:
                shutil.copyfileobj(made, to)
            return
        if before is not None:
            whole.chmod(stat.S_IMODE(before.st_mode))
        whole.replace(target)


def _locked(folder: Path) -> int | None:
    """The lock of a folder, to be closed; None if it is held, or the folder was taken away meanwhile."""
    held = -1
    try:
        held = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(held).st_nlink:
            return held
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError:
        if held >= 0:
            os.close(held)
        raise
    if held >= 0:
        os.close(held)
    return None


def _sweep(parent: Path, begin: str) -> None:
    """Take away folders that we made and nobody holds any more. One without a lock is just being made, or is empty."""
    with os.scandir(parent) as entries:
        names = [e.name for e in entries if e.name.startswith(begin) and e.name.endswith(_ENDING)]
    for folder in (parent / n for n in names):
        try:
            is_ours = folder.lstat().st_uid == os.geteuid() and stat.S_ISREG((folder / _LOCK).lstat().st_mode)
            lock = _locked(folder) if is_ours else None
        except OSError:
            continue  # it went meanwhile, or is none of ours: nothing is taken away that is not known
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)
