"""One account of AWS: boto3's clients of it, each call in one place, and what its refusals mean for a rotation.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/CommonErrors.html and the errors of the operations.
What AWS says beside its error codes is not repeated: its messages name users and accounts, and nobody promises that
they hold no parameter.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from tasks.core.addresses import in_the_clear
from tasks.core.aws_access import TIMEOUT_S, UNREACHED_ADVICE, AwsAccess, unreached
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret
from tasks.core.wire_logs import hush

_ATTEMPTS = 3
#: AWS does not know us, or not for this.
_DENIED = frozenset({
    "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "OptInRequired",
    "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
    "IncompleteSignature", "IncompleteSignatureException", "MissingAuthenticationToken",
    "MissingAuthenticationTokenException", "ExpiredToken", "ExpiredTokenException", "RequestExpired",
    # The key of KMS, which is asked in our name.
    "DecryptionFailure", "EncryptionFailure", "KMSAccessDeniedException",
})  # fmt: skip
_LIMITED = frozenset({
    "Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException",
    "TooManyRequestsException", "RequestLimitExceeded", "SlowDown", "PriorRequestNotComplete",
})  # fmt: skip
_AWAY = frozenset({
    "InternalServiceError", "InternalFailure", "InternalError", "ServiceUnavailable", "ServiceUnavailableException",
    "ServiceFailure", "RequestTimeout", "RequestTimeoutException",
})  # fmt: skip
_MISSING = frozenset({"ResourceNotFoundException", "NoSuchEntity"})
_QUOTA = frozenset({"LimitExceededException", "LimitExceeded"})
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsRole:
    """A role that we take on. ``external_id`` is what its trust policy asks for; ``session_name`` is who CloudTrail
    says it was. Credentials of it are fetched anew a quarter of an hour before they end, so ``duration_s`` is an hour
    unless the role allows more."""

    arn: str
    external_id: str | None = None
    session_name: str = "nightwarden"
    duration_s: int = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccount:
    """An account, and how we are known there: by ``role``, else as ``access`` says. ``access.endpoint`` is that of
    Secrets Manager; ``endpoints`` are those of other services by their names (``iam``, ``sts``)."""

    access: AwsAccess = field(default_factory=AwsAccess)
    role: AwsRole | None = None
    endpoints: Mapping[str, str] = field(default_factory=dict)


class AwsError(RotationError):
    """AWS refused a call. ``code`` is its error code; empty: there was no answer."""

    def __init__(self, code: str, reason_code: str, message: str, *, advice: str, is_passing: bool) -> None:
        super().__init__(reason_code, message, advice=advice, is_passing=is_passing)
        self.code = code


class AwsSession:
    """Calls AWS. Thread-safe. Every failure is an AwsError, and nothing is chained to it.

    ``part`` of a call is ``backend`` or ``target``: which of them did not do what it should.
    """

    def __init__(self, account: AwsAccount) -> None:
        self._account = account
        self._lock = threading.RLock()
        self._sessions: dict[str, Any] = {}
        self._clients: dict[tuple[str, int], Any] = {}

    def call(self, service: str, operation: str, *, part: str, about: str, once: bool = False, **params: Any) -> Any:
        """The answer of an operation (``get_secret_value``), asked again by botocore's standard rules if it fails in a
        way that passes; ``once``: never, for operations that must not be done twice. ``about`` is for messages."""
        return self._answer(operation, part, about, params, lambda: self._client(service, 1 if once else _ATTEMPTS))

    def call_as(self, key_id: str, secret: Secret, service: str, operation: str, *, part: str, about: str) -> Any:
        """The same, by somebody's access key."""
        keys = {"aws_access_key_id": key_id, "aws_secret_access_key": secret.reveal()}
        made: list[Any] = []

        def client() -> Any:
            # For one call; the session has read what it is made from.
            made.append(self._made(self._own(), service, _ATTEMPTS, **keys))
            return made[0]

        try:
            return self._answer(operation, part, about, {}, client)
        finally:
            for one in made:
                one.close()

    def session(self) -> Any:
        """boto3's session of whom we call as. What is registered at its events is heard by clients made later."""
        with self._lock:
            if self._account.role is None:
                return self._own()
            if "role" not in self._sessions:
                self._sessions["role"] = self._assuming(self._account.role)
            return self._sessions["role"]

    def asked_in_the_clear(self) -> list[str]:
        """The services that were asked without TLS, on another machine, so far; in order."""
        with self._lock:
            made = [(service, client.meta.endpoint_url) for (service, _), client in self._clients.items()]
        return sorted({service for service, address in made if in_the_clear(address)})

    # -- clients ------------------------------------------------------------------------------------------------

    def _own(self) -> Any:
        import boto3

        access = self._account.access
        with self._lock:
            if "own" not in self._sessions:
                self._sessions["own"] = boto3.session.Session(profile_name=access.profile, region_name=access.region)
            return self._sessions["own"]

    def _assuming(self, role: AwsRole) -> Any:
        """A session whose credentials are the role's, fetched when they are needed."""
        import boto3
        import botocore.session
        from botocore.credentials import CredentialProvider, CredentialResolver, DeferredRefreshableCredentials

        def fetch() -> dict[str, str]:
            wanted = {"RoleArn": role.arn, "RoleSessionName": role.session_name, "DurationSeconds": role.duration_s}
            if role.external_id is not None:
                wanted["ExternalId"] = role.external_id
            answer = self._answer(
                "assume_role", "backend", role.arn, wanted, lambda: self._made(self._own(), "sts", _ATTEMPTS)
            )
            given = answer["Credentials"]
            return {
                "access_key": given["AccessKeyId"],
                "secret_key": given["SecretAccessKey"],
                "token": given["SessionToken"],
                "expiry_time": given["Expiration"].isoformat(),
            }

        class Role(CredentialProvider):  # type: ignore[misc]
            METHOD = "nightwarden-role"

            def load(self) -> Any:
                return DeferredRefreshableCredentials(fetch, self.METHOD)

        core = botocore.session.Session(profile=self._account.access.profile)
        core.register_component("credential_provider", CredentialResolver([Role()]))
        return boto3.session.Session(botocore_session=core, region_name=self._account.access.region)

    def _client(self, service: str, attempts: int) -> Any:
        with self._lock:  # a session must not be shared by threads while it makes a client
            if (service, attempts) not in self._clients:
                self._clients[service, attempts] = self._made(self.session(), service, attempts)
            return self._clients[service, attempts]

    def _made(self, session: Any, service: str, attempts: int, **keys: str) -> Any:
        from botocore.config import Config

        access = self._account.access
        endpoint = access.endpoint if service == "secretsmanager" else self._account.endpoints.get(service)
        with self._lock:
            client = session.client(
                service,
                endpoint_url=endpoint,
                verify=str(access.ca_file) if access.ca_file else None,
                config=Config(
                    connect_timeout=TIMEOUT_S,
                    read_timeout=TIMEOUT_S,
                    retries={"mode": "standard", "total_max_attempts": attempts},
                ),
                **keys,
            )
        if in_the_clear(client.meta.endpoint_url) and not access.allow_http:
            raise RotationError(
                "credentials_unreadable",
                f"the endpoint of {service} has no TLS",
                advice="Write https://, or set `allow_http: true` in the `aws:` section if you accept that.",
            )
        return client

    # -- answers ------------------------------------------------------------------------------------------------

    def _answer(self, operation: str, part: str, about: str, params: Mapping[str, Any], client: Any) -> Any:
        """What AWS answers. The error is raised where no other is being handled, so that none is chained to it."""
        from botocore.exceptions import BotoCoreError, ClientError

        hush()
        try:
            return getattr(client(), operation)(**params)
        except RotationError as e:
            refused = e
        except ClientError as e:
            refused = _refusal(e.response, part, f"{about}: {operation}")
        except (BotoCoreError, ValueError, OSError) as e:
            # ValueError: an endpoint that is no address. OSError: a token file or program that is not there.
            refused = _no_answer(e, part, f"{about}: {operation}")
        except Exception as e:
            # botocore looks into any answer as if it were what it expects.
            refused = AwsError(
                "", f"{part}_error", f"{about}: the answer to {operation} cannot be read ({type(e).__name__})",
                advice="Is it AWS that the endpoint names?", is_passing=False,
            )  # fmt: skip
        raise refused


