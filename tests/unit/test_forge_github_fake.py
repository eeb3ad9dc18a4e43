"""What only GitHub has, against the fake of its API (an emulator, no real forge): apps, totals, users, sign-on."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tasks.core.errors import ForgeError
from tasks.core.origins import AppAuth, ForgeKind, Listing
from tasks.core.secret_refs import parse_ref
from tasks.repos.forges.github import web_address
from tasks.repos.forges.github_access import REFUSED_S
from tests.forges.cases import CANARY, Case, running
from tests.forges.github import FakeGithub
from tests.forges.server import Answer, Call, limited

APP = AppAuth(app_id=4711, private_key=parse_ref("env:KEY"))


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with running(ForgeKind.GITHUB, tmp_path) as made:
        yield made


@pytest.fixture
def fake(case: Case) -> FakeGithub:
    assert isinstance(case.fake, FakeGithub)
    return case.fake


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    """A private and its public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


@pytest.fixture
def installed(case: Case, fake: FakeGithub, keys: tuple[str, str]) -> Case:
    """An app that acme has installed, and two repositories of it."""
    case.secrets.values["env:KEY"] = keys[0]
    fake.app(4711, keys[1], "acme")
    fake.add("acme/a", private=True, git=False)
    fake.add("acme/b", private=True, git=False)
    return case


def with_app(case: Case, app: AppAuth = APP, **options: object) -> Listing:
    return case.open(token=None, app=app, **options).listing()  # type: ignore[arg-type]


def refused(case: Case, **access: object) -> ForgeError:
    with pytest.raises(ForgeError) as error:
        case.open(**access).listing()  # type: ignore[arg-type]
    assert error.value.advice
    return error.value


# -- totals and rows ------------------------------------------------------------------------------------------


def test_of_300_repositories_the_token_sees_280_and_github_counts_300(case: Case, fake: FakeGithub) -> None:
    for n in range(280):
        fake.add(f"acme/service-{n:03}", private=n % 2 == 0, git=False)
    for n in range(20):
        fake.add(f"acme/hidden-{n:02}", private=True, visible=False, git=False)
    listing = case.open().listing()
    assert (len(listing.repos), listing.total) == (280, 300)
    assert listing.total_from == "public_repos + owned_private_repos"
    pages = [s.query for s in fake.seen if "per_page" in s.query]
    assert [p.get("page", "1") for p in pages] == ["1", "2", "3"]
    assert {p["per_page"] for p in pages} == {"100"}


def test_a_total_that_the_token_may_not_see_is_unknown(case: Case, fake: FakeGithub) -> None:
    fake.add("acme/a", git=False)
    fake.add("acme/hidden", visible=False, git=False)
    fake.counts_private = False
    listing = case.open().listing()
    assert (listing.total, listing.total_from) == (None, "")
    assert listing.notes == listing.doubts == ("the account counts 2 public repositories, 1 were listed",)


def test_a_row_says_all_that_github_does(case: Case, fake: FakeGithub) -> None:
    fake.add(
        "acme/old", git=False, archived=True, fork=True, disabled=True, visibility="internal",
        topics=["pci", "java"], size=2048,
    )  # fmt: skip
    fake.add("acme/plain", git=False, visibility=None, size=None, topics=None)
    old, plain = case.open().listing().repos
    assert (old.forge_id, old.archived, old.fork, old.disabled) == ("1001", True, True, True)
    assert (old.visibility, old.topics, old.size_mb) == ("internal", ("pci", "java"), 2.0)
    assert (plain.visibility, plain.topics, plain.size_mb) == ("public", (), None)
    assert not (plain.archived or plain.fork or plain.disabled or plain.empty)
    # One request for the account and one for the page: none for a repository that lacks a field.
    assert len(fake.seen) == 2


@pytest.mark.parametrize("scopes", ["read:org, public_repo", ""])
def test_a_classic_token_without_the_scope_repo_is_told_and_a_doubt_unless_the_total_is_there(
    case: Case, fake: FakeGithub, scopes: str
) -> None:
    fake.add("acme/a", git=False)
    fake.tokens[CANARY].scopes = scopes
    told = ("the token has no scope `repo`: it sees public repositories only",)
    listing = case.open().listing()
    assert (listing.total, listing.notes, listing.doubts) == (1, told, ())
    fake.counts_private = False
    listing = case.open().listing()
    assert (listing.total, listing.notes, listing.doubts) == (None, told, told)


def test_a_token_that_knows_no_scopes_is_doubted_only_if_it_may_be_of_a_selection(case: Case, fake: FakeGithub) -> None:
    fake.add("acme/a", git=False)
    for value, scopes in (("github_pat_x", None), ("ghu_x", ""), ("ghs_x", "")):
        fake.token(value, scopes=scopes)
        case.secrets.values["env:TOKEN"] = value
        fake.counts_private = False
        doubts = case.open().listing().doubts
        assert [d.partition(",")[0] for d in doubts] == ["the token is fine-grained"] * (value == "github_pat_x")
        fake.counts_private = True
        assert case.open().listing().doubts == (), "a total tells what is not seen"


