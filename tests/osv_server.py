"""A small OSV export on loopback: records as they are told, with validators, and every fault that is asked for."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


@dataclass(kw_only=True)
class Answer:
    """What one path answers: a status, a body, how much of the body really comes, and headers beside."""

    body: bytes = b""
    status: int = 200
    cut_at: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


class OsvServer:
    """``files`` by path below the root; ``faults`` answer instead of them. ``asked`` notes every request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.validators = True
        self.url = ""

    def export(self, ecosystem: str, records: list[dict[str, Any]], modified: dict[str, str] | None = None) -> None:
        """The files of an ecosystem as these records are; ``modified`` overrules what the list says of some."""
        self.files = {p: b for p, b in self.files.items() if not p.startswith(f"{ecosystem}/")}
        told = {r["id"]: (modified or {}).get(r["id"], r["modified"]) for r in records}
        lines = sorted(((m, i) for i, m in told.items()), reverse=True)
        self.files[f"{ecosystem}/modified_id.csv"] = "".join(f"{m},{i}\n" for m, i in lines).encode()
        contents = {f"{r['id']}.json": json.dumps(r).encode() for r in records}
        self.files[f"{ecosystem}/all.zip"] = zipped(contents)
        self.files |= {f"{ecosystem}/{name}": content for name, content in contents.items()}


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of these files, the same bytes each time."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return made.getvalue()


@contextmanager
def serving() -> Iterator[OsvServer]:
    """The server, while it runs."""
    server = OsvServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = unquote(self.path).lstrip("/")
            server.asked.append(path)
            answer = server.faults.get(path) or self._file(path)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            if answer.status != 304:
                self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if answer.status != 304:
                with suppress(ConnectionError):  # who asked has heard enough
                    self.wfile.write(answer.body[: answer.cut_at])
            if answer.cut_at is not None:
                self.close_connection = True

        def _file(self, path: str) -> Answer:
            body = server.files.get(path)
            if body is None:
                return Answer(status=404, body=b"no such object")
            if not server.validators:
                return Answer(body=body)
            etag = f'"{hashlib.md5(body).hexdigest()}"'
            if self.headers.get("If-None-Match") == etag:
                return Answer(status=304, headers={"ETag": etag})
            return Answer(body=body, headers={"ETag": etag})

        def log_message(self, format: str, *args: Any) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{httpd.server_port}"
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()


def record(number: int, package: str = "wheelbarrow", **more: Any) -> dict[str, Any]:
    """A made-up advisory about a package of PyPI, wheelbarrow unless told otherwise."""
    return {
        "id": f"TEST-2026-{number:04d}",
        "modified": f"2026-03-{number % 28 + 1:02d}T10:00:00Z",
        "published": f"2026-02-{number % 28 + 1:02d}T10:00:00Z",
        "summary": f"flaw {number}",
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": package},
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": f"1.{number}"}]}],
            }
        ],
        **more,
    }
