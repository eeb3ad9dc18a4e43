"""A repository on this machine whose refs are the same bytes is not asked by git; whatever is unusual is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.process import ProcessRunner
from tasks.repos.local_refs import fingerprint
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository
from tests.unit.test_mirrors import NotedGit


@pytest.fixture
def git(runner: ProcessRunner, tmp_path: Path) -> NotedGit:
    return NotedGit(runner, timeout_s=60, config_dir=tmp_path / "git-config")


@pytest.fixture
def there(upstream: Repository) -> Repository:
    upstream.commit({"a.txt": b"one"})
    upstream.git("branch", "side")
    return upstream


CHANGES: dict[str, Callable[[Repository], object]] = {
    "a commit": lambda r: r.commit({"a.txt": b"two"}),
    "a tag": lambda r: r.git("tag", "v1"),
    "a branch that is gone": lambda r: r.git("branch", "-D", "side"),
    "another default branch": lambda r: r.git("symbolic-ref", "HEAD", "refs/heads/side"),
    "packed refs": lambda r: r.git("pack-refs", "--all"),
    "configuration": lambda r: r.git("config", "uploadpack.hideRefs", "refs/heads/side"),
    "a name that is not UTF-8": lambda r: r.git("update-ref", b"refs/heads/\xff", "HEAD"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_decides_the_refs_decides_the_fingerprint(
    there: Repository, change: Callable[[Repository], object]
) -> None:
    before = fingerprint(there.path)
    assert before is not None
    assert fingerprint(there.git_dir) == before, "asked by its git directory it is the same"
    (there.path / "uncommitted").write_bytes(b"x")
    assert fingerprint(there.path) == before
    change(there)
    assert fingerprint(there.path) not in (before, None)


UNUSUAL: dict[str, Callable[[Path], object]] = {
    "a linked HEAD": lambda d: ((d / "HEAD").rename(d / "other"), (d / "HEAD").symlink_to("other")),
    "a linked ref": lambda d: (d / "refs/heads/twin").symlink_to("main"),
    "a linked folder": lambda d: ((d / "refs/tags").rmdir(), (d / "refs/tags").symlink_to("heads")),
    "linked refs": lambda d: ((d / "refs").rename(d / "there"), (d / "refs").symlink_to("there")),
    "a pipe": lambda d: os.mkfifo(d / "refs/heads/pipe"),
    "a pipe for configuration": lambda d: ((d / "config").unlink(), os.mkfifo(d / "config")),
    "refs elsewhere": lambda d: (d / "commondir").write_text("../.."),
    "refs in tables": lambda d: (d / "reftable").mkdir(),
    "a huge file": lambda d: os.truncate(d / "config", 1 << 40),
    "no HEAD": lambda d: (d / "HEAD").unlink(),
    "no refs": lambda d: (d / "refs").rename(d / "there"),
}


@pytest.mark.parametrize("make", UNUSUAL.values(), ids=UNUSUAL)
def test_of_what_is_unusual_only_git_can_tell(there: Repository, make: Callable[[Path], object]) -> None:
    make(there.git_dir)
    assert fingerprint(there.path) is None


def test_a_file_or_link_called_dot_git_is_not_followed(there: Repository, tmp_path: Path) -> None:
    for name in ("file", "link"):
        (tmp_path / name).mkdir()
    (tmp_path / "file" / ".git").write_text(f"gitdir: {there.git_dir}")
    (tmp_path / "link" / ".git").symlink_to(there.git_dir)
    assert [fingerprint(tmp_path / name) for name in ("file", "link", "nothing")] == [None] * 3


def test_an_address_is_always_asked(mirrors: Mirrors, git: NotedGit, there: Repository) -> None:
    repo = replace(there.repo(), url=f"file://{there.path}")
    mirrors.refresh(repo)
    git.asked.clear()
    assert not mirrors.refresh(repo).fetched
    assert git.asked == ["ls-remote"]


def test_a_change_while_git_lists_is_seen_the_next_time(mirrors: Mirrors, git: NotedGit, there: Repository) -> None:
    git.after["ls-remote"] = lambda: there.git("tag", "late")
    mirrors.refresh(there.repo())
    assert "refs/tags/late" in mirrors.refresh(there.repo()).refs
    git.asked.clear()
    assert "refs/tags/late" in mirrors.refresh(there.repo()).refs
    assert git.asked == []


def test_a_head_that_moved_between_equal_branches_is_told(mirrors: Mirrors, git: NotedGit, there: Repository) -> None:
    assert mirrors.refresh(there.repo()).head_ref == "refs/heads/main"
    there.git("symbolic-ref", "HEAD", "refs/heads/side")
    assert [mirrors.refresh(there.repo()).head_ref for _ in range(2)] == ["refs/heads/side"] * 2
    assert git.asked.count("ls-remote") == 2
    assert git.asked.count("fetch") == 1
