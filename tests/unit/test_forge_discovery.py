"""What a forge lists, what it says there is, and what was there last night: whole patrols over a made-up forge.

The forge is a stand-in for the adapters, which have tests of their own; its repositories are real and local.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ForgeError, UsageError
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
from tests import patrols
from tests.patrols import House
from tests.thorough import thorough
from tests.unit.test_importing import bring, report

ACCESS = ForgeAccess(kind=ForgeKind.GITEA, api_url="http://forge.test", owner="acme", owner_kind="organization")


class StandInForge:
    """Lists what it is told to."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.repos: dict[str, ListedRepo] = {}
        self.total: int | None = None
        self.counts_all = True
        self.selected: bool | None = None
        self.doubts: tuple[str, ...] = ()
        self.error: Exception | None = None
        self.host = "forge.test"

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
            host=self.host,
            repos=found,
            total=total,
            total_from="total_count",
            counts_all=self.counts_all,
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


@thorough
def test_more_than_the_forge_says_there_are_is_a_difference(house: House, forge: StandInForge) -> None:
    forge.total = 1
    assert told(house, night(house))["forge.test/acme (difference)"] == "failed forge_difference"


def test_an_app_that_sees_a_selection_of_nobody_knows_how_many_is_a_gap(house: House, forge: StandInForge) -> None:
    forge.selected = True
    forge.listing = lambda: Listing(host="forge.test", repos=tuple(forge.repos.values()), selected=True)  # type: ignore[method-assign]
    assert told(house, night(house))["forge.test/acme (difference)"] == "failed forge_difference"


def test_what_is_filtered_is_a_row_with_its_reason_and_no_gap(house: House) -> None:
    cases: dict[str, tuple[dict[str, Any], Filters, str]] = {
        "archived": ({"archived": True}, Filters(), "archived (filters.archived)"),
        "fork": ({"fork": True}, Filters(), "a fork (filters.forks)"),
        "exclude": ({}, Filters(exclude=("*/odd-*",)), "a pattern of filters.exclude matches"),
        "include": ({}, Filters(include=("acme/[eg]*",)), "no pattern of filters.include matches"),
        "topics": ({"topics": ("toy",)}, Filters(topics=("live",)), "none of filters.topics"),
        "public": ({"visibility": "public"}, Filters(visibility=("private",)), "public (filters.visibility)"),
        "size": ({"size_mb": 900.0}, Filters(max_size_mb=500), "900 MB (filters.max_size_mb)"),
    }
    for name, (facts, _, _) in cases.items():
        house.forges[name] = forge = StandInForge(house)
        forge.host = f"{name}.test"
        forge.add(f"good-{name}", topics=("live",), visibility="private")
        forge.add(f"odd-{name}", **facts)
    house.sources = tuple(replace(source(filters=f), name=name) for name, (_, f, _) in cases.items())
    summary = night(house)
    rows = {r["slug"].removeprefix("acme/"): r for r in house.rows("scans")}
    assert {r["outcome"] for name, r in rows.items() if name.startswith("good-")} <= {"ok", "unchanged"}
    odd = {name.removeprefix("odd-"): r for name, r in rows.items() if name.startswith("odd-")}
    assert {(r["outcome"], r["reason_code"]) for r in odd.values()} == {("skipped", "filtered")}
    assert {name: r["detail"] for name, r in odd.items()} == {name: why for name, (_, _, why) in cases.items()}
    assert len(rows) == 2 * len(cases)
    assert summary.gap_rows == 0
    for name in cases:
        assert discovered(house, summary, name)["filtered"] == 1
    assert house.starts and not [s for s in house.starts if s.endswith(":2")]


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
    assert told(house, night(house))["acme/shop"] == "missing not_found"
    forge.total = None
    assert told(house, night(house))["acme/shop"] == "missing gone_unconfirmed", "that is once"
    for total, error in ((2, None), (None, ForgeError("forge_unreachable", "no answer"))):
        forge.total, forge.error = total, error
        assert told(house, night(house))["acme/shop"].endswith("not_found"), "and this is not again"
        forge.total = forge.error = None
        assert told(house, night(house))["acme/shop"] == "missing gone_unconfirmed"
    assert {r["status"] for r in house.rows("findings")} == {"open"}
    bring(house, report("R1"), repo="acme/shop")
    summary = night(house)
    assert told(house, summary)["acme/shop"] == "nothing_to_read repository_gone"
    assert {f["status"] for f in house.rows("findings", tool=["import/lint"])} == {"archived"}
    assert discovered(house, summary)["gone"] == 1
    closed = {r["slug"]: (r["status"], r["fixed_reason"]) for r in house.rows("findings")}
    assert set(told(house, summary)) == {"acme/app", "acme/shop"}
    assert closed == {"acme/app": ("open", None), "acme/shop": ("archived", "archived")}
    assert set(told(house, night(house))) == {"acme/app"}
    forge.repos["shop"] = gone
    assert told(house, night(house))["acme/shop"] == "unchanged"
    mine = house.rows("findings", tool=["fake"])
    assert {r["slug"]: r["status"] for r in mine} == {"acme/app": "open", "acme/shop": "reopened"}
    events = sorted((e["seq"], e["cause"]) for e in house.rows("finding_events", slug=["acme/shop"], tool=["fake"]))
    assert [cause for _, cause in events] == ["first_scan", "archived", "restored"]


