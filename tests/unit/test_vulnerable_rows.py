"""Rows of an inventory in Parquet files: the same as matching its versions, however the files are written."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.deps.matching import MATCHES, PACKAGES, RANGES, match
from tasks.deps.prepared import prepare
from tests.bench import matching_files
from tests.bench.matching_files import Written, write_vulnerable

CARRIED = ("repo_id", "line")
SCHEMA = pa.schema([("repo_id", pa.string()), ("line", pa.int64()), *PACKAGES])


def key(ecosystem: str, version: str) -> bytes | None:
    """Numbers; in one of two ecosystems the order is turned round."""
    number = int(version) if version.isascii() and version.isdecimal() else None
    return None if number is None else (number if ecosystem == "Toy" else 10**6 - number).to_bytes(4, "big")


def interval(advisory: str, package: str, ecosystem: str = "Toy", **bounds: str) -> dict[str, Any]:
    row = dict.fromkeys(RANGES.names) | {"advisory_id": advisory, "ecosystem": ecosystem, "package": package}
    return row | {"range_type": "ECOSYSTEM", "introduced": "0"} | bounds


def listed(advisory: str, package: str, *versions: str) -> dict[str, Any]:
    return interval(advisory, package) | {"range_type": "VERSIONS", "introduced": None, "versions": list(versions)}


SAID = [
    interval("A", "p", fixed="5"), interval("A", "p", introduced="7", fixed="9"), interval("B", "p", last_affected="3"),
    interval("C", "q", "Other", introduced="4"), listed("D", "o'brien", "1", "2", "x"), listed("E", "p", "x", "30"),
]  # fmt: skip
RANGED = pa.Table.from_pylist(SAID, RANGES)
READY = prepare(RANGED, key)


def some_rows(count: int = 400) -> pa.Table:
    rng = random.Random(3)
    rows = [
        {
            "repo_id": rng.choice(["a", "b", None]),
            "line": rng.choice([None, rng.randrange(9)]),
            "ecosystem": rng.choice(["Toy", "Other", "Third"]),
            "package": rng.choice(["p", "q", "o'brien", "none", "Toy"]),
            "version": rng.choice([None, "x", "y", "007", *map(str, range(12)), "30"]),
        }
        for _ in range(count)
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def expected(rows: pa.Table) -> list[dict[str, Any]]:
    """Each row with each match of its package and version."""
    of = defaultdict(list)
    for m in match(rows, RANGED, key).matches.to_pylist():
        of[m["ecosystem"], m["package"], m["version"]].append(m)
    return [
        {"row": n, "repo_id": r["repo_id"], "line": r["line"], **m}
        for n, r in enumerate(rows.to_pylist()) for m in of[r["ecosystem"], r["package"], r["version"]]
    ]  # fmt: skip


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda r: (r.get("row", 0), repr(sorted(r.items(), key=lambda i: i[0]))))


def as_written(form: str, rows: pa.Table) -> pa.Table:
    kind = {"large": pa.large_string(), "view": pa.string_view(), "dictionary": pa.dictionary(pa.int32(), pa.string())}
    columns = [f.with_type(kind[form]) if form in kind and pa.types.is_string(f.type) else f for f in rows.schema]
    return rows.cast(pa.schema(columns))


@pytest.mark.parametrize("form", ["plain", "large", "view", "dictionary", "no dictionary", "mixed"])
def test_every_row_is_told_with_its_number_however_it_is_written(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching_files, "_BATCH", 90)
    rows = some_rows()
    files = []
    for n, start in enumerate((0, 150, 150, 350)):
        part = rows.slice(start, {0: 150, 1: 0, 2: 200, 3: 50}[n])
        files.append(tmp_path / f"{n}.parquet")
        now = ("large", "no dictionary", "dictionary", "view")[n] if form == "mixed" else form
        pq.write_table(as_written(now, part), files[-1], row_group_size=64, use_dictionary=now != "no dictionary")
    out = tmp_path / "out.parquet"
    written = write_vulnerable(files, READY, key, out, carried=CARRIED)
    found = pq.read_table(out)
    told = expected(rows)
    assert in_order(found.to_pylist()) == in_order(told) and len(told) > 20
    assert found["row"].to_pylist() == sorted(found["row"].to_pylist())
    assert written == Written(rows=400, vulnerable=len(told))
    assert found.schema.field("package").type == pa.string() and found.schema.field("line").type == pa.int64()


def test_nothing_is_a_table_without_rows(tmp_path: Path) -> None:
    out, place = tmp_path / "out.parquet", tmp_path / "in.parquet"
    assert write_vulnerable([], READY, key, out) == Written(rows=0, vulnerable=0)
    assert pq.read_table(out).column_names == ["row", "repo_id", "manifest", *MATCHES.names]
    for rows, ready in ((some_rows(0), READY), (some_rows(9), prepare(RANGES.empty_table(), key))):
        pq.write_table(rows, place)
        assert write_vulnerable([place], ready, key, out, carried=CARRIED).vulnerable == 0
        assert pq.read_table(out).column_names == ["row", *CARRIED, *MATCHES.names]


def test_what_cannot_be_read_leaves_nothing_behind(tmp_path: Path) -> None:
    good, bad, out = (tmp_path / f"{n}.parquet" for n in ("good", "bad", "out"))
    pq.write_table(some_rows(), good)
    pq.write_table(some_rows().drop_columns("version"), bad)
    with pytest.raises((KeyError, ValueError)):
        write_vulnerable([good, bad], READY, key, out, carried=CARRIED)
    bad.write_bytes(good.read_bytes()[:-40])
    with pytest.raises(pa.ArrowInvalid):
        write_vulnerable([good, bad], READY, key, out, carried=CARRIED)
    with pytest.raises(FileNotFoundError):
        write_vulnerable([good, tmp_path / "none"], READY, key, out, carried=CARRIED)
    assert {p.name for p in tmp_path.iterdir()} == {"good.parquet", "bad.parquet"}
    out.write_text("before")
    with pytest.raises(FileNotFoundError):
        write_vulnerable([good, tmp_path / "none"], READY, key, out, carried=CARRIED)
    assert out.read_text() == "before"


def test_packages_are_counted_once_and_can_be_chosen() -> None:
    assert READY.packages().to_pylist() == [
        {"ecosystem": "Other", "package": "q", "is_ranged": True},
        {"ecosystem": "Toy", "package": "o'brien", "is_ranged": False},
        {"ecosystem": "Toy", "package": "p", "is_ranged": True},
    ]
    mine = pa.table({"ecosystem": ["Toy", "Other"], "package": ["o'brien", "p"]})
    assert READY.about(mine).packages().to_pylist() == [{"ecosystem": "Toy", "package": "o'brien", "is_ranged": False}]
    assert READY.about(mine.slice(2)).rows.num_rows == 0
