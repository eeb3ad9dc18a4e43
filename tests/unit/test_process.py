"""The one place that starts a process: pipes, limits, kills, and what the end of a process is called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

from tasks.core import process
from tasks.core.errors import ScanGapError
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import Backend, Sandbox, detect
from tasks.core.types import Command
from tests.builders import processes_with, python, shell, wait_until

MIB = 1024**2


@pytest.fixture
def run(any_sandbox: Sandbox) -> ProcessRunner:
    return ProcessRunner(any_sandbox)


@pytest.fixture
def marker() -> str:
    """A number of seconds for sleep that no other process on the machine has on its command line."""
    return f"86400.{uuid.uuid4().int % 10**18:018d}"


def test_output_error_and_exit_code_come_back(run: ProcessRunner) -> None:
    done = run.run(shell("echo out; echo err >&2; exit 3"))
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
    assert not (done.timed_out or done.out_of_memory or done.output_overflow or done.cancelled)
    assert done.sandbox == run.sandbox.label


def test_megabytes_on_both_pipes_do_not_block(run: ProcessRunner) -> None:
    flood = "head -c {n} /dev/zero"
    script = f"{flood.format(n=5_000_000)} >&2; {flood.format(n=3_000_000)}; {flood.format(n=5_000_000)} >&2; echo end"
    done = run.run(shell(script, timeout_s=60, stderr_bytes=MIB))
    assert done.exit_code == 0
    assert len(done.stdout) == 3_000_004
    assert done.stdout.endswith(b"end\n")
    assert len(done.stderr) == MIB, "the head of stderr is kept, the rest is drained"


def test_a_large_input_is_fed_while_output_is_read(run: ProcessRunner) -> None:
    data = bytes(range(256)) * 20_000
    done = run.run(shell("cat", stdin=data, timeout_s=60))
    assert done.exit_code == 0
    assert done.stdout == data


def test_a_process_that_ignores_its_input_is_no_failure(run: ProcessRunner) -> None:
    assert run.run(shell("exit 0", stdin=b"x" * 5_000_000, timeout_s=60)).exit_code == 0


def test_no_input_is_the_end_of_the_input(run: ProcessRunner) -> None:
    assert run.run(shell("cat; echo done", timeout_s=60)).stdout == b"done\n"


def test_a_timeout_kills_the_process_and_its_grandchild(run: ProcessRunner, marker: str) -> None:
    done = run.run(shell(f"(sh -c 'sleep {marker} & wait' & echo up; wait)", timeout_s=1))
    assert done.stdout == b"up\n"
    assert done.timed_out
    assert done.exit_code is None
    assert wait_until(lambda: not processes_with(marker)), "the grandchild lives on"


def test_a_timeout_reaches_what_left_the_process_group(isolating: Sandbox, marker: str) -> None:
    script = f"setsid sh -c 'setsid sleep {marker} & echo up; wait' & wait"
    done = ProcessRunner(isolating).run(shell(script, timeout_s=1))
    assert done.stdout == b"up\n"
    assert done.timed_out
    assert wait_until(lambda: not processes_with(marker)), "a process with a session of its own lives on"


def test_a_daemon_left_behind_dies_with_the_command(isolating: Sandbox, marker: str) -> None:
    script = f"setsid sleep {marker} </dev/null >/dev/null 2>&1 & echo up"
    done = ProcessRunner(isolating).run(shell(script, timeout_s=60))
    assert (done.exit_code, done.stdout) == (0, b"up\n")
    assert wait_until(lambda: not processes_with(marker))


@pytest.mark.parametrize(("name", "number"), [("SEGV", 11), ("KILL", 9), ("ABRT", 6)])
def test_death_by_signal_is_a_negative_exit_code(run: ProcessRunner, name: str, number: int) -> None:
    done = run.run(shell(f"echo half; kill -{name} $$"))
    assert done.exit_code == -number
    assert done.stdout == b"half\n"
    assert not done.timed_out


def test_an_exit_code_above_128_that_the_tool_means_is_kept(run: ProcessRunner) -> None:
    assert run.run(shell("exit 139", ok_codes=frozenset({0, 139}))).exit_code == 139
    assert run.run(shell("exit 255")).exit_code == 255


def test_memory_of_the_whole_tree_is_limited(run: ProcessRunner) -> None:
    # No child alone reaches the limit, so only the sum over the tree can.
    code = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        held = bytearray(b"x") * (80 * 1024 * 1024)
        time.sleep(600)
print("up", flush=True)
time.sleep(600)
"""
    done = run.run(python(code, memory_bytes=160 * MIB, timeout_s=60))
    assert done.stdout == b"up\n"
    assert done.out_of_memory
    assert not done.timed_out
    assert done.exit_code is None
    assert done.peak_rss_bytes > 160 * MIB


def test_our_own_size_is_not_told_as_a_childs(run: ProcessRunner) -> None:
    ours = bytearray(b"x") * (300 * MIB)
    small = run.run(shell("sleep 0.5"))
    assert 0 < small.peak_rss_bytes < 100 * MIB
    grown = run.run(python("bytearray(b'x') * (50 * 1024 * 1024); import time; time.sleep(0.6)"))
    assert 0 < grown.peak_rss_bytes < 250 * MIB
    assert len(ours) == 300 * MIB


