"""``python -m infra.rotation up | client | down``: see ``infra/README.md``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from infra.rotation.programs import Programs
from infra.rotation.state import State
from tasks.core.errors import NightwardenError


def main() -> int:
    """One of the commands. Exit codes: 0 done, 1 not done, or a login failed."""
    parser = argparse.ArgumentParser(prog="python -m infra.rotation", description="See a rotation happen.")
    parser.add_argument("--state", type=Path, default=Path(".rotation"), help="the folder of the servers")
    commands = parser.add_subparsers(dest="command", required=True)
    installs = commands.add_parser("install", help="only install the programs of the servers")
    starts = commands.add_parser("up", help="start OpenBao and PostgreSQL, or those of them that do not run")
    for one in (installs, starts):
        one.add_argument("--postgresql", type=Path, metavar="DIR", help="the folder of PostgreSQL's programs")
    ends = commands.add_parser("down", help="end what `up` started")
    ends.add_argument("--purge", action="store_true", help="remove the folder and all that is in it, too")
    commands.add_parser("client", help="log in all the time, until Ctrl-C, and tell what became of it")
    given = parser.parse_args()
    home = Path(os.environ.get("NIGHTWARDEN_TOOLS") or ".tools")
    programs = Programs(home, getattr(given, "postgresql", None))
    try:
        return _called(given, State(given.state), programs)
    except NightwardenError as e:
        print(f"error: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _called(given: argparse.Namespace, state: State, programs: Programs) -> int:
    from infra.rotation import servers
    from infra.rotation.client import watch

    if given.command == "client":
        return watch(state)
    if given.command == "install":
        programs.install()
        programs.postgresql()
        return 0
    for line in servers.up(state, programs) if given.command == "up" else servers.down(state, purge=given.purge):
        print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
