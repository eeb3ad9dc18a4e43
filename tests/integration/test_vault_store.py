"""What a real OpenBao holds: each kind of secret, how old it is, and who may read it; in few calls."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tasks.core.rotations import RotationError
from tasks.core.secret_stores import SecretStore, StoredKind, StoredSecret, StoreFlaw, StoreGap
from tasks.rotation.vault_store import VaultStore
from tests.integration.test_vault_kv import session
from tests.integration.test_vault_roles import PASSWORD, open_to_others, postgresql
from tests.openbao import Bao, development
from tests.thorough import THOROUGH

__all__ = ["open_to_others"]
CANARY = "c4nary-value"


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        yield server


def store(bao: Bao, token: str | None = None, **more: Any) -> VaultStore:
    return VaultStore(session(bao.address, token or bao.token), pause=lambda _s: None, **more)


def held(of: VaultStore) -> dict[str, StoredSecret]:
    """What it holds by place, where nothing is a gap."""
    told = list(of.inventory())
    assert [t for t in told if isinstance(t, StoreGap)] == []
    found = {t.place: t for t in told if isinstance(t, StoredSecret)}
    assert len(found) == len(told), "each place once"
    assert CANARY not in repr(told)
    return found


def gaps(of: VaultStore) -> dict[str, str]:
    return {g.topic: g.reason_code for g in of.inventory() if isinstance(g, StoreGap)}


def mounted(bao: Bao, name: str, kind: str = "kv", **more: Any) -> str:
    here = quote(name)
    bao.call("POST", f"sys/mounts/{here}", {"type": kind, **more})
    if more.get("options", {}).get("version") == "2":
        for _ in range(200):
            try:
                bao.call("POST", f"{here}/data/ready", {"data": {}})
                bao.call("DELETE", f"{here}/metadata/ready")
                break
            except OSError:
                time.sleep(0.05)
    return name


def versioned(bao: Bao, name: str) -> str:
    return mounted(bao, name, options={"version": "2"})


def put(bao: Bao, mount: str, path: str, times: int = 1) -> None:
    for n in range(times):
        bao.call("POST", f"{mount}/data/{quote(path)}", {"data": {"password": f"{CANARY}{n}"}})


# -- key-value secrets --------------------------------------------------------------------------------------------


def test_key_value_secrets_with_their_age_and_state(bao: Bao) -> None:
    mount = versioned(bao, "ages")
    before = datetime.now(UTC) - timedelta(seconds=5)
    put(bao, mount, "once")
    put(bao, mount, "shop/twice", 2)
    put(bao, mount, "shop/twice/below")
    put(bao, mount, "gone", 2)
    bao.call("DELETE", f"{mount}/data/gone")
    put(bao, mount, "ended")
    bao.call("POST", f"{mount}/destroy/ended", {"versions": [1]})
    bao.call("POST", f"{mount}/metadata/empty", {"custom_metadata": {"owner": " team shop ", "x": "y"}})
    bao.call("POST", f"{mount}/metadata/short", {"delete_version_after": "24h"})
    put(bao, mount, "short")
    found = {p.removeprefix("vault:ages/"): s for p, s in held(store(bao, mounts=(mount,))).items()}
    assert set(found) == {"once", "shop/twice", "shop/twice/below", "gone", "ended", "empty", "short"}
    assert {s.kind for s in found.values()} == {StoredKind.KV}
    for name, secret in found.items():
        assert secret.created_at is not None and secret.created_at > before, name
        assert not secret.use_is_told and secret.last_used_at is None
    once, twice, short = found["once"], found["shop/twice"], found["short"]
    assert (once.version, once.rotated_at, once.rotation_is_told) == ("1", None, True), "never"
    assert twice.version == "2" and twice.rotation_is_told
    assert twice.rotated_at is not None and twice.created_at is not None and twice.rotated_at > twice.created_at
    assert {n: s.orphan for n, s in found.items() if not s.is_active} == {
        "gone": "its current version is deleted",
        "ended": "its current version is destroyed",
        "empty": "it has no version",
    }
    assert found["empty"].owner == "team shop" and once.owner is None
    assert short.expires_at is not None and short.expires_at > before + timedelta(hours=23) and short.orphan is None
    bao.call("POST", f"{mount}/undelete/gone", {"versions": [2]})
    assert held(store(bao, mounts=(mount,)))["vault:ages/gone"].is_active


def test_of_version_one_the_names_alone_are_told(bao: Bao) -> None:
    mount = mounted(bao, "team/old")
    for path in ("a", "deep/b", "metadata/c", "data/d"):
        bao.call("POST", f"{mount}/{path}", {"password": CANARY})
    found = held(store(bao, mounts=("team/old/",)))
    assert sorted(found) == [f"vault:team/old/{p}" for p in ("a", "data/d", "deep/b", "metadata/c")]
    assert all(s.created_at is None and not s.rotation_is_told and s.version is None for s in found.values())


ODD = ["a b", "50%", "%41", "é/ü", "x?y", "#", "a;b", "q=1&r", '"', "'", "`", "a\\b", "|", "=cmd", "-1", "ж", "a:b",
       "..a", "...", "~", "{{x}}", "+", "*", "a/+/b"]  # fmt: skip


def test_paths_of_any_signs_are_asked_for_as_they_are(bao: Bao) -> None:
    mount = versioned(bao, "odd names")
    for path in ODD:
        if ".." not in path:  # the store takes none
            bao.call("POST", f"{quote(mount)}/data/{quote(path, safe='/')}", {"data": {"password": CANARY}})
    found = held(store(bao, mounts=(mount,)))
    assert set(found) == {f"vault:odd names/{p}" for p in ODD if ".." not in p}
    assert all(s.version == "1" and s.created_at for s in found.values())


def test_what_may_be_listed_and_not_read_or_the_reverse_is_a_gap(bao: Bao) -> None:
    mount = versioned(bao, "parts")
    for path in ("open/a", "shut/b", "hidden/c"):
        put(bao, mount, path)
    token = bao.policy_token(
        """path "sys/mounts" { capabilities = ["read"] }
        path "auth/token/lookup-self" { capabilities = ["read"] }
        path "parts/metadata/" { capabilities = ["list"] }
        path "parts/metadata/open/*" { capabilities = ["list", "read"] }
        path "parts/metadata/shut/*" { capabilities = ["list"] }
        path "parts/metadata/hidden/*" { capabilities = ["read"] }"""
    )
    told = list(store(bao, token, mounts=(mount,)).inventory())
    found = {t.place: t for t in told if isinstance(t, StoredSecret)}
    assert set(found) == {"vault:parts/open/a", "vault:parts/shut/b"}
    assert found["vault:parts/open/a"].version == "1" and found["vault:parts/shut/b"].version is None
    assert not found["vault:parts/shut/b"].rotation_is_told
    assert all(s.readers is None for s in found.values()), "policies are not told"
    refused = {t.topic: t.reason_code for t in told if isinstance(t, StoreGap)}
    assert refused == dict.fromkeys(
        ["inventory/parts/hidden", "inventory/parts/shut/b", "inventory/policies", "inventory/sys/auth",
         "inventory/identity/entity/id", "inventory/identity/group/id"], "backend_denied",
    )  # fmt: skip


def test_mounts_that_are_not_there_or_not_told(bao: Bao) -> None:
    assert gaps(store(bao, mounts=("nowhere",))) == {"inventory/nowhere": "secret_missing"}
    mount = versioned(bao, "reached")
    put(bao, mount, "a")
    token = bao.policy_token(
        """path "reached/metadata/*" { capabilities = ["list", "read"] }
        path "auth/token/lookup-self" { capabilities = ["read"] }"""
    )
    for only in (None, (mount,)):
        told = list(store(bao, token, mounts=only).inventory())
        assert [t.place for t in told if isinstance(t, StoredSecret)] == ["vault:reached/a"]
        assert "inventory/mounts" in {t.topic for t in told if isinstance(t, StoreGap)}


def test_engines_that_are_not_looked_into_and_namespaces_are_gaps(bao: Bao) -> None:
    mounted(bao, "shells", "ssh")
    mounted(bao, "keys", "transit")
    assert gaps(store(bao, mounts=("shells", "keys", "cubbyhole", "sys", "identity"))) == {
        "inventory/shells": "store_untold"
    }
    bao.call("POST", "sys/namespaces/below")
    try:
        found = gaps(store(bao))
        assert found["inventory/namespaces/below"] == "store_untold" and "inventory/cubbyhole" not in found
    finally:
        bao.call("DELETE", "sys/namespaces/below")


def test_too_much_is_a_gap(bao: Bao) -> None:
    mount = versioned(bao, "many")
    for n in range(5):
        put(bao, mount, f"f{n}/a")
    told = list(store(bao, mounts=(mount,), most_secrets=7).inventory())
    assert len([t for t in told if isinstance(t, StoredSecret)]) == 2
    assert [t.reason_code for t in told if isinstance(t, StoreGap)] == ["store_limit"]
    deep = "/".join("d" for _ in range(80))
    put(bao, mount, deep)
    assert list(gaps(store(bao, mounts=(mount,))).values()) == ["store_limit"]


def test_the_calls_are_as_many_as_secrets_and_folders(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = versioned(bao, "crowd")
    folders, each = (40, 50) if THOROUGH else (16, 20)
    for n in range(folders * each):
        put(bao, mount, f"team-{n % 8}/app-{n % folders}/s{n:05}")
    at, asked = session(bao.address, bao.token), Counter[tuple[str, str]]()
    ask = at.ask

    def counted(method: str, path: str, **more: Any) -> Any:
        asked[method, path] += 1
        return ask(method, path, **more)

    monkeypatch.setattr(at, "ask", counted)
    found = held(VaultStore(at, mounts=(mount,)))
    assert len(found) == folders * each
    here = {call: n for call, n in asked.items() if call[1].startswith("crowd")}
    assert max(here.values()) == 1 and len(here) == folders * each + 1 + 8 + folders
    assert not [call for call in here if "/data/" in call[1]], "no value is asked for"
    assert sum(asked.values()) - len(here) < 60, "what does not grow with secrets"


def test_a_folder_is_read_in_pages(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    import tasks.rotation.vault_asking as asking

    mount = versioned(bao, "pages")
    for n in range(11):
        put(bao, mount, f"s{n:02}")
    for page in (1, 2, 5, 11, 12):
        monkeypatch.setattr(asking, "PAGE", page)
        assert len(held(store(bao, mounts=(mount,)))) == 11


# -- static roles and certificates --------------------------------------------------------------------------------


def test_static_roles_and_a_connection_that_is_gone(bao: Bao, open_to_others: Path) -> None:
    with postgresql(open_to_others) as port:
        mount = mounted(bao, "database", "database")
        url = f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{port}/postgres?sslmode=disable"
        how = {"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": url}
        for _ in range(40):
            try:
                bao.call("POST", f"{mount}/config/pg", {**how, "username": "admin", "password": PASSWORD})
                break
            except OSError:
                time.sleep(0.1)
        bao.call("POST", f"{mount}/roles/make", {"db_name": "pg", "creation_statements": ["CREATE ROLE app LOGIN"]})
        bao.call("GET", f"{mount}/creds/make")
        made = {"db_name": "pg", "username": "app", "rotation_period": "24h"}
        bao.call("POST", f"{mount}/static-roles/app", made)
        bao.call(
            "PUT", "sys/policies/acl/app", {"policy": 'path "database/static-creds/+" { capabilities = ["read"] }'}
        )
        found = held(store(bao, mounts=(mount,)))
        role = found["vault:database/static-roles/app"]
        assert len(found) == 1 and role.kind is StoredKind.STATIC_ROLE and role.orphan is None
        assert role.rotated_by == "Vault, every 24 h, for the user app" and role.rotation_is_told
        assert role.rotated_at is not None and role.created_at is None and role.readers == ("root", "app")
        bao.call("DELETE", f"{mount}/config/pg")
        assert held(store(bao, mounts=(mount,)))["vault:database/static-roles/app"].orphan == "its connection is gone"


def test_certificates_with_their_time_and_whether_they_are_revoked(bao: Bao) -> None:
    mount = mounted(bao, "pki", "pki")
    bao.call("POST", f"{mount}/root/generate/internal", {"common_name": "ca", "ttl": "48h"})
    bao.call("POST", f"{mount}/roles/web", {"allow_any_name": True, "max_ttl": "24h"})
    serials = [
        bao.call("POST", f"{mount}/issue/web", {"common_name": f"{n}.example", "ttl": "1h"})["data"]["serial_number"]
        for n in range(3)
    ]
    bao.call("POST", f"{mount}/revoke", {"serial_number": serials[0]})
    found = held(store(bao, mounts=(mount,)))
    assert len(found) == 4 and {s.kind for s in found.values()} == {StoredKind.CERTIFICATE}
    assert [found[f"vault:pki/certs/{s}"].is_active for s in serials] == [False, True, True]
    one = found[f"vault:pki/certs/{serials[1]}"]
    assert one.created_at is not None and one.expires_at is not None and one.version == serials[1]
    assert timedelta(minutes=59) < one.expires_at - one.created_at < timedelta(minutes=62)
    assert not one.rotation_is_told and one.readers is None and one.owner == "1.example"
    more = {"common_name": "2.example", "alt_names": "b.example,a.example", "ip_sans": "127.0.0.1", "ttl": "1h"}
    serial = bao.call("POST", f"{mount}/issue/web", more)["data"]["serial_number"]
    again = held(store(bao, mounts=(mount,)))[f"vault:pki/certs/{serial}"]
    assert again.owner == "127.0.0.1, 2.example, a.example, b.example", "what replaces it is for the same names"
    few = list(store(bao, mounts=(mount,), most_certificates=2).inventory())
    assert len([t for t in few if isinstance(t, StoredSecret)]) == 2
    assert [(t.topic, t.reason_code) for t in few if isinstance(t, StoreGap)] == [
        ("inventory/pki/certs", "store_limit")
    ]


# -- readers ------------------------------------------------------------------------------------------------------


def test_who_may_read_a_secret(bao: Bao) -> None:
    mount = versioned(bao, "read")
    for path in ("shop/db", "shop/mail", "other"):
        put(bao, mount, path)
    texts = {
        "shop": 'path "read/data/shop/*" { capabilities = ["read"] }',
        "not-db": 'path "read/data/shop/db" { capabilities = ["deny"] }',
        "own": 'path "read/data/{{identity.entity.name}}/*" { capabilities = ["read"] }',
        "lists": 'path "read/*" { capabilities = ["list"] }\npath "read/metadata/*" { capabilities = ["read"] }',
        "glob": '{"path": {"+/data/other": {"capabilities": ["read"]}}}',
    }
    for name, text in texts.items():
        bao.call("PUT", f"sys/policies/acl/{name}", {"policy": text})
    for kind in ("approle", "userpass", "kubernetes"):
        bao.call("POST", f"sys/auth/{kind}", {"type": kind})
    bao.call("POST", "auth/approle/role/all", {"token_policies": ["shop", "lists"]})
    bao.call("POST", "auth/approle/role/some", {"token_policies": ["shop", "not-db"]})
    bao.call("POST", "auth/userpass/users/ann", {"password": CANARY, "token_policies": ["glob"]})
    bao.call("POST", "identity/entity", {"name": "bob", "policies": ["own"]})
    bao.call("POST", "identity/group", {"name": "ops", "policies": ["glob"]})
    bao.call("POST", "auth/token/roles/ci", {"allowed_policies_glob": ["sho*"]})

    def readers(path: str) -> list[str]:
        told = held(store(bao, mounts=(mount,)))[f"vault:read/{path}"].readers
        assert told is not None
        return list(told)

    ours = "own, templated (entity/bob)"
    assert readers("shop/db") == ["root", ours, "shop (approle/all, token/ci)"]
    assert readers("shop/mail") == ["root", ours, "shop (approle/all, approle/some, token/ci)"]
    assert readers("other") == ["root", "glob (group/ops, userpass/ann)"]
    token = bao.policy_token('path "read/metadata/*" { capabilities = ["list", "read"] }\n'
                             'path "sys/*" { capabilities = ["read", "list"] }')  # fmt: skip
    told = list(store(bao, token, mounts=(mount,)).inventory())
    [other] = [t for t in told if isinstance(t, StoredSecret) and t.place == "vault:read/other"]
    assert other.readers == ("root", "glob"), "policies alone, where their holders are not told"
    assert {t.topic for t in told if isinstance(t, StoreGap)} >= {"inventory/auth/approle/role"}


def test_a_policy_that_is_not_told_makes_readers_unknown(bao: Bao, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = versioned(bao, "half")
    put(bao, mount, "a")
    bao.call("PUT", "sys/policies/acl/odd", {"policy": 'path "half/*" { capabilities = ["read"] }'})
    token = bao.policy_token('path "*" { capabilities = ["read", "list"] }\n'
                             'path "sys/policies/acl/odd" { capabilities = ["deny"] }')  # fmt: skip
    told = list(store(bao, token, mounts=(mount,)).inventory())
    [secret] = [t for t in told if isinstance(t, StoredSecret)]
    assert secret.readers is not None and "unknown: policy odd" in secret.readers
    assert {t.topic: t.reason_code for t in told if isinstance(t, StoreGap)} == {
        "inventory/policies/odd": "backend_denied"
    }
    import tasks.rotation.vault_grants as grants

    def unreadable(text: str) -> Any:
        raise grants.PolicyTextError("it is neither HCL nor JSON")

    monkeypatch.setattr(grants, "read_policy", unreadable)
    found = {g.topic: g.reason_code for g in store(bao, mounts=(mount,)).inventory() if isinstance(g, StoreGap)}
    assert found["inventory/policies/odd"] == "policy_unreadable"


def test_it_is_a_store_as_the_port_says(bao: Bao) -> None:
    of: SecretStore = store(bao)
    assert of.tool == "vault" and of.store_id() == f"vault:{bao.address}"
    ids = [r.rule_id for r in of.rules]
    assert len(set(ids)) == len(ids) > 30 and all(i.startswith("vault-") for i in ids)
    assert {r.severity for r in of.rules} == {"low", "medium", "high", "critical"}
    assert all(r.title and r.remedy.endswith(".") and r.source.startswith("https://") for r in of.rules)


def test_a_namespace_is_a_store_of_its_own(bao: Bao) -> None:
    named = VaultStore(session(bao.address.replace("http://", "http://user:pw@"), namespace="unit/"))
    with pytest.raises(RotationError):
        named.store_id()
    bao.call("POST", "sys/namespaces/unit")
    try:
        assert named.store_id() == f"vault:{bao.address}/unit"
        here = {"X-Vault-Namespace": "unit"}
        bao.call("POST", "sys/mounts/old", {"type": "kv"}, headers=here)
        bao.call("POST", "old/a", {"password": CANARY}, headers=here)
        text = 'path "old/a" { capabilities = ["read"] }'
        bao.call("PUT", "sys/policies/acl/inside", {"policy": text}, headers=here)
        found = held(named)
        assert [(p, s.readers) for p, s in found.items()] == [("vault:old/a", ("root", "inside"))]
        told = list(named.audit())
        assert ("vault-kv-v1", "mount/old") in {(t.rule_id, t.resource) for t in told if isinstance(t, StoreFlaw)}
        # What the server has only one of is told to who is signed in outside of all namespaces.
        assert "audit/vault-audit-none" in {t.topic for t in told if isinstance(t, StoreGap)}
        bao.call("DELETE", "sys/mounts/old", headers=here)
    finally:
        bao.call("DELETE", "sys/namespaces/unit")
