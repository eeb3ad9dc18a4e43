"""What only GitLab has, against the fake of its API (an emulator, no real forge)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ForgeError
from tasks.core.origins import Filters, ForgeKind
from tasks.core.ports import ReviewingForge
from tasks.repos.classification import filtered
from tests.forges.cases import CANARY, Case, running
from tests.forges.gitlab import FakeGitlab
from tests.forges.server import Answer, Call, limited


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


def test_pages_that_bring_nothing_new_and_link_to_each_other_end(
    case: Case, fake: FakeGitlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.repos.forges.answers._MOST_USELESS", 5)
    fake.add("acme/a", git=False)
    rows = [fake.row(fake.repos["acme/a"])] * 50
    link = f'<{fake.web_url}/api/v4/groups/acme/projects?page=2>; rel="next"'
    fake.faults.inject(Answer(body=rows, headers={"Link": link}), path=case.lists, times=99)
    with pytest.raises(ForgeError, match="its pages have no end"):
        case.open().listing()


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
        repository_access_level="disabled", topics=["pci"],
    )  # fmt: skip
    fake.add("acme/plain", git=False)
    old, plain = case.open().listing().repos
    assert (old.archived, old.fork, old.empty, old.disabled) == (True, True, True, True)
    assert (old.visibility, old.topics, old.size_mb) == ("internal", ("pci",), None)
    assert not (plain.archived or plain.fork or plain.empty or plain.disabled)
    assert (plain.visibility, plain.size_mb, plain.forge_id) == ("public", None, "1002")


def sized(mib: int) -> dict[str, object]:
    return {"git": False, "statistics": {"repository_size": mib * 1024**2}}


def test_sizes_are_asked_of_each_project_that_no_other_filter_leaves_out(case: Case, fake: FakeGitlab) -> None:
    fake.add("acme/big", **sized(900))
    fake.add("acme/small", **sized(3))
    fake.add("acme/untold", git=False)
    fake.add("acme/old", archived=True, **sized(900))
    fake.add("acme/off", repository_access_level="disabled", **sized(900))
    filters = Filters(max_size_mb=500)
    listing = case.open(sized=filters).listing()
    sizes = {r.slug: r.size_mb for r in listing.repos}
    assert sizes == {"acme/big": 900.0, "acme/small": 3.0, "acme/untold": None, "acme/old": None, "acme/off": None}
    assert {r.slug: filtered(r.slug, filters, r) for r in listing.repos if not r.archived} == {
        "acme/big": "900 MB (filters.max_size_mb)", "acme/small": "", "acme/untold": "", "acme/off": "",
    }  # fmt: skip
    assert listing.notes == ("the sizes of 1 projects are not known, so filters.max_size_mb leaves none of them out",)
    asked = [s for s in fake.seen if "statistics" in s.query]
    assert len(asked) == 3 and {s.credentials for s in asked} == {(CANARY,)}
    fake.seen.clear()
    assert {r.size_mb for r in case.open().listing().repos} == {None}
    assert not [s for s in fake.seen if "statistics" in s.query], "nobody wants to know"


@pytest.mark.parametrize(
    ("fault", "times", "known", "asked"),
    [
        (Answer(status=404, body={}), 2, 6, 8),
        (Answer(body=b"[" * 100_000), 2, 6, 8),
        (Answer(body=[7]), 2, 6, 8),
        (Answer(status=401, body={}), 99, 1, 6),
        (limited(retry_after=7), 1, 8, 9),
        (limited(retry_after=9999), 99, 1, 2),
        (Answer(status=502, body={}), 99, 1, 5),
    ],
)
def test_a_size_that_cannot_be_had_costs_no_repository(
    case: Case, fake: FakeGitlab, fault: Answer, times: int, known: int, asked: int
) -> None:
    for n in range(8):
        fake.add(f"acme/{n}", **sized(1))
    fake.faults.inject(fault, path=r"/projects/\d+$", after=1, times=times)
    listing = case.open(sized=Filters(max_size_mb=500)).listing()
    assert [r.size_mb for r in listing.repos].count(1.0) == known and len(listing.repos) == 8
    assert len([s for s in fake.seen if "statistics" in s.query]) == asked
    assert [n.startswith(f"the sizes of {8 - known} projects") for n in listing.notes] == [True] * (known < 8)


def test_a_cancelled_run_asks_for_no_more_sizes(case: Case, fake: FakeGitlab) -> None:
    for n in range(8):
        fake.add(f"acme/{n}", **sized(1))
    fake.faults.inject(limited(retry_after=7), path=r"/projects/\d+$", after=1)
    with pytest.raises(ForgeError) as error:
        case.open(sized=Filters(max_size_mb=500), cancelled=lambda: case.clock.waited_s > 3).listing()
    assert error.value.reason_code == "cancelled"


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


# -- reviews --------------------------------------------------------------------------------------------------


LATE = "2026-01-03T00:00:00.000Z"


def approval(who: int, at: str | None) -> dict[str, object]:
    return {"user": {"id": who, "username": f"user{who}"}, "approved_at": at}


@pytest.mark.parametrize(
    ("approvals", "approver", "problem"),
    [
        ([], None, "nobody but who wrote it"),
        ([approval(2, LATE)], "user2", ""),
        ([approval(1, LATE)], None, "nobody but who wrote it"),
        ([approval(2, "2026-01-01T12:00:00.000+00:00")], None, "nobody but who wrote it"),
        ([approval(2, None)], None, "does not tell when"),
        ([approval(3, LATE), approval(4, LATE)], None, "no person but who wrote it"),
        ([approval(5, LATE), approval(6, LATE)], None, "no person but who wrote it"),
        ([approval(3, LATE), approval(2, LATE)], "user2", ""),
    ],
)
def test_who_approved_what_was_merged(
    case: Case, fake: FakeGitlab, approvals: list[dict[str, object]], approver: str | None, problem: str
) -> None:
    """User 1 opened it, 3 and 4 committed to it; 5 is a token's; the last push was on the second."""
    forge = requested(case, fake)
    fake.approvals[7] = approvals
    told = forge.review("acme/team/conf", "c0", "main")
    assert (told.approver, problem in told.problem, bool(told.head)) == (approver, True, bool(approver))
    fake.emails["c1"] = fake.emails["c0"]
    assert "no merge request that was merged into main" in forge.review("acme/team/conf", "c1", None).problem
    fake.requests["c0"] = [{**fake.requests["c0"][1], "author": None}]
    assert "is gone" in forge.review("acme/team/conf", "c0", "main").problem
    fake.requests["c0"] = [{**fake.requests["c0"][0], "author": {"id": 1}, "sha": None}]
    with pytest.raises(ForgeError):
        forge.review("acme/team/conf", "c0", "main")


