"""Secret values looked for in all that a program leaves or shows: in whatever form, in whatever file or table.

What is compressed is read as well as looked at as it lies; SQLite's tables are read row by row, BLOBs as bytes; a value
that is wrapped over lines, as in PEM or base64, is found without its line breaks.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import pyarrow.parquet as pq

from tasks.lake import zst

#: Ends of a value that are looked for by themselves, characters; none of a shorter value than twice that.
_END = 12
#: Line breaks, as they are and as JSON and Python write them, with what indents or quotes the next line.
_BREAKS = re.compile(rb"(?:\\+[rn]|[\r\n])[\r\n\t \"'>|]*")

#: gzip in base64, as its first three bytes begin.
_PACKED = re.compile(rb"H4sI[A-Za-z0-9+/]{16,}={0,2}")


def forms(value: str) -> set[bytes]:
    """What is looked for: the value as it is, its two ends, escaped, reversed, hex, URL, base64 wherever it begins."""
    raw = value.encode()
    found = {raw, raw[::-1], raw.hex().encode(), raw.hex().upper().encode(), quote(value, safe="").encode()}
    found |= {quote(value).encode(), json.dumps(value)[1:-1].encode(), repr(value)[1:-1].encode()}
    found |= {raw.decode("latin-1").encode("utf-16-le")}
    if len(raw) >= 2 * _END:
        found |= {raw[:_END], raw[-_END:]}
    for before in range(3):  # it may stand in a longer text that is in base64
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            whole = encode(b"\0" * before + raw + b"\0" * 2)
            found.add(whole[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6])
    return {form for form in found if len(form) >= 8}


def needles(values: Mapping[str, str]) -> dict[bytes, str]:
    """All forms of values by name; of one with many lines each line that is long."""
    found: dict[bytes, str] = {}
    for name, value in values.items():
        parts = [line for line in value.splitlines() if len(line) >= 2 * _END and not line.startswith("-----")]
        for part in parts if "\n" in value.strip() else [value]:
            found |= dict.fromkeys(forms(part), name)
    return found


def leaks(sinks: Iterable[tuple[str, bytes]], wanted: Mapping[bytes, str]) -> set[tuple[str, str]]:
    """(sink, name of the value) of every value that stands in a sink. The values are not told."""
    found = set()
    for sink, data in sinks:
        text = _BREAKS.sub(b"", data)
        found |= {(sink, name) for needle, name in wanted.items() if needle in text}
    return found


def left_behind(place: Path, holds: Callable[[str], bool] = lambda _name: False) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, as stored and as it reads, but those that ``holds`` says are there to hold values."""
    for path in sorted(p for p in place.rglob("*") if p.is_file() and not p.is_symlink()):
        name = str(path.relative_to(place))
        if holds(name):
            continue
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # it went meanwhile
        yield name, data
        if path.suffix == ".parquet":
            yield f"{name} (read)", repr(pq.ParquetFile(path).read().to_pylist()).encode()
        if path.suffix == ".zst":
            yield f"{name} (read)", zst.unpack(data)
        if path.suffix == ".html":  # a report holds its tables so
            for packed in _PACKED.findall(data):
                yield f"{name} (read)", gzip.decompress(base64.b64decode(packed))
        if path.suffix == ".gz":
            yield f"{name} (read)", gzip.decompress(data)
        if data.startswith(b"SQLite format 3"):
            yield from _tables(path, name)


def _tables(path: Path, name: str) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = db.execute(f'SELECT * FROM "{table}"').fetchall()
            values = [v if isinstance(v, bytes) else str(v).encode() for row in rows for v in row]
            yield f"{name} {table}", b"\0".join(values)


@contextmanager
def watched_processes() -> Iterator[set[bytes]]:
    """Arguments and variables of all processes, as often as it goes while the block lasts."""
    seen: set[bytes] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        seen.update((process / name).read_bytes().split(b"\0"))
                    except OSError:
                        continue
            stop.wait(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        stop.set()
        watcher.join()
