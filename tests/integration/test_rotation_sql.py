"""Rotations at a real PostgreSQL and a real MariaDB: clients that log in throughout, kills, faults, runners at once."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pymysql
import pytest

from tasks.core.errors import SecretError
from tasks.core.rotations import Held, RotationError, Standing, State, Target
from tasks.core.secret_refs import Secret
from tasks.rotation.machine import Machine, Rules
from tasks.rotation.passwords import MYSQL
from tasks.rotation.sql_users import Account
from tests.integration.servers import ROOT, environment
from tests.integration.sql_servers import ADMIN, ADMIN_PASSWORD, SqlServer, mariadb, postgresql
from tests.rotation_fakes import FakeBackend, Hook, World, later, plain
from tests.thorough import THOROUGH

GRACE = Rules(grace=timedelta(seconds=60), settle=timedelta(0), lease=timedelta(0))
CALLS = {"exclusive", "propose", "apply", "probe", "used_since", "retire", "restore"}


@pytest.fixture(scope="module", params=[postgresql, mariadb], ids=["postgresql", "mariadb"])
def server(request: pytest.FixtureRequest) -> Iterator[SqlServer]:
    with request.param() as running:
        yield running


class Killed(BaseException):
    """As by kill -9: the connections of a process end with it, and nothing else is done."""


class Hooked:
    """A target at whose calls a test looks, kills, or stops the server."""

    is_issued = False

    def __init__(self, target: Target, hook: Hook) -> None:
        self._target, self._hook = target, hook

    def __getattr__(self, name: str) -> Any:
        there = getattr(self._target, name)
        if name not in CALLS:
            return there
        if name == "exclusive":
            return self._exclusive

        def call(*args: Any, **more: Any) -> Any:
            self._hook(f"before {name}")
            answer = there(*args, **more)
            self._hook(f"after {name}")
            return answer

        return call

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        self._hook("before exclusive")
        with self._target.exclusive():
            self._hook("inside exclusive")
            yield
        self._hook("after exclusive")


class Seen:
    """All values that were ever made for a world, and whether they are accepted."""

    def __init__(self, server: SqlServer, world: World) -> None:
        self.server, self.world = server, world
        self.values = ["first/of:all"]

    def fresh(self) -> Secret:
        value = MYSQL.fresh()
        self.values.append(value.reveal())
        return value

    def accepted(self) -> set[tuple[str, str]]:
        names = self.server.users_of(self.world).names
        return {(n, v) for n in names for v in self.values if self.server.accepts(n, v)}

    def in_force(self) -> tuple[str, str]:
        held = plain(self.world.current.fields)
        return held["username"], held["password"]

    def works(self) -> None:
        """The value in force is accepted."""
        assert self.server.accepts(*self.in_force()), "the value in force is not accepted"

    def is_alone(self) -> None:
        """It is the only one, and nothing is left."""
        assert self.accepted() == {self.in_force()} and self.world.pending is None

    def machine(self, hook: Hook = lambda _n: None, rules: Rules = GRACE, **settings: Any) -> Machine:
        target: Any = Hooked(self.server.target(self.world, **settings), hook)
        return Machine(
            "shop-db", FakeBackend(self.world, hook), target, rules, value=self.fresh, sleep=lambda _s: None
        )  # fmt: skip


@pytest.fixture
def seen(server: SqlServer) -> Seen:
    return Seen(server, server.world())


def finish(seen: Seen, slot: str | None = None) -> Standing:
    """Rotate without faults, to the end."""
    seen.machine().rotate(slot)
    later(seen.world, 61)
    return seen.machine().rotate(None)


# -- without faults -----------------------------------------------------------------------------------------------


def test_clients_log_in_throughout_and_none_fails(seen: Seen) -> None:
    """Each reads the value anew and logs in; the grace lasts until each has begun again."""
    stop, failed, logins = threading.Event(), list[str](), [0, 0, 0, 0]

    def client(n: int) -> None:
        while not stop.is_set():
            user, password = seen.in_force()
            try:
                if not seen.server.accepts(user, password):
                    failed.append(user)
            except Exception as e:
                failed.append(repr(e))
            logins[n] += 1

    clients = [threading.Thread(target=client, args=(n,)) for n in range(4)]
    for thread in clients:
        thread.start()
    users = set()
    try:
        for day in range(6):
            assert seen.machine().rotate(f"day {day}").state is State.GRACE
            users.add(seen.in_force()[0])
            before = list(logins)
            while any(n < b + 2 for n, b in zip(logins, before, strict=True)):
                time.sleep(0.01)
            later(seen.world, 61)
            assert seen.machine().rotate(None).state is State.RETIRED
    finally:
        stop.set()
        for thread in clients:
            thread.join()
    assert failed == [] and sum(logins) > 48
    assert len(users) == 2, "two users alternate"
    seen.is_alone()


def test_the_url_tells_the_new_credential(seen: Seen) -> None:
    finish(seen, "monday")
    user, password = seen.in_force()
    url = plain(seen.world.current.fields)["url"]
    assert url == f"sql://{user}:{password}@127.0.0.1:{seen.server.port}/shop?x=1"


def test_no_password_is_in_the_log_of_a_server_that_logs_every_statement(
    seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    for day in range(3):
        finish(seen, f"day {day}")
    log = seen.server.log()
    assert seen.in_force()[0] in log and "ALTER" in log, "it logs statements"
    assert len(seen.values) == 4
    assert not [v for v in [*seen.values[1:], ADMIN_PASSWORD] if v in caplog.text]
    assert not [v for v in seen.values[1:] if v in log]


def test_one_user_is_changed_in_place(server: SqlServer) -> None:
    seen = Seen(server, server.world(users=1))
    assert server.target(seen.world).in_place
    old = seen.in_force()
    finish(seen, "monday")
    assert seen.in_force()[0] == old[0] and seen.in_force() != old
    seen.is_alone()


def test_one_user_gets_its_value_back_where_the_rotation_is_withdrawn(server: SqlServer) -> None:
    seen = Seen(server, server.world(users=1))
    old = seen.in_force()
    with pytest.raises(Killed):
        seen.machine(_kill_at("after apply")).rotate("monday")
    assert not server.accepts(*old), "that is what the warning is about"
    assert seen.machine().withdraw().state is State.WITHDRAWN
    assert seen.in_force() == old
    seen.is_alone()


def test_the_use_of_the_old_user_is_seen(seen: Seen) -> None:
    target = seen.server.target(seen.world)
    user, _ = seen.in_force()
    assert target.used_since(user, datetime.now(UTC) - timedelta(minutes=5)) is False
    with seen.server.consumer(*seen.in_force()):
        assert target.used_since(user, datetime.now(UTC) - timedelta(minutes=5)) is True
        assert target.used_since(user, datetime.now(UTC) + timedelta(minutes=5)) is False, "it is open, and rests since"


# -- kills and runners at once ------------------------------------------------------------------------------------


def test_killed_before_and_after_every_single_call_it_is_finished_by_the_next(server: SqlServer) -> None:
    calls: list[str] = []
    whole = Seen(server, server.world())
    for _ in range(2):
        whole.machine(calls.append).rotate("monday")
        later(whole.world, 61)
    moments = [n for n, name in enumerate(calls, 1) if name.split()[1] in CALLS or "promote" in name or "stage" in name]
    assert len(moments) > 25
    if not THOROUGH:  # a third of them, others in every run
        moments = moments[random.randrange(3) :: 3]
    seen = Seen(server, server.world())
    for n in moments:
        counted = itertools.count(1)

        def hook(_name: str, counted: itertools.count[int] = counted, n: int = n) -> None:
            if next(counted) == n:
                raise Killed

        killed = seen.machine(hook)
        for wait in (61, 0):
            try:
                killed.rotate(f"day {n}")
            except Killed:
                break
            later(seen.world, wait)
        seen.works()
        seen.machine().rotate(f"day {n}")
        seen.works()
        later(seen.world, 61)
        seen.machine().rotate(f"day {n}")
        seen.values = seen.values[-4:]
        seen.is_alone()


def test_two_runners_at_once_do_one_rotation(seen: Seen) -> None:
    """The first that is alone is held there; the second waits for it, gives up, and later finds it done."""
    inside, go = threading.Event(), threading.Event()

    def hold(name: str) -> None:
        if name == "inside exclusive":
            inside.set()
            go.wait(30)

    first = threading.Thread(target=lambda: seen.machine(hold).rotate("monday"))
    first.start()
    inside.wait(30)
    with pytest.raises(RotationError) as busy:
        seen.machine(wait=timedelta(seconds=0)).rotate("monday")
    assert (busy.value.reason_code, busy.value.is_passing) == ("rotation_busy", True)
    go.set()
    first.join()
    assert seen.machine().rotate("monday").state is State.GRACE and len(seen.values) == 2
    later(seen.world, 61)
    seen.machine().rotate("monday")
    seen.is_alone()


def test_many_runners_at_once_converge(seen: Seen) -> None:
    def runner() -> None:
        for day in range(3):
            with suppress(RotationError):
                seen.machine().rotate(f"day {day}")

    threads = [threading.Thread(target=runner) for _ in range(3)]
    for thread in threads:
        thread.start()
    while any(t.is_alive() for t in threads):
        seen.works()
        later(seen.world, 61)
        time.sleep(0.05)
    for _ in range(2):
        finish(seen)
    finish(seen, "last")
    seen.is_alone()


def test_a_pool_between_is_told_for_its_sessions_are_not_ours(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool tells a number of its own for a session."""
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", 1)
    monkeypatch.setattr(pymysql.connections.Connection, "thread_id", lambda _self: 1)
    with pytest.raises(RotationError, match="a pool stands between"):
        seen.machine().rotate("monday")
    seen.works()


