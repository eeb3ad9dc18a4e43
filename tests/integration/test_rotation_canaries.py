"""No secret value of a rotation leaves memory: all that it handles is looked for in all that it leaves or shows, while
everything is logged at DEBUG and everything that can goes wrong. AWS is moto's strict emulator."""

from __future__ import annotations

import json
import re
import secrets as random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tasks.lake.lake import Lake
from tests.canaries import leaks, left_behind, needles, watched_processes
from tests.chaos.rotation_postgresql import SqlUsers, write_secret
from tests.chaos.rotation_servers import BaoOnDisk
from tests.integration.loud_rotations import CARRIERS
from tests.integration.servers import ROOT, PrefectServer, environment, prefect_server, with_database
from tests.integration.sql_servers import ADMIN, PostgreSqlHere, postgresql
from tests.integration.tls import certificates
from tests.moto_server import REGION, MotoServer

PAGE = ROOT / "docs" / "rotation-program.md"
ALL = ("shop", "orders", "deploy", "cart", "web")
#: What the program holds as a secret, and is none: as the text begins, or as it is.
_HARMLESS = re.compile(r"-----BEGIN CERTIFICATE|AKIA[A-Z0-9]{16}$|sql://|\(a fresh value\)$")
_LEAST = 12
#: What the program of the documentation says to everybody who listens, and how it fails if it is told to.
_INDISCREET = """\
raw = sys.stdin.read()
sys.stderr.write(raw)
asked = json.loads(raw)
if os.path.exists(asked["settings"]["file"] + ".crash"):
    raise ValueError(raw)
if os.path.exists(asked["settings"]["file"] + ".fail"):
    json.dump({"error": {"reason": "target_error", "message": f"{asked['fields'] if 'fields' in asked else raw}"}},
              sys.stdout)
    sys.exit(1)
"""


def canary(of: str) -> str:
    """A value nobody else has; with characters that are escaped in one form or another."""
    return f"{of}+{random.token_urlsafe(18)}/'=%"


