"""Logins at a MySQL or MariaDB server, and what its errors mean (numbers of
https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html and
https://mariadb.com/docs/server/reference/error-codes)."""

from __future__ import annotations

import contextlib
import functools
import ssl
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import pymysql
import pymysql.err

from tasks.core.addresses import stays_here
from tasks.core.errors import UsageError
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret
from tasks.rotation.sql_users import trusted

#: A login and a statement each take so long at most.
TIMEOUT_S = 10
#: Wrong password, or not from there, or not without TLS; no password.
_REFUSED = {1045, 1698}
#: Locked (MySQL, MariaDB), expired.
_LOCKED = {3118, 4151, 1820, 1862}
#: No right to the data base, table, column, routine, or what an administrator may.
NO_RIGHT = {1044, 1142, 1143, 1227, 1370}
#: No room for a session or one more of the user, host blocked, shutting down, lock not got, interrupted, killed, too
#: slow, no server, gone, lost; the user is locked for a while.
_PASSING = {1040, 1053, 1129, 1203, 1205, 1213, 1226, 1317, 1927, 1969, 2002, 2003, 2006, 2013, 2055, 3024, 3955, 0}
_READ_ONLY = {1290, 1792, 1836}


class Login(StrEnum):
    """What became of a login."""

    #: Also where the server does not let this user in from this machine, or without TLS: it says the same of all.
    REFUSED = "refused"
    LOCKED = "locked"
    #: The password is right; the user may not use the data base.
    NO_RIGHT = "no right"


@dataclass(frozen=True, slots=True, kw_only=True)
class MySqlServer:
    """Where a server is; a path as ``host`` is a socket. ``ca_file`` None: the system's authorities.

    Without ``tls`` only a server on this machine is asked. Raises UsageError.
    """

    host: str
    port: int = 3306
    tls: bool = True
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        trusted(self.ca_file)
        if not self.tls and not self._is_socket and not stays_here(f"mysql://{self.host}/"):
            raise UsageError(f"{self.host}: without TLS others hear and answer", advice="Let the server speak TLS.")

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def _is_socket(self) -> bool:
        return self.host.startswith("/")

    def options(self) -> dict[str, Any]:
        """What a connection to it needs."""
        if self._is_socket:
            return {"unix_socket": self.host, "ssl_disabled": True}
        # A context makes TLS a must, with the name and the chain of the certificate verified.
        secured = {"ssl": _context(self.ca_file)} if self.tls else {"ssl_disabled": True}
        return {"host": self.host, "port": self.port, **secured}


@functools.lru_cache(maxsize=16)
def _context(ca_file: Path | None) -> ssl.SSLContext:
    """To read the system's authorities takes longer than a login."""
    return ssl.create_default_context(cafile=ca_file)


def login(server: MySqlServer, dbname: str | None, user: str, password: Secret) -> Any:
    """A session (of PyMySQL), each statement a transaction of its own, or how the credentials were refused.

    Raises RotationError: whether they are accepted is not known.
    """
    session: Any = None
    try:
        session = pymysql.connect(
            # As others encode it; the library would take Latin-1.
            user=user, password=password.reveal().encode(), database=dbname, charset="utf8mb4", autocommit=True,
            connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, write_timeout=TIMEOUT_S, **server.options(),
        )  # fmt: skip
        session.query("DO 0")  # whose password is expired is let in, and may do nothing
        return session
    except pymysql.err.Error as e:
        number = _number(e)
    except OSError:
        number = 0
    if session is not None:
        with contextlib.suppress(pymysql.err.Error, OSError):
            session.close()
    if number in _REFUSED:
        return Login.REFUSED
    if number in _LOCKED:
        return Login.LOCKED
    if number in NO_RIGHT:
        return Login.NO_RIGHT
    if number == 1130:
        raise RotationError(
            "target_denied", f"mysql {server}: it lets nobody in from this machine",
            advice="Let the accounts in from here too, so that new values can be tried.",
        )  # fmt: skip
    raise _raised(number, f"mysql {server}", f"a session of {user}")


def raised(error: pymysql.err.Error, place: str, doing: str) -> RotationError:
    """An error of a statement, without its text: that quotes what it likes."""
    return _raised(_number(error), place, doing)


def _number(error: pymysql.err.Error) -> int:
    told = error.args[0] if error.args else 0
    return told if isinstance(told, int) else 0


def _raised(number: int, place: str, doing: str) -> RotationError:
    if number in _PASSING:
        return RotationError(
            "target_unreachable", f"{place}: {doing} was interrupted, or has no room now ({number})", is_passing=True
        )
    if number in NO_RIGHT:
        return RotationError(
            "target_denied", f"{place}: {doing} is not allowed ({number})",
            advice="The account needs CREATE USER, and SELECT on mysql.user.",
        )  # fmt: skip
    if number in _READ_ONLY:
        return RotationError(
            "target_error", f"{place}: {doing} needs to write, and may not ({number})",
            advice="Name the primary server; a check only reads.",
        )  # fmt: skip
    return RotationError("target_error", f"{place}: {doing} failed ({number})")
