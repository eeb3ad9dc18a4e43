"""Inventories as large as wanted, drawn from what advisories name, and the matching of them by an obvious loop.

Versions are ordered by other programs than ours: ``packaging`` for PyPI, and numbers and identifiers compared as
semver.org says for the rest.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache, total_ordering
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from packaging.version import InvalidVersion, Version

_SEMVER = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")
#: Names beside each one that advisories know, that none knows.
_OTHERS = 50


# -- inventories ------------------------------------------------------------------------------------------------


class Drawn:
    """Packages and their versions to draw from: what advisories name of them, or near to it."""

    def __init__(self, ranges: Path, seed: int) -> None:
        known = duckdb.sql(
            f"""
            SELECT ecosystem, package, list_sort(list_distinct(list(v))) AS versions FROM (
                SELECT ecosystem, package, unnest([introduced, fixed, last_affected]) AS v FROM '{ranges}' UNION ALL
                SELECT ecosystem, package, unnest(versions[:40]) FROM '{ranges}' UNION ALL
                SELECT ecosystem, package, unnest([last_affected, versions[-1]]) || '+local.1' FROM '{ranges}'
                WHERE ecosystem = 'PyPI'
            ) WHERE v IS NOT NULL AND v <> '0' AND package IS NOT NULL GROUP BY ALL ORDER BY ALL
            """
        ).to_arrow_table()
        self.rng = np.random.default_rng(seed)
        self.ecosystems = sorted(set(known["ecosystem"].to_pylist()))
        versions: dict[str, int] = {}
        self.ecosystem = np.array([self.ecosystems.index(e) for e in known["ecosystem"].to_pylist()], np.int32)
        self.counts = np.array([len(v) for v in known["versions"].to_pylist()])
        self.starts = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        flat = [versions.setdefault(v, len(versions)) for some in known["versions"].to_pylist() for v in some]
        self.flat = np.array(flat, np.int32)
        made = [f"{a}.{b}.{c}" for a in range(9) for b in range(20) for c in range(9)]
        self.made = np.array([versions.setdefault(v, len(versions)) for v in made], np.int32)
        self.versions = pa.array(list(versions))
        names = known["package"].to_pylist()
        # In the order of texts: what is sorted by number is sorted by name.
        every = sorted({*names, *(f"{n}-{k}" for n in names for k in range(_OTHERS))})
        place = {n: i for i, n in enumerate(every)}
        self.packages = pa.array(every)
        self.named = np.array([place[n] for n in names], np.int32)
        self.others = np.array([[place[f"{n}-{k}"] for k in range(_OTHERS)] for n in names], np.int32)

    def draw(self, rows: int) -> dict[str, np.ndarray[Any, Any]]:
        """Numbers of ecosystem, package and version: half of the rows are of packages that an advisory names, and a
        fifth of those at a version made up. A few packages are much more common than most."""
        rng = self.rng
        which = (len(self.named) * rng.random(rows) ** 2.5).astype(np.int64)
        version = self.flat[self.starts[which] + (self.counts[which] * rng.random(rows)).astype(np.int64)]
        unknown = rng.random(rows) < 0.5
        package = np.where(unknown, self.others[which, rng.integers(0, _OTHERS, rows)], self.named[which])
        near = ~unknown & (rng.random(rows) < 0.2)
        version = np.where(near, rng.choice(self.made, rows), version)
        return {"ecosystem": self.ecosystem[which], "package": package, "version": version}

    def texts(self, drawn: dict[str, np.ndarray[Any, Any]], repositories: np.ndarray[Any, Any]) -> pa.Table:
        """The table of some rows, with the numbers of their repositories."""
        repos, at = np.unique(repositories, return_inverse=True)
        columns = {
            "repo_id": _coded(at, pa.array([f"team/app-{n}" for n in repos])),
            "manifest": _coded(np.zeros(len(at), np.int32), pa.array(["lock"])),
            "ecosystem": _coded(drawn["ecosystem"], pa.array(self.ecosystems)),
        }
        for column, every in (("package", self.packages), ("version", self.versions)):
            used, at = np.unique(drawn[column], return_inverse=True)
            columns[column] = _coded(at, every.take(pa.array(used)))
        return pa.table(columns)


def _coded(numbers: np.ndarray[Any, Any], texts: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(numbers.astype(np.int32)), texts)


def write_inventory(ranges: Path, rows: int, repositories: int, out: Path) -> None:
    """One file of plain texts, by repository, as a patrol would write it."""
    drawn = Drawn(ranges, 1)
    table = drawn.texts(drawn.draw(rows), np.arange(rows) * repositories // rows)
    plain = pa.schema([(name, pa.string()) for name in table.column_names])
    pq.write_table(table.cast(plain), out, compression="zstd")


# -- the slow, obvious loop -------------------------------------------------------------------------------------


@total_ordering
class SemVer:
    """https://semver.org/#spec-item-11, to the letter."""

    def __init__(self, text: str) -> None:
        found = _SEMVER.fullmatch(text)
        if found is None:
            raise ValueError(text)
        self.numbers = tuple(int(n) for n in found.groups()[:3])
        self.pre = found[4].split(".") if found[4] else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SemVer) and (self.numbers, self.pre) == (other.numbers, other.pre)

    def __hash__(self) -> int:
        return hash((self.numbers, tuple(self.pre or ())))

    def __lt__(self, other: SemVer) -> bool:
        if self.numbers != other.numbers:
            return self.numbers < other.numbers
        if self.pre is None or other.pre is None:
            return self.pre is not None and other.pre is None
        for a, b in zip(self.pre, other.pre, strict=False):
            if a != b:
                if a.isdecimal() != b.isdecimal():
                    return a.isdecimal()
                return int(a) < int(b) if a.isdecimal() else a < b
        return len(self.pre) < len(other.pre)


