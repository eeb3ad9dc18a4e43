"""What only Gitea and Forgejo have, against the fake of their API (an emulator, no real forge)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ForgeError
from tasks.core.origins import ForgeKind
from tests.forges.cases import Case, running
from tests.forges.gitea import FakeGitea
from tests.forges.server import Answer, Call


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with running(ForgeKind.GITEA, tmp_path) as made:
        yield made


@pytest.fixture
def fake(case: Case) -> FakeGitea:
    assert isinstance(case.fake, FakeGitea)
    return case.fake


def test_pages_of_which_nothing_is_seen_do_not_end_the_listing(case: Case, fake: FakeGitea) -> None:
    """Gitea cuts a page and then filters it: fifty repositories in a row that the token does not see."""
    for n in range(60):
        fake.add(f"acme/a-{n}", private=True, git=False)
    for n in range(120):
        fake.add(f"acme/hidden-{n}", private=True, visible=False, git=False)
    for n in range(60):
        fake.add(f"acme/z-{n}", private=True, git=False)
    listing = case.open().listing()
    assert (len(listing.repos), listing.total, listing.total_from) == (120, 240, "X-Total-Count")


@pytest.mark.parametrize("rows", ["none", "the same"])
def test_pages_that_bring_nothing_new_and_link_to_each_other_end(
    case: Case, fake: FakeGitea, monkeypatch: pytest.MonkeyPatch, rows: str
) -> None:
    monkeypatch.setattr("tasks.repos.forges.answers._MOST_USELESS", 20)
    fake.add("acme/a", git=False)
    body = [fake.row(fake.repos["acme/a"])] if rows == "the same" else []
    link = f'<{fake.web_url}/again>; rel="next"'
    fake.faults.inject(Answer(body=body, headers={"Link": link}), path=case.lists, times=99)
    with pytest.raises(ForgeError, match="its pages have no end"):
        case.open().listing()


def test_a_server_with_smaller_pages_is_read_to_the_end(case: Case, fake: FakeGitea) -> None:
    fake.largest = 7
    for n in range(40):
        fake.add(f"acme/a-{n}", private=True, git=False)
    assert len(case.open().listing().repos) == 40


def test_without_links_pages_are_read_as_far_as_the_server_counts(case: Case, fake: FakeGitea) -> None:
    for n in range(120):
        fake.add(f"acme/a-{n}", private=True, visible=n % 60 != 0, git=False)

    def unlinked(call: Call) -> Answer:
        answer = fake.answer(call)
        answer.headers.pop("Link", None)
        return answer

    fake.faults.inject(unlinked, path=case.lists, times=9)
    assert len(case.open().listing().repos) == 118


def test_a_row_says_all_that_gitea_does(case: Case, fake: FakeGitea) -> None:
    fake.add(
        "acme/a", git=False, private=True, archived=True, fork=True, empty=True, has_code=False, topics=["pci"],
        size=2048,
    )  # fmt: skip
    fake.add("acme/b", git=False, internal=True)
    fake.add("acme/c", git=False, owner={"id": 5, "login": "acme", "visibility": "limited"})
    fake.add("acme/d", git=False)
    a, b, c, d = case.open().listing().repos
    assert (a.archived, a.fork, a.empty, a.disabled, a.visibility) == (True, True, True, True, "private")
    assert (a.topics, a.size_mb) == (("pci",), 2.0)
    assert [r.visibility for r in (b, c, d)] == ["internal", "internal", "public"]
    assert not (d.archived or d.fork or d.empty or d.disabled)


def test_a_renamed_organisation_is_followed_and_told(case: Case, fake: FakeGitea) -> None:
    fake.add("apex/a", private=True, git=False)
    fake.renamed = {"acme": "apex"}
    listing = case.open().listing()
    assert [r.slug for r in listing.repos] == ["apex/a"]
    assert listing.notes == ("acme is now apex; the configuration should say so",)


def test_a_users_repositories_are_listed(case: Case, fake: FakeGitea) -> None:
    fake.users = {"ada"}
    fake.add("ada/own", private=True, git=False)
    listing = case.open(owner="ada", owner_kind="user").listing()
    assert [r.slug for r in listing.repos] == ["ada/own"]


@pytest.mark.parametrize("stated", ["9" * 5000, "-1", "many"])
def test_a_total_that_is_no_number_is_unknown(case: Case, fake: FakeGitea, stated: str) -> None:
    fake.add("acme/a", git=False)
    fake.faults.inject(
        Answer(body=[fake.row(fake.repos["acme/a"])], headers={"X-Total-Count": stated}), path=case.lists
    )
    assert case.open().listing().total is None


def test_a_page_that_is_no_list_is_an_error(case: Case, fake: FakeGitea) -> None:
    fake.add("acme/a", git=False)
    for body in (b"[{", {"message": "odd"}, [7]):
        fake.faults.inject(Answer(body=body), path=case.lists)
        with pytest.raises(ForgeError) as error:
            case.open().listing()
        assert error.value.reason_code == "forge_unreachable"
