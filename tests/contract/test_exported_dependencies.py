"""What scanners say of dependencies, from their reports through a lake to events of OCSF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ScanGapError
from tasks.core.ports import Scanner
from tasks.core.types import Kind, Target
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.patrol.exported_findings import ocsf_events
from tasks.patrol.exporting import chosen
from tasks.scanners import SCANNERS
from tests.contract.samples import as_output, judge, planted, recorded
from tests.lake_rows import KEY_ID, night, result
from tests.ocsf_shape import faults
from tests.real_data import REAL_REPORTS

BY_NAME = {s.name: s for s in SCANNERS}
WHO = ("trivy", "grype", "osv-scanner", "dependency-check")


def events_of(place: Path, scanner: Scanner, report: bytes, target: Target) -> list[dict[str, Any]]:
    """The events of the dependencies that a report tells of."""
    found = [o for o in judge(scanner, report, target).observations if o.kind is Kind.DEPENDENCY]
    lake = Lake.open(place, key_id=KEY_ID)
    with lake.lock():
        publish(lake, lake.snapshot(), night(1, result("r", *found, tool=scanner.name, kind=Kind.DEPENDENCY)))
    events = list(ocsf_events(chosen(lake, repos=(), tools=(), run_id=None)))
    assert {e["finding_info"]["analytic"]["uid"] for e in events} == {o.rule_id for o in found}
    return events


@pytest.mark.parametrize("name", WHO)
def test_dependencies_of_each_scanner_are_valid_events(name: str, tmp_path: Path) -> None:
    scanner = BY_NAME[name]
    events = events_of(tmp_path / "lake", scanner, as_output(recorded(name)), planted(scanner, tmp_path / "tree"))
    assert events and [f for e in events for f in faults(e)] == []
    for event in events:
        assert event["class_uid"] == 2002, "a vulnerability"
        for entry in event["vulnerabilities"]:
            (package,) = entry["affected_packages"]
            assert package["version"] and package["purl"].startswith("pkg:") and package["name"] in package["purl"]
            assert entry.get("cve", {}).get("uid", "CVE-").startswith("CVE-")


@pytest.mark.skipif(not REAL_REPORTS.is_dir(), reason="the sample reports are not here")
def test_dependencies_of_reports_that_others_made_are_valid_events(tmp_path: Path) -> None:
    seen = 0
    for name, folder in (("trivy", "trivy"), ("osv-scanner", "osv_scanner")):
        target = planted(BY_NAME[name], tmp_path / name)
        for n, path in enumerate(sorted((REAL_REPORTS / folder).glob("*.json"))):
            try:
                events = events_of(tmp_path / f"{name}-{n}", BY_NAME[name], path.read_bytes(), target)
            except ScanGapError:
                continue  # another form of report, which is a gap
            assert [f for e in events for f in faults(e)] == [], path.name
            seen += len(events)
    assert seen > 5
