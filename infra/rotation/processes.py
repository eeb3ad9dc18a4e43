"""Servers that go on when who started them has gone: begun in sessions of their own, known by number and birth."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.rotation.state import State
from tasks.core.births import born
from tasks.core.errors import NightwardenError
from tasks.core.text import one_line

_START_S, _STOP_S, _PAUSE_S = 60.0, 20.0, 0.05
_RUN_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who a program runs as; None: as who called us."""

    uid: int
    gid: int


def unprivileged() -> User | None:
    """Who PostgreSQL, which refuses root, runs as: its own user where the system has one, else nobody."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            found = pwd.getpwnam(name)
            return User(uid=found.pw_uid, gid=found.pw_gid)
    raise NightwardenError("PostgreSQL does not run as root", advice="Call this as another user.")


def run(argv: Sequence[str], what: str, *, user: User | None, cwd: Path, stdin: str = "") -> None:
    """One program to its end. Raises NightwardenError with the last line in which it says what is wrong."""
    done = subprocess.run(
        argv, input=stdin.encode(), capture_output=True, timeout=_RUN_S, check=False, cwd=cwd, env=_environment(cwd),
        umask=0o077, **_as(user),
    )  # fmt: skip
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
        bad = [line for line in lines if "ERROR:" in line or "FATAL:" in line or "error:" in line] or lines[-1:]
        raise NightwardenError(f"{what} failed: {one_line(bad[-1] if bad else '', 300)}")


def told(argv: Sequence[str]) -> str | None:
    """What a program says that is asked something; None where it cannot say."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=_RUN_S, check=False, cwd="/",
            env=_environment(Path("/")),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def may(test: str, path: Path, user: User | None) -> bool:
    """Whether a user may do to a path what test(1) asks: ``-x``, ``-r``."""
    asked = ["/bin/sh", "-c", 'test "$1" "$2"', "sh", test, str(path)]
    return subprocess.run(asked, check=False, cwd="/", **_as(user)).returncode == 0


def start(state: State, server: str, argv: Sequence[str], *, user: User | None, cwd: Path) -> None:
    """Begin a server; it is written down before anything is waited for."""
    with state.log(server).open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd, env=_environment(cwd), umask=0o077,
            start_new_session=True, **_as(user),
        )  # fmt: skip
    state.note(server, (process.pid, born(process.pid) or 0))


def runs(state: State, server: str) -> int | None:
    """The number of a server's process that is there: that one, and not another that got its number."""
    known = state.known
    if known is None or server not in known.processes:
        return None
    pid, birth = known.processes[server]
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return pid if born(pid) == birth else None


def wait(state: State, server: str, answers: Callable[[], bool]) -> None:
    """Until it answers. Raises NightwardenError that names its log."""
    end = time.monotonic() + _START_S
    while not answers():
        if runs(state, server) is None or time.monotonic() > end:
            lines = state.log(server).read_text("utf-8", "replace").splitlines() or [""]
            raise NightwardenError(
                f"{server} does not start: {one_line(lines[-1], 300)}", advice=f"Its log is {state.log(server)}."
            )
        time.sleep(_PAUSE_S)


def end(state: State, server: str, how: signal.Signals) -> bool:
    """End a server, by force where it takes too long. Whether there was one."""
    pid = runs(state, server)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, how)
        until = time.monotonic() + _STOP_S
        while runs(state, server) is not None:
            if time.monotonic() > until:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE_S)
    if state.known is not None:
        state.note(server, None)
    return pid is not None


def _environment(home: Path) -> dict[str, str]:
    """Nothing of the caller's: neither VAULT_* nor PG* nor a proxy decides anything."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}


def _as(user: User | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
