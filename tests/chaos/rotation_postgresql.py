"""PostgreSQL in the rotation scenarios: the users that two secrets alternate between, whichever store keeps them."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg

from tasks.core.secret_refs import Secret
from tasks.rotation.passwords import POSTGRESQL
from tasks.rotation.postgresql import PostgreSql, PostgreSqlSettings
from tasks.rotation.postgresql_login import PostgreSqlServer
from tasks.rotation.sql_users import Account, Users
from tests.chaos.rotation_stage import AwayError, Credential, Hook, Shop, stepped
from tests.integration.sql_servers import ADMIN, ADMIN_PASSWORD, PostgreSqlHere
from tests.rotation_fakes import plain

#: How the server, or the library, says that the server is what is not there (SQLSTATE 57P0x, 53300); psycopg tells no
#: SQLSTATE of a login. Every other FATAL is a refusal.
_AWAY = ("starting up", "shutting down", "in recovery", "accepting connections", "terminating", "too many clients",
         "remaining connection slots")  # fmt: skip
_START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlAccess:
    """Where PostgreSQL is, and who administers its users there."""

    port: int
    admin: str
    admin_password: Path
    book: Path

    def target(self, shop: Shop, hook: Hook) -> PostgreSql:
        """The users of a secret as a runner knows them."""
        settings = PostgreSqlSettings(
            server=PostgreSqlServer(host="127.0.0.1", port=self.port, sslmode="disable"),
            users=Users(names=shop.users), admin=self._account, dbname="shop", check="SELECT id FROM wares",
            wait=timedelta(seconds=1),
        )  # fmt: skip
        return stepped(PostgreSql(settings), shop.calls, hook)

    def fresh(self) -> Secret:
        """A fresh value, which is written down."""
        value = POSTGRESQL.fresh()
        with self.book.open("a") as book:
            book.write(f"{value.reveal()}\n")
        return value

    def log_in(self, credential: Credential) -> str | None:
        """As a consumer."""
        try:
            with psycopg.connect(
                host="127.0.0.1", port=self.port, user=credential.user, password=credential.password, dbname="shop",
                connect_timeout=10,
            ) as session:  # fmt: skip
                session.execute("SELECT id FROM wares")
            return None
        except psycopg.errors.InsufficientPrivilege as e:
            return str(e)
        except psycopg.Error as e:
            if (said := refusal(e)) is not None:
                return said
        raise AwayError

    def _account(self) -> Account:
        return Account(user=self.admin, password=Secret(self.admin_password.read_text()))


def refusal(error: psycopg.Error) -> str | None:
    """What the server said against a credential; None: it was away, or starting."""
    text = str(error)
    if "FATAL" not in text or any(words in text for words in _AWAY):
        return None
    return next(line for line in text.splitlines() if "FATAL" in line)


class SqlUsers:
    """The server, as its owner sees it."""

    def __init__(self, db: PostgreSqlHere) -> None:
        self.db = db
        self._known: set[str] = set()

    def access(self, place: Path, book: Path) -> SqlAccess:
        """Who administers its users; the password is in a file of a folder."""
        write_secret(place / "admin", ADMIN_PASSWORD)
        return SqlAccess(port=self.db.port, admin=ADMIN, admin_password=place / "admin", book=book)

    def make(self) -> tuple[tuple[str, str], str]:
        """Two users with the same rights, of which the first has a password."""
        world = self.db.world()
        first = plain(world.current.fields)["username"]
        second = self.db.users_of(world).names[1]
        value = POSTGRESQL.fresh().reveal()
        with psycopg.connect(self.info(), autocommit=True) as session:
            # As a verifier: its owner's statements are in the log, too.
            made = session.pgconn.encrypt_password(value.encode(), first.encode(), b"scram-sha-256").decode()
            session.execute(f"ALTER ROLE {first} PASSWORD '{made}'".encode())
        self._known |= {first, second}
        return (first, second), value

    def live(self, names: Sequence[str]) -> set[str]:
        """Which of some users can log in."""
        return self._live() & set(names)

    def strangers(self) -> set[str]:
        """Who can log in, and was not made here; but for who administers."""
        return self._live() - self._known

    def restart(self) -> None:
        """Kill the server, and start it again; the processes of its sessions may hold it up for a moment."""
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

    def _live(self) -> set[str]:
        rows = self.db.ask(
            "SELECT rolname FROM pg_authid WHERE rolcanlogin AND rolpassword IS NOT NULL"
            " AND rolname NOT IN ('postgres', %s)",
            ADMIN,
        )
        return {row[0] for row in rows}

    def info(self) -> str:
        """As the owner of the server."""
        return f"host=127.0.0.1 port={self.db.port} user=postgres dbname=postgres password={self.db.owner_password}"


def write_secret(path: Path, text: str) -> None:
    """A file that nobody else reads."""
    path.touch(0o600)
    path.write_text(text)
