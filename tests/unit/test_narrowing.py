"""A tool that fails on some files of many: which are named, how long the search may take, and what it says.

The tool is a fake whose time is told, not spent: every file takes some seconds, hangs, or crashes the tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.process import LongLived, ProcessRunner
from tasks.core.types import Command, Completed, Limits, Outcome, Parsed, RawReport, Target, ToolHome, TreeEntry
from tasks.scanners.execute import Execution, execute, execute_bisecting
from tasks.scanners.narrowing import MAX_RUNS, Attempt, Narrowing, NotNarrowedError
from tasks.scanners.service import ServicePool
from tests.builders import shell

HANG, CRASH = float("inf"), -1.0
T = 600.0
TOOL = ToolHome(name="fake", version="1", executable=Path("/fake"), mounts=(), rules_digest="r", origin="test")


@dataclass
class FakeRunner:
    """In the place of the process runner: ``costs`` are seconds a file, or HANG or CRASH."""

    costs: Mapping[str, float]
    crash_after_s: float = 1.0
    cancelled_at: int | None = None
    runs: list[tuple[tuple[str, ...], float, float]] = field(default_factory=list)
    sandbox: Any = field(default_factory=lambda: SimpleNamespace(seen_at=lambda _root, inside: inside))

    def run(self, cmd: Command) -> Completed:
        names = cmd.argv[1:]
        costs = [self.costs.get(n, 0.0) for n in names]
        takes = self.crash_after_s if CRASH in costs else sum(costs)
        timed_out = takes > cmd.timeout_s
        took = min(takes, cmd.timeout_s)
        self.runs.append((names, cmd.timeout_s, took))
        return Completed(
            exit_code=None if timed_out else -11 if CRASH in costs else 0,
            stdout=json.dumps(names).encode(), stderr=b"", duration_s=took, peak_rss_bytes=1, sandbox="none",
            timed_out=timed_out, cancelled=len(self.runs) == self.cancelled_at,
        )  # fmt: skip

    @property
    def spent_s(self) -> float:
        """Seconds after the first failure."""
        return sum(took for *_, took in self.runs[1:])


@dataclass(frozen=True)
class FakeScanner:
    """Reports the names it was given."""

    name: str = "fake"
    limits: Limits = field(default_factory=lambda: Limits(timeout_s=T))

    def command(self, tool: ToolHome, target: Target) -> Command:
        return Command(argv=("fake", *target.files), timeout_s=self.limits.timeout_s)

    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        return stdout

    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        assert json.loads(report.body) == list(target.files)
        return Parsed(outcome=Outcome.OK)


def files(count: int, size_bytes: int = 10) -> dict[str, TreeEntry]:
    names = [f"f{n:05d}" for n in range(count)]
    return {n: TreeEntry(path=n.encode(), mode="100644", blob=n, size_bytes=size_bytes) for n in names}


def narrowed(runner: FakeRunner, entries: Mapping[str, TreeEntry], timeout_s: float = T) -> Execution:
    target = Target(repo_id="r", ref="m", commit="c", root=Path("/nowhere"), files=entries)

    @contextmanager
    def subset(names: Sequence[str]) -> Iterator[Target]:
        yield replace(target, files={n: entries[n] for n in names})

    scanner = FakeScanner(limits=Limits(timeout_s=timeout_s))
    return execute_bisecting(
        cast(Any, scanner), TOOL, target, cast(ProcessRunner, runner), HmacKey(bytes(32)), None, subset=subset
    )


def unread(done: Execution) -> dict[str, str]:
    assert {g.reason_code for g in done.parsed.gaps} <= {"crashes_tool"}
    return {g.path: g.detail for g in done.parsed.gaps}


@pytest.mark.parametrize("count", [2, 5, 100, 50_000])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_file_that_hangs_is_found_within_the_budget(count: int, place: float) -> None:
    entries = files(count)
    bad = list(entries)[round(place * (count - 1))]
    # All the others together take nearly as long as a scan may.
    runner = FakeRunner(dict.fromkeys(entries, 0.9 * T / count) | {bad: HANG})
    done = narrowed(runner, entries)
    assert done.parsed.outcome is Outcome.PARTIAL
    assert list(unread(done)) == [bad]
    assert done.parsed.files_read == count - 1
    *probes, (rest, limit, _) = runner.runs[1:]
    assert sum(took for *_, took in probes) <= 2 * T
    assert (len(rest), limit) == (count - 1, T), "the scan of the rest has the whole limit"


def test_the_gap_says_when_a_file_was_given_less_than_a_scan() -> None:
    entries = files(100)
    done = narrowed(FakeRunner({"f00007": HANG}), entries)
    assert unread(done) == {"f00007": "timeout: alone, after 150 s of the 600 s that a scan may take"}
    done = narrowed(FakeRunner({"f00007": HANG}), entries, timeout_s=8)
    assert unread(done) == {"f00007": "timeout"}, "it had the whole limit"


def test_a_file_that_ends_in_its_time_is_no_culprit() -> None:
    """Too much work for one scan, and no file is at fault: parts run into their share, a file alone does not."""
    entries = files(64)
    runner = FakeRunner(dict.fromkeys(entries, 1.4 * T / 64))
    done = narrowed(runner, entries)
    assert (done.parsed.outcome, done.parsed.reason_code) == (Outcome.TIMEOUT, "timeout")
    assert done.parsed.detail.endswith("not narrowed down: no file that it comes down to fails alone")
    assert any(took == limit < T for _, limit, took in runner.runs), "a part ran into a limit that was shortened"
    assert runner.spent_s <= 2 * T


def test_a_slow_file_that_the_search_comes_down_to_is_no_culprit() -> None:
    """It takes longer than its share of every part, and less than a file alone is given."""
    slow = 0.24 * T
    runner = FakeRunner({"f00000": slow, **{f"f{n:05d}": 0.9 * T / 31 for n in range(1, 32)}})
    done = narrowed(runner, files(32))
    assert (done.parsed.outcome, unread(done)) == (Outcome.TIMEOUT, {})
    assert (("f00000",), 0.25 * T, slow) in runner.runs
    assert done.parsed.detail.endswith("not narrowed down: no file that it comes down to fails alone")


def test_a_large_file_gets_the_share_of_its_bytes() -> None:
    entries = files(16) | {"f00003": replace(files(16)["f00003"], size_bytes=10**6)}
    runner = FakeRunner({"f00003": 0.9 * T, "f00009": HANG})
    assert list(unread(narrowed(runner, entries))) == ["f00009"]


def test_when_the_budget_ends_the_failure_stands_and_says_so() -> None:
    runner = FakeRunner({"f00010": HANG, "f00900": HANG})
    done = narrowed(runner, files(1000))
    assert (done.parsed.outcome, done.parsed.reason_code, unread(done)) == (Outcome.TIMEOUT, "timeout", {})
    assert done.raw is None
    assert "killed after 600 s" in done.parsed.detail
    assert "not narrowed down: given up after" in done.parsed.detail and "a budget of 1200 s" in done.parsed.detail
    # One more scan of the rest was begun within the budget.
    assert runner.spent_s <= 3 * T


def test_crashes_are_found_one_after_another_and_cost_little() -> None:
    bad = ["f00010", "f00500", "f00900"]
    runner = FakeRunner(dict.fromkeys(bad, CRASH))
    done = narrowed(runner, files(1000))
    assert unread(done) == dict.fromkeys(bad, "signal")
    assert runner.spent_s < T


def test_what_a_tool_fails_on_everywhere_stands() -> None:
    done = narrowed(FakeRunner(dict.fromkeys(files(3), CRASH)), files(3))
    assert done.parsed.detail.endswith("not narrowed down: it fails on every file")
    done = narrowed(FakeRunner(dict.fromkeys(list(files(8))[:4], CRASH)), files(8))
    assert done.parsed.detail.endswith("not narrowed down: it fails on more than 3 files")
    assert (done.parsed.outcome, done.parsed.reason_code) == (Outcome.FAILED, "signal")


def test_a_single_file_is_not_narrowed_down() -> None:
    runner = FakeRunner({"f00000": HANG})
    assert narrowed(runner, files(1)).parsed.reason_code == "timeout"
    assert len(runner.runs) == 1


def test_a_cancelled_search_ends_at_once() -> None:
    runner = FakeRunner({"f00007": HANG}, cancelled_at=3)
    with pytest.raises(ScanGapError, match="cancelled"):
        narrowed(runner, files(100))
    assert len(runner.runs) == 3


@given(
    st.integers(2, 300), st.floats(1, 5000), st.dictionaries(st.integers(0, 299), st.sampled_from([HANG, CRASH, 40.0])),
    st.floats(0.1, 5000),
)  # fmt: skip
def test_no_search_goes_over_its_budget(count: int, timeout_s: float, bad: dict[int, float], crash: float) -> None:
    entries = files(count)
    runner = FakeRunner({f"f{n:05d}": cost for n, cost in bad.items()}, crash_after_s=crash)
    done = narrowed(runner, entries, timeout_s)
    budget = max(2 * timeout_s, 60)
    assert len(runner.runs) <= MAX_RUNS + 2
    assert runner.spent_s <= budget + timeout_s + 1e-6, "the budget, and one scan of the rest that it allowed"
    # Whatever was named fails alone.
    failing = {f"f{n:05d}" for n, cost in bad.items() if cost in (HANG, CRASH) or cost > min(10, timeout_s)}
    assert set(unread(done)) <= failing


def test_a_search_that_needs_too_many_runs_is_given_up() -> None:
    search = Narrowing({"a": 1, "b": 1}, timeout_s=T, attempt=lambda names, _s: Attempt(fault="signal", duration_s=0))
    for _ in range(MAX_RUNS):
        assert search.culprit(["a", "b"]).name == "a"
    with pytest.raises(NotNarrowedError, match=f"after {MAX_RUNS} runs"):
        search.culprit(["a", "b"])


def test_the_end_of_the_budget_is_no_fault_of_a_file() -> None:
    limits: list[float] = []

    def hangs(names: Sequence[str], timeout_s: float) -> Attempt:
        limits.append(timeout_s)
        return Attempt(fault="timeout", duration_s=timeout_s)

    search = Narrowing({"a": 1, "b": 1}, timeout_s=T, attempt=hangs)
    search.count(2 * T - 5)
    with pytest.raises(NotNarrowedError, match="a budget of 1200 s"):
        search.culprit(["a", "b"])
    assert limits == [5], "the rest of the budget, and nothing is concluded from it"
    crash = Narrowing({"a": 1, "b": 1}, timeout_s=T, attempt=lambda _n, _s: Attempt(fault="signal", duration_s=1))
    crash.count(2 * T - 5)
    assert crash.culprit(["a", "b"]).name == "a", "another fault counts however little time was left"


# -- the limit of one run ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "given_"), [(None, T), (5.0, 5.0), (T + 1, T)])
def test_a_run_may_be_given_less_time_never_more(asked: float | None, given_: float) -> None:
    target = Target(repo_id="r", ref="m", commit="c", root=Path("/nowhere"), files=files(1))
    runner = FakeRunner({})
    scanner, key = cast(Any, FakeScanner()), HmacKey(bytes(32))
    execute(scanner, TOOL, target, cast(ProcessRunner, runner), key, None, timeout_s=asked)
    assert runner.runs[0][1] == given_


@pytest.mark.parametrize(("asked", "given_"), [(None, T), (5.0, 5.0), (T + 1, T)])
def test_a_long_lived_tool_may_be_given_less_time_never_more(
    runner: ProcessRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: float | None, given_: float
) -> None:
    limits: list[float] = []

    def ask(self: LongLived, line: bytes, *, timeout_s: float) -> Completed:
        limits.append(timeout_s)
        return Completed(exit_code=0, stdout=b"", stderr=b"", duration_s=0, peak_rss_bytes=0, sandbox="")

    monkeypatch.setattr(LongLived, "ask", ask)
    scanner = cast(Any, SimpleNamespace(limits=Limits(timeout_s=T), command=lambda _tool, _target: shell("cat")))
    pool = ServicePool(runner, TOOL, scanner, root=tmp_path, size=1)
    pool.scan(Target(repo_id="r", ref="m", commit="c", root=tmp_path / "a"), timeout_s=asked)
    pool.close()
    assert limits == [given_]
