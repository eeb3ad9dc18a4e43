"""Mirrors of real repositories: fetched when a ref moved, whole or refused, rebuilt when damaged."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.origins import Mirror, OddTag
from tasks.core.process import ProcessRunner
from tasks.core.types import Completed
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository
from tests.builders import git as real_git
from tests.mirrored import content, fingerprint, reason


class NotedGit(Git):
    """Git that notes which subcommands it was asked to run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asked: list[str] = []
        #: What happens just before or after a subcommand is run, once each.
        self.before: dict[str, Callable[[], object]] = {}
        self.after: dict[str, Callable[[], object]] = {}

    def run(self, args: Sequence[str], **kwargs: Any) -> Completed:
        self.asked.append(args[0])
        self.before.pop(args[0], lambda: None)()
        done = super().run(args, **kwargs)
        self.after.pop(args[0], lambda: None)()
        return done


@pytest.fixture
def git(runner: ProcessRunner, tmp_path: Path) -> NotedGit:
    return NotedGit(runner, timeout_s=60, config_dir=tmp_path / "git-config")


def test_the_first_refresh_fetches_all_heads_and_tags(mirrors: Mirrors, upstream: Repository) -> None:
    first = upstream.commit({"a.txt": b"one"})
    upstream.git("tag", "v1")
    upstream.git("branch", "old")
    second = upstream.commit({"a.txt": b"two"})
    upstream.git("update-ref", "refs/pull/1/head", first)
    upstream.git("update-ref", "refs/notes/commits", first)
    mirror = mirrors.refresh(upstream.repo())
    assert mirror.refs == {"refs/heads/main": second, "refs/heads/old": first, "refs/tags/v1": first}
    assert mirror.tips == tuple(sorted([first, second]))
    assert mirror.head_ref == "refs/heads/main"
    assert mirror.fetched
    assert content(mirror) == {"a.txt": "two"}
    assert (mirror.path / "HEAD").is_file() and not (mirror.path / ".git").exists(), "it is bare"


def test_nothing_is_fetched_while_no_ref_moves(mirrors: Mirrors, upstream: Repository, git: NotedGit) -> None:
    upstream.commit({"a.txt": b"one"})
    first = mirrors.refresh(upstream.repo())
    before = fingerprint(first.path)
    git.asked.clear()
    (upstream.path / "uncommitted").write_bytes(b"x")
    second = mirrors.refresh(upstream.repo())
    assert git.asked == [], "the files that hold its refs are the same"
    assert not second.fetched
    assert (second.refs, second.head_ref) == (first.refs, first.head_ref)
    assert fingerprint(second.path) == before


def test_a_moved_ref_is_fetched(mirrors: Mirrors, upstream: Repository, git: NotedGit) -> None:
    upstream.commit({"a.txt": b"one"})
    mirrors.refresh(upstream.repo())
    commit = upstream.commit({"a.txt": b"two", "b.txt": b"new"})
    git.asked.clear()
    mirror = mirrors.refresh(upstream.repo())
    assert mirror.fetched
    assert "fetch" in git.asked and "init" not in git.asked, "what is there is kept"
    assert mirror.refs == {"refs/heads/main": commit}
    assert content(mirror) == {"a.txt": "two", "b.txt": "new"}


def test_a_rewritten_branch_is_followed(mirrors: Mirrors, upstream: Repository) -> None:
    base = upstream.commit({"a.txt": b"one"})
    upstream.commit({"a.txt": b"lost"})
    mirrors.refresh(upstream.repo())
    upstream.git("reset", "--quiet", "--hard", base)
    rewritten = upstream.commit({"a.txt": b"other"})
    assert mirrors.refresh(upstream.repo()).refs == {"refs/heads/main": rewritten}


