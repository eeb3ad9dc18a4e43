"""No secret value leaves memory: canaries are planted everywhere and looked for in all a patrol leaves or shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.lake.lake import Lake
from tests.builders import Repository
from tests.canaries import leaks, left_behind, needles, watched_processes
from tests.integration.servers import nightwarden, prefect_server, with_database

pytestmark = [pytest.mark.tools, pytest.mark.prefect]

#: Assembled here, so that no scanner fires on this file. The first two are found as secrets by the secret scanner.
CANARIES = {
    "in a file": "gh" + "p_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx",
    "in history": "AK" + "IA" + "QYLPMN5HHHFPZAM2",
    "in history, its other half": "Tg0pz8Jii8hk" + "Lx4+PnUisM8GmKs3a2DK+9qz/lie",
    "in a snippet of another rule": "correcthorsebatterystaple",
    "with a quotation mark": "tulip'garden'canarybird",
    "in Terraform": "bluewhale/singsatnight" + "+andgoldfishlisten",
    "in a Dockerfile": "greenfrogjumpsatdawn",
    "in Kubernetes": "redfoxsleepsatnoon",
    "in a file no tool can parse": "yellowcanaryinthemine",
}


def plant(org: Path) -> None:
    c = CANARIES
    repo = Repository(org / "shop")
    deleted = f"AWS_ACCESS_KEY_ID={c['in history']}\nAWS_SECRET_ACCESS_KEY={c['in history, its other half']}\n"
    repo.commit({"old.env": deleted.encode()})
    repo.commit({"old.env": None})
    python = f"""\
import sqlite3
password = "{c["in a snippet of another rule"]}"
token = "{c["with a quotation mark"]}"
connect(password="{c["in a snippet of another rule"]}")
if secret == "{c["in a snippet of another rule"]}":
    db.execute("select * from t where k = '%s' and p = '{c["in a snippet of another rule"]}'" % name)
"""
    terraform = f"""\
provider "aws" {{
  access_key = "{c["in history"]}"
  secret_key = "{c["in Terraform"]}"
}}
resource "aws_db_instance" "db" {{
  engine   = "mysql"
  password = "{c["in Terraform"]}"
}}
resource "aws_lambda_function" "f" {{
  function_name = "f"
  environment {{
    variables = {{ AWS_SECRET_ACCESS_KEY = "{c["in Terraform"]}" }}
  }}
}}
"""
    pod = f"""\
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  containers:
    - name: c
      image: x:latest
      env: [{{name: PASSWORD, value: "{c["in Kubernetes"]}"}}]
"""
    files = {
        "app.py": python,
        "token.txt": f"token = {c['in a file']}\n",
        "broken.py": f"password = '{c['in a file no tool can parse']}'\ndef f(:\n",
        "broken.tf": f'resource "x" {{ password = "{c["in a file no tool can parse"]}"\n',
        "main.tf": terraform,
        "pod.yaml": pod,
        "Dockerfile": f"FROM scratch\nENV PASSWORD={c['in a Dockerfile']}\nRUN sudo echo {c['in a Dockerfile']}\n",
    }
    repo.commit({name: text.encode() for name, text in files.items()})


def holds(name: str) -> bool:
    """The mirrors, which are the repositories, and the keys."""
    return name.startswith(("mirrors/", "keys/"))


def test_no_canary_in_anything_a_patrol_leaves_or_shows(tmp_path: Path, database: Path) -> None:
    org, home = tmp_path / "org", tmp_path / "home"
    plant(org)
    with prefect_server(with_database(home, database)) as server, watched_processes() as seen:
        debug = {"PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_DEBUG_MODE": "1"}
        outputs = []
        for args in (
            ["patrol", "--repos", str(org), "--verbose"],
            ["query", "SELECT * FROM scan_results"],
            ["query", "--format", "json", "SELECT * FROM findings"],
            ["query", "--saved", "gaps"],
        ):
            done = nightwarden(*args, cwd=tmp_path, NIGHTWARDEN_HOME=str(home), **server.environment, **debug)
            assert done.returncode in {0, 3}, done.stderr[-2000:]
            outputs.append((" ".join(args[:2]), (done.stdout + done.stderr).encode()))
        looked_at = dict(left_behind(home, holds))
    snapshot = Lake.open(home / "lake", key_id=None, create=False).snapshot()
    findings = snapshot.table("findings").to_pylist()
    # The canaries were really read: as secrets, as Python flaws, as misconfigurations.
    assert {"old.env", "token.txt"} <= {f["path"] for f in findings if f["kind"] == "secret"}
    assert {"B105", "B106", "B608"} <= {f["rule_id"] for f in findings if f["tool"] == "bandit"}
    assert {"CKV_AWS_41", "CKV_AWS_45"} <= {f["rule_id"] for f in findings if f["tool"] == "checkov"}
    assert {g["path"] for g in snapshot.table("scan_gaps").to_pylist()} >= {"broken.py", "broken.tf"}
    places = {name.split("/")[0] for name in looked_at}
    assert {"lake", "prefect"} <= places
    assert any("marts" in name for name in looked_at)
    assert any("_raw" in name and "(read)" in name for name in looked_at)
    assert any(name.endswith(" artifact") for name in looked_at)
    assert any(name.endswith(" log") for name in looked_at)
    assert any(b"kingfisher" in command for command in seen)
    everything = [*looked_at.items(), *outputs, *(("process list", s) for s in seen)]
    assert not leaks(everything, needles(CANARIES))
