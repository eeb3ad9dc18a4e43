"""Who approved an entry: real git, real ssh signatures. What cannot be verified is not approved."""

from __future__ import annotations

import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.origins import Review
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.repos.approvals import Provenance, Reviews, provenances
from tasks.repos.config_entries import MOST_ENTRIES, entries
from tasks.repos.config_file import ConfigFile
from tasks.repos.entry_origins import Origin, origins
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
        return self.commit_all(by=by, more=more)

    def commit_all(self, by: str = "", more: tuple[str, ...] = ()) -> str:
        """As ``commit``, of what lies there."""
        self.repo._clock += 60
        self.repo.git("add", "--all")
        self.repo.git(*self._signing(by), "commit", "--quiet", "--allow-empty", "--message", "work", *more)
        return self.repo.git("rev-parse", "HEAD")

    def text(self) -> str:
        return (self.repo.path / "decisions.yaml").read_text()

    def merge(self, branch: str, by: str = "", *more: str, says: str = "merge") -> None:
        self.repo._clock += 60
        who = ["-c", f"user.name={by}", "-c", f"user.email={by}@example.invalid"] if by else []
        self.repo.git(*who, *self._signing(by), "merge", "--quiet", "--no-ff", "--message", says, *more, branch)

    def _signing(self, by: str) -> list[str]:
        if not by:
            return []
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self._keys / by}", "-c", "commit.gpgSign=true"]

    def told(self, ident: str = "x", approval: str = "signed", reviews: Reviews | None = None) -> Provenance:
        file = ConfigFile(self.git, self.repo.path / "decisions.yaml")
        data = file.read()
        lines = {e.id: e.line for e in entries(data)}
        told = provenances(file, data, lines, approval=approval, signers=self.signers, now=NOW, reviews=reviews)
        return told[ident]


