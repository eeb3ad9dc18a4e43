"""What becomes of `rotation.inventory` in org.yaml: stores, places of what is configured, and the policies."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from flows.inventory_policies import aws_inventory_policies
from flows.inventory_stores import configured_in, inventory_of, opened_run, stores_of
from flows.settings import Settings, load
from flows.store_sessions import StoreSessions
from tasks.core.errors import UsageError
from tasks.core.mistakes import ConfigurationError
from tasks.patrol.stored_secrets import Configured
from tasks.rotation.aws_audit_rules import ACCOUNT_RULES, ENDPOINT_CLEAR, REGION_RULES
from tasks.rotation.aws_store import AwsStore
from tasks.rotation.vault_store import VaultStore

ROLES = '[{arn: "arn:aws:iam::123456789012:role/look"}, {arn: "arn:aws-cn:iam::210987654321:role/look"}]'
PROGRAM = "program: {executable: target}, policy: p"


def settings(place: Path, inventory: str, secrets: str = "", aws: str = "") -> Settings:
    (place / "target").write_text("#!/bin/sh\n")
    (place / "target").chmod(0o755)
    (place / "org.yaml").write_text(
        f"home: home\n{aws}rotation:\n  policies: {{p: {{every_days: 30}}}}\n  inventory: {inventory}\n"
        + (f"  secrets:\n{secrets}" if secrets else "")
    )
    return load(place / "org.yaml")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VAULT_ADDR", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)


def test_each_store_of_the_section(tmp_path: Path) -> None:
    given = settings(
        tmp_path, f"{{vault: {{mounts: [secret, team/kv]}}, aws: {{regions: [a-1, b-1, a-1], roles: {ROLES}}}}}"
    )
    section = inventory_of(given)
    assert section is not None
    with ExitStack() as stack:
        stores = [*stores_of(given, section, StoreSessions(given, stack))]
        assert [(s.label, s.only) for s in stores] == [
            ("vault", ("vault:secret", "vault:team/kv")),
            *((f"aws {r} arn:{p}:iam::{a}:role/look", ())
              for p, a in (("aws", "123456789012"), ("aws-cn", "210987654321")) for r in ("account", "a-1", "b-1")),
        ]  # fmt: skip
        assert isinstance(stores[0].open(), VaultStore)
        opened = [s.open() for s in stores[1:]]
        assert all(isinstance(s, AwsStore) for s in opened)
        assert [s.rules for s in opened] == [(*ACCOUNT_RULES, ENDPOINT_CLEAR), REGION_RULES, REGION_RULES] * 2


def test_the_order_of_regions_and_another_one_change_nothing_for_the_account(tmp_path: Path) -> None:
    told = []
    for regions in ("eu-1, us-1", "us-1, eu-1", "us-1, eu-1, zz-1"):
        given = settings(tmp_path, f"{{aws: {{regions: [{regions}]}}}}")
        section = inventory_of(given)
        assert section is not None
        with ExitStack() as stack:
            sessions = StoreSessions(given, stack)
            opened = {s.label: s.open() for s in stores_of(given, section, sessions)}
            assert sessions.aws("eu-1", None) is not sessions.aws("eu-1", None, of="account"), "each for one thread"
            told.append({label: store.rules for label, store in opened.items()})
    assert told[0] == told[1] and set(told[0]) == {"aws account", "aws eu-1", "aws us-1"}
    assert told[2] == {**told[0], "aws zz-1": REGION_RULES}


def test_a_store_by_its_kind_or_name(tmp_path: Path) -> None:
    given = settings(tmp_path, "{vault: {}, aws: {}}")
    for only, labels in (
        (None, ("vault", "aws account", "aws")), ("vault", ("vault",)), ("aws", ("aws account", "aws")),
        ("aws account", ("aws account",)),
    ):  # fmt: skip
        with opened_run(given, only) as run:
            assert run.labels == labels
    with pytest.raises(UsageError, match="There are: vault, aws account, aws"), opened_run(given, "x"):
        pass


@pytest.mark.parametrize(
    ("inventory", "mistake"),
    [
        ("{}", "it names no store"), ("{unused_days: 3}", "it names no store"), ("{vault: }", "it is empty"),
        ("{vault: {}, unused_days: 0}", "unused_days"), ("{vault: {mounts: ['x y']}}", "mounts"),
        ("{aws: {roles: [{arn: x}]}}", "arn"),
    ],
)  # fmt: skip
def test_mistakes_are_told(tmp_path: Path, inventory: str, mistake: str) -> None:
    with pytest.raises(ConfigurationError, match=mistake):
        settings(tmp_path, inventory)


def test_what_is_configured_is_known_again(tmp_path: Path) -> None:
    secrets = (
        f"    a: {{vault: {{mount: secret, path: shop/db}}, {PROGRAM}, consumers: [{{name: cart}}]}}\n"
        f"    b: {{vault: {{mount: secret, path: x, pending_path: y/z}}, {PROGRAM}}}\n"
        "    c: {aws: {id: deploy/key, account: '123456789012'}, iam: {user: deploy}, policy: p}\n"
        f"    d: {{aws: {{id: e, region: eu-west-1, role: {{arn: 'arn:aws:iam::210987654321:role/r'}}}}, {PROGRAM}}}\n"
        "    e: {static_role: {mount: database, role: report, in_place: accepted}, policy: p}\n"
    )
    made = {
        c.name: c for c in configured_in(settings(tmp_path, "{vault: {}}", secrets, "aws: {region: eu-central-1}\n"))
    }
    assert (made["a"].place, made["a"].staged_at) == ("vault:secret/shop/db", "secret/shop/db-nightwarden")
    assert (made["b"].staged_at, made["a"].consumers, made["a"].target) == ("secret/y/z", ("cart",), "program")
    assert (made["c"].region, made["c"].account, made["c"].iam_user) == ("eu-central-1", "123456789012", "deploy")
    assert (made["e"].place, made["e"].target) == ("vault:database/static-roles/report", "static_role")
    assert (made["d"].region, made["d"].account) == ("eu-west-1", "210987654321")


ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:shop/db"


@pytest.mark.parametrize(
    ("more", "store", "place", "is_there"),
    [
        ({}, "aws:123456789012/eu-central-1", "aws-sm:shop/db", True),
        ({}, "aws:123456789012/eu-central-1", ARN, False),
        ({}, "aws:123456789012/eu-central-1", f"aws-sm:{ARN}", True),
        ({}, "aws:123456789012/eu-west-1", "aws-sm:shop/db", True),
        ({"region": "eu-west-1"}, "aws:123456789012/eu-central-1", "aws-sm:shop/db", False),
        ({"account": "210987654321"}, "aws:123456789012/eu-central-1", "aws-sm:shop/db", False),
        ({"at": f"{ARN}-AbC123"}, "aws:123456789012/eu-central-1", "aws-sm:shop/db", True),
        ({"at": f"{ARN}-AbC123"}, "aws:123456789012/eu-west-1", "aws-sm:shop/db", False),
        ({"at": f"{ARN}-AbC123"}, "aws:210987654321/eu-central-1", "aws-sm:shop/db", False),
        ({"at": "shop/db-AbC123"}, "aws:123456789012/eu-central-1", "aws-sm:shop/db", False),
        ({}, "vault:https://vault.test", "aws-sm:shop/db", False),
        ({"store": "vault", "at": "secret/a\u202eb"}, "vault:https://v", "vault:secret/a⟨U+202E⟩b", True),
    ],
)
def test_by_what_places_a_store_may_call_it(more: dict[str, Any], store: str, place: str, is_there: bool) -> None:
    values: dict[str, Any] = {
        "name": "n", "store": "aws", "at": "shop/db", "target": "iam", "failure_class": "f", "every": None,
        "grace": None,
    }  # fmt: skip
    assert (place in Configured(**{**values, **more}).places_in(store)) is is_there


def test_policies_of_aws_need_no_answer_where_roles_and_regions_are_told(tmp_path: Path) -> None:
    given = settings(tmp_path, f"{{aws: {{regions: [eu-central-1, eu-west-1], roles: {ROLES}}}}}")
    told = [*aws_inventory_policies(given)]
    assert [purpose.split(": policy")[0] for purpose, _ in told] == [
        "for the identity that runs Nightwarden", "arn:aws:iam::123456789012:role/look",
        "arn:aws-cn:iam::210987654321:role/look",
    ]  # fmt: skip
    text = told[1][1]
    assert "eu-west-1:123456789012" in text and "NoValues" in text and json.loads(text)["Version"]
    assert "arn:aws-cn:" in told[2][1]
    with pytest.raises(UsageError, match="no AWS is configured"):
        [*aws_inventory_policies(settings(tmp_path, "{vault: {}}"))]
