"""Mirrors of repositories that are gone, damaged or hostile, damaged mirrors, and collecting them."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.types import Repo
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository
from tests.builders import git as real_git
from tests.mirrored import content, fingerprint, reason


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(path, (then, then))


# -- remotes that fail --------------------------------------------------------------------------------------


def test_a_remote_that_is_gone_is_stale_when_it_is_known(mirrors: Mirrors, upstream: Repository) -> None:
    commit = upstream.commit({"a.txt": b"one"})
    mirror = mirrors.refresh(upstream.repo())
    hidden = upstream.path.rename(upstream.path.with_name("hidden"))
    assert reason(mirrors, upstream.repo()) == "fetch_stale"
    assert content(mirror) == {"a.txt": "one"}, "what we have stays"
    hidden.rename(upstream.path)
    back = mirrors.refresh(upstream.repo())
    assert (back.refs, back.fetched) == ({"refs/heads/main": commit}, False)


def test_a_remote_that_was_never_there_is_a_failed_fetch(mirrors: Mirrors, upstream: Repository) -> None:
    gone = replace(upstream.repo(), url=str(upstream.path / "gone"))
    assert reason(mirrors, gone) == "fetch"
    assert not mirrors.path_of(gone.repo_id).exists()


def test_an_address_with_a_null_byte_is_a_failed_fetch(mirrors: Mirrors) -> None:
    assert reason(mirrors, Repo(repo_id="n", slug="n", url="file:///srv/a%00b", source="test")) == "fetch"


def test_a_folder_that_is_no_repository_is_a_failed_fetch(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert reason(mirrors, Repo(repo_id="p", slug="p", url=str(tmp_path / "plain"), source="test")) == "fetch"


def test_a_repository_without_commits_is_empty(mirrors: Mirrors, upstream: Repository) -> None:
    assert reason(mirrors, upstream.repo()) == "empty_repository"
    commit = upstream.commit({"a.txt": b"one"})
    assert mirrors.refresh(upstream.repo()).refs == {"refs/heads/main": commit}


def test_a_repository_of_nothing_but_a_tagged_blob_is_not_empty(mirrors: Mirrors, upstream: Repository) -> None:
    blob = upstream.blob(b"x")
    upstream.git("tag", "only-a-blob", blob)
    mirror = mirrors.refresh(upstream.repo())
    assert (mirror.refs, mirror.head_ref, mirror.tips) == ({}, None, (blob,))
    assert not mirrors.refresh(upstream.repo()).fetched


@pytest.mark.parametrize("lost", ["tree", "below"])
def test_an_object_missing_under_a_tag_of_a_tree_is_incomplete(
    mirrors: Mirrors, upstream: Repository, lost: str
) -> None:
    upstream.commit({"a.txt": b"one"})
    below = upstream.blob(b"below")
    tree = upstream.tree(("100644", "blob", below, b"file"))
    upstream.git("tag", "-a", "-m", "words", "noted", tree)
    upstream.loose({"tree": tree, "below": below}[lost]).unlink()
    assert reason(mirrors, upstream.repo()) == "incomplete"
    assert not mirrors.path_of("team/app").exists()


def test_a_damaged_mirror_with_a_state_of_before_such_tags_were_kept_is_made_anew(
    mirrors: Mirrors, upstream: Repository
) -> None:
    upstream.commit({"a.txt": b"one"})
    blob = upstream.blob(b"blob")
    upstream.git("tag", "-a", "-m", "words", "noted", blob)
    upstream.git("tag", "-a", "-m", "words", "noted-twice", "noted")
    mirror = mirrors.refresh(upstream.repo())
    state = mirror.path.parent / "state.json"
    state.write_text(json.dumps({k: v for k, v in json.loads(state.read_text()).items() if k != "odd"}))
    for folder in ("objects", "refs"):
        shutil.rmtree(mirror.path / folder)
        (mirror.path / folder).mkdir()
    (mirror.path / "packed-refs").write_text(f"{'ab' * 20} refs/tags/noted-twice\n")
    again = mirrors.refresh(upstream.repo())
    assert (again.fetched, again.refs, again.odd) == (True, mirror.refs, mirror.odd)


@pytest.mark.parametrize("kind", ["blob", "tree", "parent"])
def test_an_object_missing_under_head_is_incomplete(mirrors: Mirrors, upstream: Repository, kind: str) -> None:
    parent = upstream.commit({"a.txt": b"one"})
    upstream.commit({"dir/b.txt": b"lost"})
    lost = {"blob": "HEAD:dir/b.txt", "tree": "HEAD:dir", "parent": parent}[kind]
    upstream.loose(upstream.git("rev-parse", lost)).unlink()
    assert reason(mirrors, upstream.repo()) == "incomplete"
    assert not mirrors.path_of("team/app").exists(), "no half mirror is left"
    assert reason(mirrors, upstream.repo()) == "incomplete"


def test_an_object_missing_in_a_new_commit_leaves_the_old_mirror_whole(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    mirror = mirrors.refresh(upstream.repo())
    upstream.commit({"b.txt": b"lost"})
    place = upstream.loose(upstream.git("rev-parse", "HEAD:b.txt"))
    kept = place.rename(place.with_suffix(".kept"))
    assert reason(mirrors, upstream.repo()) == "incomplete"
    assert reason(mirrors, upstream.repo()) == "incomplete", "it is not taken for fetched the second time"
    assert content(mirror)["a.txt"] == "one"
    kept.rename(place)
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "one", "b.txt": "lost"}


def test_a_damaged_object_of_the_remote_is_corrupt(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one" * 100})
    place = upstream.loose(upstream.git("rev-parse", "HEAD:a.txt"))
    place.chmod(0o644)
    place.write_bytes(b"garbage" + place.read_bytes()[7:])
    assert reason(mirrors, upstream.repo()) in ("corrupt", "incomplete")
    assert not mirrors.path_of("team/app").exists()


def test_a_partial_clone_is_incomplete_and_nothing_is_fetched_for_it(mirrors: Mirrors, tmp_path: Path) -> None:
    origin = Repository(tmp_path / "origin")
    origin.commit({"a.txt": b"one"})
    origin.git("config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial.git"
    real_git(tmp_path, "clone", "--quiet", "--bare", "--filter=blob:none", f"file://{origin.path}", str(partial))
    before = fingerprint(partial)
    told = reason(mirrors, Repo(repo_id="p", slug="p", url=str(partial), source="test"))
    assert fingerprint(partial) == before
    assert told == "incomplete"


def test_a_shallow_clone_is_never_taken_for_the_whole(mirrors: Mirrors, tmp_path: Path) -> None:
    origin = Repository(tmp_path / "origin")
    origin.commit({"a.txt": b"one"})
    origin.commit({"a.txt": b"two"})
    real_git(tmp_path, "clone", "--quiet", "--bare", "--depth=1", f"file://{origin.path}", "shallow.git")
    repo = Repo(repo_id="s", slug="s", url=str(tmp_path / "shallow.git"), source="test")
    assert reason(mirrors, repo) == "incomplete"


def test_a_remote_that_became_shallow_leaves_the_old_mirror(mirrors: Mirrors, tmp_path: Path) -> None:
    origin = Repository(tmp_path / "origin")
    origin.commit({"a.txt": b"one"})
    real_git(tmp_path, "clone", "--quiet", "--bare", f"file://{origin.path}", "served.git")
    repo = Repo(repo_id="s", slug="s", url=str(tmp_path / "served.git"), source="test")
    mirror = mirrors.refresh(repo)
    origin.commit({"a.txt": b"two"})
    shutil.rmtree(tmp_path / "served.git")
    real_git(tmp_path, "clone", "--quiet", "--bare", "--depth=1", f"file://{origin.path}", "served.git")
    assert reason(mirrors, repo) == "incomplete"
    assert content(mirror) == {"a.txt": "one"}
    shutil.rmtree(tmp_path / "served.git")
    assert reason(mirrors, repo) == "fetch_stale", "what is known is not forgotten"


def test_a_shallow_remote_that_moves_while_it_is_fetched_is_never_taken_for_the_whole(
    mirrors: Mirrors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = Repository(tmp_path / "origin")
    origin.commit({"a.txt": b"one"})
    origin.commit({"a.txt": b"two"})
    real_git(tmp_path, "clone", "--quiet", "--bare", "--depth=1", f"file://{origin.path}", "shallow.git")
    repo = Repo(repo_id="s", slug="s", url=str(tmp_path / "shallow.git"), source="test")
    origin.commit({"a.txt": b"three"})
    fetch = Mirrors._fetch

    def moving(self: Mirrors, *args: Any, **kwargs: Any) -> None:
        fetch(self, *args, **kwargs)
        real_git(tmp_path / "shallow.git", "fetch", "--quiet", "--depth=1", f"file://{origin.path}", "+main:main")

    monkeypatch.setattr(Mirrors, "_fetch", moving)
    assert reason(mirrors, repo) == "incomplete"


def test_objects_borrowed_from_elsewhere_are_not_followed(mirrors: Mirrors, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    other.commit({"a.txt": b"one"})
    real_git(tmp_path, "clone", "--quiet", "--bare", "--shared", str(other.path), "borrower.git")
    assert (tmp_path / "borrower.git" / "objects" / "info" / "alternates").is_file()
    repo = Repo(repo_id="b", slug="b", url=str(tmp_path / "borrower.git"), source="test")
    assert reason(mirrors, repo) in ("incomplete", "corrupt", "fetch")


@pytest.mark.parametrize(
    "url", ["ext::touch {ran}", "git://127.0.0.1/x", "ftp://127.0.0.1/x", "fd::3", "ext::sh -c 'touch {ran}'"]
)
def test_a_transport_that_is_not_allowed_is_refused(mirrors: Mirrors, tmp_path: Path, url: str) -> None:
    ran = tmp_path / "ran"
    repo = Repo(repo_id="x", slug="x", url=url.format(ran=ran), source="test")
    assert reason(mirrors, repo) == "protocol"
    assert not ran.exists()


def test_nothing_a_repository_configures_is_run_and_nothing_in_it_changes(
    mirrors: Mirrors, upstream: Repository, tmp_path: Path
) -> None:
    upstream.commit({"a.txt": b"one", ".gitattributes": b"* filter=evil\n"})
    ran = tmp_path / "ran"
    script = tmp_path / "evil"
    script.write_text(f'#!/bin/sh\ntouch {ran}\nexec "$@"\n')
    script.chmod(0o755)
    for name in ("core.fsmonitor", "core.sshCommand", "uploadpack.packObjectsHook", "filter.evil.smudge",
                 "core.hooksPath", "core.alternateRefsCommand", "core.askPass", "core.pager"):  # fmt: skip
        upstream.git("config", name, str(script))
    hooks = upstream.git_dir / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        shutil.copy(script, hooks / name)
    before = fingerprint(upstream.path)
    assert mirrors.refresh(upstream.repo()).fetched
    assert fingerprint(upstream.path) == before
    assert not ran.exists()


def test_replaced_objects_do_not_deceive(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"the truth"})
    truth = upstream.git("rev-parse", "HEAD:a.txt")
    upstream.git("update-ref", f"refs/replace/{truth}", upstream.blob(b"a lie"))
    assert upstream.git("show", "HEAD:a.txt") == "a lie"
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "the truth"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository away")
def test_a_repository_of_another_user_is_read(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    for place in (upstream.path, *upstream.path.rglob("*")):
        os.chown(place, 12345, 12345)
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "one"}


# -- mirrors that are damaged -------------------------------------------------------------------------------


def test_a_damaged_mirror_is_rebuilt_when_a_ref_moves(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({f"{n}.txt": os.urandom(2000) for n in range(5)})
    mirror = mirrors.refresh(upstream.repo())
    for pack in (mirror.path / "objects").rglob("*"):
        if pack.is_file():
            pack.chmod(0o644)
            pack.write_bytes(b"\0" * pack.stat().st_size)
    commit = upstream.commit({"a.txt": b"two"})
    rebuilt = mirrors.refresh(upstream.repo())
    assert rebuilt.fetched
    assert rebuilt.refs == {"refs/heads/main": commit}
    real_git(rebuilt.path, "fsck", "--full", "--strict")
    assert len(real_git(rebuilt.path, "ls-tree", "-r", str(rebuilt.head_ref)).splitlines()) == 6


def test_a_mirror_that_lost_an_object_is_rebuilt_when_a_ref_moves(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    mirror = mirrors.refresh(upstream.repo())
    shutil.rmtree(mirror.path / "objects")
    (mirror.path / "objects").mkdir()
    upstream.commit({"b.txt": b"two"})
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "one", "b.txt": "two"}


def test_a_forgotten_mirror_is_made_anew(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    mirror = mirrors.refresh(upstream.repo())
    shutil.rmtree(mirror.path / "objects")
    mirrors.forget("team/app")
    again = mirrors.refresh(upstream.repo())
    assert again.fetched
    assert content(again) == {"a.txt": "one"}


@pytest.mark.parametrize("state", [b"", b"{", b"[]", b'{"url": "x"}', b"\xff"])
def test_a_torn_state_is_no_mirror(mirrors: Mirrors, upstream: Repository, state: bytes) -> None:
    upstream.commit({"a.txt": b"one"})
    mirror = mirrors.refresh(upstream.repo())
    (mirror.path.parent / "state.json").write_bytes(state)
    again = mirrors.refresh(upstream.repo())
    assert again.fetched
    assert content(again) == {"a.txt": "one"}
    assert not mirrors.refresh(upstream.repo()).fetched


def test_what_a_kill_left_of_a_first_fetch_is_in_nobodys_way(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    place = mirrors.path_of("team/app")
    leftover = place.with_name(f"{place.name}.0123abcd.new")
    (leftover / "git" / "objects").mkdir(parents=True)
    (place / "git").mkdir(parents=True)  # renamed, killed before the state was written
    assert content(mirrors.refresh(upstream.repo())) == {"a.txt": "one"}
    age(leftover, 40)
    assert mirrors.collect(["team/app"], 30) == [leftover]
    assert not mirrors.refresh(upstream.repo()).fetched


# -- collecting ---------------------------------------------------------------------------------------------


def test_collect_removes_only_what_is_unused_and_not_kept(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    for name in ("kept", "fresh", "unused"):
        mirrors.refresh(upstream.repo(name))
    for name in ("kept", "unused"):
        age(mirrors.path_of(name) / "state.json", 40)
    assert mirrors.collect(["kept"], 50) == []
    assert mirrors.collect(["kept"], 30) == [mirrors.path_of("unused")]
    assert {n: mirrors.path_of(n).exists() for n in ("kept", "fresh", "unused")} == {
        "kept": True,
        "fresh": True,
        "unused": False,
    }
    assert mirrors.refresh(upstream.repo("unused")).fetched


def test_a_mirror_in_use_is_not_unused_though_nothing_moves(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    mirrors.refresh(upstream.repo())
    age(mirrors.path_of("team/app") / "state.json", 40)
    mirrors.refresh(upstream.repo())
    assert mirrors.collect([], 30) == []


def test_collecting_before_there_is_anything(mirrors: Mirrors) -> None:
    assert mirrors.collect(["team/app"], 30) == []


def test_a_mirror_in_doubt_is_made_anew(mirrors: Mirrors, upstream: Repository) -> None:
    upstream.commit({"a.txt": b"one"})
    mirror = mirrors.refresh(upstream.repo())
    assert not mirrors.refresh(upstream.repo()).fetched
    for pack in (mirror.path / "objects").rglob("*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(b"garbage")
    mirrors.doubt("team/app")
    again = mirrors.refresh(upstream.repo())
    assert again.fetched
    assert content(again) == {"a.txt": "one"}


@pytest.mark.parametrize("key", ["uploadpack.hideRefs", "transfer.hideRefs"])
@pytest.mark.parametrize("hidden", ["refs/heads", "refs/heads/side", "refs/tags", "HEAD"])
def test_a_repository_cannot_hide_its_refs(mirrors: Mirrors, upstream: Repository, key: str, hidden: str) -> None:
    upstream.commit({"a.txt": b"one"})
    upstream.git("branch", "side")
    upstream.git("tag", "v1")
    upstream.git("config", key, hidden)
    mirror = mirrors.refresh(upstream.repo())
    assert set(mirror.refs) == {"refs/heads/main", "refs/heads/side", "refs/tags/v1"}
    assert mirror.head_ref == "refs/heads/main"
