"""What a collection of garbage removes, what it leaves, and when."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import LakeError
from tasks.core.types import RawReport
from tasks.lake import gc as gc_module
from tasks.lake import views
from tasks.lake.gc import collect, find
from tasks.lake.lake import Lake
from tasks.lake.places import FolderPlace
from tasks.lake.publish import publish
from tasks.lake.schema import TABLES
from tasks.lake.store import to_arrow
from tasks.lake.verify import verify
from tests.kills import KilledError, kill_at
from tests.lake_nights import Content, content, first_night, second_night, third_night
from tests.lake_rows import KEY_ID, NIGHT, night, result
from tests.thorough import thorough

LATER = NIGHT + timedelta(days=10)
DAY = timedelta(hours=24)


class Clock:
    """The storage's clock."""

    now = LATER


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(FolderPlace, "now", lambda _place: clock.now)
    return clock


@pytest.fixture(scope="module")
def three_nights(new_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("three") / "lake"
    shutil.copytree(new_lake, place)
    lake = Lake.open(place, key_id=KEY_ID)
    for batch in (first_night(), second_night(), third_night()):
        with lake.lock():
            publish(lake, lake.snapshot(), batch)
    return place


@pytest.fixture
def place(three_nights: Path, tmp_path: Path) -> Path:
    shutil.copytree(three_nights, tmp_path / "lake")
    return tmp_path / "lake"


def collected(place: Path, **more: Any) -> gc_module.Collected:
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        lake.adopt()
        return collect(lake, **{"keep_days": 1, "snapshot_days": 0, **more})


def data_files(place: Path) -> set[Path]:
    return {p for name in TABLES for p in (place / name).rglob("*.parquet") if "_delta_log" not in p.parts}


def counts(held: Content) -> dict[str, int]:
    return {name: len(rows) for name, rows in held["tables"].items()}


def test_a_dry_run_says_what_would_go_and_changes_nothing(place: Path, clock: Clock) -> None:
    before = sorted(place.rglob("*"))
    told = collected(place, dry_run=True)
    assert sorted(p for p in place.rglob("*") if p.name != "_lock") == [p for p in before if p.name != "_lock"]
    assert (told.rows["runs"], told.rows["scans"], told.rows["ledger"], told.removed) == (1, 2, 1, 0)
    done = collected(place)
    assert done.rows == told.rows


def test_what_is_needed_stays_and_the_rest_goes_a_day_later(place: Path, clock: Clock) -> None:
    lake = Lake.open(place, key_id=KEY_ID)
    lake.raw.put(RawReport(tool="t", tool_version="1", exit_code=0, body=b"nobody's"), {})
    left = (place / ".left.by.a.kill", place / "_commits" / ".000000000002.0badcafe")
    for path in left:
        path.write_bytes(b"x")
    reader = lake.snapshot()
    seen = {name: reader.table(name).to_pylist() for name in TABLES}
    before, files = content(place), data_files(place)
    done = collected(place)
    after = content(place)
    assert verify(lake) == []
    assert counts(after) == counts(before) | {"scans": 5, "ledger": 5, "observations": 5, "discoveries": 2}, (
        "run 1 for run 4"
    )
    for name in ("repositories", "scopes", "findings", "rules", "scan_gaps"):
        assert after["tables"][name] == before["tables"][name]
    assert after["marts"] == before["marts"]
    assert files <= data_files(place) and done.removed == 0, "nothing is removed on the day it is seen"

    clock.now += DAY - timedelta(seconds=1)
    assert collected(place).removed == 0
    assert {n: reader.table(n).to_pylist() for n in TABLES} == seen
    joined = list(views.run_query(reader, "SELECT count(*) FROM scans JOIN runs USING (run_id)")[1])
    assert joined == [(len(seen["scans"]),)], "whoever opened it before the collection reads on"

    clock.now += timedelta(seconds=1)
    assert collected(place).removed > 0
    assert not files <= data_files(place)
    assert list(lake.raw.all()) == [] and not any(path.exists() for path in left)
    held = content(place)
    assert (held["tables"], held["marts"]) == (after["tables"], after["marts"])
    assert verify(lake) == []
    assert collected(place).removed == 0, "the second time there is nothing"


def test_the_tables_as_of_a_run_are_refused_once_they_are_not_kept(place: Path, clock: Clock) -> None:
    lake = Lake.open(place, key_id=KEY_ID)
    collected(place, keep_days=100, snapshot_days=100)
    assert lake.snapshot("run-2").table("findings").num_rows == 4
    collected(place, keep_days=100, snapshot_days=0)
    with pytest.raises(LakeError, match="as of run 2 are no longer kept"):
        lake.snapshot("run-2")
    assert lake.snapshot("run-3").seq == 3
    assert lake.snapshot().table("scans").num_rows == 7


@thorough
def test_the_log_goes_up_to_the_checkpoint_that_leads_to_what_is_kept(place: Path, clock: Clock) -> None:
    lake, log = Lake.open(place, key_id=KEY_ID), place / "scans" / "_delta_log"
    DeltaTable(lake.store.uri("scans"), version=2).create_checkpoint()
    DeltaTable(lake.store.uri("scans")).create_checkpoint()
    rows = lake.snapshot().table("scans").num_rows
    assert list(lake.store.log_before("scans", 1)) == []
    assert {e.key[-6:] for e in lake.store.log_before("scans", 2)} == {"0.json", "1.json"}
    for _ in range(2):  # one marks, a day later the next one removes
        collected(place, keep_days=100)
        clock.now += DAY
    left = sorted(p.name.lstrip("0") for p in log.iterdir() if not p.name.startswith("_"))
    assert left == ["3.checkpoint.parquet", "3.json"]
    fresh = Lake.open(place, key_id=KEY_ID)
    assert fresh.snapshot().table("scans").num_rows == rows and verify(fresh) == []


def test_what_cannot_be_opened_for_now_ends_a_collection_and_what_is_forgotten_does_not(
    place: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Lake.open(place, key_id=KEY_ID).store
    original, away, newest = store._opened, {1}, set(store.keys_at("scans", ()))

    def opened(name: str, version: int | None = None) -> Any:
        if version in away:
            raise LakeError("the storage is away")
        return original(name, version)

    monkeypatch.setattr(store, "_opened", opened)
    with pytest.raises(LakeError, match="is away"):
        set(store.keys_at("scans", [1, 2, 3]))
    away.clear()
    DeltaTable(store.uri("scans")).create_checkpoint()
    (place / "scans" / "_delta_log" / f"{0:020}.json").unlink()
    assert set(store.keys_at("scans", [1, 2, 3])) == newest, "without its beginning the log leads to neither 1 nor 2"
    away.add(3)
    with pytest.raises(LakeError, match="is away"):
        set(store.keys_at("scans", [1, 2, 3]))


@pytest.mark.parametrize("step", [pytest.param("claim", marks=thorough), "runs"])
def test_a_killed_collection_is_finished_or_never_was(place: Path, clock: Clock, step: str) -> None:
    before = content(place)
    with pytest.raises(KilledError):
        collected(place, watch=kill_at(step))
    assert content(place)["tables"] == before["tables"], "no reader sees a half"
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        lake.adopt()
    assert verify(lake) == []
    assert counts(content(place))["ledger"] == (6 if step == "claim" else 5)
    collected(place)
    assert counts(content(place))["ledger"] == 5
    assert len([r for r in lake.snapshot().table("runs").to_pylist() if r["sources"] == ["(gc)"]]) == 1


@thorough
def test_a_collection_that_slept_while_a_run_published_removes_nothing(
    place: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(place, key_id=KEY_ID)
    original = gc_module.claim

    def late(*given: Any) -> None:
        other = Lake.open(place, key_id=KEY_ID)
        publish(other, other.snapshot(), night(4, result("late")))  # as if it had taken the lake over
        original(*given)

    monkeypatch.setattr(gc_module, "claim", late)
    with lake.lock(), pytest.raises(LakeError, match="taken the lake over"):
        collect(lake, keep_days=1, snapshot_days=0)
    assert lake.snapshot().table("ledger").num_rows == 7
    assert verify(Lake.open(place, key_id=KEY_ID))[0].table == "_pending"
    with lake.lock():
        lake.adopt()
    assert verify(lake) == []


@thorough
def test_a_collection_that_another_run_finished_is_finished(
    place: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(place, key_id=KEY_ID)
    original = gc_module.claim

    def claimed(*given: Any) -> None:
        original(*given)
        Lake.open(place, key_id=KEY_ID).adopt()  # as if it had taken the lake over

    monkeypatch.setattr(gc_module, "claim", claimed)
    with lake.lock():
        assert collect(lake, keep_days=1, snapshot_days=0).rows["ledger"] == 1
    assert verify(lake) == [] and lake.snapshot().seq == 4


# -- whatever the lake holds ---------------------------------------------------------------------------------------

SCOPES = [("repo-1", "main", "tool"), ("repo-2", "main", "tool"), ("repo-2", "dev", "other")]
RESULTS = [f"r{n}" for n in range(6)]
runs = st.lists(
    st.tuples(
        st.integers(0, 20),
        st.sampled_from([["org"], ["(import)"], ["(gc)"]]),
        st.dictionaries(st.sampled_from(SCOPES), st.sampled_from([None, *RESULTS]), max_size=3),
    ),
    min_size=1,
    max_size=6,
)
bases = st.dictionaries(st.sampled_from(RESULTS), st.sampled_from(RESULTS))
live = st.dictionaries(st.sampled_from(SCOPES), st.sampled_from([None, *RESULTS]))


_DECIDED = [(i, f, s) for i, f in (("d", "x"), ("(file)", "x"), ("(file)", "y")) for s in ("in_force", "withdrawn")]


def lake_of(nights: Any, extends: dict[str, str], scopes: dict[Any, str | None]) -> dict[str, list[dict[str, Any]]]:
    ages = sorted((age for age, _, _ in nights), reverse=True)
    now = datetime(2026, 6, 1, tzinfo=UTC)

    def scope(key: tuple[str, str, str], result: str | None) -> dict[str, Any]:
        outcome = "failed" if result is None else "partial"
        names = dict(zip(("repo_id", "ref", "tool"), key, strict=True))
        return {**names, "slug": key[0], "result_name": result, "outcome": outcome, "reason_code": "timeout"}

    return {
        "runs": [
            {"run_id": f"run-{n}", "seq": n, "finished_at": now - timedelta(days=age), "sources": source}
            for n, (age, (_, source, _)) in enumerate(zip(ages, nights, strict=True), 1)
        ],
        "scans": [
            {"run_id": f"run-{n}", **scope(key, result)}
            for n, (_, _, scans) in enumerate(nights, 1)
            for key, result in scans.items()
        ],
        "discoveries": [{"run_id": f"run-{n}", "source": "s"} for n in range(1, len(nights) + 1)],
        "decisions": [
            {"run_id": f"run-{n}", "seq": n, "decision_id": ident, "kept_in": file, "state": state}
            for n, (age, _, _) in enumerate(nights, 1)
            for ident, file, state in [_DECIDED[(age + n) % len(_DECIDED)]]
        ],
        "scopes": [scope(key, result) for key, result in scopes.items()],
        "ledger": [{"result_name": r, "part": "2026-05", "base_result_name": extends.get(r)} for r in RESULTS],
        "observations": [{"result_name": r, "part": "2026-05", "anchor_uid": f"a{r}", "kind": "code"} for r in RESULTS],
        "scan_gaps": [{"result_name": r, "part": "2026-05", "path": "p", "reason_code": "timeout"} for r in RESULTS],
    }


def connected(rows: dict[str, list[dict[str, Any]]]) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:")
    for name, table in TABLES.items():
        con.register(name, to_arrow(table, rows.get(name, [])))
    con.sql("CREATE TABLE reasons AS SELECT 'timeout' AS code, 'm' AS meaning, 'r' AS remedy")
    for name, sql in views._VIEWS.items():
        con.sql(f"CREATE VIEW {name} AS {sql}")
    return con


def seen(rows: dict[str, list[dict[str, Any]]], run_ids: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Every view, of these runs where it speaks of runs, and of the scopes that are there."""
    con = connected(rows)
    for name in views._VIEWS:
        # Since when a gap stands is told of the runs that are kept.
        found = con.sql(f"SELECT * {'EXCLUDE (since_seq)' if name == 'gaps' else ''} FROM {name}").to_arrow_table()
        if name == "latest":
            found = con.sql("SELECT l.* FROM latest l JOIN scopes USING (repo_id, ref, tool)").to_arrow_table()
        elif name == "freshness":
            found = found.drop_columns(["age_hours"])
        kept = [r for r in found.to_pylist() if "run_id" not in r or r["run_id"] in run_ids]
        yield name, sorted(map(repr, kept))


def test_what_is_gone_keeps_no_run_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = SCOPES
    nights = [(20, ["org"], dict.fromkeys(SCOPES, "r1")), (10, ["org"], {two: None}), (0, ["org"], {three: "r1"})]
    rows = lake_of(nights, {}, {one: "r1", two: None, three: "r1"})
    for row in (rows["scopes"][1], rows["scans"][3]):
        row |= {"outcome": "nothing_to_read", "reason_code": "ref_gone"}

    def latest() -> set[tuple[str, str]]:
        told = connected(rows).sql("SELECT run_id, repo_id || ' ' || ref FROM latest").fetchall()
        return {(run, scope) for run, scope in told}

    assert latest() == {("run-1", "repo-1 main"), ("run-2", "repo-2 main"), ("run-3", "repo-2 dev")}
    monkeypatch.setattr(gc_module, "connect", lambda _snapshot: connected(rows))
    gone = find(None, datetime(2026, 7, 1, tzinfo=UTC))  # type: ignore[arg-type]
    assert gone.run_ids == ("run-2",), "the first is the last that looked at what is still there"
    for name in ("runs", "scans"):
        rows[name] = [r for r in rows[name] if r["run_id"] != "run-2"]
    assert latest() == {("run-1", "repo-1 main"), ("run-3", "repo-2 dev")}, "nor does an older row tell of it again"


def test_of_a_decision_the_last_word_stays_while_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ages: list[Any] = [(20 - n, ["org"], {SCOPES[0]: "r1"} if n == 0 else {}) for n in range(4)]
    rows = lake_of([*ages, (0, ["org"], {})], {}, {SCOPES[0]: "r1"})
    said = [
        (2, "d", "x", "in_force"), (3, "d", "x", "over_count"), (2, "gone", "x", "in_force"),
        (3, "gone", "x", "withdrawn"), (2, "going", "x", "in_force"), (5, "going", "x", "withdrawn"),
        (2, "(file)", "x", "unreadable"), (3, "(file)", "y", "unreadable"),
        # The first run is kept: without the last word its own would be the last.
        (1, "kept", "x", "in_force"), (3, "kept", "x", "withdrawn"),
    ]  # fmt: skip
    rows["decisions"] = [
        {"run_id": f"run-{n}", "seq": n, "decision_id": ident, "kept_in": file, "state": state}
        for n, ident, file, state in said
    ]
    monkeypatch.setattr(gc_module, "connect", lambda _snapshot: connected(rows))
    gone = find(None, datetime(2026, 5, 30, tzinfo=UTC)).keys["decisions"].to_pylist()  # type: ignore[arg-type]
    assert sorted((g["run_id"], g["decision_id"]) for g in gone) == [
        ("run-2", "d"), ("run-2", "going"), ("run-2", "gone"), ("run-3", "gone"),
    ]  # fmt: skip


@thorough
@given(runs, bases, live, st.integers(0, 20))
@settings(max_examples=8)
def test_all_views_of_retained_runs_are_as_before(nights: Any, extends: Any, scopes: Any, keep_days: int) -> None:
    # What was ever expected has a scope.
    rows = lake_of(nights, extends, {**{key: None for _, _, told in nights for key in told}, **scopes})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc_module, "connect", lambda _snapshot: connected(rows))
        gone = find(None, datetime(2026, 6, 1, tzinfo=UTC) - timedelta(days=keep_days))  # type: ignore[arg-type]
    left = {
        name: [
            r
            for r in held
            if name not in gone.keys or not any(all(r[c] == key[c] for c in key) for key in gone.keys[name].to_pylist())
        ]
        for name, held in rows.items()
    }
    left["runs"] = [r for r in rows["runs"] if r["run_id"] not in gone.run_ids]
    assert {n: len(rows[n]) - len(left[n]) for n in gone.rows} == dict(gone.rows)
    run_ids = [r["run_id"] for r in left["runs"]]
    assert f"run-{len(nights)}" in run_ids, "the newest stays"
    assert {r["run_id"] for r in left["scans"]} <= set(run_ids)
    assert dict(seen(left, run_ids)) == dict(seen(rows, run_ids))
    standing = [connected(r).sql("FROM decisions_now ORDER BY ALL").fetchall() for r in (left, rows)]
    assert standing[0] == standing[1]
    said = [(r["decision_id"], r["kept_in"] if r["decision_id"] == "(file)" else "") for r in left["decisions"]
            if r["run_id"] not in run_ids]  # fmt: skip
    assert len(said) == len(set(said)), "of what no kept run said one row stays, where it still stands or is needed"
    named = {r["result_name"] for r in left["scans"] + left["scopes"]} - {None}
    held = {r["result_name"]: r for r in left["ledger"]}
    assert all(name in held and (held[name]["base_result_name"] or name) in held for name in named)
    if all(r["run_id"] in run_ids for r in rows["runs"]):
        assert gone.run_ids == () and gone.rows["scans"] == 0
