"""Who has what one new advisory is about, in a lake that knows ten million packages?

    python -m tests.bench.one_advisory --osv DIR --rows 10000000

DIR has the layout of the public OSV export. The lake's inventories are drawn from what its advisories name, and as many
packages again that none names; their rows are put into the table ``packages`` as publishing lays them, a million a run.
A few advisories are known when the lake is first assessed; then one comes about the package that most rows have, and
one about a package that few have. Told is what the product does about them: ``nightwarden affected`` by package and by
id (before it is assessed, and after), and ``nightwarden assess``: matching alone (its dry run), and whole with all that
is published.

Each part runs in a process of its own; of its tries the first is cold, the least of the others warm.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.core.types import Kind
from tasks.deps.matching import RANGES
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.schema import TABLES
from tasks.lake.store import GROUP
from tasks.lake.views import run_query
from tasks.patrol.asking import ask
from tasks.patrol.assessing import assess
from tests.bench.matching import Cost, advisories, alone
from tests.bench.matching_data import Drawn
from tests.inventories import Org, inventory_of
from tests.lake_rows import KEY_ID, night, result

#: Rows that a run publishes, and those that it puts in order at a time.
_PUBLISHED, _ORDERED = 1_000_000, 16 * GROUP
#: Advisories that are there before.
_KNOWN = 20


def fill(org: Org, drawn: Drawn, rows: int, repositories: int) -> None:
    """Inventories of as many packages."""
    every = [
        result(f"app-{n}", repo_id=f"team/app-{n}", tool="inventory", kind=Kind.PACKAGE) for n in range(repositories)
    ]
    names, table = pa.array([r.result_name for r in every]), TABLES["packages"]
    for number, first in enumerate(range(0, rows, _PUBLISHED), 1):
        last = min(first + _PUBLISHED, rows)
        batches = _batches(drawn, range(first, last), names, rows)
        org.lake.store.apply(table, pa.RecordBatchReader.from_batches(table.schema, batches), number)
        # The run has a package of its own, so that it names the version of the table, which holds the run's rows.
        own = inventory_of({"requirements.txt": "own==1.0\n"}, f"team/own-{number}")
        with org.lake.lock():
            publish(org.lake, org.lake.snapshot(), night(number, own, *(every if number == 1 else ())))
        print(f"  {last} rows", file=sys.stderr, flush=True)


def _batches(drawn: Drawn, numbers: range, names: pa.Array, total: int) -> Iterator[pa.RecordBatch]:
    schema = TABLES["packages"].schema
    for start in range(numbers.start, numbers.stop, _ORDERED):
        size = min(_ORDERED, numbers.stop - start)
        some = drawn.draw(size)
        order = np.lexsort((some["package"], some["ecosystem"]))
        told = drawn.texts({c: v[order] for c, v in some.items()}, np.zeros(size, np.int64))
        row = start + order
        columns: dict[str, Any] = {
            **{c: told[c] for c in ("ecosystem", "package", "version", "manifest")},
            "result_name": names.take(pa.array(row * len(names) // total)),
            "part": pa.repeat("2026-03", size), "format": pa.repeat("lock", size), "n": pa.array(row * 0),
            "purl": pa.array([f"pkg:generic/{n}" for n in row]), "source": pa.repeat("registry", size),
            "is_direct": pa.array(row % 5 == 0), "is_development": pa.array(row % 7 == 0),
            "line": pa.array(row % 3000 + 1),
        }  # fmt: skip
        made = pa.table([_as(columns.get(f.name), f.type, size) for f in schema], schema=schema)
        yield from made.to_batches(max_chunksize=GROUP)


def _as(given: Any, kind: pa.DataType, size: int) -> Any:
    return given.cast(kind) if given is not None else pa.nulls(size, kind)


# -- what is measured --------------------------------------------------------------------------------------------


def asked(place: Path, what: str) -> tuple[int, Sequence[str]]:
    """`nightwarden affected`: rows, and what is said of them."""
    answer = ask(Lake.open(place, key_id=KEY_ID).snapshot(), what)
    return len(answer.rows), answer.notes


def matched(place: Path) -> tuple[int, int, str]:
    """`nightwarden assess --dry-run`: the inventories that were judged, the vulnerable rows that are new; and the time
    from knowing what is to be judged to knowing which versions are vulnerable."""
    times: dict[str, float] = {}
    told = assess(
        Lake.open(place, key_id=KEY_ID), dry_run=True, watch=lambda step, _n: times.update({step: perf_counter()})
    )
    return told.judged, told.vulnerable, f"matching {times['versions'] - times['scopes']:.2f} s"


def assessed(place: Path) -> tuple[int, int]:
    """`nightwarden assess`."""
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        told = assess(lake)
    return told.judged, told.vulnerable


def records_of(osv: Path) -> dict[str, dict[str, Any]]:
    """All advisories of the export by id."""
    found = {}
    for path in sorted(osv.glob("*/all.zip")):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                record = json.loads(archive.read(name))
                if record.get("affected") and record["affected"][0]["package"]["ecosystem"] == path.parent.name:
                    found[record["id"]] = record
    return found


def chosen(org: Org, records: dict[str, dict[str, Any]], ranges: Path) -> Sequence[str]:
    """An advisory about the package that most rows have, and one about a package that few have."""
    lake = org.lake.snapshot()
    sql = "SELECT ecosystem, package, count(*) AS n FROM packages GROUP BY ALL ORDER BY n DESC, ecosystem, package"
    counts = [tuple(r) for r in run_query(lake, sql)[1]]
    told = duckdb.sql(f"SELECT ecosystem, package, min(advisory_id) AS id FROM '{ranges}' GROUP BY ALL").fetchall()
    by = {(e, p): one for e, p, one in told if one in records}
    here = [(by[e, p], n) for e, p, n in counts if (e, p) in by]
    return here[0][0], here[-len(here) // 4][0]


def tell(what: str, cost: Cost) -> None:
    """One line."""
    print(f"{what}: {cost.result}; {cost.read_mb:.1f} MB read; cold {cost.first_s:.2f} s, warm {cost}", flush=True)


def main() -> int:
    """Build, ask, tell."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.one_advisory", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--osv", type=Path, required=True, metavar="DIR")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repositories", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="one-advisory-") as temporary:
        work = Path(temporary)
        rows = advisories(given.osv, work / "all").matchable()
        ranges = work / "ranges.parquet"
        named = rows.rename_columns(["range_type" if c == "type" else c for c in rows.column_names])
        pq.write_table(named.select(RANGES.names), ranges)
        records = records_of(given.osv)
        org = Org(work)
        fill(org, Drawn(ranges, 2), given.rows, given.repositories)
        common, rare = chosen(org, records, ranges)
        ecosystems = sorted(p.parent.name for p in given.osv.glob("*/all.zip"))
        known = [r for i, r in sorted(records.items()) if i not in (common, rare)][:: len(records) // _KNOWN]
        org.advise(*known, ecosystems=ecosystems)
        place = org.lake.path
        tell(f"all of {given.rows} rows with {len(known)} advisories, first time", alone(assessed, place))
        for one in (common, rare):
            org.advise(*known, records[one], ecosystems=ecosystems)
            package = records[one]["affected"][0]["package"]
            tell(f"affected {one}, not assessed", alone(asked, place, one, times=given.repeat + 1))
            tell(f"{one} ({package['name']}): matched", alone(matched, place, times=given.repeat + 1))
            tell(f"{one}: assessed whole", alone(assessed, place))
            tell(f"affected {one}", alone(asked, place, one, times=given.repeat + 1))
            what = f"{package['ecosystem']}/{package['name']}@<2"
            tell(f"affected {what}", alone(asked, place, what, times=given.repeat + 1))
            known.append(records[one])
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
