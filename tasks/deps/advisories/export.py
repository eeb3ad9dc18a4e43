"""The two files of an ecosystem in the public OSV export: the list of what changed when, and the zip of all records.

https://google.github.io/osv.dev/data/#data-dumps: ``<ecosystem>/all.zip`` holds one ``<ID>.json`` a record;
``<ecosystem>/modified_id.csv`` has lines ``modified,id``, newest first. Both are read as hostile.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.errors import FeedError

LIST, ZIP = "modified_id.csv", "all.zip"
#: What an id may be: a file name without a folder, an option or a dot file.
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,127}")
MAX_LIST_BYTES = 256 * 1024**2
MAX_ZIP_BYTES = 4 * 1024**3
MAX_RECORD_BYTES = 16 * 1024**2
_MAX_ENTRIES = 3_000_000
#: All records together, unpacked. The public export has about 5 GB.
_MAX_UNPACKED_BYTES = 64 * 1024**3
#: And how many times the zip, past the first megabytes. OSV's text comes to 9 times.
_MAX_RATIO, _RATIO_FROM = 100, 64 * 1024**2
_LONGEST_LINE = 300
#: The share of records, and their number, that may be refused before it is another file.
_FAULTY, _FAULTY_FROM = 0.01, 5
#: Before it no advisory was written: what says so has no date. The Go data base says 0001-01-01.
_FIRST_YEAR = 1990


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A record that could not be taken, by its id, or by its place where it has none."""

    record: str
    why: str


def read_list(path: Path) -> dict[str, str]:
    """``modified`` (as written) by id, in the order of the file, which is newest first.

    Raises FeedError(feed_invalid): it is no such list, or ends in the middle of a line.
    """
    found: dict[str, str] = {}
    wrong = lines = 0
    with path.open("rb") as f:
        while line := f.readline(_LONGEST_LINE):
            lines += 1
            if not line.endswith(b"\n"):
                raise invalid(f"{LIST} ends in the middle of line {lines}, or that is too long")
            modified, comma, record = line.decode("ascii", "replace").strip().partition(",")
            if not comma or not ID.fullmatch(record) or time_of(modified) is None or record in found:
                wrong += 1
                if too_many(wrong, lines) and wrong > 1000:
                    break
            else:
                found[record] = modified
    if not found or too_many(wrong, lines):
        raise invalid(f"{LIST} is no list of `modified,id`: {wrong} of {lines} lines are none")
    return found


def time_of(text: object) -> datetime | None:
    """A time of OSV (RFC 3339), in UTC; None for what is none."""
    if not isinstance(text, str) or len(text) > 40:
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        # 0001-01-01 of a zone east of Greenwich is before all time.
        return None


def dated(text: object) -> datetime | None:
    """A time of OSV that is one: None for the year 1, which says that nobody knows."""
    found = time_of(text)
    return found if found is not None and found.year >= _FIRST_YEAR else None


def records_of(path: Path) -> Iterator[tuple[str, bytes] | Refused]:
    """Every record of a zip, as (id by its file's name, bytes), or why not.

    Raises FeedError(feed_invalid): it is no zip, cut off, a bomb, or mostly something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield from _entries(archive, path.stat().st_size)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, OSError, EOFError, ValueError, NotImplementedError) as e:
        raise invalid(f"{ZIP} is no whole zip: {e}") from None


def _entries(archive: zipfile.ZipFile, size_bytes: int) -> Iterator[tuple[str, bytes] | Refused]:
    entries = archive.infolist()
    if len(entries) > _MAX_ENTRIES:
        raise invalid(f"{ZIP} holds more than {_MAX_ENTRIES} files")
    unpacked = wrong = 0
    seen: set[str] = set()
    for n, entry in enumerate(entries):
        record, dot, kind = entry.filename.rpartition(".")
        if not dot or kind != "json" or not ID.fullmatch(record):
            told: tuple[str, bytes] | Refused = Refused(record=f"entry {n}", why="its name is none of a record")
        elif record in seen:
            told = Refused(record=record, why="it is there twice")
        else:
            seen.add(record)
            told = _unpacked(archive, entry, record)
        if isinstance(told, Refused):
            wrong += 1
            # Told in the end, unless there are more than a bomb or another file should cost.
            if wrong > 1000 and too_many(wrong, n + 1):
                break
        else:
            unpacked += len(told[1])
            if unpacked > min(_MAX_UNPACKED_BYTES, max(_RATIO_FROM, size_bytes * _MAX_RATIO)):
                raise invalid(f"{ZIP} unpacks to more than {unpacked // 1024**2} MiB, which no such feed does")
        yield told
    if not seen or too_many(wrong, len(entries)):
        raise invalid(f"{ZIP} is not the zip of an ecosystem: {wrong} of {len(entries)} files are no records")


def _unpacked(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, record: str) -> tuple[str, bytes] | Refused:
    """Its bytes, at most so many as a record may have, whatever the zip says of its size. The zip's checksum holds."""
    try:
        with archive.open(entry) as stream:
            content = stream.read(MAX_RECORD_BYTES + 1)
            if len(content) > MAX_RECORD_BYTES:
                return Refused(record=record, why=f"it is larger than {MAX_RECORD_BYTES // 1024**2} MiB")
            if stream.read(1):
                return Refused(record=record, why="it does not end")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as e:
        return Refused(record=record, why=f"it cannot be unpacked: {type(e).__name__}")
    return record, content


def too_many(wrong: int, of: int) -> bool:
    """Whether so many refused records mean that the whole is something else."""
    return wrong > _FAULTY_FROM and wrong > of * _FAULTY


def invalid(said: str) -> FeedError:
    """What a feed sent is none of it."""
    return FeedError("feed_invalid", said, advice="The last good snapshot stays in force; look at the address by hand.")
