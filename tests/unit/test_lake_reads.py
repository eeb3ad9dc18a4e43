"""What a night reads and writes of the lake: an unchanged one no more after many nights than after few."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.core.types import Gap, Outcome
from tasks.lake import store, views
from tasks.lake.lake import Lake
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.schema import TABLES, Table
from tasks.lake.store import to_arrow
from tasks.lake.verify import verify
from tasks.patrol import naming, publishing
from tests.lake_rows import change_of, night, observation, result, scan_of, scope_of
from tests.patrols import House

BLIND = Gap(path="broken.py", reason_code="unparsable")


def put(lake: Lake, batch: PublishBatch) -> None:
    with lake.lock():
        publish(lake, lake.snapshot(), batch)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...]]]:
    """Every reading of a table: its name and the files."""
    seen: list[tuple[str, tuple[str, ...]]] = []
    original = store.relation

    def relation(table: Table, files: Sequence[str]) -> str:
        seen.append((table.name, tuple(files)))
        return original(table, files)

    monkeypatch.setattr(store, "relation", relation)
    monkeypatch.setattr(views, "relation", relation)
    return seen


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*.parquet"))}


# -- an unchanged night --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def patrolled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """After two nights: a file that the tool cannot read, and one that makes it crash, which waits to be retried."""
    house = House(tmp_path_factory.mktemp("patrolled"))
    house.commit("crash", d="crash")
    house.commit("fine", a="flaw")
    house.commit("partial", b="flaw", c="unread")
    house.run()
    house.run()
    return house.place


@pytest.fixture
def house(patrolled: Path, tmp_path: Path) -> House:
    shutil.copytree(patrolled, tmp_path / "house", symlinks=True)
    for git in (tmp_path / "house").rglob("config"):
        git.write_text(git.read_text().replace(str(patrolled), str(tmp_path / "house")))
    return House(tmp_path / "house")


def test_an_unchanged_night_reads_as_much_after_many_nights_as_after_few(
    house: House, read: list[tuple[str, tuple[str, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "connect", None)  # the views read whole tables: no night may need them
    house.run()  # the house was moved: its repositories have other addresses now
    told = []
    for _ in range(4):
        read.clear()
        summary = house.run()
        assert summary is not None and (summary.tools_started, summary.gap_rows) == (0, 2)
        assert [(g.reason_code, g.repositories, g.is_new) for g in summary.gaps] == [
            ("signal", ("crash",), False),
            ("unparsable", ("partial",), False),
        ]
        told.append(Counter({name: sum(len(f) for n, f in read if n == name) for name, _ in read}))
    assert told[0] == told[-1]
    assert told[0].keys() == {"runs", "repositories", "scopes", "scan_gaps", "findings"}, "neither ledger nor scans"
    assert all(len(files) == 1 for name, files in read if name == "runs")
    assert len(house.lake().store.files("runs")) == 7


def test_an_unchanged_night_leaves_the_marts_alone(house: House) -> None:
    before = stamps(house.place / "lake" / "marts")
    assert len(before) >= 3
    house.run()
    assert stamps(house.place / "lake" / "marts") == before
    house.commit("fine", a="mended")
    house.run()
    after = stamps(house.place / "lake" / "marts")
    assert {Path(p).name for p in before if after[p] != before[p]} >= {"gaps.parquet", "freshness.parquet"}


def test_marts_that_somebody_removed_are_written_whole(house: House) -> None:
    findings = house.place / "lake" / "marts" / "findings"
    before = sorted(map(repr, pq.read_table(findings).to_pylist()))
    assert before
    shutil.rmtree(findings)
    house.run()
    assert sorted(map(repr, pq.read_table(findings).to_pylist())) == before


def test_a_night_with_one_failure_writes_what_stands(house: House) -> None:
    house.commit("fine", a="crash")
    house.run()
    marts = house.place / "lake" / "marts"
    assert {r["reason_code"] for r in pq.read_table(marts / "gaps.parquet").to_pylist()} == {"signal", "unparsable"}


def test_a_scope_tells_of_its_gaps_again_when_it_can_be_looked_at_again(house: House) -> None:
    before = house.rows("scopes", slug=["partial"])
    assert before[0]["detail"] == "1 unparsable"
    (house.place / "org" / "partial").rename(house.place / "away")
    house.run()
    assert house.rows("scopes", slug=["partial"])[0]["outcome"] == "missing"
    (house.place / "away").rename(house.place / "org" / "partial")
    house.run()
    assert house.rows("scopes", slug=["partial"]) == before


def test_a_scope_goes_from_month_to_month_with_its_result(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def months() -> dict[str, str]:
        return {r["slug"]: r["result_part"] for r in house.rows("scopes")}

    now = f"{datetime.now(UTC):%Y-%m}"
    clock = SimpleNamespace(now=lambda _zone: datetime(2099, 4, 1, tzinfo=UTC))
    monkeypatch.setattr(publishing, "datetime", clock)
    house.run()
    assert months() == {"crash": None, "fine": now, "partial": now}
    house.commit("partial", b="flaw again")
    house.run()
    assert months() == {"crash": None, "fine": now, "partial": "2099-04"}
    house.repo("partial").commit({"b.txt": None, "c.txt": None})
    house.run()
    assert months() == {"crash": None, "fine": now, "partial": None}
    assert verify(house.lake()) == []


# -- the newest run ------------------------------------------------------------------------------------------


def run_row(seq: int) -> dict[str, Any]:
    batch = night(seq)
    return {
        **batch.run, "seq": seq, "findings_opened": 0, "findings_fixed": 0, "key_id": "k", "fp_version": 1,
        "schema_version": 1, "table_versions": "{}",
    }  # fmt: skip


def add_runs(lake: Lake, *seqs: int) -> None:
    for seq in seqs:
        lake.store.apply(TABLES["runs"], to_arrow(TABLES["runs"], [run_row(seq)]), seq)


def newest(lake: Lake) -> int | None:
    row, _ = lake.store.newest("runs")
    return row["seq"] if row else None


def test_the_newest_run_is_found_in_its_own_file(lake: Lake, read: list[Any]) -> None:
    assert newest(lake) is None
    add_runs(lake, *range(1, 9))
    assert newest(lake) == 8
    assert [len(files) for _, files in read] == [1]


def test_without_statistics_every_file_is_read(lake: Lake, read: list[Any]) -> None:
    add_runs(lake, 1, 2, 3)
    for entry in (lake.path / "runs" / "_delta_log").glob("*.json"):
        lines = [json.loads(line) for line in entry.read_text().splitlines()]
        for line in lines:
            line.get("add", {}).pop("stats", None)
        entry.write_text("\n".join(map(json.dumps, lines)))
    assert newest(Lake(lake.path, lake.key_id)) == 3, "as whoever opens it now finds it"
    assert [len(files) for _, files in read] == [3]


def test_a_number_in_the_log_that_leads_to_no_row_is_not_believed(lake: Lake) -> None:
    add_runs(lake, 1, 2)
    lake.store.apply(TABLES["runs"], to_arrow(TABLES["runs"], [run_row(3)]), 9)
    assert newest(lake) == 3


def test_where_there_is_nothing_to_read_a_newer_tool_looks_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, looked = House(tmp_path), list[Any]()
    house.repo("a").commit({"readme.md": b"x"})
    read_tree = naming.read_tree
    monkeypatch.setattr(naming, "read_tree", lambda *given: looked.append(given) or read_tree(*given))
    house.run()
    house.version = "2"
    for count in (2, 2):
        house.run()
        assert len(looked) == count


# -- where a result lies -------------------------------------------------------------------------------------


def parts(lake: Lake) -> dict[str, str | None]:
    return {s.repo_id: s.result_part for s in lake.snapshot().scope_states(None).values()}


def test_a_scope_tells_the_month_of_its_result_whoever_published_it(lake: Lake) -> None:
    """March: made. April: a fork refers to it, another result is new. May: the fork's row changes otherwise."""
    old = result("old", observation("x"), gaps=(BLIND,))
    put(lake, night(1, old))
    new = result("new", observation("y"), repo_id="team/new")
    fork = scope_of(old, repo_id="team/fork", slug="team/fork")
    put(lake, night(40, new, scopes=[scope_of(new), fork]))
    assert parts(lake) == {"team/app": "2026-03", "team/new": "2026-04", "team/fork": "2026-03"}
    known = lake.snapshot().scope_states(None)["team/fork", old.ref, old.tool]
    put(lake, night(80, scans=[], scopes=[replace(known, slug="renamed")], changes=[]))
    assert parts(lake)["team/fork"] == "2026-03"
    again = scope_of(new, repo_id="team/app", slug="team/app")
    put(lake, night(81, scans=[], scopes=[again], changes=[]))
    assert parts(lake)["team/app"] == "2026-04"
    assert not [p for p in verify(lake) if "month" in p.message]


