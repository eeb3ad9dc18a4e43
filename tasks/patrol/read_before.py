"""What was said of files that were read before, in whatever repository: a manifest is parsed once (``ports.ByBlob``).

One SQLite file in our home. It spares work and decides nothing: it may be removed at any moment, a damaged one is made
anew, and what is kept under other options, rules or versions of a tool is another entry.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.types import digest
from tasks.lake.zst import pack, unpack

#: What nobody asked for so long is forgotten.
KEPT_DAYS = 90
#: Keys that are asked for at a time; SQLite takes 999 everywhere.
_AT_A_TIME = 500
_TABLE = """
    CREATE TABLE IF NOT EXISTS said (key TEXT PRIMARY KEY, body BLOB NOT NULL, day TEXT NOT NULL) WITHOUT ROWID
"""
#: So that forgetting reads days, not bodies.
_DAYS = "CREATE INDEX IF NOT EXISTS said_by_day ON said (day)"


class ReadBefore:
    """The file at ``path``. Thread-safe; several processes may use it at once. Nothing of it raises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def get(self, config_digest: str, keys: Collection[str]) -> dict[str, bytes]:
        """What is known of some files, by key, under one configuration of a scanner."""
        named = {digest(config_digest, k): k for k in keys}
        found: dict[str, bytes] = {}
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        with self._opened() as con:
            for some in _pieces(sorted(named)):
                marks = ",".join("?" * len(some))
                rows = con.execute(f"SELECT key, body, day FROM said WHERE key IN ({marks})", some).fetchall()
                for key, body, _ in rows:
                    try:
                        found[named[key]] = unpack(body)
                    except ValueError:
                        continue  # torn: the file is read again
                old = [(today, key) for key, _, day in rows if day != today]
                if old:
                    con.executemany("UPDATE said SET day = ? WHERE key = ?", old)
        return found

    def put(self, config_digest: str, said: Mapping[str, bytes]) -> None:
        """Keep what was said of some files."""
        today = f"{datetime.now(UTC):%Y-%m-%d}"
        rows = [(digest(config_digest, k), pack(body), today) for k, body in said.items()]
        with self._opened() as con:
            con.executemany("INSERT OR REPLACE INTO said VALUES (?, ?, ?)", rows)

    def forget(self, now: datetime) -> None:
        """Forget what nobody asked for in ``KEPT_DAYS``."""
        with self._opened() as con:
            con.execute("DELETE FROM said WHERE day < ?", [f"{now - timedelta(days=KEPT_DAYS):%Y-%m-%d}"])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A transaction. What goes wrong in it costs that a file is read once more, and nothing else."""
        with self._lock:
            con = self._connected() or self._connected() or _nothing()
            try:
                with con:
                    yield con
            except sqlite3.Error as e:
                self._doubt(e)
            finally:
                con.close()

    def _connected(self) -> sqlite3.Connection | None:
        """None: there is no place for it, or what lay there is no data base and was removed."""
        con = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            con = sqlite3.connect(self._path, timeout=30)
            con.execute(_TABLE)
            con.execute(_DAYS)
            return con
        except (sqlite3.Error, OSError) as e:
            if con is not None:
                con.close()
            self._doubt(e)
            return None

    def _doubt(self, error: Exception) -> None:
        """Remove what is no data base any more; a lock or a full disk passes."""
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
            with suppress(OSError):
                self._path.unlink(missing_ok=True)


def _nothing() -> sqlite3.Connection:
    """A data base in memory, where there is no place for one."""
    con = sqlite3.connect(":memory:")
    con.execute(_TABLE)
    return con


def _pieces(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _AT_A_TIME):
        yield keys[start : start + _AT_A_TIME]
