"""What a git tree tells without a checkout, and what it cannot give: links, submodules, missing objects."""

from __future__ import annotations

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.types import PathFilter, TreeEntry, tree_digest
from tasks.repos import trees
from tasks.repos.git import Git
from tasks.repos.trees import blob_sizes, gaps_for, links_of, read_tree
from tests.builders import Repository

PYTHON = PathFilter(suffixes=(b".py",))


def test_a_tree_tells_path_mode_blob_and_size(git: Git, upstream: Repository) -> None:
    one, two = upstream.blob(b"one"), upstream.blob(b"two two")
    inner = upstream.tree(("100755", "blob", two, b"caf\xe9\n.sh"))
    commit = upstream.commit_tree(upstream.tree(("100644", "blob", one, b"a.py"), ("040000", "tree", inner, b"lib")))
    tree = read_tree(git, upstream.git_dir, commit)
    assert tree.entries == (
        TreeEntry(path=b"a.py", mode="100644", blob=one, size_bytes=3),
        TreeEntry(path=b"lib/caf\xe9\n.sh", mode="100755", blob=two, size_bytes=7),
    )
    assert (tree.commit, tree.others) == (commit, ())


def test_a_tree_is_read_once(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"a.py": b"x"})
    assert read_tree(git, upstream.git_dir, commit) is read_tree(git, upstream.git_dir, commit)


def test_old_trees_are_forgotten(git: Git, upstream: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "_CACHED", 2)
    commits = [upstream.commit({"a.py": b"%d" % n}) for n in range(3)]
    first = read_tree(git, upstream.git_dir, commits[0])
    for commit in commits[1:]:
        read_tree(git, upstream.git_dir, commit)
    assert len(trees._cache) == 2
    assert read_tree(git, upstream.git_dir, commits[0]) == first


def test_a_missing_blob_has_no_size(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"a.py": b"lost", "b.py": b"kept"})
    upstream.loose(upstream.git("rev-parse", "HEAD:a.py")).unlink()
    sizes = {e.path: e.size_bytes for e in read_tree(git, upstream.git_dir, commit).entries}
    assert sizes == {b"a.py": -1, b"b.py": 4}


def test_only_blobs_have_a_size(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"a": b"four"})
    blob, tree = upstream.git("rev-parse", "HEAD:a"), upstream.git("rev-parse", "HEAD^{tree}")
    assert blob_sizes(git, upstream.git_dir, [blob, tree, commit, "ab" * 20]) == {blob: 4}
    assert blob_sizes(git, upstream.git_dir, []) == {}


def test_a_digest_of_a_tree_is_its_paths_modes_and_blobs() -> None:
    base = TreeEntry(path=b"a", mode="100644", blob="b" * 40, size_bytes=1)
    other = TreeEntry(path=b"b", mode="100644", blob="c" * 40, size_bytes=1)
    changed = [
        [base],
        [base, other],
        [TreeEntry(path=b"c", mode="100644", blob="b" * 40, size_bytes=1)],
        [TreeEntry(path=b"a", mode="100755", blob="b" * 40, size_bytes=1)],
        [TreeEntry(path=b"a", mode="100644", blob="d" * 40, size_bytes=1)],
        [],
    ]
    assert len({tree_digest(e) for e in changed}) == len(changed)
    assert tree_digest([other, base]) == tree_digest([base, other]), "their order says nothing"
    assert tree_digest([TreeEntry(path=b"a", mode="100644", blob="b" * 40, size_bytes=9)]) == tree_digest([base])


@pytest.mark.parametrize(
    ("path", "read"),
    [
        (b"a.py", True), (b"dir.x/A.PY", True), (b"py", False), (b"a.py/b", False), (b"a.pyc", False),
        (b"Dockerfile", True), (b"x/dockerfile", True), (b"Dockerfile.web", True), (b"my.Dockerfile", False),
        (b"\xff.py", True), (b"", False),
    ],
)  # fmt: skip
def test_a_filter_goes_by_the_name(path: bytes, read: bool) -> None:
    wanted = PathFilter(suffixes=(b".py",), names=frozenset({b"dockerfile"}), prefixes=(b"dockerfile.",))
    assert wanted(path) is read


