"""The process of a local server: Prefect's own server, and a thread that ends it when nobody uses it any more.

Started by ``flows.server`` as ``python -m flows.server_process HOME HOST PORT``. The thread looks, from before Prefect
is imported, at who holds the lock of the users: a command that was killed holds nothing, so its server ends too.

SIGINT ends it now. SIGTERM ends it once it has no user, kept or not: whoever stops a whole group of processes, as
systemd does, stops the commands as well, and they still have to tell the server how their runs ended.
"""

from __future__ import annotations

import fcntl
import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path

from flows.server import STOP_TIMEOUT_S, state_file, try_lock, users_file, written_down

_LOOK_EVERY_S = 0.5


def main(home: Path, host: str, port: str) -> None:
    """Serve until told to stop, or until there is no user and the state file does not say that we are kept."""
    # Who was started in the background by a shell without job control would ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # For the thread alone, which is started afterwards and so inherits this: Prefect's server never sees it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_when_unused, args=(home,), name="users", daemon=True).start()
    sys.argv = ["prefect", "server", "start", "--host", host, "--port", port]
    runpy.run_module("prefect", run_name="__main__", alter_sys=True)


def _end_when_unused(home: Path) -> None:
    users = os.open(users_file(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    told_to_end = False
    while True:
        if signal.sigtimedwait({signal.SIGTERM}, _LOOK_EVERY_S) is not None:
            told_to_end = True
        if (_kept(home) and not told_to_end) or not try_lock(users, fcntl.LOCK_EX):
            continue
        # Once more: with the lock held nobody joins, so nobody asks us to stay after we have looked.
        if told_to_end or not _kept(home):
            break
        fcntl.flock(users, fcntl.LOCK_UN)
    # The lock goes with the process: whoever wants a server now waits until this one has left the database.
    if _named(home):
        state_file(home).unlink(missing_ok=True)
    _interrupt()
    os.kill(os.getpid(), signal.SIGKILL)


def _interrupt() -> None:
    """End in order, which takes STOP_TIMEOUT_S at most; returns only if that was not enough."""
    os.kill(os.getpid(), signal.SIGINT)
    until = time.monotonic() + STOP_TIMEOUT_S
    while time.monotonic() < until:
        time.sleep(_LOOK_EVERY_S)
        # While Prefect is imported an interrupt can be lost, in a callback that raises nothing. The handler of its
        # server loses none, and would take a second one for "at once".
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            os.kill(os.getpid(), signal.SIGINT)


def _named(home: Path) -> bool:
    """Whether the state file names this process; if not, it is lost or another server was started since."""
    server = written_down(home)
    return server is not None and server.pid == os.getpid()


def _kept(home: Path) -> bool:
    server = written_down(home)
    return server is not None and server.pid == os.getpid() and server.kept


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
