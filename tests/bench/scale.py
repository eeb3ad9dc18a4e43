"""What many small repositories cost in one process: time, memory, and the task runs that the Prefect API recorded.

Patrols a tenth of the repositories and then all of them, each in a fresh home with a Prefect server of its own: cold,
and once more unchanged. What an unchanged repository costs is the difference of the two unchanged nights divided by
the difference of their repositories, so that starting Python, opening the lake and the like do not count.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flows import server as prefect_server
from tests.bench import lake_files, small_org
from tests.bench.bench import Nightwarden
from tests.bench.watch import Watched

_ABOUT = """\
wall        of the whole command; a server runs already, as a deployment has one.
own peak    resident memory of Nightwarden's own process at its highest, as the kernel counts it (VmHWM).
tree peak   of it and all it starts (tools, git), sampled every 50 ms; pages that processes share count in each.
submitted   task runs that the flow has submitted: one a changed repository, and its phases.
recorded    task runs of the flow run that the API counts as ended, asked of the API after the command.
load        of the machine (1 min) when the night began: other work on it is in every number.
"""
#: How much more memory ten times the repositories may need.
_FLAT = 1.5


@dataclass(frozen=True, kw_only=True)
class Night:
    """One patrol."""

    name: str
    repositories: int
    load: float
    seen: Watched
    run_s: float
    scans: int
    submitted: int
    recorded: int


def main() -> int:
    """Measure and print one table; 1 if a task run was not recorded, an unchanged night started a tool, or memory is
    not flat: ten times the repositories need more than half as much again."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.scale",
        description=__doc__,
        epilog=_ABOUT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    default_tools = os.environ.get("NIGHTWARDEN_TOOLS") or Path.home() / ".local/share/nightwarden/tools"
    parser.add_argument("--repos", type=int, default=1000, metavar="N", help="repositories (default: %(default)s)")
    parser.add_argument("--tools", type=Path, default=default_tools, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="Nightwarden's workers (default: %(default)s)")
    parser.add_argument("--tool", action="append", default=[], help="only this scanner; repeatable (default: all)")
    parser.add_argument("--org", type=Path, metavar="DIR", help="made by small_org before: DIR/N for each size")
    given = parser.parse_args()
    nights: list[Night] = []
    only = [word for tool in given.tool for word in ("--tool", tool)]
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        work = Path(temporary)
        nightwarden = Nightwarden(given.tools, given.workers, work)
        for count in (max(1, given.repos // 10), given.repos):
            org = (given.org or work) / str(count)
            if not org.is_dir():
                small_org.make(org, count, seed=1)
            nights += _nights(nightwarden, org, work / f"home-{count}", count, only)
    _report(nights)
    faults = [f"{n.submitted - n.recorded} task runs were not recorded" for n in nights if n.recorded != n.submitted]
    faults += [f"an unchanged night started {n.scans} tools" for n in nights if n.scans and n.name != "cold"]
    for name in ("cold", "unchanged"):
        few, *_, many = (n.seen.own_peak_bytes for n in nights if n.name == name)
        if many > _FLAT * few:
            faults.append(f"memory is not flat: {few / 1e6:.0f} MB and {many / 1e6:.0f} MB ({name})")
    for fault in faults:
        print(f"BAD: {fault}")
    return int(bool(faults))


def _nights(nightwarden: Nightwarden, org: Path, home: Path, count: int, only: list[str]) -> list[Night]:
    nights = []
    nightwarden.server(home, "start")
    try:
        for name in ("cold", "unchanged"):
            load = os.getloadavg()[0]
            seen = nightwarden.patrol(home, org, *only)
            (run,) = lake_files.rows(lake_files.connect(home / "lake"), "SELECT * FROM runs ORDER BY seq DESC LIMIT 1")
            submitted, recorded = _task_runs(home, nightwarden.said())
            nights.append(
                Night(
                    name=name,
                    repositories=count,
                    load=load,
                    seen=seen,
                    run_s=run["duration_s"],
                    scans=run["tools_started"],
                    submitted=submitted,
                    recorded=recorded,
                )
            )
            print(_line(nights[-1]), flush=True)
    finally:
        nightwarden.server(home, "stop")
    return nights


def _task_runs(home: Path, said: str) -> tuple[int, int]:
    """(submitted as the command says, recorded as the API counts) of the newest flow run."""
    told = [line.split() for line in said.splitlines() if " task runs submitted, " in line]
    submitted = int(told[-1][0]) if told else -1
    running = prefect_server.running(home)
    assert running is not None
    with prefect_server.client_of(running, home):
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
        from prefect.client.schemas.sorting import FlowRunSort
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

        from flows.recorded import ended_task_runs

        # Prefect reads its environment once, and each home has a server of its own.
        here = temporary_settings({PREFECT_API_URL: running.api_url, PREFECT_API_AUTH_STRING: running.auth})
        with here, get_client(sync_client=True) as client:
            (newest,) = client.read_flow_runs(sort=FlowRunSort.START_TIME_DESC, limit=1)
            return submitted, ended_task_runs(client, FlowRunFilter(id=FlowRunFilterId(any_=[newest.id])))


def _line(n: Night) -> str:
    own, tree = n.seen.own_peak_bytes / 1e6, n.seen.peak_bytes / 1e6
    return (
        f"{n.repositories:>6}  {n.name:<10}{n.seen.wall_s:>8.1f}{n.run_s:>8.1f}{own:>10.0f}{tree:>10.0f}{n.scans:>8}"
        f"{n.submitted:>10}{n.recorded:>9}{n.load:>6.1f}"
    )


def _report(nights: list[Night]) -> None:
    print(
        f"\n{'repos':>6}  {'night':<10}{'wall s':>8}{'run s':>8}{'own MB':>10}{'tree MB':>10}{'scans':>8}"
        f"{'submitted':>10}{'recorded':>9}{'load':>6}"
    )
    for night in nights:
        print(_line(night))
    sizes = sorted({n.repositories for n in nights})
    if len(sizes) < 2:
        return
    few, many = ([n for n in nights if n.repositories == size] for size in sizes[-2:])
    more = many[0].repositories - few[0].repositories
    print(f"\n{'own peak, all / a tenth, cold':<44}{many[0].seen.own_peak_bytes / few[0].seen.own_peak_bytes:.2f}")
    print(
        f"{'own MB each further repository, cold':<44}"
        f"{(many[0].seen.own_peak_bytes - few[0].seen.own_peak_bytes) / 1e6 / more:.3f}"
    )
    print(f"{'seconds each further repository, cold':<44}{(many[0].run_s - few[0].run_s) / more:.3f}")
    print(f"{'ms an unchanged repository (wall)':<44}{(many[1].seen.wall_s - few[1].seen.wall_s) / more * 1000:.1f}")
    print(f"{'ms an unchanged repository (run)':<44}{(many[1].run_s - few[1].run_s) / more * 1000:.1f}")


if __name__ == "__main__":
    sys.exit(main())
