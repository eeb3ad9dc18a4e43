"""Vulnerable dependencies in the order in which they are to be mended: the view ``vulnerable_ranked``.

It is ``ranked`` (which findings are open, whose they are, by when each is to be mended) with what the table
``vulnerabilities`` says of their packages and ``tasks.policy.dependency_priority`` of their flaws, so that neither view
says another day or owner than the other.

    risk = 10^n * (1 + steps + 2 * EPSS + CVSS / 5)

n is 0 for the next upgrade, 1 for 60 days, 2 for 14 days, 3 for 3 days and 4 for 3 days with forensic triage; steps are
how many tiers sooner it would be at worst (0 to 4); EPSS goes from 0 to 1, CVSS from 0 to 10, and what is not told
counts as 0. The bracket is at least 1 and at most 9, so each finding of a stricter tier weighs more than any of the
next. It is made to be added up: what a change clears is the sum of what its findings weigh. The figures are ours.
"""

from __future__ import annotations

from tasks.core.view_sets import Saved, View, few, set_of
from tasks.policy.dependency_priority import ORDER, WHY, Tier, is_assessed, tiers_of
from tasks.policy.severity import quoted

_LAST = len(Tier) - 1
RISK = (
    f"10 ** ({_LAST} - tier_rank) * (1 + (tier_rank - soonest_rank) + 2 * least(greatest(coalesce(epss, 0), 0), 1)"
    " + least(greatest(coalesce(cvss_score, 0), 0), 10) / 5)"
)


def _surely(column: str) -> str:
    """Over the rows of a finding: true if any says so, false if all say no, else null."""
    return f"CASE WHEN bool_or({column}) THEN true WHEN count(*) = count({column}) THEN false END"


def _each(column: str) -> str:
    """The values of the rows of a finding in order, each once."""
    told = f"list({column}) FILTER ({column} IS NOT NULL)"
    return f"coalesce({set_of(told)}, [])"


_FOUND = f"""
    SELECT finding_uid, any_value(ecosystem) AS ecosystem,
           any_value(package) AS package, {_each("version")} AS versions, any_value(group_id) AS group_id,
           {_each("advisory_id")} AS advisories, {_each("fixed_version")} AS fixed_versions,
           {_surely("is_direct")} AS is_direct,
           NOT ({_surely("NOT is_development")}) AS is_development
    FROM there JOIN vulnerabilities v USING (finding_uid) WHERE v.present AND list_contains(there.open_refs, v.ref)
    GROUP BY finding_uid"""
VULNERABLE_RANKED = View(
    name="vulnerable_ranked",
    meaning="one open finding of `assess`, whatever refs hold it: the package, what CISA's BOD 26-04 makes of the flaw"
    " (tier, soonest: if all that is unknown were the worst), risk (for adding up), and why; days, owner and team are"
    " those of ranked",
    sql=f"""
        WITH there AS (
            FROM ranked WHERE kind = 'dependency' AND len(list_filter(tools, lambda t: {is_assessed("t")})) > 0
        ),
        found AS MATERIALIZED ({_FOUND}),
        named AS (
            SELECT t.* EXCLUDE (priority_why), f.* EXCLUDE (finding_uid, group_id),
                   coalesce(f.group_id, t.rule_id) AS group_id
            FROM there t LEFT JOIN found f USING (finding_uid)
        ),
        asked AS MATERIALIZED (SELECT DISTINCT group_id, exposure FROM named),
        tiers AS MATERIALIZED ({few(tiers_of("asked"))})
        SELECT tier, soonest, {RISK} AS risk, slug, path AS manifest, ecosystem, package, versions, fixed_versions,
               is_direct, is_development, group_id, cves, advisories, days AS tier_days, due_at, is_overdue,
               overdue_days, epss, cvss_score, {WHY} AS priority_why, priority, severity, owner, team, champions,
               n.exposure, criticality, open_refs, opened_at, first_seen_at, tier_rank, soonest_rank, finding_uid,
               repo_id
        FROM named n JOIN tiers t USING (group_id) WHERE t.exposure IS NOT DISTINCT FROM n.exposure""",
)

DEPENDENCIES = Saved(
    description="vulnerable dependencies: what to mend first, and why",
    sql="SELECT tier, due_at, is_overdue, slug, manifest, package, versions, fixed_versions, cves, priority_why,"
    f" round(risk, 1) AS risk, finding_uid FROM vulnerable_ranked ORDER BY {ORDER}, due_at NULLS LAST, slug, manifest,"
    " package, finding_uid LIMIT 1000",
)
DEPENDENCIES_BY_TEAM = Saved(
    description="vulnerable dependencies by team and tier, and what they weigh together",
    sql="SELECT team, "
    + ", ".join(f'count(*) FILTER (tier = {quoted(tier)}) AS "{tier}"' for tier in Tier)
    + ", count(*) FILTER (soonest_rank < tier_rank) AS could_be_sooner, count(*) FILTER (is_overdue) AS overdue,"
    " count(DISTINCT repo_id) AS repositories, round(sum(risk), 1) AS risk FROM vulnerable_ranked GROUP BY team"
    " ORDER BY risk DESC, team",
)
