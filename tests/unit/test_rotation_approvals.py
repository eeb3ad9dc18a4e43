"""Dangerous rotations need an approval in git: real git, real signatures. What cannot be verified approves nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cli_approve import approve
from flows.cli_decide import app as decide_app
from flows.rotation_approvals import approvals, subjects
from flows.settings import Settings, load
from tasks.core.errors import ForgeError, UsageError
from tasks.core.origins import DecisionPlace, Review
from tasks.patrol.approving import Approval, read_approvals
from tasks.patrol.deciding import Deciding
from tests.builders import Repository
from tests.rotation_approvals import TODAY, entry
from tests.thorough import thorough
from tests.unit.test_approvals import Config, made_keys
from tests.unit.test_deciding import BY_BOB, Forge

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")
DB = "host: 127.0.0.1, dbname: shop, admin: {user: root, password: 'env:ADMIN'}"
ORG = f"""
home: ../home
decisions: {{allowed_signers: ../signers}}
vault: {{address: "https://vault.example.org"}}
rotation:
  policies: {{p: {{every_days: 30}}}}
  secrets:
    pair: {{vault: {{mount: secret, path: pair}}, postgresql: {{users: [a, b], {DB}}}, policy: p}}
    lone: {{vault: {{mount: secret, path: lone}}, postgresql: {{users: [c], in_place: accepted, {DB}}}, policy: p}}
    keys: {{aws: {{id: k}}, iam: {{user: deploy}}, policy: p}}
    broker: {{vault: {{mount: secret, path: broker}}, program: {{executable: rotate.py, secrets: {{a: 'env:A'}}}}, policy: p}}
    web: {{vault: {{mount: secret, path: web}}, certificate: {{common_name: x, vault: {{mount: pki, role: w}}}}, policy: p}}
    kept: {{vault: {{mount: secret, path: kept}}, certificate: {{common_name: x, revokes: false, vault: {{mount: pki, role: w}}}}, policy: p}}
    role: {{static_role: {{mount: database, role: app, in_place: accepted}}, policy: p}}