@pytest.mark.parametrize("rotations", [1, 2])
def test_a_runner_that_was_frozen_and_lost_its_session_changes_nothing_afterwards(seen: Seen, rotations: int) -> None:
    """Stopped between its last check and the change; the server ends its session, others rotate, it goes on."""
    with pytest.raises(Killed):
        seen.machine(_kill_at("inside exclusive")).rotate("monday")
    assert seen.world.pending is not None
    staged = plain(seen.world.pending.fields)
    with _frozen(seen, staged=staged) as runner:
        with pytest.raises(RotationError, match="another runner"):
            seen.machine(wait=timedelta(0)).rotate("monday")
        for session in seen.server.holds_the_lock():
            seen.server.end(session)
        for day in range(rotations):
            finish(seen, f"day {day}" if day else None)
        if rotations == 1:
            assert seen.in_force()[1] == staged["password"], "others have gone on with what it staged"
        before = seen.accepted()
        said = _thawed(runner)
    assert said == "target_unreachable True"
    assert seen.accepted() == before == {seen.in_force()}


def test_a_runner_that_was_frozen_before_it_retired_does_not_retire_what_came_into_force(seen: Seen) -> None:
    old, _ = seen.in_force()
    seen.machine().rotate("monday")
    with _frozen(seen, retire=old) as runner:
        for session in seen.server.holds_the_lock():
            seen.server.end(session)
        later(seen.world, 61)
        finish(seen, "tuesday")
        assert seen.in_force()[0] == old, "its turn came again"
        said = _thawed(runner)
    assert said == "target_unreachable True"
    seen.is_alone()


