"""A process that answers one line after another: its limits, its deaths, and who waits for it."""

from __future__ import annotations

import threading
import uuid

import pytest

from tasks.core.process import LongLived, ProcessRunner
from tasks.core.sandbox import Sandbox
from tests.builders import processes_with, shell, wait_until

MIB = 1024**2
#: A server for LongLived: answers each line, unless the line asks it to misbehave.
SERVER = """
while read -r line; do
  case "$line" in
    die) kill -SEGV $$ ;;
    leave) exit 7 ;;
    hang) sleep 600 ;;
    flood) head -c 9000000 /dev/zero ;;
    grumble) head -c 3000000 /dev/zero >&2; echo "grumbled" ;;
    *) echo "answer to $line" ;;
  esac
done
"""


@pytest.fixture
def marker() -> str:
    """A number of seconds for sleep that no other process on the machine has on its command line."""
    return f"86400.{uuid.uuid4().int % 10**18:018d}"


@pytest.fixture
def server(any_sandbox: Sandbox) -> LongLived:
    return LongLived(ProcessRunner(any_sandbox), shell(SERVER, stdout_bytes=MIB))


def test_a_long_lived_process_answers_one_line_after_another(server: LongLived) -> None:
    answers = [server.ask(f"{n}".encode(), timeout_s=60).stdout for n in range(3)]
    assert answers == [b"answer to 0\n", b"answer to 1\n", b"answer to 2\n"]
    assert server.served == 3
    assert server.alive
    assert server.rss_bytes > 0
    server.close()
    assert not server.alive


def test_a_long_lived_process_may_fill_its_error_pipe(server: LongLived) -> None:
    done = server.ask(b"grumble", timeout_s=60)
    assert done.stdout == b"grumbled\n"
    assert len(done.stderr) == MIB
    assert server.alive
    server.close()


def test_a_long_line_reaches_a_long_lived_process(any_sandbox: Sandbox) -> None:
    server = LongLived(ProcessRunner(any_sandbox), shell("cat"))
    line = b"x" * 3_000_000
    assert server.ask(line, timeout_s=60).stdout == line + b"\n"
    server.close()


@pytest.mark.parametrize(("line", "code"), [(b"die", -11), (b"leave", 7)])
def test_a_long_lived_process_that_dies_says_how(server: LongLived, line: bytes, code: int) -> None:
    assert server.ask(b"1", timeout_s=60).exit_code == 0
    assert server.ask(line, timeout_s=60).exit_code == code
    assert not server.alive
    again = server.ask(b"2", timeout_s=60)
    assert again.exit_code not in (0, None), "asking a dead one answers at once"
    server.close()


def test_a_long_lived_process_that_hangs_is_killed(runner: ProcessRunner, marker: str) -> None:
    server = LongLived(runner, shell(SERVER.replace("sleep 600", f"sleep {marker}")))
    done = server.ask(b"hang", timeout_s=1)
    assert done.timed_out
    assert done.exit_code is None
    assert not server.alive
    server.close()
    assert wait_until(lambda: not processes_with(f"sleep\0{marker}"))


def test_a_long_lived_process_that_floods_is_killed(server: LongLived) -> None:
    done = server.ask(b"flood", timeout_s=60)
    assert done.output_overflow
    assert done.exit_code is None
    assert not server.alive
    server.close()


def test_cancel_ends_a_long_lived_process(any_sandbox: Sandbox, marker: str) -> None:
    runner = ProcessRunner(any_sandbox)
    server = LongLived(runner, shell(SERVER.replace("sleep 600", f"sleep {marker}")))
    results = []
    thread = threading.Thread(target=lambda: results.append(server.ask(b"hang", timeout_s=600)))
    thread.start()
    assert wait_until(lambda: bool(processes_with(f"sleep\0{marker}")))
    runner.cancel()
    thread.join(30)
    assert [(r.cancelled, r.exit_code) for r in results] == [(True, None)]
    # Not a failure of the tool, which would be looked into by asking again and again with less.
    assert server.ask(b"1", timeout_s=60).cancelled
    assert LongLived(runner, shell(SERVER)).ask(b"1", timeout_s=60).cancelled
    server.close()
    assert wait_until(lambda: not processes_with(f"sleep\0{marker}"))
