"""Where files lie that are written for a tool and soon removed: in memory while there is much room, else on disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

#: A checkout of at most so many bytes may lie in memory, and so many must stay free there.
MEMORY_BYTES = 320 * 1024**2
MEMORY_LEFT_BYTES = 1024**3
_MEMINFO = Path("/proc/meminfo")


def fits(memory: Path, size_bytes: int) -> bool:
    """Whether so many bytes may be written to memory: they are few, and much more is free there and on the machine."""
    if size_bytes > MEMORY_BYTES:
        return False
    try:
        there = os.statvfs(memory)
    except OSError:  # somebody has cleaned up there, as a system does when a user logs out
        return False
    free = min(there.f_bavail * there.f_frsize, _available_bytes())
    return free > 4 * size_bytes + MEMORY_LEFT_BYTES


def _available_bytes() -> int:
    """Memory that can be had without swapping, as the kernel estimates it; 0 when it does not tell."""
    try:
        lines = _MEMINFO.read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        return 0


def link_or_copy(source: Path, place: Path) -> None:
    """Have a file of one checkout in another one; tools see both read-only."""
    try:
        place.hardlink_to(source)
    except OSError:  # the one in memory, the other on a disk
        shutil.copyfile(source, place)
