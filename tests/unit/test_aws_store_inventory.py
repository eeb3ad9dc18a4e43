"""What AWS holds, as the inventory has it: by moto with its strict layer (an emulator) and by answers made up here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest

from tasks.core.reasons import REASONS
from tasks.core.rotations import RotationError
from tasks.core.secret_stores import SecretStore, StoredKind, StoredSecret, StoreFlaw, StoreGap
from tasks.rotation.aws_secrets import place_of
from tasks.rotation.aws_session import AwsAccount
from tasks.rotation.aws_store import AwsStore
from tasks.rotation.secrets_manager import SINCE_TAG
from tests.aws_answers import DENIED, NOW, VALUES, AnsweringAws, RefusedByAwsError, in_pages, secret
from tests.aws_rotations import Aws, aws_of_tests
from tests.strict_moto import ACCOUNT, REGION

DAY = datetime(2026, 2, 3, tzinfo=UTC)


@pytest.fixture
def aws() -> Iterator[Aws]:
    with aws_of_tests() as found:
        yield found


def store(session: Any, **options: Any) -> AwsStore:
    made: SecretStore = AwsStore(session, sleep=lambda _s: None, **options)
    assert isinstance(made, AwsStore)
    return made


def found(session: Any, **options: Any) -> dict[str, StoredSecret]:
    rows = list(store(session, **options).inventory())
    assert not [r for r in rows if isinstance(r, StoreGap)], rows
    return {r.place: r for r in rows if isinstance(r, StoredSecret)}


def gaps(session: Any, **options: Any) -> dict[str, StoreGap]:
    rows = [r for r in store(session, **options).inventory() if isinstance(r, StoreGap)]
    assert all(r.reason_code in REASONS and r.detail and r.detail.isprintable() for r in rows)
    assert len({(r.topic, r.reason_code) for r in rows}) == len(rows)
    return {r.topic: r for r in rows}


def test_moto_everything_is_told_and_no_value_is_asked_for(aws: Aws) -> None:
    name = aws.new_secret({"password": "c4nary-value"}, Tags=[{"Key": "Owner", "Value": "shop"}])
    user, first = aws.new_user()
    aws.iam.put_user_policy(
        UserName=user, PolicyName="read",
        PolicyDocument=json.dumps({
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Action": "secretsmanager:Get*", "Resource": "*"},
        }),
    )  # fmt: skip
    rows = found(aws.session)
    assert store(aws.session).store_id() == f"aws:{ACCOUNT}/{REGION}" and store(aws.session).tool == "aws"
    key = f"aws-iam:user/{user}/{first['aws_access_key_id']}"
    assert rows.keys() == {f"aws-sm:{name}", key}
    told = rows[f"aws-sm:{name}"]
    assert (told.kind, told.owner, told.readers) == (StoredKind.SECRETS_MANAGER, "shop", (f"user/{user}",))
    assert (told.rotated_at, told.rotation_is_told, told.last_used_at, told.use_is_told) == (None, True, None, True)
    assert told.version == aws.strict.labels(name)["AWSCURRENT"] and told.is_active and told.orphan is None
    told = rows[key]
    assert (told.kind, told.owner, told.is_active) == (StoredKind.ACCESS_KEY, f"user/{user}", True)
    assert (told.created_at, told.last_used_at, told.use_is_told) == (aws.strict.clock, None, True)
    assert not [c for c in aws.calls if c[1].lower() in {v.replace("_", "") for v in VALUES}]
    assert "c4nary-value" not in repr(rows)


def test_moto_a_value_that_was_changed_is_as_old_as_its_version(aws: Aws) -> None:
    name, untouched = aws.new_secret({"a": "1"}), aws.new_secret({"a": "1"})
    aws.people.put_secret_value(SecretId=name, SecretString='{"a": "2"}')
    current = aws.strict.labels(name)["AWSCURRENT"]
    aws.strict.secret(name).versions[current]["createdate"] = int(DAY.timestamp())
    rows = found(aws.session)
    assert (rows[f"aws-sm:{name}"].rotated_at, rows[f"aws-sm:{name}"].rotation_is_told) == (DAY, True)
    assert (rows[f"aws-sm:{untouched}"].rotated_at, rows[f"aws-sm:{untouched}"].rotation_is_told) == (None, True)
    assert [p["SecretId"] for _, o, p in aws.calls if o == "ListSecretVersionIds"] == [aws.strict.secret(name).arn]
    tag = {"Key": SINCE_TAG, "Value": f"{current} 2026-02-10T00:00:00+00:00"}
    aws.people.tag_resource(SecretId=name, Tags=[tag])
    assert found(aws.session)[f"aws-sm:{name}"].rotated_at == datetime(2026, 2, 10, tzinfo=UTC), "our own rotation says"
    aws.people.put_secret_value(SecretId=name, SecretString='{"a": "3"}')
    assert found(aws.session)[f"aws-sm:{name}"].rotated_at not in (None, datetime(2026, 2, 10, tzinfo=UTC))


def test_moto_what_is_to_be_deleted_is_an_orphan_and_a_replica_is_no_secret_of_its_own(aws: Aws) -> None:
    gone, here = aws.new_secret({"a": "1"}), aws.new_secret({"a": "1"})
    aws.people.delete_secret(SecretId=gone, RecoveryWindowInDays=7)
    other = boto3.client("secretsmanager", region_name="us-east-1")
    other.create_secret(Name="far", SecretString="x", AddReplicaRegions=[{"Region": REGION}])
    rows = found(aws.session)
    assert set(rows) == {f"aws-sm:{gone}", f"aws-sm:{here}"}
    told = rows[f"aws-sm:{gone}"]
    assert (told.is_active, told.orphan, told.readers) == (False, "it is marked for deletion", None)
    assert (rows[f"aws-sm:{here}"].is_active, rows[f"aws-sm:{here}"].readers) == (True, ())
    assert [o for _, o, _ in aws.calls].count("GetResourcePolicy") == 1


def test_moto_the_report_saves_questions_and_what_it_cannot_know_is_asked(aws: Aws) -> None:
    users = [aws.new_user() for _ in range(3)]
    aws.iam.create_user(UserName="nobody")
    ids = [first["aws_access_key_id"] for _, first in users]
    aws.strict.later(3600)
    assert aws.target(users[0][0]).probe({k: _secret(v) for k, v in users[0][1].items()})
    aws.calls.clear()
    rows = found(aws.session)
    assert {r.place.rpartition("/")[2] for r in rows.values()} == set(ids)
    used = {r.place.rpartition("/")[2]: r.last_used_at for r in rows.values()}
    assert used == {ids[0]: aws.strict.clock, ids[1]: None, ids[2]: None}
    operations = [o for _, o, _ in aws.calls]
    assert operations.count("ListAccessKeys") == 3 and "GetAccessKeyLastUsed" not in operations
    # An hour later the report is the same, and everything below is newer than it.
    aws.strict.later(3600)
    newer = aws.iam.create_access_key(UserName=users[1][0])["AccessKey"]["AccessKeyId"]
    late, first = aws.new_user()
    aws.iam.update_access_key(UserName=users[2][0], AccessKeyId=ids[2], Status="Inactive")
    aws.calls.clear()
    rows = found(aws.session)
    assert {r.place.rpartition("/")[2] for r in rows.values()} == {*ids, newer, first["aws_access_key_id"]}
    assert not rows[f"aws-iam:user/{users[2][0]}/{ids[2]}"].is_active
    asked = [p["AccessKeyId"] for _, o, p in aws.calls if o == "GetAccessKeyLastUsed"]
    assert sorted(asked) == sorted([newer, first["aws_access_key_id"]]), late


def test_moto_without_iam_the_keys_of_the_account_are_not_told_again(aws: Aws) -> None:
    name = aws.new_secret({"a": "1"})
    aws.new_user()
    assert set(found(aws.session, with_iam=False)) == {f"aws-sm:{name}"}
    assert "ListUsers" not in [o for _, o, _ in aws.calls]


def test_moto_a_role_of_another_account_and_everybody_are_readers_by_the_policy_of_the_secret(aws: Aws) -> None:
    name = aws.new_secret({"a": "1"})
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": "*",
             "Principal": {"AWS": "arn:aws:iam::999999999999:role/x"}},
            {"Effect": "Allow", "Action": "*", "Resource": "*", "Principal": "*",
             "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}},
        ],
    }  # fmt: skip
    aws.people.put_resource_policy(SecretId=name, ResourcePolicy=json.dumps(policy))
    assert found(aws.session)[f"aws-sm:{name}"].readers == ("* (conditional)", "arn:aws:iam::999999999999:role/x")


def test_moto_groups_managed_policies_and_boundaries_are_followed(aws: Aws) -> None:
    name, iam = aws.new_secret({"a": "1"}), aws.iam
    everything = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}
    nothing = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
    arns = [
        iam.create_policy(PolicyName=n, PolicyDocument=json.dumps(d))["Policy"]["Arn"]
        for n, d in (("everything", everything), ("nothing", nothing))
    ]
    iam.create_group(GroupName="readers")
    iam.attach_group_policy(GroupName="readers", PolicyArn=arns[0])
    for user in ("bob", "eve"):
        iam.create_user(UserName=user)
    iam.add_user_to_group(GroupName="readers", UserName="bob")
    for role, boundary in (("app", arns[0]), ("idle", arns[0]), ("limited", arns[1])):
        iam.create_role(
            RoleName=role, AssumeRolePolicyDocument=json.dumps(nothing), Path="/x/", PermissionsBoundary=boundary
        )
    for role in ("app", "limited"):
        iam.attach_role_policy(RoleName=role, PolicyArn=arns[0])
    iam.create_policy_version(PolicyArn=arns[0], PolicyDocument=json.dumps(nothing), SetAsDefault=False)
    assert found(aws.session)[f"aws-sm:{name}"].readers == ("role/app", "user/bob")
    version = iam.create_policy_version(PolicyArn=arns[0], PolicyDocument=json.dumps(nothing), SetAsDefault=True)
    assert version and found(aws.session)[f"aws-sm:{name}"].readers == ()


# -- by answers made up here ------------------------------------------------------------------------------------


def test_mocked_five_thousand_secrets_take_pages_and_one_question_each_for_their_policies() -> None:
    secrets = [secret(f"app-{n:04}/db") for n in range(5000)]
    aws = AnsweringAws(list_secrets=in_pages("SecretList", secrets, 100))
    one = store(aws)
    assert len(list(one.inventory())) == 5000
    counted = aws.counted()
    assert counted.pop("get_resource_policy") == 5000, "there is no other way to ask for them"
    assert counted == {
        "get_caller_identity": 1, "list_secrets": 50, "get_account_authorization_details": 1, "list_users": 1,
    }  # fmt: skip
    aws.calls.clear()
    aws.answers |= {"describe_key": {"KeyMetadata": {"KeyState": "Enabled"}}}
    list(one.audit())
    assert len(aws.calls) < 10, "what was asked once is not asked again"


def test_mocked_five_thousand_users_without_keys_take_the_report_and_pages() -> None:
    made = datetime(2025, 1, 1, tzinfo=UTC)
    users = [{"UserName": f"user-{n}", "CreateDate": made} for n in range(5000)]
    head = "user,user_creation_time," + ",".join(
        f"access_key_{n}_{c}" for n in (1, 2) for c in ("active", "last_rotated", "last_used_date")
    )
    lines = [f"user-{n},2025-01-01T00:00:00+00:00,false,N/A,N/A,false,N/A,N/A" for n in range(5000)]
    lines[7] = "user-7,2025-01-01T00:00:00+00:00,true,2025-02-01T00:00:00+00:00,N/A,false,N/A,N/A"
    report = {"Content": "\n".join([head, *lines]).encode(), "GeneratedTime": NOW - timedelta(hours=2)}
    kept = {"AccessKeyId": "AKIA7", "CreateDate": datetime(2025, 2, 1, tzinfo=UTC), "Status": "Active"}
    answers: dict[str, Any] = {
        "list_users": in_pages("Users", users, 1000, token="Marker"), "generate_credential_report": {},
        "get_credential_report": report, "list_access_keys": {"AccessKeyMetadata": [kept]},
    }  # fmt: skip
    aws = AnsweringAws(**answers)
    rows = found(aws)
    assert set(rows) == {"aws-iam:user/user-7/AKIA7"} and rows["aws-iam:user/user-7/AKIA7"].use_is_told
    assert len(aws.calls) == 1 + 1 + 5 + 2 + 1
    for bad in (
        {**report, "GeneratedTime": NOW - timedelta(hours=6)}, {**report, "Content": b"\xff"}, {"Content": None},
        {**report, "Content": b"user\nx"}, {**report, "Content": lines[7].encode()}, {"GeneratedTime": NOW}, DENIED,
        {**report, "Content": f"{head}\nuser-7,soon,true,N/A,N/A,false,N/A,N/A".encode()},
    ):  # fmt: skip
        few = in_pages("Users", users[:10], 3, token="Marker")
        aws = AnsweringAws(**{
            **answers, "list_users": few, "get_credential_report": bad,
            "get_access_key_last_used": {"AccessKeyLastUsed": {"LastUsedDate": DAY}},
        })  # fmt: skip
        found_then = found(aws)
        assert len(found_then) == 10 and all(r.last_used_at == DAY for r in found_then.values()), "everybody is asked"


def test_mocked_a_report_that_is_not_ready_is_waited_for_and_not_for_ever() -> None:
    waited: list[float] = []
    aws = AnsweringAws(
        list_users={"Users": [{"UserName": "bob", "CreateDate": NOW}]}, generate_credential_report={},
        get_credential_report=RefusedByAwsError("ReportInProgress", 404), list_access_keys={"AccessKeyMetadata": []},
    )  # fmt: skip
    assert list(AwsStore(aws, sleep=waited.append).inventory()) == []
    assert aws.counted()["get_credential_report"] == 15 and sum(waited) < 60


def test_mocked_what_the_list_tells_is_told() -> None:
    aws = AnsweringAws(
        list_secrets={"SecretList": [
            secret("lambda", RotationEnabled=True, RotationLambdaARN="arn:aws:lambda:x", LastRotatedDate=DAY),
            secret("rds!db", RotationEnabled=True, OwningService="rds", LastAccessedDate=DAY, PrimaryRegion=REGION),
            secret("off", RotationEnabled=False, RotationLambdaARN="arn:aws:lambda:x"),
            secret("far", PrimaryRegion="us-east-1"), secret("empty", SecretVersionsToStages={}),
            secret("tagged", Tags=[{"Key": "team", "Value": "x"}, {"Key": "OWNER", "Value": "pay"}]),
        ]},
    )  # fmt: skip
    rows = found(aws)
    assert set(rows) == {f"aws-sm:{n}" for n in ("lambda", "rds!db", "off", "empty", "tagged")}
    assert (rows["aws-sm:lambda"].rotated_by, rows["aws-sm:lambda"].rotated_at) == ("arn:aws:lambda:x", DAY)
    assert (rows["aws-sm:rds!db"].rotated_by, rows["aws-sm:rds!db"].owner) == ("rds", "rds")
    assert rows["aws-sm:rds!db"].last_used_at == DAY and rows["aws-sm:off"].rotated_by is None
    assert (rows["aws-sm:empty"].version, rows["aws-sm:empty"].rotation_is_told) == (None, False)
    assert rows["aws-sm:tagged"].owner == "pay"


def test_mocked_a_change_after_the_last_rotation_is_asked_for() -> None:
    stages = {"v1": ["AWSPREVIOUS"], "v2": ["AWSCURRENT"]}
    rotated = secret("a", LastRotatedDate=DAY, LastChangedDate=DAY + timedelta(days=3), SecretVersionsToStages=stages)
    versions = {"Versions": [
        {"VersionId": "v1", "CreatedDate": DAY}, {"VersionId": "v2", "CreatedDate": DAY + timedelta(days=3)},
    ]}  # fmt: skip
    aws = AnsweringAws(list_secrets={"SecretList": [rotated]}, list_secret_version_ids=versions)
    assert found(aws)["aws-sm:a"].rotated_at == DAY + timedelta(days=3)
    aws.answers["list_secret_version_ids"] = DENIED
    rows = list(store(aws).inventory())
    assert isinstance(rows[0], StoredSecret) and rows[0].rotated_at == DAY
    assert gaps(aws)["inventory/rotated_at"].reason_code == "backend_denied"
    rotated.pop("LastRotatedDate")
    row = next(iter(store(aws).inventory()))
    assert isinstance(row, StoredSecret) and (row.rotated_at, row.rotation_is_told) == (None, False)


def test_the_place_of_a_secret_is_the_same_by_name_and_by_arn() -> None:
    arn = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:shop/db-AbCdEf"
    assert place_of(arn) == place_of("shop/db") == "aws-sm:shop/db"
    assert place_of("shop/db-AbCdEf") == "aws-sm:shop/db-AbCdEf", "a name may look like that"


@pytest.mark.parametrize("name", ["a\nb", "a\u202eb", "a|b", "=cmd()", "\x1b[31m", "x" * 5000, "ü", "a\u2028b"])
def test_mocked_hostile_names_stay_apart_and_on_one_line(name: str) -> None:
    aws = AnsweringAws(
        list_secrets={"SecretList": [secret(name), secret(f"{name}2"[-500:]), secret(name)]},
        list_users={"Users": [{"UserName": name, "CreateDate": NOW}]}, list_access_keys=DENIED,
        get_resource_policy=DENIED,
    )  # fmt: skip
    rows = [r for r in store(aws).inventory() if isinstance(r, StoredSecret)]
    assert len({r.place for r in rows}) == len(rows) == 2
    assert all(r.place.isprintable() and len(r.place) < 700 for r in rows)
    assert {g.topic.partition("/")[0] for g in gaps(aws).values()} == {"inventory"}


# -- what is refused --------------------------------------------------------------------------------------------


def test_mocked_who_may_read_is_unknown_and_not_nobody_where_policies_are_refused() -> None:
    aws = AnsweringAws(list_secrets={"SecretList": [secret("a"), secret("b")]}, get_resource_policy=DENIED)
    rows = list(store(aws).inventory())
    assert [r.readers for r in rows if isinstance(r, StoredSecret)] == [None, None]
    told = gaps(aws)["inventory/readers"]
    assert told.reason_code == "backend_denied" and "aws-sm:a, aws-sm:b" in told.detail
    aws.answers |= {"get_resource_policy": {}, "get_account_authorization_details": DENIED}
    assert [r.readers for r in store(aws).inventory() if isinstance(r, StoredSecret)] == [None, None]
    assert gaps(aws)["inventory/readers"].reason_code == "backend_denied"


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ({"UserDetailList": [{"UserName": "x"}]}, "backend_error"), ({"UserDetailList": [None]}, "backend_error"),
        ({"UserDetailList": [{"UserName": "x", "Arn": "a", "GroupList": ["gone"]}]}, "backend_error"),
        ({"RoleDetailList": [{"RoleName": "x", "Arn": "a", "RolePolicyList": [
            {"PolicyName": "p", "PolicyDocument": "{not json"}]}]}, "policy_unreadable"),
        ({"RoleDetailList": [{"RoleName": "x", "Arn": "a", "AttachedManagedPolicies": [
            {"PolicyArn": "arn:aws:iam::aws:policy/Untold"}]}]}, "policy_unreadable"),
        ({"UserDetailList": [{"UserName": "x", "Arn": "a", "PermissionsBoundary": {
            "PermissionsBoundaryArn": "arn:aws:iam::1:policy/untold"}}]}, "policy_unreadable"),
    ],
)  # fmt: skip
def test_mocked_identities_that_nobody_can_read_leave_all_readers_unknown(details: Any, reason: str) -> None:
    aws = AnsweringAws(list_secrets={"SecretList": [secret("a")]}, get_account_authorization_details=details)
    rows = list(store(aws).inventory())
    assert isinstance(rows[0], StoredSecret) and rows[0].readers is None
    assert gaps(aws)["inventory/readers"].reason_code == reason


def test_mocked_a_policy_of_a_secret_that_nobody_can_read() -> None:
    policies = iter(["{not json", json.dumps({"Statement": []})])
    aws = AnsweringAws(
        list_secrets={"SecretList": [secret("a"), secret("b")]},
        get_resource_policy=lambda _params: {"ResourcePolicy": next(policies)},
    )  # fmt: skip
    rows = list(store(aws).inventory())
    assert [r.readers for r in rows if isinstance(r, StoredSecret)] == [None, ()]
    assert [(r.topic, r.reason_code) for r in rows if isinstance(r, StoreGap)] == [
        ("inventory/readers", "policy_unreadable")
    ]


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (DENIED, "backend_denied"),
        (RefusedByAwsError("Throttling"), "backend_limited"),
        (RefusedByAwsError("New"), "backend_error"),
    ],
)
def test_mocked_a_list_that_is_cut_off_keeps_what_was_told_and_says_so(refusal: RefusedByAwsError, reason: str) -> None:
    whole = in_pages("SecretList", [secret(f"s{n}") for n in range(6)], 2)

    def cut(params: dict[str, Any]) -> Any:
        if params.get("NextToken") == "4":
            raise refusal
        return whole(params)  # type: ignore[operator]

    aws = AnsweringAws(list_secrets=cut)
    rows = list(store(aws).inventory())
    assert [r.place for r in rows if isinstance(r, StoredSecret)] == [f"aws-sm:s{n}" for n in range(4)]
    assert gaps(aws)["inventory/aws-sm:"].reason_code == reason


def test_mocked_pages_that_never_end_and_entries_that_are_none() -> None:
    aws = AnsweringAws(list_secrets=lambda _p: {"SecretList": [secret("a"), None, {}, {"Name": "x"}], "NextToken": "t"})
    rows = list(store(aws).inventory())
    assert [r.place for r in rows if isinstance(r, StoredSecret)] == ["aws-sm:a"]
    assert aws.counted()["list_secrets"] == 2
    assert gaps(aws)["inventory/aws-sm:"].reason_code == "backend_error"


def test_mocked_throttling_is_waited_for_and_a_service_that_goes_on_is_left_alone() -> None:
    waited: list[float] = []
    tries = iter([RefusedByAwsError("Throttling")] * 3)

    def busy(_params: Any) -> Any:
        if (refusal := next(tries, None)) is not None:
            raise refusal
        return {"Users": []}

    assert list(AwsStore(AnsweringAws(list_users=busy), sleep=waited.append).inventory()) == []
    assert waited == [2.0, 4.0, 8.0]
    users = [{"UserName": f"u{n}", "CreateDate": NOW} for n in range(100)]
    aws = AnsweringAws(list_users={"Users": users}, list_access_keys=RefusedByAwsError("Throttling"))
    told = gaps(aws, patience_s=5.0)
    assert set(told) == {"inventory/aws-iam:user/"} and told["inventory/aws-iam:user/"].reason_code == "backend_limited"
    assert "and 95 more" in told["inventory/aws-iam:user/"].detail
    assert aws.counted()["list_access_keys"] == 2


def test_mocked_users_whose_keys_are_not_told_are_gaps_and_those_that_went_are_not() -> None:
    def keys(params: dict[str, Any]) -> Any:
        if params["UserName"] == "secretive":
            raise DENIED
        if params["UserName"] == "gone":
            raise RefusedByAwsError("NoSuchEntity", 404)
        return {"AccessKeyMetadata": [{"AccessKeyId": f"AKIA{n}", "CreateDate": NOW} for n in "12"]}

    def used(params: dict[str, Any]) -> Any:
        raise RefusedByAwsError("NoSuchEntity", 404) if params["AccessKeyId"] == "AKIA1" else DENIED

    names = ("secretive", "gone", "bob")
    aws = AnsweringAws(
        list_users={"Users": [{"UserName": n, "CreateDate": NOW} for n in names]}, list_access_keys=keys,
        get_access_key_last_used=used,
    )  # fmt: skip
    rows = [r for r in store(aws).inventory() if isinstance(r, StoredSecret)]
    assert [(r.place, r.use_is_told, r.is_active) for r in rows] == [("aws-iam:user/bob/AKIA2", False, False)]
    assert {t: g.reason_code for t, g in gaps(aws).items()} == {
        "inventory/aws-iam:user/secretive/": "backend_denied", "inventory/last_used_at": "backend_denied",
    }  # fmt: skip


def test_mocked_users_that_are_not_told() -> None:
    assert gaps(AnsweringAws(list_users=DENIED))["inventory/aws-iam:user/"].reason_code == "backend_denied"
    assert gaps(AnsweringAws(list_users={"Users": [None]}))["inventory/aws-iam:user/"].reason_code == "backend_error"


@pytest.mark.parametrize("code", ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"])
def test_mocked_who_is_signed_out_says_nothing_of_what_is_left(code: str) -> None:
    whole = in_pages("SecretList", [secret(f"s{n}") for n in range(4)], 2)
    asked: list[Any] = []

    def policy(params: Any) -> Any:
        asked.append(params)
        if len(asked) > 1:
            raise RefusedByAwsError(code)
        return {}

    rows = store(AnsweringAws(list_secrets=whole, get_resource_policy=policy)).inventory()
    assert isinstance(next(rows), StoredSecret)
    with pytest.raises(RotationError) as error:
        next(rows)
    assert error.value.reason_code == "backend_denied" and len(asked) == 2


def test_mocked_a_store_that_does_not_answer_is_no_gap_and_another_service_is_one() -> None:
    away = RefusedByAwsError("ServiceUnavailable", 503)
    with pytest.raises(RotationError) as error:
        list(store(AnsweringAws(list_secrets=away)).inventory())
    assert error.value.reason_code == "backend_unreachable"
    aws = AnsweringAws(list_users=away)
    assert gaps(aws)["inventory/aws-iam:user/"].reason_code == "backend_unreachable"


@pytest.mark.parametrize("told", [{}, {"Account": "x"}, {"Account": ACCOUNT, "Arn": "x"}, DENIED])
def test_mocked_an_account_that_is_not_told(told: Any) -> None:
    with pytest.raises(RotationError):
        store(AnsweringAws(get_caller_identity=told)).store_id()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"SecretList": 5}', b'{"SecretList": {"a": 1}}', b"<html>", b"\xff"])
def test_mocked_an_answer_of_nonsense_is_a_gap(aws: Aws, body: bytes) -> None:
    """What botocore makes of it is real."""
    from botocore.awsrequest import AWSResponse
    from moto.core.botocore_stubber import MockRawResponse

    from tasks.rotation.aws_session import AwsSession

    session = AwsSession(AwsAccount())

    def answer(request: Any, **_: Any) -> Any:
        return AWSResponse(request.url, 200, {"content-type": "text/html"}, MockRawResponse(body))

    session.session().events.register_first("before-send.secretsmanager.ListSecrets", answer)
    rows = list(store(session, with_iam=False).inventory())
    assert not [r for r in rows if isinstance(r, StoredSecret)], aws
    assert {r.topic for r in rows if isinstance(r, StoreGap)} <= {"inventory/aws-sm:"}


def _secret(value: str) -> Any:
    from tasks.core.secret_refs import Secret

    return Secret(value)


def test_moto_an_account_is_a_store_of_its_own_wherever_it_is_asked(aws: Aws) -> None:
    aws.new_secret({"a": "1"})
    user, first = aws.new_user()
    aws.iam.create_access_key(UserName=user)
    account, region = store(aws.session, with_region=False), store(aws.session, with_iam=False)
    assert (account.store_id(), region.store_id()) == (f"aws:{ACCOUNT}", f"aws:{ACCOUNT}/{REGION}")
    aws.calls.clear()
    keys = found(aws.session, with_region=False)
    assert len(keys) == 2 and f"aws-iam:user/{user}/{first['aws_access_key_id']}" in keys
    flaws = {r.rule_id for r in account.audit() if isinstance(r, StoreFlaw)}
    assert "aws-iam-two-active-keys" in flaws and flaws <= {r.rule_id for r in account.rules}
    assert {service for service, *_ in aws.calls} == {"iam"}, "nothing of a region is asked for"
    whole, parts = store(aws.session), {*found(aws.session, with_iam=False)} | {*keys}
    assert {*found(aws.session)} == parts and {*whole.rules} == {*account.rules, *region.rules}
