"""Users of data bases as identities, and the fields that tell of them."""

from __future__ import annotations

import traceback
from typing import Any

import pymysql
import pymysql.err
import pytest

from tasks.core.errors import UsageError
from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation import mysql, mysql_login
from tasks.rotation.mysql_hashes import NATIVE, SHA2, is_of, stored
from tasks.rotation.postgresql_login import _REFUSED
from tasks.rotation.sql_users import IN_PLACE_WARNING, Account, CredentialFields, Users
from tests.rotation_fakes import plain

OLD, NEW = "old/p@ss:word", "n%w/:@"


def fields(**more: str) -> dict[str, Secret]:
    return {k: Secret(v) for k, v in {"username": "app_a", "password": OLD, "host": "db", "port": "1", **more}.items()}


def proposed(current: dict[str, Secret], users: Users | None = None, instead_of: str | None = None) -> dict[str, str]:
    return plain((users or Users(names=("app_a", "app_b"))).propose(current, instead_of, Secret(NEW)))


def test_two_users_alternate() -> None:
    assert proposed(fields()) == {"username": "app_b", "password": NEW, "host": "db", "port": "1"}
    assert proposed(fields(username="app_b"))["username"] == "app_a"
    assert proposed(fields(), instead_of="app_a")["username"] == "app_a"


def test_one_user_stays_and_its_choice_is_warned_of() -> None:
    users = Users(names=("app_a",))
    assert users.in_place and proposed(fields(), users)["username"] == "app_a"
    assert "436 of 4,149" in IN_PLACE_WARNING


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("postgresql://app_a:old%2Fp%40ss%3Aword@db:1/shop?x=1", "postgresql://app_b:n%25w%2F%3A%40@db:1/shop?x=1"),
        ("postgresql+psycopg://app_a@h1:1,h2:2/shop", "postgresql+psycopg://app_b@h1:1,h2:2/shop"),
        ("mysql://app_a:old%2fp@ss:word@[::1]/", "mysql://app_b:n%25w%2F%3A%40@[::1]/"),
        ("postgresql://reader:theirs@db/shop", "postgresql://reader:theirs@db/shop"),
        ("postgresql://db/app_a@x", "postgresql://db/app_a@x"),
        ("jdbc:postgresql://db:1/shop", "jdbc:postgresql://db:1/shop"),
        ("", ""),
    ],
)
def test_a_url_that_holds_the_credential_tells_the_new_one(before: str, after: str) -> None:
    assert proposed(fields(url=before))["url"] == after


@pytest.mark.parametrize(
    "held",
    [
        f"host=db user=app_a password={OLD}",
        "jdbc:postgresql://db/shop?user=app_a&password=old%2Fp%40ss%3Aword",
        f"postgresql://app_a:{OLD}@db/shop",
        "postgresql://app_a:old%2Fp%40ss%3Aword@db/?again=old%2Fp%40ss%3Aword",
    ],
)
def test_a_field_that_would_go_on_telling_the_old_password_is_refused(held: str) -> None:
    with pytest.raises(RotationError) as shape:
        proposed(fields(dsn=held))
    assert shape.value.reason_code == "secret_shape" and "dsn" in str(shape.value) and OLD not in str(shape.value)


def test_a_template_writes_such_a_field() -> None:
    made = CredentialFields(templates={"dsn": "jdbc:x://{host}:{port}/s?user={username}&password={password}"})
    told = proposed(fields(dsn=f"anything with {OLD}"), Users(names=("app_a", "app_b"), fields=made))
    assert told["dsn"] == "jdbc:x://db:1/s?user=app_b&password=n%25w%2F%3A%40"
    lacking = CredentialFields(templates={"dsn": "{nothing}"})
    with pytest.raises(RotationError, match="no field nothing"):
        proposed(fields(), Users(names=("app_a", "app_b"), fields=lacking))


