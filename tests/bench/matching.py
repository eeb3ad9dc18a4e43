"""How long does it take to match a million packages of ten thousand repositories with every advisory, and is it right?

    python -m tests.bench.matching --osv DIR

DIR has the layout of the public OSV export. Packages and versions are drawn from what its advisories name, and as many
again that none names. The join is held against a slow, obvious loop over the rows, which orders versions by other
programs than ours: ``packaging`` for PyPI, and numbers and identifiers compared as semver.org says for the rest. Exit 1
when a row differs.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import total_ordering
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from packaging.version import InvalidVersion, Version

from tasks.deps import ordering
from tasks.deps.advisories.fetching import FolderPlace
from tasks.deps.advisories.snapshots import Snapshots
from tasks.deps.advisories.syncing import Feed, sync
from tasks.deps.matching import RANGES, match

_SEMVER = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


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

    __hash__ = None  # type: ignore[assignment]

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


def placed(ecosystem: str, version: str) -> Any:
    """A version that can be compared with others of its ecosystem; None where it is none."""
    try:
        return Version(version) if ecosystem == "PyPI" else SemVer(version)
    except (InvalidVersion, ValueError):
        return None


def advisories(osv: Path, work: Path) -> pa.Table:
    """The rows of ranges of all ecosystems that lie there."""
    place = FolderPlace(osv)
    names = sorted(p.parent.name for p in osv.glob("*/all.zip"))
    feeds = tuple(Feed(name=f"osv/{n}", address=str(osv), place=place) for n in names)
    began = time.perf_counter()
    report = sync(Snapshots(work / "advisories"), feeds, now=datetime.now(UTC))
    assert report.snapshot is not None
    rows = report.snapshot.matchable()
    print(f"advisories of {', '.join(names)}: {rows.num_rows} ranges, read in {time.perf_counter() - began:.1f} s")
    return rows.rename_columns(["range_type" if c == "type" else c for c in rows.column_names]).select(RANGES.names)


def inventory(ranges: pa.Table, rows: int, repositories: int, rng: random.Random) -> pa.Table:
    """Packages of repositories: half of them named by an advisory, at the versions that it names and near to them."""
    versions = defaultdict(set)
    for r in ranges.to_pylist():
        told = {r["introduced"], r["fixed"], r["last_affected"], *(r["versions"] or ())[:40]} - {None, "0"}
        versions[r["ecosystem"], r["package"]] |= told
    named = [(e, p, sorted(v)) for (e, p), v in sorted(versions.items()) if v]
    columns: dict[str, list[Any]] = {"repo_id": [], "manifest": [], "ecosystem": [], "package": [], "version": []}
    for n in range(rows):
        ecosystem, package, known = rng.choice(named)
        version = rng.choice(known)
        if n % 2:
            package = f"{package}-{rng.randrange(50)}"
        elif rng.random() < 0.2:
            version = f"{rng.randrange(9)}.{rng.randrange(20)}.{rng.randrange(9)}"
        values = (f"team/app-{rng.randrange(repositories)}", "lock", ecosystem, package, version)
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    return pa.table(columns)


def slow(rows: pa.Table, ranges: pa.Table) -> Iterator[tuple[int, str]]:
    """(row, advisory), by going through the rows one by one."""
    of = defaultdict(list)
    for r in ranges.to_pylist():
        of[r["ecosystem"], r["package"]].append(r)
    for n, row in enumerate(rows.select(["ecosystem", "package", "version"]).to_pylist()):
        found = set()
        for r in of.get((row["ecosystem"], row["package"]), ()):
            if affected(row["ecosystem"], row["version"], r):
                found.add(r["advisory_id"])
        yield from ((n, advisory) for advisory in found)


def affected(ecosystem: str, version: str, r: dict[str, Any]) -> bool:
    """https://ossf.github.io/osv-schema/#evaluation for one row of ranges."""
    mine = placed(ecosystem, version)
    if r["range_type"] == "VERSIONS":
        return any(version == v or (mine is not None and mine == placed(ecosystem, v)) for v in r["versions"])
    if r["range_type"] not in {"ECOSYSTEM", "SEMVER"} or mine is None:
        return False

    def at(name: str) -> Any:
        return placed(ecosystem, r[name])

    low = r["introduced"] not in {None, "0"}
    if any(r[n] is not None and at(n) is None for n in ("fixed", "last_affected")) or (
        low and at("introduced") is None
    ):
        return False
    return not (
        (low and mine < at("introduced"))
        or (r["fixed"] is not None and mine >= at("fixed"))
        or (r["last_affected"] is not None and mine > at("last_affected"))
    )


_EXPAND = """
    COPY (SELECT r.n, r.repo_id, r.manifest, r.ecosystem, r.package, r.version, m.advisory_id, m.fixed_version
          FROM (SELECT *, file_row_number AS n FROM read_parquet('{0}', file_row_number = true)) r
          JOIN matches m USING (ecosystem, package, version))
    TO '{1}' (FORMAT parquet, COMPRESSION zstd)"""


def joined(place: Path, ranges: pa.Table, out: Path) -> pa.Table:
    """Read the inventory, match it, write the vulnerabilities."""
    con = duckdb.connect()
    packages = con.sql(f"SELECT DISTINCT ecosystem, package, version FROM '{place}'").to_arrow_table()
    matched = match(packages, ranges, ordering.key)
    con.register("matches", matched.matches)
    con.execute(_EXPAND.format(place, out))
    con.close()
    return matched.matches


def timed(what: Callable[[], Any], times: int) -> float:
    """The least seconds of some tries."""
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        what()
        best = min(best, time.perf_counter() - began)
    return best


def main() -> int:
    """0 if every row agrees."""
    asked = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    asked.add_argument("--osv", type=Path, required=True, metavar="DIR")
    asked.add_argument("--rows", type=int, default=1_000_000)
    asked.add_argument("--repositories", type=int, default=10_000)
    asked.add_argument("--repeat", type=int, default=3)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="matching-") as temporary:
        work = Path(temporary)
        ranges = advisories(given.osv, work)
        rows = inventory(ranges, given.rows, given.repositories, random.Random(1))
        place, out = work / "inventory.parquet", work / "vulnerabilities.parquet"
        pq.write_table(rows, place, compression="zstd")
        print(f"{rows.num_rows} rows of {given.repositories} repositories, {place.stat().st_size / 1e6:.1f} MB")
        through = timed(
            lambda: pq.write_table(pq.read_table(place), work / "copy.parquet", compression="zstd"), given.repeat
        )
        ours = timed(lambda: joined(place, ranges, out), given.repeat)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"read and written {through:.2f} s; matched {ours:.2f} s, {ours / through:.2f} times that; {peak:.0f} MB")
        began = time.perf_counter()
        expected = set(slow(rows, ranges))
        took = time.perf_counter() - began
        found = set(zip(*pq.read_table(out, columns=["n", "advisory_id"]).to_pydict().values(), strict=True))
        print(
            f"row by row {took:.1f} s, {took / ours:.0f} times the join; {len(expected)} vulnerable, {len(found)} found"
        )
        for n, advisory in sorted(expected ^ found)[:20]:
            side = "only row by row" if (n, advisory) in expected else "only by the join"
            print("DIFFERS", side, advisory, rows.slice(n, 1).to_pylist()[0])
        return int(expected != found)


if __name__ == "__main__":
    sys.exit(main())
