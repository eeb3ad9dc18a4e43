"""The flow `inventory` against a real Prefect server and a real OpenBao: a task run a store, a state that tells the
truth, and no value in what Prefect keeps."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.integration.servers import environment, prefect_server, with_database
from tests.openbao import ROOT_TOKEN, development

VALUE = "c4nary-stored-value"
RUN = """
from flows.inventory import inventory
print("ended", inventory(return_state=True).name)
"""


def test_a_task_run_a_store_and_no_value_in_what_prefect_keeps(tmp_path: Path, database: Path) -> None:
    with development() as bao, prefect_server(with_database(tmp_path / "server", database)) as api:
        address = bao.address
        (tmp_path / "org.yaml").write_text(
            f"home: home\nvault: {{address: '{address}', token: env:BAO_TOKEN}}\n"
            "rotation: {inventory: {vault: {}, maximum_age_days: 0.000001}}\n"
        )
        bao.call("POST", "secret/data/a%7Cb", {"data": {"password": VALUE}})
        env = environment(
            NIGHTWARDEN_CONFIG=str(tmp_path / "org.yaml"), BAO_TOKEN=ROOT_TOKEN, PREFECT_LOGGING_LEVEL="DEBUG",
            **api.environment,
        )  # fmt: skip

        def ended() -> list[str]:
            done = subprocess.run(
                [sys.executable, "-c", RUN], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
            )  # fmt: skip
            (tmp_path / "log").write_text(done.stdout + done.stderr)
            assert done.returncode == 0, done.stderr[-3000:]
            return re.findall("^ended (.*)", done.stdout, re.MULTILINE)

        assert ended() == ["Completed"]
        (run,) = api.flow_runs()
        assert {t["name"]: t["state_type"] for t in api.task_runs(run["id"])} == {f"vault {address}": "COMPLETED"}
        rows = json.loads(api.artifacts(run["id"])["secret-hygiene"]["data"])
        assert {"store": f"vault:{address}", "what": "vault:secret/a¦b", "wrong": "secret-never-rotated",
                "detail": ""} in rows  # fmt: skip
        assert "1 secrets (0 managed), 1 of them with something wrong" in run["state"]["message"]
        bao.call("PUT", "sys/seal")
        assert ended() == ["CompletedWithGaps"]
    kept = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert any(p.name == "prefect.db" for p in kept)
    for value in (VALUE, ROOT_TOKEN):
        assert not [p for p in kept if value.encode() in p.read_bytes()]
