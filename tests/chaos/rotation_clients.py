"""Who must not notice a rotation: consumers that log in without an end, and an observer who may see all.

A consumer reads the value from the store (before each login, or once in as long as the grace allows, counted from when
it began to read) and logs in. A login **failed** if the target refused the credential, whatever it answered, no later
than a grace after that read began. It does not count while the server is away: it says so itself, or nobody answers.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

from tests.chaos.rotation_stage import DOWN, AwayError, Consumer, Credential, Seen, Shop, Site, Stage, processes

_PAUSE_S = 0.05
_LOOK_S = 0.15
#: What values are made of.
_OF_VALUES = rb"[A-Za-z0-9._+/]{%d,}"


@dataclass(slots=True)
class Logins:
    """What became of the logins of one consumer. ``late``: refused when it was later than a grace after its read, so
    that nobody promised anything. ``unread``: the store was away, and there was nothing to log in with."""

    accepted: int = 0
    away: int = 0
    late: int = 0
    unread: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All that the target said something to."""
        return self.accepted + self.late + len(self.failed)

    def add(self, other: Logins) -> None:
        """Count them together."""
        self.accepted, self.away = self.accepted + other.accepted, self.away + other.away
        self.late, self.unread = self.late + other.late, self.unread + other.unread
        self.failed += other.failed


def consume(site: Site, shops: list[Shop], cache_s: float, seed: str, pipe: Connection) -> None:
    """Log in until told to stop; then tell what became of it. ``cache_s`` 0: it reads before each login."""
    choice, made, one = random.Random(seed), Logins(), site.consumer()
    known: dict[str, tuple[float, Credential]] = {}
    with contextlib.suppress(EOFError, ConnectionError):
        while not pipe.poll(_PAUSE_S):
            shop = choice.choice(shops)
            read = known.get(shop.name)
            if read is None or time.monotonic() - read[0] >= cache_s:
                known.pop(shop.name, None)
                at = time.monotonic()
                try:
                    read = at, one.read(shop)
                except OSError:
                    made.unread += 1
                    continue
                known[shop.name] = read
            _log_in(one, shop, *read, made, site.grace_s, f"{shop.name}, cache {cache_s:g} s")
        pipe.send(made)


def _log_in(
    one: Consumer, shop: Shop, read_at: float, value: Credential, made: Logins, grace_s: float, who: str
) -> None:
    try:
        said = one.log_in(shop, value)
    except AwayError:
        made.away += 1
        return
    age = time.monotonic() - read_at
    if said is None:
        made.accepted += 1
    elif age > grace_s:
        made.late += 1
    else:
        made.failed.append(
            f"{time.strftime('%H:%M:%S')} {who}: {value.user}, version {value.version}, read {age:.2f} s before: {said}"
        )


def wrong(before: Seen, live: set[str], after: Seen, shop: Shop) -> list[str]:
    """What is not as it must be: ``live`` was asked between two looks at the store. Where the store changed between
    them, either may be what it was."""
    bad = []
    named = before.named | after.named
    if len(live) > 2:
        bad.append(f"{shop.name}: {len(live)} live: {sorted(live)}")
    # What is issued is known to nobody until it is staged; the intention to have it issued tells of it.
    if len(live - named) > (before.is_intention or after.is_intention):
        bad.append(f"{shop.name}: {sorted(live - named)} can log in, and the store names {sorted(named)}")
    if before.version == after.version and before.user not in live:
        bad.append(f"{shop.name}: {before.user} is in force (version {before.version}) and cannot log in")
    return bad


class Observer:
    """Looks at all secrets again and again until it is closed. ``bad`` is what it saw that must not be, ``shown`` all
    that the process list showed meanwhile."""

    def __init__(self, stage: Stage, grace_s: float) -> None:
        self._stage, self._grace_s = stage, grace_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="observer")
        self.looks: Counter[str] = Counter()
        self.most_live = 0
        self.bad: list[str] = []
        self.shown: set[bytes] = set()

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def show(self, *pids: int) -> None:
        """Keep what the process list shows now, and the environment of some processes."""
        self.shown.update(processes(pids))

    def look(self, shop: Shop) -> list[str]:
        """One secret, once. Raises what DOWN names."""
        at = time.monotonic()
        before = self._stage.seen(shop)
        accepted = self._stage.accepts(shop, before)
        is_late = time.monotonic() - at > self._grace_s
        live = self._stage.live(shop)
        bad = wrong(before, live, self._stage.seen(shop), shop)
        self.most_live = max(self.most_live, len(live))
        if not accepted and not is_late:
            bad.append(f"{shop.name}: the value in force ({before.user}, version {before.version}) is refused")
        if unknown := self._stage.strangers():
            bad.append(f"users that nobody knows can log in: {sorted(unknown)}")
        return bad

    def converged(self, shop: Shop) -> list[str]:
        """What is left of a rotation, when all runners have ended."""
        seen, live = self._stage.seen(shop), self._stage.live(shop)
        bad = [f"{shop.name}: a value is still staged"] if seen.mark is not None else []
        if live != {seen.user}:
            bad.append(f"{shop.name}: {seen.user} is in force, {sorted(live)} can log in")
        return bad + self.look(shop)

    def _look_on(self) -> None:
        turn = 0
        while not self._over.wait(_LOOK_S):
            shop = self._stage.shops[turn % len(self._stage.shops)]
            turn += 1
            try:
                self.bad += self.look(shop)
                self.looks["whole"] += 1
            except DOWN:
                self.looks["away"] += 1
            if turn % 10 == 0:
                self.show()


def quoted(values: set[str], texts: dict[str, bytes]) -> list[str]:
    """Which texts hold one of the values, which have letters, digits and ``._+/`` only; the values are not told."""
    wanted: dict[int, set[bytes]] = {}
    for value in values:
        assert re.fullmatch(_OF_VALUES % len(value), value.encode()), "it would not be found"
        wanted.setdefault(len(value), set()).add(value.encode())
    return [name for name, text in texts.items() if any(_holds(text, *of) for of in wanted.items())]


def _holds(text: bytes, length: int, wanted: set[bytes]) -> bool:
    for run in re.finditer(_OF_VALUES % length, text):
        found = run.group()
        if any(found[i : i + length] in wanted for i in range(len(found) - length + 1)):
            return True
    return False


def texts_of(paths: Iterable[Path]) -> dict[str, bytes]:
    """What lies in files, by their names."""
    return {path.name: path.read_bytes() for path in paths}