def test_a_link_is_a_gap_unless_its_target_is_read_under_its_own_name(git: Git, upstream: Repository) -> None:
    upstream.commit({"lib/real.py": b"x", "notes.txt": b"x"})
    links = {
        "near.py": "lib/real.py",
        "lib/twin.py": "./real.py",
        "lib/around.py": "../lib/../lib/real.py",
        "text.py": "notes.txt",
        "out.py": "/etc/passwd",
        "up.py": "../other/real.py",
        "gone.py": "lib/gone.py",
        "loop.py": "loop.py",
        "folder.py": "lib",
        "unread.txt": "/etc/passwd",
    }
    for name, text in links.items():
        (upstream.path / name).symlink_to(text)
    tree = read_tree(git, upstream.git_dir, upstream.commit())
    told = {g.path: g.reason_code for g in gaps_for(tree, PYTHON, links_of(git, upstream.git_dir, tree, PYTHON))}
    assert told == dict.fromkeys(("text.py", "out.py", "up.py", "gone.py", "loop.py", "folder.py"), "symlink")
    blind = {g.path for g in gaps_for(tree, PYTHON)}
    assert blind == {n for n in links if n.endswith(".py")}, "without the texts every link is a gap"


def test_a_submodule_is_a_gap(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"a.py": b"x"})
    tree = upstream.tree(("160000", "commit", commit, b"vendor"), ("120000", "blob", upstream.blob(b"x"), b"l.txt"))
    found = gaps_for(read_tree(git, upstream.git_dir, upstream.commit_tree(tree)), PYTHON)
    assert [(g.path, g.reason_code) for g in found] == [("vendor", "submodule")]


def test_a_tree_that_cannot_be_read_is_incomplete(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"dir/a": b"x"})
    upstream.loose(upstream.git("rev-parse", "HEAD:dir")).unlink()
    with pytest.raises(ScanGapError) as refused:
        read_tree(git, upstream.git_dir, commit)
    assert refused.value.reason_code in ("incomplete", "corrupt")


def test_a_link_that_is_too_long_for_a_path_is_not_read(git: Git, upstream: Repository) -> None:
    """Its blob may be of any size; it stays a gap."""
    long, short = upstream.blob(b"y" * 5000), upstream.blob(b"app.py")
    tree = upstream.raw_tree(
        (b"100644", b"app.py", upstream.blob(b"x")), (b"120000", b"long.py", long), (b"120000", b"short.py", short)
    )
    found = read_tree(git, upstream.git_dir, upstream.commit_tree(tree))
    reads = PathFilter(suffixes=(b".py",))
    texts = links_of(git, upstream.git_dir, found, reads)
    assert texts(long.encode()) is None and texts(short.encode()) == b"app.py"
    assert [g.path for g in gaps_for(found, reads, texts)] == ["long.py"]


def test_a_tree_of_too_many_names_is_a_gap(git: Git, upstream: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trees, "MAX_LISTING_BYTES", 2000)
    commit = upstream.commit({f"{n:030}.py": b"x" for n in range(100)})
    with pytest.raises(ScanGapError) as told:
        read_tree(git, upstream.git_dir, commit)
    assert told.value.reason_code == "too_many_files"


def test_of_files_of_one_name_all_but_the_last_are_gaps(git: Git, upstream: Repository) -> None:
    first, second, other = (upstream.blob(b) for b in (b"first", b"second", b"other"))
    tree = upstream.raw_tree((b"100644", b"a.py", first), (b"100644", b"a.py", second), (b"100644", b"b.py", other))
    found = read_tree(git, upstream.git_dir, upstream.commit_tree(tree))
    gaps = gaps_for(found, PathFilter(suffixes=(b".py",)))
    assert [(g.path, g.reason_code, g.blob) for g in gaps] == [("a.py", "unsafe_path", first)]
    assert gaps_for(found, PathFilter(suffixes=(b".txt",))) == ()
