"""A patrol by the command line whose rule pack is broken: how it ends, and who tells of it afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.builders import Repository
from tests.flows.test_commands import cells
from tests.flows.test_pack_commands import configured, good_and_bad, said
from tests.integration.servers import nightwarden, with_database
from tests.thorough import thorough

pytestmark = pytest.mark.prefect

EXIT_GAPS = 3
PACK = {"slug": "rule pack bad", "tool": "semgrep", "outcome": "failed", "reason_code": "rule_broken"}


@thorough
def test_a_broken_pack_is_a_gap_of_the_run_for_everybody(tmp_path: Path, database: Path) -> None:
    with_database(tmp_path / "home", database)
    good_and_bad(tmp_path)
    configured(tmp_path, "good", "bad")
    Repository(tmp_path / "org" / "shop").commit({"app.py": b"eval(1)\n"})

    def asked(*args: str) -> str:
        done = nightwarden(*args, "--lake", str(tmp_path / "home" / "lake"), cwd=tmp_path, COLUMNS="200")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def rows(sql: str) -> list[dict[str, str]]:
        return [json.loads(line) for line in asked("query", sql, "--format", "json").splitlines()]

    patrol = ("patrol", "--repos", str(tmp_path / "org"), "--tool", "semgrep")
    done = said(tmp_path, *patrol)
    assert done.returncode == EXIT_GAPS, done.stderr
    assert done.stdout.index("rule pack bad") < done.stdout.index("Coverage")
    for view in ("gaps", "gaps_now"):
        assert rows(f"SELECT slug, tool, outcome, reason_code FROM {view}") == [PACK], view
    (told,) = rows("SELECT detail, remedy FROM gaps_now")
    assert "y: patternparseerror" in told["detail"] and "tools packs" in told["remedy"]
    newest = cells(asked("status"))[1]
    assert (newest[3], newest[5]) == ("CompletedWithGaps", "1")
    # Without the pack there is nothing left to tell.
    configured(tmp_path, "good")
    done = said(tmp_path, *patrol)
    assert done.returncode == 0, done.stdout + done.stderr
    assert rows("SELECT slug FROM gaps_now") == []
