"""A lake on S3 has the rows of one on disk, and survives what S3 does. The server is moto, an emulator."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LakeError
from tasks.core.secret_refs import Secret
from tasks.lake.gc import collect
from tasks.lake.lake import Lake
from tasks.lake.lease import Lease
from tasks.lake.places import DeafStorageError
from tasks.lake.publish import publish
from tasks.lake.s3_place import S3Place
from tasks.lake.schema import TABLES
from tasks.lake.verify import verify
from tests.lake_rows import KEY_ID, night, observation, result
from tests.moto_s3 import MotoS3, location_of, moto_s3
from tests.patrols import House
from tests.thorough import thorough

#: Columns that another run of the same night fills otherwise.
_OTHERWISE = frozenset({"run_id", "started_at", "finished_at", "duration_s", "scan_s", "table_versions", "first_run",
                        "evidence_at", "whole_duration_s", "first_seen_at", "changed_at", "first_seen_run",
                        "opened_run", "fixed_run", "fixed_at", "last_attempt_at", "next_attempt_at",
                        "opened_at", "event_at", "open_s"})  # fmt: skip


@pytest.fixture(scope="module")
def moto() -> Iterator[MotoS3]:
    with moto_s3() as server:
        yield server


@pytest.fixture(autouse=True)
def _mended(moto: MotoS3) -> None:
    moto.fault = lambda _method, _path: None
    moto.requests.clear()


def rows(house: House) -> dict[str, list[Any]]:
    """All rows of all tables, but for what differs between two runs of the same night."""
    snapshot = house.lake().snapshot()
    return {
        name: sorted(
            repr([(k, v) for k, v in row.items() if k not in _OTHERWISE and "sha256" not in k and k != "raw_parts"])
            for row in snapshot.table(name).to_pylist()
        )
        for name in TABLES
    }


def organisation(house: House) -> House:
    house.commit("app", a="flaw", b="fine", c="unread")
    house.commit("web", a="flaw flaw")
    return house


def second_day(house: House) -> None:
    house.commit("app", a="fine now")
    house.commit("new", a="flaw")


@thorough
def test_the_same_patrols_give_the_same_rows_on_moto_as_on_disk(moto: MotoS3, tmp_path: Path) -> None:
    disk = organisation(House(tmp_path / "disk"))
    s3 = House(tmp_path / "disk", lake_at=moto.location(tmp_path / "cache"))
    for day in (1, 2):
        if day == 2:
            second_day(disk)
        disk.run()
        s3.run()
        assert rows(s3) == rows(disk)
    assert len(rows(s3)["runs"]) == 2 and len(rows(s3)["findings"]) == 3
    assert s3.starts == disk.starts
    assert verify(s3.lake()) == [] == verify(disk.lake())
    assert not (tmp_path / "disk" / "lake" / "cache").exists()


def patrol_in_a_process(place: str, endpoint: str, bucket: str, cache: str, out: Any) -> None:
    """A whole run that waits for the other one; says which repositories it scanned."""
    Lease.POLL_S = 0.1
    house = House(Path(place), lake_at=location_of(endpoint, bucket, Path(cache)), wait_s=600)
    house.run()
    out.put((house.starts, house.waited))


@thorough
def test_two_patrols_at_once_give_the_rows_of_one_on_moto(moto: MotoS3, tmp_path: Path) -> None:
    house = organisation(House(tmp_path / "org", lake_at=moto.location(tmp_path / "cache")))
    house.lake()
    assert house.lake_at is not None
    context = multiprocessing.get_context("spawn")
    out = context.Queue()
    both = [
        context.Process(
            target=patrol_in_a_process,
            args=(str(tmp_path / "org"), moto.endpoint, house.lake_at.bucket, str(tmp_path / f"cache {n}"), out),
        )
        for n in range(2)
    ]
    for run in both:
        run.start()
    told = [out.get(timeout=300) for _ in both]
    for run in both:
        run.join()
    assert sorted(slug for starts, _ in told for slug in starts) == ["app", "web"], "nothing is scanned twice"
    assert len(house.rows("runs")) == 2
    alone = House(tmp_path / "org", lake_at=moto.location(tmp_path / "alone"))
    alone.run()
    one, two = rows(alone), rows(house)
    for name in ("observations", "scan_gaps", "ledger", "findings", "repositories"):
        assert two[name] == one[name]
    assert verify(house.lake()) == []


def put(lake: Lake, n: int) -> None:
    with lake.lock():
        lake.adopt()
        publish(lake, lake.snapshot(), night(n, result(f"r{n}", observation(f"o{n}"))))


@thorough
def test_moto_that_fails_now_and_then_is_asked_again(moto: MotoS3, new_lake: Path, tmp_path: Path) -> None:
    asked: list[str] = []

    def every_ninth(method: str, path: str) -> int | None:
        asked.append(path)
        return (500, 503)[len(asked) % 2] if len(asked) % 9 == 0 else None

    location = moto.location(tmp_path, new_lake)
    moto.fault = every_ninth
    lake = Lake.open(location, key_id=KEY_ID)
    put(lake, 1)
    assert lake.snapshot().table("findings").num_rows == 1
    assert len(asked) > 9


def test_moto_that_fails_for_good_ends_the_run_and_the_next_one_finishes(
    moto: MotoS3, new_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.lake.s3_place._ATTEMPTS", 2)
    location = moto.location(tmp_path, new_lake)
    lake = Lake.open(location, key_id=KEY_ID)
    lake.spool.put(result("r1", observation("o1")))

    def down(method: str, path: str) -> int | None:
        return 503 if "/findings/" in path and method == "PUT" else None

    moto.fault = down
    with pytest.raises(LakeError) as refused:
        put(lake, 1)
    assert refused.value.advice
    assert lake.snapshot().seq == 0
    moto.fault = lambda _method, _path: None
    lake = Lake.open(location, key_id=KEY_ID)
    with lake.lock(wait_s=0):
        assert lake.adopt() == ["run-1"]
    assert verify(lake) == []
    assert lake.spool.load() == {}


def test_no_error_of_moto_tells_a_key(moto: MotoS3, tmp_path: Path) -> None:
    canary = "canary" + "A" * 34
    location = replace(moto.location(tmp_path), access_key=Secret(canary), secret_key=Secret(canary))
    gone = replace(location, bucket="no-such-bucket")
    told: list[LakeError] = []
    for place in (gone, replace(gone, endpoint="http://127.0.0.1:9")):
        lake = Lake(place, KEY_ID)
        for ask in (lambda lake=lake: lake.exists, lambda lake=lake: lake.store.open("runs")):
            try:
                ask()
            except LakeError as refused:
                told.append(refused)
            assert canary not in repr(place) + repr(vars(lake.place).get("_location"))
    assert len(told) >= 3
    for error in told:
        assert canary not in repr(error) + str(error)
        assert "\n" not in error.message and "\x1b" not in error.message


def test_credentials_that_cannot_be_renewed_for_a_while_lose_nothing_on_moto(
    moto: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, aws = tmp_path / "told.json", tmp_path / "aws"
    aws.write_text(f"[default]\ncredential_process = cat {told}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(aws))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)

    def renew(n: int) -> None:
        soon = datetime.now(UTC) + timedelta(minutes=1)  # so soon that each request renews them
        keys = {"AccessKeyId": "A", "SecretAccessKey": f"secret {n}", "SessionToken": f"canary {n}"}
        told.write_text(json.dumps({"Version": 1, "Expiration": f"{soon:%FT%TZ}"} | keys))

    renew(1)
    place = S3Place(replace(moto.location(tmp_path / "cache"), access_key=None, secret_key=None))
    monkeypatch.setattr(Lease, "BEAT_S", 0.0)
    with Lease(place, "_lock").held(0, print) as lease:
        told.unlink()
        with pytest.raises(LakeError, match="no credentials") as error:
            place.read("x")
        began, lease._renewed = lease._renewed, 0.0
        time.sleep(0.02)  # it beats meanwhile
        assert lease.lost
        renew(2)
        until = time.monotonic() + 30
        while lease.lost and time.monotonic() < until:
            time.sleep(0.005)
        assert lease._renewed > began, "it beats on"
    assert "canary" not in str(error.value)
    assert place.plain(Exception("canary 1 canary 2")) == "… …", "of each request, not of the newest alone"


def test_moto_that_meets_another_write_is_asked_again(
    moto: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.lake.s3_place._CONFLICT_S", (0.0, 0.0))
    place = S3Place(moto.location(tmp_path))
    left = [2]

    def busy(method: str, path: str) -> int | None:
        left[0] -= method == "PUT"
        return 409 if method == "PUT" and left[0] >= 0 else None

    moto.fault = busy
    assert place.create("_commits/1", b"ours")
    tag = next(place.entries("_commits/")).tag
    left[0] = 1
    assert place.put_if("_commits/1", b"renewed", tag)
    left[0] = 1
    assert not place.create("_commits/1", b"another's"), "somebody has won"
    left[0] = 99
    with pytest.raises(LakeError, match="others are writing it"):
        place.create("_commits/2", b"ours")


def test_what_moto_answers_is_read_whole(moto: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, whole, cuts = S3Place(moto.location(tmp_path)), moto._moto, [0]
    place.write("a", b"0123456789")

    def cut(environ: dict[str, Any], start: Any) -> Any:
        body = b"".join(whole(environ, start))
        cuts[0] -= 1
        return [body[:5] if cuts[0] >= 0 else body]

    monkeypatch.setattr(moto, "_moto", cut)
    cuts[0] = 2
    assert place.read("a") == b"0123456789"
    cuts[0] = 1
    found = place.look("a")
    assert found is not None and found[1] == b"0123456789"
    cuts[0] = 9
    with pytest.raises(LakeError, match="cannot be reached"):
        place.read("a")


def test_moto_that_ignores_conditions_is_refused(moto: MotoS3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location, honest = moto.location(tmp_path), moto._moto
    S3Place(location).check_conditions()

    def deaf(environ: dict[str, Any], start: Any) -> Any:
        environ.pop("HTTP_IF_NONE_MATCH", None)
        return honest(environ, start)

    monkeypatch.setattr(moto, "_moto", deaf)
    with pytest.raises(DeafStorageError, match="ignores If-None-Match of PutObject") as refused:
        Lake.open(location, key_id=KEY_ID)
    assert "honours conditional writes" in refused.value.advice
    assert moto.client().list_objects_v2(Bucket=location.bucket)["KeyCount"] == 0, "nothing is made, nothing is left"


def test_only_the_files_a_query_reads_are_fetched_from_moto(moto: MotoS3, new_lake: Path, tmp_path: Path) -> None:
    from tasks.lake.views import run_query

    location = moto.location(tmp_path / "a", new_lake)
    put(Lake.open(location, key_id=KEY_ID), 1)
    reader = Lake.open(replace(location, cache=tmp_path / "b"), key_id=None)
    snapshot = reader.snapshot()
    assert len(list(run_query(snapshot, "SELECT * FROM Patrols")[1])) == 1
    assert {p.parent.name for p in reader.path.rglob("*.parquet")} == {"runs"}
    moto.requests.clear()
    assert len(list(run_query(snapshot, "SELECT * FROM patrols")[1])) == 1
    assert [r for r in moto.requests if ".parquet" in r] == []
    for file in reader.path.rglob("*.parquet"):
        file.write_bytes(file.read_bytes()[:-20])  # a power cut
    assert len(list(run_query(snapshot, "SELECT * FROM patrols")[1])) == 1
    assert len([r for r in moto.requests if ".parquet" in r]) >= 1


def test_what_another_run_has_written_is_not_replaced_on_moto(moto: MotoS3, tmp_path: Path) -> None:
    place = Lake(moto.location(tmp_path), KEY_ID).place

    def write(data: bytes, tag: str | None) -> None:
        with place.writing("marts/x", tag=tag) as path:
            path.write_bytes(data)

    write(b"1", "")
    (entry,) = place.entries("marts/")
    write(b"2", entry.tag)
    for stale in ("", entry.tag):
        with pytest.raises(LakeError, match="another run has written"):
            write(b"3", stale)
    assert place.read("marts/x") == b"2"
    assert [place.create("_commits/1", b"a"), place.create("_commits/1", b"b")] == [True, False]
    assert place.create("_commits/1", b"a"), "a repeated request whose first answer was lost"
    place.remove(["marts/x", "never there"])
    assert not place.exists("marts/x")


@thorough
def test_a_collection_on_moto_removes_files_a_day_later(
    moto: MotoS3, new_lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(moto.location(tmp_path, new_lake), key_id=KEY_ID)
    put(lake, 1)
    lake.place.write("_raw/aa/nobodys.zst", b"x")
    now = lake.place.now()
    for hours, left in ((0, True), (25, False)):
        monkeypatch.setattr(S3Place, "now", lambda _place, hours=hours: now + timedelta(hours=hours))
        with lake.lock():
            collect(lake, keep_days=400)
        assert lake.place.exists("_raw/aa/nobodys.zst") is left
    assert lake.snapshot().table("findings").num_rows == 1


def test_a_cache_removes_what_was_not_used_for_longest(tmp_path: Path) -> None:
    import os

    from tasks.lake.cache import FileCache

    cache = FileCache(tmp_path, 25)
    for n, name in enumerate(("old", "older", "used", "wanted")):
        with cache.scratch() as tmp:
            tmp.write_bytes(b"x" * 6 + b"PAR1")
            cache.keep(tmp, f"t/{name}")
        os.utime(tmp_path / "t" / name, (n, n))
    assert cache.has("t/used"), "from now on it is in use"
    cache.make_room(["t/wanted"])
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == ["used", "wanted"]
