"""What the columns of the policy's views mean, and from which tables they hand on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_SEVERITY = "critical, high, medium, low, info or unknown"
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "severities": {
        "tool": "a tool; sarif: any imported report",
        "severity_tool": "a word of it, or a span of numbers",
        "severity": f"what that means here: {_SEVERITY}",
        "source": "where the tool says what its word means, or why we read it so",
    },
    "sla_rules": {
        "place": "its place: the first rule that fits counts",
        "kind": "the kind of finding it is for; null: any",
        "severity": "the severity it is for; null: any",
        "exposure": "the exposure it is for; null: any",
        "origin": "the origin it is for; null: any",
        "days": "days from opened_at to due_at; null: no deadline",
        "source": "what says so: org.yaml, or built in",
    },
    "ranked": {
        "priority": "P1 (first) to P4, by score",
        "score": "0 to 100: severity, exposure, criticality and age, at least what the tier of a vulnerable dependency"
        " says (`nightwarden explain priority`)",
        "severity": f"{_SEVERITY}: the highest known of its tools",
        "path": "where it is, on the first of its refs by name",
        "line_start": "first line there",
        "owner": "the first of owners, else the repository's",
        "age_days": "whole days from opened_at to the end of the newest run",
        "priority_why": "the priority in a sentence, with that of the tier",
        "sla_days": "days that the SLA gives; null: no deadline",
        "due_at": "until when it is to be mended, UTC: by the SLA, or by the tier of a vulnerable dependency if that is"
        " earlier; null: no deadline",
        "is_overdue": "whether due_at lay behind when the newest run ended",
        "overdue_days": "whole days since due_at; null: not overdue",
        "origin": "why it came first",
        "counted_as": "the severity that score and SLA go by: of an unknown one, high for a secret, else medium",
        "tools": "the tools that see it, in order",
        "severity_tool": "what the tool says whose severity counts",
        "severity_score": "the number that it gives beside it",
        "open_refs": "watched refs on which it is open",
        "opened_at": "when it opened last, UTC: the deadline counts from here",
        "first_seen_at": "when a ref first had it, UTC",
        "team": "the owner's team, else the owner, else 'none declared'; never null",
        "champions": "whom of the team to ask",
    },
    "vulnerable_ranked": {
        "tier": "by when CISA's BOD 26-04 wants it mended, whatever the unknown answers are: 3 days, forensic triage;"
        " 3 days; 14 days; 60 days; next upgrade",
        "soonest": "what the tier would be if every unknown answer were the worst",
        "risk": "what it weighs: 10^n * (1 + steps + 2 * EPSS + CVSS / 5), n from 0 (next upgrade) to 4 (triage), steps"
        " from tier to soonest; for adding up",
        "manifest": "path of the manifest or lock file, on the first of its refs by name",
        "versions": "the versions of it in use that are vulnerable",
        "fixed_versions": "lowest versions above these that an advisory is not about; empty: none names one",
        "is_direct": "whether the project itself asks for it, on any of its refs; null: not told",
        "is_development": "whether it is for development only, on all of its refs; null: not told",
        "cves": "the CVEs of all advisories of the group",
        "advisories": "the advisories of the group that are about it",
        "tier_days": "days that the tier gives; null: the next upgrade",
        "due_at": "until when it is to be mended, UTC, as in ranked; null: no deadline",
        "is_overdue": "whether due_at lay behind when the newest run ended",
        "overdue_days": "whole days since due_at; null: not overdue",
        "epss": "the highest probability of its CVEs to be exploited in 30 days, 0 to 1; null: not told",
        "cvss_score": "base score of the advisory whose vector counts, 0 to 10; null: none",
        "priority_why": "the tier in a sentence: each answer, who gives it and of when, and what is unknown",
        "priority": "P1 (first) to P4, as in ranked",
        "severity": f"{_SEVERITY}, as in ranked",
        "owner": "the first of its owners, else the repository's",
        "team": "the owner's team, else the owner, else 'none declared'; never null",
        "champions": "whom of the team to ask",
        "open_refs": "watched refs on which it is open",
        "opened_at": "when it opened last, UTC: the days count from here, or from when it was known to be exploited",
        "first_seen_at": "when a ref first had it, UTC",
        "tier_rank": "place of the tier, 0 is triage",
        "soonest_rank": "place of soonest",
    },
    "sla_trend": {
        "day": "the end of the newest run, less whole weeks, UTC",
        "severity": f"{_SEVERITY}, as each finding's own tool gave it",
        "open": "findings that were open then",
        "overdue": "of these, past their deadline by the SLA in force and the tiers of dependencies as known now",
    },
    "sla_kept": {
        "month": "YYYY-MM, UTC",
        "severity": f"{_SEVERITY}, as each finding's own tool gave it",
        "mended": "findings whose code was mended in that month",
        "in_time": "of these, until their deadline, or without one",
        "mean_days": "mean days from opening to mending",
        "median_days": "their median",
    },
}
HANDED_ON: Mapping[str, Sequence[str]] = {
    "ranked": ("findings", "repositories"),
    "vulnerable_ranked": ("vulnerabilities", "repositories"),
}
