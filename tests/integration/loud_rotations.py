"""The command line, one command after the other in one process that logs all it can at DEBUG, for the search of values.

    python -m tests.integration.loud_rotations LOG BOOK

Reads a JSON object a line: ``args`` of `nightwarden`, or ``flow``, the name of one, and what is ``broken``
meanwhile. Prints ``::ended CODE`` after each. ``BOOK`` gets every value that the program ever held as a secret, a JSON
text a line.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tasks.core.secret_refs import Secret

#: Libraries that carry values; Prefect's log gets what they log.
CARRIERS = (
    "hvac", "urllib3", "requests", "botocore", "botocore.parsers", "botocore.auth", "botocore.endpoint", "boto3",
    "psycopg", "psycopg.pool", "pymysql", "cryptography",
)  # fmt: skip


def loud(log: Path) -> None:
    """All loggers at DEBUG, into a file. Prefect and the libraries set up their own again and again."""
    root = logging.getLogger()
    if not any(isinstance(h, logging.FileHandler) for h in root.handlers):
        root.addHandler(logging.FileHandler(log))
    for name in ("", *CARRIERS, *logging.root.manager.loggerDict):
        logging.getLogger(name).setLevel(logging.DEBUG)


def note_secrets(book: Path) -> None:
    """Write down each value that becomes a ``Secret``."""
    made, known = Secret.__init__, set[str]()

    def noted(self: Secret, value: str) -> None:
        made(self, value)
        if value not in known:
            known.add(value)
            with book.open("a") as out:
                out.write(f"{json.dumps(value)}\n")

    Secret.__init__ = noted  # type: ignore[method-assign]


def _value(held: Any) -> str:
    return " ".join(secret.reveal() for secret in held.fields.values())


def _raise_in_target(_self: Any, staged: Any, current: Any) -> NoReturn:
    try:
        raise KeyError(_value(current))
    except KeyError as e:
        raise RuntimeError(f"cannot apply {_value(staged)}") from e


def _raise_in_backend(_self: Any, staged: Any) -> NoReturn:
    raise ValueError(_value(staged))


def _end(how: signal.Signals) -> Any:
    def end(*_: Any) -> None:
        os.kill(os.getpid(), how)

    return end


@contextmanager
def broken(what: str) -> Iterator[None]:
    """Break a call of backend or target, while the block lasts."""
    from tasks.patrol import rotating
    from tasks.rotation.postgresql import PostgreSql
    from tasks.rotation.vault_kv import VaultKv

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rotating, "_PAUSES", (0.1,))
        places = {
            "target": (PostgreSql, "apply", _raise_in_target),
            "backend": (VaultKv, "promote", _raise_in_backend),
            "killed": (VaultKv, "promote", _end(signal.SIGKILL)),
            "aborted": (VaultKv, "promote", _end(signal.SIGABRT)),
        }
        if what:
            patch.setattr(*places[what])
        yield


def run(asked: dict[str, Any], log: Path) -> int:
    """One command; its exit code."""
    from flows.cli import main

    if asked.get("flow"):
        from flows.inventory import inventory
        from flows.rotate import rotate

        loud(log)
        flow: Any = {"inventory": inventory, "rotate": rotate}[asked["flow"]]
        state = flow(return_state=True)
        print(state.name, state.message)
        return 0
    sys.argv = ["nightwarden", *asked["args"]]
    try:
        main()
    except SystemExit as e:
        return e.code if isinstance(e.code, int) else int(e.code is not None)
    return 0


def _main() -> None:
    log, book = map(Path, sys.argv[1:])
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))  # a dump is possible, unless the program forbids it
    note_secrets(book)
    for line in sys.stdin:
        asked = json.loads(line)
        loud(log)
        with broken(asked.get("broken", "")):
            try:
                code = run(asked, log)
            except Exception:
                traceback.print_exc()
                code = 99
        sys.stderr.flush()
        print(f"\n::ended {code}", flush=True)


if __name__ == "__main__":
    _main()
