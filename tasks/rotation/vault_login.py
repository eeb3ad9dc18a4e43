"""The ways to sign in to Vault or OpenBao: a token, AppRole (also by a wrapped secret id), Kubernetes.

https://openbao.org/api-docs/auth/approle/, …/auth/kubernetes/, …/system/wrapping-unwrap/.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.core.errors import SecretError
from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret, SecretRef
from tasks.rotation.vault_wire import Answer, SignIn, Wire, fault

_OK, _REFUSED, _DENIED = 200, 400, 403
#: The part of a lease after which it is renewed.
_RENEW_PART = 2 / 3
#: A renewal that grants less than this part of the first lease comes to the token's last day.
_SHORT_PART = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A token, when we got it or renewed it, and for how long it is (None: for ever, or nobody tells).

    ``is_ours``: we logged in for it, and may again.
    """

    token: Secret
    is_ours: bool
    got_at: float
    lease_s: float | None = None
    first_lease_s: float | None = None
    is_renewable: bool = False

    @property
    def due_at(self) -> float | None:
        """When it is to be renewed, or replaced."""
        return None if self.lease_s is None else self.got_at + self.lease_s * _RENEW_PART

    @property
    def ends_at(self) -> float | None:
        """When Vault takes it no more."""
        return None if self.lease_s is None else self.got_at + self.lease_s

    def renewed(self, auth: Mapping[str, Any], at: float) -> Login:
        """After a renewal. Where its last day comes near, it is not renewed again."""
        lease = _seconds(auth.get("lease_duration"))
        short = lease is not None and self.first_lease_s is not None and lease < self.first_lease_s * _SHORT_PART
        return replace(
            self, got_at=at, lease_s=lease, is_renewable=auth.get("renewable") is True and not (short and self.is_ours)
        )


class SigningIn:
    """Signs in as configured. Not thread-safe: the session does one login at a time.

    ``read_plain`` reads env and file references; they are read anew for every login, as others may replace them.
    """

    def __init__(self, wire: Wire, read_plain: Callable[[SecretRef], Secret], clock: Callable[[], float]) -> None:
        self._wire, self._read_plain, self._clock = wire, read_plain, clock
        #: A wrapping token, and what was in it.
        self._unwrapped: tuple[Secret, Secret] | None = None

    @property
    def _access(self) -> SignIn:
        return self._wire.access

    def login(self) -> Login:
        """A login, asked of Vault now. Raises RotationError."""
        a = self._access
        if a.token is not None:
            return self._given(a.token)
        if a.role_id is not None:
            body = {"role_id": a.role_id}
            if a.secret_id is not None:
                secret_id = self._plain(a.secret_id)
                body["secret_id"] = (self._unwrap(secret_id) if a.is_wrapped else secret_id).reveal()
            return self._by(a.approle_mount, body)
        if a.kubernetes_role is not None:
            jwt = self._plain(a.kubernetes_jwt).reveal().strip()
            return self._by(a.kubernetes_mount, {"role": a.kubernetes_role, "jwt": jwt})
        if file := os.environ.get("VAULT_TOKEN_FILE"):
            return self._given(SecretRef(scheme="file", place=str(Path(file).absolute())))
        if os.environ.get("VAULT_TOKEN"):
            return self._given(SecretRef(scheme="env", place="VAULT_TOKEN"))
        raise RotationError(
            "credentials_unreadable",
            "there is nothing to sign in to Vault with",
            advice="Set `role_id` and `secret_id`, `kubernetes_role`, `token`, or VAULT_TOKEN or VAULT_TOKEN_FILE.",
        )

    def _plain(self, ref: SecretRef) -> Secret:
        try:
            return self._read_plain(ref)
        except SecretError as e:
            told = (e.message, e.advice)
        raise RotationError("credentials_unreadable", told[0], advice=told[1])

    def _given(self, ref: SecretRef) -> Login:
        """A token that somebody gave us. How long it is it tells itself, if its policy lets it."""
        token, at = self._plain(ref), self._clock()
        answer = self._wire.send("get", "auth/token/lookup-self", token=token)
        if answer.status == _DENIED:
            return Login(token=token, is_ours=False, got_at=at)
        if answer.status != _OK:
            raise fault(answer, "auth/token/lookup-self")
        # Whole seconds are told: what is in its last one is no root token, which ends never.
        lease = _seconds(answer.data.get("ttl"))
        if lease is None and answer.data.get("expire_time"):
            lease = 0.0
        return Login(
            token=token, is_ours=False, got_at=at, lease_s=lease, first_lease_s=lease,
            is_renewable=answer.data.get("renewable") is True,
        )  # fmt: skip

    def _by(self, mount: str, body: Mapping[str, str]) -> Login:
        path, at = f"auth/{quote(mount.strip('/'))}/login", self._clock()
        answer = self._wire.send("post", path, body=body)
        if answer.status in (_REFUSED, _DENIED):
            raise RotationError(
                "backend_denied",
                f"{path}: Vault does not let the role in",
                advice="Compare the role, what proves it, its age and its uses; the role may be bound to addresses.",
            )
        if answer.status != _OK:
            raise fault(answer, path)
        auth = answer.body.get("auth")
        token = auth.get("client_token") if isinstance(auth, dict) else None
        if not isinstance(auth, dict) or not isinstance(token, str) or not token:
            raise RotationError(
                "backend_denied",
                f"{path}: Vault answers the login without a token",
                advice="Compare address and mount; a role that asks for a second factor cannot be used.",
            )
        lease = _seconds(auth.get("lease_duration"))
        return Login(
            token=Secret(token), is_ours=True, got_at=at, lease_s=lease, first_lease_s=lease,
            is_renewable=auth.get("renewable") is True,
        )  # fmt: skip

    def _unwrap(self, wrapping: Secret) -> Secret:
        """The secret id that was wrapped. A wrapping token opens once: what was in it is kept in memory."""
        if self._unwrapped is not None and self._unwrapped[0].reveal() == wrapping.reveal():
            return self._unwrapped[1]
        # Whoever took the real one may have put another of theirs in its place: it must be made by our role's mount.
        looked = self._wire.send("post", "sys/wrapping/lookup", body={"token": wrapping.reveal()})
        made_by = looked.data.get("creation_path")
        mount = re.escape(self._access.approle_mount.strip("/"))
        if looked.status == _OK and not re.fullmatch(rf"auth/{mount}/role/[^/]+/secret-id", str(made_by)):
            raise RotationError(
                "backend_denied",
                "the wrapped secret id was not made by our AppRole mount",
                advice="Somebody may have replaced it: find out who had it, and wrap another one.",
            )
        answer = looked
        if looked.status == _OK:
            answer = self._wire.send("post", "sys/wrapping/unwrap", token=wrapping)
        inside = answer.data.get("secret_id")
        if answer.status == _OK and isinstance(inside, str):
            self._unwrapped = (wrapping, Secret(inside))
            return self._unwrapped[1]
        if answer.status in (_OK, _REFUSED, _DENIED):
            raise RotationError(
                "backend_denied",
                "the wrapped secret id cannot be unwrapped: it is too old, or was unwrapped before",
                advice="If no run of ours was killed after it began, somebody else has it. Wrap another one.",
            )
        raise _unwrapping(answer)


def _unwrapping(answer: Answer) -> RotationError:
    return fault(answer, "sys/wrapping/unwrap")


def _seconds(told: Any) -> float | None:
    """A lease; None for none, as root tokens have."""
    return float(told) if isinstance(told, int | float) and 0 < told < 1e12 else None
