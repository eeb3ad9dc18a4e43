"""The IAM policies that rotation needs: for exactly the configured secrets, KMS keys, users and roles, and no more; and
the one that an inventory needs.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awssecretsmanager.html and that of IAM, STS and
KMS: which action is limited by which resource. An ARN of a secret ends in six characters that AWS chose; where only
the name is known they are ``??????``, and not ``*``, which would reach longer names
(https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html). STS tells everybody
who they are: ``GetCallerIdentity`` needs no right.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import UsageError
from tasks.rotation.secrets_manager import SINCE_TAG

SECRET_ACTIONS = (
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:ListSecretVersionIds",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
)
USER_ACTIONS = (
    "iam:CreateAccessKey",
    "iam:DeleteAccessKey",
    "iam:GetAccessKeyLastUsed",
    "iam:ListAccessKeys",
    "iam:UpdateAccessKey",
)
KEY_ACTIONS = ("kms:Decrypt", "kms:GenerateDataKey")
#: What an inventory and audit asks, by the resource that limits it; the first two know none.
LISTING_ACTIONS = ("cloudtrail:DescribeTrails", "iam:GetAccountAuthorizationDetails", "secretsmanager:ListSecrets")
LISTING_IAM_ACTIONS = (
    "iam:GenerateCredentialReport",
    "iam:GetAccountSummary",
    "iam:GetCredentialReport",
    "iam:ListUsers",
)
DESCRIBING_ACTIONS = ("secretsmanager:GetResourcePolicy", "secretsmanager:ListSecretVersionIds")
DESCRIBING_KEY_ACTIONS = ("kms:DescribeKey", "kms:GetKeyPolicy", "kms:GetKeyRotationStatus")
DESCRIBING_USER_ACTIONS = ("iam:GetAccessKeyLastUsed", "iam:ListAccessKeys")
TRAIL_ACTIONS = ("cloudtrail:GetEventSelectors", "cloudtrail:GetTrailStatus")
VALUE_ACTIONS = ("secretsmanager:BatchGetSecretValue", "secretsmanager:GetSecretValue")
#: What a managed policy may hold, blanks not counted.
#: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
MOST_CHARACTERS = 6144
_ROOM = 900  # for what stands around the resources
_WHOLE = re.compile(r"arn:(aws[a-z-]*):secretsmanager:([a-z0-9-]+):([0-9]{12}):secret:([A-Za-z0-9/_+=.@-]+)")
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")
_SUFFIX = re.compile(r"-[A-Za-z0-9]{6}$")
_KEY = re.compile(r"arn:(aws[a-z-]*):kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+")
_USER = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:user/[A-Za-z0-9/_+=,.@-]+")
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9/_+=,.@-]+")

_ACCOUNT = re.compile(r"[0-9]{12}")
_PARTITION = re.compile(r"aws[a-z-]*")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")
#: A statement to be made: name, actions, resources, condition.
_Wanted = tuple[str, Sequence[str], Sequence[str], dict[str, Any] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedSecret:
    """A secret by its complete ARN, or by its name and where it is; ``kms_key`` is the ARN of the key that encrypts
    it, unless that is AWS's own key for the account."""

    secret_id: str
    region: str = ""
    account: str = ""
    partition: str = "aws"
    kms_key: str | None = None

    def resource(self) -> str:
        """What a statement names. Raises UsageError: it is no name or no whole ARN."""
        if self.secret_id.startswith("arn:"):
            if not (_WHOLE.fullmatch(self.secret_id) and _SUFFIX.search(self.secret_id)):
                raise UsageError(f"{self.secret_id[:200]!r} is no complete ARN of a secret", advice="Copy it from AWS.")
            return self.secret_id
        if not (_NAME.fullmatch(self.secret_id) and self.region and self.account):
            raise UsageError(
                f"{self.secret_id[:200]!r} is no name of a secret, or its region or account is not known",
                advice="Name the region and the account, or the complete ARN.",
            )
        return f"arn:{self.partition}:secretsmanager:{self.region}:{self.account}:secret:{self.secret_id}-??????"


