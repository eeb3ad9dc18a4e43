"""Priority: what to mend first, as a score from 0 to 100 with a sentence that explains it.

    score = severity + exposure + criticality + age, of a vulnerable dependency at least what its tier says

========== =============================================================
severity   critical 70, high 50, medium 30, low 10, info 0
exposure   of what the repository runs: internet 12, partner 8, internal 4, isolated 0; not declared 6
critical.  of the repository: critical 12, high 8, normal 4, low 0; not declared 6
age        a point for each 30 days since it opened (``opened_at``), 6 at most
priority   P1 from 75, P2 from 55, P3 from 35, else P4
tier       of what ``assess`` finds, by CISA's table: triage 100, 3 days 90, 14 days 55, 60 days 35, next upgrade 0
========== =============================================================

Steps of severity (20) are wider than what age can add (6), so age turns no order of severities round by itself; all
three together (30) never lift a low to a critical. What is at the worst place of its severity rises one priority
after 30 days. What nobody declared counts half of the most, and so do words that are not in ``EXPOSURE`` and
``CRITICALITY``; the sentence says so. A severity that no tool gives stays unknown; it counts as ``COUNTS_AS`` says.

The table (``tasks.policy.dependency_priority``) alone would put a critical flaw at the next upgrade where nobody
declared the exposure, and severity alone knows nothing of what is exploited: so the stricter of both counts, the
earlier of both days (``due_at``), and the sentence has both.

Age is counted until the end of the newest run, so that one lake gives one answer. The newest is the one with the
highest number: one night with a clock ahead must not make everything overdue until that day.
"""

from __future__ import annotations

from collections.abc import Mapping

from tasks.core.view_sets import Saved, View, few, set_of
from tasks.policy.declared import CRITICALITY, EXPOSURE, NOT_DECLARED_POINTS, phrase_of, relation_of, word_of
from tasks.policy.dependency_priority import NO_TIERS, TIERS_NEED, Tier, flaw_of, is_assessed, tiers_of
from tasks.policy.owners import TEAMS_BY_NAME, in_team, team_of
from tasks.policy.severity import SEVERITY_OF_RANK, Severity, case_of, quoted, ranks_of, says_the_same
from tasks.policy.sla import due_at, with_days

SEVERITY_POINTS: Mapping[Severity, int] = {
    Severity.CRITICAL: 70,
    Severity.HIGH: 50,
    Severity.MEDIUM: 30,
    Severity.LOW: 10,
    Severity.INFO: 0,
}
DAYS_A_POINT, MOST_AGE_POINTS = 30, 6
#: The least score of each priority, the first first.
PRIORITIES: Mapping[str, int] = {"P1": 75, "P2": 55, "P3": 35, "P4": 0}
#: What unknown counts as, by kind. A leaked secret is high: whoever reads the history has it, until it is changed;
#: no tool of ours tries it, so nobody knows whether it still opens anything, which would make it critical.
COUNTS_AS: Mapping[str, Severity] = {"secret": Severity.HIGH}
COUNTS_AS_ELSE = Severity.MEDIUM

#: The least score of a vulnerable dependency, by its tier: never below the priority that has as many days.
TIER_SCORES: Mapping[Tier, int] = {
    Tier.TRIAGE: 100, Tier.DAYS_3: 90, Tier.DAYS_14: PRIORITIES["P2"], Tier.DAYS_60: PRIORITIES["P3"], Tier.UPGRADE: 0,
}  # fmt: skip
#: Microseconds of a day.
_DAY_US = 86_400_000_000


_BY_KIND = " ".join(f"WHEN kind = {quoted(kind)} THEN {quoted(severity)}" for kind, severity in COUNTS_AS.items())


def counted_as(known: str) -> str:
    """The severity as it counts, over the columns kind and severity; ``known`` is the condition that it is known."""
    return f"CASE WHEN {known} THEN severity {_BY_KIND} ELSE {quoted(COUNTS_AS_ELSE)} END"


_COUNTED = ", ".join(map(quoted, SEVERITY_POINTS))
_UNKNOWN_PHRASE = "'unknown severity (counted as ' || counted || ')'"
_AGE_PHRASE = (
    "CASE age_days WHEN 0 THEN 'open for less than a day' WHEN 1 THEN 'open for 1 day'"
    " ELSE 'open for ' || age_days || ' days' END"
)
_PRIORITY = " ".join(f"WHEN score >= {least} THEN {quoted(name)}" for name, least in PRIORITIES.items())

