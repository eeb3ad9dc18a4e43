"""Through which direct dependencies vulnerable packages come into their manifests, of what is matched in a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

import pyarrow as pa

from tasks.deps.manifest import Dependency
from tasks.deps.naming import package_key
from tasks.deps.ways import What, ways
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of

Row = dict[str, Any]
#: Inventories whose packages are read at a time: those of an organisation are some ten millions.
_RESULTS = 500
_PLACES = pa.schema({"result_name": pa.string(), "manifest": pa.string()})
_GRAPH = """
    SELECT p.result_name, p.manifest, p.package, p.version, p.is_direct, p.parents
    FROM packages p SEMI JOIN places USING (result_name, manifest) ORDER BY p.result_name, p.manifest"""


def tell_ways(snapshot: Snapshot, rows: Mapping[str, Iterable[Row]]) -> None:
    """Add ``way`` and ``through`` to vulnerable rows, which stand by the result of their inventory. Raises LakeError.

    Only manifests in which something asks for one of them are read again; the others cannot tell more.
    """
    asked: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for result, some in rows.items():
        for row in some:
            row["way"], row["through"] = What.RAISE if row["is_direct"] else What.UNKNOWN, []
            if row["parents"]:
                asked[result, row["manifest"]].append(row)
    for (result, manifest), graph in _graphs(snapshot, sorted(asked)):
        mine = asked[result, manifest]
        found = ways(graph, {package_key(row["package"], row["version"]) for row in mine})
        for row in mine:
            way = found[package_key(row["package"], row["version"])]
            row["way"], row["through"] = way.what, list(way.through)


def _graphs(
    snapshot: Snapshot, places: Sequence[tuple[str, str]]
) -> Iterator[tuple[tuple[str, str], list[Dependency]]]:
    """The packages of some manifests (of some results), one manifest after the other."""
    by_result = groupby(places, lambda place: place[0])
    while some := [place for _, group in islice(by_result, _RESULTS) for place in group]:
        given = pa.table([pa.array(c, pa.string()) for c in zip(*some, strict=True)], schema=_PLACES)
        table = arrow_of(snapshot, _GRAPH, places=given)
        rows = (row for batch in table.to_batches(max_chunksize=10_000) for row in batch.to_pylist())
        for place, mine in groupby(rows, lambda row: (row["result_name"], row["manifest"])):
            yield place, [_dependency(row) for row in mine]


def _dependency(row: Mapping[str, Any]) -> Dependency:
    """As much of it as its way depends on."""
    parents = tuple(row["parents"] or ())
    return Dependency(
        ecosystem="", name=row["package"], version=row["version"], direct=row["is_direct"], parents=parents
    )
