"""Severity, priority, SLA and decisions; compliance controls when they come. Views over the lake, no facts of it."""

from __future__ import annotations

from tasks.core.view_sets import ViewSet
from tasks.policy.dependencies import DEPENDENCIES, DEPENDENCIES_BY_TEAM, VULNERABLE_RANKED
from tasks.policy.owners import WITHOUT_OWNER
from tasks.policy.priority import BY_TEAM, PRIORITIES_BY_OWNER, RANKED, RANKED_FIRST
from tasks.policy.questions import QUESTIONS
from tasks.policy.severity import SEVERITIES, UNMAPPED
from tasks.policy.sla import SLA_RULES
from tasks.policy.sla_over_time import BREACHES, DUE_SOON, KEPT, SLA_KEPT, SLA_TREND, TREND
from tasks.policy.upgrade_views import CHANGES, FIXES, OUTDATED, SAVED, STEP_COLUMNS, STEP_HANDED_ON
from tasks.policy.view_columns import COLUMNS, HANDED_ON

#: What policy adds to the lake, for whoever asks it (``tasks.lake.views.run_query``).
POLICY = ViewSet(
    views=(SEVERITIES, SLA_RULES, RANKED, VULNERABLE_RANKED, SLA_TREND, SLA_KEPT, FIXES, CHANGES, OUTDATED),
    saved={
        "ranked": RANKED_FIRST,
        "priorities": PRIORITIES_BY_OWNER,
        "by-team": BY_TEAM,
        "without-owner": WITHOUT_OWNER,
        "unknown-severities": UNMAPPED,
        "sla-breaches": BREACHES,
        "due-soon": DUE_SOON,
        "sla-trend": TREND,
        "mttr": KEPT,
        "dependencies": DEPENDENCIES,
        "dependencies-by-team": DEPENDENCIES_BY_TEAM,
        **QUESTIONS,
        **SAVED,
    },
    columns={**COLUMNS, **STEP_COLUMNS},
    handed_on={**HANDED_ON, **STEP_HANDED_ON},
)
