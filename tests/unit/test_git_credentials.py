"""What git is shown, and to whom: real git against real HTTP servers on loopback."""

from __future__ import annotations

import threading
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ForgeError, ScanGapError, SecretError
from tasks.core.origins import GitCredential, RemoteAccess, Source
from tasks.core.process import ProcessRunner
from tasks.core.secret_refs import Secret, parse_ref
from tasks.core.types import Command, Completed, Repo
from tasks.repos.git import Git
from tasks.repos.hosts import Access, Hosts
from tasks.repos.mirrors import Mirrors
from tasks.repos.remotes import Remotes
from tests.builders import Repository
from tests.forges.clock import MemorySecrets
from tests.git_http import GitServer, serving

CANARY = "canary-1b0c7e53"
HEADER = "Basic " + b64encode(f"x-access-token:{CANARY}".encode()).decode()


@pytest.fixture
def remote(tmp_path: Path) -> Repository:
    repository = Repository(tmp_path / "served" / "team" / "app")
    repository.commit({"a.txt": b"one" * 5000})
    return repository


@pytest.fixture
def server(remote: Repository, tmp_path: Path) -> Iterator[GitServer]:
    with serving(tmp_path / "served") as running:
        running.wanted = HEADER
        yield running


@pytest.fixture
def repo(server: GitServer) -> Repo:
    return Repo(repo_id="forge:1", slug="team/app", url=f"{server.url}/team/app/.git", source="test")


def credential(server: GitServer) -> RemoteAccess:
    shown = GitCredential(base_url=server.url, username="x-access-token", password=Secret(CANARY))
    return RemoteAccess(credential=shown)


def mirrors_with(git: Git, tmp_path: Path, ask: Access, pauses: list[float] | None = None) -> Mirrors:
    noted = pauses if pauses is not None else []
    return Mirrors(tmp_path / "home" / "mirrors", git, access=ask, pause=noted.append)


def test_a_private_repository_is_mirrored_with_its_credential_and_refused_without(
    git: Git, server: GitServer, repo: Repo, tmp_path: Path
) -> None:
    with pytest.raises(ScanGapError) as error:
        mirrors_with(git, tmp_path, lambda _r: RemoteAccess()).refresh(repo)
    assert error.value.reason_code == "fetch"
    assert server.shown == [None], "nobody is asked for a password"
    server.shown.clear()
    assert mirrors_with(git, tmp_path, lambda _r: credential(server)).refresh(repo).fetched
    assert set(server.shown) == {HEADER}, "at once, not after a refusal"


