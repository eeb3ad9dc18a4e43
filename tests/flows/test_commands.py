"""The commands that read, as a user runs them, on one small lake that a patrol left; and the doctor and the tools."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tasks.core.reasons import OUTCOMES, REASONS
from tasks.lake.lake import Lake
from tasks.lake.saved import SAVED
from tasks.policy import POLICY
from tasks.scanners import EXPECTED, LOCKED, SCANNERS
from tasks.scanners.rule_preparing import CONTROL_CALL, CONTROL_RULE
from tests.builders import Repository
from tests.commands import called
from tests.hostile.fake_tools import FLAW, SCRIPT, fake_tool
from tests.hostile.nights import night
from tests.hostile.test_bad_tools import FAKE, fake
from tests.integration.servers import nightwarden

Done = CompletedProcess[str]
EXIT_FAILED, EXIT_USAGE = 1, 2
#: Those that are expected here: of the platform's none is on PATH.
NAMES = sorted(s.name for s in EXPECTED)


def configured(place: Path, *, tools: Path) -> Path:
    """A configuration with a home at that place and the fakes of all tools."""
    lines = [f"home: {place / 'home'}", "tools:"]
    lines += [f"  {tool.name}: {{binary: {tools / tool.name / tool.name}}}" for tool in LOCKED]
    config = place / "org.yaml"
    config.write_text("\n".join(lines))
    return config


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Fakes of all scanners with a lock, each in a folder of its own; nothing is installed or prepared elsewhere."""
    place = tmp_path_factory.mktemp("fakes")
    fake(place / "kingfisher", FAKE.replace("CASES", ""))
    for name in (s.name for s in LOCKED if s.name != "kingfisher"):
        fake_tool(place / name, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTWARDEN_TOOLS", str(place / "none"))
        yield place


@pytest.fixture(scope="module")
def patrolled(tmp_path_factory: pytest.TempPathFactory, tools: Path) -> Path:
    """A place with a configuration and a lake of two nights; one repository makes bandit crash in the second.

    Between them hadolint is replaced by one that finds less.
    """
    place = tmp_path_factory.mktemp("patrolled")
    each = {s.name: {"binary": tools / s.name / s.name} for s in LOCKED}
    stricter = fake_tool(place / "stricter", "hadolint", SCRIPT["hadolint"].replace("sudo", "FROM"))
    shop = Repository(place / "org" / "shop")
    shop.commit({"app.py": FLAW["bandit"] + b"\n", "main.tf": b"# 0.0.0.0/0\n", "old.txt": b"fake-secret\n"})
    shop.commit({"Dockerfile": b"FROM debian:12\n", "call.py": f"{CONTROL_CALL}(1)\n".encode()})
    night(place / "home", place / "org", each_tool={**each, "hadolint": {"binary": stricter}})
    Repository(place / "org" / "api").commit({"=app.py": FLAW["bandit"] + b"\n# api\n"})
    shop.commit({"bad.py": b"# misbehave: crash\n"})
    night(place / "home", place / "org", each_tool=each)
    configured(place, tools=tools)
    return place


@pytest.fixture
def place(patrolled: Path, tools: Path, tmp_path: Path) -> Path:
    """The same for one test alone."""
    shutil.copytree(patrolled, tmp_path / "place", symlinks=True)
    configured(tmp_path / "place", tools=tools)
    return tmp_path / "place"


def said(place: Path, *args: str) -> Done:
    """A command on the lake of a place, which went well."""
    done = called(*args, "--lake", str(place / "home" / "lake"), cwd=place)
    assert (done.returncode, done.stderr) == (0, "")
    return done


def as_csv(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def as_json(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def cells(text: str) -> list[list[str]]:
    """The rows of a table on a terminal, its head first."""
    return [
        [c.strip() for c in line.replace("┃", "│").split("│")[1:-1]] for line in text.splitlines() if line[0] in "┃│"
    ]


# -- status ---------------------------------------------------------------------------------------------------


def test_status_shows_the_last_runs_newest_first_and_how_old_the_evidence_is(patrolled: Path) -> None:
    out = said(patrolled, "status").stdout
    rows = cells(out)
    assert rows[0] == ["seq", "started_at", "seconds", "state", "expected", "gaps"]
    assert [(r[0], r[3], r[5]) for r in rows[1:3]] == [("2", "CompletedWithGaps", "1"), ("1", "Completed", "0")]
    assert rows[3] == ["tool", "scopes", "looked_at", "oldest_evidence", "newest_evidence"]
    assert [(r[0], r[1], r[2]) for r in rows[4:]] == [(tool, "2", "2") for tool in NAMES]
    assert out.splitlines()[-1] == "the newest patrol ended 0.0 hours ago"


def test_status_in_forms_for_machines(patrolled: Path) -> None:
    rows = as_json(said(patrolled, "status", "--format", "json").stdout)
    assert [r.get("seq") or r["tool"] for r in rows] == [2, 1, *NAMES]
    assert rows[0]["started_at"].endswith("+00:00")
    told = as_csv(said(patrolled, "status", "--format", "csv").stdout)
    assert [row[0] for row in told] == ["seq", "2", "1", "tool", *NAMES]
    assert all("hours ago" not in cell for row in told for cell in row)


# -- query ----------------------------------------------------------------------------------------------------

# Neither repository has a policy, owners or a threat model: three findings of posture each.
FINDINGS = "SELECT slug, tool, rule_id, path FROM findings WHERE is_open AND kind <> 'posture' ORDER BY ALL"
TOLD = [
    ("api", "bandit", "B602", "=app.py"),
    ("shop", "bandit", "B602", "app.py"),
    ("shop", "checkov", "CKV_AWS_24", "main.tf"),
    ("shop", "kingfisher", "fake.1", "old.txt"),
    ("shop", "semgrep", CONTROL_RULE, "call.py"),
]


def test_query_as_a_table_as_csv_and_as_json(patrolled: Path) -> None:
    out = said(patrolled, "query", FINDINGS).stdout
    assert [tuple(row) for row in cells(out)] == [("slug", "tool", "rule_id", "path"), *TOLD]
    assert out.splitlines()[-1] == f"{len(TOLD)} rows"
    rows = as_csv(said(patrolled, "query", FINDINGS, "--format", "csv").stdout)
    assert rows[0] == ["slug", "tool", "rule_id", "path"]
    assert rows[1][3] == "'=app.py", "a spreadsheet does not take it for a formula"
    assert [tuple(row) for row in rows[2:]] == TOLD[1:]
    told = as_json(said(patrolled, "query", FINDINGS, "--format", "json").stdout)
    assert [tuple(row.values()) for row in told] == TOLD


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_query_prints_at_most_so_many_rows(patrolled: Path, form: str) -> None:
    out = said(patrolled, "query", FINDINGS, "--limit", "2", "--format", form).stdout
    assert (out.count("app.py"), out.count("main.tf")) == (2, 0)


@pytest.mark.parametrize(
    "sql", ["SELECT nothing FROM findings", "SELECT", "DROP TABLE findings", "COPY findings TO 'x.csv'"]
)
def test_a_query_that_cannot_be_answered_is_one_message_and_changes_nothing(place: Path, sql: str) -> None:
    done = called("query", sql, "--config", "org.yaml", cwd=place)
    assert done.returncode in (EXIT_FAILED, EXIT_USAGE)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("nightwarden: ")
    assert not (place / "x.csv").exists()
    assert said(place, "query", FINDINGS, "--format", "json").stdout.count("\n") == len(TOLD)


def test_saved_queries_are_listed_with_what_they_answer(tmp_path: Path) -> None:
    done = called("query", cwd=tmp_path)
    assert done.returncode == 0
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()} == {
        name: entry.description for name, entry in {**SAVED, **POLICY.saved}.items()
    }


#: Part of a row that each saved query must give on this lake; None: it has nothing to say of two nights.
SAVED_ROWS: dict[str, dict[str, Any] | None] = {
    "open-findings": {"tool": "bandit", "findings": 2, "repositories": 2},
    "top-rules": {"tool": "bandit", "rule_id": "B602", "findings": 2, "repositories": 2},
    "top-repositories": {"slug": "shop", "findings": 7, "secrets": 1},
    "secrets": {"slug": "shop", "rule_id": "fake.1", "path": "old.txt"},
    "gaps": {"reason_code": "signal", "tool": "bandit", "count": 1, "remedy": REASONS["signal"].remedy},
    "coverage": {"tool": "bandit", "outcome": "failed", "scans": 1},
    "stale": {"slug": "shop", "tool": "bandit", "outcome": "failed", "reason_code": "signal"},
    "new": {"slug": "api", "tool": "bandit", "rule_id": "B602", "path": "=app.py"},
    "rules": {"tool": "semgrep", "tool_version": "9.9.9", "rules": 1, "rules_with_findings": 1, "open_findings": 1},
    "fixed-by-tools": {"slug": "shop", "tool": "hadolint", "path": "Dockerfile", "fixed_reason": "tool_changed"},
    "ranked": {"slug": "api", "kind": "code", "priority": "P2", "score": 62},
    "priorities": {"owner": None},
    "unknown-severities": {"kind": "secret", "tool": "kingfisher"},
    "sla-breaches": None,
    "due-soon": None,
    "sla-trend": {"severity": "high", "open": 2, "overdue": 0},
    "mttr": None,
    "by-team": {"team": "none declared", "champions": []},
    "without-owner": {"slug": "shop", "repository_owner": "none declared"},
    "team-age": {"team": "none declared", "up_to_7_days": 11, "older": 0, "overdue": 0},
    "noisy-rules": {"tool": "bandit", "rule_id": "B602", "false_positives": 0, "open": 2},
    "reopened": None,
    "secrets-by-age": {"age_days": 0, "slug": "shop", "rule_id": "fake.1", "path": "old.txt", "is_overdue": False},
    "new-since": {"slug": "api", "rule_id": "B602", "path": "=app.py", "origin": "backlog"},
    "expiring-decisions": None,
    "exposed-repositories": {"slug": "shop", "exposure": None, "secrets": 1},
    "dependencies": None,
    "dependencies-by-team": None,
    "upgrades": None,
    "without-fix": None,
    "outdated": None,
    "slowest": {"slug": "shop", "tool": "checkov", "cause": "new", "files_read": 2},
    "secret-hygiene": None,
    "secrets-unmanaged": None,
    "rotations": None,
    "leaks": None,
}


def test_every_saved_query_is_expected_to_say_something() -> None:
    assert SAVED_ROWS.keys() == SAVED.keys() | POLICY.saved.keys()


@pytest.mark.parametrize("name", sorted(SAVED_ROWS))
def test_saved_query(patrolled: Path, name: str) -> None:
    rows = as_json(said(patrolled, "query", "--saved", name, "--format", "json").stdout)
    expected = SAVED_ROWS[name]
    assert [row for row in rows if expected.items() <= row.items()] if expected is not None else rows == [], rows


# -- explain --------------------------------------------------------------------------------------------------


def test_explain_an_outcome_a_reason_and_what_is_both(tmp_path: Path) -> None:
    def lines(code: str) -> list[str]:
        done = called("explain", code, cwd=tmp_path, COLUMNS="400")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    assert lines("stale") == ["outcome stale", f"  {OUTCOMES['stale']}"]
    reason = REASONS["too_large"]
    assert lines("too_large") == ["reason too_large", f"  {reason.meaning}", f"  Remedy: {reason.remedy}"]
    both = REASONS["timeout"]
    assert lines("timeout") == [
        "outcome timeout",
        f"  {OUTCOMES['timeout']}",
        "reason timeout",
        f"  {both.meaning}",
        f"  Remedy: {both.remedy}",
    ]


def test_explain_without_a_code_lists_every_one(tmp_path: Path) -> None:
    done = called("explain", cwd=tmp_path, COLUMNS="400")
    told = [tuple(line.split()[:2]) for line in done.stdout.splitlines()]
    topics = [("topic", t) for t in ("severity", "sla", "priority", "dependencies", "finding")]
    assert told == [*(("outcome", o) for o in OUTCOMES), *(("reason", r) for r in REASONS), *topics]


def test_explain_a_finding(patrolled: Path) -> None:
    sql = "SELECT finding_uid, slug, path, priority_why FROM ranked WHERE rule_id = 'B602' LIMIT 1"
    (row,) = as_json(said(patrolled, "query", sql, "--format", "json").stdout)
    out = said(patrolled, "explain", "finding", row["finding_uid"][:12]).stdout
    assert out.startswith("code B602: ") and f"where      {row['slug']} {row['path']}" in out
    assert f"score 62: {row['priority_why']}" in out and row["finding_uid"] in out
    for digits, told in (("", "is no beginning"), ("xyz';--", "is no beginning"), ("0" * 64, "no finding begins")):
        done = called("explain", "finding", digits, "--config", "org.yaml", cwd=patrolled)
        assert (done.returncode, done.stdout) == (EXIT_USAGE, "") and told in done.stderr


def test_explain_what_nobody_knows(tmp_path: Path) -> None:
    done = called("explain", "\x1b[31mnonsense", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert "no outcome or reason is called" in done.stderr
    assert "\x1b" not in done.stderr


# -- the lake -------------------------------------------------------------------------------------------------


def test_schema_names_every_column_of_the_lake_that_a_patrol_left(patrolled: Path) -> None:
    out = called("lake", "schema", cwd=patrolled).stdout
    snapshot = Lake.open(patrolled / "home" / "lake", key_id=None, create=False).snapshot()
    for table in ("runs", "scans", "scan_gaps", "findings", "observations", "ledger", "scopes", "repositories"):
        for column in snapshot.table(table).schema.names:
            assert column in out.split(f"## {table}\n", 1)[1].split("\n## ")[0], (table, column)
    assert all(f"\n### {view}\n" in out for view in ("gaps", "freshness", "scan_results"))


def test_verify_a_whole_lake(patrolled: Path) -> None:
    assert said(patrolled, "lake", "verify").stdout == f"{patrolled / 'home' / 'lake'}: whole\n"


def test_gc_leaves_a_young_lake_alone(place: Path) -> None:
    lake = place / "home" / "lake"
    before = Lake.open(lake, key_id=None, create=False).snapshot().seq
    told = said(place, "lake", "gc", "--dry-run").stdout.splitlines()
    assert told[:3] == [str(lake), "rows that would go: none", "files that would be removed: 0, 0.0 MB"]
    assert not (lake / "_gc").exists(), "a dry run writes nothing"
    assert said(place, "lake", "gc").stdout.splitlines()[1] == "rows removed: none"
    assert Lake.open(lake, key_id=None, create=False).snapshot().seq == before
    assert said(place, "lake", "verify").stdout == f"{lake}: whole\n"


@pytest.mark.parametrize("table", ["observations", "findings", "ledger"])
def test_verify_names_what_is_damaged(place: Path, table: str) -> None:
    lake = place / "home" / "lake"
    Path(Lake.open(lake, key_id=None, create=False).snapshot().files(table)[0]).unlink()
    done = called("lake", "verify", "--lake", str(lake), cwd=place)
    assert done.returncode == EXIT_FAILED
    assert table in {line.split(":")[0] for line in done.stdout.splitlines()}
    error, advice = done.stderr.splitlines()
    assert error == f"nightwarden: {len(done.stdout.splitlines())} problems in {lake}"
    assert "Restore" in advice


# -- the machine ----------------------------------------------------------------------------------------------


def test_doctor_is_content(patrolled: Path) -> None:
    done = nightwarden("doctor", "--config", "org.yaml", cwd=patrolled)
    assert done.returncode == 0, done.stdout
    told = {line.split()[1]: line for line in done.stdout.splitlines()}
    assert list(told) == ["python", "sandbox", "git", "key", *(s.name for s in SCANNERS), "lake"]
    unused = [line for line in told.values() if line.endswith("not on PATH: not used")]
    assert len(unused) == len(SCANNERS) - len(EXPECTED)
    assert all(line.startswith("ok ") for line in told.values())
    assert all("9.9.9, finds its planted flaw" in told[s.name] for s in LOCKED)
    assert "finds its planted flaw" in told["posture"]
    assert told["lake"].endswith("lake, 2 runs")


def test_doctor_names_each_fault_and_its_remedy(place: Path, tools: Path, tmp_path: Path) -> None:
    """One tool is gone, one is blind, and the key is not the one of the lake."""
    blind = fake(
        tmp_path / "blind" / "kingfisher", FAKE.replace("CASES", "").replace("fake-secret|deploy_token", "x{9}")
    )
    config = place / "org.yaml"
    text = config.read_text().replace(str(tools / "kingfisher" / "kingfisher"), str(blind))
    config.write_text(text.replace(str(tools / "bandit" / "bandit"), str(tmp_path / "gone")))
    shutil.rmtree(place / "home" / "keys")
    done = nightwarden("doctor", "--config", "org.yaml", cwd=place)
    assert done.returncode == EXIT_FAILED
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    assert [line.split()[1] for line in faults] == ["kingfisher", "bandit", "lake"]
    assert "did not find its planted flaw" in faults[0]
    assert "      Run `nightwarden tools install`." in done.stdout.splitlines()
    assert done.stderr.startswith("nightwarden: 3 faults")
    fine = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("ok ")]
    others = [s.name for s in SCANNERS if s.name not in ("kingfisher", "bandit")]
    assert fine == ["python", "sandbox", "git", "key", *others]


def test_tools_list_says_what_is_there_and_what_is_not(patrolled: Path, tmp_path: Path) -> None:
    done = nightwarden("tools", "list", "--config", "org.yaml", cwd=patrolled, COLUMNS="400")
    assert done.returncode == 0
    assert [(r[0], r[1], r[2]) for r in cells(done.stdout)[1:]][: len(LOCKED)] == [
        (s.name, "9.9.9", s.licence) for s in LOCKED
    ]
    empty = {"NIGHTWARDEN_HOME": str(tmp_path / "home"), "NIGHTWARDEN_TOOLS": str(tmp_path / "none"), "COLUMNS": "400"}
    done = nightwarden("tools", "list", cwd=tmp_path, **empty)
    assert done.returncode == 0
    rows = cells(done.stdout)[1:]
    assert [(r[0], r[1]) for r in rows] == [
        (s.name, {"posture": "2", "inventory": "1"}.get(s.name, "–")) for s in SCANNERS
    ]
    assert ["not installed" in r[5] for r in rows] == [s in LOCKED for s in SCANNERS]
    assert ["not on PATH: not used" in r[5] for r in rows] == [s not in EXPECTED for s in SCANNERS]
    assert [r[5] for r in rows if r[0] in ("posture", "inventory")] == ["built in"] * 2
