"""The tripwire works: whoever uses a hostile repository without care sets it off, inside a sandbox or outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.settings import load
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tests.builders import GIT_ENVIRONMENT, Repository, shell
from tests.hostile import corpus_git, corpus_tools
from tests.hostile.corpus import Ground
from tests.hostile.tripwire import Tripwire


@pytest.fixture
def tripwire(tmp_path: Path) -> Iterator[Tripwire]:
    wire = Tripwire(tmp_path / "tripwire")
    yield wire
    wire.close()


@pytest.fixture
def ground(tmp_path: Path, tripwire: Tripwire) -> Ground:
    return Ground(org=tmp_path / "org", shell=tripwire.shell, python=tripwire.python, url=tripwire.url)


def naively(*argv: str, where: Path, **env: str) -> None:
    """As somebody would who trusts the folder he is in; whether it ends well does not matter."""
    subprocess.run(argv, cwd=where, env={**GIT_ENVIRONMENT, **env}, capture_output=True, check=False, timeout=120)


def test_nothing_is_set_off_by_making_the_repositories(ground: Ground, tripwire: Tripwire) -> None:
    corpus_git.configuration(ground)
    corpus_git.submodules(ground)
    corpus_git.option_refs(ground)
    assert tripwire.traces() == []


@pytest.mark.parametrize(
    ("git", "traces"),
    [
        (("-c", "core.worktree=.", "checkout", "-f", "main"), {"process"}),
        (("-c", "core.worktree=.", "status"), {"fsmonitor"}),
        (("log", "-p", "-1"), {"process"}),
        (("update-ref", "refs/heads/x", "main"), {"hook-reference-transaction"}),
    ],
    ids=lambda p: " ".join(p) if isinstance(p, tuple) else None,
)
def test_git_run_inside_the_repository_sets_it_off(
    ground: Ground, tripwire: Tripwire, git: tuple[str, ...], traces: set[str]
) -> None:
    corpus_git.configuration(ground)
    naively("git", *git, where=ground.org / "configuration")
    assert traces <= set(tripwire.traces())


def test_a_name_of_a_branch_given_to_a_shell_sets_it_off(ground: Ground, tripwire: Tripwire) -> None:
    corpus_git.option_refs(ground)
    packed = (ground.org / "option-refs/.git/packed-refs").read_text()
    (name,) = [line.split(" ", 1)[1] for line in packed.splitlines() if "--upload-pack" in line]
    naively("sh", "-c", f'echo "{name}"', where=ground.org)
    assert tripwire.traces() == ["ref"]


def test_python_run_inside_the_checkout_sets_it_off(ground: Ground, tripwire: Tripwire) -> None:
    """The shadow modules, the checks and the rules are all such files."""
    corpus_tools.blinding(ground, "checkov")
    repo = Repository(ground.org / "blind-checkov")
    repo.git("checkout", "--quiet", "--force", "main")
    naively(sys.executable, "-c", "import yaml, checks.evil", where=repo.path)
    assert tripwire.traces() == ["checkov-checks", "checkov-evil", "checkov-yaml"]


@pytest.mark.tools
@pytest.mark.parametrize(
    ("tool", "argv", "traces"),
    [
        ("bandit", ("python", "-m", "bandit", "-r", "."), {"bandit-bandit-__init__"}),
        ("cfn-lint", ("cfn-lint", "t/template.yaml"), {"cfn-lint-rules"}),
    ],
)
def test_a_tool_run_inside_the_checkout_sets_it_off(
    ground: Ground, tripwire: Tripwire, tool: str, argv: tuple[str, ...], traces: set[str]
) -> None:
    corpus_tools.blinding(ground, tool)
    repo = Repository(ground.org / f"blind-{tool}")
    repo.git("checkout", "--quiet", "--force", "main")
    (home,) = [p for p in load().tools_dir.glob(f"{tool}-*") if (p / "nightwarden.json").is_file()]
    naively(str(home / "bin" / argv[0]), *argv[1:], where=repo.path)
    assert traces <= set(tripwire.traces())


def test_an_address_that_is_asked_is_noted(ground: Ground, tripwire: Tripwire) -> None:
    naively("git", "ls-remote", f"{ground.url}/x.git", where=ground.org.parent)
    assert any("/x.git/info/refs" in call for call in tripwire.traces())


def test_what_runs_inside_a_sandbox_leaves_its_trace(ground: Ground, tripwire: Tripwire) -> None:
    runner = ProcessRunner(detect())
    with tripwire.laid():
        runner.run(shell(ground.shell("inside")))
    assert tripwire.traces() == ["inside"]
