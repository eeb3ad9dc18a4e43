"""An authority of our own for tests, and a front that speaks TLS for a PostgreSQL that was built without."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

#: What a client of PostgreSQL begins with to ask for TLS: length 8, code 80877103.
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files: those who trust ``ca`` trust the server with ``certificate`` and ``key``; ``ca_key`` issues others."""

    ca: Path
    ca_key: Path
    certificate: Path
    key: Path


def certificates(folder: Path, host: str) -> Certificates:
    """A fresh authority, and a server's certificate for a name."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of tests")])
    now = datetime.now(UTC)

    def signed(name: x509.Name, public: ec.EllipticCurvePublicKey, *extensions: x509.ExtensionType) -> bytes:
        made = x509.CertificateBuilder().subject_name(name).issuer_name(ca_name).public_key(public)
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            made = made.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return made.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    files = Certificates(
        ca=folder / "ca.pem", ca_key=folder / "ca.key", certificate=folder / "server.pem", key=folder / "server.key"
    )  # fmt: skip
    key_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    files.ca.write_bytes(signed(ca_name, ca_key.public_key(), x509.BasicConstraints(ca=True, path_length=0), key_id))
    files.certificate.write_bytes(
        signed(
            x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]), key.public_key(),
            x509.SubjectAlternativeName([x509.DNSName(host)]),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()),
        )
    )  # fmt: skip
    for place, private in ((files.ca_key, ca_key), (files.key, key)):
        place.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
    return files


@contextmanager
def tls_front(certificate: Certificates, port: int) -> Iterator[int]:
    """A port that speaks PostgreSQL's TLS and passes what it hears on to a port that does not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_serve, args=(listening, context, port), daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def _serve(listening: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listening.accept()
            threading.Thread(target=_pass_on, args=(client, context, port), daemon=True).start()


def _pass_on(client: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError), client:
        if client.recv(8, socket.MSG_WAITALL) != _SSL_REQUEST:
            return
        client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as secured,
            socket.create_connection(("127.0.0.1", port)) as server,
        ):
            back = threading.Thread(target=_copy, args=(server, secured), daemon=True)
            back.start()
            _copy(secured, server)
            back.join(10)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