@thorough
def test_what_a_selection_no_longer_shows_is_never_taken_for_gone(house: House, forge: StandInForge) -> None:
    night(house)
    forge.repos.pop("shop")
    forge.selected = True
    for _ in range(3):
        assert told(house, night(house))["acme/shop"] == "missing not_found"


@pytest.mark.parametrize(
    "what", ["the credential's total", pytest.param("another account", marks=thorough), "another host"]
)
def test_what_another_look_does_not_show_is_never_taken_for_gone(house: House, forge: StandInForge, what: str) -> None:
    night(house)
    shop = forge.repos.pop("shop")
    if what == "the credential's total":
        forge.counts_all = False
    else:
        owner, forge.host = ("beta", "forge.test") if what == "another account" else ("acme", "other.test")
        house.sources = (replace(source(), forge=replace(ACCESS, owner=owner)),)
        forge.repos = {"x": replace(shop, forge_id="77", slug=f"{owner}/x")}
    for _ in range(2):
        assert told(house, night(house))["acme/shop"] == "missing not_found"
    assert {r["status"] for r in house.rows("findings", slug=["acme/shop"])} == {"open"}
    forge.repos, forge.host, house.sources = {}, "forge.test", (source(),)
    forge.counts_all = True
    assert told(house, night(house))["acme/shop"] == "missing gone_unconfirmed", "only this was its own account's word"


@thorough
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


def test_another_repository_with_the_number_of_one_closes_none_of_its_findings(
    house: House, forge: StandInForge
) -> None:
    """A forge that was set up anew counts from one again."""
    night(house)
    house.commit("other", a="fine")
    url = f"file://{house.place / 'org' / 'other' / '.git'}"
    forge.repos["app"] = ListedRepo(forge_id="1", slug="acme/other", clone_url=url)
    for _ in range(2):
        summary = night(house)
        assert told(house, summary) == {"acme/app": "failed another_repository", "acme/shop": "unchanged"}
        assert (summary.fixed, summary.open_findings) == (0, 2)
    assert told(house, night(house, force=True))["acme/other"] == "ok"
    assert told(house, night(house)) == {"acme/other": "unchanged", "acme/shop": "unchanged"}


def test_a_repository_that_two_accounts_list_is_expected_once(house: House, forge: StandInForge) -> None:
    other = Source(name="again", location="http://forge.test/again", forge=ACCESS)
    house.sources = (*house.sources, other)
    house.forges["again"] = forge
    night(house)
    rows = house.rows("scans")
    assert sorted(r["slug"] for r in rows) == ["acme/app", "acme/shop"]


