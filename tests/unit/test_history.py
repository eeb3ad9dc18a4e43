"""Questions to the history: which blobs are new, where a blob stood; both checked against reading every commit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tasks.core.origins import OddTag
from tasks.core.types import Occurrence
from tasks.repos import history
from tasks.repos.git import Git
from tasks.repos.history import blobs_between, occurrences
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository

GONE = "ab" * 20


def new(git: Git, source: Repository, tips: list[str], done: list[str]) -> set[str]:
    return {oid for oid, _ in blobs_between(git, source.git_dir, tips, done)}


def ids(source: Repository, *contents: bytes) -> set[str]:
    return {source.blob(c) for c in contents}


def places(git: Git, source: Repository, *contents: bytes, tips: list[str] | None = None) -> dict[bytes, set[str]]:
    """The paths of each content in the history."""
    tips = tips or [source.git("rev-parse", "HEAD")]
    names = {source.blob(c): c for c in contents}
    found = occurrences(git, source.git_dir, tips, names)
    return {names[oid]: {o.path for o in there} for oid, there in found.items()}


# -- which blobs are new ------------------------------------------------------------------------------------


def test_every_blob_of_every_commit_with_its_size(git: Git, upstream: Repository) -> None:
    upstream.commit({"a": b"one", "dir/b": b"two two"})
    tip = upstream.commit({"a": b"changed", "dir/b": None})
    found = blobs_between(git, upstream.git_dir, [tip], [])
    assert dict(found) == {upstream.blob(c): len(c) for c in (b"one", b"two two", b"changed")}
    assert found == sorted(found)


def test_only_the_blobs_of_new_commits(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"a": b"one", "b": b"two"})
    second = upstream.commit({"a": b"three"})
    third = upstream.commit({"c": b"four", "d": b"one"})
    assert new(git, upstream, [third], [first]) == ids(upstream, b"three", b"four")
    assert new(git, upstream, [third], [second]) == ids(upstream, b"four")
    assert new(git, upstream, [third], [third]) == set()
    assert new(git, upstream, [first], [third]) == set(), "a branch set back brings nothing new"


def test_a_blob_that_comes_back_from_long_ago_is_not_new(git: Git, upstream: Repository) -> None:
    upstream.commit({"a": b"old"})
    upstream.commit({"a": None, "b": b"other"})
    done = upstream.commit({"b": b"more"})
    tip = upstream.commit({"again": b"old", "c": b"fresh"})
    assert new(git, upstream, [tip], [done]) == ids(upstream, b"fresh")


def test_all_heads_and_tags_count(git: Git, mirrors: Mirrors, upstream: Repository) -> None:
    base = upstream.commit({"a": b"base"})
    upstream.git("checkout", "--quiet", "-b", "side")
    upstream.commit({"s": b"on the side"})
    upstream.git("checkout", "--quiet", "--detach", base)
    upstream.commit({"t": b"under a tag"})
    upstream.git("tag", "-a", "-m", "words", "v1")
    mirror = mirrors.refresh(upstream.repo())
    found = {o for o, _ in blobs_between(git, mirror.path, mirror.tips, [])}
    assert found == ids(upstream, b"base", b"on the side", b"under a tag")


def test_unreachable_blobs_do_not_count(git: Git, upstream: Repository) -> None:
    upstream.blob(b"never committed")
    base = upstream.commit({"a": b"base"})
    upstream.commit({"secret": b"taken back"})
    upstream.git("reset", "--quiet", "--hard", base)
    tip = upstream.commit({"b": b"kept"})
    assert new(git, upstream, [tip], []) == ids(upstream, b"base", b"kept")
    assert places(git, upstream, b"never committed", b"taken back", b"kept") == {b"kept": {"b"}}


def test_a_deleted_branch_is_no_longer_known_once_it_is_collected(
    git: Git, mirrors: Mirrors, upstream: Repository
) -> None:
    base = upstream.commit({"a": b"base"})
    upstream.git("checkout", "--quiet", "-b", "side")
    side = upstream.commit({"s": b"on the side"})
    mirrors.refresh(upstream.repo())
    upstream.git("checkout", "--quiet", "main")
    upstream.git("branch", "--quiet", "-D", "side")
    tip = upstream.commit({"b": b"new"})
    mirror = mirrors.refresh(upstream.repo())
    assert mirror.tips == (tip,)
    found = {o for o, _ in blobs_between(git, mirror.path, mirror.tips, [base, side])}
    assert found == ids(upstream, b"new")
    assert occurrences(git, mirror.path, mirror.tips, ids(upstream, b"on the side")) == {}


def test_done_commits_that_are_gone_are_ignored(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"a": b"one"})
    tip = upstream.commit({"b": b"two"})
    blob = upstream.git("rev-parse", "HEAD:a")
    assert new(git, upstream, [tip], [GONE]) == ids(upstream, b"one", b"two")
    assert new(git, upstream, [tip], [GONE, blob, first]) == ids(upstream, b"two")


def test_nothing_is_asked_of_no_tips(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"a": b"one"})
    assert blobs_between(git, upstream.git_dir, [], []) == []
    assert blobs_between(git, upstream.git_dir, [], [commit]) == []
    assert occurrences(git, upstream.git_dir, [], [upstream.blob(b"one")]) == {}
    assert occurrences(git, upstream.git_dir, [commit], []) == {}


def test_links_count_and_submodules_do_not(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"a": b"one"})
    link = upstream.blob(b"password-in-a-link")
    tree = upstream.tree(("160000", "commit", commit, b"sub"), ("120000", "blob", link, b"link"))
    tip = upstream.commit_tree(tree, commit)
    assert new(git, upstream, [tip], [commit]) == {link}
    assert places(git, upstream, b"password-in-a-link") == {b"password-in-a-link": {"link"}}


def tagged_tree(source: Repository, **files: bytes) -> str:
    """A tree that no commit holds."""
    return source.tree(*(("100644", "blob", source.blob(data), n.encode()) for n, data in sorted(files.items())))


def test_tagged_trees_and_blobs_are_tips_as_well(git: Git, upstream: Repository) -> None:
    tip = upstream.commit({"a": b"one"})
    blob = upstream.blob(b"tagged")
    tree = upstream.tree(("40000", "tree", tagged_tree(upstream, f=b"deep", g=b"one"), b"dir"))
    found = blobs_between(git, upstream.git_dir, [tip, blob, tree], [])
    assert dict(found) == {upstream.blob(c): len(c) for c in (b"one", b"tagged", b"deep")}
    assert new(git, upstream, [blob], []) == {blob}
    assert new(git, upstream, [tree], []) == ids(upstream, b"deep", b"one")


def test_only_what_is_new_below_tagged_trees_and_blobs(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"a": b"one"})
    blob, tree = upstream.blob(b"tagged"), tagged_tree(upstream, f=b"below", g=b"one")
    more = tagged_tree(upstream, f=b"below", h=b"fresh", i=b"tagged")
    tip = upstream.commit({"a": b"tagged", "b": b"below", "c": b"two"})
    odd = [blob, tree]
    assert new(git, upstream, [first, *odd], [first, *odd]) == set()
    assert new(git, upstream, [first, *odd], [first]) == ids(upstream, b"tagged", b"below")
    assert new(git, upstream, [first], [first, *odd]) == set(), "a tag that is gone brings nothing new"
    assert new(git, upstream, odd, [tip]) == set(), "what a commit holds was read there"
    assert new(git, upstream, [tip], [first, *odd]) == ids(upstream, b"two"), "what a tag named was read there"
    assert new(git, upstream, [tip, more], [first, *odd]) == ids(upstream, b"two", b"fresh")
    assert new(git, upstream, [blob], [tree]) == {blob}
    assert new(git, upstream, [tree], [blob]) == ids(upstream, b"below", b"one")


def test_done_tagged_objects_that_are_gone_are_ignored(git: Git, mirrors: Mirrors, upstream: Repository) -> None:
    tip = upstream.commit({"a": b"one"})
    blob, tree = upstream.blob(b"tagged"), tagged_tree(upstream, f=b"below")
    for name, oid in (("keys", blob), ("files", tree)):
        upstream.git("tag", name, oid)
    done = mirrors.refresh(upstream.repo()).tips
    upstream.git("tag", "--delete", "keys", "files")
    mirrors.forget("team/app")  # made anew, it lacks them
    kept = upstream.blob(b"kept")
    upstream.git("tag", "other", kept)
    mirror = mirrors.refresh(upstream.repo())
    assert set(done) == {tip, blob, tree}
    assert {o for o, _ in blobs_between(git, mirror.path, mirror.tips, done)} == {kept}
    assert {o for o, _ in blobs_between(git, mirror.path, mirror.tips, [blob, tree])} == {kept, *ids(upstream, b"one")}
    assert occurrences(git, mirror.path, mirror.tips, [blob, *ids(upstream, b"below")], mirror.odd) == {}


# -- where a blob stood -------------------------------------------------------------------------------------


def test_a_place_is_a_path_and_the_oldest_commit_that_put_it_there(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"a": b"secret", "b": b"x"})
    upstream.commit({"a": None})
    third = upstream.commit({"copy/of/a": b"secret"})
    tip = upstream.commit({"a": b"secret"})
    secret = upstream.blob(b"secret")
    found = occurrences(git, upstream.git_dir, [tip], [secret])
    assert found == {
        secret: (Occurrence(path="a", commit=first), Occurrence(path="copy/of/a", commit=third)),
    }


def test_a_change_of_mode_alone_is_no_new_place(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"run.sh": b"secret"})
    (upstream.path / "run.sh").chmod(0o755)
    tip = upstream.commit()
    secret = upstream.blob(b"secret")
    assert occurrences(git, upstream.git_dir, [tip], [secret]) == {secret: (Occurrence(path="run.sh", commit=first),)}


def test_a_file_that_becomes_a_link_to_the_same_text_is_found(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"a": b"other"})
    secret = upstream.blob(b"secret")
    tip = upstream.commit_tree(upstream.tree(("120000", "blob", secret, b"a")), first)
    assert occurrences(git, upstream.git_dir, [tip], [secret]) == {secret: (Occurrence(path="a", commit=tip),)}


def test_what_only_a_merge_holds_is_found(git: Git, upstream: Repository) -> None:
    base = upstream.commit({"a": b"base"})
    upstream.git("checkout", "--quiet", "-b", "side")
    upstream.commit({"side": b"side"})
    upstream.git("checkout", "--quiet", "main")
    upstream.commit({"main": b"main"})
    upstream.git("merge", "--quiet", "--no-commit", "side")
    merge = upstream.commit({"evil": b"secret", "side": b"changed in the merge"})
    assert len(upstream.git("rev-list", "--parents", "-n1", merge).split()) == 3
    found = places(git, upstream, b"secret", b"changed in the merge", b"side", b"main", b"base")
    assert found == {
        b"secret": {"evil"},
        b"changed in the merge": {"side"},
        b"side": {"side"},
        b"main": {"main"},
        b"base": {"a"},
    }
    assert new(git, upstream, [merge], [base]) == ids(upstream, b"secret", b"changed in the merge", b"side", b"main")


def test_a_blob_on_several_branches_is_found_on_each(git: Git, upstream: Repository) -> None:
    base = upstream.commit({"x": b"x"})
    tips = []
    for name in ("one", "two"):
        upstream.git("checkout", "--quiet", "-B", name, base)
        tips.append(upstream.commit({f"{name}.env": b"secret"}))
    assert places(git, upstream, b"secret", tips=tips) == {b"secret": {"one.env", "two.env"}}
    assert places(git, upstream, b"secret", tips=tips[:1]) == {b"secret": {"one.env"}}


def test_an_unrelated_root_is_part_of_the_history(git: Git, upstream: Repository) -> None:
    first = upstream.commit({"a": b"one"})
    upstream.git("checkout", "--quiet", "--orphan", "other")
    second = upstream.commit({"a": None, "b": b"two"})
    assert places(git, upstream, b"one", b"two", tips=[first, second]) == {b"one": {"a"}, b"two": {"b"}}


def test_odd_names_are_told_as_they_are_stored(git: Git, upstream: Repository) -> None:
    upstream.commit({b"new\nline": b"1", b"caf\xe9": b"2", b"commit " + b"a" * 40: b"3", b":100644 x": b"4"})
    assert places(git, upstream, b"1", b"2", b"3", b"4") == {
        b"1": {"new\nline"},
        b"2": {"caf\\xe9"},
        b"3": {"commit " + "a" * 40},
        b"4": {":100644 x"},
    }


def test_a_hostile_message_is_not_taken_for_the_log(git: Git, upstream: Repository) -> None:
    commit = upstream.commit({"a": b"secret"}, message=f"commit {'f' * 40}\n:000000 100644 {'0' * 40} {GONE} A\tx")
    secret = upstream.blob(b"secret")
    found = occurrences(git, upstream.git_dir, [commit], [secret, GONE])
    assert found == {secret: (Occurrence(path="a", commit=commit),)}


def test_places_are_limited_in_path_order(git: Git, upstream: Repository) -> None:
    tip = upstream.commit({f"{n:03d}": b"same" for n in range(40)})
    (found,) = occurrences(git, upstream.git_dir, [tip], ids(upstream, b"same"), max_each=5).values()
    assert [o.path for o in found] == ["000", "001", "002", "003", "004"]
    (found,) = occurrences(git, upstream.git_dir, [tip], ids(upstream, b"same")).values()
    assert len(found) == 40


def test_the_log_may_be_cut_anywhere(git: Git, upstream: Repository) -> None:
    upstream.commit({"a": b"one", "b c": b"two"})
    tip = upstream.commit({"a": b"two", b"new\nline": b"one"})
    wanted = ids(upstream, b"one", b"two")
    log = bytearray()
    args = ["log", "--reverse", "--raw", "-z", "-m", "--root", "--no-abbrev", "--format=commit %H", tip]
    git.check(args, mirror=upstream.git_dir, sink=log.extend)
    whole = history._Raw(wanted, {}, history.MAX_EACH)
    whole.feed(bytes(log))
    assert {blob: set(p) for blob, p in whole.places.items()} == {
        upstream.blob(b"one"): {b"a", b"new\nline"},
        upstream.blob(b"two"): {b"b c", b"a"},
    }
    for size in (1, 2, 7, 41):
        cut = history._Raw(wanted, {}, history.MAX_EACH)
        for start in range(0, len(log), size):
            cut.feed(bytes(log[start : start + size]))
        assert cut.places == whole.places


def test_a_tagged_blob_stands_at_the_tags_name(git: Git, upstream: Repository) -> None:
    tip = upstream.commit({"a": b"one"})
    blob = upstream.blob(b"tagged")
    names = ("refs/tags/keys", "refs/tags/old/keys", "refs/tags/caf\\xe9", "refs/tags/größe")
    odd = {n: OddTag(kind="blob", oid=blob) for n in names}
    found = occurrences(git, upstream.git_dir, [tip, blob], [blob], odd)
    assert found == {blob: tuple(Occurrence(path=n, commit=blob) for n in sorted(names, key=str.encode))}
    assert occurrences(git, upstream.git_dir, [blob], [blob], odd) == found, "with no commit at all"
    assert occurrences(git, upstream.git_dir, [tip, blob], [blob], {}) == {}
    assert occurrences(git, upstream.git_dir, [tip, blob], ids(upstream, b"one"), odd).keys() == ids(upstream, b"one")


def test_what_a_tagged_tree_holds_stands_at_its_path_there(git: Git, upstream: Repository) -> None:
    tip = upstream.commit({"a": b"one"})
    below, one = upstream.blob(b"below"), upstream.blob(b"one")
    deep = upstream.tree(("100644", "blob", below, b"f\ng"), ("120000", "blob", one, b"link"))
    tree = upstream.tree(
        ("100644", "blob", below, b"caf\xe9"), ("40000", "tree", deep, b"dir"), ("160000", "commit", tip, b"sub")
    )
    odd = {"refs/tags/files": OddTag(kind="tree", oid=tree), "refs/tags/again": OddTag(kind="tree", oid=tree)}
    found = occurrences(git, upstream.git_dir, [tip, tree], [below, one], odd)
    assert found == {
        below: (Occurrence(path="caf\\xe9", commit=tree), Occurrence(path="dir/f\ng", commit=tree)),
        one: (Occurrence(path="a", commit=tip), Occurrence(path="dir/link", commit=tree)),
    }
    assert occurrences(git, upstream.git_dir, [tree], [below], odd) == {below: found[below]}, "with no commit at all"
    empty = {"refs/tags/empty": OddTag(kind="tree", oid=upstream.git("mktree"))}
    assert occurrences(git, upstream.git_dir, [tip], [below], empty) == {}


def test_where_a_commit_has_the_place_too_it_is_the_commits(git: Git, upstream: Repository) -> None:
    tip = upstream.commit({"a": b"one", "refs/tags/keys": b"tagged"})
    one, tagged = upstream.blob(b"one"), upstream.blob(b"tagged")
    trees = sorted(tagged_tree(upstream, a=b"one", b=b"one", c=b"other %d" % n) for n in range(9))
    odd = {
        "refs/tags/keys": OddTag(kind="blob", oid=tagged),
        **{f"refs/tags/{9 - n}": OddTag(kind="tree", oid=t) for n, t in enumerate(trees)},
    }
    found = occurrences(git, upstream.git_dir, [tip, tagged, *trees], [one, tagged], odd)
    assert found == {
        one: (Occurrence(path="a", commit=tip), Occurrence(path="b", commit=trees[0])),
        tagged: (Occurrence(path="refs/tags/keys", commit=tip),),
    }


# -- against reading every commit ---------------------------------------------------------------------------


def random_history(source: Repository, chance: random.Random, commits: int) -> list[str]:
    """Commits with up to two parents, files that come, move, go and return, by git's own fast-import."""
    lines: list[str] = []
    names = [f"{d}{f}" for d in ("", "lib/", "lib/deep/") for f in "abcd"]
    for n in range(1, commits + 1):
        lines += [f"commit refs/heads/c{n}", f"mark :{n}", f"committer A <a@example.invalid> {1_700_000_000 + n} +0000"]
        lines += ["data 0"]
        parents = chance.sample(range(max(1, n - 6), n), min(n - 1, chance.choice([1, 1, 1, 2])))
        if n > 1 and chance.random() > 0.05:
            lines += [f"{'from' if i == 0 else 'merge'} :{p}" for i, p in enumerate(parents)]
        for name in chance.sample(names, chance.randint(0, 3)):
            if chance.random() < 0.3:
                lines.append(f"D {name}")
            else:
                data = f"content {chance.randrange(12)}"
                lines += [f"M 100644 inline {name}", f"data {len(data)}", data]
    source.git("fast-import", "--quiet", stdin="\n".join([*lines, ""]).encode())
    return [source.git("rev-parse", f"refs/heads/c{n}") for n in range(1, commits + 1)]


