"""A patrol by the command line alone, no Prefect API being configured: what it prints, and what its server keeps."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tasks.scanners import LOCKED
from tests.builders import Repository, processes_with
from tests.hostile.fake_tools import FLAW, fake_tool
from tests.hostile.test_bad_tools import FAKE, fake
from tests.integration.servers import nightwarden

pytestmark = pytest.mark.prefect

PHASES = {"discover", "refresh mirrors", "plan", "publish"}
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "CRASHED"}
EXIT_GAPS = 3


class Night:
    """One command and what the database of the home's server says of it, read once that server has ended."""

    def __init__(self, place: Path) -> None:
        done = nightwarden("patrol", "--config", str(place / "org.yaml"), cwd=place)
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        assert not processes_with(str(place / "home")), "the server is gone with its only user"
        (database,) = (place / "home").rglob("*.db")
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as con:
            con.row_factory = sqlite3.Row
            self.flow_runs = self._rows(con, "SELECT * FROM flow_run ORDER BY created")
            newest = self.flow_runs[-1]["id"]
            self.task_runs = self._rows(con, "SELECT * FROM task_run WHERE flow_run_id = ?", newest)
            self.artifacts = self._rows(con, "SELECT * FROM artifact WHERE flow_run_id = ? ORDER BY created", newest)

    @staticmethod
    def _rows(con: sqlite3.Connection, sql: str, *values: str) -> list[dict[str, Any]]:
        return [dict(row) for row in con.execute(sql, values)]

    @property
    def names(self) -> list[str]:
        return sorted(t["name"] for t in self.task_runs)

    def artifact(self, key: str) -> Any:
        """The newest artifact of a key."""
        data = [a["data"] for a in self.artifacts if a["key"] == key][-1]
        while isinstance(data, str):  # a table is kept as JSON in JSON
            data = json.loads(data)
        return data


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> list[Night]:
    """Two nights over three repositories, of which one has a gap and one alone changes in between."""
    place = tmp_path_factory.mktemp("patrol")
    lines = ["home: home", "workers: 2", "sources: [{name: org, path: org}]", "tools:"]
    for tool in LOCKED:
        if tool.name == "kingfisher":
            program = fake(place / "fakes" / tool.name, FAKE.replace("CASES", ""))
        else:
            program = fake_tool(place / "fakes" / tool.name, tool.name)
        lines += [f"  {tool.name}: {{binary: {program}}}"]
    (place / "org.yaml").write_text("\n".join(lines))
    Repository(place / "org" / "api").commit({"app.py": FLAW["bandit"] + b"\n"})
    Repository(place / "org" / "infra").commit({"main.tf": FLAW["checkov"] + b"\n"})
    shop = Repository(place / "org" / "shop")
    shop.commit({"app.py": b"# misbehave: crash\n"})
    first = Night(place)
    shop.commit({"README.md": b"a shop\n"})
    return [first, Night(place)]


def test_it_prints_where_the_run_can_be_watched(nights: list[Night]) -> None:
    for night in nights:
        assert night.code == EXIT_GAPS, night.err
        address = re.match(r"Prefect UI http://127\.0\.0\.1:(\d+)  \(sign in with the `auth` of (.+)\)\n", night.err)
        assert address is not None, night.err
        assert int(address[1]) > 1024
        assert address[2].endswith("/prefect/server.json")


def test_it_says_how_many_task_runs_the_api_counts(nights: list[Night]) -> None:
    for night, repositories in zip(nights, (3, 1), strict=True):
        count = len(PHASES) + repositories
        assert f"{count} task runs submitted, {count} recorded by the Prefect API\n" in night.err


def test_it_prints_the_gaps_before_what_was_done(nights: list[Night]) -> None:
    for night in nights:
        assert 0 <= night.out.index("Not looked at") < night.out.index("Coverage") < night.out.index("3 repositories, ")
    assert "findings: 11 open, 11 new, 0 fixed" in nights[0].out
    assert "findings: 11 open, 0 new, 0 fixed" in nights[1].out


def test_every_task_run_is_in_the_database(nights: list[Night]) -> None:
    first, second = nights
    changed = [{"api", "infra", "shop"}, {"shop"}]
    for night, slugs in zip(nights, changed, strict=True):
        assert len(night.task_runs) == len(PHASES) + len(slugs), night.names
        assert {t["state_type"] for t in night.task_runs} <= FINAL
        assert set(night.names) >= PHASES
        assert {n.split()[1] for n in night.names if n.startswith("scan ")} == slugs
    assert "scan infra (kingfisher, checkov, inventory)" in first.names
    states = {t["name"].split()[1]: (t["state_type"], t["state_name"]) for t in first.task_runs if "scan" in t["name"]}
    fine = ("COMPLETED", "Completed")
    assert states == {"api": fine, "infra": ("FAILED", "Gaps"), "shop": ("FAILED", "Gaps")}
    assert len(second.flow_runs) == 2
    assert {(r["state_type"], r["state_name"]) for r in second.flow_runs} == {("FAILED", "CompletedWithGaps")}


def test_the_artifacts_of_each_run_are_there(nights: list[Night]) -> None:
    for night in nights:
        assert {a["key"] for a in night.artifacts} == {"progress", "coverage", "gaps"}
        assert night.artifact("progress") == 100.0
        gaps = {g["tool"]: (g["reason"], g["count"], g["repositories"]) for g in night.artifact("gaps")}
        assert gaps == {"bandit": ("signal", 1, "shop"), "inventory": ("unparsable", 1, "infra")}
    coverage = [{row["tool"]: row for row in night.artifact("coverage")} for night in nights]
    assert {tool: (row["ok"], row["failed"], row["nothing_to_read"]) for tool, row in coverage[0].items()} == {
        "bandit": (1, 1, 1),
        "checkov": (1, 0, 2),
        "inventory": (0, 0, 2),
        "kingfisher": (3, 0, 0),
        "posture": (1, 0, 0),  # of three without a policy or a manifest each judgement is the same
        "semgrep": (2, 0, 1),
        **dict.fromkeys(("zizmor", "hadolint", "cfn-lint"), (0, 0, 3)),
    }
    assert (coverage[1]["kingfisher"]["ok"], coverage[1]["kingfisher"]["unchanged"]) == (1, 2)
