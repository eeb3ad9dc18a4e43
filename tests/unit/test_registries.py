"""Registries against a server on loopback: what is read of each, what is refused, what is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import FeedError
from tasks.core.upgrade_reasons import REGISTRY_REASONS, STEP_REASONS
from tasks.deps.advisories.fetching import Timing, refuse_redirect
from tasks.deps.registries import REGISTRIES, port
from tasks.deps.registries.asking import Answer as Told
from tasks.deps.registries.asking import Registries, _is_plain
from tasks.deps.registries.port import Unlisted, UnlistedError
from tasks.deps.upgrades import Reason
from tests.osv_server import Answer, OsvServer, serving
from tests.registry_samples import SAMPLES

NOW = datetime(2026, 4, 1, tzinfo=UTC)
TIMING = Timing(sleep=lambda _s: None, read_s=5)


@pytest.fixture(scope="module")
def running() -> Iterator[OsvServer]:
    with serving() as server:
        yield server


@pytest.fixture
def server(running: OsvServer) -> OsvServer:
    running.files, running.faults, running.asked, running.validators = {}, {}, [], True
    for ecosystem, sample in SAMPLES.items():
        for path, body in sample.files.items():
            running.files[f"{ecosystem}/{path}"] = body.replace("{url}", f"{running.url}/{ecosystem}").encode()
    return running


def registries(folder: Path, server: OsvServer, *, at: datetime = NOW, **more: Any) -> Registries:
    addresses = more.pop("addresses", {e: f"{server.url}/{e}/" for e in SAMPLES})
    return Registries(folder / "registries", addresses, timing=TIMING, now=lambda: at, **more)


def ask(folder: Path, server: OsvServer, ecosystem: str, package: str = "", **more: Any) -> Told:
    """The answer for one package, the sample's when none is named; ``asked`` of the server is of this alone."""
    server.asked.clear()
    one = (ecosystem, package or SAMPLES[ecosystem].package)
    return registries(folder, server, **more).published([one])[one]


def read(told: Told) -> dict[str, tuple[str, bool, str | None]]:
    return {v.version: (f"{v.at:%Y-%m-%d}" if v.at else "", v.is_withdrawn, v.word) for v in told.versions}


def test_each_registry_has_a_sample_and_each_reason_a_meaning() -> None:
    assert SAMPLES.keys() == REGISTRIES.keys()
    assert {code for code, *_ in REGISTRY_REASONS} == set(Unlisted)
    assert {code for code, *_ in STEP_REASONS} == set(Reason)
    told = (*REGISTRY_REASONS, *STEP_REASONS)
    assert all(meaning.endswith(".") and remedy.endswith(".") for _, meaning, remedy in told)


@pytest.mark.parametrize("ecosystem", SAMPLES)
def test_what_is_read_kept_and_asked_for_again(tmp_path: Path, server: OsvServer, ecosystem: str) -> None:
    sample = SAMPLES[ecosystem]
    first = ask(tmp_path, server, ecosystem)
    assert (read(first), first.reason) == (sample.expected, None)
    assert (first.word, first.unread, first.asked_at) == (sample.word, sample.unread, NOW)
    assert server.asked[0] == f"{ecosystem}/{sample.first}"
    # Young enough: nobody is asked.
    assert ask(tmp_path, server, ecosystem, at=NOW + timedelta(hours=23)) == first and not server.asked
    # Older: asked whether it is what it was, and it is.
    later = NOW + timedelta(hours=25)
    again = ask(tmp_path, server, ecosystem, at=later)
    assert server.asked == [f"{ecosystem}/{sample.first}"]
    assert (again.versions, again.asked_at) == (first.versions, later)
    # Offline: nobody is asked, however old it is.
    old = ask(tmp_path, server, ecosystem, at=later + timedelta(days=9), offline=True)
    assert (old.versions, old.reason, old.asked_at, server.asked) == (first.versions, Unlisted.OFFLINE, later, [])


