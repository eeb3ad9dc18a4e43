"""What `nightwarden explain` says of severity, priority and deadlines, from the policy itself, and of one finding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.policy.declared import CRITICALITY, EXPOSURE, NOT_DECLARED_POINTS
from tasks.policy.dependency_priority import Tier, decide
from tasks.policy.priority import (
    COUNTS_AS,
    COUNTS_AS_ELSE,
    DAYS_A_POINT,
    MOST_AGE_POINTS,
    PRIORITIES,
    SEVERITY_POINTS,
    TIER_SCORES,
)
from tasks.policy.severity import IMPORTED, SARIF, SCALE, SCALE_SOURCE, TABLES, Severity, Table, table_of
from tasks.policy.sla import DEFAULTS, SlaRule

#: What `explain` knows beside outcomes and reasons.
TOPICS = {
    "severity": "what each tool's words mean: critical, high, medium, low, info or unknown; `explain severity TOOL`",
    "sla": "how many days there are to mend a finding, by the built-in rules",
    "priority": "how severity, exposure, criticality and age make P1 to P4",
    "dependencies": "by when a vulnerable dependency is to be mended: CISA's four questions",
    "finding": "what the lake says of one finding, and why; `explain finding UID`",
}


def severity(tool: str = "") -> Iterator[str]:
    """Lines about the severities of all tools, or of one (an imported one by its name or its scope's).

    Raises UsageError for a tool that nobody knows.
    """
    name = table_of(tool.lower())
    if tool and name not in TABLES and tool.lower().startswith(IMPORTED):
        name = SARIF
    if tool and name not in TABLES:
        raise UsageError(
            f"no tool is called {one_line(tool, 60)!r}", advice=f"There are: {', '.join(TABLES)}; others are imported."
        )
    for known, table in TABLES.items():
        if not tool or known == name:
            yield f"{known:<17} {_meaning(table)}"
            if tool:
                yield f"  Source: {table.source}."
    if not tool or TABLES[name].scores:
        yield "scores            " + ", ".join(f"{span} {severity}" for span, _, severity in SCALE)
        yield f"  Source: {SCALE_SOURCE}."
    if not tool:
        yield "Any other word is unknown. Words are compared without case; `explain severity TOOL` names the source."
        yield (
            "What is imported goes by its number (security-severity), else by the table of its tool, else by that of"
            f" {SARIF}. `nightwarden query --saved unknown-severities` lists what no table knows."
        )


def _meaning(table: Table) -> str:
    by_severity = {s: [w for w, meant in table.words.items() if meant is s] for s in Severity}
    told = [f"{', '.join(words)} = {severity}" for severity, words in by_severity.items() if words]
    told += ["numbers by CVSS"] if table.scores else []
    return "; ".join(told) or "gives no severity: unknown"


def priority() -> Iterator[str]:
    """Lines about the formula of priority."""
    undeclared = f"not declared, or another word {NOT_DECLARED_POINTS}"
    yield "score = severity + exposure + criticality + age, 0 to 100"
    yield "severity     " + ", ".join(f"{s} {points}" for s, points in SEVERITY_POINTS.items())
    yield "  unknown counts as " + ", ".join(
        [*(f"{s} for a {kind}" for kind, s in COUNTS_AS.items()), f"{COUNTS_AS_ELSE} for anything else"]
    )
    for name, known in (("exposure", EXPOSURE), ("criticality", CRITICALITY)):
        yield f"{name:<13}" + ", ".join([*(f"{'/'.join(d.words)} {d.points}" for d in known), undeclared])
    yield f"age          a point for each {DAYS_A_POINT} days since it opened, {MOST_AGE_POINTS} at most"
    yield "priority     " + ", ".join(f"{name} from {least}" for name, least in PRIORITIES.items())
    yield "of a vulnerable dependency (`explain dependencies`) the score is at least: " + ", ".join(
        f"{tier} {score}" for tier, score in TIER_SCORES.items() if score
    )
    yield "Exposure and criticality are those that `classification` or a manifest gives a repository."
    yield "`nightwarden query --saved ranked` lists what to mend first; its `priority_why` explains each."


def dependencies() -> Iterator[str]:
    """Lines about the tiers of vulnerable dependencies, from the table itself."""
    yield "Days to mend a vulnerable dependency, by CISA's BOD 26-04 (June 2026):"
    heads = ("partial impact", "total impact", "automatable, partial", "automatable, total")
    yield "  ".join(f"{head:<23}" for head in ("", *heads)).rstrip()
    for exploited, reachable in ((False, False), (False, True), (True, False), (True, True)):
        named = " and ".join(w for w, yes in (("exploited", exploited), ("reachable", reachable)) if yes) or "neither"
        told: list[str] = [named]
        for automatable, total in ((False, False), (False, True), (True, False), (True, True)):
            of = decide(exploited=exploited, reachable=reachable, automatable=automatable, total=total)
            told.append(of.tier)
        yield "  ".join(f"{word:<23}" for word in told).rstrip()
    yield "exploited: the KEV catalogue lists a CVE of it, or SSVC says active. reachable: exposure is internet."
    yield "automatable, impact: as CISA's SSVC says, else as the CVSS vector (3, else 4) of the advisory does."
    yield "What is unknown leaves a span: the tier is what is certain, `soonest` what it would be at worst."
    yield f"The days count from opened_at; of what is exploited, from when that was known. {Tier.UPGRADE}: no day."
    yield "`ranked` has the earlier of this day and the SLA's, and the higher of both priorities."
    yield "`nightwarden query --saved dependencies` lists what to mend first and why, `FROM vulnerable_ranked` all."


def finding(digits: str, lake: str | None, config: Path | None) -> Iterator[str]:
    """Lines about one finding of the lake. Raises UsageError, LakeError."""
    from flows.lake_location import lake_to_read
    from flows.settings import load
    from tasks.patrol.explained import explained

    yield from explained(lake_to_read(load(config, lake=lake)).snapshot(), digits)


def sla() -> Iterator[str]:
    """Lines about the built-in rules of the SLA."""
    yield "The first rule that fits says the days, counted from when a finding opened, and anew when it is reopened:"
    for n, rule in enumerate(DEFAULTS, 1):
        yield f"{n:>3}. {_condition(rule):<50} {'no deadline' if rule.days is None else f'{rule.days} days'}"
    yield "     anything else                                      no deadline"
    yield "Critical on the internet, high: BOD 19-02 of CISA. Others: FedRAMP Rev. 5. Backlog, secrets: our own."
    yield "Unknown severity counts as `explain priority` says. Decisions stop no clock: they end, the old date holds."
    yield "`sla` of org.yaml replaces these rules; `FROM sla_rules` shows those in force in a lake."
    yield "`nightwarden query --saved` sla-breaches, due-soon, sla-trend, mttr: what is late, what comes, how it went."


def _condition(rule: SlaRule) -> str:
    said = (("", rule.severity), ("", rule.kind), ("exposure ", rule.exposure), ("origin ", rule.origin))
    return ", ".join(f"{word}{value}" for word, value in said if value is not None)