def test_single_sign_on_is_named_where_it_stands_in_the_way(case: Case, fake: FakeGithub) -> None:
    fake.add("acme/a", git=False)
    for status, value in ((403, "required; url=https://sso.invalid/x"), (200, "partial-results; organizations=9")):
        fake.faults.inject(Answer(status=status, headers={"X-GitHub-SSO": value}, body={}))
        error = refused(case)
        assert error.reason_code == "forge_denied" and "single sign-on" in error.message
        assert "sso.invalid" not in str(error)


def test_a_refusal_names_the_permission_that_github_names(case: Case, fake: FakeGithub) -> None:
    fake.faults.inject(Answer(status=403, headers={"X-Accepted-GitHub-Permissions": "metadata=read"}, body={}))
    assert "metadata=read" in refused(case).message


def test_a_renamed_organisation_is_followed_and_told(case: Case, fake: FakeGithub) -> None:
    fake.add("apex/a", private=True, git=False)
    fake.renamed["acme"] = "apex"
    listing = case.open().listing()
    assert [r.slug for r in listing.repos] == ["apex/a"]
    assert listing.notes == ("acme is now apex; the configuration should say so",)


# -- users ----------------------------------------------------------------------------------------------------


def test_a_users_own_token_lists_what_is_private_too(case: Case, fake: FakeGithub) -> None:
    fake.users |= {"ada"}
    fake.add("ada/open", git=False)
    fake.add("ada/own", private=True, git=False)
    fake.tokens[CANARY].login = "ada"
    listing = case.open(owner="Ada", owner_kind="user").listing()
    assert [r.slug for r in listing.repos] == ["ada/open", "ada/own"]
    assert listing.total == 2
    assert "/api/v3/user/repos" in {s.path for s in fake.seen}


def test_of_another_user_public_repositories_are_listed_and_no_total(case: Case, fake: FakeGithub) -> None:
    fake.users |= {"ada", "patrol"}
    fake.add("ada/open", git=False)
    fake.add("ada/own", private=True, git=False)
    fake.add("patrol/x", git=False)
    listing = case.open(owner="ada", owner_kind="user").listing()
    assert [r.slug for r in listing.repos] == ["ada/open"]
    assert listing.total is None
    fake.tokens[CANARY].scopes = "read:org"
    assert case.open(owner="ada", owner_kind="user").listing().doubts == (), "no scope shows more of another user"


# -- apps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [None, 77])
@pytest.mark.parametrize("selection", ["all", "selected"])
def test_an_app_lists_its_installation_and_tells_a_selection(
    installed: Case, fake: FakeGithub, number: int | None, selection: str
) -> None:
    fake.installations[77]["selection"] = selection
    fake.add("acme/not-selected", private=True, visible=False, git=False)
    app = AppAuth(app_id=4711, private_key=APP.private_key, installation_id=number)
    listing = with_app(installed, app)
    assert [r.slug for r in listing.repos] == ["acme/a", "acme/b"]
    assert listing.selected is (selection == "selected")
    assert listing.total == 3


def test_without_numbers_of_the_account_an_installation_for_all_tells_the_total(
    installed: Case, fake: FakeGithub
) -> None:
    fake.counts_private = False
    listing = with_app(installed)
    assert (listing.total, listing.total_from) == (2, "total_count of the installation")
    fake.installations[77]["selection"] = "selected"
    listing = with_app(installed)
    assert (listing.total, listing.selected) == (None, True)


