"""What is wrong with an account of AWS: each rule found, not found, and not looked at. By moto with its strict layer
(an emulator) and by answers made up here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import boto3
import pytest

from tasks.core.reasons import REASONS
from tasks.core.rotations import RotationError
from tasks.core.secret_stores import StoreFlaw, StoreGap
from tasks.rotation.aws_audit_rules import ACCOUNT_RULES, REGION_RULES
from tasks.rotation.aws_store import AwsStore
from tests.aws_answers import DENIED, KEY, NOW, AnsweringAws, RefusedByAwsError, key, secret, trail
from tests.aws_rotations import Aws, aws_of_tests
from tests.strict_moto import ACCOUNT, REGION

OPEN = {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*"}
OURS = {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}}
OPERATIONS_BY_RULE = {
    "aws-secret-policy-public": "get_resource_policy", "aws-secret-policy-other-account": "get_resource_policy",
    "aws-secret-default-key": "list_secrets", "aws-secret-rotation-fails": "list_secrets",
    "aws-kms-rotation-off": "get_key_rotation_status", "aws-kms-key-unusable": "describe_key",
    "aws-kms-key-public": "get_key_policy", "aws-trail-missing": "get_trail_status",
    "aws-trail-without-validation": "describe_trails", "aws-root-access-key": "get_account_summary",
    "aws-root-without-mfa": "get_account_summary", "aws-iam-full-admin": "get_account_authorization_details",
    "aws-iam-reads-all-secrets": "get_account_authorization_details",
    "aws-iam-all-secret-actions": "get_account_authorization_details", "aws-iam-two-active-keys": "list_access_keys",
}  # fmt: skip


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*") -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource}


@pytest.fixture
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


def audit(session: Any, **options: Any) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Resources by rule, and reasons by rule of the gaps."""
    store = AwsStore(session, sleep=lambda _s: None, **options)
    rows, known = list(store.audit()), {r.rule_id for r in store.rules}
    flaws: dict[str, list[str]] = {}
    for row in rows:
        if isinstance(row, StoreFlaw):
            assert row.rule_id in known and row.resource.isprintable() and row.detail.isprintable()
            flaws.setdefault(row.rule_id, []).append(row.resource)
    gaps = {r.topic: r.reason_code for r in rows if isinstance(r, StoreGap)}
    assert all(topic.removeprefix("audit/") in known for topic in gaps) and set(gaps.values()) <= REASONS.keys()
    assert all(len(set(places)) == len(places) for places in flaws.values())
    return flaws, {topic.removeprefix("audit/"): reason for topic, reason in gaps.items()}


def sound(**answers: Any) -> AnsweringAws:
    """An account with one secret, one key and one user, and nothing to say about any of them."""
    return AnsweringAws(**{
        "list_secrets": {"SecretList": [secret("shop/db")]}, "describe_key": key(),
        "get_key_rotation_status": {"KeyRotationEnabled": True}, "get_key_policy": {"Policy": policy(OURS)},
        "list_users": {"Users": [{"UserName": "bob", "CreateDate": NOW}]},
        "list_access_keys": {"AccessKeyMetadata": [{"AccessKeyId": "AKIA1", "Status": "Active", "CreateDate": NOW}]},
        "get_access_key_last_used": {}, **answers,
    })  # fmt: skip


def test_every_rule_says_what_to_do_and_who_says_so() -> None:
    rules = AwsStore(AnsweringAws()).rules
    assert rules == (*REGION_RULES, *ACCOUNT_RULES) and len({r.rule_id for r in rules}) == len(rules) == 16
    assert AwsStore(AnsweringAws(), with_iam=False).rules == REGION_RULES
    for rule in rules:
        assert rule.rule_id.startswith("aws-") and rule.severity in ("low", "medium", "high", "critical")
        assert rule.title and rule.remedy.endswith(".") and "https://docs.aws.amazon.com/" in rule.source
    assert {r.rule_id for r in rules} == {*OPERATIONS_BY_RULE, "aws-endpoint-without-tls"}


def test_mocked_an_account_with_nothing_wrong_has_no_flaw_and_no_gap() -> None:
    assert audit(sound()) == ({}, {})


@pytest.mark.parametrize(("rule", "operation"), OPERATIONS_BY_RULE.items())
def test_mocked_what_cannot_be_looked_at_is_a_gap_of_its_rule(rule: str, operation: str) -> None:
    for refusal, reason in (
        (DENIED, "backend_denied"), (RefusedByAwsError("ThrottlingException"), "backend_limited"),
        (RefusedByAwsError("UnknownOperationException"), "backend_error"),
    ):  # fmt: skip
        flaws, gaps = audit(sound(**{operation: refusal}))
        assert gaps[rule] == reason and rule not in flaws, "unknown is not clean, and no flaw"
        others = {r for r, o in OPERATIONS_BY_RULE.items() if o != operation}
        if reason == "backend_denied" and operation not in ("list_secrets", "describe_key", "describe_trails"):
            assert not others & gaps.keys(), "the others were looked at"


