"""What only PostgreSQL has: why a login is refused, VALID UNTIL, limits, locks of frozen sessions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg import pq

from tasks.core.errors import UsageError
from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation import postgresql as module
from tasks.rotation.postgresql_login import PostgreSqlServer
from tasks.rotation.sql_users import CredentialFields, Users
from tests.integration.sql_servers import ADMIN, PostgreSqlHere, postgresql
from tests.integration.tls import certificates, tls_front
from tests.rotation_fakes import World, plain


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSqlHere]:
    with postgresql() as running:
        yield running


@pytest.fixture
def world(server: PostgreSqlHere) -> World:
    return server.world()


@contextmanager
def first_rule(server: PostgreSqlHere, line: str) -> Iterator[None]:
    """A line before all others of pg_hba.conf."""
    file = server.place / "data" / "pg_hba.conf"
    before = file.read_text()
    file.write_text(f"{line}\n{before}")
    server.ask("SELECT pg_reload_conf()")
    time.sleep(0.2)
    try:
        yield
    finally:
        file.write_text(before)
        server.ask("SELECT pg_reload_conf()")
        time.sleep(0.2)


def staged(server: PostgreSqlHere, world: World, value: str = "a-fresh-value") -> Held:
    fields = server.target(world).propose(world.current.fields, instead_of=None, value=Secret(value))
    return Held(fields=fields, version="p1", mark=None)


def apply(server: PostgreSqlHere, world: World, value: Held, **settings: object) -> None:
    target = server.target(world, **settings)
    with target.exclusive():
        target.apply(value, world.current)


def test_the_library_tells_what_a_server_answers_to_a_login() -> None:
    """libpq traces logins since version 18; with an older one every refusal in other words would be an error."""
    assert pq.version() >= 180000


def test_only_wrong_credentials_are_refused(server: PostgreSqlHere, world: World) -> None:
    target, fields = server.target(world), world.current.fields
    user = plain(fields)["username"]
    assert target.probe(fields)
    assert not target.probe({**fields, "password": Secret("wrong")})
    other = {**fields, "username": Secret(user[:-1] + "b")}
    assert not target.probe(other), "it has no password"
    server.ask(f"ALTER ROLE {user} NOLOGIN")
    assert not target.probe(fields)
    server.ask(f"ALTER ROLE {user} LOGIN VALID UNTIL '2001-01-01'")
    assert not target.probe(fields)
    server.ask(f"ALTER ROLE {user} VALID UNTIL 'infinity'")
    server.ask(f"REVOKE shop FROM {user}")
    assert not target.probe(fields), "it may not read"
    server.ask("REVOKE CONNECT ON DATABASE shop FROM PUBLIC")
    assert not target.probe(fields), "it may not connect"
    server.ask("GRANT CONNECT ON DATABASE shop TO PUBLIC")
    server.ask(f"GRANT shop TO {user}")
    assert target.probe(fields)
    server.ask(f"DROP ROLE {user}")
    assert not target.probe(fields)


def test_a_server_that_takes_no_session_now_says_nothing_of_the_credential(
    server: PostgreSqlHere, world: World
) -> None:
    fields = plain(world.current.fields)
    server.ask(f"ALTER ROLE {fields['username']} CONNECTION LIMIT 1")
    with server.consumer(fields["username"], fields["password"]):
        with pytest.raises(RotationError) as full:
            server.target(world).probe(world.current.fields)
    assert (full.value.reason_code, full.value.is_passing) == ("target_unreachable", True)
    server.ask(f"ALTER ROLE {fields['username']} CONNECTION LIMIT -1")
    nobody_there = PostgreSqlServer(host="127.0.0.1", port=1, sslmode="disable")
    with pytest.raises(RotationError) as down:
        server.target(world, server=nobody_there).probe(world.current.fields)
    assert (down.value.reason_code, down.value.is_passing) == ("target_unreachable", True)


def test_a_machine_that_may_not_log_in_says_nothing_of_the_credential(server: PostgreSqlHere, world: World) -> None:
    """A runner that moved must not take the value in force for refused: it would change it under its consumers."""
    user = plain(world.current.fields)["username"]
    with first_rule(server, f"host all {user} 127.0.0.1/32 reject"):
        with pytest.raises(RotationError, match="from this machine") as rejected:
            server.target(world).probe(world.current.fields)
        assert (rejected.value.reason_code, rejected.value.is_passing) == ("target_denied", False)


def test_a_server_that_asks_for_no_password_accepts_every_value_and_is_an_error(
    server: PostgreSqlHere, world: World
) -> None:
    user = plain(world.current.fields)["username"]
    with first_rule(server, f"host all {user} 127.0.0.1/32 trust"):
        with pytest.raises(RotationError, match="without a password that proves anything") as trusting:
            server.target(world).probe({**world.current.fields, "password": Secret("wrong")})
    assert trusting.value.reason_code == "target_error"


def test_a_password_in_clear_is_told_to_nobody_that_did_not_prove_who_it_is(
    server: PostgreSqlHere, world: World
) -> None:
    user = plain(world.current.fields)["username"]
    with first_rule(server, f"host all {user} 127.0.0.1/32 password"):
        with pytest.raises(RotationError):
            server.target(world).probe(world.current.fields)


def test_valid_until_is_kept_and_one_that_is_over_is_told(server: PostgreSqlHere, world: World) -> None:
    value = staged(server, world)
    user = plain(value.fields)["username"]
    until = "SELECT rolvaliduntil FROM pg_roles WHERE rolname = %s"
    server.ask(f"ALTER ROLE {user} VALID UNTIL '2101-01-01 00:00+00'")
    apply(server, world, value)
    assert server.ask(until, user) == [(datetime(2101, 1, 1, tzinfo=UTC),)]
    server.ask(f"ALTER ROLE {user} VALID UNTIL '2001-01-01'")
    with pytest.raises(RotationError, match="is over: no password of it"):
        apply(server, world, value)
    apply(server, world, value, valid_for=timedelta(days=30))
    assert server.target(world).probe(value.fields)
    left = server.ask(until, user)[0][0] - datetime.now(UTC)
    assert timedelta(days=29) < left < timedelta(days=31)


def test_what_is_stored_is_a_verifier(server: PostgreSqlHere, world: World) -> None:
    value = staged(server, world)
    apply(server, world, value)
    told = server.ask("SELECT rolpassword FROM pg_authid WHERE rolname = %s", plain(value.fields)["username"])
    assert told[0][0].startswith("SCRAM-SHA-256$")


def test_without_the_right_to_see_sessions_nothing_is_said_of_use(server: PostgreSqlHere, world: World) -> None:
    fields, since = plain(world.current.fields), datetime.now(UTC) - timedelta(minutes=5)
    server.ask(f"REVOKE pg_read_all_stats FROM {ADMIN}")
    server.ask(f"REVOKE {fields['username']} FROM {ADMIN}")
    try:
        with server.consumer(fields["username"], fields["password"]):
            assert server.target(world).used_since(fields["username"], since) is None
    finally:
        server.ask(f"GRANT pg_read_all_stats TO {ADMIN}")


def test_an_account_without_admin_option_is_told_what_it_needs(server: PostgreSqlHere, world: World) -> None:
    value = staged(server, world)
    server.ask(f"REVOKE {plain(value.fields)['username']} FROM {ADMIN}")
    with pytest.raises(RotationError) as denied:
        apply(server, world, value)
    assert denied.value.reason_code == "target_denied" and "ADMIN OPTION" in denied.value.advice


def test_a_frozen_session_is_ended_by_the_server_and_its_lock_with_it(
    server: PostgreSqlHere, world: World, monkeypatch: pytest.MonkeyPatch
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


def test_names_and_values_of_any_kind_are_quoted(server: PostgreSqlHere, world: World) -> None:
    name, value = "o\"dd '; --", "p'a\"s%s\\ ß"
    server.ask('CREATE ROLE "o""dd \'; --" IN ROLE shop')
    server.ask(f'GRANT "o""dd \'; --" TO {ADMIN} WITH ADMIN OPTION')
    users = Users(names=(name, "other"), fields=CredentialFields())
    target = server.target(world, users=users)
    held = Held(fields={"username": Secret(name), "password": Secret(value)}, version="1", mark=None)
    with target.exclusive():
        target.restore(held)
        assert target.probe(held.fields) and server.accepts(name, value)
        target.retire(name, in_force="other")
    assert not target.probe(held.fields)


def test_nothing_of_the_environment_is_obeyed(
    server: PostgreSqlHere, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {
        "PGHOST": "192.0.2.1", "PGHOSTADDR": "192.0.2.1", "PGUSER": "x", "PGPASSWORD": "x", "PGSSLMODE": "verify-full",
        "PGOPTIONS": "-c nonsense=1", "PGREQUIREAUTH": "none", "PGPASSFILE": "/x", "PGSSLNEGOTIATION": "direct",
    }.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    assert server.target(world).probe(world.current.fields)


@pytest.mark.parametrize("sslmode", ["disable", "allow", "prefer"])
def test_a_server_elsewhere_is_asked_over_tls_only(sslmode: str) -> None:
    with pytest.raises(UsageError, match="lets others hear"):
        PostgreSqlServer(host="db.example.org", sslmode=sslmode)
    assert PostgreSqlServer(host="/run/postgresql", sslmode=sslmode)
    with pytest.raises(UsageError, match="no such file"):
        PostgreSqlServer(host="db.example.org", ca_file=Path("/nowhere/ca.pem"))


def test_a_server_without_tls_is_not_asked_where_that_is_wanted(server: PostgreSqlHere, world: World) -> None:
    tls = PostgreSqlServer(host="127.0.0.1", port=server.port, sslmode="require")
    with pytest.raises(RotationError) as clear:
        server.target(world, server=tls).probe(world.current.fields)
    assert clear.value.reason_code == "target_unreachable"


def test_a_server_proves_by_its_authority_and_name_that_it_is_the_one(
    server: PostgreSqlHere, world: World, tmp_path: Path
) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        folder.mkdir()
    made = certificates(ours, "localhost")
    foreign = certificates(other, "localhost")
    with tls_front(made, server.port) as port:
        known = PostgreSqlServer(host="localhost", port=port, ca_file=made.ca)
        assert server.target(world, server=known).probe(world.current.fields)
        target, value = server.target(world, server=known), staged(server, world)
        with target.exclusive():
            target.apply(value, world.current)
        assert target.probe(value.fields)
        with first_rule(server, "host all all 127.0.0.1/32 password"):
            assert server.target(world, server=known).probe(world.current.fields), "it may be told, for it is the one"
        for unknown in (
            PostgreSqlServer(host="localhost", port=port, ca_file=foreign.ca),
            PostgreSqlServer(host="127.0.0.1", port=port, ca_file=made.ca),
            PostgreSqlServer(host="localhost", port=port),
        ):
            with pytest.raises(RotationError) as refused:
                server.target(world, server=unknown).probe(world.current.fields)
            assert (refused.value.reason_code, refused.value.is_passing) == ("target_unreachable", True)
