"""The certificate that a Vault or OpenBao shows, as who connects sees it."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.rotation.vault_asking import RefusedError
from tasks.rotation.vault_wire import SignIn

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

_PORT, _RSA_BITS, _EC_BITS = 443, 2048, 256


def peer_certificate(address: str, access: SignIn) -> tuple[str, Certificate]:
    """(host and port, certificate) of an address with https. It is verified as for every request; nothing is sent.
    Raises RefusedError."""
    from cryptography import x509

    if access.proxy is not None:
        raise RefusedError("store_untold", "behind a proxy its certificate is not looked at")
    why = "the certificate of Vault could not be looked at"
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or _PORT
        ca = access.ca_file or os.environ.get("VAULT_CACERT")
        ca_path = str(ca) if ca else None
        is_folder = ca_path is not None and os.path.isdir(ca_path)  # noqa: PTH112
        context = ssl.create_default_context(
            cafile=None if is_folder else ca_path or _trusted(), capath=ca_path if is_folder else None
        )
        with (
            socket.create_connection((host, port), timeout=access.timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=host) as wrapped,
        ):
            told = wrapped.getpeercert(binary_form=True)
        if told:
            return f"{host}:{port}", x509.load_der_x509_certificate(told)
    except (OSError, ValueError) as e:
        why = f"{why} ({type(e).__name__})"
    raise RefusedError("backend_error", why)


def weakness(certificate: Certificate) -> str:
    """What is weak about a certificate; empty: nothing."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    key, hashed = certificate.public_key(), certificate.signature_hash_algorithm
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS:
        return f"its key is RSA of {key.key_size} bits"
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size < _EC_BITS:
        return f"its key is EC of {key.key_size} bits"
    if isinstance(hashed, hashes.SHA1 | hashes.MD5):
        return f"it is signed with {hashed.name}"
    return ""


def _trusted() -> str:
    """The authorities that requests trusts where none is named."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH

    return str(DEFAULT_CA_BUNDLE_PATH)
