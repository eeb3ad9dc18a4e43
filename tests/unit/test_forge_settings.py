"""What forges tell of settings, against the fakes of their APIs (emulators, no real forge), and what is judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ForgeError, ScanGapError
from tasks.core.forge_settings import (
    ADMINISTRATORS,
    DEPLOY_KEYS,
    OUTSIDERS,
    PROTECTION,
    REVIEWS,
    TOPICS,
    TWO_FACTOR,
    ForgeSettings,
)
from tasks.core.origins import ForgeKind
from tasks.core.ports import SettledForge
from tasks.core.types import Outcome, Repo
from tasks.scanners.posture_settings import MANY, judged, place_of
from tests.forges.cases import CANARY, Case, running
from tests.forges.gitea import FakeGitea
from tests.forges.github import FakeGithub
from tests.forges.gitlab import FakeGitlab
from tests.forges.server import Answer

SHOP = Repo(repo_id="h:1", slug="acme/shop", url="u", source="s")
CLASSIC = {
    "required_pull_request_reviews": {"required_approving_review_count": 1},
    "allow_force_pushes": {"enabled": False},
    "allow_deletions": {"enabled": False},
    "enforce_admins": {"enabled": True},
}
PULL = {"type": "pull_request", "parameters": {"required_approving_review_count": 2}}


def asked(case: Case, *, account: bool = False, **access: Any) -> ForgeSettings:
    forge = case.open(**access)
    assert isinstance(forge, SettledForge)
    return forge.settings(SHOP, "main", account=account)


def rules(told: ForgeSettings) -> set[tuple[str, str | None]]:
    return {(o.rule_id, o.resource) for o in judged(told.document()).observations}


# -- what is judged -----------------------------------------------------------------------------------------

SOUND: dict[str, dict[str, Any]] = {
    PROTECTION: {
        "protected": True, "reviews": 1, "force_push": False, "deletion": False, "binds_administrators": True,
    },
    ADMINISTRATORS: {"logins": [f"a{n}" for n in range(MANY)]},
    OUTSIDERS: {"logins": []},
    TWO_FACTOR: {"required": True},
    DEPLOY_KEYS: {"writable": []},
}  # fmt: skip


@pytest.mark.parametrize(("topic", "change", "rule"), [
    (PROTECTION, {"protected": False}, "default-branch-unprotected"),
    (PROTECTION, {"reviews": 0}, "review-not-required"),
    (PROTECTION, {"force_push": True}, "force-push-allowed"),
    (PROTECTION, {"deletion": True}, "branch-deletion-allowed"),
    (PROTECTION, {"binds_administrators": False}, "administrators-not-bound"),
    (PROTECTION, {"passing": ["Team 7"]}, "protection-bypassed"),
    (ADMINISTRATORS, {"logins": [f"a{n}" for n in range(MANY + 1)]}, "many-administrators"),
    (OUTSIDERS, {"logins": ["eve"]}, "outside-collaborator"),
    (TWO_FACTOR, {"required": False}, "two-factor-not-required"),
    (DEPLOY_KEYS, {"writable": ["7"]}, "deploy-key-writes"),
])  # fmt: skip
def test_each_rule_is_found_and_nothing_else(topic: str, change: dict[str, Any], rule: str) -> None:
    assert judged(ForgeSettings(facts=SOUND).document()).observations == ()
    parsed = judged(ForgeSettings(facts={**SOUND, topic: {**SOUND[topic], **change}}).document())
    place = place_of(REVIEWS if rule == "review-not-required" else topic)
    assert [(o.rule_id, o.path) for o in parsed.observations] == [(rule, place)]
    assert (parsed.outcome, parsed.gaps) == (Outcome.OK, ())


def test_what_is_not_told_is_neither_good_nor_bad() -> None:
    unknown = {PROTECTION: dict.fromkeys(SOUND[PROTECTION]) | {"protected": True}}
    assert judged(ForgeSettings(facts=unknown).document()).observations == ()
    parsed = judged(ForgeSettings(unread=dict.fromkeys(TOPICS, "it takes a right")).document())
    assert (parsed.outcome, parsed.observations) == (Outcome.PARTIAL, ())
    assert {(g.path, g.reason_code) for g in parsed.gaps} == {(place_of(t), "settings_unread") for t in TOPICS}


@pytest.mark.parametrize("document", [b"", b"[]", b'{"facts": {}}', b'{"facts": {"two-factor": {}}, "unread": {}}'])
def test_settings_of_another_form_are_no_clean_bill(document: bytes) -> None:
    with pytest.raises(ScanGapError, match="another form"):
        judged(document)


def test_the_same_settings_are_the_same_bytes() -> None:
    one = ForgeSettings(facts={OUTSIDERS: {"logins": ["a"]}, TWO_FACTOR: {"required": True}})
    other = ForgeSettings(facts={TWO_FACTOR: {"required": True}, OUTSIDERS: {"logins": ["a"]}})
    assert one.document() == other.document()


# -- GitHub -------------------------------------------------------------------------------------------------


@pytest.fixture
def github(tmp_path: Path) -> Iterator[tuple[Case, FakeGithub]]:
    with running(ForgeKind.GITHUB, tmp_path) as case:
        assert isinstance(case.fake, FakeGithub)
        case.fake.add("acme/shop", private=True, git=False)
        yield case, case.fake


def test_github_says_that_nothing_is_protected(github: tuple[Case, FakeGithub]) -> None:
    case, fake = github
    fake.settings["acme/shop"] = {
        "collaborators": [*((f"a{n}", "admin push", False) for n in range(MANY + 1)), ("eve", "push", True),
                          ("bob", "pull", True)],
        "keys": [{"id": 7, "read_only": False}, {"id": 8, "read_only": True}, {"id": 9}],
    }  # fmt: skip
    fake.two_factor = False
    told = asked(case, account=True)
    assert told.unread == {}
    assert rules(told) == {
        ("default-branch-unprotected", None), ("many-administrators", None), ("outside-collaborator", "eve"),
        ("two-factor-not-required", None), ("deploy-key-writes", "7"), ("deploy-key-writes", "9"),
    }  # fmt: skip
    assert TWO_FACTOR not in asked(case).facts, "told with one repository of the account"
    assert {c for s in fake.seen for c in s.credentials} == {CANARY}


@pytest.mark.parametrize(("known", "found"), [
    ({"protection": CLASSIC}, set()),
    ({"protection": {**CLASSIC, "enforce_admins": {"enabled": False}}}, {"administrators-not-bound"}),
    ({"protection": {"allow_force_pushes": {"enabled": True}, "allow_deletions": {"enabled": True},
                     "enforce_admins": {"enabled": True}}},
     {"review-not-required", "force-push-allowed", "branch-deletion-allowed"}),
    ({"rules": [PULL, {"type": "non_fast_forward"}, {"type": "deletion"}]}, set()),
    ({"rules": [{"type": "deletion"}]}, {"review-not-required", "force-push-allowed"}),
    ({"rules": [PULL], "protection": {**CLASSIC, "required_pull_request_reviews": None}}, set()),
])  # fmt: skip
def test_protection_is_classic_or_by_rulesets(github: tuple[Case, FakeGithub], known: Any, found: set[str]) -> None:
    case, fake = github
    fake.settings["acme/shop"] = {"protected": True, **known}
    assert {rule for rule, _ in rules(asked(case))} == found


def ruleset(number: int, *kinds: str) -> list[dict[str, Any]]:
    return [{**(PULL if kind == "pull_request" else {"type": kind}), "ruleset_id": number} for kind in kinds]


ALL_KINDS = ("pull_request", "non_fast_forward", "deletion")
OPEN = {**CLASSIC, "enforce_admins": {"enabled": False}}


def passed_by(*actors: str) -> dict[str, Any]:
    return {"bypass_actors": [{"actor_type": kind, "actor_id": 7, "bypass_mode": "always"} for kind in actors]}


@pytest.mark.parametrize(("known", "found"), [
    ({"rules": ruleset(1, *ALL_KINDS), "rulesets": {1: passed_by()}}, set()),
    ({"rules": ruleset(1, *ALL_KINDS), "rulesets": {1: passed_by("RepositoryRole")}}, {"administrators-not-bound"}),
    ({"rules": ruleset(1, *ALL_KINDS), "rulesets": {1: passed_by("OrganizationAdmin", "Team", "DeployKey")}},
     {"administrators-not-bound", "protection-bypassed"}),
    # Not told who may pass by it: neither good nor bad.
    ({"rules": ruleset(1, *ALL_KINDS)}, set()),
    # What administrators may pass by, the other one holds.
    ({"rules": ruleset(1, *ALL_KINDS), "rulesets": {1: passed_by("RepositoryRole")}, "protection": CLASSIC},
     {"review-of-two"}),
    # A rule about something else does not bind administrators to the classic protection.
    ({"rules": ruleset(1, "required_linear_history"), "rulesets": {1: passed_by()}, "protection": OPEN},
     {"administrators-not-bound"}),
    ({"rules": ruleset(1, "required_linear_history"), "protection": OPEN}, {"administrators-not-bound"}),
    ({"rules": [*ruleset(1, *ALL_KINDS), *ruleset(2, "deletion")],
      "rulesets": {1: passed_by(), 2: passed_by("RepositoryRole")}}, set()),
])  # fmt: skip
def test_who_may_pass_by_a_ruleset_is_not_bound_by_it(
    github: tuple[Case, FakeGithub], known: Any, found: set[str]
) -> None:
    case, fake = github
    fake.settings["acme/shop"] = {"protected": True, **known}
    told = asked(case)
    # Two reviews by the ruleset, one by the classic protection: the second one does not hold for administrators.
    expected = {"administrators-not-bound"} if found == {"review-of-two"} else found
    assert ({rule for rule, _ in rules(told)}, told.unread) == (expected, {})


def test_rules_protect_a_branch_that_does_not_say_so_itself(github: tuple[Case, FakeGithub]) -> None:
    case, fake = github
    fake.settings["acme/shop"] = {"protected": False, "rules": ruleset(1, *ALL_KINDS), "rulesets": {1: passed_by()}}
    assert rules(asked(case)) == set()


def test_a_credential_that_expires_meanwhile_says_nothing_of_rulesets(github: tuple[Case, FakeGithub]) -> None:
    case, fake = github
    fake.settings["acme/shop"] = {"protected": True, "rules": ruleset(1, *ALL_KINDS)}
    fake.faults.inject(Answer(status=401, body={"message": "Bad credentials"}), path="/rulesets/1$", times=9)
    with pytest.raises(ForgeError):
        asked(case)


@pytest.mark.parametrize("status", [403, 404])
@pytest.mark.parametrize(("path", "topics"), [
    (r"/protection$", {PROTECTION, REVIEWS}),
    (r"/rules/", {PROTECTION, REVIEWS}),
    (r"/branches/main$", {PROTECTION, REVIEWS}),
    (r"/collaborators$", {ADMINISTRATORS, OUTSIDERS}),
    (r"/keys$", {DEPLOY_KEYS}),
    (r"/orgs/acme$", {TWO_FACTOR}),
])  # fmt: skip
def test_a_refusal_costs_its_topic_alone(
    github: tuple[Case, FakeGithub], path: str, topics: set[str], status: int
) -> None:
    case, fake = github
    fake.settings["acme/shop"] = {"protected": True, "protection": CLASSIC}
    fake.faults.inject(Answer(status=status, body={"message": "Not Found"}), path=path, times=9)
    told = asked(case, account=True)
    assert set(told.unread) == topics
    assert set(told.facts) == set(TOPICS) - topics
    assert all("it takes" in why for why in told.unread.values())


def test_an_organisation_that_does_not_tell_of_two_factors_is_a_gap(github: tuple[Case, FakeGithub]) -> None:
    case, fake = github
    fake.two_factor = None
    assert set(asked(case, account=True).unread) == {TWO_FACTOR}


def test_a_user_has_no_outsiders_and_no_organisation(github: tuple[Case, FakeGithub]) -> None:
    case, _ = github
    told = asked(case, account=True, owner_kind="user")
    assert set(told.facts) == {PROTECTION, ADMINISTRATORS, DEPLOY_KEYS}
    assert told.unread == {}


@pytest.mark.parametrize(("answer", "reason"), [
    (Answer(status=401, body={"message": "Bad credentials"}), "forge_denied"),
    (Answer(status=500, body={}), "forge_unreachable"),
    (Answer(body=[None, 7]), "forge_unreachable"),
    (Answer(body={"protected": True, "rules": 7}, headers={"Content-Type": "text/html"}), "forge_unreachable"),
])  # fmt: skip
def test_a_forge_that_fails_says_nothing_of_a_right(
    github: tuple[Case, FakeGithub], answer: Answer, reason: str
) -> None:
    case, fake = github
    fake.faults.inject(answer, path="/branches/main$", times=9)
    with pytest.raises(ForgeError) as error:
        asked(case)
    assert error.value.reason_code == reason


def test_most_requests_used_up_leave_the_rest_to_listing(github: tuple[Case, FakeGithub]) -> None:
    case, fake = github
    forge = case.open()
    assert isinstance(forge, SettledForge)
    used = {"X-RateLimit-Remaining": "900", "X-RateLimit-Limit": "5000"}
    fake.faults.inject(Answer(body={"protected": False}, headers=used), path="/branches/main$")
    forge.settings(SHOP, "main", account=False)
    asked_before = len(fake.seen)
    with pytest.raises(ForgeError) as error:
        forge.settings(SHOP, "main", account=False)
    assert (error.value.reason_code, len(fake.seen)) == ("forge_limited", asked_before)


# -- GitLab -------------------------------------------------------------------------------------------------


@pytest.fixture
def gitlab(tmp_path: Path) -> Iterator[tuple[Case, FakeGitlab]]:
    with running(ForgeKind.GITLAB, tmp_path) as case:
        assert isinstance(case.fake, FakeGitlab)
        case.fake.add("acme/shop", private=True, git=False)
        case.fake.settings["approval_rules"] = [{"id": 1, "approvals_required": 1}]
        case.fake.settings["protected_branches"] = [{"id": 1, "name": "main", "allow_force_push": False}]
        yield case, case.fake


def test_gitlab_tells_all_of_it(gitlab: tuple[Case, FakeGitlab]) -> None:
    case, fake = gitlab
    told = asked(case, account=True)
    assert (told.unread, rules(told)) == ({}, set())
    people = [{"id": n, "username": f"a{n}", "access_level": 40 + n % 2 * 10} for n in range(MANY + 1)]
    fake.settings |= {
        "protected_branches": [], "deploy_keys": [{"id": 7, "can_push": True}, {"id": 8, "can_push": False}],
        "members/all": people, "group members": people,
        "members": [{"id": 9, "username": "eve", "access_level": 30}, {"id": 10, "username": "bob", "access_level": 20},
                    {"id": 0, "username": "a0", "access_level": 40}],
    }  # fmt: skip
    fake.two_factor = False
    assert rules(asked(case, account=True)) == {
        ("default-branch-unprotected", None), ("many-administrators", None), ("outside-collaborator", "eve"),
        ("two-factor-not-required", None), ("deploy-key-writes", "7"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fits"), [("main", True), ("m*", True), ("*", True), ("[m]ain", False), ("mai?", False)]
)
def test_gitlab_protects_by_patterns_and_the_least_strict_counts(
    gitlab: tuple[Case, FakeGitlab], name: str, fits: bool
) -> None:
    case, fake = gitlab
    fake.settings["protected_branches"] = [{"id": 1, "name": name, "allow_force_push": False}]
    assert rules(asked(case)) == (set() if fits else {("default-branch-unprotected", None)})
    fake.settings["protected_branches"] += [{"id": 2, "name": "main", "allow_force_push": True}]
    assert rules(asked(case)) == {("force-push-allowed", None)}


def test_gitlab_of_an_edition_without_approvals_does_not_tell_of_reviews(gitlab: tuple[Case, FakeGitlab]) -> None:
    case, fake = gitlab
    fake.settings["approval_rules"] = [{"id": 1, "approvals_required": 0}]
    assert rules(asked(case)) == {("review-not-required", None)}
    del fake.settings["approval_rules"]
    told = asked(case)
    assert (set(told.unread), rules(told)) == ({REVIEWS}, set())


@pytest.mark.parametrize(("levels", "found"), [
    ([{"access_level": 0}], set()),
    ([{"access_level": 30}], {"review-not-required"}),
    ([{"access_level": 30}, {"access_level": 40}], {"review-not-required"}),
    ([{"access_level": 40}], {"administrators-not-bound"}),
    ([{"access_level": 0}, {"access_level": 40, "user_id": 5}, {"access_level": 30, "deploy_key_id": 7}], set()),
])  # fmt: skip
def test_who_may_push_to_gitlab_needs_no_review(
    gitlab: tuple[Case, FakeGitlab], levels: list[dict[str, Any]], found: set[str]
) -> None:
    case, fake = gitlab
    fake.settings["protected_branches"] = [{"id": 1, "name": "main", "push_access_levels": levels}]
    assert {rule for rule, _ in rules(asked(case))} == found


def test_approvals_that_only_reports_ask_for_are_no_review(gitlab: tuple[Case, FakeGitlab]) -> None:
    case, fake = gitlab
    fake.settings["approval_rules"] = [{"id": 1, "approvals_required": 1, "rule_type": "report_approver"}]
    assert rules(asked(case)) == {("review-not-required", None)}


@pytest.mark.parametrize(("of", "found"), [
    ({"acme/web": False, "acme": True}, set()),
    ({"acme/web": True, "acme": False}, set()),
    ({"acme/web": False, "acme": False}, {("two-factor-not-required", None)}),
])  # fmt: skip
def test_a_second_factor_that_a_group_above_requires_holds(
    tmp_path: Path, of: dict[str, bool], found: set[tuple[str, None]]
) -> None:
    with running(ForgeKind.GITLAB, tmp_path) as case:
        assert isinstance(case.fake, FakeGitlab)
        case.fake.add("acme/web/shop", private=True, git=False)
        case.fake.two_factor_of = of
        told = asked(case, account=True, owner="acme/web")
        assert {r for r in rules(told) if r[0].startswith("two")} == found
        case.fake.faults.inject(Answer(status=404, body={"message": "404"}), path="/groups/acme$", times=9)
        assert (TWO_FACTOR in asked(case, account=True, owner="acme/web").unread) is not of["acme/web"]


@pytest.mark.parametrize(("path", "topics"), [
    ("/protected_branches$", {PROTECTION, REVIEWS}), ("shop/members/all$", {ADMINISTRATORS}),
    ("acme/members/all$", {OUTSIDERS}), ("/deploy_keys$", {DEPLOY_KEYS}), ("/groups/acme$", {TWO_FACTOR}),
])  # fmt: skip
def test_a_refusal_of_gitlab_costs_its_topic_alone(
    gitlab: tuple[Case, FakeGitlab], path: str, topics: set[str]
) -> None:
    case, fake = gitlab
    fake.faults.inject(Answer(status=403, body={"message": "403 Forbidden"}), path=path, times=9)
    assert set(asked(case, account=True).unread) == topics


# -- Gitea --------------------------------------------------------------------------------------------------


@pytest.fixture
def gitea(tmp_path: Path) -> Iterator[tuple[Case, FakeGitea]]:
    with running(ForgeKind.GITEA, tmp_path) as case:
        assert isinstance(case.fake, FakeGitea)
        case.fake.add("acme/shop", private=True, git=False)
        yield case, case.fake


def test_gitea_tells_all_but_the_second_factor(gitea: tuple[Case, FakeGitea]) -> None:
    case, fake = gitea
    fake.permissions = {f"a{n}": "admin" for n in range(MANY + 1)} | {"eve": "write", "bob": "read"}
    fake.members = [f"a{n}" for n in range(MANY + 1)]
    fake.keys = [{"id": 7, "read_only": False}, {"id": 8, "read_only": True}]
    told = asked(case, account=True)
    assert set(told.unread) == {TWO_FACTOR}
    assert rules(told) == {
        ("default-branch-unprotected", None), ("many-administrators", None), ("outside-collaborator", "eve"),
        ("deploy-key-writes", "7"),
    }  # fmt: skip


@pytest.mark.parametrize(("protection", "found"), [
    ({"required_approvals": 1, "enable_force_push": False, "block_admin_merge_override": True}, set()),
    ({"required_approvals": 0, "enable_force_push": True, "block_admin_merge_override": False},
     {"review-not-required", "force-push-allowed", "administrators-not-bound"}),
    ({"required_approvals": 2}, set()),
    ({"required_approvals": 2, "enable_push": True}, {"review-not-required"}),
    ({"required_approvals": 2, "enable_push": True, "enable_push_whitelist": True}, set()),
])  # fmt: skip
def test_gitea_protects_by_a_rule(gitea: tuple[Case, FakeGitea], protection: Any, found: set[str]) -> None:
    case, fake = gitea
    fake.branch = {"name": "main", "protected": True, "effective_branch_protection_name": "main"}
    fake.protection = protection
    told = asked(case)
    assert (told.unread, {rule for rule, _ in rules(told)}) == ({}, found)


def test_a_rule_that_gitea_does_not_name_is_not_taken_for_a_strict_one(gitea: tuple[Case, FakeGitea]) -> None:
    case, fake = gitea
    fake.branch = {"name": "main", "protected": True, "effective_branch_protection_name": "", "required_approvals": 1}
    assert set(asked(case).unread) == {PROTECTION, REVIEWS}


def test_more_collaborators_than_gitea_is_asked_about_are_a_gap_of_their_own(gitea: tuple[Case, FakeGitea]) -> None:
    case, fake = gitea
    fake.permissions = {f"a{n}": "admin" for n in range(101)}
    told = asked(case)
    assert set(told.unread) == {ADMINISTRATORS, OUTSIDERS}
    assert set(told.facts) == {PROTECTION, DEPLOY_KEYS}


@pytest.mark.parametrize(("path", "topics"), [
    ("/branches/", {PROTECTION, REVIEWS}), ("/branch_protections/", {PROTECTION, REVIEWS}),
    ("/collaborators", {ADMINISTRATORS, OUTSIDERS}), ("/members$", {OUTSIDERS}), ("/keys$", {DEPLOY_KEYS}),
])  # fmt: skip
def test_a_refusal_of_gitea_costs_its_topic_alone(gitea: tuple[Case, FakeGitea], path: str, topics: set[str]) -> None:
    case, fake = gitea
    fake.branch = {"name": "main", "protected": True, "effective_branch_protection_name": "main"}
    fake.protection = {"required_approvals": 1}
    fake.faults.inject(Answer(status=403, body={"message": "forbidden"}), path=path, times=9)
    assert set(asked(case).unread) == topics
