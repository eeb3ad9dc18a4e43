"""Certificates as a target: what is let through, and rotations whose clients shake hands all the time."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tasks.core.issuers import Issued, is_host, serial_text
from tasks.core.rotations import Held, RotationError, State
from tasks.core.secret_refs import Secret
from tasks.rotation.certificates import CertificateTarget, Endpoint
from tasks.rotation.local_ca import LocalCa
from tasks.rotation.machine import Machine, Rules
from tests.rotation_fakes import FakeBackend, World, later

DAY = timedelta(days=1)
NOW = datetime.now(UTC)


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@dataclass
class Authority:
    """A certificate that may sign others; with ``is_ca`` false, or None (it says nothing), it does what it may not."""

    name: str
    above: Authority | None = None
    is_ca: bool | None = True
    days: int = 400
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        signer = self.above or self
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.above.made.subject if self.above is not None else name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - DAY)
            .not_valid_after(NOW + self.days * DAY)
        )
        if self.is_ca is not None:
            builder = builder.add_extension(x509.BasicConstraints(ca=self.is_ca, path_length=None), critical=True)
        self.made = builder.sign(signer.key, hashes.SHA256())

    @property
    def chain(self) -> str:
        own = self.made.public_bytes(serialization.Encoding.PEM).decode()
        return own + (self.above.chain if self.above is not None else "")

    def issuer(self, **options: Any) -> LocalCa:
        return LocalCa(certificate=self.chain, key=Secret(pem(self.key)), **options)


ROOT = Authority("root")
INTERMEDIATE = Authority("intermediate", ROOT)
OTHER = Authority("root")


def target(issuer: Any = None, **options: Any) -> CertificateTarget:
    given: dict[str, Any] = {"name": "web", "common_name": "localhost", "alt_names": ("127.0.0.1",), "ttl": 30 * DAY}
    return CertificateTarget(issuer=issuer or INTERMEDIATE.issuer(), **{"revokes": False, **given, **options})


@dataclass
class Tampering:
    """An issuer whose certificates are changed on their way."""

    change: Callable[[Issued], Issued]
    inner: LocalCa = field(default_factory=INTERMEDIATE.issuer)
    revoked: list[str] = field(default_factory=list)

    def issue(self, common_name: str, alt_names: tuple[str, ...], ttl: timedelta) -> Issued:
        return self.change(self.inner.issue(common_name, alt_names, ttl))

    def issued(self) -> frozenset[str]:
        return frozenset({"01"})

    def revoke(self, serial: str) -> None:
        self.revoked.append(serial)

    def is_revoked(self, serial: str) -> bool | None:
        return serial in self.revoked


def fields(it: CertificateTarget) -> dict[str, Secret]:
    return it.issue("rid", {})


def refused(call: Callable[..., object], *args: Any, **named: Any) -> RotationError:
    with pytest.raises(RotationError) as e:
        call(*args, **named)
    assert "PRIVATE KEY" not in str(e.value)
    return e.value


# -- what is let through -------------------------------------------------------------------------------------------


def test_an_issued_certificate_is_as_it_was_asked_for() -> None:
    it = target(alt_names=("127.0.0.1", "::1", "Shop.Example.", "spiffe://shop/web"))
    found = it.issue("rid", {"url": Secret("https://localhost")})
    leaf = x509.load_pem_x509_certificate(found["certificate"].reveal().encode())
    assert found.keys() == {"certificate", "private_key", "ca_chain", "url"}
    assert it.identity(found) == serial_text(leaf.serial_number)
    assert leaf.not_valid_after_utc - datetime.now(UTC) > 29 * DAY
    assert it.probe(found) and it.is_issued and not it.in_place
    assert it.used_since(it.identity(found), NOW) is None, "without endpoints nobody knows"
    assert it.identity(fields(it)) != it.identity(found)


@pytest.mark.parametrize("kind", ["ec-p384", "rsa-2048"])
def test_keys_are_of_the_kind_that_is_wanted(kind: Any) -> None:
    it = target(ROOT.issuer(key_kind=kind))
    assert it.probe(fields(it))


def test_fields_may_be_called_otherwise_and_the_chain_stand_behind_the_certificate() -> None:
    made = fields(target())
    joined = {
        "certificate": Secret(made["certificate"].reveal() + INTERMEDIATE.chain),
        "private_key": made["private_key"],
    }
    assert target().probe(joined)
    named = target(fields=replace(target().fields, certificate="tls.crt", private_key="tls.key", ca_chain="ca.crt"))
    assert fields(named).keys() == {"tls.crt", "tls.key", "ca.crt"} and named.probe(fields(named))
    assert refused(named.identity, made).reason_code == "secret_shape"


WRONG: list[tuple[str, Callable[[Issued], Issued], dict[str, Any]]] = [
    ("its key is another one", lambda i: replace(i, private_key=Secret(pem(ROOT.key))), {}),
    ("its key is another one", lambda i: replace(i, private_key=Secret("no key")), {}),
    ("does not follow", lambda i: replace(i, ca_chain=OTHER.chain), {}),
    ("without a chain", lambda i: replace(i, ca_chain=""), {}),
    ("does not follow", lambda i: i, {"trusted": OTHER.chain}),
    ("is to last 60 days", lambda i: i, {"least": 60 * DAY}),
]  # fmt: skip


@pytest.mark.parametrize(("told", "change", "options"), WRONG, ids=range(len(WRONG)))
def test_what_is_not_as_it_was_asked_for_is_revoked(
    told: str, change: Callable[[Issued], Issued], options: dict[str, Any]
) -> None:
    issuer = Tampering(change)
    error = refused(target(issuer, revokes=True, **options).issue, "rid", {})
    assert error.reason_code == "value_rejected" and told in str(error)
    assert len(issuer.revoked) == 1 and issuer.revoked[0] in str(error)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("localhost", ()), "lacks the names 127.0.0.1"),
        (("shop.example", ("127.0.0.1",)), "lacks the names localhost"),
        (("localhost", ("127.0.0.1", "evil.example")), "nobody asked for: evil.example"),
    ],
)
def test_names_are_those_that_were_asked_for(given: tuple[str, tuple[str, ...]], told: str) -> None:
    issuer = Tampering(lambda i: i)
    issuer.issue = lambda _c, _a, ttl: issuer.inner.issue(*given, ttl)  # type: ignore[method-assign]
    error = refused(target(issuer, revokes=True).issue, "rid", {})
    assert told in str(error) and len(issuer.revoked) == 1


def test_no_certificate_at_all_is_the_issuers_error() -> None:
    issuer = Tampering(lambda i: replace(i, certificate="-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n"))
    assert refused(target(issuer).issue, "rid", {}).reason_code == "target_error"


def test_one_that_cannot_be_revoked_says_both() -> None:
    error = refused(target(revokes=True, least=60 * DAY).issue, "rid", {})
    assert "is to last" in str(error) and "keeps no list" in str(error)


def test_a_name_that_is_no_host_stands_in_the_subject_alone() -> None:
    it = target(common_name="billing service", alt_names=())
    made = fields(it)
    leaf = x509.load_pem_x509_certificate(made["certificate"].reveal().encode())
    with pytest.raises(x509.ExtensionNotFound):
        leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert it.probe(made)
    names = ("a.example", "*.a.example", "10.0.0.1", "::1", "x_1", "a b", "spiffe://a", "")
    assert tuple(n for n in names if is_host(n)) == names[:5]


def test_a_certificate_works_only_in_its_time_with_its_key_and_its_chain() -> None:
    it, made = target(), fields(target())
    assert not replace(it, now=lambda: NOW + 31 * DAY).probe(made)
    assert not replace(it, now=lambda: NOW - timedelta(hours=1)).probe(made)
    assert not it.probe({**made, "private_key": fields(it)["private_key"]})
    assert not it.probe({**made, "ca_chain": Secret(OTHER.chain)})
    assert not it.probe({**made, "certificate": Secret("nothing")})
    # What was written by hand without its chain may well work: that it does not follow is not known.
    assert replace(it, trusted=INTERMEDIATE.chain).probe({**made, "ca_chain": Secret("")})


@pytest.mark.parametrize("is_ca", [False, None])
def test_who_is_no_authority_signs_nothing(is_ca: bool | None) -> None:
    """As with a stolen certificate of a server."""
    server = Authority("server", ROOT, is_ca=is_ca)
    assert "does not follow" in str(refused(target(server.issuer(), trusted=ROOT.chain).issue, "rid", {}))


def test_the_value_in_force_is_not_refused_because_other_names_are_wanted_today() -> None:
    """Else it would be taken for one that nobody can use, and be revoked while it is served."""
    made = fields(target())
    assert target(alt_names=("127.0.0.1", "new.example"), least=300 * DAY, trusted=OTHER.chain).probe(made)


@pytest.mark.parametrize("text", ["", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_has_no_identity(text: str) -> None:
    error = refused(target().identity, {"certificate": Secret(text), "private_key": Secret("k")})
    assert error.reason_code == "secret_shape"
    assert refused(target().identity, {"certificate": Secret(text)}).reason_code == "secret_shape"


def test_serials_are_written_as_others_read_them() -> None:
    assert [serial_text(n) for n in (0, 1, 0xABC, 2**160 - 1)] == ["00", "01", "0abc", "ff" * 20]


# -- the authority's list ------------------------------------------------------------------------------------------


def test_the_list_grows_and_others_can_read_it(tmp_path: Path) -> None:
    it = target(ROOT.issuer(crl=tmp_path / "crl.pem"), revokes=True)
    old, new = fields(it), fields(it)
    assert it.probe(old) and it.issued() == frozenset()
    it.retire(it.identity(old), in_force=it.identity(new))
    it.retire(it.identity(old), in_force=it.identity(new))
    it.revoke(frozenset({"0abc"}))
    assert not it.probe(old), "what was revoked works no longer"
    assert it.probe(new)
    found = x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes())
    assert {serial_text(r.serial_number) for r in found} == {it.identity(old), "0abc"}
    assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2
    # OpenSSL believes it: a client that asks for the list refuses the old one and takes the new.
    with serving(old, tmp_path) as port, pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        handshake(port, ROOT.chain, crl=tmp_path / "crl.pem")
    with serving(new, tmp_path) as port:
        handshake(port, ROOT.chain, crl=tmp_path / "crl.pem")


def test_many_that_revoke_at_once_lose_nothing(tmp_path: Path) -> None:
    issuers = [ROOT.issuer(crl=tmp_path / "crl.pem") for _ in range(8)]
    threads = [threading.Thread(target=i.revoke, args=(f"{n + 1:02x}",)) for n, i in enumerate(issuers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert [n for n in range(1, 10) if issuers[0].is_revoked(f"{n:02x}")] == list(range(1, 9))


def test_a_list_of_somebody_else_is_not_written_over(tmp_path: Path) -> None:
    place = tmp_path / "crl.pem"
    Authority("else").issuer(crl=place).revoke("01")
    before = place.read_bytes()
    for broken in (before, b"no list"):
        place.write_bytes(broken)
        assert refused(ROOT.issuer(crl=place).revoke, "02").reason_code == "target_error"
        assert refused(ROOT.issuer(crl=place).is_revoked, "02").reason_code == "target_error"
        assert place.read_bytes() == broken
    assert refused(ROOT.issuer(crl=tmp_path / "no" / "folder").revoke, "02").reason_code == "target_error"


def test_an_authority_without_its_key_is_told() -> None:
    for key in ("no key", pem(OTHER.key)):
        broken = LocalCa(certificate=ROOT.chain, key=Secret(key))
        error = refused(broken.issue, "localhost", (), DAY)
        assert error.reason_code == "target_error" and error.__context__ is None
    assert refused(ROOT.issuer().issue, "localhost", ("bücher.example",), DAY).reason_code == "target_error"


def test_nothing_lasts_longer_than_its_authority() -> None:
    short = Authority("short", days=5)
    assert "is to last" in str(refused(target(short.issuer()).issue, "rid", {}))
    it = target(short.issuer(), least=4 * DAY)
    assert it.probe(fields(it))


# -- handshakes ----------------------------------------------------------------------------------------------------


def context_of(made: dict[str, Secret], place: Path) -> ssl.SSLContext:
    """As a server reads it."""
    files = [place / f"{n}.{threading.get_ident()}" for n in ("cert", "key")]
    files[0].write_text(made["certificate"].reveal() + made["ca_chain"].reveal())
    files[1].write_text(made["private_key"].reveal())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(os.fspath, files))
    return context


@contextmanager
def serving(made: dict[str, Secret] | Callable[[], dict[str, Secret]], place: Path) -> Iterator[int]:
    """A server with a certificate, read anew for each client if it is told by a function."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            plain, _ = listener.accept()
            try:
                plain.settimeout(10)
                with context_of(made() if callable(made) else made, place).wrap_socket(plain, server_side=True) as tls:
                    tls.recv(1)
            except OSError:
                pass  # the client did not like it
            finally:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        over.set()
        socket.create_connection(listener.getsockname()).close()
        thread.join()
        listener.close()


