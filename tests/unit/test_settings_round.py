"""Nights that ask a made-up forge for settings: when, in which order, and what an answer opens and closes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ForgeError
from tasks.core.forge_settings import DEPLOY_KEYS, PROTECTION, TWO_FACTOR, ForgeSettings
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Repo
from tasks.patrol.plan import SETTINGS_REF, Options
from tasks.scanners.posture import POSTURE
from tasks.scanners.tools import resolve
from tests.patrols import FakeRunner, House
from tests.thorough import thorough
from tests.unit.test_forge_discovery import StandInForge, source

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
OPEN_BRANCH = {"protected": False}
SOUND = {"protected": True, "reviews": 1, "force_push": False, "deletion": False, "binds_administrators": True}


class TellingForge(StandInForge):
    """Tells settings, by slug; notes who was asked for, the account's with an asterisk."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.facts: dict[str, dict[str, Any]] = {}
        self.unread: dict[str, str] = {}
        self.asked: list[str] = []
        #: Errors instead of answers, from the so-manieth question of a night on.
        self.fails: tuple[int, ForgeError] | None = None
        #: Repositories of which it gives no answer that can be read.
        self.odd: set[str] = set()

    def settings(self, repo: Repo, branch: str, *, account: bool) -> ForgeSettings:
        if self.fails is not None and len(self.asked) >= self.fails[0]:
            raise self.fails[1]
        assert branch == "main"
        if repo.slug in self.odd:
            raise ForgeError("forge_unreachable", "the forge answered otherwise than its API promises")
        self.asked.append(repo.slug + "*" * account)
        facts = {PROTECTION: SOUND, **self.facts.get(repo.slug, {})}
        if account:
            facts[TWO_FACTOR] = {"required": False}
        return ForgeSettings(facts={t: f for t, f in facts.items() if t not in self.unread}, unread=self.unread)


@pytest.fixture
def house(tmp_path: Path) -> House:
    tool = resolve(POSTURE, tmp_path, {}, ProcessRunner(detect()))
    return House(tmp_path, scanners=(POSTURE,), homes={"posture": tool}, sources=(source(posture=True),))


@pytest.fixture
def forge(house: House) -> TellingForge:
    made = TellingForge(house)
    house.forges = {"acme": made}
    for slug in ("beta", "alpha"):  # beta is the older one
        made.add(slug)
    made.facts["acme/alpha"] = {PROTECTION: OPEN_BRANCH, DEPLOY_KEYS: {"writable": ["7"]}}
    return made


def found(house: House, **where: Any) -> set[tuple[str, str]]:
    """Open findings of settings."""
    rows = [f for f in house.rows("findings") if f["ref"] == SETTINGS_REF and f["is_open"]]
    return {(f["slug"], f["rule_id"]) for f in rows}


def scans(house: House) -> dict[str, tuple[str, str | None]]:
    newest = house.lake().snapshot().run
    assert newest is not None
    rows = [r for r in house.rows("scans", run_id=[newest["run_id"]]) if r["ref"] == SETTINGS_REF]
    return {r["slug"]: (r["outcome"], r["reason_code"]) for r in rows}


def night(house: House, forge: TellingForge, day: float, **options: Any) -> list[str]:
    """Patrol; who was asked for."""
    forge.asked.clear()
    assert house.run(at=BEGIN + timedelta(days=day), **options) is not None
    return list(forge.asked)


OF_ALPHA = {("acme/alpha", "default-branch-unprotected"), ("acme/alpha", "deploy-key-writes")}
ALL = OF_ALPHA | {("acme/beta", "two-factor-not-required")}


def test_settings_are_asked_once_in_seven_days_and_cost_nothing_between(house: House, forge: TellingForge) -> None:
    assert night(house, forge, 0) == ["acme/alpha", "acme/beta*"]
    assert found(house) == ALL
    assert {f["origin"] for f in house.rows("findings")} == {"backlog"}
    assert night(house, forge, 6.9) == []
    assert scans(house) == dict.fromkeys(("acme/alpha", "acme/beta"), ("unchanged", None))
    assert night(house, forge, 7) == ["acme/alpha", "acme/beta*"]
    assert scans(house) == dict.fromkeys(("acme/alpha", "acme/beta"), ("unchanged", None))
    assert night(house, forge, 8) == [], "the same answer counts from when it was given"
    assert found(house) == ALL
    assert night(house, forge, 9, force=True) == ["acme/alpha", "acme/beta*"]
    assert night(house, forge, 17, only=("acme/alpha",)) == ["acme/alpha"], "the account is told with its oldest alone"


def test_other_settings_open_and_close(house: House, forge: TellingForge) -> None:
    night(house, forge, 0)
    forge.facts = {"acme/beta": {PROTECTION: {**SOUND, "reviews": 0}}}
    night(house, forge, 7)
    assert found(house) == {("acme/beta", "two-factor-not-required"), ("acme/beta", "review-not-required")}
    events = [e for e in house.rows("finding_events") if e["seq"] == 2]
    assert {(e["status"], e["cause"]) for e in events} == {("open", "settings_changed"), ("fixed", "settings_changed")}
    assert {e["origin"] for e in events if e["status"] == "open"} == {"settings"}


