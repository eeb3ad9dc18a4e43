"""Where a lake lies: a folder here, S3 in ``tasks.lake.s3_place``. What is not Delta itself is kept through this port.

Keys are names below the lake, with ``/`` between their parts. What ``write``, ``create`` or ``writing`` has returned
from survives a crash; before that a reader finds the old content, or none.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from tasks.core.errors import LakeError

#: How often a run that waits looks whether the lake is free, in seconds.
_POLL_S = 0.5
#: Whoever only looks who has the lock has given it back after so long.
_LOOK_S = 0.02
_UNKNOWN = "unknown"
#: delta-rs joins an error and its cause by a coloured arrow.
_ARROW = re.compile(r"\s*\x1b\[[0-9;]*m\u21b3\x1b\[[0-9;]*m\s*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One kept object. ``modified_at`` is by the storage's own clock, ``tag`` changes with the content."""

    key: str
    size_bytes: int
    modified_at: datetime
    tag: str = ""


class DeafStorageError(LakeError):
    """The storage writes what it is told to write only on a condition that does not hold."""


class Held(Protocol):
    """The lake's lock while somebody has it."""

    @property
    def lost(self) -> bool:
        """Whether another run may have taken it."""
        ...


#: Told, as a line for people, who holds the lake that a run waits for.
Teller = Callable[[str], None]


class Place(Protocol):
    """The storage of one lake. Thread-safe. Every call raises LakeError when the storage fails."""

    @property
    def uri(self) -> str:
        """What Delta tables are opened below."""
        ...

    @property
    def root(self) -> Path:
        """The folder below which ``fetched`` puts files: the lake itself, or a cache."""
        ...

    @property
    def is_here(self) -> bool:
        """Whether the lake's files lie on this machine, so that reading one costs no request."""
        ...

    @property
    def lock_is_sure(self) -> bool:
        """Whether the lock cannot be lost while its holder lives, however long that sleeps."""
        ...

    def delta_options(self) -> dict[str, str] | None:
        """What delta-rs needs to know to open a table, with credentials that are fresh."""
        ...

    def plain(self, error: Exception) -> str:
        """The text of a library's error in one line, without any secret."""
        ...

    def read(self, key: str) -> bytes:
        """Raises FileNotFoundError."""
        ...

    def tail(self, key: str, size_bytes: int) -> bytes:
        """The last bytes; all when there are fewer. Raises FileNotFoundError."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Write whole, in the place of what was there."""
        ...

    def create(self, key: str, data: bytes) -> bool:
        """Write whole unless it is there. Of several that try at once exactly one is told True."""
        ...

    def writing(self, key: str, *, durable: bool = True, tag: str | None = None) -> AbstractContextManager[Path]:
        """A local file to write to; it is in place when the block ends without an exception.

        ``durable`` False spares a folder's flush. With ``tag`` (empty: nothing was there) an object that somebody
        else has changed since is left as it is, where the storage knows more than one writer: raises LakeError.
        """
        ...

    def fetched(self, keys: Sequence[str]) -> list[Path]:
        """Local files with the content of objects that never change. Raises FileNotFoundError."""
        ...

    def entries(self, prefix: str) -> Iterator[Entry]:
        """All objects whose key begins with ``prefix``, which ends in ``/`` or is empty."""
        ...

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; one that is gone already is no error."""
        ...

    def now(self) -> datetime:
        """The time by the storage's clock."""
        ...

    def lock(self, wait_s: float, tell: Teller) -> AbstractContextManager[Held]:
        """Hold the lake alone, after waiting at most so long for who holds it. Raises LakeError naming the holder."""
        ...

    def holder(self) -> str | None:
        """Who has the lock at this moment; None when nobody has."""
        ...

    def check_conditions(self) -> None:
        """Raises DeafStorageError: two runs could write over each other, whatever ``create`` says."""
        ...


