"""Fixtures of the tests that start servers."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.integration.servers import prefect_server


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of a server without a run, to be copied into homes (``servers.with_database``).

    A server makes its first one by a hundred migrations, 7 s of a processor. One is made for all workers of a session;
    the tests of the demo and of the patrol at a terminal have their servers make their own.
    """
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    made = shared / "prefect.db"
    with (shared / "prefect.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            home, fresh = shared / "first-server", shared / "prefect.new"
            with prefect_server(home):
                pass
            with closing(sqlite3.connect(home / "prefect" / "prefect.db")) as whole:
                with closing(sqlite3.connect(fresh)) as copy:
                    whole.backup(copy)
            fresh.rename(made)
    return made