def read_every_commit(source: Repository, commits: list[str]) -> dict[str, dict[str, str]]:
    """Path to blob, of every commit."""
    trees = {}
    for commit in commits:
        rows = source.git("ls-tree", "-r", commit).splitlines()
        trees[commit] = {row.split("\t")[1]: row.split()[2] for row in rows}
    return trees


@pytest.mark.parametrize("seed", range(3))
def test_a_random_history_is_told_exactly(git: Git, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    source = Repository(tmp_path / "random", bare=True)
    commits = random_history(source, chance, 30)
    trees = read_every_commit(source, commits)
    parents = {c: source.git("rev-list", "--parents", "-n1", c).split()[1:] for c in commits}
    reached: dict[str, set[str]] = {}
    for c in commits:
        reached[c] = {c}.union(*(reached[p] for p in parents[c]))
    for _ in range(6):
        tips, done = chance.sample(commits, 3), chance.sample(commits, chance.randint(0, 3))
        below = set().union(*(reached[c] for c in tips))
        excluded = set().union(*(reached[c] for c in done))
        expected = {b for c in below for b in trees[c].values()} - {b for c in excluded for b in trees[c].values()}
        assert new(git, source, tips, done) == expected, (seed, tips, done)
        stood = {(b, p) for c in below for p, b in trees[c].items()}
        found = occurrences(git, source.git_dir, tips, {b for b, _ in stood})
        assert {(b, o.path) for b, there in found.items() for o in there} == stood, (seed, tips)
        for blob, there in found.items():
            for o in there:
                assert o.commit in below
                assert trees[o.commit][o.path] == blob
                before = reached[o.commit] - {o.commit}
                assert all(trees[c].get(o.path) != blob for c in before), "no commit before it put it there"


@pytest.mark.parametrize("seed", range(3))
def test_a_random_history_with_tagged_trees_and_blobs_is_told_exactly(git: Git, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    source = Repository(tmp_path / "random", bare=True)
    commits = random_history(source, chance, 20)
    trees = read_every_commit(source, commits)
    holds: dict[str, set[str]] = {}
    for c in commits:
        holds[c] = set().union(*(trees[x].values() for x in source.git("rev-list", c).split()))
    places: dict[str, dict[str, str]] = {}
    for oid in sorted({source.git("rev-parse", f"{c}^{{tree}}") for c in commits}):
        rows = source.git("ls-tree", "-r", "-t", oid).splitlines()
        for tree in {oid, *(r.split()[2] for r in rows if r.split()[1] == "tree")}:
            below = source.git("ls-tree", "-r", tree).splitlines()
            places[tree] = {r.split("\t")[1]: r.split()[2] for r in below}
            holds[tree] = set(places[tree].values())
    holds.update({b: {b} for tree in trees.values() for b in tree.values()})
    objects = sorted(holds)
    for _ in range(12):
        tips, done = chance.sample(objects, chance.randint(1, 5)), chance.sample(objects, chance.randint(0, 4))
        expected = set().union(*(holds[o] for o in tips)) - set().union(*(holds[o] for o in done))
        assert new(git, source, tips, done) == expected, (seed, tips, done)
        kinds = {o: "commit" if o in trees else "tree" if o in places else "blob" for o in tips}
        odd = {f"refs/tags/{o}": OddTag(kind=k, oid=o) for o, k in kinds.items() if k != "commit"}
        stood = {(b, p) for o in tips for p, b in places.get(o, {}).items()}
        stood |= {(o, f"refs/tags/{o}") for o, k in kinds.items() if k == "blob"}
        for c in (x for o in tips if o in trees for x in source.git("rev-list", o).split()):
            stood |= {(b, p) for p, b in trees[c].items()}
        found = occurrences(git, source.git_dir, tips, {b for b, _ in stood}, odd)
        assert {(b, o.path) for b, there in found.items() for o in there} == stood, (seed, tips)


def test_of_very_many_places_the_oldest_are_kept(git: Git, upstream: Repository) -> None:
    upstream.commit({"first": b"same"})
    tip = upstream.commit({f"{n}": b"same" for n in range(10)})
    blob = upstream.blob(b"same")
    found = occurrences(git, upstream.git_dir, [tip], [blob], max_each=3)[blob]
    assert len(found) == 3 and "first" in {o.path for o in found}
