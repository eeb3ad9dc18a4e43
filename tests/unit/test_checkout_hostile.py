"""Checkouts of trees made by hand to escape their folder, to enter `.git`, or to hold one name twice."""

from __future__ import annotations

import posixpath
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.types import display_path
from tasks.repos import checkout as checkout_module
from tasks.repos.checkout import write_checkout
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.repos.trees import read_tree
from tests.builders import Repository
from tests.checkouts import LIMITS, check_out, on_disk, reasons

HOSTILE_NAMES = [
    b"..", b".", b".git", b".GIT", b".giT", b".git ", b".git.", b".git . .", b"git~1", b"GIT~2", b".git::$INDEX",
    b".git:x", b".git\\config", ".g\u200cit".encode(), "\ufeff.git".encode(), ".gi\u202et".encode(), b"n" * 256,
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=repr)
def test_a_file_or_folder_of_a_hostile_name_is_not_written(
    git: Git, upstream: Repository, dest: Path, name: bytes
) -> None:
    blob = upstream.blob(b"payload")
    folder = upstream.raw_tree((b"100644", b"config", blob))
    good = (b"100644", b"good.py", blob)
    (dest.parent / "config").write_bytes(b"before")
    for mode, oid in ((b"100644", blob), (b"40000", folder)):
        place = dest / mode.decode()
        place.mkdir()
        done = check_out(git, upstream, upstream.commit_tree(upstream.raw_tree((mode, name, oid), good)), place)
        assert on_disk(place) == {b"good.py": b"payload"}
        assert [(g.reason_code, g.blob) for g in done.gaps] == [("unsafe_path", blob)]
    assert (dest.parent / "config").read_bytes() == b"before"
    assert sorted(p.name for p in dest.iterdir()) == ["100644", "40000"]


SLASHED = [
    b"../x", b"../../x", b"/etc/x", b"a/../../x", b"a//x", b"./x", b".git/config", b"sub/.git/hooks/post-checkout",
]  # fmt: skip


def test_names_with_slashes_written_literally_are_mirrored_and_do_not_escape(
    git: Git, mirrors: Mirrors, upstream: Repository, dest: Path
) -> None:
    blob = upstream.blob(b"payload")
    names = [*SLASHED, *HOSTILE_NAMES, b"good.py"]
    upstream.commit_tree(upstream.raw_tree(*[(b"100644", n, blob) for n in names]))
    mirror = mirrors.refresh(upstream.repo())
    tree = read_tree(git, mirror.path, mirror.tips[0])
    assert {e.path for e in tree.entries} == set(names), "what git stores comes through the mirror"
    before = on_disk(dest.parent.parent)
    done = write_checkout(git, mirror.path, tree.entries, dest, LIMITS)
    assert on_disk(dest.parent.parent) == {**before, b"down/work/good.py": b"payload"}
    assert {g.path for g in done.gaps} == {display_path(n) for n in names if n != b"good.py"}
    assert {g.reason_code for g in done.gaps} == {"unsafe_path"}


@pytest.mark.parametrize("mode", [b"100644", b"40000"])
def test_a_tree_made_with_mktree_does_not_escape(git: Git, upstream: Repository, dest: Path, mode: bytes) -> None:
    blob = upstream.blob(b"payload")
    inner = upstream.tree(("100644", "blob", blob, b"config"))
    entries = {
        b"100644": [("100644", "blob", blob, b".."), ("100644", "blob", blob, b".git")],
        b"40000": [("040000", "tree", inner, b".."), ("040000", "tree", inner, b".git")],
    }[mode]
    done = check_out(git, upstream, upstream.commit_tree(upstream.tree(*entries)), dest)
    assert on_disk(dest.parent) == {}
    assert {g.reason_code for g in done.gaps} == {"unsafe_path"}
    assert len(done.gaps) == 2


