"""How all forges are asked: one session that waits, retries, follows and refuses the same way for every library.

The libraries differ in all of this, and each has a gap: PyGithub and python-gitlab sleep through a cancellation,
py-gitea knows no time limit, ``requests`` follows a redirect to another host with GitLab's ``PRIVATE-TOKEN`` still on
it and adds what a ``.netrc`` says. All three send through a ``requests`` session, so the transport below is mounted
on it and does the work once. What it hands to a library is an answer of the forge itself, in JSON, below status 400.
"""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from tasks.core.addresses import stays_here
from tasks.core.errors import ForgeError
from tasks.core.origins import ForgeAccess
from tasks.repos.forges.answers import MissingError
from tasks.repos.web_origins import DEFAULT_PORTS, host_of, origin_of

USER_AGENT = "nightwarden"

_REDIRECTS = (301, 302, 307, 308)
_MOVED = (301, 308)
_MAX_HOPS = 5
#: Back-off between tries after a failure of the network or a status of 500 and more.
_BACKOFF_S = (1.0, 3.0, 9.0)
#: GitHub says to wait at least a minute where a limit comes without a time, and longer each time it comes again.
_UNSAID_S = 60.0
_MAX_ANSWER_BYTES = 64 * 1024**2
_SLICE_S = 0.25
#: The share of a limit that is left for what cannot wait.
_SPARED = 0.2
_LIMIT_WORDS = re.compile(rb"rate limit|abuse detection", re.IGNORECASE)
_WHOLE = re.compile(r"^[0-9]{1,12}$")
#: The last second that a date can be of.
_LAST = datetime.max.replace(tzinfo=UTC, microsecond=0).timestamp()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Clock and time limits; tests bring their own clock.

    ``now`` is the time in seconds since 1970, as resets of limits are given in it; ``sleep`` waits for some seconds.
    ``connect_s`` and ``read_s`` bound the connection and each silence of the forge, ``answer_s`` a whole answer.
    """

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep
    connect_s: float = 15.0
    read_s: float = 60.0
    answer_s: float = 300.0


class Patience:
    """What may still be waited for limits, in total; every wait ends when the run is cancelled. Thread-safe."""

    def __init__(self, *, patience_s: float, cancelled: Callable[[], bool], timing: Timing) -> None:
        self._left_s = self._patience_s = patience_s
        self._cancelled = cancelled
        self._timing = timing
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raises ForgeError(cancelled) once the run is cancelled."""
        if self._cancelled():
            raise ForgeError("cancelled", "the run was cancelled while a forge was asked")

    def pause(self, wait_s: float) -> None:
        """Wait. Raises ForgeError(cancelled)."""
        end = self._timing.now() + wait_s
        while True:
            self.check()
            left = end - self._timing.now()
            if left <= 0:
                return
            self._timing.sleep(min(_SLICE_S, left))

    def wait_for_limit(self, wait_s: float, host: str) -> None:
        """Wait for a limit's reset. Raises ForgeError(forge_limited) at once if that is longer than what is left."""
        with self._lock:
            short = wait_s > self._left_s
            if not short:
                self._left_s -= wait_s
        if short:
            reset = datetime.fromtimestamp(min(self._timing.now() + wait_s, _LAST), UTC)
            raise ForgeError(
                "forge_limited",
                f"{host} limits requests until {reset:%Y-%m-%d %H:%M:%S} UTC; of the {self._patience_s:.0f} s that may "
                f"be waited {max(self._left_s, 0):.0f} s are left",
                advice="Run again after that time, allow a longer wait, or give a credential with a higher limit.",
            )
        self.pause(wait_s)


Judge = Callable[[requests.Response], ForgeError | None]


