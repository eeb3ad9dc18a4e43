"""What a report asks the lake: one query for each of its parts, over the lake's views and those of policy.

Each costs what is there now, not what was ever there; only the trend reads events, of a year at most.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from tasks.core.view_sets import ViewSet
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.policy.dependency_priority import is_assessed
from tasks.policy.owners import TEAMS_BY_NAME, in_team, team_of
from tasks.policy.severity import SEVERITY_OF_RANK, ranks_of, says_the_same
from tasks.policy.sla_over_time import ENDED, MENDED

#: More rows of history than this are left out of a report, which then says so.
MOST_EVENTS = 50_000
_MOST_PLACES = 20
#: Of the packages that a flaw is in, so many are named with what mends them.
_MOST_STEPS = 10
#: Of what ended, so much is listed.
MOST_GONE = 500
_OWNER = "nullif(trim(r.owner), '')"
_DECIDED = "('accepted', 'false_positive', 'wont_fix')"
_OPEN = "('open', 'reopened')"


def _worst(of: str) -> str:
    """(finding_uid, repo_id, severity): the highest known of a finding's tools, over the relation ``of``."""
    return (
        f"SELECT finding_uid, repo_id, {SEVERITY_OF_RANK} AS severity FROM ("
        f"SELECT t.finding_uid, t.repo_id, max(r.rank) AS rank FROM {of} t JOIN ({ranks_of(of)}) r"
        f" ON {says_the_same('t', 'r')} GROUP BY ALL)"
    )


def findings(snapshot: Snapshot, policy: ViewSet, since_seq: int) -> pa.Table:
    """Open findings, then those that a decision took out; the gravest first. ``is_new``: opened since that run."""
    return arrow_of(
        snapshot,
        f"""
        WITH facts AS (
            SELECT finding_uid, repo_id, max(occurrences) AS occurrences, any_value(commit) AS commit,
                   any_value(resource) AS resource, any_value(line_end) AS line_end,
                   any_value(advisories) AS advisories, any_value(decision_id) AS decision_id,
                   min(decided_until) AS decided_until, any_value(moved_from) AS moved_from,
                   bool_or(is_open AND opened_run IN (SELECT run_id FROM runs WHERE seq >= {since_seq})) AS is_new
            FROM findings WHERE scan_status IN {_OPEN} GROUP BY ALL
        ),
        told AS (SELECT * FROM findings WHERE status IN {_DECIDED}),
        decided AS (
            SELECT o.finding_uid, o.repo_id, NULL AS priority, -1 AS score, w.severity, o.kind, o.slug, o.rule_id,
                   o.title, o.path, o.line_start, coalesce(o.owner, r.owner) AS owner, NULL AS priority_why, o.tools,
                   list_sort(list_distinct(t.refs)) AS refs, t.opened_at, o.first_seen_at, o.status, o.origin,
                   m.team
            FROM findings_over_refs o JOIN ({_worst("told")}) w USING (finding_uid, repo_id)
            JOIN (SELECT finding_uid, repo_id, list(ref) AS refs, min(opened_at) AS opened_at FROM told GROUP BY ALL) t
            USING (finding_uid, repo_id) LEFT JOIN repositories r USING (repo_id)
            JOIN ({_team_of_findings()}) m USING (finding_uid)
            WHERE o.status IN {_DECIDED}
        ),
        there AS (
            SELECT r.finding_uid, r.repo_id, priority, score, severity, r.kind, r.slug, r.rule_id, r.title, r.path,
                   r.line_start, r.owner, priority_why, r.tools, r.open_refs AS refs, r.opened_at, r.first_seen_at,
                   o.status, o.origin, r.due_at, r.is_overdue, r.overdue_days, r.team, r.champions, r.owner_from
            FROM ranked r JOIN (SELECT finding_uid, repo_id, status, origin FROM findings_over_refs) o
            USING (finding_uid, repo_id)
        )
        SELECT a.*, coalesce(f.occurrences, 1) AS occurrences, f.commit, f.resource, f.line_end,
               f.advisories, f.decision_id, f.decided_until, f.moved_from,
               coalesce(f.is_new AND a.status IN {_OPEN}, false) AS is_new
        FROM (SELECT * FROM there UNION ALL BY NAME SELECT * FROM decided) a
        LEFT JOIN facts f USING (finding_uid, repo_id)
        ORDER BY score DESC, slug, path, line_start, rule_id, finding_uid""",
        policy,
    )


