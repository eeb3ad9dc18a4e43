"""What a night costs: Nightwarden against a plain shell loop, on the same repositories, in the same run.

Timed in turn: the loop (`xargs -P2`, one call a tool and repository that holds files of it), Nightwarden in a fresh
home (cold), the same command once more (an unchanged night), and both again with a Prefect server that already runs,
as a deployment has one; for --repos, then for generated repositories.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from tests.bench import lake_files, loop, small_org
from tests.bench.watch import Watched, watch

SOURCE = Path(__file__).resolve().parents[2]
_ABOUT = """\
loop           checkouts (plain clones) are made before, timed apart. kingfisher reads the bare history itself there:
               one call, no preparation, the cheapest plain way (it misses some blobs that Nightwarden reads).
               semgrep gets the rules as one JSON file, which it reads six times as fast as their folder.
start-up       a tool's time on a folder with one small file × its starts, as a share of all seconds of that tool.
orchestration  (wall - ideal) / wall, where ideal = max(tool seconds / workers, longest single call): what the same
               tool calls on as many workers would take with nothing around them. Waiting for the last repository
               counts as orchestration too. Beside it: the share of the wall in which no tool was at work at all, and
               the share of processor time that no tool used (our process, git, sandboxes, a server we start).
peak memory    of the whole process tree, resident, sampled every 50 ms; pages that processes share count in each.
The machine's noise is in every number: use --repeat 3 and look at the spread.
"""
_ONE_FILE = {
    "bandit": ("one.py", "x = 1\n"),
    "checkov": ("one.tf", 'resource "terraform_data" "one" {}\n'),
    "kingfisher": ("one.txt", "one\n"),
    "semgrep": ("one.py", "x = 1\n"),
    "zizmor": (".github/workflows/one.yml", "on: push\njobs: {one: {runs-on: x, steps: [{run: 'true'}]}}\n"),
    "hadolint": ("Dockerfile", "FROM scratch\n"),
    "cfn-lint": ("one.yaml", "Resources: {One: {Type: AWS::SQS::Queue}}\n"),
}
PHASES = ("loop", "cold", "unchanged", "cold, server runs", "unchanged, server runs")


@dataclass(frozen=True, kw_only=True)
class Round:
    """One pass over one set of repositories."""

    prepare_s: float
    seen: Mapping[str, Watched]
    #: Seconds of the run itself, as the lake has them: without the server, Python's start and the last words.
    run_s: Mapping[str, float]
    calls: int
    scans_unchanged: int


def main() -> int:
    """Measure and print; 0 unless an unchanged night started a tool or something failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.bench",
        description=__doc__,
        epilog=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default_tools = os.environ.get("NIGHTWARDEN_TOOLS") or Path.home() / ".local/share/nightwarden/tools"
    parser.add_argument("--repos", type=Path, metavar="DIR", help="real repositories; without it only generated ones")
    parser.add_argument("--tools", type=Path, default=default_tools, metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--small", type=int, default=50, metavar="N", help="generated repositories (default 50; 0: none)"
    )
    parser.add_argument(
        "--repeat", type=int, default=1, metavar="N", help="rounds, whose medians are printed (default 1)"
    )
    parser.add_argument("--workers", type=int, default=2, help="Nightwarden's workers; the loop has two (default 2)")
    given = parser.parse_args()
    programs = loop.Programs.below(given.tools)
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary:
        work = Path(temporary)
        programs = replace(programs, rules=loop.as_one_file(programs.rules, work / "rules" / "rules.json"))
        sets: dict[str, Path] = {"real": given.repos.resolve()} if given.repos else {}
        if given.small:
            small_org.make(work / "small", given.small, seed=1)
            sets["small"] = work / "small"
        if not sets:
            parser.error("nothing to measure: give --repos or --small")
        nightwarden = Nightwarden(given.tools, given.workers, work)
        start_up = {tool: _start_up(programs, tool, work / "one" / tool) for tool in loop.TOOLS}
        rounds: dict[str, list[Round]] = {name: [] for name in sets}
        for n in range(given.repeat):
            for name, repos in sets.items():
                # Who goes first changes with each round.
                rounds[name].append(_round(programs, nightwarden, repos, work / f"{name}-{n}", loop_first=n % 2 == 0))
                print(f"round {n + 1}, {name}: " + _brief(rounds[name][-1]), flush=True)
        for name, repos in sets.items():
            _report(name, len(loop.repositories(repos)), rounds[name], start_up, given.workers)
    return 1 if any(r.scans_unchanged for several in rounds.values() for r in several) else 0


