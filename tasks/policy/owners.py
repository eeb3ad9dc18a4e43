"""Whose a finding is: the first of its owners, the team that holds them, and whom of it to ask.

Owners are facts of the lake (``findings.owners``, from CODEOWNERS or the repository); which team they are is for
``teams`` of org.yaml to say, so it is looked up here and a change of it is seen at once. Names are compared without
case and without the ``@`` before them, as forges do.
"""

from __future__ import annotations

from tasks.core.view_sets import Saved

#: What `team` says where nobody is declared.
NOBODY = "none declared"


def _plain(name: str) -> str:
    """A name in the form in which names are compared."""
    return f"lower(CASE WHEN starts_with({name}, '@') THEN substr({name}, 2) ELSE {name} END)"


#: A relation of (name, team, champions): each member and each team's own name; of several teams the first one, members
#: before names.
TEAMS_BY_NAME = f"""
    SELECT name, arg_min(team, rank) AS team, arg_min(champions, rank) AS champions FROM (
        SELECT {_plain("m.name")} AS name, team, champions, place AS rank
        FROM (SELECT *, unnest(members) AS name FROM teams WHERE is_present) m
        UNION ALL SELECT {_plain("team")}, team, champions, 1000000 + place FROM teams WHERE is_present
    ) GROUP BY name"""


def in_team(alias: str, owner: str) -> str:
    """The condition that joins ``TEAMS_BY_NAME`` to an owner."""
    return f"{alias}.name = {_plain(owner)}"


def team_of(alias: str, owner: str) -> str:
    """The team: that of the owner, else the owner, else that none is declared; never null."""
    return f"coalesce({alias}.team, {owner}, '{NOBODY}')"


WITHOUT_OWNER = Saved(
    description="repositories with open findings whose owner nobody declared, or a CODEOWNERS that does not hold",
    sql=f"""
        WITH counted AS (
            SELECT f.repo_id, count(*) FILTER (f.owner IS NULL AND r.owner IS NULL) AS findings_without_owner,
                   count(*) AS open_findings
            FROM findings_over_refs f LEFT JOIN repositories r USING (repo_id) WHERE f.is_open GROUP BY ALL
        )
        SELECT r.slug, coalesce(c.findings_without_owner, 0) AS findings_without_owner,
               coalesce(c.open_findings, 0) AS open_findings, coalesce(r.owner, '{NOBODY}') AS repository_owner,
               r.codeowners_path, r.codeowners_reason,
               CASE WHEN starts_with(r.codeowners_reason, 'not read: ') THEN 'Nothing: the next patrol reads it again.'
                    WHEN r.codeowners_reason IS NOT NULL THEN 'Mend ' || r.codeowners_path || ' as the reason says.'
                    WHEN r.codeowners IS NOT NULL
                    THEN 'Add a line to ' || r.codeowners_path || ' that matches, as * @org/team.'
                    ELSE 'Add a CODEOWNERS file; or name an owner in org.yaml: owner of classification, or '
                         || 'repositories of a team.' END AS what_to_do
        FROM repositories r LEFT JOIN counted c USING (repo_id)
        WHERE c.findings_without_owner > 0 OR (r.codeowners_reason IS NOT NULL AND r.present)
        ORDER BY findings_without_owner DESC, r.slug""",
)
