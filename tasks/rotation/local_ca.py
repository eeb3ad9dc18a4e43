"""An authority of one's own, whose certificate and key we hold. It revokes by a list in a file.

Serial numbers are random. The list (CRL, RFC 5280) is the only thing that is kept; others may read it from its file.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tasks.core.issuers import Issued, is_host
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret
from tasks.core.whole_files import replacing

KeyKind = Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-4096"]
#: Clocks of those who read a new certificate may be so much behind.
_SKEW = timedelta(minutes=5)
_COMMON_NAME = 64


@dataclass(frozen=True, kw_only=True)
class LocalCa:
    """An ``Issuer``. ``certificate`` is the authority's (PEM), with those above it; ``key`` is its own.

    Without ``crl`` nothing can be revoked: certificates end with their time, and a target says ``revokes=False``. The
    list is valid as long as the authority, because it is written only when it grows.
    """

    certificate: str
    key: Secret
    crl: Path | None = None
    key_kind: KeyKind = "ec-p256"
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)

    def issue(self, common_name: str, alt_names: tuple[str, ...], ttl: timedelta) -> Issued:
        """For servers and clients; not longer than the authority itself."""
        ca, signer = self._authority
        key, now = self._new_key(), self.now()
        try:
            names = [
                _general(n) for n in dict.fromkeys((*((common_name,) if is_host(common_name) else ()), *alt_names))
            ]
            common = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if len(common_name) <= _COMMON_NAME else []
            builder = (
                x509.CertificateBuilder()
                .subject_name(x509.Name(common))
                .issuer_name(ca.subject)
                .public_key(key.public_key())
                .serial_number(x509.random_serial_number())
                .not_valid_before(max(now - _SKEW, ca.not_valid_before_utc))
                .not_valid_after(min(now + ttl, ca.not_valid_after_utc))
            )
        except ValueError as e:
            raise RotationError("target_error", f"such a certificate cannot be made: {e}") from None
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_rsa=self.key_kind.startswith("rsa")), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(_authority_key(ca), critical=False)
        )
        if names:  # critical where there is no other name (RFC 5280, 4.2.1.6)
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not common)
        made = builder.sign(signer, hashes.SHA256())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Issued(
            certificate=made.public_bytes(serialization.Encoding.PEM).decode(),
            private_key=Secret(pem.decode()),
            ca_chain=self.certificate,
        )

    def issued(self) -> frozenset[str]:
        """None: what was issued is not kept."""
        return frozenset()

    def revoke(self, serial: str) -> None:
        """Put it on the list. Raises RotationError(target_error) without one."""
        if self.crl is None:
            raise RotationError(
                "target_error", "this authority keeps no list of what it revoked",
                advice="Configure the file of the list, or that nothing is revoked.",
            )  # fmt: skip
        ca, signer = self._authority
        with _alone(self.crl):
            before = self._list()
            if before is not None and before.get_revoked_certificate_by_serial_number(int(serial, 16)) is not None:
                return
            now, number = self.now(), 1
            builder = x509.CertificateRevocationListBuilder().issuer_name(ca.subject).last_update(now)
            for old in before or ():
                builder = builder.add_revoked_certificate(old)
            if before is not None:
                number += before.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(now)
            entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.superseded), critical=False)
            whole = (
                builder.add_revoked_certificate(entry.build())
                .next_update(ca.not_valid_after_utc)
                .add_extension(x509.CRLNumber(number), critical=False)
                .add_extension(_authority_key(ca), critical=False)
                .sign(signer, hashes.SHA256())
            )
            with replacing(self.crl) as place, place.open("wb") as file:
                file.write(whole.public_bytes(serialization.Encoding.PEM))
                file.flush()
                os.fsync(file.fileno())

    def is_revoked(self, serial: str) -> bool | None:
        """By the list."""
        if self.crl is None:
            return None
        found = self._list()
        return found is not None and found.get_revoked_certificate_by_serial_number(int(serial, 16)) is not None

    # -- what it is made of -------------------------------------------------------------------------------------

    @cached_property
    def _authority(self) -> tuple[x509.Certificate, Any]:
        try:
            ca = x509.load_pem_x509_certificate(self.certificate.encode())
            key = serialization.load_pem_private_key(self.key.reveal().encode(), password=None)
            is_its = _bytes(key.public_key()) == _bytes(ca.public_key())
        except Exception:  # whatever the library says may quote the key
            is_its = False
        if not is_its:
            raise RotationError(
                "target_error", "the authority's certificate and key cannot be read, or do not belong together"
            )
        return ca, key

    def _new_key(self) -> Any:
        kind, _, size = self.key_kind.partition("-")
        if kind == "rsa":
            return rsa.generate_private_key(public_exponent=65537, key_size=int(size))
        return ec.generate_private_key(ec.SECP256R1() if size == "p256" else ec.SECP384R1())

    def _list(self) -> x509.CertificateRevocationList | None:
        """What is on the file; None if there is none yet. Raises RotationError(target_error) for another's."""
        assert self.crl is not None
        try:
            found = x509.load_pem_x509_crl(self.crl.read_bytes())
            is_ours = found.is_signature_valid(self._authority[0].public_key())  # type: ignore[arg-type]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError):
            is_ours = False
        if not is_ours:
            raise RotationError(
                "target_error", "the list of revoked certificates cannot be read, or is not this authority's"
            )
        return found


@contextmanager
def _alone(crl: Path) -> Iterator[None]:
    """Hold the list; whoever else wants it waits. Ends with the process."""
    try:
        held = os.open(f"{crl}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise RotationError(
            "target_error", f"the list of revoked certificates cannot be locked: {e.strerror}"
        ) from None
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    except OSError as e:
        raise RotationError(
            "target_error", f"the list of revoked certificates cannot be written: {e.strerror}"
        ) from None
    finally:
        os.close(held)


def _general(name: str) -> x509.GeneralName:
    if "://" in name:
        return x509.UniformResourceIdentifier(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, is_rsa: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_encipherment=is_rsa, content_commitment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _authority_key(ca: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """By the authority's own identifier, which it may have made in another way than ours."""
    try:
        own = ca.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.public_key())  # type: ignore[arg-type]
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)


def _bytes(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))
