"""Compressed content that tells when it is torn."""

from __future__ import annotations

import pyarrow as pa

_CODEC = "zstd"


def pack(data: bytes) -> bytes:
    """Compress; the length stands before it."""
    return len(data).to_bytes(8, "big") + bytes(pa.compress(data, codec=_CODEC, asbytes=True))


def unpack(body: bytes, max_bytes: int = 4 * 1024**3) -> bytes:
    """What ``pack`` was given. Raises ValueError when it is torn, or says that it is larger than ``max_bytes``."""
    size = int.from_bytes(body[:8], "big")
    if len(body) < 8 or size > max_bytes:
        raise ValueError("it is torn")
    try:
        data: bytes = pa.decompress(body[8:], decompressed_size=size, codec=_CODEC, asbytes=True)
    except (pa.ArrowException, OSError) as e:
        raise ValueError("it is torn") from e
    return data
