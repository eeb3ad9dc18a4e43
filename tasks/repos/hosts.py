"""How calls of git go to a host: a few at a time, again where the connection failed, and not where nobody answers."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tasks.core.errors import ForgeError, ScanGapError, SecretError
from tasks.core.origins import RemoteAccess
from tasks.core.types import Completed, Repo
from tasks.repos.git import ConnectionGapError, failure

#: Seconds before a call that the network failed is made again; then it is a gap of tonight.
_RETRY_AFTER_S = (1.0, 4.0)
#: A host that failed so often in a row is not waited for any more: thousands of repositories lie behind it.
_PATIENCE = 5
#: How git goes to a repository's remote. May raise ForgeError or SecretError.
Access = Callable[[Repo], RemoteAccess]


class Hosts:
    """Calls over the network, at most ``per_host`` to one host at a time. Thread-safe.

    ``access`` is asked before each call; ``pause`` waits and may raise ScanGapError(cancelled).
    """

    def __init__(self, *, access: Access, per_host: int, pause: Callable[[float], None]) -> None:
        self._access = access
        self._per_host = per_host
        self._pause = pause
        self._turns: dict[str, threading.BoundedSemaphore] = {}
        #: By host, in a row: calls that failed, and lists of refs that did not come in their time.
        self._faults: Counter[str] = Counter()
        self._unanswered: Counter[str] = Counter()
        #: Hosts that do not answer and that one call asks right now.
        self._tried: set[str] = set()
        self._lock = threading.Lock()

    def call(self, repo: Repo, call: Callable[[RemoteAccess], Completed], *, listing: bool) -> Completed:
        """Make a call of git to a repository's remote; ``listing`` is one that takes no time where all is well.

        Of a host that does not answer, one call at a time tries whether it does again; the others are refused at once.
        Raises ScanGapError when the call does not end with 0, ``fetch`` where the credential cannot be had.
        """
        host = urlsplit(repo.url).netloc.rpartition("@")[2].lower()
        with self._lock:
            turn = self._turns.setdefault(host, threading.BoundedSemaphore(self._per_host))
        for pause_s in (*_RETRY_AFTER_S, None):
            with turn, self._answering(host):
                # In its turn: a token of an app lives for some minutes, and many may wait here.
                try:
                    access = self._access(repo)
                except (ForgeError, SecretError) as e:
                    raise ScanGapError("fetch", e.message, advice=e.advice) from e
                done = call(access)
                with self._lock:
                    if listing and done.timed_out:
                        self._unanswered[host] += 1
                    elif not done.cancelled and not done.timed_out:
                        self._unanswered[host] = 0
            try:
                ended = ended_well(done, network=True)
            except ConnectionGapError:
                with self._lock:
                    self._faults[host] += 1
                    tired = self._faults[host] >= _PATIENCE
                if pause_s is None or tired:
                    raise
                self._pause(pause_s)
            else:
                with self._lock:
                    self._faults[host] = 0
                return ended
        raise AssertionError("the last try returns or raises")

    @contextmanager
    def _answering(self, host: str) -> Iterator[None]:
        with self._lock:
            silent = self._unanswered[host] >= _PATIENCE
            if silent and host in self._tried:
                raise ScanGapError("fetch", f"not asked: {host} did not answer {self._unanswered[host]} calls in a row")
            if silent:
                self._tried.add(host)
        try:
            yield
        finally:
            if silent:
                with self._lock:
                    self._tried.discard(host)


def ended_well(done: Completed, *, network: bool = False) -> Completed:
    """A call of git that ended with 0. Raises ScanGapError with a classified reason."""
    if done.exit_code != 0:
        raise failure(done, network=network)
    return done
