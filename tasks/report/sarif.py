"""SARIF 2.1.0 as a stream: one run for each (repository, ref, tool), never more than one in memory.

Levels come from the tool's own severity by ``LEVELS``; the exact word stays in ``properties.severity_tool``, beside all
other columns of the observation. What was not read is a notification of the run's invocation, which then says
``executionSuccessful: false``. A scope that was never read has no ``results`` at all: by the standard (§3.14.23) an
empty array would mean that nothing was found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tasks.core.keys import HmacKey
from tasks.core.sealing import sealed, written
from tasks.core.types import Gap, Observation

SCHEMA_URI = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
#: Severity as tools say it, lower case → level of a result. What stands here nowhere is a warning, SARIF's own default.
LEVELS = {
    "critical": "error",
    "blocker": "error",
    "high": "error",
    "error": "error",
    "medium": "warning",
    "moderate": "warning",
    "warning": "warning",
    "low": "note",
    "minor": "note",
    "info": "note",
    "informational": "note",
    "note": "note",
    "none": "none",
}
_CWE = re.compile(r"CWE-(\d+)")
_ROOT = "SRCROOT"
#: An absolute address (RFC 3986): brackets only around an address of IPv6, a percent sign only before two hex digits.
_PART = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*"
_URI = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*:(?://(?:[^/@\[\]]*@)?\[[0-9A-Fa-f:.]+\](?=[:/?#]|$))?{_PART}(?:#{_PART})?")
_KINDS = frozenset({"notApplicable", "pass", "fail", "review", "open", "informational"})
_BASELINES = frozenset({"new", "unchanged", "updated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeReport:
    """What is open in one scope. ``looked_at`` None: no tool ever read it. ``gaps`` name everything that was not read,
    the scope itself (empty path) included. ``findings`` maps an anchor to its finding_uid and when it was first seen.
    """

    repo_id: str
    slug: str
    url: str
    ref: str
    commit: str | None
    tool: str
    tool_version: str | None
    looked_at: datetime | None
    observations: tuple[Observation, ...]
    gaps: tuple[Gap, ...]
    findings: dict[str, tuple[str, datetime]]


def sarif_pieces(scopes: Iterable[ScopeReport], *, version: str, key: HmacKey | None = None) -> Iterator[str]:
    """The log in pieces of text; ``version`` is that of this program. With the lake's ``key`` each result bears a seal
    by which an import knows it for ours."""
    yield f'{{"$schema":{json.dumps(SCHEMA_URI)},"version":"2.1.0","properties":{_json({"exporter": version})},"runs":['
    for n, scope in enumerate(scopes):
        yield f"{',' if n else ''}\n{_json(_run(scope, key))}"
    yield "]}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _run(s: ScopeReport, key: HmacKey | None) -> dict[str, Any]:
    ordered = sorted(
        s.observations, key=lambda o: (o.path or "", o.line_start or 0, o.rule_id, o.anchor_uid, o.occurrence_uid)
    )
    rules: dict[str, dict[str, Any]] = {}
    for o in ordered:
        rules.setdefault(o.rule_id, _rule(o))
    index = {rule_id: n for n, rule_id in enumerate(rules)}
    driver: dict[str, Any] = {"name": s.tool.removeprefix("import/"), "rules": list(rules.values())}
    if s.tool_version:
        driver["version"] = s.tool_version
    cwes = sorted({c for o in ordered for c in _cwes(o)}, key=int)
    if cwes:
        driver["supportedTaxonomies"] = [{"name": "CWE", "index": 0}]
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"nightwarden/{s.slug}/{s.ref}/{s.tool}/"},
        "originalUriBaseIds": {_ROOT: {"description": {"text": "The root of the repository."}}},
        "invocations": [_invocation(s)],
        "columnKind": "unicodeCodePoints",
        "properties": {"repo_id": s.repo_id, "slug": s.slug, "ref": s.ref, "tool": s.tool},
    }
    provenance = _provenance(s)
    if provenance:
        run["versionControlProvenance"] = [provenance]
    if cwes:
        run["taxonomies"] = [{"name": "CWE", "organization": "MITRE", "taxa": [{"id": c} for c in cwes]}]
    if s.looked_at is not None:
        taxa = {c: n for n, c in enumerate(cwes)}
        run["results"] = [_result(o, s, index, taxa, key) for o in ordered]
    return run


def _provenance(s: ScopeReport) -> dict[str, Any]:
    """Where the code comes from; empty where there is no address, as of a rule pack: the standard wants one."""
    uri = _uri(s.url)
    if not _URI.fullmatch(uri):
        return {}
    provenance: dict[str, Any] = {"repositoryUri": uri, "mappedTo": {"uriBaseId": _ROOT}}
    if s.commit:
        provenance["revisionId"] = s.commit
    if s.ref.startswith("refs/heads/"):
        provenance["branch"] = s.ref.removeprefix("refs/heads/")
    return provenance


def _rule(o: Observation) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": o.rule_id, "shortDescription": {"text": o.title}}
    if o.url and o.url.startswith(("https://", "http://")) and _URI.fullmatch(o.url):
        rule["helpUri"] = o.url
    tags = [f"external/cwe/cwe-{int(c):03}" for c in _cwes(o)]
    if tags:
        rule["properties"] = {"tags": tags}
    return rule


def _cwes(o: Observation) -> list[str]:
    return [str(int(c)) for c in _CWE.findall(o.extra.get("cwe", ""))]


def _result(
    o: Observation, s: ScopeReport, index: dict[str, int], taxa: dict[str, int], key: HmacKey | None
) -> dict[str, Any]:
    kind = o.extra.get("result_kind", "fail")
    kind = kind if kind in _KINDS else "fail"
    level = LEVELS.get((o.severity_tool or "").lower(), "warning") if kind == "fail" else "none"
    properties = written(o)
    prints = {"nightwardenAnchor/v1": o.anchor_uid, "nightwardenOccurrence/v1": o.occurrence_uid}
    if key is not None:
        prints["nightwardenSeal/v1"] = sealed(o, key)
    if o.anchor_uid in s.findings:
        uid, first_seen = s.findings[o.anchor_uid]
        prints["nightwardenFinding/v1"] = uid
        properties["first_seen_at"] = first_seen.isoformat()
    result: dict[str, Any] = {
        "ruleId": o.rule_id,
        "ruleIndex": index[o.rule_id],
        "kind": kind,
        "level": level,
        "message": {"text": o.title},
        "partialFingerprints": prints,
        "properties": properties,
    }
    place = _location(o)
    if place:
        result["locations"] = [place]
    if o.extra.get("baseline_state") in _BASELINES:
        result["baselineState"] = o.extra["baseline_state"]
    if o.extra.get("suppressed"):
        inline = o.extra["suppressed"].lower().startswith("in")
        result["suppressions"] = [{"kind": "inSource" if inline else "external", "status": "accepted"}]
    found = _cwes(o)
    if found:
        result["taxa"] = [{"id": c, "index": taxa[c], "toolComponent": {"name": "CWE", "index": 0}} for c in found]
    return result


def _location(o: Observation) -> dict[str, Any]:
    location: dict[str, Any] = {}
    if o.path is not None:
        physical: dict[str, Any] = {"artifactLocation": _artifact(o.path)}
        if o.line_start is not None and o.line_start >= 1:
            physical["region"] = {"startLine": o.line_start, "endLine": max(o.line_end or 0, o.line_start)}
        location["physicalLocation"] = physical
    if o.resource:
        location["logicalLocations"] = [{"fullyQualifiedName": o.resource}]
    return location


def _artifact(path: str) -> dict[str, Any]:
    """A path of the repository, percent-encoded; one that an import could not make relative stays a file: address."""
    if path.startswith("/"):
        return {"uri": f"file://{quote(path)}"}
    return {"uri": quote(path), "uriBaseId": _ROOT}


def _uri(url: str) -> str:
    return f"file://{quote(url)}" if url.startswith("/") else quote(url, safe=":/?#[]@!$&'()*+,;=%~-._")


def _invocation(s: ScopeReport) -> dict[str, Any]:
    notes = [_notification(g) for g in s.gaps]
    invocation: dict[str, Any] = {"executionSuccessful": s.looked_at is not None and not notes}
    if notes:
        invocation["toolExecutionNotifications"] = notes
    if s.looked_at is not None:
        invocation["endTimeUtc"] = f"{s.looked_at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    return invocation


def _notification(gap: Gap) -> dict[str, Any]:
    what = gap.path or "the scan as a whole"
    note: dict[str, Any] = {
        "level": "note" if gap.reason_code == "switched_off" else "error",
        "descriptor": {"id": gap.reason_code},
        "message": {"text": f"not read: {what}: {gap.reason_code}{f' ({gap.detail})' if gap.detail else ''}"},
    }
    if gap.path:
        note["locations"] = [{"physicalLocation": {"artifactLocation": _artifact(gap.path)}}]
    return note
