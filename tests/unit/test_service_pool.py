"""The pool of long-lived tool processes: when one is used again, when it is replaced, and how many there are."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from tasks.core.ports import Scanner
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import Sandbox
from tasks.core.types import Command, Completed, Limits, Mount, Target, ToolHome
from tasks.scanners.service import ServicePool
from tests.builders import processes_with, python, wait_until

MIB = 1024**2
#: Far above what the interpreter needs, so that only ``grow`` comes near it.
MEMORY = 256 * MIB
#: Tells how many checkouts it has answered, and what stands in this one; the file ``do`` asks it to misbehave.
SERVER = """
import json, os, signal, sys, time
held, served = [], 0
for line in sys.stdin:
    root = json.loads(line)["root"]
    served += 1
    word = open(root + "/do").read()
    if word == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if word == "leave":
        sys.exit(7)
    if word == "hang":
        time.sleep(600)
    if word.startswith("grow"):
        held.append(b"x" * (int(word.split()[1]) << 20))
        if word.endswith("stay"):
            time.sleep(600)
    print(json.dumps({"served": served, "word": word}), flush=True)
"""


class FakeScanner:
    """What the pool needs of an adapter: its limits and its command."""

    name = "fake"

    def __init__(self, limits: Limits, marker: str) -> None:
        self.limits = limits
        self.marker = marker

    def command(self, tool: ToolHome, target: Target) -> Command:
        return python(
            f"{SERVER}# {self.marker}",
            mounts=(Mount(source=target.root, inside=target.inside),),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
        )


class Pool:
    """A pool over a folder of checkouts, and what is asked of it."""

    def __init__(self, sandbox: Sandbox, root: Path, **options: Any) -> None:
        self.root = root
        #: On the command line of its processes and of nothing else on this machine.
        self.marker = f"pool of {root}"
        limits = Limits(timeout_s=options.pop("limit_s", 60), memory_bytes=MEMORY)
        home = ToolHome(name="fake", version="1", executable=root, mounts=(), rules_digest="r", origin="test")
        scanner = cast(Scanner, FakeScanner(limits, self.marker))
        self.service = ServicePool(ProcessRunner(sandbox), home, scanner, root=root, **{"size": 1, **options})

    def scan(self, word: str = "answer", timeout_s: float | None = None) -> Completed:
        """A checkout of its own that holds the word."""
        folder = self.root / f"{len(list(self.root.iterdir()))}-{threading.get_ident()}"
        folder.mkdir()
        (folder / "do").write_text(word)
        target = Target(repo_id="r", ref="main", commit="c", root=folder)
        return self.service.scan(target, timeout_s=timeout_s)

    def served(self, word: str = "answer") -> int:
        """How many checkouts the process that answered has answered."""
        done = self.scan(word)
        assert done.exit_code == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["word"] == word, "its own checkout was looked at"
        return int(answer["served"])

    def left(self) -> list[int]:
        return processes_with(self.marker)


@contextmanager
def opened(sandbox: Sandbox, root: Path, **options: Any) -> Iterator[Pool]:
    root.mkdir()
    pool = Pool(sandbox, root, **options)
    try:
        yield pool
    finally:
        pool.service.close()
        assert wait_until(lambda: not pool.left()), "nothing outlives its pool"


def test_nothing_is_started_before_it_is_needed(any_sandbox: Sandbox, tmp_path: Path) -> None:
    with opened(any_sandbox, tmp_path / "checkouts", size=3) as pool:
        assert (pool.service.started, pool.left()) == (0, [])


def test_one_process_serves_one_checkout_after_another(any_sandbox: Sandbox, tmp_path: Path) -> None:
    with opened(any_sandbox, tmp_path / "checkouts", size=3) as pool:
        assert [pool.served() for _ in range(4)] == [1, 2, 3, 4]
        assert pool.service.started == 1, "who comes later takes the one that is warm"
        assert pool.left()


def test_a_process_is_replaced_after_so_many_checkouts(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts", restart_after=3) as pool:
        assert [pool.served() for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
        assert pool.service.started == 3


def test_the_last_checkout_of_a_process_ends_it_at_once(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts", restart_after=2) as pool:
        pool.served()
        assert pool.left()
        pool.served()
        assert wait_until(lambda: not pool.left()), "it does not idle until somebody comes"
        assert pool.service.started == 1


@pytest.mark.parametrize(("word", "code"), [("die", -11), ("leave", 7)])
def test_a_process_that_died_is_replaced(any_sandbox: Sandbox, tmp_path: Path, word: str, code: int) -> None:
    with opened(any_sandbox, tmp_path / "checkouts") as pool:
        assert pool.served() == 1
        assert pool.scan(word).exit_code == code
        assert pool.served() == 1
        assert pool.service.started == 2


def test_a_process_that_was_killed_while_it_idled_is_replaced(runner: ProcessRunner, tmp_path: Path) -> None:
    """The next checkout is the one that notices, and says so; the one after it has another process."""
    with opened(runner.sandbox, tmp_path / "checkouts") as pool:
        assert pool.served() == 1
        for pid in pool.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert wait_until(lambda: not pool.left())
        assert pool.scan().exit_code not in (0, None)
        assert pool.served() == 1
        assert pool.service.started == 2


def test_a_process_that_ran_out_of_time_is_replaced(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts") as pool:
        assert pool.served() == 1
        done = pool.scan("hang", timeout_s=0.5)
        assert (done.timed_out, done.exit_code) == (True, None)
        assert pool.served() == 1
        assert pool.service.started == 2


def test_a_caller_shortens_the_limit_of_the_tool_and_never_lengthens_it(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts", limit_s=1.0) as pool:
        for asked in (None, 20.0):
            done = pool.scan("hang", timeout_s=asked)
            assert done.timed_out
            assert 1.0 <= done.duration_s < 15


def test_a_process_that_has_grown_is_replaced_after_its_answer(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts") as pool:
        assert pool.served("grow 40") == 1
        assert pool.served("grow 40") == 2, "below half of its limit it may stay"
        assert pool.service.started == 1
        assert pool.served("grow 70") == 3, "what it said still counts"
        assert wait_until(lambda: not pool.left())
        assert pool.served() == 1
        assert pool.service.started == 2


def test_a_process_over_its_limit_is_killed_and_replaced(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts") as pool:
        done = pool.scan("grow 270 stay")
        assert (done.out_of_memory, done.exit_code) == (True, None)
        assert pool.served() == 1
        assert pool.service.started == 2


def test_no_more_processes_than_the_pool_has_room_for(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts", size=2) as pool:
        told: list[Completed] = []
        threads = [threading.Thread(target=lambda: told.append(pool.scan("hang", timeout_s=1.5))) for _ in range(2)]
        for t in threads:
            t.start()
        assert wait_until(lambda: pool.service.started == 2)
        # Waits until one of the two is free, and its waiting is not counted.
        third = pool.scan("answer", timeout_s=30)
        for t in threads:
            t.join(30)
        assert [d.timed_out for d in told] == [True, True]
        assert third.exit_code == 0
        assert pool.service.started == 3


def test_close_ends_what_idles(runner: ProcessRunner, tmp_path: Path) -> None:
    with opened(runner.sandbox, tmp_path / "checkouts") as pool:
        pool.served()
        assert pool.left()
        pool.service.close()
        assert wait_until(lambda: not pool.left())
