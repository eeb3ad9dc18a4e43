"""A patrol in a process of its own that notes each start of a tool; run by the tests that kill it.

``python -m tests.integration.night JOURNAL patrol --repos DIR ...``: the CLI, with one line ``tool repo_id ref`` a
start appended (and flushed to disk) to JOURNAL before the tool is started.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from flows.cli import main
from tasks.patrol import scanning


def note_starts(journal: str) -> None:
    """Have every start of a tool on a repository noted."""
    original = scanning.Scanning.execute

    def execute(self: Any, scanner: Any, tool: Any, target: Any) -> Any:
        fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, f"{scanner.name} {target.repo_id} {target.ref}\n".encode())
        os.fsync(fd)
        os.close(fd)
        return original(self, scanner, tool, target)

    scanning.Scanning.execute = execute  # type: ignore[method-assign]


if __name__ == "__main__":
    note_starts(sys.argv.pop(1))
    main()
