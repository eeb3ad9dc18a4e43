"""A lake of the schema before this one: what a migration adds, and that no kill leaves it in between."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from flows.cli import app
from tasks.core.errors import LakeError
from tasks.lake import card, migration, pending, views
from tasks.lake.columns import Table, columns
from tasks.lake.lake import Lake
from tasks.lake.migration import migrate, planned
from tasks.lake.publish import publish
from tasks.lake.schema import SCHEMA_VERSION, TABLES
from tasks.lake.verify import verify
from tasks.lake.views import connect
from tests.kills import KilledError, kill_at
from tests.lake_nights import first_night, second_night, third_night
from tests.lake_rows import KEY_ID
from tests.thorough import THOROUGH, thorough

#: Tables that get a column: one in a partition, one without rows at first, and the one that is written last.
GROWN = ("findings", "observations", "decisions", "runs")
LATER = Table(name="letters", description="A new one.", mode="append", key=("a",), schema=columns("a s! a letter"))
STEPS = ("tables", "commit", "claim", "decisions", "findings", "observations", "runs", "marts", "end", "card")


def rows(lake: Lake, without: str = "later") -> dict[str, list[str]]:
    """All rows of the tables as they were made, but for what a migration adds."""
    con, found = connect(lake.snapshot()), {}
    for name in sorted(TABLES.keys() - {"runs", LATER.name}):
        names = [c for c in TABLES[name].schema.names if c != without]
        found[name] = sorted(map(repr, con.execute(f"SELECT {', '.join(names)} FROM {name}").fetchall()))
    return found


@pytest.fixture(scope="module")
def made(new_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake after two nights."""
    place = tmp_path_factory.mktemp("made") / "lake"
    shutil.copytree(new_lake, place)
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        publish(lake, lake.snapshot(), first_night())
        publish(lake, lake.snapshot(), second_night())
    return place


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    """The same, as the program before made it."""
    shutil.copytree(made, tmp_path / "lake")
    return tmp_path / "lake"