class Transport(HTTPAdapter):
    """Sends to one forge only. ``judge`` sees each final answer and may turn it into an error.

    ``moved`` are the paths that the forge says have moved for good, as (from, to).
    """

    def __init__(self, *, origin: str, patience: Patience, timing: Timing, ca_file: Path | None, judge: Judge) -> None:
        super().__init__()
        self._origin = origin
        self._host = host_of(origin)
        self._patience = patience
        self._timing = timing
        self._ca_file = ca_file
        self._judge = judge
        self.moved: list[tuple[str, str]] = []
        #: Requests that the forge says are left until its reset, and how many there are in all; None: it did not say.
        self._left: int | None = None
        self._limit: int | None = None

    def spare(self) -> None:
        """Raises ForgeError(forge_limited) if most requests are used up: what can wait must not stop what cannot."""
        if self._left is not None and self._limit is not None and self._left < self._limit * _SPARED:
            raise ForgeError(
                "forge_limited",
                f"{self._host} grants {self._left} of {self._limit} requests until its reset; they are for listing",
                advice="The next night goes on with what was asked longest ago.",
            )

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        """The forge's answer, read whole. Raises ForgeError; no other error leaves it, none holds a header."""
        tries = hops = limited = 0
        while True:
            self._patience.check()
            self._only_to_the_forge(request.url or "", "a request")
            answer = self._once(request, verify, proxies)
            if not isinstance(answer, str):
                self._note_limit(answer)
            if isinstance(answer, str) or answer.status_code >= 500:
                said = answer if isinstance(answer, str) else f"answered with status {answer.status_code}"
                if tries == len(_BACKOFF_S):
                    raise _unreachable(self._host, f"{said}, {tries + 1} times")
                self._patience.pause(_BACKOFF_S[tries])
                tries += 1
                continue
            wait_s = limit_wait_s(answer, self._timing.now(), again=limited)
            if wait_s is not None:
                self._patience.wait_for_limit(wait_s, self._host)
                limited += 1
                continue
            if answer.status_code in _REDIRECTS:
                hops += 1
                request = self._redirected(request, answer, hops)
                continue
            return self._judged(answer)

    def _once(
        self, request: requests.PreparedRequest, verify: bool | str, proxies: dict[str, str] | None
    ) -> requests.Response | str:
        """One try: the answer, or what went wrong in words of ours (those of the libraries may quote a proxy's login).

        Errors are raised outside of the handlers, so that no exception holds the request as its context.
        """
        insecure = unusable = False
        said = ""
        try:
            answer = super().send(
                request,
                stream=True,
                timeout=(self._timing.connect_s, self._timing.read_s),
                verify=str(self._ca_file) if self._ca_file is not None else verify,
                proxies=None if stays_here(self._origin) else proxies,
            )
            self._read(answer)
        except requests.exceptions.SSLError:
            insecure = True
        except requests.exceptions.ProxyError:
            said = "could not be reached through the proxy of the environment"
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
            said = "did not answer in time"
        except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError):
            said = "could not be reached, or broke the connection off"
        except OSError:
            unusable = True
        if insecure:
            raise ForgeError(
                "forge_unreachable",
                f"no secure connection to {self._host}: its certificate is not trusted, or it speaks no TLS",
                advice="Name the certificate authority of the forge, in PEM form, as `ca_file`.",
            )
        if unusable:
            raise ForgeError(
                "forge_unreachable",
                f"the certificate authority for {self._host} cannot be read",
                advice="Check that `ca_file`, or REQUESTS_CA_BUNDLE of the environment, names a file of certificates.",
            )
        return said or answer

    def _read(self, answer: requests.Response) -> None:
        """Take the body in pieces, so that neither its size nor its slowness is without an end."""
        end = time.monotonic() + self._timing.answer_s
        parts: list[bytes] = []
        size = 0
        while part := answer.raw.read1(1 << 16, decode_content=True):
            size += len(part)
            self._patience.check()
            if size > _MAX_ANSWER_BYTES:
                answer.close()
                raise _unreachable(self._host, f"answers a request with more than {_MAX_ANSWER_BYTES // 1024**2} MiB")
            if time.monotonic() > end:
                answer.close()
                raise requests.exceptions.Timeout
            parts.append(part)
        answer._content = b"".join(parts)
        answer._content_consumed = True
        answer.raw.release_conn()

    def _note_limit(self, answer: requests.Response) -> None:
        for name in ("X-RateLimit", "RateLimit"):
            left, limit = (answer.headers.get(f"{name}-{what}", "").strip() for what in ("Remaining", "Limit"))
            if _WHOLE.match(left) and _WHOLE.match(limit):
                self._left, self._limit = int(left), int(limit)

    def _only_to_the_forge(self, url: str, what: str) -> None:
        if origin_of(url) != self._origin:
            raise ForgeError(
                "forge_unreachable",
                f"{self._host} leads {what} to {origin_of(url) or 'no address'}; nothing was sent there",
                advice="If the forge has moved, configure its new address; a credential goes to that host only.",
            )

    def _redirected(
        self, request: requests.PreparedRequest, answer: requests.Response, hops: int
    ) -> requests.PreparedRequest:
        location = answer.headers.get("Location", "")
        if request.method not in ("GET", "HEAD") or not location or hops > _MAX_HOPS:
            raise _unreachable(self._host, "redirects without an end, or a request that changes something")
        try:
            target = urljoin(request.url or "", location)
        except ValueError:
            target = ""
        self._only_to_the_forge(target, "a redirect")
        if answer.status_code in _MOVED:
            self.moved.append((urlsplit(request.url or "").path, urlsplit(target).path))
        again = request.copy()
        again.prepare_url(target, None)
        return again

    def _judged(self, answer: requests.Response) -> requests.Response:
        error = self._judge(answer)
        if error is not None:
            raise error
        if answer.status_code == 422:
            # GitHub says so of a commit that it does not have.
            raise MissingError("forge_unreachable", f"{self._host} answered with status 422", advice="Check the name.")
        if answer.status_code not in (200, 201):
            # A 202 too: PyGithub would sleep and ask again.
            raise _unreachable(self._host, f"answered with status {answer.status_code}")
        if "json" not in answer.headers.get("Content-Type", ""):
            raise ForgeError(
                "forge_unreachable",
                f"{self._host} answered with something else than JSON",
                advice="Check the address of the API; a proxy or a login page may stand before it.",
            )
        return answer


