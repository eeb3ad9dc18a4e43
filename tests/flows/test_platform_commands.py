"""The commands around scanners of the platform, as a user runs them, with a program of our own for trivy (mocked)."""

from __future__ import annotations

import json
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.builders import Repository
from tests.hostile.nights import night
from tests.integration.servers import nightwarden
from tests.thorough import thorough
from tests.unit.test_platform_tools import _TRIVY

EXIT_FAILED, EXIT_USAGE = 1, 2


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, and trivy on PATH."""
    program = tmp_path / "bin" / "trivy"
    program.parent.mkdir()
    program.write_text(_TRIVY)
    program.chmod(0o755)
    (program.parent / "data").write_text("vulnerabilities")
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("NIGHTWARDEN_TOOLS", str(tmp_path / "tools"))
    monkeypatch.setenv("COLUMNS", "400")
    return tmp_path


def _run(place: Path, *words: str) -> CompletedProcess[str]:
    """The command line with that home, whose variable such a process does not inherit."""
    return nightwarden(*words, cwd=place, NIGHTWARDEN_HOME=str(place / "home"))


def _told(place: Path, tool: str) -> str:
    done = _run(place, "doctor")
    lines = done.stdout.splitlines()
    return next(line for line in lines if line.split()[1] == tool)


@thorough
def test_a_data_base_is_missed_fetched_and_grows_old(place: Path) -> None:
    assert _told(place, "trivy").startswith("FAULT trivy")
    assert "no data base" in _told(place, "trivy")
    done = _run(place, "tools", "update")
    assert done.returncode == 0, done.stderr
    assert "trivy 9.9.9: fetching its data base" in done.stdout
    assert "grype" not in done.stdout, "nobody has it here"
    assert _told(place, "trivy").startswith("ok    trivy")
    manifest = next((place / "tools" / "databases" / "trivy").glob("*/nightwarden.json"))
    kept = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**kept, "updated_at": "2020-01-01T00:00:00+00:00"}))
    assert "database_old" in _told(place, "trivy")


def test_a_failed_update_is_told_and_ends_with_1(place: Path) -> None:
    (place / "bin" / "broken").touch()
    done = _run(place, "tools", "update", "trivy")
    assert done.returncode == EXIT_FAILED
    assert "the update failed (exit 1" in done.stderr
    assert "there is none yet" in done.stderr
    assert "not updated: trivy" in done.stderr


def test_what_is_not_there_cannot_be_updated_and_is_listed_as_not_used(place: Path) -> None:
    done = _run(place, "tools", "update", "grype")
    assert done.returncode == EXIT_FAILED
    assert "grype: not on PATH: not used" in done.stderr
    assert "not on PATH: not used" in _told(place, "grype")
    listed = {line.split()[1]: line for line in _run(place, "tools", "list").stdout.splitlines()[3:-1]}
    assert "not on PATH: not used" in listed["syft"]
    assert "9.9.9" in listed["trivy"]


@pytest.mark.parametrize(("words", "said"), [("install trivy", "cannot be installed"), ("update bandit", "no scanner")])
def test_each_command_is_for_its_own_tools(place: Path, words: str, said: str) -> None:
    done = _run(place, "tools", *words.split())
    assert done.returncode == EXIT_USAGE
    assert said in done.stderr


@thorough
def test_status_says_which_tools_judge_by_old_data(place: Path) -> None:
    Repository(place / "org" / "shop").commit({"Dockerfile": b"FROM scratch\n"})
    off = {name: {"enabled": False} for name in ("kingfisher", "bandit", "checkov")}
    assert _run(place, "tools", "update").returncode == 0
    night(place / "home", place / "org", place / "tools", each_tool=off)
    assert "database" not in _run(place, "status").stdout
    manifest = next((place / "tools" / "databases" / "trivy").glob("*/nightwarden.json"))
    kept = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**kept, "updated_at": "2020-01-01T00:00:00+00:00"}))
    assert "trivy: database_old, fetched" in _run(place, "status").stdout
    (place / "tools" / "databases" / "trivy" / "current").unlink()
    assert "trivy: database_missing" in _run(place, "status").stdout
