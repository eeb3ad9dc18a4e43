"""Real git over HTTP on a free loopback port: git's own ``http-backend`` behind a small CGI server."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.builders import GIT_ENVIRONMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to one answer: it comes late, it is cut off before a byte, or it is another status."""

    delay_s: float = 0.0
    cut_at: int | None = None
    status: int | None = None


class GitServer:
    """Serves the repositories below a folder. ``asked`` notes what each request wanted; ``answer`` forces a status.

    What ``mute`` lists (``refs``, ``fetch``) is never answered; ``cut`` answers of a kind are cut off half-way.
    ``spoil`` is asked for the fault of each answer of so many bytes.
    ``shown`` are the Authorization headers; with ``wanted`` set, others than that one are refused with 401.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        self.answer: int | None = None
        self.mute: set[str] = set()
        self.cut: dict[str, int] = {}
        self.spoil: Callable[[int], Fault | None] | None = None
        self.wanted: str | None = None
        self.shown: list[str | None] = []
        self.elsewhere: str | None = None
        self.over = threading.Event()
        self.url = ""


@contextmanager
def serving(root: Path) -> Iterator[GitServer]:
    """Smart HTTP."""
    server = GitServer(root)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._backend(b"")

        def do_POST(self) -> None:
            self._backend(self.rfile.read(int(self.headers["Content-Length"])))

        def _backend(self, body: bytes) -> None:
            path, _, query = self.path.partition("?")
            server.asked.append("fetch" if b"command=fetch" in body else "refs")
            if server.asked[-1] in server.mute:
                server.over.wait()
                return
            server.shown.append(self.headers.get("Authorization"))
            refused = server.wanted is not None and server.shown[-1] != server.wanted
            if refused or server.answer is not None:
                self.send_response(401 if refused else server.answer or 500)
                self.send_header("WWW-Authenticate", 'Basic realm="team"')
                self.send_header("Location", f"{server.elsewhere or server.url + '/elsewhere'}{path}?{query}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            done = subprocess.run(
                ["git", "http-backend"],
                input=body,
                capture_output=True,
                check=False,
                env={
                    **GIT_ENVIRONMENT,
                    "GIT_PROJECT_ROOT": str(root),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": path,
                    "QUERY_STRING": query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                    "CONTENT_LENGTH": str(len(body)),
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                    "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                },
            )
            head, _, content = done.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
            fault = (server.spoil(len(content)) if server.spoil is not None else None) or Fault()
            server.over.wait(fault.delay_s)
            if fault.status is not None:
                self.send_response(fault.status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            half = server.cut.get(server.asked[-1], 0) > 0
            if half:
                server.cut[server.asked[-1]] -= 1
            if half or fault.cut_at is not None:
                self.wfile.write(content[: len(content) // 2 if half else fault.cut_at])
                self.close_connection = True
                self.connection.shutdown(2)
                return
            self.wfile.write(content)

        def log_message(self, *_args: Any) -> None:
            pass

    with _running(Handler) as url:
        server.url = url
        try:
            yield server
        finally:
            server.over.set()


@contextmanager
def serving_files(root: Path) -> Iterator[str]:
    """Dumb HTTP: the files of the repositories below a folder, nothing else."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(root))

        def log_message(self, *_args: Any) -> None:
            pass

    with _running(Handler) as url:
        yield url


@contextmanager
def _running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{http.server_address[1]}"
        finally:
            http.shutdown()
            thread.join()
