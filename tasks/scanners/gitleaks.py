"""Secrets in the whole history, by blob: gitleaks (MIT), where the platform has it.

Read from its source (8.x), not measured: exit 1 stands for leaks and for errors alike, so leaks get a code of their
own; a `.gitleaks.toml` or `.gitleaksignore` in the folder is obeyed, but blobs are written under their ids, so no file
of a repository has such a name here; `gitleaks:allow` in a line hides it unless told not to be obeyed. The report is a
list that names no file it read: only the number of bytes on stderr tells. Files that look like a program, a PDF or
another "application" are passed over without a word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.masking import short
from tasks.core.types import (
    Command,
    Control,
    Kind,
    Limits,
    Mount,
    Outcome,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Target,
    ToolHome,
    Unit,
)
from tasks.scanners import history_secrets
from tasks.scanners.masking import compact, first_list, form_checked, kept, number, storable, string

#: Exit code when there are leaks; 1 is left to errors.
_LEAKS = 77
_OPTIONS = (
    "--report-format=json",
    "--report-path=-",
    f"--exit-code={_LEAKS}",
    "--ignore-gitleaks-allow",
    "--max-archive-depth=2",
    "--log-level=info",
    "--no-banner",
    "--no-color",
)
_SCANNED = re.compile(rb"scanned ~(\d{1,18}) bytes")
_PARTIAL = re.compile(rb"partial scan completed")
#: Beginnings of text that it takes for an "application" and passes over.
_APPLICATION = (b"%PDF", b"{\\rtf", b"%!PS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gitleaks:
    """The adapter; its ports are ``Scanner``, ``Divisible`` and ``PlatformTool`` of ``tasks.core.ports``."""

    name: str = "gitleaks"
    kind: Kind = Kind.SECRET
    unit: Unit = Unit.BLOB
    revision: int = 1
    parse_revision: int = 1
    summary: str = "secrets in the whole history of all heads and tags"
    licence: str = "MIT"
    reads: PathFilter = PathFilter()
    limits: Limits = history_secrets.LIMITS
    pace: Pace = Pace(start_s=0.3, megabyte_s=0.5)
    control: Control = field(default_factory=history_secrets.control)
    long_lived: bool = False
    programs: tuple[str, ...] = ("gitleaks",)
    version_args: tuple[str, ...] = ("version",)
    needs: tuple[str, ...] = ()

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join(_OPTIONS)

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder of blobs with the rules that are part of the program."""
        return Command(
            argv=(str(tool.executable), "dir", *_OPTIONS, target.inside),
            ok_codes=frozenset({0, _LEAKS}),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
        )

    @form_checked("gitleaks")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Every value becomes its keyed HMAC; matches, fingerprints and all free text are dropped."""
        found = first_list(stdout, self.name)
        scanned = _SCANNED.search(stderr)
        if scanned is None:
            raise ScanGapError("report_invalid", "gitleaks does not say how much it read")
        hits = [_hit(n, entry, key) for n, entry in enumerate(found)]
        return compact(
            {
                "hits": history_secrets.ordered(hits),
                "bytes_scanned": int(scanned.group(1)),
                "partial": _PARTIAL.search(stderr) is not None,
            }
        )

    @form_checked("gitleaks")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """One observation a hit and place; a blob without a place is not reachable and does not count."""
        document = kept(report.body, self.name)
        if document["partial"]:
            return history_secrets.failed("tool_error", "gitleaks says that its scan is partial")
        given, read = _text_bytes(target), document["bytes_scanned"]
        if not isinstance(read, int) or read < given:
            return history_secrets.failed("nothing_scanned", f"given {given} bytes of text, read {number(read)}")
        return Parsed(
            outcome=Outcome.OK,
            observations=tuple(history_secrets.observations(document["hits"], target, tool=self.name)),
        )

    @form_checked("gitleaks")
    def part(self, report: RawReport, target: Target, names: Mapping[str, str]) -> RawReport:
        """Hits in the blobs of some files. How many bytes of them it read is only known of all together."""
        document = kept(report.body, self.name)
        blobs = {target.files[name].blob for name in names}
        hits = [h for h in document["hits"] if h["blob"] in blobs]
        size = sum(target.files[name].size_bytes for name in names)
        body = compact({**document, "hits": hits, "bytes_scanned": size})
        return replace(report, body=body, exit_code=_LEAKS if hits else 0)


def _hit(n: int, entry: dict[str, Any], key: HmacKey) -> dict[str, Any]:
    """What is kept of one hit. Raises KeyError, TypeError, ValueError when it has another form."""
    return {
        "rule": short(storable(entry["RuleID"]), 200),
        "value_hmac": history_secrets.value_hmac(entry["Secret"], key),
        **history_secrets.place(string(entry["File"]), "gitleaks", n),
        "line": number(entry["StartLine"]),
        "end_line": number(entry["EndLine"]),
    }


def _text_bytes(target: Target) -> int:
    """Bytes of the files that it must have read: what it may take for something else than text is left out."""
    total = 0
    for name, entry in target.files.items():
        if "." in name.rsplit("/", 1)[-1]:
            continue  # an archive counts as its members
        head = (target.read(name) or b"")[:8000]
        if b"\0" not in head and not head.startswith(_APPLICATION):
            total += entry.size_bytes
    return total


GITLEAKS = Gitleaks()
