"""An S3 server on loopback. It is moto, an emulator: it honours conditional writes, not credentials."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tasks.core.secret_refs import Secret
from tasks.lake.s3_location import S3Location

ACCESS_KEY, SECRET_KEY = "AKIATESTACCESSKEY", "moto-secret-key-of-tests"
#: Asked with (method, path and query) of each request: an HTTP status to answer with instead, or None.
Fault = Callable[[str, str], int | None]


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


class MotoS3:
    """The server. ``requests`` lists what was asked, ``fault`` may break it."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.fault: Fault = lambda _method, _path: None
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=_Quiet)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def _answer(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        path = f"{environ['PATH_INFO']}?{environ.get('QUERY_STRING', '')}"
        self.requests.append(f"{environ['REQUEST_METHOD']} {path}")
        status = self.fault(environ["REQUEST_METHOD"], path)
        if status is None:
            return self._moto(environ, start)  # type: ignore[no-any-return]
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(f"{status} Fault", [("Content-Length", "0")])
        return [b""]

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def location(self, cache: Path, filled: Path | None = None) -> S3Location:
        """A new bucket, and a prefix in it for a lake; with the files of a folder, if one is given."""
        bucket = f"lake-{uuid4().hex[:12]}"
        client = self.client()
        client.create_bucket(Bucket=bucket)
        for path in sorted(filled.rglob("*")) if filled is not None else ():
            if path.is_file():
                key = f"team/lake/{path.relative_to(filled or path)}"
                client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())
        return location_of(self.endpoint, bucket, cache)

    def client(self) -> Any:
        """boto3's client of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )


def location_of(endpoint: str, bucket: str, cache: Path) -> S3Location:
    """A lake in a bucket, by what another process can be told of it."""
    return S3Location(
        bucket=bucket,
        prefix="team/lake",
        cache=cache,
        endpoint=endpoint,
        region="us-east-1",
        allow_http=True,
        access_key=Secret(ACCESS_KEY),
        secret_key=Secret(SECRET_KEY),
    )


@contextmanager
def moto_s3() -> Iterator[MotoS3]:
    """A server without a bucket, while the block lasts."""
    server = MotoS3()
    try:
        yield server
    finally:
        server.close()
