"""Which lake the settings name: a folder, or a place on S3 with the way to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.settings import Settings
from tasks.core.errors import LakeError, UsageError
from tasks.lake.s3_location import S3Location, split_url

if TYPE_CHECKING:
    from tasks.lake.lake import Lake

_CACHE_MB = 4096


def lake_location(settings: Settings) -> Path | S3Location:
    """The lake's place. Raises UsageError for an address that names none.

    Of one on S3 the environment tells the rest: NIGHTWARDEN_S3_ENDPOINT, NIGHTWARDEN_S3_REGION,
    NIGHTWARDEN_S3_ALLOW_HTTP=1, NIGHTWARDEN_S3_CACHE_MB (for files that were fetched), and what boto3 reads:
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_PROFILE, a role of the machine.
    """
    if not isinstance(settings.lake, str):
        return settings.lake_dir
    bucket, prefix = split_url(settings.lake)
    return S3Location(
        bucket=bucket,
        prefix=prefix,
        cache=settings.home / "cache",
        endpoint=_first("NIGHTWARDEN_S3_ENDPOINT", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        region=_first("NIGHTWARDEN_S3_REGION", "AWS_REGION", "AWS_DEFAULT_REGION"),
        allow_http=(_first("NIGHTWARDEN_S3_ALLOW_HTTP") or "0").lower() in ("1", "true", "yes"),
        cache_bytes=_cache_mb() * 1024**2,
    )


def lake_to_read(settings: Settings) -> Lake:
    """The lake, for commands that only read it: it is not locked and not made. Raises LakeError, UsageError."""
    from tasks.lake.lake import Lake

    location = lake_location(settings)
    lake = Lake(location, "")
    if not lake.exists:
        raise LakeError(f"there is no lake in {location}", advice="Run `nightwarden patrol` first, or give --lake.")
    return Lake.open(location, key_id=None, create=False)


def tell_waiting(line: str) -> None:
    """Say on stderr for whom a run waits."""
    print(line, file=sys.stderr, flush=True)


def _first(*names: str) -> str | None:
    return next((os.environ[n] for n in names if os.environ.get(n)), None)


def _cache_mb() -> int:
    told = _first("NIGHTWARDEN_S3_CACHE_MB") or str(_CACHE_MB)
    if not told.isdecimal():
        raise UsageError(f"NIGHTWARDEN_S3_CACHE_MB is no number: {told[:20]!r}", advice="Give whole megabytes.")
    return int(told)
