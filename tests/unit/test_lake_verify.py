"""What `lake verify` finds: each kind of damage that a disk, a person or a bug can do to a lake."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tasks.core.errors import LakeError
from tasks.core.types import Control, Gap, Parsed, RawReport
from tasks.lake import zst
from tasks.lake.lake import MARKS, Lake
from tasks.lake.places import DeafStorageError, FolderPlace
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.schema import TABLES
from tasks.lake.verify import verify
from tasks.patrol import session
from tests.lake_rows import KEY_ID, change_of, night, observation, result, scan_of
from tests.patrols import FakeTool, House
from tests.thorough import thorough

BLIND = Gap(path="broken.py", reason_code="unparsable", detail="line 3")


def put(lake: Lake, batch: PublishBatch) -> None:
    with lake.lock():
        publish(lake, lake.snapshot(), batch)


@pytest.fixture(scope="module")
def two_nights(new_lake: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake of two nights with a kept report."""
    place = tmp_path_factory.mktemp("two") / "lake"
    shutil.copytree(new_lake, place)
    lake = Lake.open(place, key_id=KEY_ID)
    report = RawReport(tool="bandit", tool_version="1", exit_code=1, body=b"masked " * 50)
    sha = lake.raw.put(report, {"repo": "team/app"})
    put(lake, night(1, result("one", observation("x"), gaps=(BLIND,), raw_parts=(sha,))))
    put(lake, night(2, result("two", observation("x"), observation("y"), raw_parts=(sha,))))
    return place


@pytest.fixture
def kept(two_nights: Path, tmp_path: Path) -> Lake:
    shutil.copytree(two_nights, tmp_path / "lake")
    return Lake.open(tmp_path / "lake", key_id=KEY_ID)


def test_a_whole_lake_has_no_problem(kept: Lake) -> None:
    assert verify(kept) == []


def test_a_finding_one_of_whose_places_was_not_read_is_no_damage(lake: Lake) -> None:
    put(lake, night(1, result("one", observation("x", "app.py"), observation("x", "broken.py"))))
    two = result("two", gaps=(BLIND,))
    put(lake, night(2, two, changes=[change_of(two, before=result("one").result_name)]))
    assert lake.snapshot().open_findings() == 1
    assert verify(lake) == []


def test_a_run_that_publishes_is_told_of_and_is_no_damage(kept: Lake) -> None:
    told: list[str] = []

    def watch(step: str) -> None:
        if step in ("runs", "marts"):  # the marts are one run behind
            assert verify(Lake.open(kept.path, key_id=None), told.append) == []

    with kept.lock():
        publish(kept, kept.snapshot(), night(3, result("three", observation("z"), repo_id="new")), watch=watch)
    assert len(told) == 3 and all("is publishing" in line and "pid" in line for line in told)
    assert verify(kept, told.append) == [] and len(told) == 3


def test_a_storage_that_ignores_conditions_is_found_by_who_may_write(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for refused, found in ((DeafStorageError("deaf"), {"storage": "deaf"}), (LakeError("read only"), {})):
        monkeypatch.setattr(FolderPlace, "check_conditions", Mock(side_effect=refused))
        assert problems(lake) == found


def problems(lake: Lake) -> dict[str, str]:
    told: dict[str, str] = {}
    for p in verify(lake):
        told[p.table] = f"{told[p.table]}; {p.message}" if p.table in told else p.message
    return told


@pytest.mark.parametrize("table", ["ledger", "observations", "findings"])
def test_a_deleted_file_of_a_table_is_found(kept: Lake, table: str) -> None:
    Path(kept.snapshot().files(table)[0]).unlink()
    assert problems(kept)


def test_a_truncated_file_of_a_table_is_found(kept: Lake) -> None:
    place = Path(kept.snapshot().files("observations")[0])
    place.write_bytes(place.read_bytes()[:-20])
    assert problems(kept)


def test_rows_taken_out_of_a_table_are_found(kept: Lake) -> None:
    for file in kept.snapshot().files("observations"):
        data = pq.ParquetFile(file).read()
        pq.write_table(data.slice(1), file)
    assert set(problems(kept)) >= {"ledger", "findings"}


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ("scan_gaps", {"ledger": "1 rows count other gaps than there are"}),
        ("scopes", {"scans": "2 rows belong to no scope", "findings": "2 rows belong to no scope"}),
        ("repositories", {"scopes": "1 rows belong to no repository"}),
        ("ledger", {"scopes": "1 rows refer to a result the ledger lacks"}),
    ],
)
def test_rows_that_others_need_are_missed(kept: Lake, table: str, found: dict[str, str]) -> None:
    for file in kept.snapshot().files(table):
        pq.write_table(pq.ParquetFile(file).read().slice(0, 0), file)
    assert problems(kept).items() >= found.items()


