"""Symbolic links to repositories: named as gaps, never followed, until the real folder is a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders import Repository
from tests.hostile.nights import Night, night
from tests.hostile.repositories import PYTHON

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
        (named,) = (g for g in told.summary.gaps if (g.reason_code, g.tool) == ("linked_folder", "bandit"))
        assert "source" in named.remedy


def test_a_link_into_another_source_is_no_gap(place: Path) -> None:
    told = patrol(place, "org", "far")
    assert {slug for slug, _ in told.scans} == {"inside", "app"}
    assert told.run["state"] == "Completed"
    assert told.open("app", "bandit")
