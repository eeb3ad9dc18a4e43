"""The local Prefect server of a home: one for all its users, gone with the last of them, however they end."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar

import pytest

from flows import server
from flows.server import Server
from tasks.core.births import born
from tasks.core.errors import NightwardenError
from tests.builders import Repository, processes_with, wait_until
from tests.integration.servers import environment, nightwarden, with_database
from tests.thorough import thorough

pytestmark = pytest.mark.prefect

#: It looks twice a second for users, may be in the middle of its start, and is killed if that is not enough.
GONE_WITHIN_S = server.STOP_TIMEOUT_S + 15.0


class User:
    """A process that uses the server of a home."""

    started: ClassVar[list[User]] = []

    def __init__(self, home: Path, *options: str) -> None:
        self.started.append(self)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.server_user", str(home), *options],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def server(self) -> int:
        """The pid of the server it uses; waits until it has one."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline().split()[0])

    def leave(self) -> None:
        """End in order."""
        self.process.communicate(timeout=60)
        assert self.process.returncode == 0

    def kill(self) -> None:
        """End by kill -9."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def home(tmp_path: Path, database: Path) -> Iterator[Path]:
    """A home whose servers are gone after the test, whatever became of it."""
    yield with_database(tmp_path / "home", database)
    while User.started:
        User.started.pop().kill()
    server.stop(tmp_path / "home")
    assert wait_until(lambda: not processes_with(str(tmp_path / "home")), GONE_WITHIN_S)


def servers_of(home: Path) -> list[int]:
    return processes_with(f"flows.server_process\0{home}")


def holds_back_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (blocked,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(blocked, 16) >> (signal.SIGTERM - 1) & 1)


def test_users_that_come_at_one_moment_share_a_server_and_the_last_one_stops_it(home: Path) -> None:
    users = [User(home) for _ in range(4)]
    used = {user.server for user in users}
    assert len(used) == 1
    assert servers_of(home) == list(used)
    for user in users[:-1]:
        user.leave()
        assert servers_of(home) == list(used)
    users[-1].leave()
    assert servers_of(home) == []
    assert not server.state_file(home).exists()


def test_a_user_that_was_killed_counts_no_more(home: Path) -> None:
    killed, other = User(home), User(home)
    pid = killed.server
    assert other.server == pid
    killed.kill()
    time.sleep(2)
    assert servers_of(home) == [pid], "the other one still uses it"
    other.leave()
    assert servers_of(home) == []


def test_a_server_whose_only_user_was_killed_ends_by_itself(home: Path) -> None:
    user = User(home)
    pid = user.server
    assert servers_of(home) == [pid]
    user.kill()
    assert wait_until(lambda: not servers_of(home), GONE_WITHIN_S)
    assert not server.state_file(home).exists()


@thorough
def test_whoever_comes_while_a_server_ends_gets_another(home: Path) -> None:
    with server.used(home) as old:
        pass
    with (home / "prefect" / "server.users").open("rb") as users:
        # As a server does that found nobody and ends.
        fcntl.flock(users, fcntl.LOCK_EX)
        next_user = User(home)
        time.sleep(2)
        assert servers_of(home) == []
    pid = next_user.server
    assert pid != old.pid
    assert servers_of(home) == [pid]
    next_user.leave()


def test_start_leaves_a_server_running_and_stop_ends_it(home: Path, tmp_path: Path) -> None:
    place = {"NIGHTWARDEN_HOME": str(home)}
    assert nightwarden("server", "stop", cwd=tmp_path, **place).stdout == "no server was running\n"
    first = nightwarden("server", "start", cwd=tmp_path, **place)
    assert first.returncode == 0, first.stderr
    (pid,) = servers_of(home)
    assert server.state_file(home).stat().st_mode & 0o777 == 0o600
    auth = json.loads(server.state_file(home).read_text())["auth"].encode()
    assert not processes_with(auth.decode())
    assert nightwarden("server", "start", cwd=tmp_path, **place).stdout == first.stdout
    user = User(home)
    assert user.server == pid
    user.leave()
    time.sleep(2)
    assert f"pid {pid}" in nightwarden("server", "status", cwd=tmp_path, **place).stdout
    assert nightwarden("server", "stop", cwd=tmp_path, **place).stdout == "stopped\n"
    assert servers_of(home) == []
    written = [p for p in (home / "prefect").rglob("*") if p.is_file()]
    assert written
    assert not [p for p in written if auth in p.read_bytes()]


@thorough
def test_a_server_that_one_of_its_users_wants_to_keep_stays(home: Path) -> None:
    first = User(home)
    pid = first.server
    keeper = User(home, "keep")
    assert keeper.server == pid
    keeper.leave()
    first.leave()
    time.sleep(2)
    assert servers_of(home) == [pid]
    assert server.stop(home)
    assert servers_of(home) == []


@thorough
def test_sigterm_ends_a_kept_server_but_not_before_its_users_have_gone(home: Path) -> None:
    user = User(home, "keep")
    pid = user.server
    assert wait_until(lambda: holds_back_sigterm(pid))
    os.kill(pid, signal.SIGTERM)
    time.sleep(2)
    assert servers_of(home) == [pid]
    user.kill()
    assert wait_until(lambda: not servers_of(home), GONE_WITHIN_S)


def stale(home: Path, **changes: int) -> Server:
    """Write down a server that is not there."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    found = replace(Server(pid=ended.pid, born=1, port=1, auth="nightwarden:secret"), **changes)  # type: ignore[arg-type]
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    server.state_file(home).write_text(json.dumps(asdict(found)))
    return found


