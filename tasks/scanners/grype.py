"""Dependencies: grype (Apache-2.0), where the platform has it.

Read from its source (0.9x), not measured: exit 0 whatever it finds; `.grype.yaml` is read from the working directory,
which is never the checkout; it looks for a newer program and data base unless told not to, and refuses a data base of
more than five days unless told not to (its age is told by ``database_old`` instead). The report names only what is
vulnerable: a manifest that it could not read is silence, so whether it can be read is judged from the file
(``readable``). syft, which reads as grype does, tells of the others.
"""

from __future__ import annotations

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
from tasks.scanners.manifests import LIMITS, LOCKS, lock_file_control, observations, vulnerable
from tasks.scanners.masking import compact, first_json, form_checked, kept, string
from tasks.scanners.readable import unreadable

_OPTIONS = ("--from=dir", "--output=json", "--quiet")
_ENVIRONMENT = {
    "GRYPE_CHECK_FOR_APP_UPDATE": "false",
    "GRYPE_DB_AUTO_UPDATE": "false",
    "GRYPE_DB_VALIDATE_AGE": "false",
    "GRYPE_DB_REQUIRE_UPDATE_CHECK": "false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Grype:
    """The adapter; its ports are ``Scanner``, ``PlatformTool`` and ``UsesDatabase`` of ``tasks.core.ports``."""

    name: str = "grype"
    kind: Kind = Kind.DEPENDENCY
    unit: Unit = Unit.TREE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "vulnerable dependencies in lock files and manifests"
    licence: str = "Apache-2.0"
    reads: PathFilter = LOCKS
    limits: Limits = LIMITS
    pace: Pace = Pace(start_s=1.0, file_s=0.02)
    control: Control = lock_file_control("GHSA-35jh-r3h4-6jhm")
    long_lived: bool = False
    programs: tuple[str, ...] = ("grype",)
    version_args: tuple[str, ...] = ("version",)
    needs: tuple[str, ...] = ()
    database_files: tuple[str, ...] = ("*/vulnerability.db",)
    database_links: tuple[tuple[str, str], ...] = ()

    def argv_label(self) -> str:
        """The options and settings that can change the result."""
        return " ".join((*_OPTIONS, *(f"{k}={v}" for k, v in sorted(_ENVIRONMENT.items()))))

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder with the data base that lies ready."""
        return Command(
            argv=(str(tool.executable), *_OPTIONS, target.inside),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
            env={**_ENVIRONMENT, "GRYPE_DB_CACHE_DIR": str(tool.database)},
        )

    def update_command(self, tool: ToolHome, place: Path) -> Command:
        """Fetch the data base."""
        return Command(
            argv=(str(tool.executable), "db", "update"),
            timeout_s=1800,
            mounts=(*tool.mounts, Mount(source=place, writable=True)),
            env={"GRYPE_CHECK_FOR_APP_UPDATE": "false", "GRYPE_DB_CACHE_DIR": str(place)},
        )

    @form_checked("grype")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Ids, packages and manifests; what the repository says itself of a package is dropped."""
        report = first_json(stdout, self.name)
        matches = report.get("matches")
        if not isinstance(matches, list) or string(report["descriptor"]["name"]) != "grype":
            raise ScanGapError("report_invalid", "grype: matches are missing")
        rows = [row for m in matches for row in _rows(m)]
        # What it was told to ignore: by its own defaults only, no configuration is read.
        rows += [{**row, "ignored": True} for m in report.get("ignoredMatches") or () for row in _rows(m)]
        return compact({"vulnerable": sorted(rows, key=compact)})

    @form_checked("grype")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """One observation a match and manifest; a gap for each manifest that nothing can read."""
        rows = [r for r in kept(report.body, self.name)["vulnerable"] if not r.get("ignored")]
        gaps = tuple(unreadable(target, self.reads))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(observations(rows, target)),
            gaps=gaps,
        )


def _rows(match: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a manifest that names the package. Raises KeyError, TypeError, ValueError for another form."""
    found, package = match["vulnerability"], match["artifact"]
    related = match.get("relatedVulnerabilities") or ()
    locations = package["locations"]
    if not locations:
        raise ValueError("a match without a place")
    return [
        vulnerable(
            ids=(found["id"], *(r["id"] for r in related)),
            rule=found["id"],
            title=found.get("description") or "",
            severity=found.get("severity"),
            purl=package["purl"],
            version=package["version"],
            path=location["path"],
            fixed=", ".join(string(v) for v in (found.get("fix") or {}).get("versions") or ()),
            url=found.get("dataSource"),
            cwes=(c["cwe"] for c in found.get("cwes") or () if c.get("cwe")),
        )
        for location in locations
    ]


GRYPE = Grype()
