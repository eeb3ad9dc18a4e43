"""What is wider than it should be, and what only looks so."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.rotation import iam_exposure as exposure
from tasks.rotation.iam_statements import read_policy

ACCOUNT = "123456789012"
PROBE = f"arn:aws:secretsmanager:eu-central-1:{ACCOUNT}:secret:nobody/knows-AbCdEf"


def policy(*statements: dict[str, Any]) -> Any:
    return read_policy({"Version": "2012-10-17", "Statement": list(statements)})


def for_all(condition: Any = None, **changes: Any) -> dict[str, Any]:
    told = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*", "Principal": "*"}
    return {**told, **({"Condition": condition} if condition else {}), **changes}


def deny(condition: Any, **changes: Any) -> dict[str, Any]:
    return for_all(condition, **{"Effect": "Deny", "Action": "secretsmanager:*", **changes})


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:PrincipalOrgID": "o-a1b2"}}, {"StringLike": {"aws:PrincipalOrgID": "o-a1b2"}},
        {"StringEquals": {"aws:SourceAccount": [ACCOUNT, "999999999999"]}},
        {"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, {"StringEquals": {"kms:CallerAccount": ACCOUNT}},
        {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-a1b2/r-1/ou-1/*"}},
        {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/app-*"}},
        {"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::bucket"}}, {"StringEquals": {"aws:SourceVpce": "vpce-1"}},
        {"IpAddress": {"aws:SourceIp": ["203.0.113.0/24", "2001:db8::/48"]}},
        {"Bool": {"aws:SecureTransport": "true"}, "StringEquals": {"AWS:principalorgid": "o-a1b2"}},
    ],
)  # fmt: skip
def test_who_or_where_is_fixed_is_not_everybody(condition: Any) -> None:
    assert not exposure.open_to_everybody(policy(for_all(condition)))
    assert exposure.open_to_everybody(policy(for_all(condition), for_all())), "another statement is open"


@pytest.mark.parametrize(
    "condition",
    [
        None, {"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-a1b2"}}, {"StringLike": {"aws:PrincipalOrgID": "*"}},
        {"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-a1b2"}}, {"StringLike": {"aws:PrincipalOrgID": "o-?*"}},
        {"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2"}}, {"StringEquals": {"aws:PrincipalOrgID": []}},
        {"StringEquals": {"aws:PrincipalAccount": [ACCOUNT, "${aws:PrincipalAccount}"]}},
        {"StringEquals": {"aws:ResourceAccount": ACCOUNT}}, {"StringEquals": {"aws:PrincipalTag/team": "shop"}},
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/app"}}, {"StringLike": {"aws:PrincipalArn": "*"}},
        {"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-*/r-1/*"}}, {"Bool": {"aws:SecureTransport": "true"}},
        {"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, {"IpAddress": {"aws:SourceIp": ["203.0.113.1", "::/0"]}},
        {"IpAddress": {"aws:SourceIp": "anywhere"}}, {"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}},
        {"StringEquals": {"aws:SourceIp": "203.0.113.1"}}, {"Null": {"aws:PrincipalOrgID": "false"}},
    ],
)  # fmt: skip
def test_what_anybody_can_meet_limits_nobody(condition: Any) -> None:
    assert exposure.open_to_everybody(policy(for_all(condition)))
    assert exposure.open_to_everybody(policy(for_all(condition, Principal={"AWS": ["*"]})))
    assert exposure.open_to_everybody(policy(for_all(condition, Principal=None) | {"Principal": {"AWS": "*"}}))


def test_everybody_is_more_than_a_star() -> None:
    left_out = {k: v for k, v in for_all().items() if k != "Principal"} | {"NotPrincipal": {"AWS": ACCOUNT}}
    assert exposure.open_to_everybody(policy(left_out))
    for principal in ({"AWS": ACCOUNT}, {"Service": "lambda.amazonaws.com"}, {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}):
        assert not exposure.open_to_everybody(policy(for_all(Principal=principal)))
    assert not exposure.open_to_everybody(policy(for_all(Effect="Deny")))
    assert not exposure.open_to_everybody(())


@pytest.mark.parametrize(
    ("limit", "is_open"),
    [
        (deny({"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2"}}), False),
        (deny({"StringNotEqualsIfExists": {"aws:PrincipalOrgID": "o-a1b2"}}, Action="*"), False),
        (deny({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, Action="secretsmanager:Get*"), False),
        (deny({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}, Action="secretsmanager:PutSecretValue"), True),
        (deny({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}, Resource=PROBE), True),
        (deny({"StringNotEquals": {"aws:SourceVpc": "vpc-1", "aws:PrincipalOrgID": "o-1"}}), True),
        (deny({"StringNotLike": {"aws:PrincipalOrgID": "o-*"}}), True),
        (deny({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2"}}), True),
        (deny({"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2"}}, Principal={"AWS": ACCOUNT}), True),
        (deny({"Bool": {"aws:SecureTransport": "false"}}), True),
    ],
)  # fmt: skip
def test_a_deny_for_all_others_limits_too(limit: Any, is_open: bool) -> None:
    assert exposure.open_to_everybody(policy(for_all(), limit)) == is_open


def test_other_accounts_are_told_and_the_own_is_not() -> None:
    told = policy(
        for_all(Principal={"AWS": ["111111111111", f"arn:aws:iam::{ACCOUNT}:root", "arn:aws:iam::2222:role/x"]}),
        for_all(Principal={"AWS": ["arn:aws:iam::2222:root", "AROAGONE", "*"]}),
        for_all(Effect="Deny", Principal={"AWS": "333333333333"}), for_all(Principal={"Service": "444444444444"}),
    )  # fmt: skip
    assert exposure.other_accounts(told, ACCOUNT) == ["111111111111", "2222"]


def allow(action: Any, resource: Any = "*", **changes: Any) -> Any:
    return policy({"Effect": "Allow", "Action": action, "Resource": resource, **changes})


def without_resource(**changes: Any) -> Any:
    return policy({"Effect": "Allow", "Action": "*", **changes})


@pytest.mark.parametrize(
    ("found", "everything", "all_secrets", "all_actions"),
    [
        (allow("*"), True, True, True), (allow("*:*"), True, True, True), (allow(["s3:Get*", "*"]), True, True, True),
        (allow("*", "arn:aws:s3:::x"), False, False, True), (allow("secretsmanager:*"), False, True, True),
        (allow("secretsmanager:*", "arn:aws:secretsmanager:*:*:secret:shop/*"), False, False, True),
        (allow("secretsmanager:Get*"), False, True, False),
        (allow("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:*:{ACCOUNT}:secret:*"), False, True, False),
        (allow("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:*:*:secret:n*"), False, True, False),
        (allow("secretsmanager:GetSecretValue", f"{PROBE[:-6]}??????"), False, True, False),
        (allow("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:*:*:secret:shop/*"), False, False, False),
        (allow("*", Condition={"Bool": {"aws:MultiFactorAuthPresent": "true"}}), False, False, False),
        (policy({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}), False, True, True),
        (policy({"Effect": "Allow", "NotAction": "secretsmanager:Put*", "Resource": "*"}), False, True, False),
        (without_resource(NotResource="arn:aws:s3:::x"), False, True, True),
        (policy({"Effect": "Deny", "Action": "*", "Resource": "*"}), False, False, False),
        (allow("s3:*"), False, False, False),
    ],
)  # fmt: skip
def test_policies_of_identities_that_allow_more_than_anybody_needs(
    found: Any, everything: bool, all_secrets: bool, all_actions: bool
) -> None:
    assert exposure.allows_everything(found) == everything
    assert exposure.reads_every_secret(found, [PROBE]) == all_secrets
    assert exposure.allows_all_of_secrets(found) == all_actions


def test_the_regions_that_a_policy_names() -> None:
    told = allow("*", ["*", "arn:aws:secretsmanager:us-east-1:*:secret:*", "arn:aws:secretsmanager:eu-*:*:secret:x"])
    assert exposure.regions_of(told) == {"us-east-1"}
