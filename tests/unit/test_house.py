"""The rules of the house that no linter holds."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.origins import ForgeKind
from tasks.core.reasons import OUTCOMES, REASONS
from tasks.core.types import Outcome
from tasks.deps.registries import REGISTRIES
from tasks.lake.schema import TABLES
from tasks.scanners import SCANNERS

ROOT = Path(__file__).parents[2]
SOURCES = sorted(p for room in ("flows", "tasks", "deployments", "infra") for p in (ROOT / room).rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager"}
MAX_LINES = 450


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def public(tree: ast.Module) -> Iterator[ast.AST]:
    """The module and its public classes and functions, methods included."""
    yield tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (n for n in node.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_"))


def test_files_stay_small_and_have_names_that_say_something() -> None:
    assert SOURCES
    assert not [p for p in SOURCES if p.stem in FORBIDDEN_NAMES or p.parent.name in FORBIDDEN_NAMES]
    assert not [p for p in SOURCES if len(p.read_text().splitlines()) > MAX_LINES]


def test_what_is_public_says_its_contract() -> None:
    bare = []
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        for node in public(tree):
            name = getattr(node, "name", "module")
            stub = (
                isinstance(node, ast.FunctionDef)
                and isinstance(node.body[-1], ast.Expr)
                and isinstance(node.body[-1].value, ast.Constant)
                and node.body[-1].value.value is ...
            )
            if ast.get_docstring(node) is None and not stub and name != "feed":
                bare.append(f"{path.relative_to(ROOT)}: {name}")
    assert bare == []


def starts_processes(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        if {n.split(".")[0] for n in names} & {"subprocess", "pty", "multiprocessing"}:
            return True
        if isinstance(node, ast.Attribute) and re.match(r"system|popen|exec[lv]|spawn[lv]|posix_spawn", node.attr):
            return True
    return False


def test_one_place_starts_processes() -> None:
    """The runner with its sandbox; the installer and the demo, which run nothing of a repository; the local server; the
    servers to see a rotation with.

    What is called ``*_program.py`` runs inside the sandbox, started by the runner.
    """
    programs = {p for p in SOURCES if p.name.endswith("_program.py")}
    assert {str(p.relative_to(ROOT)) for p in SOURCES if starts_processes(p) and p not in programs} == {
        "tasks/core/process.py", "tasks/core/sandbox.py", "tasks/core/sandbox_init.py", "tasks/scanners/tools.py",
        "tasks/patrol/demo_org.py", "flows/server.py", "infra/rotation/processes.py", "infra/rotation/programs.py",
    }  # fmt: skip


def test_every_reason_in_the_code_is_on_the_closed_list() -> None:
    used = set()
    for path in SOURCES:
        text = path.read_text()
        used |= set(re.findall(r"""(?:ScanGap|Forge|Feed)Error\(\s*["']([a-z_]+)["']""", text))
        used |= set(re.findall(r"""reason_code=["']([a-z_]+)["']""", text))
    assert len(used) > 15
    assert used <= REASONS.keys()
    assert all(r.meaning.endswith(".") and r.remedy for r in REASONS.values())
    assert set(OUTCOMES) == {str(o) for o in Outcome}


def test_every_column_is_described() -> None:
    for table in TABLES.values():
        assert table.description
        for field in table.schema:
            assert field.metadata[b"comment"].strip(), (table.name, field.name)
        assert set(table.key) <= set(table.schema.names)


def test_no_file_names_a_package_registry_or_a_place_of_one_machine() -> None:
    index = re.compile(rb"--(extra-)?index-url|--find-links|pypi\.|pythonhosted|registry\.npm|/simple/", re.IGNORECASE)
    # The reader of these options names them, and so does its sample: the words alone are left out there.
    reads = {"tasks/deps/formats/pip.py", "tests/data/deps/requirements.txt/by-hand/requirements.txt"}
    options = re.compile(rb"--(extra-)?index-url|--find-links")
    # The name of a form of answers is none of a place.
    form = re.compile(rb"application/vnd\.pypi\.simple\.v1\+json")
    here = str(ROOT).encode()
    bad = []
    for path in tracked():
        if path.suffix == ".png" or path == Path(__file__):
            continue
        data = form.sub(b"", path.read_bytes())
        if str(path.relative_to(ROOT)) in reads:
            data = options.sub(b"", data)
        if index.search(data) or (len(ROOT.parts) > 2 and here in data):
            bad.append(str(path.relative_to(ROOT)))
    assert bad == []


def test_no_sample_is_left_out_by_a_gitignore() -> None:
    """A sample may hold a `.gitignore` that hides the whole sample: then it must be added by force."""
    tracked()
    asked = ["git", "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "tests/data", "tasks/patrol/demo"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, check=True)
    assert [n for n in done.stdout.decode().split("\0") if n and "__pycache__" not in n] == []


@pytest.mark.parametrize(
    ("lock", "least"),
    [
        ("requirements.lock", 51),
        ("requirements-dev.lock", 51),
        ("infra/rotation/openbao.lock", 1),
        ("infra/rotation/postgresql.lock", 1),
    ],
)
def test_locks_pin_everything_with_hashes(lock: str, least: int) -> None:
    text = (ROOT / lock).read_text()
    pins = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(pins) >= least
    assert not [p.splitlines()[0] for p in pins if "==" not in p.splitlines()[0] or "--hash=sha256:" not in p]


def test_the_readme_names_every_command() -> None:
    from flows.cli import app

    readme = (ROOT / "README.md").read_text()
    names = [c.name for c in app.registered_commands if c.name] + [g.name for g in app.registered_groups if g.name]
    assert names
    assert not [n for n in names if n not in readme]


def test_every_adapter_is_held_apart_from_the_others() -> None:
    """A new adapter that the contract forgets could import another one."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    apart = {m for c in contracts if c["type"] == "independence" for m in c["modules"]}
    scanners = {m for m in apart if m.startswith("tasks.scanners.")}
    assert scanners == {f"tasks.scanners.{s.name.replace('-', '_')}" for s in SCANNERS}
    forges = {m for m in apart if m.startswith("tasks.repos.")}
    assert forges == {f"tasks.repos.forges.{kind}" for kind in ForgeKind}
    registries = {m for m in apart if m.startswith("tasks.deps.registries.")}
    assert registries == {r.read.__module__ for r in REGISTRIES.values()}