class Session(requests.Session):
    """A session whose every request goes through one transport. Nothing of ``.netrc`` is sent."""

    def __init__(self, transport: Transport) -> None:
        super().__init__()
        self.transport = transport
        self.auth = _nothing_added
        self.headers["User-Agent"] = USER_AGENT
        for scheme in DEFAULT_PORTS:
            self.mount(f"{scheme}://", transport)


def session_to(access: ForgeAccess, *, patience: Patience, timing: Timing, judge: Judge) -> Session:
    """The session that asks the forge of ``access``, and nobody else."""
    return Session(
        Transport(
            origin=origin_of(access.api_url), patience=patience, timing=timing, ca_file=access.ca_file, judge=judge
        )
    )


def _nothing_added(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An authentication that adds none: with None, ``requests`` would look into ``.netrc``."""
    return request


def limit_wait_s(answer: requests.Response, now: float, *, again: int) -> float | None:
    """Seconds that a limit asks to wait; None if the answer speaks of none. ``again`` counts limits in a row.

    Retry-After is of RFC 9110; X-RateLimit-* of GitHub, RateLimit-Reset of GitLab, both in seconds since 1970. What
    asks for no time comes again no faster than every 1, 2, 4, … seconds: clocks differ.
    """
    least = float(2**again)
    if answer.status_code not in (403, 429):
        return None
    headers = answer.headers
    after = _retry_after_s(headers.get("Retry-After", ""), now)
    if after is not None:
        return max(after, least)
    if answer.status_code == 429 or headers.get("X-RateLimit-Remaining") == "0":
        for name in ("X-RateLimit-Reset", "RateLimit-Reset"):
            value = headers.get(name, "").strip()
            if _WHOLE.match(value):
                # A second more: it is not said when in that second.
                return max(int(value) - now + 1.0, least)
    elif not _LIMIT_WORDS.search(answer.content):
        return None
    return _UNSAID_S * least


def _retry_after_s(value: str, now: float) -> float | None:
    value = value.strip()
    if _WHOLE.match(value):
        return float(value)
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None


def _unreachable(host: str, said: str) -> ForgeError:
    return ForgeError(
        "forge_unreachable",
        f"{host} {said}",
        advice="Check the address, the network and the proxy; the next run tries again.",
    )
