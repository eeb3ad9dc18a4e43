"""The Prefect API is gone for ten seconds in the middle of a run: its server is paused, or killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from flows import server
from tasks.core.births import born
from tests.chaos.bench import Bench, Row, check, judge, must_end, say
from tests.chaos.home import Home

GONE_S = 10.0
#: Beyond that a run may end with an error in words: on a busy machine a server takes long to start again.
_PROMISED_S = 30.0


def paused(bench: Bench) -> Row:
    """The API's server is stopped (SIGSTOP) for ten seconds: it answers nothing, and then goes on."""
    return _disturbed(bench, Row(scenario="api-paused"), _Server.pause)


def restarted(bench: Bench) -> Row:
    """The API's server is killed and started again ten seconds later, on the same port and data."""
    return _disturbed(bench, Row(scenario="api-restarted"), _Server.restart)


class _Server:
    """A real server that stays the same to its clients when its process is another."""

    def __init__(self, home: Path, held: ExitStack) -> None:
        self.home = home
        self.at = held.enter_context(server.used(home))
        server.wait(self.at, home)
        process = Path(f"/proc/{self.at.pid}")
        self._argv = _words(process / "cmdline")
        self._environ = {name: value for name, _, value in (p.partition("=") for p in _words(process / "environ"))}

    def pause(self) -> float:
        """Answer nothing for a while; returns for how many seconds."""
        os.kill(self.at.pid, signal.SIGSTOP)
        time.sleep(GONE_S)
        os.kill(self.at.pid, signal.SIGCONT)
        return GONE_S

    def restart(self) -> float:
        """Be gone for a while and then start, which takes its time; returns for how many seconds nothing answered."""
        began = time.monotonic()
        os.kill(self.at.pid, signal.SIGKILL)
        time.sleep(GONE_S)
        folder = server.state_file(self.home).parent
        with (folder / "server.log").open("ab") as log:
            process = subprocess.Popen(
                self._argv,
                cwd=folder / "cwd",
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.at = replace(self.at, pid=process.pid, born=born(process.pid) or 0)
        server._write_down(self.home, self.at)
        server.wait(self.at, self.home)
        return time.monotonic() - began


def _words(of_a_process: Path) -> list[str]:
    return [os.fsdecode(word) for word in of_a_process.read_bytes().split(b"\0") if word]


def _disturbed(bench: Bench, row: Row, disturb: Callable[[_Server], float]) -> Row:
    """Once in the first night and once in the changed one. The run must end as if nothing had been."""
    moments = bench.moments(row.scenario)
    when = []
    calm = {day: bench.reference.day(day) for day in (1, 2)}
    with ExitStack() as held:
        api = _Server(bench.work / f"server-{row.scenario}", held)
        home = Home(bench.work / row.scenario, bench.arguments, key=bench.key, api=api.at.client_environment())
        for day in (1, 2):
            bench.org.turn(day)
            before = home.newest()
            home.begin_day()
            after_s = calm[day].took_s * moments.uniform(0.2, 0.8)
            away_s: list[float] = []

            def gone(process: subprocess.Popen[bytes], after_s: float = after_s, away_s: list[float] = away_s) -> None:
                end = time.monotonic() + after_s
                while time.monotonic() < end and process.poll() is None:
                    time.sleep(0.02)
                if process.poll() is None:
                    away_s.append(disturb(api))
                    when.append(f"after {after_s:.1f} s for {away_s[0]:.1f} s")
                    say(f"{row.scenario}: gone {when[-1]}")

            ended = home.run(during=gone)
            row.in_flight += home.in_flight()
            if ended.code == 1 and not ended.fault and sum(away_s) > _PROMISED_S:
                must_end(row, home)
            elif ended.fault or not ended.is_whole:
                row.bad.append(f"night {day} ended with {ended.code}: {ended.fault or ended.said.strip()[-300:]}")
            check(row, home, calm[day], before)
    row.injected, row.runs = f"{len(when)} times gone: {', '.join(when)}", home.runs
    return judge(row)
