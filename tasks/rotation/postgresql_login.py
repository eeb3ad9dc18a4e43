"""Logins at a PostgreSQL server, and why one was refused by its SQLSTATE and not by a text in the server's language.

libpq tells only a text of a login that failed. Where it is not the usual one, what the server answered is read from
libpq's own trace of the messages (PQtrace; those of logins since version 18), in memory: the SQLSTATE and the routine
that raised it
(https://www.postgresql.org/docs/current/protocol-error-fields.html). Nothing of it is kept.
"""

from __future__ import annotations

import os
import re
import select
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from tasks.core.addresses import stays_here
from tasks.core.errors import UsageError
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.sql_users import trusted

#: A login, a statement and a check each take so long at most.
TIMEOUT_S = 10
#: By which the server's list of sessions knows ours.
APPLICATION = "nightwarden"
_SAFE_ELSEWHERE = ("require", "verify-ca", "verify-full")
#: As pqTraceOutput_ErrorResponse writes it: a letter and a text in quotation marks for each field, S V C M … F L R.
_REFUSED = re.compile(rb'^B\t\d+\tErrorResponse\t.*? C "([0-9A-Z]{5})"(?:.* R "(\w+)")?', re.MULTILINE | re.DOTALL)
#: The same in libpq's words, from a server that speaks English.
_ENGLISH = re.compile(rb'failed: FATAL:  password authentication failed for user "')
#: Of these classes trying again may help: connection, rolled back, no room, not in that state, stopped, system.
_PASSING = ("08", "40", "53", "55", "57", "58")


class Login(StrEnum):
    """What became of a login: by these credentials, not by the weather."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    #: The password is right; the user may not use the data base.
    NO_RIGHT = "no right"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSqlServer:
    """Where a server is. ``ca_file`` None: the system's authorities.

    A server elsewhere is asked over TLS only (``sslmode`` require and better). Raises UsageError.
    """

    host: str
    port: int = 5432
    sslmode: str = "verify-full"
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        near = self.host.startswith("/") or stays_here(f"postgresql://{self.host}/")
        if self.sslmode not in _SAFE_ELSEWHERE and not near:
            raise UsageError(
                f"{self.host}: sslmode {self.sslmode} lets others hear and answer",
                advice=f"One of {', '.join(_SAFE_ELSEWHERE)}.",
            )
        if trusted(self.ca_file) is None and self.is_verified and self.authorities is None:
            raise UsageError("the system names no certificate authorities", advice="Name `ca_file`.")

    @property
    def is_verified(self) -> bool:
        """Whether it proves that it is the one."""
        return self.sslmode in ("verify-ca", "verify-full")

    @property
    def authorities(self) -> str | None:
        """The file of those that it may prove it by."""
        return str(self.ca_file) if self.ca_file else ssl.get_default_verify_paths().cafile

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def login(server: PostgreSqlServer, dbname: str, user: str, password: Secret) -> psycopg.Connection[Any] | Login:
    """A session, each statement a transaction of its own, or how the credentials were refused.

    Raises RotationError: whether they are accepted is not known.
    """
    conninfo = _conninfo(server, dbname, user, password).encode()
    session = _tried(server, conninfo)
    if isinstance(session, bytes):
        if _ENGLISH.search(session):
            return Login.REFUSED
        # libpq's trace costs some memory for good, so it is asked for where a login failed in other words.
        with os.fdopen(os.memfd_create("login"), "r+b", buffering=0) as told:
            session = _tried(server, conninfo, told.fileno())
            if isinstance(session, bytes):
                told.seek(0)
                refused = _REFUSED.findall(told.read())
                return _judged(server, user, refused[-1] if refused else None, session)
    return session


def raised(error: psycopg.Error, place: object, doing: str) -> RotationError:
    """An error of a statement, without its text: that quotes what it likes."""
    code = error.sqlstate
    if code is None or code.startswith(_PASSING):
        return RotationError(
            "target_unreachable", f"{place}: {doing} was interrupted ({code or 'connection lost'})", is_passing=True
        )
    name = type(error).__name__
    if code == "42501":
        return RotationError(
            "target_denied", f"{place}: {doing} is not allowed ({code})",
            advice="The account needs CREATEROLE, and since PostgreSQL 16 ADMIN OPTION on the users.",
        )  # fmt: skip
    if code == "25006":
        return RotationError(
            "target_error",
            f"{place}: it is read-only",
            advice="Name the primary server, not a standby; a check only reads.",
        )
    return RotationError("target_error", f"{place}: {doing} failed ({code} {name})")


def _conninfo(server: PostgreSqlServer, dbname: str, user: str, password: Secret) -> str:
    """All that decides is said here, so that no PG* variable and no password file says it."""
    # Where the server asks for no password, every one is accepted: such a login proves nothing, and is none.
    # In clear it is told only to who proved to be the server.
    methods = "scram-sha-256,md5" + (",password" if server.is_verified else "")
    return make_conninfo(
        "", host=server.host, port=server.port, dbname=dbname, user=user, password=password.reveal(),
        sslmode=server.sslmode, sslrootcert=server.authorities if server.is_verified else None,
        require_auth=methods, gssencmode="disable", passfile="/dev/null", options="", hostaddr="",
        sslcertmode="disable", sslnegotiation="postgres", channel_binding="prefer",
        application_name=APPLICATION, client_encoding="UTF8", keepalives_idle=30, keepalives_interval=10,
        keepalives_count=3, tcp_user_timeout=TIMEOUT_S * 3000, target_session_attrs="any", load_balance_hosts="disable",
    )  # fmt: skip


def _tried(server: PostgreSqlServer, conninfo: bytes, trace: int | None = None) -> psycopg.Connection[Any] | bytes:
    """A session, or libpq's text of why there is none."""
    pgconn = pq.PGconn.connect_start(conninfo)
    is_open = False
    try:
        is_traced = trace is not None and pgconn.status != pq.ConnStatus.BAD
        if is_traced and trace is not None:
            pgconn.trace(trace)
            pgconn.set_trace_flags(pq.Trace.SUPPRESS_TIMESTAMPS)
        try:
            _poll(pgconn, server)
        finally:
            if is_traced:  # what it holds back would go to whatever file gets that number next
                pgconn.untrace()
        is_open = pgconn.status == pq.ConnStatus.OK
        if not is_open:
            return pgconn.error_message
        pgconn.nonblocking = 1
        session = psycopg.Connection[Any](pgconn)
        session.autocommit = True
        return session
    finally:
        if not is_open:
            pgconn.finish()


