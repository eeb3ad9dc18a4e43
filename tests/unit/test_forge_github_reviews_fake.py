"""Who approved a commit, against the fake of GitHub's API (an emulator, no real forge)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ForgeError
from tasks.core.origins import ForgeKind
from tasks.core.ports import ReviewingForge
from tests.forges.cases import Case, running
from tests.forges.github import FakeGithub
from tests.forges.server import Answer


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Case]:
    with running(ForgeKind.GITHUB, tmp_path) as made:
        yield made


@pytest.fixture
def fake(case: Case) -> FakeGithub:
    assert isinstance(case.fake, FakeGithub)
    return case.fake


def review(who: int, state: str = "APPROVED", **more: object) -> dict[str, object]:
    user = {"login": f"user{who}", "id": who, "type": "User"}
    return {"user": user, "state": state, "commit_id": "head", "author_association": "MEMBER", **more}


@pytest.mark.parametrize(
    ("reviews", "approver"),
    [
        ([], None),
        ([review(2)], "user2"),
        ([review(1)], None),
        ([review(3)], None),
        ([review(5)], None),
        ([review(6)], None),
        ([review(2, commit_id="before")], None),
        ([review(2, author_association="NONE")], None),
        ([review(2, "COMMENTED")], None),
        ([review(2), review(2, "COMMENTED")], "user2"),
        ([review(2), review(2, "CHANGES_REQUESTED")], None),
        ([review(2), review(2, "DISMISSED"), review(4)], "user4"),
        ([review(2, user=None), review(2, user={"login": "b", "id": 5, "type": "Bot"})], None),
    ],
)
def test_who_approved_what_was_merged(
    case: Case, fake: FakeGithub, reviews: list[dict[str, object]], approver: str | None
) -> None:
    """1 opened the request, 3 wrote what was merged, 5 and 6 commits that it hides."""
    forge = requested(case, fake)
    fake.reviews[7] = reviews
    told = forge.review("acme/conf", "c0", "main")
    assert (told.approver, told.head) == (approver, "head" if approver else None)
    assert bool(told.problem) == (approver is None)
    fake.people["c1"] = (3, 3)
    assert "no pull request that was merged into main" in forge.review("acme/conf", "c1", None).problem


def requested(case: Case, fake: FakeGithub) -> ReviewingForge:
    """Request 7, of user 1, brought c0 to main; user 2 approved it. It is a squash: its commits are others."""
    fake.add("acme/conf", git=False)
    base = {"ref": "main", "repo": {"id": fake.repos["acme/conf"].number}}
    open_one = {"number": 8, "user": {"id": 9}, "head": {"sha": "head"}, "merged_at": None, "base": base}
    fake.people = {"c0": (3, 99), "before": (1, 5), "head": (6, 1)}
    fake.pulls["c0"] = [open_one, {**open_one, "number": 7, "user": {"id": 1}, "merged_at": "2026-01-01T00:00:00Z"}]
    fake.reviews = {7: [review(2)], 8: [review(2)]}
    fake.inside = {7: ["before", "other", "head"], 8: ["head"]}
    fake.people["other"] = (1, 1)
    forge = case.open()
    assert isinstance(forge, ReviewingForge)
    return forge


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"base": {"ref": "side", "repo": {"id": 1}}}, "no pull request that was merged into main"),
        ({"base": {"ref": "main", "repo": {"id": 77}}}, "no pull request that was merged into main"),
        ({"base": {"ref": "main", "repo": None}}, "no pull request that was merged into main"),
        ({"head": {"sha": "elsewhere"}}, "does not list all commits"),
        ({"user": None}, "is gone"),
    ],
)
def test_a_request_elsewhere_approves_nothing(
    case: Case, fake: FakeGithub, change: dict[str, object], problem: str
) -> None:
    forge = requested(case, fake)
    assert forge.review("acme/conf", "c0", None).approver == "user2", "the default branch"
    assert forge.review("acme/conf", "c0", "side").approver is None
    fake.repos["acme/conf"].number = 1
    fake.pulls["c0"] = [{**fake.pulls["c0"][1], "base": {"ref": "main", "repo": {"id": 1}}, **change}]
    assert problem in forge.review("acme/conf", "c0", "main").problem


@pytest.mark.parametrize("unknown", ["c0", "before", "head"])
def test_where_an_author_has_no_account_nobody_approves(case: Case, fake: FakeGithub, unknown: str) -> None:
    """It may be the account that approved, under another e-mail."""
    forge = requested(case, fake)
    fake.people[unknown] = (None, 1)
    told = forge.review("acme/conf", "c0", "main")
    assert told.approver is None
    assert f"the author of commit {unknown} of its pull request 7 has no account" in told.problem
    fake.people[unknown] = (1, None)
    assert (forge.review("acme/conf", "c0", "main").approver is None) == (unknown != "c0"), "who merged is no author"


def test_of_more_commits_than_github_lists_nobody_can_tell_who_wrote_them(case: Case, fake: FakeGithub) -> None:
    forge = requested(case, fake)
    fake.inside[7] = [*["other"] * 249, "head"]
    assert "split it" in forge.review("acme/conf", "c0", "main").problem


def test_a_commit_that_github_does_not_have_is_no_outage_and_a_repository_is(case: Case, fake: FakeGithub) -> None:
    forge = requested(case, fake)
    assert "does not know it: push it" in forge.review("acme/conf", "c9", "main").problem
    with pytest.raises(ForgeError) as error:
        forge.review("acme/hidden", "c0", "main")
    assert error.value.reason_code == "forge_denied"
    assert (forge.owns("Acme/conf"), forge.owns("acme-corp/conf")) == (True, False)


def test_a_file_at_a_commit(case: Case, fake: FakeGithub) -> None:
    forge = requested(case, fake)
    fake.files = {("head", "conf/d.yaml"): b"decisions: []\n", ("large", "d.yaml"): b"#" * 1_200_000}
    assert forge.content("acme/conf", "conf/d.yaml", "head") == b"decisions: []\n"
    assert forge.content("acme/conf", "d.yaml", "large") == b"#" * 1_200_000
    assert forge.content("acme/conf", "d.yaml", "head") is None
    fake.faults.inject(Answer(body={"encoding": "base64", "content": "?"}), path="/contents/")
    with pytest.raises(ForgeError):
        forge.content("acme/conf", "d.yaml", "large")


def test_which_repository_lies_at_an_address(case: Case, fake: FakeGithub) -> None:
    forge = case.open()
    assert isinstance(forge, ReviewingForge)
    for address, slug in (
        (fake.clone_url("acme/conf"), "acme/conf"),
        ("git@127.0.0.1:acme/conf.git", "acme/conf"),
        ("ssh://git@127.0.0.1/acme/conf", "acme/conf"),
        ("https://elsewhere.example.org/acme/conf.git", None),
        ("git@elsewhere.example.org:acme/conf.git", None),
        (fake.clone_url("a/b/c"), None),
        ("/srv/conf", None),
        ("", None),
    ):
        assert forge.holds(address) == slug
