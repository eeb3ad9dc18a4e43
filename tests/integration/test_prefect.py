"""The patrol on a real Prefect server: states, names, artifacts; the deployment run by a real worker."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.lake.lake import Lake
from tasks.patrol import demo_org
from tasks.scanners import EXPECTED
from tests.integration.servers import (
    PrefectServer,
    environment,
    nightwarden,
    prefect_server,
    wait_for_end,
    with_database,
    worker,
)

pytestmark = [pytest.mark.tools, pytest.mark.prefect]

#: All but the two that take most of a night's time: the demo runs those.
TOOLS = sorted({s.name for s in EXPECTED} - {"semgrep", "checkov"})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def api(place: Path, database: Path) -> Iterator[PrefectServer]:
    with prefect_server(with_database(place / "server", database)) as server:
        yield server


@pytest.fixture(scope="module")
def org(place: Path) -> Path:
    demo_org.build(place / "org", step=1)
    return place / "org"


@pytest.fixture(scope="module")
def nights(place: Path, api: PrefectServer, org: Path) -> list[dict[str, Any]]:
    """The flow runs of a first and a second night."""
    for _ in range(2):
        done = nightwarden(
            "patrol", "--repos", str(org), *(word for t in TOOLS for word in ("--tool", t)),
            cwd=place, NIGHTWARDEN_HOME=str(place / "home"), **api.environment,
        )  # fmt: skip
        assert done.returncode == 3, done.stderr
    return api.flow_runs()


def test_states_tell_the_truth(nights: list[dict[str, Any]]) -> None:
    assert [(n["state_name"], n["state_type"]) for n in nights] == [("CompletedWithGaps", "FAILED")] * 2
    assert all(n["name"].startswith("patrol org-") for n in nights)
    assert "with gaps" in nights[0]["state"]["message"]


def test_every_task_run_is_recorded_under_a_name_that_tells(api: PrefectServer, nights: list[dict[str, Any]]) -> None:
    first, second = (api.task_runs(n["id"]) for n in nights)
    names = sorted(t["name"] for t in first)
    assert {"discover", "refresh mirrors", "plan", "publish"} <= set(names)
    assert "scan shop/infra (kingfisher, cfn-lint, inventory)" in names
    assert all(t["state_type"] in {"COMPLETED", "FAILED"} for t in first + second)
    assert sorted(t["name"] for t in second) == ["discover", "plan", "publish", "refresh mirrors"]
    scans = [t for t in first if t["name"].startswith("scan ")]
    assert len({tuple(sorted(t["tags"])) for t in first}) == 1
    gaps = {t["name"].split()[1] for t in scans if t["state_name"] == "Gaps"}
    assert gaps == {"shop/web", "shop/deploy", "shop/gateway", "shop/pipelines"}, "versions float in all but the first"


def test_repositories_that_share_task_runs_are_recorded_too(
    api: PrefectServer, nights: list[dict[str, Any]], place: Path, org: Path
) -> None:
    few = "import os; os.environ['DO_NOT_TRACK'] = '1'; from flows import cli, patrol; patrol.MAX_TASKS = 1; cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", few, "patrol", "--repos", str(org), "--tool", "hadolint", "--tool", "bandit"],
        env=environment(NIGHTWARDEN_HOME=str(place / "shared"), **api.environment),
        capture_output=True,
        text=True,
        cwd=place,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert "5 task runs submitted, 5 recorded by the Prefect API\n" in done.stderr, done.stderr
    known = {n["id"] for n in nights}
    (run,) = [r for r in api.flow_runs() if r["id"] not in known]
    (scan,) = [t["name"] for t in api.task_runs(run["id"]) if t["name"].startswith("scan ")]
    assert scan.startswith("scan 2 repositories: shop/")


def test_artifacts(api: PrefectServer, nights: list[dict[str, Any]]) -> None:
    artifacts = api.artifacts(nights[0]["id"])
    assert {"progress", "coverage", "gaps"} <= artifacts.keys()
    assert artifacts["progress"]["data"] == 100.0
    coverage = {row["tool"]: row for row in json.loads(artifacts["coverage"]["data"])}
    assert coverage.keys() == {s.name for s in EXPECTED}
    gaps = json.loads(artifacts["gaps"]["data"])
    assert {"incomplete", "unparsable"} <= {row["reason"] for row in gaps}
    assert all(row["remedy"] and row["repositories"] for row in gaps)


def test_no_parameter_or_result_holds_a_path(api: PrefectServer, nights: list[dict[str, Any]], place: Path) -> None:
    told = json.dumps([nights, [api.task_runs(n["id"]) for n in nights]])
    assert str(place) not in told


def test_deployment_run_by_a_worker_equals_the_command_line(
    api: PrefectServer, nights: list[dict[str, Any]], place: Path, org: Path
) -> None:
    name = nights[0]["parameters"]["sources"][0]
    config = place / "org.yaml"
    config.write_text(f"home: deployed\nkey_file: home/keys/hmac.key\nsources:\n  - name: {name}\n    path: {org}\n")
    done = nightwarden("deploy", cwd=place, **api.environment)
    assert done.returncode == 0, done.stderr
    again = nightwarden("deploy", cwd=place, **api.environment)
    assert again.returncode == 0, again.stderr
    deployment = api.call("GET", "/deployments/name/patrol/nightly")
    assert [(s["schedule"]["cron"], s["schedule"]["timezone"]) for s in deployment["schedules"]] == [
        ("0 2 * * *", "Europe/Berlin")
    ]
    assert deployment["global_concurrency_limit"]["limit"] == 1
    form = deployment["parameter_openapi_schema"]["properties"]
    assert form.keys() == {"sources", "only", "tools", "force", "retry_failed", "plan_only"}
    assert all(field["description"] for field in form.values())
    rotation = api.call("GET", "/deployments/name/rotate/rotation")["parameter_openapi_schema"]["properties"]
    assert rotation.keys() == {"names", "dry_run"} and all(field["description"] for field in rotation.values())
    looked = api.call("GET", "/deployments/name/inventory/stored-secrets")["parameter_openapi_schema"]["properties"]
    assert looked.keys() == {"store"} and looked["store"]["description"]
    run = api.call(
        "POST", f"/deployments/{deployment['id']}/create_flow_run", {"parameters": {"sources": [name], "tools": TOOLS}}
    )
    with worker("nightwarden", place / "worker.log", NIGHTWARDEN_CONFIG=str(config), **api.environment):
        ended = wait_for_end(api, run["id"])
    assert ended["state_name"] == "CompletedWithGaps", (place / "worker.log").read_text()[-3000:]
    assert _told(place / "deployed") == _told(place / "home")


def test_a_deployment_refuses_parameters_that_are_not_in_the_form(api: PrefectServer, place: Path) -> None:
    deployment = api.call("GET", "/deployments/name/patrol/nightly")
    with pytest.raises(OSError, match=r"409|422"):
        api.call(
            "POST",
            f"/deployments/{deployment['id']}/create_flow_run",
            {"parameters": {"tools": ["rm -rf /"]}, "enforce_parameter_schema": True},
        )


def _told(home: Path) -> list[tuple[str, ...]]:
    snapshot = Lake.open(home / "lake", key_id=None, create=False).snapshot()
    return sorted(
        (f["finding_uid"], f["ref"], f["tool"], f["status"], f["path"] or "", str(f["line_start"]))
        for f in snapshot.table("findings").to_pylist()
    )


def test_nothing_of_the_working_directory_is_obeyed(api: PrefectServer, tmp_path: Path) -> None:
    (tmp_path / "org.yaml").write_text("wokers: 2")
    (tmp_path / ".env").write_text("PREFECT_LOGGING_CONFIG_PATH=evil.yml\n")
    canary = tmp_path / "canary"
    (tmp_path / "evil.yml").write_text(
        f"version: 1\nformatters:\n  x:\n    '()': subprocess.check_call\n    args: [touch, {canary}]\n"
    )
    (tmp_path / "org").mkdir()
    home = {"NIGHTWARDEN_HOME": str(tmp_path / "home")}
    done = nightwarden("patrol", "--repos", "org", cwd=tmp_path, **home, **api.environment)
    assert "no git repository below" in done.stderr
    assert not canary.exists()
