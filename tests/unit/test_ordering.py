"""Keys of versions: written-out ladders for each ecosystem, steps, and what holds of any text."""

from __future__ import annotations

import time
from itertools import combinations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.deps.ordering import ECOSYSTEMS, LOWEST, Step, is_moving, is_prerelease, key, keys, step
from tasks.deps.ordering.digits import NUMBER
from tests.thorough import examples

#: From smallest to largest; what stands on one line is equal. Each was checked with the ecosystem's own program.
LADDERS = {
    "PyPI": """
        1.dev1
        1.0a0.dev3
        1.0a 1.0.0-alpha_0 1a0
        1.0a1.post1.dev2
        1.0a1.post1
        1.0b2 1.0.BETA-2
        1.0rc1 1.0c1 1.0-preview1 v1.0.0.PRE.1
        1 1.0 1.0.0 01.00 v1 0!1
        1+a
        1+a.a
        1.0+a.1 1.0+A_01
        1+1
        1+1.a
        1.0.post0.dev1
        1.0.post 1.0-0 1.0.r0
        1.0-1 1.post1
        1.0.1
        1.10
        20260101
        1!0
        1!0.1
    """,
    "npm": """
        0.0.0-0
        1.0.0-0
        1.0.0-1
        1.0.0-9007199254740992 1.0.0-9007199254740993
        1.0.0--
        1.0.0-RC
        1.0.0-alpha 1.0.0alpha v1.0.0-alpha+b
        1.0.0-alpha.1 1.0.0-alpha.01
        1.0.0-alpha.beta
        1.0.0-beta.2
        1.0.0-beta.11
        1.0.0-rc.1
        1.0.0 v1.0.0 =1.0.0 1.0.0+build.5 01.0.0
        1.2.3-4.5 1.2.34.5
        1.2.10
        1.10.0
    """,
    "crates.io": """
        0.0.0-0
        0.0.0
        1.0.0-1
        1.0.0-18446744073709551616
        1.0.0-alpha
        1.0.0-alpha.1
        1.0.0-alpha0
        1.0.0-beta
        1.0.0 1.0.0+1 1.0.0+2.x
        1.0.18446744073709551615
        1.1.0
    """,
    "Go": """
        v0.0.0-20130808000456-233bccbb1abe
        0.0.0-20260101000000-000000000000
        v0.0.0
        v1.2.3-0.20260101000000-abcdefabcdef
        v1.2.3-pre
        v1.2.3-pre.0.20260101000000-abcdefabcdef
        v1.2.3 1.2.3 v1.2.3+incompatible
        1.21.0-beta.1 go1.21beta1
        1.21.0-rc.2 go1.21rc2
        v1.21 1.21.0 go1.21 go1.21.0
        go1.21.3 v1.21.3
        v2 v2.0 v2.0.0+incompatible
    """,
    "Maven": """
        alpha
        0.1
        1-alpha-1 1.0-a1 1alpha1
        1-alpha-2
        1-beta-1
        1.0-milestone-1 1.0-M1
        1-rc 1-cr
        1.0-rc-2
        1.0-rc-10
        1-SNAPSHOT
        1 1.0 1.0.0 1-ga 1.0.Final 1.0.0.RELEASE 1-0 1-
        1-sp
        1-sp-1
        1-android
        1-jre
        1.0-x2
        1-1 1.0.0-1
        1.0.1-alpha
        1.0.1
        1.0.2-jre
        1.1
        1.9
        1.10
        2147483647
        2147483648
        9223372036854775808
    """,
    "NuGet": """
        1.0.0--2
        1.0-0 1.0.0--0
        1.0.0-2
        1.0.0-2147483647
        1.0.0-2147483648
        1.0.0-alpha 1.0.0.0-ALPHA 1-Alpha+x
        1.0.0-alpha.1
        1.0.0-alpha1
        1.0.0-beta
        1 1.0 1.0.0 1.0.0.0 01.00 1.0.0+meta
        1.0.0.1
        1.0.1
        1.10
        2147483647.0.0
    """,
    "RubyGems": """
        0.a
        1.0.A
        1.0.a 1.a 1.0.0.a 1.a.0
        1.0.a.1 1.0a1 1.a1
        1.0.a10
        1.0.b1
        1.0-a 1.0.pre.a
        1.0.rc1
        1 1.0 1.0.0 1.00
        1.0.1.a
        1.0.1
        1.2.0
        1.10
    """,
    "Packagist": """
        1.0-STABLE
        1.0-dev 1.0.0.0-DEV v1-dev
        1.0-alpha-dev
        1.0-alpha 1.0a
        1.0.0-alpha1 1.0a1 1.0.0_A.1 1.0-alpha.01
        1.0.0-alpha1.2
        1.0-beta2 1.0b2
        1.0-RC1-dev
        1.0-RC1 1.0.0rc1 v1.0.0.0-rc.1
        1.0 1 v1.0.0.0 1.0-stable 1.0.0+build 1.0@beta
        1.0-p1 1.0.0-patch1 1.0pl1
        1.0.1
        1.10
        1.9999999.9999999.9999999-dev 1.x-dev 1.*-dev 1.X-dev
        2020-01-02 2020:01:02
        2020.01.02
        99999
        20200102
    """,
    "GitHub Actions": """
        v1.0.0-beta.1
        v1 1 v1.0 V1.0.0 1.0.0+x
        v1.0.1
        v1.1
        v4
        41 v41.0.0
        46.0.1
    """,
    "Debian": """
        0~
        0 0-0 0:0 00 +0:0
        0.0 0.
        0.0.1
        1.0~~
        1.0~~a
        1.0~
        1.0~rc1-1
        1.0-0~1
        1.0 1.0-0 01.00-0
        1.0-0ubuntu1
        1.0-1~bpo12+1
        1.0-1
        1.0-1+b1
        1.0-1.1
        1.0-2
        1.0-10
        1.0a
        1.0+dfsg-1
        1.0-1-1
        1.0.0
        1.2
        1:0.1
        2:0
    """,
    "Alpine": """
        0
        1_alpha
        1_alpha1
        1_alpha2-r3
        1_beta
        1_pre
        1_rc
        1_rc1_alpha
        1_rc1 01_rc01
        1 01
        1-r0 1-r00
        1-r1
        1~abc
        1_p-r1
        1_p1
        1a
        1.0
        1.01
        1.1_rc1
        1.1_rc1_p1
        1.1 01.1
        1.1_git20260101
        1.1b
        1.10
        2
    """,
}
#: No version of its ecosystem.
NONE = {
    "PyPI": ("1.0-final-2", "latest", "1..0", "1.0+", "1.0+a..b", "1.0.*", "==1.0", "1!", "²"),
    "npm": (
        "1.2",
        "1",
        "latest",
        "^1.2.3",
        "1.2.x",
        "9007199254740992.0.0",
        "1.2.3-a..b",
        "1.2.3-" + "a" * 251,
        "workspace:*",
    ),
    "crates.io": ("v1.2.3", "1.2", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "18446744073709551616.0.0", "=1.2.3"),
    "Go": ("v01.2.3", "v1.2-pre", "v1.2.3.4", "vv1.2.3", "go1", "go1.21rc", "latest", "v1.2.3-01"),
    "Maven": ("${revision}", "[1.0,2.0)", "1.0 beta", "1:0", "١.٢", "LATEST?"),
    "NuGet": ("1.2.3.4.5", "2147483648.0", "1.0-", "1.0-a..b", "1.0.*", "1.0-01", "[1.0]", "v1.0", "1."),
    "RubyGems": ("a.1", "1..2", "1.2_3", "~> 1.2", "1.", "-1", "1.2.3-x86_64-linux"),
    "Packagist": ("dev-main", "dev-1.0", "^1.0", "1.0.0.0.0", "main", "1.x", "master", "1.0-foo"),
    "GitHub Actions": (
        "main",
        "v1.2.3.4",
        "8f4b7f84864484a7bf31766abe9204da3cbe65b3",
        "1234567",
        "20260101",
        "v1-node16",
    ),
    "Debian": ("a1", "1.0-", "1:", ":1", "x:1", "1.0_1", "2147483648:1", "1.0-1:2", "1.0-a b", "unstable"),
    "Alpine": ("1.a", "1a2", "1ab", "1_foo", "1-1", "1-r", "r1", "1.", "1~xyz", "1_", "1_p1-r1-r2"),
}