def gaps(snapshot: Snapshot) -> pa.Table:
    """Everything that is not looked at, by reason."""
    return arrow_of(
        snapshot,
        "SELECT repo_id, slug, ref, tool, outcome, coalesce(reason_code, outcome) AS reason_code, path, detail,"
        " evidence_at, coalesce(meaning, '') AS meaning, coalesce(remedy, '') AS remedy FROM gaps_now"
        " ORDER BY reason_code, slug, tool, ref, path, detail",
    )


def scopes(snapshot: Snapshot) -> pa.Table:
    """Each (repository, ref, tool): how the last look ended and how old the evidence is."""
    return arrow_of(
        snapshot,
        "SELECT repo_id, f.slug, f.ref, f.tool, f.outcome, f.reason_code, f.evidence_at, f.age_hours, f.tool_version,"
        " f.commit, s.detail FROM freshness f JOIN scopes s USING (repo_id, ref, tool)"
        " ORDER BY f.evidence_at NULLS FIRST, f.slug, f.tool, f.ref",
    )


def repositories(snapshot: Snapshot) -> pa.Table:
    """What exists, by name, with the kind of the source it is from and the team of its owner."""
    return arrow_of(
        snapshot,
        f"SELECT r.*, d.kind AS source_kind, {team_of('t', _OWNER)} AS team"
        f" FROM repositories r LEFT JOIN ({TEAMS_BY_NAME}) t ON {in_team('t', _OWNER)}"
        " LEFT JOIN (SELECT source, arg_max(kind, seq) AS kind FROM discoveries JOIN runs USING (run_id) GROUP BY 1) d"
        " USING (source) ORDER BY r.slug, r.repo_id",
    )


def teams(snapshot: Snapshot) -> pa.Table:
    """Each team of org.yaml with its champions."""
    return arrow_of(snapshot, "SELECT team, champions FROM teams WHERE is_present ORDER BY place")


def rules(snapshot: Snapshot) -> pa.Table:
    """What is known of each rule that open findings name: by the tool's own list, else by what it said of a finding;
    and which versions mend a vulnerable dependency."""
    return arrow_of(
        snapshot,
        f"""
        WITH named AS (SELECT DISTINCT tool, rule_id FROM findings WHERE scan_status IN {_OPEN}),
        listed AS (
            SELECT tool, rule_id, cwe, remedy, url FROM rules r LEFT JOIN runs n ON n.run_id = r.first_run
            QUALIFY row_number() OVER (PARTITION BY tool, rule_id ORDER BY n.seq DESC NULLS LAST, tool_version DESC) = 1
        ),
        seen AS (
            SELECT o.tool, o.rule_id, any_value(o.url) AS url,
                   any_value(nullif(regexp_extract(o.extra, '"cwe": ?"([A-Z0-9 -]+)"', 1), '')) AS cwe
            FROM observations o SEMI JOIN scopes s ON s.result_name = o.result_name
            WHERE o.part IN (SELECT result_part FROM scopes) GROUP BY ALL
        ),
        steps AS (
            SELECT rule_id, list_sort(list(step)) AS steps FROM (
                SELECT DISTINCT group_id AS rule_id,
                       coalesce(package || ' to ' || fixed_version, package || ' (no fixed version is named)') AS step
                FROM vulnerabilities WHERE present
            ) GROUP BY rule_id
        ),
        mended AS (
            SELECT rule_id, 'Raise ' || array_to_string(steps[:{_MOST_STEPS}], ', ')
                   || CASE WHEN len(steps) > {_MOST_STEPS} THEN ' and others' ELSE '' END
                   || ': the lowest versions, above those in use, that the advisory is not about.' AS remedy FROM steps
        )
        SELECT n.tool, n.rule_id, coalesce(l.cwe, s.cwe) AS cwe, coalesce(l.remedy, m.remedy) AS remedy,
               coalesce(l.url, s.url) AS url
        FROM named n LEFT JOIN listed l USING (tool, rule_id) LEFT JOIN seen s USING (tool, rule_id)
        LEFT JOIN mended m ON m.rule_id = n.rule_id AND {is_assessed("n.tool")}""",
    )


