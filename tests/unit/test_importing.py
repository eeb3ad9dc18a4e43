"""Imports in the lake: scopes of their own, what closes, what a patrol makes of them, and the way back as SARIF."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import LakeError, UsageError
from tasks.core.keys import HmacKey
from tasks.core.origins import DecisionPlace, Source
from tasks.core.reports import ReportError
from tasks.core.types import Observation
from tasks.importers import SARIF
from tasks.lake.verify import verify
from tasks.patrol.exporting import sarif_log
from tasks.patrol.importing import ImportSummary, Request, import_reports, read_files
from tests.patrols import KEY, House
from tests.sarif_shape import faults, validate
from tests.thorough import thorough


@pytest.fixture
def house(tmp_path: Path) -> House:
    """An organisation of two repositories, patrolled once."""
    house = House(tmp_path)
    house.commit("team/app", a="flaw", b="fine")
    house.commit("team/api", a="unread flaw", b="flaw")
    house.run()
    return house


def report(*rules: str, driver: str = "Lint", **run: Any) -> dict[str, Any]:
    results = [
        {
            "ruleId": rule,
            "message": {"text": "a flaw"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": "a.py"}, "region": {"startLine": n + 1}}}],
        }
        for n, rule in enumerate(rules)
    ]
    return {"version": "2.1.0", "runs": [{"tool": {"driver": {"name": driver}}, "results": results, **run}]}


def bring(house: House, document: Any, *, dry_run: bool = False, **more: Any) -> ImportSummary:
    path = house.place / "report.sarif"
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    request = Request(**{"files": (path,), "repo": "team/app", **more})
    lake = house.lake()
    with lake.lock():
        return import_reports(lake, request, read_files(request.files, KEY), dry_run=dry_run)


def bring_all(house: House, *documents: Any) -> ImportSummary:
    """All of them in one call."""
    files = tuple(house.place / f"report{n}.sarif" for n in range(len(documents)))
    for path, document in zip(files, documents, strict=True):
        path.write_text(json.dumps(document), "utf-8")
    return bring(house, documents[0], files=files)


def moved(document: dict[str, Any], *lines: int) -> dict[str, Any]:
    """The report with its results at other lines."""
    for result, line in zip(document["runs"][0]["results"], lines, strict=True):
        result["locations"][0]["physicalLocation"]["region"] = {"startLine": line}
    return document


def status(house: House, tool: str = "import/lint") -> dict[str, str]:
    return {f["rule_id"]: f["status"] for f in house.rows("findings") if f["tool"] == tool}


# -- into the lake -------------------------------------------------------------------------------------------


def test_an_import_is_a_run_with_a_scope_of_its_own(house: House) -> None:
    before = status(house, "fake")
    summary = bring(house, report("R1", "R2"))
    assert (summary.opened, summary.fixed, summary.has_gaps) == (2, 0, False)
    assert status(house) == {"R1": "open", "R2": "open"}
    assert status(house, "fake") == before
    assert verify(house.lake()) == []


def test_the_same_file_again_changes_nothing(house: House) -> None:
    bring(house, report("R1"))
    seq = house.lake().snapshot().seq
    summary = bring(house, report("R1"))
    assert [t.known for t in summary.tools] == [True]
    assert summary.run_id is None
    assert house.lake().snapshot().seq == seq


@thorough
def test_an_import_knows_its_scope_when_the_repository_came_to_another_source(house: House) -> None:
    bring(house, report("R1", "R2"))
    house.sources = (Source(name="renamed", location=str(house.place / "org")),)
    house.run(all_sources=True)
    assert [t.known for t in bring(house, report("R1", "R2")).tools] == [True]
    assert bring(house, report("R1")).fixed == 1
    log = sarif_log(house.lake(), repos=(), tools=("import/lint",), run_id=None)
    assert log.scopes == 1


@thorough
def test_the_same_file_twice_in_a_call_is_said_once(house: House) -> None:
    twins = moved(report("R1", "R1", "R2"), 1, 1, 2)
    (tool,) = bring_all(house, twins, twins).tools
    assert (tool.records, tool.repeated) == (3, 3)
    assert verify(house.lake()) == []
    assert [t.known for t in bring(house, twins).tools] == [True]


@thorough
def test_files_that_overlap_add_up(house: House) -> None:
    (tool,) = bring_all(house, moved(report("R1", "R2"), 3, 7), moved(report("R2", "R3"), 7, 9)).tools
    assert (tool.records, tool.repeated) == (3, 1)
    assert status(house) == {"R1": "open", "R2": "open", "R3": "open"}
    assert verify(house.lake()) == []


@thorough
def test_equal_results_at_two_lines_are_two_findings_in_two_files_as_in_one(house: House) -> None:
    assert bring_all(house, moved(report("R1"), 3), moved(report("R1"), 50)).opened == 2
    anchors = {f["anchor_uid"] for f in house.rows("findings") if f["tool"] == "import/lint"}
    assert verify(house.lake()) == []
    bring(house, moved(report("R1", "R1"), 3, 50))
    assert {f["anchor_uid"] for f in house.rows("findings") if f["tool"] == "import/lint"} == anchors


@thorough
def test_results_that_differ_in_a_column_are_no_repetition(house: House) -> None:
    plain, grave = report("R1"), report("R1")
    grave["runs"][0]["results"][0]["level"] = "error"
    (tool,) = bring_all(house, plain, grave, plain).tools
    assert (tool.records, tool.repeated) == (2, 1)
    assert verify(house.lake()) == []


def test_what_was_decided_about_its_findings_holds_on(house: House) -> None:
    house.decisions = DecisionPlace(file=house.place / "decisions.yaml", approval="none")
    house.decisions.file.write_text(
        "decisions:\n  - {id: d, kind: wont_fix, tool: import/lint, matches: 2, reason: so, expires: 2099-01-01}\n"
    )
    bring(house, report("R1"))
    house.run()
    assert status(house) == {"R1": "wont_fix"}
    bring(house, report("R1", "R2"))
    assert status(house) == {"R1": "wont_fix", "R2": "wont_fix"}


def test_a_newer_file_fixes_what_is_gone_and_an_older_one_opens_it_again(house: House) -> None:
    bring(house, report("R1", "R2"))
    summary = bring(house, report("R2"))
    assert (summary.opened, summary.fixed) == (0, 1)
    assert status(house) == {"R1": "fixed", "R2": "open"}
    assert bring(house, report("R1", "R2")).opened == 1
    assert verify(house.lake()) == []


@thorough
def test_what_is_gone_with_another_version_of_the_tool_may_not_be_fixed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(version: str, *rules: str) -> dict[str, str]:
        bring(house, report(*rules, tool={"driver": {"name": "Lint", "version": version}}))
        return {f["rule_id"]: f["fixed_reason"] for f in house.rows("findings") if f["fixed_reason"]}

    gone("1", "R1", "R2", "R3", "R4")
    assert gone("1", "R2", "R3", "R4") == {"R1": "import"}
    assert gone("2", "R3", "R4")["R2"] == "code_or_tool"
    monkeypatch.setattr(type(SARIF), "revision", SARIF.revision + 1)
    assert gone("2", "R4")["R3"] == "code_or_tool"


@thorough
def test_nothing_closes_where_a_report_may_know_more(house: House) -> None:
    bring(house, report("R1", "R2"))
    summary = bring(house, json.dumps(report("R2", "R3"))[:-3])
    assert summary.has_gaps
    assert status(house) == {"R1": "open", "R2": "open", "R3": "open"}
    assert verify(house.lake()) == []
    assert bring(house, report("R3")).fixed == 2


def test_nothing_closes_at_a_path_that_the_tool_says_it_could_not_read(house: House) -> None:
    first = report("R1", "R2")
    first["runs"][0]["results"][1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] = "b.py"
    bring(house, first)
    place = {"physicalLocation": {"artifactLocation": {"uri": "a.py"}}}
    notice = {"level": "error", "message": {"text": "could not parse a.py"}, "locations": [place]}
    invocations = [{"executionSuccessful": True, "toolExecutionNotifications": [notice]}]
    summary = bring(house, report(invocations=invocations))
    assert (summary.fixed, summary.has_gaps) == (1, True)
    assert status(house) == {"R1": "open", "R2": "fixed"}
    assert verify(house.lake()) == []


def test_a_tool_called_as_a_scanner_does_not_touch_its_scope(house: House) -> None:
    flaws = status(house, "fake")
    bring(house, report(driver="Fake"))
    assert status(house, "fake") == flaws == {"F1": "open"}


@thorough
def test_a_patrol_expects_no_import_and_freshness_shows_its_age(house: House) -> None:
    ended = "2026-01-02T03:04:05Z"
    bring(house, report("R1", invocations=[{"executionSuccessful": True, "endTimeUtc": ended}]))
    summary = house.run()
    assert summary is not None
    newest = house.lake().snapshot().run
    assert newest is not None
    scans = [s for s in house.rows("scans") if s["run_id"] == newest["run_id"]]
    assert {s["tool"] for s in scans} == {"fake"}
    assert set(summary.coverage) == {"fake"}
    assert status(house) == {"R1": "open"}
    (scope,) = [s for s in house.rows("scopes") if s["tool"] == "import/lint"]
    assert scope["evidence_at"].isoformat().startswith("2026-01-02T03:04:05")


@thorough
def test_newer_evidence_of_the_same_content_is_kept(house: House) -> None:
    for day in ("02", "03"):
        times = [{"executionSuccessful": True, "endTimeUtc": f"2026-01-{day}T00:00:00Z"}]
        assert bring(house, report("R1", invocations=times)).run_id is not None
    (scope,) = [s for s in house.rows("scopes") if s["tool"] == "import/lint"]
    assert scope["evidence_at"].day == 3
    assert verify(house.lake()) == []


def test_an_unknown_repository_is_an_error_with_near_names_unless_it_is_to_be_made(house: House) -> None:
    with pytest.raises(UsageError) as e:
        bring(house, report("R1"), repo="team/apq")
    assert "team/app" in e.value.advice
    bring(house, report("R1"), repo="vendor/blob", new_repo=True)
    house.run()
    (row,) = [r for r in house.rows("repositories") if r["slug"] == "vendor/blob"]
    assert row["present"]
    assert {s["slug"] for s in house.rows("scans") if s["tool"] == "fake"} == {"team/app", "team/api"}


def test_a_look_writes_nothing(house: House) -> None:
    seq = house.lake().snapshot().seq
    assert bring(house, report("R1"), dry_run=True).tools[0].records == 1
    assert house.lake().snapshot().seq == seq


def test_a_name_for_several_tools_is_refused(house: House) -> None:
    document = report("R1")
    document["runs"] += report("R2", driver="Other")["runs"]
    with pytest.raises(UsageError):
        bring(house, document, tool="mine")
    assert [t.tool for t in bring(house, report("R1"), tool="Mine").tools] == ["import/mine"]


def test_what_is_no_report_names_the_file(house: House) -> None:
    with pytest.raises(ReportError, match=r"report\.sarif"):
        bring(house, "{}")
    with pytest.raises(UsageError):
        read_files([house.place], KEY)


# -- and out of it -------------------------------------------------------------------------------------------


def written(house: House, **more: Any) -> tuple[dict[str, Any], int]:
    log = sarif_log(house.lake(), **{"repos": (), "tools": (), "run_id": None, "key": KEY, **more})
    document: dict[str, Any] = json.loads("".join(log.pieces))
    assert faults(document) == []
    validate(document)
    return document, log.gaps


def anchors(document: dict[str, Any]) -> set[str]:
    records = SARIF.parse(io.BytesIO(json.dumps(document).encode()), KEY)
    return {r.item.anchor_uid for r in records if isinstance(r.item, Observation)}


def test_a_patrols_lake_comes_back_with_the_same_names(house: House) -> None:
    bring(house, report("R1", "R2", "R2"))
    bring(house, report("R2"))
    document, gaps = written(house)
    assert anchors(document) == {f["anchor_uid"] for f in house.rows("findings") if f["status"] == "open"}
    assert gaps == 1
    told = {r["automationDetails"]["id"]: r["invocations"][0] for r in document["runs"]}
    blind = [i for i in told.values() if not i["executionSuccessful"]]
    assert [n["descriptor"]["id"] for i in blind for n in i["toolExecutionNotifications"]] == ["unparsable"]


def test_findings_come_home_as_they_went(house: House) -> None:
    told = {"id": "R2", "shortDescription": {"text": "Don't 'quote'"}, "helpUri": "https://h.example/r2"}
    document = report("R1", "R2", tool={"driver": {"name": "Lint", "version": "1", "rules": [told]}})
    logical = [{"fullyQualifiedName": "shop.pay"}]
    document["runs"][0]["results"][1]["locations"][0]["logicalLocations"] = logical
    bring(house, document)
    columns = (
        "anchor_uid", "kind", "rule_id", "title", "severity_tool", "path", "line_start", "line_end", "resource", "tool",
    )  # fmt: skip

    def open_in(slug: str) -> list[tuple[Any, ...]]:
        rows = [f for f in house.rows("findings") if f["slug"] == slug and f["status"] == "open"]
        return sorted(tuple(f[c].removeprefix("import/") if c == "tool" else f[c] for c in columns) for f in rows)

    bring(house, written(house, repos=("team/app",))[0], repo="vendor/copy", new_repo=True)
    assert len(open_in("team/app")) == 3
    assert open_in("vendor/copy") == open_in("team/app")
    assert verify(house.lake()) == []


def test_another_key_seals_nothing(house: House) -> None:
    document, _ = written(house, key=HmacKey(bytes(range(1, 33))))
    assert "Seal" not in json.dumps(document)
    assert "nightwardenSeal/v1" in json.dumps(written(house)[0])


def test_a_scope_that_was_never_read_has_no_results(house: House) -> None:
    house.commit("team/crash", a="crash")
    house.run()
    document, _ = written(house, repos=("team/crash",))
    (run,) = document["runs"]
    assert "results" not in run
    assert run["invocations"][0]["executionSuccessful"] is False
    assert run["invocations"][0]["toolExecutionNotifications"]


def test_an_earlier_run_is_told_as_it_was(house: House) -> None:
    first = house.lake().snapshot().run
    assert first is not None
    bring(house, report("R1"))
    document, _ = written(house, run_id=first["run_id"])
    assert {r["properties"]["tool"] for r in document["runs"]} == {"fake"}
    with pytest.raises(LakeError):
        written(house, run_id="none")
    with pytest.raises(UsageError):
        written(house, repos=("nobody/*",))
