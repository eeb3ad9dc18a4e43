"""Where nothing isolates, the scanners see the same and still run nothing that a checkout brings along."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.means import ready_homes
from flows.settings import load
from tasks.core.ports import Scanner
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Command, Parsed, Target, ToolHome, TreeEntry, Unit
from tasks.scanners import LOCKED
from tasks.scanners.cfn_lint import CFN_LINT
from tasks.scanners.execute import execute
from tasks.scanners.hadolint import HADOLINT
from tasks.scanners.hadolint import PROGRAM as HADOLINT_PROGRAM
from tasks.scanners.semgrep import SEMGREP
from tasks.scanners.service import ServicePool
from tasks.scanners.zizmor import PROGRAM as ZIZMOR_PROGRAM
from tasks.scanners.zizmor import ZIZMOR
from tests.contract import samples
from tests.hostile.repositories import PYTHON, TERRAFORM

pytestmark = pytest.mark.tools

NOTHING_ISOLATES = ProcessRunner(detect("none"))
#: Modules that a tool imports, and files by which it could be asked to load code, each with what would load it.
MODULES = (
    "sitecustomize.py",
    "json.py",
    "yaml.py",
    "bandit/__init__.py",
    "bandit/__main__.py",
    "checkov/__init__.py",
    "semgrep/__init__.py",
    "semgrep/__main__.py",
    "cfnlint/__init__.py",
    "cfnlint/__main__.py",
)
CONFIGURATIONS = {
    ".bandit": b"[bandit]\nskips = B602\nplugins = {checks}\n",
    ".checkov.yaml": b"external-checks-dir: ['{checks}', checks]\nskip-check: [CKV_AWS_24]\n",
    ".checkov.yml": b"external-checks-dir: ['{checks}', checks]\n",
    ".cfnlintrc": b"append_rules: ['{checks}', checks]\nignore_checks: [E3002]\n",
    ".hadolint.yaml": b"ignored: [DL3004]\n",
    "zizmor.yml": b"rules: {template-injection: {disable: true}}\n",
    ".semgrepignore": b"*\n",
}
#: What each must find all the same: (path, rule).
FLAWS = {"bandit": ("app.py", "B602"), "checkov": ("main.tf", "CKV_AWS_24")} | {
    s.name: (s.control.path, s.control.rule_id) for s in (SEMGREP, ZIZMOR, HADOLINT, CFN_LINT)
}
#: Those that see the tree of a checkout. A platform's own programs are not here to be tried.
SEEING = [s for s in LOCKED if s.unit is not Unit.BLOB]


def home_of(scanner: Scanner) -> ToolHome:
    tool = ready_homes(load())[scanner.name]
    assert isinstance(tool, ToolHome), tool
    return tool


def scanned(scanner: Scanner, target: Target, runner: ProcessRunner = NOTHING_ISOLATES) -> Parsed:
    tool = home_of(scanner)
    service = ServicePool(runner, tool, scanner, root=target.root.parent, size=1) if scanner.long_lived else None
    try:
        return execute(scanner, tool, target, runner, samples.KEY, service).parsed
    finally:
        if service is not None:
            service.close()


@pytest.mark.parametrize("scanner", LOCKED, ids=lambda s: s.name)
def test_the_sample_gives_the_golden_rows(scanner: Scanner, tmp_path: Path) -> None:
    parsed = scanned(scanner, samples.planted(scanner, tmp_path / "sample"))
    assert samples.golden_observations(parsed) == samples.golden(scanner.name, "observations")
    assert samples.golden_gaps(parsed) == samples.golden(scanner.name, "gaps")


def trapped(root: Path, canary: Path) -> Target:
    """A checkout that holds flaws, and code that makes ``canary`` wherever it is imported or run."""
    trap = f"open({str(canary)!r}, 'a').write(__file__)\n".encode()
    files = {"app.py": PYTHON, "main.tf": TERRAFORM, "checks/__init__.py": trap, "checks/check.py": trap}
    files |= dict.fromkeys(MODULES, trap)
    files |= {n: text.replace(b"{checks}", bytes(root / "checks")) for n, text in CONFIGURATIONS.items()}
    for s in (SEMGREP, ZIZMOR, HADOLINT, CFN_LINT):
        files |= s.control.files
    for name, text in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text)
    return Target(
        repo_id="r",
        ref="f",
        commit="c",
        root=root,
        files={n: TreeEntry(path=n.encode(), mode="100644", blob="", size_bytes=len(t)) for n, t in files.items()},
        read=files.get,
    )


@pytest.mark.parametrize("scanner", SEEING, ids=lambda s: s.name)
def test_no_code_of_a_checkout_is_run(scanner: Scanner, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    target = trapped(tmp_path / "checkout", canary)
    target = replace(target, files={n: e for n, e in target.files.items() if scanner.reads(n.encode())})
    parsed = scanned(scanner, target)
    assert FLAWS[scanner.name] in {(o.path, o.rule_id) for o in parsed.observations}
    assert not canary.exists()


@pytest.mark.parametrize("scanner", SEEING, ids=lambda s: s.name)
def test_the_trap_works_where_somebody_is_careless(scanner: Scanner, tmp_path: Path) -> None:
    """The same tool, or our program for one that is no Python, started by its Python from within the folder."""
    target = trapped(tmp_path / "checkout", tmp_path / "canary")
    tool = home_of(scanner)
    started = "import runpy; runpy.run_path({!r}, run_name='__main__')"
    careless = {
        "zizmor": ("-c", started.format(str(ZIZMOR_PROGRAM)), str(tool.executable), str(target.root)),
        "hadolint": ("-c", started.format(str(HADOLINT_PROGRAM)), str(tool.executable), str(target.root)),
        "cfn-lint": ("-m", "cfnlint", "-h"),
    }.get(scanner.name, ("-m", scanner.name, "-h"))
    python = str(tool.executable.parent / "python")
    NOTHING_ISOLATES.run(Command(argv=(python, *careless), cwd=str(target.root), mounts=tool.mounts))
    assert (tmp_path / "canary").exists()
