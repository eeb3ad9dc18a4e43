"""Events of the Open Cybersecurity Schema Framework, version 1.5.0 (https://schema.ocsf.io/1.5.0/). Pure.

1.5.0 is the first version with the class Application Security Posture Finding; what is written holds in the later ones
up to 1.8.0 too. A finding that names advisories is a Vulnerability Finding (2002), any other an Application Security
Posture Finding (2007): the class Compliance Finding wants the standard that a check belongs to, and scanners of
infrastructure name none. What was not read is no finding but a Scan Activity (6007) that failed or skipped something.

Times are milliseconds since 1970, UTC. What the schema has no place for is in ``unmapped``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from tasks.core.types import Kind, digest

VERSION = "1.5.0"
#: Severity as the policy says it → id and caption of the schema.
SEVERITIES = {
    "unknown": (0, "Unknown"),
    "info": (1, "Informational"),
    "low": (2, "Low"),
    "medium": (3, "Medium"),
    "high": (4, "High"),
    "critical": (5, "Critical"),
}
#: Status of a finding → id and caption of the schema. Nobody has judged what is open, so it is new, however old.
STATUSES = {
    "open": (1, "New"),
    "reopened": (1, "New"),
    "accepted": (3, "Suppressed"),
    "false_positive": (3, "Suppressed"),
    "wont_fix": (3, "Suppressed"),
    "revoked": (4, "Resolved"),
    "fixed": (4, "Resolved"),
    "archived": (5, "Archived"),
}
_ACTIVITIES = {1: "Create", 2: "Update", 3: "Close"}
#: What is wrong with a stored secret or its store: no repository, no file.
_HYGIENE = str(Kind.SECRET_HYGIENE)
_POSTURE = (2007, "Application Security Posture Finding")
_VULNERABILITY = (2002, "Vulnerability Finding")
_FINDINGS = (2, "Findings")
_APPLICATION = (6, "Application Activity")
_SCAN = (6007, "Scan Activity")
_COMPLETED, _ERROR = (2, "Completed"), (6, "Error")
_CVE = re.compile(r"CVE-\d{4}-\d{4,}", re.IGNORECASE)
_CWE = re.compile(r"CWE-(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A package that a finding names, and the versions that mend it as its tool says them."""

    purl: str
    version: str | None
    fixed_in: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingFinding:
    """A finding as it stands. ``status`` is a word of ``findings``, ``seen_at`` when a tool last saw it (None: the last
    look did not read its place), ``closed_at`` when it stopped counting, ``is_new`` whether this run made it.
    ``rest`` is what goes to ``unmapped``; nulls are left out."""

    finding_uid: str
    repo_id: str
    slug: str
    kind: str
    rule_id: str
    title: str
    status: str
    severity: str
    path: str | None
    line_start: int | None
    line_end: int | None
    first_seen_at: datetime
    seen_at: datetime | None
    closed_at: datetime | None
    is_new: bool
    owner: str | None
    criticality: str | None
    cwe: str | None
    url: str | None
    remedy: str | None
    tools: tuple[str, ...]
    advisories: tuple[str, ...]
    packages: tuple[Dependency, ...]
    rest: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GappyScan:
    """A scope of which something was not read: whether that is the scope as a whole, how many paths of it, the foremost
    reason, and how often each reason."""

    repo_id: str
    slug: str
    ref: str
    tool: str
    looked_at: datetime | None
    failed: bool
    skipped: int
    reason_code: str
    detail: str
    reasons: Mapping[str, int]


