"""Random histories of an organisation, held against a slow, obvious model."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from tasks.lake.changes import Change
from tasks.lake.lake import Lake
from tasks.lake.publish import PublishBatch, publish
from tasks.lake.schema import TABLES
from tasks.lake.views import run_query
from tests import lake_rows
from tests.lake_rows import KEY_ID
from tests.lifecycle.lake_of_rows import Changes, LakeOfRows, judge_of, moment, uid_of
from tests.lifecycle.model import Life, tell
from tests.lifecycle.world import HISTORIES, Night, nights
from tests.thorough import THOROUGH

Columns = dict[str, Any]


@settings(max_examples=10_000 if THOROUGH else 150, deadline=None, suppress_health_check=list(HealthCheck))
@given(HISTORIES)
def test_findings_live_as_the_model_says(history: Any) -> None:
    lake, told = LakeOfRows(), list(nights(history))
    for night in told:
        lake.publish(night)
    lives, events = tell(told)
    assert {k: as_columns(r) for k, r in lake.rows.items()} == {
        (uid_of(name), ref, tool): as_told(life) for (name, ref, tool), life in lives.items()
    }
    assert sorted(
        (e["seq"], (e["finding_uid"], e["ref"], e["tool"]), str(e["status_before"]), e["status"], e["cause"])
        for e in lake.events
    ) == sorted((n, (uid_of(k[0]), *k[1:]), str(was), now, why) for n, k, was, now, why in events)
    assert open_after(lake.events) == {(e["finding_uid"], e["seq"]): e["open_scopes"] for e in lake.events}


def open_after(events: Iterable[Columns]) -> dict[tuple[str, int], int]:
    """(finding, night) → scopes in which it is open after that night, by replaying what happened."""
    holding, told = defaultdict[str, set[tuple[str, str]]](set), {}
    for e in events:
        scope, is_open = (e["ref"], e["tool"]), e["status"] in ("open", "reopened")
        (holding[e["finding_uid"]].add if is_open else holding[e["finding_uid"]].discard)(scope)
        told[e["finding_uid"], e["seq"]] = len(holding[e["finding_uid"]])
    return told


# Publishing takes long, so what fails is not made smaller: the test above finds small ones.
@settings(
    max_examples=100 if THOROUGH else 3, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
@given(HISTORIES)
def test_the_lake_holds_the_same_life_and_any_past_date_of_it(history: Any) -> None:
    rows, told = LakeOfRows(), list(nights(history))
    with TemporaryDirectory() as place:
        lake = Lake.open(Path(place) / "lake", key_id=KEY_ID)
        changes, then = Changes(), []
        for night in told:
            rows.publish(night)
            then.append(past(rows.rows.values()))
            with lake.lock():
                publish(lake, lake.snapshot(), batch_of(night, changes.of(night)))
        snapshot = lake.snapshot()
        for table, expected in (("findings", rows.rows.values()), ("finding_events", rows.events)):
            assert as_stored(table, snapshot.table(table).to_pylist()) == as_stored(table, expected)
        for night, rows_then in zip(told, then, strict=True):
            at = moment(night.number).at.isoformat()
            sql = f"SELECT {', '.join(_PAST)} FROM findings_at('{at}')"
            answer = [dict(zip(_PAST, r, strict=True)) for r in run_query(snapshot, sql)[1]]
            assert past(answer) == rows_then
            assert all(r["opened_at"] is None or r["opened_at"] <= moment(night.number).at for r in answer)


_PAST = ("finding_uid", "ref", "tool", "status", "is_open", "opened_at")


def as_stored(table: str, rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Rows in the order of the table's columns."""
    told = [{n: row[n] for n in TABLES[table].schema.names} for row in rows]
    return sorted(repr({n: str(v) if isinstance(v, datetime) else v for n, v in row.items()}) for row in told)


def past(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What is known of a past date; when it was opened, only of what was there."""
    gone = ("fixed", "archived")
    told = [[str(r[n]) if n != "opened_at" or r["status"] not in gone else None for n in _PAST] for r in rows]
    return sorted(map(repr, told))


def batch_of(night: Night, changes: list[Change]) -> PublishBatch:
    """A night as it is published."""
    results = [c.result for c in changes if c.result is not None]
    batch = lake_rows.night(night.number, *results)
    run = {**batch.run, "finished_at": moment(night.number).at}
    return replace(batch, run=run, changes=changes, judge=judge_of(night), reconsider=True)


def as_columns(row: Columns) -> Columns:
    """What the model knows of a row."""
    names = ("scan_status", "status", "is_open", "origin", "path", "decision_id", "first_seen_at", "opened_at",
             "fixed_at", "fixed_reason", "moved_from")  # fmt: skip
    return {n: row[n] for n in names}


def as_told(life: Life) -> Columns:
    """The same of the model."""
    return {
        "scan_status": life.scan_status,
        "status": life.status,
        "is_open": life.present and life.decision is None,
        "origin": life.origin,
        "path": life.path,
        "decision_id": life.decision,
        "first_seen_at": moment(life.first_seen).at,
        "opened_at": moment(life.opened).at,
        "fixed_at": moment(life.closed).at if life.closed is not None else None,
        "fixed_reason": life.reason,
        "moved_from": uid_of(life.moved_from) if life.moved_from is not None else None,
    }