@cache
def placed(ecosystem: str, version: str) -> Any:
    """A version that can be compared with others of its ecosystem; None where it is none."""
    try:
        return Version(version) if ecosystem == "PyPI" else SemVer(version)
    except (InvalidVersion, ValueError):
        return None


def counted(version: Any, bound: Any) -> Any:
    """PEP 440: at ``<=`` and ``==`` the local label of a candidate counts only where the bound has one. A bound that
    is None has none."""
    is_build = isinstance(version, Version) and version.local is not None
    return Version(version.public) if is_build and (bound is None or bound.local is None) else version


class Said:
    """One row of ranges: https://ossf.github.io/osv-schema/#evaluation."""

    def __init__(self, r: dict[str, Any]) -> None:
        self.advisory = r["advisory_id"]
        self.is_list = r["range_type"] == "VERSIONS"
        self.texts = set(r["versions"] or ()) if self.is_list else set()
        self.listed = {placed(r["ecosystem"], v) for v in self.texts} - {None}
        told = {n: r[n] for n in ("introduced", "fixed", "last_affected") if r[n] is not None}
        if told.get("introduced") == "0":
            del told["introduced"]
        self.at = {n: placed(r["ecosystem"], v) for n, v in told.items()}
        self.is_judged = r["range_type"] in {"ECOSYSTEM", "SEMVER"} and None not in self.at.values()
        assert r["limit_version"] is None, "no record of the three ecosystems has one"

    def is_about(self, text: str, version: Any) -> bool:
        if self.is_list:
            return text in self.texts or (version is not None and any(counted(version, v) == v for v in self.listed))
        if not self.is_judged or version is None:
            return False
        at = self.at
        return not (
            ("introduced" in at and version < at["introduced"])
            or ("fixed" in at and version >= at["fixed"])
            or ("last_affected" in at and counted(version, at["last_affected"]) > at["last_affected"])
        )


def slow(rows: pa.Table, ranges: pa.Table) -> Iterator[tuple[int, str]]:
    """(row, advisory), by going through the rows one by one, and for each through all that is said of its package."""
    of = defaultdict(list)
    for r in ranges.to_pylist():
        of[r["ecosystem"], r["package"]].append(Said(r))
    number = 0
    for batch in rows.select(["ecosystem", "package", "version"]).to_batches(max_chunksize=10_000):
        for ecosystem, package, text in zip(*(c.to_pylist() for c in batch.columns), strict=True):
            version = placed(ecosystem, text)
            found = {s.advisory for s in of.get((ecosystem, package), ()) if s.is_about(text, version)}
            yield from ((number, advisory) for advisory in found)
            number += 1
