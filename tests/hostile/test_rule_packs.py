"""Nights in which rule packs go bad, from the settings to the findings: nothing closes because nobody looked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Repository
from tests.git_http import GitServer, serving
from tests.hostile.fake_tools import SEMGREP_WITH_RULES, fake_tool
from tests.hostile.nights import Night, night
from tests.thorough import thorough
from tests.unit.test_rule_packs import file_of, rule

BOTH = {("app.py", "team.a"), ("app.py", "team.b")}


class Place:
    """A home, an organisation and the rule pack ``team``; semgrep is a fake that obeys rules."""

    def __init__(self, place: Path) -> None:
        self.home, self.org, self.rules = place / "home", place / "org", place / "rules"
        self.binary = fake_tool(place / "fake", "semgrep", SEMGREP_WITH_RULES)
        self.none = place / "none"
        self.shop = Repository(self.org / "shop")
        self.shop.commit({"app.py": b"a()\nb()\n"})
        self.write(a=file_of(rule("a", pattern="a(...)")), b=file_of(rule("b", pattern="b(...)")))

    def write(self, **files: str) -> None:
        """Write files of the pack."""
        self.rules.mkdir(exist_ok=True)
        for name, text in files.items():
            (self.rules / f"{name}.yaml").write_text(text)

    def night(self, **more: Any) -> Night:
        """Patrol once with semgrep alone."""
        semgrep = {"binary": self.binary, **more.pop("semgrep", {})}
        settings = {"packs": ({"name": "team", "path": self.rules},), "own_pack": False, **more}
        return night(self.home, self.org, self.none, ["semgrep"], each_tool={"semgrep": semgrep}, **settings)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def pack(told: Night) -> tuple[str, str | None] | None:
    """What the row of the pack says."""
    return told.said("rule pack team", "semgrep") if ("rule pack team", "semgrep") in told.scans else None


@thorough
def test_a_pack_that_broke_and_then_went_closes_nothing(place: Place) -> None:
    first = place.night()
    assert (first.open("shop", "semgrep"), pack(first)) == (BOTH, None)
    place.write(b="rules: [")
    second = place.night()
    assert (second.open("shop", "semgrep"), pack(second)) == (BOTH, ("failed", "rule_broken"))
    shutil.rmtree(place.rules)
    third = place.night()
    assert (third.open("shop", "semgrep"), pack(third)) == (BOTH, ("stale", "pack_stale"))
    assert "b.yaml: no YAML" in third.scan("rule pack team", "semgrep")["detail"]
    # Somebody really takes it out.
    place.write(a=file_of(rule("a", pattern="a(...)")))
    last = place.night()
    assert last.open("shop", "semgrep") == {("app.py", "team.a")}
    assert last.fixed("shop", "semgrep") == {("app.py", "team.b", "rule_gone")}


def test_a_pack_of_which_nothing_is_left_closes_nothing(place: Place) -> None:
    """Another pack runs on; the languages of the one that is gone are not known any more."""
    other = place.rules.parent / "other"
    other.mkdir()
    (other / "r.yaml").write_text(file_of(rule("c", pattern="c(...)")))
    packs = ({"name": "team", "path": place.rules}, {"name": "other", "path": other})
    place.write(k=file_of(rule("k", pattern="k(...)", languages=["kotlin"])))
    mobile = Repository(place.org / "mobile")
    mobile.commit({"A.kt": b"k()\n", "B.kt": b"k()\n"})
    first = place.night(packs=packs)
    assert first.open("mobile", "semgrep") == {("A.kt", "team.k"), ("B.kt", "team.k")}
    shutil.rmtree(place.rules)
    shutil.rmtree(place.home / "packs" / "team")
    place.shop.commit({"app.py": b"c()\n"})
    second = place.night(packs=packs)
    assert pack(second) == ("failed", "pack_missing")
    assert second.said("shop", "semgrep") == ("ok", None)
    assert second.open("shop", "semgrep") == {*BOTH, ("app.py", "other.c")}
    assert second.said("mobile", "semgrep") == ("failed", "rule_broken")
    assert second.open("mobile", "semgrep") == first.open("mobile", "semgrep")
    mobile.commit({"A.kt": None, "B.kt": None, "words.md": b"words"})
    place.shop.commit({"app.py": None, "new.py": b"words"})
    third = place.night(packs=packs)
    assert third.said("mobile", "semgrep") == ("nothing_to_read", None)
    assert not third.open("mobile", "semgrep") and not third.open("shop", "semgrep")


def test_files_that_only_a_broken_rule_reads_are_gaps(place: Place) -> None:
    place.write(k=file_of(rule("k", pattern="k(...)", languages=["kotlin"])))
    mobile = Repository(place.org / "mobile")
    mobile.commit({"A.kt": b"k()\n", "B.kt": b"k()\n"})
    first = place.night()
    place.write(k=file_of(rule("k", pattern="k(((", languages=["kotlin"])))
    second = place.night()
    assert second.said("mobile", "semgrep") == ("partial", None)
    assert second.unread("mobile", "semgrep") == {("A.kt", "rule_broken"), ("B.kt", "rule_broken")}
    assert second.open("mobile", "semgrep") == first.open("mobile", "semgrep") != set()
    assert second.said("shop", "semgrep") == ("ok", None)
    mobile.commit({"B.kt": None})
    third = place.night()
    assert third.open("mobile", "semgrep") == {("A.kt", "team.k")}
    assert third.fixed("mobile", "semgrep") == {("B.kt", "team.k", "file_gone")}


def test_without_any_rule_no_repository_counts_as_clean(place: Place) -> None:
    first = place.night(packs=())
    assert first.said("shop", "semgrep") == ("failed", "no_rules")
    assert first.summary.gap_rows == 1
    assert "semgrep" not in first.starts
    # Nor where there are packs, of which nothing runs: each says so.
    place.write(a="rules: [", b="rules: [")
    second = place.night()
    assert (second.said("shop", "semgrep"), pack(second)) == (("failed", "no_rules"), ("failed", "rule_broken"))


def test_an_id_that_is_used_twice_holds_nothing_open(place: Place) -> None:
    place.write(c=file_of(rule("a", pattern="never(...)")))
    first = place.night()
    assert (first.open("shop", "semgrep"), pack(first)) == (BOTH, ("failed", "rule_broken"))
    place.shop.commit({"app.py": b"b()\n"})
    second = place.night()
    assert second.fixed("shop", "semgrep") == {("app.py", "team.a", "code_changed")}


def test_what_runs_beside_a_broken_file_closes(place: Place) -> None:
    """The file may have held any rule of the pack, but not one that runs."""
    place.night()
    place.write(b="rules: [")
    place.shop.commit({"app.py": b"words\n"})
    second = place.night()
    assert second.open("shop", "semgrep") == {("app.py", "team.b")}
    assert {path_rule[:2] for path_rule in second.fixed("shop", "semgrep")} == {("app.py", "team.a")}


# -- packs by address -----------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    with serving(tmp_path / "served") as server:
        yield server


@thorough
def test_another_commit_of_a_pack_is_another_scan(place: Place, server: GitServer) -> None:
    origin = Repository(server.root / "packs")
    address = f"{server.url}/packs/.git"
    commits = [origin.commit({"r.yaml": file_of(rule(word, pattern=f"{word}(...)")).encode()}) for word in ("a", "b")]
    nights = [
        place.night(packs=({"name": "team", "url": address, "commit": commit},)) for commit in (*commits, commits[1])
    ]
    assert [n.said("shop", "semgrep") for n in nights] == [("ok", None), ("ok", None), ("unchanged", None)]
    assert nights[1].scan("shop", "semgrep")["cause"] == "rules"
    assert nights[1].open("shop", "semgrep") == {("app.py", "team.b")}
    assert nights[1].fixed("shop", "semgrep") == {("app.py", "team.a", "rule_gone")}
    assert nights[2].starts == ()


@pytest.mark.parametrize("off", ["in the configuration", "by the tools asked for"])
def test_without_semgrep_no_pack_is_fetched(place: Place, server: GitServer, off: str) -> None:
    commit = Repository(server.root / "packs").commit({"r.yaml": file_of(rule("a")).encode()})
    packs = ({"name": "team", "url": f"{server.url}/packs/.git", "commit": commit},)
    if off == "in the configuration":
        told = place.night(packs=packs, semgrep={"enabled": False})
    else:
        each = {"semgrep": {"binary": place.binary}}
        told = night(place.home, place.org, place.none, ["bandit"], packs=packs, each_tool=each)
    assert told.said("shop", "semgrep") == ("skipped", "switched_off")
    assert server.asked == []
    assert not (place.home / "packs").exists()
