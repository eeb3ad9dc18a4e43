"""How long does it take to match a million packages of ten thousand repositories with every advisory, and is it right?

    python -m tests.bench.matching --osv DIR

DIR has the layout of the public OSV export. Packages and versions are drawn from what its advisories name, and as many
again that none names. The join is held against a slow, obvious loop over the rows (``matching_data``). Exit 1 when a
row differs. One advisory in ten million packages: ``tests.bench.one_advisory``.

Each part runs in a process of its own, whose memory is its peak. Seconds are the least of some tries; on a machine
that does other work the processor's own say more than the clock's.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.deps import ordering
from tasks.deps.advisories.fetching import FolderPlace
from tasks.deps.advisories.keyed import prepared
from tasks.deps.advisories.snapshots import Snapshot, Snapshots
from tasks.deps.advisories.syncing import Feed, sync
from tasks.deps.matching import RANGES
from tests.bench.matching_data import slow, write_inventory
from tests.bench.matching_files import write_vulnerable


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """The least seconds by the clock and of the processor, the peak of memory, and the bytes that the last try read."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    read_mb: float
    first_s: float
    result: Any = None

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s, {self.cpu_s:.2f} s of a processor, {self.peak_mb:.0f} MB"


def measured(what: Callable[..., Any], given: tuple[Any, ...], times: int) -> Cost:
    """Some tries, in this process."""
    tries, result, read = [], None, 0
    for _ in range(times):
        before, wall, cpu = _read(), time.perf_counter(), time.process_time()
        result = what(*given)
        tries.append((time.perf_counter() - wall, time.process_time() - cpu))
        read = _read() - before
    # Not ``ru_maxrss``: a child begins with that of its parent.
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return Cost(
        wall_s=min(t[0] for t in tries), cpu_s=min(t[1] for t in tries), peak_mb=int(found[1]) / 1024,
        read_mb=read / 1e6, first_s=tries[0][0], result=result,
    )  # fmt: skip


def _read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def alone(what: Callable[..., Any], *given: Any, times: int = 1) -> Cost:
    """The same in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (what, given, times))


def advisories(osv: Path, folder: Path) -> Snapshot:
    """A snapshot of all ecosystems that lie there."""
    place = FolderPlace(osv)
    names = sorted(p.parent.name for p in osv.glob("*/all.zip"))
    feeds = tuple(Feed(name=f"osv/{n}", address=str(osv), place=place) for n in names)
    report = sync(Snapshots(folder), feeds, now=datetime.now(UTC))
    assert report.snapshot is not None
    return report.snapshot


def opened(folder: Path) -> Snapshot:
    """The newest snapshot there."""
    snapshot = Snapshots(folder).newest()
    assert snapshot is not None
    return snapshot


# -- what is measured --------------------------------------------------------------------------------------------


def made_ready(folder: Path) -> int:
    """Make all ranges ready for matching, as the first sync does."""
    for path in (folder / "keyed").iterdir():
        path.unlink()
    rows: int = prepared(opened(folder)).rows.num_rows
    return rows


def copied(place: Path, out: Path) -> None:
    """Read the inventory and write it."""
    pq.write_table(pq.read_table(place), out, compression="zstd")


def joined(folder: Path, place: Path, out: Path) -> int:
    """Read the inventory and the advisories, match them, write the vulnerabilities."""
    return write_vulnerable([place], prepared(opened(folder)), ordering.key, out).vulnerable


def looped(place: Path, ranges: Path, out: Path) -> int:
    """The same by the loop."""
    found = list(slow(pq.read_table(place), pq.read_table(ranges)))
    pq.write_table(pa.table(dict(zip(("row", "advisory_id"), zip(*found, strict=True), strict=True))), out)
    return len(found)


# -- what is told ------------------------------------------------------------------------------------------------


def every(folder: Path, ranges: Path, given: argparse.Namespace, work: Path) -> int:
    """All advisories, and the loop. 1 if a row differs."""
    place, out, expected = (work / f"{n}.parquet" for n in ("inventory", "vulnerabilities", "expected"))
    write_inventory(ranges, given.rows, given.repositories, place)
    distinct = duckdb.sql(
        f"SELECT count(*) FROM (SELECT DISTINCT ecosystem, package, version FROM '{place}')"
    ).fetchall()
    print(f"{given.rows} rows of {given.repositories} repositories, {distinct[0][0]} distinct, {_mb(place)}")
    base = alone(copied, place, work / "copy.parquet", times=given.repeat)
    ours = alone(joined, folder, place, out, times=given.repeat)
    print(f"read and written: {base}")
    print(f"matched: {ours}; {_times(ours, base)} of that; {ours.result} vulnerable, {_mb(out)}")
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    if given.join_only:
        return 0
    loop = alone(looped, place, ranges, expected)
    print(f"row by row: {loop}; {_times(loop, ours)} of the join; {loop.result} vulnerable")
    sides = {"only row by row": (expected, out), "only by the join": (out, expected)}
    differ = 0
    for side, (one, other) in sides.items():
        found = duckdb.sql(
            f"SELECT row, advisory_id FROM '{one}' EXCEPT ALL SELECT row, advisory_id FROM '{other}' ORDER BY ALL"
        ).fetchall()
        differ += len(found)
        for row, advisory in found[:10]:
            print("DIFFERS", side, advisory, pq.read_table(place).slice(row, 1).to_pylist()[0])
    print("all rows agree" if not differ else f"{differ} rows differ")
    return int(differ > 0)


def _mb(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


def _times(ours: Cost, base: Cost) -> str:
    return (
        f"{ours.wall_s / base.wall_s:.2f} times the clock, {ours.cpu_s / base.cpu_s:.2f} times the processor and "
        f"{ours.peak_mb / base.peak_mb:.2f} times the memory"
    )


def main() -> int:
    """0 if every row agrees."""
    asked_for = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    asked_for.add_argument("--osv", type=Path, required=True, metavar="DIR")
    asked_for.add_argument("--rows", type=int, default=1_000_000)
    asked_for.add_argument("--repositories", type=int, default=10_000)
    asked_for.add_argument("--repeat", type=int, default=3)
    asked_for.add_argument("--join-only", action="store_true", help="leave the loop out")
    given = asked_for.parse_args()
    with tempfile.TemporaryDirectory(prefix="matching-") as temporary:
        work = Path(temporary)
        snapshot = advisories(given.osv, work / "advisories")
        rows = snapshot.matchable()
        ranges = work / "ranges.parquet"
        named = rows.rename_columns(["range_type" if c == "type" else c for c in rows.column_names])
        pq.write_table(named.select(RANGES.names), ranges)
        ready = alone(made_ready, snapshot.folder)
        names = snapshot.ecosystems()
        size = sum(f.stat().st_size for f in (snapshot.folder / "keyed").iterdir())
        print(f"{rows.num_rows} ranges of {', '.join(names)}; made ready once: {ready}; {size / 1e6:.1f} MB")
        return every(snapshot.folder, ranges, given, work)


if __name__ == "__main__":
    sys.exit(main())
