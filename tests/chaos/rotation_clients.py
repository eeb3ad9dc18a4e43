"""Who must not notice a rotation: consumers that log in without an end, and an observer who may see all.

A consumer reads the value from the store (before each login, or once in as long as the grace allows, counted from when
it began to read) and logs in. A login **failed** if PostgreSQL refused the credential, whatever it answered, no later
than a grace after that read began. It does not count while the server is away: it says so itself, or nobody answers.
"""

from __future__ import annotations

import contextlib
import random
import re
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos.rotation_servers import DOWN, Seen, Servers, Shop, Site, processes
from tests.openbao import Bao

#: How the server, or the library, says that the server is what is not there (SQLSTATE 57P0x, 53300); psycopg tells no
#: SQLSTATE of a login. Every other FATAL is a refusal.
_AWAY = ("starting up", "shutting down", "in recovery", "accepting connections", "terminating", "too many clients",
         "remaining connection slots")  # fmt: skip
_PAUSE_S = 0.05
_LOOK_S = 0.15


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
        """All that PostgreSQL said something to."""
        return self.accepted + self.late + len(self.failed)

    def add(self, other: Logins) -> None:
        """Count them together."""
        self.accepted, self.away = self.accepted + other.accepted, self.away + other.away
        self.late, self.unread = self.late + other.late, self.unread + other.unread
        self.failed += other.failed


def refusal(error: psycopg.Error) -> str | None:
    """What the server said against a credential; None: it was away, or starting."""
    text = str(error)
    if "FATAL" not in text or any(words in text for words in _AWAY):
        return None
    return next(line for line in text.splitlines() if "FATAL" in line)


def consume(site: Site, shops: list[Shop], cache_s: float, seed: str, pipe: Connection) -> None:
    """Log in until told to stop; then tell what became of it. ``cache_s`` 0: it reads before each login."""
    choice, made = random.Random(seed), Logins()
    bao = Bao(site.bao, site.reader_token.read_text())
    known: dict[str, tuple[float, Any]] = {}
    with contextlib.suppress(EOFError, ConnectionError):
        while not pipe.poll(_PAUSE_S):
            shop = choice.choice(shops)
            at, value = known.get(shop.name, (0.0, None))
            if value is None or time.monotonic() - at >= cache_s:
                known.pop(shop.name, None)
                at = time.monotonic()
                try:
                    value = bao.call("GET", f"kv/data/{shop.place.path}")["data"]
                except OSError:
                    made.unread += 1
                    continue
                known[shop.name] = at, value
            _log_in(site, value, at, made, f"{shop.name}, cache {cache_s:g} s")
        pipe.send(made)


def _log_in(site: Site, value: Any, read_at: float, made: Logins, who: str) -> None:
    user, password = value["data"]["username"], value["data"]["password"]
    try:
        with psycopg.connect(
            host="127.0.0.1", port=site.port, user=user, password=password, dbname="shop", connect_timeout=10
        ) as session:
            session.execute("SELECT id FROM wares")
        made.accepted += 1
        return
    except psycopg.errors.InsufficientPrivilege as e:
        said: str | None = str(e)
    except psycopg.Error as e:
        said = refusal(e)
    age = time.monotonic() - read_at
    if said is None:
        made.away += 1
    elif age > site.grace_s:
        made.late += 1
    else:
        version = value["metadata"]["version"]
        made.failed.append(
            f"{time.strftime('%H:%M:%S')} {who}: {user}, version {version}, read {age:.2f} s before: {said}"
        )


def wrong(before: Seen, live: set[str], after: Seen, shop: Shop) -> list[str]:
    """What is not as it must be: ``live`` was asked between two looks at the store. Where the store changed between
    them, either may be what it was."""
    bad = []
    own = live & set(shop.users)
    named = _named(before) | _named(after)
    if len(own) > 2:
        bad.append(f"{shop.name}: {len(own)} live users: {sorted(own)}")
    if own - named:
        bad.append(f"{shop.name}: {sorted(own - named)} can log in, and the store names {sorted(named)}")
    if before.version == after.version and before.user not in live:
        bad.append(f"{shop.name}: {before.user} is in force (version {before.version}) and cannot log in")
    return bad


def _named(seen: Seen) -> set[str]:
    mark = seen.mark or {}
    return {seen.user} | {mark[k] for k in ("identity", "replaces") if mark.get(k)}


class Observer:
    """Looks at all secrets again and again until it is closed. ``bad`` is what it saw that must not be, ``shown`` all
    that the process list showed meanwhile."""

    def __init__(self, servers: Servers, grace_s: float) -> None:
        self._servers, self._grace_s = servers, grace_s
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
        before = self._servers.seen(shop)
        accepted = self._servers.db.accepts(before.user, before.password)
        is_late = time.monotonic() - at > self._grace_s
        live = self._servers.live()
        bad = wrong(before, live, self._servers.seen(shop), shop)
        self.most_live = max(self.most_live, len(live & set(shop.users)))
        if not accepted and not is_late:
            bad.append(f"{shop.name}: the value in force ({before.user}, version {before.version}) is refused")
        known = {u for s in self._servers.shops for u in s.users}
        if live - known:
            bad.append(f"users that nobody knows can log in: {sorted(live - known)}")
        return bad

    def converged(self, shop: Shop) -> list[str]:
        """What is left of a rotation, when all runners have ended."""
        seen, live = self._servers.seen(shop), self._servers.live() & set(shop.users)
        bad = [f"{shop.name}: a value is still staged"] if seen.mark is not None else []
        if live != {seen.user}:
            bad.append(f"{shop.name}: {seen.user} is in force, {sorted(live)} can log in")
        return bad + self.look(shop)

    def _look_on(self) -> None:
        turn = 0
        while not self._over.wait(_LOOK_S):
            shop = self._servers.shops[turn % len(self._servers.shops)]
            turn += 1
            try:
                self.bad += self.look(shop)
                self.looks["whole"] += 1
            except DOWN:
                self.looks["away"] += 1
            if turn % 10 == 0:
                self.show()


def quoted(values: set[str], texts: dict[str, bytes]) -> list[str]:
    """Which texts hold one of the values, all of which are of the same length and have letters, digits, ``.`` and
    ``_`` only; the values are not told."""
    length = len(next(iter(values)))
    assert all(len(v) == length for v in values)
    wanted = {v.encode() for v in values}
    return [name for name, text in texts.items() if _holds(text, wanted, length)]


def _holds(text: bytes, wanted: set[bytes], length: int) -> bool:
    for run in re.finditer(rb"[A-Za-z0-9._]{%d,}" % length, text):
        found = run.group()
        if any(found[i : i + length] in wanted for i in range(len(found) - length + 1)):
            return True
    return False


def texts_of(paths: list[Path]) -> dict[str, bytes]:
    """What lies in files, by their names."""
    return {path.name: path.read_bytes() for path in paths}
