"""Where checkouts are written: in memory only while they are small and much is left."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows.means import opened
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


def test_the_place_in_memory_is_ours_alone_and_does_not_outlive_the_run(tmp_path: Path) -> None:
    with opened(Settings(home=tmp_path / "home")) as means:
        assert means.memory is not None
        assert stat.S_IMODE(means.memory.stat().st_mode) == 0o700
        (means.memory / "left by a kill").mkdir()
        place = means.memory
    assert not place.exists()
    place.mkdir()
    (place / "left by a kill").mkdir()
    with opened(Settings(home=tmp_path / "home")) as means:
        assert means.memory == place and not any(place.iterdir())


def test_a_place_in_memory_that_another_holds_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object, **__: object) -> None:
        raise FileExistsError

    with opened(Settings(home=tmp_path / "home")) as means:
        place = means.memory
    mkdir = Path.mkdir
    monkeypatch.setattr(Path, "mkdir", lambda self, *a, **k: taken() if self == place else mkdir(self, *a, **k))
    with opened(Settings(home=tmp_path / "home")) as means:
        assert means.memory is None


def test_a_plan_takes_no_memory(tmp_path: Path) -> None:
    with opened(Settings(home=tmp_path / "home"), write=False) as means:
        assert means.memory is None
