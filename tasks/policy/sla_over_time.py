"""How the SLA was kept: what was open and overdue week by week, and how long mending took, month by month.

Both are told from the newest run backwards: what stands now, less what has happened since. So the last point of the
trend is what ``ranked`` says, and only events of the time that is shown are read. An event says its finding's severity
as its own tool gave it then; the SLA is the one in force now, and what is known of a dependency's flaw is what is known
now.
"""

from __future__ import annotations

from tasks.core.view_sets import Saved, View, few
from tasks.policy.declared import EXPOSURE, relation_of, word_of
from tasks.policy.dependency_priority import NO_TIERS, TIERS_NEED, flaw_of, tiers_of
from tasks.policy.priority import counted_as
from tasks.policy.severity import RANKS, SEVERITY_OF_RANK, case_of, ranks_of, says_the_same
from tasks.policy.sla import due_at, with_days

#: Weeks that the trend goes back, and months of ``sla_kept``.
TREND_WEEKS, KEPT_MONTHS = 52, 12
_WEEK_US = 7 * 86_400_000_000
_OPEN = "('open', 'reopened')"
#: Causes that say that the flaw was mended, in the code or (a secret) where it was accepted, and nothing else; and the
#: statuses of what ended so.
MENDED = "('code_changed', 'file_gone', 'revoked')"
ENDED = "('fixed', 'revoked')"


#: What decides an event's severity and days: there are few of them, however many events, and each is looked up once.
_SAID = ("kind", "repo_id", "tool", "severity_tool", "severity_score", "origin", "flaw")
_FLAW = f"{flaw_of('finding_events')} AS flaw"


_TIERS = f"""flawed AS MATERIALIZED (SELECT DISTINCT flaw AS group_id, exposure FROM told WHERE flaw IS NOT NULL),
        tiers AS MATERIALIZED ({few(tiers_of("flawed"))})"""
_NO_TIERS = f"tiers AS ({NO_TIERS})"


def _dated(moves: str, tiers: str) -> str:
    """CTEs that end in ``dated``: the events of the relation ``moves`` with their severity, as it counts, and days.

    ``tiers`` are CTEs that end in ``tiers``.
    """
    rated = f"SELECT * EXCLUDE (rank), {SEVERITY_OF_RANK} AS severity FROM ({ranks_of('said')})"
    placed = (
        f"SELECT r.repo_id, r.exposure, {word_of('exposure')} AS exposure_word FROM repositories r"
        f" LEFT JOIN {relation_of(EXPOSURE)} e ON e.word = lower(trim(r.exposure))"
    )
    return f"""
        ended AS (SELECT arg_max(finished_at, seq) AS at FROM runs),
        moves AS NOT MATERIALIZED ({moves}),
        said AS MATERIALIZED (SELECT DISTINCT {", ".join(_SAID)} FROM moves),
        rated AS MATERIALIZED ({few(rated)}),
        placed AS MATERIALIZED ({few(placed)}),
        told AS (
            SELECT s.*, r.severity, p.exposure, p.exposure_word, {counted_as("severity <> 'unknown'")} AS counted
            FROM said s JOIN rated r ON {says_the_same("s", "r")} LEFT JOIN placed p USING (repo_id)
        ),
        {tiers},
        ruled AS (
            SELECT w.*, t.days, t.days_before, t.exploited_at FROM ({with_days("told", "told", "counted")}) w
            LEFT JOIN tiers t ON t.group_id = w.flaw AND t.exposure IS NOT DISTINCT FROM w.exposure
        ),
        known AS MATERIALIZED ({few("FROM ruled")}),
        dated AS (
            SELECT m.*, k.severity, k.sla_days, {due_at("sla_days")} AS due_at
            FROM moves m JOIN known k ON {" AND ".join(f"k.{c} IS NOT DISTINCT FROM m.{c}" for c in _SAID)}
        )"""


