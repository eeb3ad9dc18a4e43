"""Who approved an entry: real git, real ssh signatures. What cannot be verified is not approved."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.origins import Review
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.repos.approvals import Provenance, Reviews, provenances
from tasks.repos.config_file import ConfigFile, items
from tasks.repos.git import Git
from tests.builders import Repository

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def entry(ident: str = "x", *lines: str) -> str:
    return f"  - id: {ident}\n" + "".join(f"    {line}\n" for line in lines)


WIDE = entry("x", "rule: R1", "matches: 1")
NARROW = entry("x", "rule: R1", "repository: team/app", "matches: 1")


class Config:
    """A configuration repository. ``ada`` writes; ``bob`` and ``eve`` have keys, eve's is not allowed."""

    def __init__(self, place: Path, keys: Path) -> None:
        self.repo, self._keys = Repository(place / "conf"), keys
        self.signers = place / "signers"
        allowed = [f"{who}@example.invalid {(keys / f'{who}.pub').read_text()}" for who in ("bob", "ada")]
        self.signers.write_text("# who may approve\n" + "".join(allowed))
        self.git = Git(ProcessRunner(detect()), timeout_s=60, config_dir=place / "git")

    def write(self, *entries: str) -> None:
        (self.repo.path / "decisions.yaml").write_text("decisions:\n" + "".join(entries))

    def commit(self, *entries: str, by: str = "", more: tuple[str, ...] = ()) -> str:
        """A commit of ada's, signed by whom ``by`` names."""
        self.write(*entries)
        self.repo._clock += 60
        self.repo.git("add", "--all")
        self.repo.git(*self._signing(by), "commit", "--quiet", "--allow-empty", "--message", "work", *more)
        return self.repo.git("rev-parse", "HEAD")

    def merge(self, branch: str, by: str = "", *more: str) -> None:
        self.repo._clock += 60
        self.repo.git(*self._signing(by), "merge", "--quiet", "--no-ff", "--message", "merge", *more, branch)

    def _signing(self, by: str) -> list[str]:
        if not by:
            return []
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self._keys / by}", "-c", "commit.gpgSign=true"]

    def told(self, ident: str = "x", approval: str = "signed", reviews: Reviews | None = None) -> Provenance:
        file = ConfigFile(self.git, self.repo.path / "decisions.yaml")
        text = file.read().decode()
        lines = {e.id: n for n, e in items(text).items()}
        return provenances(
            file, text, lines, lines.values(), approval=approval, signers=self.signers, now=NOW, reviews=reviews
        )[ident]  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("keys")
    for who in ("ada", "bob", "eve"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", place / who], check=True)
    return place


@pytest.fixture
def config(tmp_path: Path, keys: Path) -> Config:
    return Config(tmp_path, keys)


def test_who_signed_and_did_not_write_approves(config: Config) -> None:
    commit = config.commit(WIDE, by="bob")
    config.repo.commit({"org.yaml": b"home: x"})
    told = config.told()
    assert (told.approver, told.author, told.how) == ("bob@example.invalid", "ada@example.invalid", "signed")
    assert (told.commit, told.problem) == (commit, "")
    assert told.decided_at is not None


@pytest.mark.parametrize(
    ("by", "why"),
    [
        ("", "it is not signed"),
        ("eve", "its signer is not in allowed_signers"),
        ("ada", "its author signed it, and nobody else"),
    ],
)
def test_what_nobody_else_signed_is_not_approved(config: Config, by: str, why: str) -> None:
    config.commit(WIDE, by=by, more=("--trailer", "Reviewed-by: bob <bob@example.invalid>"))
    told = config.told()
    assert told.approver is None
    assert why in told.problem


def test_another_name_of_the_same_key_is_the_author_still(config: Config, keys: Path) -> None:
    config.signers.write_text(f"bob@example.invalid,ada@* {(keys / 'bob.pub').read_text()}")
    config.commit(WIDE, by="bob")
    assert "its author signed it" in config.told().problem


def test_a_changed_entry_needs_its_own_approval_and_its_neighbours_do_not(config: Config) -> None:
    config.commit(WIDE, entry("y", "rule: R2"), by="bob")
    config.commit(WIDE.replace("matches: 1", "matches: 9"), "\n  # about y\n", entry("y", "rule: R2"))
    assert "not signed" in config.told("x").problem
    assert config.told("y").approver == "bob@example.invalid"


def test_a_line_taken_out_leaves_no_approval_behind(config: Config) -> None:
    """Each line that is left is from the approved commit: blame would say that all of it is approved."""
    config.commit(NARROW, by="bob")
    assert config.told().approver
    config.commit(WIDE)
    blamed = config.repo.git("blame", "--porcelain", "decisions.yaml").splitlines()
    assert len({line.split()[0] for line in blamed if len(line.split()[0]) == 40}) == 1
    assert "not signed" in config.told().problem


def test_an_old_version_put_back_is_not_approved_again(config: Config) -> None:
    config.commit(WIDE, by="bob")
    config.commit(NARROW, by="bob")
    config.commit(WIDE)
    assert "not signed" in config.told().problem


def test_a_signed_merge_approves_what_it_brings(config: Config) -> None:
    config.commit("", by="bob")
    config.repo.git("checkout", "-q", "-b", "change")
    commit = config.commit(WIDE)
    config.repo.git("checkout", "-q", "main")
    config.repo.commit({"org.yaml": b"home: x"})
    config.merge("change", "bob")
    told = config.told()
    assert (told.approver, told.commit) == ("bob@example.invalid", commit)


def test_a_merge_that_brings_an_older_version_back_decides_itself(config: Config) -> None:
    config.commit(WIDE, by="bob")
    config.repo.git("branch", "old")
    config.commit(NARROW, by="bob")
    config.repo.git("checkout", "-q", "old")
    config.repo.commit({"other": b"1"})
    config.repo.git("checkout", "-q", "main")
    config.merge("old", "", "--no-commit")
    config.commit(WIDE)
    assert len(config.repo.git("rev-list", "--parents", "-1", "HEAD").split()) == 3
    assert "not signed" in config.told().problem


def test_what_git_cannot_tell_is_not_approved(config: Config, tmp_path: Path) -> None:
    config.commit("  - {id: x, rule: R1}\n", by="bob")
    file = ConfigFile(config.git, config.repo.path / "decisions.yaml")
    text = file.read().decode()
    told = provenances(file, text, {"x": 2}, [2, 2, 3], approval="signed", signers=config.signers, now=NOW)
    assert "nobody can tell which commit" in told["x"].problem
    config.repo._clock = int(NOW.timestamp()) + 86_400
    config.commit(WIDE, by="bob")
    assert config.told().problem == "its commit is dated in the future"
    (config.repo.git_dir / "shallow").write_text("")
    with pytest.raises(ScanGapError, match="shallow"):
        config.told()
    (tmp_path / "loose.yaml").write_text("decisions: []")
    with pytest.raises(ScanGapError, match="no git repository"):
        ConfigFile(config.git, tmp_path / "loose.yaml")


def test_a_review_that_nobody_can_verify_is_none_and_a_trial_asks_for_none(config: Config) -> None:
    config.commit(WIDE)
    assert "a review cannot be verified" in config.told(approval="reviewed").problem
    for told, problem in ((Review(approver="bob"), ""), (Review(problem="nobody did"), "nobody did")):
        made = config.told(approval="reviewed", reviews=lambda _commit, told=told: told)
        assert (made.approver, made.how is None, problem in made.problem) == (told.approver, bool(problem), True)
    trial = config.told(approval="none")
    assert (trial.how, trial.approver, trial.problem) == ("none", None, "")


def test_what_is_not_committed_is_not_there(config: Config) -> None:
    config.commit(WIDE, by="bob")
    config.write(NARROW)
    file = ConfigFile(config.git, config.repo.path / "decisions.yaml")
    assert file.read().decode().endswith(WIDE)
    assert file.is_changed(file.read())


def test_a_work_tree_beside_others_is_read_as_any(config: Config, tmp_path: Path) -> None:
    config.commit(WIDE, by="bob")
    config.repo.git("worktree", "add", "-q", str(tmp_path / "beside"), "HEAD")
    file = ConfigFile(config.git, tmp_path / "beside" / "decisions.yaml")
    assert file.read().decode().endswith(WIDE)
    assert set(file.origins(file.read().decode(), [2])) == {"x"}
