"""Files of a feed: over http(s) with conditional requests, or from a folder that has the same layout.

An answer is believed only when it is complete and below its limit; what it holds is judged by who asked. A fetch goes
through the proxy of the environment (HTTPS_PROXY, NO_PROXY) or the one that is configured, never to loopback, and sends
nothing of ``.netrc``.
"""

from __future__ import annotations

import email.utils
import hashlib
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter

from tasks.core.addresses import stays_here
from tasks.core.disk import free_bytes
from tasks.core.errors import FeedError
from tasks.core.text import one_line

_USER_AGENT = "nightwarden"
_PIECE = 1 << 16
#: Back-off between tries after a failure of the network, a limit or a status of 500 and more.
_BACKOFF_S = (1.0, 3.0, 9.0)
_MAX_WAIT_S = 60.0
_MAX_HOPS = 5
#: How often the room on the disk is looked at, in bytes.
_LOOK_AT_ROOM = 1 << 24
_ADVICE = "Check the address, the network and the proxy; the next sync tries again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Validator:
    """What a file is known by: what the server said of it, and what came. ``size_bytes`` is of the bytes kept."""

    sha256: str
    size_bytes: int
    etag: str | None = None
    last_modified: str | None = None

    def dated(self) -> float | None:
        """Last-Modified in seconds since 1970; None if the server does not tell."""
        with suppress(ValueError, TypeError, OverflowError):
            return email.utils.parsedate_to_datetime(self.last_modified or "").timestamp()
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Time limits, and the clock that tests replace. ``answer_s`` bounds one whole answer, ``read_s`` each silence."""

    sleep: Callable[[float], None] = time.sleep
    connect_s: float = 15.0
    read_s: float = 60.0
    answer_s: float = 3600.0


@dataclass(slots=True)
class Traffic:
    """What was asked and what came, over all requests of a sync. Bytes are those of bodies as kept."""

    requests: int = 0
    unchanged: int = 0
    bytes: int = 0


class RefusedError(FeedError):
    """A server answered, and with a status that says no: 401, 403 and such. Asking again changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A file that is not what it was: where it lies, and what it is known by from now on."""

    path: Path
    validator: Validator


class Place(Protocol):
    """Where the files of a feed lie. Thread-safe."""

    traffic: Traffic

    def fetch(self, name: str, into: Path, known: Validator | None, max_bytes: int) -> Fetched | None:
        """The file ``name`` (``/`` between folders; empty: the place itself); None when it is as ``known`` says.

        It may be written to ``into``. Raises FeedError, and FileNotFoundError where there is no such file.
        """
        ...


class FolderPlace:
    """A folder of this machine; files are read where they lie."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.traffic = Traffic()

    def fetch(self, name: str, into: Path, known: Validator | None, max_bytes: int) -> Fetched | None:
        """As ``Place``: a file with the size and time that are known is not read. It is copied, for it may change."""
        path = self._folder / PurePosixPath(name) if name else self._folder
        self.traffic.requests += 1
        try:
            about = path.stat()
            stamp = f"{about.st_mtime_ns}-{about.st_size}"
            if known is not None and known.etag == stamp:
                self.traffic.unchanged += 1
                return None
            if about.st_size > max_bytes:
                raise _too_large(path.name, max_bytes)
            made, size = hashlib.sha256(), 0
            with path.open("rb") as source, into.open("wb") as out:
                while piece := source.read(1 << 20):
                    made.update(piece)
                    out.write(piece)
                    size += len(piece)
        except FileNotFoundError:
            raise
        except OSError as e:
            raise FeedError(
                "feed_unreachable", f"{path} cannot be read: {e.strerror}", advice="Check the path and the rights."
            ) from e
        self.traffic.bytes += size
        return _unless_same(into, Validator(sha256=made.hexdigest(), size_bytes=size, etag=stamp), known)


