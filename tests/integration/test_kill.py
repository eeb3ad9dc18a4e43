"""Kill -9 at random moments: the same command finishes the work, and the tables equal an undisturbed run's.

The short version for CI of what ``make chaos`` does (``tests.chaos``): three kills, all tools, the demo's organisation.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from tasks.lake.verify import verify
from tasks.patrol import demo_org
from tests.chaos.content import as_it_was, differences
from tests.chaos.home import Home
from tests.integration.servers import prefect_server, with_database
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, pytest.mark.prefect, pytest.mark.chaos, thorough]

WANTED = 3


def assert_equal(calm: Home, rough: Home) -> None:
    """The tables hold the same rows, and the lake is whole."""
    assert not verify(rough.lake())
    assert differences(as_it_was(calm.lake()), as_it_was(rough.lake())) == (0, 0, [])


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path: Path, database: Path) -> None:
    seed = int(os.environ.get("NIGHTWARDEN_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
    print(f"seed {seed}: set NIGHTWARDEN_SEED to repeat it")
    moments = random.Random(seed)
    org, key = tmp_path / "org", tmp_path / "hmac.key"
    demo_org.build(org, step=1)
    with prefect_server(with_database(tmp_path / "server", database)) as server:

        def home(name: str) -> Home:
            return Home(tmp_path / name, ["patrol", "--repos", str(org)], key=key, api=server.environment)

        calm = home("calm")
        undisturbed = calm.run()
        # With gaps: one repository of the demo is broken.
        assert undisturbed.code == 3, undisturbed.said[-3000:]
        killed = rounds = 0
        while killed < WANTED:
            rounds += 1
            rough = home(f"rough-{rounds}")
            kills = lost = 0
            ended = None
            # Anywhere from the first import to the last step of the publish; then the same command once more.
            while killed + kills < WANTED:
                ended = rough.run(signal_after_s=moments.uniform(0.5, undisturbed.took_s))
                if ended.code != -signal.SIGKILL:
                    break
                kills += 1
                lost += rough.in_flight()
            else:
                ended = rough.run()
            assert ended is not None and ended.code == 3, ended and ended.said[-3000:]
            killed += kills
            repeated = rough.starts - calm.starts
            scans = calm.starts.total()
            print(f"{kills} kills; {scans} scans, {lost} in flight when killed, {repeated.total()} repeated")
            assert_equal(calm, rough)
            assert repeated.total() <= lost, repeated
            assert calm.starts.keys() == rough.starts.keys()
