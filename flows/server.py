"""A real local Prefect server for a laptop: loopback only, a random auth string, CSRF on, data below our home.

Started when no API is configured; reused while it runs (``--keep-server``); stopped by pid.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.core.errors import NightwardenError

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 15.0
#: Batched services record over 110 task runs a second instead of 30, and keep up with bursts.
_BATCHED = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    # A batch that is not full waits 5 s by default: the end of every run, and what the UI shows while it lasts. The
    # server cuts it to whole seconds, and 0 would keep a processor busy for ever.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_READ_BATCH_SIZE": "100",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running local server. ``auth`` is ``user:password``; it lies in a file of mode 0600 and nowhere else."""

    pid: int
    port: int
    auth: str

    def __repr__(self) -> str:
        return f"Server(pid={self.pid}, port={self.port})"

    @property
    def api_url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.port}/api"

    @property
    def ui_url(self) -> str:
        """Address of the UI."""
        return f"http://127.0.0.1:{self.port}"

    def client_environment(self) -> dict[str, str]:
        """What a Prefect client needs; set before Prefect is imported."""
        return {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.auth}


def state_file(home: Path) -> Path:
    """Where a running server is written down (mode 0600: it holds the auth string)."""
    return home / "prefect" / "server.json"


def running(home: Path) -> Server | None:
    """The server that runs on this home, if it answers."""
    try:
        server = Server(**json.loads(state_file(home).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    # The pid first: the password must not go to whoever has that port now.
    return server if _alive(server.pid) and _is_ours(server.pid) and _healthy(server) else None


def start(home: Path) -> Server:
    """Start a server (does not wait until it answers; see ``wait``)."""
    folder = home / "prefect"
    empty = folder / "cwd"
    empty.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    port, auth = _free_port(), f"nightwarden:{secrets.token_urlsafe(24)}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= _BATCHED | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # The client's own string, for the server's background services.
        "PREFECT_API_AUTH_STRING": auth,
    }
    log = (folder / "server.log").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
        cwd=empty,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    log.close()
    server = Server(pid=process.pid, port=port, auth=auth)
    path = state_file(home)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as f:
        json.dump(asdict(server), f)
    return server


def wait(server: Server, home: Path) -> None:
    """Wait until the server answers. Raises NightwardenError naming its log when it does not."""
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end:
        if _healthy(server):
            return
        if not _alive(server.pid):
            break
        time.sleep(0.1)
    stop(home)
    raise NightwardenError(
        "the local Prefect server did not start", advice=f"Its log is {home / 'prefect' / 'server.log'}."
    )


def stop(home: Path) -> bool:
    """Stop the server of this home by its pid. Returns whether there was one."""
    try:
        server = Server(**json.loads(state_file(home).read_text()))
    except (OSError, ValueError, TypeError):
        return False
    found = _alive(server.pid) and _is_ours(server.pid)
    if found:
        os.killpg(server.pid, signal.SIGTERM)
        end = time.monotonic() + _STOP_TIMEOUT_S
        while _alive(server.pid) and time.monotonic() < end:
            time.sleep(0.05)
        if _alive(server.pid):
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
    state_file(home).unlink(missing_ok=True)
    return found


@contextmanager
def client_of(server: Server) -> Iterator[None]:
    """Let Prefect clients of this process talk to the server; the environment is put back afterwards."""
    before = {k: os.environ.get(k) for k in server.client_environment()}
    os.environ.update(server.client_environment())
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _healthy(server: Server) -> bool:
    token = b64encode(server.auth.encode()).decode()
    request = urllib.request.Request(f"{server.api_url}/health", headers={"Authorization": f"Basic {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


def _alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_ours(pid: int) -> bool:
    """Guards against a pid that was given to another process since."""
    try:
        return b"prefect" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
