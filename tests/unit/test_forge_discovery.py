"""What a forge lists, what it says there is, and what was there last night: whole patrols over a made-up forge.

The forge is a stand-in for the adapters, which have tests of their own; its repositories are real and local.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ForgeError
from tasks.core.origins import (
    Classification,
    Filters,
    ForgeAccess,
    ForgeKind,
    GitCredential,
    ListedRepo,
    Listing,
    Source,
)
from tasks.patrol.summary import RunSummary
from tests.patrols import House

ACCESS = ForgeAccess(kind=ForgeKind.GITEA, api_url="http://forge.test", owner="acme", owner_kind="organization")


class StandInForge:
    """Lists what it is told to."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.repos: dict[str, ListedRepo] = {}
        self.total: int | None = None
        self.selected: bool | None = None
        self.doubts: tuple[str, ...] = ()
        self.error: ForgeError | None = None

    def add(self, slug: str, text: str = "", **more: Any) -> None:
        """A repository with one file, listed under the number it gets."""
        self.house.commit(slug, a=text or f"flaw {slug}")
        url = f"file://{self.house.place / 'org' / slug / '.git'}"
        self.repos[slug] = ListedRepo(forge_id=str(len(self.repos) + 1), slug=f"acme/{slug}", clone_url=url, **more)

    def listing(self) -> Listing:
        if self.error is not None:
            raise self.error
        found = tuple(self.repos.values())
        total = len(found) if self.total is None else self.total
        return Listing(
            host="forge.test",
            repos=found,
            total=total,
            total_from="total_count",
            selected=self.selected,
            notes=("n",),
            doubts=self.doubts,
        )

    def credential(self) -> GitCredential | None:
        return None


def source(**more: Any) -> Source:
    return Source(name="acme", location="http://forge.test/acme", forge=ACCESS, **more)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(place=tmp_path, sources=(source(),))


@pytest.fixture
def forge(house: House) -> StandInForge:
    made = StandInForge(house)
    house.forges["acme"] = made
    for slug in ("app", "shop"):
        made.add(slug)
    return made


def night(house: House, **options: Any) -> RunSummary:
    summary = house.run(**options)
    assert summary is not None
    return summary


def told(house: House, summary: RunSummary) -> Mapping[str, str]:
    """Outcome and reason of every row of a run, by slug (and ref, where it is not the default branch)."""
    return {
        r["slug"] + ("" if r["ref"] in ("refs/heads/main", "HEAD") else f" {r['ref']}"): " ".join(
            filter(None, (r["outcome"], r["reason_code"]))
        )
        for r in house.rows("scans", run_id=[summary.run_id])
    }


def discovered(house: House, summary: RunSummary, name: str = "acme") -> dict[str, Any]:
    (row,) = house.rows("discoveries", run_id=[summary.run_id], source=[name])
    return row


def test_what_the_forge_has_and_the_credential_does_not_see_is_a_row(house: House, forge: StandInForge) -> None:
    forge.total = 5
    summary = night(house)
    assert told(house, summary) == {
        "acme/app": "ok",
        "acme/shop": "ok",
        "forge.test/acme (not visible)": "failed forge_hidden",
    }
    row = discovered(house, summary)
    assert (row["total"], row["listed"], row["expected"], row["hidden"]) == (5, 2, 2, 3)
    assert (row["kind"], row["total_from"], row["notes"]) == ("gitea", "total_count", ["n"])
    (hidden,) = (r for r in house.rows("scans") if r["reason_code"] == "forge_hidden")
    assert hidden["detail"] == "acme has 5 repositories (total_count), 2 are seen: 3 are not"
    assert summary.gap_rows == 1
    forge.total = None
    later = night(house)
    assert told(house, later)["forge.test/acme (not visible)"] == "nothing_to_read gap_gone"
    assert set(told(house, night(house))) == {"acme/app", "acme/shop"}
    assert {r["repo_id"] for r in house.rows("findings")} == {"forge.test:1", "forge.test:2"}


def test_what_a_forge_hints_at_is_a_gap_with_the_total_or_without_it(house: House, forge: StandInForge) -> None:
    forge.doubts = ("the account counts 5 public repositories, 2 were listed",)
    forge.total = 3
    summary = night(house)
    assert summary.gap_rows == 1
    (row,) = house.rows("scans", reason_code=["forge_hidden"])
    assert row["detail"] == f"acme has 3 repositories (total_count), 2 are seen: 1 are not; {forge.doubts[0]}"
    # A total that another count belies proves nobody gone.
    forge.total = None
    forge.repos.pop("shop")
    for _ in range(2):
        assert told(house, night(house)) == {
            "acme/app": "unchanged",
            "acme/shop": "missing not_found",
            "forge.test/acme (not visible)": "failed forge_hidden",
        }


