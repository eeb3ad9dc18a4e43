"""The lock of a lake: on S3 a lease, here over an object in memory whose age the test decides; and waiting for it."""

from __future__ import annotations

import fcntl
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LakeError
from tasks.lake.lease import Lease
from tasks.lake.places import Entry, FolderPlace


class OneObject:
    """What a lease needs of S3: conditional writes of one object."""

    def __init__(self) -> None:
        self.body, self.version, self.age_s, self.writes = b"", 0, 0.0, 0
        self.fails = False

    def look(self, key: str) -> tuple[Entry, bytes, float] | None:
        if not self.version:
            return None
        entry = Entry(key=key, size_bytes=len(self.body), modified_at=datetime.now(UTC), tag=str(self.version))
        return entry, self.body, self.age_s

    def put_if(self, key: str, data: bytes, tag: str) -> str | None:
        self.writes += 1
        if self.fails:
            raise LakeError("S3 is away")
        if tag != (str(self.version) if self.version else ""):
            return None
        self.body, self.version, self.age_s = data, self.version + 1, 0.0
        return str(self.version)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(Lease, "POLL_S", 0.001)
    monkeypatch.setattr(Lease, "BEAT_S", 600.0)
    return OneObject()


def test_one_holds_it_and_the_next_is_told_who(place: Any) -> None:
    with Lease(place, "_lock").held(0, print) as lease:
        assert not lease.lost
        with pytest.raises(LakeError, match=f"pid {os.getpid()} on .*, since 20"), Lease(place, "_lock").held(0, print):
            pass
    with Lease(place, "_lock").held(0, print):
        pass


def test_one_that_waits_gets_it_when_it_is_free_and_tells_once_for_whom_it_waits(place: Any) -> None:
    told: list[str] = []
    holder = Lease(place, "_lock").held(0, print)
    holder.__enter__()
    heard = threading.Event()

    def tell(line: str) -> None:
        told.append(line)
        heard.set()

    def free() -> None:
        heard.wait(60)
        holder.__exit__(None, None, None)

    freeing = threading.Thread(target=free)
    freeing.start()
    with Lease(place, "_lock").held(600, tell):
        freeing.join()
    assert len(told) == 1 and f"pid {os.getpid()}" in told[0]


def test_one_that_is_not_renewed_is_taken_over_and_its_holder_finds_out(
    place: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(place, "_lock").held(0, print) as sleeper:
        place.age_s = Lease.EXPIRES_S
        with pytest.raises(LakeError), Lease(place, "_lock").held(0, print):
            pass
        assert f"pid {os.getpid()}" in (Lease(place, "_lock").holder() or "")
        place.age_s = Lease.EXPIRES_S + 1
        assert Lease(place, "_lock").holder() is None
        with Lease(place, "_lock").held(0, print) as next_one:
            assert not next_one.lost
            monkeypatch.setattr(Lease, "BEAT_S", 0.0)
            sleeper._beat()
            assert sleeper.lost
            taken = place.body
    assert b"free" not in taken and b"free" in place.body, "only its holder marks it as free"


def test_without_an_answer_it_is_not_trusted_for_long(place: Any) -> None:
    with Lease(place, "_lock").held(0, print) as lease:
        place.fails = True
        lease._renewed -= Lease.EXPIRES_S - Lease.MARGIN_S
        assert lease.lost, "by the holder's own clock, before anybody takes it"
        place.fails = False
        assert lease._write() and not lease.lost, "nobody took it: it is ours again"


def test_a_torn_card_is_no_holder_for_ever(place: Any) -> None:
    place.body, place.version, place.age_s = b"{", 1, 61.0
    with Lease(place, "_lock").held(0, print):
        pass


def test_a_run_waits_for_a_folder_and_gives_up_in_the_end(tmp_path: Path) -> None:
    told: list[str] = []
    with FolderPlace(tmp_path).lock(0, print):
        with pytest.raises(LakeError, match=r"pid \d+ on .*waited") as refused:
            with FolderPlace(tmp_path).lock(0.01, told.append):
                pass
    assert "Wait" in refused.value.advice
    assert len(told) == 1 and told[0].startswith(f"waiting for another run (pid {os.getpid()}")
    with FolderPlace(tmp_path).lock(0, print):
        pass


def test_who_only_looks_who_has_a_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    assert place.holder() is None
    with place.lock(0, print):
        assert f"pid {os.getpid()}" in (place.holder() or "")
    assert place.holder() is None
    look = os.open(tmp_path / "_lock", os.O_RDONLY)
    fcntl.flock(look, fcntl.LOCK_SH)
    done = threading.Timer(0.005, os.close, [look])
    done.start()
    with place.lock(0, print):
        done.join()


def test_what_vanishes_while_a_folder_is_read_is_not_in_it(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    for name in ("a/1", "a/2", "a/b/3"):
        place.write(name, b"x")
    listing = place.entries("a/")
    assert next(listing).key == "a/1"
    place.remove(["a/2", "a/b/3"])
    assert list(listing) == []


def test_what_is_created_twice_is_there_once(tmp_path: Path) -> None:
    place = FolderPlace(tmp_path)
    assert [place.create("a/b", b"1"), place.create("a/b", b"2")] == [True, False]
    assert place.read("a/b") == b"1"
    assert [e.key for e in place.entries("")] == ["a/b"], "nothing half-written stays"
    assert place.tail("a/b", 100) == b"1"
    with pytest.raises(FileNotFoundError):
        place.read("a/c")