class FolderPlace:
    """A lake in a folder of this machine."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    @property
    def uri(self) -> str:
        """As ``Place`` says."""
        return str(self._root)

    @property
    def root(self) -> Path:
        """As ``Place`` says."""
        return self._root

    @property
    def is_here(self) -> bool:
        """As ``Place`` says."""
        return True

    @property
    def lock_is_sure(self) -> bool:
        """As ``Place`` says."""
        return True

    def delta_options(self) -> dict[str, str] | None:
        """As ``Place`` says."""
        return None

    def plain(self, error: Exception) -> str:
        """As ``Place`` says."""
        return _ARROW.sub(": ", str(error))

    def read(self, key: str) -> bytes:
        """As ``Place`` says."""
        with self._told(key):
            return (self._root / key).read_bytes()

    def tail(self, key: str, size_bytes: int) -> bytes:
        """As ``Place`` says."""
        with self._told(key), (self._root / key).open("rb") as f:
            f.seek(max(0, f.seek(0, os.SEEK_END) - size_bytes))
            return f.read()

    def exists(self, key: str) -> bool:
        """As ``Place`` says."""
        return (self._root / key).is_file()

    def write(self, key: str, data: bytes) -> None:
        """As ``Place`` says."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        self._flushed(path, data).replace(path)

    def create(self, key: str, data: bytes) -> bool:
        """As ``Place`` says."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        tmp = self._flushed(path, data)
        try:
            os.link(tmp, path)
        except FileExistsError:
            return False
        finally:
            tmp.unlink()
        return True

    @staticmethod
    def _flushed(path: Path, data: bytes) -> Path:
        tmp = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with tmp.open("wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
        except OSError:  # of a full disk nothing may be left that takes more of it
            tmp.unlink(missing_ok=True)
            raise
        return tmp

    @contextmanager
    def writing(self, key: str, *, durable: bool = True, tag: str | None = None) -> Iterator[Path]:
        """As ``Place`` says."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not beside the file: people glob there.
        tmp = self._root / f".{path.name}.{uuid.uuid4().hex[:8]}"
        try:
            yield tmp
            if durable:
                with tmp.open("rb") as f:
                    os.fsync(f.fileno())
            tmp.replace(path)
        except Exception:
            tmp.unlink(missing_ok=True)
            raise

    def fetched(self, keys: Sequence[str]) -> list[Path]:
        """As ``Place`` says."""
        return [self._root / key for key in keys]

    def entries(self, prefix: str) -> Iterator[Entry]:
        """As ``Place`` says."""
        try:
            found = sorted(os.scandir(self._root / prefix), key=lambda e: e.name)
        except FileNotFoundError:
            return
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield from self.entries(f"{prefix}{entry.name}/")
            else:
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # removed since the folder was read
                yield Entry(
                    key=prefix + entry.name,
                    size_bytes=info.st_size,
                    modified_at=datetime.fromtimestamp(info.st_mtime, UTC),
                )

    def remove(self, keys: Iterable[str]) -> None:
        """As ``Place`` says."""
        for key in keys:
            path = self._root / key
            path.unlink(missing_ok=True)
            # A folder of a folder that holds nothing any more stands for nothing.
            while (path := path.parent) != self._root and path.parent != self._root:
                try:
                    path.rmdir()
                except OSError:
                    break

    def now(self) -> datetime:
        """As ``Place`` says."""
        return datetime.now(UTC)

    @contextmanager
    def lock(self, wait_s: float, tell: Teller) -> Iterator[Held]:
        """As ``Place`` says."""
        # The kernel releases the lock when the process dies.
        fd = os.open(self._root / "_lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            waiting = None
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if waiting is None:
                        time.sleep(_LOOK_S)
                        waiting = Waiting(str(self._root), wait_s, tell)
                    else:
                        waiting.on(_holder(os.pread(fd, 400, 0)), _POLL_S)
            os.ftruncate(fd, 0)
            os.pwrite(fd, " ".join(card().values()).encode(), 0)
            yield _ALWAYS
        finally:
            os.close(fd)

    def holder(self) -> str | None:
        """As ``Place`` says."""
        try:
            fd = os.open(self._root / "_lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            # The kernel tells only whoever wants it too: with others that look, and for a moment.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(os.pread(fd, 400, 0))
        finally:
            os.close(fd)
        return None

    def check_conditions(self) -> None:
        """As ``Place`` says."""

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as e:
            raise LakeError(
                f"{self._root / key} cannot be read: {e.strerror}", advice="Mend the disk, then run again."
            ) from e


@dataclass(frozen=True, slots=True)
class _Always:
    lost: bool = False


_ALWAYS = _Always()


def card() -> dict[str, str]:
    """Who we are, for others that wait for us."""
    return {
        "pid": str(os.getpid()),
        "host": socket.gethostname() or _UNKNOWN,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(told: bytes) -> str:
    parts = told.decode("ascii", "replace").split()
    return named(dict(zip(("pid", "host", "since"), parts, strict=False)))


def named(told: Mapping[str, str]) -> str:
    """The words for a holder."""
    where = f" on {told['host']}" if told.get("host") else ""
    since = f", since {told['since']}" if told.get("since") else ""
    return f"pid {told.get('pid', _UNKNOWN)}{where}{since}"


class Waiting:
    """The patience of one run that waits for another; tells each new holder once."""

    def __init__(self, place: str, wait_s: float, tell: Teller) -> None:
        self._place, self._tell, self._told = place, tell, ""
        self._wait_s, self._until = wait_s, time.monotonic() + wait_s

    def on(self, holder: str, poll_s: float) -> None:
        """Sleep a moment. Raises LakeError when the patience is over."""
        left = self._until - time.monotonic()
        if left <= 0:
            waited = f"; waited {self._wait_s / 60:g} minutes" if self._wait_s else ""
            raise LakeError(
                f"another run ({holder}) works on {self._place}{waited}",
                advice="Wait for it, or end it; nothing is lost.",
            ) from None
        if holder != self._told:
            self._told = holder
            self._tell(f"waiting for another run ({holder}), at most {max(left / 60, 0.1):.1f} more minutes")
        time.sleep(min(poll_s, left))
