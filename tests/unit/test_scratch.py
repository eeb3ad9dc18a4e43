"""Where checkouts are written: in memory only while they are small and much is left."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import means
from flows.settings import Settings
from tasks.patrol import scratch

GIB = 1024**3


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A machine of so much free memory, and so much free room in the place for it."""
    it = SimpleNamespace(room=8 * GIB, available_kb=8 * GIB // 1024, meminfo=tmp_path / "meminfo")
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=it.room // 4096, f_frsize=4096))
    monkeypatch.setattr(scratch, "_MEMINFO", it.meminfo)

    def tell() -> SimpleNamespace:
        it.meminfo.write_text(f"MemTotal: 1 kB\nMemAvailable:   {it.available_kb} kB\n")
        return it

    it.tell = tell
    return tell()


def test_what_is_small_fits_where_much_is_free(machine: SimpleNamespace, tmp_path: Path) -> None:
    assert scratch.fits(tmp_path, scratch.MEMORY_BYTES)
    assert not scratch.fits(tmp_path, scratch.MEMORY_BYTES + 1)


@pytest.mark.parametrize("short", ["room", "available_kb"])
def test_nothing_fits_where_little_is_free(machine: SimpleNamespace, tmp_path: Path, short: str) -> None:
    setattr(machine, short, {"room": GIB, "available_kb": GIB // 1024}[short])
    machine.tell()
    assert not scratch.fits(tmp_path, 1)


@pytest.mark.parametrize("text", ["", "MemAvailable:", "MemAvailable: many kB", "MemFree: 99999999 kB"])
def test_a_machine_that_does_not_tell_is_taken_for_full(machine: SimpleNamespace, tmp_path: Path, text: str) -> None:
    machine.meminfo.write_text(text)
    assert not scratch.fits(tmp_path, 1)
    machine.meminfo.unlink()
    assert not scratch.fits(tmp_path, 1)


def test_a_file_is_linked_or_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"text")
    scratch.link_or_copy(tmp_path / "a", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "a")

    def across(*_: object) -> None:
        raise OSError("another device")

    monkeypatch.setattr(Path, "hardlink_to", across)
    scratch.link_or_copy(tmp_path / "a", tmp_path / "copied")
    assert (tmp_path / "copied").read_bytes() == b"text"
    assert not (tmp_path / "copied").samefile(tmp_path / "a")


@pytest.fixture
def shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place of the test's own in the place of the system's."""
    place = tmp_path / "shm"
    place.mkdir()
    monkeypatch.setattr(means, "_MEMORY", place)
    return place


def test_the_place_in_memory_is_ours_alone_and_does_not_outlive_the_run(tmp_path: Path, shm: Path) -> None:
    with means.opened(Settings(home=tmp_path / "one")) as one, means.opened(Settings(home=tmp_path / "two")) as two:
        assert one.memory is not None and two.memory is not None
        assert stat.S_IMODE(one.memory.stat().st_mode) == 0o700
        assert set(shm.iterdir()) == {one.memory, two.memory}
    assert not any(shm.iterdir())


def test_what_a_killed_run_left_in_memory_is_removed_and_what_others_hold_is_not(tmp_path: Path, shm: Path) -> None:
    left = shm / f"nightwarden-{os.getuid()}-killed"
    (left / "checkout").mkdir(parents=True)
    (shm / "someone-elses").mkdir()
    (shm / f"nightwarden-{os.getuid()}-link").symlink_to(tmp_path)
    with means.opened(Settings(home=tmp_path / "one")) as one:
        assert not left.exists() and (shm / "someone-elses").exists() and tmp_path.exists()
        with means.opened(Settings(home=tmp_path / "two")):
            assert one.memory is not None and one.memory.exists()


def test_without_a_place_in_memory_the_disk_is_used(tmp_path: Path, shm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(means, "_MEMORY", shm / "not-there")
    with means.opened(Settings(home=tmp_path / "home")) as it:
        assert it.memory is None


def test_a_plan_takes_no_memory(tmp_path: Path) -> None:
    with means.opened(Settings(home=tmp_path / "home"), write=False) as it:
        assert it.memory is None
