"""What the scenarios share: the organisation, its undisturbed nights, a Prefect server, and the rows they print."""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.lake.verify import verify
from tests.chaos.content import Content, as_it_was, differences, settled
from tests.chaos.home import Ended, Home
from tests.chaos.organisation import Organisation
from tests.integration.servers import prefect_server

#: Small repositories, and the tools whose start costs little; ``kills-all-tools`` uses all.
REPOSITORIES = 6
FAST_TOOLS = tuple(a for t in ("kingfisher", "bandit", "hadolint", "zizmor") for a in ("--tool", t))

#: Before it no line of ours has run.
_EARLIEST_S = 0.3


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of the table: what was tried, and what was lost by it."""

    scenario: str
    injected: str = ""
    runs: int = 0
    in_flight: int = 0
    repeated: int = 0
    lost: int = 0
    doubled: int = 0
    #: What is not as it must be, in words.
    bad: list[str] = field(default_factory=list)
    skipped: str = ""
    #: What is printed after the table, and last of all.
    report: list[str] = field(default_factory=list)
    last: str = ""

    @property
    def verdict(self) -> str:
        """In a few words."""
        if self.skipped:
            return f"skipped: {self.skipped}"
        return f"BAD: {self.bad[0]}" if self.bad else "as undisturbed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """An undisturbed night."""

    as_it_was: Content
    settled: Content
    starts: Counter[str]
    took_s: float
    #: Lines of its journal.
    noted: int


class Reference:
    """The undisturbed nights of one command on one organisation, run when they are first asked for, in their order."""

    def __init__(self, home: Home, turn: Callable[[int], None], days: int = 2) -> None:
        self._home, self._turn, self._days = home, turn, days
        self._known: dict[int, Day] = {}

    def day(self, number: int) -> Day:
        """The first or the second night."""
        if not self._known:
            for day in range(1, self._days + 1):
                self._known[day] = self._night(day)
        return self._known[number]

    def _night(self, number: int) -> Day:
        self._turn(number)
        home = self._home
        before = home.newest()
        home.begin_day()
        ended = home.run()
        say(f"undisturbed night {number}: {ended.took_s:.1f} s, {home.starts.total()} scans")
        if not ended.is_whole or not home.starts:
            raise SystemExit(f"the undisturbed night failed ({ended.code}):\n{ended.said[-4000:]}")
        lake = home.lake()
        return Day(
            as_it_was=as_it_was(lake, before),
            settled=settled(lake, before),
            starts=home.starts,
            took_s=ended.took_s,
            noted=home.noted,
        )


class Bench:
    """One call of the program. ``kills`` is how many the kill scenarios share."""

    def __init__(self, work: Path, seed: int, kills: int) -> None:
        self.work, self.seed, self.kills = work, seed, kills
        self.key = work / "hmac.key"
        self.open = ExitStack()
        self._org: Organisation | None = None
        self._api: Mapping[str, str] | None = None
        self._reference: Reference | None = None
        self._homes = 0

    @property
    def org(self) -> Organisation:
        """What is patrolled."""
        if self._org is None:
            self._org = Organisation(self.work / "org", REPOSITORIES)
        return self._org

    @property
    def api(self) -> Mapping[str, str]:
        """The environment of a client of the server that all homes share unless they say otherwise."""
        if self._api is None:
            self._api = self.open.enter_context(prefect_server(self.work / "server")).environment
        return self._api

    @property
    def arguments(self) -> list[str]:
        """The command on the organisation, with the fast tools."""
        return ["patrol", "--repos", str(self.org.root), *FAST_TOOLS]

    @property
    def reference(self) -> Reference:
        """The undisturbed nights of that command."""
        if self._reference is None:
            self._reference = Reference(self.home("calm"), self.org.turn)
        return self._reference

    def home(self, name: str, arguments: Sequence[str] = (), *, own_server: bool = False) -> Home:
        """A fresh home."""
        self._homes += 1
        place = self.work / f"{self._homes:02}-{name}"
        return Home(place, arguments or self.arguments, key=self.key, api=None if own_server else self.api)

    def moments(self, scenario: str) -> random.Random:
        """The random numbers of one scenario, whichever others are run."""
        return random.Random(f"{self.seed} {scenario}")


def moment(moments: random.Random, calm: Day, kills: int = 0) -> dict[str, Any]:
    """When to kill: half of all at a random second of a night, from the first import on; half within half a second of
    a random line of its journal, where tools are started and rows are written. Arguments of ``Home.run``.

    After some ``kills`` of the same night less is left to be done.
    """
    if moments.random() < 0.5:
        return {"signal_after_s": moments.uniform(_EARLIEST_S, calm.took_s)}
    return {"first_noted": moments.randint(1, calm.noted // (kills + 1)), "signal_after_s": moments.uniform(0, 0.5)}


def check(row: Row, home: Home, day: Day, was_at: int, *, after_a_fault: bool = False) -> None:
    """Compare a home whose command has ended with the undisturbed night, and count; ``row`` is told."""
    try:
        lake = home.lake()
        problems = verify(lake)
        now = settled(lake, was_at) if after_a_fault else as_it_was(lake, was_at)
    except Exception as e:  # whatever cannot be read is the verdict
        row.bad.append(f"the lake cannot be read: {type(e).__name__}: {str(e)[:200]}")
        return
    row.bad += [f"lake verify: {p.table} {p.message}" for p in problems]
    lost, doubled, words = differences(day.settled if after_a_fault else day.as_it_was, now)
    row.lost, row.doubled = row.lost + lost, row.doubled + doubled
    row.bad += words
    row.repeated += (home.starts - day.starts).total()
    if missing := day.starts.keys() - home.starts.keys():
        row.bad.append(f"never started: {min(missing)}")


def judge(row: Row) -> Row:
    """Last: no more repeated than was in flight."""
    if row.repeated > row.in_flight:
        row.bad.append(f"{row.repeated} scans repeated, {row.in_flight} in flight")
    return row


def must_end(row: Row, home: Home, *, options: Sequence[str] = ()) -> Ended:
    """The same command, undisturbed: it must end by itself."""
    ended = home.run(options=options)
    if not ended.is_whole:
        row.bad.append(f"the same command ended with {ended.code}: {ended.said.strip()[-300:]}")
    if ended.fault:
        row.bad.append(ended.fault)
    return ended


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
