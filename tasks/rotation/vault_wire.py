"""One request to Vault or OpenBao by hvac, and what its answer means; nothing is known here of tokens that end.

Redirects are not followed: the token would go to wherever the answer names. Proxies are used as configured and never
as the environment says. Every failure is a RotationError; errors of libraries hold what was sent and received, so none
is chained.
"""

from __future__ import annotations

import json
import os
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tasks.core.addresses import in_the_clear
from tasks.core.errors import UsageError
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.vault_access import VaultAccess, fits_header, transport_fault
from tasks.core.wire_logs import hush

_DENIED, _LIMITED, _CONSISTENCY, _NOT_INITIALISED, _UNAVAILABLE = 403, 429, 412, 501, 503
#: What a standby answers that does not forward, and for a moment every node that was just unsealed.
_STANDBY = 307


@dataclass(frozen=True, slots=True, kw_only=True)
class SignIn(VaultAccess):
    """Where Vault is and how a rotation signs in: by ``token``, AppRole, Kubernetes, or the environment's token.

    ``is_wrapped``: what ``secret_id`` leads to is a wrapping token, which is unwrapped once; a run that is killed
    afterwards needs another one. ``kubernetes_jwt`` is the token of the service account. ``proxy`` is an address
    without a password.
    """

    is_wrapped: bool = False
    kubernetes_role: str | None = None
    kubernetes_mount: str = "kubernetes"
    kubernetes_jwt: SecretRef = SecretRef(scheme="file", place="/var/run/secrets/kubernetes.io/serviceaccount/token")
    proxy: str | None = None
    timeout_s: float = 10.0

    def __post_init__(self) -> None:
        if self.proxy is not None and "@" in self.proxy:
            raise UsageError("the proxy for Vault holds a name or a password", advice="Write its address alone.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Vault answered: its status, and the body where it is an object (else empty). Never shown: it may hold
    values. Numbers that would not come out as they went in are Decimals."""

    status: int
    body: Mapping[str, Any] = field(repr=False)
    date: str | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        """The part ``data``; empty where there is none."""
        told = self.body.get("data")
        return told if isinstance(told, dict) else {}

    def says(self, words: str) -> bool:
        """Whether one of its errors has these words. They are compared and never told: an error may quote a value."""
        errors = self.body.get("errors")
        return isinstance(errors, list) and any(isinstance(e, str) and words in e for e in errors)


class Wire:
    """Requests to one server. Thread-safe: each thread has a connection of its own."""

    def __init__(self, access: SignIn) -> None:
        self.access = access
        self._mine = threading.local()
        self._sessions: weakref.WeakSet[Any] = weakref.WeakSet()
        self._lock = threading.Lock()

    def send(
        self,
        method: str,
        path: str,
        *,
        token: Secret | None = None,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        in_namespace: bool = True,
    ) -> Answer:
        """One request; the answer whatever its status. Raises RotationError: there is none, or it is not Vault's."""
        hush()
        if token is not None and not fits_header(token):
            raise RotationError(
                "backend_denied",
                "the token for Vault holds characters that no token has",
                advice="Is there a space or a line break around it?",
            )
        adapter = self._adapter()
        adapter.token = token.reveal() if token is not None else None
        adapter.namespace = self.namespace() if in_namespace else None
        told: tuple[str, str] | None
        is_passing = False
        try:
            answer = adapter.request(method, f"/v1/{path}", raise_exception=False, json=body, params=params)
            return Answer(status=answer.status_code, body=_read(answer.content), date=answer.headers.get("Date"))
        except Exception as error:  # each is told, and none of its words
            told = transport_fault(error, self.access.timeout_s)
            is_passing = _may_pass(error)
            kind = type(error).__name__
        finally:
            adapter.token = None
        if told is None:
            raise RotationError(
                "backend_error", f"{path}: what Vault answers cannot be read ({kind})", advice="Is it Vault?"
            )
        raise RotationError("backend_unreachable", f"{path}: {told[0]}", advice=told[1], is_passing=is_passing)

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            for session in list(self._sessions):
                session.close()

    def namespace(self) -> str | None:
        """The configured namespace, else the environment's."""
        return self.access.namespace or os.environ.get("VAULT_NAMESPACE") or None

    def address(self) -> str:
        """The configured address, else the environment's. Raises RotationError: none, or one that is not accepted."""
        address = self.access.address or os.environ.get("VAULT_ADDR")
        if not address:
            raise RotationError(
                "backend_unreachable",
                "no Vault is named",
                advice="Set VAULT_ADDR, or `address` in the `vault:` section.",
            )
        if in_the_clear(address) and not self.access.allow_http:
            raise RotationError(
                "backend_unreachable",
                "the address of Vault has no TLS",
                advice="Write https://, or set `allow_http: true` in the `vault:` section if you accept that.",
            )
        return address

    def _adapter(self) -> Any:
        """hvac's adapter of this thread."""
        there = getattr(self._mine, "adapter", None)
        if there is not None:
            return there
        import requests
        from hvac.adapters import RawAdapter

        address, session = self.address(), requests.Session()
        session.trust_env = False  # neither its proxies nor its passwords (.netrc)
        ca_file = self.access.ca_file or os.environ.get("VAULT_CACERT")
        session.verify = str(ca_file) if ca_file else True
        if self.access.proxy is not None:
            session.proxies = {"http": self.access.proxy, "https": self.access.proxy}
        with self._lock:
            self._sessions.add(session)
        self._mine.adapter = RawAdapter(
            base_uri=address, session=session, timeout=self.access.timeout_s, allow_redirects=False
        )
        return self._mine.adapter


def fault(answer: Answer, what: str) -> RotationError:
    """What an answer that is no success means. ``what`` was asked."""
    status = answer.status
    if status == _DENIED:
        return RotationError(
            "backend_denied",
            f"{what}: Vault denies it",
            advice="The policy lacks it, or the token is over; `nightwarden rotate policy vault` prints it.",
        )
    if status == _LIMITED:
        return RotationError("backend_limited", f"{what}: Vault asks us to ask less often", is_passing=True)
    if status == _NOT_INITIALISED:
        return RotationError("backend_sealed", f"{what}: Vault is not initialised", advice="Initialise it.")
    if status == _UNAVAILABLE and (answer.says("sealed") or answer.body.get("sealed") is True):
        return RotationError("backend_sealed", f"{what}: Vault is sealed", advice="Unseal it; the next run goes on.")
    if status >= 500 or status == _CONSISTENCY:
        return RotationError("backend_unreachable", f"{what}: Vault answers {status}", is_passing=True)
    if 300 <= status < 400:
        is_passing = status == _STANDBY
        return RotationError(
            "backend_unreachable" if is_passing else "backend_error",
            f"{what}: Vault sends us elsewhere ({status}), which is not followed",
            advice="Name the address of the active node, or let standbys forward requests.",
            is_passing=is_passing,
        )
    return RotationError("backend_error", f"{what}: Vault answers {status}", advice="Its log says more.")


def moment(text: str) -> datetime | None:
    """A time of the server's, which it tells to the nanosecond; the next microsecond, so that nothing ends early."""
    whole, _, part = text.removesuffix("Z").partition(".")
    try:
        at = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        return at + timedelta(microseconds=-(-int(part[:9].ljust(9, "0")) // 1000)) if part else at
    except ValueError:
        return None


def _may_pass(error: Exception) -> bool:
    """Whether trying again may help; it was done or not. A certificate or a file is not mended by waiting."""
    import requests

    r = requests.exceptions
    lasting = (r.SSLError, r.InvalidURL, r.InvalidSchema, r.MissingSchema, r.InvalidHeader, r.InvalidJSONError)
    return isinstance(error, r.Timeout | r.ConnectionError | r.ChunkedEncodingError) and not isinstance(error, lasting)


def _read(content: bytes) -> Mapping[str, Any]:
    """The object of an answer; empty for anything else, as from who is no Vault."""
    try:
        told = json.loads(content, parse_float=_number) if content else {}
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _number(text: str) -> float | Decimal:
    """A number that is written as it was read, else a Decimal, which nothing writes by mistake."""
    value, exact = float(text), Decimal(text)
    return value if Decimal(repr(value)) == exact else exact
