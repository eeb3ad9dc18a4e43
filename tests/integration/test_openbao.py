"""Secrets in a real OpenBao (which speaks Vault's API), started here on loopback."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import SecretError
from tasks.core.secret_refs import parse_ref
from tasks.core.vault_access import VaultAccess
from tasks.credentials.stores import open_stores
from tests.openbao import ROOT_TOKEN, Bao, development

CANARY = "c4nary-value"


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        server.call("POST", "secret/data/team/git", {"data": {"token": CANARY, "n": 3}})
        server.call("POST", "sys/mounts/old/deep", {"type": "kv", "options": {"version": "1"}})
        server.call("POST", "old/deep/team/git", {"token": f"{CANARY}-1"})
        server.call("POST", "sys/auth/approle", {"type": "approle"})
        policy = 'path "secret/data/team/git" { capabilities = ["read"] }'
        server.call("POST", "sys/policies/acl/team", {"policy": policy})
        yield server


@pytest.fixture(autouse=True)
def no_vault_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADDR", "TOKEN", "TOKEN_FILE", "NAMESPACE", "CACERT"):
        monkeypatch.delenv(f"VAULT_{name}", raising=False)


@pytest.fixture
def by_environment(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> Bao:
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    monkeypatch.setenv("VAULT_TOKEN", ROOT_TOKEN)
    return bao


def read(text: str, **access: Any) -> str:
    return open_stores(VaultAccess(**access)).get(parse_ref(text)).reveal()


def refused(text: str, **access: Any) -> str:
    with pytest.raises(SecretError) as error:
        read(text, **access)
    assert error.value.advice
    for value in (CANARY, ROOT_TOKEN):
        assert value not in str(error.value)
    return error.value.message.removeprefix(f"{text}: ")


@pytest.mark.usefixtures("by_environment")
def test_both_versions_are_told_apart_by_the_server() -> None:
    assert read("vault:secret/team/git#token") == CANARY
    assert read("vault:old/deep/team/git#token") == f"{CANARY}-1"
    assert read("vault:secret/team/git#token", kv_version=2) == CANARY


@pytest.mark.usefixtures("by_environment")
def test_what_is_not_there() -> None:
    assert refused("vault:secret/team/none#token") == "there is no such secret"
    assert refused("vault:old/deep#token") == "there is no such secret"
    assert refused("vault:secret/team/git#none") == "the secret has no such text field"
    assert refused("vault:secret/team/git#n") == "the secret has no such text field"
    assert refused("vault:secret/team/git#token", kv_version=1) == "there is no such secret"
    assert refused("vault:secret/../sys#token") == "the path is not one of a secret"
    assert refused("vault:none/x#token") == "Vault denies access"


def test_the_token_by_variable_file_or_configuration(bao: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, own = "vault:secret/team/git#token", tmp_path / "token"
    assert refused(text) == "no Vault is named"
    assert refused(text, address=bao.address) == "there is nothing to sign in to Vault with"
    own.write_text(f"{ROOT_TOKEN}\n")
    own.chmod(0o600)
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(own))
    assert read(text, address=bao.address) == CANARY
    monkeypatch.setenv("MY_TOKEN", "wrong")
    assert refused(text, address=bao.address, token=parse_ref("env:MY_TOKEN")) == "Vault denies access"
    own.chmod(0o644)
    with pytest.raises(SecretError, match="may be read by others"):
        read(text, address=bao.address)


def test_a_role_signs_in_and_again_when_its_login_was_revoked(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    bao.call("POST", "auth/approle/role/team", {"token_policies": ["team"], "secret_id_num_uses": 0})
    role = bao.call("GET", "auth/approle/role/team/role-id")["data"]["role_id"]
    monkeypatch.setenv("SECRET_ID", bao.call("POST", "auth/approle/role/team/secret-id")["data"]["secret_id"])
    access = VaultAccess(address=bao.address, role_id=role, secret_id=parse_ref("env:SECRET_ID"))
    now = [0.0]
    stores = open_stores(access)
    stores._clock = lambda: now[0]
    ref = parse_ref("vault:secret/team/git#token")
    assert stores.get(ref).reveal() == CANARY
    logins = bao.call("LIST", "auth/token/accessors")["data"]["keys"]
    now[0] += 1000
    assert stores.get(ref).reveal() == CANARY
    assert bao.call("LIST", "auth/token/accessors")["data"]["keys"] == logins, "one login serves many reads"
    for accessor in logins:
        known = bao.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]
        if known["path"] == "auth/approle/login":
            bao.call("POST", "auth/token/revoke-accessor", {"accessor": accessor})
    now[0] += 1000
    assert stores.get(ref).reveal() == CANARY
    with pytest.raises(SecretError, match="Vault denies access"):
        stores.get(parse_ref("vault:secret/other#token"))
    monkeypatch.setenv("SECRET_ID", "wrong")
    told = refused("vault:secret/team/git#token", address=bao.address, role_id=role, secret_id=access.secret_id)
    assert told == "Vault does not accept role_id and secret_id"


@pytest.mark.usefixtures("by_environment")
def test_no_value_in_a_log_at_its_loudest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert read("vault:secret/team/git#token") == CANARY
    refused("vault:secret/team/none#token")
    assert CANARY not in caplog.text and ROOT_TOKEN not in caplog.text


def test_a_vault_that_is_not_there(by_environment: Bao, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
    text = "vault:secret/team/git#token"
    assert refused(text, address=nobody) == "Vault is not reached"
    assert refused(text, address="nonsense") == "Vault is not reached"
    tls = by_environment.address.replace("http:", "https:")
    assert refused(text, address=tls, ca_file=tmp_path / "none.pem") == "the certificates of `ca_file` cannot be read"
    assert refused(text, address=tls) == "the certificate of Vault is not trusted"
    monkeypatch.setenv("VAULT_ADDR", "")
    assert refused(text) == "no Vault is named"


@pytest.mark.usefixtures("by_environment")
def test_at_last_a_sealed_one(bao: Bao) -> None:
    bao.call("PUT", "sys/seal")
    assert refused("vault:secret/team/git#token") == "Vault is sealed, or in maintenance"
