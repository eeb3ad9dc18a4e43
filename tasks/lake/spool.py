"""Scans are durable as soon as they end: one file each, until a run publishes them.

A finished one is kept under its result's name, one that failed under its scope: of a scope only the last try counts.
What finished scans saw stays on the disk: in memory there is a run's worth of names and counts, not of findings.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from tasks.core.errors import LakeError
from tasks.core.types import Cause, FailedScan, Gap, Kind, Observation, Outcome, Scan, ScanResult, Unit, digest
from tasks.lake import zst
from tasks.lake.changes import ScopeKey
from tasks.lake.later import Later
from tasks.lake.places import Place

_FAILED = "failed-"
_T = TypeVar("_T")


def failed_name(scope: ScopeKey) -> str:
    """The name under which the failure of a scope is kept."""
    return f"{_FAILED}{digest(*scope)}"


class Spool:
    """The spool of one lake. Torn files are moved to ``rejected`` and named in ``rejected_names``."""

    def __init__(self, place: Place, under: str = "") -> None:
        self._place, self._under = place, under
        self.rejected_names: list[str] = []
        #: The one that was read last: its gaps are asked for right after its observations.
        self._latest: ScanResult | None = None
        self._lock = threading.Lock()

    def put(self, result: ScanResult) -> ScanResult:
        """Keep one finished scan; returns it with what it saw left in the spool. Raises OSError."""
        self._place.write(self._key(result.result_name), zst.pack(dumps(result)))
        return self._light(result)

    def put_failed(self, failed: FailedScan) -> None:
        """Keep one failed scan, in the place of an earlier one of its scope."""
        row = failed.row
        key = self._key(failed_name((row.repo_id, row.ref, row.tool)))
        self._place.write(key, zst.pack(dumps_failed(failed)))

    def load(self, *, tidy: bool = True) -> dict[str, ScanResult]:
        """All finished scans by result name, what they saw left in the spool. ``tidy`` (with the lake's lock held)
        sets torn files aside."""
        names = self._names()
        found = {r.result_name: self._light(r) for r in self._read(names, loads, failed=False, tidy=tidy)}
        if tidy:
            self._place.remove([self._under + n for n in names if n.startswith(".") and ".zst." in n])
        return found

    def load_failed(self, *, tidy: bool = True) -> dict[ScopeKey, FailedScan]:
        """All failed scans by scope. ``tidy`` as in ``load``."""
        found = self._read(self._names(), loads_failed, failed=True, tidy=tidy)
        return {(f.row.repo_id, f.row.ref, f.row.tool): f for f in found}

    def whole(self, result_name: str) -> ScanResult:
        """A finished scan with all that it saw. Raises LakeError when it cannot be read any more."""
        with self._lock:
            if self._latest is not None and self._latest.result_name == result_name:
                return self._latest
        try:
            result = loads(zst.unpack(self._place.read(self._key(result_name))))
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise LakeError(
                f"{self._place}/{self._key(result_name)} cannot be read any more",
                advice="Run again: what is lost is done again.",
            ) from e
        with self._lock:
            self._latest = result
        return result

    def _light(self, result: ScanResult) -> ScanResult:
        """The result with what it saw read from its file when it is gone through; nothing is read for what is empty."""
        name = result.result_name
        seen = Later[Observation](
            lambda: self.whole(name).observations, len(result.observations), f"observations of {name}"
        )
        unread = Later[Gap](lambda: self.whole(name).gaps, len(result.gaps), f"gaps of {name}")
        return dataclasses.replace(result, observations=seen or (), gaps=unread or ())

    def _names(self) -> list[str]:
        names = (entry.key.removeprefix(self._under) for entry in self._place.entries(self._under))
        return sorted(n for n in names if "/" not in n)

    def _read(self, names: Iterable[str], loads: Callable[[bytes], _T], *, failed: bool, tidy: bool) -> Iterator[_T]:
        for name in names:
            if not name.endswith(".zst") or name.startswith(".") or name.startswith(_FAILED) != failed:
                continue
            try:
                # A file that cannot be read may well be whole: LakeError, nothing is decided on it.
                body = self._place.read(self._under + name)
            except FileNotFoundError:
                continue  # a reader without the lock: it was published meanwhile
            try:
                yield loads(zst.unpack(body))
            except (ValueError, KeyError, TypeError):
                if not tidy:
                    continue
                self._place.write(f"{self._under}rejected/{name}", body)
                self._place.remove([self._under + name])
                self.rejected_names.append(name)

    def remove(self, names: Iterable[str]) -> None:
        """Forget published scans: names of results, and of failures as ``failed_name`` gives them."""
        self._place.remove([self._key(name) for name in names])

    def _key(self, name: str) -> str:
        return f"{self._under}{name}.zst"


def dumps(result: ScanResult) -> bytes:
    """A result as JSON."""
    plain: dict[str, Any] = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
    plain["observations"] = [_plain(o) for o in result.observations]
    plain["gaps"] = [_plain(g) for g in result.gaps]
    plain["started_at"] = result.started_at.isoformat()
    return json.dumps(plain).encode("ascii")


def loads(data: bytes) -> ScanResult:
    """A result from its JSON. Raises ValueError, KeyError or TypeError when it is another form."""
    plain: dict[str, Any] = json.loads(data)
    plain["observations"] = tuple(Observation(**{**o, "kind": Kind(o["kind"])}) for o in plain["observations"])
    plain["gaps"] = tuple(Gap(**g) for g in plain["gaps"])
    plain["started_at"] = datetime.fromisoformat(plain["started_at"])
    plain["kind"], plain["unit"], plain["outcome"] = Kind(plain["kind"]), Unit(plain["unit"]), Outcome(plain["outcome"])
    plain["tips"], plain["raw_parts"] = tuple(plain["tips"]), tuple(plain["raw_parts"])
    return ScanResult(**plain)


def dumps_failed(failed: FailedScan) -> bytes:
    """A failed scan as JSON."""
    row = failed.row
    plain = _plain(row) | {"started_at": row.started_at.isoformat() if row.started_at else None}
    return json.dumps({"row": plain, "tried_at": failed.tried_at.isoformat()}).encode("ascii")


def loads_failed(data: bytes) -> FailedScan:
    """A failed scan from its JSON. Raises ValueError, KeyError or TypeError when it is another form."""
    plain: dict[str, Any] = json.loads(data)
    row = plain["row"]
    row["started_at"] = datetime.fromisoformat(row["started_at"]) if row["started_at"] is not None else None
    row["unit"], row["cause"], row["outcome"] = Unit(row["unit"]), Cause(row["cause"]), Outcome(row["outcome"])
    return FailedScan(row=Scan(**row), tried_at=datetime.fromisoformat(plain["tried_at"]))


def _plain(item: Observation | Gap | Scan) -> dict[str, Any]:
    return {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
