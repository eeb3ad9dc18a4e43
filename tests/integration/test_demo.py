"""The demo as a user starts it: both days agree with the truth, and their last lines count all that is planted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tasks.patrol.demo_judge import declared, entries, truth
from tests.integration.servers import nightwarden

pytestmark = [pytest.mark.tools, pytest.mark.prefect]

#: So many false alarms are known; more of them are a step back.
FALSE_ALARMS = 4
LAST = re.compile(
    r"^(\d+) of (\d+) planted flaws found, (\d+) declared out of reach, (\d+) false alarms$", re.MULTILINE
)


def test_the_demo_agrees_with_its_truth_on_both_days(tmp_path: Path) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    done = nightwarden("demo", cwd=tmp_path, NIGHTWARDEN_HOME=str(tmp_path / "home"), TMPDIR=str(place))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    days = re.split(r"^DAY (?:ONE|TWO): .*$", done.stdout, flags=re.MULTILINE)[1:]
    assert len(days) == 2
    for day, said in enumerate(days, start=1):
        (line,) = LAST.finditer(said)
        found, planted, out_of_reach, alarms = map(int, line.groups())
        assert planted == sum(not e.twin for e in entries(truth(), day))
        assert found + out_of_reach == planted
        assert out_of_reach <= len(declared())
        assert alarms == said.count("\n  false alarm: ") <= FALSE_ALARMS
        assert "missing: " not in said and "otherwise than it must be" not in said and "wrongly declared" not in said
    assert list(place.glob("nightwarden-demo-*")) == [], "nothing of it stays"