def test_fields_have_the_names_that_are_configured() -> None:
    users = Users(names=("app_a", "app_b"), fields=CredentialFields(username="user", password="pass"))
    current = {"user": Secret("app_a"), "pass": Secret(OLD), "note": Secret("kept")}
    assert proposed(current, users) == {"user": "app_b", "pass": NEW, "note": "kept"}


def test_a_url_may_be_all_there_is() -> None:
    users = Users(names=("app_a", "app_b"), fields=CredentialFields(username=None, url="url"))
    current = {"url": Secret("postgresql://app_a:old%20one@db/shop")}
    user, password = users.credential(current)
    assert (user, password.reveal()) == ("app_a", "old one")
    assert proposed(current, users) == {"url": "postgresql://app_b:n%25w%2F%3A%40@db/shop"}
    for wrong in ("postgresql://db/shop", "postgresql://app_a@db/shop", "no URL"):
        with pytest.raises(RotationError, match="no URL with a user"):
            users.credential({"url": Secret(wrong)})


@pytest.mark.parametrize("wrong", [{"username": "someone"}, {"username": ""}, {"password": ""}])
def test_a_value_of_no_user_of_ours_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(RotationError) as shape:
        proposed(fields(**wrong))
    assert shape.value.reason_code == "secret_shape"


@pytest.mark.parametrize("names", [(), ("a", "a"), ("a", "b", "c"), ("",), ("a\nb",)])
def test_a_pair_is_two_users_or_one(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        Users(names=names)


@pytest.mark.parametrize(
    "wrong",
    [{"username": None}, *({"templates": t} for t in ({"password": "x"}, {"a": "{b"}, {"a": "{b!r}"}, {"a": "{}"}))],
)
def test_fields_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        CredentialFields(**wrong)  # type: ignore[arg-type]


# -- what servers store and say -----------------------------------------------------------------------------------


def test_the_hash_of_caching_sha2_password_is_that_of_mysql() -> None:
    """The example that hashcat publishes for its mode 7401, made by MySQL 8: the password is "hashcat"."""
    salt, digest = (
        "F9CC98CE08892924F50A213B6BC571A2C11778C5",
        "625479393559393965414D45316477456B484F41316E64484742577A2E3162785353526B7554584647562F",
    )
    theirs = b"$A$005$" + bytes.fromhex(salt) + bytes.fromhex(digest)
    assert is_of(theirs, SHA2, Secret("hashcat")) is True
    assert is_of(theirs, SHA2, Secret("hashcaT")) is False
    assert is_of(theirs[:-1], SHA2, Secret("hashcat")) is None


@pytest.mark.parametrize("value", ["x", "a" * 33, "ü" * 40, "n%w/:@ "])
@pytest.mark.parametrize(("plugin", "size"), [(NATIVE, 41), (SHA2, 70)])
def test_a_hash_is_of_its_password_alone(plugin: str, size: int, value: str) -> None:
    made = stored(plugin, Secret(value))
    assert len(made) == size and made.isascii() and made.isprintable()
    assert is_of(made.encode(), plugin, Secret(value)) is True
    assert is_of(made.encode(), plugin, Secret(value + "x")) is False
    assert is_of(b"", "ed25519", Secret(value)) is None


def test_the_hash_of_mysql_native_password_is_that_of_mysql() -> None:
    assert stored(NATIVE, Secret("password")) == "*2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
    assert stored(SHA2, Secret("same")) != stored(SHA2, Secret("same")), "salted"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ('C "28P01" M "Passwort-Authentifizierung für »x«" F "auth.c" R "auth_failed"', (b"28P01", b"auth_failed")),
        ('C "53300" M "a\nB\t1\tErrorResponse\t C "28P01" R "x"" R "InitProcess"', (b"53300", b"InitProcess")),
        ('C "08P01" M "a pool has no routine"', (b"08P01", b"")),
    ],
)
def test_why_a_login_was_refused_is_read_in_any_language(answer: str, told: tuple[bytes, bytes]) -> None:
    before = 'F\t41\tStartupMessage\t 3 0 "user" "x"\nB\t23\tAuthenticationSASL\t "SCRAM-SHA-256" ""\n'
    trace = f'{before}B\t104\tErrorResponse\t S "FATAL" V "FATAL" {answer} \\x00\n'
    assert _REFUSED.findall(trace.encode()) == [told]


