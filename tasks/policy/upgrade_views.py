"""Steps for people: the step that mends each flaw, what each change clears across the organisation, what is outdated.

A change is one package raised in one repository, for that is what somebody has to review and merge. Changes are in
order of the risk that each clears (``risk_per_change``), not of their sum: many repositories are many reviews, and who
can do few of them does those first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tasks.core.view_sets import Saved, View

_PLACE = "repo_id, ref, manifest, ecosystem, package, version, group_id"
FIXES = View(
    name="fixes",
    meaning="one flaw of one version of a package of a manifest, with the step that mends it, or why none does",
    sql=f"""
        WITH flaws AS (
            SELECT {_PLACE}, any_value(slug) AS slug, any_value(purl) AS purl, min(line) AS line,
                   any_value(finding_uid) AS finding_uid, list_sort(list(advisory_id)) AS advisories,
                   max(cvss_score) AS cvss_score, arg_min(summary, advisory_id) AS summary,
                   bool_or(is_direct) AS is_direct, bool_and(is_development) AS is_development,
                   any_value(way) AS way, any_value(through) AS through, min(first_seen_at) AS first_seen_at
            FROM vulnerable GROUP BY {_PLACE}
        )
        SELECT f.slug, f.ref, f.manifest, f.line, f.ecosystem, f.package, f.version, f.group_id, f.advisories,
               f.summary, f.cvss_score, f.is_direct, f.is_development, u.outcome, u.to_version,
               coalesce(list_contains(u.cleared, f.group_id), false) AS is_cleared, u.reason, f.way, f.through,
               u.step, u.is_breaking, u.releases_skipped, u.days_behind, u.newest, u.word, u.unjudged, u.basis,
               u.reason_code, u.asked_at, f.first_seen_at, f.purl, f.finding_uid, f.repo_id
        FROM flaws f LEFT JOIN (FROM upgrades WHERE present) u USING (ecosystem, package, version)""",
)
_SENTENCE = """'raising ' || package || ' to ' || to_version || ' in ' || repositories
    || CASE repositories WHEN 1 THEN ' repository' ELSE ' repositories' END || ' clears ' || findings
    || CASE findings WHEN 1 THEN ' finding' ELSE ' findings' END
    || coalesce(' (' || nullif(concat_ws('; ',
        CASE WHEN is_breaking THEN 'a breaking step' END,
        CASE WHEN remaining > 0 THEN remaining || ' remain' END,
        CASE WHEN transitive > 0 THEN 'in ' || transitive || ' it comes through others' END,
        'its registry speaks against it: ' || left(word, 120),
        CASE WHEN len(unjudged) > 0 THEN 'nobody can tell whether ' || len(unjudged) || CASE len(unjudged)
            WHEN 1 THEN ' more advisory is about it' ELSE ' more advisories are about it' END END,
        CASE WHEN NOT is_checked THEN 'not checked with a registry' END), '') || ')', '')"""
CHANGES = View(
    name="changes",
    meaning="one package raised to one version wherever that clears open findings, with the sentence; ordered by"
    " risk_per_change, risk, findings it tells what to do first",
    sql=f"""
        WITH counted AS MATERIALIZED (SELECT repo_id, finding_uid, risk FROM vulnerable_ranked),
        flaws AS (
            SELECT ecosystem, package, to_version, repo_id, finding_uid, any_value(slug) AS slug,
                   list(version) AS versions, bool_or(is_cleared) AS is_cleared,
                   bool_or(NOT is_cleared) AS is_left,
                   bool_or(is_cleared AND is_breaking IS NOT FALSE) AS is_breaking, bool_and(basis = 'registry')
                   AS is_checked, any_value(word) AS word, any_value(unjudged) AS unjudged,
                   bool_or(is_cleared AND is_direct) AS is_asked, bool_or(is_cleared AND NOT is_direct)
                   AS is_brought
            FROM fixes SEMI JOIN counted USING (repo_id, finding_uid)
            WHERE to_version IS NOT NULL GROUP BY ecosystem, package, to_version, repo_id, finding_uid
        ),
        raised AS (
            SELECT ecosystem, package, to_version, repo_id, any_value(slug) AS slug,
                   flatten(list(versions) FILTER (is_cleared)) AS versions,
                   count(*) FILTER (is_cleared) AS findings, count(*) FILTER (is_left) AS remaining,
                   coalesce(sum(r.risk) FILTER (is_cleared), 0) AS risk, bool_or(is_breaking) AS is_breaking,
                   bool_and(is_checked) AS is_checked, any_value(word) AS word, any_value(unjudged) AS unjudged,
                   coalesce(bool_or(is_brought), false) AND NOT coalesce(bool_or(is_asked), false) AS is_transitive
            FROM flaws JOIN counted r USING (repo_id, finding_uid) GROUP BY ALL
        ),
        told AS (
            SELECT ecosystem, package, to_version,
                   list_sort(list_distinct(flatten(list(versions)))) AS versions,
                   count(*) FILTER (findings > 0) AS repositories,
                   list_sort(list(slug) FILTER (findings > 0)) AS slugs,
                   sum(findings)::BIGINT AS findings, sum(remaining)::BIGINT AS remaining,
                   sum(risk) AS risk, bool_or(is_breaking) AS is_breaking, bool_and(is_checked) AS is_checked,
                   any_value(word) AS word, any_value(unjudged) AS unjudged,
                   count(*) FILTER (is_transitive) AS transitive
            FROM raised GROUP BY ecosystem, package, to_version HAVING sum(findings) > 0
        )
        SELECT risk / repositories AS risk_per_change, risk, repositories, findings, ecosystem, package, to_version,
               versions, is_breaking, remaining, transitive, is_checked, word, unjudged, {_SENTENCE} AS sentence, slugs
        FROM told""",
)
OUTDATED = View(
    name="outdated",
    meaning="one version in use that is not the newest, was withdrawn, that its registry speaks against, or of which"
    " nobody could tell; of packages that projects ask for themselves or that are vulnerable",
    sql="""
        SELECT r.ecosystem, r.package, r.version,
               CASE WHEN r.is_withdrawn THEN 'withdrawn'
                    WHEN coalesce(r.word, r.package_word) IS NOT NULL THEN 'deprecated'
                    WHEN r.newest IS NOT NULL THEN 'outdated' ELSE 'unknown' END AS state,
               r.newest, r.releases_behind, r.days_behind, coalesce(r.word, r.package_word) AS word,
               coalesce(i.repositories, 0) AS repositories, coalesce(i.slugs, []) AS slugs, r.reason_code, w.meaning,
               r.asked_at
        FROM releases r
        LEFT JOIN (
            SELECT ecosystem, package, version, count(DISTINCT repo_id) AS repositories,
                   list_sort(list(DISTINCT slug)) AS slugs FROM inventory GROUP BY ecosystem, package, version
        ) i USING (ecosystem, package, version)
        LEFT JOIN reasons w ON w.code = r.reason_code
        WHERE r.present AND (r.newest IS NOT NULL OR r.is_withdrawn OR r.word IS NOT NULL
                             OR r.package_word IS NOT NULL OR r.reason_code IS NOT NULL)""",
)
#: Of equal changes the row that clears more altogether comes first.
ORDER = "risk_per_change DESC, risk DESC, findings DESC, ecosystem, package, to_version"
CHANGES_FIRST = Saved(
    description="what to raise first: the changes that clear most risk each",
    sql=f"SELECT * EXCLUDE (slugs) FROM changes ORDER BY {ORDER} LIMIT 100",
)
WITHOUT_FIX = Saved(
    description="flaws that no step mends, by package and version, and why",
    sql="SELECT ecosystem, package, version, count(DISTINCT (repo_id, finding_uid)) AS findings,"
    " count(DISTINCT repo_id) AS repositories, any_value(reason) AS reason, any_value(w.meaning) AS meaning,"
    " any_value(to_version) AS partly_to, any_value(basis) AS basis FROM fixes LEFT JOIN reasons w ON w.code = reason"
    " WHERE NOT is_cleared GROUP BY ecosystem, package, version"
    " ORDER BY findings DESC, ecosystem, package, version LIMIT 1000",
)
BEHIND = Saved(
    description="what is in use and withdrawn, deprecated or outdated, the furthest behind first",
    sql="SELECT * EXCLUDE (slugs) FROM outdated"
    " ORDER BY list_position(['withdrawn', 'deprecated', 'outdated', 'unknown'], state), days_behind DESC NULLS LAST,"
    " releases_behind DESC NULLS LAST, ecosystem, package, version LIMIT 1000",
)
SAVED = {"upgrades": CHANGES_FIRST, "without-fix": WITHOUT_FIX, "outdated": BEHIND}

STEP_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "fixes": {
        "slug": "the repository's name for people",
        "line": "first line of the declaration, from 1",
        "advisories": "the advisories of the flaw that are about the version",
        "summary": "one line",
        "cvss_score": "the highest of its advisories; null: none that can be read",
        "is_cleared": "whether the step leaves this flaw behind",
        "reason_code": "why the registry could not tell as of today (nightwarden explain CODE); null: it could",
    },
    "changes": {
        "risk_per_change": "risk / repositories: what each change clears",
        "risk": "of the findings together (vulnerable_ranked.risk)",
        "repositories": "how many must be changed",
        "findings": "open findings that are cleared; one with several versions in its manifest is in a row for each",
        "to_version": "the version to go to",
        "versions": "versions that are left",
        "is_breaking": "whether one of the steps may break, by its number, or nobody can tell",
        "remaining": "open findings of the same versions that stay",
        "transitive": "repositories that do not ask for the package themselves: refresh the lock, or raise what it"
        " comes through (fixes.through)",
        "is_checked": "whether a registry has the version; false: only advisories name it",
        "word": "what the registry says against to_version or the package: deprecated, end of life",
        "unjudged": "groups of advisories about the package that cannot be compared with to_version",
        "sentence": "the same for people",
        "slugs": "the repositories",
    },
    "outdated": {
        "state": "withdrawn, deprecated, outdated or unknown, the worst that is so",
        "word": "what the registry says against the version, else against the package",
        "repositories": "how many have it",
        "slugs": "these repositories",
        "meaning": "of the reason",
    },
}
STEP_HANDED_ON: Mapping[str, Sequence[str]] = {
    "fixes": ("vulnerabilities", "upgrades"),
    "changes": ("upgrades",),
    "outdated": ("releases",),
}
