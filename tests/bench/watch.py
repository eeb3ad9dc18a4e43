"""Run a command and watch its process tree in /proc: memory, and which scanner is at work when."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TICK_S = 0.05
_HERTZ = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
#: What the command line of a scanner's process holds. A long-lived one works only while it uses the processor.
_MARKS = {
    b"checkov_server.py": "checkov",
    b"checkov.main": "checkov",
    b"\0bandit\0": "bandit",
    b"kingfisher\0scan\0": "kingfisher",
    # Nightwarden's programs around them, and the tools called plainly.
    b"zizmor_program.py": "zizmor",
    b"hadolint_program.py": "hadolint",
    b"cfn_lint_program.py": "cfn-lint",
    b"semgrep\0scan\0": "semgrep",
    b"/zizmor\0--": "zizmor",
    b"/hadolint\0--": "hadolint",
    b"/cfn-lint\0-f\0": "cfn-lint",
}
_LONG_LIVED = (b"checkov_server.py", b"cfn_lint_program.py")
#: Programs that hold a scanner's command line and are not it.
_WRAPPERS = {"bwrap", "prlimit", "unshare", "sh", "dash", "bash", "xargs"}


@dataclass(kw_only=True)
class Watched:
    """What one command took."""

    wall_s: float = 0.0
    exit_code: int = 0
    peak_bytes: int = 0
    #: Resident memory of the command's own process at its highest, as the kernel keeps it.
    own_peak_bytes: int = 0
    #: Seconds of each tool at work, summed over its processes.
    tool_s: dict[str, float] = field(default_factory=dict)
    #: Processes of each tool that were started.
    tool_starts: dict[str, int] = field(default_factory=dict)
    #: Seconds in which at least one tool was at work, and the longest that one process was without a pause.
    any_tool_s: float = 0.0
    longest_s: float = 0.0
    #: Processor seconds of tools, and of all the rest: our process, git, sandboxes, a server it starts. From the
    #: samples: what lives shorter than a tick is missed (nobody's rusage has it, a sandbox waits for no child).
    tool_cpu_s: float = 0.0
    other_cpu_s: float = 0.0

    def ideal_s(self, workers: int) -> float:
        """The critical path: these tool calls on so many workers with nothing around them cannot take less."""
        return max(sum(self.tool_s.values()) / workers, self.longest_s)


@dataclass(frozen=True, kw_only=True)
class _Stat:
    parent: int
    started: int
    ticks: int
    resident_bytes: int
    program: str


@dataclass(kw_only=True)
class _Process:
    tool: str | None
    long_lived: bool
    counted: bool = False
    ticks: int = 0
    stretch_s: float = 0.0
    quiet: int = 0


def watch(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path) -> Watched:
    """Run to the end, its output into ``log``."""
    seen = Watched()
    known: dict[tuple[int, int], _Process] = {}
    with log.open("ab") as out:
        began = time.monotonic()
        root = subprocess.Popen(argv, env=dict(env), cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        last = began
        try:
            while (code := root.poll()) is None:
                now = time.monotonic()
                _sample(root.pid, known, seen, now - last)
                last = now
                time.sleep(max(0.0, TICK_S - (time.monotonic() - now)))
        except BaseException:
            root.send_signal(signal.SIGINT)  # nightwarden then stops the server it started
            root.wait()
            raise
    seen.exit_code, seen.wall_s = code, time.monotonic() - began
    seen.tool_cpu_s = sum(p.ticks for p in known.values() if p.tool) / _HERTZ
    seen.other_cpu_s = sum(p.ticks for p in known.values() if not p.tool) / _HERTZ
    return seen


def _sample(root: int, known: dict[tuple[int, int], _Process], seen: Watched, passed_s: float) -> None:
    stats = _all_stats()
    tree = _descendants(root, stats)
    busy = False
    for pid in tree:
        stat = stats[pid]
        process = known.setdefault((pid, stat.started), _Process(tool=None, long_lived=False))
        if process.tool is None and process.ticks < _HERTZ // 4 and stat.program not in _WRAPPERS:
            # Young ones are asked again: a shell or a sandbox becomes its tool by exec.
            _recognise(pid, process)
        above = _parent(stat, stats, known)
        if above is not None and above.tool is not None:
            process.tool = above.tool  # forked by a tool: its time is within its parent's
        elif process.tool is not None:
            if not process.counted:
                process.counted = True
                seen.tool_starts[process.tool] = seen.tool_starts.get(process.tool, 0) + 1
            process.quiet = process.quiet + 1 if process.long_lived and stat.ticks == process.ticks else 0
            # Two samples without a tick of its clock mean that it waits; one may be a busy machine.
            if process.quiet < 2:
                busy = True
                seen.tool_s[process.tool] = seen.tool_s.get(process.tool, 0.0) + passed_s
                process.stretch_s += passed_s
                seen.longest_s = max(seen.longest_s, process.stretch_s)
            else:
                process.stretch_s = 0.0
        process.ticks = stat.ticks
    seen.any_tool_s += passed_s if busy else 0.0
    seen.own_peak_bytes = max(seen.own_peak_bytes, _high_water(root))
    seen.peak_bytes = max(seen.peak_bytes, sum(stats[p].resident_bytes for p in tree))


def _high_water(pid: int) -> int:
    """VmHWM of a process; 0 when it is gone (proc(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def _recognise(pid: int, process: _Process) -> None:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return
    process.tool = next((tool for mark, tool in _MARKS.items() if mark in line), None)
    process.long_lived = process.tool is not None and any(mark in line for mark in _LONG_LIVED)


def _parent(stat: _Stat, stats: Mapping[int, _Stat], known: Mapping[tuple[int, int], _Process]) -> _Process | None:
    above = stats.get(stat.parent)
    return known.get((stat.parent, above.started)) if above is not None else None


def _all_stats() -> dict[int, _Stat]:
    """Every process of the machine."""
    found = {}
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            head, _, tail = (place / "stat").read_bytes().rpartition(b")")
        except OSError:
            continue
        fields = tail.split()
        found[int(place.name)] = _Stat(
            parent=int(fields[1]),
            started=int(fields[19]),
            ticks=int(fields[11]) + int(fields[12]),
            resident_bytes=int(fields[21]) * _PAGE,
            program=head.partition(b"(")[2].decode("ascii", "replace"),
        )
    return found


def _descendants(root: int, stats: Mapping[int, _Stat]) -> list[int]:
    children: dict[int, list[int]] = {}
    for pid, stat in stats.items():
        children.setdefault(stat.parent, []).append(pid)
    tree, todo = [], [root] if root in stats else []
    while todo:
        pid = todo.pop()
        tree.append(pid)
        todo += children.get(pid, ())
    return tree