def made_keys(place: Path) -> Path:
    """Keys of everybody, below a folder."""
    for who in ("ada", "bob", "eve"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", who, "-f", place / who], check=True)
    return place


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_keys(tmp_path_factory.mktemp("keys"))


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


def test_a_signed_merge_approves_what_its_message_names(config: Config) -> None:
    config.commit(entry("z", "rule: Z"), by="bob")
    config.repo.git("checkout", "-q", "-b", "change")
    commit = config.commit(entry("z", "rule: Z"), WIDE, entry("y", "rule: R2"))
    config.repo.git("checkout", "-q", "main")
    config.repo.commit({"org.yaml": b"home: x"})
    config.merge("change", "bob", says="merge\n\nApproves: x, w")
    told = config.told()
    assert (told.approver, told.commit) == ("bob@example.invalid", commit)
    assert "or a merge that says `Approves: y`" in config.told("y").problem, "what it does not name"
    config.commit(entry("z", "rule: Z"), NARROW)
    assert "not signed" in config.told().problem, "nor what has changed since"


def test_a_signer_who_pulls_approves_nothing(config: Config) -> None:
    """A merge of the branch in force into one of his own looks like any other, and comes back by a fast-forward."""
    config.commit(entry("z", "rule: Z"))
    config.repo.git("checkout", "-q", "-b", "own")
    config.repo.commit({"f": b"x"})
    config.repo.git("checkout", "-q", "main")
    config.commit(entry("z", "rule: Z"), WIDE)
    config.repo.git("checkout", "-q", "own")
    config.merge("main", "bob", says="Merge branch 'main' of example.invalid:conf into own")
    assert "not signed" in config.told().problem


@pytest.mark.parametrize(("by", "why"), [("ada", "wrote what it brings"), ("eve", "not in allowed_signers")])
def test_a_merge_approves_nothing_of_who_wrote_a_commit_of_it(config: Config, by: str, why: str) -> None:
    """The last touch is another's: the one who signs wrote the rest."""
    config.commit(entry("z", "rule: Z"), by="bob")
    config.repo.git("checkout", "-q", "-b", "change")
    config.commit(entry("z", "rule: Z"), WIDE)
    config.commit(entry("z", "rule: Z"), NARROW, more=("--author", "Carol <carol@example.invalid>"))
    config.repo.git("checkout", "-q", "main")
    config.merge("change", by, says="merge\n\nApproves: x")
    assert why in config.told().problem


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
    config.commit(WIDE, WIDE.replace("R1", "R2"), by="bob")
    file = ConfigFile(config.git, config.repo.path / "decisions.yaml")
    told = provenances(file, file.read(), {"x": 2}, approval="signed", signers=config.signers, now=NOW)
    assert "nobody can tell which commit" in told["x"].problem
    config.commit(WIDE, by="bob")
    file = ConfigFile(config.git, config.repo.path / "decisions.yaml")
    assert (origins(file, file.read(), {"x": 3}), len(origins(file, file.read(), {"x": 2}))) == ({}, 1)
    config.repo._clock = int(NOW.timestamp()) + 86_400
    config.commit(NARROW, by="bob")
    assert config.told().problem == "its commit is dated in the future"
    (config.repo.git_dir / "shallow").write_text("")
    with pytest.raises(ScanGapError, match="shallow"):
        config.told()
    (tmp_path / "loose.yaml").write_text("decisions: []")
    with pytest.raises(ScanGapError, match="no git repository"):
        ConfigFile(config.git, tmp_path / "loose.yaml")


@pytest.mark.parametrize(
    ("email", "date", "problem"),
    [
        ("a\x0cb@example.invalid", "1700000000 +0000", "it is not signed"),
        ("ada@example.invalid", "999999999999999 +0000", "its commit has no date that can be read"),
    ],
)
def test_an_odd_commit_costs_its_entry_and_no_night(config: Config, email: str, date: str, problem: str) -> None:
    tree = config.repo.tree(("100644", "blob", config.repo.blob(("decisions:\n" + WIDE).encode()), b"decisions.yaml"))
    raw = f"tree {tree}\nauthor A <{email}> 1700000000 +0000\ncommitter A <{email}> {date}\n\nwork\n".encode()
    commit = config.repo.git("hash-object", "-t", "commit", "-w", "--literally", "--stdin", stdin=raw)
    config.repo.git("update-ref", "refs/heads/main", commit)
    told = config.told()
    assert (told.author, problem in told.problem) == (email, True)


def test_a_digest_is_of_the_whole_entry_wherever_its_text_goes_on(config: Config) -> None:
    """YAML lets a quoted text go on in the first column; what follows it is of the entry still."""
    text = 'decisions:\n- id: x\n  reason: "because\nof this"\n  repository: %s\n'
    for repository, by in (("team/app", "bob"), ("'*'", "")):
        (config.repo.path / "decisions.yaml").write_text(text % repository)
        config.repo._clock += 60
        config.repo.git("add", "--all")
        config.repo.git(*config._signing(by), "commit", "-q", "-m", "work")
        assert bool(config.told().approver) == bool(by)


def test_what_stood_in_a_text_was_no_entry_and_layout_says_nothing(config: Config) -> None:
    config.commit("  - id: q\n    reason: |\n      decisions:\n" + WIDE.replace("  ", "        "), by="bob")
    config.commit(WIDE)
    assert "not signed" in config.told().problem, "bob signed a text"
    config.commit("  - {id: 'x', rule: R1, matches: 1}\n", by="bob")
    config.commit(WIDE)
    assert "not signed" in config.told().problem, "in quotes is another value"
    config.commit(NARROW)
    commit = config.commit("  # about x\n  - {id: x, rule: R1, matches: 1}  # so\n", by="bob")
    config.commit(WIDE)
    assert (config.told().approver, config.told().commit) == ("bob@example.invalid", commit)


def test_entries_are_as_yaml_means_them() -> None:
    def said(text: str) -> list[tuple[str, int]]:
        return [(e.id, e.line) for e in entries(text.encode())]

    told = said("a: [1, {b: c}]\ndecisions: [{id: x}, {k: {id: y}, id: z}]\ndecisions: [{id: w}]\n")
    assert told == [("x", 2), ("z", 2)]
    assert said("decisions:\n- 1\n- [id, x]\n-\n  id: x\n") == [("", 2), ("", 3), ("x", 5)]
    many = "decisions:\n" + "- 1\n" * (MOST_ENTRIES + 1)
    for text in ("", "- id: x\n", "decisions: x\n", "decisions:\n- id: x\n  y: [\n", many):
        assert said(text) == []
    assert entries(b"decisions: [\xff]") == []


def test_a_hostile_version_takes_no_time_and_is_one_without_entries(config: Config) -> None:
    """Text that a pattern could choke on, and a version that is too large; each once, then removed."""
    config.commit(WIDE, by="bob")
    config.commit(WIDE, "  # " + " " * 200_000 + "x\n  - k: " + " " * 200_000 + "x\n")
    config.commit(WIDE)
    started = time.monotonic()
    assert config.told().approver
    assert time.monotonic() - started < 5
    (config.repo.path / "decisions.yaml").write_text("decisions:\n" + WIDE + "#" * 7 * 1024**2)
    config.repo.commit()
    with pytest.raises(ScanGapError, match="larger than"):
        config.told()
    config.commit(WIDE)
    assert "not signed" in config.told().problem, "nobody knows what it said meanwhile"


def test_a_night_reads_what_is_new(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Merges of branches that have nothing to do with it cost no call of git each, and none at all the next time."""
    config.commit(entry("e0", "rule: R"))
    config.repo.git("branch", "old")
    ids = [f"e{n}" for n in range(6)]
    for n in range(2, 7):
        config.commit(*[entry(i, "rule: R") for i in ids[:n]], by="bob")
    for n in range(4):
        config.repo.git("checkout", "-q", "-B", f"side{n}", "old")
        config.repo.commit({f"f{n}": b"x"})
        config.repo.git("checkout", "-q", "main")
        config.merge(f"side{n}")
    calls: list[str] = []
    real = Git.run

    def counted(self: Git, args: list[str], **more: Any) -> Any:
        calls.append(next(a for a in args if a in ("cat-file", "rev-list", "rev-parse", "log")))
        return real(self, args, **more)

    def found() -> dict[str, Origin]:
        file = ConfigFile(config.git, config.repo.path / "decisions.yaml")
        data = file.read()
        calls.clear()
        return origins(file, data, {e.id: e.line for e in entries(data)})

    monkeypatch.setattr(Git, "run", counted)
    first = found()
    assert (len(first), calls) == (6, ["rev-list", "cat-file", "cat-file", "log"])
    assert (found(), calls) == (first, []), "HEAD is the same"
    config.commit(*[entry(i, "rule: R") for i in [*ids, "new"]])
    monkeypatch.setattr("tasks.repos.entry_origins._AT_A_TIME", 1)
    told = found()
    assert {i: o for i, o in told.items() if i != "new"} == first
    assert calls.count("cat-file") <= 4, "versions before are not read again"
    next((config.git.folder / "origins").iterdir()).write_text("{")
    assert found() == told, "what is kept is no more than a help"


def test_a_review_that_nobody_can_verify_is_none_and_a_trial_asks_for_none(config: Config) -> None:
    commit = config.commit(WIDE)
    assert "a review cannot be verified" in config.told(approval="reviewed").problem
    for told, problem in ((Review(approver="bob", head=commit), ""), (Review(problem="nobody did"), "nobody did")):
        asked = Reviews(ask=lambda _commit, told=told: told, content=lambda _commit: None)
        made = config.told(approval="reviewed", reviews=asked)
        assert (made.approver, made.how is None, problem in made.problem) == (told.approver, bool(problem), True)
    trial = config.told(approval="none")
    assert (trial.how, trial.approver, trial.problem) == ("none", None, "")


def test_a_review_is_of_the_entry_as_it_was_looked_at(config: Config) -> None:
    """A squash: its head is at the forge alone. What was gone from it before it was merged was not approved."""
    early = config.commit(entry("z", "rule: Z"), WIDE)
    for content, is_approved in (
        (b"decisions:\n" + WIDE.encode(), True),
        (b"decisions:\n" + NARROW.encode(), False),
        (b"decisions:\n" + WIDE.encode() + WIDE.encode(), False),
        (b"decisions: []\n", False),
        (None, False),
    ):
        review = Review(approver="bob", head="d" * 40)
        asked = Reviews(ask=lambda _commit, review=review: review, content=lambda _head, content=content: content)
        told = config.told(approval="reviewed", reviews=asked)
        assert (told.approver == "bob", "did not hold the entry" in told.problem) == (is_approved, not is_approved)
    config.commit(entry("z", "rule: Z"), WIDE, entry("y", "rule: R2"))
    asked = Reviews(ask=lambda _commit: Review(approver="bob", head=early), content=lambda _head: None)
    assert config.told("x", "reviewed", asked).approver == "bob", "the head is here"
    assert config.told("y", "reviewed", asked).approver is None, "it came later"
    file = ConfigFile(config.git, config.repo.path / "decisions.yaml")
    for commit, approver in ((early, "bob"), ("0" * 40, None)):
        known = provenances(
            file, file.read(), {"x": 4}, approval="reviewed", signers=None, now=NOW, known={"x": (commit, "bob")}
        )  # fmt: skip
        assert known["x"].approver == approver, "what was reviewed in another commit is asked again"


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
    assert set(origins(file, file.read(), {"x": 2})) == {"x"}
    assert (file.branch(), ConfigFile(config.git, config.repo.path / "decisions.yaml").branch()) == (None, "main")
