"""What all tests share: tests marked ``tools`` are skipped where the scanners are not installed."""

from __future__ import annotations

from functools import cache

import pytest

from flows.means import tool_homes
from flows.settings import load
from tasks.core.types import ToolHome
from tasks.scanners import LOCKED
from tests.thorough import THOROUGH, thorough

#: Whole files that wait for `make test-thorough`: nights with real tools, kills at every moment, servers and wheels.
_LONG = (
    "hostile/test_nights.py",
    "hostile/test_semgrep.py",
    "hostile/test_sharing.py",
    "hostile/test_tools.py",
    "hostile/test_tripwire.py",
    "hostile/test_without_sandbox.py",
    "hostile/test_rule_paths.py",
    "unit/test_extended_scans.py",
    "unit/test_patrol_kill.py",
    "unit/test_unkept.py",
    "unit/test_upgrades.py",
    "unit/test_platform_tools.py",
    "integration/test_cancellation.py",
    "integration/test_forges.py",
    "integration/test_terminal_patrol.py",
    "integration/test_wheel.py",
)

#: Files that take most of a minute, the longest first: begun last, one of them alone would be the end of a run.
_FIRST = (
    "integration/test_demo.py", "integration/test_local_server.py", "integration/test_canaries.py",
    "integration/test_prefect.py", "integration/test_kill.py", "integration/test_pack_patrol.py",
    "unit/test_forge_discovery.py", "unit/test_lives.py", "unit/test_assessing.py", "unit/test_publish_kill.py",
    "hostile/test_faults.py", "unit/test_deciding.py", "unit/test_again.py", "unit/test_lake_gc.py",
    "unit/test_importing.py", "unit/test_report_of_lake.py", "unit/test_lake_verify.py", "unit/test_two_runs.py",
    "flows/test_platform_commands.py", "unit/test_lake_on_s3.py", "unit/test_lake.py", "unit/test_settings_round.py",
    "unit/test_lake_reads.py", "hostile/test_rule_packs.py", "unit/test_overlapping_sources.py",
    "contract/test_adapters.py", "flows/test_commands.py", "unit/test_manifests_hostile.py",
    "unit/test_lifecycle.py", "unit/test_failing_scans.py", "contract/test_lock_files.py",
)  # fmt: skip


@cache
def _missing() -> dict[str, str]:
    """The scanners that are not there, with the reason; by NIGHTWARDEN_TOOLS, else in the default home."""
    homes, ours = tool_homes(load()), {s.name for s in LOCKED}
    return {name: home for name, home in homes.items() if name in ours and not isinstance(home, ToolHome)}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a scanner where one is missing."""
    if item.get_closest_marker("tools") is not None and _missing():
        pytest.skip(f"{'; '.join(_missing().values())}: run `nightwarden tools install`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the long files to `make test-thorough`, and begin with those that take longest."""
    for item in items:
        if not THOROUGH and str(item.path).endswith(_LONG):
            item.add_marker(thorough)
    places = {item.path: str(item.path) for item in items}
    ranks = {
        p: next((n for n, f in enumerate(_FIRST) if place.endswith(f)), len(_FIRST)) for p, place in places.items()
    }
    items.sort(key=lambda item: ranks[item.path])
