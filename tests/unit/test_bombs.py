"""Objects that are few and name paths beyond number: what is asked of them ends, and says what it left out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.origins import OddTag, Source
from tasks.core.process import ProcessRunner
from tasks.core.types import Completed, Occurrence
from tasks.repos import history, trees
from tasks.repos.discovery import discover
from tasks.repos.git import Git, failure
from tasks.repos.history import occurrences
from tasks.repos.mirrors import Mirrors
from tasks.repos.trees import read_tree
from tests.builders import Repository


def bomb(repo: Repository, levels: int, *beside: tuple[bytes, bytes, str]) -> str:
    """A tree of ten to the power of ``levels`` paths to one blob."""
    tree = repo.raw_tree(*[(b"100644", b"f%d" % n, repo.blob(b"charge")) for n in range(10)])
    for _ in range(levels - 1):
        tree = repo.raw_tree(*[(b"40000", b"d%d" % n, tree) for n in range(10)])
    return repo.raw_tree((b"40000", b"bomb", tree), *beside)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LOG_MEMORY_BYTES", 64 * 1024**2)


@pytest.mark.usefixtures("little_memory")
def test_places_in_a_bomb_are_one_of_each_and_it_says_so(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"early.txt": b"early"})
    early, beside = upstream.blob(b"early"), upstream.blob(b"beside")
    tip = upstream.commit_tree(bomb(upstream, 10, (b"100644", b"secret.txt", beside)), first)
    why: list[str] = []
    found = occurrences(git, upstream.git_dir, [tip], [early, beside, upstream.blob(b"charge")], limited=why.append)
    assert found == {
        early: (Occurrence(path="early.txt", commit=first),),
        beside: (Occurrence(path="secret.txt", commit=tip),),
        upstream.blob(b"charge"): (Occurrence(path="bomb/" + "d0/" * 9 + "f0", commit=tip),),
    }
    assert len(why) == 1 and "more paths than can be listed" in why[0]


@pytest.mark.usefixtures("little_memory")
def test_places_in_a_tagged_bomb(git: Git, upstream: Repository) -> None:
    tip, tree = upstream.commit({"a": b"one"}), bomb(upstream, 10)
    odd = {"refs/tags/t": OddTag(kind="tree", oid=tree)}
    why: list[str] = []
    wanted = [upstream.blob(b"one"), upstream.blob(b"charge")]
    found = occurrences(git, upstream.git_dir, [tip, tree], wanted, odd, limited=why.append)
    assert found[wanted[0]] == (Occurrence(path="a", commit=tip),)
    assert found[wanted[1]] == (Occurrence(path="bomb/" + "d0/" * 9 + "f0", commit=tree),)
    assert len(why) == 1


def test_one_place_of_each_is_among_all_places(git: Git, upstream: Repository) -> None:
    """What stands in for the log never says more than the log, and misses no blob."""
    upstream.commit({"a": b"one", "dir/with blank/b": b"two"})
    upstream.commit({"a": b"three", "c": b"one", "dir/with blank/b": None})
    upstream.git("checkout", "--quiet", "-b", "side", "HEAD~1")
    upstream.commit({"d": b"four"})
    upstream.git("merge", "--quiet", "main", "-m", "merge")
    tips = [upstream.git("rev-parse", "side"), upstream.git("rev-parse", "main")]
    wanted = {upstream.blob(c) for c in (b"one", b"two", b"three", b"four")}
    all_places = occurrences(git, upstream.git_dir, tips, wanted)
    raw = history._Raw(wanted, {}, 1)
    history._read_objects(git, upstream.git_dir, tips, raw)
    assert raw.places.keys() == wanted
    for blob, there in raw.places.items():
        told = {(path.decode(), commit) for path, commit in there.items()}
        assert told <= {(o.path, o.commit) for o in all_places[blob]}


def test_a_bomb_is_listed_once_and_its_size_never_asked_for_each_path(
    git: Git, upstream: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_LISTING_BYTES", 1024**2)
    monkeypatch.setattr(trees, "_SIZED_LISTING_BYTES", 1000)
    commit = upstream.commit_tree(bomb(upstream, 10))
    asked: list[list[str]] = []
    run = git.run
    monkeypatch.setattr(git, "run", lambda args, **more: asked.append(list(args)) or run(args, **more))
    for _ in range(3):
        with pytest.raises(ScanGapError) as told:
            read_tree(git, upstream.git_dir, commit)
        assert told.value.reason_code == "too_many_files"
    assert [("-l" in args) for args in asked] == [True, False]


def test_a_listing_too_long_to_ask_sizes_with_it_has_them_all_the_same(
    git: Git, upstream: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = upstream.commit({f"{n}.py": b"x" * n for n in range(50)})
    whole = read_tree(git, upstream.git_dir, commit)
    trees._cache.clear()
    monkeypatch.setattr(trees, "_SIZED_LISTING_BYTES", 100)
    assert read_tree(git, upstream.git_dir, commit) == whole


def test_folders_deeper_than_git_reads_have_a_reason_of_their_own() -> None:
    said = b"error: exceeded maximum allowed tree depth\nfatal: remote did not send all necessary objects\n"
    done = Completed(exit_code=128, stdout=b"", stderr=said, duration_s=0, peak_rss_bytes=0, sandbox="")
    assert failure(done).reason_code == "too_deep"


def test_a_named_pipe_for_a_configuration_holds_up_nobody(git: Git, tmp_path: Path) -> None:
    for name in ("pipe", "zeros"):
        config = Repository(tmp_path / "org" / name).git_dir / "config"
        config.unlink()
        if name == "pipe":
            os.mkfifo(config)
        else:
            config.symlink_to("/dev/zero")
    found = discover(Source(name="org", location=str(tmp_path / "org")), git, {})
    assert [d.repo.repo_id for d in found] == ["pipe", "zeros"]


@pytest.mark.parametrize("name", ["HEAD", "packed-refs", "objects/info/alternates"])
def test_a_named_pipe_where_git_reads_ends_with_the_time_limit(
    runner: ProcessRunner, upstream: Repository, tmp_path: Path, name: str
) -> None:
    upstream.commit({"a": b"one"})
    place = upstream.git_dir / name
    place.parent.mkdir(exist_ok=True)
    place.unlink(missing_ok=True)
    os.mkfifo(place)
    mirrors = Mirrors(tmp_path / "mirrors", Git(runner, timeout_s=1, config_dir=tmp_path / "git-config"))
    with pytest.raises(ScanGapError) as told:
        mirrors.refresh(upstream.repo())
    assert told.value.reason_code == "fetch_timeout"


@pytest.mark.parametrize(
    ("ended", "stands_in"),
    [
        ({"exit_code": -11}, True),  # git 2.39 overflows its stack at 20,000 folders in folders
        ({"exit_code": None, "out_of_memory": True}, True),
        ({"exit_code": None, "timed_out": True}, True),
        ({"exit_code": 128, "stderr": b"fatal: Out of memory, malloc failed"}, True),
        ({"exit_code": 128, "stderr": b"fatal: unable to read tree"}, False),
        ({"exit_code": None, "cancelled": True, "timed_out": True}, False),
        ({"exit_code": 0}, False),
    ],
)
def test_which_ends_of_the_log_have_one_place_of_each_stand_in(ended: dict[str, Any], stands_in: bool) -> None:
    plain = {"stdout": b"", "stderr": b"", "duration_s": 0, "peak_rss_bytes": 0, "sandbox": ""}
    assert bool(history._too_much(Completed(**{**plain, **ended}))) == stands_in
