"""The session that all forges share: addresses, limits, TLS, proxies; against a fake forge on loopback (an emulator).

And the fakes themselves: what other tests build on.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks.core.errors import ForgeError, ScanGapError
from tasks.core.origins import ForgeKind
from tasks.core.types import Repo
from tasks.repos.forges.pacing import limit_wait_s
from tasks.repos.mirrors import Mirrors
from tasks.repos.web_origins import host_of, origin_of, place_of
from tests.forges.cases import CANARY, Case, running
from tests.forges.gitea import FakeGitea
from tests.forges.github import FakeGithub
from tests.forges.server import Answer, limited

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with running(ForgeKind.GITEA, tmp_path) as made:
        made.fake.add("acme/a", private=True, git=False)
        yield made


# -- addresses and limits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "origin", "host"),
    [
        ("HTTPS://Git.Example:443/x", "https://git.example", "git.example"),
        ("http://git.example:80", "http://git.example", "git.example"),
        ("https://git.example:8443/", "https://git.example:8443", "git.example:8443"),
        ("http://git.example:443", "http://git.example:443", "git.example:443"),
        ("https://bob:pw@git.example/x", "https://git.example", "git.example"),
        ("https://[::1]:3000/x", "https://[::1]:3000", "[::1]:3000"),
        ("ssh://git.example/x", "", ""),
        ("//git.example", "", ""),
        ("https://git.example:port/", "", ""),
        ("https://[::1", "", ""),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str, host: str) -> None:
    assert (origin_of(url), host_of(url)) == (origin, host)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://Tools.example:443/gitlab/", "tools.example/gitlab"),
        ("http://tools.example:3000", "tools.example:3000"),
        ("https://tools.example//a/b", "tools.example/a/b"),
    ],
)
def test_forges_below_one_host_have_places_of_their_own(url: str, place: str) -> None:
    assert place_of(url) == place


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (200, {"Retry-After": "5"}, b"", None),
        (403, {}, b'{"message": "Resource not accessible"}', None),
        (403, {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "1090"}, b"{}", None),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1090"}, b"{}", 91.0),
        (403, {}, b'{"message": "You have exceeded a secondary rate limit"}', 60.0),
        (403, {"Retry-After": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999"}, b"{}", 5.0),
        (429, {"RateLimit-Reset": "1030"}, b"Retry later", 31.0),
        (429, {"RateLimit-Reset": "900"}, b"", 1.0),
        (429, {"Retry-After": "Thu, 01 Jan 1970 00:17:10 GMT"}, b"", 30.0),
        (429, {"Retry-After": "soon", "RateLimit-Reset": "-1"}, b"", 60.0),
        (429, {"Retry-After": "0"}, b"", 1.0),
    ],
)
def test_how_long_a_limit_asks_to_wait(
    status: int, headers: dict[str, str], body: bytes, expected: float | None
) -> None:
    answer = requests.Response()
    answer.status_code = status
    answer.headers.update(headers)
    answer._content = body
    assert limit_wait_s(answer, 1000.0, again=0) == expected


def test_a_reset_that_is_always_past_is_asked_for_ever_more_slowly(case: Case) -> None:
    """The clock of the forge may be an hour behind ours."""
    case.fake.faults.inject(limited(reset=case.clock.now() - 3600), times=99)
    with pytest.raises(ForgeError) as error:
        case.open(patience_s=100).listing()
    assert error.value.reason_code == "forge_limited"
    assert len(case.fake.seen) == 7


# -- TLS and proxies ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    place = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fake forge")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (place / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (place / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return place / "cert.pem", place / "key.pem"


@pytest.mark.parametrize("kind", list(ForgeKind), ids=str)
def test_an_authority_of_ones_own_is_trusted_where_it_is_named(
    kind: ForgeKind, tmp_path: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with running(kind, tmp_path, ssl_context=context) as case:
        case.fake.add("acme/a", private=True, git=False)
        with pytest.raises(ForgeError) as error:
            case.open().listing()
        assert error.value.reason_code == "forge_unreachable" and "ca_file" in error.value.advice
        assert case.fake.seen == []
        with pytest.raises(ForgeError) as error:
            case.open(ca_file=tmp_path / "none.pem").listing()
        assert "ca_file" in error.value.advice
        # What the environment trusts does not replace what the configuration names.
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "empty.pem"))
        (tmp_path / "empty.pem").write_text("")
        forge = case.open(ca_file=certificate[0])
        assert forge.listing().repos[0].clone_url.startswith("https://127.0.0.1:")


def test_a_proxy_of_the_environment_is_used(
    case: Case, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", case.fake.web_url)
    assert len(case.open(api_url="http://forge.invalid").listing().repos) == 1
    assert {s.host for s in case.fake.seen} == {"forge.invalid"}
    monkeypatch.setenv("http_proxy", f"http://bob:proxy-pw@{case.fake.host}")
    case.fake.stop()
    with pytest.raises(ForgeError) as error:
        case.open(api_url="http://forge.invalid").listing()
    assert error.value.reason_code == "forge_unreachable" and "proxy" in error.value.message
    assert "proxy-pw" not in str(error.value) + caplog.text


def test_what_goes_to_this_machine_goes_through_no_proxy(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    local = case.fake.web_url.replace("127.0.0.1", "localhost")
    for url in (case.fake.web_url, local):
        assert len(case.open(api_url=url).listing().repos) == 1


def test_an_answer_without_an_end_is_cut_off(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.repos.forges.pacing._MAX_ANSWER_BYTES", 2 * 1024**2)
    case.fake.faults.inject(Answer(body={"id": 5, "name": "acme", "pad": "x" * 3 * 1024**2}))
    with pytest.raises(ForgeError) as error:
        case.open().listing()
    assert error.value.reason_code == "forge_unreachable" and "more than 2 MiB" in error.value.message
    assert len(case.fake.seen) == 1


def test_an_answer_that_is_cut_off_is_asked_for_again(case: Case) -> None:
    case.fake.faults.inject(Answer(body=b'{"id": 5, ', cut=True))
    assert len(case.open().listing().repos) == 1
    assert case.clock.waited_s > 0


# -- the fakes ------------------------------------------------------------------------------------------------


def test_fake_repositories_share_their_files(tmp_path: Path) -> None:
    with FakeGithub(tmp_path) as fake:
        for n in range(300):
            fake.add(f"acme/service-{n}")
        assert len(list((fake.root / "acme").glob("*.git/HEAD"))) == 300
        assert (fake.root / "acme/service-0.git/HEAD").stat().st_nlink == 301


def test_fakes_record_what_was_shown_and_count_a_tokens_calls(tmp_path: Path) -> None:
    with FakeGitea(tmp_path) as fake:
        fake.add("acme/a", git=False)
        fake.token("t", calls=2)
        url = f"{fake.api_url}/api/v1/orgs/acme"
        got = [requests.get(url, headers={"Authorization": "token t"}, timeout=10).status_code for _ in range(3)]
        assert got == [200, 200, 401]
        assert requests.get(url, headers={"Authorization": f"token {CANARY}"}, timeout=10).status_code == 401
        assert fake.credentials == {"t", CANARY}


def test_mirrors_of_a_fake_want_its_credential_for_what_is_private(tmp_path: Path, mirrors: Mirrors) -> None:
    with FakeGithub(tmp_path) as fake:
        fake.add("acme/open", files={"a.txt": b"one\n"})
        fake.add("acme/closed", private=True)

        def repo(slug: str) -> Repo:
            return Repo(repo_id=f"{fake.host}/{slug}", slug=slug, url=fake.clone_url(slug), source="test")

        assert mirrors.refresh(repo("acme/open")).fetched
        with pytest.raises(ScanGapError) as error:
            mirrors.refresh(repo("acme/closed"))
        assert error.value.reason_code == "fetch"
