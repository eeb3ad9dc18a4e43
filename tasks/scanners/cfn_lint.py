"""CloudFormation: cfn-lint (MIT-0), the templates of a tree together, because one reads those it nests.

Measured with 1.58.0: exit a bit mask (2 errors, 4 warnings, 8 informational); one missing file loses the report of all
others; what cannot be parsed is E0000, also an alias bomb (over 250,000 nodes); obeys ``.cfnlintrc`` where it is
started and ``Metadata: cfn-lint: config`` of the template and of each resource; messages quote values, numbers without
quotation marks; 0.7 s of start-up, 0.35 s and more a template. See ``cfn_lint_program``, which stays for one checkout
after another.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals, iac_anchor, iac_carry, occurrence_uid
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
    display_path,
)
from tasks.scanners import filewise
from tasks.scanners.masking import first_json, form_checked, storable, string, told

PROGRAM = Path(__file__).with_name("cfn_lint_program.py")
_INSIDE = "/nightwarden/cfn_lint_program.py"
#: A key that stands in an address as it is. CloudFormation's own names and its logical ids are of these characters.
_PLAIN = re.compile(r"[A-Za-z0-9:_.-]{1,80}")
_CONTROL = b"""\
AWSTemplateFormatVersion: "2010-09-09"
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    Properties:
      NoSuchProperty: control
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CfnLint:
    """The adapter; its port is ``tasks.core.ports.Scanner``."""

    name: str = "cfn-lint"
    kind: Kind = Kind.IAC
    unit: Unit = Unit.TREE
    revision: int = 1
    parse_revision: int = 1
    summary: str = "errors in CloudFormation templates"
    licence: str = "MIT-0"
    # By name alone; which of these are templates their content decides, and the report names the others.
    reads: PathFilter = PathFilter(suffixes=(b".yaml", b".yml", b".json", b".template"))
    # What is larger than a template can be is read only to be told as no template: no gap for every great JSON file.
    limits: Limits = Limits(timeout_s=900, memory_bytes=3 * 1024**3, max_file_bytes=50 * 1024**2)
    pace: Pace = Pace(start_s=0.1, file_s=0.2)
    control: Control = field(
        default_factory=lambda: Control(
            files={"control/bucket.yaml": _CONTROL}, rule_id="E3002", path="control/bucket.yaml"
        )
    )
    long_lived: bool = True

    def argv_label(self) -> str:
        """The options that can change the result: our program's text."""
        return PROGRAM.read_text("utf-8")

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Our program, in cfn-lint's own Python, for all checkouts below ``target.root``."""
        return filewise.command(tool, target, self.limits, program=PROGRAM, inside=_INSIDE)

    @form_checked("cfn-lint")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Rules' own descriptions, places and addresses; messages are not passed on."""
        answer = first_json(stdout, self.name)
        if answer.get("ok") is False:
            raise ScanGapError("tool_error", f"cfn-lint: {told(str(answer.get('error', '')))}")
        return filewise.masked(stdout, self.name, _title, step=lambda k: _plain(k, key))

    @form_checked("cfn-lint")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by what is accounted for: a file that could not be parsed or is not named is a gap."""
        return filewise.judged(report, target, _observations)


def _title(finding: dict[str, Any]) -> str:
    return mask_quoted(string(finding["title"]))


def _plain(step: object, key: HmacKey) -> str:
    """A key of the template as it enters an address; any but a plain one is a literal of the source."""
    text = storable(step)
    return text if _PLAIN.fullmatch(text) else f"[{key.name(text.encode(), purpose='iac-index')[:16]}]"


def _observations(findings: list[dict[str, Any]], target: Target) -> Iterator[Observation]:
    ordinals = Ordinals()
    for f in findings:
        entry = target.files[f["path"]]
        path = display_path(entry.path)
        address = "/".join(f["keys"])
        ordinal = ordinals.next((f["rule"], path, address))
        anchor = iac_anchor(tool="cfn-lint", rule_id=f["rule"], place=path, address=address, ordinal=ordinal)
        yield Observation(
            anchor_uid=anchor,
            occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=f["line"], blob=entry.blob),
            kind=Kind.IAC,
            rule_id=f["rule"],
            title=f["title"],
            severity_tool=f["severity"],
            path=path,
            line_start=f["line"] or None,
            line_end=f["end_line"] or None,
            blob=entry.blob,
            resource=".".join(f["keys"][:2]) or None,
            carry_uid=iac_carry(tool="cfn-lint", rule_id=f["rule"], address=address, ordinal=ordinal),
            extra={"property": ".".join(f["keys"][2:])} if len(f["keys"]) > 2 else {},
        )


CFN_LINT = CfnLint()
