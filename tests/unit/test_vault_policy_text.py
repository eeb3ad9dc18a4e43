"""Texts of policies of any shape: each is read, or is no policy; nothing else ends what reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.rotation.vault_policy_text import PathRule, PolicyTextError, read_policy

ODD_VALUES = ['["a"]', "[]", "{}", "{ a = 1 }", "7", "true", "[[1]]", '"\\UFFFFFFFF"', '"\\U00110000"', '"\\ud800"']
SETTINGS = ("policy", "capabilities", "expiration", "allowed_parameters", "name")


def read(text: str) -> tuple[PathRule, ...] | None:
    """The rules, which can be compared and kept; None: it is no policy."""
    try:
        rules = read_policy(text)
    except PolicyTextError:
        return None
    assert all(isinstance(c, str) for rule in rules for c in rule.capabilities) and len({*rules}) <= len(rules)
    return rules


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_value_of_any_kind_is_read_or_is_no_policy(setting: str, value: str) -> None:
    read(f'path "x" {{ {setting} = {value} }}')
    read(f'path "x" {{ {setting} {value} }}')
    read(f"{setting} = {value}")


@pytest.mark.parametrize("text", [
    'path "x" { policy = ["a"] }', 'path "x" { policy = { a = 1 } }', 'path "x" { policy { read = 1 } }',
    '{"path": {"x": {"policy": ["read"]}}}', '{"path": {"x": {"policy": {}}}}', '{"path": {"x": {"policy": [[]]}}}',
    'path "\\UFFFFFFFF" { }',
])  # fmt: skip
def test_old_words_that_are_none(text: str) -> None:
    assert read(text) is None


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "read", "deny", "write", "\\"])
values = st.recursive(
    leaves | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*SETTINGS, "path", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


def hcl(value: Any) -> str:
    """A value as HCL writes it, more or less."""
    if isinstance(value, dict):
        return "{ " + " ".join(f"{json.dumps(name)} = {hcl(inner)}" for name, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(hcl, value)) + "]"
    return json.dumps(value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SETTINGS), values)
def test_any_value_anywhere_is_read_or_is_no_policy(setting: str, value: Any) -> None:
    read(json.dumps({"path": {"x": {setting: value}}}))
    read(json.dumps({"path": {"x": value}}))
    read(json.dumps({"path": value}))
    read(json.dumps(value))
    read(f'path "x" {{ {setting} = {hcl(value)} }}')
    read(f'path "x" {hcl(value)}')
    read(f"path = {hcl(value)}")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(
    ['path "x" {', "}", "capabilities", "policy", "=", '["a"]', '"read"', "<<E\nE\n", "7", "0x", "{", "[", "]", ",",
     "expiration", '"9999-12-31T23:59:59-23:59"', "99999999999999999999", '"\\UFFFFFFFF"', "# \n", "/*", "*/", "\ud800"]
), max_size=12))  # fmt: skip
def test_any_pieces_together_are_read_or_are_no_policy(pieces: list[str]) -> None:
    read(" ".join(pieces))
