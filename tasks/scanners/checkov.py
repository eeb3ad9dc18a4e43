"""Infrastructure as code: checkov (Apache-2.0), in a long-lived process of its own.

Measured with 3.3: 2.2 s of start-up a call, against 0.8 to 1.1 s a checkout in one process; exit 0 for parse
errors and for a missing folder; a ``.checkov.yaml`` in the folder is obeyed by the command line, not by the
library as it is called here; offline every severity is null. See ``checkov_server``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals, iac_anchor, iac_carry, occurrence_uid
from tasks.core.keys import HmacKey
from tasks.core.masking import mask_quoted, short
from tasks.core.types import (
    Command,
    Control,
    Gap,
    Kind,
    Limits,
    Mount,
    Observation,
    Outcome,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Target,
    ToolHome,
    Unit,
    display_path,
)
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string, told

SERVER = Path(__file__).with_name("checkov_server.py")
_INSIDE = "/nightwarden/checkov_server.py"
_INDEX = re.compile(r'\["((?:[^"\\]|\\.)*)"\]')
_SUFFIXES = (".tf", ".tfvars", ".hcl", ".yaml", ".yml", ".json", ".template")
#: As checkov 3.3 has it in `common/util/dockerfile.py`.
_DOCKERFILE = re.compile(r"^(?:.+\.)?[Dd]ockerfile(?:\..+)?$(?<!\.[Dd]ockerignore)")
_CONTROL = b"""\
resource "aws_security_group" "open" {
  name        = "open"
  description = "control"
  ingress {
    description = "ssh"
    from_port   = 22
    to_port     = 22
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkov:
    """The adapter; its port is ``tasks.core.ports.Scanner``."""

    name: str = "checkov"
    kind: Kind = Kind.IAC
    unit: Unit = Unit.TREE
    revision: int = 1
    parse_revision: int = 1
    summary: str = "misconfiguration in Terraform, CloudFormation, Kubernetes and Dockerfiles"
    licence: str = "Apache-2.0"
    reads: PathFilter = PathFilter(
        suffixes=(b".tf", b".tf.json", b".tfvars", b".hcl", b".yaml", b".yml", b".json", b".template", b".dockerfile"),
        names=frozenset({b"dockerfile"}),
        prefixes=(b"dockerfile.",),
    )
    limits: Limits = Limits(timeout_s=900, memory_bytes=4 * 1024**3, max_file_bytes=5 * 1024**2)
    pace: Pace = Pace(start_s=0.1, file_s=0.1)
    control: Control = field(
        default_factory=lambda: Control(
            files={"control/main.tf": _CONTROL}, rule_id="CKV_AWS_24", path="control/main.tf"
        )
    )
    long_lived: bool = True

    def argv_label(self) -> str:
        """The options that can change the result: the server's text."""
        return SERVER.read_text("utf-8")

    def command(self, tool: ToolHome, target: Target) -> Command:
        """The server, for all checkouts below ``target.root``."""
        python = tool.executable.parent / "python"
        return Command(
            argv=(str(python), "-I", _INSIDE),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(
                *tool.mounts,
                Mount(source=SERVER, inside=_INSIDE),
                Mount(source=target.root, inside=target.inside),
            ),
            env={"PYTHONDONTWRITEBYTECODE": "1"},
        )

    @form_checked("checkov")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Names, lines and addresses, as the server sends them (it passes no source on); nothing else is kept."""
        answer = first_json(stdout, self.name)
        if answer.get("ok") is not True:
            raise ScanGapError("tool_error", f"checkov: {told(str(answer.get('error', '')))}")
        report = answer.get("report")
        if not isinstance(report, dict) or not isinstance(report.get("checks"), list):
            raise ScanGapError("report_invalid", "checkov: the report has another form")
        checks = [_kept(check, key) for check in report["checks"]]
        checks.sort(key=lambda c: [str(c[k]) for k in sorted(c)])
        unparsed = [{"framework": storable(e["framework"]), "path": string(e["path"])} for e in report["unparsed"]]
        return compact(
            {
                "checks": checks,
                "unparsed": sorted(unparsed, key=lambda e: (e["path"], e["framework"])),
                "resources": number(report["resources"]),
                "passed": number(report["passed"]),
            }
        )

    @form_checked("checkov")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """One observation a failed or inline-skipped check; files that could not be parsed are gaps."""
        document = kept(report.body, self.name)
        gaps = []
        unparsed = {string(e["path"]) for e in document["unparsed"]}
        for path in sorted(unparsed):
            entry = target.files.get(path)
            if entry is not None:
                gaps.append(Gap(path=display_path(entry.path), blob=entry.blob, reason_code="unparsable"))
            else:
                gaps.append(Gap(path=storable(path), reason_code="unparsable"))
        for path, entry in target.files.items():
            if path not in unparsed and _passed_over(path):
                gaps.append(Gap(path=display_path(entry.path), blob=entry.blob, reason_code="unreadable_by_tool"))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(_observations(document["checks"], target)),
            gaps=tuple(gaps),
        )


def _kept(check: dict[str, Any], key: HmacKey) -> dict[str, Any]:
    """What is kept of one check. Raises KeyError, TypeError, ValueError when it has another form."""
    if check["status"] not in {"failed", "skipped"}:
        raise ValueError("unknown status")
    return {
        "framework": storable(check["framework"]),
        "status": check["status"],
        "rule": storable(check["rule"]),
        "name": short(storable(check["name"]), 200),
        "path": string(check["path"]),
        # Where it judges several resources together, checkov does not always know the lines.
        "lines": [number(n, least=-1) for n in check["lines"] if n is not None],
        "resource": _address(check["resource"], key),
        "module": None if check["module"] is None else _address(check["module"], key),
        "severity": None if check["severity"] is None else storable(check["severity"]),
        "guideline": None if check["guideline"] is None else storable(check["guideline"]),
        "keys": sorted(storable(k) for k in check["keys"]),  # checkov keeps them in a set
    }


def _address(value: Any, key: HmacKey) -> str:
    """A resource's address; the keys of ``for_each`` are literals of the source and become keyed HMACs."""
    named = _INDEX.sub(lambda m: f'["{key.name(m.group(1).encode(), purpose="iac-index")[:16]}"]', storable(value))
    return named if named.count('"') == 2 * len(_INDEX.findall(named)) else mask_quoted(named)


def _passed_over(path: str) -> bool:
    """Whether checkov leaves a file out for its name: it goes by exact case, and does not read ``.tf.json``."""
    name = posixpath.basename(path)
    return name.endswith(".tf.json") or not (name.endswith(_SUFFIXES) or _DOCKERFILE.match(name))


def _observations(checks: list[dict[str, Any]], target: Target) -> Iterator[Observation]:
    ordinals = Ordinals()
    for c in sorted(checks, key=lambda c: (c["path"], c["lines"], c["rule"], str(c["resource"]))):
        entry = target.files.get(c["path"])
        path = display_path(entry.path) if entry is not None else storable(c["path"])
        # Terraform is one program a folder: a resource keeps its address when it moves to another file of it.
        place = posixpath.dirname(path) if c["framework"] == "terraform" else path
        address = str(c["module"] or c["resource"])
        ordinal = ordinals.next((c["rule"], place, address))
        anchor = iac_anchor(tool="checkov", rule_id=c["rule"], place=place, address=address, ordinal=ordinal)
        lines = [int(n) for n in c["lines"]] or [0]
        yield Observation(
            anchor_uid=anchor,
            occurrence_uid=occurrence_uid(
                anchor_uid=anchor, path=path, line=lines[0], blob=entry.blob if entry else None
            ),
            kind=Kind.IAC,
            rule_id=c["rule"],
            title=str(c["name"]),
            severity_tool=c["severity"],
            path=path,
            line_start=max(1, lines[0]),
            line_end=max(1, lines[-1]),
            blob=entry.blob if entry else None,
            resource=address,
            url=c["guideline"],
            carry_uid=iac_carry(tool="checkov", rule_id=c["rule"], address=address, ordinal=ordinal),
            extra={
                "framework": c["framework"],
                **({"suppressed": "inline"} if c["status"] == "skipped" else {}),
            },
        )


CHECKOV = Checkov()
