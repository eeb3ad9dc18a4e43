"""Secrets in the whole history, by blob: kingfisher (Apache-2.0), on blobs written as files named by their id.

Measured with 2.14.0: ``blobs_scanned`` equals the number of files (empty ones count too), so a file that was passed
over is noticed. An archive counts as its members instead, so archives are given to a call of their own, where
they hide nothing of others. Kingfisher's own git mode passes over paths such as ``node_modules`` and reports
unreachable blobs: it is not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.core.errors import ScanGapError
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
from tasks.scanners import history_secrets
from tasks.scanners.masking import compact, first_json, form_checked, kept, number, storable, string

_OPTIONS = (
    "--no-validate",
    "--no-update-check",
    "--no-ignore",
    "--no-dedup",
    "--git-history=none",
    "--commit-metadata=false",
    "--jobs=2",
    "--format=json",
)
#: Exit code when there are findings.
_FINDINGS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Kingfisher:
    """The adapter; its port is ``tasks.core.ports.Scanner``."""

    name: str = "kingfisher"
    kind: Kind = Kind.SECRET
    unit: Unit = Unit.BLOB
    revision: int = 2
    parse_revision: int = 1
    summary: str = "secrets in the whole history of all heads and tags"
    licence: str = "Apache-2.0"
    reads: PathFilter = PathFilter()
    limits: Limits = history_secrets.LIMITS
    pace: Pace = Pace(start_s=0.5, megabyte_s=0.1)
    control: Control = field(default_factory=history_secrets.control)
    long_lived: bool = False

    def argv_label(self) -> str:
        """The options that can change the result."""
        return " ".join(_OPTIONS)

    def command(self, tool: ToolHome, target: Target) -> Command:
        """Scan the folder of blobs; the rule cache that the installation made is mounted read-only."""
        return Command(
            argv=(str(tool.executable), "scan", target.inside, *_OPTIONS),
            ok_codes=frozenset({0, _FINDINGS, 205}),
            timeout_s=self.limits.timeout_s,
            memory_bytes=self.limits.memory_bytes,
            stdout_bytes=self.limits.stdout_bytes,
            mounts=(*tool.mounts, Mount(source=target.root, inside=target.inside)),
            env={"KF_RULE_CACHE_DIR": str(tool.executable.parent / "rule-cache")},
        )

    @form_checked("kingfisher")
    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """Every value becomes its keyed HMAC; fingerprints (an unkeyed hash of it) and all free text are dropped."""
        report = first_json(stdout, self.name)
        found, summary = report.get("findings"), (report.get("metadata") or {}).get("summary")
        if not isinstance(found, list) or not isinstance(summary, dict) or "blobs_scanned" not in summary:
            raise ScanGapError("report_invalid", "kingfisher: findings or metadata.summary are missing")
        hits: list[dict[str, Any]] = []
        for entry in found:
            rule, hit = entry["rule"], entry["finding"]
            hits.append(
                {
                    "rule": short(storable(rule["id"]), 200),
                    "name": short(storable(rule.get("name", rule["id"])), 100),
                    "value_hmac": history_secrets.value_hmac(hit["snippet"], key),
                    **history_secrets.place(string(hit["path"]), self.name, len(hits)),
                    "line": number(hit.get("line") or 0),
                    "confidence": short(storable(hit.get("confidence", "")), 20),
                }
            )
        counters = {k: summary.get(k) for k in ("blobs_scanned", "rules_applied")}
        audit = (report.get("audit") or {}).get("summary") or {}
        return compact(
            {
                "hits": history_secrets.ordered(hits),
                "counters": counters,
                "scan_failed": audit.get("scan_failed", 0),
                "scan_partial": audit.get("scan_partial", 0),
            }
        )

    @form_checked("kingfisher")
    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """One observation a hit and place; a blob without a place is not reachable and does not count."""
        document = kept(report.body, self.name)
        counters = document["counters"]
        if document["scan_failed"] or document["scan_partial"]:
            return history_secrets.failed("tool_error", "kingfisher says that its scan failed or is partial")
        # An archive counts as its members, which may be none; every other file must have been counted.
        given = sum(1 for name in target.files if "." not in name.rsplit("/", 1)[-1])
        if not number(counters["rules_applied"] or 0):
            return history_secrets.failed("tool_error", "kingfisher applied no rule")
        if number(counters["blobs_scanned"] or 0) < given:
            return history_secrets.failed("nothing_scanned", f"given {given} files, read {counters['blobs_scanned']}")
        return Parsed(
            outcome=Outcome.OK,
            observations=tuple(history_secrets.observations(document["hits"], target, tool=self.name)),
        )

    @form_checked("kingfisher")
    def part(self, report: RawReport, target: Target, names: Mapping[str, str]) -> RawReport:
        """Hits in the blobs of some files. Only plain files count: an archive counts as its members."""
        document = kept(report.body, self.name)
        blobs = {target.files[name].blob for name in names}
        hits = [h for h in document["hits"] if h["blob"] in blobs]
        counters = {**document["counters"], "blobs_scanned": len(names)}
        body = compact({**document, "hits": hits, "counters": counters})
        return replace(report, body=body, exit_code=_FINDINGS if hits else 0)


KINGFISHER = Kingfisher()
