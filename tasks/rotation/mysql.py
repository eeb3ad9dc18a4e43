"""Users of MySQL (8.0 and later) and MariaDB (10.4 and later) as a target.

Make two users with the same rights::

    CREATE USER shop_a, shop_b ACCOUNT LOCK;  GRANT … ON shop.* TO shop_a, shop_b;

and an account that may alter them: ``GRANT CREATE USER, PROCESS ON *.*`` and ``GRANT SELECT ON mysql.user``.

* What leaves us is the hash that the server stores (``mysql_hashes``), of the plugin that the user has, so neither the
  general nor the binary log holds a password. The server's own rules for passwords (validate_password) see no hash.
* ``retire`` is ``ACCOUNT LOCK``: the password stays, so people can take it back by ``ACCOUNT UNLOCK``. Sessions that
  are open stay open; ``KILL`` ends them.
* ``exclusive`` is GET_LOCK of the session that also alters the users: whoever lost it can alter nothing afterwards.
  Such locks are of one server: of a cluster with several primaries all runners name the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pymysql
import pymysql.err

from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.mysql_hashes import NATIVE, SHA2, is_of, stored
from tasks.rotation.mysql_login import NO_RIGHT, TIMEOUT_S, Login, MySqlServer, login, raised
from tasks.rotation.sql_users import Admin, SqlTarget, Users, account

#: A session that holds the lock and says nothing for so long is ended by the server, so that others can go on.
_IDLE_S = 300
_SET = {
    ("MariaDB", NATIVE): "ALTER USER %s@%s IDENTIFIED VIA mysql_native_password USING %s ACCOUNT UNLOCK",
    ("MySQL", NATIVE): "ALTER USER %s@%s IDENTIFIED WITH mysql_native_password AS %s ACCOUNT UNLOCK",
    ("MySQL", SHA2): "ALTER USER %s@%s IDENTIFIED WITH caching_sha2_password AS %s ACCOUNT UNLOCK",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MySqlSettings:
    """The users of one secret at one server, all ``@from_host``.

    ``dbname`` is where they log in, ``check`` what they must be able to do there: one statement, run by each new
    credential in a read-only transaction. It fails where the user may not do it, and where it tells a row that begins
    with 0 or null. ``wait``: how long another runner is waited for.
    """

    server: MySqlServer
    users: Users
    admin: Admin
    from_host: str = "%"
    dbname: str | None = None
    check: str | None = None
    wait: timedelta = timedelta(seconds=5)


class MySql(SqlTarget):
    """One runner's way to the users of one secret: a ``tasks.core.rotations.Target``."""

    def __init__(self, settings: MySqlSettings) -> None:
        super().__init__(settings.users)
        self._s = settings
        self._own = threading.local()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone at these users, by a lock of a session that what follows runs on."""
        with self._administer() as session:
            self._lock(session)
            self._own.session = session
            try:
                yield
            finally:
                self._own.session = None

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        """Whether its user logs in by its password, and may do what is checked. Raises RotationError(target_denied):
        it is refused here, though its password is the stored one."""
        session = self._login(fields)
        if isinstance(session, Login):
            return False
        with contextlib.closing(session):
            return self._may(session)

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        """Whether its user does not log in by its password. Raises RotationError as ``probe``."""
        session = self._login(fields)
        if isinstance(session, Login):
            return True
        session.close()
        return False

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """Whether a session of the user that is open now did anything after a time. None: we may not see it (PROCESS).
        Sessions that came and went are seen by no list of the server."""
        with self._administer() as session, self._told("to list sessions"):
            sees = _rows(
                session,
                "SELECT 1 FROM information_schema.USER_PRIVILEGES WHERE PRIVILEGE_TYPE = 'PROCESS' AND GRANTEE ="
                " CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@',"
                " QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))",
            )
            if not sees:
                return None
            now: datetime = _rows(session, "SELECT UTC_TIMESTAMP(6)")[0][0].replace(tzinfo=UTC)
            listed = _rows(session, "SHOW PROCESSLIST")
        # Id, User, Host, db, Command, Time: seconds in that state, rounded down.
        mine = [(r[4], int(r[5] or 0)) for r in listed if r[1] == identity]
        return any(command != "Sleep" or now - timedelta(seconds=idle) > since for command, idle in mine)

    def retire(self, identity: str, *, in_force: str) -> None:
        """ACCOUNT LOCK, unless the user is gone."""
        self._s.users.known(identity)
        if identity == in_force:
            raise RotationError("target_error", f"{self._place}: {identity} is in force, and is not retired")
        session = self._session
        if self._stored(session, identity) is None:
            return
        with self._told(f"to retire {identity}"):
            _rows(session, "ALTER USER %s@%s ACCOUNT LOCK", identity, self._s.from_host)

    def restore(self, current: Held) -> None:
        """Give the user in force its password again."""
        self._set(*self._s.users.credential(current.fields))

    # -- the server ---------------------------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return f"mysql {self._s.server}"

    @property
    def _session(self) -> Any:
        """The one that holds the lock."""
        session = getattr(self._own, "session", None)
        assert session is not None, "only within exclusive()"
        return session

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except pymysql.err.Error as e:
            told = raised(e, self._place, doing)  # nothing is chained: their texts quote what they like
        else:
            return
        raise told

    @contextmanager
    def _administer(self) -> Iterator[Any]:
        by = account(self._s.admin, self._place)
        session = login(self._s.server, None, by.user, by.password)
        if isinstance(session, Login):
            raise RotationError(
                "target_denied", f"{self._place}: {by.user}, which administers it, cannot log in",
                advice="Correct the account, and let it in from this machine.",
            )  # fmt: skip
        try:
            with self._told("to begin a session"):
                _rows(session, "SET SESSION wait_timeout = %s, lock_wait_timeout = %s", _IDLE_S, TIMEOUT_S)
            yield session
        finally:
            with contextlib.suppress(pymysql.err.Error, OSError):
                session.close()

    def _lock(self, session: Any) -> None:
        names = json.dumps([self._s.from_host, *sorted(self._s.users.names)]).encode()
        name = f"nightwarden:{hashlib.sha256(names).hexdigest()[:48]}"  # 64 characters at most
        # The session waits for no answer longer than that.
        seconds = min(int(self._s.wait.total_seconds()), TIMEOUT_S - 2)
        with self._told("to take the lock"):
            got, number = _rows(session, "SELECT GET_LOCK(%s, %s), CONNECTION_ID()", name, seconds)[0]
        if number != session.thread_id():
            raise RotationError(
                "target_error", f"{self._place}: a pool stands between, which gives each statement to any session",
                advice="Name the server itself: the lock and what is done under it are of one session.",
            )  # fmt: skip
        if not got:
            raise RotationError("rotation_busy", f"{self._place}: another runner is at its users", is_passing=True)

    def _login(self, fields: Mapping[str, Secret]) -> Any:
        """A session by a credential, or a ``Login`` that says for certain that it is not accepted."""
        user, password = self._s.users.credential(fields)
        session = login(self._s.server, self._s.dbname, user, password)
        if session is Login.REFUSED:
            with self._administer() as admin:
                there = self._stored(admin, user)
            if there is not None and is_of(there[1], there[0], password):
                raise RotationError(
                    "target_denied", f"{self._place}: {user} is refused here, though its password is the right one",
                    advice="Let it in from this machine, by the TLS that it asks for; another account of that name may "
                    "go before it. Consumers elsewhere may log in, so nothing was changed.",
                )  # fmt: skip
        return session

    def _stored(self, session: Any, user: str) -> tuple[str, bytes] | None:
        """The plugin of a user and what it stores; None: there is no such user."""
        with self._told(f"to look for {user}"):
            rows = _rows(
                session, "SELECT plugin, authentication_string FROM mysql.user WHERE User = %s AND Host = %s",
                user, self._s.from_host,
            )  # fmt: skip
        if not rows:
            return None
        plugin, text = (part.encode() if isinstance(part, str) else bytes(part or b"") for part in rows[0])
        return plugin.decode(), text

    def _set(self, user: str, password: Secret) -> None:
        session = self._session
        there = self._stored(session, user)
        if there is None:
            raise RotationError(
                "target_missing", f"{self._place}: there is no user {user}@{self._s.from_host}",
                advice="Create it with the rights of the other: CREATE USER … ACCOUNT LOCK; GRANT … TO ….",
            )  # fmt: skip
        maker = "MariaDB" if "MariaDB" in session.get_server_info() else "MySQL"
        statement = _SET.get((maker, there[0]))
        if statement is None:
            raise RotationError(
                "target_error", f"{self._place}: {user} logs in by {there[0]}, whose hashes are not made here",
                advice=f"Let it log in by {' or '.join(p for m, p in _SET if m == maker)}.",
            )  # fmt: skip
        with self._told(f"to set the password of {user}"):
            _rows(session, statement, user, self._s.from_host, stored(there[0], password))

    def _refuses(self, current: Mapping[str, Secret]) -> None:
        """Raises RotationError(target_error) where the credential in force logs in: it is left alone."""
        session = self._login(current)
        if not isinstance(session, Login):
            session.close()
        if not isinstance(session, Login) or session is Login.NO_RIGHT:
            raise RotationError(
                "target_error",
                f"{self._place}: {self.identity(current)}, which is in force, logs in and may not do what is checked",
                advice="Give it the rights, or correct the check; another password would mend nothing.",
            )

    def _may(self, session: Any) -> bool:
        if self._s.check is None:
            return True
        try:
            _rows(session, "START TRANSACTION READ ONLY")
            rows = _rows(session, self._s.check)
            return not rows or rows[0][0] not in (None, 0)
        except pymysql.err.Error as e:
            if e.args and e.args[0] in NO_RIGHT:
                return False
            told = raised(e, self._place, "the check")
        raise told


def _rows(session: Any, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement. Values are quoted by the library, as texts or numbers."""
    with session.cursor() as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())
