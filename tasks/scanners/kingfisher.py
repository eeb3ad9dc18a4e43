"""Secrets in the whole history, by blob: kingfisher (Apache-2.0), on blobs written as files named by their id.

Measured with 2.14.0: ``blobs_scanned`` equals the number of files (empty ones count too), so a file that was passed
over is noticed. An archive counts as its members instead, so archives are given to a call of their own, where
they hide nothing of others. Kingfisher's own git mode passes over paths such as ``node_modules`` and reports
unreachable blobs: it is not used.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.identity import normalise, occurrence_uid, secret_anchor
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
)
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
_OID = re.compile(r"(?:^|/)([0-9a-f]{40}|[0-9a-f]{64})(?:$|[.!/:|])")


def _control() -> Control:
    # Put together here, so that no scanner finds a secret in this file. The value was never anyone's.
    token = "gh" + "p_" + "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5"
    body = f"deploy_token = {token}\n".encode()
    return Control(files={"ab/" + "ab" * 20: body}, rule_id="", path="ab" * 20)


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
    limits: Limits = Limits(
        timeout_s=1800,
        memory_bytes=6 * 1024**3,
        max_files=5_000_000,
        max_file_bytes=50 * 1024**2,
        max_total_bytes=64 * 1024**3,
    )
    pace: Pace = Pace(start_s=0.5, megabyte_s=0.1)
    control: Control = field(default_factory=_control)
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
            value = string(hit["snippet"]).encode("utf-8", "surrogatepass")
            match = _OID.search(string(hit["path"]))
            if match is None:
                # It would look like a hit in a blob that no commit holds, and be dropped.
                raise ScanGapError("report_invalid", f"kingfisher: finding {len(hits)} names no blob")
            hits.append(
                {
                    "rule": short(storable(rule["id"]), 200),
                    "name": short(storable(rule.get("name", rule["id"])), 100),
                    # A private key stays the same one when its lines are indented or end in CRLF.
                    "value_hmac": key.name(normalise(value), purpose="secret"),
                    "blob": match.group(1),
                    "in_archive": match.end(1) != len(hit["path"]),
                    "line": number(hit.get("line") or 0),
                    "confidence": short(storable(hit.get("confidence", "")), 20),
                }
            )
        counters = {k: summary.get(k) for k in ("blobs_scanned", "rules_applied")}
        audit = (report.get("audit") or {}).get("summary") or {}
        return compact(
            {
                "hits": sorted(hits, key=lambda h: (h["blob"], h["line"], h["rule"], h["value_hmac"], compact(h))),
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
            return _failed("tool_error", "kingfisher says that its scan failed or is partial")
        # An archive counts as its members, which may be none; every other file must have been counted.
        given = sum(1 for name in target.files if "." not in name.rsplit("/", 1)[-1])
        if not number(counters["rules_applied"] or 0):
            return _failed("tool_error", "kingfisher applied no rule")
        if number(counters["blobs_scanned"] or 0) < given:
            return _failed("nothing_scanned", f"given {given} files, read {counters['blobs_scanned']}")
        return Parsed(
            outcome=Outcome.OK,
            observations=tuple(_observations(document["hits"], target)),
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


def _failed(reason_code: str, detail: str) -> Parsed:
    return Parsed(outcome=Outcome.FAILED, reason_code=reason_code, detail=detail)


def _observations(hits: list[dict[str, Any]], target: Target) -> Iterator[Observation]:
    nth: Counter[tuple[object, ...]] = Counter()
    for hit in hits:
        blob = hit["blob"]
        anchor = secret_anchor(tool="kingfisher", rule_id=hit["rule"], value_hmac=hit["value_hmac"])
        same = (anchor, blob, hit["line"])
        number, nth[same] = nth[same], nth[same] + 1
        if target.occurrences is None:
            places: list[tuple[str | None, str | None]] = [(None, None)]
        else:
            places = [(o.path, o.commit) for o in target.occurrences.get(blob, ())]
        for path, commit in places:
            yield Observation(
                anchor_uid=anchor,
                occurrence_uid=occurrence_uid(
                    anchor_uid=anchor, path=path or "", line=hit["line"], blob=blob, nth=number
                ),
                kind=Kind.SECRET,
                rule_id=hit["rule"],
                title=hit["name"],
                path=path,
                line_start=hit["line"] or None,
                line_end=hit["line"] or None,
                blob=blob,
                commit=commit,
                extra={
                    "value_hmac": hit["value_hmac"],
                    "confidence": hit["confidence"],
                    **({"in_archive": "true"} if hit["in_archive"] else {}),
                },
            )


KINGFISHER = Kingfisher()
