"""A year of nights in a lake of a million open findings: what night 365 costs beside night 10.

    python -m tests.bench.year --findings 1000000 --nights 365

Each night one finding in a hundred changes: of a fiftieth of the repositories some vanish, some come, some of the last
weeks come back. Results are made up and published by the patrol's own ``publish``; no scanner runs. Told are seconds
(what a plan asks of the lake, publishing, the saved questions warm), the Parquet files that each looked into, bytes
written, and this process's greatest memory. Old files are left lying: `nightwarden lake gc` takes a day to remove one.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.core.types import Cause, Observation, Outcome, Scan
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.saved import SAVED
from tasks.lake.store import Store
from tasks.lake.views import run_query
from tasks.policy import POLICY
from tests import lake_rows
from tests.lake_rows import KEY_ID, NIGHT, change_of, observation, result, scan_of, scope_of

#: Of the changes of a night: what vanishes, what is new; the rest comes back.
_VANISHES, _NEW = 0.5, 0.425
_REPOSITORIES = 0.02
_SEEDED_TOGETHER = 50
_WORDS = ("HIGH", "MEDIUM", "LOW")
_QUESTIONS = (
    "team-age", "mttr", "sla-breaches", "gaps", "noisy-rules", "reopened", "secrets-by-age", "new-since",
    "expiring-decisions", "exposed-repositories",
)  # fmt: skip


@dataclass
class World:
    """What there is: of each repository the numbers of the flaws it has, and those that it had."""

    repositories: int
    each: int
    rng: random.Random
    there: list[list[int]] = field(default_factory=list)
    gone: list[list[int]] = field(default_factory=list)
    next_number: int = 0

    def begin(self) -> None:
        """As many flaws in each repository."""
        for r in range(self.repositories):
            self.there.append(list(range(r * self.each, (r + 1) * self.each)))
            self.gone.append([])
        self.next_number = self.repositories * self.each

    def change(self, share: float) -> list[int]:
        """One night; returns the repositories that changed."""
        changed = self.rng.sample(range(self.repositories), max(1, round(self.repositories * _REPOSITORIES)))
        moves = max(3, round(self.repositories * self.each * share / len(changed)))
        for r in changed:
            there, gone = self.there[r], self.gone[r]
            self.rng.shuffle(there)
            vanish = min(round(moves * _VANISHES), len(there))
            left, self.there[r] = there[:vanish], there[vanish:]
            back = gone[: moves - vanish - round(moves * _NEW)]
            fresh = [*range(self.next_number, self.next_number + vanish - len(back))]
            self.next_number += len(fresh)
            self.there[r] += back + fresh
            self.gone[r] = left[:moves]
        return changed


def seen(number: int) -> Observation:
    """What a scanner would see of a flaw."""
    return observation(
        str(number), path=f"src/module{number % 50}/file{number % 400}.py", line=number % 997 + 1,
        rule_id=f"rule-{number % 120}", severity_tool=_WORDS[number % 3], title=f"flaw of rule {number % 120}",
    )  # fmt: skip


class Year:
    """The lake, and what its nights cost."""

    def __init__(self, place: Path, world: World) -> None:
        self.place, self.world, self.night = place, world, 0
        self.lake = Lake.open(place / "lake", key_id=KEY_ID)
        self.states: dict[int, Scan] = {}

    def seed(self) -> None:
        """The first nights, some repositories each."""
        for start in range(0, self.world.repositories, _SEEDED_TOGETHER):
            self.publish(range(start, min(start + _SEEDED_TOGETHER, self.world.repositories)))

    def publish(self, changed: Sequence[int]) -> tuple[float, float]:
        """One night; seconds of what a plan asks, and of publishing."""
        self.night += 1
        when = NIGHT + timedelta(days=self.night)
        found = [self._result(r, when) for r in changed]
        began = time.perf_counter()
        snapshot = self.lake.snapshot()
        states = snapshot.scope_states(None)
        snapshot.repository_rows(None)
        snapshot.ledger_lookup(r.scan_name for r in found)
        snapshot.gaps_of(s.result_name for s in states.values() if s.gaps and s.result_name)
        planned = time.perf_counter() - began
        rows = [scan_of(r, started_at=when) for r in found]
        for r, row in zip(changed, rows, strict=True):
            self.states[r] = row
        mine = set(changed)
        rows += [
            replace(row, outcome=Outcome.UNCHANGED, cause=Cause.NONE, started_at=None, duration_s=0.0)
            for r, row in self.states.items()
            if r not in mine
        ]
        befores = {k[0]: s.result_name for k, s in states.items()}
        changes = [change_of(r, before=befores.get(r.repo_id), rules=frozenset(f"rule-{n}" for n in range(120)),
                             paths=frozenset) for r in found]  # fmt: skip
        scopes = [scope_of(r, evidence_at=when) for r in found]
        batch = lake_rows.night(self.night, *found, scans=rows, changes=changes, scopes=scopes)
        began = time.perf_counter()
        with self.lake.lock():
            publish(self.lake, snapshot, batch)
        return planned, time.perf_counter() - began

    def _result(self, r: int, when: Any) -> Any:
        observations = [seen(n) for n in self.world.there[r]]
        return result(f"{r} {self.night}", *observations, repo_id=f"team-{r % 20}/app-{r}", started_at=when)

    def questions(self) -> Iterator[tuple[str, float]]:
        """Seconds of each saved question, asked a second time."""
        known = {**SAVED, **POLICY.saved}
        for name in _QUESTIONS:
            for _ in range(2):
                began = time.perf_counter()
                snapshot = self.lake.snapshot()
                sum(1 for _ in run_query(snapshot, known[name].sql, POLICY)[1])
                took = time.perf_counter() - began
            yield name, took


class Looked:
    """Counts the Parquet files that are handed to readers."""

    def __init__(self) -> None:
        self.files = 0
        located = Store._located

        def counting(store: Store, *args: Any) -> list[str]:
            found = located(store, *args)
            self.files += len(found)
            return found

        Store._located = counting  # type: ignore[method-assign]

    def since(self) -> int:
        """How many since this was asked last."""
        told, self.files = self.files, 0
        return told


def sizes(place: Path) -> dict[str, int]:
    """Every file below a place, with its size; a file that was replaced is another one."""
    return {f"{p}:{s.st_ino}:{s.st_mtime_ns}": s.st_size for p in place.rglob("*") if p.is_file() for s in [p.stat()]}


def main() -> int:
    """See the module. Returns 1 where the year is more than it may be."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    asked.add_argument("--findings", type=int, default=1_000_000)
    asked.add_argument("--repositories", type=int, default=1_000)
    asked.add_argument("--nights", type=int, default=365, help="at least 31")
    asked.add_argument("--change", type=float, default=0.01, help="share of the findings that changes each night")
    asked.add_argument("--place", type=Path, help="where the lake is made; a temporary folder when absent")
    given = asked.parse_args()
    if given.nights < 31:
        asked.error("--nights: a fortnight at the end is compared with one at the beginning; at least 31")
    place = given.place or Path(tempfile.mkdtemp(prefix="nightwarden-year-"))
    world = World(given.repositories, given.findings // given.repositories, random.Random(1))
    world.begin()
    year, looked = Year(place, world), Looked()
    began = time.perf_counter()
    year.seed()
    print(f"{given.findings} findings in {year.night} runs: {time.perf_counter() - began:.0f} s", flush=True)
    wanted = {10, given.nights, *range(30, given.nights, 30)}
    early, late = range(4, 18), range(given.nights - 13, given.nights + 1)
    print(" night  plan s publish s  files      MB   ask s  worst s  files  MB RSS")
    costs: dict[int, Counter[str]] = {}
    for n in range(1, given.nights + 1):
        # A fortnight for each of the nights that are compared: putting files together is due on some.
        near = n in early or n in late
        changed = world.change(given.change)
        before = sizes(year.place) if near or n in wanted else {}
        looked.since()
        planned, published = year.publish(changed)
        files = looked.since()
        cost = Counter[str]({"plan": planned, "publish": published, "files": files})  # type: ignore[arg-type]
        if before:
            written = sum(size for name, size in sizes(year.place).items() if name not in before)
            cost["bytes"] = written
        if n in wanted:
            asked_s = dict(year.questions())
            cost["ask"], cost["worst"] = sum(asked_s.values()), max(asked_s.values())  # type: ignore[assignment]
            cost["asked files"] = looked.since() // 2
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(
                f"{n:>6}{planned:>8.2f}{published:>10.2f}{files:>7}{cost['bytes'] / 1e6:>8.1f}{cost['ask']:>8.2f}"
                f"{cost['worst']:>9.2f}{cost['asked files']:>7}{rss:>8}", flush=True,
            )  # fmt: skip
            if n in (10, given.nights):
                print("       " + ", ".join(f"{name} {s:.2f}" for name, s in asked_s.items()), flush=True)
        costs[n] = cost
        gc.collect()
    first, last = costs[10], costs[given.nights]
    print("\nthe last fourteen nights beside nights 4 to 17, means; the last night beside night 10 in brackets")
    ratios = []
    for what in ("plan", "publish", "files", "bytes"):
        a, b = [costs[n][what] for n in early], [costs[n][what] for n in late]
        ratios.append(statistics.mean(b) / statistics.mean(a))
        print(f"  {what:<8} {ratios[-1]:.2f}  [{last[what] / first[what]:.2f}]")
    ratios += [last["ask"] / first["ask"], last["asked files"] / first["asked files"]]
    print(f"  questions {ratios[-2]:.2f}, their files {ratios[-1]:.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if given.place is None:
        shutil.rmtree(place)
    return int(max(ratios) > 2 or last["worst"] > 1 or peak > 2_000)


if __name__ == "__main__":
    sys.exit(main())