def test_a_deleted_branch_and_tag_are_pruned(mirrors: Mirrors, upstream: Repository) -> None:
    commit = upstream.commit({"a.txt": b"one"})
    upstream.git("branch", "side")
    upstream.git("tag", "v1")
    assert len(mirrors.refresh(upstream.repo()).refs) == 3
    upstream.git("branch", "--quiet", "-D", "side")
    upstream.git("tag", "-d", "v1")
    mirror = mirrors.refresh(upstream.repo())
    assert mirror.refs == {"refs/heads/main": commit}
    assert real_git(mirror.path, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_a_branch_that_becomes_a_folder_of_branches(mirrors: Mirrors, upstream: Repository) -> None:
    commit = upstream.commit({"a.txt": b"one"})
    upstream.git("branch", "topic")
    mirrors.refresh(upstream.repo())
    upstream.git("branch", "--quiet", "-D", "topic")
    upstream.git("branch", "topic/one")
    mirror = mirrors.refresh(upstream.repo())
    assert mirror.refs == {"refs/heads/main": commit, "refs/heads/topic/one": commit}


def test_tags_are_peeled_to_commits(mirrors: Mirrors, upstream: Repository) -> None:
    commit = upstream.commit({"a.txt": b"one"})
    upstream.git("tag", "light")
    upstream.git("tag", "-a", "-m", "words", "annotated")
    upstream.git("tag", "-a", "-m", "words", "of-a-tag", "annotated")
    upstream.git("tag", "-a", "-m", "words", "of-a-tag-of-a-tag", "of-a-tag")
    upstream.git("tag", "of-a-blob", upstream.blob(b"blob"))
    upstream.git("tag", "of-a-tree", "HEAD^{tree}")
    upstream.git("tag", "-a", "-m", "words", "noted-blob", "of-a-blob")
    mirror = mirrors.refresh(upstream.repo())
    tags = ("light", "annotated", "of-a-tag", "of-a-tag-of-a-tag")
    assert mirror.refs == {"refs/heads/main": commit, **{f"refs/tags/{t}": commit for t in tags}}


def oddly_tagged(upstream: Repository) -> tuple[str, str]:
    """A commit, and tags that name no commit; the blob and the tree they name."""
    upstream.commit({"a.txt": b"one"})
    blob, tree = upstream.blob(b"blob"), upstream.tree(("100644", "blob", upstream.blob(b"below"), b"file"))
    upstream.git("tag", "of-a-blob", blob)
    upstream.git("tag", "of-a-tree", tree)
    upstream.git("tag", "-a", "-m", "words", "noted", "of-a-blob")
    upstream.git("tag", "-a", "-m", "words", "noted-twice", "noted")
    upstream.git("tag", "-a", "-m", "words", "noted-tree", "of-a-tree")
    upstream.git("update-ref", b"refs/tags/caf\xe9", blob)
    return blob, tree


def test_tags_of_blobs_and_trees_are_peeled_and_kept_apart(mirrors: Mirrors, upstream: Repository) -> None:
    blob, tree = (OddTag(kind=k, oid=o) for k, o in zip(("blob", "tree"), oddly_tagged(upstream), strict=True))
    odd = {
        "refs/tags/of-a-blob": blob,
        "refs/tags/of-a-tree": tree,
        "refs/tags/noted": blob,
        "refs/tags/noted-twice": blob,
        "refs/tags/noted-tree": tree,
        "refs/tags/caf\\xe9": blob,
    }
    first = mirrors.refresh(upstream.repo())
    commit = upstream.git("rev-parse", "HEAD")
    assert first.odd == odd
    assert first.refs == {"refs/heads/main": commit}
    assert first.tips == tuple(sorted([commit, blob.oid, tree.oid]))
    second = mirrors.refresh(upstream.repo())
    assert (second.fetched, second.odd, second.tips) == (False, first.odd, first.tips)
    upstream.git("tag", "--delete", "of-a-blob", "of-a-tree", "noted", "noted-twice")
    third = mirrors.refresh(upstream.repo())
    assert third.odd == {"refs/tags/noted-tree": tree, "refs/tags/caf\\xe9": blob}
    upstream.git("tag", "--force", "noted-tree", commit)
    assert "refs/tags/noted-tree" not in mirrors.refresh(upstream.repo()).odd


def test_a_state_of_before_such_tags_were_kept_is_read_from_the_mirror(
    mirrors: Mirrors, upstream: Repository, git: NotedGit
) -> None:
    oddly_tagged(upstream)
    first = mirrors.refresh(upstream.repo())
    state = first.path.parent / "state.json"
    told = json.loads(state.read_text())
    state.write_text(json.dumps({k: v for k, v in told.items() if k != "odd"}))
    git.asked.clear()
    second = mirrors.refresh(upstream.repo())
    assert len(second.odd) == 6
    assert (second.odd, second.refs, second.tips, second.fetched) == (first.odd, first.refs, first.tips, False)
    assert "fetch" not in git.asked
    assert json.loads(state.read_text()) == told
    git.asked.clear()
    assert mirrors.refresh(upstream.repo()).odd == first.odd
    assert git.asked == [], "it is read once"


def test_a_moved_tag_is_followed(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    upstream.git("tag", "-a", "-m", "first", "v1")
    mirrors.refresh(upstream.repo())
    commit = upstream.commit({"a.txt": b"two"})
    upstream.git("tag", "--force", "-a", "-m", "second", "v1")
    assert mirrors.refresh(upstream.repo()).refs["refs/tags/v1"] == commit


def test_refs_that_are_not_utf8_have_a_name_that_can_be_stored(mirrors: Mirrors, upstream: Repository) -> None:
    commit = upstream.commit({"a.txt": b"one"})
    upstream.git("update-ref", b"refs/heads/caf\xe9", commit)
    upstream.git("update-ref", "refs/heads/größe", commit)
    mirror = mirrors.refresh(upstream.repo())
    assert set(mirror.refs) == {"refs/heads/main", "refs/heads/größe", "refs/heads/caf\\xe9"}
    json.dumps(dict(mirror.refs)).encode("utf-8")
    assert not mirrors.refresh(upstream.repo()).fetched


def test_the_default_branch_follows_the_remotes_head(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    upstream.git("branch", "trunk")
    assert mirrors.refresh(upstream.repo()).head_ref == "refs/heads/main"
    upstream.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    mirror = mirrors.refresh(upstream.repo())
    assert (mirror.head_ref, mirror.fetched) == ("refs/heads/trunk", False)


@pytest.mark.parametrize(
    ("branches", "head"),
    [
        (["main", "other"], "refs/heads/main"),
        (["master", "other"], "refs/heads/master"),
        (["only"], "refs/heads/only"),
        (["one", "two"], None),
    ],
)
def test_a_head_that_names_no_branch(
    mirrors: Mirrors, upstream: Repository, branches: list[str], head: str | None
) -> None:
    commit = upstream.commit({"a.txt": b"one"})
    for name in branches:
        upstream.git("update-ref", f"refs/heads/{name}", commit)
    upstream.git("symbolic-ref", "HEAD", "refs/heads/gone")
    if "main" not in branches:
        upstream.git("update-ref", "-d", "refs/heads/main")
    assert mirrors.refresh(upstream.repo()).head_ref == head


def test_a_detached_head_still_has_its_branches(mirrors: Mirrors, upstream: Repository) -> None:
    first = upstream.commit({"a.txt": b"one"})
    upstream.commit({"a.txt": b"two"})
    upstream.git("checkout", "--quiet", first)
    assert mirrors.refresh(upstream.repo()).head_ref == "refs/heads/main"


def test_an_address_that_changed_is_fetched_anew(mirrors: Mirrors, upstream: Repository, tmp_path: Path) -> None:
    upstream.commit({"a.txt": b"one"})
    mirrors.refresh(upstream.repo())
    moved = replace(upstream.repo(), url=str(upstream.path.rename(tmp_path / "moved") / ".git"))
    assert mirrors.refresh(moved).fetched
    assert not mirrors.refresh(moved).fetched


# -- remotes that move while they are fetched ---------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_a_push_before_the_fetch_and_another_after_it_lose_nothing(
    mirrors: Mirrors, upstream: Repository, git: NotedGit, known: bool
) -> None:
    upstream.commit({"a.txt": b"zero"})
    if known:
        mirrors.refresh(upstream.repo())
        upstream.commit({"a.txt": b"one"})
    fetched: list[str] = []
    git.before["fetch"] = lambda: fetched.append(upstream.commit({"a.txt": b"two"}))
    git.after["fetch"] = lambda: upstream.commit({"a.txt": b"three"})
    mirror = mirrors.refresh(upstream.repo())
    assert mirror.refs == {"refs/heads/main": fetched[0]}
    assert content(mirror) == {"a.txt": "two"}
    git.asked.clear()
    after = mirrors.refresh(upstream.repo())
    assert after.fetched and content(after) == {"a.txt": "three"}
    assert not mirrors.refresh(upstream.repo()).fetched


def test_a_remote_that_moves_back_is_fetched_again(mirrors: Mirrors, upstream: Repository, git: NotedGit) -> None:
    first = upstream.commit({"a.txt": b"one"})
    git.before["fetch"] = lambda: upstream.commit({"a.txt": b"two"})
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "two"}
    upstream.git("reset", "--quiet", "--hard", first)
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "one"}