# -- faults -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before apply", "after apply", "before probe", "inside exclusive", "before retire"])
def test_a_server_that_is_down_half_way_is_gone_on_with_once_it_is_back(seen: Seen, moment: str) -> None:
    def hook(name: str) -> None:
        if name == moment:
            seen.server.stop(signal.SIGKILL)

    if moment == "before retire":
        seen.machine().rotate("monday")
        later(seen.world, 61)
    try:
        with pytest.raises(RotationError) as down:
            seen.machine(hook).rotate("monday")
        assert (down.value.reason_code, down.value.is_passing) == ("target_unreachable", True)
        with pytest.raises(RotationError):
            seen.machine().rotate("monday")
    finally:
        seen.server.start()
    seen.works()
    finish(seen, "monday")
    assert seen.world.current.mark is not None and seen.world.current.mark.slot == "monday"
    seen.is_alone()


def test_a_user_that_was_deleted_is_told_and_the_value_in_force_stays(seen: Seen) -> None:
    before = seen.in_force()
    _, other = seen.server.users_of(seen.world).names
    seen.server.ask(f"DROP {'ROLE' if seen.server.kind == 'postgresql' else 'USER'} {other}")
    with pytest.raises(RotationError, match=f"there is no user {other}") as gone:
        seen.machine().rotate("monday")
    assert gone.value.reason_code == "target_missing" and "CREATE" in gone.value.advice
    assert seen.in_force() == before
    seen.works()


