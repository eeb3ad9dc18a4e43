"""The disk of the home and the lake is full at random moments; then there is room again and the same command finishes.

The disk is a small file system in memory, mounted in a user and mount name space of the scenario's own process
(``unshare -rm``); what strikes first (a mirror, a kept report, the spool, a Delta commit) follows from the moment and
from the room that is left. Journal and log lie outside it.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.bench import Bench, Day, Row, check, judge, must_end, say
from tests.chaos.home import Ended, Home

_SIZE_BYTES = 96 * 1024**2
_LEFT_BYTES = (0, 4096, 65536, 524288)
_RESERVE_BYTES = 48 * 1024**2
#: Rounds: (day, when the disk is full as a share of an undisturbed night, from the start when 0, reserve).
_ROUNDS = ((1, 0.0, 0), (1, 0.3, 0), (1, 0.5, 0), (1, 0.7, 0), (2, 0.5, 0), (1, 0.0, _RESERVE_BYTES))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spec:
    """What the process in the name space needs; it comes in a file that only this program writes."""

    mount: Path
    apart: Path
    arguments: list[str]
    key: Path
    api: Mapping[str, str]
    days: Mapping[int, Day]
    seed: str


def disk_full(bench: Bench) -> Row:
    """A full disk at random moments: mirrors, spool, kept reports, Delta commits; then room again."""
    row = Row(scenario="disk-full")
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    if tried.returncode != 0:
        row.skipped = "user and mount name spaces are not allowed here (unshare -rm)"
        return row
    days = {day: bench.reference.day(day) for day in (1, 2)}
    place = bench.work / "small-disk"
    (place / "mount").mkdir(parents=True)
    spec = _Spec(
        mount=place / "mount",
        apart=place / "apart",
        arguments=bench.arguments,
        key=bench.key,
        api=bench.api,
        days=days,
        seed=f"{bench.seed} {row.scenario}",
    )
    (place / "spec").write_bytes(pickle.dumps(spec))
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        ["unshare", "-rm", sys.executable, "-m", "tests.chaos.disk", str(place / "spec")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        last = ""
        # The organisation belongs to this process: it is asked for a day, and answers when it is so.
        for line in process.stdout:
            last = line
            if line.startswith("turn "):
                bench.org.turn(int(line.split()[1]))
                process.stdin.write("turned\n")
                process.stdin.flush()
    if process.returncode != 0:
        row.bad.append(f"the scenario itself ended with {process.returncode}")
        return row
    return Row(**json.loads(last))


def _main(spec: _Spec) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE_BYTES}", "chaos", str(spec.mount)], check=True)
    row = Row(scenario="disk-full")
    rng = random.Random(spec.seed)
    struck: list[str] = []
    home: Home | None = None
    for n, (day, share, reserve) in enumerate(_ROUNDS):
        print(f"turn {day}", flush=True)
        sys.stdin.readline()
        calm = spec.days[day]
        if day == 1 or home is None:
            if home is not None:
                shutil.rmtree(home.place)
            home = Home(
                spec.mount / str(n),
                spec.arguments,
                key=spec.key,
                api=spec.api,
                apart=spec.apart / str(n),
                variables={"NIGHTWARDEN_DISK_RESERVE_GB": str(reserve / 1e9)},
            )
        before = home.newest()
        home.begin_day()
        runs = home.runs
        after_s = share * calm.took_s * rng.uniform(0.7, 1.3)
        left = reserve // 2 or (rng.choice(_LEFT_BYTES) if share else 0)
        filling = _Filling(spec.mount, after_s, left)
        ended = home.run(during=filling)
        (spec.mount / "ballast").unlink(missing_ok=True)
        row.in_flight += home.in_flight(failures_too=True)
        what = f"day {day}, full {f'after {after_s:.1f} s' if share else 'from the start'} but for {left} bytes"
        if reserve:
            what += f" of which {reserve} are to stay free"
        struck.append(_told(ended) if filling.struck else "ended before")
        say(f"disk-full: {what}: {struck[-1]}")
        if ended.fault:
            row.bad.append(f"{what}: {ended.fault}")
        must_end(row, home)
        check(row, home, calm, before, after_a_fault=True)
        row.runs += home.runs - runs
    row.injected = f"{len(struck) - struck.count('ended before')} times a full disk: {'; '.join(struck)}"
    if struck[-1] != "exit 3":
        row.bad.append(f"where the reserve bites scans fail, and the run has gaps (exit 3); here: {struck[-1]}")
    print(json.dumps(asdict(judge(row))), flush=True)


class _Filling:
    """Fills the disk after so many seconds but for so many bytes, unless the command ends before (``struck``)."""

    def __init__(self, disk: Path, after_s: float, left_bytes: int) -> None:
        self._disk = disk
        self._after_s = after_s
        self._left_bytes = left_bytes
        self.struck = False

    def __call__(self, process: subprocess.Popen[bytes]) -> None:
        end = time.monotonic() + self._after_s
        while time.monotonic() < end and process.poll() is None:
            time.sleep(0.02)
        with (self._disk / "ballast").open("wb") as ballast:
            while process.poll() is None:
                at = os.statvfs(self._disk)
                size = max(0, at.f_bavail * at.f_frsize - self._left_bytes)
                try:
                    os.posix_fallocate(ballast.fileno(), 0, size // at.f_frsize * at.f_frsize or 1)
                    break
                except OSError as e:  # the command took some of it meanwhile
                    if e.errno != errno.ENOSPC:
                        raise
        self.struck = process.poll() is None


def _told(ended: Ended) -> str:
    """How a command with a full disk ended, in a few words."""
    if ended.is_whole:
        return f"exit {ended.code}"
    lines = [line for line in ended.said.splitlines() if line.startswith("nightwarden: ")]
    return f"exit {ended.code} ({lines[-1][13:113] if lines else 'no message'})"


if __name__ == "__main__":
    _main(pickle.loads(Path(sys.argv[1]).read_bytes()))
