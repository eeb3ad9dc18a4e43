"""The small stores of a lake: kept reports, the spool, compressed files, marts, and applying a run once."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import LakeError
from tasks.core.types import Gap, Kind, Outcome, RawReport, ScanResult, Unit
from tasks.lake import spool as spool_module
from tasks.lake import zst
from tasks.lake.lake import Lake
from tasks.lake.places import FolderPlace
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.raw import RawStore
from tasks.lake.schema import TABLES
from tasks.lake.shelves import bucket
from tasks.lake.spool import Spool
from tasks.lake.store import to_arrow
from tests.lake_rows import change_of, night, observation, result, scan_of

REPORT = RawReport(tool="bandit", tool_version="1.9", exit_code=-11, body=b'{"results": []}\nmore\n')


def put(lake: Lake, batch: PublishBatch) -> None:
    with lake.lock():
        publish(lake, lake.snapshot(), batch)


# -- compressed files ---------------------------------------------------------------------------------------


@given(st.binary(max_size=2000))
def test_a_compressed_file_reads_back(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "zst"
    place = FolderPlace(folder)
    place.write("x.zst", zst.pack(data))
    assert zst.unpack(place.read("x.zst")) == data
    assert [p.name for p in folder.iterdir()] == ["x.zst"], "nothing half-written stays"


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 9, -1, -5])
def test_a_torn_compressed_file_is_refused(tmp_path: Path, keep: int) -> None:
    (tmp_path / "x.zst").write_bytes(zst.pack(b"content " * 100))
    whole = (tmp_path / "x.zst").read_bytes()
    (tmp_path / "x.zst").write_bytes(whole[:keep])
    with pytest.raises(ValueError, match="torn"):
        zst.unpack((tmp_path / "x.zst").read_bytes())


def test_a_file_that_claims_to_be_huge_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zst").write_bytes(zst.pack(b"content"))
    with pytest.raises(ValueError, match="torn"):
        zst.unpack((tmp_path / "x.zst").read_bytes(), max_bytes=3)


# -- kept reports -------------------------------------------------------------------------------------------


def test_a_kept_report_is_found_by_its_digest(tmp_path: Path) -> None:
    store = RawStore(FolderPlace(tmp_path / "raw"))
    sha = store.put(REPORT, {"repo_id": "größe", "ref": "refs/heads/main"})
    report, header = store.get(sha)
    assert report == REPORT
    assert (header["repo_id"], header["ref"], header["tool"]) == ("größe", "refs/heads/main", "bandit")
    assert store.has(sha) and not store.has("0" * 64)
    assert list(store.all()) == [sha]
    data = zst.unpack((tmp_path / "raw" / sha[:2] / f"{sha}.zst").read_bytes())
    assert hashlib.sha256(data).hexdigest() == sha


def test_the_same_report_is_kept_once_and_another_beside_it(tmp_path: Path) -> None:
    store = RawStore(FolderPlace(tmp_path))
    sha = store.put(REPORT, {"a": "1"})
    assert store.put(REPORT, {"a": "1"}) == sha
    others = {
        store.put(REPORT, {"a": "2"}),
        store.put(replace(REPORT, body=b"other"), {"a": "1"}),
        store.put(replace(REPORT, exit_code=None), {"a": "1"}),
    }
    assert set(store.all()) == {sha, *others}
    assert len(others) == 3
    assert {store.get(s)[0].exit_code for s in others} == {-11, None}


def test_a_changed_or_lost_report_is_never_returned(tmp_path: Path) -> None:
    store = RawStore(FolderPlace(tmp_path))
    sha = store.put(REPORT, {})
    place = tmp_path / sha[:2] / f"{sha}.zst"
    place.write_bytes(zst.pack(zst.unpack(place.read_bytes()).replace(b"results", b"nothing")))
    with pytest.raises(LakeError, match="was changed"):
        store.get(sha)
    place.write_bytes(place.read_bytes()[:-4])
    with pytest.raises(LakeError, match="cannot be read"):
        store.get(sha)
    place.unlink()
    with pytest.raises(LakeError, match="cannot be read"):
        store.get(sha)


# -- the spool ----------------------------------------------------------------------------------------------

TEXT = st.text(max_size=20) | st.just("caf\udce9\n")
OBSERVATIONS = st.builds(
    observation, TEXT, TEXT | st.none(), st.integers(1, 10**6) | st.none(), kind=st.sampled_from(Kind), title=TEXT,
    blob=TEXT | st.none(), extra=st.dictionaries(TEXT, TEXT, max_size=3),
)  # fmt: skip
GAPS = st.builds(Gap, path=TEXT, reason_code=TEXT, detail=TEXT, blob=TEXT | st.none())


@given(st.lists(OBSERVATIONS, max_size=4), st.lists(GAPS, max_size=3), st.sampled_from(Unit), st.none() | st.integers())
def test_a_spooled_result_reads_back(seen: list[object], gaps: list[Gap], unit: Unit, code: int | None) -> None:
    found = result("x", *seen, gaps=tuple(gaps), unit=unit, exit_code=code, tips=("a", "b"), raw_parts=("c",))  # type: ignore[arg-type]
    assert spool_module.loads(spool_module.dumps(found)) == found


def made(*names: str) -> dict[str, ScanResult]:
    return {r.result_name: r for r in (result(n, observation(n)) for n in names)}


def test_the_spool_keeps_finished_scans_until_they_are_published(tmp_path: Path) -> None:
    spool = Spool(FolderPlace(tmp_path / "spool"))
    assert spool.load() == {}
    kept = made("one", "two")
    for r in kept.values():
        spool.put(r)
        spool.put(r)
    assert Spool(FolderPlace(tmp_path / "spool")).load() == kept
    first, second = kept
    spool.remove([first, "never.1"])
    assert list(spool.load()) == [second]


def test_what_a_spooled_scan_saw_is_read_when_it_is_gone_through(tmp_path: Path) -> None:
    spool = Spool(FolderPlace(tmp_path))
    gap = Gap(path="c.py", reason_code="unparsable")
    whole, empty = result("one", observation("x"), observation("y", "b.py"), gaps=(gap,)), result("two")
    for light in (spool.put(whole), spool.load()[whole.result_name]):
        assert (len(light.observations), len(light.gaps)) == (2, 1)
        assert not isinstance(light.observations, tuple), "it lies on the disk"
        assert (tuple(light.observations), light.gaps[0], light) == (whole.observations, gap, whole)
        assert light != replace(whole, observations=whole.observations[:1])
    assert spool.put(empty).observations == ()
    spool = Spool(FolderPlace(tmp_path))
    light = spool.load()[whole.result_name]
    spool.remove([whole.result_name])
    assert len(light.observations) == 2
    with pytest.raises(LakeError, match="cannot be read any more"):
        list(light.observations)


@pytest.mark.parametrize("damage", [b"", b"\0" * 40, b"not compressed at all"])
def test_a_torn_scan_is_put_aside_and_named(tmp_path: Path, damage: bytes) -> None:
    spool = Spool(FolderPlace(tmp_path))
    kept = made("one", "two")
    for r in kept.values():
        spool.put(r)
    torn, whole = kept
    (tmp_path / f"{torn}.zst").write_bytes(damage)
    assert list(spool.load()) == [whole]
    assert spool.rejected_names == [f"{torn}.zst"]
    assert (tmp_path / "rejected" / f"{torn}.zst").read_bytes() == damage


def test_a_scan_of_another_form_is_put_aside(tmp_path: Path) -> None:
    spool = Spool(FolderPlace(tmp_path))
    for name, data in {"a": b"{}", "b": b"[]", "c": b'{"observations": [{"kind": "?"}]}', "d": b"null"}.items():
        (tmp_path / f"{name}.zst").write_bytes(zst.pack(data))
    assert spool.load() == {}
    assert sorted(spool.rejected_names) == ["a.zst", "b.zst", "c.zst", "d.zst"]
    assert Spool(FolderPlace(tmp_path)).load() == {}, "what was put aside is not read again"


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path) -> None:
    spool = Spool(FolderPlace(tmp_path))
    (tmp_path / ".x.1.zst.0a1b2c3d").write_bytes(b"half")
    assert spool.load() == {}
    assert list(tmp_path.iterdir()) == []


def test_publishing_forgets_what_was_spooled(lake: Lake) -> None:
    one, two = result("one", observation("x")), result("two", repo_id="r2")
    for r in (one, two):
        lake.spool.put(r)
    put(lake, night(1, one))
    assert list(lake.spool.load()) == [two.result_name]


# -- marts --------------------------------------------------------------------------------------------------


def test_the_marts_say_what_the_lake_says(lake: Lake) -> None:
    many = [result(f"{n}", observation(f"o{n}"), observation("p", "b.py"), repo_id=f"repo-{n}") for n in range(6)]
    blind = result("blind", repo_id="blind", gaps=(Gap(path="a.py", reason_code="unparsable"),))
    put(lake, night(1, *many, blind))
    marts = lake.path / "marts"
    read = pq.read_table(marts / "findings").to_pylist()
    assert sorted(map(repr, read)) == sorted(map(repr, lake.snapshot().table("findings").to_pylist()))
    assert len(read) == 12
    assert pq.read_schema(marts / "findings" / "empty.parquet").names == TABLES["findings"].schema.names
    assert [(r["repo_id"], r["path"]) for r in pq.read_table(marts / "gaps.parquet").to_pylist()] == [("blind", "a.py")]
    assert pq.read_table(marts / "freshness.parquet").num_rows == 7
    assert {p.name for p in marts.iterdir()} == {"findings", "gaps.parquet", "freshness.parquet"}


def test_only_the_files_of_changed_repositories_are_written_anew(lake: Lake) -> None:
    put(lake, night(1, result("a", observation("x"), repo_id="one"), result("b", observation("y"), repo_id="two")))
    folder = lake.path / "marts" / "findings"
    mine, other = folder / f"{bucket('one')}.parquet", folder / f"{bucket('two')}.parquet"
    before = (mine.stat().st_ino, other.stat().st_ino)
    put(lake, night(2, result("c", repo_id="one")))
    assert pq.read_table(mine).column("status").to_pylist() == []
    assert (mine.stat().st_ino == before[0], other.stat().st_ino == before[1]) == (False, True)


# -- applying a run -----------------------------------------------------------------------------------------


def test_rows_of_a_run_are_applied_once(lake: Lake) -> None:
    put(lake, night(1, result("one", observation("x"))))
    for name in ("scans", "findings"):
        rows, table = lake.snapshot().table(name), TABLES[name]
        version = lake.store.version(name)
        assert lake.store.applied(name) == 1
        assert not lake.store.apply(table, rows, 1)
        assert not lake.store.apply(table, rows.slice(0, 0), 2), "no rows, no commit"
        assert lake.store.version(name) == version


@pytest.mark.parametrize("made", ["now", "before"])
def test_what_a_run_saw_can_be_opened_however_old_its_commit_is(lake: Lake, made: str) -> None:
    """Delta would clear its log at each checkpoint, here at each commit, of all that is older than nothing."""
    told = {"delta.checkpointInterval": "1", "delta.logRetentionDuration": "interval 0 seconds"}
    old = {"delta.enableExpiredLogCleanup": "true"} if made == "before" else {}
    DeltaTable(lake.store.uri("findings")).alter.set_table_properties(told | old)
    put(lake, night(1, result("one", observation("x"))))
    reader, seen = lake.snapshot(), lake.snapshot().table("findings")
    put(lake, night(2, result("two", observation("y"), repo_id="r2")))
    put(lake, night(3, result("three", observation("z"), repo_id="r3")))
    again = Lake.open(lake.path, key_id=None)
    again.store.open("findings", reader.versions["findings"])
    assert again.snapshot("run-1").table("findings") == seen


def test_a_night_without_change_writes_only_its_coverage(lake: Lake) -> None:
    found = result("one", observation("x"))
    put(lake, night(1, found))
    before = {n: lake.store.version(n) for n in TABLES}
    unchanged = scan_of(found, outcome=Outcome.UNCHANGED)
    put(lake, night(2, scans=[unchanged], changes=[change_of(found)]))
    after = {n: lake.store.version(n) for n in TABLES}
    assert {n for n in TABLES if after[n] != before[n]} == {"runs", "scans", "discoveries"}


def test_merging_replaces_by_key_and_leaves_the_rest(lake: Lake) -> None:
    found = result("one", observation("x"), repo_id="a"), result("two", observation("y"), repo_id="b")
    put(lake, night(1, *found))
    put(lake, night(2, result("three", observation("x", line=99), repo_id="a")))
    rows = {r["repo_id"]: r["line_start"] for r in lake.snapshot().table("findings").to_pylist()}
    assert rows == {"a": 99, "b": 3}
    scopes = {r["repo_id"]: r["result_name"] for r in lake.snapshot().table("scopes").to_pylist()}
    assert scopes == {"a": result("three").result_name, "b": found[1].result_name}


def test_a_row_that_lacks_what_must_be_there_is_refused(lake: Lake) -> None:
    batch = night(1, result("one", observation("x")))
    del batch.repositories[0]["slug"]
    with pytest.raises(Exception, match=r"(?i)slug|null"):
        put(lake, batch)
    assert lake.snapshot().seq == 0


def test_rows_become_arrow_with_the_schema_of_their_table() -> None:
    table = to_arrow(TABLES["scan_gaps"], [{"result_name": "a", "scan_name": "b", "part": "c", "tool": "t",
                                            "path": "p", "reason_code": "r", "unknown": 1}])  # fmt: skip
    assert table.schema.equals(TABLES["scan_gaps"].schema, check_metadata=True)
    assert table.to_pylist()[0]["blob"] is None


def test_a_copied_lake_is_the_same_lake(lake: Lake, tmp_path: Path) -> None:
    put(lake, night(1, result("one", observation("x"))))
    shutil.copytree(lake.path, tmp_path / "moved")
    moved = Lake.open(tmp_path / "moved", key_id=None)
    shutil.rmtree(lake.path)
    assert moved.snapshot().table("findings").num_rows == 1


@pytest.mark.parametrize("how", ["write", "create"])
def test_what_a_full_disk_cut_off_does_not_take_the_room_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        getattr(FolderPlace(tmp_path), how)("_spool/one.zst", b"result")
    assert not list((tmp_path / "_spool").iterdir())


def test_errors_of_delta_are_told_without_their_arrows() -> None:
    error = OSError("Generic LocalFileSystem error \x1b[31m\u21b3\x1b[0m No space left on device (os error 28)")
    said = FolderPlace(Path("lake")).plain(error)
    assert said == "Generic LocalFileSystem error: No space left on device (os error 28)"
