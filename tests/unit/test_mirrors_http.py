"""Mirrors over real HTTP, served by git itself on a loopback port."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.process import ProcessRunner
from tasks.core.types import Repo
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tests.builders import Repository
from tests.builders import git as real_git
from tests.git_http import GitServer, serving, serving_files


@pytest.fixture
def remote(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "served" / "team" / "app")
    repository.commit({"a.txt": b"one"})
    return repository


@pytest.fixture
def server(remote: Repository, tmp_path: Path) -> Iterator[GitServer]:
    with serving(tmp_path / "served") as running:
        yield running


def at(url: str) -> Repo:
    return Repo(repo_id="127.0.0.1/team/app", slug="team/app", url=url, source="test")


@pytest.fixture
def repo(server: GitServer) -> Repo:
    return at(f"{server.url}/team/app/.git")


def refused(mirrors: Mirrors, repo: Repo) -> ScanGapError:
    with pytest.raises(ScanGapError) as error:
        mirrors.refresh(repo)
    return error.value


def test_a_remote_is_mirrored_and_asked_once_while_nothing_moves(
    mirrors: Mirrors, remote: Repository, server: GitServer, repo: Repo
) -> None:
    first = mirrors.refresh(repo)
    assert first.fetched
    assert "fetch" in server.asked
    assert real_git(first.path, "show", "main:a.txt") == "one"
    server.asked.clear()
    assert not mirrors.refresh(repo).fetched
    assert server.asked and "fetch" not in server.asked
    commit = remote.commit({"a.txt": b"two"})
    second = mirrors.refresh(repo)
    assert (second.fetched, second.refs) == (True, {"refs/heads/main": commit})


def test_plain_files_over_http_are_mirrored_too(mirrors: Mirrors, remote: Repository, tmp_path: Path) -> None:
    remote.git("update-server-info")
    with serving_files(tmp_path / "served") as url:
        mirror = mirrors.refresh(at(f"{url}/team/app/.git"))
    assert real_git(mirror.path, "show", "main:a.txt") == "one"


def test_an_object_missing_behind_http_is_incomplete(mirrors: Mirrors, remote: Repository, repo: Repo) -> None:
    remote.loose(remote.git("rev-parse", "HEAD:a.txt")).unlink()
    assert refused(mirrors, repo).reason_code in ("incomplete", "corrupt")


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_a_server_that_refuses_makes_it_stale_and_nobody_is_asked(
    mirrors: Mirrors, server: GitServer, repo: Repo, status: int
) -> None:
    server.answer = status
    assert refused(mirrors, repo).reason_code == "fetch", "nothing is known yet"
    server.answer = None
    mirrors.refresh(repo)
    server.answer = status
    assert refused(mirrors, repo).reason_code == "fetch_stale"
    server.answer = None
    assert not mirrors.refresh(repo).fetched


def test_a_server_that_is_gone_makes_it_stale(mirrors: Mirrors, remote: Repository, tmp_path: Path) -> None:
    with serving(tmp_path / "served") as server:
        repo = at(f"{server.url}/team/app/.git")
        mirrors.refresh(repo)
    assert refused(mirrors, repo).reason_code == "fetch_stale"


def test_credentials_of_an_address_are_in_no_message(mirrors: Mirrors, server: GitServer) -> None:
    server.answer = 403
    repo = at(server.url.replace("http://", "http://user:CANARY@") + "/team/app/.git")
    error = refused(mirrors, repo)
    assert server.asked, "the server was asked"
    assert "CANARY" not in str(error)
    assert "403" in error.detail


@pytest.mark.parametrize("wanted", ["refs", "fetch"])
def test_a_server_that_never_answers_costs_no_more_than_the_limit(
    runner: ProcessRunner, remote: Repository, server: GitServer, repo: Repo, tmp_path: Path, wanted: str
) -> None:
    hasty = Mirrors(tmp_path / "mirrors", Git(runner, timeout_s=2, config_dir=tmp_path / "git-config"))
    patient = Mirrors(tmp_path / "mirrors", Git(runner, timeout_s=60, config_dir=tmp_path / "git-config"))
    server.mute = {wanted}
    error = refused(hasty, repo)
    assert (error.reason_code, error.detail) == ("fetch_timeout", "git did not end in 2 s")
    assert server.asked[-1] == wanted
    server.mute = set()
    first = patient.refresh(repo)
    remote.commit({"a.txt": b"two"})
    server.mute = {wanted}
    error = refused(hasty, repo)
    assert (error.reason_code, error.detail) == ("fetch_stale", "git did not end in 2 s")
    assert real_git(first.path, "show", "main:a.txt") == "one", "what was mirrored stays"
    server.mute = set()
    assert patient.refresh(repo).fetched


def test_a_host_that_never_answers_is_not_waited_for_by_every_repository(
    runner: ProcessRunner, remote: Repository, server: GitServer, tmp_path: Path
) -> None:
    git = Git(runner, timeout_s=1.5, config_dir=tmp_path / "git-config")
    mirrors = Mirrors(tmp_path / "mirrors", git, per_host=6)
    server.mute = {"refs"}
    url = f"{server.url}/team/app/.git"

    def asked(n: int) -> str:
        repo = Repo(repo_id=f"r{n}", slug=f"r{n}", url=url.replace("//", "//user:CANARY@"), source="test")
        return refused(mirrors, repo).detail

    with ThreadPoolExecutor(12) as pool:
        details = Counter(pool.map(asked, range(60)))
    waited = details.pop("git did not end in 2 s")
    assert 6 <= waited <= 12, "six at once, and one at a time that tries it again"
    assert len(server.asked) == waited
    assert all("did not answer" in d and "CANARY" not in d for d in details)
    server.mute = set()
    assert mirrors.refresh(at(url)).fetched, "it answers again, and so does everybody"
    assert mirrors.refresh(replace(at(url), repo_id="another")).fetched
