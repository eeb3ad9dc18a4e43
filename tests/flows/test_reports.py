"""`import` and `export sarif` as a user runs them: exit codes, words, files."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from tasks.core.errors import UsageError
from tasks.core.types import Outcome
from tasks.lake.lake import Lake
from tasks.lake.publish import publish
from tasks.lake.saved import SAVED
from tasks.lake.views import run_query
from tasks.patrol.importing import Request, import_reports, read_files
from tests.lake_rows import night, observation, result, scan_of
from tests.patrols import KEY

SAMPLE = Path(__file__).parents[1] / "data" / "sarif" / "shop-lint.sarif"


def call(place: Path, *args: str) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(
        app, [*args, "--lake", str(place / "lake")], env={"NIGHTWARDEN_HOME": str(place / "home")}
    )
    return done.exit_code, done.output, done.exception


def clean(place: Path) -> str:
    document = json.loads(SAMPLE.read_text("utf-8"))
    document["runs"][0]["results"].pop()
    path = place / "clean.sarif"
    path.write_text(json.dumps(document), "utf-8")
    return str(path)


def test_exit_codes_tell_whole_from_partial_from_refused(tmp_path: Path) -> None:
    code, out, _ = call(tmp_path, "import", clean(tmp_path), "--repo", "shop", "--new-repo")
    assert code == 0, out
    assert "import/shop-lint: 5 records, written" in out
    code, out, _ = call(tmp_path, "import", clean(tmp_path), "--repo", "shop")
    assert (code, "known already" in out) == (0, True)
    code, out, _ = call(tmp_path, "import", str(SAMPLE), "--repo", "shop")
    assert (code, "runs[0].results[5]: record_invalid" in out) == (3, True)
    _, _, error = call(tmp_path, "import", str(SAMPLE.with_name("README.md")), "--repo", "shop")
    assert isinstance(error, UsageError)  # which ``main`` makes exit 2


def test_a_look_makes_neither_lake_nor_key(tmp_path: Path) -> None:
    code, out, _ = call(tmp_path, "import", clean(tmp_path), "--repo", "shop", "--new-repo", "--dry-run")
    assert (code, "would be written" in out) == (0, True)
    assert {p.name for p in tmp_path.iterdir()} == {"clean.sarif"}


def test_an_export_needs_no_key_and_makes_none(tmp_path: Path) -> None:
    call(tmp_path, "import", clean(tmp_path), "--repo", "shop", "--new-repo")
    (tmp_path / "home").rename(tmp_path / "away")
    code, out, _ = call(tmp_path, "export", "sarif")
    assert (code, "nightwardenSeal" in out) == (0, False)
    assert not list((tmp_path / "home").rglob("*key*"))


def test_an_export_is_written_whole_and_says_by_its_exit_what_was_not_read(tmp_path: Path) -> None:
    call(tmp_path, "import", clean(tmp_path), "--repo", "shop", "--new-repo")
    target = tmp_path / "out.sarif"
    code, out, _ = call(tmp_path, "export", "sarif", "-o", str(target))
    assert code == 0, out
    (run,) = json.loads(target.read_text("utf-8"))["runs"]
    assert sorted(r["ruleId"] for r in run["results"]) == ["W1", "W1", "X9"]
    assert all("nightwardenSeal/v1" in r["partialFingerprints"] for r in run["results"])
    assert not list(tmp_path.glob(".*.part"))
    call(tmp_path, "import", str(SAMPLE), "--repo", "shop")
    code, out, _ = call(tmp_path, "export", "sarif")
    assert code == 3
    assert json.loads(out)["runs"][0]["invocations"][0]["executionSuccessful"] is False
    assert call(tmp_path, "export", "sarif", "--tool", "none")[0] != 0


@pytest.fixture
def old_patrol(tmp_path: Path) -> Lake:
    """A lake whose one patrol ended three days ago and left a scan that awaits an upgrade."""
    lake = Lake.open(tmp_path / "lake", key_id=KEY.key_id)
    seen = result("one", observation("x"))
    row = scan_of(seen, outcome=Outcome.UNCHANGED, reason_code="awaiting_upgrade")
    batch = night(1, seen, scans=[row])
    with lake.lock():
        run = {**batch.run, "finished_at": datetime.now(UTC) - timedelta(days=3)}
        publish(lake, lake.snapshot(), replace(batch, run=run))
    return lake


def bring(lake: Lake, place: Path) -> None:
    files = (Path(clean(place)),)
    with lake.lock():
        summary = import_reports(lake, Request(files=files, repo="team/app"), read_files(files, KEY), dry_run=False)
    assert summary.run_id is not None


def test_status_does_not_take_an_import_for_a_patrol(old_patrol: Lake, tmp_path: Path) -> None:
    bring(old_patrol, tmp_path)
    code, out, _ = call(tmp_path, "status")
    assert code == 0
    assert "1 scans of the newest patrol await an upgrade" in out
    assert "the newest patrol ended 72.0 hours ago" in out


def test_status_of_imports_alone_tells_of_no_patrol(tmp_path: Path) -> None:
    call(tmp_path, "import", clean(tmp_path), "--repo", "shop", "--new-repo")
    code, out, _ = call(tmp_path, "status")
    assert code == 0
    assert "import/shop-lint" in out
    assert out.splitlines()[-1] == "there was no patrol yet"


def test_new_is_what_the_newest_patrol_opened_and_imports_since(old_patrol: Lake, tmp_path: Path) -> None:
    def told() -> list[str]:
        return [row[1] for row in run_query(old_patrol.snapshot(), SAVED["new"].sql)[1]]

    bring(old_patrol, tmp_path)
    assert told() == ["bandit", *["import/shop-lint"] * 3]
    with old_patrol.lock():
        publish(old_patrol, old_patrol.snapshot(), night(2, result("two", observation("x"), observation("y"))))
    assert told() == ["bandit"]
