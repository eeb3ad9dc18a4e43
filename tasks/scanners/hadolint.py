"""Dockerfiles: hadolint (GPL-3.0, a separate process), one file at a time.

Measured with 2.15.1: exit 1 with findings and for a missing file, which also loses the report of all others in the
call; a file that cannot be parsed is finding DL1000, and nothing else is said of it; obeys ``.hadolint.yaml`` where it
is started, ``HADOLINT_*``, ``# hadolint ignore=`` and ``# hadolint shell=``, ShellCheck's directives; lists no file
without findings. See ``hadolint_program``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.keys import HmacKey
from tasks.core.masking import mask_quoted, short
from tasks.core.types import (
    Command,
    Control,
    Kind,
    Limits,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Target,
    ToolHome,
    Unit,
)
from tasks.scanners import filewise
from tasks.scanners.masking import form_checked, storable, string

PROGRAM = Path(__file__).with_name("hadolint_program.py")
_INSIDE = "/nightwarden/hadolint_program.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hadolint:
    """The adapter; its port is ``tasks.core.ports.Scanner``."""

    name: str = "hadolint"
    kind: Kind = Kind.CODE
    unit: Unit = Unit.FILE
    revision: int = 1
    parse_revision: int = 1
    summary: str = "bad practice in Dockerfiles and the shell commands in them"
    licence: str = "GPL-3.0"
    reads: PathFilter = PathFilter(
        suffixes=(b".dockerfile", b".containerfile"),
        names=frozenset({b"dockerfile", b"containerfile"}),
        prefixes=(b"dockerfile.", b"containerfile."),
    )
    limits: Limits = Limits(timeout_s=300, memory_bytes=2 * 1024**3, max_file_bytes=1024**2)
    pace: Pace = Pace(start_s=0.2, file_s=0.02)
    control: Control = field(
        default_factory=lambda: Control(
            files={"Dockerfile": b"FROM debian:12\nRUN sudo true\n"}, rule_id="DL3004", path="Dockerfile"
        )
    )
    long_lived: bool = False

    def argv_label(self) -> str:
        """The options that can change the result: our program's text."""
        return PROGRAM.read_text("utf-8")

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Our program, which starts hadolint on copies; it takes nothing from the checkout but files."""
        return filewise.command(
            tool, target, self.limits, program=PROGRAM, inside=_INSIDE, started=(str(tool.executable),)
        )

    @form_checked("hadolint")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Rules, places and the rules' own sentences; what a message quotes is masked."""
        return filewise.masked(stdout, self.name, _title)

    @form_checked("hadolint")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by what is accounted for: a file that could not be parsed or is not named is a gap."""
        return filewise.judged(report, target, filewise.code_observer(self.name, key, url=_url, most=1))

    @form_checked("hadolint")
    def part(self, report: RawReport, target: Target, names: Mapping[str, str]) -> RawReport:
        """What it said of some files, under their names in the part."""
        return filewise.part(report, names)

    @form_checked("hadolint")
    def accounted(self, report: RawReport, target: Target) -> frozenset[str]:
        """Files it read, could not read, or passed over as none of its kind."""
        return filewise.accounted(report, target)


def _title(finding: dict[str, Any]) -> str:
    """ShellCheck's messages name variables without quotation marks, and ``pa$word`` has one in a password."""
    rule = short(storable(finding["rule"]), 100)
    return mask_quoted(string(finding["title"])) if rule.startswith("DL") else f"ShellCheck {rule}"


def _url(rule: str) -> str:
    if rule.startswith("SC"):
        return f"https://www.shellcheck.net/wiki/{rule}"
    return f"https://github.com/hadolint/hadolint/wiki/{rule}"


HADOLINT = Hadolint()