class WebPlace:
    """An address. ``reserve_bytes`` of the disk stay free; with ``stays`` no redirect leads to another host."""

    def __init__(
        self,
        address: str,
        *,
        proxy: str | None = None,
        ca_file: Path | None = None,
        connections: int = 8,
        reserve_bytes: int = 0,
        stays: bool = False,
        timing: Timing | None = None,
    ) -> None:
        self._address, self._host = address, one_line(urlsplit(address).hostname or "", 100)
        self._reserve_bytes, self._timing = reserve_bytes, timing or Timing()
        self._lock = threading.Lock()
        self.traffic = Traffic()
        self._session = _Session()
        self._session.stays = stays
        self._session.auth = _nothing_added
        self._session.max_redirects = _MAX_HOPS
        # Bytes are kept as they are sent: a gzip is a file here, not a way to send one.
        self._session.headers.update({"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"})
        self._session.mount("https://", adapter := HTTPAdapter(pool_maxsize=connections))
        self._session.mount("http://", adapter)
        # Told with each request: what a session is given, the environment overrules.
        self._verify: str | bool = str(ca_file) if ca_file is not None else True
        self._proxies = {"http": proxy, "https": proxy} if proxy is not None else None
        if stays_here(address):
            self._session.trust_env, self._proxies = False, None

    def fetch(
        self, name: str, into: Path, known: Validator | None, max_bytes: int, *, accept: str | None = None
    ) -> Fetched | None:
        """As ``Place``. A status of 500 and more, 429 and a broken connection are tried again, thrice. ``accept`` is
        the form that is wanted. Any other status raises RefusedError."""
        url = f"{self._address}/{quote(name)}" if name else self._address
        headers = {"Accept": accept} if accept is not None else {}
        if known is not None and known.etag:
            headers["If-None-Match"] = known.etag
        if known is not None and known.last_modified:
            headers["If-Modified-Since"] = known.last_modified
        tries = 0
        while True:
            said, wait_s = "", 0.0
            try:
                got = self._once(url, headers, into, max_bytes)
            except requests.exceptions.SSLError:
                raise self._error("has a certificate that is not trusted, or speaks no TLS") from None
            except requests.exceptions.ProxyError:
                said = "could not be reached through the proxy"
            except requests.exceptions.TooManyRedirects:
                raise self._error("redirects without an end") from None
            except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
                said = "did not answer in time"
            except (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, ConnectionError):
                said = "could not be reached, or broke the connection off"
            else:
                if not isinstance(got, tuple):
                    return None if got is None else _unless_same(into, got, known)
                said, wait_s = got
            if tries == len(_BACKOFF_S):
                raise self._error(f"{said}, {tries + 1} times")
            self._timing.sleep(max(wait_s, _BACKOFF_S[tries]))
            tries += 1

    def _once(
        self, url: str, headers: dict[str, str], into: Path, max_bytes: int
    ) -> Validator | tuple[str, float] | None:
        """One try: what the file is known by, None for 304, or what to say and the seconds to wait before another."""
        with self._lock:
            self.traffic.requests += 1
        times = (self._timing.connect_s, self._timing.read_s)
        means: dict[str, Any] = {"verify": self._verify, "proxies": self._proxies, "timeout": times, "stream": True}
        with self._session.get(url, headers=headers, **means) as answer:
            status = answer.status_code
            if status == 304 and not headers.keys().isdisjoint(("If-None-Match", "If-Modified-Since")):
                with self._lock:
                    self.traffic.unchanged += 1
                return None
            if status in (404, 410):
                raise FileNotFoundError(url)
            if status == 429 or status >= 500:
                after = answer.headers.get("Retry-After", "")
                return f"answered with status {status}", min(float(after) if after.isdigit() else 0.0, _MAX_WAIT_S)
            if status != 200:
                raise RefusedError("feed_unreachable", f"{self._host} answered with status {status}", advice=_ADVICE)
            return self._take(answer, into, max_bytes)

    def _take(self, answer: requests.Response, into: Path, max_bytes: int) -> Validator:
        made, size, end = hashlib.sha256(), 0, time.monotonic() + self._timing.answer_s
        with into.open("wb") as out:
            while piece := answer.raw.read(_PIECE, decode_content=True):
                if size // _LOOK_AT_ROOM != (size + len(piece)) // _LOOK_AT_ROOM or not size:
                    self._check_room(into)
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(self._host, max_bytes)
                if time.monotonic() > end:
                    raise TimeoutError
                made.update(piece)
                out.write(piece)
        with self._lock:
            self.traffic.bytes += size
        return Validator(
            sha256=made.hexdigest(),
            size_bytes=size,
            etag=_header(answer, "ETag"),
            last_modified=_header(answer, "Last-Modified"),
        )

    def _check_room(self, into: Path) -> None:
        if self._reserve_bytes and free_bytes(into.parent) < self._reserve_bytes:
            raise FeedError("disk_full", "less than `disk_reserve_gb` is free", advice="Free some space.")

    def _error(self, said: str) -> FeedError:
        return FeedError("feed_unreachable", f"{self._host} {said}", advice=_ADVICE)


