"""A patrol in a process of its own that notes each start of a tool; run by the tests that kill it.

``python -m tests.integration.night JOURNAL patrol --repos DIR ...``: the CLI, with lines appended (and flushed to disk)
to JOURNAL: ``+ tool repo_id ref`` before a tool is started on a repository, one for each scan that a call serves, and
``- tool repo_id ref`` when a scan's result is durable.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from flows.cli import main
from tasks.patrol import scanning, sharing


def note(journal: str) -> None:
    """Have every start and every end noted."""
    alone, together, finish = scanning.Scanning.execute, sharing.Sharing.call, scanning.Scanning._finish

    def write(sign: str, tool: str, of: Any) -> None:
        fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, f"{sign} {tool} {of.repo_id} {of.ref}\n".encode())
        os.fsync(fd)
        os.close(fd)

    def execute(self: Any, scanner: Any, tool: Any, target: Any) -> Any:
        write("+", scanner.name, target)
        return alone(self, scanner, tool, target)

    def call(self: Any, jobs: Any, target: Any) -> Any:
        for job in jobs:
            write("+", job.scanner.name, job.planned)
        return together(self, jobs, target)

    def finished(self: Any, p: Any, look: Any, began: Any) -> Any:
        row = finish(self, p, look, began)
        write("-", p.tool, p)
        return row

    scanning.Scanning.execute = execute  # type: ignore[method-assign]
    sharing.Sharing.call = call  # type: ignore[method-assign]
    scanning.Scanning._finish = finished  # type: ignore[method-assign]


if __name__ == "__main__":
    note(sys.argv.pop(1))
    main()
