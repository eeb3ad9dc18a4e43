"""A tripwire: whatever of a repository is executed, and wherever, leaves a trace in one folder or at one port.

A sandbox hides what happens inside it: a file that is touched there is gone with it. So the folder of the tripwire is
put into every sandbox, writable, and code that runs inside leaves its trace as well as code that runs outside.
"""

from __future__ import annotations

import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.process import ProcessRunner
from tasks.core.types import Command, Mount


class Tripwire:
    """The folder, and a listener on loopback. ``traces`` tells what was set off so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        folder.chmod(0o777)  # inside a sandbox nobody is its owner
        self._calls: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    asked = connection.recv(4096)
                except OSError:
                    asked = b""
                self._calls.append(asked.split(b"\r\n", 1)[0].decode("ascii", "replace") or "a connection")
                connection.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def shell(self, name: str) -> str:
        """A line of shell without blanks (names of branches have none) that leaves the trace ``name``."""
        return f"touch${{IFS}}{shlex.quote(str(self.folder / name))}"

    def python(self, name: str) -> bytes:
        """A module that leaves the trace ``name`` when it is imported."""
        return f"open({str(self.folder / name)!r}, 'w').close()\n".encode()

    def traces(self) -> list[str]:
        """What was executed, and what asked the listener."""
        return sorted(p.name for p in self.folder.iterdir()) + sorted(self._calls)

    def clear(self) -> None:
        """Forget all of it."""
        for trace in self.folder.iterdir():
            trace.unlink()
        self._calls.clear()

    def close(self) -> None:
        """End the listener."""
        self._socket.close()

    @contextmanager
    def laid(self) -> Iterator[None]:
        """Put the folder into every sandbox that is made meanwhile."""
        spawn = ProcessRunner.spawn

        def spawn_with_it(runner: ProcessRunner, cmd: Command) -> subprocess.Popen[bytes]:
            return spawn(runner, replace(cmd, mounts=(*cmd.mounts, Mount(source=self.folder, writable=True))))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ProcessRunner, "spawn", spawn_with_it)
            yield