def test_what_an_older_run_saw_and_is_gone_is_found(kept: Lake) -> None:
    (file,) = set(kept.snapshot("run-1").files("scopes")) - set(kept.snapshot().files("scopes"))
    Path(file).unlink()
    assert problems(kept) == {"scopes": "1 files are gone that it had when run 1 saw it"}
    kept.place.write(MARKS, b'{"snapshots_from": 2}')
    assert problems(kept) == {}, "as of run 1 it is not kept any more"


def test_a_log_that_leads_to_no_older_run_is_found(kept: Lake) -> None:
    DeltaTable(kept.store.uri("findings")).create_checkpoint()
    (kept.path / "findings" / "_delta_log" / f"{0:020}.json").unlink()
    assert "as run 1 saw it: the table findings cannot be opened at version 1" in problems(kept)["findings"]


def test_a_lost_log_of_a_table_is_found(kept: Lake) -> None:
    newest = max((kept.path / "findings" / "_delta_log").glob("*.json"))
    newest.unlink()
    assert problems(kept)


@pytest.mark.parametrize("damage", ["deleted", "cut", "flipped", "replaced"])
def test_a_damaged_kept_report_is_found(kept: Lake, damage: str) -> None:
    (sha,) = kept.raw.all()
    place = kept.path / "_raw" / sha[:2] / f"{sha}.zst"
    data = place.read_bytes()
    if damage == "deleted":
        place.unlink()
    elif damage == "cut":
        place.write_bytes(data[:-5])
    elif damage == "flipped":
        place.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
    else:
        place.write_bytes(zst.pack(b'{"tool": "bandit", "tool_version": "1", "exit_code": "1"}\nforged'))
    found = problems(kept)
    assert sha in found["ledger"]


def test_damaged_marts_are_found(kept: Lake) -> None:
    for place in (kept.path / "marts" / "findings").glob("[0-9a-f][0-9a-f].parquet"):
        place.unlink()
    assert "the lake 2" in problems(kept)["marts"]


@pytest.mark.parametrize("mart", ["findings", "freshness", "gaps"])
def test_a_mart_that_says_something_else_is_found(kept: Lake, mart: str) -> None:
    two = result("three", observation("x"), observation("y"), gaps=(BLIND,))
    put(kept, night(3, two))
    for place in sorted((kept.path / "marts").glob(f"{mart}*/*.parquet")) or [kept.path / f"marts/{mart}.parquet"]:
        data = pq.read_table(place)
        column = data.schema.get_field_index("status" if mart == "findings" else "outcome")
        other = pa.array(["fixed"] * data.num_rows, data.schema.field(column).type)
        pq.write_table(data.set_column(column, data.schema.field(column), other), place)
    assert problems(kept) == {"marts": f"marts/{mart} says other than the lake"}


def test_a_row_that_stands_twice_is_found(kept: Lake) -> None:
    table = kept.snapshot().table("scans")
    kept.store.apply(TABLES["scans"], table.slice(0, 1), seq=3)
    # Of a table that gets no rows a run names the version of the run before.
    batch = night(3, scans=[scan_of(result("one"))], results=[], changes=[], scopes=[])
    put(kept, replace(batch, run={**batch.run, "expected": 0}))
    assert "more than once" in problems(kept)["scans"]


