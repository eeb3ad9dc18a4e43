"""A real local Prefect server for a laptop: loopback only, a random auth string, CSRF on, data below our home.

It is started when no API is configured, shared by all who use the same home at a time, and stopped by the last of
them, unless it was told to stay (``server start``, ``--keep-server``). Three files below ``prefect/`` say how things
are: ``server.json`` names the process, ``server.lock`` is held while one is looked up, started or stopped, and every
user holds ``server.users`` together with the others. The kernel lets go of locks when a process dies, so whoever
was killed counts no more; the server looks itself whether anybody is left (``flows.server_process``).
"""

from __future__ import annotations

import fcntl
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
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tasks.core.births import born
from tasks.core.errors import NightwardenError

_START_TIMEOUT_S = 120.0
#: What a server may take to end by itself before it is killed.
STOP_TIMEOUT_S = 15.0
#: Longer than another may start or stop a server with the lock held.
_LOCK_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 5.0
_TICK_S = 0.05
_HOST = "127.0.0.1"
_MODULE = "flows.server_process"
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
    """A local server. ``auth`` is ``user:password``; it lies in a file of mode 0600 and nowhere else.

    ``born`` is when its process started, in clock ticks after the boot: with the pid it names one process for good.
    ``kept``: it stays when its last user leaves.
    """

    pid: int
    born: int
    port: int
    auth: str
    kept: bool = False

    def __repr__(self) -> str:
        return f"Server(pid={self.pid}, port={self.port})"

    @property
    def api_url(self) -> str:
        """Address of the API."""
        return f"http://{_HOST}:{self.port}/api"

    @property
    def ui_url(self) -> str:
        """Address of the UI."""
        return f"http://{_HOST}:{self.port}"

    def client_environment(self) -> dict[str, str]:
        """What a Prefect client needs; set before Prefect is imported."""
        return {"PREFECT_API_URL": self.api_url, "PREFECT_API_AUTH_STRING": self.auth}


def state_file(home: Path) -> Path:
    """Where a running server is written down (mode 0600: it holds the auth string)."""
    return home / "prefect" / "server.json"


def users_file(home: Path) -> Path:
    """What the users of a server hold together (a shared lock), and a server that ends holds alone."""
    return home / "prefect" / "server.users"