def handshake(port: int, roots: str, *, crl: Path | None = None) -> str:
    """A client that trusts ``roots``: the serial of what it accepted."""
    context = ssl.create_default_context(cadata=roots)
    if crl is not None:
        context.load_verify_locations(cafile=crl)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname="localhost") as tls:
            told = tls.getpeercert(binary_form=True)
    assert told
    return serial_text(x509.load_der_x509_certificate(told).serial_number)


def rotating(it: CertificateTarget, states: list[State]) -> tuple[Machine, World]:
    world = World(kind="issued")
    world.versions = [Held(fields=fields(it), version="1", mark=None, since=world.clock)]
    machine = Machine(
        "web", FakeBackend(world), it, Rules(grace=timedelta(seconds=60), settle=timedelta(0)),
        value=lambda: Secret("never"), tell=lambda t: states.append(t.state),
    )  # fmt: skip
    return machine, world


def test_a_rotation_is_noticed_by_no_client_and_ends_when_the_server_has_it(tmp_path: Path) -> None:
    served: list[dict[str, Secret]] = []
    with serving(lambda: served[0], tmp_path) as port:
        issuer = INTERMEDIATE.issuer(crl=tmp_path / "crl.pem")
        it = target(issuer, revokes=True, trusted=ROOT.chain, endpoints=(Endpoint(host="127.0.0.1", port=port),))
        states: list[State] = []
        machine, world = rotating(it, states)
        old = it.identity(world.current.fields)
        served.append(dict(world.current.fields))
        assert handshake(port, ROOT.chain) == old

        assert machine.rotate("march").state is State.GRACE
        assert handshake(port, ROOT.chain) == old, "it has not read the new one yet"
        later(world, 61)
        standing = machine.rotate("march")
        assert (standing.state, standing.reason_code) == (State.GRACE, "old_in_use")
        assert not issuer.is_revoked(old)

        served[0] = dict(world.current.fields)
        new = handshake(port, ROOT.chain)
        assert new == it.identity(world.current.fields) != old
        assert machine.rotate("march").is_finished and world.pending is None
        assert issuer.is_revoked(old) and not issuer.is_revoked(new)
    assert states[-1] is State.RETIRED


