"""Pipelines: zizmor (MIT), one file at a time, all audits that need no network.

Measured with 1.32.0: exit 11 to 14 with findings, 3 if nothing could be parsed, 1 on its own errors; a file that is no
YAML or no workflow is a warning on stderr beside exit 0; obeys ``zizmor.yml``, ``# zizmor: ignore[…]`` and, in a
folder, ``.gitignore`` unless told otherwise; ``GH_TOKEN`` makes it call out; the report quotes source. See
``zizmor_program``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from tasks.core.identity import unpinned_flaw
from tasks.core.keys import HmacKey
from tasks.core.masking import mask_quoted
from tasks.core.types import (
    Command,
    Control,
    Kind,
    Limits,
    Observation,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Target,
    ToolHome,
    Unit,
)
from tasks.scanners import filewise
from tasks.scanners.masking import form_checked, string

PROGRAM = Path(__file__).with_name("zizmor_program.py")
_INSIDE = "/nightwarden/zizmor_program.py"
_CONTROL = b"""\
on: push
jobs:
  control:
    runs-on: ubuntu-latest
    steps:
      - run: echo "${{ github.event.head_commit.message }}"
"""
_CONTROL_PATH = ".github/workflows/control.yml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zizmor:
    """The adapter; its port is ``tasks.core.ports.Scanner``."""

    name: str = "zizmor"
    kind: Kind = Kind.CODE
    unit: Unit = Unit.FILE
    revision: int = 1
    parse_revision: int = 2
    summary: str = "insecure GitHub Actions workflows, actions and Dependabot settings"
    licence: str = "MIT"
    reads: PathFilter = PathFilter(
        suffixes=(b".yml", b".yaml"),
        folder=b"/.github/workflows",
        names=frozenset(
            stem + suffix
            for stem in (b"action", b"dependabot", b".pre-commit-config", b".pre-commit-hooks")
            for suffix in (b".yml", b".yaml")
        ),
    )
    limits: Limits = Limits(timeout_s=300, memory_bytes=2 * 1024**3, max_file_bytes=1024**2)
    pace: Pace = Pace(start_s=0.2, file_s=0.01)
    control: Control = field(
        default_factory=lambda: Control(
            files={_CONTROL_PATH: _CONTROL}, rule_id="template-injection", path=_CONTROL_PATH
        )
    )
    long_lived: bool = False

    def argv_label(self) -> str:
        """The options that can change the result: our program's text."""
        return PROGRAM.read_text("utf-8")

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Our program, which starts zizmor on copies; it takes nothing from the checkout but files."""
        return filewise.command(
            tool, target, self.limits, program=PROGRAM, inside=_INSIDE, started=(str(tool.executable),)
        )

    @form_checked("zizmor")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Audits' own descriptions and places; no source is passed on."""
        return filewise.masked(stdout, self.name, lambda f: mask_quoted(string(f["title"])))

    @form_checked("zizmor")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by what is accounted for: a file that could not be parsed or is not named is a gap."""
        observe = filewise.code_observer(self.name, key, url=_url, most=20)
        return filewise.judged(report, target, lambda found, where: map(_with_flaw, observe(found, where)))

    @form_checked("zizmor")
    def part(self, report: RawReport, target: Target, names: Mapping[str, str]) -> RawReport:
        """What it said of some files, under their names in the part."""
        return filewise.part(report, names)

    @form_checked("zizmor")
    def accounted(self, report: RawReport, target: Target) -> frozenset[str]:
        """Files it read, could not read, or passed over as none of its kind."""
        return filewise.accounted(report, target)


def _with_flaw(o: Observation) -> Observation:
    """What ``posture`` sees as well has the name that it gives."""
    if o.rule_id != "unpinned-uses":
        return o
    return replace(o, flaw_uid=unpinned_flaw(path=o.path or "", line=o.line_start or 0))


def _url(audit: str) -> str:
    return f"https://docs.zizmor.sh/audits/#{audit}"


ZIZMOR = Zizmor()