def _trend(tiers: str) -> str:
    # A point lies n weeks before the newest run. What happened k weeks ago, rounded down, has not happened yet at
    # points after k; what was due m weeks ago was overdue at points up to m.
    return f"""
        WITH {
        _dated(
            f'''
            SELECT kind, repo_id, tool, severity_tool, severity_score, origin, {_FLAW}, opened_at, event_at,
                   CASE WHEN status IN {_OPEN} THEN 1 ELSE -1 END AS delta
            FROM finding_events, ended
            WHERE event_at > ended.at - to_days({7 * TREND_WEEKS})
            AND (coalesce(status_before, '') IN {_OPEN}) <> (status IN {_OPEN})
            AND open_scopes = CASE WHEN status IN {_OPEN} THEN 1 ELSE 0 END''',
            tiers,
        )
    },
        changes AS (
            SELECT severity, sum(delta) AS findings,
                   greatest(epoch_us(ended.at) - epoch_us(event_at), 0) // {_WEEK_US} AS happened,
                   CASE WHEN due_at <= ended.at THEN (epoch_us(ended.at) - epoch_us(due_at)) // {_WEEK_US}
                        ELSE -1 END AS due
            FROM dated, ended GROUP BY ALL
        ),
        standing AS (
            SELECT severity, count(*) AS findings,
                   CASE WHEN due_at <= ended.at THEN (epoch_us(ended.at) - epoch_us(due_at)) // {_WEEK_US}
                        ELSE -1 END AS due
            FROM ranked, ended GROUP BY ALL
        ),
        points AS (
            SELECT s.severity, n.weeks_ago
            FROM (SELECT severity FROM standing UNION SELECT severity FROM changes) s,
                 (SELECT unnest(range({TREND_WEEKS + 1})) AS weeks_ago) n
            WHERE n.weeks_ago * {_WEEK_US} <= (
                SELECT greatest(epoch_us(arg_max(finished_at, seq)) - epoch_us(min(finished_at)), 0) FROM runs
            )
        )
        SELECT ended.at - to_days((7 * p.weeks_ago)::INTEGER) AS day, p.severity,
               coalesce((SELECT sum(findings) FROM standing s WHERE s.severity = p.severity), 0)::BIGINT
               - coalesce((SELECT sum(findings) FROM changes c WHERE c.severity = p.severity
                           AND c.happened < p.weeks_ago), 0)::BIGINT AS open,
               coalesce((SELECT sum(findings) FROM standing s WHERE s.severity = p.severity
                         AND s.due >= p.weeks_ago), 0)::BIGINT
               - coalesce((SELECT sum(findings) FROM changes c WHERE c.severity = p.severity
                           AND c.happened < p.weeks_ago AND c.due >= p.weeks_ago), 0)::BIGINT AS overdue
        FROM points p, ended"""


SLA_TREND = View(
    name="sla_trend",
    meaning=f"one severity at one point of time, weekly for {TREND_WEEKS} weeks until the newest run: how many findings"
    " were open, and how many of them overdue by the SLA in force now",
    sql=_trend(_TIERS),
    without={TIERS_NEED: _trend(_NO_TIERS)},
)


def _kept(tiers: str) -> str:
    return f"""
        WITH {
        _dated(
            f'''
            SELECT kind, repo_id, tool, severity_tool, severity_score, origin, {_FLAW}, opened_at, event_at,
                   open_s, part
            FROM finding_events, ended
            WHERE part >= strftime(ended.at - to_months({KEPT_MONTHS - 1}), '%Y-%m')
            AND status IN {ENDED} AND cause IN {MENDED} AND status_before IN {_OPEN} AND open_scopes = 0''',
            tiers,
        )
    }
        SELECT part AS month, severity, count(*) AS mended,
               count(*) FILTER (due_at IS NULL OR event_at <= due_at) AS in_time,
               avg(open_s) / 86400 AS mean_days, median(open_s) / 86400 AS median_days
        FROM dated GROUP BY ALL"""


SLA_KEPT = View(
    name="sla_kept",
    meaning=f"one severity in one month (UTC), for {KEPT_MONTHS} months: findings that were mended, how many in"
    " time, and the days that took; what a rule, a tool or an archive took away counts nowhere",
    sql=_kept(_TIERS),
    without={TIERS_NEED: _kept(_NO_TIERS)},
)

_BY_WORST = f"{case_of('severity', {s: -n for s, n in RANKS.items()})}"
BREACHES = Saved(
    description="open findings past their date (SLA), the longest overdue of the worst first",
    sql="SELECT priority, severity, overdue_days, due_at, sla_days, origin, slug, owner, kind, rule_id, path,"
    " line_start, finding_uid FROM ranked WHERE is_overdue"
    f" ORDER BY {_BY_WORST}, overdue_days DESC, slug, rule_id, path, line_start, finding_uid LIMIT 1000",
)
DUE_SOON = Saved(
    description="open findings due within 14 days, the first first",
    sql="SELECT due_at, priority, severity, slug, owner, kind, rule_id, path, line_start, finding_uid FROM ranked,"
    " (SELECT arg_max(finished_at, seq) AS at FROM runs) ended"
    " WHERE NOT is_overdue AND due_at <= ended.at + to_days(14)"
    " ORDER BY due_at, slug, rule_id, path, line_start, finding_uid LIMIT 1000",
)
TREND = Saved(
    description="open and overdue findings week by week, by severity",
    sql=f"SELECT day, severity, open, overdue FROM sla_trend ORDER BY day DESC, {_BY_WORST}",
)
KEPT = Saved(
    description="MTTR by month: findings whose code was mended, how many in time, mean and median days",
    sql="SELECT month, severity, mended, in_time, round(100.0 * in_time / mended, 1) AS percent_in_time,"
    " round(mean_days, 1) AS mean_days, round(median_days, 1) AS median_days"
    f" FROM sla_kept ORDER BY month DESC, {_BY_WORST}",
)
