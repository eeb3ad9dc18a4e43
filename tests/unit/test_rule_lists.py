"""The rules of tools: asked once, kept beside the tool, and under the ids that observations give."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.means import tool_homes
from flows.settings import load
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Rule, ToolHome
from tasks.scanners.rule_lists import ask, can_list, keep, kept

DATA = Path(__file__).parents[1] / "data"


def test_a_list_is_kept_beside_the_tool(tmp_path: Path) -> None:
    rules = (Rule(rule_id="A1", title="a", cwe="CWE-1"), Rule(rule_id="B1"))
    keep(tmp_path, rules)
    assert kept(tmp_path) == rules


@pytest.mark.parametrize("text", [None, "", "[]", "{}", "[1]", '[{"title": "x"}]'])
def test_an_environment_without_a_list_works(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "rules.json").write_text(text)
    assert kept(tmp_path) is None


@pytest.mark.tools
@pytest.mark.parametrize("name", ["bandit", "checkov", "cfn-lint", "kingfisher"])
def test_rules_have_the_ids_of_observations(name: str) -> None:
    home = tool_homes(load())[name]
    assert isinstance(home, ToolHome)
    rules = ask(name, home.executable, home.mounts, ProcessRunner(detect()))
    assert rules is not None
    seen = {o["rule_id"] for path in (DATA / name).rglob("*.json") for o in _observations(json.loads(path.read_text()))}
    assert seen
    assert seen <= {r.rule_id for r in rules}
    assert can_list(name) and not can_list("zizmor")


def _observations(expected: object) -> list[dict[str, str]]:
    if isinstance(expected, dict):
        own = [expected] if {"rule_id", "anchor_uid"} <= expected.keys() else []
        return own + [o for v in expected.values() for o in _observations(v)]
    return [o for v in expected for o in _observations(v)] if isinstance(expected, list) else []
