"""How far a run is: counted under a lock, read by the terminal and by the progress artifact."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One look at the progress. ``left_s`` is None until there is something to go by."""

    phase: str
    total: int
    done: int
    failed: int
    running: tuple[str, ...]
    left_s: float | None


class Progress:
    """Counts repositories of the current phase. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.start("starting", {})

    def start(self, phase: str, work: dict[str, float]) -> None:
        """Begin a phase; ``work`` maps each repository to its estimated seconds (equal weights if unknown)."""
        with self._lock:
            self._phase, self._work = phase, work
            self._left = sum(work.values())
            self._all = self._left
            self._phase_began = time.monotonic()
            self._running: dict[str, None] = {}
            self._done = self._failed = 0

    def begin(self, name: str) -> None:
        """A repository is being worked on."""
        with self._lock:
            self._running[name] = None

    def end(self, name: str, *, failed: bool) -> None:
        """A repository is finished, with or without a failure."""
        with self._lock:
            self._running.pop(name, None)
            self._done += 1
            self._failed += failed
            self._left -= self._work.get(name, 0.0)

    def look(self) -> Standing:
        """The standing now; time left assumes the rest goes as fast as what is done, weighted by the estimates."""
        with self._lock:
            spent = time.monotonic() - self._phase_began
            worked = self._all - self._left
            return Standing(
                phase=self._phase,
                total=len(self._work),
                done=self._done,
                failed=self._failed,
                running=tuple(self._running),
                left_s=spent * max(0.0, self._left) / worked if worked > 0 and self._done else None,
            )
