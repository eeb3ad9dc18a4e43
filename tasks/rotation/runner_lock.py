"""Alone at a secret among the runners of this machine, where what it is rotated at has no lock of its own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.rotations import RotationError


@contextmanager
def alone(lock_file: Path, name: str) -> Iterator[None]:
    """Hold a lock of the file; it ends with the process. Raises RotationError(rotation_busy, passing)."""
    try:
        held = os.open(lock_file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise RotationError("target_error", f"{name}: the lock file cannot be opened: {e.strerror}") from None
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RotationError(
                "rotation_busy", f"{name}: another runner of this machine is at it", is_passing=True
            ) from None
        yield
    finally:
        os.close(held)
