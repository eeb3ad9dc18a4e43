"""Who may read by policies: the same as each holder asked for each path, without asking each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.rotation.vault_acl import Acl
from tasks.rotation.vault_asking import RefusedError
from tasks.rotation.vault_grants import Grants, Holder
from tasks.rotation.vault_policy_text import PathRule
from tasks.rotation.vault_readers import Readership

NOW = datetime(2026, 1, 1, tzinfo=UTC)
T = "{{identity.entity.name}}"


def rule(path: str, *capabilities: str, expires_at: datetime | None = None) -> PathRule:
    return PathRule(path=path, capabilities=frozenset(capabilities or ("read",)), expires_at=expires_at)


def grants(policies: dict[str, tuple[PathRule, ...]], *holders: tuple[str, ...]) -> Grants:
    held = [Holder(name=f"approle/r{n}", policies=frozenset(names)) for n, names in enumerate(holders)]
    return Grants(policies=policies, holders=held)


def one_by_one(known: Grants, path: str) -> tuple[str, ...]:
    """The same, each policy and holder asked."""

    def may(*names: str) -> str | None:
        acl = Acl((r for name in names for r in known.policies.get(name, ())), NOW)
        return "" if acl.may(path, "read") else ", templated" if acl.may_by_template(path, "read") else None

    found = []
    for policy in ["root", *sorted(known.policies)]:
        more = "" if policy == "root" else may(policy)
        if more is not None:
            names = sorted(
                {h.name for h in known.holders
                 if policy in h.policies and (policy == "root" or may(*h.policies) is not None)}
            )  # fmt: skip
            found.append(f"{policy}{more} ({', '.join(names)})" if names else f"{policy}{more}")
    return tuple(found)


words = st.sampled_from(["a", "b", "ab", "+", T, f"a{T}"])
patterns = st.builds(
    lambda parts, end: "/".join(parts) + end, st.lists(words, min_size=1, max_size=3), st.sampled_from(["", "*", "/*"])
).filter(lambda path: "+*" not in path)
rules = st.builds(
    rule, patterns, st.sampled_from(["read", "list", "deny"]),
    expires_at=st.sampled_from([None, None, datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)]),
)  # fmt: skip
NAMES = ("p", "q", "r", "s")


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES), st.lists(rules, max_size=3).map(tuple), max_size=4),
    st.lists(st.lists(st.sampled_from([*NAMES, "root", "gone"]), max_size=4), max_size=5),
    st.lists(st.lists(st.sampled_from(["a", "b", "ab", "c"]), min_size=1, max_size=3), min_size=4, max_size=12),
)
def test_who_may_read_is_who_is_found_one_by_one(
    policies: dict[str, Any], holders: list[list[str]], paths: list[list[str]]
) -> None:
    known = grants(policies, *map(tuple, holders))
    ask = Readership(known, NOW)
    for path in ("/".join(parts) for parts in paths):
        assert ask(path) == one_by_one(known, path), path


def test_what_was_decided_is_not_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    decided, real = 0, Acl.capabilities

    def counted(self: Acl, path: str) -> frozenset[str]:
        nonlocal decided
        decided += 1
        return real(self, path)

    monkeypatch.setattr(Acl, "capabilities", counted)
    teams = {f"t{n}": (rule(f"kv/data/t{n}/*"), rule(f"kv/data/t{n}/x", "deny")) for n in range(50)}
    known = grants(
        {**teams, "default": (rule(f"kv/data/{T}/*"),), "all": (rule("kv/data/+/*"),)},
        *((f"t{n % 50}", f"t{n % 49}", "default", "all") for n in range(500)),
    )
    ask = Readership(known, NOW)
    answers = {ask(f"kv/data/t{n % 50}/s{n}") for n in range(1000)}
    assert len(answers) == 50 and decided < 1000
    assert ask("kv/data/t1/x") != ask("kv/data/t1/y")


def test_what_is_not_told_stays_unknown() -> None:
    known = grants({"p": (rule("a/*"),)}, ("p",))
    known.unread = {"z": RefusedError("backend_denied", "no"), "q": RefusedError("backend_denied", "no")}
    assert Readership(known, NOW)("a/b") == ("root", "p (approle/r0)", "unknown: policy q", "unknown: policy z")
    known.policies_refused = RefusedError("backend_denied", "no")
    assert Readership(known, NOW)("a/b") is None
