"""Ranges that were made ready and kept: the same as made now, made once, and never believed when they are not whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.deps import ordering
from tasks.deps.advisories import keyed
from tasks.deps.advisories.fetching import Timing, WebPlace
from tasks.deps.advisories.keyed import prepared
from tasks.deps.advisories.snapshots import Snapshot, Snapshots
from tasks.deps.advisories.syncing import Feed, sync
from tasks.deps.prepared import RANGES, Prepared, prepare
from tests.osv_server import OsvServer, record, serving

NOW = datetime(2026, 4, 1, tzinfo=UTC)
RECORDS = [record(n) for n in range(1, 21)]


@pytest.fixture
def server() -> Iterator[OsvServer]:
    with serving() as running:
        running.export("PyPI", RECORDS)
        yield running


@pytest.fixture
def store(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "advisories")


def synced(store: Snapshots, server: OsvServer) -> Snapshot:
    place = WebPlace(server.url, timing=Timing(sleep=lambda _s: None, read_s=5))
    snapshot = sync(store, (Feed(name="osv/PyPI", address=server.url, place=place),), now=NOW).snapshot
    assert snapshot is not None
    return snapshot


def made_now(snapshot: Snapshot) -> list[tuple[Any, ...]]:
    rows = snapshot.matchable()
    named = rows.rename_columns(["range_type" if c == "type" else c for c in rows.column_names])
    return in_order(prepare(named.select(RANGES.names), ordering.key))


def in_order(ready: Prepared) -> list[tuple[Any, ...]]:
    return sorted((tuple(r.values()) for r in ready.rows.to_pylist()), key=repr)


def files(store: Snapshots) -> set[Path]:
    return set((store.folder / "keyed").iterdir())


def test_what_is_kept_is_what_would_be_made_after_every_night(store: Snapshots, server: OsvServer) -> None:
    first = synced(store, server)
    (kept,) = files(store)
    assert in_order(prepared(first)) == made_now(first) != []
    changed = [*RECORDS[:19], record(77, "rake")]
    changed[4] = record(5, "spade", modified="2026-03-30T10:00:00Z")
    changed[5] |= {"withdrawn": "2026-03-31T00:00:00Z", "modified": "2026-03-31T00:00:00Z"}
    server.export("PyPI", changed)
    written = kept.stat().st_mtime_ns
    second = synced(store, server)
    assert in_order(prepared(second)) == made_now(second)
    assert {r["advisory_id"] for r in prepared(second).rows.to_pylist()} >= {"TEST-2026-0077"}
    assert not {r["advisory_id"] for r in prepared(second).rows.to_pylist()} & {"TEST-2026-0006", "TEST-2026-0020"}
    assert kept.stat().st_mtime_ns == written and len(files(store)) == 2, "a night makes its own layer ready alone"
    assert in_order(prepared(first)) == made_now(first), "the snapshot before is what it was"


def test_no_version_is_asked_for_its_place_again(
    store: Snapshots, server: OsvServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = synced(store, server)
    expected = made_now(snapshot)
    monkeypatch.setattr(keyed, "prepare", None)
    assert in_order(prepared(snapshot)) == expected


def test_another_grammar_makes_all_anew_and_what_is_old_goes(
    store: Snapshots, server: OsvServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = synced(store, server)
    (old,) = files(store)
    monkeypatch.setattr(ordering, "REVISION", ordering.REVISION + 1)
    monkeypatch.setattr(ordering, "key", lambda _e, version: version.encode()[::-1])
    turned = in_order(prepared(snapshot))
    assert turned == made_now(snapshot) and old in files(store) and len(files(store)) == 2
    server.export("PyPI", [*RECORDS, record(77, "rake")])
    synced(store, server)
    assert old not in files(store) and len(files(store)) == 2


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "another", "gone"])
def test_what_is_not_whole_is_made_anew(store: Snapshots, server: OsvServer, damage: str) -> None:
    snapshot = synced(store, server)
    (kept,) = files(store)
    whole = kept.read_bytes()
    if damage == "flipped":
        kept.write_bytes(whole[:30] + bytes([whole[30] ^ 0x55]) + whole[31:])
    elif damage == "another":
        pq.write_table(snapshot.groups(), kept)
    elif damage == "gone":
        kept.unlink()
    else:
        kept.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"")
    assert in_order(prepared(snapshot)) == made_now(snapshot)
    assert kept.read_bytes() == whole


def test_a_home_that_cannot_be_written_to_costs_time_alone(store: Snapshots, server: OsvServer) -> None:
    snapshot = synced(store, server)
    (kept,) = files(store)
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder")
    assert in_order(prepared(snapshot)) == made_now(snapshot)
