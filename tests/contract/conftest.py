"""Fixtures of the contract tests: every one of them is run for every scanner."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
from hypothesis import HealthCheck, settings

from flows.means import ready_homes
from flows.settings import load
from tasks.core.ports import Scanner
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Target, ToolHome
from tasks.scanners import SCANNERS
from tests.contract import samples

# No time limit an example (machines differ), and no folder of old examples in the working directory.
settings.register_profile(
    "contract", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
# Now, not in a fixture: `@settings` takes what is in force when a test module is imported.
settings.load_profile("contract")


@pytest.fixture(scope="session", params=SCANNERS, ids=lambda scanner: scanner.name)
def scanner(request) -> Scanner:
    """Each scanner."""
    return request.param


@pytest.fixture(scope="session")
def target(scanner, tmp_path_factory) -> Target:
    """The scanner's sample tree, written as the patrol writes it."""
    return samples.planted(scanner, tmp_path_factory.mktemp(scanner.name) / "sample")


@pytest.fixture(scope="session")
def runner() -> ProcessRunner:
    """A runner with the best sandbox of this machine."""
    return ProcessRunner(detect())


@cache
def _homes() -> Mapping[str, ToolHome | str]:
    """Looked up once: pytest asks for a tool anew whenever it comes back to a scanner."""
    return ready_homes(load())


@pytest.fixture(scope="session")
def tool(scanner) -> ToolHome:
    """The installed tool, or a skipped test."""
    home = _homes()[scanner.name]
    if not isinstance(home, ToolHome):
        pytest.skip(home)
    return home
