"""Files of a lake on S3 that were fetched to this machine: read again, they cost no request.

Only objects that never change are kept here (Parquet files of Delta tables, which have unique names). Runs and readers
share a cache, so what was used within the last hour is never removed, even where that is more than the bound.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

#: Seconds for which a file that was used is left alone; and part files of killed processes.
_IN_USE_S = 3600.0
#: How every Parquet file ends.
_END = b"PAR1"


class FileCache:
    """A folder of at most ``max_bytes``, as far as what is in use allows."""

    def __init__(self, root: Path, max_bytes: int) -> None:
        self.root = root
        self._max_bytes = max_bytes
        #: Bytes fetched by this process, for whoever wants to tell.
        self.fetched_bytes = 0

    def has(self, key: str) -> bool:
        """Whether the file is here and whole; it then counts as used."""
        path = self.root / key
        try:
            with path.open("rb") as f:
                # After a power cut it may be there without its end: nothing here is flushed, for it can be fetched.
                f.seek(max(0, f.seek(0, os.SEEK_END) - len(_END)))
                whole = f.read() == _END
            os.utime(path)
        except FileNotFoundError:
            return False
        return whole

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A name for a file that does not exist yet; removed afterwards unless it was kept."""
        folder = self.root / ".part"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        tmp = folder / uuid4().hex
        try:
            yield tmp
        finally:
            tmp.unlink(missing_ok=True)

    def keep(self, tmp: Path, key: str) -> None:
        """Take a whole file in under its key."""
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        tmp.replace(path)

    def drop(self, keys: Sequence[str]) -> None:
        """Forget files that are removed from the lake."""
        for key in keys:
            (self.root / key).unlink(missing_ok=True)

    def make_room(self, wanted: Sequence[str]) -> None:
        """Remove what was not used for longest, until the bound is kept; never what is wanted or in use."""
        keep = {self.root / key for key in wanted}
        now, total = time.time(), 0
        found = []
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    info = path.stat()
                    found.append((info.st_mtime, info.st_size, path))
                    total += info.st_size
        for used, size, path in sorted(found, key=lambda f: f[0]):
            if total <= self._max_bytes or now - used < _IN_USE_S:
                break
            if path not in keep:
                path.unlink(missing_ok=True)
                total -= size
