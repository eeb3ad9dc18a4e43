"""Dependencies and infrastructure as code: trivy (Apache-2.0), where the platform has it.

Read from its source and documentation (0.7x), not measured: exit 0 whatever it finds or fails to parse; `.trivyignore`
and `trivy.yaml` are read from the working directory, which is never the checkout; inline `trivy:ignore` and
`tfsec:ignore` comments cannot be switched off and leave no trace, so a file that holds one is a gap. With every package
listed a manifest that it read is a result of its own; one with no package is not, so it is told as a gap. A Dockerfile
that it read is a result; of Terraform, Kubernetes and CloudFormation it does not say what it could not parse: whether
one can be read is judged from the file (``readable``). Not seen: a comment that a Helm chart puts together of pieces,
and what else of a folder of Terraform is judged otherwise because one of its files could not be read.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Collection, Iterator
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
from tasks.scanners.manifests import LOCKS, in_target, observations, unnamed, vulnerable
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string
from tasks.scanners.readable import unreadable

_OPTIONS = (
    "--format=json",
    "--quiet",
    "--scanners=vuln,misconfig",
    "--list-all-pkgs",
    "--include-dev-deps",
    "--include-non-failures",
    "--offline-scan",
    "--skip-db-update",
    "--skip-java-db-update",
    "--skip-check-update",
    "--skip-version-check",
    "--disable-telemetry",
    "--ignorefile=/nothing-is-ignored",
    "--cache-backend=memory",
    "--exit-code=0",
)
_PURL_TYPE = {"pip": "pypi", "npm": "npm", "yarn": "npm", "gomod": "golang", "cargo": "cargo", "bundler": "gem"}
_DOCKERFILES = PathFilter(names=frozenset({b"dockerfile"}), suffixes=(b".dockerfile",), prefixes=(b"dockerfile.",))
_TERRAFORM = PathFilter(suffixes=(b".tf", b".tf.json"))
_YAML = PathFilter(suffixes=(b".yaml", b".yml"))
_CODE = PathFilter(suffixes=(*_TERRAFORM.suffixes, *_YAML.suffixes, b".tfvars"))
#: As its parser reads comments (pkg/iac/ignore), in this case of letters, and wherever such a word stands.
_IGNORED = re.compile(rb"(?:trivy|tfsec):(?:[^ \n]*:)?ignore:")
_CONTROL = b"FROM debian:12\nUSER root\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trivy:
    """The adapter; its ports are ``Scanner``, ``PlatformTool`` and ``UsesDatabase`` of ``tasks.core.ports``."""

    name: str = "trivy"
    kind: Kind = Kind.DEPENDENCY
    unit: Unit = Unit.TREE
    revision: int = 2
    parse_revision: int = 1
    summary: str = "vulnerable dependencies in lock files; misconfiguration in Terraform, Kubernetes, Dockerfiles"
    licence: str = "Apache-2.0"
    reads: PathFilter = PathFilter(
        suffixes=(*_CODE.suffixes, *_DOCKERFILES.suffixes),
        names=LOCKS.names | _DOCKERFILES.names,
        prefixes=_DOCKERFILES.prefixes,
    )
    limits: Limits = Limits(timeout_s=900, memory_bytes=4 * 1024**3, max_file_bytes=20 * 1024**2)
    pace: Pace = Pace(start_s=1.0, file_s=0.02)
    control: Control = field(
        default_factory=lambda: Control(files={"Dockerfile": _CONTROL}, rule_id="DS-0002", path="Dockerfile")
    )
    long_lived: bool = False
    programs: tuple[str, ...] = ("trivy",)
    version_args: tuple[str, ...] = ("--version",)
    needs: tuple[str, ...] = ()
    database_files: tuple[str, ...] = ("db/trivy.db", "db/metadata.json")
    database_links: tuple[tuple[str, str], ...] = ()

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join((*_OPTIONS, "--cache-dir"))

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder with the data base that lies ready; its rules are part of the program."""
        return Command(
            argv=(str(tool.executable), "filesystem", *_OPTIONS, "--cache-dir", str(tool.database), target.inside),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
        )

    def update_command(self, tool: ToolHome, place: Path) -> Command:
        """Fetch the data base of vulnerabilities."""
        argv = (str(tool.executable), "filesystem", "--download-db-only", "--skip-version-check", "--disable-telemetry")
        return Command(
            argv=(*argv, "--cache-dir", str(place)),
            timeout_s=1800,
            mounts=(*tool.mounts, Mount(source=place, writable=True)),
        )

    @form_checked("trivy")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Ids, names, versions, lines; messages and quoted source are dropped."""
        report = first_json(stdout, self.name)
        if number(report.get("SchemaVersion"), least=2) != 2:
            raise ScanGapError("report_invalid", "trivy: the report is of another version")
        found: dict[str, list[Any]] = {"vulnerable": [], "checks": [], "read": []}
        for result in report.get("Results") or ():
            path = string(result["Target"])
            found["read"].append({"path": path, "class": short(storable(result.get("Class", "")), 40)})
            kind = short(storable(result.get("Type", "")), 40)
            found["vulnerable"] += [_vulnerable(v, path, kind) for v in result.get("Vulnerabilities") or ()]
            found["checks"] += [_check(c, path) for c in result.get("Misconfigurations") or () if c["Status"] != "PASS"]
        return compact({k: sorted(rows, key=compact) for k, rows in found.items()})

    @form_checked("trivy")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge by the manifests and Dockerfiles that it names as results, and by what the other files hold."""
        document = kept(report.body, self.name)
        named: dict[str, set[str]] = {}
        for r in document["read"]:
            named.setdefault(r["class"], set()).add(in_target(r["path"], target))
        told = named.get("config", set())
        gaps: dict[str, Gap] = {}
        for gap in (
            *unnamed(target, named.get("lang-pkgs", set())),
            *(
                g
                for g in unnamed(target, told, _DOCKERFILES, what="result")
                if not g.path.lower().endswith(".dockerignore")
            ),
            *_unreadable(target, told),
            *_hidden(target),
        ):
            gaps.setdefault(gap.path, gap)
        return Parsed(
            outcome=Outcome.PARTIAL if gaps else Outcome.OK,
            observations=(*observations(document["vulnerable"], target), *_checks(document["checks"], target)),
            gaps=tuple(gaps.values()),
        )


