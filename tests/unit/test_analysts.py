"""`docs/analysts.md` tells every view and saved query, and its Python does what it says."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from tasks.core.identity import finding_uid
from tasks.core.types import Kind
from tasks.lake.lake import Lake
from tasks.lake.marts import write_marts
from tasks.lake.publish import publish
from tasks.lake.saved import SAVED
from tasks.lake.schema import TABLES
from tasks.lake.view_columns import _MADE, view_columns
from tasks.lake.views import FUNCTIONS, VIEWS, run_query
from tasks.patrol.exported_findings import finding_rows
from tasks.patrol.exporting import chosen
from tasks.policy import POLICY
from tasks.report.spreadsheets import csv_pieces
from tests.exported import exported_lake
from tests.lake_rows import KEY_ID, NIGHT, night, observation, result

PAGE = Path(__file__).parents[2] / "docs" / "analysts.md"
RECORD = bool(os.environ.get("NIGHTWARDEN_RECORD"))


def told() -> dict[str, list[tuple[str, str]]]:
    """By the mark in the page, what its table must say."""
    views = {**VIEWS, **{v.name: v.meaning for v in POLICY.views}, **FUNCTIONS}
    saved = {name: s.description for name, s in {**SAVED, **POLICY.saved}.items()}
    made = [
        (f"{name}` | `{c.name}", c.meaning)
        for name, columns in view_columns(POLICY).items() for c in columns if c.table is None
    ]  # fmt: skip
    return {"saved queries": sorted(saved.items()), "views": list(views.items()), "columns": made}


@pytest.mark.parametrize("mark", ["saved queries", "views", "columns"])
def test_the_page_tells_all_of_them(mark: str) -> None:
    head = {
        "saved queries": "| name | what it answers |\n|---|---|",
        "views": "| view | a row is |\n|---|---|",
        "columns": "| view | column | what it says |\n|---|---|---|",
    }[mark]
    table = "\n".join([head, *(f"| `{name}` | {words} |" for name, words in told()[mark])])
    start, end = f"<!-- {mark} -->\n", "<!-- end -->"
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(start)
    found, _, after = rest.partition(end)
    if RECORD:
        PAGE.write_text(f"{before}{start}{table}\n{end}{after}", "utf-8")
        return
    assert found.strip() == table, "NIGHTWARDEN_RECORD=1 writes it anew"


def test_every_column_of_every_view_is_described() -> None:
    found = view_columns(POLICY)
    assert len(found) == len(VIEWS) + len(POLICY.views) + len(FUNCTIONS)
    assert all(c.meaning and c.type for columns in found.values() for c in columns)
    by = {c.name: c for c in found["ranked"]}
    assert (by["rule_id"].table, by["criticality"].table, by["score"].table) == ("findings", "repositories", None)
    told = {name: {c.name for c in columns} for name, columns in found.items()}
    said = {**_MADE, **POLICY.columns}
    assert {(v, c) for v, columns in said.items() for c in columns if c not in told[v]} == set(), "no view has these"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = exported_lake(tmp_path_factory.mktemp("analysts"))
    write_marts(lake, changed=(), standing=True)
    return lake


def test_the_snippets_run(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = finding_rows(chosen(lake, repos=(), tools=(), run_id=None))
    (tmp_path / "open.csv").write_text("".join(csv_pieces(rows.columns, rows.rows)), "utf-8", newline="")
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(snippets) == 5
    names: dict[str, Any] = {}
    for snippet in snippets:
        assert "/srv/nightwarden/lake" in snippet or names, "the first says where the lake is"
        exec(snippet.replace("/srv/nightwarden/lake", str(lake.path)), names)
    assert dict(names["by_kind"]) == {"code": 21, "dependency": 2, "iac": 1, "secret": 1}
    assert len(names["open_now"]) == 25 and len(names["open_findings"].fetchall()) == 25
    assert set(names["gaps"]["reason_code"]) == {"crashed", "unparsable"}
    assert len(names["freshness"]) == 6
    assert dict(names["coverage"]) == {("bandit", "ok"): 1}
    assert len(names["ranked"]) == 25 and names["late"].empty
    assert names["causes"]["events"].sum() == 27
    assert len(names["secrets"]) == 1 and len(names["high"].fetchall()) == 23


def _secret(name: str, **told: Any) -> dict[str, Any]:
    return {"secret": name, "place": f"vault:{name}", "due": "not_yet", "every_days": 30.0, "looked_at": NIGHT,
            "present": True, "is_managed": True, **told}  # fmt: skip


def _step(rotation_id: str, state: str, minutes: int, **told: Any) -> dict[str, Any]:
    return {"rotation_id": rotation_id, "state": state, "secret": rotation_id, "place": "vault:x", "slot": "2026-03",
            "done_at": NIGHT + timedelta(minutes=minutes), "identity": "b", "run_id": "r", **told}  # fmt: skip


def _leak(secret: str, state: str, **told: Any) -> dict[str, Any]:
    return {"flaw_uid": f"{secret}-{state}", "secret": secret, "place": "vault:x", "field": "password", "state": state,
            "finding_uids": ["none"], "found_at": NIGHT, "changed_at": NIGHT, "run_id": "r", **told}  # fmt: skip


def test_the_questions_about_rotations_are_answered(new_lake: Path, tmp_path: Path) -> None:
    shutil.copytree(new_lake, tmp_path / "lake")
    lake = Lake.open(tmp_path / "lake", key_id=KEY_ID)
    found = observation("leaked", kind=Kind.SECRET)
    until = NIGHT + timedelta(hours=1)
    plain = {
        "secrets": [
            _secret("quiet"), _secret("gone", present=False, due="due"), _secret("stored", is_managed=False, due=None),
            _secret("grace", state="grace", rotation_id="grace"), _secret("staged", state="applied", rotation_id="old"),
            _secret("late", due="overdue"), _secret("unread", due="unknown", reason_code="backend_denied"),
        ],
        "rotations": [
            _step("grace", "prepared", 0), _step("grace", "promoted", 2), _step("grace", "grace", 3, until=until),
            _step("old", "grace", 0, until=until), _step("old", "promoted", 1, slot="leak-1"),
            _step("old", "retired", 9, slot="leak-1"),
        ],
        "leaks": [
            _leak("old", "revoked", verified_at=NIGHT),
            _leak("grace", "waiting", finding_uids=[finding_uid(repo_id="team/app", anchor_uid=found.anchor_uid)]),
        ],
    }  # fmt: skip
    with lake.lock():
        publish(lake, lake.snapshot(), replace(night(1, result("app", found)), plain=plain))

    def ask(sql: str) -> list[dict[str, Any]]:
        columns, rows = run_query(lake.snapshot(), sql, POLICY)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    told = ask(SAVED["rotations"].sql)
    assert [(r["secret"], r["state"], r["until"] is not None) for r in told] == [
        ("unread", None, False), ("late", None, False), ("grace", "grace", True), ("staged", "applied", False),
    ]  # fmt: skip
    assert [(r["secret"], r["state"], r["verified_at"] is not None) for r in ask(SAVED["leaks"].sql)] == [
        ("grace", "waiting", False), ("old", "revoked", True),
    ]  # fmt: skip
    section = PAGE.read_text("utf-8").split("\n## Secrets that are rotated\n")[1].split("\n## ")[0]
    durations, standing = (ask(sql) for sql in re.findall(r"^```sql\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    assert {(r["secret"], r["for_a_leak"], r["minutes"]) for r in durations} == {
        ("grace", False, None), ("old", True, 8), ("old", False, None),
    }  # fmt: skip
    assert [(r["secret"], r["state"], r["repositories"]) for r in standing] == [("grace", "waiting", ["team/app"])]


def test_what_lies_there_is_what_the_definitions_for_athena_and_spark_say(lake: Lake) -> None:
    for name, table in TABLES.items():
        opened = DeltaTable(str(lake.path / name))
        assert opened.metadata().partition_columns == list(table.partition), name
        assert opened.protocol().min_reader_version == 1, "Athena reads up to 3"
        assert [f.name for f in opened.schema().fields] == table.schema.names
    files = [f for f in (lake.path / "marts" / "findings").iterdir() if f.name != "empty.parquet"]
    assert files
    for file in files:
        told = pq.read_schema(file)
        assert [(f.name, f.type) for f in told] == [(f.name, f.type) for f in TABLES["findings"].schema]
