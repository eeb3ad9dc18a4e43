"""Reads secrets by reference, each from its store, and keeps them in memory for a short while."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from tasks.core.aws_access import AwsAccess
from tasks.core.errors import SecretError
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.vault_access import VaultAccess
from tasks.credentials.aws import SecretsManager
from tasks.credentials.env import ENVIRONMENT
from tasks.credentials.file import FILES
from tasks.credentials.vault import Vault

#: A value is asked for anew after so long: a rotated one is in use within minutes, and a night of thousands of fetches
#: does not ask a store thousands of times.
KEPT_S = 120.0
#: Stores that fail at once. Their errors are not kept: a file may be missing while it is replaced.
_AT_HAND = frozenset({"env", "file"})


class Store(Protocol):
    """One place where secrets lie. Thread-safe; keeps no value."""

    def read(self, ref: SecretRef) -> Secret:
        """The value now, asked of the store. Raises SecretError, which names the reference and never a value."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    said: Secret | SecretError
    read_at: float


class Stores:
    """``tasks.core.ports.Secrets`` over all stores.

    A value is kept for ``KEPT_S``, and so is an error of a store that is asked over the network: where it is down, each
    of thousands of repositories would wait for it in turn. Threads that want the same value at the same time ask once.
    """

    def __init__(self, stores: Mapping[str, Store], clock: Callable[[], float] = time.monotonic) -> None:
        self._stores = stores
        self._clock = clock
        self._kept: dict[SecretRef, _Kept] = {}
        self._asking: dict[SecretRef, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, ref: SecretRef) -> Secret:
        """The value, at most ``KEPT_S`` old. Raises SecretError, which may be as old."""
        with self._lock:
            asking = self._asking.setdefault(ref, threading.Lock())
        with asking:
            kept = self._kept.get(ref)
            if kept is not None and self._clock() - kept.read_at < KEPT_S:
                if isinstance(kept.said, SecretError):
                    raise SecretError(kept.said.message, advice=kept.said.advice)
                return kept.said
            store = self._stores.get(ref.scheme)
            if store is None:
                raise SecretError(
                    f"{ref}: no store is called {ref.scheme}", advice=f"Known: {', '.join(self._stores)}."
                )
            self._kept.pop(ref, None)
            try:
                secret = _read(store, ref)
            except SecretError as e:
                if ref.scheme not in _AT_HAND:
                    told = SecretError(e.message, advice=e.advice)  # without the frames of this try
                    self._kept[ref] = _Kept(said=told, read_at=self._clock())
                raise
            self._kept[ref] = _Kept(said=secret, read_at=self._clock())
            return secret


def _read(store: Store, ref: SecretRef) -> Secret:
    """The value. Raises SecretError, whatever the store raises: errors of libraries may hold what they carried."""
    try:
        return store.read(ref)
    except SecretError:
        raise
    except Exception as e:
        raise SecretError(
            f"{ref}: the store cannot be read ({type(e).__name__})",
            advice="Its answer is not what we know; compare its section of the configuration, and report this.",
        ) from None


def open_stores(vault: VaultAccess | None = None, aws: AwsAccess | None = None) -> Stores:
    """All stores. Nothing is connected before the first secret of a store is asked for."""
    # What Vault is signed in with is read anew for every login.
    own = Vault(vault or VaultAccess(), read_plain)
    return Stores({**_PLAIN, "vault": own, "aws-sm": SecretsManager(aws or AwsAccess())})


_PLAIN: Mapping[str, Store] = {"env": ENVIRONMENT, "file": FILES}


def read_plain(ref: SecretRef) -> Secret:
    """An env or file reference, read now: what the other stores are signed in with. Raises SecretError."""
    store = _PLAIN.get(ref.scheme)
    if store is None:
        raise SecretError(f"{ref}: it is neither env: nor file:", advice="What signs in to a store lies in no store.")
    return store.read(ref)