def test_what_was_pushed_before_the_fetch_is_not_fetched_twice(
    mirrors: Mirrors, upstream: Repository, git: NotedGit
) -> None:
    upstream.commit({"a.txt": b"one"})

    def push() -> None:
        upstream.commit({"a.txt": b"two"})
        upstream.git("branch", "new")
        upstream.git("tag", "--annotate", "--message", "v", "v1")

    git.before["fetch"] = push
    assert mirrors.refresh(upstream.repo()).fetched
    assert not mirrors.refresh(upstream.repo()).fetched


def test_a_branch_deleted_while_it_is_fetched_is_not_lost(
    mirrors: Mirrors, upstream: Repository, git: NotedGit
) -> None:
    commit = upstream.commit({"a.txt": b"one"})
    upstream.git("branch", "short-lived")
    git.before["fetch"] = lambda: upstream.git("branch", "-D", "short-lived")
    assert mirrors.refresh(upstream.repo()).refs == {"refs/heads/main": commit}
    assert not mirrors.refresh(upstream.repo()).fetched


def test_a_remote_that_is_emptied_while_it_is_fetched_is_empty(
    mirrors: Mirrors, upstream: Repository, git: NotedGit
) -> None:
    upstream.commit({"a.txt": b"one"})
    git.before["fetch"] = lambda: upstream.git("update-ref", "-d", "refs/heads/main")
    for _ in range(2):
        assert reason(mirrors, upstream.repo()) == "empty_repository"


