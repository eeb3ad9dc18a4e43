"""The policy for an inventory and audit of AWS: it allows what is asked and nothing else (moto: an emulator)."""

from __future__ import annotations

import fnmatch
import json
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber
from moto.iam.policy_validation import IAMPolicyDocumentValidator

from tasks.core.errors import UsageError
from tasks.core.secret_stores import StoredSecret, StoreGap
from tasks.rotation.aws_session import AwsAccount, AwsSession
from tasks.rotation.aws_store import AwsStore
from tasks.rotation.iam_policy import MOST_CHARACTERS, inventory_policy
from tests.aws_answers import secret
from tests.aws_rotations import Aws, aws_of_tests
from tests.strict_moto import ACCOUNT, REGION

SERVICES = {"secretsmanager", "iam", "kms", "cloudtrail"}


def statements(policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for policy in policies for one in policy["Statement"]]


def is_allowed(policies: list[dict[str, Any]], action: str, resource: str) -> bool:
    def about(one: dict[str, Any]) -> bool:
        resources = one["Resource"] if isinstance(one["Resource"], list) else [one["Resource"]]
        return action in one["Action"] and any(fnmatch.fnmatchcase(resource, r) for r in resources)

    found = [one["Effect"] for one in statements(policies) if about(one)]
    return "Allow" in found and "Deny" not in found


def busy(aws: Aws) -> None:
    """Something that every question is asked about."""
    kms, trails = boto3.client("kms"), boto3.client("cloudtrail")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    name = aws.new_secret({"a": "1"}, KmsKeyId=key)
    aws.people.put_secret_value(SecretId=name, SecretString="x")
    user, _ = aws.new_user()
    AwsStore(aws.session).store_id()
    boto3.client("iam").generate_credential_report()
    aws.strict.later(60)
    aws.iam.create_access_key(UserName=user)  # newer than the report
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="trail-files")
    trails.create_trail(Name="here", S3BucketName="trail-files")
    trails.start_logging(Name="here")
    chosen = [{"ReadWriteType": "WriteOnly", "IncludeManagementEvents": True}]
    trails.put_event_selectors(TrailName="here", EventSelectors=chosen)


@pytest.mark.parametrize("with_iam", [True, False])
def test_moto_every_question_is_allowed_and_no_action_is_left_over(with_iam: bool) -> None:
    with aws_of_tests() as aws:
        busy(aws)
        aws.calls.clear()
        store = AwsStore(aws.session, with_iam=with_iam)
        rows = [*store.inventory(), *store.audit()]
        assert not [r for r in rows if isinstance(r, StoreGap)]
    policies = inventory_policy(ACCOUNT, [REGION], with_iam=with_iam)
    used = set()
    for service, operation, params in aws.calls:
        if service == "sts":
            continue  # needs no right
        resource = params.get("SecretId") or params.get("KeyId") or params.get("TrailName") or params.get("Name") or "*"
        if "UserName" in params or "AccessKeyId" in params:
            resource = f"arn:aws:iam::{ACCOUNT}:user/{params.get('UserName', 'robot')}"
        assert is_allowed(policies, f"{service}:{operation}", resource), (operation, params)
        used.add(f"{service}:{operation}")
    told = {a for one in statements(policies) if one["Effect"] == "Allow" for a in one["Action"]}
    assert used == told and {a.partition(":")[0] for a in told} <= SERVICES
    verbs = {a.partition(":")[2] for a in told}
    assert all(v.startswith(("Get", "List", "Describe", "Generate")) for v in verbs) and "GetSecretValue" not in verbs


def test_values_are_denied_but_to_a_role_that_rotates_too() -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop/db-AbCdEf"
    for with_values in (False, True):
        policies = inventory_policy(ACCOUNT, [REGION], with_values=with_values)
        denied = [one["Action"] for one in statements(policies) if one["Effect"] == "Deny"]
        wanted = [["secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue"]]
        assert denied == ([] if with_values else wanted)
        assert not is_allowed(policies, "secretsmanager:GetSecretValue", arn)
        assert is_allowed(policies, "secretsmanager:GetResourcePolicy", arn)
        assert not is_allowed(policies, "secretsmanager:GetResourcePolicy", arn.replace(REGION, "us-east-1"))
        assert not is_allowed(policies, "secretsmanager:GetResourcePolicy", arn.replace(ACCOUNT, "9" * 12))


@pytest.mark.parametrize("regions", [[REGION], ["cn-north-1"], [f"us-gov-region{'x' * n}-1" for n in range(60)]])
def test_moto_the_grammar_is_that_of_iam_and_the_limit_holds(regions: list[str]) -> None:
    policies = inventory_policy(ACCOUNT, regions, partition="aws-cn" if "cn-north-1" in regions else "aws")
    for policy in policies:
        IAMPolicyDocumentValidator(json.dumps(policy)).validate()
        assert len(json.dumps(policy, separators=(",", ":"))) <= MOST_CHARACTERS
    named = {r for one in statements(policies) for r in one["Resource"] if isinstance(one["Resource"], list)}
    assert sum(":secretsmanager:" in r for r in named) == len(regions)


@pytest.mark.parametrize(
    ("account", "regions"),
    [("", [REGION]), ("*", [REGION]), (ACCOUNT, []), (ACCOUNT, ["*"]), (ACCOUNT, ["eu-*-1"]), (ACCOUNT, ["x\n-y-1"])],
)
def test_what_no_statement_can_name_is_refused(account: str, regions: list[str]) -> None:
    with pytest.raises(UsageError):
        inventory_policy(account, regions)


def test_stub_a_page_that_is_denied_ends_the_list_and_is_told() -> None:
    """With botocore itself in between: what it makes of a refusal in the middle of pages."""
    with aws_of_tests():
        session = AwsSession(AwsAccount())
        with Stubber(session._client("secretsmanager", 3)) as stub:
            stub.add_response(
                "list_secrets", {"SecretList": [secret("a", SecretVersionsToStages={})], "NextToken": "t"}, None
            )
            again = {"NextToken": "t", "MaxResults": ANY, "IncludePlannedDeletion": True}
            stub.add_client_error("list_secrets", "AccessDeniedException", "c4nary", 400, expected_params=again)
            stub.add_response("get_resource_policy", {"ResourcePolicy": "{"}, None)
            rows = list(AwsStore(session, with_iam=False).inventory())
            stub.assert_no_pending_responses()
    assert [r.place for r in rows if isinstance(r, StoredSecret)] == ["aws-sm:a"] and "c4nary" not in repr(rows)
    assert {(r.topic, r.reason_code) for r in rows if isinstance(r, StoreGap)} == {
        ("inventory/aws-sm:", "backend_denied"), ("inventory/readers", "policy_unreadable"),
    }  # fmt: skip
