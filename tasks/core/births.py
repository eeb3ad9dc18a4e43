"""When a process was started, by which it is told apart from a later one that was given its number."""

from __future__ import annotations

from pathlib import Path


def born(pid: int) -> int | None:
    """In clock ticks after the boot; None when it is gone or only waits to be reaped (proc_pid_stat(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *numbers = stat.rpartition(")")[2].split()
    return None if state in "ZX" else int(numbers[18])