def finding_event(f: LivingFinding, *, run_id: str, at: datetime, version: str) -> dict[str, Any]:
    """The event of a finding as of a run that ended ``at``; ``version`` is that of this program.

    Created by the run that made it, closed when it is fixed, archived or decided, else updated. The time is when that
    happened, and the end of the run for an update: the schema allows either.
    """
    status = STATUSES.get(f.status, (99, f.status))
    activity = 3 if f.status not in ("open", "reopened") else 1 if f.is_new else 2
    happened = {1: f.first_seen_at, 2: at, 3: f.closed_at or at}[activity]
    weaknesses = _advisories(f) if f.advisories else _weaknesses(f)
    event = _head(
        _VULNERABILITY if f.advisories else _POSTURE,
        _FINDINGS,
        (activity, _ACTIVITIES[activity]),
        happened,
        f.severity,
        _metadata(digest(run_id, f.finding_uid), run_id, at, version, f.tools),
    )
    info: dict[str, Any] = {
        "uid": f.finding_uid,
        "title": f.title,
        "types": [f.kind],
        "analytic": {"type_id": 1, "type": "Rule", "uid": f.rule_id, "name": f.rule_id},
        "data_sources": list(f.tools),
        "created_time": _ms(f.first_seen_at),
        "first_seen_time": _ms(f.first_seen_at),
    }
    if f.seen_at is not None:
        info["last_seen_time"] = _ms(f.seen_at)
    if f.url:
        info["src_url"] = f.url
    event |= {
        "message": f.title,
        "status_id": status[0],
        "status": status[1],
        "finding_info": info,
        "resources": [_repository(f), *_place(f)],
    }
    if weaknesses:
        event["vulnerabilities"] = weaknesses
    if not f.advisories:
        event["application"] = {"uid": f.repo_id, "name": f.slug, "type": _type(f)}
        if f.remedy:
            event["remediation"] = _remediation(f)
    rest = {"status": f.status, **f.rest}
    event["unmapped"] = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in rest.items() if v is not None}
    return event


def scan_event(s: GappyScan, *, run_id: str, at: datetime, version: str) -> dict[str, Any]:
    """The event of a scope of which something was not read, as of a run that ended ``at``."""
    uid = digest(s.repo_id, s.ref, s.tool)
    event = _head(
        _SCAN,
        _APPLICATION,
        _ERROR if s.failed else _COMPLETED,
        at,
        "unknown",
        _metadata(digest(run_id, uid), run_id, at, version, (s.tool,)),
    )
    looked = f"; last looked at {s.looked_at.isoformat()}" if s.looked_at is not None else "; never looked at"
    return event | {
        "message": f"not read: {s.slug} {s.ref} by {s.tool}: {', '.join(s.reasons)}{looked}",
        "status_id": 2,
        "status": "Failure",
        "status_code": s.reason_code,
        **({"status_detail": s.detail} if s.detail else {}),
        "num_skipped_items": s.skipped,
        "scan": {"uid": uid, "name": f"{s.slug} {s.ref} {s.tool}", "type_id": 2, "type": "Scheduled"},
        "unmapped": {
            "repo_id": s.repo_id,
            "repository": s.slug,
            "ref": s.ref,
            "tool": s.tool,
            "reasons": dict(s.reasons),
            **({"evidence_at": s.looked_at.isoformat()} if s.looked_at is not None else {}),
        },
    }


def _head(
    of_class: tuple[int, str],
    category: tuple[int, str],
    activity: tuple[int, str],
    happened: datetime,
    severity: str,
    metadata: dict[str, Any],
) -> dict[str, Any]:
    severity_id, caption = SEVERITIES.get(severity, SEVERITIES["unknown"])
    return {
        "metadata": metadata,
        "class_uid": of_class[0],
        "class_name": of_class[1],
        "category_uid": category[0],
        "category_name": category[1],
        "activity_id": activity[0],
        "activity_name": activity[1],
        "type_uid": of_class[0] * 100 + activity[0],
        "type_name": f"{of_class[1]}: {activity[1]}",
        "time": _ms(happened),
        "severity_id": severity_id,
        "severity": caption,
    }


def _metadata(uid: str, run_id: str, at: datetime, version: str, tools: tuple[str, ...]) -> dict[str, Any]:
    """``uid`` is the same whenever the same run is exported, so that whoever takes events in twice can tell."""
    product = {"name": "Nightwarden", "vendor_name": "Nightwarden", "uid": "nightwarden", "version": version or "0"}
    return {
        "version": VERSION,
        "uid": uid,
        "product": {**product, **({"feature": {"name": tools[0]}} if tools else {})},
        "correlation_uid": run_id,
        "logged_time": _ms(at),
    }