def _unreadable(target: Target, told: Collection[str]) -> Iterator[Gap]:
    """A gap for each file of infrastructure that cannot be read.

    One that is a result was read after all: a template of a Helm chart is no YAML before it is filled in. YAML that is
    no template can be a result for one of its documents while another is broken.
    """
    results = {display_path(target.files[n].path): n for n in told if n in target.files}
    for gap in unreadable(target, _CODE):
        name = results.get(gap.path)
        if name is None or (_YAML(target.files[name].path) and b"{{" not in (target.read(name) or b"")):
            yield gap


def _hidden(target: Target) -> Iterator[Gap]:
    """A gap for each file with a comment that hides findings.

    One above a module hides those in the module's files too, wherever they lie: then all Terraform is a gap.
    """
    holding = {}
    for name, entry in target.files.items():
        data = (target.read(name) or b"") if _CODE(entry.path) or _DOCKERFILES(entry.path) else b""
        if _IGNORED.search(data):
            holding[name] = b"module" in data and _TERRAFORM(entry.path)
    for name, entry in target.files.items():
        if name in holding or (any(holding.values()) and _TERRAFORM(entry.path)):
            why = "it holds" if name in holding else "a file that calls modules holds"
            yield Gap(
                path=display_path(entry.path),
                blob=entry.blob,
                reason_code="ignored_inline",
                detail=f"{why} trivy:ignore or tfsec:ignore",
            )


def _vulnerable(v: dict[str, Any], path: str, kind: str) -> dict[str, Any]:
    # It gives no purl for kinds of packages that it has none for, and gave none at all in older versions.
    purl = (v.get("PkgIdentifier") or {}).get("PURL")
    if purl is None:
        purl = f"pkg:{_PURL_TYPE.get(kind, 'generic')}/{string(v['PkgName'])}@{string(v['InstalledVersion'])}"
    return vulnerable(
        ids=(v["VulnerabilityID"], *(v.get("VendorIDs") or ())),
        rule=v["VulnerabilityID"],
        title=v.get("Title", ""),
        severity=v["Severity"],
        purl=purl,
        version=v["InstalledVersion"],
        path=path,
        fixed=v.get("FixedVersion", ""),
        url=v.get("PrimaryURL"),
        cwes=v.get("CweIDs") or (),
    )


def _check(c: dict[str, Any], path: str) -> dict[str, Any]:
    """What is kept of a check that did not pass. Raises KeyError, TypeError, ValueError when it has another form."""
    if c["Status"] not in {"FAIL", "EXCEPTION"}:
        raise ValueError("unknown status")
    cause = c.get("CauseMetadata") or {}
    return {
        "type": short(storable(c["Type"]), 60),
        "rule": short(storable(c["ID"]), 60),
        "title": mask_quoted(storable(c["Title"])),
        "severity": short(storable(c["Severity"]), 20),
        "status": c["Status"],
        "path": path,
        "resource": mask_quoted(storable(cause.get("Resource", ""))),
        "lines": [number(cause.get("StartLine", 0)), number(cause.get("EndLine", 0))],
        "url": f"https://avd.aquasec.com/misconfig/{storable(c['ID']).lower()}",
    }


def _checks(checks: list[dict[str, Any]], target: Target) -> Iterator[Observation]:
    ordinals = Ordinals()
    for c in sorted(checks, key=lambda c: (c["path"], c["lines"], c["rule"], c["resource"], compact(c))):
        name = in_target(c["path"], target)
        entry = target.files.get(name)
        path = display_path(entry.path) if entry is not None else storable(name)
        # Terraform is one program a folder: a resource keeps its address when it moves to another file of it.
        place = posixpath.dirname(path) if c["type"].lower().startswith("terraform") else path
        ordinal = ordinals.next((c["rule"], place, c["resource"]))
        anchor = iac_anchor(tool="trivy", rule_id=c["rule"], place=place, address=c["resource"], ordinal=ordinal)
        start, end = (int(n) for n in c["lines"])
        blob = entry.blob if entry is not None else None
        yield Observation(
            anchor_uid=anchor,
            occurrence_uid=occurrence_uid(anchor_uid=anchor, path=path, line=start, blob=blob),
            kind=Kind.IAC,
            rule_id=c["rule"],
            title=c["title"],
            severity_tool=c["severity"],
            path=path,
            line_start=start or None,
            line_end=end or None,
            blob=blob,
            resource=c["resource"] or None,
            url=c["url"],
            carry_uid=iac_carry(tool="trivy", rule_id=c["rule"], address=c["resource"], ordinal=ordinal),
            extra={"framework": c["type"], **({"suppressed": "exception"} if c["status"] == "EXCEPTION" else {})},
        )


TRIVY = Trivy()