@pytest.fixture
def upgrade(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes this program the next one, whose tables have more columns, and which has one table more."""

    def change() -> None:
        later = pa.field("later", pa.string(), metadata={"comment": "what came later"})
        for name in GROWN:
            monkeypatch.setitem(TABLES, name, replace(TABLES[name], schema=TABLES[name].schema.append(later)))
        monkeypatch.setitem(TABLES, LATER.name, LATER)
        monkeypatch.setattr(views, "_EVERY", views._EVERY | {LATER.name})
        for module in (card, migration, pending):
            monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)

    return change


def opened(place: Path) -> Lake:
    return Lake.open(place, key_id=None, create=False, to_migrate=True)


def migrated(place: Path, watch: Callable[[str], None] = lambda _step: None) -> migration.Migration:
    lake = opened(place)
    with lake.lock():
        return migrate(lake, watch=watch)


def test_rows_stay_and_what_is_new_is_empty(old: Path, upgrade: Callable[[], None]) -> None:
    before = rows(Lake.open(old, key_id=KEY_ID))
    upgrade()
    with pytest.raises(LakeError, match="older Nightwarden") as refused:
        Lake.open(old, key_id=KEY_ID)
    assert "lake migrate" in refused.value.advice
    done = migrated(old)
    assert (done.before, done.after, done.tables) == (SCHEMA_VERSION, SCHEMA_VERSION + 1, ("letters",))
    assert done.columns == dict.fromkeys(GROWN, ("later",))
    lake = Lake.open(old, key_id=KEY_ID)
    assert rows(lake) == before
    con = connect(lake.snapshot())
    assert con.execute("SELECT count(*), count(later) FROM findings").fetchall() == [(len(before["findings"]), 0)]
    assert con.execute("SELECT sources FROM runs ORDER BY seq").fetchall()[-1] == (["(migrate)"],)
    assert con.execute("SELECT count(*) FROM patrols").fetchall() == [(2,)]
    assert con.execute("SELECT count(*) FROM letters").fetchall() == [(0,)]
    assert verify(lake) == []
    with lake.lock():
        assert publish(lake, lake.snapshot(), third_night()).seq == 4
    assert verify(lake) == []


def test_files_and_marts_have_the_new_columns(old: Path, upgrade: Callable[[], None]) -> None:
    upgrade()
    migrated(old)
    glob = connect(Lake.open(old, key_id=KEY_ID).snapshot())
    sql = f"SELECT count(*) FROM (SELECT later FROM read_parquet('{old}/marts/findings/*.parquet'))"
    assert glob.execute(sql).fetchall()[0][0] > 0


@thorough
def test_a_migration_may_be_killed_anywhere(old: Path, upgrade: Callable[[], None]) -> None:
    before = rows(Lake.open(old, key_id=KEY_ID))
    upgrade()
    for step in STEPS if THOROUGH else ("claim", "findings", "runs"):
        with pytest.raises(KilledError):
            migrated(old, kill_at(step))
        with pytest.raises(LakeError, match="lake migrate"):
            Lake.open(old, key_id=KEY_ID)
    migrated(old)
    lake = Lake.open(old, key_id=KEY_ID)
    assert rows(lake) == before
    assert lake.snapshot().seq == 3
    assert verify(lake) == []


def test_every_step_is_tried(old: Path, upgrade: Callable[[], None]) -> None:
    upgrade()
    seen: list[str] = []
    migrated(old, seen.append)
    assert tuple(seen) == STEPS


def test_a_publish_that_was_cut_off_is_finished_first_by_its_own_program(
    old: Path, upgrade: Callable[[], None]
) -> None:
    lake = Lake.open(old, key_id=KEY_ID)
    with lake.lock(), pytest.raises(KilledError):
        publish(lake, lake.snapshot(), third_night(), watch=kill_at("findings"))
    tables = {p: p.stat().st_mtime_ns for p in old.rglob("*.parquet")}
    upgrade()
    with pytest.raises(LakeError, match=r"run 3 of .* was cut off") as refused:
        migrated(old)
    assert "then migrate" in refused.value.advice
    assert {p: p.stat().st_mtime_ns for p in old.rglob("*.parquet")} == tables


def test_columns_that_nobody_here_knows_are_refused(old: Path, upgrade: Callable[[], None]) -> None:
    upgrade()
    migrated(old)
    told: dict[str, Any] = json.loads((old / "lake.json").read_text())
    (old / "lake.json").write_text(json.dumps({**told, "schema_version": SCHEMA_VERSION}))
    for name in GROWN:
        TABLES[name] = replace(TABLES[name], schema=TABLES[name].schema.remove(len(TABLES[name].schema) - 1))
    with pytest.raises(LakeError, match="does not know: later"):
        planned(opened(old))


@thorough
def test_a_look_changes_nothing_and_the_command_tells(
    old: Path, upgrade: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NIGHTWARDEN_HOME", str(tmp_path / "home"))
    upgrade()
    looked = CliRunner().invoke(app, ["lake", "migrate", "--dry-run", "--lake", str(old)])
    assert looked.exit_code == 0
    assert f"schema {SCHEMA_VERSION} would become {SCHEMA_VERSION + 1}" in looked.stdout
    assert "findings: new columns later" in looked.stdout
    assert opened(old).schema_version == SCHEMA_VERSION
    done = CliRunner().invoke(app, ["lake", "migrate", "--lake", str(old)])
    assert f"schema {SCHEMA_VERSION} became {SCHEMA_VERSION + 1}" in done.stdout
    again = CliRunner().invoke(app, ["lake", "migrate", "--lake", str(old)])
    assert "nothing is lacking" in again.stdout


def test_tables_whose_columns_were_described_in_other_words_take_rows(tmp_path: Path, new_lake: Path) -> None:
    shutil.copytree(new_lake, tmp_path / "lake")
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    publish(lake, lake.snapshot(), first_night())
    # One that grows and one that is merged.
    for table, column in (("scans", "slug"), ("findings", "title")):
        log = DeltaTable(str(lake.path / table))
        log.alter.set_column_metadata(column, {"comment": "as it was called before"})
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    publish(lake, lake.snapshot(), second_night())
    assert verify(lake) == []
