"""The folder that the servers of this machine lie in: ports, processes, and what was made for them.

``servers.json`` is written whole; ``lock`` is held while servers are started or ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.core.errors import NightwardenError

HOST = "127.0.0.1"
#: Below those that the system gives to whoever connects, which would be taken when a server comes back.
_PORTS = range(20000, 30000)
_TRIES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is kept of the servers. ``processes``: process number and birth by the name of a server. ``postgresql``:
    the folder of PostgreSQL, which as root may have to lie elsewhere; empty until there is one. ``programs``: that of
    its programs, by which the data was made, and whether they have OpenSSL; likewise."""

    api: int
    cluster: int
    database: int
    postgresql: str = ""
    programs: str = ""
    has_tls: bool = True
    processes: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def sslmode(self) -> str:
        """How PostgreSQL is asked, as libpq says it."""
        return "verify-full" if self.has_tls else "disable"


class State:
    """One folder. What it holds is there after ``make``."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.ca, self.org = self.root / "ca.pem", self.root / "org.yaml"
        self.openbao, self.logs = self.root / "openbao", self.root / "logs"
        #: The certificate and key of PostgreSQL, which gets them when it is started.
        self.tls = self.root / "tls"
        self.audit = self.openbao / "audit.log"
        #: Key shares, and for as long as it is set up the root token.
        self.keys = self.root / "keys.json"
        self._file = self.root / "servers.json"

    def secret_id(self, role: str) -> Path:
        """The file of the secret id of a role."""
        return self.root / f"{role}-secret-id"

    def log(self, server: str) -> Path:
        """What a server says."""
        return self.logs / f"{server}.log"

    @property
    def known(self) -> Known | None:
        """What was written down; None where there is nothing. Raises NightwardenError: it cannot be read."""
        try:
            told = json.loads(self._file.read_text("utf-8"))
            return Known(**{**told, "processes": {n: (p[0], p[1]) for n, p in told["processes"].items()}})
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise NightwardenError(
                f"{self._file} cannot be read", advice="Remove the folder, and end by hand what was started from it."
            ) from None

    def make(self) -> Known:
        """What was written down, or fresh ports. Makes the folders."""
        for folder in (self.root, self.openbao, self.openbao / "raft", self.tls, self.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        known = self.known
        if known is None:
            api, cluster, database = _free_ports(3)
            known = Known(api=api, cluster=cluster, database=database)
            self.keep(known)
        return known

    def keep(self, known: Known) -> None:
        """Write it down."""
        write_private(self._file, json.dumps(asdict(known), indent=1))

    def note(self, server: str, process: tuple[int, int] | None) -> None:
        """Write down the process of a server, or that there is none."""
        known = self.make()
        others = {n: p for n, p in known.processes.items() if n != server}
        self.keep(replace(known, processes=others if process is None else {**others, server: process}))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else starts or ends servers of this folder meanwhile. Raises NightwardenError: somebody does."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        held = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise NightwardenError(
                    f"somebody else starts or ends the servers of {self.root}", advice="Wait until that is done."
                ) from None
            yield
        finally:
            os.close(held)


def write_private(path: Path, text: str) -> None:
    """A file that nobody else can read (mode 0600), there whole or as it was before, also after a power cut."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_private(path: Path) -> dict[str, Any]:
    """What such a file holds as JSON; empty where there is none. Raises NightwardenError: it is no such file."""
    with suppress(FileNotFoundError):
        try:
            told = json.loads(path.read_text("utf-8"))
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise NightwardenError(f"{path} is damaged", advice="`make rotation-down PURGE=1` removes all of it.")
        return told
    return {}


def is_taken(port: int) -> bool:
    """Whether somebody listens there."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError:
            return True
    return False


def _free_ports(number: int) -> list[int]:
    found: list[int] = []
    for _ in range(_TRIES):
        port = secrets.choice(_PORTS)
        if port not in found and not is_taken(port):
            found.append(port)
        if len(found) == number:
            return found
    raise NightwardenError("no port of loopback is free", advice=f"Free some of {_PORTS.start} to {_PORTS.stop}.")