def open_place(
    where: Path | str,
    *,
    proxy: str | None = None,
    ca_file: Path | None = None,
    reserve_bytes: int = 0,
    timing: Timing | None = None,
) -> Place:
    """The place that a setting names: a path, or an address of http(s)."""
    if isinstance(where, Path):
        return FolderPlace(where)
    return WebPlace(where, proxy=proxy, ca_file=ca_file, reserve_bytes=reserve_bytes, timing=timing)


def _unless_same(into: Path, found: Validator, known: Validator | None) -> Fetched | None:
    """A server without validators sends the same bytes again: they are as good as a 304."""
    if known is not None and found.sha256 == known.sha256:
        into.unlink(missing_ok=True)
        return None
    return Fetched(path=into, validator=found)


def _header(answer: requests.Response, name: str) -> str | None:
    """A validator as it is sent back; none that is no header any more."""
    value: str = answer.headers.get(name, "").strip()
    return value if 0 < len(value) <= 500 and value.isascii() and value.isprintable() else None


def _too_large(what: str, max_bytes: int) -> FeedError:
    return FeedError("feed_invalid", f"{what} sends more than {max_bytes // 1024**2} MiB", advice=_ADVICE)


class _Session(requests.Session):
    """Follows a redirect only where it may lead, and takes nothing of ``.netrc`` along."""

    stays = False

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Where an answer leads. Raises FeedError where it must not, before anything is sent there."""
        target: str | None = super().get_redirect_target(resp)
        if target:
            refuse_redirect(resp.url, urljoin(resp.url, target), stays=self.stays)
        return target

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """No credential is sent, here or there."""


def refuse_redirect(before: str, after: str, *, stays: bool = False) -> None:
    """Raises FeedError: it leads from TLS to none, or from a machine of the network to this one; with ``stays`` also
    to another host."""
    told = ""
    if urlsplit(before).scheme == "https" and urlsplit(after).scheme != "https":
        told = "redirects to an address without TLS"
    elif stays_here(after) and not stays_here(before):
        told = "redirects to this machine"
    elif stays and _host(after) != _host(before):
        told = "redirects to another host"
    if told:
        host = one_line(urlsplit(before).hostname or "", 100)
        raise FeedError("feed_unreachable", f"{host} {told}", advice=_ADVICE)


def _host(address: str) -> tuple[str | None, str]:
    """Host and port, as far as a port is written."""
    parts = urlsplit(address)
    return parts.hostname, parts.netloc.rpartition("@")[2].lower().removeprefix((parts.hostname or "").lower())


def _nothing_added(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """An authentication that adds none: with None, ``requests`` would look into ``.netrc``."""
    return request