def written_down(home: Path) -> Server | None:
    """The server that the state file names, whether it runs or not; None when the file is absent or torn."""
    try:
        server = Server(**json.loads(state_file(home).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return server if all(isinstance(n, int) for n in (server.pid, server.born, server.port)) else None


def running(home: Path) -> Server | None:
    """The server that runs on this home, if it answers."""
    server = written_down(home)
    return server if server is not None and _answers(server) else None


@contextmanager
def used(home: Path, *, keep: bool = False) -> Iterator[Server]:
    """The server of this home, started if none runs; it may not answer yet (``wait``).

    Its last user stops it, unless one of them asked to ``keep`` it. Raises NightwardenError when one that ends
    does not get done, or another command holds the lock too long.
    """
    _folder(home)
    users = os.open(users_file(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    reserved = socket.socket()
    try:
        server = _joined(home, users, reserved, keep=keep)
        try:
            yield server
        finally:
            _leave(home, users)
    finally:
        reserved.close()
        os.close(users)


def wait(server: Server, home: Path) -> None:
    """Wait until the server answers. Raises NightwardenError naming its log when it does not."""
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end:
        if _answers(server):
            return
        if not _runs(server):
            break
        time.sleep(_TICK_S)
    named = written_down(home)
    if named is not None and named.pid == server.pid:
        stop(home)
    raise NightwardenError(
        "the local Prefect server did not start", advice=f"Its log is {home / 'prefect' / 'server.log'}."
    )


def keep_running(home: Path) -> Server:
    """Start the server, or take the one that runs, and have it stay. Raises as ``used`` and ``wait``."""
    with used(home, keep=True) as server:
        wait(server, home)
        return server


def stop(home: Path) -> bool:
    """Stop the server of this home, whoever uses it. Returns whether there was one."""
    if not state_file(home).exists():
        return False
    with _alone(home):
        server = written_down(home)
        found = server is not None and _runs(server)
        if server is not None:
            _end(server)
        state_file(home).unlink(missing_ok=True)
    return found


@contextmanager
def client_of(server: Server, home: Path) -> Iterator[None]:
    """Let Prefect clients of this process talk to the server; the environment is put back afterwards.

    To be entered before Prefect is imported. Prefect keeps its own files in our home as well, and reads no profile
    of the user's: a key or a header meant for another server must not go to this one.
    """
    given = server.client_environment()
    if not os.environ.get("PREFECT_HOME"):
        given["PREFECT_HOME"] = str(_folder(home))
    # Lower case goes before upper case, for Prefect's client as for Python's.
    past = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    given["no_proxy"] = f"{past},{_HOST}" if past else _HOST
    before = {k: os.environ.get(k) for k in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def try_lock(fd: int, kind: int, *, within_s: float = 0.0) -> bool:
    """Take a lock (``fcntl.LOCK_SH`` or ``LOCK_EX``) within so many seconds; whether it was got."""
    end = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_TICK_S)
        else:
            return True


# -- the states of a server --------------------------------------------------------------------------------


def _joined(home: Path, users: int, reserved: socket.socket, *, keep: bool) -> Server:
    """Become a user of the server; start one when there is none that answers or still starts."""
    with _alone(home):
        # A server that ends holds this lock alone until it is gone: two must not work on one database.
        if not try_lock(users, fcntl.LOCK_SH, within_s=2 * STOP_TIMEOUT_S):
            raise NightwardenError(
                "the local Prefect server is ending and does not get done",
                advice=f"`nightwarden server stop` kills it; its log is {home / 'prefect' / 'server.log'}.",
            )
        server = written_down(home)
        if server is not None and not _of_use(server):
            _end_unless_used(server, users)
            server = None
        if server is None:
            server = _start(home, reserved, keep=keep)
        elif keep and not server.kept:
            server = replace(server, kept=True)
            _write_down(home, server)
        return server


def _end_unless_used(server: Server, users: int) -> None:
    """End a server that does not answer. Raises NightwardenError while others work with it: it may only be busy."""
    if not try_lock(users, fcntl.LOCK_EX, within_s=STOP_TIMEOUT_S):
        raise NightwardenError(
            "the local Prefect server does not answer, and another command of this home uses it",
            advice="Wait until that command is done; `nightwarden server stop` ends the server at once.",
        )
    _end(server)
    try_lock(users, fcntl.LOCK_SH, within_s=STOP_TIMEOUT_S)


def _leave(home: Path, users: int) -> None:
    """Stop the server if nobody else uses it and it is not kept. What is not done here, the server does itself."""
    with suppress(NightwardenError), _alone(home):
        end = time.monotonic() + STOP_TIMEOUT_S
        while not try_lock(users, fcntl.LOCK_EX):
            # Others use it if they let us in; if not, the server itself was faster: wait until it is gone.
            if try_lock(users, fcntl.LOCK_SH) or time.monotonic() > end:
                return
            time.sleep(_TICK_S)
        server = written_down(home)
        if server is not None and not server.kept:
            _end(server)
            state_file(home).unlink(missing_ok=True)


def _start(home: Path, reserved: socket.socket, *, keep: bool) -> Server:
    folder = _folder(home)
    empty = folder / "cwd"
    empty.mkdir(exist_ok=True)
    # Bound and not listened to: until the server does, nobody else is given this port.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((_HOST, 0))
    port, auth = int(reserved.getsockname()[1]), f"nightwarden:{secrets.token_urlsafe(24)}"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    environment |= _BATCHED | {
        "PREFECT_HOME": str(folder),
        "PREFECT_API_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{folder}/prefect.db",
        "PREFECT_SERVER_API_AUTH_STRING": auth,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_API_URL": f"http://{_HOST}:{port}/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # The client's own string, for the server's background services.
        "PREFECT_API_AUTH_STRING": auth,
    }
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, str(home), _HOST, str(port)],
            cwd=empty,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = Server(pid=process.pid, born=born(process.pid) or 0, port=port, auth=auth, kept=keep)
    _write_down(home, server)
    return server


def _of_use(server: Server) -> bool:
    """Whether it answers, or is young enough to be still starting."""
    if not _runs(server):
        return False
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - server.born / os.sysconf("SC_CLK_TCK")
    return age_s < _START_TIMEOUT_S or _answers(server) or _answers(server)


def _end(server: Server) -> None:
    """End its process, by force if need be. Nothing happens when it is gone already."""
    if not _runs(server):
        return
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGINT)
    end = time.monotonic() + STOP_TIMEOUT_S
    while _runs(server) and time.monotonic() < end:
        time.sleep(_TICK_S)
    if _runs(server):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)


def _answers(server: Server) -> bool:
    # First whose port it is: the password must not go to whoever has that port now.
    if not _runs(server) or not _listens(server):
        return False
    token = b64encode(server.auth.encode()).decode()
    request = urllib.request.Request(f"{server.api_url}/health", headers={"Authorization": f"Basic {token}"})
    straight = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with straight.open(request, timeout=_ANSWER_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


# -- files and processes -----------------------------------------------------------------------------------


def _folder(home: Path) -> Path:
    folder = home / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return folder


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Hold the lock of look-ups, starts and stops. Raises NightwardenError when it is not got in time."""
    path = _folder(home) / "server.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not try_lock(fd, fcntl.LOCK_EX, within_s=_LOCK_TIMEOUT_S):
            raise NightwardenError(
                f"another command has held {path} for {_LOCK_TIMEOUT_S:.0f} s",
                advice="It starts or stops the local Prefect server; end it if it hangs.",
            )
        yield
    finally:
        os.close(fd)


def _write_down(home: Path, server: Server) -> None:
    """Replace the state file at once: a reader sees the old or the new one, whenever the writer dies."""
    path = state_file(home)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as f:
        json.dump(asdict(server), f)
    fresh.replace(path)


def _runs(server: Server) -> bool:
    """Whether the process is there: that one, not another that was given its pid since."""
    with suppress(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)
    return born(server.pid) == server.born and _is_a_server(server.pid)


def _is_a_server(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    # There are none yet in the moment of its start: who waits for that sees files closed before words are set.
    return not words or _MODULE.encode() in words.split(b"\0")


def _listens(server: Server) -> bool:
    """Whether it is this process that listens on the port; believed where /proc hides sockets."""
    address = int.from_bytes(socket.inet_aton(_HOST), sys.byteorder)
    place, listening = f"{address:08X}:{server.port:04X}", "0A"
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return True
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == place and row[3] == listening}
    with suppress(OSError):  # it ended while we looked
        return any(_opened(fd) in sockets for fd in Path(f"/proc/{server.pid}/fd").iterdir())
    return False


def _opened(fd: Path) -> str:
    """What a descriptor below /proc refers to; empty when it was closed meanwhile."""
    try:
        return str(fd.readlink())
    except OSError:
        return ""
