"""Severity: what each tool says and what that means to us, critical, high, medium, low, info or unknown.

The tool's own word is kept (``findings.severity_tool``); this is read over it, so that a table that proves wrong is
mended without a scan. Words are compared without case. A word that stands in no table is unknown, and so is
whatever a tool does not say: confidence is not severity, and no severity is invented.

Each table names its source. Numbers are read by the qualitative scale of CVSS v3.1 (``SCALE``). A CVSS vector is no
number: it counts only if its score stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

from tasks.core.view_sets import Saved, View


class Severity(StrEnum):
    """How bad a finding is by itself, wherever it stands; the worst first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"
    INFO = "info"
    UNKNOWN = "unknown"


#: The order in which one severity is worse than another; what is unknown is never worse than what is known.
RANKS: Mapping[Severity, int] = {s: n for n, s in enumerate(reversed(Severity))}

#: Least score of each severity. CVSS v3.1, section 5, table 14: None 0.0, Low 0.1-3.9, Medium 4.0-6.9, High 7.0-8.9,
#: Critical 9.0-10.0. What CVSS calls None is info here: the tool has judged, and found no harm.
SCALE: tuple[tuple[str, float, Severity], ...] = (
    ("9.0 to 10.0", 9.0, Severity.CRITICAL),
    ("7.0 to 8.9", 7.0, Severity.HIGH),
    ("4.0 to 6.9", 4.0, Severity.MEDIUM),
    ("0.1 to 3.9", 0.1, Severity.LOW),
    ("0.0", 0.0, Severity.INFO),
)
SCALE_SOURCE = (
    "CVSS v3.1 specification, section 5 (https://www.first.org/cvss/v3.1/specification-document); 0.0, which CVSS "
    "calls None, is info"
)
#: What is read as a score, from 0 to 10: digits, no sign, no exponent. ``inf`` and ``nan`` are none.
SCORE_PATTERN = r"^[0-9]{1,2}(\.[0-9]{1,18})?$"
#: The table of every report that is imported; tools that we know are asked by their own table first.
SARIF = "sarif"
#: Scopes of imports are called by this and the tool's name (see ``tasks.patrol.importing``).
IMPORTED = "import/"
#: So are those in which SBOMs made elsewhere were matched, by this and the SBOM's name (``tasks.patrol.assessing``).
_ASSESS, _ASSESS_SBOM = "assess", "assess/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What one tool says of severity.

    ``words`` are all it can say. ``scores``: it says numbers, read by ``SCALE``. ``levels``: the level of a SARIF
    report that the tool itself writes follows its severity; where it does not, that level means nothing here.
    """

    words: Mapping[str, Severity]
    source: str
    scores: bool = False
    levels: bool = field(default=True)


_C, _H, _M, _L, _I, _U = Severity
_NONE_GIVEN: Mapping[str, Severity] = {}
#: Of stores of secrets (``core.secret_stores.StoreRule``).
_OURS: Mapping[str, Severity] = {"critical": _C, "high": _H, "medium": _M, "low": _L}

#: By the name of the adapter. A contract test holds that no adapter and no word of its samples is missing.
TABLES: Mapping[str, Table] = {
    "assess": Table(
        words={"CRITICAL": _C, "HIGH": _H, "MODERATE": _M, "MEDIUM": _M, "LOW": _L},
        source="`database_specific.severity` of an OSV record, as its data base writes it; the CVSS base score of the"
        " advisory goes first (https://ossf.github.io/osv-schema/#severity-field)",
    ),
    "aws": Table(words=_OURS, source="the rules of the audit of AWS: ours, each with its source"),
    "bandit": Table(
        words={"HIGH": _H, "MEDIUM": _M, "LOW": _L, "UNDEFINED": _U},
        source="bandit/core/constants.py: RANKING; its highest is HIGH",
    ),
    "brakeman": Table(
        words=_NONE_GIVEN,
        source="its reports have a confidence and no severity (https://brakemanscanner.org/docs/confidence/)",
        levels=False,
    ),
    "cfn-lint": Table(
        words={"error": _M, "warning": _L, "informational": _I, "unknown": _U},
        source="cfnlint/rules/_rule.py: severity by the letter of the rule (E, W, I). Errors are templates that"
        " CloudFormation would refuse: faults of a template, none of them a measure of harm, so one step lower",
    ),
    "checkov": Table(
        words={
            "CRITICAL": _C, "HIGH": _H, "IMPORTANT": _H, "MEDIUM": _M, "MODERATE": _M, "LOW": _L, "INFO": _I,
            "NONE": _U, "OFF": _U,
        },
        source="checkov/common/bridgecrew/severities.py. Offline it gives none; in SARIF all is `error` then",
        levels=False,
    ),
    "dependency-check": Table(
        words={
            "CRITICAL": _C, "HIGH": _H, "MEDIUM": _M, "MODERATE": _M, "LOW": _L, "INFO": _I, "INFORMATIONAL": _I,
            "NONE": _I, "UNKNOWN": _U, "0.0": _U,
        },
        source="core/src/main/resources/templates/jsonReport.vsl: the rating of CVSS v4, v3 or v2, else what the"
        " source of the advisory says; it writes 0.0 (newer: Unknown) where that says nothing",
    ),
    "gitleaks": Table(
        words=_NONE_GIVEN,
        source="its reports have no severity (https://github.com/gitleaks/gitleaks#readme); in SARIF no level either",
        levels=False,
    ),
    "gosec": Table(
        words={"HIGH": _H, "MEDIUM": _M, "LOW": _L, "UNDEFINED": _U},
        source="issue/issue.go: Score; its highest is HIGH",
    ),
    "grype": Table(
        words={"Critical": _C, "High": _H, "Medium": _M, "Low": _L, "Negligible": _I, "Unknown": _U},
        source="grype/vulnerability/severity.go; Negligible is the distributions' word for what is hardly a problem",
    ),
    "hadolint": Table(
        words={"error": _M, "warning": _L, "info": _I, "style": _I, "ignore": _I},
        source="src/Hadolint/Rule.hs: DLSeverity. It grades practice (and ShellCheck's remarks), not harm, so one"
        " step lower",
    ),
    "inventory": Table(
        words=_NONE_GIVEN, source="an inventory: nothing is wrong with what is listed", levels=False
    ),
    "kingfisher": Table(
        words=_NONE_GIVEN,
        source="its reports have a confidence and, where it validates, a state, no severity"
        " (https://github.com/mongodb/kingfisher#readme)",
        levels=False,
    ),
    "osv-scanner": Table(
        words=_NONE_GIVEN,
        source="`max_severity` of a group of aliases is the highest CVSS base score"
        " (https://google.github.io/osv-scanner/output/)",
        scores=True,
        levels=False,
    ),
    "posture": Table(
        words={"high": _H, "medium": _M, "low": _L, "info": _I},
        source="tasks/scanners/posture_rules.py: ours, with what each word means",
    ),
    "secrets": Table(words=_OURS, source="tasks/policy/secret_hygiene.py: ours, each rule with its source"),
    "semgrep": Table(
        words={
            "CRITICAL": _C, "HIGH": _H, "MEDIUM": _M, "LOW": _L, "ERROR": _H, "WARNING": _M, "INFO": _L,
            "INVENTORY": _I, "EXPERIMENT": _U,
        },
        source="https://semgrep.dev/docs/kb/rules/understand-severities: ERROR, WARNING and INFO are older words for"
        " High, Medium and Low. INVENTORY and EXPERIMENT, older still, say nothing of harm",
    ),
    "syft": Table(
        words=_NONE_GIVEN, source="an inventory: nothing is wrong with what is listed", levels=False
    ),
    "trivy": Table(
        words={"CRITICAL": _C, "HIGH": _H, "MEDIUM": _M, "LOW": _L, "UNKNOWN": _U},
        source="pkg/types of aquasecurity/trivy-db: SeverityNames; the vendor's rating before that of NVD",
    ),
    "vault": Table(words=_OURS, source="the rules of the audit of a Vault: ours, each with its source"),
    "zizmor": Table(
        words={"High": _H, "Medium": _M, "Low": _L, "Informational": _I, "Unknown": _U},
        source="crates/zizmor/src/finding.rs: Severity; its highest is High",
    ),
    SARIF: Table(
        words={"error": _H, "warning": _M, "note": _L, "none": _U},
        source="SARIF 2.1.0, 3.27.10: error is a serious problem, note a minor one, none where severity does not"
        " apply; warning where a result says nothing. `security-severity` goes first, a number as GitHub reads it"
        " (https://docs.github.com/en/code-security/code-scanning, SARIF support)",
        scores=True,
    ),
}  # fmt: skip


def quoted(text: str) -> str:
    """A literal of SQL."""
    return "'" + text.replace("'", "''") + "'"


def _rows() -> list[tuple[str, str, Severity, str]]:
    rows = []
    for tool, table in TABLES.items():
        rows += [(tool, word, severity, table.source) for word, severity in table.words.items()]
        if table.scores:
            rows += [(tool, span, severity, SCALE_SOURCE) for span, _, severity in SCALE]
    return rows


#: Words without case: a tool's table has no two that differ in nothing else.
SEVERITIES = View(
    name="severities",
    meaning="one word that a tool has for severity (`sarif`: any imported report), what it means here, and the source;"
    " spans of numbers are CVSS scores. A tool without rows gives no severity",
    sql="SELECT * FROM (VALUES "
    + ", ".join(f"({', '.join(quoted(v) for v in row)})" for row in _rows())
    + ") AS t(tool, severity_tool, severity, source)",
)

_SCALED = " ".join(f"WHEN TRY_CAST({{0}} AS DOUBLE) >= {least} THEN {RANKS[severity]}" for _, least, severity in SCALE)
#: Anything else than a score, and a number above ten, is NULL.
_NO_SCORE = f"NOT regexp_matches({{0}}, '{SCORE_PATTERN.replace('{', '{{').replace('}', '}}')}')"
_SCORED = f"(CASE WHEN {_NO_SCORE} OR TRY_CAST({{0}} AS DOUBLE) > 10 THEN NULL {_SCALED} END)"
_NAMES = {
    "scoring": [t for t, table in TABLES.items() if table.scores],
    "silent": [t for t, table in TABLES.items() if not table.levels],
}


def _listed(names: list[str]) -> str:
    return "(" + ", ".join(quoted(n) for n in names) + ")"


def rated(said: str) -> str:
    """A SELECT of (tool, severity_tool, severity_score, rank) over the relation ``said``, which has the first three.

    ``rank`` is one of ``RANKS``. A number beside the word goes first, then the tool's own table, then, of what was
    imported, that of SARIF.
    """
    # The words of SARIF are for what its tool has no word for, and not for tools whose levels mean nothing.
    return f"""
        SELECT s.tool, s.severity_tool, s.severity_score, coalesce(
            {_SCORED.format("s.severity_score")}, own.rank,
            CASE WHEN s.name IN {_listed(_NAMES["scoring"])} THEN {_SCORED.format("s.severity_tool")} END,
            CASE WHEN s.imported AND s.name NOT IN {_listed(_NAMES["silent"])} THEN sarif.rank END, 0) AS rank
        FROM (
            SELECT *, starts_with(tool, '{IMPORTED}') AS imported,
                   CASE WHEN imported THEN substr(tool, {len(IMPORTED) + 1})
                        WHEN starts_with(tool, '{_ASSESS_SBOM}') THEN '{_ASSESS}' ELSE tool END AS name,
                   lower(severity_tool) AS word
            FROM {said}
        ) s
        LEFT JOIN ({_RANKED_WORDS}) own ON own.tool = s.name AND own.word = s.word
        LEFT JOIN ({_RANKED_WORDS}) sarif ON sarif.tool = '{SARIF}' AND sarif.word = s.word"""


def ranks_of(relation: str) -> str:
    """``rated`` over what ``relation`` says, each (tool, word, number) once: there are few, however many rows."""
    return rated(f"(SELECT DISTINCT tool, severity_tool, severity_score FROM {relation})")


def says_the_same(one: str, other: str) -> str:
    """The condition that joins rows to what ``rated`` says of their tool, word and number."""
    return (
        f"{other}.tool = {one}.tool AND {other}.severity_tool IS NOT DISTINCT FROM {one}.severity_tool"
        f" AND {other}.severity_score IS NOT DISTINCT FROM {one}.severity_score"
    )


def table_of(tool: str) -> str:
    """By what name ``TABLES`` would know the tool of a scope."""
    return _ASSESS if tool.startswith(_ASSESS_SBOM) else tool.removeprefix(IMPORTED)


@cache
def severity_of(tool: str, word: str | None, number: str | None) -> Severity:
    """The same for one finding: what its tool's word, and the number beside it, mean."""
    name = table_of(tool)
    table = TABLES.get(name)
    found = _scaled(number) or _of_words(table, word)
    if found is None and table is not None and table.scores:
        found = _scaled(word)
    if found is None and tool.startswith(IMPORTED) and (table is None or table.levels):
        found = _of_words(TABLES[SARIF], word)
    return found or Severity.UNKNOWN


