"""``aws-sm:ID#KEY``: a secret of AWS Secrets Manager, read by boto3.

https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html: ID is a name or an ARN; always
the version in force (``AWSCURRENT``) is read. With KEY the secret is a JSON object, as the console writes it, and KEY
one of its fields; without KEY it is the whole string. We are known by boto3's own chain: environment, profile, web
identity of a pod, role of a machine.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from tasks.core.addresses import in_the_clear
from tasks.core.aws_access import TIMEOUT_S, UNREACHED_ADVICE, AwsAccess, unreached
from tasks.core.errors import SecretError
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.wire_logs import hush

_TELLS = {
    "ResourceNotFoundException": ("there is no such secret", "Compare name, region and account."),
    "AccessDeniedException": ("access is denied", "Allow secretsmanager:GetSecretValue, and kms:Decrypt of its key."),
    "DecryptionFailure": ("its key cannot be used", "Allow kms:Decrypt of the key that encrypts it."),
    "UnrecognizedClientException": ("AWS does not know the credentials", "Give valid ones to this process."),
    "InvalidSignatureException": ("AWS does not accept the credentials", "Compare key and clock of this machine."),
    "ExpiredTokenException": ("the credentials have expired", "Renew them, or use a role."),
    "InvalidRequestException": ("it cannot be read now", "It may be marked for deletion; restore it, or name another."),
    "ThrottlingException": ("AWS asks us to wait", "Try again; ask for fewer secrets at a time."),
}  # fmt: skip


class SecretsManager:
    """AWS Secrets Manager as a store."""

    def __init__(self, access: AwsAccess) -> None:
        self._access = access
        self._client: Any = None
        self._lock = threading.Lock()

    def read(self, ref: SecretRef) -> Secret:
        """The secret, or its field. Raises SecretError: AWS is not reached or refuses, no such secret or field."""
        from botocore.exceptions import BotoCoreError, ClientError

        hush()
        try:
            answer = self._connected(ref).get_secret_value(SecretId=ref.place, VersionStage="AWSCURRENT")
            text = answer.get("SecretString")
        except ClientError as e:
            # Its message names users and accounts; the code is enough.
            code = str(e.response.get("Error", {}).get("Code", "unknown"))
            what, advice = _TELLS.get(code, (f"AWS refuses ({code[:60]})", "The AWS documentation tells the code."))
            raise SecretError(f"{ref}: {what}", advice=advice) from None
        except (BotoCoreError, ValueError, OSError) as e:
            # ValueError: an endpoint that is no address. OSError: a token file or credential_process that is not there.
            raise SecretError(f"{ref}: {unreached(e)}", advice=UNREACHED_ADVICE) from None
        except (TypeError, AttributeError, LookupError, RecursionError) as e:
            # botocore looks into any answer as if it were an object.
            raise SecretError(
                f"{ref}: the answer cannot be read ({type(e).__name__})", advice="Is it AWS that `endpoint` names?"
            ) from None
        return Secret(_field(ref, text))

    def _connected(self, ref: SecretRef) -> Any:
        """The client; made once, for a session must not be shared by threads while it makes one."""
        import boto3
        from botocore.config import Config

        with self._lock:
            if self._client is None:
                session = boto3.session.Session(profile_name=self._access.profile, region_name=self._access.region)
                client = session.client(
                    "secretsmanager",
                    endpoint_url=self._access.endpoint,
                    verify=str(self._access.ca_file) if self._access.ca_file else None,
                    config=Config(
                        connect_timeout=TIMEOUT_S,
                        read_timeout=TIMEOUT_S,
                        retries={"mode": "standard", "total_max_attempts": 3},
                    ),
                )
                if in_the_clear(client.meta.endpoint_url) and not self._access.allow_http:
                    raise SecretError(
                        f"{ref}: the endpoint of AWS has no TLS",
                        advice="Write https://, or set `allow_http: true` in the `aws:` section if you accept that.",
                    )
                self._client = client
            return self._client


def _field(ref: SecretRef, text: object) -> str:
    if not isinstance(text, str) or not text:
        raise SecretError(f"{ref}: it is binary, or empty", advice="Store it as a string.")
    if ref.key is None:
        return text
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):  # the message quotes the text
        fields = None
    if not isinstance(fields, dict):
        raise SecretError(
            f"{ref}: the secret is no JSON object", advice=f"Leave #{ref.key} out to take the whole secret."
        ) from None
    value = fields.get(ref.key)
    if not isinstance(value, str) or not value:
        raise SecretError(f"{ref}: the secret has no such text field", advice="Compare the name after #, and its case.")
    return value