def places(snapshot: Snapshot) -> pa.Table:
    """The places of findings that have several: at most some of each, with their number in ``findings.occurrences``."""
    return arrow_of(
        snapshot,
        f"""
        WITH several AS (
            SELECT f.finding_uid, f.anchor_uid, s.result_name, s.result_part FROM findings f
            JOIN scopes s USING (repo_id, ref, tool) WHERE f.occurrences > 1 AND f.scan_status IN {_OPEN}
        )
        SELECT finding_uid, place FROM (
            SELECT DISTINCT s.finding_uid,
                   o.path || coalesce(':' || o.line_start, '') || coalesce(' @ ' || left(o.commit, 12), '') AS place
            FROM observations o JOIN several s USING (result_name, anchor_uid)
            WHERE o.path IS NOT NULL AND o.part IN (SELECT result_part FROM several)
        ) QUALIFY row_number() OVER (PARTITION BY finding_uid ORDER BY place) <= {_MOST_PLACES}
        ORDER BY finding_uid, place""",
    )


def twins(snapshot: Snapshot) -> pa.Table:
    """Findings that are one flaw, seen by several tools or rules: (finding_uid, flaw_uid)."""
    return arrow_of(
        snapshot, "SELECT unnest(finding_uids) AS finding_uid, flaw_uid FROM flaws WHERE len(finding_uids) > 1"
    )


def decisions(snapshot: Snapshot) -> pa.Table:
    """What became of each decision."""
    return arrow_of(snapshot, "SELECT * FROM decisions_now ORDER BY decision_id")


def events(snapshot: Snapshot) -> pa.Table:
    """The history of what is there and has more of it than its first sighting, oldest first; at most one row more than
    ``MOST_EVENTS``."""
    return arrow_of(
        snapshot,
        f"""
        WITH there AS (SELECT DISTINCT finding_uid FROM findings WHERE scan_status IN {_OPEN}),
        told AS (SELECT e.* FROM finding_events e SEMI JOIN there USING (finding_uid)),
        lively AS (SELECT finding_uid FROM told GROUP BY finding_uid HAVING count(DISTINCT seq) > 1)
        SELECT t.finding_uid, t.event_at, t.ref, t.tool, t.status_before, t.status, t.cause, t.commit, t.decision_id
        FROM told t SEMI JOIN lively USING (finding_uid)
        ORDER BY finding_uid, seq, ref, tool LIMIT {MOST_EVENTS + 1}""",
    )


def gone(snapshot: Snapshot, since_seq: int) -> pa.Table:
    """What was open and is not since a run: a row a finding with its cause."""
    return arrow_of(
        snapshot,
        f"""
        WITH gone AS (
            SELECT finding_uid, repo_id, arg_max(slug, seq) AS slug, arg_max(path, seq) AS path,
                   arg_max(status, seq) AS status, arg_max(cause, seq) AS cause
            FROM finding_events WHERE seq >= {since_seq} AND part >= (
                SELECT strftime(make_timestamp(epoch_us(least(min(started_at), min(finished_at)))), '%Y-%m')
                FROM runs WHERE seq >= {since_seq})
            GROUP BY finding_uid, repo_id HAVING arg_min(coalesce(status_before, 'none'), seq) IN {_OPEN}
        )
        SELECT g.*, f.rule_id, f.title, f.tool, f.owner, coalesce(c.meaning, '') AS meaning
        FROM gone g
        ANTI JOIN (SELECT finding_uid FROM findings_counted WHERE counts) k ON k.finding_uid = g.finding_uid
        JOIN (SELECT finding_uid, any_value(rule_id) AS rule_id, any_value(title) AS title, any_value(tool) AS tool,
                     any_value(r.owner) AS owner
              FROM findings LEFT JOIN repositories r USING (repo_id) GROUP BY finding_uid) f
        ON f.finding_uid = g.finding_uid
        LEFT JOIN causes c USING (cause) ORDER BY g.cause, g.slug, g.path, g.finding_uid""",
    )


def _team_of_findings() -> str:
    """(finding_uid, team) of every finding, open or not: of the first who answers for its path, else its repository."""
    return f"""
        SELECT finding_uid, {team_of("t", "o.owner")} AS team FROM (
            SELECT finding_uid, coalesce(any_value(f.owners[1]), nullif(trim(any_value(r.owner)), '')) AS owner
            FROM findings f LEFT JOIN repositories r USING (repo_id) GROUP BY 1
        ) o LEFT JOIN ({TEAMS_BY_NAME}) t ON {in_team("t", "o.owner")}"""


