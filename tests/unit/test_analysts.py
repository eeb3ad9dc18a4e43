"""`docs/analysts.md` tells every view and saved query, and its Python does what it says."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tasks.lake.lake import Lake
from tasks.lake.marts import write_marts
from tasks.lake.saved import SAVED
from tasks.lake.views import FUNCTIONS, VIEWS
from tasks.patrol.exported_findings import finding_rows
from tasks.patrol.exporting import chosen
from tasks.policy import POLICY
from tasks.report.spreadsheets import csv_pieces
from tests.exported import exported_lake

PAGE = Path(__file__).parents[2] / "docs" / "analysts.md"
RECORD = bool(os.environ.get("NIGHTWARDEN_RECORD"))


def told() -> dict[str, list[tuple[str, str]]]:
    """By the mark in the page, what its table must say."""
    views = {**VIEWS, **{v.name: v.meaning for v in POLICY.views}, **FUNCTIONS}
    saved = {name: s.description for name, s in {**SAVED, **POLICY.saved}.items()}
    return {"saved queries": sorted(saved.items()), "views": list(views.items())}


@pytest.mark.parametrize("mark", ["saved queries", "views"])
def test_the_page_tells_all_of_them(mark: str) -> None:
    head = {"saved queries": "| name | what it answers |", "views": "| view | a row is |"}[mark]
    table = "\n".join([head, "|---|---|", *(f"| `{name}` | {words} |" for name, words in told()[mark])])
    start, end = f"<!-- {mark} -->\n", "<!-- end -->"
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(start)
    found, _, after = rest.partition(end)
    if RECORD:
        PAGE.write_text(f"{before}{start}{table}\n{end}{after}", "utf-8")
        return
    assert found.strip() == table, "NIGHTWARDEN_RECORD=1 writes it anew"


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
