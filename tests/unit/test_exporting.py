"""What an export says beside the findings: rules that did not run, tools switched off, why a finding stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.reasons import REASONS
from tasks.patrol.exporting import sarif_log
from tests.patrols import FakeTool, House
from tests.sarif_shape import faults, validate


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """An organisation whose tool has rule packs."""
    monkeypatch.setattr("tasks.patrol.session.Semgrep", FakeTool)
    house = House(tmp_path)
    house.commit("team/app", a="flaw", b="fine")
    house.run()
    return house


def written(house: House, *repos: str, tools: tuple[str, ...] = ()) -> tuple[dict[str, dict[str, Any]], int]:
    """(runs by slug, gaps)."""
    log = sarif_log(house.lake(), repos=repos, tools=tools, run_id=None)
    document = json.loads("".join(log.pieces))
    assert faults(document) == []
    validate(document)
    return {r["properties"]["slug"]: r for r in document["runs"]}, log.gaps


def told(run: dict[str, Any]) -> list[tuple[str, str]]:
    notes = run["invocations"][0].get("toolExecutionNotifications", [])
    assert {n["descriptor"]["id"] for n in notes} <= REASONS.keys()
    return [(n["descriptor"]["id"], n["level"]) for n in notes]


def standing(run: dict[str, Any]) -> list[str]:
    return [r["properties"]["facts"]["standing"] for r in run["results"]]


@pytest.mark.parametrize("reason", ["rule_broken", "pack_missing", "pack_stale"])
def test_a_scan_whose_rules_did_not_all_run_is_not_whole(house: House, reason: str) -> None:
    assert written(house, "team/app")[1] == 0
    house.packs = {"team": (reason, "x: why")}
    house.run()
    runs, gaps = written(house, "team/app")
    assert (list(runs), gaps) == (["team/app"], 1)
    assert told(runs["team/app"]) == [(reason, "error")]
    assert runs["team/app"]["invocations"][0]["executionSuccessful"] is False
    everything, gaps = written(house)
    assert (told(everything["rule pack team"]), gaps) == ([(reason, "error")], 2)
    assert "versionControlProvenance" not in everything["rule pack team"], "it has no address"
    house.packs = {}
    house.run()
    runs, gaps = written(house)
    assert (told(runs["team/app"]), gaps) == ([], 0)


def test_a_finding_whose_rule_did_not_run_does_not_say_that_its_place_was_not_read(house: House) -> None:
    house.packs, house.not_run = {"team": ("rule_broken", "F1")}, frozenset({"F1"})
    house.rules_digest, house.harmless = "s", frozenset({"flaw"})
    house.run()
    assert standing(written(house, "team/app")[0]["team/app"]) == ["not all rules ran in the newest look"]


def test_a_finding_whose_place_was_not_read_says_so(house: House) -> None:
    house.commit("team/app", a="unread", b="fine")
    house.run()
    assert standing(written(house)[0]["team/app"]) == ["its place was not read by the newest look"]


def test_a_tool_that_is_switched_off_and_was_never_used_is_no_gap(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.commit("team/app", a="flaw")
    summary = house.run(tools=("other",))
    assert summary is not None and summary.gap_rows == 0
    runs, gaps = written(house)
    assert (told(runs["team/app"]), gaps) == ([("switched_off", "note")], 0)
    assert "results" not in runs["team/app"], "nothing was found only where somebody looked"
    assert runs["team/app"]["invocations"][0]["executionSuccessful"] is False