# -- MySQL itself, which is not to be had here ----------------------------------------------------------------------


class Session:
    """A session of PyMySQL, as far as it is used: one user of a plugin, and what was asked."""

    def __init__(self, version: str, plugin: str, text: str) -> None:
        self.version, self.row, self.asked = version, (plugin, text), list[tuple[str, Any]]()

    def get_server_info(self) -> str:
        return self.version

    def thread_id(self) -> int:
        return 7

    def cursor(self) -> Session:
        return self

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, statement: str, values: Any = None) -> None:
        self.asked.append((statement, values))

    def fetchall(self) -> list[tuple[Any, ...]]:
        last = self.asked[-1][0]
        return [self.row] if "mysql.user" in last else [(1, 7)] if "GET_LOCK" in last else []

    def close(self) -> None:
        self.asked.append(("closed", None))


@pytest.mark.parametrize(
    ("version", "plugin", "words"),
    [
        ("8.4.3", SHA2, "IDENTIFIED WITH caching_sha2_password AS %s ACCOUNT UNLOCK"),
        ("8.0.40", NATIVE, "IDENTIFIED WITH mysql_native_password AS %s ACCOUNT UNLOCK"),
        ("5.5.5-10.11.18-MariaDB", NATIVE, "IDENTIFIED VIA mysql_native_password USING %s ACCOUNT UNLOCK"),
    ],
)
def test_each_server_gets_the_hash_of_the_plugin_that_its_user_has(
    version: str, plugin: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = Session(version, plugin, "")
    monkeypatch.setattr(mysql, "login", lambda *_a: session)
    settings = mysql.MySqlSettings(
        server=mysql_login.MySqlServer(host="db.example.org"), users=Users(names=("app_a", "app_b")),
        admin=lambda: Account(user="x", password=Secret("y")),
    )  # fmt: skip
    target = mysql.MySql(settings)
    staged = Held(fields={"username": Secret("app_b"), "password": Secret(NEW)}, version="2", mark=None)
    with target.exclusive():
        target.apply(staged, Held(fields=fields(), version="1", mark=None))
        target.retire("app_a", in_force="app_b")
    statement, (user, host, made) = session.asked[-4]
    assert (statement, user, host) == (f"ALTER USER %s@%s {words}", "app_b", "%")
    assert is_of(made.encode(), plugin, Secret(NEW))
    assert session.asked[-2] == ("ALTER USER %s@%s ACCOUNT LOCK", ("app_a", "%"))
    assert session.asked[-1][0] == "closed"
    assert NEW not in repr(session.asked)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (1045, mysql_login.Login.REFUSED), (3118, mysql_login.Login.LOCKED), (4151, mysql_login.Login.LOCKED),
        (1862, mysql_login.Login.LOCKED), (1044, mysql_login.Login.NO_RIGHT), (1040, "target_unreachable True"),
        (3955, "target_unreachable True"), (1129, "target_unreachable True"), (1130, "target_denied False"),
        (1049, "target_error False"), (2059, "target_error False"),
    ],
)  # fmt: skip
def test_what_the_errors_of_a_login_mean(number: int, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(**_more: object) -> None:
        raise pymysql.err.OperationalError(number, f"a text with {NEW}")

    monkeypatch.setattr(pymysql, "connect", connect)
    server = mysql_login.MySqlServer(host="127.0.0.1", tls=False)
    if isinstance(told, mysql_login.Login):
        assert mysql_login.login(server, None, "app_a", Secret(NEW)) is told
        return
    with pytest.raises(RotationError) as raised:
        mysql_login.login(server, None, "app_a", Secret(NEW))
    assert f"{raised.value.reason_code} {raised.value.is_passing}" == told
    assert NEW not in "".join(traceback.format_exception(raised.value))
