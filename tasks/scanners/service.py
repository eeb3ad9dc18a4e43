"""Long-lived tool processes: one line of JSON asks for a checkout, one line answers.

All checkouts of a pool lie below ``root``, which its processes see read-only; each process is restarted after so
many checkouts, after its death, a timeout, or when it has grown beyond half of its memory limit.
"""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.ports import Scanner
from tasks.core.process import LongLived, ProcessRunner
from tasks.core.types import Completed, Target, ToolHome

RESTART_AFTER = 200
_INSIDE = "/nightwarden/checkouts"


class ServicePool:
    """At most ``size`` processes of one tool, started when they are needed. Thread-safe."""

    def __init__(
        self,
        runner: ProcessRunner,
        tool: ToolHome,
        scanner: Scanner,
        *,
        root: Path,
        size: int,
        restart_after: int = RESTART_AFTER,
    ) -> None:
        self.root = root
        self._runner = runner
        self._scanner = scanner
        self._tool = tool
        self._restart_after = restart_after
        self._free: queue.LifoQueue[LongLived | None] = queue.LifoQueue()
        self._inside = runner.sandbox.seen_at(root, _INSIDE)
        self.started = 0
        for _ in range(size):
            self._free.put(None)

    def scan(self, target: Target, *, timeout_s: float | None = None) -> Completed:
        """Have ``target.root``, a folder below ``root``, scanned. ``Completed.stdout`` is the answer's line.

        ``timeout_s`` shortens the tool's own limit; it never lengthens it. Waiting for a process is not counted.
        """
        limit = self._scanner.limits.timeout_s
        relative = target.root.relative_to(self.root).as_posix()
        with self._process() as process:
            line = json.dumps({"root": f"{self._inside}/{relative}"}).encode()
            return process.ask(line, timeout_s=limit if timeout_s is None else min(timeout_s, limit))

    def close(self) -> None:
        """End all idle processes."""
        while not self._free.empty():
            process = self._free.get_nowait()
            if process is not None:
                process.close()

    @contextmanager
    def _process(self) -> Iterator[LongLived]:
        process = self._free.get()
        try:
            if process is None or not process.alive:
                base = Target(repo_id="", ref="", commit="", root=self.root, inside=self._inside)
                process = LongLived(self._runner, self._scanner.command(self._tool, base))
                self.started += 1
            yield process
        finally:
            if process is not None and self._spent(process):
                process.close()
                process = None
            self._free.put(process)

    def _spent(self, process: LongLived) -> bool:
        limit = self._scanner.limits.memory_bytes // 2
        return not process.alive or process.served >= self._restart_after or process.rss_bytes > limit