@pytest.mark.parametrize("rows", ["none", "the same"])
def test_pages_that_bring_nothing_new_and_link_to_each_other_end(
    installed: Case, fake: FakeGithub, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    monkeypatch.setattr("tasks.repos.forges.answers._MOST_USELESS", 20)
    body = [fake.row(fake.repos["acme/a"])] if rows == "the same" else []

    def again(call: Call) -> Answer:
        link = f'<{fake.web_url}{call.path}?page={len(fake.seen)}>; rel="next"'
        of_app = {"total_count": 0, "repositories": body}
        return Answer(body=of_app if "installation" in call.path else body, headers={"Link": link})

    fake.faults.inject(again, path="/repos", times=99)
    for access in ({}, {"token": None, "app": APP}):
        assert "its pages have no end" in refused(installed, **access).message


def test_an_apps_token_that_expires_meanwhile_is_renewed_and_the_pages_go_on(installed: Case, fake: FakeGithub) -> None:
    for n in range(210):
        fake.add(f"acme/service-{n:03}", private=True, git=False)

    def end(_: Call) -> None:
        for grant in fake.tokens.values():
            grant.calls = 0

    fake.faults.inject(end, path="/installation/repositories", after=1)
    listing = with_app(installed)
    assert len(listing.repos) == 212 and fake.minted == 2
    assert not [n for n in listing.notes if "twice" in n]
    assert [s.status for s in fake.seen if s.path.endswith("/installation/repositories")] == [200, 401, 200, 200]


def test_a_key_that_is_revoked_meanwhile_is_not_tried_again(
    installed: Case, fake: FakeGithub, keys: tuple[str, str]
) -> None:
    def revoke(_: Call) -> None:
        fake.tokens.clear()
        fake.app(1, keys[1], "acme")

    fake.faults.inject(revoke, path="/installation/repositories")
    assert refused(installed, token=None, app=APP).reason_code == "forge_denied"
    assert [s.status for s in fake.seen if s.path.endswith("access_tokens")] == [201, 401]


def test_an_apps_token_is_renewed_before_it_expires(installed: Case, fake: FakeGithub) -> None:
    forge = installed.open(token=None, app=APP)
    first, again = forge.credential(), forge.credential()
    assert first is not None and again is not None
    assert first.username == "x-access-token"
    assert first.password.reveal() == again.password.reveal() == "ghs_canary0001"
    installed.clock.time += 3600 - 301
    assert forge.credential().password.reveal() == "ghs_canary0001"  # type: ignore[union-attr]
    installed.clock.time += 2
    assert forge.credential().password.reveal() == "ghs_canary0002"  # type: ignore[union-attr]
    assert fake.minted == 2


def test_a_token_that_cannot_be_made_is_tried_again_after_a_while(installed: Case, fake: FakeGithub) -> None:
    forge = installed.open(token=None, app=APP)
    fake.faults.inject(Answer(status=502, body={}), times=4)
    for _ in range(3):
        with pytest.raises(ForgeError, match="status 502, 4 times"):
            forge.credential()
    assert len(fake.seen) == 4, "not each repository waits for GitHub"
    installed.clock.time += REFUSED_S
    assert forge.credential() is not None


def test_threads_share_one_token(installed: Case, fake: FakeGithub) -> None:
    forge = installed.open(token=None, app=APP)
    with ThreadPoolExecutor(8) as pool:
        shown = {c.password.reveal() for c in pool.map(lambda _: forge.credential(), range(24)) if c is not None}
    assert (shown, fake.minted) == ({"ghs_canary0001"}, 1)


def test_a_long_wait_for_a_limit_outlives_the_token(installed: Case, fake: FakeGithub) -> None:
    fake.faults.inject(limited(retry_after=4000), path="/installation/repositories")
    assert len(with_app(installed, patience_s=5000).repos) == 2
    assert fake.minted == 2


def test_what_is_wrong_with_an_app_is_said(installed: Case, fake: FakeGithub, keys: tuple[str, str]) -> None:
    other = AppAuth(app_id=4711, private_key=APP.private_key, installation_id=78)
    assert refused(installed, token=None, app=other).reason_code == "forge_denied"
    fake.installations[78] = {"owner": "other", "selection": "all", "suspended_at": None}
    assert "installation 78 is not one of acme" in refused(installed, token=None, app=other).message
    fake.installations[77]["suspended_at"] = "2026-01-01T00:00:00Z"
    assert "suspended" in refused(installed, token=None, app=APP).message
    del fake.installations[77]
    assert "not installed" in refused(installed, token=None, app=APP).message
    wrong = AppAuth(app_id=1, private_key=APP.private_key)
    before = len(fake.seen)
    assert "the app 1" in refused(installed, token=None, app=wrong).message
    assert len(fake.seen) == before + 1
    installed.secrets.values["env:KEY"] = "-----BEGIN " + keys[0][40:400]
    error = refused(installed, token=None, app=APP)
    assert "env:KEY" in error.message
    assert keys[0][100:120] not in "".join(traceback.format_exception(error))


def test_no_log_knows_an_apps_key_or_tokens(
    installed: Case, fake: FakeGithub, keys: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    # PyGithub sets a level of its own when it is imported.
    caplog.set_level(logging.DEBUG, logger="github")
    forge = installed.open(token=None, app=APP)
    forge.listing()
    credential = forge.credential()
    said = caplog.text + repr(forge) + repr(vars(forge)) + repr(credential)
    assert "ghs_canary" not in said and keys[0][100:120] not in said
    assert "ghs_canary0001" in fake.credentials


def test_repositories_of_another_owner_are_left_out(installed: Case, fake: FakeGithub) -> None:
    fake.add("acme/moved", git=False, owner={"login": "other", "id": 1})
    assert [r.slug for r in with_app(installed).repos] == ["acme/a", "acme/b"]


# -- addresses ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("api", "web"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://API.GitHub.com:443/", "https://github.com"),
        ("https://api.acme.ghe.com", "https://acme.ghe.com"),
        ("https://git.acme.example:8443/api/v3", "https://git.acme.example:8443"),
        ("https://api.acme.example/api/v3", "https://api.acme.example"),
        ("http://[::1]:8080/api/v3", "http://[::1]:8080"),
    ],
)
def test_the_web_address_follows_from_the_apis(api: str, web: str) -> None:
    assert web_address(api) == web