def test_of_a_file_and_a_folder_of_one_name_one_is_a_gap(git: Git, upstream: Repository, dest: Path) -> None:
    blob = upstream.blob(b"file")
    folder = upstream.tree(("100644", "blob", upstream.blob(b"inner"), b"x"))
    tree = upstream.raw_tree((b"100644", b"a", blob), (b"40000", b"a", folder), (b"100644", b"b", blob))
    done = check_out(git, upstream, upstream.commit_tree(tree), dest)
    assert on_disk(dest) == {b"a": b"file", b"b": b"file"}
    assert reasons(done) == {"a/x": "unsafe_path"}


def test_of_two_files_of_one_name_one_is_a_gap(git: Git, upstream: Repository, dest: Path) -> None:
    first, second = upstream.blob(b"first"), upstream.blob(b"second")
    tree = upstream.raw_tree((b"100644", b"a", first), (b"100644", b"a", second))
    done = check_out(git, upstream, upstream.commit_tree(tree), dest)
    assert list(on_disk(dest)) == [b"a"]
    assert [(g.path, g.reason_code) for g in done.gaps] == [("a", "unsafe_path")]
    written = done.files["a"].blob
    assert on_disk(dest)[b"a"] == {first: b"first", second: b"second"}[written]
    assert done.gaps[0].blob == ({first, second} - {written}).pop()


def test_a_link_of_one_name_with_a_folder_is_not_followed(
    git: Git, upstream: Repository, dest: Path, tmp_path: Path
) -> None:
    # Links are never written, so only one that is there already could be followed.
    outside = tmp_path / "outside"
    outside.mkdir()
    (dest / "a").symlink_to(outside)
    (dest / "b").symlink_to(outside / "b")
    commit = upstream.commit({"a/x": b"payload", "b": b"payload", "c": b"fine"})
    done = check_out(git, upstream, commit, dest)
    assert list(outside.iterdir()) == []
    assert reasons(done) == {"a/x": "unsafe_path", "b": "unsafe_path"}
    assert (dest / "c").read_bytes() == b"fine"


def test_an_entry_that_is_no_blob_is_missing(git: Git, upstream: Repository, dest: Path) -> None:
    commit = upstream.commit({"good": b"x"})
    tree = upstream.raw_tree((b"100644", b"commit", commit), (b"100644", b"good", upstream.blob(b"x")))
    done = check_out(git, upstream, upstream.commit_tree(tree), dest)
    assert on_disk(dest) == {b"good": b"x"}
    assert reasons(done) == {"commit": "object_missing"}


PARTS = st.lists(
    st.sampled_from(
        [b"..", b".", b"", b".git", b".GIT", b"git~1", b"a", b"b.py", b" ", b"\xff", b".git ", b"-x", b"\0"]
    )
    | st.binary(max_size=6),
    min_size=1,
    max_size=5,
)


@given(PARTS)
def test_what_is_called_safe_stays_below_and_enters_no_git(parts: list[bytes]) -> None:
    path = b"/".join(parts)
    if not checkout_module._safe(path):
        return
    assert posixpath.normpath(b"/work/" + path) == b"/work/" + path
    assert b"\0" not in path
    assert not [p for p in path.split(b"/") if p.lower().rstrip(b" .").startswith((b".git:", b"git~1:"))]
    assert not [p for p in path.split(b"/") if p.lower().rstrip(b" .") in (b".git", b"git~1")]


@given(st.lists(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_. -]{0,20}\Z"), min_size=1, max_size=5))
def test_ordinary_names_are_safe(parts: list[str]) -> None:
    ordinary = [p for p in parts if not p.lower().startswith("git~")]
    assert not ordinary or checkout_module._safe("/".join(ordinary).encode())


@pytest.mark.parametrize(
    "name", [b".gitignore", b".github/x", b"x.git", b"git", b"digit~1", b"...", b"..a", b"n" * 255]
)
def test_names_that_only_resemble_are_written(git: Git, upstream: Repository, dest: Path, name: bytes) -> None:
    done = check_out(git, upstream, upstream.commit({name: b"x"}), dest)
    assert done.gaps == ()
    assert on_disk(dest) == {name: b"x"}
