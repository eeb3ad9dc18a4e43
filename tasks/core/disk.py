"""Room on disks: how much there is, and which errors say that there is none left."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import LakeError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
#: Libraries hand the system's words on where they lose its number.
_SAID = tuple(os.strerror(code) for code in sorted(_FULL))


def free_bytes(place: Path) -> int:
    """Bytes that may still be written where ``place`` lies, or will lie. Raises OSError."""
    while not place.exists() and place != place.parent:
        place = place.parent
    there = os.statvfs(place)
    return there.f_bavail * there.f_frsize


def is_full(error: BaseException) -> bool:
    """Whether an error means that a disk, or somebody's share of it, is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(words in str(error) for words in _SAID)


def reason_of(error: BaseException) -> str:
    """The reason of what an error of ours ended, which is no fault of the program where a disk is full."""
    return "disk_full" if is_full(error) else "internal"


@contextmanager
def told_when_full(what: str) -> Iterator[None]:
    """Turn an error of a full disk into a LakeError that says what could not be done."""
    try:
        yield
    except Exception as e:
        if not is_full(e):
            raise
        raise LakeError(
            f"the disk is full: {what}",
            advice="Free some space, then run the same command again: finished scans are kept.",
        ) from e