def _rungs(ecosystem: str) -> list[list[str]]:
    return [line.split() for line in LADDERS[ecosystem].strip().splitlines()]


def test_every_ecosystem_has_a_ladder() -> None:
    assert set(LADDERS) == set(NONE) == ECOSYSTEMS


@pytest.mark.parametrize("ecosystem", sorted(ECOSYSTEMS))
def test_ladder(ecosystem: str) -> None:
    """Each version is equal to its line, and smaller than all of every later line."""
    rungs = _rungs(ecosystem)
    for rung in rungs:
        found = {version: key(ecosystem, version) for version in rung}
        assert None not in found.values()
        assert len(set(found.values())) == 1, found
    for lower, higher in combinations(rungs, 2):
        assert key(ecosystem, lower[0]) < key(ecosystem, higher[0]), (lower, higher)  # type: ignore[operator]
    assert key(ecosystem, rungs[0][0]) > LOWEST  # type: ignore[operator]


@pytest.mark.parametrize("ecosystem", sorted(ECOSYSTEMS))
def test_what_follows_no_grammar_has_no_key(ecosystem: str) -> None:
    for text in (*NONE[ecosystem], "", " ", "\0", "\ud800", "a\nb", "<<<<<<< HEAD", "1.0\n2.0"):
        assert key(ecosystem, text) is None, text
        assert is_prerelease(ecosystem, text) is None, text
        assert not is_moving(ecosystem, text)
        assert step(ecosystem, text, text) is Step.NONE


