"""What importers hand over: records of report files made elsewhere, each said of the tool that made it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from tasks.core.errors import UsageError
from tasks.core.types import Gap, Observation

#: ``extra["result_kind"]`` of what a tool looked at and did not hold against anybody.
_NO_FINDING = frozenset({"pass", "notApplicable", "informational"})
_ODD = re.compile(r"[^a-z0-9._]+")


class ReportError(UsageError):
    """A file is not of the format an importer reads; says where in it, and what to do (exit code 2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedTool:
    """The tool that speaks. ``name`` is in lower case and fit for a scope; ``looked_at`` is when it ended, if it says.

    ``commit`` is the revision it says it read.
    """

    name: str
    version: str = ""
    commit: str | None = None
    looked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """One record of a report. ``item`` None says that the tool was there: it may have found nothing."""

    tool: ReportedTool
    item: Observation | Gap | None = None


def is_finding(observation: Observation) -> bool:
    """Whether an observation is held against the code. Passed checks and what a baseline had are kept, not counted."""
    extra = observation.extra
    return extra.get("result_kind") not in _NO_FINDING and extra.get("baseline_state") != "absent"


def tool_name(said: str) -> str:
    """A tool's name as part of a scope: lower case, letters, digits, dots, dashes; ``unnamed`` if nothing is left."""
    return _ODD.sub("-", said.lower()).strip("-._")[:60].strip("-._") or "unnamed"