def aws_time(answer: Mapping[str, Any]) -> datetime:
    """When AWS gave an answer, by its clock: the Date that every answer over HTTP has (RFC 9110, 6.6.1), to the second.

    Raises RotationError(backend_error): the answer has none.
    """
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    with suppress(LookupError, ValueError, TypeError):
        return parsedate_to_datetime(headers["date"]).astimezone(UTC)
    raise RotationError("backend_error", "an answer of AWS has no date", advice="Is a proxy in between?")


def _refusal(response: Mapping[str, Any], part: str, what: str) -> AwsError:
    code = str(response.get("Error", {}).get("Code", "unknown"))[:60]
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    reason, told, advice, passing = f"{part}_error", f"AWS refuses ({code})", "The AWS documentation tells the code.", 0
    if code in _DENIED:
        reason, told = f"{part}_denied", f"access is denied ({code})"
        advice = "Compare our rights, and those at the key of KMS, with `nightwarden rotate policy aws`."
    elif code in _LIMITED:
        # A target has no reason of its own for this: it did not answer in time either.
        reason = "backend_limited" if part == "backend" else "target_unreachable"
        told, advice, passing = f"AWS asks us to wait ({code})", "Rotate fewer secrets at a time.", 1
    elif code in _AWAY or status >= _SERVER_ERROR:
        reason, told, passing = f"{part}_unreachable", f"AWS has a fault of its own ({code})", 1
        advice = "The next run goes on."
    elif code in _MISSING:
        reason = "secret_missing" if part == "backend" else "target_missing"
        told, advice = f"there is none ({code})", "Compare name, region and account."
    elif code in _QUOTA and part == "backend":
        reason, told = "backend_limited", f"a quota of AWS is used up ({code})"
        advice = "AWS keeps the versions of a day: rotate less often."
    return AwsError(code, reason, f"{what}: {told}", advice=advice, is_passing=bool(passing))


def _no_answer(error: Exception, part: str, what: str) -> AwsError:
    from botocore import exceptions as e

    known = isinstance(error, e.ConnectionError | e.HTTPClientError)
    denied = isinstance(error, e.NoCredentialsError | e.PartialCredentialsError | e.CredentialRetrievalError)
    passing = known and not isinstance(error, e.SSLError | e.ProxyConnectionError)
    reason = "credentials_unreadable" if denied else f"{part}_unreachable" if known else f"{part}_error"
    return AwsError("", reason, f"{what}: {unreached(error)}", advice=UNREACHED_ADVICE, is_passing=passing)