@thorough
def test_a_run_of_one_source_knows_what_the_run_of_another_saw(
    house: House, forge: StandInForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group and its subgroup, each patrolled for itself."""
    one = replace(patrols._observation("a.txt"), path=None)  # one flaw, wherever it stands
    monkeypatch.setattr(patrols, "_observation", lambda path: replace(one, path=path, occurrence_uid=path))
    house.commit("app", b="flaw")
    house.forges["sub"] = forge
    night(house)
    house.sources = (replace(source(), name="sub"),)
    house.commit("app", a="fine", b="unread")
    night(house)
    (found,) = house.rows("findings", slug=["acme/app"])
    assert (found["status"], found["unread_paths"]) == ("open", ["b.txt"])

    house.sources = (source(),)
    house.repo("app").git("branch", "--move", "main", "trunk")
    (house.place / "org" / "app").rename(house.place / "away")
    assert told(house, night(house))["acme/app"] == "stale fetch_stale", "told of main, not of an unknown branch"
    (scope,) = house.rows("scopes", slug=["acme/app"])
    assert scope["result_name"] is not None
    (row,) = house.rows("repositories", slug=["acme/app"])
    assert row["default_branch"] == "refs/heads/main"


@thorough
@pytest.mark.parametrize("order", [("a", "b"), ("b", "a")])
def test_a_source_that_leaves_a_repository_out_takes_it_from_none_that_asks_for_it(
    house: House, forge: StandInForge, order: tuple[str, str]
) -> None:
    more = {"a": {"filters": Filters(exclude=("*/shop",)), "refs": ("one",)}, "b": {"refs": ("two",)}}
    house.sources = tuple(Source(name=n, location="x", forge=ACCESS, **more[n]) for n in order)  # type: ignore[arg-type]
    house.forges = dict.fromkeys(order, forge)
    for slug in ("app", "shop"):
        for branch in ("one", "two"):
            house.repo(slug).git("branch", branch)
    assert {s for s, said in told(house, night(house)).items() if said in ("ok", "unchanged")} == {
        "acme/app", "acme/app refs/heads/one", "acme/app refs/heads/two", "acme/shop", "acme/shop refs/heads/two",
    }, "refs of both sources are watched where both patrol"  # fmt: skip


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


@thorough
def test_a_manifest_beside_the_forge_names_what_is_not_listed(
    house: House, forge: StandInForge, tmp_path: Path
) -> None:
    manifest = tmp_path / "repos.txt"
    manifest.write_text(f"{forge.repos['app'].clone_url}\nhttps://forge.test/acme/lost.git  # moved?\n")
    house.sources = (source(manifest=manifest),)
    summary = night(house)
    assert told(house, summary)["forge.test/acme/lost"] == "missing not_listed"
    assert discovered(house, summary)["missing"] == 1
    manifest.write_bytes(b"\xff")
    broken = told(house, night(house))
    assert broken.pop("acme manifest") == "failed manifest_entry", "the forge is asked all the same"
    assert broken == {"acme/app": "unchanged", "acme/shop": "unchanged", "forge.test/acme/lost": "missing not_listed"}
    manifest.write_text("")
    mended = told(house, night(house))
    assert mended["acme manifest"] == mended["forge.test/acme/lost"] == "nothing_to_read gap_gone"


@thorough
def test_what_a_manifest_expects_takes_no_id_of_another_source(
    house: House, forge: StandInForge, tmp_path: Path
) -> None:
    house.commit("lib", a="flaw")
    url = f"file://{tmp_path / 'org' / 'lib' / '.git'}"
    direct = Source(name="direct", location=url)
    house.sources = (source(), direct)
    night(house)
    before = house.rows("findings")
    manifest = tmp_path / "repos.txt"
    manifest.write_text(f"{url}\n")
    house.sources = (source(manifest=manifest), direct)
    summary = night(house)
    assert house.rows("findings") == before
    outcomes = [r["outcome"] for r in house.rows("scans", run_id=[summary.run_id])]
    assert sorted(outcomes) == ["missing", "unchanged", "unchanged", "unchanged"]


@thorough
def test_a_source_that_is_configured_no_more_does_not_take_its_repositories_along(
    house: House, forge: StandInForge, tmp_path: Path
) -> None:
    house.sources = (source(refs=("release/*",)),)
    house.repo("app").git("branch", "release/1")
    folder = Source(name="folder", location=str(tmp_path / "org"), filters=Filters(include=("shop",)))
    house.sources = (*house.sources, folder)
    night(house, all_sources=True)
    known = {r["slug"]: r["repo_id"] for r in house.rows("repositories", source=["folder"])}
    house.repo("app").git("branch", "--delete", "release/1")
    forge.repos.pop("shop")
    house.sources = (replace(source(), name="renamed"), replace(folder, name="also renamed"))
    house.forges = {"renamed": forge}
    for _ in range(2):
        summary = night(house, all_sources=True)
        assert told(house, summary)["acme/app"] == "unchanged"
        assert {r["slug"]: r["repo_id"] for r in house.rows("repositories", source=["also renamed"])} == known
        assert told(house, summary)["acme/shop"] == "missing source_removed"
        assert summary.open_findings == 3
    closed = house.rows("findings", ref=["refs/heads/release/1"])
    assert [r["fixed_reason"] for r in closed] == ["ref_gone"], "scopes of the old name are the new one's"
    assert "acme/shop" not in told(house, night(house)), "a run that is narrowed knows its own"
    empty = tmp_path / "none.txt"
    empty.write_text("# removed\n")
    old = Source(name="acme", location=str(empty), manifest=empty, filters=Filters(exclude=("*",)))
    house.sources = (*house.sources, old)
    assert told(house, night(house, all_sources=True))["acme/shop"] == "skipped filtered", "the remedy holds"


@thorough
def test_a_source_renamed_in_a_run_of_its_own_keeps_what_was_known(house: House, forge: StandInForge) -> None:
    house.sources = (source(refs=("release/*",)),)
    house.repo("app").git("branch", "release/1")
    night(house, all_sources=True)
    before = house.rows("repositories")
    house.sources, house.forges = (replace(source(), name="renamed"),), {"renamed": forge}
    night(house)
    house.repo("app").git("branch", "--delete", "release/1")
    night(house, all_sources=True)
    assert [r["fixed_reason"] for r in house.rows("findings", ref=["refs/heads/release/1"])] == ["ref_gone"]
    firsts = [{r["slug"]: r["first_seen_at"] for r in rows} for rows in (before, house.rows("repositories"))]
    assert firsts[0] == firsts[1]


@thorough
def test_a_fault_of_ours_in_one_source_takes_no_others_night(house: House, forge: StandInForge) -> None:
    house.sources = (source(), Source(name="direct", location=f"file://{house.place / 'org' / 'lib' / '.git'}"))
    house.commit("lib", a="fine")
    night(house)
    house.commit("app", b="flaw")
    house.commit("lib", b="flaw")
    forge.error = KeyError("canary")
    said = told(house, night(house))
    assert (said["source acme"], said["acme/app"], said["acme/shop"]) == ("failed internal", "ok", "unchanged")
    assert "ok" in [said[s] for s in said if s.endswith("lib")]
    assert "canary" not in str(house.rows("scans"))
    forge.error = None
    assert told(house, night(house))["source acme"] == "nothing_to_read gap_gone"
    assert "source acme" not in told(house, night(house))


@thorough
def test_a_source_that_holds_nothing_is_a_gap_as_long_as_it_does(
    house: House, forge: StandInForge, tmp_path: Path
) -> None:
    empty, folder = tmp_path / "none.txt", tmp_path / "folder"
    empty.write_text("# to come\n")
    folder.mkdir()
    house.sources = (
        source(),
        Source(name="list", location=str(empty), manifest=empty),
        Source(name="folder", location=str(folder)),
        Source(name="bare", location="x", forge=ACCESS),
    )
    house.forges["bare"] = bare = StandInForge(house)
    bare.counts_all = False
    for _ in range(2):
        said = told(house, night(house))
        assert {s: why for s, why in said.items() if s.startswith("source ")} == dict.fromkeys(
            ("source list", "source folder", "source bare"), "failed source_unread"
        )
    bare.counts_all = True
    assert told(house, night(house))["source bare"] == "nothing_to_read gap_gone", "nothing, by its own account"
    assert "source bare" not in told(house, night(house))


def test_only_keeps_what_stands_in_and_a_pattern_of_nothing_is_refused(house: House, forge: StandInForge) -> None:
    with pytest.raises(UsageError, match="no repository is called beta/\\*; 2 are known"):
        night(house, only=("beta/*",))
    forge.total = 3
    assert told(house, night(house, only=("*/app",))) == {
        "acme/app": "ok",
        "forge.test/acme (not visible)": "failed forge_hidden",
    }
    forge.error = ForgeError("forge_denied", "no")
    said = told(house, night(house, only=("beta/*",)))
    assert said == {"source acme": "failed forge_denied", "forge.test/acme (not visible)": "failed forge_hidden"}


@thorough
def test_a_manifest_that_cannot_be_read_leaves_its_repositories_patrolled(house: House, tmp_path: Path) -> None:
    house.commit("app", a="fine")
    manifest = tmp_path / "repos.yaml"
    manifest.write_text(f"- file://{tmp_path / 'org' / 'app' / '.git'}\n")
    house.sources = (Source(name="list", location=str(manifest), manifest=manifest),)
    night(house)
    house.commit("app", a="flaw")
    manifest.write_text("- [\n")
    summary = night(house)
    assert sorted(told(house, summary).values()) == ["failed source_unread", "ok"]
    assert summary.open_findings == 1


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


@pytest.mark.parametrize("refs", [("hotfix/*",), pytest.param((), marks=thorough)])
def test_a_ref_that_nobody_watches_any_more_is_not_scanned_and_counts_no_more(
    house: House, forge: StandInForge, refs: tuple[str, ...]
) -> None:
    house.sources = (source(refs=("release/*",)),)
    house.commit("app", b="flaw")
    house.repo("app").git("branch", "release/1")
    night(house)
    house.sources = (source(refs=refs),)
    house.commit("app", a="fine", b="fine")
    house.repo("app").git("branch", "--force", "release/1", "main")
    house.commit("app", a="flaw")
    second = night(house, all_sources=True)
    release = "acme/app refs/heads/release/1"
    assert told(house, second)[release] == "skipped ref_unwatched"
    assert (second.fixed, second.open_findings, second.gap_rows) == (1, 2, 0)
    assert over_refs(house) == [
        ("acme/app", "open", ["refs/heads/main"], [], ["refs/heads/release/1"], True),
        ("acme/app", "fixed", [], ["refs/heads/main"], ["refs/heads/release/1"], False),
        ("acme/shop", "open", ["refs/heads/main"], [], [], True),
    ]
    for scope in house.rows("findings", ref=["refs/heads/release/1"]):
        assert scope["status"] == "open", "of the scope itself nothing is known"
    shop = forge.repos.pop("app")
    forge.total = 2
    missing = night(house)
    assert told(house, missing) == {
        "acme/app": "missing not_found", release: "skipped ref_unwatched", "acme/shop": "unchanged",
        "forge.test/acme (not visible)": "failed forge_hidden",
    }  # fmt: skip
    assert missing.open_findings == 2, "it stays unwatched while nobody can look"
    forge.repos["app"], forge.total = shop, None
    house.sources = (source(refs=("release/*",)),)
    again = night(house)
    assert told(house, again)[release] == "ok"
    assert {row[1] for row in over_refs(house)} == {"open", "fixed"}


@thorough
def test_an_old_default_branch_is_watched_while_the_new_one_cannot_be_told(house: House, forge: StandInForge) -> None:
    app = house.repo("app")
    for command in ("branch --move main trunk", "branch side"):
        app.git(*command.split())
    night(house)
    said = {}
    for head in ("lost", "side"):
        app.git("symbolic-ref", "HEAD", f"refs/heads/{head}")
        summary = night(house, all_sources=True)
        rows = house.rows("scans", run_id=[summary.run_id], slug=["acme/app"])
        said[head] = {r["ref"]: (r["outcome"], r["reason_code"]) for r in rows}
        assert summary.open_findings == 2
    trunk, unknown = "refs/heads/trunk", ("failed", "no_default_branch")
    assert said["lost"] == {"HEAD": unknown, trunk: ("unchanged", None)}, "a HEAD that is broken hides nothing"
    assert said["side"][trunk] == ("skipped", "ref_unwatched") and said["side"]["refs/heads/side"][0] == "unchanged"


def test_findings_over_refs_are_one_row_each(house: House, forge: StandInForge) -> None:
    house.sources = (source(refs=("release/*",)),)
    house.repo("app").git("branch", "release/1")
    night(house)
    house.commit("app", a="fine")
    night(house)
    assert over_refs(house) == [
        ("acme/app", "open", ["refs/heads/release/1"], ["refs/heads/main"], [], True),
        ("acme/shop", "open", ["refs/heads/main"], [], [], True),
    ]


def over_refs(house: House) -> list[Any]:
    from tasks.lake.views import run_query

    columns = "slug, status, open_refs, fixed_refs, unwatched_refs, fixed_at IS NULL"
    return list(run_query(house.lake().snapshot(), f"SELECT {columns} FROM findings_over_refs ORDER BY slug, path")[1])
