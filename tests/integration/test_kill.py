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
from tests.integration.servers import PrefectServer, environment, prefect_server

pytestmark = [pytest.mark.tools, pytest.mark.prefect, pytest.mark.chaos]

WORKERS = 2
#: What differs between any two runs: when, how long, how large, and the names given to the runs.
VOLATILE = {
    "run_id", "started_at", "finished_at", "duration_s", "peak_rss_bytes", "first_seen_at", "changed_at", "evidence_at",
    "last_attempt_at", "next_attempt_at", "fixed_at", "first_seen_run", "opened_run", "fixed_run",
}  # fmt: skip
TABLES = ("ledger", "observations", "scan_gaps", "findings", "scopes", "repositories")


def command(journal: Path, org: Path) -> list[str]:
    return [sys.executable, "-m", "tests.integration.night", str(journal), "patrol", "--repos", str(org)]


def environ_of(home: Path, key: Path, server: PrefectServer) -> dict[str, str]:
    return environment(
        **server.environment,
        NIGHTWARDEN_HOME=str(home),
        NIGHTWARDEN_KEY_FILE=str(key),
        NIGHTWARDEN_WORKERS=str(WORKERS),
    )


def run(org: Path, home: Path, journal: Path, environ: dict[str, str], kill_after_s: float | None = None) -> bool:
    """Run the command; True when it ended by itself (with gaps: one repository of the demo is broken)."""
    log = (home.parent / f"{home.name}.log").open("ab")
    process = subprocess.Popen(
        command(journal, org), env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=home.parent
    )
    log.close()
    try:
        code = process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return False
    assert code == 3, Path(f"{home}.log").read_text()[-3000:]
    return True


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


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    kills = int(os.environ.get("NIGHTWARDEN_CHAOS", "3"))
    org, key = tmp_path / "org", tmp_path / "hmac.key"
    demo_org.build(org, step=1)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    for home in (calm, rough):
        home.mkdir()
    with prefect_server(tmp_path / "server") as server:
        began = time.monotonic()
        assert run(org, calm, tmp_path / "calm.journal", environ_of(calm, key, server))
        took = time.monotonic() - began
        seed = int(os.environ.get("NIGHTWARDEN_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
        print(f"seed {seed}: set NIGHTWARDEN_SEED to repeat it")
        moments = random.Random(seed)
        killed = 0
        for _ in range(kills):
            # Anywhere from the first import to the last step of the publish.
            if run(
                org, rough, tmp_path / "rough.journal", environ_of(rough, key, server), moments.uniform(0.5, took)
            ):
                break
            killed += 1
        else:
            assert run(org, rough, tmp_path / "rough.journal", environ_of(rough, key, server))
    assert killed >= 1, "the first kill came too late; run it again"
    assert not verify(Lake.open(rough / "lake", key_id=None, create=False))
    assert content(rough) == content(calm)
    starts = Counter((tmp_path / "calm.journal").read_text().splitlines())
    again = Counter((tmp_path / "rough.journal").read_text().splitlines()) - starts
    print(f"{killed} kills; {sum(starts.values())} scans, {sum(again.values())} repeated")
    assert sum(again.values()) <= killed * WORKERS, again
    assert starts.keys() == set((tmp_path / "rough.journal").read_text().splitlines())
