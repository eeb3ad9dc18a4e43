"""Nights after the first: what changed is scanned, what did not is not, and nothing closes without having been read."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.core.errors import UsageError
from tasks.scanners import EXPECTED
from tests.builders import Repository
from tests.hostile.nights import Night, copied, night
from tests.hostile.repositories import PYTHON, TERRAFORM, TOKEN

pytestmark = pytest.mark.tools

TOOLS = ("kingfisher", "bandit", "checkov")
B602, OPEN_PORT = ("app.py", "B602"), ("main.tf", "CKV_AWS_24")


def organisation(org: Path) -> None:
    shop = Repository(org / "shop")
    shop.commit({"app.py": PYTHON, "main.tf": TERRAFORM, "README.md": b"a shop\n"})
    shop.git("switch", "--quiet", "--create", "side")
    shop.commit({"token.txt": b"token = " + TOKEN + b"\n"})
    shop.git("switch", "--quiet", "main")
    Repository(org / "lib").commit({"app.py": PYTHON, "lib.py": b"x = 1\n"})


@dataclass
class Story:
    """An organisation that was patrolled once; ``next`` patrols it again."""

    org: Path
    home: Path
    first: Night

    def repo(self, slug: str) -> Repository:
        repo = Repository(self.org / slug)
        repo._clock += 100_000
        return repo

    def next(self, **more: object) -> Night:
        return night(self.home, self.org, **more)


@pytest.fixture(scope="module")
def patrolled(tmp_path_factory: pytest.TempPathFactory) -> Story:
    place = tmp_path_factory.mktemp("patrolled")
    organisation(place / "org")
    return Story(place / "org", place / "home", night(place / "home", place / "org"))


@pytest.fixture
def story(patrolled: Story, tmp_path: Path) -> Story:
    """The patrolled organisation, for one test alone."""
    return Story(copied(patrolled.org, tmp_path / "org"), copied(patrolled.home, tmp_path / "home"), patrolled.first)


def outcomes(told: Night, slug: str) -> dict[str, tuple[str, str | None]]:
    return {tool: told.said(slug, tool) for tool in TOOLS}


def everywhere(outcome: str, reason_code: str | None = None) -> dict[str, tuple[str, str | None]]:
    return dict.fromkeys(TOOLS, (outcome, reason_code))


def test_the_first_night_reads_everything(patrolled: Story) -> None:
    first = patrolled.first
    assert outcomes(first, "shop") == everywhere("ok")
    assert outcomes(first, "lib") == {**everywhere("ok"), "checkov": ("nothing_to_read", None)}
    assert B602 in first.open("shop", "bandit") and B602 in first.open("lib", "bandit")
    assert OPEN_PORT in first.open("shop", "checkov")
    assert {path for path, _ in first.open("shop", "kingfisher")} == {"token.txt"}
    assert set(first.starts) == {*TOOLS, "semgrep"}  # nothing there is read by the others


def test_the_second_night_starts_no_tool(story: Story) -> None:
    second = story.next()
    assert second.starts == ()
    assert second.run["tools_started"] == 0
    assert outcomes(second, "shop") == everywhere("unchanged")
    assert outcomes(second, "lib") == {**everywhere("unchanged"), "checkov": ("nothing_to_read", None)}
    assert second.findings == story.first.findings


def test_a_commit_to_the_readme_is_read_for_secrets_alone_and_only_its_new_blobs(story: Story) -> None:
    shop = story.repo("shop")
    before = set(shop.git("rev-list", "--objects", "--all").split("\n"))
    shop.commit({"README.md": b"a better shop\n", "docs/a.md": b"a\n", "docs/b.md": b"b\n", "docs/again.md": b"a\n"})
    objects = [line.split(" ")[0] for line in shop.git("rev-list", "--objects", "--all").split("\n")]
    old = {line.split(" ")[0] for line in before}
    new = [o for o in dict.fromkeys(objects) if o not in old and shop.git("cat-file", "-t", o) == "blob"]
    second = story.next()
    assert len(new) == 3
    assert second.scan("shop", "kingfisher")["files_read"] == len(new)
    assert outcomes(second, "shop") == {**everywhere("unchanged"), "kingfisher": ("ok", None)}
    assert second.scan("shop", "kingfisher")["cause"] == "changed"
    assert set(second.starts) == {"kingfisher"}
    assert outcomes(second, "lib") == {**everywhere("unchanged"), "checkov": ("nothing_to_read", None)}
    assert second.still_open() == story.first.still_open()


def test_a_commit_to_terraform_starts_checkov_and_kingfisher_there(story: Story) -> None:
    story.repo("shop").commit({"main.tf": TERRAFORM + b'resource "aws_s3_bucket" "b" {}\n'})
    second = story.next()
    assert outcomes(second, "shop") == {**everywhere("ok"), "bandit": ("unchanged", None)}
    assert set(second.starts) == {"kingfisher", "checkov"}
    assert second.scan("lib", "kingfisher")["outcome"] == "unchanged"
    assert story.first.still_open() < second.still_open()


def test_deleting_the_last_terraform_file_fixes_its_findings(story: Story) -> None:
    story.repo("shop").commit({"main.tf": None})
    second = story.next()
    assert second.said("shop", "checkov") == ("nothing_to_read", None)
    assert "checkov" not in second.starts
    assert not second.open("shop", "checkov")
    assert second.fixed("shop", "checkov") == {(*f, "file_gone") for f in story.first.open("shop", "checkov")}
    assert second.open("shop", "bandit") == story.first.open("shop", "bandit")


def test_a_mended_file_closes_its_finding_and_a_relapse_opens_it_again(story: Story) -> None:
    shop = story.repo("shop")
    shop.commit({"app.py": b"x = 1\n"})
    second = story.next(tools=["bandit"])
    assert (*B602, "code_changed") in second.fixed("shop", "bandit")
    shop.commit({"app.py": PYTHON})
    third = story.next(tools=["bandit"])
    assert third.starts == ()  # the very files of the first night
    assert third.open("shop", "bandit") == story.first.open("shop", "bandit")
    now, then = (next(f for f in n.findings["shop", "bandit"] if f["rule_id"] == "B602") for n in (third, story.first))
    assert now["first_seen_run"] == then["first_seen_run"] and now["opened_run"] == third.summary.run_id


def test_a_fetch_that_fails_is_stale_and_closes_nothing(story: Story) -> None:
    shop = story.repo("shop")
    shop.commit({"app.py": b"x = 1\n", "main.tf": None})
    (shop.git_dir / "packed-refs").write_bytes(b"\x00garbage that is no ref\n")
    second = story.next()
    assert outcomes(second, "shop") == everywhere("stale", "fetch_stale")
    assert outcomes(second, "lib") == {**everywhere("unchanged"), "checkov": ("nothing_to_read", None)}
    assert second.findings == story.first.findings
    assert second.summary.gap_rows == len(EXPECTED)
    (shop.git_dir / "packed-refs").unlink()
    third = story.next()
    assert (*B602, "code_changed") in third.fixed("shop", "bandit")
    assert third.said("shop", "checkov") == ("nothing_to_read", None)


def test_a_repository_that_is_gone_is_missing_and_closes_nothing(story: Story) -> None:
    (story.org / "shop").rename(story.org.parent / "away")
    second = story.next()
    assert outcomes(second, "shop") == everywhere("missing", "not_found")
    assert second.findings == story.first.findings
    assert second.run["repositories"] == story.first.run["repositories"] == 2
    third = story.next()
    assert outcomes(third, "shop") == everywhere("missing", "not_found")
    (story.org.parent / "away").rename(story.org / "shop")
    fourth = story.next()
    assert outcomes(fourth, "shop") == everywhere("unchanged")
    assert fourth.starts == () and fourth.findings == story.first.findings


def test_an_organisation_that_vanished_is_missing_and_closes_nothing(story: Story) -> None:
    shutil.rmtree(story.org)
    story.org.mkdir()
    second = story.next()
    assert outcomes(second, "shop") == outcomes(second, "lib") == everywhere("missing", "not_found")
    assert second.findings == story.first.findings


def test_a_repository_that_lost_all_its_commits_has_failed_and_closes_nothing(story: Story) -> None:
    shutil.rmtree(story.org / "shop")
    Repository(story.org / "shop")
    second = story.next()
    assert outcomes(second, "shop") == everywhere("failed", "empty_repository")
    assert second.still_open() == story.first.still_open()


def test_a_deleted_side_branch_takes_its_secret_along(story: Story) -> None:
    story.repo("shop").git("branch", "--quiet", "-D", "side")
    second = story.next()
    assert second.starts == ()  # nothing new to read
    assert not second.open("shop", "kingfisher")
    assert {(p, r) for p, _, r in second.fixed("shop", "kingfisher")} == {("token.txt", "code_changed")}
    assert second.open("shop", "bandit") == story.first.open("shop", "bandit")


def test_a_renamed_default_branch_reuses_its_results(story: Story) -> None:
    story.repo("shop").git("branch", "--quiet", "-m", "main", "trunk")
    second = story.next()
    assert second.starts == ()
    old, new = (second.scan("shop", "bandit", f"refs/heads/{b}") for b in ("main", "trunk"))
    assert (old["outcome"], old["reason_code"]) == ("nothing_to_read", "ref_gone")
    assert (new["outcome"], new["cause"]) == ("unchanged", "new")
    assert second.fixed("shop", "bandit") == {(*f, "ref_gone") for f in story.first.open("shop", "bandit")}
    assert second.open("shop", "bandit") == story.first.open("shop", "bandit")
    third = story.next()
    assert third.scan("shop", "bandit")["ref"] == "refs/heads/trunk"  # the old branch is expected no more
    assert third.findings == second.findings


def test_a_fork_reuses_every_result(story: Story) -> None:
    shutil.copytree(story.org / "shop", story.org / "forks" / "shop-of-ada")
    second = story.next()
    fork = "forks/shop-of-ada"
    assert second.starts == ()
    assert outcomes(second, fork) == everywhere("unchanged")
    for tool in TOOLS:
        assert second.scan(fork, tool)["result_name"] == second.scan("shop", tool)["result_name"]
        assert second.open(fork, tool) == second.open("shop", tool) != set()
    assert second.summary.opened == sum(len(story.first.findings.get(("shop", s.name), ())) for s in EXPECTED)


def test_a_fork_that_went_on_is_read_for_secrets_from_where_it_left(story: Story) -> None:
    shutil.copytree(story.org / "shop", story.org / "fork")
    story.repo("fork").commit({"notes.txt": b"one new blob\n"})
    second = story.next()
    assert outcomes(second, "fork") == {**everywhere("unchanged"), "kingfisher": ("ok", None)}
    assert second.scan("fork", "kingfisher")["files_read"] == 1
    assert second.open("fork", "kingfisher") == story.first.open("shop", "kingfisher")


def test_only_some_repositories(story: Story) -> None:
    for slug in ("shop", "lib"):
        story.repo(slug).commit({"app.py": b"x = 2\n"})
    second = story.next(only=["li*"])
    assert {slug for slug, _ in second.scans} == {"lib"}
    assert (*B602, "code_changed") in second.fixed("lib", "bandit")
    assert B602 in second.open("shop", "bandit")  # nobody looked
    with pytest.raises(UsageError, match="no repository is called nothing-is-called-so"):
        story.next(only=["nothing-is-called-so"])


def test_only_some_tools(story: Story) -> None:
    story.repo("shop").commit({"app.py": b"x = 2\n", "main.tf": b"\n"})
    second = story.next(tools=["bandit"])
    skipped = ("skipped", "switched_off")
    assert outcomes(second, "shop") == {"bandit": ("ok", None), "kingfisher": skipped, "checkov": skipped}
    assert set(second.starts) == {"bandit"}
    assert second.open("shop", "checkov") == story.first.open("shop", "checkov")  # skipping closes nothing
    assert second.summary.gap_rows == 0
    third = story.next(tools=["kingfisher", "bandit"])
    assert outcomes(third, "shop") == {"bandit": ("unchanged", None), "kingfisher": ("ok", None), "checkov": skipped}
    assert set(third.starts) == {"kingfisher"}


def test_a_tool_that_is_switched_off_closes_nothing(story: Story) -> None:
    story.repo("shop").commit({"app.py": b"x = 2\n"})
    second = story.next(each_tool={"bandit": {"enabled": False}}, tools=["bandit"])
    assert second.said("shop", "bandit") == ("skipped", "switched_off")
    assert "bandit" not in second.starts
    assert second.open("shop", "bandit") == story.first.open("shop", "bandit")


def test_force_scans_everything_again_and_changes_nothing(story: Story) -> None:
    second = story.next(force=True, tools=["kingfisher", "bandit"])
    for slug, tool in (("shop", "kingfisher"), ("shop", "bandit"), ("lib", "bandit")):
        row = second.scan(slug, tool)
        assert (row["outcome"], row["cause"]) == ("ok", "forced")
        assert row["files_read"] == story.first.scan(slug, tool)["files_read"]
    assert set(second.starts) == {"kingfisher", "bandit"}
    assert second.findings == story.first.findings
    assert story.next().starts == ()


def test_another_limit_is_another_configuration(story: Story) -> None:
    second = story.next(each_tool={"bandit": {"max_files": 10}})
    row = second.scan("shop", "bandit")
    assert (row["outcome"], row["cause"], row["files_read"]) == ("ok", "tool", 1)
    assert set(second.starts) == {"bandit"}
    assert second.still_open() == story.first.still_open()
