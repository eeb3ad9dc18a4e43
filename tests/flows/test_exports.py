"""The commands that export: what they print, where they write, and how they end."""

from __future__ import annotations

import csv
import io
import json
from contextlib import suppress
from functools import partial
from pathlib import Path

import openpyxl
import pytest

from flows.cli_exports import _put
from flows.cli_lake import Format, emit
from flows.standard_output import OutputError
from tests.commands import called
from tests.exported import exported_lake

EXIT_USAGE, EXIT_GAPS = 2, 3


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported_lake(tmp_path_factory.mktemp("exports")).path


def test_csv_goes_to_standard_output_and_gaps_to_standard_error(lake: Path, tmp_path: Path) -> None:
    done = called("export", "csv", "--lake", str(lake), cwd=tmp_path)
    assert done.returncode == EXIT_GAPS
    assert "2 of 6 scopes" in done.stderr and "--saved gaps" in done.stderr
    assert len(list(csv.reader(io.StringIO(done.stdout, newline="")))) == 26
    whole = called("export", "csv", "--lake", str(lake), "--repo", "other/*", "--tool", "bandit", cwd=tmp_path)
    assert (whole.returncode, whole.stderr) == (0, "")
    assert whole.stdout.count("\r\n") == 2


def test_a_file_is_written_whole(lake: Path, tmp_path: Path) -> None:
    done = called("export", "csv", "--lake", str(lake), "-o", "open.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (EXIT_GAPS, "")
    written = (tmp_path / "open.csv").read_bytes()
    assert written.endswith(b"\r\n") and b"\r\r" not in written
    done = called("export", "xlsx", "--lake", str(lake), "-o", "open.xlsx", "--all", cwd=tmp_path)
    assert done.returncode == EXIT_GAPS
    book = openpyxl.load_workbook(tmp_path / "open.xlsx")
    assert book.sheetnames == ["findings", "gaps", "about"]
    told = {str(a.value): b.value for a, b in book["about"].iter_rows()}
    assert told["run"] == "run-2" and told["findings"] == "open, decided, fixed and archived"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["open.csv", "open.xlsx"]


def test_ocsf_is_lines_or_an_array(lake: Path, tmp_path: Path) -> None:
    done = called("export", "ocsf", "--lake", str(lake), cwd=tmp_path)
    assert done.returncode == EXIT_GAPS
    events = [json.loads(line) for line in done.stdout.splitlines()]
    array = called("export", "ocsf", "--lake", str(lake), "--array", "--all", cwd=tmp_path)
    assert len(events) == 27 and len(json.loads(array.stdout)) == 28


@pytest.mark.parametrize("name", ["csv", "ocsf", "xlsx"])
def test_what_cannot_be_written_or_chosen_is_told(lake: Path, tmp_path: Path, name: str) -> None:
    done = called("export", name, "--lake", str(lake), "-o", "nowhere/open", cwd=tmp_path)
    assert done.returncode == EXIT_USAGE and "cannot be written" in done.stderr
    done = called("export", name, "--lake", str(lake), "-o", "open", "--repo", "nobody", cwd=tmp_path)
    assert done.returncode == EXIT_USAGE and "no repository or tool of the lake is chosen" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_workbook_needs_a_file(lake: Path, tmp_path: Path) -> None:
    done = called("export", "xlsx", "--lake", str(lake), cwd=tmp_path)
    assert done.returncode == EXIT_USAGE and "--output" in done.stderr


def test_table_definitions_for_others(lake: Path, tmp_path: Path) -> None:
    spark = called("lake", "schema", "--format", "spark", "--lake", str(lake), cwd=tmp_path)
    assert spark.returncode == 0 and f"LOCATION 'file://{lake}/findings'" in spark.stdout
    athena = called("lake", "schema", "--format", "athena", "--at", "s3://b/l", cwd=tmp_path)
    assert athena.returncode == 0 and "LOCATION 's3://b/l/findings/'" in athena.stdout
    done = called("lake", "schema", "--format", "athena", "--lake", str(lake), cwd=tmp_path)
    assert done.returncode == EXIT_USAGE and "--at" in done.stderr


@pytest.mark.parametrize("most", [1, 3000])
@pytest.mark.parametrize("form", [*Format, None])
def test_a_full_standard_output_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, form: Format | None, most: int
) -> None:
    full = Path("/dev/full").open("w")  # noqa: SIM115 - its closing fails as well
    monkeypatch.setattr("sys.stdout", full)
    write = (
        partial(_put, None, ["text"] * most) if form is None else partial(emit, ["n"], [["text"]] * most, form, None)
    )
    with pytest.raises(OutputError, match="standard output cannot be written: No space"):
        write()
    with suppress(OSError):
        full.close()
