"""How much the rotation scenarios try, what is counted, and who says what goes wrong next."""

from __future__ import annotations

import random
import threading
from collections import Counter
from dataclasses import dataclass, field

from tests.chaos.rotation_clients import Logins
from tests.chaos.rotation_runner import Stop
from tests.chaos.rotation_stage import Shop

#: How often a call comes in one rotation, at least; a runner is stopped at any of them.
_OFTEN = {"staged": 6, "current": 6, "probe": 4, "PutSecretValue": 1, "UpdateSecretVersionStage": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is tried. ``grace_s`` is the grace, ``cache_s`` how long consumers remember, of whom each second one
    reads before every login; ``a_step``: kills at each of ``steps`` (None: at all), at least."""

    shops: int = 6
    rotations: int = 200
    a_step: int = 5
    freezes: int = 16
    server_kills: int = 4
    clients: int = 6
    grace_s: float = 2.0
    cache_s: float = 1.8
    most_s: float = 1500.0
    steps: tuple[str, ...] | None = None


@dataclass(slots=True)
class Outcome:
    """What was done, and what is not as it must be."""

    size: Size
    #: Where runners are stopped.
    steps: tuple[str, ...]
    store: str = "the store"
    target: str = "the target"
    #: What else went wrong at the servers, in words.
    faults: str = ""
    rotations: int = 0
    withdrawn: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    freezes: Counter[str] = field(default_factory=Counter)
    disturbed: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    most_live: int = 0
    runners: int = 0
    two_at_once: int = 0
    locks_ended: int = 0
    logins: Logins = field(default_factory=Logins)
    took_s: float = 0.0
    bad: list[str] = field(default_factory=list)

    @property
    def line(self) -> str:
        """The last line."""
        return (
            f"{self.rotations} rotations, {self.kills.total()} kills, {self.logins.total} logins,"
            f" {len(self.logins.failed)} failed"
        )

    @property
    def report(self) -> list[str]:
        """All of it, in lines."""
        calls = [f"{'kill -9 of a runner at':<26}{'before':>8}{'after':>8}"]
        for call in dict.fromkeys(step.split()[1] for step in self.steps):
            calls.append(f"{'  ' + call:<26}{self.kills[f'before {call}']:>8}{self.kills[f'after {call}']:>8}")
        disturbed = ", ".join(f"{n} {name}" for name, n in sorted(self.disturbed.items()))
        frozen = ", ".join(f"{n} {step}" for step, n in sorted(self.freezes.items()))
        ended = ", ".join(f"{n} {how}" for how, n in self.ended.most_common())
        made = self.logins
        return [
            *calls,
            f"  at a random moment: {self.kills['a moment']}",
            f"servers: {'; '.join(filter(None, (disturbed, self.faults))) or 'left alone'}",
            f"runners: {self.runners} started, {self.two_at_once} times two at once for one secret; frozen while others"
            f" finished: {frozen or 'none'}; {self.locks_ended} sessions with a lock ended; ended as: {ended}",
            f"consumers: {self.size.clients}, half of them remember a value for {self.size.cache_s:g} s of"
            f" {self.size.grace_s:g} s grace: {made.accepted} logins accepted, {len(made.failed)} failed (the"
            f" credential was refused within a grace of its read while {self.target} was up), {made.late} refused later"
            f" than that; not counted: {made.away} while {self.target} was down, {made.unread} without a value while"
            f" {self.store} was",
            f"observer: {self.looks['whole']} looks ({self.looks['away']} while a server was down), at most"
            f" {self.most_live} live credentials of a secret; {self.withdrawn} rotations withdrawn",
            f"{self.took_s:.0f} s",
        ]  # fmt: skip


class Faults:
    """Who says what happens to the next runner; thread-safe. The least killed steps come first, for a wanted number."""

    def __init__(self, size: Size, choice: random.Random, outcome: Outcome) -> None:
        self.size, self._choice, self._outcome = size, choice, outcome
        self._lock = threading.Lock()
        self.done = 0

    def stop(self, shop: Shop) -> Stop | None:
        """Where the next runner of a secret is to be stopped."""
        with self._lock:
            counts = {s: self._outcome.kills[s] for s in shop.steps if s in self._outcome.steps}
            least = min(counts.values(), default=self.size.a_step)
            if not counts or (least >= self.size.a_step and self._choice.random() < 0.5):
                return None
            step = self._choice.choice([s for s, n in counts.items() if n == least])
            return Stop(step=step, nth=self._choice.randint(1, _OFTEN.get(step.split()[1], 1)))

    def chance(self, part: float) -> bool:
        """True in a part of all cases."""
        with self._lock:
            return self._choice.random() < part

    def seconds(self, most: float) -> float:
        """A random time."""
        with self._lock:
            return self._choice.uniform(0, most)

    def freezes(self) -> bool:
        """Whether the runner that just came to its step is frozen there, and not killed."""
        with self._lock:
            wanted = (self.done + 1) * self.size.freezes / self.size.rotations
            return self._outcome.freezes.total() < min(wanted, self.size.freezes)

    def count(self, counter: Counter[str], what: str) -> None:
        """One more."""
        with self._lock:
            counter[what] += 1

    def finished(self) -> None:
        """A rotation was finished."""
        with self._lock:
            self.done += 1

    @property
    def is_enough(self) -> bool:
        """Whether all that was wanted was done."""
        with self._lock:
            return self.done >= self.size.rotations and all(
                self._outcome.kills[s] >= self.size.a_step for s in self._outcome.steps
            )