@pytest.mark.parametrize("service", ["describe_key", "describe_trails", "get_account_summary", "list_users"])
def test_mocked_an_answer_that_is_something_else_is_a_gap(service: str) -> None:
    wrong = {
        "describe_key": {"KeyMetadata": {}}, "describe_trails": {"trailList": [None]},
        "get_account_summary": {"SummaryMap": {}}, "list_users": {"Users": [None]},
    }  # fmt: skip
    flaws, gaps = audit(sound(**{service: wrong[service]}))
    if service == "describe_key":
        assert flaws == {"aws-kms-key-unusable": [KEY]}, "its state is none that is known"
    else:
        assert set(gaps.values()) == {"backend_error"} and not flaws


def test_mocked_policies_of_nonsense_are_gaps() -> None:
    flaws, gaps = audit(sound(get_resource_policy={"ResourcePolicy": "{"}, get_key_policy={"Policy": "[]"}))
    assert not flaws and set(gaps.values()) == {"policy_unreadable"}
    assert gaps.keys() == {"aws-secret-policy-public", "aws-secret-policy-other-account", "aws-kms-key-public"}


def test_moto_a_secret_that_is_open_to_everybody_or_to_another_account(aws: Aws) -> None:
    names = [aws.new_secret({"a": "1"}) for _ in range(4)]
    limited = {**OPEN, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}
    other = {**OURS, "Principal": {"AWS": ["999999999999", "arn:aws:iam::888888888888:role/x"]}}
    for name, statement in zip(names, (OPEN, limited, other, OURS), strict=True):
        aws.people.put_resource_policy(SecretId=name, ResourcePolicy=policy(statement), BlockPublicPolicy=False)
    flaws, gaps = audit(aws.session)
    assert flaws["aws-secret-policy-public"] == [f"aws-sm:{names[0]}"] and not gaps
    assert flaws["aws-secret-policy-other-account"] == [
        f"aws-sm:{names[2]} for account {a}" for a in ("888888888888", "999999999999")
    ]
    assert flaws["aws-secret-default-key"] == [f"aws-sm:{n}" for n in names]


def test_moto_the_keys_of_secrets(aws: Aws) -> None:
    kms = boto3.client("kms")
    keys = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(5)]
    good, unrotated, disabled, dying, public = keys
    for one in (good, disabled, dying, public):
        kms.enable_key_rotation(KeyId=one)
    kms.disable_key(KeyId=disabled.rpartition("/")[2])
    kms.schedule_key_deletion(KeyId=dying.rpartition("/")[2], PendingWindowInDays=7)
    kms.put_key_policy(KeyId=public, PolicyName="default", Policy=policy(OURS, OPEN))
    kms.create_alias(AliasName="alias/shop", TargetKeyId=unrotated)
    for one in (*keys, "alias/shop", "alias/aws/secretsmanager"):
        aws.new_secret({"a": "1"}, KmsKeyId=one)
    flaws, gaps = audit(aws.session)
    assert not gaps and flaws["aws-kms-rotation-off"] == [unrotated]
    assert sorted(flaws["aws-kms-key-unusable"]) == sorted([disabled, dying])
    assert flaws["aws-kms-key-public"] == [public] and len(flaws["aws-secret-default-key"]) == 1


def test_mocked_keys_that_kms_does_not_rotate_are_not_blamed_for_it() -> None:
    for changes in ({"Origin": "EXTERNAL"}, {"Origin": "EXTERNAL_KEY_STORE"}, {"KeySpec": "HMAC_256"}):
        assert audit(sound(describe_key=key(**changes), get_key_rotation_status={"KeyRotationEnabled": False})) == (
            {}, {},
        )  # fmt: skip
    assert audit(sound(describe_key=key(KeyManager="AWS"))) == ({"aws-secret-default-key": ["aws-sm:shop/db"]}, {})


def test_mocked_a_secret_that_is_to_be_deleted_is_passed_over() -> None:
    dead = secret("dead", DeletedDate=NOW, KmsKeyId=None)
    aws = sound(list_secrets={"SecretList": [dead]}, get_resource_policy={"ResourcePolicy": policy(OPEN)})
    assert audit(aws) == ({}, {})