def test_a_server_without_validators_is_read_again_and_a_change_is_seen(tmp_path: Path, server: OsvServer) -> None:
    server.validators = False
    ask(tmp_path, server, "crates.io")
    server.files["crates.io/le/ft/left-pad"] += b'{"name": "left-pad", "vers": "3.0.0", "yanked": false}\n'
    assert "3.0.0" in read(ask(tmp_path, server, "crates.io", at=NOW + timedelta(days=2)))


FAULTS = {
    "404": (Answer(status=404), Unlisted.NOT_FOUND),
    "410": (Answer(status=410), Unlisted.NOT_FOUND),
    "401": (Answer(status=401), Unlisted.DENIED),
    "500": (Answer(status=500), Unlisted.UNREACHABLE),
    "cut": (Answer(body=b"x" * 9999, cut_at=5000), Unlisted.UNREACHABLE),
    "a loop": (Answer(status=302, headers={"Location": "/loop"}), Unlisted.UNREACHABLE),
    "another host": (Answer(status=302, headers={"Location": "http://localhost:1/"}), Unlisted.UNREACHABLE),
    "a page": (Answer(body=b"<!doctype html><title>Sign in</title>"), Unlisted.INVALID),
    "half": (Answer(body=b'{"name": "left-pad", "versions": {"1.0.0": {}, "1.'), Unlisted.INVALID),
    "deep": (Answer(body=b'[{"a":' * 5_000), Unlisted.INVALID),
    "a number": (Answer(body=b"7"), Unlisted.INVALID),
    "no text": (Answer(body=b"\xff\xfe\x00\x01\x80"), Unlisted.INVALID),
    "other JSON": (
        Answer(body=b'{"items": {}, "packages": [], "name": 3, "files": 1, "versions": 5}'),
        Unlisted.INVALID,
    ),
}


@pytest.mark.parametrize("ecosystem", SAMPLES)
@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_answer_is_a_reason_and_the_last_good_one_stays(
    tmp_path: Path, server: OsvServer, ecosystem: str, fault: str
) -> None:
    answer, reason = FAULTS[fault]
    path = f"{ecosystem}/{SAMPLES[ecosystem].first}"
    faults = {path: answer, "loop": Answer(status=302, headers={"Location": "/loop"})}
    server.faults |= faults
    told = ask(tmp_path, server, ecosystem)
    assert (told.versions, told.reason) == ((), reason)
    assert "left" not in told.detail.lower() and "{" not in told.detail
    assert ("redirects to another host" in told.detail) == (fault == "another host")
    server.faults.clear()
    # An answer that is none is not kept; that the package is not there is.
    there = ask(tmp_path, server, ecosystem)
    assert there.reason is (reason if reason is Unlisted.NOT_FOUND else None)
    later = NOW + timedelta(days=3)
    good = ask(tmp_path, server, ecosystem, at=later)
    assert good.reason is None
    server.faults |= faults
    told = ask(tmp_path, server, ecosystem, at=later + timedelta(days=3))
    if reason is Unlisted.NOT_FOUND:
        assert (told.versions, told.reason) == ((), reason)
    else:
        assert (told.versions, told.reason, told.asked_at) == (good.versions, reason, later)


@pytest.mark.parametrize("ecosystem", [e for e, s in SAMPLES.items() if s.another])
def test_an_answer_about_another_package_is_none(tmp_path: Path, server: OsvServer, ecosystem: str) -> None:
    server.files[f"{ecosystem}/{SAMPLES[ecosystem].first}"] = SAMPLES[ecosystem].another.encode()
    told = ask(tmp_path, server, ecosystem)
    assert (told.versions, told.reason) == ((), Unlisted.INVALID)


