"""Nights with posture alone: an unchanged night starts nothing, and a threat model's birthday needs no commit."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.patrol import surroundings
from tasks.repos.git import Git
from tasks.scanners.posture import POSTURE, YOUNG
from tasks.scanners.tools import resolve
from tests.builders import FIRST_DATE
from tests.patrols import House
from tests.thorough import thorough

#: The model is committed a minute after the first date of all.
WRITTEN = datetime.fromtimestamp(FIRST_DATE + 60, UTC)
BARE = {"security-policy-missing", "codeowners-missing", "threat-model-missing"}


@pytest.fixture
def house(tmp_path: Path) -> House:
    tool = resolve(POSTURE, tmp_path, {}, ProcessRunner(detect()))
    return House(tmp_path, scanners=(POSTURE,), homes={"posture": tool})


@pytest.fixture
def dates(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The paths whose date git was asked for."""
    asked: list[bytes] = []
    ask = surroundings._last_change

    def noted(git: Git, mirror: Path, commit: str, path: bytes, now: datetime) -> datetime | None:
        asked.append(path)
        return ask(git, mirror, commit, path, now)

    monkeypatch.setattr(surroundings, "_last_change", noted)
    return asked


def open_rules(house: House, slug: str) -> set[str]:
    return {f["rule_id"] for f in house.rows("findings") if f["slug"] == slug and f["is_open"]}


def scan(house: House, slug: str) -> dict[str, Any]:
    """The newest row of the coverage record."""
    newest = house.lake().snapshot().run
    assert newest is not None
    (row,) = [r for r in house.rows("scans", run_id=[newest["run_id"]]) if r["slug"] == slug]
    return row


def test_a_repository_gets_its_posture_findings_and_an_unchanged_night_starts_nothing(house: House) -> None:
    house.repo("shop").commit({"web/package.json": b'{"dependencies": {"a": "1"}}', "SECURITY.md": b"tell us"})
    house.repo("notes").commit({"notes.md": b"nothing that posture reads"})
    house.repo("other").commit({"other.md": b"nor here"})
    first = house.run()
    assert open_rules(house, "shop") == {"codeowners-missing", "threat-model-missing", "lock-file-missing"}
    assert open_rules(house, "notes") == open_rules(house, "other") == BARE
    assert first is not None
    assert first.tools_started == 2, "two trees of which posture reads nothing are one scan"
    assert {r["severity_tool"] for r in house.rows("findings")} == {"low", "medium"}
    second = house.run()
    assert second is not None
    assert (second.tools_started, scan(house, "shop")["outcome"], second.opened, second.fixed) == (0, "unchanged", 0, 0)


def test_what_is_mended_is_fixed_and_what_is_lost_opens_again(house: House) -> None:
    repo = house.repo("shop")
    repo.commit({"a.txt": b"x"})
    house.run()
    repo.commit({"SECURITY.md": b"tell us", "docs/CODEOWNERS": b"* @ada"})
    house.run()
    assert open_rules(house, "shop") == {"threat-model-missing"}
    assert {f["fixed_reason"] for f in house.rows("findings") if not f["is_open"]} == {"code_changed"}
    repo.commit({"SECURITY.md": None})
    house.run()
    assert open_rules(house, "shop") == {"threat-model-missing", "security-policy-missing"}


def test_a_threat_model_turns_a_year_old_without_a_commit(house: House, dates: list[bytes]) -> None:
    house.repo("shop").commit({"SECURITY.md": b"x", "CODEOWNERS": b"* @ada", "docs/threat-model.md": b"thieves"})
    birthday = WRITTEN + YOUNG
    house.run(at=WRITTEN + timedelta(days=1))
    assert open_rules(house, "shop") == set()
    assert house.rows("scopes")[0]["again_at"] == birthday
    dates.clear()
    quiet = house.run(at=birthday - timedelta(seconds=1))
    assert (quiet and quiet.tools_started, dates) == (0, [])
    turned = house.run(at=birthday)
    assert (turned and turned.tools_started, open_rules(house, "shop")) == (1, {"threat-model-old"})
    assert scan(house, "shop")["cause"] == "changed"
    (event,) = house.rows("finding_events")
    assert (event["cause"], event["origin"]) == ("time_passed", "time")
    dates.clear()
    after = house.run(at=birthday + timedelta(days=1))
    assert (after and after.tools_started, dates, open_rules(house, "shop")) == (0, [], {"threat-model-old"})


