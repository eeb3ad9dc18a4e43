"""The flow `rotate` against a real Prefect server: a task run a secret, a state that tells the truth, and no value in
what Prefect keeps."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.commands import called
from tests.integration.servers import PrefectServer, environment, prefect_server, with_database
from tests.openbao import ROOT_TOKEN, development
from tests.rotation_approvals import TRIAL, approve_all

PAGE = Path(__file__).parents[2] / "docs" / "rotation-program.md"
FIRST = "f1rst-c4nary-value"
RUN = """
from flows.rotate import rotate
for given in ({"dry_run": True}, {}, {"names": ["cart"]}):
    print("ended", rotate(**given, return_state=True).name)
"""


def flows(place: Path, api: PrefectServer) -> list[str]:
    """The names of the states that three runs of the flow end in: dry, of all, of one."""
    env = environment(
        NIGHTWARDEN_CONFIG=str(place / "org.yaml"), BAO_TOKEN=ROOT_TOKEN, PREFECT_LOGGING_LEVEL="DEBUG",
        **api.environment,
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-c", RUN], env=env, cwd=place, capture_output=True, text=True, check=False)
    (place / "log").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stderr[-3000:]
    return re.findall("^ended (.*)", done.stdout, re.MULTILINE)


def test_a_task_run_a_secret_and_no_value_in_what_prefect_keeps(tmp_path: Path, database: Path) -> None:
    text = re.search(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert text is not None
    (tmp_path / "target").write_text(text[1])
    (tmp_path / "target").chmod(0o755)
    (tmp_path / "accepted").mkdir()
    program = f"{{executable: target, settings: {{file: {tmp_path}/accepted/NAME}}, writes: [accepted]}}"
    secrets = [
        f"    {name}: {{vault: {{mount: secret, path: {name}}}, program: {program.replace('NAME', name)}, policy: p}}\n"
        for name in ("shop", "cart", "gone", "loose")
    ]
    with development() as bao, prefect_server(with_database(tmp_path / "server", database)) as api:
        (tmp_path / "org.yaml").write_text(
            f"home: home\n{TRIAL}vault: {{address: '{bao.address}', token: env:BAO_TOKEN}}\nrotation:\n"
            "  policies: {p: {every_days: 0.01, minimum_age_days: 0, grace_minutes: 0}}\n  secrets:\n"
            + "".join(secrets)
        )
        approve_all(tmp_path / "org.yaml")
        for name in ("shop", "cart", "loose"):
            (tmp_path / "accepted" / name).write_text(json.dumps({"users": {"app_a": FIRST}}))
            bao.call("POST", f"secret/data/{name}", {"data": {"username": "app_a", "password": FIRST}})
        asked = ("rotate", "run", "shop", "cart", "loose", "--now", "--wait", "1", "--config", "org.yaml")
        assert called(*asked, cwd=tmp_path, BAO_TOKEN=ROOT_TOKEN).returncode == 0, "so they are due by the schedule"
        approve_all(tmp_path / "org.yaml", but="loose")
        before = [bao.call("GET", f"secret/data/{n}")["data"]["data"]["password"] for n in ("shop", "cart")]
        assert flows(tmp_path, api) == ["CompletedWithGaps", "CompletedWithGaps", "Completed"], "one is not there"
        after = [bao.call("GET", f"secret/data/{n}")["data"]["data"]["password"] for n in ("shop", "cart")]
        values = {FIRST, *before, *after}
        assert len(values) == 5, "both were rotated"
        plan, run, last = api.flow_runs()
        assert (run["name"], last["name"]) == ("rotate all secrets", "rotate cart")
        assert {t["name"]: t["state_type"] for t in api.task_runs(run["id"])} == {
            "shop": "COMPLETED", "cart": "COMPLETED",
        }  # fmt: skip
        assert "gone: secret_missing" in run["state"]["message"] and "published as run" in run["state"]["message"]
        steps: list[dict[str, Any]] = json.loads(api.artifacts(plan["id"])["rotation-plan"]["data"])
        assert steps[0]["step"] == "prepared" and {s["secret"] for s in steps} == {"shop", "cart", "gone"}
        assert [s["step"] for s in steps if s["secret"] == "gone"] == ["unknown"], "not that nothing is to be done"
        said = [line["message"] for line in api.call("POST", "/logs/filter", {"sort": "TIMESTAMP_ASC", "limit": 200})]
        made = [m.split(": ")[1].split()[0] for m in said if re.match(r"shop: \w+ app_\w$", m)]
        assert made[:4] == ["prepared", "applied", "verified", "promoted"], "each step is in the log of its task run"
        rows = {r["secret"]: r for r in json.loads(api.artifacts(run["id"])["rotations"]["data"])}
        assert rows["shop"]["state"] in ("grace", "retired"), "a store may tell the time in whole seconds"
        assert rows["gone"]["reason"] == "secret_missing"
        assert "loose: approval_missing" in run["state"]["message"] and rows["loose"]["reason"] == "approval_missing"
    kept = [p for p in tmp_path.rglob("*") if p.is_file() and p.parent.name != "accepted"]
    assert any(p.name == "prefect.db" for p in kept)
    for value in (*values, ROOT_TOKEN):
        assert not [p for p in kept if value.encode() in p.read_bytes()]


@pytest.mark.parametrize("given", ["", "dry_run=True, "])
def test_without_the_section_there_is_nothing_to_do(given: str) -> None:
    from flows.rotate import rotate

    state = rotate.fn(dry_run=bool(given))
    assert state.is_completed() and state.message == "no secret is configured to be rotated"
