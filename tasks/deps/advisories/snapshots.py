"""Snapshots of all feeds in a folder: whole or absent, kept while somebody may compare with them, for use offline.

::

    parts/<what>-<checksum>.parquet   written once, never changed (``layers``)
    snapshots/<number>-<digest>.json  which parts a snapshot is made of; written last, so that it is there whole
    state.json                        what is not content: when each feed was asked, its validators, why it was refused
    keyed/                            parts made ready for matching (``keyed``); made anew where they are not there
    work/                             what is being fetched

A sync that changes nothing makes no snapshot: its id then says that nothing has to be matched again. A snapshot whose
files are not there, or not what they were, is passed over for the one before.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.errors import FeedError
from tasks.deps.advisories.layers import Layer, Part, read, read_part, sync_to_disk, without

_FORMAT = 1
_NAME = re.compile(r"\d{6,}-[0-9a-f]{12}")
#: Snapshots that are kept, the newest among them. Their lower layers are the same files.
_KEPT = 15
OSV, GROUPS = "osv/", "groups"
_GROUP_SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("group_id", pa.string())])


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a feed holds. ``as_of`` is the newest date in it; ``facts`` are counts for people."""

    layers: tuple[Layer, ...]
    records: int
    as_of: str | None = None
    parse_revision: int = 0
    facts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All feeds as they were at one time. Feeds are called ``osv/<ecosystem>``, ``kev``, ``epss`` and ``ssvc``."""

    id: str
    made_at: datetime
    feeds: Mapping[str, Content]
    folder: Path

    @property
    def parts(self) -> Path:
        """Where its files lie."""
        return self.folder / "parts"

    def ecosystems(self) -> list[str]:
        """The feeds of advisories."""
        return sorted(name for name in self.feeds if name.startswith(OSV))

    def advisories(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Every advisory once (columns: ``layers.ADVISORIES``). One that several feeds have is taken from the feed that
        has changed it last; ``reason`` is then of that feed alone."""
        found = [read(self.parts, self.feeds[name].layers, "advisories", columns) for name in self.ecosystems()]
        if not found:
            return read(self.parts, (), "advisories", columns)
        return without_rows(pa.concat_tables(found), self._repeated())

    def ranges(self, columns: Sequence[str] | None = None) -> pa.Table:
        """What the advisories say of packages (columns: ``layers.RANGES``), each feed of its own ecosystem."""
        found = [read(self.parts, self.feeds[name].layers, "ranges", columns) for name in self.ecosystems()]
        return pa.concat_tables(found) if found else read(self.parts, (), "ranges", columns)

    def matchable(self) -> pa.Table:
        """The ranges of advisories that are in force and can be compared with versions, with ``group_id``."""
        withdrawn = self.advisories(["advisory_id", "is_withdrawn"]).filter(pc.field("is_withdrawn"))
        rows = self.ranges().filter(pc.field("reason").is_null())
        rows = without(rows, withdrawn["advisory_id"].to_pylist())
        named = self.groups()
        where = pc.index_in(rows["advisory_id"], named["id"])
        return rows.append_column("group_id", pc.coalesce(named["group_id"].take(where), rows["advisory_id"]))

    def groups(self) -> pa.Table:
        """``id`` (of an advisory or an alias) and ``group_id`` of all that are in a group with others, or were; an
        advisory that is not there is a group of itself."""
        content = self.feeds.get(GROUPS)
        if content is None:
            return _GROUP_SCHEMA.empty_table()
        return read_part(self.parts, content.layers[0].parts[GROUPS])

    def enrichment(self, name: str) -> pa.Table | None:
        """The rows of ``kev``, ``epss`` or ``ssvc`` by ``cve``; None if the feed was never fetched."""
        content = self.feeds.get(name)
        return read_part(self.parts, content.layers[0].parts[name]) if content is not None else None

    def _repeated(self) -> list[int]:
        """Places of rows, over all feeds, of advisories that another feed has as well and newer."""
        told = [
            read(self.parts, self.feeds[n].layers, "advisories", ["advisory_id", "modified_at"])
            for n in self.ecosystems()
        ]
        rows = pa.concat_tables(told)
        counts = pc.value_counts(rows["advisory_id"])
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        if not len(twice):
            return []
        places = pc.indices_nonzero(pc.is_in(rows["advisory_id"], twice)).to_pylist()
        ids, times = rows["advisory_id"].take(places).to_pylist(), rows["modified_at"].take(places).to_pylist()
        best: dict[str, tuple[datetime, int]] = {}
        for place, one, time in zip(places, ids, times, strict=True):
            mine = (time or datetime.min.replace(tzinfo=UTC), -place)
            best[one] = max(best.get(one, mine), mine)
        kept = {-place for _, place in best.values()}
        return [p for p in places if p not in kept]


