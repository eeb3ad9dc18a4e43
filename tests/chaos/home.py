"""One home, the command that is run in it again and again, and the journal of what that command did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import LakeError
from tasks.lake.lake import Lake
from tests.integration.servers import environment

WORKERS = 2
#: A command that has not ended by then hangs.
LIMIT_S = 900.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How one run of the command ended. ``code`` is the exit code, negative for a signal; None: it hung."""

    code: int | None
    took_s: float
    said: str

    @property
    def is_whole(self) -> bool:
        """Whether it ended by itself, complete or with gaps."""
        return self.code in (0, 3)

    @property
    def fault(self) -> str:
        """What a command must never end with; empty when all is well."""
        if self.code is None:
            return f"hung for {LIMIT_S:.0f} s"
        if "Traceback (most recent call last)" in self.said:
            lines = self.said[self.said.rindex("Traceback (most") :].splitlines()
            return f"a traceback: {next((n for n in lines[1:] if n and not n.startswith(' ')), lines[-1])[:200]}"
        return ""


class Home:
    """A home of its own below ``place``. ``arguments`` are those of ``nightwarden``.

    ``apart`` is where journal and log lie, so that a full disk does not reach them; without ``api`` the command starts
    a local Prefect server of its own.
    """

    def __init__(
        self,
        place: Path,
        arguments: Sequence[str],
        *,
        key: Path,
        api: Mapping[str, str] | None = None,
        apart: Path | None = None,
        lake: Callable[[], Lake] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.place = place
        place.mkdir(parents=True, exist_ok=True)
        apart = apart or place
        apart.mkdir(parents=True, exist_ok=True)
        self.log = apart / "log"
        self.runs = 0
        self._journal = apart / "journal"
        self._lake = lake
        self._argv = [sys.executable, "-m", "tests.chaos.night", str(self._journal), *arguments]
        ours = {
            "NIGHTWARDEN_HOME": str(place),
            "NIGHTWARDEN_KEY_FILE": str(key),
            "NIGHTWARDEN_WORKERS": str(WORKERS),
            # What stays free on the disk depends on this machine, and the small disk of a scenario has less.
            "NIGHTWARDEN_DISK_RESERVE_GB": "0",
        }
        self._environ = environment(**{**(api or {}), **ours, **(variables or {})})

    # -- running it ---------------------------------------------------------------------------------------

    def run(
        self,
        *,
        signal_after_s: float | None = None,
        first_noted: int = 0,
        number: signal.Signals = signal.SIGKILL,
        group: bool = False,
        kill_at: str | None = None,
        during: Callable[[subprocess.Popen[bytes]], None] | None = None,
        options: Sequence[str] = (),
    ) -> Ended:
        """Run the command to its end, or send it (or its whole process group) a signal after so many seconds.

        ``first_noted``: the seconds begin when it has written so many lines to its journal. ``kill_at``: it kills
        itself just before that step of a publish. ``during`` is called once it is started.
        """
        self.runs += 1
        begins = self.log.stat().st_size if self.log.exists() else 0
        noted = len(self._since())
        began = time.monotonic()
        environ = {**self._environ, **({"CHAOS_KILL_AT": kill_at} if kill_at else {})}
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self._argv, *options],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.log.parent,
                process_group=0,
                # A shell without job control has its background jobs ignore Ctrl-C, and that is inherited.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  it only resets
            )
        try:
            if during is not None:
                during(process)
            if signal_after_s is not None:
                while len(self._since()) - noted < first_noted and time.monotonic() - began < LIMIT_S:
                    if process.poll() is not None:
                        break
                    time.sleep(0.02)
                try:
                    process.wait(signal_after_s)
                except subprocess.TimeoutExpired:
                    (os.killpg if group else os.kill)(process.pid, number)
            code: int | None = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        with self.log.open("rb") as log:
            log.seek(begins)
            said = log.read().decode(errors="replace")
        return Ended(code=code, took_s=time.monotonic() - began, said=said)

    def lake(self) -> Lake:
        """Its lake, to be read."""
        return self._lake() if self._lake else Lake.open(self.place / "lake", key_id=None, create=False)

    def newest(self) -> int:
        """The number of the newest run; 0 where no lake is yet."""
        try:
            return self.lake().snapshot().seq
        except LakeError:
            return 0

    # -- what it did --------------------------------------------------------------------------------------

    def begin_day(self) -> None:
        """From here on another day is counted."""
        self._mark("# day")

    @property
    def starts(self) -> Counter[str]:
        """How often each scan was started this day."""
        return Counter(line[2:] for line in self._since("# day") if line.startswith("+"))

    @property
    def steps(self) -> list[str]:
        """The steps of publishes that were begun this day."""
        return [line[2:] for line in self._since("# day") if line.startswith("=")]

    def in_flight(self, *, failures_too: bool = False) -> int:
        """Starts since the last call of this that led to nothing durable; call it after each run that was disturbed.

        ``failures_too``: a failure counts as nothing, for it was the fault's and will be tried again.
        """
        starts: Counter[str] = Counter()
        durable: set[str] = set()
        for line in self._since("# day", "# disturbed"):
            if line.startswith("+"):
                starts[line[2:]] += 1
            elif line.startswith("-") or (line.startswith("!") and not failures_too):
                durable.add(line[2:])
        self._mark("# disturbed")
        return sum(n - (scan in durable) for scan, n in starts.items())

    @property
    def noted(self) -> int:
        """How many lines its journal has of this day."""
        return len(self._since("# day"))

    def _mark(self, line: str) -> None:
        with self._journal.open("a") as journal:
            journal.write(f"{line}\n")

    def _since(self, *marks: str) -> list[str]:
        lines = self._journal.read_text().splitlines() if self._journal.exists() else []
        return lines[max((n for n, line in enumerate(lines) if line in marks), default=-1) + 1 :]
