"""A password of a real PostgreSQL, kept in a real OpenBao, that stands in the history of a repository: a patrol with a
real scanner finds it, it is rotated while consumers log in, and the finding closes once the server refuses it."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from tasks.scanners import EXPECTED
from tests.builders import Repository
from tests.integration.servers import nightwarden, prefect_server, with_database
from tests.integration.sql_servers import ADMIN, ADMIN_PASSWORD, SqlServer, postgresql
from tests.openbao import Bao, development

pytestmark = [pytest.mark.tools, pytest.mark.prefect]

EXIT_GAPS = 3
#: Put together here, so that no scanner finds it in this file.
LEAKED = "gh" + "p_" + "wWPw5k4aXcaT4fNP0UcnZwJUVFk6LO0pINUx"
OTHERS = ", ".join(f"{s.name}: {{enabled: false}}" for s in EXPECTED if s.name != "kingfisher")
FIRST, SECOND = "leaky_a", "leaky_b"


class Consumers:
    """Reads the value before each login, as consumers do, and counts what fails."""

    def __init__(self, bao: Bao, server: SqlServer) -> None:
        self.logins, self.failed, self._over = 0, 0, threading.Event()
        self._bao, self._server = bao, server
        self._thread = threading.Thread(target=self._go)

    def _go(self) -> None:
        while not self._over.is_set():
            now = self._bao.call("GET", "secret/data/shop")["data"]["data"]
            self.logins += 1
            self.failed += not self._server.accepts(now["username"], now["password"])
            self._over.wait(0.05)

    def __enter__(self) -> Consumers:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()


def plant(place: Path, name: str) -> None:
    """A repository that holds the password in its history, and no more in its tree."""
    repo = Repository(place / "org" / name)
    repo.commit({"deploy.env": f"DATABASE_PASSWORD={LEAKED}\n".encode()})
    repo.commit({"deploy.env": b"DATABASE_PASSWORD=\n"})


def configured(place: Path, bao: Bao, server: Any) -> None:
    (place / "org.yaml").write_text(
        f"home: home\nsources: [{{name: org, path: {place}/org}}]\ntools: {{{OTHERS}}}\n"
        f"vault: {{address: '{bao.address}', token: env:BAO_TOKEN}}\nrotation:\n"
        "  max_per_run: 0\n"
        "  policies: {slow: {every_days: 3000, grace_minutes: 600, leak_grace_minutes: 0.05}}\n  secrets:\n"
        "    shop:\n      vault: {mount: secret, path: shop}\n      policy: slow\n      postgresql:\n"
        f"        {{host: 127.0.0.1, port: {server.port}, sslmode: disable, users: [{FIRST}, {SECOND}],\n"
        f"         admin: {{user: {ADMIN}, password: 'vault:secret/admin#password'}}, dbname: shop,\n"
        "         check: SELECT id FROM wares}\n"
    )


def test_from_the_finding_to_the_refusal(tmp_path: Path, database: Path) -> None:
    plant(tmp_path, "web")
    said: list[str] = []
    with (
        postgresql() as server, development() as bao,
        prefect_server(with_database(tmp_path / "server", database)) as api,
    ):  # fmt: skip
        server._make_users([FIRST, SECOND], LEAKED)
        url = f"postgresql://{FIRST}:{LEAKED}@db:5432/shop"
        bao.call("POST", "secret/data/shop", {"data": {"username": FIRST, "password": LEAKED, "url": url}})
        bao.call("POST", "secret/data/admin", {"data": {"password": ADMIN_PASSWORD}})
        configured(tmp_path, bao, server)
        env = {"NIGHTWARDEN_CONFIG": str(tmp_path / "org.yaml"), **api.environment}
        policy = nightwarden("rotate", "policy", "vault", cwd=tmp_path, **env)
        env["BAO_TOKEN"] = bao.policy_token(policy.stdout)

        def call(*args: str) -> Any:
            done = nightwarden(*args, cwd=tmp_path, **env)
            said.append(done.stdout + done.stderr)
            return done

        def findings() -> list[dict[str, Any]]:
            done = call("query", "SELECT * FROM findings ORDER BY slug", "--format", "json")
            return [json.loads(line) for line in done.stdout.splitlines()]

        with Consumers(bao, server) as consumers:
            done = call("patrol")
            assert done.returncode == 0, done.stdout + done.stderr[-3000:]
            assert "leaks: 1 secrets: 1 in grace, of 1 leaked 1 waiting; published as run" in done.stdout, done.stdout
            assert server.accepts(FIRST, LEAKED), "consumers may remember it"
            (finding,) = findings()
            assert (finding["status"], finding["kind"], finding["path"]) == ("open", "secret", "deploy.env")
            assert "password (before)" in call("rotate", "list", "--format", "json").stdout
            done = call("rotate", "run", "--leaks", "--wait", "1")
            assert done.returncode == 0 and "leaked password revoked" in done.stdout, done.stdout + done.stderr
        assert consumers.logins > 10 and consumers.failed == 0
        now = bao.call("GET", "secret/data/shop")["data"]["data"]
        assert not server.accepts(FIRST, LEAKED) and server.accepts(SECOND, now["password"])
        (finding,) = findings()
        assert (finding["status"], finding["scan_status"], finding["fixed_reason"]) == ("revoked", "open", "revoked")
        told = call("explain", "finding", finding["finding_uid"]).stdout
        assert "works      no: that was tried" in told and "password of shop (vault:secret/shop)" in told
        rows = [json.loads(x) for x in call("rotate", "history", "--format", "json").stdout.splitlines()]
        assert rows[0]["state"] == "leak revoked" and {r["slot"] for r in rows[1:]} == {f"leak-{slot_of(tmp_path)}"}
        assert {r["rotation_id"] for r in rows} == {rows[0]["rotation_id"]}
        # Scanned in a clone that is new, and with nothing of ours but the lake: closed from the first.
        shutil.copytree(tmp_path / "org" / "web", tmp_path / "org" / "copy")
        done = call("patrol")
        assert done.returncode == 0 and "leaks:" not in done.stdout, done.stdout + done.stderr[-3000:]
        assert {f["status"] for f in findings()} == {"revoked"}
        (_, first) = sorted(api.flow_runs(), key=lambda r: r["start_time"], reverse=True)[:2]
        assert "of 1 leaked 1 waiting" in first["state"]["message"]
        assert "leaks" in {t["name"] for t in api.task_runs(first["id"])}
        artifact = json.loads(api.artifacts(first["id"])["rotations"]["data"])
        assert [r["state"] for r in artifact] == ["grace", "leak waiting"]
        bundle = call("export", "ocsf", "--all").stdout
        assert '"Resolved"' in bundle
    homes = [p for p in tmp_path.rglob("*") if p.is_file() and "mirrors" not in p.parts and "org" not in p.parts]
    assert any(p.name == "prefect.db" for p in homes)
    for value in (LEAKED, now["password"]):
        assert not [p for p in homes if value.encode() in p.read_bytes()] and value not in "".join(said)


def slot_of(place: Path) -> str:
    from tasks.lake.lake import Lake

    (row,) = Lake.open(place / "home" / "lake", key_id=None, create=False).snapshot().table("leaks").to_pylist()
    return str(row["flaw_uid"])[:16]