def overdue(snapshot: Snapshot, policy: ViewSet, chosen: pa.Table, team: str | None) -> pa.Table:
    """The view ``sla_trend`` of some repositories (``chosen``: repo_id), and of one team if it is named: the view's own
    SQL over those findings and events alone. Whose what is gone was is told as in ``trend``."""
    (view,) = (v for v in policy.views if v.name == "sla_trend")
    of_team = f"""
        SEMI JOIN (
            SELECT m.finding_uid FROM ({_team_of_findings()}) m LEFT JOIN temp.ranked k USING (finding_uid)
            SEMI JOIN asked a ON a.team = coalesce(k.team, m.team)
        ) mine USING (finding_uid)"""
    return arrow_of(
        snapshot,
        f"""
        WITH finding_events AS (
            SELECT * FROM temp.finding_events SEMI JOIN chosen USING (repo_id) {of_team if team is not None else ""}
        ),
        ranked AS (
            SELECT * FROM temp.ranked SEMI JOIN chosen USING (repo_id)
            {"SEMI JOIN asked USING (team)" if team is not None else ""}
        )
        SELECT * FROM ({view.over(snapshot.is_empty)})""",
        policy,
        chosen=chosen,
        asked=pa.table({"team": pa.array([team], pa.string())}),
    )


def trend(snapshot: Snapshot, policy: ViewSet, start: datetime, chosen: pa.Table) -> pa.Table:
    """By day, team and severity: how many findings were there at a first look, opened later, were fixed, and ended
    otherwise (decided, archived, or gone because of a tool).

    A finding is one, whatever scopes hold it: it opens with the first and ends with the last. Of refs that are watched
    now. ``chosen`` are the repositories (repo_id). What is open belongs to whom ``ranked`` says, what ended to whom its
    row of ``findings`` or its repository names.
    """
    return arrow_of(
        snapshot,
        f"""
        WITH unwatched AS (SELECT repo_id, ref, tool FROM scopes WHERE reason_code = 'ref_unwatched'),
        steps AS (
            SELECT finding_uid, seq, min(event_at) AS told_at, any_value(status) AS status,
                   bool_or(cause = 'first_scan') AS is_first,
                   bool_or(cause IN {MENDED}) AS is_mended,
                   sum((status IN {_OPEN})::INT - coalesce(status_before IN {_OPEN}, false)::INT) AS step
            FROM finding_events ANTI JOIN unwatched USING (repo_id, ref, tool) SEMI JOIN chosen USING (repo_id)
            WHERE part >= '{start:%Y-%m}' AND epoch_us(event_at) >= {int(start.timestamp() * 1e6)}
            GROUP BY finding_uid, seq HAVING step <> 0
        ),
        now AS (
            SELECT finding_uid, count(*) FILTER (counts) AS n FROM findings_counted
            SEMI JOIN steps USING (finding_uid) GROUP BY 1
        ),
        told AS (
            SELECT s.*, n.n - coalesce(sum(step) OVER (PARTITION BY finding_uid ORDER BY seq DESC
                       ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS held
            FROM steps s JOIN now n USING (finding_uid)
        ),
        turned AS (
            SELECT finding_uid, told_at, CASE
                WHEN held > 0 AND held - step <= 0 THEN CASE WHEN is_first THEN 'first' ELSE 'opened' END
                WHEN held <= 0 AND held - step > 0
                THEN CASE WHEN status IN {ENDED} AND is_mended THEN 'fixed' ELSE 'other' END END AS turn
            FROM told
        )
        SELECT make_timestamp(epoch_us(t.told_at))::DATE AS day, coalesce(k.team, m.team) AS team, w.severity,
               count(*) FILTER (turn = 'first') AS first, count(*) FILTER (turn = 'opened') AS opened,
               count(*) FILTER (turn = 'fixed') AS fixed,
               count(*) FILTER (turn = 'other') AS other
        FROM turned t JOIN ({_worst("findings")}) w USING (finding_uid)
        JOIN ({_team_of_findings()}) m USING (finding_uid)
        LEFT JOIN (SELECT finding_uid, team FROM ranked) k USING (finding_uid)
        WHERE turn IS NOT NULL GROUP BY ALL ORDER BY ALL""",
        policy,
        chosen=chosen,
    )
