"""What the audit of an AWS account and region looks for. Numbers are those of AWS Security Hub's controls (Foundational
Security Best Practices) and of the CIS AWS Foundations Benchmark 3.0.0."""

from __future__ import annotations

from tasks.core.secret_stores import StoreRule

_HUB = "https://docs.aws.amazon.com/securityhub/latest/userguide"


def _rule(rule_id: str, severity: str, title: str, remedy: str, source: str) -> StoreRule:
    return StoreRule(rule_id=rule_id, title=title, severity=severity, remedy=remedy, source=source)


SECRET_PUBLIC = _rule(
    "aws-secret-policy-public", "critical",
    "The policy of a secret is open to everybody",
    "Name the principals, or limit the statement by aws:PrincipalOrgID, aws:SourceAccount or the like;"
    " PutResourcePolicy with BlockPublicPolicy refuses such policies.",
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/best-practices.html",
)  # fmt: skip
SECRET_SHARED = _rule(
    "aws-secret-policy-other-account", "low",
    "The policy of a secret allows another account",
    "Take the statement away unless that account is meant to use the secret; name its roles instead of all of it.",
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_examples_cross.html",
)  # fmt: skip
SECRET_DEFAULT_KEY = _rule(
    "aws-secret-default-key", "low",
    "A secret is encrypted with AWS's own key of the account (aws/secretsmanager)",
    "Encrypt it with a key of your own if its use shall be limited, audited or revoked apart from the secret.",
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html",
)  # fmt: skip
SECRET_ROTATION_FAILS = _rule(
    "aws-secret-rotation-fails", "medium",
    "Secrets Manager should have rotated a secret and has not",
    "See the log of its rotation function, or of the service that owns it; mend it or switch its rotation off.",
    f"Security Hub SecretsManager.2, {_HUB}/secretsmanager-controls.html",
)  # fmt: skip
KEY_ROTATION_OFF = _rule(
    "aws-kms-rotation-off", "medium",
    "A KMS key that encrypts secrets is not rotated",
    "Enable its automatic rotation (EnableKeyRotation).",
    f"Security Hub KMS.4, CIS AWS Foundations 3.0.0 3.6, {_HUB}/kms-controls.html",
)  # fmt: skip
KEY_UNUSABLE = _rule(
    "aws-kms-key-unusable", "critical",
    "A KMS key that encrypts secrets is disabled or is to be deleted",
    "Cancel its deletion and enable it, or encrypt the secrets with another key; without it their values are lost.",
    f"Security Hub KMS.3, {_HUB}/kms-controls.html",
)  # fmt: skip
KEY_PUBLIC = _rule(
    "aws-kms-key-public", "critical",
    "The policy of a KMS key that encrypts secrets is open to everybody",
    "Name the principals in the key's policy, or limit the statement by kms:CallerAccount or aws:PrincipalOrgID.",
    f"Security Hub KMS.5, {_HUB}/kms-controls.html",
)  # fmt: skip
ENDPOINT_CLEAR = _rule(
    "aws-endpoint-without-tls", "high",
    "AWS is asked without TLS",
    "Write https:// in `endpoint`, and take `allow_http` away.",
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/infrastructure-security.html",
)  # fmt: skip
NO_TRAIL = _rule(
    "aws-trail-missing", "high",
    "No trail of CloudTrail records who reads secrets in this region",
    "Create a trail of all regions that records management events, reads and writes, and start it.",
    f"Security Hub CloudTrail.1, CIS AWS Foundations 3.0.0 3.1, {_HUB}/cloudtrail-controls.html",
)  # fmt: skip
TRAIL_UNPROVEN = _rule(
    "aws-trail-without-validation", "low",
    "The files of a trail can be changed without anybody seeing it",
    "Enable the log file validation of the trail.",
    f"Security Hub CloudTrail.4, CIS AWS Foundations 3.0.0 3.2, {_HUB}/cloudtrail-controls.html",
)  # fmt: skip
ROOT_KEY = _rule(
    "aws-root-access-key", "critical",
    "The root user of the account has an access key",
    "Delete it; use roles.",
    f"Security Hub IAM.4, CIS AWS Foundations 3.0.0 1.4, {_HUB}/iam-controls.html",
)  # fmt: skip
ROOT_NO_MFA = _rule(
    "aws-root-without-mfa", "critical",
    "The root user of the account signs in without a second factor",
    "Register a second factor for it, or remove the root credentials of member accounts centrally.",
    f"Security Hub IAM.9, CIS AWS Foundations 3.0.0 1.5, {_HUB}/iam-controls.html",
)  # fmt: skip
FULL_ADMIN = _rule(
    "aws-iam-full-admin", "high",
    "A policy of your own allows every action on every resource",
    "Allow the actions and resources that are used; keep one administrator role that people take on.",
    f"Security Hub IAM.1, CIS AWS Foundations 3.0.0 1.16, {_HUB}/iam-controls.html",
)  # fmt: skip
READS_ALL = _rule(
    "aws-iam-reads-all-secrets", "medium",
    "A policy of your own allows to read every secret",
    "Name the secrets, or a path of theirs, in `Resource`.",
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/best-practices.html",
)  # fmt: skip
ALL_ACTIONS = _rule(
    "aws-iam-all-secret-actions", "low",
    "A policy of your own allows all actions of Secrets Manager",
    "Name the actions that are used.",
    f"Security Hub IAM.21, {_HUB}/iam-controls.html",
)  # fmt: skip
TWO_KEYS = _rule(
    "aws-iam-two-active-keys", "low",
    "An IAM user has two active access keys",
    "Make the one inactive that is not used; while a rotation waits for its grace two are meant to be there.",
    f"CIS AWS Foundations 3.0.0 1.13, {_HUB}/iam-controls.html",
)  # fmt: skip

#: Of a region.
REGION_RULES = (
    SECRET_PUBLIC, SECRET_SHARED, SECRET_DEFAULT_KEY, SECRET_ROTATION_FAILS, KEY_ROTATION_OFF, KEY_UNUSABLE,
    KEY_PUBLIC, ENDPOINT_CLEAR, NO_TRAIL, TRAIL_UNPROVEN,
)  # fmt: skip
#: Of the account, whatever the region.
ACCOUNT_RULES = (ROOT_KEY, ROOT_NO_MFA, FULL_ADMIN, READS_ALL, ALL_ACTIONS, TWO_KEYS)
