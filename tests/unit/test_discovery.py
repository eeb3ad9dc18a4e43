"""Discovery: what counts as a repository, what it is called, and what is never followed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.core.errors import UsageError
from tasks.core.origins import Source
from tasks.core.types import Repo
from tasks.repos.discovery import Discovered, discover, is_address, normalised
from tasks.repos.git import Git
from tests.builders import Repository
from tests.builders import git as real_git


@pytest.fixture
def org(tmp_path: Path) -> Path:
    folder = tmp_path / "org"
    folder.mkdir()
    return folder


def look(
    org: Path | str,
    git: Git,
    known: dict[str, Repo] | None = None,
    roots: tuple[Path, ...] = (),
    taken: tuple[str, ...] = (),
    source: str = "org",
) -> list[Discovered]:
    return discover(Source(name=source, location=str(org)), git, known or {}, roots, taken)


def known_of(found: list[Discovered]) -> dict[str, Repo]:
    return {d.repo.repo_id: d.repo for d in found}


def reasons(found: list[Discovered]) -> dict[str, str | None]:
    return {d.repo.slug: d.reason_code for d in found}


def names(found: list[Discovered]) -> dict[str, str]:
    return {d.repo.slug: d.repo.repo_id for d in found}


def test_bare_and_ordinary_and_nested_repositories_are_found(org: Path, git: Git) -> None:
    bare = Repository(org / "team" / "api.git", bare=True)
    work = Repository(org / "team" / "web")
    inner = Repository(org / "team" / "web" / "vendor" / "lib")
    found = {d.repo.slug: d for d in look(org, git)}
    assert {s: d.repo.url for s, d in found.items()} == {
        "team/api": str(bare.path),
        "team/web": str(work.path / ".git"),
        "team/web/vendor/lib": str(inner.path / ".git"),
    }
    assert list(found) == sorted(found)
    assert all(d.reason_code is None and d.repo.source == "org" for d in found.values())
    assert all(d.repo.repo_id == d.repo.slug for d in found.values()), "without an origin the path is the id"


def test_the_folder_itself_may_be_the_repository(org: Path, git: Git) -> None:
    Repository(org / "single.git", bare=True)
    Repository(org / "work")
    assert names(look(org / "single.git", git)) == {"single": "single"}
    assert names(look(org / "work", git)) == {"work": "work"}


def test_nothing_inside_a_bare_repository_is_looked_at(org: Path, git: Git) -> None:
    bare = Repository(org / "api.git", bare=True)
    Repository(bare.path / "objects" / "hidden")
    Repository(org / "web").git_dir.joinpath("inner").mkdir()
    Repository(org / "web" / ".git" / "inner")
    assert list(names(look(org, git))) == ["api", "web"]


def test_a_repository_whose_refs_are_packed_is_found(org: Path, git: Git) -> None:
    bare = Repository(org / "packed.git", bare=True)
    (bare.path / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted\n")
    for folder in sorted((bare.path / "refs").rglob("*"), reverse=True):
        folder.rmdir()
    (bare.path / "refs").rmdir()
    assert list(names(look(org, git))) == ["packed"]


def test_a_folder_that_only_looks_like_one_is_none(org: Path, git: Git) -> None:
    Repository(org / "real")
    for name in ("HEAD", "refs"):
        (org / "notes").mkdir(exist_ok=True)
        (org / "notes" / name).write_text("not git")
    (org / "notes" / "objects").write_text("a file")
    assert list(names(look(org, git))) == ["real"]


def test_no_repository_is_an_error_of_the_caller(org: Path, git: Git) -> None:
    (org / "empty" / "deep").mkdir(parents=True)
    with pytest.raises(UsageError, match="no git repository below") as refused:
        look(org, git)
    assert "bare" in refused.value.advice
    with pytest.raises(UsageError, match="is not a folder"):
        look(org / "gone", git)
    (org / "file").write_text("")
    with pytest.raises(UsageError, match="is not a folder"):
        look(org / "file", git)


def test_no_repository_left_of_those_known_is_no_error(org: Path, git: Git) -> None:
    known = Repo(repo_id="team/app", slug="team/app", url="/srv/app", source="org")
    assert look(org, git, {"team/app": known}) == []


def test_links_are_not_followed_and_those_that_hide_a_repository_are_gaps(org: Path, tmp_path: Path, git: Git) -> None:
    outside = with_origin(tmp_path / "outside", "https://git.example.invalid/team/app.git")
    bare = Repository(tmp_path / "bare", bare=True)
    Repository(org / "inside")
    (org / "link").symlink_to(outside.path)
    (org / "deep" / "er").mkdir(parents=True)
    (org / "deep" / "er" / "bare.git").symlink_to("../../../bare")
    (org / "directory").symlink_to(outside.git_dir)
    (org / "twice").symlink_to(org / "link")
    (org / "half").mkdir()
    (org / "half" / ".git").symlink_to(outside.git_dir)
    (org / "dressed").mkdir()
    for name in ("HEAD", "objects", "refs"):
        (org / "dressed" / name).symlink_to(bare.git_dir / name)
    hidden = ("deep/er/bare", "directory", "dressed", "half", "link", "twice")
    found = look(org, git)
    assert reasons(found) == {"inside": None, **dict.fromkeys(hidden, "linked_folder")}
    for d in found:
        assert d.repo.repo_id == d.repo.slug, "nothing behind a link is read, not even its origin"
        assert d.repo.url.startswith(f"{org}/"), "the place is the link's own"
        assert str(outside.path) not in d.detail and bool(d.detail) == (d.reason_code is not None)


def test_a_folder_of_links_alone_is_not_taken_for_one_without_repositories(org: Path, tmp_path: Path, git: Git) -> None:
    (org / "link").symlink_to(Repository(tmp_path / "outside").path)
    assert reasons(look(org, git)) == {"link": "linked_folder"}


def test_a_link_to_what_is_found_anyway_hides_nothing(org: Path, tmp_path: Path, git: Git) -> None:
    work, bare = Repository(org / "team" / "work"), Repository(org / "bare.git", bare=True)
    Repository(bare.path / "objects" / "inner")
    for n, target in enumerate(
        (org, org / "team", work.path, work.git_dir, work.git_dir / "refs", bare.path, bare.path / "objects" / "inner")
    ):
        (org / f"link{n}").symlink_to(target)
    (org / "half").mkdir()
    (org / "half" / ".git").symlink_to(work.git_dir)
    (tmp_path / "alias").symlink_to(org)
    (org / "around").symlink_to(tmp_path / "alias" / "team" / "work")
    assert reasons(look(org, git)) == {"bare": None, "team/work": None}
    assert reasons(look(tmp_path / "alias", git)) == {"bare": None, "team/work": None}, "the root may be a link"


def test_a_folder_whose_name_begins_like_the_source_is_outside(org: Path, tmp_path: Path, git: Git) -> None:
    Repository(org / "inside")
    (org / "link").symlink_to(Repository(tmp_path / "org-other").path)
    assert reasons(look(org, git)) == {"inside": None, "link": "linked_folder"}


def test_a_link_into_another_source_of_the_run_hides_nothing(org: Path, tmp_path: Path, git: Git) -> None:
    Repository(org / "inside")
    Repository(tmp_path / "far" / "team" / "app")
    (org / "app").symlink_to(tmp_path / "far" / "team" / "app")
    (org / "far").symlink_to(tmp_path / "far")
    assert reasons(look(org, git)) == {"app": "linked_folder", "far": "linked_folder", "inside": None}
    assert reasons(look(org, git, roots=(tmp_path / "far",))) == {"inside": None}
    assert reasons(look(org, git, roots=(tmp_path / "far" / "team",))) == {"inside": None}
    assert reasons(look(org, git, roots=(tmp_path / "other",)))["app"] == "linked_folder"


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_repositories_are_looked_for_two_levels_below_a_link(org: Path, tmp_path: Path, git: Git, levels: int) -> None:
    Repository(org / "inside")
    (tmp_path / "far" / "empty").mkdir(parents=True)
    Repository(tmp_path.joinpath("far", *"abc"[:levels]))
    (org / "link").symlink_to(tmp_path / "far")
    expected = {"inside": None} if levels == 3 else {"inside": None, "link": "linked_folder"}
    found = look(org, git)
    assert reasons(found) == expected
    if levels in (1, 2):
        assert "holds repositories" in found[-1].detail


def test_a_link_upwards_hides_only_what_lies_beside_the_source(org: Path, tmp_path: Path, git: Git) -> None:
    Repository(org / "inside")
    (org / "up").symlink_to("..")
    assert reasons(look(org, git)) == {"inside": None}
    Repository(tmp_path / "beside")
    assert reasons(look(org, git)) == {"inside": None, "up": "linked_folder"}


def test_what_is_looked_at_below_a_link_is_limited(
    org: Path, tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    Repository(org / "inside")
    for n in range(400):
        (tmp_path / "wide" / f"{n:03d}").mkdir(parents=True)
    Repository(tmp_path / "wide" / "999")
    for name in ("one", "two", "three"):
        (org / name).symlink_to(tmp_path / "wide")
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda p: listed.append(str(p)) or scan(p))
    assert reasons(look(org, git)) == {"inside": None}
    assert len([p for p in listed if "wide" in p]) == 301, "and once, however many links lead there"


def test_links_that_are_broken_or_loop_or_lead_to_no_folder_hide_nothing(org: Path, tmp_path: Path, git: Git) -> None:
    Repository(org / "inside")
    (tmp_path / "file").write_text("")
    (tmp_path / "plain" / "folder").mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    for n, target in enumerate(
        ("gone", "/dev/null", tmp_path / "file", tmp_path / "file" / "below", tmp_path / "plain", "ping",
         tmp_path / "loop", tmp_path / "gone" / "more", "x" * 200)
    ):  # fmt: skip
        (org / f"link{n}").symlink_to(target)
    (org / "self").symlink_to("self")
    (org / "ping").symlink_to("pong")
    (org / "pong").symlink_to("ping/more")
    for name, target in (("a", "gone"), ("b", ".git"), ("c", tmp_path / "loop"), ("d", tmp_path / "plain")):
        (org / name).mkdir()
        (org / name / ".git").symlink_to(target)
    assert reasons(look(org, git)) == {"inside": None}


def test_a_git_that_is_a_link_to_a_file_elsewhere_is_a_gap(org: Path, tmp_path: Path, git: Git) -> None:
    main = Repository(tmp_path / "main")
    main.commit({"a": b"1"})
    main.git("worktree", "add", "--quiet", str(tmp_path / "linked"), "-b", "side")
    (org / "odd").mkdir(parents=True)
    (org / "odd" / ".git").symlink_to(tmp_path / "linked" / ".git")
    (org / "tree").symlink_to(tmp_path / "linked")
    assert reasons(look(org, git)) == {"odd": "linked_folder", "tree": "linked_folder"}


@pytest.mark.parametrize("refused", ["far", "far/closed"])
def test_a_link_to_what_cannot_be_read_is_a_gap(
    org: Path, tmp_path: Path, git: Git, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """The target itself is; a folder below it that somebody else closed is not."""
    Repository(org / "inside")
    Repository(tmp_path / "far" / "closed" / "app")
    (org / "link").symlink_to(tmp_path / "far")
    scan = os.scandir

    def refuse(path: Path | str) -> object:
        if str(path) == str(tmp_path / refused):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert reasons(look(org, git)) == {"inside": None, **({"link": "linked_folder"} if refused == "far" else {})}


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_link_below_a_folder_that_cannot_be_entered_is_a_gap(org: Path, tmp_path: Path, git: Git) -> None:
    Repository(org / "inside")
    (org / "link").symlink_to(Repository(tmp_path / "closed" / "app").path)
    (tmp_path / "closed").chmod(0)
    found = look(org, git)
    (tmp_path / "closed").chmod(0o700)
    assert reasons(found) == {"inside": None, "link": "linked_folder"}


def test_a_link_takes_no_repositorys_name(org: Path, tmp_path: Path, git: Git) -> None:
    """Sorted by path alone, ``app.git`` would come before ``app/.git`` and be called ``app``."""
    outside = Repository(tmp_path / "outside")
    Repository(org / "app")
    before = names(look(org, git))
    (org / "app.git").symlink_to(outside.path)
    found = look(org, git)
    assert reasons(found) == {"app": None, "app.git": "linked_folder"}
    assert before.items() <= names(found).items()


def test_a_linked_work_tree_of_a_repository_we_scan_is_covered(org: Path, git: Git) -> None:
    main = Repository(org / "main")
    main.commit({"a": b"1"})
    main.git("worktree", "add", "--quiet", str(org / "linked"), "-b", "side")
    assert (org / "linked" / ".git").is_file()
    assert list(names(look(org, git))) == ["main"]


def test_a_linked_work_tree_of_another_repository_is_a_gap(org: Path, tmp_path: Path, git: Git) -> None:
    outside = Repository(tmp_path / "outside")
    outside.commit({"a": b"1"})
    outside.git("worktree", "add", "--quiet", str(org / "linked"), "-b", "side")
    (found,) = look(org, git)
    assert (found.repo.slug, found.reason_code) == ("linked", "linked_worktree")
    assert str(tmp_path / "outside") not in found.detail


@pytest.mark.parametrize("pointer", [b"", b"gitdir: ../../outside/.git", b"\xff\xfe", b"gitdir:\n", b"nonsense"])
def test_a_git_file_that_points_anywhere_is_a_gap(org: Path, git: Git, pointer: bytes) -> None:
    Repository(org / "real")
    (org / "odd").mkdir()
    (org / "odd" / ".git").write_bytes(pointer)
    assert {d.repo.slug: d.reason_code for d in look(org, git)} == {"odd": "linked_worktree", "real": None}


def test_a_submodule_checked_out_is_covered_by_the_repository_above_it(org: Path, git: Git) -> None:
    library = Repository(org / "lib")
    library.commit({"a": b"1"})
    app = Repository(org / "app")
    app.commit({"b": b"2"})
    app.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(library.path), "vendor/lib")
    assert (app.path / "vendor" / "lib" / ".git").is_file()
    assert list(names(look(org, git))) == ["app", "lib"]


def test_a_folder_that_cannot_be_read_is_a_gap(org: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    Repository(org / "open")
    Repository(org / "closed")
    if os.geteuid() != 0:
        (org / "closed").chmod(0)
    else:  # nothing is closed to root: have the kernel's answer given for one folder
        scan = os.scandir

        def refuse(path: Path) -> object:
            if Path(path).name == "closed":
                raise PermissionError(13, "Permission denied")
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)
    found = {d.repo.slug: d for d in look(org, git)}
    (org / "closed").chmod(0o700)
    assert found["open"].reason_code is None
    assert found["closed"].reason_code == "fetch"
    assert "ermission denied" in found["closed"].detail


def with_origin(path: Path, url: str) -> Repository:
    repository = Repository(path)
    repository.git("remote", "add", "origin", url)
    return repository


def test_the_origin_names_a_repository(org: Path, git: Git) -> None:
    with_origin(org / "a", "https://user:CANARY@Git.Example.invalid/Team/App.git")
    with_origin(org / "b", "git@git.example.invalid:team/lib.git")
    with_origin(org / "c", "/srv/git/local.git")
    with_origin(org / "d", "file:///srv/git/local.git")
    Repository(org / "e").git("remote", "add", "upstream", "https://git.example.invalid/other.git")
    assert names(look(org, git)) == {
        "a": "git.example.invalid/Team/App",
        "b": "git.example.invalid/team/lib",
        "c": "c",
        "d": "d",
        "e": "e",
    }


def test_of_two_clones_of_one_origin_both_are_scanned_under_ids_of_their_own(org: Path, git: Git) -> None:
    for name in ("one", "two"):
        with_origin(org / name, "https://git.example.invalid/team/app.git")
    plain = "git.example.invalid/team/app"
    assert names(look(org, git)) == {"one": plain, "two": f"{plain}#two"}


def test_the_clone_that_was_known_keeps_its_id_when_another_appears(org: Path, git: Git) -> None:
    with_origin(org / "old", "https://git.example.invalid/team/app.git")
    plain = "git.example.invalid/team/app"
    known = {d.repo.repo_id: d.repo for d in look(org, git)}
    assert list(known) == [plain]
    with_origin(org / "another", "ssh://git@git.example.invalid/team/app")
    assert names(look(org, git, known)) == {"another": f"{plain}#another", "old": plain}


def test_a_moved_repository_keeps_its_id(org: Path, git: Git) -> None:
    with_origin(org / "old", "https://git.example.invalid/team/app.git")
    known = {d.repo.repo_id: d.repo for d in look(org, git)}
    (org / "old").rename(org / "new")
    assert names(look(org, git, known)) == {"new": "git.example.invalid/team/app"}


APP, PLAIN = "https://git.example.invalid/team/app.git", "git.example.invalid/team/app"


def test_clones_keep_their_ids_when_the_holder_of_the_plain_one_is_removed(org: Path, git: Git) -> None:
    for name in ("one", "two", "three"):
        with_origin(org / name, APP)
    known = known_of(look(org, git))
    expected = {"one": PLAIN, "three": f"{PLAIN}#three", "two": f"{PLAIN}#two"}
    assert {r.slug: i for i, r in known.items()} == expected
    (org / "one").rename(org.parent / "away")
    assert names(look(org, git, known)) == {n: i for n, i in expected.items() if n != "one"}
    (org.parent / "away").rename(org / "one")
    assert names(look(org, git, known)) == expected


def test_no_new_clone_takes_the_id_of_one_that_cannot_be_read(
    org: Path, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_origin(org / "deep" / "old", APP)
    known = known_of(look(org, git))
    with_origin(org / "another", APP)
    listing = os.scandir

    def closed(path: str | Path) -> object:
        if str(path) == str(org / "deep"):
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(os, "scandir", closed)
    assert names(look(org, git, known))["another"] == f"{PLAIN}#another"
    monkeypatch.undo()
    (org / "deep" / "old" / ".git" / "config").unlink()  # what is there does not say whose clone it is
    assert names(look(org, git, known))["another"] == f"{PLAIN}#another"


def test_a_place_that_now_holds_another_clone_gives_up_its_id(org: Path, git: Git) -> None:
    with_origin(org / "app", APP)
    known = known_of(look(org, git))
    (org / "app").rename(org / "app-old")
    with_origin(org / "app", "https://git.example.invalid/team/new.git")
    assert names(look(org, git, known)) == {"app": "git.example.invalid/team/new", "app-old": PLAIN}


def test_a_new_clone_leaves_the_plain_id_to_a_source_that_has_it(org: Path, tmp_path: Path, git: Git) -> None:
    with_origin(org / "app", APP)
    other = with_origin(tmp_path / "other" / "app", APP).path.parent
    elsewhere = known_of(look(other, git, source="other"))
    expected = {"app": f"{PLAIN}#org/app"}
    assert names(look(org, git, elsewhere)) == expected, "a source that is not in this run"
    assert names(look(org, git, taken=(PLAIN,))) == expected, "a source of this run"
    # Known by it, it keeps it: with the other source or without.
    known = known_of(look(org, git, elsewhere))
    assert names(look(org, git, known)) == names(look(org, git, {**known, **elsewhere})) == expected
    assert names(look(org, git, known, taken=(PLAIN,))) == expected


def test_no_two_places_have_one_id_whatever_they_are_called(org: Path, tmp_path: Path, git: Git) -> None:
    for name in ("app", "b/app"):
        with_origin(org / name, APP)
    taken = (PLAIN, f"{PLAIN}#b/app", f"{PLAIN}#org/app")
    assert names(look(org, git, taken=taken)) == {"app": f"{PLAIN}#org/app#2", "b/app": f"{PLAIN}#org/b/app"}


def test_a_source_that_was_renamed_keeps_its_ids(org: Path, git: Git) -> None:
    for name in ("one", "two"):
        with_origin(org / name, APP)
    known = known_of(look(org, git, source="before"))
    assert names(look(org, git, known)) == {"one": PLAIN, "two": f"{PLAIN}#two"}


def test_an_address_keeps_the_id_it_was_known_by(git: Git) -> None:
    known = known_of(look(APP, git, taken=(PLAIN,)))
    assert list(known) == [f"{PLAIN}#org/{PLAIN}"]
    assert list(known_of(look(APP, git, known))) == list(known)


def test_of_two_sources_with_one_address_each_keeps_its_id_alone_or_beside_the_other(git: Git) -> None:
    first = known_of(look(APP, git, source="a"))
    second = known_of(look(APP, git, first, taken=(PLAIN,), source="b"))
    assert list(second) == [f"{PLAIN}#b/{PLAIN}"]
    assert list(known_of(look(APP, git, first | second, source="b"))) == list(second)
    assert list(known_of(look(APP, git, first | second, source="a"))) == list(first)


def test_what_is_committed_takes_no_id_before_its_repository(tmp_path: Path, git: Git) -> None:
    root = with_origin(tmp_path / "root", APP).path
    Repository(root / PLAIN, bare=True)
    assert names(look(root, git)) == {PLAIN: f"{PLAIN}#{PLAIN}", "root": PLAIN}


def test_a_repository_committed_in_another_takes_nobodys_id(org: Path, git: Git) -> None:
    victim = "https://git.example.invalid/org/victim.git"
    for name in ("app", "zoo"):  # one that is found before the victim, and one after
        Repository(org / name)
        with_origin(org / name / "ordinary", victim)
        bare = Repository(org / name / "deep" / "evil", bare=True)
        bare.git("remote", "add", "origin", victim)
    (org / "submodule").mkdir()
    (org / "submodule" / ".git").write_text("gitdir: ../app/.git\n")
    Repository(org / "submodule" / "evil", bare=True).git("remote", "add", "origin", victim)
    with_origin(org / "victim", victim)
    assert names(look(org, git)) == {
        "app": "app",
        "app/deep/evil": "app/deep/evil",
        "app/ordinary": "app/ordinary",
        "submodule/evil": "submodule/evil",
        "victim": "git.example.invalid/org/victim",
        "zoo": "zoo",
        "zoo/deep/evil": "zoo/deep/evil",
        "zoo/ordinary": "zoo/ordinary",
    }


def test_the_configuration_of_a_repository_is_read_as_text_only(org: Path, tmp_path: Path, git: Git) -> None:
    repository = Repository(org / "app")
    (tmp_path / "included").write_text('[remote "origin"]\n\turl = https://evil.example.invalid/x.git\n')
    (repository.git_dir / "config").write_text(
        f"[include]\n\tpath = {tmp_path}/included\n[core]\n\tfsmonitor = touch {tmp_path}/ran\n"
        f'\tsshCommand = touch {tmp_path}/ran\n[url "ext::touch {tmp_path}/ran"]\n\tinsteadOf = https://\n'
        '[remote "origin"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\tURL = "https://good.example.invalid/y.git"\n'
    )
    assert names(look(org, git)) == {"app": "good.example.invalid/y"}
    assert not (tmp_path / "ran").exists()


def test_a_name_that_is_not_utf8_can_be_stored(org: Path, git: Git) -> None:
    Path(os.fsdecode(os.fsencode(org) + b"/caf\xe9")).mkdir()
    real_git(Path(os.fsdecode(os.fsencode(org) + b"/caf\xe9")), "init", "--quiet", ".")
    (found,) = look(org, git)
    assert found.repo.slug == "caf\\xe9"
    assert found.repo.repo_id.encode("utf-8") == b"caf\\xe9"
    assert os.fsencode(found.repo.url).endswith(b"caf\xe9/.git"), "the path stays what the file system calls it"


def test_names_that_are_stored_alike_are_two(org: Path, git: Git) -> None:
    for name in (b"caf\xe9", b"caf\\xe9"):
        Path(os.fsdecode(os.fsencode(org) + b"/" + name)).mkdir()
        real_git(Path(os.fsdecode(os.fsencode(org) + b"/" + name)), "init", "--quiet", ".")
    found = look(org, git)
    assert len({d.repo.repo_id for d in found}) == len({d.repo.slug for d in found}) == 2


@pytest.mark.parametrize(
    "address",
    ["https://git.example.invalid/a.git", "ssh://git@h/a", "git@host:team/app.git", "ext::sh -c true", "file:///srv/a"],
)
def test_an_address_is_one_repository(git: Git, address: str) -> None:
    assert is_address(address)
    (found,) = look(address, git)
    assert found.repo.url == address
    assert found.repo.repo_id == found.repo.slug == normalised(address)


def test_a_folder_with_a_colon_is_a_folder(org: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    Repository(org / "host:app" / "x")
    monkeypatch.chdir(org)
    assert not is_address("host:app")
    assert names(look("host:app", git)) == {"x": "x"}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://Git.Example.invalid/Team/App.git", "git.example.invalid/Team/App"),
        ("https://git.example.invalid:443/team/app/", "git.example.invalid/team/app"),
        ("http://git.example.invalid:8080/app", "git.example.invalid:8080/app"),
        ("ssh://git@git.example.invalid:22/team/app.git", "git.example.invalid/team/app"),
        ("git@git.example.invalid:team/app.git", "git.example.invalid/team/app"),
        ("https://user:pass@git.example.invalid/app", "git.example.invalid/app"),
        ("https://git.example.invalid/app.git?token=1#x", "git.example.invalid/app"),
    ],
)
def test_addresses_of_one_repository_have_one_name(address: str, name: str) -> None:
    assert normalised(address) == name


@pytest.mark.parametrize(
    "address",
    ["https://u:CANARY@h/a", "https://CANARY@h:99999/a", "ssh://u:CANARY@[::1/a", "u:CANARY@h:a", "https://u:CANARY@/"],
)
def test_no_credential_of_an_address_is_in_its_name(address: str) -> None:
    assert "CANARY" not in normalised(address)


@pytest.mark.parametrize(
    "address",
    [
        "https://user:CANARY@git.example.invalid/a.git",
        "https://CANARY@h/a",
        "ssh://u:CANARY@h/a",
        "u:CANARY@h:a",
        "https://h/a.git?private_token=CANARY",
        "https://h/a.git#CANARY",
        "https://h/glpat-CANARYCANARYCANARY/a.git",
    ],
)
def test_a_credential_in_an_address_goes_no_further(git: Git, address: str) -> None:
    with pytest.raises(UsageError) as refused:
        look(address, git)
    assert "CANARY" not in str(refused.value)


@pytest.mark.parametrize("address", ["git@h:team/a", "ssh://git@h/a", "https://h/team/a.git", "file:///srv/a#1?.git"])
def test_an_address_without_a_credential_is_used(git: Git, address: str) -> None:
    assert [d.repo.url for d in look(address, git)] == [address]


def test_a_folder_and_a_bare_repository_of_one_name_are_two(git: Git, tmp_path: Path) -> None:
    org = tmp_path / "org"
    Repository(org / "app").commit({"a": b"1"})
    Repository(org / "app.git", bare=True)
    found = look(org, git)
    assert sorted(d.repo.slug for d in found) == ["app", "app.git"]
    assert len({d.repo.repo_id for d in found}) == 2