def test_retiring_a_user_that_is_gone_is_done(seen: Seen) -> None:
    old, _ = seen.in_force()
    seen.machine().rotate("monday")
    seen.server.ask(f"DROP {'ROLE' if seen.server.kind == 'postgresql' else 'USER'} {old}")
    later(seen.world, 61)
    assert seen.machine().rotate("monday").state is State.RETIRED


def test_a_value_that_may_not_do_what_is_checked_is_taken_back(seen: Seen) -> None:
    user, other = seen.server.users_of(seen.world).names
    books = "books" if seen.server.kind == "postgresql" else "shop.books"
    seen.server.in_shop(f"GRANT SELECT ON {books} TO {user}")
    told = seen.machine(check="SELECT id FROM books").rotate("monday")
    assert (told.state, told.reason_code) == (State.WITHDRAWN, "value_rejected")
    assert seen.in_force()[0] == user
    seen.is_alone()
    seen.server.in_shop(f"GRANT SELECT ON {books} TO {other}")
    assert seen.machine(check="SELECT id FROM books").rotate("monday").state is State.GRACE


def test_a_check_that_the_value_in_force_does_not_pass_stops_the_rotation_and_its_password_stays(seen: Seen) -> None:
    """Its consumers log in: another password would only break them."""
    before = seen.in_force()
    with pytest.raises(RotationError, match="logs in and may not do what is checked") as stopped:
        seen.machine(check="SELECT id FROM books").rotate("monday")
    assert stopped.value.reason_code == "target_error"
    assert seen.in_force() == before
    seen.is_alone()


@pytest.mark.parametrize("check", ["SELECT nothing FROM wares", "SELEC"])
def test_a_check_that_cannot_be_asked_is_an_error_and_says_nothing_of_the_value(seen: Seen, check: str) -> None:
    with pytest.raises(RotationError) as wrong:
        seen.server.target(seen.world, check=check).probe(seen.world.current.fields)
    assert (wrong.value.reason_code, wrong.value.is_passing) == ("target_error", False)
    assert check not in str(wrong.value)


@pytest.mark.parametrize(("check", "passes"), [("SELECT 1 = 1", True), ("SELECT 1 = 2", False), ("SELECT null", False)])
def test_a_check_may_answer_itself(seen: Seen, check: str, passes: bool) -> None:
    assert seen.server.target(seen.world, check=check).probe(seen.world.current.fields) is passes


def test_the_user_in_force_is_not_retired_and_its_password_not_changed_while_it_works(seen: Seen) -> None:
    target, current = seen.server.target(seen.world), seen.world.current
    user, _ = seen.in_force()
    other = replace(current, fields={**current.fields, "password": MYSQL.fresh()})
    with target.exclusive():
        with pytest.raises(RotationError, match="is in force"):
            target.retire(user, in_force=user)
        with pytest.raises(RotationError, match="in force, logs in"):
            target.apply(other, current)
    seen.is_alone()


