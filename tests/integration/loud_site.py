"""Where no value of a rotation may leak: OpenBao, PostgreSQL, AWS (moto's strict emulator) and Prefect, the secrets in
them, one process that does all at DEBUG, and all that it leaves or shows."""

from __future__ import annotations

import json
import re
import secrets as random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from tasks.lake.lake import Lake, Snapshot
from tasks.scanners import EXPECTED
from tests.canaries import left_behind
from tests.chaos.rotation_postgresql import SqlUsers, write_secret
from tests.chaos.rotation_servers import BaoOnDisk
from tests.integration.loud_rotations import CARRIERS
from tests.integration.servers import ROOT, PrefectServer, environment, prefect_server, with_database
from tests.integration.sql_servers import ADMIN, PostgreSqlHere, postgresql
from tests.integration.tls import certificates
from tests.moto_server import REGION, MotoServer
from tests.openbao import free_port
from tests.strict_moto import ACCOUNT

PAGE = ROOT / "docs" / "rotation-program.md"
ALL = ("shop", "orders", "deploy", "cart", "web", "till")
#: What nobody may rotate without an approval.
DANGEROUS = ("deploy", "cart", "web", "till")
LEAKY = "leaky"
#: The repositories: what leaked stands there.
SOURCE = "held/org"
#: What the program holds as a secret, and is none: as the text begins, or as it is.
_HARMLESS = re.compile(r"-----BEGIN CERTIFICATE|AKIA[A-Z0-9]{16}$|sql://|\(a fresh value\)$")
_LEAST = 12
#: Values that are made here, besides those that servers make.
_MADE = (
    "admin", "wrong admin", "aws key", "program", "cart", "theirs", "no key", "keeper", "of-a-url", "of-a-dsn",
)  # fmt: skip
OTHERS = ", ".join(f"{s.name}: {{enabled: false}}" for s in EXPECTED if s.name != "kingfisher")
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
        self.values = {name: canary(name) for name in _MADE}
        self.said: list[tuple[str, bytes]] = []
        self._child: subprocess.Popen[str] | None = None
        for name in ("work", "home", "tmp", "user", "held/accepted", SOURCE):
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
        self.accepts(ADMIN, self.values["admin"])
        self.admin_is("admin")
        users = {}
        for name in ("shop", "orders", LEAKY):
            users[name], self.values[name] = self.sql.make()
        url = f"sql://{users['shop'][0]}:{self.values['shop']}@127.0.0.1:{self.db.port}/shop"
        fields = {"username": users["shop"][0], "password": self.values["shop"], "url": url}
        call("POST", "kv/data/shop", {"data": fields})
        call("POST", f"kv/data/{LEAKY}", {"data": {"username": users[LEAKY][0], "password": self.values[LEAKY]}})
        call("POST", "kv/data/cart", {"data": {"username": "app_a", "password": self.values["cart"]}})
        tls = certificates(self.held, "web.example.org")
        self.values["web"], self.values["authority"] = tls.key.read_text(), tls.ca_key.read_text()
        tls.ca_key.chmod(0o600)
        first = {"certificate": tls.certificate.read_text(), "private_key": self.values["web"]}
        call("POST", "kv/data/web", {"data": {**first, "ca_chain": tls.ca.read_text()}})
        key = self._aws(users["orders"][0])
        self.values["first key"] = key["aws_secret_access_key"]
        self._engine()
        self._sign_in()
        self._program()
        self._configure(users, tls.ca)

    def accepts(self, user: str, password: str) -> None:
        """PostgreSQL accepts this password from now on. It gets a verifier: its owner's statements are in its log."""
        with psycopg.connect(self.sql.info(), autocommit=True) as session:
            made = session.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256")
            session.execute(f"ALTER ROLE {user} PASSWORD '{made.decode()}'".encode())

    def leak(self, value: str) -> None:
        """The password of a secret is this one, which is no canary of ours: a scanner knows it by its form."""
        self.values["leaked"] = value
        data = self.bao.bao.call("GET", f"kv/data/{LEAKY}")["data"]["data"]
        self.accepts(data["username"], value)
        self.bao.bao.call("POST", f"kv/data/{LEAKY}", {"data": {**data, "password": value}})

    def _engine(self) -> None:
        """A database engine: a static role of a user ``till``, and connections into which passwords were written."""
        self.db.ask("CREATE ROLE keeper LOGIN CREATEROLE")
        self.db.ask("CREATE ROLE till LOGIN")
        self.db.ask("GRANT till TO keeper WITH ADMIN OPTION")
        self.accepts("keeper", self.values["keeper"])
        call, at = self.bao.bao.call, f"127.0.0.1:{self.db.port}/postgres?sslmode=disable"
        call("POST", "sys/mounts/database", {"type": "database"})
        # OpenBao would send the password as it is.
        how = {"plugin_name": "postgresql-database-plugin", "allowed_roles": "*",
               "password_authentication": "scram-sha-256"}  # fmt: skip
        filled_in = {"connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{at}"}
        login = {"username": "keeper", "password": self.values["keeper"]}
        call("POST", "database/config/pg", {**how, **filled_in, **login})
        # OpenBao masks what stands before the @ of a URL, and tells these.
        url = f"postgresql://{at}&user=keeper&password={quote(self.values['of-a-url'], safe='')}"
        self.values["of-a-dsn"] = self.values["of-a-dsn"].replace("'", "")
        dsn = f"host=127.0.0.1 user=keeper sslmode=disable password={self.values['of-a-dsn']}"
        for name, told in (("of-a-url", url), ("of-a-dsn", dsn)):
            call("POST", f"database/config/{name}", {**how, "connection_url": told, "verify_connection": False})
            assert told == call("GET", f"database/config/{name}")["data"]["connection_details"]["connection_url"]
        role = {"db_name": "pg", "username": "till", "rotation_period": "24h"}
        call("POST", "database/static-roles/till", role)
        self.note_static_role()

    def note_static_role(self) -> None:
        """The password of the static role is looked for, too."""
        value = self.bao.bao.call("GET", "database/static-creds/till")["data"]["password"]
        self.values[f"static role {len(self.values)}"] = value

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
        engines = "\n".join(
            f'path "{p}/*" {{ capabilities = ["read", "list", "update", "sudo"] }}' for p in ("database", "sys", "auth")
        )
        text = f'path "kv/*" {{ capabilities = [{told}] }}\n{engines}'
        self.bao.bao.call("PUT", "sys/policies/acl/us", {"policy": text})

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
            sources: [{{name: org, path: {self.place}/{SOURCE}}}]
            tools: {{{OTHERS}}}
            decisions: {{approval: none}}
            vault: {{address: '{self.bao.bao.address}', role_id: '{self.role_id}', secret_id: 'file:{self.held}/secret-id'}}
            aws: {{region: {REGION}, endpoint: '{self.aws.endpoint}'}}
            rotation:
              policies: {{p: {{every_days: 0.01, minimum_age_days: 0, grace_minutes: 0, settle_seconds: 1}}}}
              inventory: {{vault: {{}}, aws: {{}}, maximum_age_days: 0.000001, unused_days: 0.000001}}
              secrets:
                shop: {{vault: {{mount: kv, path: shop}}, policy: p, postgresql: {postgresql_of("shop").replace("FIELDS", url)}}}
                {LEAKY}: {{vault: {{mount: kv, path: {LEAKY}}}, policy: p, postgresql: {postgresql_of(LEAKY).replace(", fields: {FIELDS}", "")}}}
                till: {{static_role: {{mount: database, role: till, in_place: accepted}}, policy: p}}
                orders: {{aws: {{id: orders, account: '{ACCOUNT}'}}, policy: p, postgresql: {postgresql_of("orders").replace(", fields: {FIELDS}", "")}}}
                deploy: {{aws: {{id: deploy, account: '{ACCOUNT}'}}, policy: p, iam: {{user: robot, arn: 'arn:aws:iam::{ACCOUNT}:user/robot'}}}}
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

    def ask(self, *args: str, flow: str = "", broken: str = "") -> tuple[int, str]:
        """A command, or a flow: its code and what it said; a negative code: it was ended by that signal."""
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
        self.said.append((f"what {' '.join(args) or f'the flow {flow}'} said", told.encode()))
        if not line.startswith("::ended "):
            self.stop()
            return child.returncode, told
        return int(line.split()[1]), told

    def without_aws(self) -> str:
        """A configuration by which nobody answers for AWS. What moto holds would go with its process."""
        text = (self.work / "org.yaml").read_text()
        (self.work / "away.yaml").write_text(text.replace(self.aws.endpoint, f"http://127.0.0.1:{free_port()}"))
        return "away.yaml"

    def rotated(self, *names: str, broken: str = "", config: str = "org.yaml") -> str:
        """What a run says that does not rotate a secret."""
        code, told = self.ask("rotate", "run", *names, "--now", "--config", config, broken=broken)
        assert code == 3, told
        return told

    def read(self, *args: str, codes: tuple[int, ...] = (0,), broken: str = "") -> str:
        """What a command says that ends with one of these codes."""
        code, told = self.ask(*args, broken=broken)
        assert code in codes, told
        return told

    def told_of_the_lake(self, explained: str, *forms: str) -> list[dict[str, Any]]:
        """Its findings, after all of them were exported in some forms, and those of a place were explained."""
        found: list[dict[str, Any]] = self.snapshot().table("findings").to_pylist()
        for uid in [row["finding_uid"] for row in found if row["path"] == explained]:
            assert uid[:12] in self.read("explain", "finding", uid)
        for form in forms:
            more = ["--all"] if form != "sarif" else []
            self.read("export", form, *more, "-o", f"findings.{form}", codes=(0, 3))
        return found

    def snapshot(self) -> Snapshot:
        """The lake as it is."""
        return Lake.open(self.place / "home" / "lake", key_id=None, create=False).snapshot()

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
                AWS_EC2_METADATA_DISABLED="true", AWS_ENDPOINT_URL=self.aws.endpoint, PREFECT_LOGGING_LEVEL="DEBUG",
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
        plain = {v for v in found if v.startswith(("app", "database/"))} | {str(self.held / "accepted" / "cart")}
        held = {v for v in found - plain if len(v) >= _LEAST and not _HARMLESS.match(v)}
        issued = set((self.held / "moto" / "book").read_text().split())
        others = (held | issued) - set(self.values.values())
        return {**self.values, **{f"of the program {i}": v for i, v in enumerate(sorted(others))}}

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
