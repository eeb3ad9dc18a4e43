"""``vault:PATH#KEY``: a field of a key-value secret of HashiCorp Vault or OpenBao, read by hvac.

PATH begins with the mount (``secret/git``); ``/data/`` of version 2 is not written. Which version a mount has, and
where it ends, the server itself says, as it tells Vault's own command line
(https://developer.hashicorp.com/vault/api-docs/system/internal-ui-mounts). Where a policy hides that, ``kv_version``
says it, and the mount is the first part of PATH.

Redirects are not followed: the token would go to wherever the answer names.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.core.addresses import in_the_clear, stays_here
from tasks.core.errors import SecretError
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.vault_access import VaultAccess, fits_header, transport_fault
from tasks.core.wire_logs import hush

_TIMEOUT_S = 10
#: A login is used for so much of its lease, and never longer than some minutes.
_LEASE_PART, _LOGIN_S = 0.8, 600.0
_SIGN_IN = (
    "Set VAULT_TOKEN or VAULT_TOKEN_FILE, or `token`, or `role_id` and `secret_id`, in the `vault:` section of the "
    "configuration."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Login:
    token: Secret
    until: float


class Vault:
    """Vault as a store. ``read_plain`` reads env and file references, for what we sign in with."""

    def __init__(self, access: VaultAccess, read_plain: Callable[[SecretRef], Secret]) -> None:
        self._access = access
        self._read_plain = read_plain
        self._login: _Login | None = None
        self._lock = threading.Lock()

    def read(self, ref: SecretRef) -> Secret:
        """The field. Raises SecretError: Vault is not reached, sealed or refuses, no such secret, no such field."""
        address = self._access.address or os.environ.get("VAULT_ADDR")
        if not address:
            raise SecretError(
                f"{ref}: no Vault is named", advice="Set VAULT_ADDR, or `address` in the `vault:` section."
            )
        if in_the_clear(address) and not self._access.allow_http:
            raise SecretError(
                f"{ref}: the address of Vault has no TLS",
                advice="Write https://, or set `allow_http: true` in the `vault:` section if you accept that.",
            )
        path = ref.place.strip("/")
        # hvac reads doubled slashes as one; dots would leave the mount.
        if any(part in ("", ".", "..") for part in path.split("/")) or "/" not in path:
            raise SecretError(f"{ref}: the path is not one of a secret", advice="Write vault:MOUNT/PATH#KEY.")
        call = _Call(ref, address, self._access)
        login, is_fresh = self._signed_in(call)
        try:
            data = _read(call, login, path, self._access.kv_version)
        except _DeniedError:
            # A login that was revoked, or whose uses are spent: once more, with a new one.
            if self._access.role_id is None or is_fresh:
                raise call.denied() from None
            self._forget(login)
            try:
                data = _read(call, self._signed_in(call)[0], path, self._access.kv_version)
            except _DeniedError:
                raise call.denied() from None
        value = data.get(ref.key or "")
        if not isinstance(value, str) or not value:
            raise SecretError(
                f"{ref}: the secret has no such text field", advice="Compare the name after #, and its case."
            )
        return Secret(value)

    def _signed_in(self, call: _Call) -> tuple[Secret, bool]:
        """A token, and whether it was got right now."""
        a = self._access
        if a.token is not None:
            return self._read_plain(a.token), True
        if a.role_id is None:
            if file := os.environ.get("VAULT_TOKEN_FILE"):
                return self._read_plain(SecretRef(scheme="file", place=str(Path(file).absolute()))), True
            if os.environ.get("VAULT_TOKEN"):
                return self._read_plain(SecretRef(scheme="env", place="VAULT_TOKEN")), True
            raise SecretError(f"{call.ref}: there is nothing to sign in to Vault with", advice=_SIGN_IN)
        with self._lock:
            if self._login is not None and time.monotonic() < self._login.until:
                return self._login.token, False
            secret_id = self._read_plain(a.secret_id).reveal() if a.secret_id is not None else ""
            body = {"role_id": a.role_id, **({"secret_id": secret_id} if secret_id else {})}
            try:
                answer = call.ask("post", f"/v1/auth/{quote(a.approle_mount)}/login", json=body)
            except _RefusedError:
                raise SecretError(
                    f"{call.ref}: Vault does not accept role_id and secret_id", advice="Compare both, and their age."
                ) from None
            except _DeniedError:
                raise SecretError(
                    f"{call.ref}: Vault denies the login of the role",
                    advice="Compare role_id, secret_id and approle_mount; the role may be bound to other addresses.",
                ) from None
            self._login = _login_of(call, answer)
            return self._login.token, True

    def _forget(self, token: Secret) -> None:
        with self._lock:
            if self._login is not None and self._login.token is token:
                self._login = None


def _login_of(call: _Call, answer: dict[str, Any]) -> _Login:
    """The login that an answer grants. Raises SecretError: it grants none."""
    auth = answer.get("auth")
    if not answer:
        raise SecretError(f"{call.ref}: Vault knows no such way to sign in", advice="Compare `approle_mount`.")
    token = auth.get("client_token") if isinstance(auth, dict) else None
    if not isinstance(auth, dict) or not isinstance(token, str) or not token:
        raise SecretError(
            f"{call.ref}: Vault answers the login without a token",
            advice="Compare `address` and `approle_mount`; a role that asks for a second factor cannot be used.",
        )
    lease_s = auth.get("lease_duration")
    last = _LOGIN_S
    if isinstance(lease_s, int | float) and lease_s > 0:
        last = min(lease_s, _LOGIN_S / _LEASE_PART) * _LEASE_PART
    return _Login(token=Secret(token), until=time.monotonic() + last)


class _RefusedError(Exception):
    """Vault refuses a login."""


class _DeniedError(Exception):
    """Vault answers 403."""


class _Call:
    """One question to Vault for one reference; all that can go wrong becomes a SecretError without any value."""

    def __init__(self, ref: SecretRef, address: str, access: VaultAccess) -> None:
        self.ref = ref
        self._address = address
        self._access = access

    def denied(self) -> SecretError:
        return SecretError(
            f"{self.ref}: Vault denies access",
            advice="The token may be wrong or old, its policy may lack `read` here, or there is no such mount.",
        )

    def ask(self, method: str, path: str, *, token: Secret | None = None, **more: Any) -> dict[str, Any]:
        """The answer as JSON; empty for 404. Raises SecretError, _DeniedError (403), _RefusedError (400)."""
        import hvac
        from hvac import exceptions as e

        hush()
        if token is not None and not fits_header(token):
            raise SecretError(
                f"{self.ref}: the token for Vault holds characters that no token has",
                advice="Is there a space or a line break around it?",
            )
        ca_file = self._access.ca_file or os.environ.get("VAULT_CACERT")
        client = hvac.Client(
            url=self._address,
            token=token.reveal() if token is not None else "",  # None would be looked for in places of hvac's own
            namespace=self._access.namespace or os.environ.get("VAULT_NAMESPACE") or None,
            verify=str(ca_file) if ca_file else True,
            timeout=_TIMEOUT_S,
            allow_redirects=False,
        )
        if stays_here(self._address):
            for scheme in ("http://", "https://"):
                client.adapter.session.mount(scheme, _straight())
        # hvac's errors carry the whole answer: none is chained.
        try:
            answer = getattr(client.adapter, method)(path, **more)
            if isinstance(answer, dict):
                return answer
            told = _NO_JSON
        except e.InvalidPath:
            return {}
        except e.Forbidden:
            raise _DeniedError from None
        except e.InvalidRequest:
            raise _RefusedError from None
        except Exception as error:  # each is told, and none of its words
            told = _told(error)
        finally:
            client.adapter.close()
        raise SecretError(f"{self.ref}: {told[0]}", advice=told[1])


def _straight() -> Any:
    """What sends without the proxies of the environment."""
    from requests.adapters import HTTPAdapter

    class Straight(HTTPAdapter):
        def send(self, request: Any, *args: Any, **more: Any) -> Any:
            return super().send(request, *args, **{**more, "proxies": None})

    return Straight()


_NO_JSON = ("Vault answers something else than JSON", "Compare `address`; a standby that redirects is not followed.")


def _told(error: Exception) -> tuple[str, str]:
    """What is wrong, and the remedy."""
    from hvac import exceptions as e

    for kind, what, remedy in (
        (e.VaultDown, "Vault is sealed, or in maintenance", "Unseal it; nothing is read before."),
        (e.VaultNotInitialized, "Vault is not initialised", "Initialise it, or compare `address`."),
        (e.RateLimitExceeded, "Vault asks us to wait", "Try again; its quota is spent."),
        (e.VaultError, f"Vault answers with an error ({type(error).__name__})", "Its log says more."),
    ):
        if isinstance(error, kind):
            return what, remedy
    if fault := transport_fault(error, _TIMEOUT_S):
        return fault
    # hvac looks into the answer to a refusal as if it were an object.
    return f"what Vault answers cannot be read ({type(error).__name__})", "Is it Vault that `address` names?"


def _read(call: _Call, token: Secret, path: str, kv_version: int | None) -> dict[str, Any]:
    """The fields of a secret, of either version. Raises SecretError, _DeniedError."""
    missing = SecretError(f"{call.ref}: there is no such secret", advice="Compare mount and path, and their case.")
    try:
        mount, version = (path.partition("/")[0], kv_version) if kv_version else _mount(call, token, path)
        inside = path.removeprefix(mount).strip("/")
        if not mount or not inside:
            raise missing
        middle = "/data/" if version == 2 else "/"
        answer = call.ask("get", f"/v1/{quote(mount)}{middle}{quote(inside)}", token=token)
    except _RefusedError:
        raise missing from None
    data = answer.get("data")
    if version == 2 and isinstance(data, dict):
        data = data.get("data")
    if not isinstance(data, dict):  # 404; a version that was deleted has no data either
        raise missing
    return data


def _mount(call: _Call, token: Secret, path: str) -> tuple[str, int]:
    """The mount that a path lies in, and its version; none where there is none."""
    answer = call.ask("get", f"/v1/sys/internal/ui/mounts/{quote(path)}", token=token)
    told = answer.get("data")
    if not isinstance(told, dict):
        return "", 1
    options = told.get("options")
    version = options.get("version") if isinstance(options, dict) else None
    return str(told.get("path", "")).strip("/"), 2 if str(version) == "2" else 1
