"""Symbolic links to repositories: named as gaps, never followed, until the real folder is a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import Repository
from tests.hostile.nights import Night, night
from tests.hostile.repositories import PYTHON
from tests.thorough import thorough

pytestmark = pytest.mark.tools

TOOLS = ("kingfisher", "bandit", "checkov")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An organisation with a repository, and a link to one elsewhere."""
    Repository(tmp_path / "org" / "inside").commit({"app.py": PYTHON})
    Repository(tmp_path / "far" / "app").commit({"app.py": b"# far\n" + PYTHON})
    (tmp_path / "org" / "link").symlink_to(tmp_path / "far" / "app")
    return tmp_path


def patrol(place: Path, *names: str) -> Night:
    """A night of bandit over the folders of these names."""
    sources = tuple({"name": n, "path": place / n} for n in names)
    return night(place / "home", place / "org", tools=["bandit"], sources=sources)


def test_a_link_is_a_gap_of_every_tool_each_night(place: Path) -> None:
    for _ in range(2):
        told = patrol(place, "org")
        assert {t: told.said("link", t) for t in TOOLS} == dict.fromkeys(TOOLS, ("failed", "linked_folder"))
        assert told.run["state"] == "CompletedWithGaps"
        assert told.open("inside", "bandit") and not told.findings.get(("link", "bandit"))
        (named,) = (g for g in told.summary.gaps if g.reason_code == "linked_folder")
        assert set(named.tool.split(", ")) >= set(TOOLS)
        assert "source" in named.remedy


@thorough
@pytest.mark.parametrize("remedy", ["source", "removed"])
def test_a_remedy_ends_the_gap(place: Path, remedy: str) -> None:
    patrol(place, "org")
    names = ("org", "far") if remedy == "source" else ("org",)
    if remedy == "removed":
        (place / "org" / "link").unlink()
    second = patrol(place, *names)
    assert {t: second.said("link", t) for t in TOOLS} == dict.fromkeys(TOOLS, ("nothing_to_read", "gap_gone"))
    assert second.run["state"] == "Completed"
    third = patrol(place, *names)
    assert not [slug for slug, _ in third.scans if slug == "link"]
    assert third.run["state"] == "Completed"
    if remedy == "source":  # a night of this source alone scans nothing behind the link
        assert patrol(place, "org").said("link", "bandit") == ("failed", "linked_folder")


@thorough
def test_a_link_in_a_source_that_cannot_be_read_stays_a_gap(place: Path) -> None:
    (place / "org" / "link").unlink()
    (place / "org" / "link").symlink_to(Repository(place / "outside").path)
    patrol(place, "org", "far")
    (place / "org").rename(place / "away")
    for _ in range(2):
        told = patrol(place, "org", "far")
        assert told.said("link", "bandit") == ("failed", "linked_folder")
        assert told.said("inside", "bandit") == ("missing", "not_found")
    (place / "away").rename(place / "org")
    (place / "org" / "link").unlink()
    assert patrol(place, "org", "far").said("link", "bandit") == ("nothing_to_read", "gap_gone")


def test_a_repository_that_became_a_link_and_then_nothing_is_missing(place: Path) -> None:
    (place / "org" / "link").unlink()
    (place / "far" / "app").rename(place / "org" / "link")
    first = patrol(place, "org")
    (place / "org" / "link").rename(place / "moved")
    (place / "org" / "link").symlink_to(place / "moved")
    second = patrol(place, "org")
    assert second.said("link", "bandit") == ("failed", "linked_folder")
    (place / "org" / "link").unlink()
    third = patrol(place, "org")
    assert third.said("link", "bandit") == ("missing", "not_found")
    assert third.open("link", "bandit") == second.open("link", "bandit") == first.open("link", "bandit") != set()


def test_a_link_into_another_source_is_no_gap(place: Path) -> None:
    told = patrol(place, "org", "far")
    assert {slug for slug, _ in told.scans} == {"inside", "app"}
    assert told.run["state"] == "Completed"
    assert told.open("app", "bandit")
