"""The same once more: a run published twice, a report imported ten times; what was seen and found stays as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.lake.lake import Lake
from tasks.lake.publish import adopt, publish
from tasks.lake.verify import verify
from tasks.lake.views import connect
from tests.kills import KilledError, kill_at
from tests.lake_nights import Content, content, first_night, second_night
from tests.lake_rows import KEY_ID
from tests.patrols import House
from tests.thorough import thorough
from tests.unit.test_importing import bring, report

#: What a repetition must not touch.
KEPT = ("observations", "scan_gaps", "ledger", "findings", "finding_events")


def kept(lake: Lake) -> dict[str, list[str]]:
    """All rows of the tables that hold what was seen and what became of it."""
    con = connect(lake.snapshot())
    return {name: sorted(map(repr, con.execute(f"SELECT * FROM {name}").fetchall())) for name in KEPT}


@pytest.fixture
def lake(new_lake: Path, tmp_path: Path) -> Iterator[Lake]:
    """A lake with a night in it, its lock held."""
    shutil.copytree(new_lake, tmp_path / "lake")
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    with lake.lock():
        publish(lake, lake.snapshot(), first_night())
        yield lake


def test_a_run_that_is_applied_once_more_adds_nothing(lake: Lake) -> None:
    """As if a second process came with what the first had prepared, when all of it was there."""
    with pytest.raises(KilledError):
        publish(lake, lake.snapshot(), second_night(), watch=kill_at("end"))
    place = lake.path
    (prepared,) = (place / "_pending").iterdir()
    shutil.copytree(prepared, place.parent / "prepared")
    assert adopt(lake) == ["run-2"]
    once: Content = content(place)
    for _ in range(2):
        shutil.copytree(place.parent / "prepared", prepared)
        assert adopt(lake) == ["run-2"]
        assert content(place) == once, "not even a version of a table more"
    assert lake.snapshot().seq == 2
    assert verify(lake) == []


def test_what_a_run_saw_published_by_another_run_too_is_there_once(lake: Lake) -> None:
    """As if two runs had scanned the same: the second one's results have names that the lake knows."""
    publish(lake, lake.snapshot(), second_night())
    once = kept(lake)
    assert len(once["observations"]) == 6
    assert len(once["findings"]) == 4
    for n in (3, 4):
        night = second_night()
        # A patrol leaves out rules that the lake has.
        batch = replace(night, run=night.run | {"run_id": f"run-{n}"}, rules=())
        assert publish(lake, lake.snapshot(), batch).seq == n
        assert kept(lake) == once
    assert verify(lake) == []


@thorough
def test_a_report_imported_ten_times_is_there_once(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.commit("team/app", a="flaw", b="fine")
    house.run()
    document = report("R1", "R1", "R2")
    assert bring(house, document).opened == 3
    once = kept(house.lake())
    assert len(once["observations"]) == 4
    for n in range(2, 11):
        # By turns as it was, written otherwise, and beside itself in one call; after nights that look again.
        if n in (3, 9):
            house.run()
        spelled = json.dumps(document, indent=n) if n % 2 else document
        summary = bring(house, spelled)
        assert (summary.opened, summary.fixed) == (0, 0)
        assert kept(house.lake()) == once
    assert verify(house.lake()) == []
