"""Steps of many packages at once, judged again by the bench's slow judge; what they come through, what they clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.deps import ordering
from tasks.deps.advisories.records import parse
from tasks.deps.manifest import Dependency
from tasks.deps.upgrades import Outcome, Published, Reason
from tasks.deps.upgrading import (
    GROUPED,
    VULNERABLE,
    Advised,
    Basis,
    Package,
    known_by_advisories,
    safe_upgrades,
    undated,
    with_days,
)
from tasks.deps.ways import Way, What, ways
from tests.bench.upgrades import Judge, by_hand, faults, vulnerable
from tests.thorough import examples

FIXTURES = Path(__file__).parents[1] / "data" / "deps" / "upgrades"


def rows_of(contents: Sequence[bytes]) -> pa.Table:
    """The ranges of some records, as a snapshot would give them."""
    rows = []
    for content in contents:
        name, ecosystem = orjson.loads(content)["id"], orjson.loads(content)["affected"][0]["package"]["ecosystem"]
        record = parse(content, name, ecosystem, ordering.key)
        for a in record.affected if not record.is_withdrawn else ():
            row = {n: getattr(a, n) for n in GROUPED.names if n not in ("advisory_id", "range_type", "group_id")}
            rows.append(row | {"advisory_id": name, "range_type": a.type, "group_id": f"of {name}"})
    return pa.Table.from_pylist(rows, GROUPED)


@pytest.fixture(scope="module")
def ranges() -> pa.Table:
    return rows_of([p.read_bytes() for p in sorted(FIXTURES.glob("*.json"))])


def agree(
    ranges: pa.Table, known: Mapping[Package, Sequence[Published]], asked: bool
) -> dict[tuple[str, str], Advised]:
    """The steps from every known version that is vulnerable, judged again; by (package, version)."""
    advised = safe_upgrades(vulnerable(ranges, known), ranges, known if asked else {})
    judge = Judge(ranges)
    assert list(faults(advised, known, judge)) == []
    for a in advised:
        assert a.upgrade.to == by_hand(a, known[a.ecosystem, a.package], judge), a
        assert a.basis is (Basis.REGISTRY if asked else Basis.ADVISORIES)
    return {(a.package, a.upgrade.version): a for a in advised}


def to(found: Mapping[tuple[str, str], Advised], package: str) -> dict[str, tuple[str | None, str]]:
    return {
        v: (a.upgrade.to, f"{a.upgrade.outcome} {a.upgrade.reason or a.upgrade.step}")
        for (p, v), a in found.items() if p == package
    }  # fmt: skip


def test_without_a_registry_what_advisories_name_stands_in(ranges: pa.Table) -> None:
    found = agree(ranges, known_by_advisories(ranges), asked=False)
    assert to(found, "wheelbarrow") == {
        "1.0": ("2.0", "safe major"), "1.1": ("2.0", "safe major"), "1.2": ("2.0", "safe major"),
        "1.2.1": ("2.0", "safe major"), "1.3": ("2.0", "safe major"), "1.3.1rc1": ("2.0", "safe major"),
    }  # fmt: skip
    assert to(found, "spade") == {
        "0.1": ("0.2", "partial all_vulnerable"), "0.2": (None, "none nothing_above"),
        "0.2.0.0": (None, "none nothing_above"), "not-a-version": (None, "none unknown_version"),
    }  # fmt: skip
    # A release that only the withdrawn advisory is about is not vulnerable.
    assert to(found, "rake") == {}
    assert to(found, "example.com/hoe") == {
        "1.4.6": ("1.5.3", "safe minor"), "1.5.2": ("1.5.3", "safe patch"),
    }  # fmt: skip
    assert {a.unjudged for (p, _), a in found.items() if p == "example.com/hoe"} == {("of TEST-2026-2010",)}
    assert found["spade", "0.1"].unjudged == ()


def test_what_a_registry_lists_is_judged_and_nothing_else(ranges: pa.Table) -> None:
    def listed(*versions: str, gone: str = "") -> list[Published]:
        return [Published(version=v, is_withdrawn=v == gone) for v in versions]

    known = {
        ("PyPI", "wheelbarrow"): listed("1.0", "1.1", "1.2", "1.2.1", "1.3", "2.0", "2.0.1", gone="2.0"),
        ("PyPI", "spade"): listed("0.1", "0.2", "0.3rc1"),
        ("crates.io", "rake"): listed("0.2.9", "0.3.0-alpha.1", "0.3.0-alpha.2"),
        ("Go", "example.com/hoe"): listed("v1.4.5", "v1.4.6", "v1.5.1", "v1.5.3", "v2.0.1"),
    }
    found = agree(ranges, known, asked=True)
    # The one that was withdrawn is passed over, and so is what 2003 is about as well.
    assert set(to(found, "wheelbarrow").values()) == {("2.0.1", "safe major")}
    assert found["wheelbarrow", "1.0"].upgrade.cleared == ("of TEST-2026-2001",)
    assert to(found, "spade")["0.2"] == (None, "none only_prereleases")
    assert to(found, "rake") == {
        "0.2.9": (None, "none only_prereleases"), "0.3.0-alpha.1": ("0.3.0-alpha.2", "safe patch"),
    }  # fmt: skip
    assert to(found, "example.com/hoe")["v1.4.5"] == ("v1.5.3", "safe minor")
    # What no registry knows any more is still in use somewhere.
    some = pa.table([["PyPI"], ["wheelbarrow"], ["1.2.0.dev1"], ["of TEST-2026-2001"]], schema=VULNERABLE)
    (step,) = safe_upgrades(some, ranges, known)
    assert (step.upgrade.to, step.upgrade.outcome) == ("2.0.1", Outcome.SAFE)


def test_days_are_told_where_a_list_has_no_times(ranges: pa.Table) -> None:
    package = ("Go", "example.com/hoe")
    known = {package: [Published(version="v1.4.5"), Published(version="v1.5.3")]}
    advised = safe_upgrades(vulnerable(ranges, known), ranges, known)
    assert undated(advised) == {package: {"v1.4.5", "v1.5.3"}}
    times = {package: {"v1.4.5": datetime(2026, 1, 1, tzinfo=UTC), "v1.5.3": datetime(2026, 1, 9, tzinfo=UTC)}}
    assert [a.upgrade.days_behind for a in with_days(advised, times)] == [8]
    assert undated(with_days(advised, times)) == {}
    assert with_days(advised, {package: {"v1.4.5": datetime(2026, 1, 1, tzinfo=UTC)}}) == advised


def test_of_nothing_follows_nothing(ranges: pa.Table) -> None:
    assert safe_upgrades(VULNERABLE.empty_table(), ranges, {}) == []
    some = pa.table([["npm"], ["left-pad"], ["1.0.0"], ["A"]], schema=VULNERABLE)
    (step,) = safe_upgrades(some, ranges, {})
    assert (step.upgrade.reason, step.basis) == (Reason.NOT_PUBLISHED, Basis.ADVISORIES)
    (step,) = safe_upgrades(some, GROUPED.empty_table(), {})
    assert step.upgrade.reason is Reason.NOT_PUBLISHED


VERSIONS = [f"{a}.{b}.{c}{pre}" for a in (0, 1, 2) for b in (0, 1, 2) for c in (0, 1) for pre in ("", "-a.1")]
EVENTS = st.lists(
    st.tuples(st.sampled_from(["introduced", "fixed", "last_affected"]), st.sampled_from(VERSIONS)), max_size=4
)


@st.composite
def records(draw: st.DrawFn, package: str) -> list[bytes]:
    """Advisories about a package; a version of PyPI is spelled as it is there."""
    made = []
    for n in range(draw(st.integers(1, 4))):
        ecosystem = draw(st.sampled_from(["PyPI", "crates.io"]))
        events = [{"introduced": "0"}, *({k: v} for k, v in draw(EVENTS))]
        entry: dict[str, Any] = {
            "package": {"ecosystem": ecosystem, "name": package},
            "ranges": [{"type": "ECOSYSTEM" if ecosystem == "PyPI" else "SEMVER", "events": events}],
            "versions": draw(st.lists(st.sampled_from(VERSIONS), max_size=3)),
        }
        told = {"id": f"{package}-{n}", "modified": "2026-01-01T00:00:00Z", "affected": [entry]}
        made.append(orjson.dumps(told).replace(b"-a.1", b"a1" if ecosystem == "PyPI" else b"-a.1"))
    return made


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_step_leads_to_a_vulnerable_version_or_down(data: st.DataObject) -> None:
    """A dozen packages at a time: a join costs as much as a hundred steps."""
    contents: list[bytes] = []
    known: dict[Package, list[Published]] = {}
    for package in [f"pad{n}" for n in range(12)]:
        contents += data.draw(records(package))
        versions = data.draw(st.lists(st.sampled_from(VERSIONS), min_size=1, unique=True, max_size=12))
        withdrawn = data.draw(st.sets(st.sampled_from(VERSIONS), max_size=4))
        for e, spelled in (("PyPI", "a1"), ("crates.io", "-a.1")):
            some = [Published(version=v.replace("-a.1", spelled), is_withdrawn=v in withdrawn) for v in versions]
            known[e, package] = some
    agree(rows_of(contents), known, asked=True)


# -- where a package comes through ------------------------------------------------------------------------------------


def graph(*edges: str, direct: str = "", unknown: bool = False) -> list[Dependency]:
    """``a>b``: a asks for b. All have version 1."""
    parents: dict[str, list[str]] = {}
    for edge in edges:
        above, _, name = edge.partition(">")
        parents.setdefault(above, [])
        parents.setdefault(name, []).append(f"{above}@1")
    return [
        Dependency(ecosystem="npm", name=n, version="1", direct=None if unknown else n in direct, parents=tuple(some))
        for n, some in parents.items()
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        (graph("a>b", "b>c", "d>c", "e>f", direct="ade"), Way(what=What.REFRESH_OR_RAISE, through=("a@1", "d@1"))),
        # It is asked for itself, and others ask for it as well.
        (graph("a>b", "b>c", direct="ac"), Way(what=What.RAISE, through=("a@1",))),
        # A direct one below another: both lead to it.
        (graph("a>b", "b>c", direct="ab"), Way(what=What.REFRESH_OR_RAISE, through=("a@1", "b@1"))),
        # Circles end.
        (graph("a>b", "b>c", "c>b", "c>c", direct="a"), Way(what=What.REFRESH_OR_RAISE, through=("a@1",))),
        (graph("b>c", "c>b"), Way(what=What.UNKNOWN)),
        # A lock file that does not name its roots: who is asked for by nobody is one.
        (graph("a>b", "b>c", unknown=True), Way(what=What.REFRESH_OR_RAISE, through=("a@1",))),
        # A parent that is not in the manifest.
        ([Dependency(ecosystem="npm", name="c", version="1", direct=False, parents=("x@9",))], Way(what=What.UNKNOWN)),
    ],
)  # fmt: skip
def test_what_a_package_comes_through(some: list[Dependency], expected: Way) -> None:
    assert ways(some, ["c@1", "none@1"]) == {"c@1": expected}


def test_a_deep_and_wide_graph_is_walked_once() -> None:
    edges = [f"r{n}>p0" for n in range(300)] + [f"p{n}>p{n + 1}" for n in range(5_000)]
    edges += [f"p{n}>p{n - 1}" for n in range(1, 5_000, 7)]
    some = [
        d if d.name[0] == "p" else Dependency(ecosystem="npm", name=d.name, version="1", direct=True)
        for d in graph(*edges)
    ]
    found = ways(some, ["p5000@1", "p17@1"])
    assert {len(w.through) for w in found.values()} == {300}
