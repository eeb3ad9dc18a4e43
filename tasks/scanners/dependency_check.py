"""Dependencies: OWASP dependency-check (Apache-2.0), where the platform has it and Java.

Read from its source (12.x), not measured: exit 0 whatever it finds, 14 and 15 where parts of the analysis failed,
which also stand in ``analysisExceptions``; it reads no suppression file of the folder, only those that it is given;
several analysers ask services on the network unless each is switched off. It writes its report to a file only and its
log to the output, so the report is written to a link to the output that lies in the folder of the data base, and looked
for behind the log. It names every file that it took for a dependency, read or not: whether one can be read is judged
from the file (``readable``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
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
from tasks.scanners.manifests import in_target, lock_file_control, observations, purl_version, unnamed, vulnerable
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string
from tasks.scanners.readable import unreadable

_OPTIONS = (
    "--format=JSON",
    "--noupdate",
    "--enableExperimental",
    "--disableVersionCheck",
    "--disableCentral",
    "--disableOssIndex",
    "--disableNodeAudit",
    "--disableYarnAudit",
    "--disablePnpmAudit",
    "--disableBundleAudit",
    "--disableMixAudit",
    "--disableGolangDep",
    "--disableAssembly",
    "--disableHostedSuppressions",
    "--disableRetireJS",
)
#: Where a report begins, after lines of the log.
_BEGIN = re.compile(rb'\{\s*"reportSchema"')
_STDOUT = "stdout.json"
#: What it reads without help from other programs or the network.
_READS = PathFilter(
    suffixes=(b".jar", b".war", b".ear"),
    names=frozenset({b"package-lock.json", b"pom.xml", b"composer.lock", b"gemfile.lock", b"poetry.lock", b"go.mod"}),
)
#: Of these it names each one that it read.
_NAMED = PathFilter(names=frozenset({b"package-lock.json", b"composer.lock", b"poetry.lock"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class DependencyCheck:
    """The adapter; its ports are ``Scanner``, ``PlatformTool`` and ``UsesDatabase`` of ``tasks.core.ports``."""

    name: str = "dependency-check"
    kind: Kind = Kind.DEPENDENCY
    unit: Unit = Unit.TREE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "vulnerable dependencies in archives of Java, lock files and manifests"
    licence: str = "Apache-2.0"
    reads: PathFilter = _READS
    limits: Limits = Limits(timeout_s=900, memory_bytes=4 * 1024**3, max_file_bytes=100 * 1024**2)
    pace: Pace = Pace(start_s=15.0, file_s=0.1)
    control: Control = lock_file_control("CVE-2021-23337")
    long_lived: bool = False
    programs: tuple[str, ...] = ("dependency-check", "dependency-check.sh")
    version_args: tuple[str, ...] = ("--version",)
    needs: tuple[str, ...] = ("/etc/alternatives", "/etc/java-*-openjdk")
    database_files: tuple[str, ...] = ("*.mv.db",)
    database_links: tuple[tuple[str, str], ...] = ((_STDOUT, "/dev/stdout"),)

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join((*_OPTIONS, "--data", "--out", "--scan"))

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder with the data base that lies ready."""
        data = str(tool.database)
        return Command(
            argv=(
                str(tool.executable), *_OPTIONS, "--data", data, "--out", f"{data}/{_STDOUT}", "--scan", target.inside,
            ),
            ok_codes=frozenset({0, 14, 15}),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
        )  # fmt: skip

    def update_command(self, tool: ToolHome, place: Path) -> Command:
        """Fetch the data base. Without a key of the NVD this takes hours, if it ends."""
        return Command(
            argv=(str(tool.executable), "--updateonly", "--disableVersionCheck", "--data", str(place)),
            timeout_s=6 * 3600,
            mounts=(*tool.mounts, Mount(source=place, writable=True)),
        )

    @form_checked("dependency-check")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Ids, packages and files; evidence, which quotes files, is dropped."""
        begin = _BEGIN.search(stdout)
        report = first_json(stdout[begin.start() :] if begin else stdout, self.name)
        dependencies = report.get("dependencies")
        if not isinstance(dependencies, list):
            raise ScanGapError("report_invalid", "dependency-check: dependencies are missing")
        exceptions = report["scanInfo"].get("analysisExceptions") or []
        rows = [row for d in dependencies for row in _rows(d)]
        return compact(
            {
                "vulnerable": sorted(rows, key=compact),
                "read": sorted({_file(d) for d in dependencies}),
                "exceptions": len(exceptions),
            }
        )

    @form_checked("dependency-check")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by the files that it names and can read; an analyser that failed makes the whole a failure."""
        document = kept(report.body, self.name)
        if number(document["exceptions"]):
            detail = f"{document['exceptions']} parts of its analysis failed"
            return Parsed(outcome=Outcome.FAILED, reason_code="tool_error", detail=detail)
        missing = unnamed(target, {in_target(string(p), target) for p in document["read"]}, _NAMED)
        gaps = tuple({g.path: g for g in (*missing, *unreadable(target, self.reads))}.values())
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(observations(document["vulnerable"], target)),
            gaps=gaps,
        )


def _file(dependency: dict[str, Any]) -> str:
    """The file that a dependency stands in: behind a question mark the tool adds the entry of it."""
    return storable(dependency["filePath"]).split("?", maxsplit=1)[0]


def _rows(dependency: dict[str, Any]) -> list[dict[str, Any]]:
    """One row an advisory. Raises KeyError, TypeError, ValueError when it has another form."""
    packages = dependency.get("packages") or ()
    purls = [string(p["id"]) for p in packages if string(p["id"]).startswith("pkg:")]
    # An archive that it knows by its evidence alone has no purl: its name stands for it.
    named = (
        purls[0] if purls else "pkg:generic/" + re.sub(r"[^A-Za-z0-9._-]", "_", string(dependency["fileName"]))[:200]
    )
    version = purl_version(purls[0]) if purls else ""
    return [
        vulnerable(
            ids=(v["name"],),
            rule=v["name"],
            title="",
            severity=v.get("severity"),
            purl=named,
            version=version,
            path=_file(dependency),
            cwes=v.get("cwes") or (),
        )
        for v in dependency.get("vulnerabilities") or ()
    ]


DEPENDENCY_CHECK = DependencyCheck()