class Snapshots:
    """The snapshots below one folder. Written under ``lock``; read by anybody at any time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts, self.work = folder / "parts", folder / "work"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Write alone. Raises FeedError when another sync is at work."""
        for place in (self.parts, self.work, self.folder / "snapshots"):
            place.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FeedError(
                    "feed_unreachable", "another sync of advisories is at work", advice="Wait until it has ended."
                ) from None
            self._clear_work()
            try:
                yield
            finally:
                self._clear_work()

    def _clear_work(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(exist_ok=True)

    def ids(self) -> list[str]:
        """The snapshots there are, the newest first."""
        place = self.folder / "snapshots"
        found = [p.stem for p in place.glob("*.json") if _NAME.fullmatch(p.stem)] if place.is_dir() else []
        return sorted(found, key=lambda name: int(name.partition("-")[0]), reverse=True)

    def newest(self) -> Snapshot | None:
        """The newest snapshot that is whole; None before the first sync."""
        return next((s for s in map(self.open, self.ids()) if s is not None), None)

    def open(self, snapshot_id: str) -> Snapshot | None:
        """A snapshot, if it is kept and all its files are there with their sizes."""
        if not _NAME.fullmatch(snapshot_id):
            return None
        try:
            told = json.loads((self.folder / "snapshots" / f"{snapshot_id}.json").read_bytes())
            if told["format"] != _FORMAT:
                return None
            feeds = {name: _content(c) for name, c in told["feeds"].items()}
            made_at = datetime.fromisoformat(told["made_at"])
            whole = all((self.parts / p.name).stat().st_size == p.size_bytes for p in _parts(feeds.values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return Snapshot(id=snapshot_id, made_at=made_at, feeds=feeds, folder=self.folder) if whole else None

    def damaged(self, content: Content) -> str | None:
        """The first file of a feed that is not what was written; None if all are."""
        for part in _parts([content]):
            try:
                with (self.parts / part.name).open("rb") as f:
                    if hashlib.file_digest(f, "sha256").hexdigest() != part.sha256:
                        return part.name
            except OSError:
                return part.name
        return None

    def write(self, feeds: Mapping[str, Content], made_at: datetime) -> Snapshot:
        """The snapshot of these feeds: the newest one if it is the same, else a new one. Files nobody needs go."""
        told = {name: asdict(content) for name, content in sorted(feeds.items())}
        digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]
        ids = self.ids()
        newest = self.newest()
        if newest is not None and newest.id.endswith(digest):
            return newest
        number = int(ids[0].partition("-")[0]) + 1 if ids else 1
        name = f"{number:06d}-{digest}"
        text = json.dumps({"format": _FORMAT, "made_at": made_at.isoformat(), "feeds": told}, indent=1)
        sync_to_disk(self.parts)
        self._replace(self.folder / "snapshots" / f"{name}.json", text)
        self._tidy()
        return Snapshot(id=name, made_at=made_at, feeds=dict(feeds), folder=self.folder)

    def _tidy(self) -> None:
        """Remove snapshots that are too old to be asked for, and files of none."""
        ids = self.ids()
        for name in ids[_KEPT:]:
            (self.folder / "snapshots" / f"{name}.json").unlink(missing_ok=True)
        kept = [s for s in map(self.open, ids[:_KEPT]) if s is not None]
        wanted = {p.name for s in kept for p in _parts(s.feeds.values())}
        for path in self.parts.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)

    def state(self) -> dict[str, dict[str, Any]]:
        """What was noted of each feed; empty where nothing is, or what is there cannot be read."""
        with suppress(OSError, ValueError):
            told = json.loads((self.folder / "state.json").read_bytes())
            if isinstance(told, dict) and all(isinstance(v, dict) for v in told.values()):
                return told
        return {}

    def note(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Note what is known of each feed. Written after the snapshot: of what was cut off the feed is asked again."""
        self._replace(self.folder / "state.json", json.dumps(state, indent=1, default=str))

    def _replace(self, path: Path, text: str) -> None:
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        fresh.write_text(text)
        sync_to_disk(fresh)
        fresh.replace(path)
        sync_to_disk(path.parent)


def without_rows(table: pa.Table, places: Sequence[int]) -> pa.Table:
    """A table without the rows at these places."""
    if not places:
        return table
    left = pa.array(range(table.num_rows))
    return table.filter(pc.invert(pc.is_in(left, pa.array(places, pa.int64()))))


def _parts(contents: Iterable[Content]) -> Iterator[Part]:
    for content in contents:
        for layer in content.layers:
            yield from layer.parts.values()


def _content(told: dict[str, Any]) -> Content:
    layers = tuple(
        Layer(parts={what: Part(**part) for what, part in layer["parts"].items()}, removed=tuple(layer["removed"]))
        for layer in told["layers"]
    )
    return Content(**{**told, "layers": layers})
