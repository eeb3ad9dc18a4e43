"""Real servers for tests: started on free loopback ports, stopped by pid."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows import server

ROOT = Path(__file__).parents[2]


class PrefectServer:
    """A running server: what a client's environment needs, and its API."""

    def __init__(self, environment: dict[str, str], auth: str) -> None:
        self.environment = environment
        self._token = base64.b64encode(auth.encode()).decode()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request to the API; the answer as JSON."""
        request = urllib.request.Request(
            f"{self.environment['PREFECT_API_URL']}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={"Authorization": f"Basic {self._token}", "Content-Type": "application/json", **self._csrf()},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def _csrf(self) -> dict[str, str]:
        """CSRF protection is on: a client asks for a token first."""
        if not hasattr(self, "_known"):
            self._known: dict[str, str] = {}
            told = self.call("GET", "/csrf-token?client=tests")
            self._known = {"Prefect-Csrf-Token": told["token"], "Prefect-Csrf-Client": "tests"}
        return self._known

    def flow_runs(self) -> list[dict[str, Any]]:
        """All flow runs, oldest first."""
        runs: list[dict[str, Any]] = self.call("POST", "/flow_runs/filter", {"sort": "START_TIME_ASC"})
        return runs

    def task_runs(self, flow_run_id: str) -> list[dict[str, Any]]:
        """The task runs of one flow run."""
        only = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200}
        runs: list[dict[str, Any]] = self.call("POST", "/task_runs/filter", only)
        return runs

    def artifacts(self, flow_run_id: str) -> dict[str, Any]:
        """The newest artifact of each key of one flow run."""
        only = {"flow_runs": {"id": {"any_": [flow_run_id]}}, "limit": 200, "sort": "CREATED_DESC"}
        found: dict[str, Any] = {}
        for artifact in self.call("POST", "/artifacts/filter", only):
            found.setdefault(artifact["key"], artifact)
        return found


def with_database(home: Path, database: Path) -> Path:
    """The home, where a server finds the tables of its database made."""
    (home / "prefect").mkdir(mode=0o700, parents=True, exist_ok=True)
    shutil.copyfile(database, home / "prefect" / "prefect.db")
    return home


@contextmanager
def prefect_server(home: Path) -> Iterator[PrefectServer]:
    """A real local Prefect server."""
    home.mkdir(parents=True, exist_ok=True)
    with server.used(home) as running:
        server.wait(running, home)
        yield PrefectServer(running.client_environment(), running.auth)


def environment(**more: str) -> dict[str, str]:
    """The environment of a child: ours without any Prefect or Nightwarden setting but the tools' place."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("PREFECT_", "NIGHTWARDEN_")) or k == "NIGHTWARDEN_TOOLS"
    }
    return {**kept, "PYTHONPATH": str(ROOT), **more}


def nightwarden(*args: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *args],
        env=environment(**env),
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def started(*args: str, cwd: Path, log: Path, **env: str) -> subprocess.Popen[bytes]:
    """The command line in a process of its own, not waited for; what it says goes to ``log``."""
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *args],
            env=environment(**env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            # A shell without job control has its background jobs ignore Ctrl-C, and that is inherited.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  no threads here
        )


@contextmanager
def worker(pool: str, log: Path, **env: str) -> Iterator[None]:
    """A real Prefect worker of a work pool."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool, "--type", "process"],
            env=environment(**env),
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for_end(api: PrefectServer, flow_run_id: str, timeout_s: float = 180) -> dict[str, Any]:
    """The flow run once it has ended."""
    end = time.monotonic() + timeout_s
    while True:
        run: dict[str, Any] = api.call("GET", f"/flow_runs/{flow_run_id}")
        if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}:
            return run
        assert time.monotonic() < end, f"the flow run is still {run['state_name']}"
        time.sleep(0.5)
