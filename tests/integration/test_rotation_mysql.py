"""What only MySQL and MariaDB have: hosts of accounts, plugins, limits, locks of frozen sessions (on MariaDB)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.core.errors import UsageError
from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation import mysql as module
from tasks.rotation.mysql_login import MySqlServer
from tasks.rotation.sql_users import Users
from tests.integration.sql_servers import ADMIN, MariaDbHere, mariadb
from tests.integration.tls import certificates
from tests.rotation_fakes import World, plain


@pytest.fixture(scope="module")
def server() -> Iterator[MariaDbHere]:
    with mariadb() as running:
        yield running


@pytest.fixture
def world(server: MariaDbHere) -> World:
    return server.world()


def staged(server: MariaDbHere, world: World) -> Held:
    fields = server.target(world).propose(world.current.fields, instead_of=None, value=Secret("a-fresh-value"))
    return Held(fields=fields, version="p1", mark=None)


def apply(server: MariaDbHere, world: World, value: Held) -> None:
    target = server.target(world)
    with target.exclusive():
        target.apply(value, world.current)


def test_only_wrong_credentials_are_refused(server: MariaDbHere, world: World) -> None:
    target, fields = server.target(world), world.current.fields
    user = plain(fields)["username"]
    assert target.probe(fields)
    assert not target.probe({**fields, "password": Secret("wrong")})
    assert not target.probe({**fields, "username": Secret(user[:-1] + "b")}), "it is locked"
    server.ask("ALTER USER %s ACCOUNT LOCK", user)
    assert not target.probe(fields)
    server.ask("ALTER USER %s ACCOUNT UNLOCK", user)
    server.ask("ALTER USER %s PASSWORD EXPIRE", user)
    assert not target.probe(fields), "its password is expired"
    with target.exclusive():
        target.restore(world.current)
    assert target.probe(fields), "to set a password ends that"
    server.ask("REVOKE SELECT ON shop.wares FROM %s", user)
    assert not target.probe(fields), "it may not use the data base"
    server.ask("GRANT SELECT ON shop.books TO %s", user)
    assert not target.probe(fields), "it may not read"
    server.ask("DROP USER %s", user)
    assert not target.probe(fields)


def test_a_server_that_takes_no_session_now_says_nothing_of_the_credential(server: MariaDbHere, world: World) -> None:
    fields = plain(world.current.fields)
    server.ask("ALTER USER %s WITH MAX_USER_CONNECTIONS 1", fields["username"])
    with server.consumer(fields["username"], fields["password"]):
        with pytest.raises(RotationError) as full:
            server.target(world).probe(world.current.fields)
    assert (full.value.reason_code, full.value.is_passing) == ("target_unreachable", True)
    with pytest.raises(RotationError) as down:
        server.target(world, server=MySqlServer(host="127.0.0.1", port=1, tls=False)).probe(world.current.fields)
    assert (down.value.reason_code, down.value.is_passing) == ("target_unreachable", True)


@pytest.mark.parametrize("change", ["RENAME USER {0}@'%' TO {0}@'10.0.0.%'", "ALTER USER {0} REQUIRE SSL"])
def test_a_machine_that_may_not_log_in_says_nothing_of_the_credential(
    server: MariaDbHere, world: World, change: str
) -> None:
    """The server says of it what it says of a wrong password; the value in force would be changed for nothing."""
    server.ask(change.format(plain(world.current.fields)["username"]))
    target = server.target(world, from_host="10.0.0.%" if "10." in change else "%")
    with pytest.raises(RotationError, match="its password is the right one") as refused:
        target.probe(world.current.fields)
    assert (refused.value.reason_code, refused.value.is_passing) == ("target_denied", False)
    assert not target.probe({**world.current.fields, "password": Secret("wrong")})


def test_a_user_of_another_plugin_is_left_alone(server: MariaDbHere, world: World) -> None:
    value = staged(server, world)
    server.ask("ALTER USER %s IDENTIFIED VIA unix_socket", plain(value.fields)["username"])
    with pytest.raises(RotationError, match="logs in by unix_socket"):
        apply(server, world, value)


def test_without_the_right_to_see_sessions_nothing_is_said_of_use(server: MariaDbHere, world: World) -> None:
    fields, since = plain(world.current.fields), datetime.now(UTC) - timedelta(minutes=5)
    server.ask(f"REVOKE PROCESS ON *.* FROM {ADMIN}")
    try:
        with server.consumer(fields["username"], fields["password"]):
            assert server.target(world).used_since(fields["username"], since) is None
    finally:
        server.ask(f"GRANT PROCESS ON *.* TO {ADMIN}")


def test_an_account_that_may_not_read_users_is_told_what_it_needs(server: MariaDbHere, world: World) -> None:
    server.ask(f"REVOKE SELECT ON mysql.user FROM {ADMIN}")
    try:
        with pytest.raises(RotationError) as denied:
            apply(server, world, staged(server, world))
    finally:
        server.ask(f"GRANT SELECT ON mysql.user TO {ADMIN}")
    assert denied.value.reason_code == "target_denied" and "mysql.user" in denied.value.advice


def test_a_frozen_session_is_ended_by_the_server_and_its_lock_with_it(
    server: MariaDbHere, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 1)
    value, target = staged(server, world), server.target(world)
    with target.exclusive():
        time.sleep(1.5)
        with server.target(world).exclusive():
            pass
        with pytest.raises(RotationError) as lost:
            target.apply(value, world.current)
    assert (lost.value.reason_code, lost.value.is_passing) == ("target_unreachable", True)
    assert not target.probe(value.fields)


def test_names_and_values_of_any_kind_are_quoted(server: MariaDbHere, world: World) -> None:
    name, value = "o\"dd '; -- \\", "p'a\"s%s\\ ß"
    server.ask("CREATE USER %s", name)
    server.ask("GRANT SELECT ON shop.wares TO %s", name)
    target = server.target(world, users=Users(names=(name, "other")))
    held = Held(fields={"username": Secret(name), "password": Secret(value)}, version="1", mark=None)
    with target.exclusive():
        target.restore(held)
        assert target.probe(held.fields) and server.accepts(name, value)
        target.retire(name, in_force="other")
    assert not target.probe(held.fields)


def test_a_server_elsewhere_is_asked_over_tls_only() -> None:
    with pytest.raises(UsageError, match="without TLS"):
        MySqlServer(host="db.example.org", tls=False)
    assert MySqlServer(host="/run/mysqld/mysqld.sock", tls=False)
    with pytest.raises(UsageError, match="no such file"):
        MySqlServer(host="db.example.org", ca_file=Path("/nowhere/ca.pem"))


def test_a_server_proves_by_its_authority_and_name_that_it_is_the_one(
    server: MariaDbHere, world: World, tmp_path: Path
) -> None:
    known = MySqlServer(host="localhost", port=server.port, ca_file=server.ca_file)
    assert server.target(world, server=known).probe(world.current.fields)
    server.ask("ALTER USER %s REQUIRE SSL", plain(world.current.fields)["username"])
    assert server.target(world, server=known).probe(world.current.fields)
    foreign = certificates(tmp_path, "localhost").ca
    for unknown in (
        MySqlServer(host="localhost", port=server.port, ca_file=foreign),
        MySqlServer(host="127.0.0.1", port=server.port, ca_file=server.ca_file),
        MySqlServer(host="localhost", port=server.port),
    ):
        with pytest.raises(RotationError) as refused:
            server.target(world, server=unknown).probe(world.current.fields)
        assert (refused.value.reason_code, refused.value.is_passing) == ("target_unreachable", True)