def test_more_than_the_forge_says_there_are_is_a_difference(house: House, forge: StandInForge) -> None:
    forge.total = 1
    assert told(house, night(house))["forge.test/acme (difference)"] == "failed forge_difference"


def test_an_app_that_sees_a_selection_of_nobody_knows_how_many_is_a_gap(house: House, forge: StandInForge) -> None:
    forge.selected = True
    forge.listing = lambda: Listing(host="forge.test", repos=tuple(forge.repos.values()), selected=True)  # type: ignore[method-assign]
    assert told(house, night(house))["forge.test/acme (difference)"] == "failed forge_difference"


@pytest.mark.parametrize(
    ("facts", "filters", "why"),
    [
        ({"archived": True}, Filters(), "archived (filters.archived)"),
        ({"fork": True}, Filters(), "a fork (filters.forks)"),
        ({}, Filters(exclude=("*/odd",)), "a pattern of filters.exclude matches"),
        ({}, Filters(include=("acme/[as]*",)), "no pattern of filters.include matches"),
        ({"topics": ("toy",)}, Filters(topics=("live",)), "none of filters.topics"),
        ({"visibility": "public"}, Filters(visibility=("private",)), "public (filters.visibility)"),
        ({"size_mb": 900.0}, Filters(max_size_mb=500), "900 MB (filters.max_size_mb)"),
    ],
)
def test_what_is_filtered_is_a_row_with_its_reason_and_no_gap(
    house: House, forge: StandInForge, facts: dict[str, Any], filters: Filters, why: str
) -> None:
    house.sources = (source(filters=filters),)
    for slug in forge.repos:
        forge.repos[slug] = ListedRepo(
            forge_id=slug,
            slug=f"acme/{slug}",
            clone_url=forge.repos[slug].clone_url,
            topics=("live",),
            visibility="private",
        )
    forge.add("odd", **facts)
    summary = night(house)
    assert told(house, summary) == {"acme/app": "ok", "acme/shop": "ok", "acme/odd": "skipped filtered"}
    assert summary.gap_rows == 0
    assert {r["detail"] for r in house.rows("scans") if r["slug"] == "acme/odd"} == {why}
    assert discovered(house, summary)["filtered"] == 1
    assert not [s for s in house.starts if s == "forge.test:3"]


def test_what_the_forge_switched_off_is_a_gap(house: House, forge: StandInForge) -> None:
    forge.add("off", disabled=True)
    assert told(house, night(house))["acme/off"] == "failed forge_disabled"


def test_while_the_forge_cannot_be_asked_what_is_known_is_patrolled(house: House, forge: StandInForge) -> None:
    forge.add("old", archived=True)
    night(house)
    house.commit("app", a="flaw", b="flaw")
    forge.error = ForgeError("forge_limited", "acme may ask again at 04:00")
    summary = night(house)
    assert told(house, summary) == {
        "source acme": "failed forge_limited",
        "acme/app": "ok",
        "acme/shop": "unchanged",
        "acme/old": "skipped filtered",
    }
    assert discovered(house, summary)["unread"]
    forge.error = None
    assert told(house, night(house))["source acme"] == "nothing_to_read gap_gone"
    assert "source acme" not in told(house, night(house))


def test_a_forge_that_never_answered_ends_the_run_with_its_words(house: House, forge: StandInForge) -> None:
    forge.error = ForgeError("forge_denied", "the token is not accepted")
    with pytest.raises(ForgeError, match="not accepted"):
        house.run()


def test_what_is_no_longer_listed_is_missing_until_the_forge_confirms_it_twice(
    house: House, forge: StandInForge
) -> None:
    night(house)
    gone = forge.repos.pop("shop")
    forge.total = 2  # the forge still counts it
    for _ in range(3):
        assert told(house, night(house))["acme/shop"] == "missing not_found"
    assert {r["status"] for r in house.rows("findings")} == {"open"}
    forge.total = None
    summary = night(house)
    assert told(house, summary)["acme/shop"] == "nothing_to_read repository_gone"
    assert discovered(house, summary)["gone"] == 1
    closed = {r["slug"]: (r["status"], r["fixed_reason"]) for r in house.rows("findings")}
    assert closed == {"acme/app": ("open", None), "acme/shop": ("fixed", "repository_gone")}
    assert set(told(house, night(house))) == {"acme/app"}
    forge.repos["shop"] = gone
    assert told(house, night(house))["acme/shop"] == "unchanged"
    assert {r["status"] for r in house.rows("findings")} == {"open"}


def test_what_a_selection_no_longer_shows_is_never_taken_for_gone(house: House, forge: StandInForge) -> None:
    night(house)
    forge.repos.pop("shop")
    forge.selected = True
    for _ in range(3):
        assert told(house, night(house))["acme/shop"] == "missing not_found"


