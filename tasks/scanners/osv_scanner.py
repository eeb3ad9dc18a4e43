"""Dependencies: osv-scanner (Apache-2.0), where the platform has it.

Read from its source and documentation (2.x), not measured: exit 1 with findings, 128 when no manifest was understood,
127 for an error; an `osv-scanner.toml` beside a manifest is obeyed unless another configuration is named; `.gitignore`
is obeyed unless told not to; with every package listed a manifest that it read is a source of its own. Its data base is
a file for each ecosystem, fetched for those that a scan finds: an update therefore reads a list of ours that has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from tasks.scanners.manifests import LIMITS, LOCKS, in_target, lock_file_control, observations, unnamed, vulnerable
from tasks.scanners.masking import compact, first_json, form_checked, kept, storable, string

_OPTIONS = (
    "--format=json",
    "--verbosity=error",
    "--offline",
    "--all-packages",
    "--all-vulns",
    "--recursive",
    "--no-ignore",
    "--allow-no-lockfiles",
    "--no-call-analysis=all",
)
#: An empty configuration in place of any that lies beside a manifest.
_NO_CONFIG = ("--config", "/dev/null")
#: A bill of materials that names one package of each ecosystem.
ECOSYSTEMS = Path(__file__).with_name("ecosystems.cdx.json")
_INSIDE = "/nightwarden/ecosystems.cdx.json"
#: The type of a purl, by the ecosystem's name in OSV (https://ossf.github.io/osv-schema/).
_PURL_TYPE = {
    "npm": "npm", "PyPI": "pypi", "Go": "golang", "crates.io": "cargo", "RubyGems": "gem", "Packagist": "composer",
    "Maven": "maven", "NuGet": "nuget", "Pub": "pub", "Hex": "hex", "ConanCenter": "conan", "SwiftURL": "swift",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OsvScanner:
    """The adapter; its ports are ``Scanner``, ``PlatformTool`` and ``UsesDatabase`` of ``tasks.core.ports``."""

    name: str = "osv-scanner"
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
    programs: tuple[str, ...] = ("osv-scanner",)
    version_args: tuple[str, ...] = ("--version",)
    needs: tuple[str, ...] = ()
    database_files: tuple[str, ...] = ("osv-scanner/npm/all.zip", "osv-scanner/PyPI/all.zip")
    database_links: tuple[tuple[str, str], ...] = ()

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join((*_OPTIONS, *_NO_CONFIG))

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder with the data base that lies ready."""
        return Command(
            argv=(str(tool.executable), "scan", "source", *_OPTIONS, *_NO_CONFIG, target.inside),
            ok_codes=frozenset({0, 1, 128}),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
            env={"OSV_SCANNER_LOCAL_DB_CACHE_DIRECTORY": str(tool.database)},
        )

    def update_command(self, tool: ToolHome, place: Path) -> Command:
        """Fetch the files of all ecosystems."""
        fetch = ("--offline-vulnerabilities", "--download-offline-databases", "--format=json", "--lockfile", _INSIDE)
        return Command(
            argv=(str(tool.executable), "scan", "source", *fetch),
            ok_codes=frozenset({0, 1}),
            timeout_s=3600,
            mounts=(*tool.mounts, Mount(source=ECOSYSTEMS, inside=_INSIDE), Mount(source=place, writable=True)),
            env={"OSV_SCANNER_LOCAL_DB_CACHE_DIRECTORY": str(place)},
        )

    @form_checked("osv-scanner")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Ids, packages and manifests; details of advisories are dropped."""
        results = first_json(stdout, self.name)["results"]
        rows, read = [], []
        for result in results:
            path = string(result["source"]["path"])
            read.append({"path": path, "packages": len(result["packages"])})
            rows += [row for package in result["packages"] for row in _rows(package, path)]
        return compact({"vulnerable": sorted(rows, key=compact), "read": sorted(read, key=compact)})

    @form_checked("osv-scanner")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by the manifests that it names as sources."""
        document = kept(report.body, self.name)
        gaps = tuple(unnamed(target, {in_target(r["path"], target) for r in document["read"]}))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(observations(document["vulnerable"], target)),
            gaps=gaps,
        )


def _rows(package: dict[str, Any], path: str) -> list[dict[str, Any]]:
    """One row a group of advisories that are aliases. Raises KeyError, TypeError, ValueError for another form."""
    named = package["package"]
    by_id = {v["id"]: v for v in package.get("vulnerabilities") or ()}
    groups = list(package.get("groups") or ())
    grouped = {string(i) for g in groups for i in g["ids"]}
    rows = []
    for group in (*groups, *({"ids": [i]} for i in by_id if i not in grouped)):
        ids = sorted(string(i) for i in group["ids"])
        first = by_id[ids[0]]
        rows.append(
            vulnerable(
                ids=(*ids, *(group.get("aliases") or ()), *(a for i in ids for a in by_id[i].get("aliases") or ())),
                rule=ids[0],
                title=first.get("summary") or "",
                severity=group.get("max_severity") or None,
                purl=_purl(named),
                version=named["version"],
                path=path,
                url=f"https://osv.dev/{ids[0]}",
                cwes=(first.get("database_specific") or {}).get("cwe_ids") or (),
            )
        )
    return rows


def _purl(named: dict[str, Any]) -> str:
    """The purl of a package (https://github.com/package-url/purl-spec), which the report does not give."""
    ecosystem = string(named["ecosystem"]).split(":", maxsplit=1)[0]
    kind = _PURL_TYPE.get(ecosystem, "generic")
    name = short(storable(named["name"]), 200)
    if kind == "maven":
        name = name.replace(":", "/", 1)
    if kind == "npm":
        name = name.replace("@", "%40", 1)
    if kind == "pypi":
        name = name.lower().replace("_", "-")
    return f"pkg:{kind}/{name}@{storable(named['version']) or '0'}"


OSV_SCANNER = OsvScanner()
