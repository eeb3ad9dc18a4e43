"""Inventory: syft (Apache-2.0), where the platform has it. Packages that manifests name, never findings.

Read from its source (1.x), not measured: exit 0 unless it fails; `.syft.yaml` is read from the working directory, which
is never the checkout; it looks for a newer program unless told not to. The report names each package with the files
that name it, so a manifest without one is told as a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import occurrence_uid, package_anchor
from tasks.core.keys import HmacKey
from tasks.core.masking import short
from tasks.core.types import (
    Command,
    Control,
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
from tasks.scanners.manifests import LIMITS, LOCKS, in_target, package_name, package_url, package_version, unnamed
from tasks.scanners.masking import compact, first_json, form_checked, kept, storable, string

_OPTIONS = ("--from=dir", "--output=syft-json", "--quiet")
_ENVIRONMENT = {"SYFT_CHECK_FOR_APP_UPDATE": "false"}
_CONTROL = b"requests==2.31.0\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Syft:
    """The adapter; its ports are ``Scanner`` and ``PlatformTool`` of ``tasks.core.ports``."""

    name: str = "syft"
    kind: Kind = Kind.PACKAGE
    unit: Unit = Unit.TREE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "an inventory of the packages that lock files and manifests name"
    licence: str = "Apache-2.0"
    reads: PathFilter = LOCKS
    limits: Limits = LIMITS
    pace: Pace = Pace(start_s=1.0, file_s=0.02)
    control: Control = field(
        default_factory=lambda: Control(
            files={"requirements.txt": _CONTROL}, rule_id="package", path="requirements.txt"
        )
    )
    long_lived: bool = False
    programs: tuple[str, ...] = ("syft",)
    version_args: tuple[str, ...] = ("version",)
    needs: tuple[str, ...] = ()

    def argv_label(self) -> str:
        """The options and settings that can change the result."""
        return " ".join((*_OPTIONS, *(f"{k}={v}" for k, v in sorted(_ENVIRONMENT.items()))))

    def command(self, tool: ToolHome, target: Target) -> Command:
        """List the packages of the folder."""
        return Command(
            argv=(str(tool.executable), "scan", *_OPTIONS, target.inside),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
            env=_ENVIRONMENT,
        )

    @form_checked("syft")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Purl, version, kind and manifest of each package; licences and metadata are dropped."""
        report = first_json(stdout, self.name)
        artifacts = report.get("artifacts")
        if not isinstance(artifacts, list) or string(report["descriptor"]["name"]) != "syft":
            raise ScanGapError("report_invalid", "syft: artifacts are missing")
        packages = [_package(a) for a in artifacts]
        return compact({"packages": sorted(packages, key=compact)})

    @form_checked("syft")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """One observation a package and manifest."""
        packages = kept(report.body, self.name)["packages"]
        gaps = tuple(unnamed(target, {in_target(path, target) for p in packages for path in p["paths"]}))
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=tuple(_observations(packages, target)),
            gaps=gaps,
        )


def _package(artifact: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a package. Raises KeyError, TypeError, ValueError when it has another form."""
    paths = sorted({string(place["path"]) for place in artifact["locations"]})
    if not paths:
        raise ValueError("a package without a place")
    return {
        # Of what has no purl (a file that only looks like a program) the name must do.
        "purl": package_url(artifact["purl"]) if artifact["purl"] else "",
        "name": short(package_name(artifact["name"]), 200),
        "version": package_version(artifact["version"]),
        "type": short(storable(artifact["type"]), 60),
        "paths": paths,
    }


def _observations(packages: list[dict[str, Any]], target: Target) -> Iterator[Observation]:
    seen: dict[str, int] = {}
    for p in packages:
        for path in p["paths"]:
            name = in_target(path, target)
            entry = target.files.get(name)
            shown = display_path(entry.path) if entry is not None else storable(name)
            anchor = package_anchor(purl=p["purl"] or f"{p['type']}:{p['name']}", manifest=shown)
            nth = seen[anchor] = seen.get(anchor, -1) + 1
            blob = entry.blob if entry is not None else None
            yield Observation(
                anchor_uid=anchor,
                occurrence_uid=occurrence_uid(anchor_uid=anchor, path=shown, line=None, blob=blob, nth=nth),
                kind=Kind.PACKAGE,
                rule_id="package",
                title=p["name"],
                path=shown,
                blob=blob,
                purl=p["purl"] or None,
                version=p["version"] or None,
                extra={"type": p["type"]},
            )


SYFT = Syft()
