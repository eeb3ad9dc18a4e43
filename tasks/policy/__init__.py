"""Severity and priority; SLA, decisions and compliance controls when they come. Views over the lake, no facts of it."""

from __future__ import annotations

from tasks.core.view_sets import ViewSet
from tasks.policy.priority import PRIORITIES_BY_OWNER, RANKED, RANKED_FIRST
from tasks.policy.severity import SEVERITIES, UNMAPPED

#: What policy adds to the lake, for whoever asks it (``tasks.lake.views.run_query``).
POLICY = ViewSet(
    views=(SEVERITIES, RANKED),
    saved={"ranked": RANKED_FIRST, "priorities": PRIORITIES_BY_OWNER, "unknown-severities": UNMAPPED},
)