def test_an_endpoint_that_does_not_answer_holds_the_old_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for host in ("127.0.0.1", "no-such-host.invalid"):
        it = target(endpoints=(Endpoint(host=host, port=port),))
        error = refused(it.used_since, "01", NOW)
        assert (error.reason_code, error.is_passing) == ("target_unreachable", True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        it = target(endpoints=(Endpoint(host="127.0.0.1", port=silent.getsockname()[1]),), timeout_s=0.3)
        assert refused(it.used_since, "01", NOW).reason_code == "target_unreachable"


def test_what_is_served_is_not_revoked_as_an_orphan(tmp_path: Path) -> None:
    issuer = Tampering(lambda i: i)
    made = fields(target(issuer))
    with serving(made, tmp_path) as port:
        it = target(issuer, revokes=True, endpoints=(Endpoint(host="127.0.0.1", port=port),))
        assert refused(it.revoke, frozenset({"01", it.identity(made)})).reason_code == "value_not_issued"
        assert issuer.revoked == []
        it.revoke(frozenset({"01"}))
        assert issuer.revoked == ["01"]


def test_nothing_is_revoked_where_that_is_not_wanted() -> None:
    issuer = Tampering(lambda i: i)
    it = target(issuer, revokes=False)
    assert it.issued() == frozenset()
    it.revoke(frozenset({"01"}))
    it.retire("01", in_force="02")
    assert issuer.revoked == []
    states: list[State] = []
    machine, world = rotating(it, states)
    machine.rotate("march")
    later(world, 61)
    assert machine.rotate("march").is_finished and states[-1] is State.RETIRED


def test_the_one_in_force_is_never_revoked() -> None:
    issuer = Tampering(lambda i: i)
    assert "in force" in str(refused(target(issuer, revokes=True).retire, "01", in_force="01"))
    assert refused(target(issuer).restore, Held(fields={}, version="1", mark=None)).reason_code == "target_error"
    assert issuer.revoked == []


def test_a_certificate_that_ended_is_replaced() -> None:
    it = target()
    states: list[State] = []
    machine, world = rotating(it, states)
    expired = it.identity(world.current.fields)
    machine._target = replace(
        it, now=lambda: NOW + 30 * DAY + timedelta(hours=1), issuer=INTERMEDIATE.issuer(now=lambda: NOW + 30 * DAY)
    )
    assert machine.rotate("march").state is State.GRACE
    assert it.identity(world.current.fields) != expired
