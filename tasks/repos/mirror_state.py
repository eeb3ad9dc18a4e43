"""What is written down of a good mirror, and the lock that keeps two processes apart."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def read_state(place: Path) -> dict[str, Any] | None:
    """What the last good refresh wrote; None when there is no good mirror."""
    try:
        state = json.loads((place / "state.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(state, dict) or not {"url", "remote", "refs"} <= set(state) or not (place / "git").is_dir():
        return None
    return state


def write_state(place: Path, state: Mapping[str, Any]) -> None:
    """Write down a good mirror, whole or not at all. Raises OSError."""
    tmp = place / f".state.{os.getpid()}"
    try:
        with tmp.open("w", encoding="utf-8") as f:
            json.dump(state, f)
            f.flush()
            os.fsync(f.fileno())
        tmp.replace(place / "state.json")
    except OSError:
        tmp.unlink(missing_ok=True)
        raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a mirror alone; the kernel lets go when the process dies."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
