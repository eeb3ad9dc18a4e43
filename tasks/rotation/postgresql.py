"""PostgreSQL users as a target.

Make two users with the same rights, which they have by a role that owns the objects::

    CREATE ROLE shop NOLOGIN;
    CREATE ROLE shop_a LOGIN IN ROLE shop;  ALTER ROLE shop_a SET role = 'shop';
    CREATE ROLE shop_b NOLOGIN IN ROLE shop;  ALTER ROLE shop_b SET role = 'shop';

and an account that may alter them: ``CREATEROLE``, and since PostgreSQL 16 ``GRANT shop_a, shop_b TO … WITH ADMIN
OPTION``; for the use of old credentials ``pg_read_all_stats``.

* A password leaves us as a SCRAM-SHA-256 verifier only (RFC 5802, made by libpq), whatever the server logs.
* ``retire`` is ``NOLOGIN``: the verifier stays, so people can take it back by ``LOGIN``. Sessions that are open stay
  open; ``pg_terminate_backend`` ends them.
* ``VALID UNTIL`` is kept, for people set it, unless ``valid_for`` says how long each new password is valid.
* ``exclusive`` is an advisory lock of the session that also alters the users. Whoever lost that session, by being
  frozen or cut off, can alter nothing afterwards. Such locks are of one data base: all runners name the same
  ``admin_dbname``, and no pool stands between.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg import sql

from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.postgresql_login import TIMEOUT_S, Login, PostgreSqlServer, login, raised
from tasks.rotation.sql_users import Admin, SqlTarget, Users, account

#: A session that holds the lock and says nothing for so long is ended by the server, so that others can go on.
_IDLE_S = 300
_PAUSE_S = 0.2
#: The first version with idle_session_timeout.
_ENDS_IDLE = 140000


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSqlSettings:
    """The users of one secret at one server.

    ``dbname`` is where they log in, ``check`` what they must be able to do there: one statement, run by each new
    credential in a read-only transaction. It fails where the user may not do it, and where it tells a row that begins
    with false or null. ``admin_dbname`` is where ``admin`` logs in; ``wait``: how long another runner is waited for.
    """

    server: PostgreSqlServer
    users: Users
    admin: Admin
    dbname: str
    admin_dbname: str = "postgres"
    check: str | None = None
    valid_for: timedelta | None = None
    wait: timedelta = timedelta(seconds=5)


class PostgreSql(SqlTarget):
    """One runner's way to the users of one secret: a ``tasks.core.rotations.Target``."""

    def __init__(self, settings: PostgreSqlSettings) -> None:
        super().__init__(settings.users)
        self._s = settings
        self._own = threading.local()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone at these users, by an advisory lock of a session that what follows runs on."""
        session = self._administer()
        try:
            self._lock(session)
            self._own.session = session
            yield
        finally:
            self._own.session = None
            with contextlib.suppress(psycopg.Error):
                session.close()

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        """Whether its user logs in by its password, and may do what is checked."""
        user, password = self._s.users.credential(fields)
        session = login(self._s.server, self._s.dbname, user, password)
        if isinstance(session, Login):
            return False
        with contextlib.closing(session):
            return self._may(session)

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        """Whether its user does not log in by its password."""
        user, password = self._s.users.credential(fields)
        session = login(self._s.server, self._s.dbname, user, password)
        if isinstance(session, Login):
            return True
        session.close()
        return False

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """Whether a session of the user that is open now began or did anything after a time. None: we may not see it.
        Sessions that came and went are seen by no view of PostgreSQL."""
        session = self._administer()
        with contextlib.closing(session), self._told("to list sessions"):
            row = session.execute(
                "SELECT count(*) FILTER (WHERE backend_start IS NULL),"
                " count(*) FILTER (WHERE greatest(backend_start, state_change) > %s"
                " OR state NOT IN ('idle', 'disabled'))"
                " FROM pg_catalog.pg_stat_activity WHERE usename = %s",
                (since, identity),
            ).fetchone()
        assert row is not None
        hidden, used = row
        return None if hidden and not used else used > 0

    def retire(self, identity: str, *, in_force: str) -> None:
        """NOLOGIN, unless the user is gone."""
        self._s.users.known(identity)
        if identity == in_force:
            raise RotationError("target_error", f"{self._place}: {identity} is in force, and is not retired")
        session = self._session
        if self._role(session, identity) is None:
            return
        with self._told(f"to retire {identity}"):
            session.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(sql.Identifier(identity)))

    def restore(self, current: Held) -> None:
        """Give the user in force its password again."""
        self._set(*self._s.users.credential(current.fields))

    # -- the server ---------------------------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return f"postgresql {self._s.server}"

    @property
    def _session(self) -> psycopg.Connection[Any]:
        """The one that holds the lock."""
        session: psycopg.Connection[Any] | None = getattr(self._own, "session", None)
        assert session is not None, "only within exclusive()"
        return session

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as e:
            # Nothing is chained: libpq's texts quote what they like.
            told = raised(e, self._place, doing)
        else:
            return
        raise told

    def _administer(self) -> psycopg.Connection[Any]:
        by = account(self._s.admin, self._place)
        session = login(self._s.server, self._s.admin_dbname, by.user, by.password)
        if isinstance(session, Login):
            raise RotationError(
                "target_denied", f"{self._place}: {by.user}, which administers it, cannot log in",
                advice="Correct the account; it needs a password and the right to connect.",
            )  # fmt: skip
        try:
            with self._told("to begin a session"):
                # No function or operator of a user's own comes before those of the system.
                session.execute("SELECT pg_catalog.set_config('search_path', 'pg_catalog', false)")
                session.execute("SELECT set_config('statement_timeout', %s, false)", (f"{TIMEOUT_S}s",))
                if session.info.server_version >= _ENDS_IDLE:
                    session.execute("SELECT set_config('idle_session_timeout', %s, false)", (f"{_IDLE_S}s",))
        except RotationError:
            session.close()
            raise
        return session

    def _lock(self, session: psycopg.Connection[Any]) -> None:
        names = json.dumps(["nightwarden", *sorted(self._s.users.names)]).encode()
        key = int.from_bytes(hashlib.sha256(names).digest()[:8], signed=True)
        end = time.monotonic() + self._s.wait.total_seconds()
        while True:
            with self._told("to take the lock"):
                row = session.execute("SELECT pg_try_advisory_lock(%s::bigint), pg_backend_pid()", (key,)).fetchone()
            assert row is not None
            got, pid = row
            if pid != session.info.backend_pid:
                raise RotationError(
                    "target_error", f"{self._place}: a pool stands between, which gives each statement to any session",
                    advice="Name the server itself: the lock and what is done under it are of one session.",
                )  # fmt: skip
            if got:
                return
            if time.monotonic() >= end:
                raise RotationError("rotation_busy", f"{self._place}: another runner is at its users", is_passing=True)
            time.sleep(_PAUSE_S)

    def _role(self, session: psycopg.Connection[Any], user: str) -> tuple[bool] | None:
        """Whether the user's VALID UNTIL is over; None: there is no such user."""
        with self._told(f"to look for {user}"):
            row: tuple[bool] | None = session.execute(
                "SELECT coalesce(rolvaliduntil <= now(), false) FROM pg_roles WHERE rolname = %s", (user,)
            ).fetchone()
        return row

    def _set(self, user: str, password: Secret) -> None:
        session, valid_for = self._session, self._s.valid_for
        role = self._role(session, user)
        if role is None:
            raise RotationError(
                "target_missing", f"{self._place}: there is no user {user}",
                advice=f'Create it with the rights of the other: CREATE ROLE "{user}" NOLOGIN IN ROLE …',
            )  # fmt: skip
        if role[0] and valid_for is None:
            raise RotationError(
                "target_error", f"{self._place}: the VALID UNTIL of {user} is over: no password of it is accepted",
                advice="Set a later one, or configure `valid_for`, so that each new password gets one.",
            )  # fmt: skip
        verifier = session.pgconn.encrypt_password(password.reveal().encode(), user.encode(), b"scram-sha-256")
        words = [sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), verifier.decode())]
        with self._told(f"to set the password of {user}"):
            if valid_for is not None:
                row = session.execute("SELECT (now() + %s)::text", (valid_for,)).fetchone()
                assert row is not None
                words.append(sql.SQL("VALID UNTIL {}").format(row[0]))
            session.execute(sql.SQL(" ").join(words))

    def _refuses(self, current: Mapping[str, Secret]) -> None:
        """Raises RotationError(target_error) where the credential in force logs in: it is left alone."""
        user, password = self._s.users.credential(current)
        session = login(self._s.server, self._s.dbname, user, password)
        if not isinstance(session, Login):
            session.close()
        if session is not Login.REFUSED:
            raise RotationError(
                "target_error", f"{self._place}: {user}, which is in force, logs in and may not do what is checked",
                advice="Give it the rights, or correct the check; another password would mend nothing.",
            )  # fmt: skip

    def _may(self, session: psycopg.Connection[Any]) -> bool:
        if self._s.check is None:
            return True
        try:
            session.execute("SELECT set_config('statement_timeout', %s, false)", (f"{TIMEOUT_S}s",))
            session.execute("BEGIN READ ONLY")
            done = session.execute(self._s.check.encode())
            row = done.fetchone() if done.description else (True,)
            return row is None or row[0] not in (None, False)
        except psycopg.errors.InsufficientPrivilege:
            return False
        except psycopg.Error as e:
            told = raised(e, self._place, "the check")
        raise told
