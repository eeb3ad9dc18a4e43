"""The Vault stage of the rotation scenario: OpenBao on raft with a file that it audits to, and PostgreSQL with SCRAM.

Both keep what they have when they are killed, and are started again at their ports.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from tasks.core.rotations import MARK
from tasks.core.secret_refs import Secret, SecretRef
from tasks.patrol.rotating import Managed
from tasks.rotation.machine import Rules
from tasks.rotation.schedule import Schedule
from tasks.rotation.vault_kv import KvPlace, VaultKv
from tasks.rotation.vault_policy import policy
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_wire import SignIn
from tests.chaos.rotation_postgresql import SqlAccess, SqlUsers, write_secret
from tests.chaos.rotation_stage import Credential, Hook, Seen, Shop, Site, Stage, stepped
from tests.integration.sql_servers import PostgreSqlHere, postgresql
from tests.openbao import Bao, free_port, program

#: The calls of backend and target at which runners are stopped.
CALLS = ("staged", "current", "probe", "stage", "apply", "promote", "retire", "forget")

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
        self.open()
        self.bao.call("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}})
        # A mount of version 2 is made ready after it was made.
        _wait(lambda: self.bao.call("POST", "kv/data/ready", {"data": {}}) is not None)

    def restart(self) -> None:
        """Kill it; start it again; unseal it."""
        self.stop(signal.SIGKILL)
        time.sleep(0.3)
        self._start()
        self.open()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def _start(self) -> None:
        with self._said.open("ab") as out:
            self._process = subprocess.Popen([program(), "server", f"-config={self._config}"], stdout=out, stderr=out)

    def open(self) -> None:
        """Unseal it."""
        _wait(lambda: self.bao.call("PUT", "sys/unseal", {"key": self.bao.keys[0]})["sealed"] is False)
        _wait(lambda: self.bao.call("GET", "sys/leader")["is_self"])  # the only node leads, a moment later
        _wait(lambda: self.bao.call("GET", "sys/mounts") is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultSite(Site):
    """See ``Site``."""

    bao: str
    role_id: str
    secret_id: Path
    reader_token: Path
    sql: SqlAccess

    def consumer(self) -> VaultConsumer:
        """See ``Site``."""
        return VaultConsumer(self)

    def sign_in(self) -> SignIn:
        """How runners do it."""
        return SignIn(
            address=self.bao, role_id=self.role_id, secret_id=SecretRef(scheme="file", place=str(self.secret_id))
        )

    @contextmanager
    def managed(self, shop: Shop, hook: Hook = lambda _step: None) -> Iterator[Managed]:
        """See ``Site``."""
        with VaultSession(self.sign_in(), lambda ref: Secret(Path(ref.place).read_text())) as session:
            yield Managed(
                name=shop.name, backend=stepped(VaultKv(session, shop.place), shop.calls, hook),
                target=self.sql.target(shop, hook), target_kind="postgresql",
                rules=Rules(grace=timedelta(seconds=self.grace_s)), schedule=Schedule(every=timedelta(days=1)),
                value=self.sql.fresh, failure_class="postgresql",
            )  # fmt: skip


class VaultConsumer:
    """Reads by a token that may only read."""

    def __init__(self, site: VaultSite) -> None:
        self._sql = site.sql
        self._bao = Bao(site.bao, site.reader_token.read_text())

    def read(self, shop: Shop) -> Credential:
        """See ``Consumer``."""
        told = self._bao.call("GET", f"kv/data/{shop.place.path}")["data"]
        return Credential(
            user=told["data"]["username"], password=told["data"]["password"], version=str(told["metadata"]["version"])
        )

    def log_in(self, shop: Shop, credential: Credential) -> str | None:
        """See ``Consumer``."""
        return self._sql.log_in(credential)


class Servers(Stage):
    """Both, with the secrets in them."""

    store, target = "OpenBao", "PostgreSQL"

    def __init__(self, bao: BaoOnDisk, db: PostgreSqlHere) -> None:
        super().__init__()
        self.bao, self.sql = bao, SqlUsers(db)

    def make_shops(self, number: int) -> None:
        """Secrets, each with two users, of which the first one is in force."""
        for i in range(number):
            users, value = self.sql.make()
            place = KvPlace(mount="kv", path=f"shop{i + 1}/db")
            fields = {"username": users[0], "password": value, "port": self.sql.db.port}
            self.bao.bao.call("POST", f"kv/data/{place.path}", {"data": fields})
            self.shops.append(Shop(name=f"shop{i + 1}", place=place, users=users, calls=CALLS))
            self.first_values.append(value)

    def site(self, place: Path, grace_s: float) -> VaultSite:
        """The access of runners, by the policy that the secrets need and no more, and of consumers, who only read."""
        bao = self.bao.bao
        bao.call("PUT", "sys/policies/acl/runner", {"policy": policy(s.place for s in self.shops)})
        paths = "\n".join(f'path "kv/data/{s.place.path}" {{ capabilities = ["read"] }}' for s in self.shops)
        bao.call("PUT", "sys/policies/acl/consumer", {"policy": paths})
        bao.call("POST", "sys/auth/approle", {"type": "approle"})
        role = {"token_policies": ["runner"], "token_no_default_policy": True, "token_ttl": "20m"}
        bao.call("POST", "auth/approle/role/runner", role)
        role_id = bao.call("GET", "auth/approle/role/runner/role-id")["data"]["role_id"]
        secret_id = bao.call("POST", "auth/approle/role/runner/secret-id")["data"]["secret_id"]
        made = bao.call("POST", "auth/token/create", {"policies": ["consumer"], "no_default_policy": True})
        write_secret(place / "secret-id", secret_id)
        write_secret(place / "token", made["auth"]["client_token"])
        (place / "said").mkdir()
        return VaultSite(
            bao=bao.address, role_id=role_id, secret_id=place / "secret-id", reader_token=place / "token",
            sql=self.sql.access(place, place / "book"), steps=place / "steps", said=place / "said",
            book=place / "book", grace_s=grace_s,
        )  # fmt: skip

    @property
    def shown(self) -> list[int]:
        """See ``Stage``."""
        return [self.bao.pid]

    def disturbances(self) -> list[tuple[str, Callable[[], None]]]:
        """See ``Stage``."""
        return [("kill -9 of OpenBao", self.bao.restart), ("kill -9 of PostgreSQL", self.sql.restart)]

    # -- what an operator sees --------------------------------------------------------------------------------------

    def seen(self, shop: Shop) -> Seen:
        """See ``Stage``."""
        told = self._read(shop.place.path)
        pending = self._read(shop.place.pending_path)
        assert told is not None
        data, meta = told["data"], told["metadata"]
        held = (pending or {}).get("data") or {}
        return Seen(
            version=f"{meta['version']}@{meta['created_time']}", user=data["username"], password=data["password"],
            mark=json.loads(held[MARK]) if MARK in held else None,
        )  # fmt: skip

    def accepts(self, shop: Shop, seen: Seen) -> bool:
        """See ``Stage``."""
        return self.sql.db.accepts(seen.user, seen.password)

    def live(self, shop: Shop) -> set[str]:
        """See ``Stage``."""
        return self.sql.live(shop.users)

    def strangers(self) -> set[str]:
        """See ``Stage``."""
        return self.sql.strangers()

    def end_locks(self) -> int:
        """See ``Stage``."""
        return self.sql.end_locks()

    def logs(self) -> dict[Path, bytes]:
        """See ``Stage``."""
        return {
            self.sql.db.log_file: b"ALTER ROLE", self.bao.audit: b"hmac-sha256:",
            **{path: b"" for path in self.bao.logs if path != self.bao.audit},
        }  # fmt: skip

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            told: dict[str, Any] = self.bao.bao.call("GET", f"kv/data/{path}")["data"]
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
