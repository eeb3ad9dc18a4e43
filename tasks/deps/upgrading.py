"""The step from every vulnerable version of an organisation, all published versions judged in one join.

What is judged is what is known to be published: by the registry, or, where none could be asked, by the advisories
themselves, which name the versions that fix a flaw and those that have it. A version that only advisories name was not
checked with a registry: it may have been withdrawn, and newer ones are not known. Every answer says which it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tasks.deps import ordering
from tasks.deps.matching import PACKAGES, RANGES, match
from tasks.deps.upgrades import Published, Releases, Upgrade

#: (ecosystem, package)
Package = tuple[str, str]
#: What ``safe_upgrades`` needs of ranges: those of ``matching``, and the group of each advisory.
GROUPED = RANGES.append(pa.field("group_id", pa.string()))
#: Vulnerable versions as they are matched; several rows of one version are its several groups.
VULNERABLE = PACKAGES.append(pa.field("group_id", pa.string()))


class Basis(StrEnum):
    """By what it is known which versions there are."""

    REGISTRY = "registry"
    ADVISORIES = "advisories"  # those that advisories name; not checked with a registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Advised:
    """The step from one vulnerable version of a package.

    ``unjudged`` are groups of advisories about the package of which a range cannot be compared with versions, so that
    the recommended one may be concerned.
    """

    ecosystem: str
    package: str
    upgrade: Upgrade
    basis: Basis
    unjudged: tuple[str, ...] = ()


def safe_upgrades(
    vulnerable: pa.Table, ranges: pa.Table, published: Mapping[Package, Sequence[Published]]
) -> list[Advised]:
    """The step from each distinct (ecosystem, package, version) of ``vulnerable`` (``VULNERABLE``), in that order.

    ``ranges`` (``GROUPED``) are those of all advisories that are in force; of a package that ``published`` does not
    have, the versions that they name stand in. Pure; one call of ``match``, whatever the number of packages.
    """
    con = duckdb.connect(":memory:")
    try:
        con.register("vulnerable", vulnerable.select(VULNERABLE.names))
        wanted = _together(con.sql(_WANTED).to_arrow_table())
        packages = {(ecosystem, package) for ecosystem, package, _ in wanted}
        ranges = _of_packages(ranges.select(GROUPED.names), packages)
        named = known_by_advisories(ranges)
        there: dict[Package, Sequence[Published]] = {}
        for one in packages:
            there[one] = published.get(one, ()) or named.get(one, ())
        rows = [(e, name, p.version) for (e, name), some in there.items() for p in some]
        key = _remembered((e, version) for e, _, version in rows)
        columns = zip(*rows, strict=True) if rows else ((), (), ())
        matched = match(pa.table([pa.array(c, pa.string()) for c in columns], schema=PACKAGES), ranges, key)
        con.register("groups", ranges.select(["advisory_id", "group_id"]))
        con.register("matches", matched.matches)
        con.register("unjudged", matched.unjudged)
        about, unjudged = _together(con.sql(_JUDGED).to_arrow_table()), con.sql(_UNJUDGED).to_arrow_table()
    finally:
        con.close()
    judged: defaultdict[Package, dict[str, frozenset[str]]] = defaultdict(dict)
    for (e, name, version), groups in about.items():
        judged[e, name][version] = groups
    open_to = {(e, name): tuple(groups) for e, name, groups in _rows(unjudged, "ecosystem", "package", "groups")}
    releases = {one: Releases(one[0], some, judged.get(one, {}), key) for one, some in there.items()}
    return [
        Advised(
            ecosystem=e,
            package=name,
            upgrade=releases[e, name].upgrade(version, groups),
            basis=Basis.REGISTRY if published.get((e, name)) else Basis.ADVISORIES,
            unjudged=open_to.get((e, name), ()),
        )
        for (e, name, version), groups in wanted.items()
    ]


def undated(advised: Iterable[Advised]) -> dict[Package, set[str]]:
    """The versions whose time of publication ``days_behind`` still needs, for ``Registries.dated``."""
    wanted: defaultdict[Package, set[str]] = defaultdict(set)
    for a in advised:
        if a.basis is Basis.REGISTRY and a.upgrade.to is not None and a.upgrade.days_behind is None:
            wanted[a.ecosystem, a.package] |= {a.upgrade.version, a.upgrade.to}
    return dict(wanted)


def with_days(advised: Iterable[Advised], times: Mapping[Package, Mapping[str, datetime]]) -> list[Advised]:
    """The same steps with ``days_behind``, where the times of both versions are known."""
    told = []
    for a in advised:
        there, u = times.get((a.ecosystem, a.package), {}), a.upgrade
        if u.to is not None and u.days_behind is None and u.version in there and u.to in there:
            days = max(0, (there[u.to] - there[u.version]).days)
            a = replace(a, upgrade=replace(u, days_behind=days))
        told.append(a)
    return told


#: The groups of each version as one text, as they come: to sort them and make them distinct here costs six times that.
_TOGETHER = "string_agg(group_id, chr(0)) AS groups"
_WANTED = f"""
    SELECT ecosystem, package, version, {_TOGETHER} FROM vulnerable
    GROUP BY ecosystem, package, version ORDER BY ecosystem, package, version
