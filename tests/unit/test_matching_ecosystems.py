"""Matching in real ecosystems, from records of OSV to rows, against its own evaluation read aloud."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.deps import ordering
from tasks.deps.advisories.ranges import intervals
from tasks.deps.matching import PACKAGES, RANGES, match
from tests.thorough import examples

#: By ecosystem: versions in their order, each with other spellings of itself, and what is no version there.
LADDERS: dict[str, tuple[list[tuple[str, ...]], tuple[str, ...]]] = {
    "PyPI": (
        [("1.0.dev1",), ("1.0a1", "1.0-alpha.1"), ("1.0rc1", "1.0C1"), ("1.0", "1", "v1.0.0"), ("1.0.post1", "1.0-1"),
         ("1.9",), ("1.10", "1.10.0"), ("1!0.1",)],
        ("latest", "", "1.0-cafe-babe", "2004d*"),
    ),
    "npm": (
        [("1.0.0-alpha",), ("1.0.0-alpha.1",), ("1.0.0", "v1.0.0", "1.0.0+b1"), ("1.2.0",), ("1.10.0",), ("2.0.0",)],
        ("^1.0.0", "latest", "1.x"),
    ),
    "Go": (
        [("0.0.0-20200101000000-abcdefabcdef", "v0.0.0-20200101000000-abcdefabcdef"), ("1.0.0-rc.1", "v1.0.0-rc.1"),
         ("1.0.0", "v1.0.0"), ("1.9.0",), ("1.10.0", "v1.10.0"), ("2.0.0+incompatible", "v2.0.0")],
        ("master", "v1.0.0.0"),
    ),
    "Maven": (
        [("1.0-alpha-1", "1.0-a1"), ("1.0-rc1", "1.0-CR1"), ("1.0", "1", "1.0.0", "1.0-GA"), ("1.0.1",), ("1.9",),
         ("1.10",), ("2.0",)],
        (),
    ),
    "Debian:12": (
        [("1.0~rc1-1",), ("1.0-1", "0:1.0-1"), ("1.0-1+deb12u1",), ("1.0-2",), ("1.9-1",), ("1.10-1",), ("1:0.1-1",)],
        ("unstable", "1.0_1"),
    ),
    "crates.io": (
        [("1.0.0-alpha.1",), ("1.0.0-alpha.beta",), ("1.0.0", "1.0.0+x"), ("1.2.0",), ("1.10.0",)], ("1.0", "*"),
    ),
    "NuGet": (
        [("1.0.0-alpha", "1.0.0-ALPHA"), ("1.0.0-beta.2",), ("1.0.0-beta.10",), ("1.0.0", "1.0", "1.0.0.0", "1.0.0+x"),
         ("1.0.0.1",), ("1.9.0",), ("1.10.0",)],
        ("latest", "[1.0,2.0)"),
    ),
    "RubyGems": (
        [("1.0.a", "1.0.0.a"), ("1.0.rc1", "1.0.rc.1"), ("1.0", "1", "1.0.0"), ("1.0.1",), ("1.9",), ("1.10",)],
        ("~> 1", "1.0+x"),
    ),
    "Packagist": (
        [("1.0-dev",), ("1.0-alpha1", "1.0a1"), ("1.0-beta2", "v1.0.0-beta2"), ("1.0-RC1",), ("1.0", "1.0.0", "v1.0.0"),
         ("1.0-p1", "1.0-patch1"), ("1.9",), ("1.10",)],
        ("^1.0", "latest"),
    ),
    "GitHub Actions": (
        [("v1.0.0", "1.0.0"), ("v1.2.0",), ("v1.10.0",), ("v2.0.0",)],
        ("main", "8f4b7f84864484a7bf31766abe9204da3cbe65b3"),
    ),
    "Alpine:v3.19": (
        [("1.0_alpha1-r0",), ("1.0_rc1-r0",), ("1.0-r0",), ("1.0-r1",), ("1.0_p1-r0",), ("1.0.1-r0",), ("1.9-r0",),
         ("1.10-r0",)],
        ("1.0~x", "latest"),
    ),
}  # fmt: skip
#: Where each spelling stands.
STEP = {(e, v): n for e, (ladder, _) in LADDERS.items() for n, rung in enumerate(ladder) for v in rung}


@pytest.mark.parametrize("ecosystem", LADDERS)
def test_the_ladders_are_what_the_ordering_says(ecosystem: str) -> None:
    ladder, none = LADDERS[ecosystem]
    keys = [{ordering.key(ecosystem, v) for v in rung} for rung in ladder]
    assert all(len(k) == 1 and None not in k for k in keys), list(zip(ladder, keys, strict=True))
    flat = [k.copy().pop() for k in keys]
    assert flat == sorted(flat, key=lambda k: k or b"") and len(set(flat)) == len(flat)
    assert [ordering.key(ecosystem, v) for v in none] == [None] * len(none)


def about(ecosystem: str, text: str, affected: dict[str, Any]) -> bool:
    """Whether a record is about a version, by the pseudocode of https://ossf.github.io/osv-schema/#evaluation."""
    if text in affected["versions"]:
        return True
    at = STEP.get((ecosystem, text))
    if at is None:
        return False
    if any(at == STEP.get((ecosystem, v)) for v in affected["versions"]):
        return True
    return any(_in_range(ecosystem, at, events) for events in affected["ranges"])