@pytest.mark.parametrize(("known", "told"), [(False, "fetch"), (True, "fetch_stale")])
def test_a_remote_that_goes_away_after_it_moved_is_stale_when_it_is_known(
    mirrors: Mirrors, upstream: Repository, git: NotedGit, known: bool, told: str
) -> None:
    upstream.commit({"a.txt": b"zero"})
    if known:
        mirrors.refresh(upstream.repo())
        upstream.commit({"a.txt": b"one"})
    hidden = upstream.path.with_name("hidden")
    git.before["fetch"] = lambda: upstream.commit({"a.txt": b"two"})
    git.after["fetch"] = lambda: upstream.path.rename(hidden)
    assert reason(mirrors, upstream.repo()) == told
    hidden.rename(upstream.path)
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "two"}


@pytest.mark.parametrize("folder", ["a%20b", "100%", "a b", "a+b", "a?b#c", "käse", "a%2Fb", "a::b"])
@pytest.mark.parametrize("as_address", [False, True])
def test_a_folder_of_any_name_is_fetched_from(mirrors: Mirrors, tmp_path: Path, folder: str, as_address: bool) -> None:
    there = Repository(tmp_path / folder / "app")
    there.commit({"a.txt": b"one"})
    repo = there.repo()
    if as_address:
        repo = replace(repo, url=f"file://{repo.url.replace('%', '%25')}")
    assert content(mirrors.refresh(repo)) == {"a.txt": "one"}


def test_two_refreshes_at_once_fetch_once(mirrors: Mirrors, upstream: Repository, git: NotedGit) -> None:
    upstream.commit({"a.txt": b"one"})
    found: list[Mirror] = []
    threads = [threading.Thread(target=lambda: found.append(mirrors.refresh(upstream.repo()))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(m.fetched for m in found) == [False, False, False, True]
    assert git.asked.count("fetch") == 1


def test_every_id_has_a_folder_of_its_own_below_the_root(mirrors: Mirrors, tmp_path: Path) -> None:
    ids = ["a", "A", "a/b", "../../etc", "/etc/passwd", "host/x#y", "größe", "lone\udcff", "x" * 5000]
    places = {mirrors.path_of(i) for i in ids}
    assert len(places) == len(ids)
    assert {p.parent.parent for p in places} == {tmp_path / "mirrors"}
