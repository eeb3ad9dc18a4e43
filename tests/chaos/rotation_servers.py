"""The servers of the rotation scenario: OpenBao on raft with a file that it audits to, and PostgreSQL with SCRAM.

Both keep what they have when they are killed, and are started again at their ports. What they are asked here is asked
as who may do all, by other code than what rotates.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
import urllib.error
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tasks.core.rotations import MARK
from tasks.rotation.passwords import POSTGRESQL
from tasks.rotation.vault_kv import KvPlace
from tasks.rotation.vault_policy import policy
from tests.integration.sql_servers import ADMIN, ADMIN_PASSWORD, PostgreSqlHere, postgresql
from tests.openbao import Bao, free_port, program
from tests.rotation_fakes import plain

_CONFIG = """
storage "raft" {{
  path = "{place}/raft"
  node_id = "one"
  performance_multiplier = 1
}}
listener "tcp" {{
  address = "127.0.0.1:{port}"
  tls_disable = true
}}
audit "file" "all" {{
  options {{
    file_path = "{place}/audit.log"
  }}
}}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
disable_mlock = true
"""
_START_S = 60.0
#: What an operator may ask while a server is away.
DOWN = (OSError, psycopg.Error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """One secret: where it lies, and the two users it alternates between."""

    name: str
    place: KvPlace
    users: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What a process of its own is told: where the servers are, and files with what signs in to them. ``book`` is where
    this test, and nobody else, writes down all values that are made, to look for them everywhere in the end."""

    bao: str
    role_id: str
    secret_id: Path
    reader_token: Path
    port: int
    admin: str
    admin_password: Path
    steps: Path
    said: Path
    book: Path
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the store holds of a secret: its version, the user and the password in force, and the mark of what is
    staged with its version."""

    version: str
    user: str
    password: str
    pending_version: int
    mark: dict[str, Any] | None


class BaoOnDisk:
    """OpenBao on raft, unsealed by us. ``audit`` is all that it was asked and answered, values being hashed."""

    def __init__(self, place: Path) -> None:
        port = free_port()
        self._config, self._said = place / "bao.hcl", place / "bao.log"
        self.audit = place / "audit.log"
        (place / "raft").mkdir()
        self._config.write_text(_CONFIG.format(place=place, port=port, cluster_port=free_port()))
        self.bao = Bao(f"http://127.0.0.1:{port}", "")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def logs(self) -> list[Path]:
        """What it writes for people."""
        return [self.audit, self._said]

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def begin(self) -> None:
        """Start it for the first time: KV version 2 at ``kv/``."""
        self._start()
        _wait(lambda: self.bao.call("GET", "sys/init") is not None)
        made = self.bao.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
        self.bao.keys, self.bao.token = made["keys"], made["root_token"]
        self._open()
        self.bao.call("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        # A mount of version 2 is made ready after it was made.
        _wait(lambda: self.bao.call("POST", "kv/data/ready", {"data": {}}) is not None)

    def restart(self) -> None:
        """Kill it; start it again; unseal it."""
        self.stop(signal.SIGKILL)
        time.sleep(0.3)
        self._start()
        self._open()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _start(self) -> None:
        with self._said.open("ab") as out:
            self._process = subprocess.Popen([program(), "server", f"-config={self._config}"], stdout=out, stderr=out)

    def _open(self) -> None:
        _wait(lambda: self.bao.call("PUT", "sys/unseal", {"key": self.bao.keys[0]})["sealed"] is False)
        _wait(lambda: self.bao.call("GET", "sys/mounts") is not None)


class Servers:
    """Both, with the secrets in them."""

    def __init__(self, store: BaoOnDisk, db: PostgreSqlHere) -> None:
        self.store, self.db = store, db
        self.shops: list[Shop] = []
        self.first_values: list[str] = []

    def make_shops(self, number: int) -> None:
        """Secrets, each with two users, of which the first one is in force."""
        for i in range(number):
            world = self.db.world()
            first = plain(world.current.fields)
            users = self.db.users_of(world).names
            value = POSTGRESQL.fresh().reveal()
            with psycopg.connect(self.db_info(), autocommit=True) as session:
                # As a verifier: its owner's statements are in the log, too.
                made = session.pgconn.encrypt_password(value.encode(), users[0].encode(), b"scram-sha-256").decode()
                session.execute(f"ALTER ROLE {users[0]} PASSWORD '{made}'".encode())
            place = KvPlace(mount="kv", path=f"shop{i + 1}/db")
            fields = {"username": first["username"], "password": value, "port": self.db.port}
            self.store.bao.call("POST", f"kv/data/{place.path}", {"data": fields})
            self.shops.append(Shop(name=f"shop{i + 1}", place=place, users=(users[0], users[1])))
            self.first_values.append(value)

    def db_info(self) -> str:
        """As the owner of the server."""
        return f"host=127.0.0.1 port={self.db.port} user=postgres dbname=postgres password={self.db.owner_password}"

    def site(self, place: Path, grace_s: float) -> Site:
        """The access of runners, by the policy that the secrets need and no more, and of consumers, who only read."""
        bao = self.store.bao
        bao.call("PUT", "sys/policies/acl/runner", {"policy": policy(s.place for s in self.shops)})
        paths = "\n".join(f'path "kv/data/{s.place.path}" {{ capabilities = ["read"] }}' for s in self.shops)
        bao.call("PUT", "sys/policies/acl/consumer", {"policy": paths})
        bao.call("POST", "sys/auth/approle", {"type": "approle"})
        role = {"token_policies": ["runner"], "token_no_default_policy": True, "token_ttl": "20m"}
        bao.call("POST", "auth/approle/role/runner", role)
        role_id = bao.call("GET", "auth/approle/role/runner/role-id")["data"]["role_id"]
        secret_id = bao.call("POST", "auth/approle/role/runner/secret-id")["data"]["secret_id"]
        made = bao.call("POST", "auth/token/create", {"policies": ["consumer"], "no_default_policy": True})
        told = {"secret-id": secret_id, "token": made["auth"]["client_token"], "admin": ADMIN_PASSWORD}
        for name, text in told.items():
            (place / name).touch(0o600)
            (place / name).write_text(text)
        (place / "said").mkdir()
        return Site(
            bao=bao.address, role_id=role_id, secret_id=place / "secret-id", reader_token=place / "token",
            port=self.db.port, admin=ADMIN, admin_password=place / "admin", steps=place / "steps",
            said=place / "said", book=place / "book", grace_s=grace_s,
        )  # fmt: skip

    def restart_db(self) -> None:
        """Kill PostgreSQL, and start it again; the processes of its sessions may hold it up for a moment."""
        self.db.stop(signal.SIGKILL)
        end = time.monotonic() + _START_S
        while True:
            try:
                self.db.start()
                return
            except AssertionError:
                if time.monotonic() > end:
                    raise
                self.db.stop()
                time.sleep(0.2)

    # -- what an operator sees --------------------------------------------------------------------------------------

    def seen(self, shop: Shop) -> Seen:
        """What the store holds. Raises what DOWN names."""
        told = self._read(shop.place.path)
        pending = self._read(shop.place.pending_path)
        assert told is not None
        data, meta = told["data"], told["metadata"]
        held = (pending or {}).get("data") or {}
        return Seen(
            version=f"{meta['version']}@{meta['created_time']}", user=data["username"], password=data["password"],
            pending_version=pending["metadata"]["version"] if pending else 0,
            mark=json.loads(held[MARK]) if MARK in held else None,
        )  # fmt: skip

    def live(self) -> set[str]:
        """All users that can log in, but for who administers. Raises what DOWN names."""
        rows = self.db.ask(
            "SELECT rolname FROM pg_authid WHERE rolcanlogin AND rolpassword IS NOT NULL"
            " AND rolname NOT IN ('postgres', %s)",
            ADMIN,
        )
        return {row[0] for row in rows}

    def end_locks(self, for_s: float = 1.0) -> int:
        """End the sessions that hold a runner's lock all of a time, as an operator does whose runner hangs."""
        held = set(self.db.holds_the_lock())
        end = time.monotonic() + for_s
        while held and time.monotonic() < end:
            time.sleep(0.2)
            held &= set(self.db.holds_the_lock())
        for session in held:
            with contextlib.suppress(psycopg.Error):
                self.db.end(session)
        return len(held)

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            told: dict[str, Any] = self.store.bao.call("GET", f"kv/data/{path}")["data"]
        except urllib.error.HTTPError as e:
            if e.code == 404:
                return None
            raise
        return told


@contextmanager
def servers(place: Path, shops: int) -> Iterator[Servers]:
    """Both running, with so many secrets. Skips a test where a program is not installed."""
    with ExitStack() as both:
        db = both.enter_context(postgresql())
        store = BaoOnDisk(place)
        both.callback(store.stop)
        store.begin()
        made = Servers(store, db)
        made.make_shops(shops)
        yield made


def processes(pids: Sequence[int]) -> Iterator[bytes]:
    """What the process list tells of everybody, and the environment of some."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()
    for pid in pids:
        with contextlib.suppress(OSError):
            yield Path(f"/proc/{pid}/environ").read_bytes()


def _wait(answers: Any) -> None:
    last: object = None
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        try:
            if answers():
                return
        except (OSError, KeyError) as e:
            last = e
        time.sleep(0.05)
    raise AssertionError(f"OpenBao does not answer as it should: {last}")
