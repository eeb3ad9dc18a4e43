"""`affected` as a user runs it, and the line that says of which day the advisories are, wherever it stands."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.commands import called
from tests.cyclonedx_schema import validator
from tests.inventories import Org
from tests.osv_server import record

EXIT_USAGE, EXIT_GAPS = 2, 3
DATES = "advisories as of 2026-03-06 (OSV: PyPI; checked 0 hours ago)"
SHOP = {"requirements.txt": "wheelbarrow==1.0\nspade>=1\n"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake to which an advisory has come since it was assessed."""
    place = tmp_path_factory.mktemp("affected")
    org = Org(place)
    org.patrol(shop=SHOP)
    org.advise(record(5, "spade"))
    org.assess()
    org.advise(record(5, "spade"), record(3, aliases=["CVE-2026-3"]))
    return place


def call(place: Path, *args: str) -> CompletedProcess[str]:
    return called(*args, "--lake", str(place / "lake"), cwd=place)


def test_a_new_cve_in_any_case_is_answered_before_it_is_assessed(place: Path) -> None:
    done = call(place, "affected", "cve-2026-3")
    assert done.returncode == 0, done.stderr
    assert "affected" in done.stdout and "TEST-2026-0003" in done.stdout and "1 rows" in done.stdout
    *_, note, line = done.stdout.splitlines()
    assert note.startswith("not assessed yet: run `nightwarden assess`") and line == DATES


def test_notes_reach_who_reads_rows_by_a_machine(place: Path) -> None:
    done = call(place, "affected", "TEST-2026-0005", "--format", "json")
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["status"], row["reason_code"], row["requirement"]) == ("unknown", "version_unpinned", ">=1")
    assert done.returncode == EXIT_GAPS
    assert done.stderr.splitlines() == [
        "in 1 place it is there and not known to be affected: no exact version is told (version_unpinned)", DATES,
    ]  # fmt: skip
    done = call(place, "affected", "CVE-2031-1", "--format", "csv")
    assert [len(row) for row in csv.reader(done.stdout.splitlines())] == [15], "the head alone"
    assert (done.returncode, "no advisory of the last sync is called CVE-2031-1" in done.stderr) == (EXIT_GAPS, True)
    done = call(place, "affected", "PyPI/spade@<3", "--format", "csv")
    assert (done.returncode, "without an exact version" in done.stderr) == (EXIT_GAPS, True)
    assert call(place, "affected", "Docker/python@<3.11").returncode == EXIT_USAGE
    done = call(place, "upgrades", "--format", "json")
    assert (done.returncode, done.stderr.splitlines()[-1], done.stdout) == (0, DATES, "")


def test_reports_say_of_which_day_the_advisories_are(place: Path) -> None:
    assert DATES in call(place, "status").stdout.splitlines()
    assert call(place, "upgrades").stdout.splitlines()[-1] == DATES
    done = call(place, "report", "-o", "report.html")
    assert done.returncode in (0, EXIT_GAPS), done.stderr
    assert f"<p>The lake has {DATES}.</p>" in (place / "report.html").read_text("utf-8")
    document = json.loads(call(place, "export", "sbom", "--repo", "team/shop").stdout)
    assert [e.message for e in validator().iter_errors(document)] == []
    (told,) = (p["value"] for p in document["metadata"]["properties"] if p["name"] == "nightwarden:advisories")
    assert told.startswith("advisories as of 2026-03-06 (OSV: PyPI; checked on 20")


def test_without_advisories_nothing_is_said_of_their_day(tmp_path: Path) -> None:
    org = Org(tmp_path)
    org.patrol(shop=SHOP)
    assert "advisories" not in call(tmp_path, "status").stdout
    call(tmp_path, "report", "-o", "report.html")
    assert "The lake has" not in (tmp_path / "report.html").read_text("utf-8")
    document = json.loads(call(tmp_path, "export", "sbom", "--repo", "team/shop").stdout)
    assert "nightwarden:advisories" not in {p["name"] for p in document["metadata"]["properties"]}
