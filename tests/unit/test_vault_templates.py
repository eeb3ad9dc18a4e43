"""Paths of policies with templates: what may match does, and no path or policy makes the answer take long."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.rotation.vault_acl import Acl
from tasks.rotation.vault_policy_text import PathRule

NOW = datetime(2026, 1, 1, tzinfo=UTC)
T = "{{identity.entity.name}}"


def may(pattern: str, path: str) -> bool:
    rule = PathRule(path=pattern, capabilities=frozenset(("read",)))
    return Acl([rule], NOW).may_by_template(path, "read")


def by_search(pattern: str, path: str) -> bool:
    """The same by trying everything, which short paths allow."""
    bare = pattern.removesuffix("*")
    pieces = [
        ".+" if piece == T else re.sub(r"(?:(?<=^)|(?<=/))\\\+(?=/|$)", "[^/]*", re.escape(piece))
        for piece in re.split(f"({re.escape(T)})", bare)
    ]
    return re.fullmatch("".join(pieces) + (".*" if bare != pattern else ""), path, re.DOTALL) is not None


pieces = st.lists(st.sampled_from([T, T, "a", "b", "/", "+", "/+/", "ab"]), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(pieces, st.sampled_from(["", "*"]), st.text("ab/+", max_size=12))
@example([T, "a", T, "b"], "", "aabab")
@example(["/+", T], "", "/ab")
@example(["+", T, "a"], "", "bba")
@example([T, "+/", "a"], "", "ab/a")
def test_a_template_takes_anything_in_its_place(parts: list[str], end: str, path: str) -> None:
    pattern = "".join([T, *parts]) + end
    assert may(pattern, path) == by_search(pattern, path)
    assert may(f"a/{pattern}", f"a/{path}") == by_search(f"a/{pattern}", f"a/{path}")


@pytest.mark.parametrize("end", ["end", "end*"])
def test_many_templates_in_one_path_do_not_make_it_long(end: str) -> None:
    """By trying everything this would take longer than there is time."""
    pattern = "secret/data/" + f"{T}x" * 30 + f"/{end}"
    assert not may(pattern, "secret/data/" + "x" * 2000)
    assert may(pattern, "secret/data/" + "x" * 2000 + "/end")
    assert may(f"{pattern[: -len(end)]}+/{T}{end}", "secret/data/" + "x" * 2000 + "/y/yend")