def rotation_policies(secrets: Iterable[GrantedSecret] = (), users: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What the role needs that rotates these secrets and these users' keys (their ARNs): as many policies as AWS's
    limit of characters asks for. Raises UsageError."""
    secrets = list(secrets)
    tagging = {
        "ForAllValues:StringEquals": {"aws:TagKeys": [SINCE_TAG]},
        "Null": {"aws:TagKeys": "false"},
    }
    resources = sorted({s.resource() for s in secrets})
    wanted: list[_Wanted] = [
        ("Secrets", SECRET_ACTIONS, resources, None),
        ("SinceWhen", ("secretsmanager:TagResource",), resources, tagging),
        ("Users", USER_ACTIONS, sorted({_matching(_USER, u, "user") for u in users}), None),
    ]
    for (partition, region), keys in sorted(_keys_by_region(secrets).items()):
        service = f"secretsmanager.{region}.amazonaws.com"
        # The KMS reference gives the name of the service in China in both ways.
        via = [service, f"{service}.cn"] if partition == "aws-cn" else [service]
        name = f"Keys{''.join(part.title() for part in region.split('-'))}"
        wanted.append((name, KEY_ACTIONS, sorted(keys), {"StringEquals": {"kms:ViaService": via}}))
    return _in_policies(wanted)


def reading_policies(secrets: Iterable[GrantedSecret]) -> list[dict[str, Any]]:
    """What is needed to read secrets that references lead to. Raises UsageError."""
    return _in_policies(
        [("References", ("secretsmanager:GetSecretValue",), sorted({s.resource() for s in secrets}), None)]
    )


def assuming_policies(roles: Iterable[str]) -> list[dict[str, Any]]:
    """What we need ourselves where the rotation takes on roles (their ARNs). Raises UsageError."""
    found = sorted({_matching(_ROLE, r, "role") for r in roles})
    return _in_policies([("Roles", ("sts:AssumeRole",), found, None)])


def inventory_policy(
    account: str, regions: Iterable[str], *, partition: str = "aws", with_iam: bool = True, with_values: bool = False
) -> list[dict[str, Any]]:
    """What an inventory and audit of these regions of an account needs, and no more: it lists and describes.

    Values are denied, whatever else allows them; ``with_values``: they are not, for a role that rotates as well, which
    then has them by its own policy. ``with_iam``: access keys and flaws of the account are looked at too; who may read
    a secret takes IAM's answer in any case. Raises UsageError.
    """
    where = sorted(set(regions))
    if not (_ACCOUNT.fullmatch(account) and _PARTITION.fullmatch(partition) and where):
        raise UsageError("no account, partition or region is named", advice="Give the account's twelve digits.")
    if wrong := [r for r in where if not _REGION.fullmatch(r)]:
        raise UsageError(f"{wrong[0][:60]!r} is no region", advice="Write it as in eu-central-1.")
    secrets = [f"arn:{partition}:secretsmanager:{r}:{account}:secret:*" for r in where]
    keys = [f"arn:{partition}:kms:{r}:{account}:key/*" for r in where]
    wanted: list[_Wanted] = [
        ("ListAll", (*LISTING_ACTIONS, *(LISTING_IAM_ACTIONS if with_iam else ())), ["*"], None),
        ("Secrets", DESCRIBING_ACTIONS, secrets, None),
        ("Keys", DESCRIBING_KEY_ACTIONS, keys, None),
        # A trail may be of another region, and one of the organisation is of another account.
        ("Trails", TRAIL_ACTIONS, [f"arn:{partition}:cloudtrail:*:*:trail/*"], None),
    ]
    if with_iam:
        wanted.append(("Users", DESCRIBING_USER_ACTIONS, [f"arn:{partition}:iam::{account}:user/*"], None))
    found = _in_policies(wanted)
    if not with_values:
        denied = {"Sid": "NoValues", "Effect": "Deny", "Action": list(VALUE_ACTIONS), "Resource": "*"}
        last = _policy([*found[-1]["Statement"], denied])
        found[-1:] = [last] if _size(last) <= MOST_CHARACTERS else [found[-1], _policy([denied])]
    return found


def _keys_by_region(secrets: Iterable[GrantedSecret]) -> dict[tuple[str, ...], set[str]]:
    """The KMS keys by partition and region."""
    found: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for secret in secrets:
        if secret.kms_key is not None:
            found[_parts(_KEY, secret.kms_key, "KMS key")].add(secret.kms_key)
    return found


def _matching(form: re.Pattern[str], arn: str, what: str) -> str:
    _parts(form, arn, what)
    return arn


def _parts(form: re.Pattern[str], arn: str, what: str) -> tuple[str, ...]:
    match = form.fullmatch(arn)
    if match is None:
        raise UsageError(f"{arn[:200]!r} is no ARN of a {what}", advice="Copy the ARN from AWS; an alias is none.")
    return match.groups()


def _in_policies(wanted: Iterable[_Wanted]) -> list[dict[str, Any]]:
    """Statements (name, actions, resources, condition) in policies, none of them over the limit."""
    policies: list[dict[str, Any]] = []
    for name, actions, resources, condition in wanted:
        for part in _parts_that_fit(resources):
            statement: dict[str, Any] = {
                "Sid": name, "Effect": "Allow", "Action": list(actions), "Resource": part,
            }  # fmt: skip
            if condition is not None:
                statement["Condition"] = condition
            if policies and _size(joined := _policy([*policies[-1]["Statement"], statement])) <= MOST_CHARACTERS:
                policies[-1] = joined
            else:
                policies.append(_policy([statement]))
    for policy in policies:  # a Sid is unique in a policy
        for number, statement in enumerate(policy["Statement"]):
            statement["Sid"] += str(number)
    return policies


def _parts_that_fit(resources: Sequence[str]) -> list[list[str]]:
    parts: list[list[str]] = []
    for resource in resources:
        if not parts or sum(len(r) + 3 for r in parts[-1]) + len(resource) > MOST_CHARACTERS - _ROOM:
            parts.append([])
        parts[-1].append(resource)
    return parts


def _policy(statements: list[dict[str, Any]]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": statements}


def _size(policy: dict[str, Any]) -> int:
    return len(json.dumps(policy, separators=(",", ":")))
