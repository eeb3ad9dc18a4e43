"""Where HashiCorp Vault or OpenBao is, how we sign in, and what to say when a request does not get through.

Shared by the store that references are read from (``tasks.credentials.vault``) and by the rotation of what lies there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tasks.core.secret_refs import Secret, SecretRef

#: What a header can carry; real tokens have no more.
_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultAccess:
    """Where Vault is and how we sign in.

    What is not given comes from the environment: ``VAULT_ADDR``, ``VAULT_NAMESPACE``, ``VAULT_CACERT``,
    ``VAULT_TOKEN`` or ``VAULT_TOKEN_FILE`` (a path). ``token`` and ``secret_id`` are env or file references.
    Over http a token goes to another machine only with ``allow_http``.
    """

    address: str | None = None
    namespace: str | None = None
    ca_file: Path | None = None
    token: SecretRef | None = None
    role_id: str | None = None
    secret_id: SecretRef | None = None
    approle_mount: str = "approle"
    kv_version: int | None = None
    allow_http: bool = False


def fits_header(token: Secret) -> bool:
    """Whether a token can be sent: as a header, another one would be refused by an error that quotes it."""
    return _TOKEN.fullmatch(token.reveal()) is not None


def transport_fault(error: Exception, timeout_s: float) -> tuple[str, str] | None:
    """Why a request did not get through, and the remedy, without a word of the error; None: it is none of requests'."""
    import requests

    r = requests.exceptions
    for kinds, what, remedy in (
        (r.SSLError, "the certificate of Vault is not trusted", "Set `ca_file`, or VAULT_CACERT."),
        (r.Timeout, f"Vault does not answer within {timeout_s:g} s", "Is it up, and reached from here?"),
        (
            (r.InvalidHeader, UnicodeError),
            "the namespace holds characters that no namespace has",
            "Compare `namespace` or VAULT_NAMESPACE.",
        ),
        (
            r.RequestException,
            "Vault is not reached",
            "Compare `address` or VAULT_ADDR; is it up, and reached from here?",
        ),
        # requests looks for the certificates' file before it connects.
        (OSError, "the certificates of `ca_file` cannot be read", "Name a PEM file that is there."),
    ):
        if isinstance(error, kinds):
            return what, remedy
    return None
