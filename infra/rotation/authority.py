"""An authority of this folder alone, and a certificate for each server.

The authority's key is thrown away when both are signed, so nobody can use it for anything else.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.rotation.state import HOST, write_private

_VALID = timedelta(days=365)
_LEAST = timedelta(days=2)
_SKEW = timedelta(minutes=5)


def is_valid(ca_file: Path) -> bool:
    """Whether it is there, and will be for a while."""
    try:
        ends = x509.load_pem_x509_certificate(ca_file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return False
    return ends - datetime.now(UTC) > _LEAST


def make(ca_file: Path, folders: list[Path]) -> None:
    """``server.pem`` and ``server.key`` in each folder, for this machine's loopback; who trusts ``ca_file`` trusts
    them. It is written last."""
    signer = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Nightwarden, to see a rotation")])
    own = x509.SubjectKeyIdentifier.from_public_key(signer.public_key())
    ca = _signed(
        issuer, issuer, signer, signer.public_key(), (x509.BasicConstraints(ca=True, path_length=0), True),
        (_usage(signs=True), True), (own, False),
    )  # fmt: skip
    for folder in folders:
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))])
        made = _signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]), issuer, signer, key.public_key(),
            (x509.BasicConstraints(ca=False, path_length=None), True), (_usage(signs=False), True), (names, False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), False),
        )  # fmt: skip
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        write_private(folder / "server.key", pem.decode())
        (folder / "server.pem").write_text(made)
    ca_file.write_text(ca)


def _signed(
    name: x509.Name,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    public: ec.EllipticCurvePublicKey,
    *extensions: tuple[x509.ExtensionType, bool],
) -> str:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - _SKEW).not_valid_after(now + _VALID)
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, critical=is_critical)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=signs, crl_sign=signs, encipher_only=False, decipher_only=False,
    )  # fmt: skip