def requested(case: Case, fake: FakeGitlab) -> ReviewingForge:
    """Merge request 7, of user 1, brought c0 to main; user 2 approved it."""
    project = fake.add("acme/team/conf", git=False)
    request = {"iid": 7, "state": "merged", "author": {"id": 1}, "sha": "head"}
    request |= {"target_branch": "main", "target_project_id": project.number}
    fake.requests["c0"] = [{**request, "iid": 8, "state": "opened"}, request]
    fake.pushed[7] = ["2026-01-01T00:00:00.000Z", "2026-01-02T00:00:00.000Z"]
    fake.approvals = {n: [approval(2, LATE)] for n in (7, 8)}
    fake.inside[7] = ["before", "head"]
    private = "3-user3@users.noreply.127.0.0.1"
    fake.emails = {
        "c0": ("one@x.invalid", ""),
        "before": (private, "One@X.invalid"),
        "head": (private, "four@x.invalid"),
    }
    mails = {1: "one@x.invalid", 2: "two@x.invalid", 3: "", 4: "four@x.invalid", 5: "", 6: "", 44: "xfour@x.invalid"}
    fake.people = {n: {"username": f"user{n}", "public_email": m, "bot": n == 5} for n, m in mails.items()}
    del fake.people[6]["bot"]
    forge = case.open()
    assert isinstance(forge, ReviewingForge)
    return forge


@pytest.mark.parametrize("change", [{"target_branch": "side"}, {"target_project_id": 0}])
def test_a_request_elsewhere_approves_nothing(case: Case, fake: FakeGitlab, change: dict[str, object]) -> None:
    forge = requested(case, fake)
    assert forge.review("acme/team/conf", "c0", None).approver == "user2", "the default branch"
    fake.requests["c0"][1].update(change)
    assert "no merge request that was merged into main" in forge.review("acme/team/conf", "c0", "main").problem


@pytest.mark.parametrize(
    ("commit", "emails"),
    [
        ("before", ("private@x.invalid", "one@x.invalid")),
        ("head", ("one@x.invalid", "our@x.invalid")),
        ("c0", ("2-user2@users.noreply.elsewhere.invalid", "")),
        ("head", ("user2", "one@x.invalid")),
    ],
)
def test_where_an_author_has_no_known_account_nobody_approves(
    case: Case, fake: FakeGitlab, commit: str, emails: tuple[str, str]
) -> None:
    """It may be the account that approved, under an e-mail that it does not show."""
    forge = requested(case, fake)
    fake.emails[commit] = emails
    told = forge.review("acme/team/conf", "c0", "main")
    assert told.approver is None
    assert f"of commit {commit} of its merge request 7" in told.problem
    fake.emails[commit] = ("one@x.invalid", "one@x.invalid")
    fake.inside[7] = ["before"]
    assert "not its newest" in forge.review("acme/team/conf", "c0", "main").problem


def test_a_commit_that_gitlab_does_not_have_is_no_outage_and_a_project_is(case: Case, fake: FakeGitlab) -> None:
    forge = requested(case, fake)
    assert "does not know it: push it" in forge.review("acme/team/conf", "c9", "main").problem
    with pytest.raises(ForgeError):
        forge.review("acme/hidden", "c0", "main")
    assert [forge.owns(s) for s in ("acme/team/conf", "Acme/conf", "acmes/conf")] == [True, True, False]


def test_a_file_at_a_commit(case: Case, fake: FakeGitlab) -> None:
    forge = requested(case, fake)
    fake.files["head", "conf/d.yaml"] = b"decisions: []\n"
    assert forge.content("acme/team/conf", "conf/d.yaml", "head") == b"decisions: []\n"
    assert forge.content("acme/team/conf", "conf/d.yaml", "before") is None
    fake.faults.inject(Answer(body={"content": "?"}), path="/files/")
    with pytest.raises(ForgeError):
        forge.content("acme/team/conf", "d.yaml", "head")


def test_which_project_lies_at_an_address(case: Case, fake: FakeGitlab) -> None:
    forge = case.open()
    assert isinstance(forge, ReviewingForge)
    assert forge.holds(fake.clone_url("acme/team/conf")) == "acme/team/conf"
    assert forge.holds("ssh://git@127.0.0.1:2222/acme/conf.git") == "acme/conf"
    below = case.open(api_url=f"{fake.web_url}/gitlab")
    assert isinstance(below, ReviewingForge)
    assert below.holds(f"{fake.web_url}/gitlab/acme/conf.git") == "acme/conf"
    assert below.holds(fake.clone_url("acme/conf")) is None
