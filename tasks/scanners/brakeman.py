"""Ruby on Rails: brakeman (Brakeman Public Use License), where the platform has it.

Read from its source (8.x), not measured: exit 3 with warnings and 7 with errors, unless told to end with 0; 4 where it
sees no Rails, unless told to scan all the same; `config/brakeman.yml` and `config/brakeman.ignore` are obeyed, but
neither is among the files that are written for it, and an empty configuration of ours is named in place of the first
(a regular file: it passes over `/dev/null` and takes the application's). Files that it could not
parse stand only in ``errors``, as text. Warnings are counted from the root of the repository: an application in
a folder below is read as if it were part of one at the root.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals, code_anchor, code_carry, normalise, occurrence_uid
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
from tasks.scanners.manifests import cwe_of, in_target
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string

#: An empty configuration.
NO_CONFIG = Path(__file__).with_name("brakeman_config.json")
_INSIDE = "/nightwarden/brakeman_config.json"
_OPTIONS = (
    "--format",
    "json",
    "--force-scan",
    "--no-exit-on-warn",
    "--no-exit-on-error",
    "--no-pager",
    "--no-progress",
    "--quiet",
    "--show-ignored",
    "--config-file",
    _INSIDE,
    "--path",
)
#: Names of files in what it says of an error; the rest of its words is dropped.
_FILE = re.compile(r"[\w./+-]{1,300}\.(?:rb|erb|haml|slim|rake|lock)\b")
_CONTROL = b"""\
class UsersController < ApplicationController
  def show
    eval(params[:code])
  end
end
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brakeman:
    """The adapter; its ports are ``Scanner`` and ``PlatformTool`` of ``tasks.core.ports``."""

    name: str = "brakeman"
    kind: Kind = Kind.CODE
    unit: Unit = Unit.TREE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "insecure Ruby on Rails"
    licence: str = "Brakeman Public Use License"
    reads: PathFilter = PathFilter(
        suffixes=(b".rb", b".erb", b".haml", b".slim", b".rake"),
        names=frozenset({b"gemfile", b"gemfile.lock", b"rakefile", b".ruby-version"}),
    )
    limits: Limits = Limits(timeout_s=900, memory_bytes=4 * 1024**3, max_file_bytes=5 * 1024**2)
    pace: Pace = Pace(start_s=2.0, file_s=0.02)
    control: Control = field(
        default_factory=lambda: Control(
            files={"app/controllers/users_controller.rb": _CONTROL},
            rule_id="Evaluation",
            path="app/controllers/users_controller.rb",
        )
    )
    long_lived: bool = False
    programs: tuple[str, ...] = ("brakeman",)
    version_args: tuple[str, ...] = ("--version",)
    needs: tuple[str, ...] = ("/var/lib/gems", "/etc/alternatives")

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join(_OPTIONS)

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder as one application."""
        return Command(
            argv=(str(tool.executable), *_OPTIONS, target.inside),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(
                *tool.mounts,
                Mount(source=NO_CONFIG, inside=_INSIDE),
                Mount(source=target.root, inside=target.inside),
            ),
        )

    @form_checked("brakeman")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Checks and places; messages, source and user input are dropped, of errors only names of files are kept."""
        report = first_json(stdout, self.name)
        info, errors = report["scan_info"], report["errors"]
        if not isinstance(info["checks_performed"], list) or not isinstance(errors, list):
            raise ScanGapError("report_invalid", "brakeman: scan_info or errors are missing")
        warnings = [_warning(w, ignored=False) for w in report["warnings"]]
        warnings += [_warning(w, ignored=True) for w in report["ignored_warnings"]]
        return compact(
            {
                "warnings": sorted(warnings, key=compact),
                "errors": sorted((_FILE.findall(string(e["error"])) for e in errors), key=compact),
                "checks": len(info["checks_performed"]),
            }
        )

    @form_checked("brakeman")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by its errors: each is a gap of the files it names, or, if it names none, of an unknown one."""
        document = kept(report.body, self.name)
        if not number(document["checks"]):
            return Parsed(outcome=Outcome.FAILED, reason_code="tool_error", detail="brakeman performed no check")
        gaps: dict[str, Gap] = {}
        for said in document["errors"]:
            entries = [target.files[n] for n in (in_target(string(p), target) for p in said) if n in target.files]
            for entry in entries:
                path = display_path(entry.path)
                gaps[path] = Gap(path=path, blob=entry.blob, reason_code="unparsable")
            if not entries:
                gaps[""] = Gap(path="", reason_code="unparsable", detail="an error about a file that is not named")
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(_observations(document["warnings"], target, key)),
            gaps=tuple(gaps[path] for path in sorted(gaps)),
        )


def _warning(w: dict[str, Any], *, ignored: bool) -> dict[str, Any]:
    """What is kept of a warning. Raises KeyError, TypeError, ValueError when it has another form."""
    return {
        "rule": short(storable(w["check_name"]), 60),
        "code": number(w["warning_code"]),
        "title": mask_quoted(storable(w["warning_type"])),
        "confidence": short(storable(w["confidence"]), 20),
        "path": string(w["file"]),
        "line": number(w["line"]) if w["line"] is not None else 0,
        "cwe": sorted({cwe_of(c) for c in w.get("cwe_id") or ()}),
        "ignored": ignored,
    }


def _observations(warnings: list[dict[str, Any]], target: Target, key: HmacKey) -> Iterator[Observation]:
    ordinals = Ordinals()
    for w in sorted(warnings, key=lambda w: (w["path"], w["line"], w["rule"], w["code"], compact(w))):
        name = in_target(w["path"], target)
        entry = target.files.get(name)
        path = display_path(entry.path) if entry is not None else storable(name)
        lines = (target.read(name) or b"").splitlines() if entry is not None else []
        match = b"".join(lines[w["line"] - 1 : w["line"]]) if w["line"] else b""
        ordinal = ordinals.next((w["rule"], path, normalise(match)))
        anchor = code_anchor(tool="brakeman", rule_id=w["rule"], path=path, match=match, ordinal=ordinal, key=key)
        blob = entry.blob if entry is not None else None
        yield Observation(
            anchor_uid=anchor,
            occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=w["line"], blob=blob, nth=ordinal),
            kind=Kind.CODE,
            rule_id=w["rule"],
            title=w["title"],
            path=path,
            line_start=w["line"] or None,
            line_end=w["line"] or None,
            blob=blob,
            carry_uid=code_carry(tool="brakeman", rule_id=w["rule"], match=match, ordinal=ordinal, key=key),
            extra={
                "confidence": w["confidence"],
                "code": str(w["code"]),
                **({"cwe": " ".join(w["cwe"])} if w["cwe"] else {}),
                **({"suppressed": "configuration"} if w["ignored"] else {}),
            },
        )


BRAKEMAN = Brakeman()
