"""Tags that name a blob or a tree: what only they hold is read for secrets, and is gone when the tag is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import Repository
from tests.hostile.nights import Night, copied, night
from tests.hostile.repositories import OTHER_TOKEN, TOKEN
from tests.thorough import thorough

pytestmark = pytest.mark.tools

SLUGS = ("blob", "tree", "noted", "only")


def organisation(org: Path) -> None:
    """A secret in a tagged blob, in a tagged tree, under a tag of a tag, and where there is nothing but such a tag."""
    for n, slug in enumerate(SLUGS):
        repo = Repository(org / slug)
        if slug != "only":
            repo.commit({"README.md": b"# %s\n" % slug.encode()})
        blob = repo.blob(b"# %s\ntoken = " % slug.encode() + (TOKEN if n % 2 else OTHER_TOKEN) + b"\n")
        if slug == "tree":
            below = repo.tree(("100644", "blob", blob, b"deploy.env"))
            repo.git("tag", "-a", "-m", "words", "files", repo.tree(("40000", "tree", below, b"etc")))
        elif slug == "noted":
            repo.git("tag", "-a", "-m", "words", "inner", blob)
            repo.git("tag", "-a", "-m", "words", "keys", "inner")
            repo.git("tag", "--delete", "inner")
        else:
            repo.git("tag", "keys", blob)


PLACES = {**dict.fromkeys(SLUGS, "refs/tags/keys"), "tree": "etc/deploy.env"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("odd-tags")
    organisation(place / "org")
    return place


@pytest.fixture(scope="module")
def first(place: Path) -> Night:
    return night(place / "home", place / "org")


def secrets(told: Night, slug: str) -> set[str]:
    return {path for path, _ in told.open(slug, "kingfisher")}


@pytest.mark.parametrize("slug", SLUGS)
def test_what_only_a_tag_holds_is_read(first: Night, place: Path, slug: str) -> None:
    assert first.said(slug, "kingfisher") == ("ok", None)
    assert first.scan(slug, "kingfisher")["files_read"] == (1 if slug == "only" else 2)
    assert secrets(first, slug) == {PLACES[slug]}
    named = Repository(place / "org" / slug).git("rev-parse", f"{'files' if slug == 'tree' else 'keys'}^{{}}")
    assert named in first.scopes[slug, "kingfisher"][0]["tips"]


def test_a_repository_of_nothing_but_such_a_tag_has_no_tree_to_read(first: Night) -> None:
    for tool in ("bandit", "checkov"):
        assert first.said("only", tool) == ("failed", "no_default_branch")
        assert first.said("blob", tool) == ("nothing_to_read", None)


def test_the_second_night_starts_no_tool(first: Night, place: Path, tmp_path: Path) -> None:
    second = night(copied(place / "home", tmp_path / "home"), place / "org")
    assert second.starts == ()
    assert {slug: second.said(slug, "kingfisher") for slug in SLUGS} == dict.fromkeys(SLUGS, ("unchanged", None))
    assert second.findings == first.findings


def test_a_deleted_tag_takes_its_secret_along(first: Night, place: Path, tmp_path: Path) -> None:
    org, home = copied(place / "org", tmp_path / "org"), copied(place / "home", tmp_path / "home")
    for slug in SLUGS:
        Repository(org / slug).git("tag", "--delete", "files" if slug == "tree" else "keys")
    second = night(home, org)
    assert second.starts == ()
    for slug in ("blob", "tree", "noted"):
        assert secrets(second, slug) == set()
        assert {(p, r) for p, _, r in second.fixed(slug, "kingfisher")} == {(PLACES[slug], "code_changed")}
    # It held something when it was last read: an accident until somebody says otherwise.
    assert second.said("only", "kingfisher") == ("failed", "empty_repository")
    assert secrets(second, "only") == secrets(first, "only")


def test_a_renamed_tag_is_the_new_place_and_nothing_is_read_again(first: Night, place: Path, tmp_path: Path) -> None:
    org, home = copied(place / "org", tmp_path / "org"), copied(place / "home", tmp_path / "home")
    repo = Repository(org / "blob")
    repo.git("tag", "other", "keys")
    repo.git("tag", "--delete", "keys")
    second = night(home, org)
    assert second.starts == ()
    assert secrets(second, "blob") == {"refs/tags/other"}
    assert second.still_open() == first.still_open()


@thorough
def test_mirrors_of_before_such_tags_were_read_are_read_now(first: Night, place: Path, tmp_path: Path) -> None:
    """A home whose mirrors tell of commits alone: nothing is fetched, and the next night reads what was left out."""
    org, home = tmp_path / "org", tmp_path / "home"
    repo = Repository(org / "late")
    repo.commit({"README.md": b"# late\n"})
    night(home, org)
    repo.git("tag", "keys", repo.blob(b"token = " + TOKEN + b"\n"))
    night(home, org, tools=["bandit"])  # it is mirrored, and not yet read for secrets
    (state,) = (home / "mirrors").glob("*/*/state.json")
    state.write_text(json.dumps({k: v for k, v in json.loads(state.read_text()).items() if k != "odd"}))
    told = night(home, org)
    assert set(told.starts) == {"kingfisher"}
    assert told.scan("late", "kingfisher")["files_read"] == 1
    assert secrets(told, "late") == {"refs/tags/keys"}


def test_a_tagged_blob_that_is_too_large_is_a_gap_at_the_tags_name(tmp_path: Path) -> None:
    repo = Repository(tmp_path / "org" / "large")
    repo.commit({"README.md": b"# large\n"})
    repo.git("tag", "dump", repo.blob(b"x" * (1024**2 + 1)))
    told = night(tmp_path / "home", tmp_path / "org", each_tool={"kingfisher": {"max_file_mb": 1}})
    assert told.said("large", "kingfisher") == ("partial", None)
    assert told.unread("large", "kingfisher") == {("refs/tags/dump", "too_large")}