def _in_range(ecosystem: str, at: int, events: list[dict[str, str]]) -> bool:
    told = [(kind, v) for e in events for kind, v in e.items()]
    steps = [(-1 if v == "0" else 99 if v == "*" else STEP[ecosystem, v], kind) for kind, v in told]
    limits = [n for n, kind in steps if kind == "limit"]
    if limits and not any(at < n for n in limits):
        return False
    vulnerable = False
    for step in sorted({n for n, kind in steps if kind != "limit" and n <= at}):
        here = {kind for n, kind in steps if n == step}
        begins = "introduced" in here
        ends = "fixed" in here or ("last_affected" in here and step < at)
        # Where both stand at one version, what was open ends there and the next begins; else it ends what it begins.
        vulnerable = vulnerable and begins if ends else vulnerable or begins
    return vulnerable


def rows_of(advisory: str, ecosystem: str, package: str, affected: dict[str, Any]) -> list[dict[str, Any]]:
    """As the reader of records writes them."""
    rows: list[dict[str, Any]] = []
    of = dict.fromkeys(RANGES.names) | {"advisory_id": advisory, "ecosystem": ecosystem, "package": package}
    for events in affected["ranges"]:
        for i in intervals(events, ecosystem, ordering.key) or ():
            bounds = {"introduced": i.introduced, "fixed": i.fixed, "last_affected": i.last_affected}
            rows.append(of | {"range_type": "ECOSYSTEM", "limit_version": i.limit} | bounds)
    if affected["versions"]:
        rows.append(of | {"range_type": "VERSIONS", "versions": affected["versions"]})
    return rows


@st.composite
def records(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, dict[str, Any]]], list[tuple[str, str | None]]]:
    """An ecosystem, records (id, package, what is affected) and packages with versions."""
    ecosystem = draw(st.sampled_from(sorted(LADDERS)))
    ladder, none = LADDERS[ecosystem]
    version = st.sampled_from([v for rung in ladder for v in rung])
    anything = st.one_of(version, st.sampled_from(none)) if none else version
    # An end of each kind at one version would leave the order of the two open.
    kinds = st.sampled_from(
        [("introduced",), ("fixed",), ("last_affected",), ("introduced", "fixed"), ("last_affected", "introduced")]
    )
    at = st.tuples(version, kinds).map(lambda e: [{kind: e[0]} for kind in e[1]])
    several = st.lists(at, max_size=5, unique_by=lambda e: STEP[ecosystem, next(iter(e[0].values()))])
    first = st.sampled_from([[], [{"introduced": "0"}]])
    events = st.tuples(first, several).flatmap(lambda e: st.permutations([*e[0], *(x for some in e[1] for x in some)]))
    limits = st.lists(st.one_of(version, st.just("*")).map(lambda v: {"limit": v}), max_size=2)
    ranges = st.lists(st.tuples(events, st.one_of(st.just([]), limits)).map(lambda e: [*e[0], *e[1]]), max_size=2)
    affected = st.fixed_dictionaries({"ranges": ranges, "versions": st.lists(anything, max_size=4)})
    some = st.tuples(st.sampled_from(["A-1", "A-2", "A-3"]), st.sampled_from("pq"), affected)
    told = draw(st.lists(some, max_size=4, unique_by=lambda r: r[:2]))
    return (
        ecosystem,
        told,
        draw(st.lists(st.tuples(st.sampled_from("pqr"), st.one_of(st.none(), anything)), max_size=9)),
    )


def test_in_every_ecosystem_what_is_below_the_fix_is_vulnerable_however_it_is_written() -> None:
    ranges, packages, below = [], [], set()
    for ecosystem, (ladder, none) in LADDERS.items():
        fixed = len(ladder) // 2
        events = [{"introduced": "0"}, {"fixed": ladder[fixed][-1]}]
        ranges += rows_of("A-1", ecosystem, "p", {"ranges": [events], "versions": []})
        packages += [(ecosystem, "p", v) for v in (*(v for rung in ladder for v in rung), *none)]
        below |= {(ecosystem, v) for rung in ladder[:fixed] for v in rung}
    rows = [dict(zip(PACKAGES.names, p, strict=True)) for p in packages]
    found = match(pa.Table.from_pylist(rows, PACKAGES), pa.Table.from_pylist(ranges, RANGES), ordering.key)
    assert {(r["ecosystem"], r["version"]) for r in found.matches.to_pylist()} == below
    odd = {(r["ecosystem"], r["version"]) for r in found.unjudged.to_pylist()}
    assert odd == {(ecosystem, v) for ecosystem, (_, none) in LADDERS.items() for v in none}


@settings(max_examples=examples(40), deadline=None)
@given(records())
def test_records_of_real_ecosystems_match_as_osv_evaluates_them(
    given: tuple[str, list[tuple[str, str, dict[str, Any]]], list[tuple[str, str | None]]],
) -> None:
    ecosystem, told, packages = given
    ranges = [row for one, package, affected in told for row in rows_of(one, ecosystem, package, affected)]
    rows = [{"ecosystem": ecosystem, "package": p, "version": v} for p, v in packages]
    found = match(pa.Table.from_pylist(rows, PACKAGES), pa.Table.from_pylist(ranges, RANGES), ordering.key).matches
    expected = {
        (p, v, one) for p, v in packages for one, package, affected in told
        if v is not None and p == package and about(ecosystem, v, affected)
    }  # fmt: skip
    got = [(r["package"], r["version"], r["advisory_id"]) for r in found.to_pylist()]
    assert len(got) == len(set(got)), "an advisory is told once a version"
    assert set(got) == expected