def test_what_is_not_told_keeps_its_findings_open_and_no_others(house: House, forge: TellingForge) -> None:
    night(house, forge, 0)
    forge.facts, forge.unread = {}, {PROTECTION: "it takes a right"}
    night(house, forge, 7)
    assert found(house) == ALL - {("acme/alpha", "deploy-key-writes")}
    assert scans(house)["acme/alpha"] == ("partial", None)
    assert {g["reason_code"] for g in house.rows("scan_gaps")} == {"settings_unread"}


def test_a_forge_that_cannot_be_asked_leaves_all_as_it_was(house: House, forge: TellingForge) -> None:
    night(house, forge, 0)
    forge.fails = (0, ForgeError("forge_unreachable", "it is down"))
    night(house, forge, 7)
    assert scans(house) == dict.fromkeys(("acme/alpha", "acme/beta"), ("stale", "forge_unreachable"))
    assert found(house) == ALL
    forge.fails = None
    assert night(house, forge, 8) == ["acme/alpha", "acme/beta*"]


def test_few_requests_are_spent_on_what_was_asked_longest_ago(house: House, forge: TellingForge) -> None:
    forge.fails = (1, ForgeError("forge_limited", "few are left"))
    assert night(house, forge, 0) == ["acme/alpha"]
    assert scans(house) == {"acme/alpha": ("ok", None), "acme/beta": ("failed", "forge_limited")}
    assert night(house, forge, 8) == ["acme/beta*"], "never asked comes first"
    assert scans(house) == {"acme/alpha": ("unchanged", None), "acme/beta": ("ok", None)}
    assert night(house, forge, 9) == ["acme/alpha"]
    assert found(house) == ALL


def test_a_repository_without_an_answer_keeps_no_other_waiting(house: House, forge: TellingForge) -> None:
    for slug in ("a1", "a2", "a3"):
        forge.add(slug)
    forge.odd = {"acme/a1", "acme/a2", "acme/a3"}
    assert night(house, forge, 0) == [], "after three in a row it is the forge"
    assert set(scans(house).values()) == {("failed", "forge_unreachable")}
    forge.odd = {"acme/a1", "acme/a2"}
    assert night(house, forge, 1) == ["acme/a3", "acme/alpha", "acme/beta*"]
    assert scans(house) == {
        **dict.fromkeys(("acme/a1", "acme/a2"), ("failed", "forge_unreachable")),
        **dict.fromkeys(("acme/a3", "acme/alpha", "acme/beta"), ("ok", None)),
    }
    forge.odd = {"acme/a1", "acme/a2", "acme/a3"}
    assert night(house, forge, 8) == ["acme/alpha", "acme/beta*"], "those without an answer come last"


def test_an_outage_says_nothing_of_what_was_not_due(house: House, forge: TellingForge) -> None:
    night(house, forge, 0)
    forge.add("gamma")
    forge.fails = (0, ForgeError("forge_unreachable", "it is down"))
    night(house, forge, 1)
    told = scans(house)
    assert told.pop("acme/gamma") == ("failed", "forge_unreachable")
    assert told == dict.fromkeys(("acme/alpha", "acme/beta"), ("unchanged", None))


def test_one_night_with_a_clock_ahead_stops_no_asking(house: House, forge: TellingForge) -> None:
    night(house, forge, 1000)
    assert night(house, forge, 1) == ["acme/alpha", "acme/beta*"]
    assert night(house, forge, 2) == []


@thorough
def test_nothing_is_asked_where_nobody_wants_it(house: House, forge: TellingForge) -> None:
    house.sources = (source(posture=False),)
    assert night(house, forge, 0) == []
    assert scans(house) == {}
    house.sources = (source(posture=True),)
    night(house, forge, 1)
    house.sources = (source(posture=False),)
    assert night(house, forge, 20) == []
    assert scans(house) == dict.fromkeys(("acme/alpha", "acme/beta"), ("skipped", "settings_off"))
    assert found(house) == ALL, "nobody looked, so nothing is mended"


def test_a_plan_asks_no_forge(house: House, forge: TellingForge) -> None:
    house.writes = False
    with house.patrol(FakeRunner(), Options()) as (run, _):
        assert {p.ref for s in run.repos.values() for p in s.plans} == {"refs/heads/main"}
    assert forge.asked == []


@thorough
def test_two_with_the_same_settings_are_one_judgement(house: House, forge: TellingForge) -> None:
    forge.add("gamma")
    forge.add("delta")
    night(house, forge, 0)
    told = scans(house)
    assert {told["acme/gamma"][0], told["acme/delta"][0]} == {"ok", "unchanged"}
    assert night(house, forge, 1) == [], "a reused answer is as young as the question"


@thorough
def test_newer_rules_ask_anew(house: House, forge: TellingForge) -> None:
    night(house, forge, 0)
    house.homes = {"posture": replace(house.homes["posture"], rules_digest="others")}
    assert night(house, forge, 1) == ["acme/alpha", "acme/beta*"]
    assert found(house) == ALL