def _scaled(text: str | None) -> Severity | None:
    if text is None or not re.fullmatch(SCORE_PATTERN[1:-1], text) or float(text) > 10:
        return None
    return next((severity for _, least, severity in SCALE if float(text) >= least), None)


def _of_words(table: Table | None, word: str | None) -> Severity | None:
    words = table.words.items() if table is not None and word is not None else ()
    return next((severity for known, severity in words if known.lower() == (word or "").lower()), None)


def case_of(column: str, values: Mapping[Any, Any]) -> str:
    """The CASE that turns each key of ``values``, words or numbers, into its value; NULL for any other."""
    literal = {k: quoted(k) if isinstance(k, str) else str(k) for k in (*values, *values.values())}
    return f"CASE {column} " + " ".join(f"WHEN {literal[k]} THEN {literal[v]}" for k, v in values.items()) + " END"


#: The severity of a column ``rank``, as ``rated`` gives it.
SEVERITY_OF_RANK = case_of("rank", {n: s for s, n in RANKS.items()})
#: Spans of the scale are no words: 0.0 of a tool that says no numbers is nothing known.
_RANKED_WORDS = (
    f"SELECT tool, lower(severity_tool) AS word, {case_of('severity', RANKS)} AS rank FROM severities"
    f" WHERE source <> {quoted(SCALE_SOURCE)}"
)

UNMAPPED = Saved(
    description="open findings of unknown severity, by what their tools say",
    sql="SELECT kind, f.tool, f.severity_tool, count(*) AS findings, count(DISTINCT repo_id) AS repositories"
    " FROM ranked r JOIN"
    " (SELECT DISTINCT finding_uid, repo_id, tool, severity_tool FROM findings_counted WHERE counts) f"
    " USING (finding_uid, repo_id) WHERE severity = 'unknown'"
    " GROUP BY ALL ORDER BY findings DESC, kind, f.tool, f.severity_tool",
)