def test_memory_taken_in_one_gulp_is_refused_by_the_kernel(run: ProcessRunner) -> None:
    done = run.run(python("bytearray(900 * 1024 * 1024)", memory_bytes=200 * MIB, timeout_s=60))
    assert done.exit_code == 1
    assert b"MemoryError" in done.stderr


def test_endless_output_is_stopped_at_the_limit(run: ProcessRunner, marker: str) -> None:
    done = run.run(shell(f"sleep {marker} & yes", stdout_bytes=300_000, timeout_s=60))
    assert done.output_overflow
    assert done.exit_code is None
    assert 0 < len(done.stdout) <= 300_000
    assert wait_until(lambda: not processes_with(marker))


def test_output_of_exactly_the_limit_is_no_overflow(run: ProcessRunner) -> None:
    done = run.run(shell("head -c 300000 /dev/zero", stdout_bytes=300_000))
    assert (done.exit_code, len(done.stdout), done.output_overflow) == (0, 300_000, False)


def test_a_sink_takes_output_of_any_length(run: ProcessRunner) -> None:
    sizes: list[int] = []
    done = run.run(shell("head -c 2000000 /dev/zero", stdout_bytes=10), sink=lambda c: sizes.append(len(c)))
    assert done.exit_code == 0
    assert sum(sizes) == 2_000_000
    assert len(sizes) > 1
    assert done.stdout == b""


def test_an_exception_of_the_sink_kills_the_process(run: ProcessRunner, marker: str) -> None:
    def refuse(_chunk: bytes) -> None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        run.run(shell(f"echo up; sleep {marker}", timeout_s=60), sink=refuse)
    assert wait_until(lambda: not processes_with(marker))


def test_cancel_ends_what_runs_and_refuses_what_comes(run: ProcessRunner, marker: str) -> None:
    results = []
    thread = threading.Thread(target=lambda: results.append(run.run(shell(f"echo up; sleep {marker}"))))
    thread.start()
    assert wait_until(lambda: bool(processes_with(f"sleep\0{marker}")))
    assert not run.cancelled
    run.cancel()
    thread.join(30)
    assert run.cancelled
    assert [(r.cancelled, r.exit_code, r.stdout) for r in results] == [(True, None, b"up\n")]
    assert wait_until(lambda: not processes_with(marker))
    with pytest.raises(ScanGapError) as refused:
        run.run(shell("echo never"))
    assert refused.value.reason_code == "cancelled"


def test_a_process_that_closes_its_pipes_and_stays_is_ended(marker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A sandbox holds the pipes open for its tool, so that only the bare process can do this.
    monkeypatch.setattr(process, "_REAP_S", 0.5)
    done = ProcessRunner(detect("none")).run(shell(f"exec sleep {marker} <&- >&- 2>&-", timeout_s=1))
    assert done.timed_out
    assert done.exit_code is None
    assert wait_until(lambda: not processes_with(marker))


def test_a_program_that_is_not_there_fails_with_its_name(run: ProcessRunner) -> None:
    done = run.run(Command(argv=("/usr/bin/no-such-tool", "--flag")))
    assert done.exit_code not in (0, None)
    assert b"no-such-tool" in done.stderr


def test_a_command_the_system_refuses_to_start_is_a_gap_of_the_scan(run: ProcessRunner) -> None:
    with pytest.raises(ScanGapError) as refused:
        run.run(shell("true " + "x" * 4_000_000))
    assert refused.value.reason_code == "sandbox"


def test_only_the_allowed_environment_reaches_the_child(run: ProcessRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_API_KEY", "AWS_SECRET_ACCESS_KEY", "LD_PRELOAD_X", "NIGHTWARDEN_KEY_FILE"):
        monkeypatch.setenv(name, "canary")
    done = run.run(shell("env", env={"TOOL_SETTING": "on"}))
    seen = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
    # What a shell sets for itself counts for nothing.
    assert set(seen) - {"PWD", "_", "SHLVL", "OLDPWD"} == {"PATH", "HOME", "LANG", "TZ", "TMPDIR", "TOOL_SETTING"}
    assert "canary" not in seen.values()
    assert seen["TOOL_SETTING"] == "on"


def test_no_descriptor_of_ours_reaches_the_child(run: ProcessRunner, tmp_path: Path) -> None:
    (tmp_path / "ours").write_bytes(b"x")
    with (tmp_path / "ours").open("rb") as held:
        os.set_inheritable(held.fileno(), True)
        done = run.run(shell(f"test -e /proc/self/fd/{held.fileno()} && echo leaked; exit 0"))
    assert done.stdout == b""


@pytest.mark.parametrize("backend", ["bubblewrap", "unshare"])
def test_the_tools_die_when_we_are_killed(backend: Backend, marker: str) -> None:
    try:
        detect(backend)
    except ScanGapError as e:
        pytest.skip(e.detail)
    code = (
        "from tasks.core.process import ProcessRunner\nfrom tasks.core.sandbox import detect\n"
        "from tests.builders import shell\n"
        f"ProcessRunner(detect({backend!r})).run(shell('sleep {marker} & wait'))\n"
    )
    ours = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    try:
        assert wait_until(lambda: bool(processes_with(f"sleep\0{marker}")))
        ours.kill()
        ours.wait()
        assert wait_until(lambda: not processes_with(marker), seconds=5)
    finally:
        ours.kill()
        ours.wait()
        for left in processes_with(marker):
            os.kill(left, signal.SIGKILL)
