"""Go: gosec (Apache-2.0), where the platform has it and Go.

Read from its source (2.x), not measured: exit 1 with findings and for errors alike, unless told to end with 0; `#nosec`
and `//gosec:disable` hide a line unless told not to be obeyed; files that do not compile stand only under ``Golang
errors``, and modules that are not on this machine are never fetched, so a package that imports them is judged without
their types. Folders called vendor, and files for other platforms or under a build tag, are left out. The report only
counts what was read, a file of a package with tests twice, so that is judged by the log, which names each file.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import Ordinals
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
from tasks.scanners.code_findings import code_observation
from tasks.scanners.manifests import cwe_of, in_target
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string

_OPTIONS = ("-fmt=json", "-nosec", "-tests", "-no-fail")
#: Nothing is fetched, neither modules nor a newer Go; the checkout is not written to.
_ENVIRONMENT = {
    "PATH": "/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
    "GOFLAGS": "-mod=readonly",
    "GOWORK": "off",
    "GOTELEMETRY": "off",
    "CGO_ENABLED": "0",
}
#: A line of the log on stderr, for each file that is checked.
_CHECKED = re.compile(rb"^\[gosec\] \d{4}/\d\d/\d\d \d\d:\d\d:\d\d Checking file: ([^\r\n]+)$", re.MULTILINE)
#: Of many files the log is long; what does not fit is a gap.
_LOG_BYTES = 64 * 1024**2
_LEFT_OUT = "its log does not name it: folders called vendor, other platforms and build tags are left out"
_LINES = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_CONTROL = b"""\
package main

import (
	"crypto/md5"
	"fmt"
)

func main() {
	fmt.Printf("%x", md5.Sum([]byte("control")))
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gosec:
    """The adapter; its ports are ``Scanner`` and ``PlatformTool`` of ``tasks.core.ports``."""

    name: str = "gosec"
    kind: Kind = Kind.CODE
    unit: Unit = Unit.TREE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "insecure Go"
    licence: str = "Apache-2.0"
    reads: PathFilter = PathFilter(suffixes=(b".go",), names=frozenset({b"go.mod", b"go.sum"}))
    limits: Limits = Limits(timeout_s=900, memory_bytes=4 * 1024**3, max_file_bytes=5 * 1024**2)
    pace: Pace = Pace(start_s=2.0, file_s=0.05)
    control: Control = field(
        default_factory=lambda: Control(
            files={"main.go": _CONTROL, "go.mod": b"module control\n\ngo 1.20\n"}, rule_id="G401", path="main.go"
        )
    )
    long_lived: bool = False
    programs: tuple[str, ...] = ("gosec",)
    version_args: tuple[str, ...] = ("-version",)
    needs: tuple[str, ...] = ()

    def argv_label(self) -> str:
        """The options and settings that can change the result."""
        return " ".join((*_OPTIONS, *(f"{k}={v}" for k, v in sorted(_ENVIRONMENT.items()))))

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan all packages of the folder."""
        return Command(
            argv=(str(tool.executable), *_OPTIONS, f"{target.inside}/..."),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            stderr_bytes=_LOG_BYTES,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
            env=_ENVIRONMENT,
        )

    @form_checked("gosec")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Rules, places and masked details; source is dropped, of errors and the log only names of files are kept."""
        report = first_json(stdout, self.name)
        issues, errors, stats = report["Issues"], report["Golang errors"], report["Stats"]
        if not isinstance(errors, dict) or not isinstance(stats, dict):
            raise ScanGapError("report_invalid", "gosec: errors or stats are missing")
        return compact(
            {
                "issues": sorted((_issue(i) for i in issues or ()), key=compact),
                "unparsed": sorted(storable(path) for path, said in errors.items() if said or path),
                "checked": sorted({c.decode("utf-8", "surrogateescape") for c in _CHECKED.findall(stderr)}),
                "files": number(stats["files"]),
            }
        )

    @form_checked("gosec")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by its errors and by the files that its log names; only what neither explains is a gap of no path."""
        document = kept(report.body, self.name)
        given = {n for n, e in target.files.items() if e.path.lower().endswith(b".go")}
        checked = _checked(document, target, given)
        gaps = dict(_unparsed(document, target, given))
        for name in sorted(given - checked - gaps.keys()):
            gaps[name] = _gap(target, name, "unreadable_by_tool", _LEFT_OUT)
        read = number(document["files"])
        if read < len(checked):
            detail = f"the log names {len(checked)} files of Go, {read} were counted"
            gaps.setdefault("", Gap(path="", reason_code="nothing_scanned", detail=detail))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(_observations(document["issues"], target, key)),
            gaps=tuple(gaps[name] for name in sorted(gaps)),
        )


def _checked(document: dict[str, Any], target: Target, given: set[str]) -> set[str]:
    """The given files that the log names. A name with a line end could stand for a line of it: then it names none."""
    if any("\n" in name for name in target.files):
        return set()
    return given & {in_target(string(p), target) for p in document["checked"]}


def _unparsed(document: dict[str, Any], target: Target, given: set[str]) -> Iterator[tuple[str, Gap]]:
    """A gap for each file that an error names, or that lies in a folder which one names; of no path for the rest."""
    for said in sorted(string(p) for p in document["unparsed"]):
        name = "." if said == target.inside else in_target(said, target)
        inside = [n for n in given if (posixpath.dirname(n) or ".") == name] if name else []
        for file in [name] if name in target.files else sorted(inside) or [""]:
            yield file, _gap(target, file, "unparsable", "")


def _gap(target: Target, name: str, reason_code: str, detail: str) -> Gap:
    entry = target.files.get(name)
    path, blob = (display_path(entry.path), entry.blob) if entry is not None else ("", None)
    return Gap(path=path, blob=blob, reason_code=reason_code, detail=detail)


def _issue(i: dict[str, Any]) -> dict[str, Any]:
    """What is kept of an issue. Raises KeyError, TypeError, ValueError when it has another form."""
    lines = _LINES.fullmatch(string(i["line"]))
    if lines is None:
        raise ValueError("no line")
    cwe = i.get("cwe")
    return {
        "rule": short(storable(i["rule_id"]), 40),
        "title": mask_quoted(storable(i["details"])),
        "severity": short(storable(i["severity"]), 20),
        "confidence": short(storable(i["confidence"]), 20),
        "cwe": cwe_of(cwe["id"]) if cwe else None,
        "path": string(i["file"]),
        "line": number(int(lines.group(1))),
        "end_line": number(int(lines.group(2) or lines.group(1))),
        "column": number(int(string(i["column"]))),
    }


def _observations(issues: list[dict[str, Any]], target: Target, key: HmacKey) -> Iterator[Observation]:
    ordinals = Ordinals()
    for i in sorted(issues, key=lambda i: (i["path"], i["line"], i["column"], i["rule"], compact(i))):
        name = in_target(i["path"], target)
        entry = target.files.get(name)
        path = display_path(entry.path) if entry is not None else storable(name)
        lines = (target.read(name) or b"").splitlines() if entry is not None else []
        match = b"\n".join(lines[max(0, i["line"] - 1) : i["end_line"]])
        yield code_observation(
            "gosec",
            ordinals,
            key,
            rule_id=i["rule"],
            path=path,
            match=match,
            line=i["line"],
            end=i["end_line"],
            blob=entry.blob if entry is not None else None,
            title=i["title"],
            severity=i["severity"],
            extra={"confidence": i["confidence"], **({"cwe": i["cwe"]} if i["cwe"] else {})},
        )


GOSEC = Gosec()
