"""Everything a rotation does under the policy that is made for it, over TLS, and nothing else."""

from __future__ import annotations

import re
import urllib.error
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from tasks.core.errors import UsageError
from tasks.core.rotations import RotationError, State
from tasks.rotation.vault_kv import KvPlace, VaultKv
from tasks.rotation.vault_policy import policy
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_static_roles import RolePlace
from tests.integration.test_vault_rotation import KINDS, Shop, error_of
from tests.integration.test_vault_session import approle, logins
from tests.openbao import Bao, with_tls


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with with_tls(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture
def made(bao: Bao) -> Iterator[tuple[Shop, VaultSession]]:
    """A secret, and a session by AppRole whose policy is for it alone. Others lie beside it."""
    shop = Shop(bao, VaultSession.__new__(VaultSession), mount="kv")
    name = shop.place.path.replace("/", "-")
    for beside in ("shop", f"{shop.place.path}/deeper", f"{shop.place.path}x", "shop/other", "shop/other-nightwarden"):
        bao.call("POST", f"kv/data/{beside}", {"data": {"password": "not ours"}})
    with approle(bao, policy([shop.place]), name) as at:
        shop.session = at
        yield shop, at
    assert logins(bao, name) == 0, "its token is given back"


@pytest.mark.parametrize("kind", KINDS)
def test_everything_a_rotation_does_works(made: tuple[Shop, VaultSession], kind: str) -> None:
    shop, at = made
    shop.world.kind = kind
    shop.world.rejects = lambda value: value != "first"
    if kind == "issued":
        shop.world.accepted = {"app_a": "first"}
    else:  # it is refused, and that is written to the secret
        assert shop.machine().rotate("monday").state is State.WITHDRAWN
    shop.world.rejects = lambda _value: False
    assert shop.machine().rotate("monday").state is State.GRACE
    if kind == "pair":  # a fresh one in the place of one that is refused
        shop.world.accepted["app_b"] = "another"
        assert shop.machine().rotate("monday").state is State.GRACE
    shop.ahead += timedelta(seconds=62)
    assert shop.machine().rotate("monday").state is State.RETIRED
    shop.converged()
    kv = VaultKv(at, shop.place)
    current = kv.current()
    assert current.mark is not None and kv.at(current.mark.base) is not None, "the old value can be tried"
    at.keep()


def calls(shop: Shop) -> dict[tuple[str, str], bool]:
    """Calls to everything near, and whether the policy is to allow them."""
    path, beside = shop.place.path, shop.place.pending_path
    found: dict[tuple[str, str], bool] = {}
    for kind in ("data", "metadata", "delete", "undelete", "destroy", "subkeys", "detailed-metadata"):
        for there in (path, beside, "shop", f"{path}/deeper", f"{path}x", "shop/other", "shop/other-nightwarden"):
            for method in ("GET", "POST", "PATCH", "DELETE", "LIST"):
                found[(method, f"kv/{kind}/{there}")] = False
        found[("LIST", f"kv/{kind}/")] = False
    for method in ("GET", "POST"):
        found[(method, f"kv/data/{path}")] = found[(method, f"kv/data/{beside}")] = True
    found[("POST", f"kv/metadata/{beside}")] = True
    for method, there in [
        ("GET", "kv/config"), ("POST", "kv/config"), ("GET", "sys/mounts"), ("POST", "sys/mounts/x"),
        ("GET", "sys/policies/acl/default"), ("POST", "sys/policies/acl/mine"), ("GET", "sys/auth"),
        ("GET", "sys/audit"), ("PUT", "sys/seal"), ("POST", "auth/token/create"), ("LIST", "auth/token/accessors"),
        ("POST", "auth/token/revoke"), ("POST", "auth/token/lookup"), ("GET", "auth/approle/role/other"),
        ("POST", "auth/approle/role/other/secret-id"), ("GET", "cubbyhole/x"), ("GET", "identity/entity/id"),
        ("POST", "sys/capabilities-self"), ("POST", "sys/leases/lookup"), ("GET", "sys/internal/counters/activity"),
    ]:  # fmt: skip
        found[(method, there)] = False
    return found


def status(bao: Bao, token: str, method: str, path: str) -> int:
    body: Any = {"data": {}, "options": {"cas": 10_000}} if method in ("POST", "PUT", "PATCH") else None
    headers = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
    try:
        bao.call(method, path, body, token=token, headers=headers)
    except urllib.error.HTTPError as e:
        return e.code
    return 200


def test_each_call_outside_the_policy_is_denied(bao: Bao, made: tuple[Shop, VaultSession]) -> None:
    shop, at = made
    shop.machine().rotate("monday")
    assert at._login is not None
    token = at._login.token.reveal()
    known = calls(shop)
    got = {call: status(bao, token, *call) != 403 for call in known}
    assert {c for c, ok in got.items() if ok != known[c]} == set()
    assert len(known) > 250 and sum(known.values()) == 5
    other = Shop(bao, at, mount="kv")
    for call in (other.machine().standing, lambda: other.machine().rotate("monday")):
        with pytest.raises(RotationError) as error:
            call()
        assert error.value.reason_code == "backend_denied" and error.value.advice


@pytest.mark.parametrize("left_out", [*range(6)])
def test_each_rule_is_needed(bao: Bao, left_out: int) -> None:
    shop = Shop(bao, VaultSession.__new__(VaultSession), mount="kv")
    rules = re.findall(r'path "[^"]+" \{[^}]*\}\n', policy([shop.place]))
    assert len(rules) == 6
    own, name = "auth/token" in rules[left_out], f"without{left_out}"
    at = approle(bao, "".join(r for n, r in enumerate(rules) if n != left_out), name)
    shop.session = at
    with at:
        error = error_of(shop, at)
    assert (error is None) == own, rules[left_out]
    assert error is None or error.reason_code == "backend_denied"
    if "revoke-self" in rules[left_out]:
        assert logins(bao, name) == 1


# -- the text -----------------------------------------------------------------------------------------------------


def test_the_text_for_some_places() -> None:
    text = policy(
        [KvPlace(mount="team/kv", path='a "b"/c', pending_path="next/c"), KvPlace(mount="kv", path="x")],
        static_roles=[RolePlace(mount="database", role="app")],
        pki_roles=[RolePlace(mount="pki", role="web"), RolePlace(mount="pki", role="mail")],
    )
    paths = dict(re.findall(r'^path "(.+)" \{\n  capabilities = (\[.*\])$', text, re.MULTILINE))
    assert paths == {
        "auth/token/lookup-self": '["read"]',
        "auth/token/renew-self": '["update"]',
        "auth/token/revoke-self": '["update"]',
        "database/rotate-role/app": '["update"]',
        "database/static-roles/app": '["read"]',
        "kv/data/x": '["read", "update"]',
        "kv/data/x-nightwarden": '["create", "read", "update"]',
        "kv/metadata/x-nightwarden": '["create", "update"]',
        "pki/issue/mail": '["update"]',
        "pki/issue/web": '["update"]',
        "pki/revoke": '["update"]',
        'team/kv/data/a \\"b\\"/c': '["read", "update"]',
        "team/kv/data/next/c": '["create", "read", "update"]',
        "team/kv/metadata/next/c": '["create", "update"]',
    }
    places = [KvPlace(mount="kv", path=p) for p in "ab"]
    assert policy(places) == policy(places[::-1])


@pytest.mark.parametrize("path", ["a*", "a/+/b", "{{identity.entity.id}}/a", "${x}", "a\nb", "x/cert/+"])
def test_a_path_that_means_others_too_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="can name"):
        policy([KvPlace(mount="kv", path=path)])
    with pytest.raises(UsageError):
        RolePlace(mount="database", role="a/../b")


def test_a_path_with_signs_of_hcl_is_one_path(bao: Bao) -> None:
    shop = Shop(bao, VaultSession.__new__(VaultSession), mount="kv")
    shop.place = KvPlace(mount="kv", path='a "b" \\ c# é%')
    bao.call("POST", "kv/data/a%20%22b%22%20%5C%20c%23%20%C3%A9%25", {"data": {"username": "app_a", "password": "first",
                                                                           "port": 5432}})  # fmt: skip
    with approle(bao, policy([shop.place]), "signs") as at:
        shop.session = at
        shop.finish()
        shop.converged()
