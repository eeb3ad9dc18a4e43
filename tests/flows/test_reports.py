"""`import` and `export sarif` as a user runs them: exit codes, words, files."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from flows.cli import app
from tasks.core.errors import UsageError

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
