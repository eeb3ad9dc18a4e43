"""A consumer, as an application of the shop is one: it reads the value from OpenBao, remembers it for three seconds,
and logs in to PostgreSQL again and again. A line a second tells how that went.

It knows the values that it read, so it is also the one who can look for them: whether former ones still log in, and
whether OpenBao's audit log or PostgreSQL's log quotes one.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psycopg

from infra.rotation import postgresql
from infra.rotation.openbao import CLIENT, Api, AwayError, RefusedError
from infra.rotation.servers import READ
from infra.rotation.state import HOST, State
from tasks.core.errors import NightwardenError
from tasks.core.secret_refs import Secret

#: As org.yaml says of this consumer.
CACHE_S = 3.0
_PAUSE_S, _LINE_S, _OLD_S = 0.1, 1.0, 2.0
#: How the server says that it is away, and not that a credential is refused.
_AWAY = ("starting up", "shutting down", "in recovery", "terminating", "too many clients")
_HMAC = b"hmac-sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A version of the value."""

    version: int
    user: str
    password: Secret


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of logins; ``away``: nobody was there to ask."""

    ok: int = 0
    failed: int = 0
    away: int = 0

    def add(self, became: str) -> None:
        """One login."""
        setattr(self, became, getattr(self, became) + 1)


@dataclass(slots=True, kw_only=True)
class Seen:
    """All that the client knows: versions in their order, what became of logins by each, how former ones stand."""

    versions: dict[int, Credential] = field(default_factory=dict)
    total: Counts = field(default_factory=Counts)
    former: dict[int, str] = field(default_factory=dict)


class Client:
    """One consumer."""

    def __init__(self, state: State) -> None:
        known = state.known
        role_id = state.root / f"{CLIENT}-role-id"
        if known is None or not role_id.is_file():
            raise NightwardenError(f"nothing was started from {state.root}", advice="Call `make rotation-up` first.")
        self._state, self._known = state, known
        self._api = Api(f"https://{HOST}:{known.api}", state.ca)
        self._role_id = role_id.read_text()
        self._token: Secret | None = None
        self._read_at = -CACHE_S
        self._current: Credential | None = None
        self.seen = Seen()

    def credential(self) -> Credential | None:
        """The value, as long as it is remembered, else as it is now. None: the store is away."""
        if self._current is None or time.monotonic() - self._read_at >= CACHE_S:
            self._read_at = time.monotonic()
            with suppress(AwayError):
                self._current = self._read()
                self.seen.versions[self._current.version] = self._current
        return self._current

    def log_in(self, by: Credential) -> str:
        """``ok``, ``failed`` or ``away``. It reads as the application does."""
        try:
            with psycopg.connect(
                host=HOST, port=self._known.database, dbname="shop", user=by.user, password=by.password.reveal(),
                sslmode=self._known.sslmode, sslrootcert=str(self._state.ca), require_auth="scram-sha-256",
                gssencmode="disable", passfile="/dev/null", connect_timeout=5, application_name="client",
            ) as session:  # fmt: skip
                session.execute("SELECT name FROM wares")
            return "ok"
        except psycopg.Error as e:
            text = str(e)
            return "failed" if "FATAL" in text and not any(word in text for word in _AWAY) else "away"

    def try_former(self) -> None:
        """Whether former versions still log in. One that was refused is not tried again."""
        current = self._current.version if self._current is not None else 0
        for version, credential in self.seen.versions.items():
            if version != current and self.seen.former.get(version) != "refused":
                words = {"ok": "still accepted", "failed": "refused", "away": "unknown"}
                self.seen.former[version] = words[self.log_in(credential)]

    def _read(self) -> Credential:
        """Raises AwayError, RefusedError."""
        for last in (False, True):
            if self._token is None:
                secret_id = Secret(self._state.secret_id(CLIENT).read_text())
                self._token = self._api.log_in(self._role_id, secret_id)
            try:
                told = self._api.call("GET", READ, token=self._token)["data"]
            except RefusedError:
                self._token = None  # its time is over
                if last:
                    raise
                continue
            data = told["data"]
            return Credential(
                version=told["metadata"]["version"], user=data["username"], password=Secret(data["password"])
            )  # fmt: skip
        raise AssertionError


def watch(state: State) -> int:
    """Log in until Ctrl-C, a line a second. Returns 0 where no login failed and no log quotes a value, else 1."""
    client = Client(state)
    # A shell that starts this beside itself has its programs ignore Ctrl-C.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.default_int_handler)
    print("logging in all the time; Ctrl-C ends it and tells what became of it", flush=True)
    with suppress(KeyboardInterrupt):
        _log_in_on(client)
    good = True
    for line, is_good in judged(state, client.seen):
        print(line, flush=True)
        good &= is_good
    return 0 if good else 1


def _log_in_on(client: Client) -> None:
    counts, total = Counts(), client.seen.total
    line_at = old_at = time.monotonic()
    while True:
        credential = client.credential()
        became = client.log_in(credential) if credential is not None else "away"
        counts.add(became)
        total.add(became)
        now = time.monotonic()
        if now - old_at >= _OLD_S:
            client.try_former()
            old_at = now
        if now - line_at >= _LINE_S:
            print(_line(credential, counts, client.seen), flush=True)
            counts, line_at = Counts(), now
        time.sleep(_PAUSE_S)


def _line(credential: Credential | None, counts: Counts, seen: Seen) -> str:
    who = f"{credential.user} (version {credential.version})" if credential is not None else "nobody yet"
    away = f", {counts.away} while it was away" if counts.away else ""
    former = "".join(f"; {seen.versions[v].user} (version {v}) {how}" for v, how in seen.former.items())
    return (
        f"{datetime.now().astimezone():%H:%M:%S}  {who}: {counts.ok} ok, {counts.failed} failed{away}"
        f"  [in all {seen.total.ok} ok, {seen.total.failed} failed]{former}"
    )


def judged(state: State, seen: Seen) -> Iterator[tuple[str, bool]]:
    """What is told in the end, line by line, with whether it is as it must be."""
    total = seen.total
    yield f"{total.ok + total.failed} logins, {total.failed} failed", total.failed == 0
    for version, how in seen.former.items():
        yield f"{seen.versions[version].user} by version {version}: {how}", True
    calls, hashed = _audited(state.audit)
    yield f"OpenBao's audit log: {calls} calls, {hashed} values as HMACs", calls > 0
    values = [c.password.reveal().encode() for c in seen.versions.values()]
    for what, file in (("OpenBao's audit log", state.audit), ("PostgreSQL's log", state.log(postgresql.NAME))):
        quoted = sum(value in file.read_bytes() for value in values)
        yield f"{what}: {quoted} of the {len(values)} passwords that were read here are in it", quoted == 0


def _audited(file: Path) -> tuple[int, int]:
    """How many calls the file has, and how many values in them as HMACs."""
    calls = hashed = 0
    with suppress(FileNotFoundError), file.open("rb") as lines:
        for line in lines:
            calls += json.loads(line).get("type") == "request"
            hashed += line.count(_HMAC)
    return calls, hashed
