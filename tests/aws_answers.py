"""AWS as a test tells it to answer: for what an emulator cannot be made to say. Nothing is sent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from tasks.rotation.aws_session import AwsAccount, AwsSession, _refusal
from tests.strict_moto import ACCOUNT, REGION

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_DATED = {"ResponseMetadata": {"HTTPHeaders": {"date": "Sun, 01 Mar 2026 12:00:00 GMT"}}}
#: No test may ask for these.
VALUES = frozenset({"get_secret_value", "batch_get_secret_value", "get_random_password"})


class RefusedByAwsError(Exception):
    """AWS refuses with this code."""

    def __init__(self, code: str, status: int = 400) -> None:
        super().__init__(code)
        self.code, self.status = code, status


DENIED = RefusedByAwsError("AccessDeniedException", 403)
Answer = Mapping[str, Any] | RefusedByAwsError | Callable[[dict[str, Any]], Any]


class AnsweringAws(AwsSession):
    """Answers by the names of operations; what has no answer is denied."""

    def __init__(self, **answers: Answer) -> None:
        super().__init__(AwsAccount())
        self.answers: dict[str, Answer] = {**empty_account(), **answers}
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.clear: list[str] = []

    def call(self, service: str, operation: str, *, part: str, about: str, once: bool = False, **params: Any) -> Any:
        assert operation not in VALUES, "values are never asked for"
        self.calls.append((operation, params))
        answer = self.answers.get(operation, DENIED)
        try:
            if isinstance(answer, RefusedByAwsError):
                raise answer
            return {**_DATED, **(answer(params) if callable(answer) else answer)}
        except RefusedByAwsError as e:
            response = {"Error": {"Code": e.code}, "ResponseMetadata": {"HTTPStatusCode": e.status}}
            refused = _refusal(response, part, f"{about}: {operation}")
        raise refused

    def session(self) -> Any:
        return SimpleNamespace(region_name=REGION)

    def asked_in_the_clear(self) -> list[str]:
        return self.clear

    def counted(self) -> Counter[str]:
        return Counter(operation for operation, _ in self.calls)


def empty_account() -> dict[str, Answer]:
    """An account with nothing in it and nothing wrong with it."""
    return {
        "get_caller_identity": {"Account": ACCOUNT, "Arn": f"arn:aws:iam::{ACCOUNT}:user/us"},
        "list_secrets": {"SecretList": []},
        "get_resource_policy": {},
        "get_account_authorization_details": {"IsTruncated": False},
        "list_users": {"Users": [], "IsTruncated": False},
        "generate_credential_report": DENIED,
        "get_account_summary": {"SummaryMap": {"AccountMFAEnabled": 1, "AccountAccessKeysPresent": 0}},
        "describe_trails": {"trailList": [trail()]},
        "get_trail_status": {"IsLogging": True},
    }


def trail(**changes: Any) -> dict[str, Any]:
    """A trail as it should be."""
    return {
        "Name": "all", "TrailARN": f"arn:aws:cloudtrail:{REGION}:{ACCOUNT}:trail/all", "HomeRegion": REGION,
        "IsMultiRegionTrail": True, "LogFileValidationEnabled": True, "HasCustomEventSelectors": False, **changes,
    }  # fmt: skip


def secret(name: str, **changes: Any) -> dict[str, Any]:
    """An entry of the list of secrets."""
    return {
        "Name": name, "ARN": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCdEf",
        "CreatedDate": datetime(2026, 1, 1, tzinfo=UTC), "KmsKeyId": KEY,
        "SecretVersionsToStages": {"v1": ["AWSCURRENT"]}, **changes,
    }  # fmt: skip


KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd"


def key(**changes: Any) -> dict[str, Any]:
    """What KMS says of a key that is as it should be."""
    told = {
        "Arn": KEY, "KeyManager": "CUSTOMER", "KeyState": "Enabled", "Origin": "AWS_KMS",
        "KeySpec": "SYMMETRIC_DEFAULT", **changes,
    }  # fmt: skip
    return {"KeyMetadata": told}


def in_pages(name: str, items: list[Any], size: int, *, token: str = "NextToken") -> Answer:
    """An answer that lists by pages, as a service of IAM (``Marker``) or another one does."""

    def page(params: dict[str, Any]) -> dict[str, Any]:
        start = int(params.get(token, 0))
        more = start + size < len(items)
        told: dict[str, Any] = {name: items[start : start + size]}
        if token == "Marker":
            told["IsTruncated"] = more
        return {**told, token: str(start + size)} if more else told

    return page
