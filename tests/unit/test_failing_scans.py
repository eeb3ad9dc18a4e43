"""Nights in which one scan in ten fails: nothing closes because of it, and the report says first what was not read."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from tasks.core.process import Command, Completed, Sink
from tasks.lake.verify import verify
from tasks.lake.views import arrow_of
from tasks.patrol.reporting import facts, report_of
from tasks.report.html import pieces
from tests.patrols import FakeRunner, House
from tests.thorough import THOROUGH

REPOSITORIES, NIGHTS = (40, 12) if THOROUGH else (10, 2)
Repos = dict[str, set[str]]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The repositories of which every scan dies."""
    named: set[str] = set()
    run = FakeRunner.run

    def dying(self: FakeRunner, cmd: Command, *, sink: Sink | None = None) -> Completed:
        if cmd.argv[0] != "fake" or cmd.argv[1] not in named:
            return run(self, cmd, sink=sink)
        label = self.sandbox.label
        return Completed(exit_code=-11, stdout=b"", stderr=b"", duration_s=1.0, peak_rss_bytes=1, sandbox=label)

    monkeypatch.setattr(FakeRunner, "run", dying)
    return named


def open_in(house: House) -> Repos:
    found: Repos = {}
    for f in house.rows("findings"):
        if f["is_open"]:
            found.setdefault(f["slug"], set()).add(f["path"].removesuffix(".txt"))
    return found


def test_no_finding_closes_because_a_scan_failed_and_every_gap_is_told_first(tmp_path: Path, failing: set[str]) -> None:
    rng, house = random.Random(3), House(tmp_path, rules=("F1",))
    there: Repos = {f"team/r{n}": {f"f{k}" for k in range(4)} for n in range(REPOSITORIES)}
    for slug, flaws in there.items():
        house.commit(slug, **dict.fromkeys(flaws, f"flaw {slug}"))
    house.run()
    known = {slug: set(flaws) for slug, flaws in there.items()}
    for night in range(NIGHTS):
        failing.clear()
        failing.update(rng.sample(sorted(there), REPOSITORIES // 10))
        for slug, flaws in there.items():
            # Everywhere one flaw is mended and one comes, also where the scan fails, which cannot tell.
            mended = rng.choice(sorted(flaws))
            flaws.symmetric_difference_update({mended, f"n{night}"})
            house.commit(slug, **{mended: f"mended {slug}", f"n{night}": f"flaw {slug}"})
        summary = house.run(retry_failed=True)
        assert summary is not None
        assert {n: summary.outcomes[n] for n in ("ok", "failed")} == {
            "ok": REPOSITORIES - len(failing), "failed": len(failing),
        }  # fmt: skip
        known |= {slug: set(flaws) for slug, flaws in there.items() if slug not in failing}
        assert open_in(house) == known
        tell_of_gaps(house, failing)
    failing.clear()
    house.run(retry_failed=True)
    assert open_in(house) == there
    assert {e["cause"] for e in house.rows("finding_events")} == {"first_scan", "code_changed"}
    assert verify(house.lake()) == []


def tell_of_gaps(house: House, failing: set[str]) -> None:
    """The first section of the report names every gap that the lake knows, and that is what failed."""
    gaps = arrow_of(house.lake().snapshot(), "FROM gaps_now").to_pylist()
    assert {g["slug"] for g in gaps} == failing
    page = "".join(pieces(report_of(facts(house.lake()))))
    sections = re.findall(r"<section[^>]* id=\"(\w+)\"(.*?)</section>", page, re.DOTALL)
    assert sections[0][0] == "gaps"
    for gap in gaps:
        assert gap["slug"] in sections[0][1]
        assert gap["reason_code"] in sections[0][1]
        assert gap["meaning"].split("`")[0] in sections[0][1]
