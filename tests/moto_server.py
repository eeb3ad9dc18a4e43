"""moto with its strict layer as a server in a process of its own, and what goes wrong there. An emulator, no AWS.

    python -m tests.moto_server --port PORT --settles SECONDS --book FILE --faults PART --seed SEED

Calls come one at a time, as if AWS had one clock. Of those that are not an operator's a part fails: AWS asks to wait,
or has a fault of its own, before the call is done or after it; or it is done and the connection is cut. What is in
memory is gone with the process, so it is not killed but frozen. ``book``: the secrets of issued keys, a line each.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.openbao import free_port

REGION = "eu-central-1"
#: With it nothing fails.
_OPERATOR = "X-Operator"
_WHO_AM_I = b"Action=GetCallerIdentity&Version=2011-06-15"
#: What goes wrong, and how often of four times.
_FAULTS = ("asks to wait", "fails before", "fails after", "is cut after")
_START_S = 60.0


class MotoServer:
    """The server, as those who started it see it."""

    def __init__(self, place: Path, *, settles_s: float = 0.0, faults: float = 0.0, seed: int = 0) -> None:
        self.port, self.log = free_port(), place / "moto.log"
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._argv = [
            sys.executable, "-m", "tests.moto_server", f"--port={self.port}", f"--settles={settles_s}",
            f"--book={place / 'book'}", f"--faults={faults}", f"--seed={seed}",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=Path(__file__).parents[1]
            )
        end = time.monotonic() + _START_S
        while True:
            try:
                self.look()
                return
            except OSError:
                assert self._process.poll() is None and time.monotonic() < end, self.log.read_text()[-2000:]
                time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self, for_s: float) -> None:
        """It does not answer for a while."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            time.sleep(for_s)
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def look(self, secret: str = "", user: str = "") -> Any:
        """All at once, as it is in memory: ``labels`` and ``values`` by label of a secret, ``keys`` of a user with
        their status, ``faults`` by what went wrong. Raises OSError."""
        with urllib.request.urlopen(f"{self.endpoint}/operator?{secret}&{user}", timeout=30) as answer:
            return json.load(answer)


def signed(endpoint: str, service: str, body: bytes, keys: tuple[str, str], **headers: str) -> urllib.request.Request:
    """A request of AWS's, signed by a key, for those who need no client of boto3."""
    made = AWSRequest("POST", endpoint, data=body, headers=headers)
    SigV4Auth(Credentials(*keys), service, REGION).add_auth(made)
    return urllib.request.Request(endpoint, body, dict(made.headers.items()), method="POST")


def asking_who_i_am(endpoint: str, keys: tuple[str, str]) -> urllib.request.Request:
    """A login with a key of IAM."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Host": endpoint.partition("//")[2]}
    return signed(endpoint, "sts", _WHO_AM_I, keys, **form)


def reading(endpoint: str, secret: str) -> urllib.request.Request:
    """The value in force of a secret."""
    body = json.dumps({"SecretId": secret, "VersionStage": "AWSCURRENT"}).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "secretsmanager.GetSecretValue"}
    return signed(endpoint, "secretsmanager", body, ("testing", "testing"), **headers)


# -- the process itself -------------------------------------------------------------------------------------------


class _App:
    def __init__(self, faults: float, seed: int) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._moto = DomainDispatcherApplication(create_backend_app)
        self._part, self._choice = faults, random.Random(seed)
        self._lock = threading.Lock()
        self._faults: Counter[str] = Counter()

    def __call__(self, environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        # Whoever asks may be frozen before it has said all; nobody else waits for it.
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        with self._lock:
            if environ["PATH_INFO"] == "/operator":
                return self._looked(environ, start)
            fault = self._fault(environ)
            if fault in ("asks to wait", "fails before"):
                return _refused(environ, start, fault)
            told: list[Any] = []
            body = b"".join(self._moto(environ, lambda *args: told.extend(args)))
        if fault == "fails after":
            return _refused(environ, start, fault)
        if fault == "is cut after":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return []
        start(*told[:2])
        return [body]

    def _fault(self, environ: dict[str, Any]) -> str | None:
        if "HTTP_X_OPERATOR" in environ or self._choice.random() >= self._part:
            return None
        fault = self._choice.choice(_FAULTS)
        self._faults[fault] += 1
        return fault

    def _looked(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        from moto.iam.models import iam_backends
        from moto.secretsmanager.models import secretsmanager_backends

        from tests.strict_moto import ACCOUNT

        secret, _, user = environ["QUERY_STRING"].partition("&")
        told: dict[str, Any] = {"faults": self._faults}
        if secret:
            versions = secretsmanager_backends[ACCOUNT][REGION].secrets[secret].versions
            labels = {label: v for v, version in versions.items() for label in version["version_stages"]}
            values = {label: versions[v].get("secret_string", "{}") for label, v in labels.items()}
            told |= {"labels": labels, "values": {label: json.loads(text) for label, text in values.items()}}
        if user:
            keys = iam_backends[ACCOUNT]["aws"].get_user(user).access_keys
            told["keys"] = {k.access_key_id: k.status for k in keys}
        body = json.dumps(told).encode()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]


def _refused(environ: dict[str, Any], start: Any, fault: str) -> list[bytes]:
    """As the protocol of each service has it."""
    waits = fault == "asks to wait"
    if "HTTP_X_AMZ_TARGET" in environ:
        code = "ThrottlingException" if waits else "InternalServiceError"
        body = json.dumps({"__type": code, "message": "by the tests"}).encode()
    else:
        code = "Throttling" if waits else "ServiceFailure"
        body = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>".encode()
    start("400 Bad Request" if waits else "500 Internal Server Error", [("Content-Length", str(len(body)))])
    return [body]


@contextmanager
def _booked(book: Path) -> Iterator[None]:
    """Secrets of keys are written down as they are issued."""
    from moto.iam import models

    made = models.AccessKey.__init__

    def noted(self: Any, *args: Any, **params: Any) -> None:
        made(self, *args, **params)
        with book.open("a") as out:
            out.write(f"{self.secret_access_key}\n")

    models.AccessKey.__init__ = noted  # type: ignore[method-assign]
    yield


def main() -> None:
    """Serve until killed."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    from tests.strict_moto import StrictAws, strict_classes

    parser = argparse.ArgumentParser(prog="python -m tests.moto_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--settles", type=float, default=0.0)
    parser.add_argument("--book", type=Path, required=True)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    aws = StrictAws()
    aws.settles_s = given.settles
    with strict_classes(aws), _booked(given.book):
        app = _App(given.faults, given.seed)
        make_server("127.0.0.1", given.port, app, threaded=True, request_handler=MotoRequestHandler).serve_forever()


if __name__ == "__main__":
    main()
