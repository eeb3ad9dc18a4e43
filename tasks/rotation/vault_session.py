"""A signed-in session with Vault or OpenBao that outlives its token.

The token is renewed before it ends, and where it cannot be, another login takes its place. A call that is denied since
the token is over is repeated once with a new login; a call that is denied was not done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self

from tasks.core.rotations import RotationError
from tasks.core.secret_refs import Secret, SecretRef
from tasks.rotation.vault_login import Login, SigningIn
from tasks.rotation.vault_wire import Answer, SignIn, Wire, fault

_OK, _DENIED = 200, 403
#: How often who keeps a login alive looks, at most.
_LOOK_S = 30.0


class VaultSession:
    """Calls to Vault with a token that is looked after. Thread-safe.

    As a context manager it also keeps the token alive while nobody calls (a login by a wrapped secret id may not be
    repeatable), and in the end gives back what it logged in for.
    """

    def __init__(
        self,
        access: SignIn,
        read_plain: Callable[[SecretRef], Secret],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wire = Wire(access)
        self._signing_in = SigningIn(self._wire, read_plain, clock)
        self._clock = clock
        self._login: Login | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def access(self) -> SignIn:
        """Where the server is and how we sign in."""
        return self._wire.access

    def address(self) -> str:
        """The address of the server. Raises RotationError: none is named, or it may not be used."""
        return self._wire.address()

    def namespace(self) -> str | None:
        """The namespace of every call."""
        return self._wire.namespace()

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
        accepts: tuple[int, ...] = (200, 204),
    ) -> Answer:
        """One call; ``path`` is quoted already. Raises RotationError for every status that is not accepted."""
        login = self._signed_in()
        answer = self._wire.send(method, path, token=login.token, body=body, params=params)
        if answer.status == _DENIED and self._is_over(login):
            self._forget(login)
            again = self._signed_in()
            # What somebody gave us, and is still the same, is not asked with once more.
            if again.is_ours or again.token.reveal() != login.token.reveal():
                answer = self._wire.send(method, path, token=again.token, body=body, params=params)
        if answer.status not in accepts:
            raise fault(answer, path)
        return answer

    def now(self) -> datetime:
        """The time by the server's clock, in whole seconds that have passed. Raises RotationError."""
        path = "sys/health"
        known = {"standbyok": "true", "perfstandbyok": "true"}
        answer = self._wire.send("get", path, params=known, in_namespace=False)
        if answer.status != _OK:
            raise fault(answer, path)
        told = answer.body.get("server_time_utc")
        try:
            if isinstance(told, int) and told > 0:
                return datetime.fromtimestamp(told, UTC)
            return parsedate_to_datetime(answer.date or "").astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            pass
        raise RotationError("backend_error", f"{path}: Vault does not tell the time", advice="Is it Vault?")

    def keep(self) -> None:
        """Renew the token if it is time for it. Raises RotationError."""
        with self._lock:
            known = self._login is not None
        if known:
            self._signed_in()

    def close(self) -> None:
        """Give back what we logged in for, so that nobody can use it; it would end by itself. Close connections."""
        self._over.set()
        with self._lock:
            login, self._login = self._login, None
        if login is not None and login.is_ours:
            with suppress(RotationError):  # nothing depends on it: its lease ends
                self._wire.send("post", "auth/token/revoke-self", token=login.token)
        self._wire.close()

    def __enter__(self) -> Self:
        self._over.clear()
        self._keeper = threading.Thread(target=self._keep_alive, name="vault-session", daemon=True)
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _keep_alive(self) -> None:
        while True:
            with self._lock:
                due = self._login.due_at if self._login is not None else None
            wait = _LOOK_S if due is None else min(max(due - self._clock(), 0.2), _LOOK_S)
            if self._over.wait(wait):
                return
            with suppress(RotationError):  # the next call meets it, and tells
                self.keep()

    def _signed_in(self) -> Login:
        """A login that is not due. One thread at a time sees to that."""
        with self._lock:
            login = self._login
            if login is None:
                login = self._signing_in.login()
            elif login.due_at is not None and self._clock() >= login.due_at:
                login = self._fresh(login)
            self._login = login
            return login

    def _fresh(self, login: Login) -> Login:
        """A login that is due, renewed or replaced. As long as it lasts, what may pass is waited for with it."""
        try:
            if login.is_renewable:
                at = self._clock()
                answer = self._wire.send("post", "auth/token/renew-self", token=login.token, body={})
                auth = answer.body.get("auth")
                if answer.status == _OK and isinstance(auth, dict):
                    return login.renewed(auth, at)
            if login.is_ours:
                return self._signing_in.login()
            if login.ends_at is not None and self._clock() >= login.ends_at:
                return self._signing_in.login()  # another one may have been put in its place
        except RotationError as e:
            if not e.is_passing or login.ends_at is None or self._clock() >= login.ends_at:
                raise
        return login

    def _is_over(self, login: Login) -> bool:
        """Whether a token is taken no more. One that may not look at itself is thought to be over."""
        return self._wire.send("get", "auth/token/lookup-self", token=login.token).status == _DENIED

    def _forget(self, login: Login) -> None:
        with self._lock:
            if self._login is login:
                self._login = None
