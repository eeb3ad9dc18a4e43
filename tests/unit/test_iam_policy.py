"""The policies for rotation: their grammar, and that they allow what is called and nothing else (moto: an emulator)."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from moto.iam.policy_validation import IAMPolicyDocumentValidator

from tasks.core.errors import UsageError
from tasks.core.secret_refs import Secret
from tasks.rotation.iam_policy import MOST_CHARACTERS, GrantedSecret, assuming_policies, rotation_policies
from tasks.rotation.machine import Machine, Rules
from tasks.rotation.secrets_manager import SINCE_TAG
from tests.aws_rotations import Aws, aws_of_tests
from tests.rotation_fakes import FakeTarget, World
from tests.strict_moto import ACCOUNT, REGION

KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


def statements(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [statement for policy in policies for statement in policy["Statement"]]


def allowing(policies: list[dict[str, Any]], action: str, resource: str, tags: list[str]) -> list[dict[str, Any]]:
    """The statements that allow a call; as AWS, but for the conditions of KMS, which is asked by others."""
    found = []
    for one in statements(policies):
        keys = one.get("Condition", {}).get("ForAllValues:StringEquals", {}).get("aws:TagKeys")
        if (
            action in one["Action"]
            and any(fnmatch.fnmatchcase(resource, r) for r in one["Resource"])
            and (keys is None or (tags and set(tags) <= set(keys)))
        ):
            found.append(one)
    return found


def granted(name: str, **changes: Any) -> GrantedSecret:
    return GrantedSecret(secret_id=name, region=REGION, account=ACCOUNT, **changes)


def test_moto_every_call_of_rotations_is_allowed_and_no_action_is_left_over(aws: Aws) -> None:
    """Rotations of both kinds, one of them withdrawn, one forwarded, two of keys so that one is deleted."""
    world, rules = World(), Rules(grace=timedelta(seconds=60), settle=timedelta(0), lease=timedelta(0))
    name, (user, key) = aws.new_secret({"username": "app_a", "password": "first"}), aws.new_user()
    other = aws.new_secret(key)
    values = iter(range(100))
    pairs = Machine(
        "a", aws.backend(name), FakeTarget(world), rules, value=lambda: Secret(f"v{next(values)}"),
        tell=lambda _t: None, sleep=lambda _s: None,
    )  # fmt: skip
    keys = Machine(
        "b", aws.backend(other), aws.target(user), rules, value=lambda: Secret(""), tell=lambda _t: None,
        sleep=lambda _s: None,
    )  # fmt: skip
    aws.calls.clear()
    world.rejects = lambda value: value == "v0"
    for day in ("monday", "tuesday"):
        pairs.rotate(day)
        pairs.rotate(day)
        world.accepted.update({"app_b": "broken"} if day == "monday" else {})
        keys.rotate(day)
        aws.strict.later(61)
        pairs.rotate(day)
        keys.rotate(day)
    arns = {n: aws.strict.secret(n).arn for n in (name, other)}
    user_arn = f"arn:aws:iam::{ACCOUNT}:user/{user}"
    policies = rotation_policies([granted(name), granted(other)], [user_arn])
    used: list[str] = []
    for service, operation, params in aws.calls:
        action = f"{service}:{operation}"
        if action == "sts:GetCallerIdentity":
            continue  # needs no right
        resource = arns[params["SecretId"]] if "SecretId" in params else user_arn
        tags = [tag["Key"] for tag in params.get("Tags", [])]
        assert allowing(policies, action, resource, tags), action
        used.append(action)
    assert set(used) == {action for one in statements(policies) for action in one["Action"]}
    assert {r for one in statements(policies) for r in one["Resource"]} == {
        user_arn, *(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{n}-??????" for n in (name, other)),
    }  # fmt: skip


def test_what_is_not_configured_is_not_allowed() -> None:
    policies = rotation_policies([granted("shop/db", kms_key=KEY)], [f"arn:aws:iam::{ACCOUNT}:user/robot"])
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop/db"
    put, tag = "secretsmanager:PutSecretValue", "secretsmanager:TagResource"
    assert allowing(policies, put, f"{arn}-AbCd12", [])
    for resource in (arn, f"{arn}-2-AbCd12", f"{arn}/x-AbCd12", f"{arn}-AbCd123", arn.replace("shop", "Shop")):
        assert not allowing(policies, put, resource, [])
    assert allowing(policies, tag, f"{arn}-AbCd12", [SINCE_TAG])
    assert not allowing(policies, tag, f"{arn}-AbCd12", [SINCE_TAG, "owner"])
    for action in ("DeleteSecret", "RotateSecret", "PutResourcePolicy", "UpdateSecret", "UntagResource"):
        assert not allowing(policies, f"secretsmanager:{action}", f"{arn}-AbCd12", [])
    assert not allowing(policies, "iam:CreateAccessKey", f"arn:aws:iam::{ACCOUNT}:user/robot2", [])


def test_a_key_of_kms_is_used_through_secrets_manager_only() -> None:
    china = KEY.replace("arn:aws:", "arn:aws-cn:").replace(REGION, "cn-north-1")
    policies = rotation_policies([granted("a", kms_key=KEY), granted("b", kms_key=KEY), granted("c", kms_key=china)])
    kms = [one for one in statements(policies) if "kms:Decrypt" in one["Action"]]
    assert [one["Resource"] for one in kms] == [[KEY], [china]]
    assert kms[0]["Condition"] == {"StringEquals": {"kms:ViaService": [f"secretsmanager.{REGION}.amazonaws.com"]}}
    assert kms[1]["Condition"]["StringEquals"]["kms:ViaService"][-1] == "secretsmanager.cn-north-1.amazonaws.com.cn"
    assert all("kms" not in action for one in statements(rotation_policies([granted("a")])) for action in one["Action"])


def test_roles_are_taken_on_by_name() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/rotation"
    assert statements(assuming_policies([role, role])) == [
        {"Sid": "Roles0", "Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": [role]}
    ]


def test_many_secrets_are_more_policies_and_none_of_them_over_the_limit() -> None:
    names = [f"team-{n:04}/service/data-base/of-production" for n in range(1000)]
    users = [f"arn:aws:iam::{ACCOUNT}:user/robots/robot-{n:03}" for n in range(200)]
    policies = rotation_policies([granted(n, kms_key=KEY) for n in names], users)
    assert all(len(json.dumps(p, separators=(",", ":"))) <= MOST_CHARACTERS for p in policies)
    for name in names[::97]:
        arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCd12"
        assert len(allowing(policies, "secretsmanager:GetSecretValue", arn, [])) == 1
        assert len(allowing(policies, "secretsmanager:TagResource", arn, [SINCE_TAG])) == 1
    assert all(len(allowing(policies, "iam:DeleteAccessKey", u, [])) == 1 for u in users)


@pytest.mark.parametrize(
    "policies",
    [
        rotation_policies([granted("shop/db", kms_key=KEY)], [f"arn:aws:iam::{ACCOUNT}:user/robot"]),
        rotation_policies([granted(f"team/{n}") for n in range(300)]),
        assuming_policies([f"arn:aws:iam::{ACCOUNT}:role/a/b"]),
    ],
)
def test_moto_the_grammar_of_policies_is_that_of_iam(policies: list[dict[str, Any]]) -> None:
    assert policies
    for policy in policies:
        IAMPolicyDocumentValidator(json.dumps(policy)).validate()
        names = [one["Sid"] for one in policy["Statement"]]
        assert len(set(names)) == len(names) and all(n.isalnum() for n in names)
        assert all(one["Resource"] and "*" not in "".join(one["Resource"]) for one in policy["Statement"])


@pytest.mark.parametrize(
    "secret",
    [
        granted("*"), granted("shop db"), granted(""), GrantedSecret(secret_id="shop/db"),
        granted(f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop/db"), granted("arn:aws:s3:::bucket"),
        granted("a", kms_key="alias/ours"), granted("a", kms_key=KEY.replace("key/", "alias/")),
    ],
)  # fmt: skip
def test_what_no_statement_can_name_is_refused(secret: GrantedSecret) -> None:
    with pytest.raises(UsageError):
        rotation_policies([secret])


def test_a_complete_arn_is_taken_as_it_is_and_others_are_refused() -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop/db-AbCd12"
    assert {r for one in statements(rotation_policies([granted(arn)])) for r in one["Resource"]} == {arn}
    for user in ("robot", f"arn:aws:iam::{ACCOUNT}:user/*", f"arn:aws:iam::{ACCOUNT}:role/robot"):
        with pytest.raises(UsageError):
            rotation_policies(users=[user])
    with pytest.raises(UsageError):
        assuming_policies([f"arn:aws:iam::{ACCOUNT}:role/*"])
    assert rotation_policies() == assuming_policies([]) == []
