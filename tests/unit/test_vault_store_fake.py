"""A store that answers nonsense, refuses, breaks off or never ends, played by a server of ours: nothing of it is taken
for an answer, nothing is asked for beside what was meant, and what is not known is told as such."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from tasks.core.reasons import REASONS
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.secret_stores import StoredSecret, StoreFlaw, StoreGap
from tasks.rotation.vault_peer import weakness
from tasks.rotation.vault_policy_text import PolicyTextError, read_policy
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_store import VaultStore
from tasks.rotation.vault_wire import SignIn

#: Status and body: an object to be sent as JSON, or bytes.
Told = tuple[int, Any]
EMPTY: Told = (404, {"errors": []})
DENIED: Told = (403, {"errors": ["1 error occurred:\n\t* permission denied\n\n"]})


#: What every server has.
SYSTEM = {"sys/": {"type": "system", "options": None, "config": {}}}
TOKEN = {"token/": {"type": "token", "options": None, "config": {}}}


class Played:
    """A store: what it answers to (method, path), and what it was asked."""

    def __init__(self) -> None:
        self.address = ""
        self.seen: list[tuple[str, str]] = []
        self.pauses: list[float] = []
        self.world: dict[str, Any] = {
            "GET sys/health": (200, {"initialized": True, "sealed": False, "server_time_utc": 1_800_000_000}),
            "GET auth/token/lookup-self": {"accessor": "own", "policies": ["x"]},
            "GET sys/mounts": {**SYSTEM, "kv/": {"type": "kv", "options": {"version": "2"}, "config": {}}},
            "GET sys/auth": TOKEN,
            "GET sys/config/state/sanitized": {
                "listeners": [], "storage": {"type": "raft"}, "raw_storage_endpoint": False, "disable_mlock": False,
            },
            "GET sys/audit": {"a/": {"type": "file", "options": {}}, "b/": {"type": "socket", "options": {}}},
            "GET sys/seal-status": (200, {"type": "shamir", "t": 3, "n": 5, "sealed": False}),
            "GET sys/key-status": {"term": 1, "install_time": "2026-12-01T00:00:00Z"},
            "LIST sys/policies/acl": {"keys": ["default", "root"]},
            "GET sys/policies/acl/default": {"policy": 'path "x" { }'},
            "LIST auth/token/accessors": {"keys": ["own"]},
            "POST auth/token/lookup-accessor": {"policies": ["x"], "period": 0, "expire_time": "2027"},
        }  # fmt: skip
        self.rules: Callable[[str, str], Told | None] = lambda _method, _path: None

    def answer(self, method: str, path: str) -> Told:
        told = self.rules(method, path)
        if told is None:
            told = self.world.get(f"{method} {path}", EMPTY)
        return told if isinstance(told, tuple) else (200, {"data": told})

    def store(self, **more: Any) -> VaultStore:
        access = SignIn(address=self.address, token=SecretRef(scheme="env", place="T"), timeout_s=5)
        return VaultStore(VaultSession(access, lambda _ref: Secret("t0ken")), pause=self.pauses.append, **more)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[Played]:
    for name in ("VAULT_ADDR", "VAULT_NAMESPACE", "VAULT_CACERT", "VAULT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    one = Played()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one piece

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(self.path.partition("?")[0]).removeprefix("/v1/")
            one.seen.append((self.command, path))
            status, body = one.answer(self.command, path)
            if status == 0:
                self.close_connection = True
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_LIST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        one.address = f"http://127.0.0.1:{server.server_port}"
        yield one
        server.shutdown()


def inventory(fake: Played, **more: Any) -> tuple[dict[str, StoredSecret], dict[str, str]]:
    told = list(fake.store(**more).inventory())
    printable(told)
    return (
        {t.place: t for t in told if isinstance(t, StoredSecret)},
        {t.topic: t.reason_code for t in told if isinstance(t, StoreGap)},
    )


def audit(fake: Played, **more: Any) -> tuple[set[tuple[str, str]], dict[str, str]]:
    told = list(fake.store(**more).audit())
    printable(told)
    return (
        {(t.rule_id.removeprefix("vault-"), t.resource) for t in told if isinstance(t, StoreFlaw)},
        {t.topic.removeprefix("audit/vault-"): t.reason_code for t in told if isinstance(t, StoreGap)},
    )


def printable(told: list[Any]) -> None:
    """Everything can be shown and kept, and each reason is on the closed list."""
    for each in told:
        for text in (getattr(each, name) for name in each.__slots__):
            for one in text if isinstance(text, tuple) else [text]:
                assert not isinstance(one, str) or (one.isprintable() and one.encode() is not None), one
        assert getattr(each, "reason_code", None) in {None, *REASONS}


# -- names --------------------------------------------------------------------------------------------------------

BAD = ["", "/", ".", "..", "../", "a/../../data/x", "a//b", "/a", "x/y", "\ud800", "n" * 5000]
ODD = ["new\nline", "\u202egnp", "=1+1", "a|b", "tab\t", "<b>", "x\x00y", "\u2028", "%2e%2e", "a\\..\\b", "{{x}}"]


def test_names_that_lead_elsewhere_are_not_asked_for(fake: Played) -> None:
    fake.world["LIST kv/metadata"] = {"keys": [*BAD, *ODD, "fine"]}
    for name in [*ODD, "fine"]:
        fake.world[f"GET kv/metadata/{name}"] = {"current_version": 1, "versions": {"1": {}}}
    secrets, gaps = inventory(fake)
    assert len(secrets) == len(ODD) + 1 and "vault:kv/fine" in secrets
    assert "vault:kv/new⟨U+000A⟩line" in secrets
    assert len([g for g in gaps if g.startswith("inventory/kv")]) >= len(set(BAD)) - 2  # some are shown alike
    assert {code for topic, code in gaps.items() if topic.startswith("inventory/kv")} == {"backend_error"}
    below = {path for _, path in fake.seen if path.startswith("kv")}
    assert below == {"kv/metadata", *(f"kv/metadata/{n}" for n in [*ODD, "fine"])}


def test_mounts_roles_and_policies_with_names_that_lead_elsewhere(fake: Played) -> None:
    fake.world["GET sys/mounts"] = SYSTEM | {
        "../sys/": {"type": "kv"}, "ok/": {"type": "kv"}, "x/": "text", "/": {"type": "kv"},
    }  # fmt: skip
    fake.world["GET sys/auth"] = TOKEN | {"approle/": {"type": "approle"}, "odd/": {"type": "magic"}}
    fake.world["LIST auth/approle/role"] = {"keys": ["../../sys/seal", "a\u202eb"]}
    fake.world["GET auth/approle/role/a\u202eb"] = {"token_policies": ["p", 7, None], "policies": "x, y"}
    fake.world["LIST sys/policies/acl"] = {"keys": ["..", "p\n"]}
    fake.world["GET sys/policies/acl/p\n"] = {"policy": 'path "ok/*" { capabilities = ["read"] }'}
    fake.world["LIST ok"] = {"keys": ["a"]}
    secrets, gaps = inventory(fake)
    assert secrets["vault:ok/a"].readers == ("root", "p\ufffd", "unknown: policy ..")
    assert {t: c for t, c in gaps.items() if c != "backend_denied"} == {
        "inventory/": "backend_error", "inventory/../sys": "backend_error", "inventory/x": "backend_error",
        "inventory/policies/..": "backend_error", "inventory/auth/approle/role": "backend_error",
        "inventory/auth/odd": "store_untold",
    }  # fmt: skip
    assert not [path for _, path in fake.seen if ".." in path or "seal" in path]
    audit(fake)


# -- answers ------------------------------------------------------------------------------------------------------

NONSENSE: list[Told] = [
    (200, b"<html>hello</html>"), (200, b""), (200, b"[]"), (200, b"null"), (200, b'{"data": 7}'), (200, {"data": []}),
    (200, {"data": {"keys": "abc"}}), (200, {"data": {"keys": [1, None, {}]}}), (200, {}), (204, b""),
    (400, {"errors": 7}), (200, {"data": {}}),
    (405, {"errors": ["x"]}), (418, b"tea"), (200, b'{"data": ' + b"[" * 100_000), (404, {"errors": ["no route"]}),
    (200, {"data": {"keys": {"a": 1}, "t": "x", "type": 5, "policy": [], "listeners": {}, "install_time": 5}}),
]  # fmt: skip
#: Rules of what the fake has: its mount is key-value, and nobody signs in.
SEEN = {"tls-version", "storage", "debug-endpoint", "audit-none", "audit-raw", "audit-file-mode", "seal-single",
        "barrier-key-old", "root-token", "token-endless", "policy-all", "policy-admin", "policy-unheld", "kv-v1",
        "lease-long", "approle-no-secret", "kubernetes-any", "no-mfa", "pki-any-name", "transit-key-old"}  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_neither_clean_nor_the_end(fake: Played, nonsense: Told) -> None:
    fake.rules = lambda _method, path: None if path in ("sys/health", "auth/token/lookup-self") else nonsense
    secrets, gaps = inventory(fake)
    assert secrets == {} and gaps.keys() >= {"inventory/mounts", "inventory/sys/auth"}
    assert "inventory/policies" in gaps or nonsense == (200, {"data": {}}), "a list may be empty"
    flaws, blind = audit(fake)
    known = flaws - {("tls-off", "address")}
    devices = {"audit-raw", "audit-file-mode"} if known else set()  # there are none
    assert blind.keys() >= SEEN - {rule for rule, _ in known} - devices
    assert not {rule for rule, _ in known} - {"audit-none"}


def test_what_is_refused_is_known_to_be_unknown(fake: Played) -> None:
    fake.rules = lambda _method, path: None if path == "sys/health" else DENIED
    secrets, gaps = inventory(fake, mounts=("kv",))
    assert secrets == {} and set(gaps.values()) == {"backend_denied", "secret_missing"}
    flaws, blind = audit(fake)
    assert flaws == {("tls-off", "address")} and blind.keys() >= SEEN and set(blind.values()) == {"backend_denied"}


@pytest.mark.parametrize("told", [
    {}, {"current_version": "1", "versions": []}, {"current_version": 10**30, "versions": {}},
    {"current_version": 2, "versions": {"2": {"created_time": "yesterday", "deletion_time": "99999-01-01"}}},
    {"current_version": 2, "versions": {"2": 5}, "created_time": 7,
     "custom_metadata": {"owner": [], "team": "\u202ex"}},
    {"current_version": -1, "versions": {"-1": {"destroyed": "yes"}}, "custom_metadata": "owner"},
])  # fmt: skip
def test_metadata_that_say_nothing_leave_it_unknown(fake: Played, told: dict[str, Any]) -> None:
    fake.world |= {"LIST kv/metadata": {"keys": ["a"]}, "GET kv/metadata/a": told}
    [secret] = inventory(fake)[0].values()
    assert secret.created_at is None and secret.rotated_at is None and not secret.rotation_is_told
    assert secret.owner in {None, "\ufffdx"}


def test_certificates_and_roles_that_are_none(fake: Played) -> None:
    fake.world["GET sys/mounts"] = SYSTEM | {
        "pki/": {"type": "pki"}, "db/": {"type": "database"}, "tr/": {"type": "transit"},
    }  # fmt: skip
    fake.world |= {
        "LIST pki/certs": {"keys": ["11:22", "gone"]},
        "GET pki/cert/11:22": {"certificate": "-----BEGIN no", "revocation_time": 1},
        "LIST pki/roles": {"keys": ["r"]},
        "GET pki/roles/r": {"max_ttl": "long", "allow_any_name": "true", "no_store": 1},
        "LIST db/static-roles": {"keys": ["s"]},
        "GET db/static-roles/s": {"rotation_period": -1, "username": "\n", "db_name": "c"},
        "GET db/config/c": DENIED, "LIST db/config": {"keys": ["c"]},
        "LIST tr/keys": {"keys": ["k"]}, "GET tr/keys/k": {"keys": {"1": 10**40}, "latest_version": 1},
    }  # fmt: skip
    secrets, gaps = inventory(fake)
    assert set(secrets) == {"vault:pki/certs/11:22", "vault:db/static-roles/s"}
    assert secrets["vault:pki/certs/11:22"].expires_at is None
    assert secrets["vault:db/static-roles/s"].rotated_by == "Vault, for the user \ufffd"
    assert secrets["vault:db/static-roles/s"].orphan is None and secrets["vault:db/static-roles/s"].rotated_at is None
    assert gaps["inventory/pki/certs/11:22"] == "backend_error" and gaps["inventory/db/config/c"] == "backend_denied"
    flaws, blind = audit(fake)
    assert flaws == {("tls-off", "address")}
    assert blind["transit-key-old"] == "store_untold" and blind["database-unencrypted"] == "backend_denied"


def test_a_list_without_an_end_is_ended(fake: Played) -> None:
    numbers = iter(range(10**9))
    fake.rules = lambda method, path: (
        (200, {"data": {"keys": [f"s{next(numbers)}/" for _ in range(1000)]}})
        if (method, path[:2]) == ("LIST", "kv")
        else None
    )
    _, gaps = inventory(fake, most_secrets=2500)
    assert list(gaps.values()) == ["store_limit", "store_limit"] and len(fake.seen) < 40


# -- a store that stops -------------------------------------------------------------------------------------------


def test_what_passes_is_waited_for_and_what_stays_is_told(fake: Played) -> None:
    fake.world |= {
        "LIST kv/metadata": {"keys": ["a"]},
        "GET kv/metadata/a": {"current_version": 1, "versions": {"1": {}}},
    }
    for status in (429, 500, 503, 412, 0):
        left = [status, status]
        fake.rules = lambda _m, path, left=left: (left.pop(), b"{}") if path == "kv/metadata/a" and left else None  # type: ignore[misc]
        secrets, gaps = inventory(fake)
        assert secrets["vault:kv/a"].version == "1" and gaps == {}, status
        assert fake.pauses == [0.2, 1.0]
        fake.pauses.clear()


@pytest.mark.parametrize("status", [500, 0, 301])
def test_one_path_that_does_not_work_is_a_gap(fake: Played, status: int) -> None:
    fake.world |= {
        "LIST kv/metadata": {"keys": ["a", "b"]},
        "GET kv/metadata/b": {"current_version": 1, "versions": {}},
    }
    fake.rules = lambda _m, path: (status, b"{}") if path == "kv/metadata/a" else None
    secrets, gaps = inventory(fake)
    assert set(secrets) == {"vault:kv/a", "vault:kv/b"} and list(gaps) == ["inventory/kv/a"]
    assert secrets["vault:kv/a"].version is None


@pytest.mark.parametrize(("told", "reason"), [
    ((429, {"errors": []}), "backend_limited"), ((503, {"errors": ["Vault is sealed"]}), "backend_sealed"),
    ((501, {}), "backend_sealed"), ((500, {}), "backend_unreachable"), ((0, b""), "backend_unreachable"),
])  # fmt: skip
def test_a_store_that_stops_ends_the_inventory_and_the_audit(fake: Played, told: Told, reason: str) -> None:
    fake.world["LIST kv/metadata"] = {"keys": [f"s{n}" for n in range(50)]}
    for look, at in ((VaultStore.inventory, "kv/metadata/s20"), (VaultStore.audit, "sys/key-status")):
        stopped = False

        def rules(_method: str, path: str, at: str = at) -> Told | None:
            nonlocal stopped
            stopped = stopped or path == at
            return told if stopped else None

        fake.rules = rules
        with pytest.raises(RotationError) as error:
            list(look(fake.store()))
        assert error.value.reason_code == reason
        assert "t0ken" not in f"{error.value}{error.value.__cause__!r}{error.value.__context__!r}"
        stopped = False


def test_nobody_there_and_a_token_that_is_refused(fake: Played) -> None:
    with pytest.raises(RotationError):
        VaultStore(VaultSession(SignIn(address="http://127.0.0.1:1"), lambda _r: Secret("x"))).store_id()
    access = SignIn(address=fake.address, role_id="r", secret_id=SecretRef(scheme="env", place="S"))
    store = VaultStore(VaultSession(access, lambda _r: Secret("x")))
    for look in (store.inventory, store.audit, store.policy):
        with pytest.raises(RotationError):
            list(look())


# -- rules that the server of the other tests cannot break --------------------------------------------------------


def test_settings_that_only_vault_has(fake: Played) -> None:
    state = fake.world["GET sys/config/state/sanitized"]
    assert audit(fake) == ({("tls-off", "address")}, {})
    state["disable_mlock"] = True
    assert audit(fake)[0] == {("tls-off", "address")}, "with raft it is advised"
    state["storage"] = {"type": "consul"}
    assert ("mlock", "server") in audit(fake)[0]
    state["storage"] = {"type": "file"}
    state["listeners"] = [
        {"type": "tcp", "config": {"address": "0.0.0.0:1", "tls_disable": "true"}},
        "x",
        {"config": 5},
    ]
    assert audit(fake)[0] >= {("storage", "server"), ("tls-off", "listener/0.0.0.0:1")}
    del state["raw_storage_endpoint"]
    assert audit(fake)[1]["debug-endpoint"] == "store_untold"
    fake.world["GET sys/seal-status"] = (200, {"type": "awskms", "recovery_seal": True, "t": 1, "n": 1})
    [told] = [t for t in fake.store().audit() if isinstance(t, StoreFlaw) and t.rule_id == "vault-seal-single"]
    assert told.detail == "one share of the recovery key is enough; the seal is `awskms`"


def test_many_tokens_and_a_token_that_ends_meanwhile(fake: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.rotation.vault_audit_access as access

    fake.world["LIST auth/token/accessors"] = {"keys": ["own", "a", "b"]}
    fake.world["POST auth/token/lookup-accessor"] = (400, {"errors": ["1 error occurred:\n\t* invalid accessor\n\n"]})
    assert audit(fake) == ({("tls-off", "address")}, {})
    fake.world["POST auth/token/lookup-accessor"] = (403, {"errors": ["invalid accessor"]})
    assert audit(fake)[1] == {}
    fake.world["POST auth/token/lookup-accessor"] = DENIED
    assert audit(fake)[1] == dict.fromkeys(["root-token", "token-endless", "policy-unheld"], "backend_denied")
    monkeypatch.setattr(access, "MOST_TOKENS", 2)
    fake.world["POST auth/token/lookup-accessor"] = {
        "policies": ["root"],
        "display_name": "\n|",
        "creation_time": 10**30,
    }
    flaws, blind = audit(fake)
    assert len([f for f in flaws if f[0] == "root-token"]) == 2 and blind["root-token"] == "store_limit"


def test_our_own_root_token_is_told_where_no_others_are(fake: Played) -> None:
    fake.world["LIST auth/token/accessors"] = DENIED
    fake.world["POST auth/token/lookup-accessor"] = DENIED
    fake.world["GET auth/token/lookup-self"] = {"accessor": "own", "policies": ["root"], "ttl": 0, "expire_time": None}
    flaws, blind = audit(fake)
    assert "root-token" in {rule for rule, _ in flaws} and blind["root-token"] == "backend_denied"


@pytest.mark.parametrize("details", [
    {"connection_url": "u:p@tcp(h)/x?tls=skip-verify"}, {"connection_url": "sqlserver://h?encrypt=disable"},
    {"connection_url": "server=h;TrustServerCertificate=True;x=y"}, {"tls": False}, {"insecure_tls": "true"},
    {"connection_url": "mongodb://h/a?tls=true&tlsInsecure=true"}, {"connection_url": "host=h sslmode=disable port=1"},
])  # fmt: skip
def test_connections_of_all_kinds_that_are_not_verified(fake: Played, details: dict[str, Any]) -> None:
    fake.world["GET sys/mounts"] = SYSTEM | {"db/": {"type": "database"}}
    fake.world |= {"LIST db/config": {"keys": ["c"]}, "GET db/config/c": {"connection_details": details}}
    assert ("database-unencrypted", "db/config/c") in audit(fake)[0]
    for fine in ({"connection_url": "postgresql://h/x?sslmode=verify-full"}, {"tls": True}, {}, {"connection_url": 5}):
        fake.world["GET db/config/c"] = {"connection_details": fine}
        assert audit(fake) == ({("tls-off", "address")}, {})


def test_a_weak_certificate() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    now, name = datetime.now(UTC), x509.Name([])

    def made(key: Any) -> x509.Certificate:
        begun = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        timed = begun.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
        return timed.sign(key, hashes.SHA256())

    assert weakness(made(rsa.generate_private_key(65537, 1024))) == "its key is RSA of 1024 bits"
    assert weakness(made(ec.generate_private_key(ec.SECP192R1()))) == "its key is EC of 192 bits"
    assert weakness(made(ec.generate_private_key(ec.SECP256R1()))) == ""


@pytest.mark.parametrize("text", [
    'path "a" {', 'path "a" }', "path", 'path "a" { capabilities = [', 'path "a" { capabilities = 7 }', "{", "[]",
    '{"path": 1}', 'path "a" { capabilities = ["read"] capabilities = ["list"] }', '{"path": {"a": 5}}', 'rule "a" { }',
    'path "a" { policy = "all" }', '{"path": {"a": {"capabilities": ["read"], "capabilities": []}}}', "path " * 3,
    '"' * 5, "x = " + "[" * 100, "x = " + "{ y = " * 100, "/* open", 'path "a\nb" { }', 'path "\\q" { }',
    "x = <<EOF\nnot closed", "\x00", "é" * 10, '{"path": ' + '{"a": ' * 5000,
])  # fmt: skip
def test_texts_that_are_no_policy(text: str) -> None:
    with pytest.raises(PolicyTextError):
        read_policy(text)
