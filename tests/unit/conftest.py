"""Fixtures of the unit tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import Backend, Sandbox, detect
from tasks.lake.lake import Lake
from tasks.repos import trees
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository
from tests.lake_rows import KEY_ID

# No time limit an example (machines differ), and no folder of old examples in the working directory.
settings.register_profile("unit", deadline=None, database=None)
settings.load_profile("unit")


def working(backend: Backend) -> Sandbox:
    """This backend, or a skipped test where the machine does not offer it."""
    try:
        return detect(backend)
    except ScanGapError as e:
        pytest.skip(f"{backend} does not work here: {e.detail}")


@pytest.fixture(params=["bubblewrap", "unshare"])
def isolating(request: pytest.FixtureRequest) -> Sandbox:
    """Each sandbox that isolates."""
    return working(request.param)


@pytest.fixture(params=["bubblewrap", "unshare", "none"])
def any_sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each way to run a command, the one without any isolation included."""
    return working(request.param)


@pytest.fixture
def runner() -> ProcessRunner:
    """A runner with the best sandbox of this machine."""
    return ProcessRunner(detect())


@pytest.fixture
def git(runner: ProcessRunner, tmp_path: Path) -> Git:
    """Git as the product runs it."""
    return Git(runner, timeout_s=60, config_dir=tmp_path / "git-config")


@pytest.fixture
def mirrors(git: Git, tmp_path: Path) -> Mirrors:
    """A folder of mirrors."""
    return Mirrors(tmp_path / "mirrors", git, pause=lambda _s: None)


@pytest.fixture
def upstream(tmp_path: Path) -> Repository:
    """An empty repository with a work tree, to be patrolled."""
    return Repository(tmp_path / "upstream")


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """An empty folder for a checkout, deep enough that ``../..`` stays below the test's own folder."""
    folder = tmp_path / "deep" / "down" / "work"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def key() -> HmacKey:
    """A fixed HMAC key."""
    return HmacKey(bytes(range(32)))


@pytest.fixture(scope="session")
def new_lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake with empty tables, to be copied: making the tables takes longer than copying them."""
    place = tmp_path_factory.mktemp("new") / "lake"
    Lake.open(place, key_id=KEY_ID)
    return place


@pytest.fixture
def lake(new_lake: Path, tmp_path: Path) -> Lake:
    """A new lake."""
    shutil.copytree(new_lake, tmp_path / "lake")
    return Lake.open(tmp_path / "lake", key_id=KEY_ID)


@pytest.fixture(autouse=True)
def _fresh_trees() -> Iterator[None]:
    """Trees read by one test are not remembered by the next."""
    trees._cache.clear()
    yield
    trees._cache.clear()
