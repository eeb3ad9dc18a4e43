"""Kill -9 at random moments: the same command finishes the work, and the tables equal an undisturbed run's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tasks.lake.lake import Lake
from tasks.lake.verify import verify
from tasks.patrol import demo_org
from tests.integration.servers import PrefectServer, environment, prefect_server, with_database

pytestmark = [pytest.mark.tools, pytest.mark.prefect, pytest.mark.chaos]

WORKERS = 2
#: What differs between any two runs: when, how long, how large, and the names given to the runs.
VOLATILE = {
    "run_id", "started_at", "finished_at", "duration_s", "whole_duration_s", "peak_rss_bytes", "first_seen_at",
    "changed_at", "evidence_at", "last_attempt_at", "next_attempt_at", "fixed_at", "first_seen_run", "opened_run",
    "fixed_run",
}  # fmt: skip
TABLES = ("ledger", "observations", "scan_gaps", "findings", "scopes", "repositories")


class Night:
    """One home and the command that is run in it, again and again."""

    def __init__(self, org: Path, home: Path, key: Path, server: PrefectServer) -> None:
        self.home, self.org, self.ended = home, org, False
        home.mkdir()
        self._journal = home / "journal"
        self._log = home / "log"
        self._environ = environment(
            **server.environment,
            NIGHTWARDEN_HOME=str(home),
            NIGHTWARDEN_KEY_FILE=str(key),
            NIGHTWARDEN_WORKERS=str(WORKERS),
        )

    def run(self, kill_after_s: float | None = None) -> bool:
        """Run the command; True when it ended by itself (with gaps: one repository of the demo is broken)."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.integration.night",
                    str(self._journal),
                    "patrol",
                    "--repos",
                    str(self.org),
                ],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
            )
        try:
            code = process.wait(kill_after_s)
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            return False
        assert code == 3, self._log.read_text()[-3000:]
        self.ended = True
        return True

    @property
    def starts(self) -> Counter[str]:
        """How often each scan was started."""
        return Counter(line[2:] for line in self._noted() if line.startswith("+"))

    def in_flight(self) -> int:
        """Starts since the last kill of scans whose result did not become durable; call it after each kill."""
        lines = self._noted()
        since = max((n for n, line in enumerate(lines) if line == "killed"), default=-1)
        starts: Counter[str] = Counter()
        for line in lines[since + 1 :]:
            if line.startswith("+"):
                starts[line[2:]] += 1
            else:
                del starts[line[2:]]
        with self._journal.open("a") as journal:
            journal.write("killed\n")
        return sum(starts.values())

    def _noted(self) -> list[str]:
        return self._journal.read_text().splitlines() if self._journal.exists() else []


def assert_equal(calm: Night, rough: Night) -> None:
    """The tables hold the same rows, and the lake is whole."""
    assert not verify(Lake.open(rough.home / "lake", key_id=None, create=False))
    was, is_now = content(calm.home), content(rough.home)
    for name in was:
        assert not was[name] - is_now[name], name
        assert not is_now[name] - was[name], name


def content(home: Path) -> dict[str, Counter[str]]:
    """The rows of the tables without what differs between any two runs."""
    snapshot = Lake.open(home / "lake", key_id=None, create=False).snapshot()
    return {name: Counter(_row(r) for r in snapshot.table(name).to_pylist()) for name in TABLES} | {
        "scans": Counter(_row(r) for r in _first_run(snapshot))
    }


def _first_run(snapshot: Any) -> list[dict[str, Any]]:
    """The scans of the run that did the work: a publish that a kill cut off is finished first, as a run of its own."""
    first = min(snapshot.table("runs").to_pylist(), key=lambda r: r["seq"])["run_id"]
    return [r for r in snapshot.table("scans").to_pylist() if r["run_id"] == first]


def _row(row: dict[str, Any]) -> str:
    return repr(sorted((k, v) for k, v in row.items() if k not in VOLATILE))


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path: Path, database: Path) -> None:
    wanted = int(os.environ.get("NIGHTWARDEN_CHAOS", "3"))
    seed = int(os.environ.get("NIGHTWARDEN_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
    print(f"seed {seed}: set NIGHTWARDEN_SEED to repeat it")
    moments = random.Random(seed)
    org, key = tmp_path / "org", tmp_path / "hmac.key"
    demo_org.build(org, step=1)
    with prefect_server(with_database(tmp_path / "server", database)) as server:
        calm = Night(org, tmp_path / "calm", key, server)
        began = time.monotonic()
        assert calm.run()
        took = time.monotonic() - began
        killed = rounds = 0
        while killed < wanted:
            rounds += 1
            rough = Night(org, tmp_path / f"rough-{rounds}", key, server)
            kills = lost = 0
            # Anywhere from the first import to the last step of the publish; then the same command once more.
            while killed + kills < wanted and not rough.run(kill_after_s=moments.uniform(0.5, took)):
                kills += 1
                lost += rough.in_flight()
            if not rough.ended:
                assert rough.run()
            killed += kills
            repeated = rough.starts - calm.starts
            scans = sum(calm.starts.values())
            print(f"{kills} kills; {scans} scans, {lost} in flight when killed, {sum(repeated.values())} repeated")
            assert_equal(calm, rough)
            assert sum(repeated.values()) <= lost, repeated
            assert calm.starts.keys() == rough.starts.keys()
