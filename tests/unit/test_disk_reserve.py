"""Nothing of ours fills a disk: what cannot be begun, or is ended, is a row; the next night makes up for it."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core import process
from tasks.core.disk import is_full
from tasks.core.errors import ScanGapError
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Mount
from tasks.patrol import tree_scan
from tasks.patrol.plan import Options
from tasks.patrol.publishing import publish_run
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository, shell
from tests.patrols import FakeRunner, House

#: More than any disk has.
EVERYTHING = 10**18
ROOT = Path(__file__).parents[2]


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device")


def outcomes(house: House) -> dict[str, tuple[str, str | None]]:
    return {f"{r['slug']} {r['tool']}": (r["outcome"], r["reason_code"]) for r in house.rows("scopes")}


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path)
    for slug in ("ant", "bee", "cat"):
        house.commit(slug, a=f"flaw in {slug}")
    return house


# -- processes and mirrors ------------------------------------------------------------------------------------


def test_a_process_that_fills_a_disk_is_killed_with_free_space_faked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = iter([10, 10])
    monkeypatch.setattr(process, "free_bytes", lambda _place: next(left, 1))
    runner = ProcessRunner(detect(), reserve_bytes=5)
    done = runner.run(shell("sleep 600", mounts=(Mount(source=tmp_path, writable=True),)))
    assert (done.disk_full, done.exit_code, done.timed_out, done.out_of_memory) == (True, None, False, False)
    done = runner.run(shell("sleep 0.5", mounts=(Mount(source=tmp_path),)))
    assert (done.disk_full, done.exit_code) == (False, 0), "it writes to no disk"


def test_room_is_asked_for_where_something_will_lie(tmp_path: Path) -> None:
    ProcessRunner(detect()).require_room(tmp_path / "not" / "there", EVERYTHING)
    with pytest.raises(ScanGapError, match="to stay free") as told:
        ProcessRunner(detect(), reserve_bytes=EVERYTHING).require_room(tmp_path / "not" / "there")
    assert told.value.reason_code == "disk_full"
    with pytest.raises(ScanGapError, match="1 GB"):
        ProcessRunner(detect(), reserve_bytes=10**9).require_room(tmp_path, EVERYTHING)


def test_no_mirror_is_begun_without_room_and_a_good_one_stays(upstream: Repository, tmp_path: Path) -> None:
    runner = ProcessRunner(detect(), reserve_bytes=EVERYTHING)
    mirrors = Mirrors(tmp_path / "mirrors", Git(runner, timeout_s=60, config_dir=tmp_path / "git"))
    upstream.commit({"a.txt": b"one"})
    with pytest.raises(ScanGapError) as told:
        mirrors.refresh(upstream.repo())
    assert told.value.reason_code == "disk_full"
    assert not mirrors.path_of("team/app").exists()
    runner.reserve_bytes = 0
    before = mirrors.refresh(upstream.repo())
    runner.reserve_bytes = EVERYTHING
    assert mirrors.refresh(upstream.repo()).refs == before.refs, "nothing has to be written"
    upstream.commit({"a.txt": b"two"})
    with pytest.raises(ScanGapError) as told:
        mirrors.refresh(upstream.repo())
    assert told.value.reason_code == "disk_full"
    runner.reserve_bytes = 0
    assert mirrors.refresh(upstream.repo()).refs != before.refs


def test_what_a_killed_fetch_had_written_is_removed(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    left = mirrors.refresh(upstream.repo()).path / "objects" / "pack" / "tmp_pack_0a1b2c"
    left.write_bytes(b"half a pack")
    upstream.commit({"a.txt": b"two"})
    mirrors.refresh(upstream.repo())
    assert not left.exists()


# -- nights ---------------------------------------------------------------------------------------------------


def test_a_scan_without_room_is_a_row_and_the_others_go_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []

    def require_room(self: ProcessRunner, place: Path, size_bytes: int = 0) -> None:
        asked.append(place)
        # Before the first scan: of the mirrors, then of the lake and the place of its checkout.
        if len(asked) == 4:
            raise ScanGapError("disk_full", "so much is to stay free")

    with monkeypatch.context() as patch:
        patch.setattr(ProcessRunner, "require_room", require_room)
        summary = house.run()
    assert summary is not None
    told = outcomes(house)
    assert sorted(told.values()) == [("failed", "disk_full"), ("ok", None), ("ok", None)]
    assert [g.reason_code for g in summary.gaps] == ["disk_full"]
    assert "disk_reserve_gb" in summary.gaps[0].remedy
    house.run()
    assert set(outcomes(house).values()) == {("ok", None)}
    assert {f["slug"] for f in house.rows("findings")} == {"ant", "bee", "cat"}


def test_where_memory_is_full_checkouts_lie_on_the_disk(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    memory, write, places = tmp_path / "memory", tree_scan.write_checkout, []
    memory.mkdir()

    def full(git: Git, mirror: Path, entries: Any, dest: Path, limits: Any) -> Any:
        places.append(dest.is_relative_to(memory))
        if places[-1]:
            raise no_space()
        return write(git, mirror, entries, dest, limits)

    monkeypatch.setattr(tree_scan, "write_checkout", full)
    monkeypatch.setattr("tasks.patrol.scanning.fits", lambda *_: True)
    with house.patrol(FakeRunner(), Options()) as (run, scanning):
        run.means = scanning.means = replace(run.means, memory=memory)
        for state in run.changed():
            scanning.scan_repository(state)
        publish_run(run)
    assert set(outcomes(house).values()) == {("ok", None)}
    assert places == [True, False, False, False], "it is tried once"
    assert list(memory.iterdir()) == []


def test_a_full_disk_is_known_by_its_number_or_its_words() -> None:
    assert is_full(no_space()) and is_full(OSError(errno.EDQUOT, "quota"))
    assert is_full(RuntimeError("Generic LocalFileSystem error: No space left on device (os error 28)"))
    assert not is_full(OSError(errno.EIO, "Input/output error"))


def test_a_lake_on_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    """A real small file system, mounted in name spaces of the test's own."""
    unshare = shutil.which("unshare")
    probe = [unshare or "unshare", "--user", "--map-root-user", "--mount"]
    mount = f"mount -t tmpfs -o size=64k none {tmp_path}"
    if unshare is None or subprocess.run([*probe, "sh", "-c", mount], capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    done = subprocess.run(
        [*probe, sys.executable, "-m", "tests.full_disk", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = done.stdout.splitlines()
    assert first == "the disk is full: the run could not be published"
    assert second == "1 open, 0 started again"
