"""Exports of findings: OCSF events by their published schema, CSV and XLSX in which every text stays a text."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tasks.core.errors import UsageError
from tasks.core.text import for_spreadsheet
from tasks.core.types import Kind
from tasks.lake.lake import Lake
from tasks.patrol.exported_findings import finding_rows, gap_rows, ocsf_events, ocsf_pieces
from tasks.patrol.exporting import Chosen, chosen
from tasks.report.ocsf import Dependency, LivingFinding, finding_event
from tasks.report.spreadsheets import MOST_CHARACTERS, Sheet, csv_pieces, write_xlsx
from tests.exported import HOSTILE, LONG, exported_lake
from tests.lake_rows import KEY_ID, NIGHT
from tests.ocsf_shape import faults


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return exported_lake(tmp_path_factory.mktemp("exported"))


@pytest.fixture(scope="module")
def everything(lake: Lake) -> Chosen:
    return about(lake)


def about(lake: Lake, repos: tuple[str, ...] = (), tools: tuple[str, ...] = (), run_id: str | None = None) -> Chosen:
    return chosen(lake, repos=repos, tools=tools, run_id=run_id)


@pytest.fixture(scope="module")
def events(everything: Chosen) -> list[dict[str, Any]]:
    return list(ocsf_events(everything, everything=True))


def of(events: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(e for e in events if kind in e.get("finding_info", {}).get("types", ()))


# -- OCSF -------------------------------------------------------------------------------------------------------


def test_events_of_every_kind_are_valid_by_the_published_schema(events: list[dict[str, Any]]) -> None:
    assert {k for e in events for k in e.get("finding_info", {}).get("types", ())} == {
        "code", "secret", "iac", "dependency",
    }  # fmt: skip
    assert {e["class_uid"] for e in events} == {2002, 2007, 6007}
    assert [f for e in events for f in faults(e)] == []
    assert len({e["metadata"]["uid"] for e in events}) == len(events)


def without(*at: str) -> Callable[[dict[str, Any]], None]:
    def change(event: dict[str, Any]) -> None:
        for step in at[:-1]:
            event = event[step]
        del event[at[-1]]

    return change


def having(value: Any, *at: str) -> Callable[[dict[str, Any]], None]:
    def change(event: dict[str, Any]) -> None:
        for step in at[:-1]:
            event = event[step]
        event[at[-1]] = value

    return change


@pytest.mark.parametrize(
    "wrong",
    [
        *(without(n) for n in ("time", "metadata", "severity_id", "finding_info", "vulnerabilities")),
        without("finding_info", "uid"),
        without("metadata", "product"),
        having(7, "severity_id"),
        having("now", "time"),
        having(1_770_000_000, "time"),
        having(1, "made_up"),
        having(200299, "type_uid"),
        having("Low", "severity"),
        having("1.8.0", "metadata", "version"),
        having([{"title": "without a name"}], "vulnerabilities"),
    ],
)
def test_what_is_wrong_with_an_event_is_seen(
    events: list[dict[str, Any]], wrong: Callable[[dict[str, Any]], None]
) -> None:
    event = json.loads(json.dumps(of(events, "dependency")))
    assert faults(event) == []
    wrong(event)
    assert faults(event)


def test_a_dependency_names_its_cve_its_package_and_what_mends_it(events: list[dict[str, Any]]) -> None:
    event = next(e for e in events if e["class_uid"] == 2002 and "cve" in e["vulnerabilities"][0])
    (entry,) = event["vulnerabilities"]
    assert entry["cve"] == {"uid": "CVE-2026-12345"}
    assert entry["related_vulnerabilities"] == ["GHSA-aaaa-bbbb-cccc"]
    (package,) = entry["affected_packages"]
    assert (package["name"], package["version"], package["path"]) == ("@scope/left", "1.0.0", "package-lock.json")
    assert entry["is_fix_available"]


def test_what_nobody_knows_is_not_made_up(events: list[dict[str, Any]]) -> None:
    unversioned = next(e for e in events if e["class_uid"] == 2002 and "advisory" in e["vulnerabilities"][0])
    assert "affected_packages" not in unversioned["vulnerabilities"][0]
    secret = of(events, "secret")
    assert "vulnerabilities" not in secret, "no tool named a weakness of it"
    assert (secret["severity_id"], secret["severity"]) == (0, "Unknown")


def test_activity_status_and_time_tell_what_happened(events: list[dict[str, Any]]) -> None:
    told = {e["finding_info"]["title"] + str(e["unmapped"].get("repo_id")): e for e in events if "finding_info" in e}
    by_path = {e["resources"][-1]["name"]: e for e in told.values()}
    by_path |= {e["resources"][-1]["name"]: e for e in events if e.get("resources")}
    new, kept, gone = by_path["new.py"], by_path["app.py"], by_path["old.py"]
    assert [(e["activity_id"], e["status"]) for e in (new, kept, gone)] == [(1, "New"), (2, "New"), (3, "Resolved")]
    assert new["time"] == new["finding_info"]["created_time"]
    assert kept["time"] > kept["finding_info"]["created_time"]
    assert kept["finding_info"]["last_seen_time"] == int(NIGHT.timestamp() * 1000), "when a tool really looked"
    assert "last_seen_time" not in gone["finding_info"]
    assert kept["vulnerabilities"][0]["cwe"]["uid"] == "CWE-89"
    assert kept["remediation"]["desc"] == "Bind parameters"
    assert kept["unmapped"]["priority_why"]


def test_what_was_not_read_comes_first_as_a_scan_that_failed(lake: Lake) -> None:
    found = list(ocsf_events(about(lake)))
    assert [e["class_uid"] == 6007 for e in found] == [True, True] + [False] * 25
    failed, partial = found[:2]
    assert (failed["activity_name"], failed["status_code"]) == ("Error", "crashed")
    assert (partial["activity_name"], partial["num_skipped_items"], partial["status"]) == ("Completed", 1, "Failure")
    assert about(lake).gaps == 2
    only = list(ocsf_events(about(lake, repos=("other/*",), tools=("bandit",))))
    assert [e["resources"][0]["name"] for e in only] == ["other/lib"]


def test_lines_and_array_are_the_same_events(events: list[dict[str, Any]]) -> None:
    lines = "".join(ocsf_pieces(iter(events), array=False)).splitlines()
    assert [json.loads(line) for line in lines] == events
    assert json.loads("".join(ocsf_pieces(iter(events), array=True))) == events
    assert json.loads("".join(ocsf_pieces(iter([]), array=True))) == []


# -- CSV --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [*HOSTILE[:9], " \t=x"])
def test_a_formula_is_defused(text: str) -> None:
    assert for_spreadsheet(text).startswith("'")


def test_csv_reads_back_and_holds_no_formula(everything: Chosen) -> None:
    found = finding_rows(everything)
    text = "".join(csv_pieces(found.columns, found.rows))
    assert text.endswith("\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 25
    cells = [c for r in rows for c in r.values()]
    assert not [c for c in cells if c.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert not [c for c in cells if "\0" in c or "\x1b" in c or "\u202e" in c]
    paths = {r["path"] for r in rows}
    assert {'\'=HYPERLINK("http://x","y")', "'+1", "'@x", '"quoted",x'} <= paths
    assert {r["status"] for r in rows} == {"open"}
    assert {r["due_at"][:4] for r in rows} == {"2026"}
    assert {r["owner"] for r in rows} >= {"'=cmd"}


def test_nested_values_are_told_as_people_write_them_and_defused() -> None:
    row = [
        ["=cmd", "b"],
        [{"purl": "=x"}],
        {"a": NIGHT},
        [1, None],
        timedelta(days=-1),
        True,
        -1.5,
        Decimal(-2),
        None,
    ]
    text = "".join(csv_pieces(["=name", *"abcdefgh"], [row], end="\n"))
    head, told = csv.reader(io.StringIO(text, newline=""))
    assert head[0] == "'=name"
    assert told == ["'=cmd, b", '[{"purl": "=x"}]', '{"a": "2026-03-01T02:00:00+00:00"}', "1, ", "'-1 day, 0:00:00",
                    "true", "-1.5", "-2", ""]  # fmt: skip


def test_all_tells_fixed_ones_too_and_filters_hold(lake: Lake) -> None:
    rows = finding_rows(about(lake, repos=("other/*",)), everything=True)
    status, slug = rows.columns.index("status"), rows.columns.index("slug")
    assert [(r[slug], r[status]) for r in rows.rows] == [("other/lib", "open"), ("other/lib", "fixed")]
    before = finding_rows(about(lake, repos=("other/*",), run_id="run-1"))
    assert [r[before.columns.index("path")] for r in before.rows] == ["old.py"]
    secrets = finding_rows(about(lake, tools=("kingfisher",)))
    assert [r[secrets.columns.index("kind")] for r in secrets.rows] == ["secret"]


def test_a_lake_without_a_run_or_a_choice_of_nothing_is_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        about(Lake.open(tmp_path / "empty", key_id=KEY_ID))
    with pytest.raises(UsageError, match="chosen"):
        about(lake, repos=("nobody/*",))


# -- XLSX -------------------------------------------------------------------------------------------------------


def test_in_a_workbook_every_text_is_a_text(everything: Chosen, tmp_path: Path) -> None:
    found, gaps = finding_rows(everything), gap_rows(everything)
    sheets = [
        Sheet(name="findings", columns=found.columns, rows=found.rows),
        Sheet(name="gaps", columns=gaps.columns, rows=gaps.rows),
    ]
    write_xlsx(tmp_path / "a.xlsx", sheets, made_at=NIGHT)
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert book.sheetnames == ["findings", "gaps"]
    page = book["findings"]
    assert page.max_row == 26
    column = {c.value: n for n, c in enumerate(page[1])}
    paths = [row[column["path"]] for row in page.iter_rows(min_row=2)]
    assert {c.data_type for c in paths} == {"s"}
    assert not [c for row in page.iter_rows() for c in row if c.data_type == "f" or c.hyperlink]
    texts = {c.value for c in paths}
    assert {'=HYPERLINK("http://x","y")', "+1", "-1", "@x", "\ttab", "�return", "a�b", "�[31m", "�gpj.exe"} <= texts
    assert "_x005F_x0041_" in texts, "Excel reads _x0041_, not A; openpyxl reads neither"
    assert {" <r><t>bold</t></r>", "��", "&lt;&amp;]]>", "http://x/"} <= texts
    due = [row[column["due_at"]] for row in page.iter_rows(min_row=2)]
    assert {(c.data_type, c.number_format[-5:]) for c in due} == {("d", ' UTC"')}
    titles = [str(row[column["title"]].value) for row in page.iter_rows(min_row=2)]
    (long,) = [t for t in titles if len(t) > 1000]
    assert len(long.encode("utf-16-le")) // 2 <= MOST_CHARACTERS
    assert long.startswith(LONG[:1000]) and long.endswith("…")
    gap = [c.value for c in book["gaps"][2]]
    assert gap[:5] == ["other/lib", "refs/heads/main", "semgrep", "failed", "crashed"]
    assert book["gaps"][2][6].data_type == "s"


def test_a_table_too_long_for_a_sheet_goes_on_in_the_next(tmp_path: Path) -> None:
    rows = ([n, n > 2, None, 2**60] for n in range(7))
    write_xlsx(tmp_path / "a.xlsx", [Sheet(name="f", columns="abcd", rows=rows)], made_at=NIGHT, most_rows=4)
    book = openpyxl.load_workbook(tmp_path / "a.xlsx")
    assert book.sheetnames == ["f", "f 2", "f 3"]
    values = [[row[0].value for row in book[name].iter_rows(min_row=2)] for name in book.sheetnames]
    assert values == [[0, 1, 2], [3, 4, 5], [6]]
    assert [c.value for c in book["f 3"][1]] == list("abcd"), "each sheet has its names"
    assert [c.data_type for c in book["f"][2]] == ["n", "b", "n", "s"], "a number that a cell cannot hold is a text"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.xlsx"], "nothing of what it needed is left"


# -- the event alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("kind", [str(k) for k in Kind])
def test_a_finding_of_any_kind_makes_a_valid_event(kind: str, full: bool) -> None:
    bare = LivingFinding(
        finding_uid="f", repo_id="r", slug="team/app", kind=kind, rule_id="R", title="t", status="open",
        severity="unknown", path=None, line_start=None, line_end=None, first_seen_at=NIGHT, seen_at=None,
        closed_at=None, is_new=True, owner=None, criticality=None, cwe=None, url=None, remedy=None, tools=(),
        advisories=(), packages=(), rest={},
    )  # fmt: skip
    filled = replace(
        bare, severity="critical", path="a/b.py", line_start=3, seen_at=NIGHT, owner="o", criticality="c",
        cwe="CWE-079 cwe-79 CWE-89", url="https://h.example/x", remedy="do", tools=("a", "b"),
        advisories=("cve-2026-0001", "CVE-2026-0002", "GHSA-x"), rest={"due_at": NIGHT, "none": None},
        packages=(Dependency(purl="pkg:npm/a@1?x", version="1", fixed_in="2"),),
    )  # fmt: skip
    for status in ("open", "reopened", "accepted", "false_positive", "wont_fix", "fixed", "archived", "unwatched"):
        event = finding_event(replace(filled if full else bare, status=status), run_id="n", at=NIGHT, version="")
        assert faults(event) == []
        assert json.dumps(event)
        assert (event["activity_id"] == 3) == (status not in ("open", "reopened"))
    if full:
        assert [v["cve"]["uid"] for v in event["vulnerabilities"]] == ["CVE-2026-0001", "CVE-2026-0002"]
        coded = finding_event(replace(filled, advisories=()), run_id="n", at=NIGHT, version="")
        assert [v["cwe"]["uid"] for v in coded["vulnerabilities"]] == ["CWE-79", "CWE-89"]
        assert faults(coded) == []