def test_what_is_missing_and_excluded_by_the_operator_is_no_gap(house: House, forge: StandInForge) -> None:
    night(house)
    forge.repos.pop("shop")
    forge.total = 2
    house.sources = (source(filters=Filters(exclude=("acme/shop",))),)
    assert told(house, night(house))["acme/shop"] == "skipped filtered"


def test_a_repository_keeps_its_id_when_it_is_renamed(house: House, forge: StandInForge) -> None:
    night(house)
    before = house.rows("findings", slug=["acme/app"])[0]
    (house.place / "org" / "app").rename(house.place / "org" / "new")
    url = f"file://{house.place / 'org' / 'new' / '.git'}"
    forge.repos["app"] = ListedRepo(forge_id="1", slug="acme/new", clone_url=url)
    assert told(house, night(house)) == {"acme/new": "unchanged", "acme/shop": "unchanged"}
    assert house.starts == ["forge.test:1", "forge.test:2"]
    assert [r["finding_uid"] for r in house.rows("findings")].count(before["finding_uid"]) == 1


def test_a_repository_that_two_accounts_list_is_expected_once(house: House, forge: StandInForge) -> None:
    other = Source(name="again", location="http://forge.test/again", forge=ACCESS)
    house.sources = (*house.sources, other)
    house.forges["again"] = forge
    night(house)
    rows = house.rows("scans")
    assert sorted(r["slug"] for r in rows) == ["acme/app", "acme/shop"]


def test_rules_say_what_a_repository_is_worth(house: House, forge: StandInForge) -> None:
    forge.add("pay", topics=("cards",), visibility="internal")
    house.classification = (
        Classification(topics=("cards",), criticality="critical", scopes=("pci",)),
        Classification(visibility=("internal",), exposure="internal", scopes=("sox",)),
        Classification(match=("acme/a*",), sources=("acme",), owner="team-a"),
        Classification(sources=("elsewhere",), owner="nobody"),
        Classification(criticality="normal", owner="platform"),
    )
    night(house)
    rows = {r["slug"]: (r["owner"], r["criticality"], r["exposure"], r["scopes"]) for r in house.rows("repositories")}
    assert rows == {
        "acme/app": ("team-a", "normal", None, []),
        "acme/shop": ("platform", "normal", None, []),
        "acme/pay": ("platform", "critical", "internal", ["pci", "sox"]),
    }


def test_a_manifest_beside_the_forge_names_what_is_not_listed(
    house: House, forge: StandInForge, tmp_path: Path
) -> None:
    manifest = tmp_path / "repos.txt"
    manifest.write_text(f"{forge.repos['app'].clone_url}\nhttps://forge.test/acme/lost.git  # moved?\n")
    house.sources = (source(manifest=manifest),)
    summary = night(house)
    assert told(house, summary)["forge.test/acme/lost"] == "missing not_listed"
    assert discovered(house, summary)["missing"] == 1


def test_a_finding_is_fixed_only_when_it_is_gone_from_every_watched_ref(house: House, forge: StandInForge) -> None:
    house.sources = (source(refs=("release/*", "refs/tags/v*")),)
    app = house.repo("app")
    for ref in ("branch release/1", "branch feature/x", "tag v1", "tag other"):
        app.git(*ref.split())
    first = night(house)
    assert set(told(house, first)) == {
        "acme/app", "acme/app refs/heads/release/1", "acme/app refs/tags/v1", "acme/shop",
    }  # fmt: skip
    assert (first.opened, first.open_findings) == (2, 2), "a flaw on three refs is one finding"
    house.commit("app", a="fine")
    second = night(house)
    assert (second.fixed, second.open_findings) == (0, 2)
    app = house.repo("app")
    app.git("tag", "-d", "v1")
    third = night(house)
    assert told(house, third)["acme/app refs/tags/v1"] == "nothing_to_read ref_gone"
    assert third.fixed == 0
    app.git("branch", "--force", "release/1", "main")
    fourth = night(house)
    assert (fourth.fixed, fourth.open_findings) == (1, 1)
    house.commit("app", a="flaw")
    assert night(house).opened == 1
    house.sources = (source(refs=("hotfix/*",)),)
    assert told(house, night(house))["acme/app refs/heads/release/1"] == "skipped ref_unwatched"


def test_findings_over_refs_are_one_row_each(house: House, forge: StandInForge) -> None:
    from tasks.lake.views import run_query

    house.sources = (source(refs=("release/*",)),)
    house.repo("app").git("branch", "release/1")
    night(house)
    house.commit("app", a="fine")
    night(house)
    sql = "SELECT slug, status, open_refs, fixed_refs, fixed_at IS NULL FROM findings_over_refs ORDER BY slug"
    assert list(run_query(house.lake().snapshot(), sql)[1]) == [
        ("acme/app", "open", ["refs/heads/release/1"], ["refs/heads/main"], True),
        ("acme/shop", "open", ["refs/heads/main"], [], True),
    ]
