"""The lake on S3 whose server fails: some requests, all of them for a while, or the run itself is killed.

The server is moto, an emulator on loopback, with the faults put before it. The undisturbed nights are those of the
lake in a folder: on S3 the rows must be the same.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing
from subprocess import Popen

from tasks.lake.lake import Lake
from tests.chaos.bench import Bench, Day, Row, check, judge, moment, must_end
from tests.chaos.home import Ended, Home
from tests.moto_s3 import ACCESS_KEY, SECRET_KEY, Fault, MotoS3

#: Of a hundred requests so many fail, and so many are late.
_FAIL, _LATE = 0.15, 0.10
_LATE_S = 1.5
GONE_S = 20.0
_KILLS = 3


def errors(bench: Bench) -> Row:
    """A seventh of an S3 server's answers are 500 or 503, a tenth is late (moto, an emulator)."""
    row = Row(scenario="s3-errors")
    moments, lock = bench.moments(row.scenario), threading.Lock()
    tried: Counter[str] = Counter()

    def fault(_method: str, _path: str) -> int | None:
        with lock:
            drawn, status, late_s = moments.random(), moments.choice((500, 503)), _LATE_S * moments.random()
            kind = str(status) if drawn < _FAIL else "late" if drawn < _FAIL + _LATE else ""
            tried[kind] += 1
        if kind == "late":
            time.sleep(late_s)
        return status if drawn < _FAIL else None

    with closing(MotoS3()) as s3:
        home = _home(bench, row.scenario, s3)
        for day in (1, 2):
            _night(bench, row, home, day, lambda: _disturbed(home, s3, fault))
    what = ", ".join(f"{n} {kind}" for kind, n in sorted(tried.items()) if kind)
    row.injected, row.runs = f"{what} of {tried.total()} requests to S3 (moto)", home.runs
    return judge(row)


def gone(bench: Bench) -> Row:
    """An S3 server answers every request with 503 for twenty seconds (moto, an emulator)."""
    row = Row(scenario="s3-gone")
    moments = bench.moments(row.scenario)
    when: list[str] = []
    struck = 0
    with closing(MotoS3()) as s3:
        home = _home(bench, row.scenario, s3)
        for day in (1, 2):
            met: list[str] = []
            after_s = bench.reference.day(day).took_s * moments.uniform(0.3, 0.9)
            ended: list[Ended] = []

            def run(after_s: float = after_s, ended: list[Ended] = ended, met: list[str] = met) -> Ended:
                with ExitStack() as over:
                    ended.append(home.run(during=lambda process: _gone(s3, process, after_s, over, met)))
                return ended[0]

            _night(bench, row, home, day, run)
            struck += bool(met)
            when.append(f"after {after_s:.1f} s ({len(met)} requests met it, exit {ended[0].code})")
    row.injected = f"{struck} times nothing but 503 for {GONE_S:.0f} s, {' and '.join(when)} (moto)"
    row.runs = home.runs
    return judge(row)


def kills(bench: Bench) -> Row:
    """Kill -9 at random moments of a run whose lake is on S3 (moto, an emulator)."""
    row = Row(scenario="s3-kills")
    moments = bench.moments(row.scenario)
    done = 0
    with closing(MotoS3()) as s3:
        home = _home(bench, row.scenario, s3)
        for day, wanted in ((1, _KILLS - 1), (2, 1)):
            calm = bench.reference.day(day)

            def run(wanted: int = wanted, calm: Day = calm) -> Ended:
                nonlocal done
                for n in range(wanted):
                    # Each within the lease of the one before, for which it waits a minute.
                    ended = home.run(**moment(moments, calm, n))
                    done += ended.code == -signal.SIGKILL
                return ended

            _night(bench, row, home, day, run)
    row.injected, row.runs = f"{done} kill -9 with the lake on S3 (moto)", home.runs
    return judge(row)


def _home(bench: Bench, name: str, s3: MotoS3) -> Home:
    place = bench.work / name
    location = s3.location(bench.work / f"{name}-cache")
    return Home(
        place,
        [*bench.arguments, "--lake", str(location)],
        key=bench.key,
        api=bench.api,
        lake=lambda: Lake.open(location, key_id=None, create=False),
        variables={
            "NIGHTWARDEN_S3_ENDPOINT": s3.endpoint,
            "NIGHTWARDEN_S3_ALLOW_HTTP": "1",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        },
    )


def _night(bench: Bench, row: Row, home: Home, day: int, disturbed: Callable[[], Ended]) -> None:
    """One night disturbed, and the same command until it ends; then the comparison."""
    calm = bench.reference.day(day)
    bench.org.turn(day)
    before = home.newest()
    home.begin_day()
    ended = disturbed()
    row.in_flight += home.in_flight()
    if ended.fault or (ended.code not in (0, 3, 1, -signal.SIGKILL)):
        row.bad.append(f"night {day} ended with {ended.code}: {ended.fault or ended.said.strip()[-300:]}")
    if not ended.is_whole:
        must_end(row, home)
    check(row, home, calm, before)


def _disturbed(home: Home, s3: MotoS3, fault: Fault) -> Ended:
    s3.fault = fault
    try:
        return home.run()
    finally:
        s3.fault = lambda _method, _path: None


def _gone(s3: MotoS3, process: Popen[bytes], after_s: float, over: ExitStack, met: list[str]) -> None:
    """Have the server fail for a while from a moment on, and be well afterwards whatever happens."""

    def failing(_method: str, path: str) -> int:
        met.append(path)
        return 503

    def well() -> None:
        s3.fault = lambda _method, _path: None

    over.callback(well)
    end = time.monotonic() + after_s
    while time.monotonic() < end and process.poll() is None:
        time.sleep(0.02)
    s3.fault = failing
    threading.Timer(GONE_S, well).start()
