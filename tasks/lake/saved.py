"""Saved queries: `nightwarden query --saved NAME`."""

from __future__ import annotations

from tasks.core.view_sets import Saved

#: What counts: a finding on refs that nobody watches any more does not, for nothing there would ever be fixed.
_OPEN = (
    "(SELECT * FROM findings ANTI JOIN (SELECT repo_id, ref, tool FROM scopes WHERE reason_code = 'ref_unwatched')"
    " USING (repo_id, ref, tool) WHERE is_open)"
)
#: One finding may stand on several refs.
_COUNT = "count(DISTINCT finding_uid)"

SAVED: dict[str, Saved] = {
    "open-findings": Saved(
        description="open findings by tool and severity",
        sql=f"SELECT tool, severity_tool, {_COUNT} AS findings, count(DISTINCT repo_id) AS repositories"
        f" FROM {_OPEN} GROUP BY ALL ORDER BY findings DESC",
    ),
    "top-rules": Saved(
        description="the rules with most open findings",
        sql=f"SELECT tool, rule_id, any_value(title) AS title, {_COUNT} AS findings,"
        f" count(DISTINCT repo_id) AS repositories FROM {_OPEN}"
        " GROUP BY tool, rule_id ORDER BY findings DESC LIMIT 50",
    ),
    "top-repositories": Saved(
        description="the repositories with most open findings",
        sql=f"SELECT slug, {_COUNT} AS findings, {_COUNT} FILTER (kind = 'secret') AS secrets"
        f" FROM {_OPEN} GROUP BY slug ORDER BY findings DESC LIMIT 50",
    ),
    "secrets": Saved(
        description="secrets that scans found in repositories (stored ones: secret-hygiene, secrets-unmanaged)",
        sql="SELECT any_value(slug) AS slug, any_value(rule_id) AS rule_id, arg_min(path, ref) AS path,"
        " arg_min(line_start, ref) AS line_start, max(occurrences) AS occurrences,"
        f" min(first_seen_at) AS first_seen_at FROM {_OPEN}"
        " WHERE kind = 'secret' GROUP BY finding_uid ORDER BY slug, path, rule_id, line_start",
    ),
    "secret-hygiene": Saved(
        description="what is wrong with stored secrets and their stores, with age, last use, readers and remedy",
        sql="SELECT f.slug AS store, coalesce(s.secret, f.path) AS secret, f.rule_id, f.severity_tool AS severity,"
        " s.kind, s.is_managed, s.owner, date_diff('day', s.in_force_since, now()) AS age_days, s.last_used_at,"
        " len(s.readers) AS readers, s.expires_at, f.first_seen_at, r.remedy"
        f" FROM {_OPEN} f LEFT JOIN secrets s ON s.store = f.repo_id AND s.place = f.path AND s.present"
        " LEFT JOIN scopes c ON c.repo_id = f.repo_id AND c.ref = f.ref AND c.tool = f.tool"
        " LEFT JOIN rules r ON r.tool = c.tool AND r.tool_version = c.tool_version AND r.rules_digest = c.rules_digest"
        " AND r.rule_id = f.rule_id WHERE f.kind = 'secret-hygiene'"
        " ORDER BY list_position(['critical', 'high', 'medium', 'low'], f.severity_tool), store, f.rule_id, secret",
    ),
    "secrets-unmanaged": Saved(
        description="stored secrets that no rotation is configured for, those first that most may read",
        sql="SELECT place, kind, store, owner, rotated_by, date_diff('day', in_force_since, now()) AS age_days,"
        " last_used_at, len(readers) AS readers, expires_at FROM secrets WHERE present AND NOT is_managed"
        " ORDER BY len(readers) DESC NULLS LAST, in_force_since NULLS FIRST, store, place LIMIT 1000",
    ),
    "rotations": Saved(
        description="rotations of secrets that are under way, due or failed, those first that somebody must look at",
        sql="SELECT s.secret, s.place, s.target, s.identity, s.due, s.due_at, s.state, r.until, s.reason_code,"
        " s.detail, date_diff('day', s.in_force_since, now()) AS age_days, s.looked_at FROM secrets s"
        # In a grace the value in force is the one that the rotation has made.
        " LEFT JOIN rotations r ON r.rotation_id = s.rotation_id AND r.state = 'grace' AND s.state = 'grace'"
        " WHERE s.present AND coalesce(s.is_managed, true)"
        " AND (s.state IS NOT NULL OR s.reason_code IS NOT NULL OR s.due IN ('due', 'overdue', 'unknown'))"
        " ORDER BY s.reason_code IS NULL, list_position(['overdue', 'due', 'unknown'], s.due) NULLS LAST, s.due_at,"
        " s.secret",
    ),
    "leaks": Saved(
        description="managed secrets whose value stands in a repository: state, age, and proof that it is refused",
        sql="SELECT secret, place, field, identity, state, date_diff('day', found_at, now()) AS age_days, found_at,"
        " verified_at, reason_code, detail, finding_uids, rotation_id FROM leaks"
        " ORDER BY list_position(['works', 'waiting', 'unverified', 'kept', 'decided', 'revoked'], state),"
        " found_at, secret, field",
    ),
    "gaps": Saved(
        description="what is not looked at now, and what to do",
        sql="SELECT outcome, reason_code, tool, count(*) AS count, count(DISTINCT repo_id) AS repositories,"
        " min(evidence_at) AS oldest_evidence_at, any_value(remedy) AS remedy FROM gaps_now"
        " GROUP BY ALL ORDER BY count DESC",
    ),
    "coverage": Saved(
        description="outcomes of the newest row of every scope, by tool",
        sql="SELECT tool, outcome, count(*) AS scans FROM latest GROUP BY ALL ORDER BY tool, scans DESC",
    ),
    "stale": Saved(
        description="scopes with the oldest evidence, of those that hold something to read and are not switched off",
        sql="SELECT slug, ref, tool, outcome, reason_code, evidence_at, round(age_hours, 1) AS age_hours FROM freshness"
        " WHERE outcome NOT IN ('nothing_to_read', 'skipped')"
        " ORDER BY evidence_at NULLS FIRST, slug, ref, tool LIMIT 100",
    ),
    "new": Saved(
        description="findings opened by the newest patrol and by imports since",
        sql="SELECT any_value(slug) AS slug, tool, any_value(rule_id) AS rule_id, any_value(title) AS title,"
        f" arg_min(path, ref) AS path, arg_min(line_start, ref) AS line_start FROM {_OPEN}"
        " WHERE opened_run IN (SELECT run_id FROM runs WHERE seq >= (SELECT coalesce(max(seq), 0) FROM patrols))"
        " GROUP BY finding_uid, tool ORDER BY slug, tool, path, rule_id, line_start",
    ),
    "rules": Saved(
        description="rules in force of each tool that can list them, and their open findings",
        sql="SELECT r.tool, r.tool_version, r.pack, count(DISTINCT r.rule_id) AS rules,"
        " count(DISTINCT f.rule_id) AS rules_with_findings, count(DISTINCT f.finding_uid) AS open_findings FROM rules r"
        " JOIN (SELECT DISTINCT tool, tool_version, rules_digest FROM scopes) s"
        " USING (tool, tool_version, rules_digest)"
        f" LEFT JOIN {_OPEN} f ON f.tool = r.tool AND f.rule_id = r.rule_id"
        " GROUP BY r.tool, r.tool_version, r.pack, r.rules_digest ORDER BY r.tool, r.tool_version, r.pack",
    ),
    "fixed-by-tools": Saved(
        description="findings that vanished because a rule or a tool changed, or may have",
        sql="SELECT slug, tool, rule_id, path, fixed_reason, fixed_at FROM findings WHERE status = 'fixed'"
        " AND fixed_reason IN ('rule_gone', 'tool_changed', 'code_or_tool') ORDER BY fixed_at DESC, slug, tool, path",
    ),
    "slowest": Saved(
        description="the scans that took longest",
        sql="SELECT slug, tool, cause, round(duration_s, 2) AS seconds, peak_rss_bytes // 1048576 AS peak_mb,"
        " files_read FROM scans ORDER BY duration_s DESC LIMIT 50",
    ),
}
