"""How long a plan says that scans will take: a full look is not as short as one that read what was new."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.core.types import Cause
from tasks.patrol import scanning
from tasks.patrol.summary import plan_text
from tests.patrols import CLOCK, FakeRunner, FakeTool, House, Options
from tests.thorough import thorough


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Two repositories, of 30 and of 6 files; the tool takes ten seconds a file."""
    monkeypatch.setattr(scanning, "time", SimpleNamespace(monotonic=CLOCK.monotonic))
    house = House(tmp_path)
    house.commit("big", **{f"f{n}": f"{n}" for n in range(30)})
    house.commit("small", **{f"g{n}": f"{n}" for n in range(6)})
    return house


def seconds(house: House) -> dict[str, tuple[float, float]]:
    """Of the last look, and of the last whole one."""
    return {r["slug"]: (r["duration_s"], r["whole_duration_s"]) for r in house.rows("scopes")}


def test_a_plan_knows_a_whole_look_from_one_that_extends(house: House) -> None:
    assert house.plan()["big"].estimate_s is None
    house.run()
    assert seconds(house) == {"big": (300.0, 300.0), "small": (60.0, 60.0)}
    house.commit("big", f0="anew")
    house.run()
    assert seconds(house) == {"big": (10.0, 300.0), "small": (60.0, 60.0)}

    house.commit("big", f1="anew")
    house.commit("new", a="one")
    plans = house.plan()
    assert (plans["big"].cause, plans["big"].estimate_s) == (Cause.CHANGED, 10.0)
    assert (plans["new"].cause, plans["new"].estimate_s) == (Cause.NEW, 180.0), "the median of whole looks"
    plans = house.plan(force=True)
    assert (plans["big"].cause, plans["big"].estimate_s) == (Cause.FORCED, 300.0)
    house.version = "2"
    plans = house.plan()
    assert (plans["big"].cause, plans["big"].estimate_s) == (Cause.TOOL, 300.0)
    assert (plans["small"].cause, plans["small"].estimate_s) == (Cause.TOOL, 60.0)
    with house.patrol(FakeRunner(), Options(only=("big",))) as (run, _):
        assert "about 2.5 min" in plan_text(run), "300 s on two workers"


@thorough
def test_reading_a_kept_report_again_says_nothing_of_how_long_the_tool_takes(house: House) -> None:
    house.run()
    before = seconds(house)
    house.scanners = (FakeTool(parse_revision=2),)
    house.run()
    assert {r["cause"] for r in house.rows("scans", run_id=[house.lake().snapshot().run["run_id"]])} == {"parser"}  # type: ignore[index]
    assert seconds(house) == before
