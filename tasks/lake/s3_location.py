"""Where a lake on S3 lies. Apart from ``tasks.lake.s3_place``, whose libraries take a moment to load."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from tasks.core.errors import UsageError
from tasks.core.secret_refs import Secret
from tasks.core.text import one_line

_URL = re.compile(r"^s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?$")
#: What no prefix may hold: delta-rs and DuckDB take it for something else, as ``tasks.lake.lake`` says of folders.
_PLAIN_PREFIX = re.compile(r"^[A-Za-z0-9!_.()' +,@~$&/-]*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Location:
    """A lake on S3 and the way to it. Without ``access_key`` boto3's own chain of credentials is asked.

    ``cache`` is a folder of this machine for files that were fetched, which hold at most ``cache_bytes`` unless the
    files in use are more.
    """

    bucket: str
    prefix: str
    cache: Path
    endpoint: str | None = None
    region: str | None = None
    allow_http: bool = False
    access_key: Secret | None = field(default=None, repr=False)
    secret_key: Secret | None = field(default=None, repr=False)
    cache_bytes: int = 4 * 1024**3

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def split_url(url: str) -> tuple[str, str]:
    """(bucket, prefix) of ``s3://bucket/prefix``. Raises UsageError."""
    found = _URL.match(url)
    prefix = (found[2] or "").strip("/") if found else ""
    parts = prefix.split("/") if prefix else []
    if found is None or not _PLAIN_PREFIX.match(prefix) or any(p in ("", ".", "..") for p in parts):
        raise UsageError(
            f"{one_line(url, 100)!r} names no place for a lake on S3",
            advice="Write s3://BUCKET/PREFIX; a prefix of letters, digits, -, _, . and /.",
        )
    return found[1], prefix
