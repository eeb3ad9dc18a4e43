"""A runner in a process of its own, which can be told to wait at a step of a rotation, to be killed or frozen there.

A step is ``before CALL`` or ``after CALL``, CALL being one of backend or target. A runner that is told to stop at the
n-th time that it comes to a step says ``("at", step)`` over its pipe and waits for a word. In the end it says
``("end", state, reason, detail)``.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tasks.core.rotations import Held, Mark
from tasks.core.secret_refs import Secret, SecretRef
from tasks.patrol.rotating import Classes, Managed, go_on
from tasks.patrol.rotation_log import RotationLog
from tasks.rotation.machine import Rules
from tasks.rotation.passwords import POSTGRESQL
from tasks.rotation.postgresql import PostgreSql, PostgreSqlSettings
from tasks.rotation.postgresql_login import PostgreSqlServer
from tasks.rotation.schedule import Schedule
from tasks.rotation.sql_users import Account, Users
from tasks.rotation.vault_kv import KvPlace, VaultKv
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_wire import SignIn
from tests.chaos.rotation_servers import Shop, Site

CALLS = ("staged", "current", "probe", "stage", "apply", "promote", "retire", "forget")
STEPS = tuple(f"{when} {call}" for call in CALLS for when in ("before", "after"))
#: What passes by itself, or with the server that is started again: the runner asks again. Anything else ends it.
PASSING = ("rotation_busy", "backend_unreachable", "backend_sealed", "backend_limited", "target_unreachable")
#: A runner gives up after so long, and says so.
_MOST_S = 90.0
#: Longer pauses of the product are cut short, so that it comes to something within minutes.
_PAUSE_S = 0.4

Hook = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Where a runner waits: at the n-th time of a step."""

    step: str
    nth: int = 1


class _Kv(VaultKv):
    """The store, with steps."""

    def __init__(self, session: VaultSession, place: KvPlace, hook: Hook) -> None:
        super().__init__(session, place)
        self._hook = hook

    def current(self) -> Held:
        self._hook("before current")
        held = super().current()
        self._hook("after current")
        return held

    def staged(self) -> Held | None:
        self._hook("before staged")
        held = super().staged()
        self._hook("after staged")
        return held

    def stage(self, fields: Mapping[str, Secret], mark: Mark, *, over: Held | None = None) -> Held:
        self._hook("before stage")
        held = super().stage(fields, mark, over=over)
        self._hook("after stage")
        return held

    def promote(self, staged: Held) -> Held:
        self._hook("before promote")
        held = super().promote(staged)
        self._hook("after promote")
        return held

    def forget(self, rotation_id: str) -> None:
        self._hook("before forget")
        super().forget(rotation_id)
        self._hook("after forget")


class _Users(PostgreSql):
    """The target, with steps."""

    def __init__(self, settings: PostgreSqlSettings, hook: Hook) -> None:
        super().__init__(settings)
        self._hook = hook

    def apply(self, staged: Held, current: Held) -> None:
        self._hook("before apply")
        super().apply(staged, current)
        self._hook("after apply")

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        self._hook("before probe")
        accepted = super().probe(fields)
        self._hook("after probe")
        return accepted

    def retire(self, identity: str, *, in_force: str) -> None:
        self._hook("before retire")
        super().retire(identity, in_force=in_force)
        self._hook("after retire")


def run(site: Site, shop: Shop, slot: str, stop: Stop | None, pipe: Connection) -> None:
    """Go on with one secret until its rotation in a slot is finished, whatever goes wrong meanwhile."""
    _say_all_to(site, shop)
    passed = 0

    def hook(step: str) -> None:
        nonlocal passed
        if stop is None or step != stop.step:
            return
        passed += 1
        if passed == stop.nth:
            pipe.send(("at", step))
            pipe.recv()

    try:
        with VaultSession(_sign_in(site), _plain) as session:
            told = _until_finished(managed(site, shop, session, hook), slot, RotationLog(site.steps))
        pipe.send(("end", *told))
    except (EOFError, BrokenPipeError):  # who started us is gone
        os._exit(1)


def managed(site: Site, shop: Shop, session: VaultSession, hook: Hook = lambda _s: None) -> Managed:
    """The secret as a runner knows it."""

    def admin() -> Account:
        return Account(user=site.admin, password=Secret(site.admin_password.read_text()))

    def fresh() -> Secret:
        value = POSTGRESQL.fresh()
        with site.book.open("a") as book:
            book.write(f"{value.reveal()}\n")
        return value

    settings = PostgreSqlSettings(
        server=PostgreSqlServer(host="127.0.0.1", port=site.port, sslmode="disable"), users=Users(names=shop.users),
        admin=admin, dbname="shop", check="SELECT id FROM wares", wait=timedelta(seconds=1),
    )  # fmt: skip
    return Managed(
        name=shop.name, backend=_Kv(session, shop.place, hook), target=_Users(settings, hook),
        target_kind="postgresql", rules=Rules(grace=timedelta(seconds=site.grace_s)),
        schedule=Schedule(every=timedelta(days=1)), value=fresh, failure_class="postgresql",
    )  # fmt: skip


def _until_finished(secret: Managed, slot: str, log: RotationLog) -> tuple[str | None, str | None, str]:
    end = time.monotonic() + _MOST_S
    while True:
        done = go_on(secret, slot, log, Classes(), sleep=lambda s: time.sleep(min(s, _PAUSE_S)))
        standing = done.standing
        state = str(standing.state) if standing is not None and standing.state is not None else None
        waits = done.reason_code in PASSING if standing is None else not standing.is_finished
        if not waits or time.monotonic() > end:
            return state, done.reason_code, done.detail
        left = (standing.until - datetime.now(UTC)).total_seconds() if standing and standing.until else 0.0
        time.sleep(min(max(left, 0.2), 5.0))


def _sign_in(site: Site) -> SignIn:
    secret_id = SecretRef(scheme="file", place=str(site.secret_id))
    return SignIn(address=site.bao, role_id=site.role_id, secret_id=secret_id)


def _plain(ref: SecretRef) -> Secret:
    return Secret(Path(ref.place).read_text())


def _say_all_to(site: Site, shop: Shop) -> None:
    """All that this process says, and all that libraries log at DEBUG, goes to a file."""
    path = site.said / f"{shop.name}-{os.getpid()}-{time.monotonic_ns()}.log"
    with path.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    logging.basicConfig(level=logging.DEBUG, filename=path, force=True)


def told(pipe: Connection) -> Any:
    """The next word of a process; None: it is gone."""
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        return None
