"""Which lake the settings name: a folder, or a place on S3 with the way to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.org_models import S3Settings
from flows.settings import Settings
from tasks.lake.s3_location import S3Location, split_url

if TYPE_CHECKING:
    from tasks.lake.lake import Lake


def lake_location(settings: Settings) -> Path | S3Location:
    """The lake's place. Raises UsageError for an address that names none.

    Of one on S3 the section ``s3`` tells the rest (or NIGHTWARDEN_S3_ENDPOINT and the like); without keys in it, what
    boto3 reads: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, a role of the machine.
    Raises SecretError: a key cannot be read.
    """
    if not isinstance(settings.lake, str):
        return settings.lake_dir
    s3, secrets = settings.s3 or S3Settings(), settings.secrets()
    bucket, prefix = split_url(settings.lake)
    return S3Location(
        bucket=bucket,
        prefix=prefix,
        cache=settings.home / "cache",
        endpoint=s3.endpoint or _first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        region=s3.region or _first("AWS_REGION", "AWS_DEFAULT_REGION"),
        allow_http=s3.allow_http,
        access_key=secrets.get(s3.access_key) if s3.access_key is not None else None,
        secret_key=secrets.get(s3.secret_key) if s3.secret_key is not None else None,
        cache_bytes=s3.cache_mb * 1024**2,
    )


def lake_to_read(settings: Settings) -> Lake:
    """The lake, for commands that only read it: it is not locked and not made. Raises LakeError, UsageError."""
    from tasks.lake.lake import Lake

    return Lake.open(lake_location(settings), key_id=None, create=False)


def tell_other_run(line: str) -> None:
    """Say something about another run of the lake on stderr."""
    print(line, file=sys.stderr, flush=True)


def _first(*names: str) -> str | None:
    return next((os.environ[n] for n in names if os.environ.get(n)), None)
