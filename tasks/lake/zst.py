"""Small compressed files, written so that a kill leaves the whole file or none."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pyarrow as pa

_CODEC = "zstd"


def write(path: Path, data: bytes) -> None:
    """Compress and write; flushed to disk before the name appears. What fails leaves nothing, least of all on a full
    disk. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    body = len(data).to_bytes(8, "big") + pa.compress(data, codec=_CODEC, asbytes=True)
    try:
        with tmp.open("wb") as f:
            f.write(body)
            f.flush()
            os.fsync(f.fileno())
        tmp.replace(path)
    except OSError:
        tmp.unlink(missing_ok=True)
        raise


def read(path: Path, max_bytes: int = 4 * 1024**3) -> bytes:
    """Read what ``write`` wrote. Raises ValueError when it is torn."""
    body = path.read_bytes()
    size = int.from_bytes(body[:8], "big")
    if len(body) < 8 or size > max_bytes:
        raise ValueError(f"{path.name} is torn")
    try:
        data: bytes = pa.decompress(body[8:], decompressed_size=size, codec=_CODEC, asbytes=True)
    except (pa.ArrowException, OSError) as e:
        raise ValueError(f"{path.name} is torn") from e
    return data