def test_names_of_ecosystems() -> None:
    assert key("Debian:12", "1:1.0-1") == key("Debian", "1:1.0-1")
    assert key("Alpine:v3.22", "1.0-r1") == key("Alpine", "1.0-r1")
    assert key("Pub", "1.0.0") is None and keys("Pub", ["1.0.0", "2"]) == [None, None]
    assert step("Pub", "1.0.0", "2.0.0") is Step.NONE and is_prerelease("Pub", "1.0.0") is None


@pytest.mark.parametrize(
    ("ecosystem", "prereleases", "releases"),
    [
        ("PyPI", "1a1 1.dev0 1.post1.dev1", "1 1.post1 1+rc1"),
        ("npm", "1.0.0-0 1.0.0beta", "1.0.0 1.0.0+a-b"),
        ("crates.io", "1.0.0-alpha", "1.0.0 1.0.0+a-b"),
        ("Go", "v0.0.0-20260101000000-abcdefabcdef go1.21rc1", "v1.0.0 v2.0.0+incompatible go1.21"),
        ("Maven", "1-alpha 1.0-M2 1-SNAPSHOT 2.0-rc-1 1.0-preview", "1.0 1.0.Final 31.1-jre 1-sp 1.0-1"),
        ("NuGet", "1.0-a 1.0-1", "1.0 1.0+a-b"),
        ("RubyGems", "1.0.a 1.0-1 1.0rc2", "1.0 1.0.0.1"),
        ("Packagist", "1.0-dev 1.x-dev 1.0RC1 1.0-b", "1.0 1.0-p1 1.0-stable"),
        ("GitHub Actions", "v1.0.0-beta", "v1 1.0.0"),
        ("Debian", "1.0~rc1-1 1:2~beta", "1.0 1.0-1~deb12u1 1.0+git1"),
        ("Alpine", "1_rc1 1_pre-r1", "1_p1 1_git2 1-r1"),
    ],
)
def test_prereleases(ecosystem: str, prereleases: str, releases: str) -> None:
    assert all(is_prerelease(ecosystem, version) is True for version in prereleases.split())
    assert all(is_prerelease(ecosystem, version) is False for version in releases.split())


@pytest.mark.parametrize(
    ("ecosystem", "before", "after", "expected"),
    [
        ("PyPI", "5.1", "5.4", Step.MINOR),
        ("PyPI", "2.0", "4.2.30", Step.MAJOR),
        ("PyPI", "1.2", "1.2.0.1", Step.PATCH),
        ("PyPI", "1.2rc1", "1.2", Step.PATCH),
        ("PyPI", "1.2", "1!1.2", Step.MAJOR),
        ("PyPI", "1.2", "1.2.0", Step.NONE),
        ("PyPI", "1.2.1", "1.2", Step.NONE),
        ("npm", "0.2.1", "0.2.2", Step.PATCH),
        ("npm", "0.2.1", "0.3.0", Step.MAJOR),
        ("npm", "v1.2.3", "1.3.0", Step.MINOR),
        ("crates.io", "0.0.1", "0.0.2", Step.PATCH),
        ("Go", "v1.2.3", "v2.0.0+incompatible", Step.MAJOR),
        ("Go", "go1.21rc1", "1.21.4", Step.PATCH),
        ("Maven", "1.0.Final", "1.1-jre", Step.MINOR),
        ("Maven", "v20100101", "v20260101", Step.MAJOR),
        ("Maven", "r09", "r10", Step.NONE),
        ("NuGet", "1.0.0", "1.0.0.1", Step.PATCH),
        ("RubyGems", "6.0.3", "6.1.0.rc1", Step.MINOR),
        ("RubyGems", "1.0a1", "1.0", Step.PATCH),
        ("Packagist", "v1.2", "1.2.1", Step.PATCH),
        ("GitHub Actions", "v3", "v4.1.0", Step.MAJOR),
        ("Debian", "1.2.3-1", "1.2.3-2+deb12u1", Step.PATCH),
        ("Debian", "1.2-1", "1:1.2-1", Step.MAJOR),
        ("Alpine", "1.2.3-r0", "1.3.0-r0", Step.MINOR),
        ("PyPI", "01.2", "1.3", Step.MINOR),
        ("PyPI", "1.2", "nonsense", Step.NONE),
    ],
)
def test_steps(ecosystem: str, before: str, after: str, expected: Step) -> None:
    assert step(ecosystem, before, after) is expected