def test_a_review_of_the_model_closes_the_finding_and_other_commits_do_not(house: House) -> None:
    repo = house.repo("shop")
    repo.commit({"SECURITY.md": b"x", "CODEOWNERS": b"* @ada", "docs/threat-model.md": b"thieves"})
    now = WRITTEN + YOUNG + timedelta(days=1)
    house.run(at=now)
    assert open_rules(house, "shop") == {"threat-model-old"}
    repo._clock = int(now.timestamp()) - 60
    repo.commit({"code.txt": b"y"})
    other = house.run(at=now)
    assert (other and other.tools_started, open_rules(house, "shop")) == (0, {"threat-model-old"})
    repo.commit({"docs/threat-model.md": b"thieves\nreviewed"})
    house.run(at=now + timedelta(minutes=10))
    assert open_rules(house, "shop") == set()


def test_a_date_to_come_keeps_nothing_young(house: House) -> None:
    repo = house.repo("shop")
    repo._clock = FIRST_DATE + 10**9
    repo.commit({"SECURITY.md": b"x", "CODEOWNERS": b"* @ada", "threatmodel.md": b"thieves"})
    house.run(at=WRITTEN)
    assert scan(house, "shop")["outcome"] == "partial"
    assert {(g["path"], g["reason_code"]) for g in house.rows("scan_gaps")} == {("threatmodel.md", "date_unknown")}
    # Asked again after a week, for the same answer: nothing is started.
    later = house.run(at=WRITTEN + timedelta(days=8))
    assert later and later.tools_started == 0


@thorough
def test_a_link_to_a_policy_is_a_policy(house: House) -> None:
    repo = house.repo("shop")
    (repo.path / "CODEOWNERS").symlink_to("docs/CODEOWNERS")
    repo.commit({"policy/SECURITY.md": b"tell us"})
    (repo.path / "SECURITY.md").symlink_to("policy/SECURITY.md")
    repo.commit({"a.txt": b"x"})
    house.run()
    assert open_rules(house, "shop") == {"threat-model-missing"}
    assert {(g["path"], g["reason_code"]) for g in house.rows("scan_gaps")} == {("CODEOWNERS", "symlink")}


@thorough
def test_a_newer_reading_reads_the_kept_report(house: House, dates: list[bytes]) -> None:
    house.repo("shop").commit({"docs/threat-model.md": b"thieves", "SECURITY.md": b"x", "CODEOWNERS": b"* @ada"})
    house.run(at=WRITTEN + 2 * YOUNG)
    house.scanners = (replace(POSTURE, parse_revision=POSTURE.parse_revision + 1),)
    again = house.run(at=WRITTEN + 2 * YOUNG)
    assert again is not None
    assert scan(house, "shop")["cause"] == "parser"
    assert open_rules(house, "shop") == {"threat-model-old"}


def test_a_name_that_git_could_take_for_a_pattern_has_its_own_date(house: House) -> None:
    repo = house.repo("shop")
    kept = {"SECURITY.md": b"x", "CODEOWNERS": b"* @ada"}
    repo.commit({**kept, b"docs/\xff*\n/threat-model.md": b"a", "docs/:(exclude)x/threat-model.md": b"b"})
    repo._clock += 10**6
    repo.commit({"docs/other.md": b"younger than both"})
    house.run(at=WRITTEN + YOUNG - timedelta(days=1))
    assert (open_rules(house, "shop"), scan(house, "shop")["gaps"]) == (set(), 0)
    assert house.rows("scopes")[0]["again_at"] == WRITTEN + YOUNG
