"""What policies allow, by us and by a real OpenBao: the same for each policy and path."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tasks.rotation.vault_acl import Acl, reaches
from tasks.rotation.vault_policy_text import PathRule, read_policy
from tests.openbao import Bao, development
from tests.thorough import THOROUGH

CAPABILITIES = ("create", "read", "update", "delete", "list", "patch", "sudo")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def bao() -> Iterator[Bao]:
    with development() as server:
        yield server


def told(bao: Bao, policies: dict[str, str], paths: list[str]) -> dict[str, frozenset[str]]:
    """What the server says of a token with these policies."""
    for name, text in policies.items():
        bao.call("PUT", f"sys/policies/acl/{name}", {"policy": text})
    made = bao.call("POST", "auth/token/create", {"policies": list(policies), "no_default_policy": True})["auth"]
    answer = bao.call("POST", "sys/capabilities", {"token": made["client_token"], "paths": paths})["data"]
    return {path: frozenset(answer[path]) - {"deny"} for path in paths}


def ours(policies: dict[str, str], paths: list[str]) -> dict[str, frozenset[str]]:
    acl = Acl((rule for text in policies.values() for rule in read_policy(text)), datetime.now(UTC))
    return {path: acl.capabilities(path) - {"deny"} for path in paths}


def hcl(**rules: list[str]) -> str:
    return "\n".join(f"path {json.dumps(p)} {{ capabilities = {json.dumps(c)} }}" for p, c in rules.items())


PATHS = [
    "secret/data/shop/db", "secret/data/shop", "secret/data/shopping/db", "secret/data/shop/db/deep",
    "secret/metadata/shop",
    "secret/data", "secret", "kv/data/a", "kv/data/é/b", "kv/data/a b/c", "sys/policies/acl/x", "sys/policy/x",
    "auth/token/create",
    "database/static-creds/app", "kv/data/100%", "kv/data/+", "kv/data/a*", "kv/data/a/b/c", "kv/x/é/bb", "",
]  # fmt: skip
#: Texts that people write, in all their forms.
TEXTS = [
    'path "secret/data/shop/db" { capabilities = ["read"] }',
    'path "secret/data/*" { capabilities = ["read", "list"] }\npath "secret/data/shop/*" { capabilities = ["deny"] }',
    'path "secret/+/shop/*" { capabilities = ["read"] }\npath "secret/data/shop/*" { capabilities = ["update"] }',
    'path "secret/data/+/db" { capabilities = ["read"] }\npath "secret/+/shop/db" { capabilities = ["list"] }',
    'path "secret/data/+/+" { capabilities = ["read"] }\npath "secret/data/+/db" { capabilities = ["deny"] }',
    'path "+/data/*" { capabilities = ["read"] }\npath "+/+/shop" { capabilities = ["create"] }\n'
    'path "*" { capabilities = ["sudo"] }',
    'path "*" { capabilities = ["create", "read", "update", "delete", "list", "sudo", "patch"] }',
    'path "secret/data/sho*" { capabilities = ["read"] }\npath "secret/data/shop*" { capabilities = ["list"] }',
    'path "secret/data/+/d*" { capabilities = ["read"] }\npath "secret/data/+/db" { capabilities = ["list"] }',
    'path "/secret/data/shop" { capabilities = ["read"] }',
    '# a remark\n// another\n/* and\n one */ path "kv/data/a" {\n'
    '  capabilities = [\n    "read", # why\n    "list",\n  ]\n}\n',
    'path "kv/*" { policy = "write" }', 'path "kv/*" { policy = "read" }', 'path "sys/*" { policy = "sudo" }',
    'path "kv/*" { policy = "deny" }', 'path "kv/*" { policy = "read"\n capabilities = ["sudo"] }',
    'path "kv/data/a" { capabilities = ["read", "deny"] }',
    '"path" "kv/data/a" { capabilities = ["read"], comment = "x" }', 'path "kv/data/a" { "capabilities" = ["read"] }',
    'name = "mine"\npath "kv/data/*" { capabilities = ["read"] }',
    '{"path": {"kv/data/*": {"capabilities": ["read"]}, "kv/data/a": {"policy": "write"}}}',
    '{"path": [{"kv/data/*": {"capabilities": ["read"]}}, {"kv/data/a": {"capabilities": ["deny"]}}]}',
    '{"name": "x", "path": {"kv/data/a": {"capabilities": ["read"]}}}',
    '{"path": {"k\\u0076/data/\\u00e9/b": {"capabilities": ["read"]}}}',
    'path "kv/data/\\u00e9/*" { capabilities = ["read"] }', 'path "kv/data/é/b" { capabilities = ["read"] }',
    'path "kv/data/a b/+" { capabilities = ["read"] }', 'path "kv/data/100%" { capabilities = ["read"] }',
    'path "kv/data/+" { capabilities = ["read"] }\npath "kv/data/a*" { capabilities = ["list"] }',
    'path "kv/data/a" { capabilities = ["update"]\n allowed_parameters = { "x" = ["a", 1]\n "*" = [] }\n'
    ' denied_parameters { "y" = [] }\n'
    '  required_parameters = ["z"]\n min_wrapping_ttl = "1s"\n max_wrapping_ttl = 90 }',
    'path "kv/data/a" { capabilities = ["read"] }\npath "kv/data/a" { capabilities = ["list"] }',
    'path "kv/data/a" { capabilities = ["deny"] }\npath "kv/data/a" { capabilities = ["read"] }',
    'path "kv/data/a" { capabilities = ["read"]\n expiration = "2001-01-01T00:00:00Z" }\n'
    'path "kv/*" { capabilities = ["list"] }',
    'path "kv/data/a" { capabilities = ["read"]\n expiration = "2101-01-01T00:00:00Z" }',
    'path "+" { capabilities = ["read"] }\npath "se*" { capabilities = ["list"] }',
    'path "kv/data/a" { }', "# nothing\n",
    'path "kv/+/é/+" { capabilities = ["read"] }\npath "kv/+/+/bb" { capabilities = ["list"] }',
    'path "kv/data/${x}" { capabilities = ["read"] }', 'path "sys/a+b/+" { capabilities = ["read"] }',
    'path "secret/data/shop/db*" { capabilities = ["read"] }\npath "secret/+/shop/db" { capabilities = ["deny"] }',
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_means_to_us_what_it_means_to_the_server(bao: Bao, text: str) -> None:
    paths = [p for p in PATHS if p]
    known = told(bao, {"one": text}, paths)
    assert ours({"one": text}, paths) == known


def made(random_: random.Random, words: list[str]) -> str:
    """A policy at random, of few words, so that its rules meet."""
    rules = []
    for _ in range(random_.randint(1, 7)):
        parts = [random_.choice([*words, "+"]) for _ in range(random_.randint(1, 4))]
        end = random_.choice(["", "", "*", "/*"])
        path = "/".join(parts) + end
        if "+*" not in path:
            granted = random_.sample(CAPABILITIES, random_.randint(1, 3)) if random_.random() > 0.15 else ["deny"]
            rules.append(f"path {json.dumps(path, ensure_ascii=False)} {{ capabilities = {json.dumps(granted)} }}")
    return "# a policy\n" + "\n".join(rules)


@pytest.mark.parametrize("seed", range(60 if THOROUGH else 6))
def test_policies_at_random_mean_the_same_alone_and_together(bao: Bao, seed: int) -> None:
    random_ = random.Random(seed)
    words = ["a", "ab", "b", "aé", "a+", "é"]
    paths = sorted({"/".join(random_.choice(words) for _ in range(random_.randint(1, 5))) for _ in range(60)})
    granted = 0
    for _ in range(6):
        policies = {f"p{n}": made(random_, words) for n in range(random_.randint(1, 3))}
        known = told(bao, policies, paths)
        assert ours(policies, paths) == known, policies
        granted += sum(map(bool, known.values()))
    assert granted > 5 and len(paths) > 30, "they meet"


@pytest.mark.parametrize("seed", range(40 if THOROUGH else 8))
def test_what_matches_below_a_folder_reaches_it(seed: int) -> None:
    random_ = random.Random(seed)
    words = ["a", "ab", "b"]
    for _ in range(300):
        for rule in read_policy(made(random_, words)):
            path = "/".join(random_.choice(words) for _ in range(random_.randint(2, 4)))
            if Acl([rule], NOW).capabilities(path):
                folders = ["/".join(path.split("/")[:n]) + "/" for n in range(1, path.count("/") + 1)]
                assert all(reaches(rule, folder) for folder in folders), (rule, path)
    assert not reaches(PathRule(path="a/b", capabilities=frozenset()), "ab/")


def test_a_template_may_be_anybody(bao: Bao) -> None:
    text = """path "kv/data/{{identity.entity.name}}/*" { capabilities = ["read"] }
    path "kv/data/all" { capabilities = ["read"] }
    path "{{identity.groups.names.ops.id}}/+/x" { capabilities = ["update"] }"""
    acl = Acl(read_policy(text), NOW)
    assert acl.may("kv/data/all", "read") and not acl.may("kv/data/ann/db", "read")
    assert acl.may_by_template("kv/data/ann/db", "read") and not acl.may_by_template("kv/data/ann", "read")
    assert acl.may_by_template("g/h/x", "update") and not acl.may_by_template("g/h/y", "update")
    assert all(reaches(r, "kv/data/") for r in read_policy(text))
    bao.call("PUT", "sys/policies/acl/own", {"policy": text})
    entity = bao.call("POST", "identity/entity", {"name": "ann", "policies": ["own"]})["data"]["id"]
    bao.call("POST", "sys/auth/userpass", {"type": "userpass"})
    bao.call("POST", "auth/userpass/users/ann", {"password": "p", "token_policies": ["none"]})
    accessor = bao.call("GET", "sys/auth")["data"]["userpass/"]["accessor"]
    alias = {"name": "ann", "canonical_id": entity, "mount_accessor": accessor}
    bao.call("POST", "identity/entity-alias", alias)
    token = bao.call("POST", "auth/userpass/login/ann", {"password": "p"})["auth"]["client_token"]
    paths = ["kv/data/ann/db", "kv/data/bob/db", "kv/data/all"]
    answer = bao.call("POST", "sys/capabilities", {"token": token, "paths": paths})["data"]
    assert [answer[p] for p in paths] == [["read"], ["deny"], ["read"]]


def test_a_rule_ends_when_it_says(bao: Bao) -> None:
    del bao
    rule = PathRule(path="a", capabilities=frozenset({"read"}), expires_at=NOW)
    assert Acl([rule], NOW - timedelta(seconds=1)).may("a", "read")
    assert not Acl([rule], NOW + timedelta(seconds=1)).may("a", "read")
