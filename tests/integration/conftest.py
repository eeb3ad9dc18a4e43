"""Fixtures of the tests that start servers, and of those that open a report in a browser."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.patrol.report_files import write_folder
from tasks.patrol.reporting import Facts, facts, report_of
from tests.integration import chromium
from tests.integration.opened_report import Opened
from tests.integration.servers import prefect_server
from tests.report_lake import organisation


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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    with chromium.page(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Facts]:
    place = tmp_path_factory.mktemp("report")
    lake = organisation(place / "lake", repositories=7, each=14, nights=2, every=40)
    found = facts(lake)
    write_folder(place / "out", found, report_of(found))
    return place / "out", found


@pytest.fixture
def opened(browser: chromium.Page, known: tuple[Path, Facts]) -> Iterator[Opened]:
    """The report of all, opened anew. In the end only its files were asked for, and nothing was said."""
    browser.requests.clear()
    browser.problems.clear()
    browser.open(known[0] / "index.html")
    yield Opened(browser, *known)
    assert browser.problems == []
    assert {Path(u.removeprefix("file://").partition("#")[0]).parent for u in browser.requests} == {known[0]}
