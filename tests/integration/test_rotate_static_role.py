"""A static role as a configured secret: a real OpenBao, a real PostgreSQL, and consumers that ask for it each time."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import psycopg
import pytest

from tasks.core.rotations import RotationError, Standing, State, Transition
from tasks.core.secret_refs import Secret
from tasks.patrol.rotating import Managed, look
from tasks.patrol.rotation_log import RotationLog
from tasks.patrol.rotation_run import Choice, RotationRun
from tasks.rotation.machine import Rules
from tasks.rotation.schedule import Due, Schedule, manual_slot
from tasks.rotation.static_role_machine import StaticRoleMachine, StaticRoleSecret
from tasks.rotation.vault_static_roles import RolePlace, VaultStaticRole
from tasks.rotation.vault_wire import Answer
from tests.commands import called
from tests.integration.test_vault_kv import session
from tests.integration.test_vault_roles import postgresql, static_role
from tests.openbao import ROOT_TOKEN, Bao, development, middle
from tests.rotation_approvals import TRIAL, approve_all

PLACE = RolePlace(mount="database", role="app")
DAY = timedelta(days=1)
CONFIG = """
home: home
{trial}vault: {{address: "{address}", token: env:BAO_TOKEN}}
rotation:
  policies: {{p: {{every_days: 30, grace_minutes: 120}}}}
  secrets:
    app:
      static_role: {{mount: database, role: app, in_place: accepted}}
      policy: p
      consumers: [{{name: report}}, {{name: cart, cache_minutes: 600}}]
