"""A lake of several nights for reports: an organisation with teams, gaps, decisions, and what came and went."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.core.types import Gap, Kind, Observation, Outcome, ScanResult
from tasks.lake.changes import Origin
from tasks.lake.lake import Lake
from tasks.lake.ownership import Owned
from tasks.lake.publish import publish
from tasks.report.html import ReportData
from tests.lake_rows import (
    KEY_ID,
    NIGHT,
    change_of,
    night,
    observation,
    repository_row,
    result,
    rule_row,
    scan_of,
    scope_of,
)  # fmt: skip

#: (tool, rule, title, severity as the tool says it, CWE, remedy)
RULES = (
    ("semgrep", "nightwarden.python.sql-injection", "SQL is put together from input", "ERROR", "CWE-89",
     "Pass values as parameters of the query."),
    ("semgrep", "nightwarden.python.command-injection", "A shell command holds input", "ERROR", "CWE-78",
     "Call the program with a list of arguments, without a shell."),
    ("semgrep", "nightwarden.javascript.cross-site-scripting", "Input becomes markup", "WARNING", "CWE-79",
     "Write it with textContent."),
    ("semgrep", "nightwarden.php.path-traversal", "A path is put together from input", "WARNING", "CWE-22",
     "Look the name up in a list of what may be read."),
    ("bandit", "B303", "Use of insecure MD2, MD4, MD5, or SHA1 hash function.", "MEDIUM", "CWE-327", None),
    ("bandit", "B101", "Use of assert detected.", "LOW", "CWE-703", None),
    ("bandit", "B602", "subprocess call with shell=True identified, security issue.", "HIGH", "CWE-78", None),
    ("checkov", "CKV_AWS_24", "No security group allows ingress from 0.0.0.0:0 to port 22", None, None, None),
    ("zizmor", "template-injection", "code injection via template expansion", "High", "CWE-1336", None),
    ("hadolint", "DL3008", "Pin versions in apt get install", "warning", None, None),
)  # fmt: skip
SECRET = ("kingfisher", "kingfisher.aws.2", "AWS Secret Access Key", None, "CWE-798", "Revoke it, then take it out.")
OWNERS = ("payments", "storefront", "platform", "data", None)
_TEAMS = [
    {"team": o, "members": [f"@{o}"], "champions": [f"Ada of {o}", "Bo"], "repositories": [], "place": n,
     "is_present": True}
    for n, o in enumerate(OWNERS) if o is not None
]  # fmt: skip
_KINDS = {"kingfisher": Kind.SECRET, "checkov": Kind.IAC, "hadolint": Kind.IAC}
_WORDS = ("orders", "cart", "stock", "ledger", "search", "mail", "media", "auth", "import", "export", "tax", "labels")


def seen(number: int, rule: Sequence[Any], rng: random.Random) -> Observation:
    """One observation of a rule, at a place of its own."""
    tool, rule_id, title, severity = rule[:4]
    ending = {"checkov": "tf", "zizmor": "yml", "hadolint": "Dockerfile"}.get(tool, "py")
    path = f"src/{rng.choice(_WORDS)}/{rng.choice(_WORDS)}_{number % 400}.{ending}"
    return observation(
        f"{rule_id} {path} {number}", path, rng.randrange(3, 400), rule_id=rule_id, title=title,
        severity_tool=severity, kind=_KINDS.get(tool, Kind.CODE), extra={"cwe": rule[4]} if rule[4] else {},
        url="https://docs.example.org/rules/" + rule_id.lower(),
    )  # fmt: skip


def organisation(
    place: Path, *, repositories: int = 12, each: int = 30, nights: int = 6, seed: int = 7, every: int = 1
) -> Lake:
    """A lake of so many repositories with about ``each`` findings, of nights ``every`` days apart."""
    rng = random.Random(seed)
    lake = Lake.open(place, key_id=KEY_ID)
    names = [f"{(OWNERS[n % 5] or 'labs')}/{_WORDS[n % 12]}-{n}" for n in range(repositories)]
    rows = {
        name: repository_row(
            name, NIGHT, owner=OWNERS[n % 5], url=f"https://github.com/{name}.git",
            criticality=("critical", "high", "normal", None)[n % 4], exposure=("internet", "internal", None)[n % 3],
        )
        for n, name in enumerate(names)
    }  # fmt: skip
    listed = [rule_row(tool=r[0], rule_id=r[1], title=r[2], cwe=r[4], remedy=r[5]) for r in (*RULES, SECRET)]
    state: dict[tuple[str, str], list[Observation]] = {}
    number = 0
    with lake.lock():
        for n in range(1, nights + 1):
            results, more = [], {}
            for k, name in enumerate(names):
                tools: dict[str, list[Observation]] = {}
                grown = each if n == 1 else rng.choice([0, 0, 0, 1, 2]) if each > 2 else 0
                for _ in range(grown):
                    rule = rng.choices((*RULES, SECRET), (6, 4, 5, 3, 6, 9, 3, 4, 2, 5, 2))[0]
                    number += 1
                    tools.setdefault(rule[0], []).append(seen(number, rule, rng))
                for tool in sorted({*tools, *(t for r, t in state if r == name and n > 1 and rng.random() < 0.3)}):
                    kept = [o for o in state.get((name, tool), []) if rng.random() > 0.06]
                    state[name, tool] = kept + tools.get(tool, [])
                    gaps = _gaps(k, tool, n)
                    made = result(
                        f"{name} {tool} {n}", *state[name, tool], repo_id=name, tool=tool,
                        kind=_KINDS.get(tool, Kind.CODE),
                        gaps=gaps, started_at=NIGHT,
                    )  # fmt: skip
                    results.append(made)
                    more[made.result_name] = n
            _publish(
                lake,
                1 + (n - 1) * every,
                results,
                rows if n == 1 else {},
                listed if n == 1 else [],
                names,
                first=n == 1,
            )
    return lake


def _gaps(k: int, tool: str, n: int) -> tuple[Gap, ...]:
    if k % 4 == 1 and tool == "semgrep":
        return (Gap(path="legacy/report.py", reason_code="unparsable", detail="line 12"),
                Gap(path="vendor/huge.js", reason_code="too_large", detail="14 MB"))  # fmt: skip
    return (Gap(path="build/main.py", reason_code="crashes_tool"),) if k % 7 == 3 and tool == "bandit" else ()


def _assigned(repo_id: str, paths: Collection[str | None]) -> dict[str | None, Owned]:
    """A CODEOWNERS in each repository that somebody answers for."""
    owner = repo_id.partition("/")[0]
    owned = Owned((f"@{owner}",), "CODEOWNERS:12") if owner in OWNERS else Owned()
    return dict.fromkeys(paths, owned)


def _publish(
    lake: Lake, number: int, results: list[ScanResult], rows: dict[str, Any], listed: list[Any], names: list[str],
    *, first: bool,
) -> None:  # fmt: skip
    scans = [scan_of(r) for r in results]
    scopes = [scope_of(r, gaps=len(r.gaps), observations=len(r.observations)) for r in results]
    if number > 1 and len(names) > 2:  # one repository could not be fetched, another is filtered
        failed = result("failed", repo_id=names[2], tool="bandit")
        scopes += [scope_of(failed, outcome=Outcome.STALE, reason_code="fetch_stale", detail="HTTP 503", tool="trivy",
                            scan_name=None, result_name=None)]  # fmt: skip
        scopes += [scope_of(failed, outcome=Outcome.SKIPPED, reason_code="switched_off", tool="gosec", repo_id=names[0],
                            slug=names[0], scan_name=None, result_name=None, evidence_at=None)]  # fmt: skip
    changes = [change_of(r, origin=Origin.BACKLOG if first else None) for r in results]
    batch = night(number, *results, scans=scans, scopes=scopes, changes=changes, rules=listed,
                  repositories=[*rows.values()], assign=_assigned, teams=_TEAMS if first else [])  # fmt: skip
    publish(lake, lake.snapshot(), batch)


def many_findings(report: ReportData, count: int) -> ReportData:
    """The same report with so many findings, each at a place of its own."""
    rng = random.Random(3)
    few = report.tables["findings"]
    rows = pa.array([rng.randrange(few.num_rows) for _ in range(count)], pa.int64())
    many = few.take(rows)
    columns = {
        "uid": pa.array([f"{rng.getrandbits(64):016x}" for _ in range(count)], pa.string()),
        "path": pa.array(
            [f"src/{rng.choice(_WORDS)}/{rng.choice(_WORDS)}/{n % 40_000}.py" for n in range(count)], pa.string()
        ),
        "line_start": pa.array([rng.randrange(1, 2000) for _ in range(count)], pa.int64()),
    }
    for name, values in columns.items():
        many = many.set_column(many.column_names.index(name), name, values)
    return replace(report, tables={**report.tables, "findings": many})
