"""PostgreSQL: TLS and SCRAM only, its users made before it listens, by nobody who could log in over the network.

One that has no OpenSSL has the same configuration but for the words that ask for TLS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import secrets
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template

from psycopg import pq
from psycopg.conninfo import make_conninfo

from infra.rotation import processes
from infra.rotation.openbao import First
from infra.rotation.processes import User
from infra.rotation.state import HOST, State, is_taken
from tasks.core.errors import NightwardenError
from tasks.core.secret_refs import Secret
from tasks.core.types import digest

NAME = "postgresql"
#: Ends it, and sessions with it ("fast").
STOP = signal.SIGINT
#: Where its data lies when root calls and the unprivileged user cannot get to the folder of the state.
_ELSEWHERE = Path("/var/lib/nightwarden-rotation")
#: The number of rounds that PostgreSQL itself takes (scram_iterations).
_ROUNDS = 4096
_MARK = ".nightwarden-rotation"
_AGAIN_S, _PAUSE_S = 20.0, 0.3


def verifier(password: Secret) -> str:
    """What PostgreSQL keeps of a password of ASCII (RFC 5803): who has it cannot log in by it."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.reveal().encode("ascii"), salt, _ROUNDS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    texts = [base64.b64encode(b).decode() for b in (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))]
    return f"SCRAM-SHA-256${_ROUNDS}:{texts[0]}${texts[1]}:{texts[2]}"


def statements(name: str, **values: str) -> str:
    """The statements of a file, one a line."""
    lines = files("infra.rotation").joinpath(name).read_text("utf-8").splitlines()
    told = [line for line in lines if line.strip() and not line.startswith("--")]
    return Template("\n".join(told) + "\n").substitute(values)


def without_tls(text: str) -> str:
    """postgresql.conf or pg_hba.conf for a server that cannot: it refuses ``ssl``, and no ``hostssl`` line matches."""
    return re.sub(
        r"^ssl = on$", "ssl = off", re.sub(r"^hostssl", "host   ", text, flags=re.MULTILINE), flags=re.MULTILINE
    )


