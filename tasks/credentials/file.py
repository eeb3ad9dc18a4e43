"""``file:PATH``: the content of a file, without its last line break.

The file must not be open to others (``mode & 0o077``) where that is ours to change: where we own it and its mount can
be written. Secrets that a platform mounts (Kubernetes, Docker, systemd) are often readable by all, belong to root and
lie on a read-only mount inside a container of their own: who sees them is the platform's decision. A file that
everybody may write is refused whoever owns it, unless its mount is read-only.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import SecretError
from tasks.core.secret_refs import Secret, SecretRef

MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The file system as a store."""

    def read(self, ref: SecretRef) -> Secret:
        """The content of the file. Raises SecretError: it is not there, no file, open to others, too large, no text."""
        try:
            path = Path(ref.place).expanduser()
        except RuntimeError:
            raise SecretError(f"{ref}: there is no such user", advice="Write the whole path of the file.") from None
        if not path.is_absolute():
            raise SecretError(f"{ref}: the path is not absolute", advice="Write the whole path of the file.")
        try:
            # A named pipe that nobody writes to would hold us for ever.
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                content = _content(ref, path, fd)
            finally:
                os.close(fd)
        except OSError as e:
            raise SecretError(
                f"{ref}: {e.strerror or 'it cannot be read'}",
                advice="The file must be there, and readable by the user that runs nightwarden.",
            ) from None
        if len(content) > MAX_BYTES:
            raise SecretError(f"{ref}: it is larger than {MAX_BYTES // 1024} KiB", advice="A secret is smaller.")
        return Secret(_text(ref, content))


def _content(ref: SecretRef, path: Path, fd: int) -> bytes:
    info = os.fstat(fd)
    if not stat.S_ISREG(info.st_mode):
        raise SecretError(f"{ref}: it is no regular file", advice="Name the file that holds the secret.")
    read_only = bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)
    if fault := exposed(info, own_uid=os.geteuid(), read_only=read_only):
        raise SecretError(f"{ref}: {fault}", advice=f"Run `chmod 600 {path}`; if others may have read it, replace it.")
    return os.read(fd, MAX_BYTES + 1)


def exposed(info: os.stat_result, *, own_uid: int, read_only: bool) -> str:
    """In words, why a file is open to others where it should not be; empty where it is not, or not ours to change."""
    mode = stat.S_IMODE(info.st_mode)
    if mode & stat.S_IWOTH and not read_only:
        return f"everybody may write it (mode {mode:o})"
    if mode & 0o077 and info.st_uid == own_uid and not read_only:
        return f"it may be read by others (mode {mode:o})"
    return ""


def _text(ref: SecretRef, content: bytes) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:  # its message quotes the byte
        raise SecretError(
            f"{ref}: it is not UTF-8", advice="The file holds the secret as text, nothing else."
        ) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text.strip():
        raise SecretError(f"{ref}: it is empty", advice="Write the secret into it.")
    return text


FILES = Files()
