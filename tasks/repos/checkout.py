"""Safe checkouts: regular files only, written from git objects, below one folder and nowhere else.

No filter ever runs (no line-end conversion, no ident, no LFS smudge): a tool sees the bytes of the blob.
"""

from __future__ import annotations

import bz2
import contextlib
import errno
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.types import Gap, Limits, TreeEntry, display_path
from tasks.repos.git import Git, failure

#: Names that some file system takes for ``.git``: any case, trailing dots or blanks, the short name, ignorable
#: code points (as git's own `is_hfs_dotgit` and `is_ntfs_dotgit` refuse them).
_DOT_GIT = re.compile(r"(?i)^(\.git|git~[0-9]+)[ .]*(:.*)?$")
_IGNORABLE = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
_TAR_HEAD = 512
#: First bytes, suffix, and what unpacks the head (gzip: RFC 1952; bzip2; xz).
_COMPRESSED: tuple[tuple[bytes, str, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", ".gz", lambda: zlib.decompressobj(31)),
    (b"BZh", ".bz2", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\x00", ".xz", lzma.LZMADecompressor),
)
_MAX_NAME, _MAX_PATH = 255, 3000
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """What was written: ``files`` by their path below the folder (surrogateescape), what was left out, and bytes."""

    files: dict[str, TreeEntry]
    gaps: tuple[Gap, ...]
    size_bytes: int


def write_checkout(git: Git, mirror: Path, entries: Iterable[TreeEntry], dest: Path, limits: Limits) -> Checkout:
    """Write files of a tree below ``dest`` (an empty folder). What cannot be written is a gap with its reason.

    Limits bite in path order, so that the same tree always gives the same checkout.
    """
    gaps: list[Gap] = []
    wanted: list[TreeEntry] = []
    total = 0
    for e in sorted(entries, key=lambda e: e.path):
        reason = _refused(e, limits)
        if reason is None and len(wanted) >= limits.max_files:
            reason = "too_many_files"
        if reason is None and total + e.size_bytes > limits.max_total_bytes:
            reason = "total_size"
        if reason is not None:
            gaps.append(Gap(path=display_path(e.path), reason_code=reason, blob=e.blob))
            continue
        wanted.append(e)
        total += e.size_bytes
    by_blob: dict[str, list[TreeEntry]] = {}
    for e in wanted:
        by_blob.setdefault(e.blob, []).append(e)
    files: dict[str, TreeEntry] = {}

    def receive(oid: str, data: bytes | None) -> None:
        for e in by_blob[oid]:
            reason = "object_missing" if data is None else _write(dest, e.path, data)
            if reason is None:
                files[os.fsdecode(e.path)] = e
            else:
                gaps.append(Gap(path=display_path(e.path), reason_code=reason, blob=e.blob))

    stream_blobs(git, mirror, list(by_blob), receive)
    return _checkout(dict(sorted(files.items())), tuple(gaps))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blobs:
    """Blobs written as files: ``plain`` ones below ``plain/`` of the folder, compressed ones below ``packed/``."""

    plain: Checkout
    packed: Checkout


def write_blobs(git: Git, mirror: Path, entries: Iterable[TreeEntry], dest: Path, limits: Limits) -> Blobs:
    """Write blobs as files below ``dest``, by the paths of their entries.

    A compressed file gets the suffix of its kind, because a tool that unpacks archives goes by the name, and lies
    apart. Too large and missing ones are gaps of ``plain`` without a path: which places they stand at is a question
    of the history.
    """
    gaps: list[Gap] = []
    wanted: dict[str, TreeEntry] = {}
    for e in entries:
        if e.size_bytes > limits.max_file_bytes:
            gaps.append(Gap(path="", reason_code="too_large", blob=e.blob))
        else:
            wanted[e.blob] = e
    written: dict[str, dict[str, TreeEntry]] = {"plain": {}, "packed": {}}
    for kind in written:
        (dest / kind).mkdir(exist_ok=True)

    def receive(oid: str, data: bytes | None) -> None:
        if data is None:
            gaps.append(Gap(path="", reason_code="object_missing", blob=oid))
            return
        suffix = _compressed_suffix(data)
        kind, path = "packed" if suffix else "plain", wanted[oid].path + suffix.encode()
        _write(dest / kind, path, data)
        written[kind][os.fsdecode(path)] = replace(wanted[oid], path=path, size_bytes=len(data))

    stream_blobs(git, mirror, list(wanted), receive)
    return Blobs(plain=_checkout(written["plain"], tuple(gaps)), packed=_checkout(written["packed"], ()))


def _checkout(files: dict[str, TreeEntry], gaps: tuple[Gap, ...]) -> Checkout:
    return Checkout(files=files, gaps=gaps, size_bytes=sum(e.size_bytes for e in files.values()))


def _compressed_suffix(data: bytes) -> str:
    """``.gz``, ``.tar.gz``, ``.zip`` and the like by the first bytes; empty for anything else."""
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return ".zip"
    for magic, suffix, opener in _COMPRESSED:
        if data.startswith(magic):
            try:
                head = opener().decompress(data, _TAR_HEAD)
            except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                return suffix
            return f".tar{suffix}" if head[257:262] == b"ustar" else suffix
    return ""


def read_blobs(git: Git, mirror: Path, oids: list[str]) -> dict[str, bytes]:
    """The content of a few small blobs; missing ones are left out."""
    found: dict[str, bytes] = {}

    def receive(oid: str, data: bytes | None) -> None:
        if data is not None:
            found[oid] = data

    stream_blobs(git, mirror, oids, receive)
    return found


def stream_blobs(git: Git, mirror: Path, oids: list[str], receive: Callable[[str, bytes | None], None]) -> None:
    """Hand over the content of each blob, one at a time, in the order asked for; None for what is none or missing.

    Memory holds one blob. Raises ScanGapError when git dies in the middle.
    """
    if not oids:
        return
    parser = _BatchParser(receive)
    done = git.run(
        ["cat-file", "--batch", "--buffer"], mirror=mirror, stdin="\n".join(oids).encode() + b"\n", sink=parser.feed
    )
    if done.exit_code != 0 or parser.count != len(oids):
        raise failure(done) if done.exit_code != 0 else ScanGapError("corrupt", "git cat-file ended too early")


class _BatchParser:
    """Reads the stream of ``git cat-file --batch``: `<oid> <type> <size>LF<content>LF` or `<oid> missingLF`."""

    def __init__(self, receive: Callable[[str, bytes | None], None]) -> None:
        self._receive = receive
        self._buffer = bytearray()
        self._oid = ""
        self._need: int | None = None
        self._is_blob = False
        self.count = 0

    def feed(self, chunk: bytes) -> None:
        self._buffer += chunk
        while True:
            if self._need is None:
                end = self._buffer.find(b"\n")
                if end < 0:
                    return
                fields = bytes(self._buffer[:end]).decode("ascii", "replace").split(" ")
                del self._buffer[: end + 1]
                if len(fields) != 3 or not fields[2].isdigit():
                    self.count += 1
                    self._receive(fields[0], None)
                    continue
                self._oid, self._need = fields[0], int(fields[2])
                self._is_blob = fields[1] == "blob"
            if len(self._buffer) < self._need + 1:
                return
            data = bytes(self._buffer[: self._need])
            del self._buffer[: self._need + 1]
            self._need = None
            self.count += 1
            self._receive(self._oid, data if self._is_blob else None)


def _refused(e: TreeEntry, limits: Limits) -> str | None:
    """Why an entry is not written at all."""
    if not _safe(e.path):
        return "unsafe_path"
    if e.size_bytes < 0:
        return "object_missing"
    return "too_large" if e.size_bytes > limits.max_file_bytes else None


def _safe(path: bytes) -> bool:
    """Whether a path stays below its folder and does not enter anything called ``.git``."""
    if not path or len(path) > _MAX_PATH or path.startswith(b"/") or b"\0" in path:
        return False
    for part in path.split(b"/"):
        if part in (b"", b".", b"..") or len(part) > _MAX_NAME:
            return False
        text = _IGNORABLE.sub("", part.decode("utf-8", "surrogateescape"))
        if _DOT_GIT.match(text.split("\\")[0]) or _DOT_GIT.match(text):
            return False
    return True


def _write(dest: Path, path: bytes, data: bytes) -> str | None:
    """Write one file through directory handles, following no link. Returns a reason if a name is in the way."""
    parts = path.split(b"/")
    here = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=here)
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            os.close(here)
            here = below
        fd = os.open(parts[-1], _FILE_FLAGS, 0o644, dir_fd=here)
        with os.fdopen(fd, "wb") as f:
            f.write(data)
    except OSError as e:
        # A hostile tree may hold a file and a folder of one name, or names this file system cannot hold.
        if e.errno in (
            errno.EEXIST,
            errno.ENOTDIR,
            errno.EISDIR,
            errno.ELOOP,
            errno.ENAMETOOLONG,
            errno.EILSEQ,
            errno.EINVAL,
        ):
            return "unsafe_path"
        raise
    finally:
        os.close(here)
    return None
