"""Kept raw reports: masked, compressed, named by their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

from tasks.core.errors import LakeError
from tasks.core.types import RawReport
from tasks.lake import zst
from tasks.lake.places import Place


class RawStore:
    """Reports below one prefix. The digest covers a header line (JSON) and the report's body."""

    def __init__(self, place: Place, under: str = "") -> None:
        self._place, self._under = place, under

    def put(self, report: RawReport, header: Mapping[str, str]) -> str:
        """Keep a masked report; returns its SHA-256."""
        head = {
            **header,
            "tool": report.tool,
            "tool_version": report.tool_version,
            "exit_code": "" if report.exit_code is None else str(report.exit_code),
        }
        data = json.dumps(head, sort_keys=True).encode() + b"\n" + report.body
        sha = hashlib.sha256(data).hexdigest()
        if not self.has(sha):
            self._place.write(self.key(sha), zst.pack(data))
        return sha

    def has(self, sha: str) -> bool:
        """Whether the report is kept."""
        return self._place.exists(self.key(sha))

    def get(self, sha: str) -> tuple[RawReport, dict[str, str]]:
        """(report, header). Raises LakeError when it is gone or does not match its digest."""
        try:
            data = zst.unpack(self._place.read(self.key(sha)))
        except (OSError, ValueError) as e:
            raise LakeError(f"the kept report {sha} cannot be read", advice="Run `nightwarden lake verify`.") from e
        if hashlib.sha256(data).hexdigest() != sha:
            raise LakeError(f"the kept report {sha} was changed", advice="Restore it from a backup.")
        head, _, body = data.partition(b"\n")
        header: dict[str, str] = json.loads(head)
        report = RawReport(
            tool=header["tool"],
            tool_version=header["tool_version"],
            exit_code=int(header["exit_code"]) if header["exit_code"] else None,
            body=body,
        )
        return report, header

    def all(self) -> Iterator[str]:
        """The digests of all kept reports."""
        names = (entry.key.rpartition("/")[2] for entry in self._place.entries(self._under))
        return (n.removesuffix(".zst") for n in names if n.endswith(".zst") and not n.startswith("."))

    def key(self, sha: str) -> str:
        """Where a report lies below the lake."""
        return f"{self._under}{sha[:2]}/{sha}.zst"
