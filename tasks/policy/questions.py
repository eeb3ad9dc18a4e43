"""Questions that analysts keep: saved queries over the lake's views and those of the policy."""

from __future__ import annotations

from tasks.core.view_sets import Saved
from tasks.policy.declared import EXPOSURE
from tasks.policy.priority import PRIORITIES
from tasks.policy.severity import case_of, quoted
from tasks.policy.sla_over_time import ENDED, MENDED

_PRIORITIES = ", ".join(f"count(*) FILTER (priority = {quoted(p)}) AS {p}" for p in PRIORITIES)
#: Exposures by how far away those are whom they let in; any other comes last.
_FAR = {word: n for n, declared in enumerate(EXPOSURE[:2]) for word in declared.words}
_NEWEST = "(SELECT arg_max(finished_at, seq) AS at FROM runs)"
#: Open findings by how long they are open, in days.
_AGES = ((7, "up_to_7_days"), (30, "up_to_30_days"), (90, "up_to_90_days"), (365, "up_to_a_year"))


def _ages() -> str:
    least, columns = -1, []
    for most, name in _AGES:
        columns.append(f"count(*) FILTER (age_days > {least} AND age_days <= {most}) AS {name}")
        least = most
    return ", ".join([*columns, f"count(*) FILTER (age_days > {least}) AS older"])


TEAM_AGE = Saved(
    description="open findings by team and age, and how many are overdue",
    sql=f"SELECT team, count(*) AS findings, {_ages()}, count(*) FILTER (is_overdue) AS overdue,"
    " max(age_days) AS oldest_days FROM ranked GROUP BY team ORDER BY findings DESC, team",
)
#: A finding is one, whatever refs hold it: a rule does not get noisier by a branch more.
NOISY_RULES = Saved(
    description="the noisiest rules: how often people call what they find no flaw, or leave it, and what is open",
    sql="WITH several AS (SELECT repo_id FROM findings_counted GROUP BY repo_id HAVING min(ref) <> max(ref)),"
    " one AS (SELECT tool, rule_id, repo_id, title, counts AS is_open, status = 'false_positive' AS is_false,"
    f" status IN ('wont_fix', 'accepted') AS is_left, status IN {ENDED} AS is_fixed,"
    f" fixed_reason IN {MENDED} AS is_mended FROM findings_counted ANTI JOIN several USING (repo_id) UNION ALL"
    " SELECT tool, rule_id, repo_id, any_value(title), bool_or(counts), bool_or(status = 'false_positive'),"
    f" bool_or(status IN ('wont_fix', 'accepted')), bool_and(status IN {ENDED}),"
    f" bool_or(fixed_reason IN {MENDED})"
    " FROM findings_counted SEMI JOIN several USING (repo_id) GROUP BY finding_uid, repo_id, tool, rule_id)"
    " SELECT tool, rule_id, any_value(title) AS title, count(*) FILTER (is_false) AS false_positives,"
    " count(*) FILTER (is_left) AS left_standing, count(*) FILTER (is_open) AS open,"
    " count(*) FILTER (is_fixed AND is_mended) AS mended,"
    " round(100.0 * false_positives / count(*), 1) AS percent_false,"
    " count(DISTINCT repo_id) AS repositories FROM one GROUP BY tool, rule_id"
    " ORDER BY false_positives DESC, left_standing DESC, open DESC, tool, rule_id LIMIT 50",
)
REOPENED = Saved(
    description="open findings that were fixed once and came back, the oftenest first",
    sql="SELECT any_value(slug) AS slug, f.tool, any_value(rule_id) AS rule_id, arg_min(f.path, f.ref) AS path,"
    " arg_min(line_start, f.ref) AS line_start, max(times) AS times, min(f.opened_at) AS opened_at,"
    " min(f.first_seen_at) AS first_seen_at, finding_uid"
    " FROM findings_counted f JOIN ("
    "SELECT finding_uid, ref, tool, count(*) AS times FROM finding_events"
    " WHERE status_before = 'fixed' AND status = 'reopened' GROUP BY ALL) e USING (finding_uid, ref, tool)"
    " WHERE counts GROUP BY finding_uid, f.tool ORDER BY times DESC, slug, rule_id, path, finding_uid LIMIT 1000",
)
SECRETS_BY_AGE = Saved(
    description="open secrets, the longest open first; values are never stored",
    sql="SELECT age_days, due_at, is_overdue, slug, owner, rule_id, path, line_start, origin, finding_uid FROM ranked"
    " WHERE kind = 'secret' ORDER BY age_days DESC, slug, rule_id, path, line_start, finding_uid LIMIT 1000",
)
NEW_SINCE = Saved(
    description="findings that opened since a date and are open (--since; else seven days before the newest run)",
    sql="SELECT opened_at, origin, priority, severity, slug, owner, kind, rule_id, path, line_start, finding_uid"
    f" FROM ranked, {_NEWEST} ended WHERE opened_at >= coalesce(getvariable('since'), ended.at - to_days(7))"
    " ORDER BY opened_at DESC, score DESC, slug, rule_id, path, line_start, finding_uid LIMIT 1000",
)
EXPIRING = Saved(
    description="decisions in force that end within 60 days, with what then opens again",
    sql="SELECT d.decision_id, d.kind, d.expires, count(f.finding_uid) AS findings,"
    " count(DISTINCT f.repo_id) AS repositories, d.decided_by, d.approver, d.reason FROM decisions_now d"
    f" LEFT JOIN findings f ON f.decision_id = d.decision_id, {_NEWEST} ended"
    " WHERE d.state IN ('in_force', 'over_count') AND d.expires <= strftime(ended.at + to_days(60), '%Y-%m-%d')"
    " GROUP BY ALL ORDER BY d.expires, d.decision_id",
)
EXPOSED = Saved(
    description="the most exposed repositories: by who reaches them, then by the scores of what is open",
    sql="SELECT slug, exposure, criticality, owner, sum(score) AS score, count(*) AS findings,"
    f" {_PRIORITIES}, count(*) FILTER (kind = 'secret') AS secrets, count(*) FILTER (is_overdue) AS overdue"
    " FROM ranked GROUP BY repo_id, slug, exposure, criticality, owner ORDER BY"
    f" coalesce({case_of('lower(trim(exposure))', _FAR)}, 2), score DESC, slug LIMIT 100",
)
QUESTIONS = {
    "team-age": TEAM_AGE,
    "noisy-rules": NOISY_RULES,
    "reopened": REOPENED,
    "secrets-by-age": SECRETS_BY_AGE,
    "new-since": NEW_SINCE,
    "expiring-decisions": EXPIRING,
    "exposed-repositories": EXPOSED,
}