def test_other_users_than_the_configured_ones_are_never_touched(seen: Seen) -> None:
    target = seen.server.target(seen.world)
    with target.exclusive(), pytest.raises(RotationError) as shape:
        target.retire(ADMIN, in_force="x")
    assert shape.value.reason_code == "secret_shape"
    theirs = Held(fields={"username": Secret(ADMIN), "password": Secret("x")}, version="1", mark=None)
    with pytest.raises(RotationError, match="of another user"):
        target.identity(theirs.fields)


def test_an_account_that_may_not_alter_users_is_told(seen: Seen) -> None:
    user, password = seen.in_force()
    account = replace(seen.server.account(), user=user, password=Secret(password))
    with pytest.raises(RotationError) as denied:
        seen.machine(admin=lambda: account).rotate("monday")
    assert denied.value.reason_code == "target_denied" and password not in str(denied.value)
    wrong = replace(account, password=Secret("wrong"))
    with pytest.raises(RotationError, match="cannot log in") as refused:
        seen.machine(admin=lambda: wrong).rotate("monday")
    assert refused.value.reason_code == "target_denied"
    seen.works()

    def nobody() -> Account:
        raise SecretError("env:ADMIN: no such variable", advice="Set it.")

    with pytest.raises(RotationError, match="no such variable") as unread:
        seen.machine(admin=nobody).rotate("monday")
    assert unread.value.reason_code == "target_denied"


def test_a_promoted_value_that_somebody_changed_is_replaced_and_the_old_one_kept(seen: Seen) -> None:
    first = seen.in_force()
    seen.machine().rotate("monday")
    user, _ = seen.in_force()
    postgres = seen.server.kind == "postgresql"
    seen.server.ask(f"ALTER {'ROLE' if postgres else 'USER'} {user} {'' if postgres else 'IDENTIFIED BY '}"
                    f"{'PASSWORD ' if postgres else ''}'somebody else''s'")  # fmt: skip
    assert seen.machine().rotate("monday").state is State.GRACE
    assert seen.in_force()[0] == user
    assert seen.accepted() == {first, seen.in_force()}
    later(seen.world, 61)
    seen.machine().rotate("monday")
    seen.is_alone()


def test_a_retired_user_can_be_taken_back_with_its_password(seen: Seen) -> None:
    first = seen.in_force()
    finish(seen, "monday")
    assert not seen.server.accepts(*first)
    back = "ALTER ROLE {} LOGIN" if seen.server.kind == "postgresql" else "ALTER USER {} ACCOUNT UNLOCK"
    seen.server.ask(back.format(first[0]))
    assert seen.server.accepts(*first)


# -- what they are made of ----------------------------------------------------------------------------------------


def _kill_at(moment: str) -> Callable[[str], None]:
    def hook(name: str) -> None:
        if name == moment:
            raise Killed

    return hook


@contextmanager
def _frozen(seen: Seen, **more: Any) -> Iterator[subprocess.Popen[str]]:
    """A runner that is alone, and stopped. It is at the value that is in force now."""
    server = seen.server
    asked = {
        "users": server.users_of(seen.world).names, "admin": ADMIN, "password": ADMIN_PASSWORD,
        "current": plain(seen.world.current.fields), **more,
    }  # fmt: skip
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.sql_runner", server.kind, str(server.port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment(),
    ) as process:  # fmt: skip
        try:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "alone\n"
            os.kill(process.pid, signal.SIGSTOP)
            yield process
        finally:
            process.kill()


def _thawed(process: subprocess.Popen[str]) -> str:
    """What it says once it goes on."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    os.kill(process.pid, signal.SIGCONT)
    return process.stdout.readline().strip()
