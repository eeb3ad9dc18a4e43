"""Matching against OSV's own evaluation algorithm, row by row, in an ecosystem whose versions are numbers."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.deps.matching import PACKAGES, RANGES, match
from tests.thorough import examples

ECOSYSTEMS = ("Toy", "Other")


def key(ecosystem: str, version: str) -> bytes | None:
    """Numbers, also with zeros before; anything else has no place in the order."""
    if not version.isdecimal() or not version.isascii():
        return None
    # Ecosystems must not be mixed up: in one of them the order is turned round.
    number = int(version)
    return (number if ecosystem == "Toy" else 10**6 - number).to_bytes(4, "big")


def interval(advisory: str, package: str, ecosystem: str = "Toy", **bounds: str) -> dict[str, Any]:
    row = dict.fromkeys(RANGES.names) | {"advisory_id": advisory, "ecosystem": ecosystem, "package": package}
    return row | {"range_type": "ECOSYSTEM", "introduced": "0"} | bounds


def listed(advisory: str, package: str, *versions: str, ecosystem: str = "Toy") -> dict[str, Any]:
    return interval(advisory, package, ecosystem, introduced="") | {
        "range_type": "VERSIONS", "introduced": None, "versions": list(versions),
    }  # fmt: skip


def asked(packages: list[tuple[str, str, str | None]], ranges: list[dict[str, Any]]) -> Any:
    rows = [dict(zip(PACKAGES.names, p, strict=True)) for p in packages]
    return match(pa.Table.from_pylist(rows, PACKAGES), pa.Table.from_pylist(ranges, RANGES), key)


def hits(packages: list[tuple[str, str, str | None]], ranges: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    return {tuple(r.values()) for r in asked(packages, ranges).matches.to_pylist()}


# -- the slow, obvious reference ------------------------------------------------------------------------------


def affected(ecosystem: str, version: str, row: dict[str, Any]) -> bool:
    """Whether one row of ranges is about a version: https://ossf.github.io/osv-schema/#evaluation."""
    mine = key(ecosystem, version)
    if row["range_type"] == "VERSIONS":
        return any(version == v or (mine is not None and mine == key(ecosystem, v)) for v in row["versions"])
    if row["range_type"] != "ECOSYSTEM" or mine is None:
        return False
    bounds = {n: row[n] for n in ("introduced", "fixed", "last_affected", "limit_version") if row[n] is not None}
    keys = {n: b"" if (n, v) == ("introduced", "0") else key(ecosystem, v) for n, v in bounds.items()}
    if None in keys.values():
        return False
    return (
        keys.get("introduced", b"") <= mine < keys.get("fixed", b"\xff" * 5)
        and mine <= keys.get("last_affected", b"\xff" * 5)
        and mine < keys.get("limit_version", b"\xff" * 5)
    )


def slow(packages: list[tuple[str, str, str | None]], ranges: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
    found = set()
    for ecosystem, package, version in packages:
        for row in ranges:
            if version is None or (row["ecosystem"], row["package"]) != (ecosystem, package):
                continue
            if affected(ecosystem, version, row):
                mine, advisory = key(ecosystem, version), row["advisory_id"]
                fixes = [
                    r["fixed"] for r in ranges
                    if (r["advisory_id"], r["ecosystem"], r["package"]) == (advisory, ecosystem, package)
                    and r["range_type"] == "ECOSYSTEM" and r["fixed"] is not None
                ]  # fmt: skip
                above = [f for f in fixes if mine is not None and (key(ecosystem, f) or b"") > mine]
                fixed = min(above, key=lambda f: key(ecosystem, f) or b"") if above else None
                found.add((ecosystem, package, version, advisory, fixed))
    return found


VERSIONS = st.one_of(st.integers(0, 12).map(str), st.sampled_from(["x", "", "1.0", "٣"]))
BOUND = st.one_of(st.none(), st.integers(0, 12).map(str), st.just("?"))
RANGE = st.builds(
    lambda n, package, ecosystem, low, high, last, limit, kind, versions: {
        **interval(f"A-{n}", package, ecosystem),
        "range_type": kind,
        "introduced": low or "0",
        "fixed": high,
        "last_affected": last,
        "limit_version": limit,
        "versions": versions if kind == "VERSIONS" else None,
    },
    st.integers(0, 5), st.sampled_from("pq"), st.sampled_from(ECOSYSTEMS), BOUND, BOUND, BOUND,
    st.sampled_from([None, None, "9"]), st.sampled_from(["ECOSYSTEM", "ECOSYSTEM", "VERSIONS", "GIT", "NONE"]),
    st.lists(VERSIONS, max_size=4),
)  # fmt: skip
PACKAGE = st.tuples(st.sampled_from(ECOSYSTEMS), st.sampled_from("pqr"), st.one_of(st.none(), VERSIONS))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(PACKAGE, max_size=12), st.lists(RANGE, max_size=10))
def test_the_join_says_what_the_slow_reference_says(
    packages: list[tuple[str, str, str | None]], ranges: list[dict[str, Any]]
) -> None:
    assert hits(packages, ranges) == slow(packages, ranges)