class PostgreSql:
    """The server of a folder."""

    def __init__(self, state: State, programs: Path, wheel: Path) -> None:
        self._state, self._installed, self._wheel = state, programs, wheel
        self._user = processes.unprivileged()

    @property
    def base(self) -> Path:
        """Its folder. Made where there is none; as root elsewhere than the state, where its user may not go."""
        known = self._state.make()
        if not known.postgresql:
            known = replace(known, postgresql=str(_base(self._state, self._user)))
            self._state.keep(known)
        base = Path(known.postgresql)
        if not (base / _MARK).is_file():
            raise NightwardenError(f"{base} is gone", advice="`make rotation-down PURGE=1`, and begin anew.")
        return base

    @property
    def place(self) -> Path:
        """What its user owns of that."""
        return self.base / "own"

    @property
    def data(self) -> Path:
        """Its data, there when it was made whole."""
        return self.place / "data"

    def make(self, first: First) -> None:
        """Its data, with the users, unless it is there. What was begun and not ended is begun anew."""
        if self.data.is_dir():
            return
        fresh, place = self.place / "data.new", self.place
        shutil.rmtree(fresh, ignore_errors=True)
        programs = self._programs()
        # It does not listen until the users are there, and then pg_hba.conf is ours.
        made = [str(programs / "initdb"), "-D", str(fresh), "-U", "postgres", "-A", "reject"]
        processes.run([*made, "-E", "UTF8", "--locale=C"], "initdb", user=self._user, cwd=place)
        alone = [str(programs / "postgres"), "--single", "-D", str(fresh), "-c", "exit_on_error=on"]
        users = statements("users.sql")
        users += statements("passwords.sql", rotator=verifier(first.rotator), shop_a=verifier(first.shop_a))
        processes.run([*alone, "postgres"], "making the users", user=self._user, cwd=place, stdin=users)
        processes.run([*alone, "shop"], "making the shop", user=self._user, cwd=place, stdin=statements("shop.sql"))
        fresh.rename(self.data)

    def start(self) -> bool:
        """Have it running; whether it had to be started. Raises NightwardenError."""
        is_new = processes.runs(self._state, NAME) is None
        if is_new:
            self._begin()
        processes.wait(self._state, NAME, self._answers)
        return is_new

    def _begin(self) -> None:
        known = self._state.make()
        port = known.database
        # Of a server that was killed, sessions end when they notice.
        until = time.monotonic() + _AGAIN_S
        while is_taken(port):
            if time.monotonic() > until:
                raise NightwardenError(
                    f"another program listens at port {port}, which is PostgreSQL's here",
                    advice="End it, or begin anew: `make rotation-down PURGE=1`.",
                )
            time.sleep(_PAUSE_S)
        for name in ("postgresql.conf", "pg_hba.conf"):
            text = files("infra.rotation").joinpath(name).read_text("utf-8")
            self._write(name, text if known.has_tls else without_tls(text))
        for name in ("server.pem", "server.key"):
            self._write(name, (self._state.tls / name).read_text())
        argv = [str(self._programs() / "postgres"), "-D", str(self.data), "-c", f"port={port}"]
        processes.start(self._state, NAME, argv, user=self._user, cwd=self.place)

    def _answers(self) -> bool:
        # Nobody logs in: it is asked for a session, and answers. Without a password libpq would look for one.
        known = self._state.make()
        asked = make_conninfo(
            "", host=HOST, port=known.database, dbname="postgres", user="nobody", password="-",  # noqa: S106
            sslmode=known.sslmode, sslrootcert=str(self._state.ca), gssencmode="disable", connect_timeout=5,
        )  # fmt: skip
        return pq.PGconn.ping(asked.encode()) == pq.Ping.OK

    def _write(self, name: str, text: str) -> None:
        """As its user, who could lead root's own hand elsewhere by a link."""
        argv = ["/bin/sh", "-c", 'cat > "$1.new" && mv "$1.new" "$1"', "sh", str(self.data / name)]
        processes.run(argv, f"writing {name}", user=self._user, cwd=self.place, stdin=text)

    def _programs(self) -> Path:
        """The folder of its programs: a copy of the wheel, where its user may not go there. Raises NightwardenError."""
        wheel, copy = self._wheel, self.base / "programs" / self._wheel.name
        folders = [self._installed]
        if self._installed.is_relative_to(wheel):
            folders.append(copy / self._installed.relative_to(wheel))
        for folder in folders:
            if processes.may("-x", folder / "postgres", self._user):
                return folder
        if len(folders) == 1:
            raise NightwardenError(
                f"PostgreSQL's user may not run the programs of {self._installed}", advice="Let others go there."
            )
        shutil.rmtree(copy.parent, ignore_errors=True)
        shutil.copytree(wheel, copy, symlinks=True)
        for path in (copy.parent, copy, *copy.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        return folders[-1]


def purge(state: State) -> None:
    """Remove its folder, where it is ours."""
    known = state.known
    if known is not None and known.postgresql and (Path(known.postgresql) / _MARK).is_file():
        shutil.rmtree(known.postgresql)


def _base(state: State, user: User | None) -> Path:
    """A fresh folder, in which the user owns one and gets to it."""
    if user is None:
        return _made(state.root / NAME, None)
    with suppress(OSError):  # a container may have its system read-only
        _ELSEWHERE.mkdir(exist_ok=True, mode=0o755)
        return _made(_ELSEWHERE / digest(str(state.root))[:12], user)
    return _made(Path(tempfile.mkdtemp(prefix="nightwarden-rotation-")), user)


def _made(base: Path, user: User | None) -> Path:
    own = base / "own"
    own.mkdir(parents=True, exist_ok=True, mode=0o700)
    if user is not None:
        base.chmod(0o755)
        os.chown(own, user.uid, user.gid)
    if not processes.may("-x", own, user):
        raise NightwardenError(f"PostgreSQL's user cannot get to {own}", advice="Call this as a user that is not root.")
    (base / _MARK).touch()
    return base
