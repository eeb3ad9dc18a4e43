"""TLS certificates as a target: the value is a certificate, its key and the chain; who issues them is a port.

A certificate needs no one to let it in, and nothing is changed where it is served: whoever serves it reads the value in
force. So ``apply`` has nothing to do, and what can be wrong with a certificate is found where it comes from: ``issue``
lets through only one that is as it was asked for (names, time, key, chain). ``probe`` asks less, because it also
judges the value in force, and one that merely is not what we would ask for today is still served and must not be taken
for one that nobody can use: it says whether the certificate works by itself, now.

Where ``endpoints`` are configured, which certificate they present tells whether the old one is still in use.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import verification
from cryptography.x509.oid import NameOID

from tasks.core.issuers import Issuer, address, is_host, serial_text
from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.core.text import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFields:
    """Names of the fields of the stored value. The certificate's may hold its chain as well, and then the other may be
    missing."""

    certificate: str = "certificate"
    private_key: str = "private_key"
    ca_chain: str = "ca_chain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where a certificate is served. ``server_name`` is what is asked for there (SNI; left out: the host)."""

    host: str
    port: int
    server_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parsed:
    leaf: x509.Certificate
    chain: tuple[x509.Certificate, ...]


@dataclass(frozen=True, kw_only=True)
class CertificateTarget:
    """A ``Target`` whose credentials are certificates; an identity is a serial number.

    A new one lasts at least ``least`` (left out: half of ``ttl``), and its chain ends in ``trusted`` (PEM; left out: in
    what comes with it). ``revokes`` false: an old one is left to end by itself, which is right where nobody asks
    whether a certificate was revoked. Keys are RSA from 2048 bits or ECDSA on P-256, P-384, P-521, as in the web's PKI.
    """

    name: str
    issuer: Issuer
    common_name: str
    ttl: timedelta
    alt_names: tuple[str, ...] = ()
    least: timedelta | None = None
    trusted: str = ""
    fields: CertificateFields = field(default_factory=CertificateFields)
    endpoints: tuple[Endpoint, ...] = ()
    revokes: bool = True
    timeout_s: float = 10.0
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)

    @property
    def is_issued(self) -> bool:
        """Always."""
        return True

    @property
    def in_place(self) -> bool:
        """Never: a new certificate is valid beside the old one."""
        return False

    @property
    def issued_fields(self) -> frozenset[str] | None:
        """The certificate, its key and its chain."""
        return frozenset((self.fields.certificate, self.fields.private_key, self.fields.ca_chain))

    def identity(self, fields: Mapping[str, Secret]) -> str:
        """The serial number. Raises RotationError(secret_shape) for what is no certificate with a key."""
        return serial_text(self._parsed(fields).leaf.serial_number)

    def exclusive(self) -> AbstractContextManager[None]:
        """No lock: serial numbers never come back."""
        return nullcontext()

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> NoReturn:
        """Never asked of what is issued."""
        raise RotationError("target_error", f"{self.name}: certificates are issued, not proposed")

    def issued(self) -> frozenset[str]:
        """As the issuer tells, who may keep no list. None where nothing is revoked."""
        return self.issuer.issued() if self.revokes else frozenset()

    def revoke(self, identities: frozenset[str]) -> None:
        """Raises RotationError(value_not_issued) while an endpoint presents one of them; then none is revoked."""
        if not self.revokes or not identities:
            return
        served = sorted(identities & frozenset().union(*(self.presented(e) for e in self.endpoints)))
        if served:
            raise RotationError(
                "value_not_issued", f"{self.name}: {', '.join(served)} is served, and nobody refers to it"
            )
        for serial in sorted(identities):
            self.issuer.revoke(serial)

    def issue(self, rotation_id: str, current: Mapping[str, Secret]) -> dict[str, Secret]:
        """A new certificate in the fields of the current value, whose other fields stay. Raises
        RotationError(value_rejected) for one that is not as it was asked for; it is revoked."""
        made = self.issuer.issue(self.common_name, self.alt_names, self.ttl)
        names = self.fields
        fields = {
            **current,
            names.certificate: Secret(made.certificate),
            names.private_key: made.private_key,
            names.ca_chain: Secret(made.ca_chain),
        }
        try:
            parsed = self._parsed(fields)
        except RotationError:
            raise RotationError("target_error", f"{self.name}: what the issuer gave is no certificate") from None
        why = self._wrong(parsed, fields)
        if not why:
            return fields
        serial = serial_text(parsed.leaf.serial_number)
        try:
            self.revoke(frozenset({serial}))
        except RotationError as e:
            why += f"; it could not be revoked: {e.message}"
        raise RotationError(
            "value_rejected", f"{self.name}: the certificate {serial} is not as it was asked for: {why}",
            advice="Look at what the issuer allows: names, time, kinds of keys.",
        ) from None  # fmt: skip

    def apply(self, staged: Held, current: Held) -> None:
        """Nothing to do: it is valid since it was issued."""

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        """Whether it has its key, is valid now, follows from its chain, and was not revoked as far as is known."""
        try:
            parsed = self._parsed(fields)
        except RotationError:
            return False
        leaf, now = parsed.leaf, self.now()
        return (
            self._has_key(parsed, fields)
            and leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc
            and not _unverified(leaf, parsed.chain, (*parsed.chain, *self._trusted()), now)
            and not self.issuer.is_revoked(serial_text(leaf.serial_number))
        )

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        """Whether it is no good to whoever looks at it: there is no login that could tell more."""
        return not self.probe(fields)

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """Whether an endpoint presents it now; None without endpoints."""
        if not self.endpoints:
            return None
        return any(identity in self.presented(e) for e in self.endpoints)

    def retire(self, identity: str, *, in_force: str) -> None:
        """Revoke it, where that is wanted."""
        if identity == in_force:
            raise RotationError("target_error", f"{self.name}: {identity} is in force and is not revoked")
        if self.revokes:
            self.issuer.revoke(identity)

    def restore(self, current: Held) -> None:
        """Never asked, for no two values have one serial number; and what was revoked stays revoked."""
        raise RotationError("target_error", f"{self.name}: a certificate that was revoked cannot be taken back")

    def presented(self, endpoint: Endpoint) -> frozenset[str]:
        """The serial numbers of the certificates that an endpoint presents now, at all addresses that answer. Raises
        RotationError(target_unreachable, passing) when none does."""
        where = f"{self.name}: {one_line(endpoint.host)}:{endpoint.port}"
        # Any certificate will do: nothing is sent, and which one it is is all that is asked.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        found, why = set(), "it has no address"
        try:
            places = {a[4][:2] for a in socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)}
        except OSError as e:
            places, why = set(), str(e)
        for place in sorted(places):
            try:
                with (
                    socket.create_connection((str(place[0]), int(place[1])), timeout=self.timeout_s) as plain,
                    context.wrap_socket(plain, server_hostname=endpoint.server_name or endpoint.host) as tls,
                ):
                    told = tls.getpeercert(binary_form=True)
                if told:
                    found.add(serial_text(x509.load_der_x509_certificate(told).serial_number))
            except (OSError, ValueError) as e:
                why = str(e)
        if not found:
            raise RotationError("target_unreachable", f"{where} presents nothing: {one_line(why)}", is_passing=True)
        return frozenset(found)

    # -- what is in it ------------------------------------------------------------------------------------------

    def _parsed(self, fields: Mapping[str, Secret]) -> _Parsed:
        names = self.fields
        missing = [n for n in (names.certificate, names.private_key) if n not in fields]
        if missing:
            raise RotationError("secret_shape", f"{self.name}: the value has no field {one_line(', '.join(missing))}")
        chain = fields.get(names.ca_chain)
        found = _certificates(fields[names.certificate].reveal())
        above = _certificates(chain.reveal()) if chain is not None and chain.reveal().strip() else ()
        if not found or above is None:
            which = names.ca_chain if found else names.certificate
            raise RotationError("secret_shape", f"{self.name}: the field {one_line(which)} holds no PEM certificate")
        return _Parsed(leaf=found[0], chain=(*found[1:], *above))

    def _has_key(self, parsed: _Parsed, fields: Mapping[str, Secret]) -> bool:
        key = _private_key(fields[self.fields.private_key])
        return key is not None and _public(key.public_key()) == _public(parsed.leaf.public_key())

    def _trusted(self) -> tuple[x509.Certificate, ...]:
        if not self.trusted:
            return ()
        found = _certificates(self.trusted)
        if not found:
            raise RotationError("target_error", f"{self.name}: `trusted` holds no PEM certificate")
        return found

    def _wrong(self, parsed: _Parsed, fields: Mapping[str, Secret]) -> str:
        """What is not as it was asked for; empty if all is."""
        leaf, now = parsed.leaf, self.now()
        if not self._has_key(parsed, fields):
            return "its key is another one"
        least = self.least if self.least is not None else self.ttl / 2
        if leaf.not_valid_after_utc < now + least:
            return f"it ends at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC, and is to last {least} at least"
        # A clock that is a little ahead of ours is waited for by who probes it.
        then = max(now, leaf.not_valid_before_utc)
        return self._wrong_names(leaf) or _unverified(leaf, parsed.chain, self._trusted() or parsed.chain, then)

    def _wrong_names(self, leaf: x509.Certificate) -> str:
        has, common = _names(leaf)
        asked, first = {_name(n) for n in self.alt_names}, _name(self.common_name)
        lacking = sorted(asked - has) + ([first] if first not in has | common else [])
        if is_host(self.common_name) and first not in has:
            lacking = sorted({first, *lacking})  # clients do not look at the common name
        if lacking:
            return f"it lacks the names {one_line(', '.join(lacking))}"
        beyond = sorted(has - asked - {first})
        return f"it has names that nobody asked for: {one_line(', '.join(beyond))}" if beyond else ""