_RATED = few(
    "SELECT *, row_number() OVER (ORDER BY rank, tool, severity_tool, severity_score) AS place"
    f" FROM ({ranks_of('said')})"
)
_PLACED = few(f"""
    SELECT r.repo_id, r.owner, r.criticality, r.exposure,
           coalesce(e.points, {NOT_DECLARED_POINTS}) + coalesce(c.points, {NOT_DECLARED_POINTS}) AS points,
           {word_of("exposure")} AS exposure_word,
           {phrase_of("exposure")} || ', ' || {phrase_of("criticality")} AS phrase
    FROM (SELECT repo_id, owner, criticality, exposure FROM repositories UNION ALL
          SELECT DISTINCT repo_id, NULL, NULL, NULL FROM seen ANTI JOIN repositories USING (repo_id)
          WHERE is_place) r
    LEFT JOIN {relation_of(EXPOSURE)} e ON e.word = lower(trim(r.exposure))
    LEFT JOIN {relation_of(CRITICALITY)} c ON c.word = lower(trim(r.criticality))""")
_FLAW = flaw_of("f")
_TIERS = f"""flawed AS MATERIALIZED (
            SELECT DISTINCT s.rule_id AS group_id, p.exposure
            FROM (SELECT DISTINCT rule_id, repo_id FROM base WHERE {is_assessed("tool")}) s
            JOIN placed p USING (repo_id)
        ),
        tiers AS MATERIALIZED ({few(tiers_of("flawed"))})"""
_NO_TIERS = f"tiers AS ({NO_TIERS})"


def _ranked(tiers: str) -> str:
    """What is said of many findings (tool, word, number; kind, origin; repository) is gone through once and looked up
    among few. Each (tool, word, number) and each repository is looked up once; there are few, however many findings.

    ``tiers`` are CTEs that end in ``tiers``.
    """
    return f"""
        WITH ended AS (SELECT arg_max(finished_at, seq) AS at FROM runs),
        base AS NOT MATERIALIZED (SELECT * FROM findings_counted WHERE counts),
        -- In one look: what tools say of severity, the refs of each repository, the tools of each rule.
        seen AS MATERIALIZED (
            SELECT tool, severity_tool, severity_score, kind, origin, repo_id, ref, rule_id,
                   grouping(severity_tool) = 0 AS is_said, grouping(repo_id) = 0 AS is_place
            FROM base GROUP BY GROUPING SETS (
                (tool, severity_tool, severity_score, kind, origin), (repo_id, ref), (tool, kind, rule_id))
        ),
        said AS NOT MATERIALIZED (FROM seen WHERE is_said),
        rated AS MATERIALIZED ({_RATED}),
        branched AS MATERIALIZED (SELECT repo_id FROM seen WHERE is_place GROUP BY repo_id HAVING min(ref) <> max(ref)),
        agreed AS MATERIALIZED (
            SELECT kind, rule_id FROM seen WHERE NOT is_said AND NOT is_place GROUP BY kind, rule_id
            HAVING min(tool) <> max(tool)
        ),
        there AS NOT MATERIALIZED (
            SELECT finding_uid, repo_id, slug, kind, rule_id, title, path, line_start, [f.tool] AS tools,
                   [ref] AS open_refs, origin, first_seen_at, opened_at, owners, owner_from, {_FLAW} AS flaw,
                   r.severity_tool, r.severity_score, r.rank
            FROM (FROM base ANTI JOIN branched USING (repo_id) ANTI JOIN agreed USING (kind, rule_id)) f
            JOIN rated r ON {says_the_same("f", "r")} UNION ALL
            SELECT s.* EXCLUDE (place), r.severity_tool, r.severity_score, r.rank FROM (
                SELECT finding_uid, repo_id, any_value(slug), any_value(kind), any_value(rule_id), any_value(title),
                       arg_min(path, ref), arg_min(line_start, ref), {set_of("list(f.tool)")}, {set_of("list(ref)")},
                       arg_min(origin, first_seen_at), min(first_seen_at), min(opened_at), arg_min_null(owners, ref),
                       arg_min_null(owner_from, ref), max({_FLAW}), max(place) AS place
                FROM (FROM base SEMI JOIN branched USING (repo_id) UNION ALL
                      FROM base SEMI JOIN agreed USING (kind, rule_id) ANTI JOIN branched USING (repo_id)) f
                JOIN rated r ON {says_the_same("f", "r")} GROUP BY finding_uid, repo_id
            ) s JOIN rated r USING (place)
        ),
        placed AS MATERIALIZED ({_PLACED}),
        {tiers},
        counted AS NOT MATERIALIZED (
            SELECT t.*, t.owners[1] AS owner,
                   {SEVERITY_OF_RANK} AS severity, {counted_as("rank > 0")} AS counted,
                   greatest(epoch_us(ended.at) - epoch_us(t.opened_at), 0) // {_DAY_US} AS age_days
            FROM there t, ended
        ),
        scored AS NOT MATERIALIZED (
            SELECT c.* REPLACE (coalesce(c.owner, p.owner) AS owner), p.criticality, p.exposure, p.exposure_word,
                   p.phrase, t.days, t.days_before, t.exploited_at, t.tier_why,
                   greatest({case_of("c.counted", SEVERITY_POINTS)} + p.points
                       + least(c.age_days // {DAYS_A_POINT}, {MOST_AGE_POINTS}), {case_of("t.tier", TIER_SCORES)})
                       AS score
            FROM counted c JOIN placed p USING (repo_id)
            LEFT JOIN tiers t ON t.group_id = c.flaw AND t.exposure IS NOT DISTINCT FROM p.exposure
        ),
        asked AS (
            SELECT * FROM (SELECT DISTINCT kind, origin FROM said), (SELECT DISTINCT exposure_word FROM placed),
                          (SELECT unnest([{_COUNTED}]) AS severity)
        ),
        due AS NOT MATERIALIZED (
            SELECT *, {due_at("sla_days")} AS due_at FROM ({with_days("scored", "asked", "severity")})
        ),
        teamed AS ({TEAMS_BY_NAME})
        SELECT CASE {_PRIORITY} END AS priority, score, severity, kind, slug, rule_id, title, path, line_start,
               owner, criticality, exposure, age_days,
               CASE WHEN severity <> {quoted(Severity.UNKNOWN)} THEN severity || ' severity'
                    WHEN kind = 'secret' THEN 'leaked secret of ' || {_UNKNOWN_PHRASE}
                    ELSE {_UNKNOWN_PHRASE} END
                   || ', ' || phrase || ', ' || {_AGE_PHRASE}
                   || CASE WHEN tier_why IS NULL THEN '' ELSE '; CISA BOD 26-04: ' || tier_why END AS priority_why,
               sla_days, due_at, coalesce(due_at <= ended.at, false) AS is_overdue,
               CASE WHEN is_overdue THEN (epoch_us(ended.at) - epoch_us(due_at)) // {_DAY_US} END AS overdue_days,
               origin, counted AS counted_as, tools, severity_tool, severity_score, open_refs, opened_at,
               first_seen_at, finding_uid, repo_id, coalesce(owners, []) AS owners, owner_from,
               {team_of("teamed", "owner")} AS team, coalesce(champions, []) AS champions
        FROM ended, due LEFT JOIN teamed ON {in_team("teamed", "owner")}"""