class Nightwarden:
    """The command, in homes of its own."""

    def __init__(self, tools: Path, workers: int, work: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "NIGHTWARDEN_"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        self._env = {**kept, "PYTHONPATH": str(SOURCE), "NIGHTWARDEN_TOOLS": str(tools.resolve())}
        self._workers = workers
        # So that no server outlives us: both end this process in good order, and SIGINT reaches what it starts.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self._log = work / "nightwarden.log"
        self._cwd = work / "cwd"
        self._cwd.mkdir(parents=True)
        self._run(work / "warm", "explain")  # compiled once, as an installation is

    def patrol(self, home: Path, repos: Path, *options: str) -> Watched:
        """One patrol; exit 3 (gaps) is a success."""
        return self._run(home, "patrol", "--repos", str(repos), "--workers", str(self._workers), *options)

    def said(self) -> str:
        """What the last command said."""
        return self._log.read_text("utf-8", "replace")

    def server(self, home: Path, action: str) -> None:
        """Start or stop the local server of a home."""
        self._run(home, "server", action)

    def _run(self, home: Path, *args: str) -> Watched:
        env = {**self._env, "NIGHTWARDEN_HOME": str(home)}
        self._log.write_bytes(b"")
        seen = watch([sys.executable, "-m", "flows.cli", *args], env=env, cwd=self._cwd, log=self._log)
        if seen.exit_code not in (0, 3):
            raise SystemExit(f"nightwarden {args[0]} failed ({seen.exit_code}):\n{self._log.read_text()[:4000]}")
        return seen


def _round(programs: loop.Programs, nightwarden: Nightwarden, repos: Path, work: Path, *, loop_first: bool) -> Round:
    seen: dict[str, Watched] = {}
    prepare_s = 0.0

    def plain() -> None:
        nonlocal prepare_s
        prepare_s, seen["loop"] = _loop(programs, repos, work / "loop")

    def ours() -> None:
        home = work / "home"
        seen["cold"] = nightwarden.patrol(home, repos)
        seen["unchanged"] = nightwarden.patrol(home, repos)

    def ours_with_a_server() -> None:
        home = work / "home-with-server"
        nightwarden.server(home, "start")
        try:
            seen["cold, server runs"] = nightwarden.patrol(home, repos)
            seen["unchanged, server runs"] = nightwarden.patrol(home, repos)
        finally:
            nightwarden.server(home, "stop")

    steps = (plain, ours, ours_with_a_server)
    for step in steps if loop_first else reversed(steps):
        step()
    run_s: dict[str, float] = {}
    scans_unchanged = 0
    for suffix, home in (("", "home"), (", server runs", "home-with-server")):
        con = lake_files.connect(work / home / "lake")
        first, second = lake_files.rows(con, "SELECT duration_s, tools_started FROM runs ORDER BY seq")
        run_s |= {f"cold{suffix}": first["duration_s"], f"unchanged{suffix}": second["duration_s"]}
        scans_unchanged += second["tools_started"]
    calls = len(loop.read_times(work / "loop"))
    shutil.rmtree(work)
    return Round(prepare_s=prepare_s, seen=seen, run_s=run_s, calls=calls, scans_unchanged=scans_unchanged)


def _loop(programs: loop.Programs, repos: Path, work: Path) -> tuple[float, Watched]:
    """(seconds of preparation, the loop)."""
    work.mkdir(parents=True)
    began = time.monotonic()
    targets = []
    for n, (slug, repo) in enumerate(loop.repositories(repos).items()):
        checkout = work / "checkouts" / str(n)
        loop.checkout(repo, checkout)
        for tool in loop.TOOLS:
            if found := loop.files_for(tool, checkout):
                names = [str(p) for p in found] if tool in loop.BY_NAME else []
                targets.append((tool, slug, repo if tool == "kingfisher" else checkout, names))
    prepared = time.monotonic() - began
    argv = loop.write_loop(programs, targets, work)
    return prepared, watch(argv, env=programs.environment(work / "empty"), cwd=work, log=work / "log")


def _start_up(programs: loop.Programs, tool: str, folder: Path) -> float:
    """Median of three calls on a folder with one file."""
    name, text = _ONE_FILE[tool]
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(text)
    env = programs.environment(folder.parent / "home")
    log = folder.parent / "log"
    argv = programs.argv(tool, folder, [str(folder / name)] if tool in loop.BY_NAME else [])
    return median(watch(argv, env=env, cwd=folder.parent, log=log).wall_s for _ in range(3))


def _brief(r: Round) -> str:
    return f"prepare {r.prepare_s:.1f} s, " + ", ".join(f"{phase} {r.seen[phase].wall_s:.1f} s" for phase in PHASES)


def _numbers(r: Round, start_up: Mapping[str, float], workers: int) -> dict[str, float]:
    """Everything that is printed of one round, by name, so that medians are taken of each number."""
    numbers = {"prepare": r.prepare_s}
    for phase, w in r.seen.items():
        numbers |= {
            f"{phase} wall": w.wall_s,
            f"{phase} MB": w.peak_bytes / 1e6,
            f"{phase} run": r.run_s.get(phase, 0.0),
        }
        numbers[f"{phase} orchestration"] = 1 - w.ideal_s(workers) / w.wall_s
        numbers[f"{phase} no tool"] = 1 - w.any_tool_s / w.wall_s
        numbers[f"{phase} other cpu"] = w.other_cpu_s / max(0.01, w.other_cpu_s + w.tool_cpu_s)
        for tool in loop.TOOLS:
            spent, starts = w.tool_s.get(tool, 0.0), w.tool_starts.get(tool, 0)
            numbers |= {f"{phase} {tool} s": spent, f"{phase} {tool} starts": starts}
            numbers[f"{phase} {tool} start-up"] = min(1.0, start_up[tool] * starts / spent) if spent else 0.0
        for other, o in r.seen.items():
            numbers[f"{phase} / {other}"] = w.wall_s / o.wall_s
    return numbers


def _report(name: str, count: int, rounds: Sequence[Round], start_up: Mapping[str, float], workers: int) -> None:
    each = [_numbers(r, start_up, workers) for r in rounds]
    mid = {key: median(numbers[key] for numbers in each) for key in each[0]}
    print(
        f"\n## {name}: {count} repositories, {rounds[0].calls} calls in the loop, medians of {len(rounds)} round(s)\n"
    )
    print(f"{'':<24}{'wall s':>8}{'run s':>8}{'peak MB':>9}")
    print(f"{'preparation of the loop':<24}{mid['prepare']:>8.1f}")
    for phase in PHASES:
        run = f"{mid[f'{phase} run']:.1f}" if mid[f"{phase} run"] else ""
        print(f"{phase:<24}{mid[f'{phase} wall']:>8.1f}{run:>8}{mid[f'{phase} MB']:>9.0f}")
    print(f"\n{'seconds (starts) of':<24}" + "".join(f"{phase:>24}" for phase in PHASES))
    for tool in loop.TOOLS:
        spent = (f"{mid[f'{phase} {tool} s']:.1f} ({mid[f'{phase} {tool} starts']:.0f})" for phase in PHASES)
        print(f"{tool:<24}" + "".join(f"{each:>24}" for each in spent))
    print()
    for phase in ("cold", "cold, server runs"):
        print(f"{phase + ' / loop':<38}{mid[f'{phase} / loop']:.2f}")
    for new, old in (("unchanged", "cold"), ("unchanged, server runs", "cold, server runs")):
        print(f"{new + ' / ' + old:<44}{mid[f'{new} / {old}']:.1%}")
    for phase in ("loop", "cold", "cold, server runs"):
        print(
            f"orchestration, {phase:<23}{mid[f'{phase} orchestration']:.1%}; no tool at work "
            f"{mid[f'{phase} no tool']:.1%}; processor time of no tool {mid[f'{phase} other cpu']:.1%}"
        )
    for phase in ("loop", "cold"):
        shares = ", ".join(f"{t} {mid[f'{phase} {t} start-up']:.0%}" for t in loop.TOOLS)
        print(f"start-up of tool seconds, {phase:<12}{shares}")
    print(f"{'start-up of one call':<38}" + ", ".join(f"{t} {s:.2f} s" for t, s in start_up.items()))
    print(f"{'scans run by unchanged nights':<38}{sum(r.scans_unchanged for r in rounds)}")


if __name__ == "__main__":
    sys.exit(main())