def test_a_scope_with_another_month_than_the_ledger_is_found(lake: Lake) -> None:
    old = result("old", observation("x"))
    put(lake, night(1, old, scopes=[scope_of(old, result_part="2025-12")]))
    assert [p.message for p in verify(lake) if p.table == "scopes"] == [
        "1 rows name another month than the ledger for their result"
    ]


def test_gaps_and_observations_are_read_from_the_months_that_scopes_tell(lake: Lake, read: list[Any]) -> None:
    made = [result(f"m{n}", observation(f"o{n}"), gaps=(BLIND,), repo_id=f"r{n}") for n in range(3)]
    for n, found in enumerate(made):
        put(lake, night(40 * n + 1, found))
    snapshot = lake.snapshot()
    first, last = made[0].result_name, made[2].result_name
    snapshot.scope_states(None)
    read.clear()
    assert snapshot.gaps_of([first]) == {first: (BLIND,)}
    assert [o.anchor_uid for o in snapshot.observations_of([last])[last]] == [made[2].observations[0].anchor_uid]
    assert [n for n, _ in read] == ["scan_gaps", "observations"]
    assert ["part=2026-03" in f for _, files in read for f in files] == [True, False]
    assert [len(files) for _, files in read] == [1, 1]


def test_what_reused_results_saw_is_read_some_at_a_time(
    lake: Lake, read: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.lake.lake._GROUP", 2)
    made = [result(f"m{n}", observation(f"o{n}"), repo_id=f"r{n}") for n in range(3)]
    put(lake, night(1, *made))
    names = [r.result_name for r in made]
    read.clear()
    found = lake.snapshot().results(names)
    assert [len(found[n].observations) for n in names] == [1, 1, 1] and "observations" not in dict(read)
    assert [found[n].observations[0].anchor_uid for n in names] == [r.observations[0].anchor_uid for r in made]
    assert [n for n, _ in read].count("observations") == 2, "the first two together, then the third"


def test_what_no_scope_tells_the_ledger_does(lake: Lake, read: list[Any]) -> None:
    one, two = result("one", observation("x"), gaps=(BLIND,)), result("two", gaps=(BLIND,), repo_id="r2")
    put(lake, night(1, one, two, scopes=[scope_of(one)]))
    snapshot = lake.snapshot()
    snapshot.scope_states(None)
    read.clear()
    names = [one.result_name, two.result_name, "gone.1"]
    assert snapshot.gaps_of(names) == {names[0]: (BLIND,), names[1]: (BLIND,), names[2]: ()}
    assert [n for n, _ in read] == ["ledger", "scan_gaps"]


# -- marts ---------------------------------------------------------------------------------------------------


def test_nothing_in_a_mart_depends_on_the_time_of_day(lake: Lake) -> None:
    put(lake, night(1, result("one", observation("x"))))
    assert "age_hours" not in pq.read_schema(lake.path / "marts" / "freshness.parquet").names
    assert "evidence_at" in pq.read_schema(lake.path / "marts" / "freshness.parquet").names


@pytest.mark.parametrize("damage", ["lost", "torn", "of an older program"])
def test_a_mart_that_is_not_as_it_should_be_is_written_anew(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    found = result("one", observation("x"), gaps=(BLIND,))
    put(lake, night(1, found))
    mart = lake.path / "marts" / "gaps.parquet"
    before = (stamps(mart.parent), pq.read_table(mart).to_pylist())
    if damage == "lost":
        mart.unlink()
    elif damage == "torn":
        mart.write_bytes(mart.read_bytes()[:-9])
    else:
        monkeypatch.setitem(views._VIEWS, "gaps_now", f"{views._VIEWS['gaps_now']} WHERE true")
    put(lake, night(2, scans=[scan_of(found, outcome=Outcome.UNCHANGED)], changes=[change_of(found)], scopes=[]))
    assert pq.read_table(mart).to_pylist() == before[1]
    if damage == "of an older program":
        assert stamps(mart.parent)[str(mart)] != before[0][str(mart)]