@contextmanager
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """Another program on a loopback port, and what it was told."""
    told: list[bytes] = []
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        yield s.getsockname()[1], told
        s.settimeout(0.2)
        try:
            connection, _ = s.accept()
        except TimeoutError:
            return
        with connection:
            told.append(connection.recv(4096))


@thorough
def test_a_server_that_is_written_down_but_dead_is_replaced(home: Path) -> None:
    with listener() as (port, told):
        old = stale(home, port=port)
        assert server.running(home) is None
        with server.used(home) as used:
            assert used.pid != old.pid
            assert used.port != port
            assert used.auth != old.auth
    assert told == [], "its password goes to nobody"


def test_a_process_that_was_given_the_pid_of_a_dead_server_is_left_alone(home: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            # Not even if it should have been born at the same tick.
            stale(home, pid=other.pid, born=born(other.pid) or 0)
            assert server.running(home) is None
            assert not server.stop(home)
            stale(home / "again", pid=other.pid)
            with server.used(home / "again") as used:
                assert used.pid != other.pid
            assert other.poll() is None
        finally:
            other.kill()


@pytest.mark.parametrize("torn", ["", '{"pid": 1, "po', "[]", "7", '{"pid": "x", "born": 1, "port": 1, "auth": ""}'])
def test_a_torn_state_file_names_no_server(home: Path, torn: str) -> None:
    server.state_file(home).write_text(torn)
    assert server.written_down(home) is None
    assert server.running(home) is None


@thorough
def test_a_torn_state_file_is_replaced(home: Path) -> None:
    server.state_file(home).write_text('{"pid": 1, "po')
    with server.used(home) as used:
        assert server.written_down(home) == used
    assert not server.state_file(home).exists()


@thorough
def test_a_server_that_nobody_can_find_any_more_ends(home: Path) -> None:
    user = User(home, "keep")
    pid = user.server
    server.state_file(home).write_text("torn")
    user.leave()
    assert wait_until(lambda: not servers_of(home), GONE_WITHIN_S), pid


@thorough
def test_a_server_that_does_not_answer_is_replaced(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = server.keep_running(home)
    os.kill(old.pid, signal.SIGSTOP)
    # Old enough for it to have answered long ago; and to a stopped process it is no use to be patient.
    monkeypatch.setattr(server, "_START_TIMEOUT_S", 0.0)
    monkeypatch.setattr(server, "_ANSWER_TIMEOUT_S", 0.5)
    monkeypatch.setattr(server, "STOP_TIMEOUT_S", 1.0)
    with server.used(home) as used:
        assert used.pid != old.pid
        assert servers_of(home) == [used.pid]


def test_a_port_that_another_program_takes_is_told_at_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listener() as (port, told):
        popen = subprocess.Popen

        def on_that_port(argv: list[str], **options: object) -> subprocess.Popen[bytes]:
            return popen([*argv[:-1], str(port)], **options)  # type: ignore[call-overload, no-any-return]

        monkeypatch.setattr(server.subprocess, "Popen", on_that_port)
        began = time.monotonic()
        with pytest.raises(NightwardenError, match="did not start") as refused, server.used(home) as used:
            server.wait(replace(used, port=port), home)
        assert time.monotonic() - began < server._START_TIMEOUT_S / 2
    assert told == [], "the password goes to nobody"
    assert "server.log" in refused.value.advice
    assert "in use" in (home / "prefect" / "server.log").read_text()
    assert servers_of(home) == []


def test_another_command_that_hangs_with_the_lock_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "prefect").mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(server, "_LOCK_TIMEOUT_S", 0.2)
    with (home / "prefect" / "server.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(NightwardenError, match=r"server\.lock"), server.used(home):
            pass


def test_a_patrol_on_a_terminal_writes_nothing_outside_its_home_and_tells_nobody(home: Path, tmp_path: Path) -> None:
    """Prefect keeps files of its own, and at a terminal it announces that it reports its use to its maker."""
    person, org, log = tmp_path / "person", tmp_path / "org", tmp_path / "log"
    person.mkdir()
    Repository(org / "empty")
    ours, theirs = pty.openpty()
    patrol = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "patrol", "--repos", str(org)],
        env=environment(NIGHTWARDEN_HOME=str(home), HOME=str(person), TERM="xterm"),
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    # The last reading is an error, not an end.
    with os.fdopen(ours, "rb", buffering=0) as terminal, log.open("wb") as copy, suppress(OSError):
        while chunk := terminal.read(4096):
            copy.write(chunk)
    assert patrol.wait(60) == 0, log.read_text()
    assert b"Everything expected was looked at" in log.read_bytes()
    assert b"usage data" not in log.read_bytes()
    assert list(person.rglob("*")) == []


@thorough
def test_what_the_user_chose_for_prefect_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", "/chosen")
    monkeypatch.setenv("NO_PROXY", "example.org")
    given = Server(pid=1, born=1, port=1, auth="a:b")
    with server.client_of(given, home):
        assert os.environ["PREFECT_HOME"] == "/chosen"
        assert os.environ["no_proxy"] == "example.org,127.0.0.1"
        assert os.environ["PREFECT_API_AUTH_STRING"] == "a:b"
    assert "no_proxy" not in os.environ
    monkeypatch.delenv("PREFECT_HOME")
    with server.client_of(given, home):
        assert Path(os.environ["PREFECT_HOME"]).is_relative_to(home)
    assert "PREFECT_HOME" not in os.environ