class Site:
    """The servers, the configuration, and files that hold secrets: all of these are below ``held``."""

    def __init__(self, place: Path, bao: BaoOnDisk, db: PostgreSqlHere, aws: MotoServer, api: PrefectServer) -> None:
        self.place, self.bao, self.db, self.aws, self.api = place, bao, db, aws, api
        self.held, self.work = place / "held", place / "work"
        self.values = {
            name: canary(name) for name in ("admin", "wrong admin", "aws key", "program", "cart", "theirs", "no key")
        }
        self.said: list[tuple[str, bytes]] = []
        self._child: subprocess.Popen[str] | None = None
        for name in ("work", "home", "tmp", "user", "held/accepted"):
            (place / name).mkdir(parents=True, exist_ok=True)
        self.sql = SqlUsers(db)
        self._make()

    # -- what there is ------------------------------------------------------------------------------------------------

    def file(self, name: str, text: str) -> str:
        """A file that holds a secret; its path."""
        write_secret(self.held / name, text)
        return str(self.held / name)

    def admin_is(self, which: str) -> None:
        """The password that we administer PostgreSQL with."""
        self.file("admin", self.values[which])

    def _make(self) -> None:
        call = self.bao.bao.call
        with psycopg.connect(self.sql.info(), autocommit=True) as session:
            made = session.pgconn.encrypt_password(self.values["admin"].encode(), ADMIN.encode(), b"scram-sha-256")
            session.execute(f"ALTER ROLE {ADMIN} PASSWORD '{made.decode()}'".encode())
        self.admin_is("admin")
        users = {}
        for name in ("shop", "orders"):
            users[name], self.values[name] = self.sql.make()
        url = f"sql://{users['shop'][0]}:{self.values['shop']}@127.0.0.1:{self.db.port}/shop"
        fields = {"username": users["shop"][0], "password": self.values["shop"], "url": url}
        call("POST", "kv/data/shop", {"data": fields})
        call("POST", "kv/data/cart", {"data": {"username": "app_a", "password": self.values["cart"]}})
        tls = certificates(self.held, "web.example.org")
        self.values["web"], self.values["authority"] = tls.key.read_text(), tls.ca_key.read_text()
        tls.ca_key.chmod(0o600)
        first = {"certificate": tls.certificate.read_text(), "private_key": self.values["web"]}
        call("POST", "kv/data/web", {"data": {**first, "ca_chain": tls.ca.read_text()}})
        key = self._aws(users["orders"][0])
        self.values["first key"] = key["aws_secret_access_key"]
        self._sign_in()
        self._program()
        self._configure(users, tls.ca)

    def _aws(self, user: str) -> dict[str, str]:
        import boto3

        made = {"endpoint_url": self.aws.endpoint, "region_name": REGION}
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": self.values["aws key"]}
        iam, store = boto3.client("iam", **made, **keys), boto3.client("secretsmanager", **made, **keys)
        iam.create_user(UserName="robot")
        key = iam.create_access_key(UserName="robot")["AccessKey"]
        fields = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        store.create_secret(Name="deploy", SecretString=json.dumps(fields))
        value = {"username": user, "password": self.values["orders"]}
        store.create_secret(Name="orders", SecretString=json.dumps(value))
        self.file("credentials", "[default]\n" + "".join(f"{name} = {text}\n" for name, text in keys.items()))
        return fields

    def policy(self, *capabilities: str) -> None:
        """What our token may do."""
        told = ", ".join(f'"{c}"' for c in capabilities)
        self.bao.bao.call("PUT", "sys/policies/acl/us", {"policy": f'path "kv/*" {{ capabilities = [{told}] }}'})

    def _sign_in(self) -> None:
        call = self.bao.bao.call
        self.policy("create", "read", "update", "delete", "list", "patch")
        call("POST", "sys/auth/approle", {"type": "approle"})
        call("POST", "auth/approle/role/us", {"token_policies": ["us"], "token_ttl": "20m"})
        self.role_id = call("GET", "auth/approle/role/us/role-id")["data"]["role_id"]
        self.values["secret id"] = call("POST", "auth/approle/role/us/secret-id")["data"]["secret_id"]
        self.file("secret-id", self.values["secret id"])

    def _program(self) -> None:
        text = re.search(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        assert text is not None and "asked = json.load(sys.stdin)\n" in text[1]
        (self.work / "target").write_text(text[1].replace("asked = json.load(sys.stdin)\n", _INDISCREET))
        (self.work / "target").chmod(0o755)
        (self.held / "accepted" / "cart").write_text(json.dumps({"users": {"app_a": self.values["cart"]}}))
        self.file("program-token", self.values["program"])

    def _configure(self, users: dict[str, tuple[str, str]], authority: Path) -> None:
        def postgresql_of(name: str) -> str:
            return (
                f"{{host: 127.0.0.1, port: {self.db.port}, sslmode: disable, users: {list(users[name])},"
                f" admin: {{user: {ADMIN}, password: 'file:{self.held}/admin'}}, dbname: shop,"
                " check: SELECT id FROM wares, fields: {FIELDS}}"
            )

        url = "username: username, password: password, url: url"
        text = f"""\
            home: {self.place}/home
            vault: {{address: '{self.bao.bao.address}', role_id: '{self.role_id}', secret_id: 'file:{self.held}/secret-id'}}
            aws: {{region: {REGION}, endpoint: '{self.aws.endpoint}'}}
            rotation:
              policies: {{p: {{every_days: 0.01, minimum_age_days: 0, grace_minutes: 0, settle_seconds: 1}}}}
              secrets:
                shop: {{vault: {{mount: kv, path: shop}}, policy: p, postgresql: {postgresql_of("shop").replace("FIELDS", url)}}}
                orders: {{aws: {{id: orders}}, policy: p, postgresql: {postgresql_of("orders").replace(", fields: {FIELDS}", "")}}}
                deploy: {{aws: {{id: deploy}}, policy: p, iam: {{user: robot}}}}
                cart:
                  vault: {{mount: kv, path: cart}}
                  policy: p
                  program:
                    executable: {self.work}/target
                    settings: {{file: {self.held}/accepted/cart}}
                    secrets: {{token: 'file:{self.held}/program-token'}}
                    writes: [{self.held}/accepted]
                web:
                  vault: {{mount: kv, path: web}}
                  policy: p
                  certificate:
                    common_name: web.example.org
                    ttl_days: 1
                    authority: {{certificate: {authority}, key: 'file:{self.held}/ca.key', crl: {self.work}/revoked.pem}}
            """  # noqa: E501
        (self.work / "org.yaml").write_text(textwrap.dedent(text))

    # -- what is done -------------------------------------------------------------------------------------------------

    def ask(self, *args: str, flow: bool = False, broken: str = "") -> tuple[int, str]:
        """A command, or the flow: its code and what it said; a negative code: it was ended by that signal."""
        child = self._started()
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(json.dumps({"args": args, "flow": flow, "broken": broken}) + "\n")
        child.stdin.flush()
        lines, line = list[str](), ""
        for line in child.stdout:
            if line.startswith("::ended "):
                break
            lines.append(line)
        told = "".join(lines)
        self.said.append((f"what {' '.join(args) or 'the flow'} said", told.encode()))
        if not line.startswith("::ended "):
            self.stop()
            return child.returncode, told
        return int(line.split()[1]), told

    def rotated(self, *names: str, broken: str = "") -> str:
        """What a run says that does not rotate a secret."""
        code, told = self.ask("rotate", "run", *names, "--now", "--config", "org.yaml", broken=broken)
        assert code == 3, told
        return told

    def stop(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.close()
            try:
                child.wait(60)
            finally:
                child.kill()
                child.stdout.close()

    def _started(self) -> subprocess.Popen[str]:
        if self._child is None:
            env = environment(
                NIGHTWARDEN_CONFIG="org.yaml", TMPDIR=str(self.place / "tmp"), HOME=str(self.place / "user"),
                AWS_SHARED_CREDENTIALS_FILE=str(self.held / "credentials"), AWS_CONFIG_FILE="/dev/null",
                AWS_EC2_METADATA_DISABLED="true", AWS_ENDPOINT_URL_IAM=self.aws.endpoint,
                AWS_ENDPOINT_URL_STS=self.aws.endpoint, PREFECT_LOGGING_LEVEL="DEBUG",
                PREFECT_LOGGING_ROOT_LEVEL="DEBUG", PREFECT_DEBUG_MODE="1",
                PREFECT_LOGGING_EXTRA_LOGGERS=",".join(CARRIERS),
                **self.api.environment,
            )  # fmt: skip
            argv = [sys.executable, "-m", "tests.integration.loud_rotations", f"{self.work}/log", f"{self.held}/book"]
            with (self.work / "stderr").open("ab") as err:
                self._child = subprocess.Popen(
                    argv, env=env, cwd=self.work, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True
                )
        return self._child

    # -- what is looked for -------------------------------------------------------------------------------------------

    def wanted(self) -> dict[str, str]:
        """All values that ever were: those made here, every ``Secret`` of the program, and the keys that AWS issued."""
        found = {json.loads(line) for line in (self.held / "book").read_text().splitlines()}
        plain = {v for v in found if v.startswith("app")} | {str(self.held / "accepted" / "cart")}
        held = {v for v in found - plain if len(v) >= _LEAST and not _HARMLESS.match(v)}
        issued = set((self.held / "moto" / "book").read_text().split())
        return {**self.values, **{f"of the program {i}": v for i, v in enumerate(sorted(held | issued))}}

    def sinks(self, shown: set[bytes]) -> Iterator[tuple[str, bytes]]:
        """Where they must not be."""
        yield from left_behind(self.place, lambda name: name.startswith("held/"))
        yield from self.said
        yield "PostgreSQL's log", self.db.log_file.read_bytes()
        yield "moto's log", self.aws.log.read_bytes()
        yield "the process list", b"\0\0".join(shown)


@contextmanager
def site(place: Path, database: Path) -> Iterator[Site]:
    """All servers. Skips where a program is not installed."""
    (place / "held" / "moto").mkdir(parents=True)
    (place / "bao").mkdir()
    bao, aws = BaoOnDisk(place / "bao"), MotoServer(place / "held" / "moto")
    with postgresql() as db, prefect_server(with_database(place / "server", database)) as api:
        try:
            bao.begin()
            aws.start()
            made = Site(place, bao, db, aws, api)
            try:
                yield made
            finally:
                made.stop()
        finally:
            aws.stop()
            bao.stop()


def test_no_value_of_a_rotation_in_anything_it_leaves_or_shows(tmp_path: Path, database: Path) -> None:
    with site(tmp_path, database) as here, watched_processes() as shown:
        call = here.bao.bao.call
        code, told = here.ask("rotate", "run", *ALL, "--now", "--wait", "1", "--config", "org.yaml")
        assert code == 0 and told.count(": retired") == len(ALL), told
        code, told = here.ask("rotate", "list", "--format", "json")
        assert code == 0 and told.count('"secret"') == len(ALL), told

        here.db.stop()
        assert here.rotated("shop", "orders").count("target_unreachable") >= 1
        here.db.start()
        here.admin_is("wrong admin")
        assert "target_denied" in here.rotated("shop")
        here.admin_is("admin")
        code, told = here.ask("rotate", "resume", "--withdraw", "shop")
        assert "shop: withdrawn" in told, told

        assert "rotation_failed" in here.rotated("shop", broken="target")
        assert "rotation_failed" in here.rotated("shop", broken="backend")
        for broken, how in (("killed", signal.SIGKILL), ("aborted", signal.SIGABRT)):
            assert here.ask("rotate", "run", "shop", "--now", broken=broken)[0] == -how
        value = call("GET", "kv/data/shop")["data"]["data"]
        call("POST", "kv/data/shop", {"data": {**value, "password": here.values["theirs"]}})
        assert "rotation_conflict" in here.rotated("shop")
        assert "shop: withdrawn" in here.ask("rotate", "resume", "--withdraw", "shop")[1]

        call("PUT", "sys/seal")
        assert "backend_sealed" in here.rotated("cart")
        here.bao.open()
        here.policy("deny")
        assert "backend_denied" in here.rotated("cart")
        here.policy("create", "read", "update", "delete", "list", "patch")

        accepted = here.held / "accepted"
        for how_it_fails in ("fail", "crash"):
            (accepted / f"cart.{how_it_fails}").touch()
            assert "target_error" in here.rotated("cart")
            (accepted / f"cart.{how_it_fails}").unlink()
        authority = (here.held / "ca.key").read_text()
        here.file("ca.key", here.values["no key"])
        assert "web: " in here.rotated("web")
        here.file("ca.key", authority)

        (accepted / "cart.fail").touch()
        code, told = here.ask(flow=True)
        assert code == 0 and "CompletedWithGaps" in told and "4 of 5" not in told, told
        (accepted / "cart.fail").unlink()
        here.aws.stop()
        assert "backend_unreachable" in here.rotated("deploy")
        assert here.ask("rotate", "history")[0] == 0
        here.stop()

        wanted, sinks = here.wanted(), list(here.sinks(shown))
    names = {name for name, _ in sinks}
    # All of it was really written, and values really passed.
    assert {"PostgreSQL's log", "moto's log", "the process list", "work/log", "work/stderr", "bao/audit.log"} <= names
    assert {"server/prefect/prefect.db log", "server/prefect/prefect.db artifact"} <= names
    assert any(name.startswith("home/lake/") and name.endswith("(read)") for name in names)
    by_name = dict(sinks)
    assert b"ALTER ROLE" in by_name["PostgreSQL's log"] and b"hmac-sha256:" in by_name["bao/audit.log"]
    assert b"DEBUG" in by_name["server/prefect/prefect.db log"] or b"rotate" in by_name["server/prefect/prefect.db log"]
    assert any(b"work/target" in command for command in shown), "the program was seen as it ran"
    assert not [name for name in names if "core" in Path(name).name.split(".")[0:1]], "no core was dumped"
    assert len(wanted) >= 40, "the values of some rotations"
    rows = Lake.open(tmp_path / "home" / "lake", key_id=None, create=False).snapshot().table("rotations").to_pylist()
    assert {r["state"] for r in rows} >= {"promoted", "retired", "withdrawn"}
    assert {r["secret"] for r in rows} == set(ALL)
    found = leaks(sinks, needles(wanted))
    assert not found, "\n".join(f"{name} stands in {sink}" for sink, name in sorted(found))