"""
_NAMED = "(SELECT DISTINCT advisory_id, group_id FROM groups)"
_JUDGED = f"""
    SELECT ecosystem, package, version, {_TOGETHER} FROM matches JOIN {_NAMED} USING (advisory_id)
    GROUP BY ecosystem, package, version
"""
_UNJUDGED = f"""
    SELECT ecosystem, package, list_sort(list(DISTINCT group_id)) AS groups
    FROM unjudged JOIN {_NAMED} USING (advisory_id) WHERE what = 'range' GROUP BY ecosystem, package
"""


def _together(table: pa.Table) -> dict[tuple[str, str, str], frozenset[str]]:
    # Neighbouring versions have the same: few sets are made.
    sets: dict[str, frozenset[str]] = {}
    found = {}
    for e, name, version, groups in _rows(table, "ecosystem", "package", "version", "groups"):
        if groups not in sets:
            sets[groups] = frozenset(groups.split("\0"))
        found[e, name, version] = sets[groups]
    return found


def known_by_advisories(ranges: pa.Table) -> dict[Package, list[Published]]:
    """The versions of each package that advisories name as fixed, or list. Of none it is known when it was published,
    or whether it was withdrawn."""
    fixed = ranges.filter(pc.is_valid(ranges["fixed"])).select(["ecosystem", "package", "fixed"])
    listed = ranges.filter(pc.equal(ranges["range_type"], "VERSIONS"))
    flat = pc.list_flatten(listed["versions"])
    parents = pc.list_parent_indices(listed["versions"])
    rows = pa.table(
        {
            "ecosystem": pa.concat_arrays(_chunks(fixed["ecosystem"], listed["ecosystem"].take(parents))),
            "package": pa.concat_arrays(_chunks(fixed["package"], listed["package"].take(parents))),
            "version": pa.concat_arrays(_chunks(fixed["fixed"], flat)),
        }
    )
    found: defaultdict[Package, list[Published]] = defaultdict(list)
    distinct = rows.group_by(rows.column_names).aggregate([])
    for e, name, version in _rows(distinct, *rows.column_names):
        found[e, name].append(Published(version=version))
    return dict(found)


def _chunks(*columns: pa.ChunkedArray) -> list[pa.Array]:
    """The chunks of some columns, one column after the other; an empty column is an empty chunk."""
    return [c for column in columns for c in (column.chunks or [pa.array([], column.type)])]


def _of_packages(ranges: pa.Table, packages: Iterable[Package]) -> pa.Table:
    # Neither has a zero byte in it.
    names = pc.binary_join_element_wise(ranges["ecosystem"], ranges["package"], "\0")
    return ranges.filter(pc.is_in(names, pa.array(map("\0".join, packages), pa.string())))


def _rows(table: pa.Table, *columns: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(table[c].to_pylist() for c in columns), strict=True)


def _remembered(versions: Iterable[tuple[str, str]]) -> Callable[[str, str], bytes | None]:
    """``ordering.key``, asked once for each version that is known beforehand."""
    by: defaultdict[str, list[str]] = defaultdict(list)
    for ecosystem, version in versions:
        by[ecosystem].append(version)
    known = {e: dict(zip(some, ordering.keys(e, some), strict=True)) for e, some in by.items()}

    def key(ecosystem: str, version: str) -> bytes | None:
        here = known.setdefault(ecosystem, {})
        if version not in here:
            here[version] = ordering.key(ecosystem, version)
        return here[version]

    return key