def test_a_run_that_claims_more_than_it_did_is_found(kept: Lake) -> None:
    batch = night(3, scans=[], results=[], changes=[], scopes=[])
    put(kept, replace(batch, run={**batch.run, "expected": 7}))
    assert problems(kept) == {"runs": "1 rows expected other than their scans"}


def test_an_unknown_reason_is_found(kept: Lake) -> None:
    odd = result("odd", repo_id="team/odd", gaps=(Gap(path="a", reason_code="because"),))
    put(kept, night(3, odd))
    assert problems(kept) == {"scan_gaps": "1 rows have an unknown reason"}


# -- rules that did not run ------------------------------------------------------------------------------------------


class Packed(FakeTool):
    """What it finds is said by a rule of the pack ``team``."""

    def parse(self, report: Any, target: Any, key: Any) -> Parsed:
        parsed = FakeTool.parse(self, report, target, key)
        return replace(parsed, observations=tuple(replace(o, rule_id="team.F1") for o in parsed.observations))


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A flaw was found by a rule of a pack."""
    monkeypatch.setattr(session, "Semgrep", FakeTool)  # the tool whose rules lie in packs
    control = Control(files={"control.txt": b"flaw"}, rule_id="team.F1", path="control.txt")
    house = House(tmp_path, scanners=(Packed(control=control),), packs={}, rules=("team.F1",))
    house.commit("a", t="flaw")
    house.run()
    return house


def broken(house: House, *not_run: str) -> None:
    house.packs, house.not_run = {"team": ("rule_broken", "x: why")}, frozenset(not_run)
    house.rules, house.rules_digest = (), "broken"
    house.commit("a", t="mended")
    house.run()
    assert [f["status"] for f in house.rows("findings")] == ["open"]


@pytest.mark.parametrize("not_run", [pytest.param("team.F1", marks=thorough), "team.*"])
def test_a_finding_whose_rule_did_not_run_is_no_damage(house: House, not_run: str) -> None:
    broken(house, not_run)
    assert verify(house.lake()) == []
    house.packs, house.not_run, house.upgrade_s = {}, frozenset(), 0
    house.rules, house.rules_digest = ("team.F1",), "r"
    house.run()  # awaits: the broken rules' result still stands
    assert verify(house.lake()) == []
    house.upgrade_s = 7200.0
    house.run()
    assert [f["status"] for f in house.rows("findings")] == ["fixed"]
    assert verify(house.lake()) == []


def reopen(lake: Lake) -> None:
    """As if closings had been lost."""
    for file in lake.snapshot().files("findings"):
        data = pq.ParquetFile(file).read()
        for column in ("status", "scan_status"):
            told = pa.array(["open"] * data.num_rows, data.schema.field(column).type)
            data = data.set_column(data.schema.get_field_index(column), data.schema.field(column), told)
        pq.write_table(data, file)


@thorough
def test_a_lost_closing_is_found_though_another_pack_was_broken(house: House) -> None:
    house.packs, house.not_run, house.rules_digest = {"te": ("rule_broken", "x: why")}, frozenset({"te.*"}), "s"
    house.commit("a", t="mended")
    house.run()
    assert verify(house.lake()) == []
    reopen(house.lake())
    assert "open without being in the scope's current result" in problems(house.lake())["findings"]


@thorough
def test_a_lost_closing_is_found_though_the_pack_is_broken_since(house: House) -> None:
    house.commit("a", t="mended")
    house.run()
    reopen(house.lake())
    house.packs, house.not_run = {"team": ("rule_broken", "x: why")}, frozenset({"team.F1"})
    house.rules_digest, house.upgrade_s = "broken", 0
    house.run()
    assert "open without being in the scope's current result" in problems(house.lake())["findings"]
