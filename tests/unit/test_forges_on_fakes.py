"""What every forge's adapter does, each against the fake of its API on loopback (an emulator, no real forge)."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import ForgeError, UsageError
from tasks.core.origins import ForgeKind
from tests.builders import GIT_ENVIRONMENT
from tests.forges.cases import CANARY, FAKES, Case, running
from tests.forges.server import Answer, Call, Loopback, limited, redirect, slow

KINDS = list(FAKES)


@pytest.fixture(params=KINDS, ids=str)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Case]:
    """A fake with nothing in it but one repository."""
    with running(request.param, tmp_path) as made:
        made.fake.add("acme/first", private=True, git=False)
        yield made


def fill(case: Case, number: int) -> None:
    for n in range(number):
        case.fake.add(f"acme/service-{n:03}", private=True, git=False)


def refused(case: Case, **options: object) -> ForgeError:
    with pytest.raises(ForgeError) as error:
        case.open(**options).listing()  # type: ignore[arg-type]
    assert CANARY not in "".join(traceback.format_exception(error.value))
    assert error.value.advice or error.value.reason_code == "cancelled"
    return error.value


# -- pages and rows -------------------------------------------------------------------------------------------


def test_all_pages_are_read_with_the_token_and_the_listing_is_by_slug(case: Case) -> None:
    fill(case, 210)
    listing = case.open().listing()
    assert [r.slug for r in listing.repos] == ["acme/first", *(f"acme/service-{n:03}" for n in range(210))]
    assert listing.host == case.fake.host
    assert listing.total == 211 and listing.total_from
    assert listing.counts_all is (case.access.kind is ForgeKind.GITHUB), "what the others count may be what is seen"
    assert (listing.selected, listing.notes) == (None, ())
    assert len([s for s in case.fake.seen if "page" in s.query]) >= 2
    assert {s.credentials for s in case.fake.seen} == {(CANARY,)}


def test_a_forge_below_a_path_has_ids_of_its_own(case: Case) -> None:
    def below(call: Call) -> Answer:
        return case.fake.answer(replace(call, path=call.path.removeprefix("/below")))

    case.fake.faults.inject(below, path="^/below/", times=9)
    root = case.fake.web_url
    listing = case.open(api_url=case.fake.api_url.replace(root, f"{root}/below")).listing()
    assert (listing.host, len(listing.repos)) == (f"{case.fake.host}/below", 1)


def test_without_a_token_public_repositories_are_seen(case: Case) -> None:
    case.fake.add("acme/open", git=False)
    forge = case.open(token=None)
    assert [r.slug for r in forge.listing().repos] == ["acme/open"]
    assert forge.credential() is None
    assert case.fake.credentials == set()


def test_what_comes_twice_is_listed_once_and_told(case: Case) -> None:
    fill(case, 210)

    def push(_: Call) -> None:
        """A new row at the front pushes the last one of the first page to the second page."""
        case.fake.add("acme/pushed", private=True, git=False).order = 0

    before = set(case.fake.repos)
    case.fake.faults.inject(push, path=case.lists, after=1)
    listing = case.open().listing()
    assert sorted(r.slug for r in listing.repos) == sorted(before)
    assert [n for n in listing.notes if n.startswith("1 entries came twice")]


def test_what_is_created_meanwhile_shifts_no_page(case: Case) -> None:
    fill(case, 210)

    def create(_: Call) -> None:
        case.fake.add("acme/new", private=True, git=False)

    case.fake.faults.inject(create, path=case.lists, after=1)
    listing = case.open().listing()
    assert {r.slug for r in listing.repos} == case.fake.repos.keys() and "acme/new" in case.fake.repos
    assert not [n for n in listing.notes if "twice" in n]


def test_a_clone_address_of_another_host_is_replaced_by_the_forges_own(case: Case) -> None:
    name = "http_url_to_repo" if case.access.kind is ForgeKind.GITLAB else "clone_url"
    case.fake.add("acme/lured", git=False, **{name: "http://elsewhere.invalid/acme/lured.git"})
    case.fake.add("acme/named", git=False, **{name: f"http://bob:pw@{case.fake.host}/acme/named.git"})
    listing = case.open().listing()
    found = {r.slug: r.clone_url for r in listing.repos}
    assert found == {slug: case.fake.clone_url(slug) for slug in ("acme/first", "acme/lured", "acme/named")}
    assert [n for n in listing.notes if "http://elsewhere.invalid" in n]


def test_a_clone_address_with_a_token_in_it_is_replaced_too(case: Case) -> None:
    name = "http_url_to_repo" if case.access.kind is ForgeKind.GITLAB else "clone_url"
    for slug, path in (("a", "a.git?private_token=x"), ("b", "b.git#x"), ("c", "glpat-xxxxxxxxxxxxxxxxxxxx/c.git")):
        case.fake.add(f"acme/{slug}", git=False, **{name: f"{case.fake.web_url}/acme/{path}"})
    case.fake.add("acme/d", git=False, **{name: f"{case.fake.web_url}/git/acme/d.git"})
    listing = case.open().listing()
    found = {r.slug: r.clone_url for r in listing.repos}
    own = {slug: case.fake.clone_url(slug) for slug in ("acme/first", "acme/a", "acme/b", "acme/c")}
    assert found == {**own, "acme/d": f"{case.fake.web_url}/git/acme/d.git"}
    assert [n for n in listing.notes if n.startswith("3 clone addresses have")]


def test_answers_of_another_shape_are_an_error(case: Case) -> None:
    repo = case.fake.repos["acme/first"]
    for slug in ("acme/../x", "acme/x\n"):
        repo.row = {"full_name": slug, "path_with_namespace": slug}
        assert refused(case).reason_code == "forge_unreachable"
    for row in ({"id": None}, {"clone_url": 7, "http_url_to_repo": 7}):
        repo.row = row
        assert refused(case).reason_code == "forge_unreachable"
    for path in ("", case.lists):
        case.fake.faults.inject(Answer(body=b"[" * 100_000), path=path)
        assert refused(case).reason_code == "forge_unreachable"
    case.fake.faults.inject(Answer(headers={"Content-Type": "text/html"}, body=b"<html>sign in</html>"))
    assert "something else than JSON" in refused(case).message


@pytest.mark.parametrize("page", [b"null", b"{}", b"0"])
def test_a_page_that_is_no_list_is_not_the_end(case: Case, page: bytes) -> None:
    """PyGithub takes it for an empty one: nothing would be listed."""
    case.fake.faults.inject(Answer(body=page), path=case.lists)
    assert refused(case).reason_code == "forge_unreachable"


# -- limits ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429])
def test_limits_are_waited_for_as_long_as_the_forge_says(case: Case, status: int) -> None:
    fill(case, 110)
    case.fake.faults.inject(limited(status=status, retry_after=7))
    case.fake.faults.inject(limited(status=status, reset=case.clock.now() + 40), path=case.lists, after=1)
    assert len(case.open().listing().repos) == 111
    # Retry-After to the second, a reset one second later: it is not said when in that second.
    assert case.clock.waited_s == pytest.approx(41.0)


def test_a_limit_longer_than_the_patience_is_an_error_at_once(case: Case) -> None:
    case.fake.faults.inject(limited(reset=case.clock.now() + 3600))
    error = refused(case, patience_s=600)
    assert error.reason_code == "forge_limited"
    assert "2027-01-15 09:00:01 UTC" in error.message
    assert case.clock.waited_s == 0


def test_a_limit_that_ends_after_all_dates_is_told_as_a_limit(case: Case) -> None:
    case.fake.faults.inject(Answer(status=429, headers={"Retry-After": "999999999999"}, body={}))
    error = refused(case)
    assert error.reason_code == "forge_limited" and "until 9999-12-31" in error.message


def test_patience_is_for_all_waits_together(case: Case) -> None:
    case.fake.faults.inject(limited(retry_after=250), times=9)
    error = refused(case, patience_s=600)
    assert error.reason_code == "forge_limited" and "100 s are left" in error.message
    assert case.clock.waited_s == pytest.approx(500)


def test_a_limit_without_a_time_is_waited_for_longer_each_time(case: Case) -> None:
    case.fake.faults.inject(limited(status=403, secondary=True), times=2)
    case.open().listing()
    assert case.clock.waited_s == pytest.approx(60 + 120)


def test_a_wait_ends_when_the_run_is_cancelled(case: Case) -> None:
    case.fake.faults.inject(limited(retry_after=500))
    error = refused(case, cancelled=lambda: case.clock.waited_s > 3)
    assert error.reason_code == "cancelled"
    assert case.clock.waited_s < 4
    assert len(case.fake.seen) == 1


# -- failures -------------------------------------------------------------------------------------------------


def test_a_failure_is_tried_again(case: Case) -> None:
    fill(case, 110)
    case.fake.faults.inject(Answer(status=502, body={}))
    case.fake.faults.inject(Answer(status=503, body={}), path=case.lists, after=1, times=2)
    assert len(case.open().listing().repos) == 111


def test_a_forge_that_keeps_failing_is_unreachable_and_nothing_is_listed(case: Case) -> None:
    fill(case, 110)
    case.fake.faults.inject(Answer(status=502, body={}), path=case.lists, after=1, times=99)
    error = refused(case)
    assert error.reason_code == "forge_unreachable" and "502" in error.message
    assert len([s for s in case.fake.seen if s.status == 502]) == 4


def test_a_forge_that_does_not_answer_in_time_is_tried_again(case: Case) -> None:
    case.fake.faults.inject(slow(0.5))
    assert len(case.open(read_s=0.1).listing().repos) == 1
    assert case.clock.waited_s > 0


def test_a_forge_that_is_not_there_is_unreachable(case: Case) -> None:
    case.fake.stop()
    assert refused(case).reason_code == "forge_unreachable"


def test_a_token_that_ends_meanwhile_leaves_no_half_a_listing(case: Case) -> None:
    fill(case, 210)
    case.fake.tokens[CANARY].calls = 2
    error = refused(case)
    assert error.reason_code == "forge_denied" and "env:TOKEN" in error.message


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_says_what_to_do(case: Case, status: int) -> None:
    case.fake.faults.inject(Answer(status=status, body={"message": f"no {CANARY}"}), times=9)
    error = refused(case)
    assert error.reason_code == "forge_denied"
    assert ("env:TOKEN" in error.message) and (status == 401 or "acme" in error.message)
    assert case.clock.waited_s == 0


@pytest.mark.parametrize("end", ["\n", "\r\n", " "])
def test_a_token_with_a_line_break_is_told_as_one(case: Case, end: str) -> None:
    case.secrets.values["env:TOKEN"] = CANARY + end
    error = refused(case)
    assert "what env:TOKEN holds is no token" in error.message
    assert case.fake.seen == []


# -- where a token goes ---------------------------------------------------------------------------------------


def test_moves_within_the_forge_are_followed_with_the_query(case: Case) -> None:
    fill(case, 110)

    def move(call: Call) -> Answer:
        query = "&".join(f"{k}={v}" for k, v in call.query.items())
        return redirect(f"{case.fake.web_url}{call.path}?{query}", 307)

    case.fake.faults.inject(move, path=case.lists, times=2)
    assert len(case.open().listing().repos) == 111


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_token_never_goes_to_another_host(case: Case, status: int) -> None:
    with Loopback() as other:
        for target in (
            f"{other.web_url}/api/v3/orgs/acme",
            f"http://localhost:{case.fake.host.split(':')[1]}/x",
            "http://[::1",
        ):
            case.fake.faults.inject(redirect(target, status))
            error = refused(case)
            assert error.reason_code == "forge_unreachable"
            assert "nothing was sent there" in error.message
        assert other.seen == []
    assert not [s for s in case.fake.seen if s.host.startswith("localhost")]


def test_a_redirect_in_a_circle_ends(case: Case) -> None:
    case.fake.faults.inject(lambda call: redirect(case.fake.web_url + call.path), times=99)
    assert refused(case).reason_code == "forge_unreachable"
    assert len(case.fake.seen) == 6


def test_a_next_page_on_another_host_is_not_asked(case: Case) -> None:
    fill(case, 110)
    with Loopback() as other:

        def lure(call: Call) -> Answer:
            answer = case.fake.answer(call)
            answer.headers["Link"] = f'<{other.web_url}{call.path}?page=2>; rel="next"'
            return answer

        case.fake.faults.inject(lure, path=case.lists)
        # Refused where the link is followed; one whose pages are counted asks its own host for the next.
        with contextlib.suppress(ForgeError):
            assert len(case.open().listing().repos) == 111
        assert other.seen == []


def test_no_log_and_no_netrc_knows_the_token(
    case: Case, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login bob password from-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    forge = case.open()
    for library in (None, "github", "gitlab", "gitea"):
        caplog.set_level(logging.DEBUG, logger=library)
    forge.listing()
    credential = forge.credential()
    assert credential is not None and credential.password.reveal() == CANARY
    case.open(token=None).listing()
    assert CANARY not in caplog.text + repr(forge) + repr(credential) + repr(vars(forge))
    assert case.fake.credentials == {CANARY}


@pytest.mark.parametrize("value", ["", "two words", "line\nbreak", "Schlüssel"])
def test_what_cannot_be_a_token_is_refused_unsent_and_unquoted(case: Case, value: str) -> None:
    case.secrets.values["env:TOKEN"] = value
    error = refused(case)
    assert error.reason_code == "forge_denied" and "env:TOKEN" in error.message
    assert not value or value not in str(error)
    assert case.fake.seen == []


# -- git ------------------------------------------------------------------------------------------------------


def clone(url: str, place: Path, credential: tuple[str, str] | None) -> int:
    header = ["-c", f"url.{url.replace('://', '://{}:{}@'.format(*credential))}.insteadOf={url}"] if credential else []
    done = subprocess.run(
        ["git", *header, "clone", "-q", url, str(place)],
        env={**GIT_ENVIRONMENT, "GIT_TERMINAL_PROMPT": "0"},
        capture_output=True,
        check=False,
    )
    return done.returncode


def test_git_behind_the_fake_wants_the_credential_for_what_is_private(case: Case, tmp_path: Path) -> None:
    case.fake.add("acme/app", private=True, files={"a.txt": b"one\n"})
    case.fake.add("acme/open")
    forge = case.open()
    credential = forge.credential()
    assert credential is not None and credential.base_url == case.fake.web_url
    shown = (credential.username, credential.password.reveal())
    urls = {r.slug: r.clone_url for r in forge.listing().repos}
    assert clone(urls["acme/app"], tmp_path / "no", None) != 0
    assert clone(urls["acme/app"], tmp_path / "wrong", (credential.username, "wrong")) != 0
    assert clone(urls["acme/app"], tmp_path / "app", shown) == 0
    assert clone(urls["acme/open"], tmp_path / "open", None) == 0
    assert (tmp_path / "app" / "a.txt").read_text() == "one\n"


# -- opening --------------------------------------------------------------------------------------------------


def test_opening_asks_nothing_and_reads_no_secret(case: Case) -> None:
    case.open()
    assert (case.secrets.asked, case.fake.seen) == (0, [])
    for address in ("ssh://forge.example", "forge.example", "https://bob:pw@forge.example", "https://[::1"):
        with pytest.raises(UsageError) as error:
            case.open(api_url=address)
        assert "pw" not in str(error.value)


def test_libraries_are_imported_when_a_forge_is_opened() -> None:
    names = ("github", "gitlab", "gitea", "requests")
    code = f"import sys, tasks.repos.forges; print([m for m in {names} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