# -- by hand ---------------------------------------------------------------------------------------------------


def test_fixed_is_not_affected_and_last_affected_is() -> None:
    ranges = [interval("F", "p", introduced="2", fixed="5"), interval("L", "p", introduced="2", last_affected="5")]
    packages = [("Toy", "p", str(n)) for n in range(8)]
    assert {(v, a) for _, _, v, a, _ in hits(packages, ranges)} == {
        ("2", "F"), ("3", "F"), ("4", "F"), ("2", "L"), ("3", "L"), ("4", "L"), ("5", "L"),
    }  # fmt: skip


def test_a_version_written_otherwise_is_the_same_and_a_text_only_itself() -> None:
    assert hits([("Toy", "p", "007"), ("Toy", "p", "x"), ("Toy", "p", "y")], [listed("A", "p", "7", "x")]) == {
        ("Toy", "p", "007", "A", None), ("Toy", "p", "x", "A", None),
    }  # fmt: skip


def test_the_lowest_fix_above_is_told_also_of_a_list() -> None:
    ranges = [
        interval("A", "p", fixed="3"), interval("A", "p", introduced="5", fixed="8"), listed("A", "p", "6", "9"),
    ]  # fmt: skip
    packages = [("Toy", "p", v) for v in ("1", "6", "9")]
    assert {(v, f) for _, _, v, _, f in hits(packages, ranges)} == {("1", "3"), ("6", "8"), ("9", None)}


def test_what_cannot_be_compared_is_told_and_only_where_it_matters() -> None:
    ranges = [interval("A", "p", fixed="3"), interval("B", "p", introduced="two"), listed("C", "q", "1")]
    packages = [("Toy", "p", "x"), ("Toy", "q", "x"), ("Toy", "r", "x"), ("Toy", "p", "1"), ("Toy", "p", None)]
    matched = asked(packages, ranges)
    assert [tuple(r.values()) for r in matched.unjudged.to_pylist()] == [
        ("range", "Toy", "p", None, "B"), ("version", "Toy", "p", "x", None),
    ]  # fmt: skip
    assert [r["advisory_id"] for r in matched.matches.to_pylist()] == ["A"]
    assert matched.judged == 3


def test_only_versions_of_named_packages_are_asked_for_their_place() -> None:
    seen: list[str] = []

    def watched(ecosystem: str, version: str) -> bytes | None:
        seen.append(version)
        return key(ecosystem, version)

    packages = pa.table(
        {"ecosystem": ["Toy"] * 4, "package": ["p", "p", "p", "other"], "version": ["1", "1", "2", "99"]}, PACKAGES
    )
    match(packages, pa.Table.from_pylist([interval("A", "p", fixed="2")], RANGES), watched)
    assert sorted(seen) == ["1", "2"]


def test_nothing_with_nothing_is_nothing() -> None:
    assert hits([], []) == set()
    assert hits([("Toy", "p", "1")], []) == set()
    assert hits([], [interval("A", "p")]) == set()
