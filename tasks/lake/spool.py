"""Finished scans are durable at once: one file each, until a run publishes them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.core.types import Gap, Kind, Observation, Outcome, ScanResult, Unit
from tasks.lake import zst


class Spool:
    """The spool of one lake. Torn files are moved to ``rejected`` and named in ``rejected_names``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.rejected_names: list[str] = []

    def put(self, result: ScanResult) -> None:
        """Keep one finished scan."""
        zst.write(self._root / f"{result.result_name}.zst", dumps(result))

    def load(self, *, tidy: bool = True) -> dict[str, ScanResult]:
        """All kept scans by result name. ``tidy`` (with the lake's lock held) sets torn files aside."""
        found: dict[str, ScanResult] = {}
        for path in sorted(self._root.glob("*.zst")):
            try:
                result = loads(zst.read(path))
            except (OSError, ValueError, KeyError, TypeError):
                if not tidy:
                    continue
                rejected = self._root / "rejected"
                rejected.mkdir(exist_ok=True)
                path.replace(rejected / path.name)
                self.rejected_names.append(path.name)
                continue
            found[result.result_name] = result
        if tidy:
            for leftover in self._root.glob(".*.zst.*"):
                leftover.unlink(missing_ok=True)
        return found

    def remove(self, names: Iterable[str]) -> None:
        """Forget published scans."""
        for name in names:
            (self._root / f"{name}.zst").unlink(missing_ok=True)


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


def _plain(item: Observation | Gap) -> dict[str, Any]:
    return {f.name: getattr(item, f.name) for f in dataclasses.fields(item)}
