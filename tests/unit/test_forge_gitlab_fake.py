"""What only GitLab has, against the fake of its API (an emulator, no real forge)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ForgeError
from tasks.core.origins import ForgeKind
from tests.forges.cases import CANARY, Case, running
from tests.forges.gitlab import FakeGitlab
from tests.forges.server import Answer, Call


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with running(ForgeKind.GITLAB, tmp_path) as made:
        yield made


@pytest.fixture
def fake(case: Case) -> FakeGitlab:
    assert isinstance(case.fake, FakeGitlab)
    return case.fake


def slugs(case: Case, **access: object) -> list[str]:
    return [r.slug for r in case.open(**access).listing().repos]  # type: ignore[arg-type]


def test_a_group_is_listed_with_its_subgroups_unless_told_otherwise(case: Case, fake: FakeGitlab) -> None:
    for slug in ("acme/a", "acme/team/b", "acme/team/deep/c", "other/d"):
        fake.add(slug, private=True, git=False)
    assert slugs(case) == ["acme/a", "acme/team/b", "acme/team/deep/c"]
    assert slugs(case, subgroups=False) == ["acme/a"]
    assert slugs(case, owner="acme/team") == ["acme/team/b", "acme/team/deep/c"]


def test_projects_that_other_groups_share_are_not_ours(case: Case, fake: FakeGitlab) -> None:
    fake.add("acme/a", git=False)
    fake.add("other/lent", git=False)
    fake.shared = {"other/lent"}
    assert slugs(case) == ["acme/a"]


def test_a_users_projects_are_listed(case: Case, fake: FakeGitlab) -> None:
    fake.users = {"ada"}
    fake.add("ada/own", private=True, git=False)
    assert slugs(case, owner="ada", owner_kind="user") == ["ada/own"]
    with pytest.raises(ForgeError) as error:
        slugs(case, owner="bob", owner_kind="user")
    assert error.value.reason_code == "forge_denied"


def test_the_total_is_unknown_where_gitlab_no_longer_counts(case: Case, fake: FakeGitlab) -> None:
    for n in range(120):
        fake.add(f"acme/service-{n}", git=False)
    counted = case.open().listing()
    assert (counted.total, counted.total_from) == (120, "X-Total")
    fake.counted = 100
    listing = case.open().listing()
    assert (len(listing.repos), listing.total, listing.total_from) == (120, None, "")


def test_a_row_says_all_that_gitlab_does(case: Case, fake: FakeGitlab) -> None:
    fake.add(
        "acme/old", git=False, archived=True, forked_from_project={"id": 1}, empty_repo=True, visibility="internal",
        repository_access_level="disabled", topics=["pci"], default_branch=None,
        statistics={"repository_size": 3 * 1024**2},
    )  # fmt: skip
    fake.add("acme/plain", git=False)
    old, plain = case.open().listing().repos
    assert (old.archived, old.fork, old.empty, old.disabled) == (True, True, True, True)
    assert (old.visibility, old.topics, old.default_branch, old.size_mb) == ("internal", ("pci",), None, 3.0)
    assert not (plain.archived or plain.fork or plain.empty or plain.disabled)
    assert (plain.visibility, plain.size_mb, plain.forge_id) == ("public", None, "1002")


def test_a_group_that_moved_is_followed_and_told(case: Case, fake: FakeGitlab) -> None:
    fake.add("apex/team/a", private=True, git=False)
    fake.renamed = {"acme/team": "apex/team"}
    listing = case.open(owner="acme/team").listing()
    assert [r.slug for r in listing.repos] == ["apex/team/a"]
    assert listing.notes == ("acme/team is now apex/team; the configuration should say so",)


def test_pages_are_asked_of_the_address_we_know_whatever_the_instance_calls_itself(
    case: Case, fake: FakeGitlab
) -> None:
    for n in range(120):
        fake.add(f"acme/service-{n}", private=True, git=False)

    def misnamed(call: Call) -> Answer:
        answer = fake.answer(call)
        answer.headers["Link"] = answer.headers["Link"].replace(fake.web_url, "http://internal.invalid")
        return answer

    fake.faults.inject(misnamed, path=case.lists)
    assert len(slugs(case)) == 120


def test_the_token_is_shown_as_gitlab_wants_it(case: Case, fake: FakeGitlab) -> None:
    fake.add("acme/a", git=False)
    headers = []
    fake.faults.inject(lambda call: headers.append(dict(call.headers)), times=9)  # type: ignore[arg-type, return-value]
    forge = case.open()
    forge.listing()
    assert headers and {h.get("PRIVATE-TOKEN") for h in headers} == {CANARY}
    credential = forge.credential()
    assert credential is not None and credential.username == "oauth2"


def test_a_page_that_is_no_list_is_an_error(case: Case, fake: FakeGitlab) -> None:
    fake.add("acme/a", git=False)
    for body in (b"[{", {"message": "odd"}, [7]):
        fake.faults.inject(Answer(body=body), path=case.lists)
        with pytest.raises(ForgeError) as error:
            slugs(case)
        assert error.value.reason_code == "forge_unreachable"
