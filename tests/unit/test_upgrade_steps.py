"""Safe upgrades by hand, and their promises over made-up releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.deps.upgrades import Outcome, Published, Reason, Releases, Upgrade
from tests.thorough import examples


class Plain:
    """``1.2.3`` and ``1.2.3-a``, as plain as can be."""

    def key(self, version: str) -> bytes | None:
        numbers, _, pre = version.partition("-")
        parts = numbers.split(".")
        if len(parts) != 3 or not all(p.isdecimal() for p in parts):
            return None
        return bytes(map(int, parts)) + (b"\x00" + pre.encode() if pre else b"\x01")

    def is_prerelease(self, version: str) -> bool | None:
        return "-" in version

    def step(self, before: str, after: str) -> str | None:
        a, b = before.partition("-")[0].split("."), after.partition("-")[0].split(".")
        if a[0] != b[0] or (a[0] == "0" and a[1] != b[1]):
            return "major"
        return "minor" if a[1] != b[1] else "patch"


def releases(advisories: Mapping[str, Sequence[str]], *versions: str, withdrawn: Sequence[str] = ()) -> Releases:
    """Published a day apart; ``advisories`` names the versions that each is about."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    published = [
        Published(version=v, at=began + timedelta(days=n), is_withdrawn=v in withdrawn) for n, v in enumerate(versions)
    ]
    return Releases(
        published, Plain(), lambda asked: {v: [a for a, about in advisories.items() if v in about] for v in asked}
    )


def told(found: Upgrade) -> tuple[Any, ...]:
    return found.outcome, found.to, found.step, found.reason


@pytest.mark.parametrize(
    ("about", "versions", "expected"),
    [
        # The fix of the one is what the other is about: the highest fixed version is not safe.
        ({"A": ["1.0.0"], "B": ["1.0.1"]}, ["1.0.0", "1.0.1", "1.0.2"], ("safe", "1.0.2", "patch", None)),
        # A patch goes before a minor that is lower in no way, a minor before a major.
        ({"A": ["1.0.0"]}, ["1.0.0", "1.1.0", "1.0.5", "2.0.0"], ("safe", "1.0.5", "patch", None)),
        ({"A": ["1.0.0", "1.0.5"]}, ["1.0.0", "1.0.5", "1.1.0", "1.2.0", "2.0.0"], ("safe", "1.1.0", "minor", None)),
        # In 0.x a minor is as far as a major.
        ({"A": ["0.1.0"]}, ["0.1.0", "0.2.0", "1.0.0"], ("safe", "0.2.0", "major", None)),
        # What is safe is below: never a downgrade.
        ({"A": ["1.0.0", "1.0.1"]}, ["0.9.0", "1.0.0", "1.0.1"], ("none", None, None, "all_vulnerable")),
        ({"A": ["1.0.0"]}, ["0.9.0", "1.0.0"], ("none", None, None, "nothing_above")),
        ({"A": ["1.0.0"]}, [], ("none", None, None, "not_published")),
        # No pre-release, unless one is in use already.
        ({"A": ["1.0.0"]}, ["1.0.0", "1.0.1-a"], ("none", None, None, "only_prereleases")),
        # A partial fix keeps fewest and adds none.
        (
            {"A": ["1.0.0"], "B": ["1.0.0", "1.1.0", "2.0.0"], "C": ["2.0.0"]}, ["1.0.0", "1.1.0", "2.0.0"],
            ("partial", "1.1.0", "minor", "all_vulnerable"),
        ),
        ({"A": ["1.0.0"], "C": ["1.1.0"]}, ["1.0.0", "1.1.0"], ("none", None, None, "all_vulnerable")),
        # A version of another grammar is no candidate.
        ({"A": ["1.0.0"]}, ["1.0.0", "newest"], ("none", None, None, "nothing_above")),
    ],
)  # fmt: skip
def test_the_step_that_is_taken(about: dict[str, list[str]], versions: list[str], expected: tuple[Any, ...]) -> None:
    start = versions[1] if versions[:1] == ["0.9.0"] else "0.1.0" if "0.1.0" in versions else "1.0.0"
    assert told(releases(about, *versions).upgrade(start, [a for a in about if start in about[a]])) == expected


def test_who_is_on_a_prerelease_may_go_to_one() -> None:
    found = releases({"A": ["1.0.0-a"]}, "1.0.0-a", "1.0.0-b", "2.0.0").upgrade("1.0.0-a", ["A"])
    assert told(found) == (Outcome.SAFE, "1.0.0-b", "patch", None)


def test_a_withdrawn_version_is_no_way_out() -> None:
    found = releases({"A": ["1.0.0"]}, "1.0.0", "1.0.1", withdrawn=["1.0.1"]).upgrade("1.0.0", ["A"])
    assert told(found) == (Outcome.NONE, None, None, Reason.ONLY_WITHDRAWN)


def test_a_version_that_cannot_be_placed_has_no_step() -> None:
    found = releases({}, "1.0.0").upgrade("latest", ["A"])
    assert (told(found), found.remaining) == ((Outcome.NONE, None, None, Reason.UNKNOWN_VERSION), ("A",))


def test_how_far_a_step_is() -> None:
    rows = releases({"A": ["1.0.0", "1.0.1"]}, "1.0.0", "1.0.1", "1.0.2-a", "1.1.0", "1.2.0", "3.0.0")
    found = rows.upgrade("1.0.0", ["A", "B"])
    assert (found.to, found.releases_skipped, found.days_behind) == ("1.1.0", 1, 3)
    assert (found.is_breaking, found.newest, found.cleared, found.remaining) == (False, "3.0.0", ("A", "B"), ())


VERSION = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}{pre}",
    st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.sampled_from(["", "", "-a"]),
)  # fmt: skip


@settings(max_examples=examples(300), deadline=None)
@given(
    st.lists(VERSION, unique=True, max_size=12), st.dictionaries(st.sampled_from("ABC"), st.lists(VERSION)), VERSION,
    st.lists(VERSION, max_size=3),
)  # fmt: skip
def test_what_a_step_promises(
    versions: list[str], about: dict[str, list[str]], start: str, withdrawn: list[str]
) -> None:
    order = Plain()
    now = {a for a, some in about.items() if start in some}
    found = releases(about, *versions, withdrawn=withdrawn).upgrade(start, now)
    good = [
        v for v in versions
        if (order.key(v) or b"") > (order.key(start) or b"") and v not in withdrawn and ("-" in start or "-" not in v)
    ]  # fmt: skip
    safe = [v for v in good if not any(v in some for some in about.values())]
    assert (found.outcome is Outcome.SAFE) == bool(safe)
    if found.to is None:
        assert found.reason is not None
        assert found.remaining == tuple(sorted(now))
        return
    assert found.to in good
    left = {a for a, some in about.items() if found.to in some}
    assert left < now if found.outcome is Outcome.PARTIAL else not left
    assert set(found.remaining) == left
    assert set(found.cleared) == now - left
    if safe:
        nearest = ["patch", "minor", "major"]
        assert all(nearest.index(str(found.step)) <= nearest.index(order.step(start, v) or "") for v in safe)