def test_mocked_a_rotation_that_is_overdue_at_aws() -> None:
    def due(days: float) -> Any:
        return sound(list_secrets={"SecretList": [secret("a", NextRotationDate=NOW + timedelta(days=days))]})

    assert audit(due(-2)) == ({"aws-secret-rotation-fails": ["aws-sm:a"]}, {})
    assert audit(due(-0.5)) == audit(due(1)) == ({}, {})
    undated = due(-2)
    undated.answers["list_secrets"] = {**undated.answers["list_secrets"], "ResponseMetadata": {}}  # type: ignore[dict-item]
    assert audit(undated) == ({}, {"aws-secret-rotation-fails": "backend_error"})


def test_mocked_the_root_user() -> None:
    def root(**summary: int) -> Any:
        return audit(sound(get_account_summary={"SummaryMap": summary}))[0]

    assert root(AccountMFAEnabled=1, AccountAccessKeysPresent=1) == {"aws-root-access-key": ["root"]}
    assert root(AccountMFAEnabled=0, AccountAccessKeysPresent=0) == {"aws-root-without-mfa": ["root"]}
    assert root(AccountMFAEnabled=0, AccountAccessKeysPresent=0, AccountPasswordPresent=0) == {}
    assert root(AccountMFAEnabled=0, AccountAccessKeysPresent=0, AccountPasswordPresent=1) != {}


def test_moto_policies_that_allow_more_than_anybody_needs(aws: Aws) -> None:
    iam = aws.iam
    wanted = {
        "admin": allow("*"), "all-secrets": allow("secretsmanager:Get*"),
        "all-actions": allow("secretsmanager:*", "arn:aws:secretsmanager:*:*:secret:shop/*"),
        "elsewhere": allow("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:us-east-1:{ACCOUNT}:secret:*"),
        "narrow": allow("secretsmanager:GetSecretValue", "arn:aws:secretsmanager:*:*:secret:shop/*"),
        "unattached": allow("*"),
    }  # fmt: skip
    arns = {
        n: iam.create_policy(PolicyName=n, PolicyDocument=policy(d))["Policy"]["Arn"] for n, d in wanted.items()
    }  # fmt: skip
    iam.create_role(RoleName="app", AssumeRolePolicyDocument=policy(allow("sts:AssumeRole")))
    for name in wanted.keys() - {"unattached"}:
        iam.attach_role_policy(RoleName="app", PolicyArn=arns[name])
    iam.create_group(GroupName="ops")
    iam.put_group_policy(GroupName="ops", PolicyName="god", PolicyDocument=policy(allow("*")))
    flaws, gaps = audit(aws.session)
    assert not gaps and sorted(flaws["aws-iam-full-admin"]) == sorted([arns["admin"], "group/ops/inline/god"])
    assert sorted(flaws["aws-iam-reads-all-secrets"]) == sorted([arns["all-secrets"], arns["elsewhere"]])
    assert flaws["aws-iam-all-secret-actions"] == [arns["all-actions"]]
    rows = [r for r in AwsStore(aws.session).audit() if isinstance(r, StoreFlaw)]
    assert {r.detail for r in rows if r.resource == arns["admin"]} == {"attached to role/app"}


def test_mocked_policies_of_aws_itself_are_not_blamed() -> None:
    arn = "arn:aws:iam::aws:policy/AdministratorAccess"
    version = {"Document": json.loads(policy(allow("*"))), "IsDefaultVersion": True}
    details = {
        "RoleDetailList": [{"RoleName": "r", "Arn": "a", "AttachedManagedPolicies": [{"PolicyArn": arn}]}],
        "Policies": [{"Arn": arn, "PolicyVersionList": [version]}],
    }
    aws = sound(get_account_authorization_details=details)
    assert audit(aws) == ({}, {})
    rows = list(AwsStore(aws).inventory())
    assert getattr(rows[0], "readers", None) == ("role/r",), "but who may read by them is told"


def test_moto_users_with_two_active_keys(aws: Aws) -> None:
    users = [aws.new_user()[0] for _ in range(3)]
    for user in users[:2]:
        key_id = aws.iam.create_access_key(UserName=user)["AccessKey"]["AccessKeyId"]
    aws.iam.update_access_key(UserName=users[1], AccessKeyId=key_id, Status="Inactive")
    assert audit(aws.session)[0]["aws-iam-two-active-keys"] == [f"aws-iam:user/{users[0]}"]
    assert "aws-iam-two-active-keys" not in audit(aws.session, with_iam=False)[0]


