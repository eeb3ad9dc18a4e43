"""Rule packs of the user: from folders and git addresses; what is gone, and what a hostile pack tries."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from flows.org_models import PackSettings
from tasks.core.errors import ScanGapError
from tasks.core.origins import PackSource, Source
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.secret_refs import parse_ref
from tasks.patrol.rule_sources import fetch_packs, load_packs
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.repos.remotes import Remotes
from tasks.scanners.rule_packs import Pack
from tests.builders import Repository, wait_until
from tests.forges.clock import MemorySecrets
from tests.git_http import GitServer, serving
from tests.patrols import House
from tests.thorough import thorough
from tests.unit.test_rule_packs import file_of, rule


@pytest.fixture
def origin(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "served" / "packs")


@pytest.fixture
def server(origin: Repository, tmp_path: Path) -> Iterator[GitServer]:
    with serving(tmp_path / "served") as server:
        yield server


class Home:
    """One home with its mirrors; each ``pack`` is a night of its own."""

    def __init__(self, place: Path, git: Git) -> None:
        self.place, self.git = place / "packs", git
        self.mirrors = Mirrors(place / "mirrors", git)

    def pack(self, source: PackSource) -> Pack:
        failed = fetch_packs([source], self.place, self.mirrors, self.git)
        (pack,) = load_packs([source], self.place, failed)
        return pack


@pytest.fixture
def home(tmp_path: Path, git: Git) -> Home:
    return Home(tmp_path / "home", git)


def at(server: GitServer, commit: str, folder: str = "") -> PackSource:
    return PackSource(name="team", location=f"{server.url}/packs/.git", commit=commit, folder=folder)


def text(*ids: str) -> bytes:
    return file_of(*(rule(i) for i in ids)).encode()


def test_a_pack_comes_by_address_and_commit(origin: Repository, server: GitServer, home: Home) -> None:
    first = origin.commit({"r.yaml": text("a"), "deep/er/s.yml": text("b"), "README.md": b"rules: ["})
    second = origin.commit({"r.yaml": text("c")})
    assert list(home.pack(at(server, first)).rules) == ["team.a", "team.b"]
    assert list(home.pack(at(server, second)).rules) == ["team.b", "team.c"]
    assert list(home.pack(at(server, first, "deep/er")).rules) == ["team.b"]
    assert home.pack(at(server, first)).faults == ()


def test_a_pack_is_shown_the_token_of_no_source(origin: Repository, server: GitServer, home: Home, git: Git) -> None:
    commit = origin.commit({"r.yaml": text("a")})
    source = Source(name="packs", location=server.url, token=parse_ref("env:TOKEN"))
    access = Remotes([source], {}, MemorySecrets(TOKEN="canary")).access
    home.mirrors = Mirrors(home.place.parent / "mirrors", git, access=access)
    assert home.pack(at(server, commit)).rules
    assert set(server.shown) == {None}


def test_a_commit_that_is_here_is_never_asked_for_again(origin: Repository, server: GitServer, home: Home) -> None:
    commit = origin.commit({"r.yaml": text("a")})
    home.pack(at(server, commit))
    asked = len(server.asked)
    server.answer = 500
    pack = home.pack(at(server, commit))
    assert (pack.stale, pack.faults, list(pack.rules)) == ("", (), ["team.a"])
    assert len(server.asked) == asked


def test_a_commit_that_cannot_be_had_leaves_the_last_good_copy(
    origin: Repository, server: GitServer, home: Home
) -> None:
    home.pack(at(server, origin.commit({"r.yaml": text("a")})))
    newer = origin.commit({"r.yaml": text("b")})
    server.answer = 500
    pack = home.pack(at(server, newer))
    assert list(pack.rules) == ["team.a"]
    assert "the last good copy is in force (fetch_stale" in pack.stale
    server.answer = None
    mended = home.pack(at(server, newer))
    assert (mended.stale, list(mended.rules)) == ("", ["team.b"])


def test_what_was_never_had_is_missing(origin: Repository, server: GitServer, home: Home) -> None:
    commit = origin.commit({"r.yaml": text("a")})
    server.answer = 500
    pack = home.pack(at(server, commit))
    assert pack.missing and not pack.rules
    server.answer = None
    assert "no branch or tag" in str(home.pack(at(server, "1" * 40)).faults[0])
    assert "no folder nowhere" in home.pack(at(server, commit, "nowhere")).faults[0].why
    assert list(home.pack(at(server, commit)).rules) == ["team.a"]


def test_an_address_that_never_answers_takes_only_its_time(
    origin: Repository, server: GitServer, tmp_path: Path
) -> None:
    commit = origin.commit({"r.yaml": text("a")})
    server.mute = {"refs"}
    git = Git(ProcessRunner(detect()), timeout_s=1, config_dir=tmp_path / "git")
    assert "fetch_timeout" in home_of(tmp_path, git).pack(at(server, commit)).faults[0].why


def home_of(tmp_path: Path, git: Git) -> Home:
    return Home(tmp_path / "home", git)


def test_a_folder_that_is_gone_leaves_the_last_good_copy(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "r.yaml").write_bytes(text("a"))
    source = PackSource(name="team", location=str(folder))
    assert list(home.pack(source).rules) == ["team.a"]
    shutil.rmtree(folder)
    pack = home.pack(source)
    assert (list(pack.rules), pack.stale) == (["team.a"], "the last good copy is in force (no such folder)")


def test_the_copy_of_a_pack_with_faults_keeps_them(tmp_path: Path, home: Home) -> None:
    """Else what did not run when the pack went would count as taken out."""
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.yaml").write_text(file_of(rule("a"), rule("x", languages=["go"], message=3), {"id": "y"}))
    (folder / "b.yaml").write_text("rules: [")
    source = PackSource(name="team", location=str(folder))
    before = home.pack(source)
    shutil.rmtree(folder)
    assert home.pack(source) == replace(before, stale="the last good copy is in force (no such folder)")
    assert [(f.rule, f.reads) for f in before.faults] == [("x", (b".go",)), ("y", ()), (None, ())]


def test_a_pack_of_which_nothing_runs_leaves_the_copy_before(tmp_path: Path, home: Home) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.yaml").write_bytes(text("a"))
    source = PackSource(name="team", location=str(folder))
    before = home.pack(source)
    (folder / "a.yaml").write_text("rules: [")
    assert home.pack(source).rules == {}
    shutil.rmtree(folder)
    assert home.pack(source).rules == before.rules


@pytest.mark.parametrize(
    "kept", ["", "[]", "{}", '{"rules": {}, "faults": [1]}', '{"rules": {}, "faults": [{"x": 1}]}']
)
def test_a_copy_that_is_damaged_is_none(tmp_path: Path, home: Home, kept: str) -> None:
    (home.place / "team").mkdir(parents=True)
    (home.place / "team" / "last-good.json").write_text(kept)
    assert home.pack(PackSource(name="team", location=str(tmp_path / "gone"))).missing


@pytest.mark.parametrize("where", ["refs", "fetch"])
def test_a_fetch_that_is_cancelled_is_no_fault_of_the_pack(
    origin: Repository, server: GitServer, tmp_path: Path, where: str
) -> None:
    commit = origin.commit({"r.yaml": text("a")})
    server.mute = {where}
    runner = ProcessRunner(detect())
    home = home_of(tmp_path, Git(runner, timeout_s=600, config_dir=tmp_path / "git"))
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(home.pack, at(server, commit))
        assert wait_until(lambda: where in server.asked)
        runner.cancel()
        with pytest.raises(ScanGapError) as e:
            asking.result(timeout=60)
    assert e.value.reason_code == "cancelled"
    assert not home.place.exists()
    server.mute = set()
    again = home_of(tmp_path, Git(ProcessRunner(detect()), timeout_s=60, config_dir=tmp_path / "git"))
    assert list(again.pack(at(server, commit)).rules) == ["team.a"]


def test_a_hostile_pack_is_harmless(origin: Repository, server: GitServer, home: Home, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_bytes(text("outside"))
    (origin.path / "link.yaml").symlink_to(outside)
    (origin.path / "folder").symlink_to(tmp_path)
    attributes = b"*.yaml filter=evil\n"
    commit = origin.commit({"r.yaml": text("a"), ".gitattributes": attributes})
    pack = home.pack(at(server, commit))
    assert list(pack.rules) == ["team.a"]
    assert {str(f) for f in pack.faults} == {"link.yaml: a link is not followed", "folder: a link is not followed"}
    assert not [p for p in home.place.rglob("*") if p.is_symlink()]


@pytest.mark.parametrize("folder", ["../x", "a/../../b", "/etc", ".."])
def test_a_folder_lies_inside_the_repository(folder: str) -> None:
    with pytest.raises(ValueError, match="leads out of the repository"):
        PackSettings(name="team", url="https://git.example.org/r.git", commit="1" * 40, folder=folder)


# -- rows -----------------------------------------------------------------------------------------------------------


def rows(house: House) -> list[tuple[str, str, str | None]]:
    run = house.lake().snapshot().run
    assert run is not None
    found = house.rows("scans", run_id=[run["run_id"]])
    return [(r["tool"], r["outcome"], r["reason_code"]) for r in found if r["slug"] == "rule pack team"]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        pytest.param("rule_broken", "failed", marks=thorough),
        pytest.param("pack_missing", "failed", marks=thorough),
        ("pack_stale", "stale"),
    ],
)
def test_a_pack_with_faults_is_a_row_until_it_is_mended(tmp_path: Path, reason: str, outcome: str) -> None:
    from tasks.scanners.semgrep import Semgrep

    house = House(tmp_path, scanners=(Semgrep(),))  # type: ignore[arg-type]
    house.commit("a", t="words")
    house.packs = {"team": (reason, "x: why")}
    for _ in range(2):
        summary = house.run(only=("a",))
        assert summary is not None and summary.gap_rows == 1
        assert rows(house) == [("semgrep", outcome, reason)]
    house.packs = None
    house.run(tools=("bandit",))
    assert rows(house) == [("semgrep", "skipped", "switched_off")], "nobody looked"
    house.packs = {}
    mended = house.run()
    assert mended is not None and mended.gap_rows == 0
    assert rows(house) == [("semgrep", "nothing_to_read", "gap_gone")]
    house.run()
    assert rows(house) == []
