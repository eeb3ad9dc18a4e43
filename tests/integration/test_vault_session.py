"""Sessions with a real OpenBao that outlive their tokens, and with somebody who plays Vault."""

from __future__ import annotations

import itertools
import json
import logging
import os
import socket
import threading
import time
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import SecretError, UsageError
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret, SecretRef, parse_ref
from tasks.rotation.vault_kv import KvPlace, VaultKv
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_wire import SignIn
from tests.openbao import ROOT_TOKEN, Bao, certificates, development, free_port, middle, with_tls

CANARY = "c4nary-value"
READ = 'path "secret/data/*" { capabilities = ["read"] }\n'
SELF = 'path "auth/token/*-self" { capabilities = ["read", "update"] }\n'.replace("*-self", "lookup-self")
RENEW = 'path "auth/token/renew-self" { capabilities = ["update"] }\n'


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        server.call("POST", "secret/data/db", {"data": {"password": CANARY}})
        yield server


@pytest.fixture(autouse=True)
def no_vault_here(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("VAULT_") or n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


class Values:
    """What references lead to; each reading is counted."""

    def __init__(self, **values: str) -> None:
        self.values, self.reads = values, 0

    def __call__(self, ref: SecretRef) -> Secret:
        self.reads += 1
        if ref.place not in self.values:
            raise SecretError(f"{ref}: it is not set", advice="Set it.")
        return Secret(self.values[ref.place])


class Clock:
    """A clock of tests."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def by_token(bao: Bao, token: str = ROOT_TOKEN, **more: Any) -> VaultSession:
    return VaultSession(SignIn(address=bao.address, token=parse_ref("env:T")), Values(T=token), **more)


def role_of(bao: Bao, policy: str, name: str, **options: Any) -> tuple[str, str]:
    """An AppRole with a policy and no other: its ids."""
    if "approle/" not in bao.call("GET", "sys/auth")["data"]:
        bao.call("POST", "sys/auth/approle", {"type": "approle"})
    bao.call("PUT", f"sys/policies/acl/{name}", {"policy": policy})
    role = {"token_policies": [name], "token_no_default_policy": True, **options}
    bao.call("POST", f"auth/approle/role/{name}", role)
    role_id = bao.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
    return role_id, bao.call("POST", f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]


def approle(bao: Bao, policy: str, name: str, *, clock: Any = time.monotonic, **options: Any) -> VaultSession:
    role_id, secret_id = role_of(bao, policy, name, **options)
    access = SignIn(address=bao.address, role_id=role_id, secret_id=parse_ref("env:S"), ca_file=bao.ca_file)
    return VaultSession(access, Values(S=secret_id), clock=clock)


def read(at: VaultSession, path: str = "secret/data/db") -> str:
    return str(at.ask("get", path).data["data"]["password"])


def refused(at: VaultSession, path: str = "secret/data/db") -> RotationError:
    with pytest.raises(RotationError) as error:
        read(at, path)
    e = error.value
    for value in (CANARY, ROOT_TOKEN):
        assert value not in f"{e} {e!r} {e.__cause__!r} {e.__context__!r}"
    assert e.__cause__ is None and e.__context__ is None, "what a library said is not chained"
    return e


def logins(bao: Bao, name: str) -> int:
    """How many tokens of a role are there."""
    found = 0
    for accessor in bao.call("LIST", "auth/token/accessors")["data"]["keys"]:
        with_policy = bao.call("POST", "auth/token/lookup-accessor", {"accessor": accessor})["data"]["policies"]
        found += name in with_policy
    return found


# -- ways to sign in ----------------------------------------------------------------------------------------------


def test_a_token_by_reference_or_environment(bao: Bao, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(by_token(bao)) == CANARY
    own = VaultSession(SignIn(), Values(VAULT_TOKEN=ROOT_TOKEN, **{str(tmp_path / "t"): ROOT_TOKEN}))
    assert "nothing to sign in" in refused(own).message
    monkeypatch.setenv("VAULT_TOKEN", "set")
    assert "no Vault is named" in refused(own).message
    monkeypatch.setenv("VAULT_ADDR", bao.address)
    assert read(own) == CANARY
    monkeypatch.setenv("VAULT_TOKEN_FILE", str(tmp_path / "t"))
    assert read(own) == CANARY
    error = refused(VaultSession(SignIn(token=parse_ref("env:NONE")), Values()))
    assert (error.reason_code, error.message) == ("credentials_unreadable", "env:NONE: it is not set")
    assert refused(by_token(bao, "wrong")).reason_code == "backend_denied"
    for token in (f"{CANARY}\n", f"{CANARY}é", ""):
        assert "characters" in refused(by_token(bao, token)).message


def test_a_role_signs_in_once_for_many_calls_and_gives_its_token_back(bao: Bao) -> None:
    with approle(bao, READ + SELF, "once") as at:
        threads = [threading.Thread(target=read, args=(at,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert read(at) == CANARY
        assert logins(bao, "once") == 1
        assert refused(at, "secret/metadata/db").reason_code == "backend_denied"
        assert logins(bao, "once") == 1, "what the policy lacks no other login has"
    policy = READ + SELF + 'path "auth/token/revoke-self" { capabilities = ["update"] }'
    with approle(bao, policy, "back") as at:
        read(at)
    assert logins(bao, "back") == 0
    role_id, _ = role_of(bao, READ, "once")
    wrong = SignIn(address=bao.address, role_id=role_id, secret_id=parse_ref("env:S"))
    assert "does not let the role in" in refused(VaultSession(wrong, Values(S=CANARY))).message


def test_a_wrapped_secret_id_is_unwrapped_once(bao: Bao) -> None:
    role_id, _ = role_of(bao, READ + SELF, "wrapped", token_ttl="60s", token_max_ttl="60s")
    clock = Clock()

    def wrapped(path: str = "auth/approle/role/wrapped/secret-id") -> str:
        made = bao.call("POST", path, {}, headers={"X-Vault-Wrap-TTL": "60s"})
        return str(made["wrap_info"]["token"])

    values = Values(S=wrapped())
    access = SignIn(address=bao.address, role_id=role_id, secret_id=parse_ref("env:S"), is_wrapped=True)
    at = VaultSession(access, values, clock=clock)
    assert read(at) == CANARY
    clock.at += 100
    assert read(at) == CANARY, "another login by the same secret id"
    error = refused(VaultSession(access, values))
    assert error.reason_code == "backend_denied" and "unwrapped before" in error.message
    values.values["S"] = wrapped()
    clock.at += 100
    assert read(at) == CANARY, "one that was put in its place is unwrapped"
    # What somebody wrapped elsewhere is not what our role's mount made.
    values.values["S"] = wrapped("sys/wrapping/wrap")
    assert "not made by our AppRole" in refused(VaultSession(access, values)).message
    values.values["S"] = "nonsense"
    assert "cannot be unwrapped" in refused(VaultSession(access, values)).message


def test_a_namespace(bao: Bao) -> None:
    bao.call("POST", "sys/namespaces/team", {})
    inside = {"X-Vault-Namespace": "team"}
    bao.call("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}}, headers=inside)
    for _ in range(100):
        try:
            bao.call("POST", "kv/data/db", {"data": {"password": f"{CANARY}-team"}}, headers=inside)
            break
        except urllib.error.HTTPError:
            time.sleep(0.05)
    access = SignIn(address=bao.address, token=parse_ref("env:T"), namespace="team")
    at = VaultSession(access, Values(T=ROOT_TOKEN))
    assert VaultKv(at, KvPlace(mount="kv", path="db")).current().fields["password"].reveal() == f"{CANARY}-team"
    assert at.now() is not None, "health is asked of the server, not of a namespace"
    with pytest.raises(RotationError, match="no such secret"):
        VaultKv(by_token(bao), KvPlace(mount="kv", path="db")).current()


# -- tokens that end ----------------------------------------------------------------------------------------------


def test_a_token_is_renewed_before_it_ends(bao: Bao) -> None:
    clock = Clock()
    at = approle(bao, READ + SELF + RENEW, "renewed", clock=clock, token_ttl="60s", token_max_ttl="1h")
    read(at)
    for _ in range(5):
        clock.at += 45
        assert read(at) == CANARY
    assert logins(bao, "renewed") == 1


def test_a_token_that_may_not_be_renewed_is_replaced(bao: Bao) -> None:
    clock = Clock()
    at = approle(bao, READ + SELF, "notallowed", clock=clock, token_ttl="60s", token_max_ttl="60s")
    read(at)
    first = at._login
    clock.at += 45
    assert read(at) == CANARY
    assert at._login is not None and first is not None and at._login.token is not first.token


def test_a_token_that_ended_is_replaced_and_the_call_repeated(bao: Bao) -> None:
    for name, policy in (("short", READ + SELF), ("blind", READ)):
        at = approle(bao, policy, name, clock=Clock(), token_ttl="1s", token_max_ttl="1s")
        read(at)
        time.sleep(1.1)  # our clock stands still: we do not know
        assert read(at) == CANARY


def test_a_given_token_is_renewed_and_read_anew_once_it_ended(bao: Bao) -> None:
    made = bao.policy_token(READ + SELF + RENEW, ttl="60s")
    values, clock = Values(T=made), Clock()
    at = VaultSession(SignIn(address=bao.address, token=parse_ref("env:T")), values, clock=clock)
    for known in (False, True):
        read(at)
        told = bao.call("POST", "auth/token/lookup", {"token": made})["data"]
        assert ("last_renewal_time" in told) == known, sorted(told)
        clock.at += 45
    bao.call("POST", "auth/token/revoke", {"token": made})
    asked = values.reads
    assert refused(at).reason_code == "backend_denied" and values.reads == asked + 1
    values.values["T"] = bao.policy_token(READ, ttl="60s")
    assert read(at) == CANARY, "somebody put another one in its place"


def test_who_waits_keeps_the_token_alive(bao: Bao) -> None:
    at = approle(bao, READ + SELF + RENEW, "alive", token_ttl="2s", token_max_ttl="60s", secret_id_num_uses=1)
    with at:
        read(at)
        at._over.set()  # the first keeper ends; another one looks at once
        at.__enter__()
        time.sleep(3)
        assert read(at) == CANARY
        assert logins(bao, "alive") == 1


# -- servers that are not as they should be ------------------------------------------------------------------------


def test_a_ca_of_our_own(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with with_tls(tmp_path) as server:
        server.call("POST", "kv/data/db", {"data": {"password": CANARY}})
        token = parse_ref("env:T")
        values = Values(T=server.token)
        good = SignIn(address=server.address, token=token, ca_file=server.ca_file)
        assert read(VaultSession(good, values), "kv/data/db") == CANARY
        for ca_file in (None, certificates(other), tmp_path / "none.pem"):
            bad = SignIn(address=server.address, token=token, ca_file=ca_file)
            error = refused(VaultSession(bad, values))
            assert error.reason_code == "backend_unreachable" and not error.is_passing, ca_file


def test_a_server_that_is_not_there_or_does_not_answer(bao: Bao) -> None:
    token = parse_ref("env:T")
    nobody = SignIn(address=f"http://127.0.0.1:{free_port()}", token=token)
    error = refused(VaultSession(nobody, Values(T=ROOT_TOKEN)))
    assert (error.reason_code, error.is_passing) == ("backend_unreachable", True)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        error = refused(VaultSession(SignIn(address=address, token=token, timeout_s=0.2), Values(T=ROOT_TOKEN)))
        assert (error.reason_code, error.is_passing) == ("backend_unreachable", True)
        assert "within 0.2 s" in error.message
    for address in ("nonsense", "ftp://127.0.0.1", "http://vault.example"):
        error = refused(VaultSession(SignIn(address=address, token=token), Values(T=ROOT_TOKEN)))
        assert (error.reason_code, error.is_passing) == ("backend_unreachable", False)


def test_a_proxy_only_as_configured(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    with middle(bao) as between:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, between.address)
        assert read(by_token(bao)) == CANARY and not between.seen
        access = SignIn(address=bao.address, token=parse_ref("env:T"), proxy=between.address)
        assert read(VaultSession(access, Values(T=ROOT_TOKEN))) == CANARY and between.seen
    with pytest.raises(UsageError):
        SignIn(proxy="http://user:secret@proxy")


class Played:
    """Somebody who plays Vault: what it answers by the last part of a path, and what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.told: dict[str, tuple[int, bytes]] = {}
        self.asked: list[tuple[str, dict[str, Any], dict[str, str]]] = []


@contextmanager
def played() -> Iterator[Played]:
    fake = Played()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.asked.append((self.path, json.loads(content or b"{}"), dict(self.headers)))
            code, body = fake.told.get(self.path.rsplit("/", 1)[-1].partition("?")[0], (404, b'{"errors": []}'))
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", f"{fake.address}/v1/elsewhere")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        fake.address = f"http://127.0.0.1:{server.server_port}"
        yield fake
        server.shutdown()


@pytest.fixture
def fake() -> Iterator[Played]:
    with played() as one:
        one.told = {
            "login": (200, b'{"auth": {"client_token": "hello", "lease_duration": 60, "renewable": true}}'),
            "db": (200, b'{"data": {"data": {"password": "c4nary-value"}}}'),
        }
        yield one


def test_kubernetes_fake_signs_in_with_the_token_that_lies_there_now(fake: Played) -> None:
    access = SignIn(address=fake.address, kubernetes_role="rotator", kubernetes_mount="clusters/one")
    values, clock = Values(**{access.kubernetes_jwt.place: "jwt-1\n"}), Clock()
    at = VaultSession(access, values, clock=clock)
    assert read(at) == CANARY
    assert fake.asked[0][:2] == ("/v1/auth/clusters/one/login", {"role": "rotator", "jwt": "jwt-1"})
    assert "X-Vault-Token" not in fake.asked[0][2]
    values.values[access.kubernetes_jwt.place] = "jwt-2"  # the kubelet writes a new one by and by
    clock.at += 100
    fake.told["renew-self"] = (403, b"{}")
    read(at)
    assert [body["jwt"] for path, body, _ in fake.asked if path.endswith("login")] == ["jwt-1", "jwt-2"]
    fake.told["login"] = (403, b'{"errors": ["c4nary-value"]}')
    clock.at += 100
    assert refused(at).reason_code == "backend_denied"


@pytest.mark.parametrize(
    ("code", "body", "reason", "is_passing"),
    [
        (302, b"", "backend_error", False),
        (307, b"", "backend_unreachable", True),
        (400, b'{"errors": ["c4nary-value"]}', "backend_error", False),
        (403, b'{"errors": ["c4nary-value"]}', "backend_denied", False),
        (404, b"<html>", "backend_error", False),
        (405, b"{}", "backend_error", False),
        (412, b"{}", "backend_unreachable", True),
        (429, b"{}", "backend_limited", True),
        (500, b'{"errors": ["c4nary-value"]}', "backend_unreachable", True),
        (501, b"{}", "backend_sealed", False),
        (503, b'{"errors": ["Vault is sealed"]}', "backend_sealed", False),
        (503, b"<html>busy", "backend_unreachable", True),
        (504, b"", "backend_unreachable", True),
    ],
)
def test_what_an_answer_means_fake(fake: Played, code: int, body: bytes, reason: str, is_passing: bool) -> None:
    at = VaultSession(SignIn(address=fake.address, role_id="r"), Values())
    read(at)
    fake.told["db"] = (code, body)
    error = refused(at)
    assert (error.reason_code, error.is_passing) == (reason, is_passing)
    assert not [path for path, _, _ in fake.asked if "elsewhere" in path]
    fake.told["login"] = (code, body)
    error = refused(VaultSession(SignIn(address=fake.address, role_id="r"), Values()))
    assert error.reason_code in (reason, "backend_denied") and error.is_passing == is_passing


@pytest.mark.parametrize("auth", ["null", "[]", '{"client_token": ["x"]}', '{"client_token": ""}', "{}"])
def test_a_login_that_grants_nothing_fake(fake: Played, auth: str) -> None:
    fake.told["login"] = (200, f'{{"auth": {auth}}}'.encode())
    error = refused(VaultSession(SignIn(address=fake.address, role_id="r"), Values()))
    assert error.reason_code == "backend_denied" and "without a token" in error.message


@pytest.mark.parametrize("lease", ['"soon"', "null", "-1", "NaN", "1" + "0" * 400, "0"])
def test_a_lease_of_any_kind_is_a_login_fake(fake: Played, lease: str) -> None:
    fake.told["login"] = (200, f'{{"auth": {{"client_token": "hello", "lease_duration": {lease}}}}}'.encode())
    assert read(VaultSession(SignIn(address=fake.address, role_id="r"), Values())) == CANARY


def test_a_token_whose_last_day_comes_near_is_replaced_fake(fake: Played) -> None:
    clock = Clock()
    at = VaultSession(SignIn(address=fake.address, role_id="r"), Values(), clock=clock)
    for lease in (60, 40, 10, None, 60):
        read(at)
        clock.at = (at._login.due_at if at._login is not None else None) or 0.0
        fake.told["renew-self"] = (200, f'{{"auth": {{"lease_duration": {lease}, "renewable": true}}}}'.encode())
    read(at)
    asked = [path.rsplit("/", 1)[-1] for path, _, _ in fake.asked if "auth" in path]
    assert asked == ["login", "renew-self", "renew-self", "renew-self", "login", "renew-self"]


def test_a_renewal_that_is_not_answered_is_waited_for_as_long_as_the_token_lasts_fake(fake: Played) -> None:
    clock = Clock()
    at = VaultSession(SignIn(address=fake.address, role_id="r"), Values(), clock=clock)
    read(at)
    for code in (429, 500):
        fake.told["renew-self"] = (code, b"{}")
        fake.told["login"] = (code, b"{}")
        clock.at = 50
        assert read(at) == CANARY
    clock.at = 61
    assert refused(at).is_passing


_BODIES = itertools.chain(
    [b"", b"[]", b"<html>", b"[" * 100_000, b'{"data": []}', b'{"data": {}}', b'{"data": {"data": {"a": "b"}}}'],
    [b'{"data": {"data": {"a": "b"}, "metadata": {"version": "1", "created_time": "2026-01-01T00:00:00Z"}}}'],
    [b'{"data": {"data": {"a": "b"}, "metadata": {"version": 1, "created_time": "yesterday"}}}'],
)


@pytest.mark.parametrize("body", list(_BODIES))
def test_a_secret_that_is_none_of_version_2_fake(fake: Played, body: bytes) -> None:
    fake.told["db"] = (200, body)
    at = VaultSession(SignIn(address=fake.address, role_id="r"), Values())
    with pytest.raises(RotationError) as error:
        VaultKv(at, KvPlace(mount="secret", path="db")).current()
    assert error.value.reason_code == "backend_error" and error.value.advice


@pytest.mark.parametrize("number", ["1e400", "[1.00000000000000000001]"])
def test_a_number_that_would_not_be_written_back_as_it_is_fake(fake: Played, number: str) -> None:
    made = '"metadata": {"version": 1, "created_time": "2026-01-01T00:00:00Z"}'
    at = VaultSession(SignIn(address=fake.address, role_id="r"), Values())
    store = VaultKv(at, KvPlace(mount="secret", path="db"))
    fake.told["db"] = (200, f'{{"data": {{"data": {{"n": {number}}}, {made}}}}}'.encode())
    with pytest.raises(RotationError, match="would not be written back") as error:
        store.current()
    assert error.value.reason_code == "secret_shape"
    fake.told["db"] = (200, f'{{"data": {{"data": {{"n": 1e-7, "m": 1.10}}, {made}}}}}'.encode())
    assert store.current().fields["m"].reveal() == "1.1"


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"{}", None), (b'{"server_time_utc": "x"}', None), (b'{"server_time_utc": 1e300}', None)],
)
def test_the_time_by_the_header_fake(fake: Played, body: bytes, reason: str | None) -> None:
    fake.told["health"] = (200, body)
    at = VaultSession(SignIn(address=fake.address, role_id="r"), Values())
    assert abs(at.now().timestamp() - time.time()) < 3
    assert not [path for path, _, _ in fake.asked if "login" in path], "who asks for the time needs no token"
    fake.told["health"] = (503, b'{"sealed": true}')
    with pytest.raises(RotationError) as error:
        at.now()
    assert error.value.reason_code == "backend_sealed"


def test_no_value_in_a_log_at_its_loudest(bao: Bao, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    role_id, secret_id = role_of(bao, READ + SELF, "loud")
    access = SignIn(address=bao.address, role_id=role_id, secret_id=parse_ref("env:S"))
    at = VaultSession(access, Values(S=secret_id))
    answer = at.ask("get", "secret/data/db")
    assert answer.data["data"]["password"] == CANARY
    login = at._login
    assert login is not None
    shown = caplog.text + repr([answer, at, vars(at), login, vars(at._signing_in)])
    for value in (CANARY, secret_id, login.token.reveal()):
        assert value not in shown