"""  # noqa: E501 - a secret a line
DANGEROUS = {"lone", "keys", "broker", "web", "role"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("NIGHTWARDEN_", "VAULT_", "AWS_"))]:
        monkeypatch.delenv(name)


class Org(Config):
    """A configuration repository with an org.yaml; ada writes, bob may sign."""

    def __init__(self, place: Path, keys: Path) -> None:
        super().__init__(place, keys)
        self.repo._clock = int(time.time()) - 86400
        self.org(ORG)

    def org(self, text: str) -> None:
        (self.repo.path / "org.yaml").write_text(text)

    @property
    def settings(self) -> Settings:
        return load(self.repo.path / "org.yaml")

    def entry(self, name: str = "broker", **changes: str) -> str:
        return entry(self.settings, name, **changes)

    def approval(self, name: str = "broker", at: datetime | None = None) -> Approval:
        return approvals(self.settings, at or datetime.now(UTC))[name]

    def problem(self, name: str = "broker", **more: Any) -> str:
        found = self.approval(name, **more)
        assert found.reason_code == "approval_missing" and found.refusal == ("approval_missing", found.problem)
        return found.problem


@pytest.fixture
def org(tmp_path: Path, keys: Path) -> Org:
    return Org(tmp_path, keys)


def test_what_is_dangerous_and_what_is_only_by_the_setting(org: Org) -> None:
    assert subjects(org.settings).keys() == DANGEROUS
    org.org(ORG.replace("rotation:\n", "rotation:\n  dangerous: [postgresql]\n"))
    assert subjects(org.settings).keys() == DANGEROUS | {"pair"}
    assert "names postgresql" in ", ".join(subjects(org.settings)["pair"].dangers)


def test_one_that_somebody_else_signed_is_approved_and_its_neighbours_are_not(org: Org) -> None:
    commit = org.commit(org.entry(), org.entry("keys", expires="2020-01-01"), by="bob")
    found = approvals(org.settings)
    assert found.keys() == DANGEROUS
    told = found["broker"]
    assert (told.approver, told.how, told.commit, told.reason_code) == ("bob@example.invalid", "signed", commit, None)
    assert told.until == TODAY + timedelta(days=364) and commit[:12] in told.told
    assert "expired" in found["keys"].problem
    assert "nobody has approved it" in found["lone"].problem and "rotate approve lone" in found["lone"].problem


@pytest.mark.parametrize(
    ("by", "why"), [("", "it is not signed"), ("eve", "not in allowed_signers"), ("ada", "its author signed it")]
)
def test_what_nobody_else_signed_approves_nothing(org: Org, by: str, why: str) -> None:
    org.commit(org.entry(), by=by)
    assert why in org.problem()


CHANGES = {
    "the executable": ("executable: rotate.py", "executable: other.py"),
    "a reference": ("a: 'env:A'", "a: 'env:B'"),
    "the place": ("path: broker", "path: other"),
    "the store": ("vault.example.org", "evil.example.org"),
    "the grace": ("p: {every_days: 30}", "p: {every_days: 30, grace_minutes: 0}"),
    "how long one in use is kept": ("p: {every_days: 30}", "p: {every_days: 30, hold_days: 0}"),
    "an argument": ("executable: rotate.py", "executable: rotate.py, arguments: [--force]"),
}


@pytest.mark.parametrize(
    "what",
    [
        "the grace",
        *list(CHANGES)[:1],
        *(pytest.param(w, marks=thorough) for w in list(CHANGES)[1:] if w != "the grace"),
    ],
)
def test_another_place_or_target_needs_another_approval(org: Org, what: str) -> None:
    org.commit(org.entry(), by="bob")
    org.org(ORG.replace(*CHANGES[what]))
    assert "as it was configured before" in org.problem()
    org.org(ORG)
    assert org.approval().reason_code is None


def test_another_user_needs_another_and_what_is_set_to_its_default_or_the_policy_needs_none(org: Org) -> None:
    org.commit(org.entry("lone"), by="bob")
    org.org(ORG.replace("users: [c]", "users: [d]"))
    assert "as it was configured before" in org.problem("lone")
    org.org(ORG.replace("users: [c]", "port: 5432, users: [c]").replace("every_days: 30", "every_days: 10"))
    assert org.approval("lone").reason_code is None


def test_each_checkout_has_the_same_digest(org: Org, tmp_path: Path) -> None:
    org.commit(by="bob")
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(org.repo.path, tmp_path / "elsewhere" / "conf")
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    for place in ("elsewhere", "linked"):
        assert subjects(load(tmp_path / place / "conf" / "org.yaml")) == subjects(org.settings)


def test_who_edits_an_approved_entry_has_approved_nothing(org: Org) -> None:
    """The entry of another secret becomes one of this: each line that matters was signed once."""
    org.commit(org.entry("keys", id="x"), org.entry("lone"), by="bob")
    assert org.approval("keys").reason_code is None
    org.commit(org.entry("broker", id="x"), org.entry("lone"))
    assert "not signed" in org.problem("broker") and org.approval("lone").reason_code is None
    org.commit(org.entry("lone", expires=str(TODAY + timedelta(days=1))))
    assert "not signed" in org.problem("lone"), "a longer or shorter time is another approval"


def test_it_ends_by_its_day_and_a_year_after_its_commit(org: Org) -> None:
    org.commit(org.entry(expires="2999-12-31"), by="bob")
    decided = datetime.fromtimestamp(int(org.repo.git("show", "-s", "--format=%ct", "HEAD")), UTC)
    assert org.approval(at=decided + timedelta(days=364)).reason_code is None
    assert "expired" in org.problem(at=decided + timedelta(days=366))


def test_what_is_not_committed_or_in_another_file_counts_for_nothing(org: Org) -> None:
    org.commit(by="bob")
    org.write(org.entry())
    assert "not committed" in org.problem()
    (org.repo.path / "other.yaml").write_text("decisions:\n" + org.entry())
    org.commit(by="bob")
    assert "nobody has approved it" in org.problem()


def test_two_entries_with_one_id_and_a_broken_one_approve_nothing(org: Org) -> None:
    org.commit(org.entry(), org.entry("keys", id="rotate-broker"), by="bob")
    assert "decide check" in org.problem()
    org.commit(org.entry(rule="R1"), org.entry("keys"), by="bob")
    assert "decide check" in org.problem() and org.approval("keys").reason_code is None


@pytest.mark.parametrize("fault", ["no repository", "conflict", "signers", "not committed", "shallow"])
def test_what_cannot_be_read_approves_nothing_and_says_why(org: Org, tmp_path: Path, fault: str) -> None:
    org.commit(org.entry(), by="bob")
    assert org.approval().reason_code is None
    if fault == "no repository":
        shutil.rmtree(org.repo.path / ".git")
    elif fault == "signers":
        org.signers.unlink()
    elif fault == "shallow":
        (org.repo.path / ".git" / "shallow").write_text("")
    elif fault == "not committed":
        org.repo.git("rm", "--quiet", "--cached", "decisions.yaml")
        org.repo.git("commit", "--quiet", "--message", "gone")
    else:
        (org.repo.path / "decisions.yaml").write_text("decisions:\n<<<<<<< HEAD\n" + org.entry() + ">>>>>>> x\n")
        org.repo.git("commit", "--quiet", "--all", "--message", "x")
    found = approvals(org.settings)
    assert {(a.reason_code, bool(a.problem)) for a in found.values()} == {("approval_unread", True)}


def test_without_a_place_or_with_none_in_a_deployment_nothing_is_approved(
    org: Org, monkeypatch: pytest.MonkeyPatch
) -> None:
    org.write(org.entry())
    org.org(ORG.replace("{allowed_signers: ../signers}", "{approval: none}"))
    told = org.approval()
    assert (told.reason_code, told.how, told.approver) == (None, "none", None) and "until" in told.told
    monkeypatch.setenv("NIGHTWARDEN_DEPLOYED", "1")
    assert "signed or reviewed" in org.problem()
    monkeypatch.delenv("NIGHTWARDEN_DEPLOYED")
    org.org(ORG.replace("decisions: {allowed_signers: ../signers}\n", ""))
    assert "decisions: {allowed_signers: FILE}" in org.problem()


def test_an_executable_of_the_repository_is_approved_with_what_it_holds(org: Org) -> None:
    script = org.repo.path / "rotate.py"
    script.write_text("print('good')")
    org.commit(org.entry(), by="bob")
    assert org.approval().reason_code is None
    script.write_text("print('evil')")
    assert "as it was configured before" in org.problem()
    org.org(ORG.replace("executable: rotate.py", "executable: /bin/true"))
    org.commit(org.entry(), by="bob")
    assert org.approval().reason_code is None, "of another only the path is known"


def test_a_review_counts_and_a_forge_that_is_away_approves_nothing(org: Org) -> None:
    org.repo.git("remote", "add", "origin", "https://git.example.org/acme/conf.git")
    org.commit(org.entry())
    place = DecisionPlace(file=org.repo.path / "decisions.yaml", approval="reviewed")
    forge = Forge(BY_BOB, ForgeError("forge_unreachable", "it is away"), Review(problem="nobody did"))
    found = []
    for _ in range(3):
        found.append(read_approvals(place, org.git, subjects(org.settings), datetime.now(UTC), [forge])["broker"])  # type: ignore[list-item]
    assert (found[0].approver, found[0].how, found[0].reason_code) == ("bob", "reviewed", None)
    assert (found[1].reason_code, "it is away" in found[1].problem) == ("approval_unread", True)
    assert (found[2].reason_code, "nobody did" in found[2].problem) == ("approval_missing", True)


def test_a_review_that_cannot_be_verified_approves_nothing(org: Org) -> None:
    org.org(ORG.replace("{allowed_signers: ../signers}", "{approval: reviewed}"))
    org.commit(org.entry(), by="bob")
    assert "a review cannot be verified" in org.problem()


def test_five_thousand_entries_are_read_and_the_one_that_counts_is_found(org: Org) -> None:
    """Of those of other settings git is asked nothing."""
    one = org.entry(id="NAME", digest="DIGEST")
    others = [one.replace("NAME", f"o{n}").replace("DIGEST", f"{n:064x}") for n in range(4999)]
    org.commit(*others, org.entry(), by="bob")
    assert org.approval().entry == "rotate-broker"
    org.commit(*others, by="bob")
    assert "as it was configured before" in org.problem()


# -- the commands -------------------------------------------------------------------------------------------------


def call(org: Org, name: str, *, until: str | None = None, dry_run: bool = False) -> None:
    approve(name, reason="It was tried: in staging.", until=until, dry_run=dry_run, config=org.repo.path / "org.yaml")


def test_approve_writes_what_counts_once_it_is_signed(org: Org, capsys: pytest.CaptureFixture[str]) -> None:
    org.commit(by="bob")
    call(org, "broker", dry_run=True)
    assert "nothing was written" in capsys.readouterr().out and "broker" not in org.text()
    call(org, "broker")
    said = capsys.readouterr().out
    assert "somebody else signs the commit" in said and "an executable of yours" in said
    written = org.text()
    call(org, "broker")
    assert "not committed" in capsys.readouterr().out and org.text() == written, "it is there already"
    org.commit_all(by="bob")
    assert org.approval().approver == "bob@example.invalid"
    with pytest.raises(UsageError, match="approved already: rotate-broker, by bob"):
        call(org, "broker")
    org.org(ORG.replace("rotate.py", "other.py"))
    call(org, "broker", until=str(TODAY + timedelta(days=9)))
    assert org.text().count("- id:") == 1, "it takes the place of the one before"
    org.commit_all(by="bob")
    assert org.approval().until == TODAY + timedelta(days=9)
    decide_app(["check", "--config", str(org.repo.path / "org.yaml")], standalone_mode=False)
    assert "of broker as it is configured" in capsys.readouterr().out
    org.org(ORG)
    decide_app(["check", "--config", str(org.repo.path / "org.yaml")], standalone_mode=False)
    assert "broker is configured otherwise since" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "until", "why"),
    [
        ("pair", None, "needs no approval"),
        ("nobody", None, "no secret is called nobody"),
        ("broker", "2020-01-01", "past"),
        ("broker", str(TODAY + timedelta(days=365)), "too far"),
    ],
)
def test_what_cannot_be_approved_is_not_written(org: Org, name: str, until: str | None, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        call(org, name, until=until)
    assert not (org.repo.path / "decisions.yaml").exists()


def test_decide_writes_none_and_a_patrol_keeps_it_beside_its_decisions(org: Org, tmp_path: Path) -> None:
    from tasks.lake.lake import Lake

    org.commit(org.entry(), org.entry("keys", expires="2020-01-01"), by="bob")
    config = str(org.repo.path / "org.yaml")
    asked = ["--kind", "approved_rotation", "--rule", "R", "--reason", "x", "--until", str(TODAY)]
    with pytest.raises(UsageError, match="as it is configured"):
        decide_app([*asked, "--config", config], standalone_mode=False)
    assert org.settings.decisions is not None
    lake = Lake.open(tmp_path / "lake", key_id="k")
    deciding = Deciding(lake.snapshot(), datetime.now(UTC), org.settings.decisions.place(), org.git)
    assert deciding.judge()({"rule_id": "R"}) is None, "it speaks of no finding"
    assert {r["decision_id"]: (r["state"], r["kind"]) for r in deciding.rows()} == {
        "rotate-broker": ("in_force", "approved_rotation"), "rotate-keys": ("expired", "approved_rotation"),
    }  # fmt: skip


def test_the_repository_of_the_tests_is_no_part_of_it(tmp_path: Path) -> None:
    """A configuration in no repository: the paths count from its folder."""
    repo = Repository(tmp_path / "plain")
    shutil.rmtree(repo.path / ".git")
    (repo.path / "org.yaml").write_text(ORG.replace("{allowed_signers: ../signers}", "{approval: none}"))
    first = subjects(load(repo.path / "org.yaml"))["broker"].digest
    subprocess.run(["mv", repo.path, tmp_path / "moved"], check=True)
    assert subjects(load(tmp_path / "moved" / "org.yaml"))["broker"].digest == first
