"""`nightwarden rotate` between its stores and targets: OpenBao and a real PostgreSQL, Secrets Manager and IAM as the
strict emulator has them. The account of the data base is itself read from the store."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.aws_rotations import aws_of_tests
from tests.commands import called
from tests.integration.sql_servers import ADMIN, ADMIN_PASSWORD, postgresql
from tests.openbao import ROOT_TOKEN, development
from tests.rotation_approvals import TRIAL, approve_all
from tests.rotation_fakes import plain

EXIT_GAPS = 3
ROTATION = "rotation:\n  policies: {quick: {every_days: 30, grace_minutes: 0}}\n  secrets:\n"


def rows(told: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in told.splitlines()]


def test_users_of_postgresql_that_openbao_keeps(tmp_path: Path) -> None:
    with postgresql() as server, development() as bao:
        fields = plain(server.world().current.fields)
        first, second = fields["username"], fields["username"][:-1] + "b"
        bao.call("POST", "secret/data/shop", {"data": {**fields, "port": 5432}})
        bao.call("POST", "secret/data/admin", {"data": {"password": ADMIN_PASSWORD}})
        (tmp_path / "org.yaml").write_text(
            f"home: home\nvault: {{address: '{bao.address}', token: env:BAO_TOKEN}}\n{ROTATION}"
            "    shop:\n      vault: {mount: secret, path: shop}\n      policy: quick\n      postgresql:\n"
            f"        {{host: 127.0.0.1, port: {server.port}, sslmode: disable, users: [{first}, {second}],\n"
            f"         admin: {{user: {ADMIN}, password: 'vault:secret/admin#password'}}, dbname: shop,\n"
            "         check: SELECT id FROM wares}\n"
        )

        def call(*args: str, token: str = ROOT_TOKEN) -> Any:
            return called("rotate", *args, "--config", "org.yaml", cwd=tmp_path, BAO_TOKEN=token)

        plan = call("plan", "--now")
        assert plan.returncode == 0 and f"accepts it for {second}" in plan.stdout, plan.stdout
        token = bao.policy_token(call("policy", "vault").stdout)
        done = call("run", "shop", "--now", "--wait", "1", token=token)
        assert (done.returncode, "shop: retired" in done.stdout) == (0, True), done.stdout + done.stderr
        now = bao.call("GET", "secret/data/shop")["data"]["data"]
        assert (now["username"], now["port"]) == (second, 5432) and f"{second}:" in now["url"]
        assert server.accepts(second, now["password"]) and not server.accepts(first, fields["password"])
        assert now["password"] not in done.stdout + done.stderr


def test_keys_of_a_user_that_secrets_manager_keeps(tmp_path: Path) -> None:
    with aws_of_tests() as aws:
        aws.strict.clock = datetime.now(UTC).replace(microsecond=0)  # ages are told by it
        user, fields = aws.new_user()
        name = aws.new_secret(fields)
        (tmp_path / "org.yaml").write_text(
            f"home: home\n{TRIAL}aws: {{region: {aws.people.meta.region_name}}}\n{ROTATION}"
            f"    deploy: {{aws: {{id: {name}}}, iam: {{user: {user}}}, policy: quick}}\n"
        )

        approve_all(tmp_path / "org.yaml")

        def call(*args: str) -> Any:
            emulator = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
            return called("rotate", *args, "--config", "org.yaml", cwd=tmp_path, **emulator)

        (before,) = rows(call("list", "--format", "json").stdout)
        assert (before["identity"], before["place"]) == (fields["aws_access_key_id"], f"aws-sm:{name}")
        done = call("run", "deploy", "--now")
        assert "deploy: grace" in done.stdout or "deploy: retired" in done.stdout, done.stdout + done.stderr
        done = call("resume", "--wait", "1")
        assert done.returncode == 0, done.stdout + done.stderr
        keys = {k["AccessKeyId"]: k["Status"] for k in aws.iam.list_access_keys(UserName=user)["AccessKeyMetadata"]}
        assert keys.pop(fields["aws_access_key_id"]) == "Inactive" and [*keys.values()] == ["Active"]
        (after,) = rows(call("list", "--format", "json").stdout)
        assert after["identity"] in keys and after["state"] is None
        assert (after["age_days"], after["due"]) == (0.0, "too_young"), "it is known also once the rotation has ended"
        assert call("run").returncode == 0, "what was asked for is not followed by one of the schedule"
        (still,) = rows(call("list", "--format", "json").stdout)
        assert still["identity"] == after["identity"]
