"""Secrets in the whole history, by blob: gitleaks (MIT), where the platform has it.

Read from its source (8.x), not measured: exit 1 stands for leaks and for errors alike, so leaks get a code of their
own; a `.gitleaks.toml` or `.gitleaksignore` in the folder is obeyed, but blobs are written under their ids, so no file
of a repository has such a name here; `gitleaks:allow` in a line hides it unless told not to be obeyed. The report is a
list that names no file it read: only the number of bytes on stderr tells. Files that begin like a program, a PDF or
another "application" are passed over without a word: of a program there is nothing to read, but a text that begins so
is a gap. Of a text without a line end it may take a later piece for an application: then fewer bytes were read.
"""

from __future__ import annotations

import codecs
import contextlib
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
    Gap,
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
#: What it takes for an "application": the groups application, font, document and archive of github.com/h2non/filetype
#: (1.1.3). Lengths are not asked for, and images that match too are not spared: such a file is a gap, if it is text.
_APPLICATION = re.compile(
    rb"""MZ|%PDF|%!|\{\\rtf|[CF]WS|LZIP|SQLi|NES\x1a|Cr24|MSCF|ISc\(|!<arch>|PK[\x03\x05\x07][\x04\x06\x08]|Rar!\x1a\x07|BZh
    |7z\xbc\xaf\x27\x1c|\x1f(?:\x8b\x08|\xa0|\x9d)|\xfd7zXZ\0|\x28\xb5\x2f\xfd|[\x50-\x5f]\*M\x18|\xed\xab\xee\xdb
    |\x7fELF|\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|\xbe\xba\xfe\xca|\xca\xfe\xba\xbe|\xd0\xcf\x11\xe0
    |\0asm\x01\0\0\0|wOF[F2]\0\x01\0\0|\0\x01\0\0\0|OTTO\0|dex\n.{32}p|dey\n.{36}dex\n.{32}p
    |.{8}(?:\x02\0[\x01\x02]|\x01\0\0).{23}LP|.{128}DICM|.{257}ustar|.{32769}CD001""",
    re.DOTALL | re.VERBOSE,
)
#: Bytes of text in ASCII; the rest only counts as text where all of it is UTF-8.
_ASCII = bytes({*range(0x20, 0x7F), *b"\t\n\f\r"})
_WIDE = bytes(range(0x80, 0x100))
_HEAD_BYTES = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gitleaks:
    """The adapter; its ports are ``Scanner``, ``Divisible`` and ``PlatformTool`` of ``tasks.core.ports``."""

    name: str = "gitleaks"
    kind: Kind = Kind.SECRET
    unit: Unit = Unit.BLOB
    revision: int = 2
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
        given, gaps = _given(target)
        read = document["bytes_scanned"]
        if not isinstance(read, int) or read < given:
            return history_secrets.failed("nothing_scanned", f"given {given} bytes, read {number(read)}")
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(history_secrets.observations(document["hits"], target, tool=self.name)),
            gaps=gaps,
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


def _given(target: Target) -> tuple[int, tuple[Gap, ...]]:
    """How many bytes it must have read, and a gap for each text that it takes for something else."""
    total, gaps = 0, []
    for name, entry in target.files.items():
        if "." in name.rsplit("/", 1)[-1]:
            continue  # an archive counts as its members
        data = target.read(name) or b""
        if not _APPLICATION.match(data):
            total += entry.size_bytes
        elif _reads_as_text(data[:_HEAD_BYTES]):
            detail = "it begins like a program or document, which the tool leaves out"
            gaps.append(Gap(path="", blob=entry.blob, reason_code="unreadable_by_tool", detail=detail))
    return total, tuple(gaps)


def _reads_as_text(head: bytes) -> bool:
    """Whether people may read it: no NUL, as git judges, or hardly anything but text around it."""
    other = head.translate(None, _ASCII)
    with contextlib.suppress(UnicodeDecodeError):
        codecs.getincrementaldecoder("utf-8")().decode(head)  # the head may end within a character
        other = other.translate(None, _WIDE)
    return b"\0" not in head or len(other) * 10 < len(head)


GITLEAKS = Gitleaks()