def changed(value: Any) -> Iterator[Any]:
    """The same JSON with something else at each of its places, one at a time."""
    yield from (None, True, 7, 1e300, "x", [], {}, [[]], [{}], {"x": []})
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ({**value, key: other} for other in changed(inner))
    if isinstance(value, list):
        for n, inner in enumerate(value):
            yield from ([*value[:n], other, *value[n + 1 :]] for other in changed(inner))


@pytest.mark.parametrize("ecosystem", [e for e, s in SAMPLES.items() if s.files[s.first][0] in "{["])
def test_no_odd_value_anywhere_is_more_than_a_reason(ecosystem: str) -> None:
    sample = SAMPLES[ecosystem]

    class Fake:
        address = "{url}"

        def __call__(self, path: str, *, accept: str | None = None, max_bytes: int = 0) -> bytes:
            return body if path == sample.first else sample.files[path].encode()

    reasons = set()
    lines = sample.files[sample.first].splitlines() if ecosystem == "crates.io" else [sample.files[sample.first]]
    for told in changed(json.loads(lines[0])):
        body = "\n".join([json.dumps(told), *lines[1:]]).encode()
        try:
            listed = REGISTRIES[ecosystem].read(sample.package, Fake())
        except UnlistedError as e:
            reasons.add(e.reason)
        else:
            assert listed.versions and all(isinstance(v.version, str) for v in listed.versions)
    assert reasons <= {Unlisted.INVALID, Unlisted.NO_VERSIONS}


EMPTY = {
    "PyPI": '{"name": "left-pad", "files": [], "versions": []}',
    "npm": '{"name": "@left/pad", "time": {"unpublished": {}}}',
    "crates.io": "", "Maven": "<metadata/>", "NuGet": '{"items": []}', "RubyGems": "[]",
    "Packagist": '{"packages": {"left/pad": []}}',
}  # fmt: skip


@pytest.mark.parametrize("ecosystem", EMPTY)
def test_no_version_is_a_reason(tmp_path: Path, server: OsvServer, ecosystem: str) -> None:
    server.files[f"{ecosystem}/{SAMPLES[ecosystem].first}"] = EMPTY[ecosystem].encode()
    assert ask(tmp_path, server, ecosystem).reason is Unlisted.NO_VERSIONS
    assert ask(tmp_path, server, ecosystem).reason is Unlisted.NO_VERSIONS and not server.asked


def test_a_module_without_tags_has_its_newest_commit(tmp_path: Path, server: OsvServer) -> None:
    server.files["Go/example.com/!left/pad/@v/list"] = b""
    latest = {"Version": "v0.0.0-20260101000000-abcdefabcdef", "Time": "2026-01-01T00:00:00Z"}
    server.files["Go/example.com/!left/pad/@latest"] = json.dumps(latest).encode()
    assert read(ask(tmp_path, server, "Go")) == {latest["Version"]: ("2026-01-01", False, None)}


def test_without_its_go_mod_a_module_has_its_versions_and_something_unread(tmp_path: Path, server: OsvServer) -> None:
    del server.files["Go/example.com/!left/pad/@v/v1.2.0.mod"]
    told = ask(tmp_path, server, "Go")
    assert len(told.versions) == 5 and told.unread == 3 and not any(v.is_withdrawn for v in told.versions)


def test_times_are_asked_for_where_the_list_has_none(tmp_path: Path, server: OsvServer) -> None:
    go = ("Go", SAMPLES["Go"].package)
    wanted = {go: ["v1.0.0", "1.2.0", "v1.0.9", "../x"], ("npm", "@left/pad"): ["1.0.0"]}
    found = registries(tmp_path, server).dated({go: ["v1.0.0", "1.2.0", "../x"]} | {("npm", "a"): ["1"]})
    assert {v: t.day for v, t in found[go].items()} == {"v1.0.0": 1, "1.2.0": 9} and len(found) == 1
    assert registries(tmp_path, server).dated(wanted) == {}, "one that is not there"
    assert registries(tmp_path, server, offline=True).dated(wanted) == {}


