"""Priority of vulnerable dependencies: CISA's table of four questions, a day to be done by, and why.

The table is that of BOD 26-04 of CISA (10 June 2026, it replaces BOD 22-01 and BOD 19-02), "Prioritizing Security
Updates Based on Risk", https://www.cisa.gov/news-events/directives/bod-26-04-prioritizing-security-updates-based-risk,
as CERT/CC publishes it for machines (``cisa_bod_26_04_1_0_0``, https://certcc.github.io/SSVC/howto/cisa_response/).

========================  =============  ==============  =======  ==============
impact                    partial        total           partial  total
automatable               no             no              yes      yes
========================  =============  ==============  =======  ==============
neither                   next upgrade   next upgrade    60 days  60 days
reachable                 60 days        14 days         14 days  3 days
exploited                 14 days        14 days         14 days  3 days, triage
exploited and reachable   14 days        3 days, triage  3 days   3 days, triage
========================  =============  ==============  =======  ==============

* **exploited**: the KEV catalogue lists a CVE of the flaw, or CISA's SSVC decision calls its exploitation active (that
  is ours: CISA asks only for KEV). Where the catalogue was never read it is unknown, unless SSVC says.
* **reachable**: the repository is declared to be exposed to the internet; to anything else: no. Not
  declared: unknown.
* **automatable, impact**: as CISA's SSVC decision says; else by the CVSS vector of the advisory, version 3 before 4:
  automatable is AV:N/AC:L/PR:N/UI:N (and AT:N in 4), total is C:H/I:H/A:H (VC, VI and VA in 4). That agrees with SSVC
  on 96.4 and 91.1 % of 32,214 CVEs that CISA decided. Vectors of version 2 do not tell whether somebody must act.
  Without a vector that can be read: unknown.

What is unknown is not guessed. The table only ever gets stricter, so what is unknown leaves a span: ``tier`` is what is
certain, whatever the answers are, and ``soonest`` what it would be at worst; the sentence tells which answers are
missing. Deadlines follow ``tier``, and within one what could be worse comes first.

The days are counted from the day it was found, but those of an exploited flaw not from before it was known to be. A
deadline that ran before does not move back by that.

What is said of a flaw is said of its group of aliases: all CVEs of the group, and of its advisories the one whose
vector can be read (``flaws_of``). So the tier of a finding follows from its group and its repository's exposure alone,
and views look it up among few (``tiers_of``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import product

from tasks.policy.declared import EXPOSURE, relation_of
from tasks.policy.severity import quoted


class Tier(StrEnum):
    """How soon it is to be mended, the soonest first."""

    TRIAGE = "3 days, forensic triage"
    DAYS_3 = "3 days"
    DAYS_14 = "14 days"
    DAYS_60 = "60 days"
    UPGRADE = "next upgrade"


#: Days of a tier; the next upgrade has no day.
DAYS: Mapping[Tier, int | None] = {
    Tier.TRIAGE: 3, Tier.DAYS_3: 3, Tier.DAYS_14: 14, Tier.DAYS_60: 60, Tier.UPGRADE: None,
}  # fmt: skip
_T, _3, _14, _60, _UP = Tier
#: (exploited, reachable) → by (not automatable, partial), (…, total), (automatable, partial), (…, total).
_TABLE: Mapping[tuple[bool, bool], tuple[Tier, Tier, Tier, Tier]] = {
    (False, False): (_UP, _UP, _60, _60),
    (False, True): (_60, _14, _14, _3),
    (True, False): (_14, _14, _14, _T),
    (True, True): (_14, _T, _3, _T),
}
_BASE_3 = {"AV": "NALP", "AC": "LH", "PR": "NLH", "UI": "NR", "S": "UC", "C": "HLN", "I": "HLN", "A": "HLN"}
_MORE_3 = {
    "E": "XUPFH", "RL": "XOTWU", "RC": "XURC", "CR": "XLMH", "IR": "XLMH", "AR": "XLMH", "MAV": "XNALP", "MAC": "XLH",
    "MPR": "XNLH", "MUI": "XNR", "MS": "XUC", "MC": "XNLH", "MI": "XNLH", "MA": "XNLH",
}  # fmt: skip
_BASE_4 = {
    "AV": "NALP", "AC": "LH", "AT": "NP", "PR": "NLH", "UI": "NPA", "VC": "HLN", "VI": "HLN", "VA": "HLN",
    "SC": "HLN", "SI": "HLN", "SA": "HLN",
}  # fmt: skip
_MORE_4 = {
    "E": "XAPU", "CR": "XHML", "IR": "XHML", "AR": "XHML", "MAV": "XNALP", "MAC": "XLH", "MAT": "XNP", "MPR": "XNLH",
    "MUI": "XNPA", "MVC": "XHLN", "MVI": "XHLN", "MVA": "XHLN", "MSC": "XHLN", "MSI": "XHLNS", "MSA": "XHLNS",
    "S": "XNP", "AU": "XNY", "R": "XAUI", "V": "XDC", "RE": "XLMH",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is certain, and what it would be if every unknown answer were the worst."""

    tier: Tier
    soonest: Tier


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What vectors tell; None: they do not."""

    automatable: bool | None = None
    total: bool | None = None


def decide(*, exploited: bool | None, reachable: bool | None, automatable: bool | None, total: bool | None) -> Decision:
    """The tiers of one vulnerability. None is unknown."""
    low, high = ([bool(x) if x is not None else worst for x in (exploited, reachable, automatable, total)]
                 for worst in (False, True))  # fmt: skip
    return Decision(tier=_of(*low), soonest=_of(*high))


def _of(exploited: bool, reachable: bool, automatable: bool, total: bool) -> Tier:
    return _TABLE[exploited, reachable][2 * automatable + total]


def read_vectors(v3: str | None, v4: str | None) -> Reading:
    """What the vector of CVSS 3.0 or 3.1, else that of 4.0, tells. One that is malformed tells nothing."""
    for vector, version in ((v3, _V3), (v4, _V4)):
        if vector is not None and version.is_whole(vector):
            parts = set(vector.split("/"))
            return Reading(automatable=version.automatable <= parts, total=version.total <= parts)
    return Reading()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """The grammar of one version of CVSS, for Python and for DuckDB (RE2)."""

    begins: str
    base: Mapping[str, str]
    more: Mapping[str, str]
    other: str
    automatable: frozenset[str]
    total: frozenset[str]

    @property
    def pattern(self) -> str:
        """Of a vector whose metrics are all of the version; whether each stands once it does not say."""
        metrics = [f"{name}:[{values}]" for name, values in {**self.base, **self.more}.items()]
        return f"{self.begins}(?:/(?:{'|'.join(metrics)}{self.other}))+"

    def is_whole(self, vector: str) -> bool:
        """Whether every metric is known and stands once, and none of the base is missing."""
        names = _NAME.findall(vector)
        return (
            re.fullmatch(self.pattern, vector, re.ASCII) is not None
            and len(set(names)) == len(names)
            and self.base.keys() <= set(names)
        )

    def is_whole_sql(self, column: str) -> str:
        """The same as an expression of SQL."""
        names = f"regexp_extract_all({column}, {quoted(_NAME.pattern)}, 1)"
        base = ", ".join(map(quoted, self.base))
        return (
            f"(regexp_full_match({column}, {quoted(self.pattern)}) AND len({names}) = len(list_distinct({names}))"
            f" AND list_has_all({names}, [{base}]))"
        )


_NAME = re.compile(r"/([A-Z]+):")
_V3 = _Version(
    begins=r"CVSS:3\.[01]", base=_BASE_3, more=_MORE_3, other="",
    automatable=frozenset({"AV:N", "AC:L", "PR:N", "UI:N"}), total=frozenset({"C:H", "I:H", "A:H"}),
)  # fmt: skip
_V4 = _Version(
    begins=r"CVSS:4\.0", base=_BASE_4, more=_MORE_4, other="|U:(?:X|Clear|Green|Amber|Red)",
    automatable=frozenset({"AV:N", "AC:L", "AT:N", "PR:N", "UI:N"}), total=frozenset({"VC:H", "VI:H", "VA:H"}),
)  # fmt: skip


_FORM = {
    **dict.fromkeys(("exploited", "reachable", "automatable", "total"), "BOOLEAN"),
    **dict.fromkeys(("tier", "soonest"), "VARCHAR"),
    **dict.fromkeys(("days", "days_before", "tier_rank", "soonest_rank"), "BIGINT"),
}


def _table_sql() -> str:
    """A relation of every combination of answers, with its tiers; made by ``decide``, so that there is one table."""
    order, rows = list(Tier), []
    for answers in product((False, True, None), repeat=4):
        exploited, reachable, automatable, total = answers
        of = decide(exploited=exploited, reachable=reachable, automatable=automatable, total=total)
        # Until it was exploited, the days ran as the table says of one that is not.
        before = decide(exploited=False, reachable=reachable, automatable=automatable, total=total)
        told = (of.tier, of.soonest, DAYS[of.tier], DAYS[before.tier], order.index(of.tier), order.index(of.soonest))
        rows.append(dict(zip(_FORM, (*answers, *told), strict=True)))
    # One text: DuckDB takes 20 ms to bind as many values, each time that a view is asked.
    return f"(SELECT unnest(from_json({quoted(json.dumps(rows))}, {quoted(json.dumps([_FORM]))}), max_depth := 2))"


#: What ``judged`` wants to know of a flaw.
COLUMNS: Mapping[str, str] = {
    "group_id": "VARCHAR: the flaw: what its aliases are called together",
    "cves": "VARCHAR[]: the CVEs of the flaw, of all advisories in its group",
    "advisory_id": "VARCHAR: the advisory whose vectors these are; may be null",
    "advisory_at": "TIMESTAMPTZ: when it was last changed; may be null",
    "cvss_v3": "VARCHAR: its vector of CVSS 3.0 or 3.1, or null",
    "cvss_v4": "VARCHAR: its vector of CVSS 4.0, or null",
    "cvss_score": "DOUBLE: its base score, 0 to 10, or null",
    "whole_3, whole_4": "BOOLEAN: whether the vectors can be read, as ``READABLE`` tells",
}
#: Of a row with both vectors, the columns that tell whether they can be read.
READABLE = f"{_V3.is_whole_sql('cvss_v3')} AS whole_3, {_V4.is_whole_sql('cvss_v4')} AS whole_4"
#: What comes first: by tier, what it could be, and then EPSS, CVSS, direct before transitive, runtime before
#: development. What is not told stands between the two, without EPSS or score last. An expression over what ``judged``
#: makes and over ``is_direct`` and ``is_development`` of a finding, which may be null.
ORDER = (
    "tier_rank, soonest_rank, epss DESC NULLS LAST, cvss_score DESC NULLS LAST,"
    " CASE is_direct WHEN true THEN 0 WHEN false THEN 2 ELSE 1 END,"
    " CASE is_development WHEN false THEN 0 WHEN true THEN 2 ELSE 1 END"
)


def _day(column: str) -> str:
    return f"strftime({column}, '%Y-%m-%d')"


def _told(yes: str, no: str, answer: str) -> str:
    return f"CASE WHEN {answer} THEN {quoted(yes)} WHEN NOT {answer} THEN {quoted(no)} END"


def _answer(what: str, word: str, yes: str, no: str) -> str:
    """The phrase of ``automatable`` or ``total``, with who says so; an expression over ``read``."""
    vector = "CASE WHEN whole_3 THEN '3' ELSE '4' END"
    return f"""CASE
        WHEN ssvc_{what} IS NOT NULL THEN {_told(yes, no, f"ssvc_{what}")} || ' (CISA SSVC'
            || coalesce(' of ' || {_day("ssvc_at")}, '') || ')'
        WHEN {what} IS NOT NULL THEN {_told(yes, no, what)} || ' (CVSS ' || {vector} || ' vector of '
            || coalesce(advisory_id, 'the advisory') || coalesce(' as of ' || {_day("advisory_at")}, '') || ')'
        ELSE {quoted(word)} || ': unknown (no SSVC decision and no CVSS vector that can be read)' END"""


#: Of the CVEs of a flaw together: yes if it is of one. Of two decisions the worse one counts, and its date is told.
_SAID_OF_CVES = """
    SELECT group_id,
           coalesce(bool_or(e.is_exploited), false) AS in_kev,
           min(e.kev_added_at) FILTER (e.is_exploited) AS kev_at,
           bool_or(e.ssvc_exploitation = 'active') AS ssvc_active,
           min(e.ssvc_at) FILTER (e.ssvc_exploitation = 'active') AS active_at,
           any_value(e.ssvc_exploitation ORDER BY e.ssvc_exploitation DESC) AS ssvc_word,
           bool_or(e.ssvc_automatable = 'yes') AS ssvc_automatable,
           bool_or(e.ssvc_technical_impact = 'total') AS ssvc_total,
           max(e.ssvc_at) AS ssvc_at, max(e.epss) AS epss
    FROM named LEFT JOIN (FROM enrichment SEMI JOIN named USING (cve)) e USING (cve) GROUP BY group_id"""
_EXPLOITED_PHRASE = f"""CASE
    WHEN in_kev THEN 'exploited (CISA KEV' || coalesce(', listed on ' || {_day("kev_at")}, '') || ')'
    WHEN ssvc_active THEN 'exploited (CISA SSVC' || coalesce(' of ' || {_day("active_at")}, '') || ')'
    WHEN len(cves) = 0 OR cves IS NULL THEN 'not known to be exploited (it has no CVE, and CISA KEV lists CVEs alone)'
    WHEN kev_read THEN 'not known to be exploited (CISA KEV' || coalesce(' of ' || {_day("kev_as_of")}, '')
        || coalesce(', SSVC says ' || ssvc_word, '') || ')'
    WHEN ssvc_word IS NOT NULL THEN 'not known to be exploited (CISA SSVC says ' || ssvc_word
        || coalesce(' on ' || {_day("ssvc_at")}, '') || ')'
    ELSE 'exploited: unknown (the KEV catalogue was never read)' END"""
_EPSS_PHRASE = f"""CASE WHEN epss IS NOT NULL THEN
    '; exploited within 30 days with a probability of ' || printf('%.1f', epss * 100) || ' % (EPSS'
    || coalesce(' of ' || {_day("epss_as_of")}, '') || ')' ELSE '; no EPSS' END"""


#: Why a finding comes when it does: the sentence of ``judged`` and what its manifest says, in the columns ``is_direct``
#: and ``is_development``.
WHY = """tier_why || '; '
    || CASE WHEN is_direct THEN 'direct' WHEN NOT is_direct THEN 'transitive' ELSE 'direct or not: unknown' END
    || ', ' || CASE WHEN is_development THEN 'for development' WHEN NOT is_development THEN 'at run time'
               ELSE 'for what: unknown' END || ' (its manifest)'"""


#: How an id of a CVE is written (https://www.cve.org/ResourcesSupport/AllResources/CNARules).
_CVE = r"CVE-\d{4}-\d{4,19}"


def flaws_of(groups: str) -> str:
    """A SELECT of one row for each ``group_id`` of the relation ``groups``: all its CVEs, and what its best advisory
    says, as ``COLUMNS`` has it; it reads ``advisories``.

    The best is the one whose vector of version 3 can be read, else of 4, else the one with the highest score. What was
    withdrawn says nothing, and what its feed has no more only where nothing else is left of the group.
    """
    return f"""
        WITH grouped AS MATERIALIZED (SELECT DISTINCT group_id FROM {groups}),
        told AS MATERIALIZED (
            SELECT group_id, advisory_id, aliases, modified_at, cvss_v3, cvss_v4, cvss_score, {READABLE}
            FROM advisories SEMI JOIN grouped USING (group_id) WHERE NOT is_withdrawn
            QUALIFY present OR NOT bool_or(present) OVER (PARTITION BY group_id)
        ),
        numbered AS (
            SELECT group_id, list(DISTINCT id ORDER BY id) FILTER (regexp_full_match(id, {quoted(_CVE)})) AS cves
            FROM (
                SELECT group_id, unnest([advisory_id] || coalesce(aliases, [])) AS id FROM told
                UNION ALL SELECT group_id, group_id FROM grouped
            ) GROUP BY group_id
        ),
        best AS (
            SELECT * FROM told QUALIFY row_number() OVER (
                PARTITION BY group_id ORDER BY whole_3 DESC NULLS LAST, whole_4 DESC NULLS LAST,
                cvss_score DESC NULLS LAST, advisory_id) = 1
        )
        SELECT n.group_id, coalesce(n.cves, []) AS cves, b.advisory_id, b.modified_at AS advisory_at, b.cvss_v3,
               b.cvss_v4, b.cvss_score, b.whole_3, b.whole_4
        FROM numbered n LEFT JOIN best b USING (group_id)"""


def is_assessed(tool: str) -> str:
    """Whether a tool is what matches inventories with advisories: ``assess``, and, of an SBOM made elsewhere,
    ``assess/`` and its name. An expression."""
    return f"({tool} = 'assess' OR starts_with({tool}, 'assess/'))"


def flaw_of(alias: str) -> str:
    """The group of aliases that a finding is about, by which ``tiers_of`` knows it; null of what ``assess`` does not
    see. An expression over a row of ``findings`` or ``finding_events``."""
    return f"CASE WHEN {is_assessed(f'{alias}.tool')} THEN {alias}.rule_id END"


#: Without a row of this table ``assess`` has found nothing, so no finding has a tier. To plan what tells them would be
#: a fifth of a question to a million findings.
TIERS_NEED = "vulnerabilities"
#: What stands for ``tiers_of`` then: of its columns those that are looked up by findings.
NO_TIERS = """SELECT * FROM (
            SELECT NULL::VARCHAR AS group_id, NULL::VARCHAR AS exposure, NULL::VARCHAR AS tier,
                   NULL::BIGINT AS days, NULL::BIGINT AS days_before, NULL::TIMESTAMPTZ AS exploited_at,
                   NULL::VARCHAR AS tier_why) WHERE false"""


def tiers_of(asked: str) -> str:
    """What ``judged`` says of each (``group_id``, ``exposure``) of the relation ``asked``, by what ``advisories`` say.
    There are few of them, however many findings."""
    return judged(f"({flaws_of(asked)})", asked)


def judged(flaws: str, asked: str) -> str:
    """A SELECT of one row for each (``group_id``, ``exposure``) of the relation ``asked``, whose flaws ``flaws`` tells
    (``COLUMNS``); it reads ``enrichment`` and ``advisory_feeds``. ``exposure`` is what the repository is declared to
    be exposed to, in any word, or null.

    It has ``cves``, ``cvss_score``, ``epss``, ``tier`` and ``soonest`` with their ranks (0 is the first), ``tier_why``,
    and what ``tasks.policy.sla.due_at`` goes by: ``days`` (null: at the next upgrade), ``days_before`` (it was known to
    be exploited) and ``exploited_at``.
    """
    exposed = f"(SELECT word, name = {quoted(EXPOSURE[0].words[0])} AS reachable, phrase FROM {relation_of(EXPOSURE)})"
    return f"""
        WITH pairs AS MATERIALIZED (SELECT DISTINCT group_id, exposure FROM {asked}),
        known AS MATERIALIZED (FROM {flaws}),
        named AS MATERIALIZED (SELECT group_id, unnest(cves) AS cve FROM known),
        read_feeds AS (
            SELECT coalesce(bool_or(feed = 'kev' AND fetched_at IS NOT NULL), false) AS kev_read,
                   max(as_of) FILTER (feed = 'kev') AS kev_as_of, max(as_of) FILTER (feed = 'epss') AS epss_as_of
            FROM advisory_feeds
        ),
        said AS ({_SAID_OF_CVES}),
        read AS (
            SELECT f.*, s.* EXCLUDE (group_id), read_feeds.*,
                   coalesce(s.ssvc_automatable, {_by_vector("automatable")}) AS automatable,
                   coalesce(s.ssvc_total, {_by_vector("total")}) AS total,
                   CASE WHEN in_kev OR ssvc_active THEN true
                        WHEN len(cves) = 0 OR cves IS NULL OR kev_read OR ssvc_word IS NOT NULL THEN false
                   END AS exploited
            FROM known f LEFT JOIN said s USING (group_id), read_feeds
        ),
        phrased AS (
            SELECT group_id, cves, cvss_score, exploited, automatable, total, epss,
                   CASE WHEN in_kev THEN kev_at ELSE active_at END AS exploited_at,
                   {_EXPLOITED_PHRASE} AS exploited_phrase,
                   {_answer("automatable", "automatable", "can be automated", "cannot be automated")}
                   || '; ' || {_answer("total", "impact", "total impact", "partial impact")}
                   || {_EPSS_PHRASE} AS rest
            FROM read
        ),
        placed AS (
            SELECT w.exposure, e.reachable,
                   CASE WHEN e.word IS NOT NULL THEN e.phrase || ' (as declared)'
                        WHEN trim(w.exposure) <> '' THEN 'exposure: unknown (' || trim(w.exposure)
                             || ' is no word of the policy)'
                        ELSE 'exposure: unknown (not declared)' END AS place_phrase
            FROM (SELECT DISTINCT exposure FROM pairs) w LEFT JOIN {exposed} e ON e.word = lower(trim(w.exposure))
        )
        SELECT group_id, r.exposure, p.cves, p.cvss_score, p.epss, t.tier, t.soonest, t.tier_rank, t.soonest_rank,
               t.days, t.days_before, p.exploited_at,
               t.tier || CASE WHEN t.soonest <> t.tier THEN ' (at worst: ' || t.soonest || ')' ELSE '' END || ': '
                   || p.exploited_phrase || '; ' || w.place_phrase || '; ' || p.rest AS tier_why
        FROM pairs r JOIN phrased p USING (group_id)
        JOIN placed w ON w.exposure IS NOT DISTINCT FROM r.exposure
        JOIN {_table_sql()} t ON t.exploited IS NOT DISTINCT FROM p.exploited
            AND t.reachable IS NOT DISTINCT FROM w.reachable AND t.automatable IS NOT DISTINCT FROM p.automatable
            AND t.total IS NOT DISTINCT FROM p.total"""


def _by_vector(what: str) -> str:
    """An expression over ``known`` of ``judged``: as ``read_vectors``."""
    of = {"automatable": (_V3.automatable, _V4.automatable), "total": (_V3.total, _V4.total)}[what]
    has = (f"list_has_all(string_split({column}, '/'), [{', '.join(map(quoted, sorted(parts)))}])"
           for column, parts in zip(("cvss_v3", "cvss_v4"), of, strict=True))  # fmt: skip
    return f"CASE WHEN whole_3 THEN {next(has)} WHEN whole_4 THEN {next(has)} END"
