"""Small files are put together: when, and that nothing of a table changes by it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import given
from hypothesis import strategies as st

from tasks.lake import compaction
from tasks.lake.advisory_tables import ADVISORY_TABLES
from tasks.lake.compaction import FEW, LEAST, MOST, WIDTH, Compaction, File, due
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.schema import TABLES
from tasks.lake.store import Store
from tasks.lake.verify import verify
from tests.lake_rows import night, observation, result
from tests.thorough import thorough


def test_files_of_a_tier_are_put_together_when_there_are_eight() -> None:
    assert list(due([File("2026-03", 10)] * (WIDTH - 1), current="2026-03")) == []
    assert list(due([File("2026-03", 10)] * WIDTH, current="2026-03")) == [Compaction("2026-03", LEAST * WIDTH)]
    larger = [File(None, LEAST)] * WIDTH
    assert list(due(larger, current=None)) == [Compaction(None, LEAST * WIDTH * WIDTH)]
    assert list(due([File("p0a", 10)] * FEW, current="2026-03")) == [Compaction("p0a", LEAST * WIDTH)]
    assert list(due([File("p0a", 10)] * (FEW - 1), current="2026-03")) == []
    assert list(due([File(None, MOST)] * 100, current=None)) == []


def test_a_month_that_is_over_becomes_one_file_and_then_stays() -> None:
    both = [File("2026-02", 10), File("2026-02", 20), File("2026-03", 10)]
    assert list(due(both, current="2026-03")) == [Compaction("2026-02", MOST)]
    assert list(due([File("2026-02", 30), File("2026-03", 10)], current="2026-03")) == []


@given(st.lists(st.integers(1, 3 * LEAST), min_size=1, max_size=400))
def test_however_many_nights_there_were_few_files_are_left_and_little_was_written(nightly: list[int]) -> None:
    files: list[int] = []
    written = 0
    for size in nightly:
        for c in due([File(None, s) for s in files], current=None):
            small = [s for s in files if s < c.target_size]
            files = [s for s in files if s >= c.target_size] + packed(small, c.target_size)
            written += sum(small)
        files.append(size)
    assert sum(files) == sum(nightly)
    assert len(files) <= 4 * WIDTH
    assert written <= 8 * sum(nightly) + LEAST


def packed(sizes: list[int], most: int) -> list[int]:
    """Files as delta-rs puts them together: the largest first, into the first that has room."""
    bins: list[int] = []
    for size in sorted(sizes, reverse=True):
        for n, filled in enumerate(bins):
            if filled + size <= most:
                bins[n] += size
                break
        else:
            bins.append(size)
    return bins


@thorough
def test_many_nights_leave_few_files_and_all_rows(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "WIDTH", 3)
    rng = random.Random(7)
    there: dict[str, set[int]] = {repo: set() for repo in ("one", "two", "three")}
    for n in range(1, 12):
        repo = rng.choice(sorted(there))
        there[repo] = {rng.randrange(12) for _ in range(6)}
        seen = [observation(f"{repo} {k}", line=k) for k in sorted(there[repo])]
        with lake.lock():
            publish(lake, lake.snapshot(), night(n, result(str(n), *seen, repo_id=repo)))
    snapshot = lake.snapshot()
    assert {name: len(snapshot.files(name)) for name in ("scans", "runs", "ledger")} == {
        "scans": 3, "runs": 3, "ledger": 3,
    }  # fmt: skip
    assert snapshot.table("runs").num_rows == snapshot.table("scans").num_rows == 11
    rows = snapshot.table("findings").to_pylist()
    assert {(r["repo_id"], r["line_start"]) for r in rows if r["is_open"]} == {(r, k) for r in there for k in there[r]}
    assert {r["shelf"][0] for r in rows if r["is_open"]} == {"p"}
    assert {r["shelf"] for r in rows if not r["is_open"]} == {"2026-03"}
    assert verify(lake) == []


def test_a_merge_reads_and_writes_the_shelves_of_what_changed_alone(lake: Lake) -> None:
    many = [result(f"a{n}", observation(f"x{n}"), repo_id=f"repo-{n}") for n in range(12)]
    with lake.lock():
        publish(lake, lake.snapshot(), night(1, *many))
        before = set(lake.snapshot().files("findings"))
        publish(lake, lake.snapshot(), night(2, result("gone", repo_id="repo-3")))
    after = set(lake.snapshot().files("findings"))
    assert len(before - after) == 1
    assert {Path(f).parent.name for f in after - before} <= {"shelf=2026-03", Path((before - after).pop()).parent.name}
    metrics: dict[str, Any] = DeltaTable(f"{lake.path}/findings").history(1)[0]
    assert int(metrics["operationMetrics"]["num_target_files_scanned"]) == 1


def test_what_comes_back_leaves_the_shelf_of_its_month(lake: Lake) -> None:
    for n, seen in enumerate(([observation("x")], [], [observation("x")]), 1):
        with lake.lock():
            publish(lake, lake.snapshot(), night(40 * n, result(str(n), *seen)))
        (row,) = lake.snapshot().table("findings").to_pylist()
        assert row["shelf"][0] == ("2" if n == 2 else "p"), row["shelf"]
        assert row["status"] == ("open", "fixed", "reopened")[n - 1]
    assert verify(lake) == []


def test_a_publish_that_was_cut_off_after_putting_files_together_loses_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "WIDTH", 2)
    for n in (1, 2):
        with lake.lock():
            publish(lake, lake.snapshot(), night(n, result(str(n), observation(f"x{n}"))))
    put_together = Store.compact

    def cut_off(store: Store, name: str) -> int:
        put_together(store, name)
        if name == "scans":
            raise KeyboardInterrupt
        return 0

    with monkeypatch.context() as patch, lake.lock():
        patch.setattr(Store, "compact", cut_off)
        with pytest.raises(KeyboardInterrupt):
            publish(lake, lake.snapshot(), night(3, result("3", observation("x3"))))
    assert lake.snapshot().seq == 2
    assert lake.snapshot().table("scans").num_rows == 2
    with lake.lock():
        assert lake.adopt() == ["run-3"]
    assert lake.snapshot().table("scans").num_rows == 3
    assert verify(lake) == []


def test_a_table_that_gets_no_rows_is_not_looked_at(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    monkeypatch.setattr(Store, "compact", lambda _store, name: looked.append(name))
    quiet = night(1, result("1", observation("x")))
    told = {"teams": [], "plain": {"advisories": [], "enrichment": iter(())}}
    with lake.lock():
        publish(lake, lake.snapshot(), replace(quiet, **told))
    assert {"observations", "findings", "scans", "runs"} <= set(looked)
    assert not {t.name for t in ADVISORY_TABLES} & set(looked)
    looked.clear()
    cve = dict.fromkeys(TABLES["enrichment"].schema.names) | {"cve": "CVE-2026-1", "is_exploited": False}
    with lake.lock():
        publish(lake, lake.snapshot(), replace(night(2), plain={"enrichment": [cve]}))
    assert "enrichment" in looked and "advisories" not in looked
