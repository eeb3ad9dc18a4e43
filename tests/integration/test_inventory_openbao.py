"""`nightwarden rotate inventory` on a real OpenBao: what there is, a token that may do no more than the policy says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.commands import called
from tests.openbao import ROOT_TOKEN, Bao, development

EXIT_GAPS = 3
VALUE = "c4nary-stored-value"
CONFIG = """
home: home
vault: {{address: "{address}", token: env:BAO_TOKEN}}
rotation:
  policies: {{monthly: {{every_days: 30}}}}
  secrets:
    shop:
      vault: {{mount: secret, path: shop/db}}
      program: {{executable: target}}
      policy: monthly
  inventory: {{vault: {{}}, maximum_age_days: 0.000001, unused_days: 0.000001}}
"""


def call(place: Path, *args: str, token: str = ROOT_TOKEN) -> subprocess.CompletedProcess[str]:
    return called(*args, "--config", "org.yaml", cwd=place, BAO_TOKEN=token)


def asked(place: Path, *args: str, token: str = ROOT_TOKEN) -> list[dict[str, Any]]:
    done = call(place, *args, "--format", "json", token=token)
    assert done.returncode in (0, EXIT_GAPS), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def put(bao: Bao, path: str) -> None:
    bao.call("POST", f"secret/data/{path}", {"data": {"username": "a", "password": VALUE}})


def test_what_openbao_holds_is_found_with_the_policy_that_is_told_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("#!/bin/sh\n")
    (tmp_path / "target").chmod(0o755)
    with development() as bao:
        (tmp_path / "org.yaml").write_text(CONFIG.format(address=bao.address))
        for path in ("shop/db", "shop/db-nightwarden", "shop/api", "gone/db-nightwarden"):
            put(bao, path)
        put(bao, "shop/api")
        policy = call(tmp_path, "rotate", "policy", "vault", "--inventory")
        assert policy.returncode == 0, policy.stderr
        bao.call("PUT", "sys/policies/acl/inventory", {"policy": policy.stdout})
        token = bao.call("POST", "auth/token/create", {"policies": ["inventory"]})["auth"]["client_token"]
        said = call(tmp_path, "rotate", "inventory", token=token)
        assert said.returncode == EXIT_GAPS, said.stderr
        assert "inventory/kv/use: use_not_told" in said.stdout
        rows = {r["secret"]: r for r in asked(tmp_path, "rotate", "inventory", token=token)}
        store = rows["shop"]["store"]
        assert store == f"vault:{bao.address}" and "vault:secret/shop/db-nightwarden" not in rows
        assert {name: rows[name]["wrong"] for name in rows if rows[name]["kind"] == "kv"} == {
            "shop": None, "vault:secret/shop/api": "secret-overdue",
            "vault:secret/gone/db-nightwarden": "secret-orphaned",
        }  # fmt: skip
        assert any(r["kind"] == "audit" for r in rows.values()), "nobody writes down who reads in development mode"
        findings = asked(tmp_path, "query", "SELECT tool, rule_id, path FROM findings WHERE is_open", token=token)
        assert {("secrets", "secret-overdue", "vault:secret/shop/api")} <= {tuple(f.values()) for f in findings}
        before = asked(tmp_path, "query", "SELECT count(*) AS n FROM observations")
        bao.call("DELETE", "secret/metadata/shop/api")
        asked(tmp_path, "rotate", "inventory", token=token)
        (gone,) = asked(tmp_path, "query", "SELECT status FROM findings WHERE path = 'vault:secret/shop/api'")
        assert gone["status"] == "fixed" and before[0]["n"]
        nobody = bao.call("POST", "auth/token/create", {"policies": ["default"]})["auth"]["client_token"]
        told = call(tmp_path, "rotate", "inventory", token=nobody)
        assert told.returncode == EXIT_GAPS, told.stdout
        left = asked(tmp_path, "query", "SELECT path FROM findings WHERE is_open AND rule_id = 'secret-orphaned'")
        assert len(left) == 1, "what was refused closes nothing"
    assert call(tmp_path, "rotate", "inventory", token=token).returncode == EXIT_GAPS
    outcomes = asked(tmp_path, "query", "SELECT tool, outcome, reason_code FROM scopes ORDER BY tool")
    assert [(o["tool"], o["outcome"]) for o in outcomes] == [("secrets", "failed"), ("vault", "failed")]
    assert {o["reason_code"] for o in outcomes} == {"backend_unreachable"}
    assert call(tmp_path, "lake", "verify").returncode == 0
    for secret in (VALUE, ROOT_TOKEN, token):
        files = [p for p in (tmp_path / "home").rglob("*") if p.is_file() and secret.encode() in p.read_bytes()]
        assert not files and secret not in said.stdout + said.stderr