def test_the_credential_is_in_no_argument_and_in_no_file(
    runner: ProcessRunner, server: GitServer, repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    spawn = runner.spawn

    def noted(cmd: Command) -> object:
        started.extend([*runner.sandbox.wrap(cmd), repr(cmd)])
        return spawn(cmd)

    monkeypatch.setattr(runner, "spawn", noted)
    git = Git(runner, timeout_s=60, config_dir=tmp_path / "home" / "git")
    mirrors_with(git, tmp_path, lambda _r: credential(server)).refresh(repo)
    encoded = HEADER.removeprefix("Basic ")
    assert any("fetch" in a for a in started)
    assert not [a for a in started if CANARY in a or encoded in a]
    files = [p for p in (tmp_path / "home").rglob("*") if p.is_file()]
    assert files
    assert not [p for p in files if CANARY.encode() in p.read_bytes() or encoded.encode() in p.read_bytes()]


def test_another_host_is_never_shown_the_credential(git: Git, server: GitServer, repo: Repo, tmp_path: Path) -> None:
    with serving(tmp_path / "served") as other:
        server.answer, server.elsewhere = 302, other.url
        with pytest.raises(ScanGapError) as error:
            mirrors_with(git, tmp_path, lambda _r: credential(server)).refresh(repo)
        assert error.value.reason_code == "fetch"
        assert (server.shown, other.shown) == ([HEADER], [])
        moved = Repo(repo_id="forge:2", slug="team/app", url=f"{other.url}/team/app/.git", source="test")
        assert mirrors_with(git, tmp_path, lambda _r: credential(server)).refresh(moved).fetched
        assert set(other.shown) == {None}


@pytest.mark.parametrize("kind", ["refs", "fetch"])
def test_a_connection_that_is_cut_off_is_tried_again(
    git: Git, server: GitServer, repo: Repo, tmp_path: Path, kind: str
) -> None:
    pauses: list[float] = []
    mirrors = mirrors_with(git, tmp_path, lambda _r: credential(server), pauses)
    server.cut = {kind: 1}
    assert mirrors.refresh(repo).fetched
    assert pauses == [1.0]


def test_a_connection_that_is_always_cut_off_is_a_gap_and_what_is_known_stays(
    git: Git, server: GitServer, remote: Repository, repo: Repo, tmp_path: Path
) -> None:
    pauses: list[float] = []
    mirrors = mirrors_with(git, tmp_path, lambda _r: credential(server), pauses)
    server.cut = {"fetch": 99}
    with pytest.raises(ScanGapError) as error:
        mirrors.refresh(repo)
    assert (error.value.reason_code, pauses) == ("fetch", [1.0, 4.0])
    server.cut = {}
    assert mirrors.refresh(repo).fetched
    remote.commit({"a.txt": b"two"})
    server.cut = {"fetch": 99}
    with pytest.raises(ScanGapError) as error:
        mirrors.refresh(repo)
    assert error.value.reason_code == "fetch_stale", "no fault of the repository, which is not made anew"


def test_a_host_that_is_down_is_not_waited_for_by_every_repository(git: Git, server: GitServer, tmp_path: Path) -> None:
    pauses: list[float] = []
    mirrors = mirrors_with(git, tmp_path, lambda _r: credential(server), pauses)
    server.answer = 503
    for n in range(6):
        repo = Repo(repo_id=f"forge:{n}", slug=f"team/{n}", url=f"{server.url}/team/{n}/.git", source="test")
        with pytest.raises(ScanGapError):
            mirrors.refresh(repo)
    assert len(server.shown) == 3 + 2 + 1 + 1 + 1 + 1
    assert pauses == [1.0, 4.0, 1.0]


def test_a_credential_is_taken_when_its_turn_has_come() -> None:
    """A token of an app that is taken before a long wait for a turn may have ended when git shows it."""
    asked: list[str] = []

    def call(_access: RemoteAccess) -> Completed:
        if len(asked) == 1:
            second.start()
            second.join(0.1)  # it would ask by then if it did not wait for its turn
            assert asked == ["a"]
        return Completed(exit_code=0, stdout=b"", stderr=b"", duration_s=0, peak_rss_bytes=0, sandbox="")

    def ask(repo: Repo) -> RemoteAccess:
        asked.append(repo.slug)
        return RemoteAccess()

    hosts = Hosts(access=ask, per_host=1, pause=lambda _: None)
    first, other = (Repo(repo_id=n, slug=n, url=f"https://git.test/{n}", source="test") for n in "ab")
    second = threading.Thread(target=hosts.call, args=(other, call), kwargs={"listing": True})
    hosts.call(first, call, listing=True)
    second.join()
    assert asked == ["a", "b"]


@pytest.mark.parametrize("error", [SecretError("env:TOKEN is not set"), ForgeError("forge_denied", "no app there")])
def test_a_credential_that_cannot_be_had_is_the_reason(
    git: Git, server: GitServer, repo: Repo, tmp_path: Path, error: ForgeError | SecretError
) -> None:
    def ask(_repo: Repo) -> RemoteAccess:
        raise error

    with pytest.raises(ScanGapError) as told:
        mirrors_with(git, tmp_path, ask).refresh(repo)
    assert (told.value.reason_code, told.value.detail) == ("fetch", error.message)
    assert server.shown == []


@pytest.mark.parametrize(
    ("url", "base_url"),
    [
        ("https://git.test:443/team/app", "https://git.test"),
        ("http://git.test:8080/team/app", "http://git.test:8080"),
        ("ssh://git.test/team/app", None),
        ("git@git.test:team/app", None),
    ],
)
def test_a_sources_token_is_for_the_origin_of_a_web_address(url: str, base_url: str | None) -> None:
    source = Source(name="test", location=url, token=parse_ref("env:TOKEN"), allow_http=True)
    secrets = MemorySecrets(TOKEN=CANARY)
    shown = Remotes([source], {}, secrets).access(Repo(repo_id="a", slug="a", url=url, source="test")).credential
    assert (shown.base_url if shown else None) == base_url
    assert secrets.asked == (base_url is not None), "what is not shown is not read"


@pytest.mark.parametrize(
    "listed", ["- https://new.test/a\n- ssh://git@new.test/b\n", "- [", "- https://new.test/a\n- https://old.test/b"]
)
def test_what_a_source_of_this_name_held_before_is_not_shown_its_token(tmp_path: Path, listed: str) -> None:
    manifest = tmp_path / "list.yaml"
    manifest.write_text(listed)
    token, secrets = parse_ref("env:TOKEN"), MemorySecrets(TOKEN=CANARY)
    sources = (
        Source(name="list", location=str(manifest), manifest=manifest, token=token),
        Source(name="one", location="https://new.test/a", token=token),
    )
    remotes = Remotes(sources, {}, secrets)
    for name in ("list", "one"):
        old = Repo(repo_id="old", slug="a", url="https://old.test/a", source=name)
        assert remotes.access(old).credential is None
    assert secrets.asked == 0
    shown = [remotes.access(Repo(repo_id="a", slug="a", url="https://new.test/a", source=s.name)) for s in sources]
    assert [s.credential is not None for s in shown] == [listed.endswith("/b\n"), True]


def test_a_token_with_a_line_break_is_told_as_one() -> None:
    source = Source(name="one", location="https://git.test/a", token=parse_ref("env:TOKEN"))
    remotes = Remotes([source], {}, MemorySecrets(TOKEN=CANARY + "\n"))
    with pytest.raises(SecretError, match="what env:TOKEN holds is no token") as error:
        remotes.access(Repo(repo_id="a", slug="a", url=source.location, source="one"))
    assert CANARY not in str(error.value)


def test_a_secret_shows_itself_to_nobody(server: GitServer) -> None:
    shown = credential(server).credential
    assert shown is not None
    assert CANARY not in f"{shown!r} {shown.password} {shown.password!r} {shown.password:>40}"
    with pytest.raises(TypeError):
        __import__("pickle").dumps(shown.password)
