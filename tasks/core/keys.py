"""The key of the HMACs: made once, mode 0600, outside the lake; known elsewhere by its id only (design rule 4)."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from tasks.core.errors import UsageError

_KEY_BYTES = 32


class HmacKey:
    """A secret key that turns values into stable names. Has no ``repr`` of the key and cannot be pickled."""

    __slots__ = ("_key", "key_id")

    def __init__(self, key: bytes) -> None:
        if len(key) < _KEY_BYTES:
            raise UsageError(
                f"the HMAC key has {len(key)} bytes, at least {_KEY_BYTES} are needed",
                advice="Remove the key file to have a new one made, or restore the right one.",
            )
        self._key = key
        #: First 16 hex digits of SHA-256 over a fixed prefix and the key: names it, reveals nothing.
        self.key_id = hashlib.sha256(b"nightwarden-key-id\0" + key).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"HmacKey({self.key_id})"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an HmacKey is never serialised")

    def name(self, value: bytes, *, purpose: str) -> str:
        """HMAC-SHA256 (hex) of ``value``; ``purpose`` separates uses so that names of one never match another."""
        return hmac.new(self._key, purpose.encode() + b"\0" + value, hashlib.sha256).hexdigest()


def passing() -> HmacKey:
    """A key that is kept nowhere: for a look that stores nothing, where there is no key yet."""
    return HmacKey(secrets.token_bytes(_KEY_BYTES))


def load_if_there(path: Path) -> HmacKey | None:
    """The key of the file; None when there is none, or none that this user may read. Raises UsageError as below."""
    return load_or_create(path) if os.access(path, os.R_OK) else None


def load_or_create(path: Path) -> HmacKey:
    """Read the key file, or make it (mode 0600, exclusive, flushed) when there is none.

    Raises UsageError when others may read the file or it is too short.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = secrets.token_bytes(_KEY_BYTES)
        tmp = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        out = os.open(tmp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(out, "wb") as f:
            f.write(fresh)
            f.flush()
            os.fsync(f.fileno())
        try:
            os.link(tmp, path)  # fails if another process was first: then its key counts
        except FileExistsError:
            pass
        finally:
            tmp.unlink()
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as f:
        mode = os.fstat(f.fileno()).st_mode
        if mode & 0o077:
            raise UsageError(
                f"the HMAC key {path} may be read by others (mode {mode & 0o777:o})",
                advice=f"Run `chmod 600 {path}`; if others may have read it, treat it as known.",
            )
        return HmacKey(f.read())