def test_200_mb_are_not_taken(tmp_path: Path, server: OsvServer) -> None:
    server.faults["Maven/org/left/pad/maven-metadata.xml"] = Answer(body=b" " * (200 << 20))
    told = ask(tmp_path, server, "Maven")
    assert (told.versions, told.reason) == ((), Unlisted.TOO_LARGE)
    assert not [p for p in (tmp_path / "registries").rglob("*") if p.is_file()], "nothing is left behind"


def test_a_large_package_of_npm_is_read_in_short(
    tmp_path: Path, server: OsvServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = server.files["npm/@left/pad"]
    asked: list[str | None] = []

    def fetch(self: Any, name: str, into: Path, known: Any, max_bytes: int, *, accept: str | None = None) -> Any:
        asked.append(accept)
        if len(asked) == 1:
            raise FeedError("feed_invalid", "too large")
        into.write_bytes(body)
        return real(into, body)

    from tasks.deps.advisories import fetching

    def real(into: Path, content: bytes) -> Any:
        known = fetching.Validator(sha256="0", size_bytes=len(content))
        return fetching.Fetched(path=into, validator=known)

    monkeypatch.setattr(fetching.WebPlace, "fetch", fetch)
    assert len(ask(tmp_path, server, "npm").versions) == 4
    assert asked == ["application/json", "application/vnd.npm.install-v1+json"]


def test_too_many_versions_are_too_large(tmp_path: Path, server: OsvServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "MAX_VERSIONS", 3)
    assert ask(tmp_path, server, "npm").reason is Unlisted.TOO_LARGE


def test_pages_that_lie_elsewhere_are_not_asked_for(tmp_path: Path, server: OsvServer) -> None:
    for address in ("http://169.254.169.254/x", "{url}/../secret", "{url}/left.pad/../../x", "{url}evil/1", 7):
        told = {"items": [{"@id": address}]}
        body = json.dumps(told).replace("{url}", f"{server.url}/NuGet")
        server.files["NuGet/left.pad/index.json"] = body.encode()
        assert ask(tmp_path, server, "NuGet").reason in (Unlisted.INVALID, Unlisted.BAD_NAME)
        assert server.asked == ["NuGet/left.pad/index.json"]


BAD_NAMES = [
    "", ".", "..", "../x", "a/../b", "a/..", "/etc/passwd", "a//b", "a b", "a\nb", "a%2e%2e", "a?x=1", "a#b", "a\\b",
    "é", "@/x", "@a/..", "a:..", "..:a", "a:b/../c", "x" * 300, "http://evil/", "a/b/../../c", "\x00", "@a/b/c/../d",
    "example.com/..", "example.com/.git", "a;b", "a:b:c",
]  # fmt: skip


@pytest.mark.parametrize("ecosystem", SAMPLES)
def test_a_name_never_leads_out_of_the_address_or_the_cache(tmp_path: Path, server: OsvServer, ecosystem: str) -> None:
    server.asked.clear()
    told = registries(tmp_path, server).published([(ecosystem, n) for n in BAD_NAMES])
    assert [n for (_, n), t in told.items() if t.reason is not Unlisted.BAD_NAME] == []
    assert server.asked == []
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_path_that_leads_out_is_not_asked_for_whatever_an_adapter_thinks() -> None:
    assert not [p for p in ("../a", "a/./b", "a//b", "/a", "a?b", "a%2fb", "a b", "a\n", "é") if _is_plain(p)]
    assert [p for p in ("a/", "a/@v/list", "@a/b", "a!b") if not _is_plain(p)] == []


def test_three_in_a_row_without_an_answer_end_the_asking(tmp_path: Path, server: OsvServer) -> None:
    names = [f"p{n}" for n in range(40)]
    server.faults |= {f"RubyGems/api/v1/versions/{n}.json": Answer(status=503) for n in names}
    told = registries(tmp_path, server).published([("RubyGems", n) for n in names] + [("npm", "@left/pad")])
    assert {t.reason for (e, _), t in told.items() if e == "RubyGems"} == {Unlisted.UNREACHABLE}
    assert len({p for p in server.asked if p.startswith("RubyGems")}) < 25
    assert told["npm", "@left/pad"].reason is None, "another registry is not held up"


def test_packages_that_are_not_there_end_nothing(tmp_path: Path, server: OsvServer) -> None:
    told = registries(tmp_path, server).published(
        [("RubyGems", f"p{n}") for n in range(20)] + [("RubyGems", "left-pad")]
    )
    assert [t.reason for t in told.values()] == [Unlisted.NOT_FOUND] * 20 + [None]


def test_who_is_not_asked(tmp_path: Path, server: OsvServer) -> None:
    assert ask(tmp_path, server, "npm", addresses={}).reason is Unlisted.NOT_CONFIGURED
    assert ask(tmp_path, server, "Debian:12", "curl").reason is Unlisted.NO_REGISTRY
    assert ask(tmp_path, server, "npm", offline=True).reason is Unlisted.OFFLINE
    assert ask(tmp_path, server, "Go", "stdlib").reason is Unlisted.BAD_NAME
    assert server.asked == []


def test_a_damaged_or_foreign_file_of_the_cache_is_asked_for_again(tmp_path: Path, server: OsvServer) -> None:
    good = ask(tmp_path, server, "npm")
    (path,) = (p for p in (tmp_path / "registries").rglob("*.json"))
    whole = path.read_bytes()
    for damage in (
        whole[:100],
        b"",
        b"[]",
        whole.replace(b"@left/pad", b"@left/bad"),
        whole.replace(b'"1.0.1"', b"[[1]]"),
    ):
        path.write_bytes(damage)
        assert ask(tmp_path, server, "npm") == good
        assert server.asked, damage[:60]
    # Of a clock that is ahead.
    assert ask(tmp_path, server, "npm", at=NOW - timedelta(days=3)).reason is None and server.asked
    # Of another address: what one registry says is not what the other one would.
    assert ask(tmp_path, server, "npm", addresses={"npm": f"{server.url}/other"}).reason is Unlisted.NOT_FOUND


def test_what_nobody_asks_for_is_forgotten(tmp_path: Path, server: OsvServer) -> None:
    import os

    ask(tmp_path, server, "npm")
    (path,) = (p for p in (tmp_path / "registries").rglob("*.json"))
    os.utime(path, (0, 0))
    (path.parent / ".half").write_bytes(b"x")
    os.utime(path.parent / ".half", (0, 0))
    ask(tmp_path, server, "crates.io")
    assert not path.exists() and not (path.parent / ".half").exists()


def test_a_cache_that_cannot_be_written_costs_no_answer(
    tmp_path: Path, server: OsvServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tasks.deps.registries.keeping.Keeping.write", full)
    told = ask(tmp_path, server, "npm")
    assert (len(told.versions), told.reason) == (4, None) and "could not be kept" in told.detail


@pytest.mark.parametrize(
    ("before", "after", "refused"),
    [
        ("https://a.example/x", "https://a.example/y", False),
        ("https://a.example/x", "https://A.example/y", False),
        ("https://a.example/x", "https://b.example/y", True),
        ("https://a.example/x", "https://a.example:8443/y", True),
        ("https://a.example/x", "https://a.example@b.example/y", True),
        ("http://a.example/x", "https://a.example/y", False),
    ],
)
def test_a_redirect_stays_on_its_host(before: str, after: str, refused: bool) -> None:
    try:
        refuse_redirect(before, after, stays=True)
    except FeedError:
        assert refused
    else:
        assert not refused
    refuse_redirect(before, after)


def test_what_a_registry_says_is_one_printable_line() -> None:
    assert port.said("a\x1b[31m\u202eb\n") == "a�[31m�b"
    assert port.said(True) == "deprecated" and port.said("") is None and port.said(False) is None
