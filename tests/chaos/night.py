"""The command line in a process of its own that notes each start of a tool, and may be killed at a step of a publish.

``python -m tests.chaos.night JOURNAL patrol --repos DIR ...``: the CLI, with lines appended (and flushed to disk) to
JOURNAL: ``+ tool repo_id ref`` before a tool is started on a repository, one for each scan that a call serves;
``- tool repo_id ref`` when a scan's result is durable, ``! tool repo_id ref`` when a failure is; ``= step`` before each
step of a publish. With ``CHAOS_KILL_AT=step`` the process kills itself just before that step.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import Any

from flows.cli import main
from tasks.core.reasons import COMPLETE_OUTCOMES
from tasks.lake import publish as publishing_of_the_lake
from tasks.patrol import publishing, scanning, sharing


def note(journal: str) -> None:
    """Have every start, every end and every step of a publish noted."""
    alone, together, finish = scanning.Scanning.execute, sharing.Sharing.call, scanning.Scanning._finish

    def write(line: str) -> None:
        fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, f"{line}\n".encode())
        os.fsync(fd)
        os.close(fd)

    def told(sign: str, tool: str, of: Any) -> None:
        write(f"{sign} {tool} {of.repo_id} {of.ref}")

    def execute(self: Any, scanner: Any, tool: Any, target: Any) -> Any:
        told("+", scanner.name, target)
        return alone(self, scanner, tool, target)

    def call(self: Any, jobs: Any, target: Any) -> Any:
        for job in jobs:
            told("+", job.scanner.name, job.planned)
        return together(self, jobs, target)

    def finished(self: Any, p: Any, look: Any, began: Any) -> Any:
        row = finish(self, p, look, began)
        told("-" if row.outcome in COMPLETE_OUTCOMES else "!", p.tool, p)
        return row

    def step(name: str) -> None:
        write(f"= {name}")
        if name == os.environ.get("CHAOS_KILL_AT"):
            os.kill(os.getpid(), signal.SIGKILL)

    scanning.Scanning.execute = execute  # type: ignore[method-assign]
    sharing.Sharing.call = call  # type: ignore[method-assign]
    scanning.Scanning._finish = finished  # type: ignore[method-assign]
    publishing.publish = partial(publishing.publish, watch=step)  # type: ignore[attr-defined]
    publishing_of_the_lake.adopt = partial(publishing_of_the_lake.adopt, watch=step)


if __name__ == "__main__":
    note(sys.argv.pop(1))
    main()