def test_moto_trails(aws: Aws) -> None:
    missing, unproven = "aws-trail-missing", "aws-trail-without-validation"
    trails, far = boto3.client("cloudtrail"), boto3.client("cloudtrail", region_name="us-east-1")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="trail-files")
    assert audit(aws.session)[0][missing] == [f"cloudtrail/{REGION}"]
    far.create_trail(Name="far", S3BucketName="trail-files", IsMultiRegionTrail=False)
    far.start_logging(Name="far")
    assert missing in audit(aws.session)[0], "it is of another region"
    arn = trails.create_trail(Name="here", S3BucketName="trail-files")["TrailARN"]
    flaws, gaps = audit(aws.session)
    assert flaws[missing] and flaws[unproven] == [arn] and not gaps, "it is not started"
    trails.start_logging(Name="here")
    assert missing not in audit(aws.session)[0]
    chosen = [{"ReadWriteType": "WriteOnly", "IncludeManagementEvents": True}]
    trails.put_event_selectors(TrailName="here", EventSelectors=chosen)
    assert missing in audit(aws.session)[0], "who reads is not recorded"
    trails.put_event_selectors(TrailName="here", EventSelectors=[*chosen, {**chosen[0], "ReadWriteType": "ReadOnly"}])
    assert missing not in audit(aws.session)[0]


def _advanced(*fields: dict[str, Any]) -> dict[str, Any]:
    management = {"Field": "eventCategory", "Equals": ["Management"]}
    return {"AdvancedEventSelectors": [{"FieldSelectors": [management, *fields]}]}


@pytest.mark.parametrize(
    ("selectors", "is_recorded"),
    [
        ({"EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": True}]}, True),
        ({"EventSelectors": [{"ReadWriteType": "All", "IncludeManagementEvents": False}]}, False),
        ({"EventSelectors": [{"ReadWriteType": "ReadOnly"}]}, False), ({}, False), ({"EventSelectors": [{}]}, True),
        ({"EventSelectors": [{"ExcludeManagementEventSources": ["kms.amazonaws.com"]}]}, True),
        ({"EventSelectors": [{"ExcludeManagementEventSources": ["secretsmanager.amazonaws.com"]}]}, False),
        (_advanced(), True), (_advanced({"Field": "readOnly", "Equals": ["false"]}), False),
        (_advanced({"Field": "eventSource", "NotEquals": ["kms.amazonaws.com"]}), True),
        (_advanced({"Field": "eventSource", "NotEquals": ["secretsmanager.amazonaws.com"]}), False),
        (_advanced({"Field": "eventSource", "Equals": ["s3.amazonaws.com"]}), False),
        (_advanced({"Field": "eventSource", "NotStartsWith": ["s"]}), False),
        (_advanced({"Field": "eventName", "Equals": ["GetSecretValue"]}), False),
        ({"AdvancedEventSelectors": [{"FieldSelectors": [{"Field": "eventCategory", "Equals": ["Data"]}]}]}, False),
    ],
)  # fmt: skip
def test_mocked_what_a_trail_records(selectors: Any, is_recorded: bool) -> None:
    aws = sound(describe_trails={"trailList": [trail(HasCustomEventSelectors=True)]}, get_event_selectors=selectors)
    flaws, gaps = audit(aws)
    assert not gaps and ("aws-trail-missing" not in flaws) == is_recorded


def test_mocked_a_trail_that_says_nothing_is_no_flaw_where_another_one_records() -> None:
    one, other = trail(), trail(TrailARN="arn:aws:cloudtrail:us-east-1:999999999999:trail/org", HomeRegion="us-east-1")

    def status(params: dict[str, Any], *, working: bool) -> dict[str, Any]:
        if params["Name"] == other["TrailARN"]:
            raise DENIED
        return {"IsLogging": working}

    for working, expected in ((True, {}), (False, {"aws-trail-missing": "backend_denied"})):
        aws = sound(describe_trails={"trailList": [other, one]}, get_trail_status=partial(status, working=working))
        assert audit(aws) == ({}, expected)


def test_mocked_a_service_that_is_asked_without_tls() -> None:
    aws = sound()
    aws.clear = ["secretsmanager"]
    assert audit(aws) == ({"aws-endpoint-without-tls": ["secretsmanager"]}, {})


def test_mocked_who_is_signed_out_half_way_says_so() -> None:
    with pytest.raises(RotationError) as error:
        audit(sound(describe_trails=RefusedByAwsError("ExpiredTokenException")))
    assert error.value.reason_code == "backend_denied"


def test_mocked_a_flaw_is_the_same_in_every_night() -> None:
    def night(days: int, more: int) -> set[tuple[str, str]]:
        secrets = [secret(f"s{n}", NextRotationDate=NOW - timedelta(days=days)) for n in range(more)]
        aws = sound(list_secrets={"SecretList": secrets}, get_key_rotation_status={"KeyRotationEnabled": False})
        return {(rule, place) for rule, places in audit(aws)[0].items() for place in places}

    assert night(3, 2) <= night(4, 9) and ("aws-kms-rotation-off", KEY) in night(3, 2)
