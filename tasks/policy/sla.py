"""SLA: how many days there are to mend a finding, when it is due, and how that went over time.

The first rule that fits says the days; a rule fits where all that it names holds: kind, severity, exposure of what the
repository runs, and origin. ``days`` is null where there is no deadline. The built-in rules are ``DEFAULTS``:

* 15 days for a critical finding that the internet reaches, 30 for a high one: BOD 19-02 of CISA (2019,
  https://cyber.dhs.gov/bod/19-02/), which counts from the first detection;
* 30 days for other critical and high findings, 90 for medium and 180 for low ones: FedRAMP's continuous monitoring
  (Rev. 5: high 30, moderate 90, low 180 days from detection);
* what was there when a repository was first looked at (origin ``backlog``) has two or three times as long: a first
  night finds the work of years. This, and the days for leaked secrets, are our own choice.

A vulnerable dependency that ``assess`` finds is due by CISA's table where that is earlier
(``tasks.policy.dependency_priority``), whatever the rules say.

The clock starts when a finding opens, and anew when it is reopened (``opened_at``). A decision stops nothing: what was
accepted until a day is due again from that day, by its old date. Unknown severity counts as in ``priority``.

An organisation's own rules (``sla`` of ``org.yaml``) replace the built-in ones. Each patrol writes them into its row of
``runs``, so that one lake gives one answer, whoever asks.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from tasks.core.view_sets import View, few
from tasks.policy.declared import EXPOSURE
from tasks.policy.severity import Severity, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaRule:
    """One rule: what it is about (None: anything), and the days there are (None: no deadline)."""

    kind: str | None = None
    severity: Severity | None = None
    exposure: str | None = None
    origin: str | None = None
    days: int | None


DEFAULTS: tuple[SlaRule, ...] = (
    SlaRule(kind="secret", origin="backlog", days=30),
    SlaRule(kind="secret", days=7),
    SlaRule(severity=Severity.CRITICAL, exposure="internet", days=15),
    SlaRule(severity=Severity.CRITICAL, days=30),
    SlaRule(severity=Severity.HIGH, origin="backlog", days=90),
    SlaRule(severity=Severity.HIGH, days=30),
    SlaRule(severity=Severity.MEDIUM, origin="backlog", days=180),
    SlaRule(severity=Severity.MEDIUM, days=90),
    SlaRule(severity=Severity.LOW, origin="backlog", days=365),
    SlaRule(severity=Severity.LOW, days=180),
)
_FORM = (
    '{"place":"BIGINT","kind":"VARCHAR","severity":"VARCHAR","exposure":"VARCHAR","origin":"VARCHAR","days":"BIGINT"}'
)


def text_of(rules: Iterable[SlaRule]) -> str:
    """The rules as ``runs.sla`` holds them: a JSON list. Exposures are told by the first of their words."""
    said = [{"place": n, **asdict(rule), "exposure": _canonical(rule.exposure)} for n, rule in enumerate(rules, 1)]
    return json.dumps(said, separators=(",", ":"))


def _canonical(word: str | None) -> str | None:
    plain = word.strip().lower() if word is not None else None
    return next((d.words[0] for d in EXPOSURE if plain in d.words), plain)


SLA_RULES = View(
    name="sla_rules",
    meaning="one rule of the SLA in force: the first that fits says the days; null fits anything, and no days are no"
    " deadline",
    sql=f"""
        WITH said AS (SELECT nullif(arg_max(coalesce(sla, ''), seq), '') AS own FROM patrols)
        SELECT unnest(from_json(coalesce(own, {quoted(text_of(DEFAULTS))}), '[{_FORM}]'), max_depth := 2),
               CASE WHEN own IS NULL THEN 'built in' ELSE 'org.yaml' END AS source
        FROM said""",
)


def days_of(relation: str, severity: str) -> str:
    """A SELECT of (kind, severity, exposure_word, origin, sla_days) for each of these four that ``relation`` has, its
    severity in the column ``severity``. ``exposure_word`` is as ``tasks.policy.declared.word_of`` says it."""
    return f"""
        SELECT a.kind, a.severity, a.exposure_word, a.origin, first(s.days ORDER BY s.place) AS sla_days
        FROM (SELECT DISTINCT kind, {severity} AS severity, exposure_word, origin FROM {relation}) a
        LEFT JOIN sla_rules s
        ON coalesce(s.kind = a.kind, s.kind IS NULL) AND coalesce(s.severity = a.severity, s.severity IS NULL)
        AND coalesce(s.exposure = a.exposure_word, s.exposure IS NULL)
        AND coalesce(s.origin = a.origin, s.origin IS NULL)
        GROUP BY ALL"""


def with_days(relation: str, asked: str, severity: str) -> str:
    """A SELECT of all of ``relation`` with its ``sla_days``.

    It has kind, the severity as it counts in ``counted``, exposure_word and origin. ``asked`` has all of these four
    that it may have, as ``days_of`` wants them.
    """
    return f"""
            SELECT s.*, d.sla_days FROM {relation} s LEFT JOIN ({few(days_of(asked, severity))}) d
            ON d.kind = s.kind AND d.severity = s.counted
            AND d.exposure_word IS NOT DISTINCT FROM s.exposure_word AND d.origin IS NOT DISTINCT FROM s.origin"""


_DAY_US = 86_400_000_000


def due_at(sla_days: str) -> str:
    """When a finding is due: ``sla_days`` after it opened, or by the tier of a vulnerable dependency if that is earlier
    (``tasks.policy.dependency_priority``); null: there is no deadline.

    An expression over ``opened_at``, ``days``, ``days_before`` and ``exploited_at``; all of them may be null. Days are
    those of UTC, so that they are as long as each other; adding an interval asks a calendar, which takes four times as
    long.
    """
    opened = "epoch_us(opened_at)"
    return (
        f"make_timestamptz(least({opened} + {sla_days} * {_DAY_US}, {opened} + days_before * {_DAY_US},"
        f" greatest({opened}, epoch_us(exploited_at)) + days * {_DAY_US}))"
    )
