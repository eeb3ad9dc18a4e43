"""Several sources that list one account, or one id: none takes a repository, or a ref of it, out of another's sight."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import ForgeError
from tasks.core.origins import Filters, Source
from tests.patrols import House
from tests.thorough import thorough
from tests.unit.test_forge_discovery import ACCESS, StandInForge, night, told

RELEASE = "acme/app refs/heads/release/1"
ALL = Source(name="all", location="x", forge=ACCESS)
RELEASES = Source(name="releases", location="x", forge=ACCESS, refs=("release/*",))
PAY = Source(name="pay", location="x", forge=ACCESS, filters=Filters(include=("*/shop",)))
REST = Source(name="rest", location="x", forge=ACCESS, filters=Filters(exclude=("*/shop",)))


@pytest.fixture
def house(tmp_path: Path) -> House:
    made = House(place=tmp_path)
    forge = StandInForge(made)
    for slug in ("app", "shop"):
        forge.add(slug)
    for name in ("all", "releases", "pay", "rest"):
        made.forges[name] = other = StandInForge(made)
        other.repos, other.counts_all = dict(forge.repos), False
    return made


def stand_in(house: House, name: str) -> StandInForge:
    forge = house.forges[name]
    assert isinstance(forge, StandInForge)
    return forge


@pytest.mark.parametrize(
    "how",
    [*(pytest.param(h, marks=thorough) for h in ("it fails", "its token sees it no more")), "it is not in the run"],
)
def test_a_ref_is_watched_while_the_source_that_asks_for_it_is_not_heard(house: House, how: str) -> None:
    house.sources = (ALL, RELEASES)
    house.repo("app").git("branch", "release/1")
    house.commit("app", a="fine")
    assert night(house, all_sources=True).open_findings == 2
    if how == "it fails":
        stand_in(house, "releases").error = ForgeError("forge_denied", "the token has expired")
    elif how == "it is not in the run":
        house.sources = (ALL,)
    else:
        stand_in(house, "releases").repos.pop("app")
    summary = night(house, all_sources=how != "it is not in the run")
    assert (told(house, summary)[RELEASE], summary.open_findings) == ("unchanged", 2)
    house.sources, stand_in(house, "releases").error = (ALL, replace(RELEASES, refs=())), None
    assert told(house, night(house, all_sources=True))[RELEASE] == "skipped ref_unwatched"
    house.sources = (ALL,)
    assert told(house, night(house))[RELEASE] == "skipped ref_unwatched", "what was unwatched stays so"


@pytest.mark.parametrize(("order", "counts_all"), [((PAY, REST), False), ((REST, PAY), True)])
def test_what_one_source_loses_is_not_hidden_by_the_filter_of_another(
    house: House, order: tuple[Source, Source], counts_all: bool
) -> None:
    house.sources = order
    night(house, all_sources=True)
    stand_in(house, "pay").repos.pop("shop")
    stand_in(house, "pay").counts_all = counts_all
    for _ in range(2):
        summary = night(house, all_sources=True)
        assert told(house, summary) == {"acme/app": "unchanged", "acme/shop": "missing not_found"}
        (pay,) = house.rows("discoveries", run_id=[summary.run_id], source=["pay"])
        assert (summary.gap_rows, pay["missing"]) == (1, 1)


def test_a_run_of_one_source_takes_over_nothing_that_it_leaves_out(house: House) -> None:
    house.sources = (PAY,)
    night(house)
    house.sources = (REST,)
    assert set(told(house, night(house))) == {"acme/app"}
    assert [r["source"] for r in house.rows("repositories", slug=["acme/shop"])] == ["pay"]
    stand_in(house, "pay").repos.pop("shop")
    house.sources = (PAY,)
    assert told(house, night(house))["acme/shop"] == "missing not_found"


def test_two_repositories_of_one_id_are_a_gap_and_one_that_two_list_is_none(house: House) -> None:
    house.sources = (ALL, RELEASES)
    assert night(house).gap_rows == 0
    other = stand_in(house, "releases")
    house.commit("other", a="flaw")
    url = f"file://{house.place / 'org' / 'other' / '.git'}"
    other.repos["app"] = replace(other.repos["app"], slug="team/other", clone_url=url)
    summary = night(house)
    assert told(house, summary) == {
        "acme/app": "unchanged",
        "acme/shop": "unchanged",
        "releases team/other (forge.test:1 twice)": "failed forge_difference",
    }


def test_what_was_left_out_and_never_read_is_forgotten_when_it_is_gone(house: House) -> None:
    house.sources = (ALL,)
    forge = stand_in(house, "all")
    forge.repos["shop"] = replace(forge.repos["shop"], fork=True)
    night(house)
    forge.repos.pop("shop")
    forge.error = ForgeError("forge_unreachable", "no answer")
    assert told(house, night(house))["acme/shop"] == "skipped filtered", "nobody looked"
    forge.error = None
    assert told(house, night(house))["acme/shop"] == "nothing_to_read gap_gone"
    assert set(told(house, night(house))) == {"acme/app"}