def _poll(pgconn: pq.abc.PGconn, server: PostgreSqlServer) -> None:
    end = time.monotonic() + TIMEOUT_S
    status = int(pq.PollingStatus.FAILED if pgconn.status == pq.ConnStatus.BAD else pq.PollingStatus.WRITING)
    while status in (pq.PollingStatus.READING, pq.PollingStatus.WRITING):
        left = end - time.monotonic()
        waiting = select.poll()  # libpq may take another socket meanwhile
        waiting.register(pgconn.socket, select.POLLOUT if status == pq.PollingStatus.WRITING else select.POLLIN)
        if left <= 0 or not waiting.poll(left * 1000):
            raise RotationError("target_unreachable", f"{server}: no answer within {TIMEOUT_S} s", is_passing=True)
        status = pgconn.connect_poll()


def _judged(server: PostgreSqlServer, user: str, refused: tuple[bytes, bytes] | None, message: bytes) -> Login:
    if refused is None:
        if b"authentication method requirement" in message:  # libpq's own text; the library speaks English
            raise RotationError(
                "target_error", f"{server}: it lets {user} in without a password that proves anything",
                advice="Let pg_hba.conf ask for scram-sha-256: trust, peer and the like accept every value.",
            )  # fmt: skip
        raise RotationError("target_unreachable", f"{server}: no session could be opened", is_passing=True)
    code, routine = refused[0].decode(), refused[1].decode()
    if code == "28P01":
        return Login.REFUSED
    if code == "28000" and routine in ("InitializeSessionUserId", "InitializeSessionUserIdStandalone"):
        return Login.REFUSED  # no such user, or NOLOGIN
    if code == "42501":
        return Login.NO_RIGHT
    if code.startswith("28"):
        # It says nothing of the password: consumers may log in from where they are.
        raise RotationError(
            "target_denied", f"{server}: {user} may not log in by its password from this machine ({code})",
            advice="Let pg_hba.conf have a line for this machine, so that new values can be tried.",
        )  # fmt: skip
    if code.startswith(_PASSING):
        raise RotationError("target_unreachable", f"{server}: it takes no session now ({code})", is_passing=True)
    raise RotationError("target_error", f"{server}: no session for {user} ({code})")