RANKED = View(
    name="ranked",
    meaning="one open finding, whatever refs hold it: severity (highest known of its tools), what its repository"
    " is declared to be, days since it opened (until the newest run), score, priority (P1 is first), and why; whose it"
    " is: owner (the first of owners), owner_from (what says so), team (never null), champions (whom of it to ask)",
    sql=_ranked(_TIERS),
    without={TIERS_NEED: _ranked(_NO_TIERS)},
)

RANKED_FIRST = Saved(
    description="what to mend first, and why",
    sql="SELECT priority, score, slug, kind, rule_id, path, line_start, priority_why FROM ranked"
    " ORDER BY score DESC, slug, kind, rule_id, path, line_start, finding_uid LIMIT 100",
)
PRIORITIES_BY_OWNER = Saved(
    description="open findings by owner and priority",
    sql="SELECT owner, "
    + ", ".join(f"count(*) FILTER (priority = {quoted(p)}) AS {p}" for p in PRIORITIES)
    + ", max(age_days) AS oldest_days FROM ranked GROUP BY owner ORDER BY "
    + ", ".join(f"{p} DESC" for p in PRIORITIES)
    + ", owner",
)
BY_TEAM = Saved(
    description="open findings by team and priority, and whom of it to ask",
    sql="SELECT b.*, coalesce(t.champions, []) AS champions FROM (SELECT team, "
    + ", ".join(f"count(*) FILTER (priority = {quoted(p)}) AS {p}" for p in PRIORITIES)
    + ", count(*) AS open, max(age_days) AS oldest_days, count(DISTINCT repo_id) AS repositories"
    " FROM ranked GROUP BY team) b LEFT JOIN teams t USING (team) ORDER BY "
    + ", ".join(f"{p} DESC" for p in PRIORITIES)
    + ", team",
)