"""


class Servers(NamedTuple):
    """The store and the port of the data base."""

    bao: Bao
    port: int

    def password(self) -> str:
        return str(self.bao.call("GET", "database/static-creds/app")["data"]["password"])

    def logs_in(self, password: str) -> bool:
        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user="app", password=password, dbname="postgres", connect_timeout=10
            ):
                return True
        except psycopg.OperationalError:
            return False


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place,
        development() as bao,
        postgresql(Path(place)) as port,
    ):
        static_role(bao, port)
        yield Servers(bao, port)


class Consumer:
    """Asks for the password before each login, and once more where the login fails."""

    def __init__(self, servers: Servers) -> None:
        self._servers, self._over = servers, threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self.logins = self.again = self.failed = 0

    def _work(self) -> None:
        while not self._over.is_set():
            self.logins += 1
            if not self._servers.logs_in(self._servers.password()):
                self.again += 1
                self.failed += not self._servers.logs_in(self._servers.password())

    def __enter__(self) -> Consumer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_it_is_rotated_by_the_commands_with_the_policy_that_they_write(servers: Servers, tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text(CONFIG.format(address=servers.bao.address, trial=TRIAL))

    def call(*args: str, token: str = ROOT_TOKEN) -> CompletedProcess[str]:
        return called("rotate", *args, "--config", "org.yaml", cwd=tmp_path, BAO_TOKEN=token)

    policy = call("policy", "vault").stdout
    assert re.findall('^path "(database.*)"', policy, re.MULTILINE) == [
        "database/rotate-role/app", "database/static-roles/app",
    ]  # fmt: skip
    token, first = servers.bao.policy_token(policy), servers.password()
    (tmp_path / "decisions.yaml").write_text("decisions: []\n")
    done = call("run", "app", "--now", token=token)
    assert (done.returncode, servers.password()) == (3, first) and "approval_missing" in done.stdout
    approve_all(tmp_path / "org.yaml")
    done = call("list", "--format", "json", token=token)
    row = json.loads(done.stdout)
    assert (row["place"], row["target"], row["identity"], row["due"]) == (
        "vault:database/static-roles/app", "static_role", "app", "not_yet",
    )  # fmt: skip
    assert row["age_days"] == 0.0 and row["due_at"] is not None and row["approval"]
    done = call("plan", "--now", token=token)
    assert re.findall("^  ([A-Z]+) ", done.stdout, re.MULTILINE) == ["PROMOTED", "RETIRED"]
    assert "there is no grace" in done.stdout and "will fail for as long: cart (600 minutes)" in done.stdout
    assert servers.password() == first
    with Consumer(servers) as one, Consumer(servers) as two:
        for _ in range(3):
            done = call("run", "app", "--now", token=token)
            assert done.returncode == 0 and "app: retired" in done.stdout, done.stdout + done.stderr
    assert one.failed == two.failed == 0 and min(one.logins, two.logins) > 3
    second = servers.password()
    assert servers.logs_in(second) and not servers.logs_in(first), "the old one is refused"
    assert call("run", token=token).returncode == 0 and servers.password() == second, "it is young"
    told = [json.loads(line) for line in call("history", "app", "--format", "json").stdout.splitlines()]
    assert [r["state"] for r in told] == ["retired", "promoted"] * 3 and len({r["rotation_id"] for r in told}) == 3
    assert {(r["identity"], r["replaces"]) for r in told} == {("app", None)}
    files = [p for p in (tmp_path / "home").rglob("*") if p.is_file()]
    assert not [p for p in files if first.encode() in p.read_bytes() or second.encode() in p.read_bytes()]


class Runner:
    """One process at the role, by a way of its own."""

    def __init__(self, servers: Servers, place: Path, address: str = "", every: timedelta = 30 * DAY) -> None:
        self.servers, self.heard = servers, list[Transition]()
        role = VaultStaticRole(session(address or servers.bao.address), PLACE)
        both = StaticRoleSecret(role)
        self.managed = Managed(
            name="app", backend=both, target=both, target_kind="static_role", rules=Rules(grace=timedelta(0)),
            schedule=Schedule(every=every), value=lambda: Secret("never"), failure_class="database",
            rotator=lambda tell: StaticRoleMachine("app", role, tell, lock_file=place / "app.lock"),
        )  # fmt: skip
        self.machine = self.managed.machine(self.heard.append)

    def rotate(self, slot: str | None) -> Standing:
        return self.machine.rotate(slot)


@pytest.mark.parametrize("slot", ["manual", "leak-0a1b2c3d", "schedule"])
def test_an_answer_that_is_lost_is_not_asked_for_again(servers: Servers, tmp_path: Path, slot: str) -> None:
    with middle(servers.bao) as far:
        far.at = lambda method, _path: "lose" if method == "POST" else "pass"
        runner = Runner(servers, tmp_path, far.address, every=timedelta(milliseconds=1))
        name = {"manual": manual_slot(datetime.now(UTC)), "schedule": "2999-01-01T00:00Z"}.get(slot, slot)
        before = servers.password()
        with pytest.raises(RotationError) as error:
            runner.rotate(name)
        assert error.value.is_passing and not runner.heard
        after = servers.password()
        assert after != before
        for _ in range(2):
            standing = runner.rotate(name)
            assert (standing.state, standing.slot, servers.password()) == (State.RETIRED, name, after)
        assert {t.state for t in runner.heard} == {State.PROMOTED, State.RETIRED}
        assert {t.rotation_id for t in runner.heard} == {standing.rotation_id}
        assert sum(method == "POST" for method, _ in far.seen) == 1


def test_who_was_killed_after_the_call_leaves_nothing_to_do_twice(servers: Servers, tmp_path: Path) -> None:
    """Killed: another process comes, and knows nothing of the first one."""
    now = datetime.now(UTC)
    killed = Runner(servers, tmp_path)
    slot = killed.managed.schedule.slot(now)
    Runner(servers, tmp_path).rotate(manual_slot(now))  # in the slot, as that which was killed would have
    after = servers.password()
    assert Runner(servers, tmp_path).rotate(slot).state is State.RETIRED and servers.password() == after
    run = RotationRun([Runner(servers, tmp_path).managed], RotationLog(tmp_path / "log"))
    run.look()
    assert run.choose(Choice()) == {}, "it is young"
    assert look(killed.managed, now + 31 * DAY).due is Due.DUE


def test_two_runners_at_once_change_it_once(servers: Servers, tmp_path: Path) -> None:
    """The second has looked before the first was done, and waits for it as ``go_on`` does."""
    with middle(servers.bao) as far:
        first, second = Runner(servers, tmp_path, far.address), Runner(servers, tmp_path)
        slot, before, told = manual_slot(datetime.now(UTC)), servers.password(), []

        def at(method: str, _path: str) -> str:
            if method == "POST":
                with pytest.raises(RotationError) as error:
                    second.rotate(slot)
                told.append((error.value.reason_code, error.value.is_passing))
            return "pass"

        far.at = at
        first.rotate(slot)
        after = servers.password()
        assert after != before and told == [("rotation_busy", True)]
        assert second.rotate(slot).state is State.RETIRED and servers.password() == after


def test_nothing_is_under_way_and_nothing_is_staged(servers: Servers, tmp_path: Path) -> None:
    runner, before = Runner(servers, tmp_path), servers.password()
    assert runner.rotate(None).state is None and runner.machine.withdraw().state is None
    assert runner.managed.backend.staged() is None and runner.managed.target.in_place
    calls: list[Any] = [lambda: runner.managed.backend.promote(None), lambda: runner.managed.target.probe({})]  # type: ignore[arg-type]
    for call in calls:
        with pytest.raises(RotationError) as error:
            call()
        assert error.value.reason_code == "rotation_elsewhere"
    assert servers.password() == before


@pytest.mark.parametrize(
    ("status", "reason"), [(403, "backend_denied"), (429, "backend_limited"), (500, "backend_unreachable")]
)
def test_what_the_store_refuses_is_told_and_changes_nothing(
    servers: Servers, tmp_path: Path, status: int, reason: str
) -> None:
    with middle(servers.bao) as far:
        far.at = lambda method, _path: status if method == "POST" else "pass"
        runner, before = Runner(servers, tmp_path, far.address), servers.password()
        with pytest.raises(RotationError) as error:
            runner.rotate("manual")
        assert error.value.reason_code == reason and not runner.heard and servers.password() == before


@pytest.mark.parametrize("told", ["yesterday", 5, "2026-13-01T00:00:00Z"])
def test_a_store_that_tells_no_time_is_not_asked_to_rotate(told: object, tmp_path: Path) -> None:
    """It would be due again whenever somebody looks."""

    class Odd:
        asked: list[str] = []  # noqa: RUF012 - of one test

        def ask(self, method: str, path: str, **_more: Any) -> Answer:
            self.asked.append(method)
            return Answer(status=200, body={"data": {"username": "app", "last_vault_rotation": told}})

    odd = Odd()
    machine = StaticRoleMachine(
        "app", VaultStaticRole(odd, PLACE), lambda _t: None, lock_file=tmp_path / "l"  # type: ignore[arg-type]
    )  # fmt: skip
    with pytest.raises(RotationError) as error:
        machine.rotate("manual")
    assert error.value.reason_code == "backend_error" and set(odd.asked) == {"get"}
