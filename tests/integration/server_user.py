"""A user of a home's local server in a process of its own: ``python -m tests.integration.server_user HOME [keep]``.

Writes one line, the server's pid and port, as soon as it is one; leaves when its input ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flows import server

if __name__ == "__main__":
    with server.used(Path(sys.argv[1]), keep="keep" in sys.argv[2:]) as used:
        print(used.pid, used.port, flush=True)
        sys.stdin.read()
