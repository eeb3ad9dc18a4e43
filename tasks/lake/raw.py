"""Kept raw reports: masked, compressed, named by their digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from tasks.core.errors import LakeError
from tasks.core.types import RawReport
from tasks.lake import zst


class RawStore:
    """Reports below one folder. The digest covers a header line (JSON) and the report's body."""

    def __init__(self, root: Path) -> None:
        self._root = root

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
            zst.write(self._path(sha), data)
        return sha

    def has(self, sha: str) -> bool:
        """Whether the report is kept."""
        return self._path(sha).is_file()

    def get(self, sha: str) -> tuple[RawReport, dict[str, str]]:
        """(report, header). Raises LakeError when it is gone or does not match its digest."""
        try:
            data = zst.read(self._path(sha))
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
        return (p.name.removesuffix(".zst") for p in self._root.glob("??/*.zst"))

    def _path(self, sha: str) -> Path:
        return self._root / sha[:2] / f"{sha}.zst"
