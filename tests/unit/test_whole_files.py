"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.core.whole_files import replacing, workplace


def put(path: Path, text: str) -> None:
    with replacing(path) as made:
        made.write_text(text)


def test_a_file_keeps_the_rights_it_had_and_a_new_one_has_those_of_any(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("old")
    (tmp_path / "secret.csv").chmod(0o600)
    before = os.umask(0o027)
    try:
        for name in ("secret.csv", "new.csv"):
            put(tmp_path / name, "new")
    finally:
        os.umask(before)
    assert {p.name: (p.stat().st_mode & 0o777, p.read_text()) for p in tmp_path.iterdir()} == {
        "secret.csv": (0o600, "new"), "new.csv": (0o640, "new"),
    }  # fmt: skip


def test_a_link_stays_one_and_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link.csv").symlink_to("there/file.csv")
    put(tmp_path / "link.csv", "one")
    assert (tmp_path / "link.csv").is_symlink() and (tmp_path / "there/file.csv").read_text() == "one"
    os.mkfifo(tmp_path / "pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    put(tmp_path / "pipe", "two")
    reader.join(20)
    assert got == ["two"] and (tmp_path / "pipe").is_fifo()
    put(Path("/dev/null"), "three")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(IsADirectoryError):
        put(tmp_path / "there", "four")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.csv", "pipe", "there"]


def test_names_as_long_as_can_be(tmp_path: Path) -> None:
    for name in ("a" * 255, "\u00e4" * 127):
        put(tmp_path / name, "x")
        assert (tmp_path / name).read_text() == "x"


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(TypeError), replacing(tmp_path / "a") as made:
        made.write_text(f"half {len(3)}")  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "before"


def test_what_a_killed_process_left_is_taken_away_by_the_next_one(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tasks.core.whole_files import replacing\n"
        "with replacing(Path(sys.argv[1])) as made:\n    made.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.csv")], cwd=Path(__file__).parents[2], check=False)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".a.csv.") and (left / "whole").read_text() == "half"
    put(tmp_path / "other.csv", "another name")
    assert left.exists()
    put(tmp_path / "a.csv", "whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv", "other.csv"]


def test_two_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as one:
        one.write_text("one")
        with replacing(tmp_path / "a") as two:
            two.write_text("two")
        assert (tmp_path / "a").read_text() == "two"
    assert (tmp_path / "a").read_text() == "one"


def test_only_what_is_known_as_ours_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / ".a.file.part").write_text("x")
    (tmp_path / ".a.empty.part").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "lock").write_text("x")
    (tmp_path / ".a.link.part").mkdir()
    (tmp_path / ".a.link.part" / "lock").symlink_to(tmp_path / "outside" / "lock")
    before = sorted(p.name for p in tmp_path.iterdir())
    with workplace(tmp_path, "a"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == before
