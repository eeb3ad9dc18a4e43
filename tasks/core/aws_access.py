"""Where AWS is, how we are known there, and what to say when a request does not get through.

Shared by the store that references are read from (``tasks.credentials.aws``) and by the rotation of what lies there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: How long a connection and an answer may take, seconds.
TIMEOUT_S = 10
#: What to do about each of ``unreached``.
UNREACHED_ADVICE = "Set `aws:` region, endpoint or profile, and give this process credentials as for the AWS CLI."


@dataclass(frozen=True, slots=True, kw_only=True)
class AwsAccess:
    """Where Secrets Manager is. What is not given comes from boto3's own chain (``AWS_REGION``, ``AWS_PROFILE`` …)."""

    region: str | None = None
    endpoint: str | None = None
    profile: str | None = None
    ca_file: Path | None = None
    #: Secrets come over http from another machine only with this.
    allow_http: bool = False


def unreached(error: Exception) -> str:
    """What kept us from asking, by the name of the error alone."""
    from botocore import exceptions as e

    if isinstance(error, e.NoCredentialsError | e.PartialCredentialsError | e.CredentialRetrievalError):
        return "there are no AWS credentials"
    if isinstance(error, e.NoRegionError):
        return "no AWS region is set"
    if isinstance(error, e.ProfileNotFound):
        return "there is no such AWS profile"
    if isinstance(error, e.SSLError):
        return "the certificate of AWS is not trusted, or those it is checked against cannot be read"
    if isinstance(error, e.ConnectionError | e.HTTPClientError):
        return "AWS is not reached"
    if isinstance(error, OSError):
        return "a file or program that boto3's chain names is not there, or cannot be read"
    return f"AWS cannot be asked ({type(error).__name__})"
