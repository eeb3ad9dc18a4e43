"""Steps of rotations are durable as soon as they are done: a file a runner, until a run publishes them.

The lake may be locked for hours while a patrol publishes nothing; a rotation waits for nobody.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.core.rotations import State, Transition

_ENDING = ".jsonl"
_TIMES = ("at", "until")
#: A line that is not whole and that nobody went on with for so long is one that a killed process left.
_TORN_S = 86400.0


class RotationLog:
    """The steps that no run has published yet, in a folder. Thread-safe; several processes have files of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / f"{uuid.uuid4().hex}{_ENDING}"
        self._lock = threading.Lock()

    def put(self, step: Transition) -> None:
        """Keep one step; returns once it is on the disk. Raises OSError: then it is not kept, and those before it are
        as they were."""
        row = {**asdict(step), **{n: t.isoformat() for n in _TIMES if (t := getattr(step, n)) is not None}}
        line = json.dumps(row, sort_keys=True).encode() + b"\n"
        with self._lock:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with _locked(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT) as fd:
                before = os.fstat(fd).st_size
                try:
                    left = memoryview(line)
                    while left:
                        left = left[os.write(fd, left) :]
                    os.fsync(fd)
                except OSError:
                    # Half a line would be joined to the next one.
                    os.ftruncate(fd, before)
                    raise
            if not before:
                place = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fsync(place)
                finally:
                    os.close(place)

    def kept(self) -> tuple[list[Transition], dict[Path, int]]:
        """All steps, each (rotation, state) once, as it was first told but with what was said of it last; and how much
        of which files that was. The line that a killed process did not finish is left out: it is told again."""
        first: dict[tuple[str, State], Transition] = {}
        read: dict[Path, int] = {}
        for path in sorted(self._folder.glob(f"*{_ENDING}")):
            content = path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            read[path] = len(whole)
            for line in whole.splitlines():
                step = _step(json.loads(line))
                key = (step.rotation_id, step.state)
                first[key] = _first(first.get(key), step)
        return sorted(first.values(), key=lambda t: (t.at, t.rotation_id)), read

    def drop(self, read: Iterable[tuple[Path, int]]) -> None:
        """Let go of what a run has published; a file that somebody has added to since stays, and for a day one whose
        last line is not whole. To publish a row twice changes nothing."""
        for path, size in read:
            with self._lock, suppress(FileNotFoundError), _locked(path, os.O_RDONLY) as fd:
                there = os.fstat(fd)
                is_torn = b"\n" not in os.pread(fd, there.st_size - size, size)
                if there.st_size == size or (is_torn and there.st_mtime < time.time() - _TORN_S):
                    path.unlink()


@contextmanager
def _locked(path: Path, flags: int) -> Iterator[int]:
    """Alone at a file among all processes: at the one that is there, not at one that was let go of meanwhile."""
    while True:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                yield fd
                return
        finally:
            os.close(fd)


def _step(row: dict[str, Any]) -> Transition:
    times = {n: datetime.fromisoformat(row[n]) for n in _TIMES if row[n] is not None}
    return Transition(**{**row, **times, "state": State(row["state"])})


def _first(before: Transition | None, step: Transition) -> Transition:
    if before is None:
        return step
    early, late = sorted((before, step), key=lambda t: t.at)
    return Transition(**{**asdict(late), "state": late.state, "at": early.at})
