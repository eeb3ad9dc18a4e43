"""Patterns of ``paths`` with the real semgrep: what is accepted finds the same alone and in a shared call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.means import tool_homes
from flows.settings import load
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Target, ToolHome
from tasks.patrol import sharing
from tasks.scanners.rule_packs import SHARED_FOLDERS, Pack, is_anchored
from tasks.scanners.rule_preparing import MARK, equipped, prepare
from tasks.scanners.semgrep import SEMGREP
from tests.unit.test_rule_packs import rule

#: Patterns that hold at any depth.
FREE = (
    "src", "src/", "src/**", "**/src/**", "**/src", "src/*.py", "src/**/b.py", "**/src/a.py", "lib/src", "*.py",
    "**/*.py", "a.py", "app.py", "[s]rc/a.py", "s*/a.py", "src//a.py", "*", "**", "**/", "/**", "/**/a.py", "**/*",
    "{src,lib}/**", "2024", "src/../src/a.py", "../src/**",
    "[[:digit:]]/app.py",
)  # fmt: skip
#: Patterns that go by the topmost folder, or take the folders of a shared call for some of the repository.
ANCHORED = (
    "/src/**", "/src", "/src/", "/*.py", "//src/**", "./src/**", "./src", "*/src/**", "*/", "*/*.py", "*/app.py",
    "?/app.py", "0", "0/**", "**/0", "**/0/**", "**/*/app.py", "[0-9]", "[^a]/app.py", r"\0/app.py",
)  # fmt: skip
FILES = ("app.py", "src/a.py", "src/deep/b.py", "lib/src/c.py", "srcx/d.py")


def test_the_folders_of_shared_calls_are_known() -> None:
    assert tuple(str(n) for n in range(sharing.MAX_SCANS)) == SHARED_FOLDERS


@pytest.mark.parametrize("pattern", FREE)
def test_a_pattern_that_holds_at_any_depth_is_accepted(pattern: str) -> None:
    assert not is_anchored(pattern)


@pytest.mark.parametrize("pattern", [*ANCHORED, "/"])
def test_a_pattern_that_goes_by_the_topmost_folder_is_refused(pattern: str) -> None:
    assert is_anchored(pattern)


@pytest.mark.tools
def test_the_real_semgrep_tells_them_apart_in_the_same_way(tmp_path: Path) -> None:
    home = tool_homes(load())["semgrep"]
    assert isinstance(home, ToolHome)
    runner = ProcessRunner(detect())
    patterns = dict(enumerate(FREE + ANCHORED))
    rules = {
        f"team.{kind}-{n}": rule(f"{kind}-{n}", paths={kind: [p]})
        for n, p in patterns.items() for kind in ("include", "exclude")
    }  # fmt: skip
    prepared = prepare([Pack(name="team", rules=rules)], home, tmp_path, runner)
    assert prepared.not_run == frozenset()
    for name in FILES:
        for place in (tmp_path / "alone" / name, tmp_path / "shared" / "0" / name, tmp_path / "shared" / "1" / name):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("eval(1)\n")

    def found(root: Path, below: str) -> set[tuple[str, str]]:
        target = Target(repo_id="r", ref="main", commit="c", root=root)
        done = runner.run(SEMGREP.command(equipped(home, prepared), target))
        begin = runner.sandbox.seen_at(root, target.inside) + "/" + below
        return {
            (r["check_id"].partition(MARK)[2], r["path"].removeprefix(begin))
            for r in json.loads(done.stdout)["results"]
            if r["path"].startswith(begin)
        }

    other = {rule_id for rule_id, _ in found(tmp_path / "alone", "") ^ found(tmp_path / "shared", "0/")}
    assert {patterns[int(rule_id.rpartition("-")[2])] for rule_id in other} == set(ANCHORED)
