"""Fixtures of the hostile tests, which run the real scanners."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.settings import load
from tasks.repos import trees
from tasks.scanners import LOCKED
from tasks.scanners.tools import environment_dir


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the scanners where they are not installed."""
    if item.get_closest_marker("tools") is None:
        return
    home = load().tools_dir
    missing = [s.name for s in LOCKED if not (environment_dir(home, s.name) / "nightwarden.json").is_file()]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (run `nightwarden tools install`)")


@pytest.fixture(autouse=True)
def _fresh_trees() -> Iterator[None]:
    """Trees read by one test are not remembered by the next."""
    trees._cache.clear()
    yield
    trees._cache.clear()
