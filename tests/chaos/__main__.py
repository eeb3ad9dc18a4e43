"""Kill the patrol and make its surroundings fail; say what was tried and what was lost.

``rotation`` kills those that rotate secrets (tests/chaos/rotation.py). Every other scenario patrols the same small
organisation (its repositories and tools are named in tests/chaos/bench.py) until its command ends by itself, and
compares the lake with that of a home in which nothing was disturbed.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos import api, disk, git_drops, kills, rotation, s3
from tests.chaos.bench import Bench, Row, say

SCENARIOS: dict[str, Callable[[Bench], Row]] = {
    "kills": kills.process,
    "kills-group": kills.process_group,
    "kills-all-tools": kills.all_tools,
    "publish-steps": kills.publish_steps,
    "signals": kills.signals,
    "disk-full": disk.disk_full,
    "api-paused": api.paused,
    "api-restarted": api.restarted,
    "git-drops": git_drops.git_drops,
    "s3-errors": s3.errors,
    "s3-gone": s3.gone,
    "s3-kills": s3.kills,
    "rotation": rotation.rotation,
    "rotation-aws": rotation.rotation_aws,
}


def main() -> int:
    """0 when every scenario that could be run ended as an undisturbed run does, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="how many the kill scenarios share (default 20)")
    parser.add_argument("--only", nargs="+", choices=SCENARIOS, metavar="NAME", help="these scenarios (see --list)")
    parser.add_argument("--seed", type=int, help="repeat what this seed decided; a new one is printed without it")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="work in this folder and leave it")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    given = parser.parse_args()
    if given.list:
        for name, scenario in SCENARIOS.items():
            print(f"{name:<16}{(scenario.__doc__ or '').splitlines()[0]}")
        return 0
    # So that nothing that was started outlives us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1, 2**31)
    print(f"seed {seed}: --seed {seed} repeats it", flush=True)
    if given.keep is not None:
        given.keep.mkdir(parents=True)
        return _run(given.keep.resolve(), seed, given.kills, given.only or list(SCENARIOS))
    with tempfile.TemporaryDirectory(prefix="chaos-") as work:
        return _run(Path(work), seed, given.kills, given.only or list(SCENARIOS))


def _run(work: Path, seed: int, kills_wanted: int, names: list[str]) -> int:
    bench = Bench(work, seed, kills_wanted)
    rows = []
    began = time.monotonic()
    with bench.open:
        for name in names:
            say(f"{name} …")
            since = time.monotonic()
            row = SCENARIOS[name](bench)
            rows.append(row)
            say(f"{name}: {row.verdict} ({time.monotonic() - since:.0f} s)")
    _print(rows)
    print(f"{time.monotonic() - began:.0f} s")
    for row in rows:
        if row.last:
            print(row.last)
    return 1 if any(r.bad for r in rows) else 0


def _print(rows: list[Row]) -> None:
    out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 180)
    numbers = ("runs", "in flight", "repeated", "lost", "doubled")
    table = Table("scenario", "injected", *numbers, "verdict")
    for r in rows:
        counts = (r.runs, r.in_flight, r.repeated, r.lost, r.doubled)
        table.add_row(r.scenario, r.injected, *map(str, counts), r.verdict)
    out.print(table)
    for r in rows:
        for words in dict.fromkeys(r.bad):
            out.print(f"{r.scenario}: {words}", soft_wrap=True)
        for line in r.report:
            out.print(line, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
