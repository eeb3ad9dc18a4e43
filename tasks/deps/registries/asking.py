"""Registries asked for the versions of packages: what is young enough is not asked for, nothing more than must be.

A registry learns by this which packages are in use. So none is asked unless its address is configured, and of all
packages only those that the caller names.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from tasks.core.disk import is_full
from tasks.core.errors import FeedError
from tasks.core.whole_files import workplace
from tasks.deps.advisories.fetching import RefusedError, Timing, Traffic, Validator, WebPlace
from tasks.deps.registries import REGISTRIES
from tasks.deps.registries.keeping import Keeping, Kept
from tasks.deps.registries.port import MAX_BYTES, Listed, Registry, Unlisted, UnlistedError
from tasks.deps.upgrades import Published

#: (ecosystem, package)
Package = tuple[str, str]
_AT_ONCE = 8
#: So many packages in a row without a usable answer are the registry's fault, and it is left alone.
_IN_A_ROW = 3
#: An answer of a clock that was set wrong is none of today.
_AHEAD = timedelta(hours=1)
#: Answers that say something of the package, and are kept as its versions are.
_KEPT = frozenset({Unlisted.NOT_FOUND, Unlisted.NO_VERSIONS})
#: Of answers above this size one at a time is held in memory: parsed they take ten times that.
_LARGE_BYTES = 4 << 20
_LARGE = threading.Lock()
_FORGET_S = 90 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is known of the versions of a package.

    ``reason`` None: they are as the registry had them at ``asked_at``, which is young enough. With a reason there are
    no versions, or those of the last good answer (of ``asked_at``), and ``detail`` says more in our own words. ``word``
    is the registry's against the whole package, ``unread`` counts what was listed and could not be read.
    """

    versions: tuple[Published, ...] = ()
    reason: Unlisted | None = None
    detail: str = ""
    asked_at: datetime | None = None
    word: str | None = None
    unread: int = 0


