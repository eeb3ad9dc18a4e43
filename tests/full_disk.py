"""A night whose lake lies on a file system that is full when it is published, and the same command with room again.

Run by a test inside name spaces of its own: ``python -m tests.full_disk FOLDER``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tasks.core.errors import LakeError
from tasks.patrol.plan import Options
from tasks.patrol.publishing import publish_run
from tests.patrols import FakeRunner, House


def main(place: Path) -> None:
    """Print what the full disk is called, then what the second run found and how often it started the tool."""
    lake = place / "lake"
    lake.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(lake)], check=True)
    house = House(place)
    house.commit("ant", a="flaw")
    with house.patrol(FakeRunner(), Options()) as (run, scanning):
        for state in run.changed():
            scanning.scan_repository(state)
        ballast = lake / "ballast"
        with ballast.open("wb") as f:
            there = os.statvfs(lake)
            f.write(b"\0" * (there.f_bavail * there.f_frsize - 8192))
        try:
            publish_run(run)
        except LakeError as e:
            print(e.message)
    ballast.unlink()
    summary = house.run()
    assert summary is not None
    print(f"{summary.open_findings} open, {len(house.starts)} started again")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
