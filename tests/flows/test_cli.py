"""The command line: help, errors with their remedy, exit codes, escaping of what is printed."""

from __future__ import annotations

import csv
import errno
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prefect.exceptions import TerminationSignal

from flows import cli_patrol
from flows.interruption import Terminated
from tasks.core.errors import LakeError, NightwardenError
from tests.commands import called
from tests.integration.servers import ROOT
from tests.integration.servers import nightwarden as cli

EXIT_FAILED, EXIT_USAGE = 1, 2


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    return {"NIGHTWARDEN_HOME": str(tmp_path / "home")}


@pytest.mark.parametrize(
    "command",
    [[], ["patrol"], ["query"], ["status"], ["explain"], ["doctor"], ["deploy"], ["demo"], ["tools", "install"],
     ["tools", "list"], ["config", "init"], ["config", "check"], ["config", "schema"],
     ["lake", "schema"], ["lake", "verify"], ["lake", "gc"], ["server", "start"]],
    ids=" ".join,
)  # fmt: skip
def test_help_teaches(command: list[str], tmp_path: Path) -> None:
    done = called(*command, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    # A description, not only a list of options.
    assert len([line for line in done.stdout.splitlines() if line.strip()]) > 3


@pytest.mark.parametrize(
    ("args", "told", "code"),
    [
        (["patrol"], "there is no source to patrol", EXIT_USAGE),
        (["patrol", "--repos", "nowhere"], "is not a folder", EXIT_USAGE),
        (["patrol", "--repos", "https://127.0.0.1:9/a.git?key=x"], "an address of --repos is not used", EXIT_USAGE),
        (["patrol", "--repos", ".", "--tool", "nessie"], "no scanner is called 'nessie'", EXIT_USAGE),
        (["patrol", "--config", "none.yaml"], "cannot read the configuration none.yaml", EXIT_USAGE),
        (["query", "SELECT 1"], "there is no lake", EXIT_FAILED),
        (["query", "--saved", "nothing"], "no saved query", EXIT_USAGE),
        (["status"], "there is no lake", EXIT_FAILED),
        (["lake", "verify"], "there is no lake", EXIT_FAILED),
        (["lake", "gc"], "there is no lake", EXIT_FAILED),
        (["status", "--lake", "s3://bucket/../x"], "names no place for a lake", EXIT_USAGE),
        (["explain", "nonsense"], "no outcome or reason is called", EXIT_USAGE),
        (["explain", "severity", "nessie"], "no tool is called 'nessie'", EXIT_USAGE),
        (["explain", "timeout", "bandit"], "only `severity` takes a tool", EXIT_USAGE),
        (["deploy"], "no Prefect API is configured", EXIT_USAGE),
        (["tools", "install", "nessie"], "no scanner is called nessie", EXIT_USAGE),
    ],
)
def test_errors_say_what_to_do(args: list[str], told: str, code: int, tmp_path: Path, home: dict[str, str]) -> None:
    done = cli(*args, "--plan", cwd=tmp_path, **home) if args[0] == "patrol" else called(*args, cwd=tmp_path, **home)
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2, "the error, then the advice"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("workers: 0", "nightwarden: org.yaml:1:1: workers: the number must be at least 1\n  Change it"),
        ("wokers: 2", "org.yaml:1:1: wokers: there is no such setting\n  Did you mean workers?"),
        ("lake: [x", "org.yaml:1:7: a bracket is not closed"),
        ("sources:\n  - name: a\n  - 3", "2 mistakes in the configuration\norg.yaml:2:5: sources[0]: it does not say"),
        ("home: h\nlake: h/lake\nkey_file: h/lake/key\nsources: [{name: a, path: .}]", "lies inside the lake"),
    ],
)
def test_a_wrong_configuration_is_named_with_file_and_field(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text(text)
    done = cli("patrol", "--plan", "--config", "org.yaml", cwd=tmp_path)
    assert done.returncode == EXIT_USAGE
    assert told in done.stderr


def test_explain_knows_outcomes_and_reasons(tmp_path: Path) -> None:
    both = cli("explain", "timeout", cwd=tmp_path).stdout
    assert "outcome timeout" in both
    assert "Remedy:" in both
    assert "reason  too_large" in cli("explain", cwd=tmp_path).stdout


def test_explain_teaches_severity_and_priority(tmp_path: Path) -> None:
    every = called("explain", "severity", cwd=tmp_path).stdout
    assert "HIGH, ERROR = high" in every
    assert "kingfisher        gives no severity: unknown" in every
    assert "7.0 to 8.9 high" in every
    one = called("explain", "severity", "import/Semgrep", cwd=tmp_path).stdout
    assert "https://semgrep.dev/" in one
    assert "bandit" not in one
    assert "security-severity" in called("explain", "severity", "import/codeql", cwd=tmp_path).stdout
    formula = called("explain", "priority", cwd=tmp_path).stdout
    for said in ("critical 70", "internet/public/external 12", "P1 from 75", "unknown counts as high for a secret"):
        assert said in formula
    table = [line.split("  ") for line in called("explain", "dependencies", cwd=tmp_path).stdout.splitlines()]
    cells = [[word.strip() for word in line if word] for line in table]
    assert ["exploited", "14 days", "14 days", "14 days", "3 days, forensic triage"] in cells
    assert "topic   priority" in called("explain", cwd=tmp_path).stdout


def test_schema_describes_every_table(tmp_path: Path) -> None:
    out = called("lake", "schema", cwd=tmp_path).stdout
    for name in ("runs", "repositories", "ledger", "scopes", "scans", "scan_gaps", "observations", "findings"):
        assert name in out
    assert "scan_results" in out
    assert "\n### ranked\n" in out
    saved = called("query", cwd=tmp_path).stdout
    assert "top-rules" in saved
    assert "unknown-severities" in saved


def test_what_is_printed_is_escaped_for_its_sink(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from flows.cli_lake import Format, emit

    rows = [("=HYPERLINK(1)", "\x1b[31mred\n", 1)]
    emit(["a", "b", "n"], rows, Format.CSV, None)
    assert list(csv.reader(io.StringIO(capsys.readouterr().out)))[1] == ["'=HYPERLINK(1)", "\ufffd[31mred\n", "1"]
    emit(["a", "b", "n"], rows, Format.TABLE, None)
    assert "\x1b[31m" not in capsys.readouterr().out
    emit(["a", "b", "n"], rows, Format.JSON, None)
    line = capsys.readouterr().out
    assert "\x1b" not in line
    assert json.loads(line) == {"a": "=HYPERLINK(1)", "b": "\x1b[31mred\n", "n": 1}


def test_another_owner_of_our_package_names_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "site"
    (other / "flows").mkdir(parents=True)
    (other / "stranger-1.0.dist-info").mkdir()
    (other / "stranger-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (other / "stranger-1.0.dist-info" / "top_level.txt").write_text("flows\n")
    done = cli("explain", cwd=tmp_path, PYTHONPATH=f"{ROOT}:{other}")
    assert done.returncode == EXIT_USAGE
    assert "'flows' belongs to stranger" in done.stderr


@pytest.mark.parametrize(
    ("last", "raised", "told"),
    [
        ({"ended_by": TerminationSignal}, Terminated, ""),
        ({"ended_by": KeyboardInterrupt}, KeyboardInterrupt, ""),
        ({"ended_by": OSError}, NightwardenError, "Nothing was published; finished scans are kept"),
        ({}, NightwardenError, "Nothing was published; finished scans are kept"),
        ({"summary": object()}, NightwardenError, "The run is published"),
    ],
)
def test_a_run_whose_api_is_lost_is_told_by_its_reason(
    last: dict[str, Any], raised: type[BaseException], told: str
) -> None:
    found = cli_patrol._cut_off(ConnectionError("refused"), last)
    assert type(found) is raised
    assert told in getattr(found, "advice", "")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/home/lake"), "Make room"),
        (
            LakeError("the table runs cannot be made: No space left on device (os error 28)", advice="Rights?"),
            "Make room",
        ),
        (LakeError("there is no lake"), ""),
        (OSError(errno.EIO, "Input/output error"), "Run again with --verbose"),
    ],
)
def test_a_run_that_failed_says_when_a_disk_was_full(error: Exception, advice: str) -> None:
    def result(raise_on_failure: bool) -> Exception:
        assert not raise_on_failure
        return error

    found = cli_patrol._failure(SimpleNamespace(result=result))
    assert advice in found.advice
    assert str(error.args[-1]) in found.message
