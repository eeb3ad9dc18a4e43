"""Matching in real ecosystems, from records of OSV to rows, against its own evaluation read aloud."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

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


@pytest.mark.parametrize("end", ["last_affected", "fixed", "versions"])
@pytest.mark.parametrize("bound", ["2.10.0", "2.10.0+cu121", "2.10.0.dev3"])
def test_local_builds_of_a_version_of_pypi_are_that_version_at_a_bound(end: str, bound: str) -> None:
    events = [{"introduced": "0"}, {end: bound}]
    affected = {"ranges": [], "versions": [bound]} if end == "versions" else {"ranges": [events], "versions": []}
    asked = [p + local for p in ("2.9.9", "2.10.0", "2.10.0rc1", "2.10.0.dev3", "2.10.0.post1", "2.10.1.dev1", "2.11")
             for local in ("", "+cu118", "+cu121", "+cu121.1", "+7")]  # fmt: skip
    rows = [dict(zip(PACKAGES.names, ("PyPI", "torch", v), strict=True)) for v in asked]
    ranges = pa.Table.from_pylist(rows_of("A-1", "PyPI", "torch", affected), RANGES)
    found = match(pa.Table.from_pylist(rows, PACKAGES), ranges, ordering.key).matches
    # PEP 440: at == and <= the local label of a candidate counts only where the bound has one. A specifier may not
    # have one at <=; the order of versions decides there, and what is fixed is told by the order alone.
    last = Version(bound)
    expected = {
        v for v, mine in ((v, Version(v)) for v in asked)
        if (end == "versions" and SpecifierSet(f"=={bound}").contains(mine, prereleases=True))
        or (end == "last_affected" and (mine if last.local else Version(mine.public)) <= last)
        or (end == "fixed" and mine < last)
    }  # fmt: skip
    assert set(found["version"].to_pylist()) == expected


def test_a_local_build_that_is_told_as_fixed_is_not_its_listed_version() -> None:
    affected = {"ranges": [[{"introduced": "0.9"}, {"fixed": "1.1+fix.2"}]], "versions": ["1.0", "1.1"]}
    rows = [dict(zip(PACKAGES.names, ("PyPI", "hoe", v), strict=True)) for v in ("1.0+x", "1.1+fix.1", "1.1+fix.2")]
    ranges = pa.Table.from_pylist(rows_of("A-1", "PyPI", "hoe", affected), RANGES)
    found = match(pa.Table.from_pylist(rows, PACKAGES), ranges, ordering.key).matches
    assert found["version"].to_pylist() == ["1.0+x", "1.1+fix.1"]


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
