"""A patrol that is told to end: by SIGTERM or Ctrl-C to the command, by a cancellation in the API to a deployed run.

Two fake tools hang, one of them in a long-lived process, so that the moment is always the same: some scans are done,
two are running, and one long-lived process idles.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows import server
from tasks.lake.lake import Lake
from tests.builders import Repository, processes_with, wait_until
from tests.hostile.fake_tools import fake_tool
from tests.integration.servers import nightwarden, prefect_server, started, wait_for_end, with_database, worker
from tests.thorough import thorough

pytestmark = [pytest.mark.tools, pytest.mark.prefect]

#: From the start of the command to that moment.
READY_WITHIN_S = 300.0
#: From the signal on; the second is what the local server takes to end, on a machine that does other things as well.
TOOLS_GONE_WITHIN_S, ENDED_WITHIN_S = 5.0, 30.0
#: Prefect's worker looks every 3 s whether the process has gone, and then says so.
CANCELLED_WITHIN_S = 30.0
#: The secrets of three repositories, and the configuration and the posture of the one in which nothing hangs.
DONE_BEFORE = 5


@dataclass(frozen=True, kw_only=True)
class Place:
    """An organisation, two of whose three repositories make a tool hang, and a home to patrol it in."""

    root: Path
    #: On the command line of what hangs and of nothing else on this machine.
    marker: str

    @property
    def org(self) -> Path:
        return self.root / "org"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def config(self) -> Path:
        return self.root / "org.yaml"

    def patrol(self) -> list[str]:
        """What to give to the command line."""
        return ["patrol", "--config", str(self.config)]

    def spooled(self) -> set[str]:
        """The finished scans that are kept until they are published."""
        return {p.name for p in (self.home / "lake" / "_spool").glob("*.zst")}

    def hangs(self) -> bool:
        """Whether the moment has come."""
        return len(processes_with(f"sleep\0{self.marker}")) == 2 and len(self.spooled()) == DONE_BEFORE

    def left_running(self) -> list[int]:
        """What hangs, and every process that has to do with this home: sandboxes, git, the local server."""
        return processes_with(self.marker) + processes_with(str(self.home))

    def free(self) -> None:
        """Take away what makes the tools hang."""
        Repository(self.org / "slow").commit({"b.py": b"shell=True\n"})
        Repository(self.org / "stuck").commit({"c.tf": b"# 0.0.0.0/0\n"})

    def told(self) -> set[tuple[str, str, str, bool]]:
        """(repository, tool, outcome, whether this run did it) of what the only run says tools with fakes read."""
        snapshot = Lake.open(self.home / "lake", key_id=None, create=False).snapshot()
        assert snapshot.run is not None
        assert snapshot.seq == 1, "what was cut off is not published"
        began = snapshot.run["started_at"]
        scans = [
            s for s in snapshot.table("scans").to_pylist()
            if s["outcome"] not in ("nothing_to_read", "skipped") and s["tool"] != "posture"
        ]  # fmt: skip
        return {(s["slug"], s["tool"], s["outcome"], s["started_at"] > began) for s in scans}

    def is_unlocked(self) -> bool:
        """Whether a run could start; raises if not."""
        with Lake.open(self.home / "lake", key_id=None, create=False).lock():
            return True


#: What the next run tells: all was read, but what had been finished was not done again.
ALL_READ = {
    ("calm", "kingfisher", "ok", False), ("calm", "checkov", "ok", False),
    ("slow", "kingfisher", "ok", True), ("slow", "bandit", "ok", True),
    ("stuck", "kingfisher", "ok", True), ("stuck", "checkov", "ok", True),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path, database: Path) -> Place:
    made = Place(root=tmp_path, marker=f"86400.{uuid.uuid4().int % 10**18:018d}")
    with_database(made.home, database)
    Repository(made.org / "calm").commit({"a.tf": b"# 0.0.0.0/0\n"})
    Repository(made.org / "slow").commit({"b.py": b"# misbehave: hang\n"})
    Repository(made.org / "stuck").commit({"c.tf": b"# misbehave: hang\n"})
    lines = [f"home: {made.home}", "workers: 3", "sources: [{name: org, path: org}]", "tools:"]
    # Semgrep reads the same files as bandit and would be a third that runs at that moment.
    lines += ["  semgrep: {enabled: false}", "  inventory: {enabled: false}"]
    for tool in ("bandit", "checkov"):
        program = fake_tool(tmp_path / "fake" / tool, tool)
        hanging = program.with_name("python")
        hanging.write_text(hanging.read_text().replace("sleep 1;", f"sleep {made.marker};"))
        lines += [f"  {tool}: {{binary: {program}}}"]
    made.config.write_text("\n".join(lines))
    return made


@pytest.mark.parametrize(
    ("number", "word"),
    [(signal.SIGTERM, "terminated"), pytest.param(signal.SIGINT, "interrupted", marks=thorough)],
)
def test_a_signal_ends_the_command_in_order(place: Place, number: signal.Signals, word: str) -> None:
    log = place.root / "log"
    patrol = started(*place.patrol(), cwd=place.root, log=log)
    try:
        assert wait_until(place.hangs, READY_WITHIN_S), log.read_text()
        done = place.spooled()
        began = time.monotonic()
        patrol.send_signal(number)
        assert wait_until(lambda: not processes_with(place.marker), TOOLS_GONE_WITHIN_S)
        code = patrol.wait(ENDED_WITHIN_S)
        took = time.monotonic() - began
    finally:
        patrol.kill()
    print(f"{word} after {took:.1f} s")
    assert place.left_running() == []
    assert code == 128 + number
    said = [line for line in log.read_text().splitlines() if not line.startswith(("Prefect UI http", "scan: "))]
    assert said == [f"{word}: finished scans are kept, the same command goes on with the rest"]
    assert place.spooled() == done
    assert place.is_unlocked()
    assert not server.state_file(place.home).exists()

    place.free()
    again = nightwarden(*place.patrol(), cwd=place.root)
    assert again.returncode == 0, again.stderr
    assert place.told() == ALL_READ
    with prefect_server(place.home) as api:
        runs = api.flow_runs()
    assert [(r["state_type"], r["state_name"]) for r in runs] == [("CRASHED", "Crashed"), ("COMPLETED", "Completed")]


@thorough
def test_a_signal_to_the_local_server_as_well_changes_nothing(place: Place) -> None:
    """As when a service is stopped: every process of it is told to end, the server too."""
    log = place.root / "log"
    patrol = started(*place.patrol(), cwd=place.root, log=log)
    try:
        assert wait_until(place.hangs, READY_WITHIN_S), log.read_text()
        used = server.running(place.home)
        assert used is not None
        os.kill(used.pid, signal.SIGTERM)
        patrol.terminate()
        assert patrol.wait(ENDED_WITHIN_S) == 128 + signal.SIGTERM
    finally:
        patrol.kill()
    assert wait_until(lambda: not place.left_running(), ENDED_WITHIN_S)
    assert "Traceback" not in log.read_text()
    with prefect_server(place.home) as api:
        assert [r["state_type"] for r in api.flow_runs()] == ["CRASHED"]


@thorough
def test_the_next_command_takes_and_ends_the_server_of_one_that_was_killed(place: Place) -> None:
    log = place.root / "log"
    killed = started(*place.patrol(), cwd=place.root, log=log)
    try:
        assert wait_until(place.hangs, READY_WITHIN_S), log.read_text()
    finally:
        killed.kill()
        killed.wait()
    with server.used(place.home):
        assert wait_until(lambda: not processes_with(place.marker))
    place.free()
    again = nightwarden(*place.patrol(), cwd=place.root)
    assert again.returncode == 0, again.stderr
    assert place.told() == ALL_READ
    assert place.left_running() == []


@thorough
def test_a_deployed_run_that_is_cancelled_ends_in_order(place: Place, database: Path) -> None:
    with prefect_server(with_database(place.root / "server", database)) as api:
        done = nightwarden("deploy", cwd=place.root, **api.environment)
        assert done.returncode == 0, done.stderr
        deployment = api.call("GET", "/deployments/name/patrol/nightly")
        create, log = f"/deployments/{deployment['id']}/create_flow_run", place.root / "worker.log"
        with worker("nightwarden", log, NIGHTWARDEN_CONFIG=str(place.config), **api.environment):
            run = api.call("POST", create, {})
            assert wait_until(place.hangs, READY_WITHIN_S), log.read_text()
            kept = place.spooled()
            # What the button in the UI does.
            api.call("POST", f"/flow_runs/{run['id']}/set_state", {"state": {"type": "CANCELLING"}})
            began = time.monotonic()
            assert wait_until(lambda: not processes_with(place.marker), TOOLS_GONE_WITHIN_S)
            gone = time.monotonic() - began
            ended = wait_for_end(api, run["id"])
            took = time.monotonic() - began
            print(f"tools gone after {gone:.1f} s, cancelled after {took:.1f} s")
            assert (ended["state_type"], ended["state_name"]) == ("CANCELLED", "Cancelled"), log.read_text()[-3000:]
            assert took < CANCELLED_WITHIN_S
            assert wait_until(lambda: not place.left_running(), TOOLS_GONE_WITHIN_S), place.left_running()
            assert place.spooled() == kept
            assert place.is_unlocked()

            place.free()
            again = wait_for_end(api, api.call("POST", create, {})["id"])
    assert again["state_name"] == "Completed", again["state"]["message"]
    assert place.told() == ALL_READ