def test_moving_tags() -> None:
    assert [is_moving("GitHub Actions", tag) for tag in ("v4", "v4.1", "v4.1.0", "main")] == [True, True, False, False]
    assert not is_moving("npm", "4")


def test_columns_are_compared_as_blobs() -> None:
    """What it is all for: bytewise order of binary columns is the order of the versions."""
    versions = [rung[0] for rung in _rungs("PyPI")]
    column = pa.array(keys("PyPI", reversed(versions)), pa.binary())
    assert [versions[-1 - at] for at in pc.sort_indices(column).to_pylist()] == versions


@pytest.mark.parametrize("ecosystem", sorted(ECOSYSTEMS))
def test_giants_are_answered_at_once(ecosystem: str) -> None:
    """No pattern backtracks through a giant, and none is cut off and taken for another version."""
    giants = [
        "9" * 10_000,
        "1." * 500_000,
        "1.0-" + "a." * 500_000,
        "1.0." + "9" * 4000,
        "1" * 4096,
        "1." * 2048,
        "1.0.0-" + "a" * 4000,
        "1.0.0-" + "a1." * 1300,
        "1.0.0-" + "-" * 4000,
        "1.0_p" * 800,
        "0" * 4000 + "!",
        " " * 4000 + "x",
        "v=" * 2000,
        "1.0.0+" + "a-" * 2000 + "!",
    ]
    started = time.process_time()
    for giant in giants:
        found = key(ecosystem, giant)
        assert len(giant) <= 4096 or found is None
        is_prerelease(ecosystem, giant)
        step(ecosystem, giant, giant)
    assert time.process_time() - started < 1.0


def test_numbers_of_any_length_keep_their_order() -> None:
    numbers = sorted({10**digits + more for digits in (0, 1, 4, 18, 126, 127, 128, 129, 1000) for more in (-1, 0, 1)})
    written = [NUMBER[str(number)] for number in numbers]
    assert written == sorted(written) and len(set(written)) == len(written)
    assert NUMBER["007"] == NUMBER["7"] and NUMBER[""] == NUMBER["000"] == NUMBER["0"]
    assert not any(a != b and b.startswith(a) for a in written for b in written)
    assert key("PyPI", "1." + "9" * 200) < key("PyPI", "1.1" + "0" * 200)  # type: ignore[operator]


_WORDS = "0 1 2 10 01 00 . . . - - _ ~ + : ! a b rc alpha beta dev post pre p sp ga final snapshot x v = r0 -r1 @"
_PIECES = st.sampled_from([*_WORDS.split(), "é", "²", "٣", "\t"])
_TEXTS = st.one_of(st.lists(_PIECES, max_size=12).map("".join), st.text(max_size=30))


@settings(max_examples=examples(250), deadline=None)
@given(st.sampled_from(sorted(ECOSYSTEMS)), _TEXTS, _TEXTS)
def test_any_text(ecosystem: str, one: str, other: str) -> None:
    """No text raises; all functions agree on what a version is; a step goes up and only up."""
    for text in (one, other):
        found = key(ecosystem, text)
        assert found is None or found > LOWEST
        assert keys(ecosystem, [text]) == [found]
        assert (is_prerelease(ecosystem, text) is None) == (found is None)
    first, second = key(ecosystem, one), key(ecosystem, other)
    there, back = step(ecosystem, one, other), step(ecosystem, other, one)
    assert there is Step.NONE or back is Step.NONE
    if first is not None and second is not None and (there is not Step.NONE):
        assert first < second


@settings(max_examples=examples(150), deadline=None)
@given(
    st.sampled_from(sorted(ECOSYSTEMS)),
    st.lists(st.integers(0, 12), min_size=3, max_size=3),
    st.integers(0, 2),
    st.integers(1, 9),
)
def test_a_larger_number_is_a_larger_version(ecosystem: str, numbers: list[int], at: int, more: int) -> None:
    larger = [*numbers[:at], numbers[at] + more, *numbers[at + 1 :]]
    low, high = (key(ecosystem, ".".join(map(str, it))) for it in (numbers, larger))
    assert low is not None and high is not None and low < high
