"""Safe upgrades by hand, and their promises over made-up releases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.deps.ordering import Step
from tasks.deps.upgrades import Outcome, Published, Reason, Releases, Upgrade
from tests.thorough import examples

#: ``1.2.3`` and ``1.2.3-a``, as plain as can be.
PLAIN = "crates.io"


def releases(advisories: Mapping[str, Sequence[str]], *versions: str, withdrawn: Sequence[str] = ()) -> Releases:
    """Published a day apart; ``advisories`` names the versions that each is about."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    published = [
        Published(version=v, at=began + timedelta(days=n), is_withdrawn=v in withdrawn) for n, v in enumerate(versions)
    ]
    return Releases(
        PLAIN, published, {v: frozenset(a for a, about in advisories.items() if v in about) for v in versions}
    )


def told(found: Upgrade) -> tuple[Any, ...]:
    return found.outcome, found.to, found.step if found.to else None, found.reason


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


def test_how_far_behind_a_version_is() -> None:
    rows = releases({}, "1.0.0", "1.1.0", "1.2.0-a", "2.0.0", "2.1.0", withdrawn=["1.0.0", "2.1.0"])
    found = rows.standing("1.0.0")
    assert (found.newest, found.releases_behind, found.days_behind, found.is_withdrawn) == ("2.0.0", 2, 3, True)
    assert (rows.standing("2.0.0").newest, rows.standing("2.0.0").is_withdrawn) == (None, False)
    assert (rows.standing("1.0.1").newest, rows.standing("1.0.1").is_withdrawn) == ("2.0.0", None)
    assert rows.standing("latest").newest is None


def test_a_word_of_the_registry_goes_along() -> None:
    rows = [Published(version="1.0.0", word="old"), Published(version="1.0.1", word="no longer kept")]
    found = Releases(PLAIN, rows, {"1.0.0": frozenset("A")})
    assert found.upgrade("1.0.0", ["A"]).word == "no longer kept"
    assert found.standing("1.0.0").word == "old"


def test_of_a_step_a_version_that_the_registry_speaks_against_comes_last() -> None:
    words = {"4.17.22": "use 4.18", "4.17.24": "use 4.18"}
    for versions, expected in (
        (["4.17.22", "4.17.23", "4.17.24", "4.18.0"], "4.17.23"),
        (["4.17.22", "4.17.24", "4.18.0"], "4.17.22"),
    ):
        rows = [Published(version=v, word=words.get(v)) for v in ("4.17.21", *versions)]
        found = Releases(PLAIN, rows, {"4.17.21": frozenset("A")}).upgrade("4.17.21", ["A"])
        assert (found.to, found.word) == (expected, words.get(expected))


def test_of_two_spellings_the_one_that_is_not_withdrawn_counts() -> None:
    rows = [Published(version="1.1", is_withdrawn=True), Published(version="1.1.0")]
    for order in (rows, rows[::-1]):
        assert Releases("PyPI", order, {}).upgrade("1.0", ["A"]).to == "1.1.0"


@pytest.mark.parametrize(
    ("start", "versions", "expected"),
    [
        ("31.1-jre", ["32.0-android", "32.0-jre", "32.1-android"], "32.0-jre"),
        ("31.1-android", ["32.0-android", "32.0-jre"], "32.0-android"),
        # A nearer step goes before a flavour, and none is better than nothing.
        ("5.1.0.RELEASE", ["5.1.1", "5.2.0.RELEASE"], "5.1.1"),
        ("5.2.0.RELEASE", ["5.3.0", "5.3.1"], "5.3.0"),
        # A pre-release is on its way to a release.
        ("1.0-beta", ["1.0", "1.0.1-beta"], "1.0"),
    ],
)
def test_of_flavours_the_same_one_is_taken(start: str, versions: list[str], expected: str) -> None:
    rows = Releases("Maven", [Published(version=v) for v in (start, *versions)], {start: frozenset("A")})
    assert rows.upgrade(start, ["A"]).to == expected


VERSION = st.builds(
    lambda a, b, c, pre: f"{a}.{b}.{c}{pre}",
    st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.sampled_from(["", "", "-a"]),
)  # fmt: skip


def placed(version: str) -> tuple[Any, ...]:
    """The order by hand: numbers, then a pre-release before its release."""
    numbers, _, pre = version.partition("-")
    return (*map(int, numbers.split(".")), not pre)


def far(before: str, after: str) -> int:
    """0 for a patch, 1 for a minor, 2 for a major step, by hand."""
    a, b = placed(before), placed(after)
    if a[:2] == b[:2]:
        return 0
    return 1 if a[0] == b[0] != 0 else 2


@settings(max_examples=examples(250), deadline=None)
@given(
    st.lists(VERSION, unique=True, max_size=12), st.dictionaries(st.sampled_from("ABC"), st.lists(VERSION)), VERSION,
    st.lists(VERSION, max_size=3),
)  # fmt: skip
def test_what_a_step_promises(
    versions: list[str], about: dict[str, list[str]], start: str, withdrawn: list[str]
) -> None:
    now = {a for a, some in about.items() if start in some}
    found = releases(about, *versions, withdrawn=withdrawn).upgrade(start, now)
    good = [v for v in versions if placed(v) > placed(start) and v not in withdrawn and ("-" in start or "-" not in v)]
    left = {v: {a for a, some in about.items() if v in some} for v in versions}
    safe = [v for v in good if not left[v]]
    better = [v for v in good if left[v] < now]
    # What must come out, by the words of the rules alone.
    if safe:
        expected = min(safe, key=lambda v: (far(start, v), placed(v)))
    else:
        expected = min(better, key=lambda v: (len(left[v]), far(start, v), placed(v)), default="")
    assert found.to == (expected or None)
    assert found.outcome is (Outcome.SAFE if safe else Outcome.PARTIAL if better else Outcome.NONE)
    assert (found.reason is None) == bool(safe)
    assert found.newest == max(good, key=placed, default=None)
    if found.to is None:
        assert found.remaining == tuple(sorted(now))
        return
    assert found.step is (Step.PATCH, Step.MINOR, Step.MAJOR)[far(start, found.to)]
    assert (set(found.remaining), set(found.cleared)) == (left[found.to], now - left[found.to])
    between = [v for v in versions if placed(start) < placed(v) < placed(found.to) and "-" not in v]
    assert found.releases_skipped == len([v for v in between if v not in withdrawn])