def _type(f: LivingFinding) -> str:
    """What holds it."""
    return "store of secrets" if f.kind == _HYGIENE else "git repository"


def _repository(f: LivingFinding) -> dict[str, Any]:
    resource: dict[str, Any] = {"uid": f.repo_id, "name": f.slug, "type": _type(f)}
    if f.criticality:
        resource["criticality"] = f.criticality
    if f.owner:
        resource["owner"] = {"name": f.owner}
    return resource


def _place(f: LivingFinding) -> list[dict[str, Any]]:
    """The file, or what is stored, as a resource of its own; its lines are data of it."""
    if f.path is None:
        return []
    what = "stored secret or setting" if f.kind == _HYGIENE else "file"
    resource: dict[str, Any] = {"uid": f"{f.repo_id}/{f.path}", "name": f.path, "type": what}
    if f.line_start is not None:
        resource["data"] = {"start_line": f.line_start, "end_line": f.line_end or f.line_start}
    return [resource]


def _weaknesses(f: LivingFinding) -> list[dict[str, Any]]:
    """The CWEs that a tool names, each with the code; none is made up where it names none."""
    numbers = dict.fromkeys(int(n) for n in _CWE.findall(f.cwe or ""))
    return [_weakness(f, n) for n in numbers]


def _weakness(f: LivingFinding, number: int) -> dict[str, Any]:
    address = f"https://cwe.mitre.org/data/definitions/{number}.html"
    weakness: dict[str, Any] = {"cwe": {"uid": f"CWE-{number}", "src_url": address}, "title": f.title}
    if f.path is not None:
        code: dict[str, Any] = {
            "file": {"name": f.path.rsplit("/", 1)[-1], "path": f.path, "type_id": 1, "type": "Regular File"},
            "rule": {"uid": f.rule_id, "name": f.rule_id},
        }
        if f.line_start is not None:
            code |= {"start_line": f.line_start, "end_line": f.line_end or f.line_start}
        weakness["affected_code"] = [code]
    if f.remedy:
        weakness["remediation"] = _remediation(f)
    return weakness


def _advisories(f: LivingFinding) -> list[dict[str, Any]]:
    """One vulnerability for each CVE among the advisories, else for the first of them: they are names of one thing, and
    the schema wants one of them an entry."""
    cves = [a.upper() for a in f.advisories if _CVE.fullmatch(a)]
    packages = [p for p in map(_package, f.packages, [f.path] * len(f.packages)) if p is not None]
    fixed = sorted({p.fixed_in for p in f.packages if p.fixed_in})
    found = []
    for name in cves or f.advisories[:1]:
        others = [a for a in f.advisories if a.upper() != name.upper()]
        entry: dict[str, Any] = {"cve" if cves else "advisory": {"uid": name}, "title": f.title}
        if others:
            entry["related_vulnerabilities"] = others
        if packages:
            entry["affected_packages"] = packages
        if f.url:
            entry["references"] = [f.url]
        if fixed:
            entry["is_fix_available"] = True
            entry["remediation"] = {"desc": f"Use {' or '.join(fixed)}"}
        found.append(entry)
    return found


def _package(p: Dependency, path: str | None) -> dict[str, Any] | None:
    """A package; None without a version, which the schema demands and nobody knows."""
    if not p.version:
        return None
    name = unquote(p.purl.split("@", 1)[0].split("?", 1)[0].removeprefix("pkg:").split("/", 1)[-1])
    package: dict[str, Any] = {"name": name, "version": p.version, "purl": p.purl}
    if p.fixed_in:
        package["fixed_in_version"] = p.fixed_in
    if path is not None:
        package["path"] = path
    return package


def _remediation(f: LivingFinding) -> dict[str, Any]:
    return {"desc": f.remedy, **({"references": [f.url]} if f.url else {})}


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