def _name(name: str) -> str:
    return address(name) or (name if "://" in name else name.lower().rstrip("."))


def _names(leaf: x509.Certificate) -> tuple[set[str], set[str]]:
    """The alternative names and the common names of a certificate."""
    common = {_name(str(a.value)) for a in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return set(), common
    return {_name(str(n.value)) for n in found}, common


def _certificates(pem: str) -> tuple[x509.Certificate, ...] | None:
    try:
        return tuple(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError:
        return None


def _private_key(pem: Secret) -> Any:
    """A key; None for what is none, or needs a password."""
    try:
        return serialization.load_pem_private_key(pem.reveal().encode(), password=None)
    except Exception:  # the library names several; what is no key is none
        return None


def _public(key: Any) -> bytes:
    return bytes(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


#: Private authorities leave out much of what the web's must have. That a certificate may sign others it must say: where
#: the extension is asked for, the library looks at what it says.
_AUTHORITY = verification.ExtensionPolicy.permit_all().require_present(
    x509.BasicConstraints, verification.Criticality.AGNOSTIC, None
)


def _unverified(
    leaf: x509.Certificate, chain: tuple[x509.Certificate, ...], anchors: tuple[x509.Certificate, ...], now: datetime
) -> str:
    """Why a certificate does not follow from one of the anchors; empty if it does. One that signs itself is its own."""
    if not anchors:
        if leaf.issuer == leaf.subject:
            anchors = (leaf,)
        else:
            return "it comes without a chain"
    policy = verification.PolicyBuilder().store(verification.Store(list(anchors))).time(now)
    policy = policy.extension_policies(ca_policy=_AUTHORITY, ee_policy=verification.ExtensionPolicy.permit_all())
    try:
        policy.build_client_verifier().verify(leaf, list(chain))
    except verification.VerificationError as e:
        return f"it does not follow from its chain: {one_line(str(e))}"
    return ""
