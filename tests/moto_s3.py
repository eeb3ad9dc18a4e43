"""An S3 server on loopback. It is moto, an emulator: it honours conditional writes, not credentials."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import boto3
from moto.server import ThreadedMotoServer

from tasks.core.secret_refs import Secret
from tasks.lake.s3_location import S3Location

ACCESS_KEY, SECRET_KEY = "AKIATESTACCESSKEY", "moto-secret-key-of-tests"


@contextmanager
def moto_s3() -> Iterator[str]:
    """The endpoint of a server with no bucket, while the block lasts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def new_location(endpoint: str, cache: Path) -> S3Location:
    """A new bucket on a server, and a prefix in it."""
    bucket = f"lake-{uuid4().hex[:12]}"
    client(endpoint).create_bucket(Bucket=bucket)
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


def client(endpoint: str):  # type: ignore[no-untyped-def]
    """boto3's client of a server."""
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
    )