class Registries:
    """The registries of some ecosystems, by address, and what is kept of their answers in ``folder``.

    Answers are asked for again after ``max_age``; ``offline`` asks never and takes what is kept, however old, with the
    reason ``offline`` where it is older. Thread-safe.
    """

    def __init__(
        self,
        folder: Path,
        addresses: Mapping[str, str],
        *,
        max_age: timedelta = timedelta(days=1),
        offline: bool = False,
        proxy: str | None = None,
        ca_file: Path | None = None,
        reserve_bytes: int = 0,
        timing: Timing | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder, self._keeping = folder, Keeping(folder)
        self._max_age, self._offline, self._now = max_age, offline, now
        self._asked: dict[str, _Asked] = {}
        for ecosystem, address in addresses.items():
            place = WebPlace(
                address.rstrip("/"), proxy=proxy, ca_file=ca_file, connections=_AT_ONCE,
                reserve_bytes=reserve_bytes, stays=True, timing=timing,
            )  # fmt: skip
            self._asked[ecosystem] = _Asked(address.rstrip("/"), place)

    @property
    def ecosystems(self) -> frozenset[str]:
        """Those whose registry has an address."""
        return frozenset(self._asked)

    def traffic(self) -> Traffic:
        """What was asked and what came, of all registries together."""
        told = [a.place.traffic for a in self._asked.values()]
        return Traffic(
            requests=sum(t.requests for t in told), unchanged=sum(t.unchanged for t in told),
            bytes=sum(t.bytes for t in told),
        )  # fmt: skip

    def published(self, packages: Iterable[Package]) -> dict[Package, Answer]:
        """The answer for each package; names as ``naming.normal`` spells them. Raises OSError: the folder cannot be
        written."""
        wanted = list(dict.fromkeys(packages))
        self._folder.mkdir(parents=True, exist_ok=True)
        with workplace(self._folder, "asking") as work, ThreadPoolExecutor(_AT_ONCE, "registry") as pool:
            try:
                found = list(pool.map(lambda p: self._one(p[0], p[1], work), wanted))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        self._keeping.tidy(_FORGET_S)
        return dict(zip(wanted, found, strict=True))

    def dated(self, wanted: Mapping[Package, Collection[str]]) -> dict[Package, dict[str, datetime]]:
        """When some versions were published, of registries whose lists do not tell (a request for each version). What
        cannot be learned is left out. Nothing is kept, and nothing asked offline."""
        if self._offline:
            return {}
        self._folder.mkdir(parents=True, exist_ok=True)
        with workplace(self._folder, "dating") as work, ThreadPoolExecutor(_AT_ONCE, "registry") as pool:
            found = pool.map(lambda p: self._times(p, wanted[p], work), wanted)
            return {package: times for package, times in zip(wanted, found, strict=True) if times}

    def _times(self, package: Package, versions: Collection[str], work: Path) -> dict[str, datetime]:
        ecosystem, name = package
        registry, asked = REGISTRIES.get(ecosystem), self._asked.get(ecosystem)
        if registry is None or asked is None or registry.times is None or not registry.accepts(name) or asked.is_dead():
            return {}
        try:
            with _Get(asked, work, None) as get:
                return registry.times(name, sorted(versions), get)
        except UnlistedError as e:
            asked.note(e.reason)
            return {}

    def _one(self, ecosystem: str, package: str, work: Path) -> Answer:
        registry, asked = REGISTRIES.get(ecosystem.partition(":")[0]), self._asked.get(ecosystem)
        if registry is None:
            return Answer(reason=Unlisted.NO_REGISTRY)
        if not registry.accepts(package):
            return Answer(reason=Unlisted.BAD_NAME)
        if asked is None:
            return Answer(reason=Unlisted.NOT_CONFIGURED)
        kept = self._keeping.read(registry, asked.address, package)
        age = self._now() - kept.asked_at if kept is not None else None
        if kept is not None and age is not None and -_AHEAD <= age <= self._max_age:
            return _answer(kept)
        if self._offline:
            return _stands(kept, Unlisted.OFFLINE, "")
        if asked.is_dead():
            told = f"was not asked any more: {_IN_A_ROW} packages in a row had no answer that could be used"
            return _stands(kept, Unlisted.UNREACHABLE, told)
        try:
            fresh = self._ask(registry, asked, package, kept, work)
        except UnlistedError as e:
            asked.note(e.reason)
            if e.reason not in _KEPT:
                return _stands(kept, e.reason, e.detail)
            fresh = Kept(asked_at=self._now(), listed=None, reason=e.reason, detail=e.detail)
        else:
            asked.note(None)
        try:
            self._keeping.write(registry, asked.address, package, fresh)
        except OSError as e:
            # The answer is good all the same.
            return replace(_answer(fresh), detail=f"could not be kept: {e.strerror}")
        return _answer(fresh)

    def _ask(self, registry: Registry, asked: _Asked, package: str, kept: Kept | None, work: Path) -> Kept:
        known = kept.validator if kept is not None and kept.listed is not None else None
        now = self._now()
        with _Get(asked, work, known) as get:
            try:
                listed: Listed | None = registry.read(package, get)
            except _Unchanged:
                assert kept is not None  # else nothing had been known that it could be the same as
                return replace(kept, asked_at=now)
        return Kept(asked_at=now, listed=listed, validator=get.first)


def _answer(kept: Kept) -> Answer:
    return replace(_stands(kept, Unlisted.NO_VERSIONS, ""), reason=kept.reason, detail=kept.detail)


def _stands(kept: Kept | None, reason: Unlisted, detail: str) -> Answer:
    """The last good answer, and why there is no newer one."""
    if kept is None or kept.listed is None:
        return Answer(reason=reason, detail=detail, asked_at=kept.asked_at if kept is not None else None)
    listed = kept.listed
    return Answer(
        versions=listed.versions, reason=reason, detail=detail, asked_at=kept.asked_at, word=listed.word,
        unread=listed.unread,
    )  # fmt: skip


class _Unchanged(Exception):  # noqa: N818 (no error)
    """The first answer is what it was."""


class _Asked:
    """One registry, and how it fares."""

    def __init__(self, address: str, place: WebPlace) -> None:
        self.address, self.place = address, place
        self._lock, self._in_a_row = threading.Lock(), 0

    def note(self, reason: Unlisted | None) -> None:
        with self._lock:
            failed = reason in (Unlisted.UNREACHABLE, Unlisted.INVALID)
            self._in_a_row = self._in_a_row + 1 if failed else 0

    def is_dead(self) -> bool:
        with self._lock:
            return self._in_a_row >= _IN_A_ROW


class _Get:
    """See ``port.Get``. ``first`` is what the first body is known by."""

    def __init__(self, asked: _Asked, work: Path, known: Validator | None) -> None:
        self.address, self._asked, self._work = asked.address, asked, work
        self._known, self._is_first = known, True
        self.first: Validator | None = None
        self._holds = False

    def __enter__(self) -> _Get:
        return self

    def __exit__(self, *_: object) -> None:
        if self._holds:
            _LARGE.release()

    def __call__(self, path: str, *, accept: str | None = None, max_bytes: int = MAX_BYTES) -> bytes:
        if not _is_plain(path):
            raise UnlistedError(Unlisted.BAD_NAME, "the name leads out of the address")
        known, into = (self._known if self._is_first else None), self._work / uuid4().hex
        try:
            got = self._asked.place.fetch(path, into, known, max_bytes, accept=accept)
            self._is_first = False
            if got is None:
                raise _Unchanged
            if self.first is None:
                self.first = got.validator
            if got.validator.size_bytes > _LARGE_BYTES and not self._holds:
                _LARGE.acquire()
                self._holds = True
            return into.read_bytes()
        except FileNotFoundError:
            raise UnlistedError(Unlisted.NOT_FOUND, "the registry does not know it") from None
        except RefusedError as e:
            raise UnlistedError(Unlisted.DENIED, e.message) from None
        except FeedError as e:
            reasons = {"feed_invalid": Unlisted.TOO_LARGE, "disk_full": Unlisted.DISK_FULL}
            raise UnlistedError(reasons.get(e.reason_code, Unlisted.UNREACHABLE), e.message) from None
        except OSError as e:
            if not is_full(e):
                raise
            raise UnlistedError(Unlisted.DISK_FULL, "the disk is full") from None
        finally:
            into.unlink(missing_ok=True)


def _is_plain(path: str) -> bool:
    """Whether a path stays below the address: adapters judge names, and this is for the name that they overlook."""
    parts = path.removesuffix("/").split("/")
    return path.isascii() and path.isprintable() and not set(path) & set("\\?#%; ") and not {"", ".", ".."} & {*parts}
