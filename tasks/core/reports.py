"""What importers hand over: records of report files made elsewhere, each said of the tool that made it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from datetime import datetime

from tasks.core.errors import UsageError
from tasks.core.identity import occurrence_uid
from tasks.core.types import Gap, Observation, digest

#: ``extra["result_kind"]`` of what a tool looked at and did not hold against anybody.
_NO_FINDING = frozenset({"pass", "notApplicable", "informational"})
_ODD = re.compile(r"[^a-z0-9._]+")
_COLUMNS = tuple(f.name for f in fields(Observation))


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


class RecordNames:
    """What tells equal records of one call's files apart, and makes those that stand in several files one.

    All files of a call are together what their tools say: of records with one basis the places are numbered through
    all files. A record that is the same in every column stands in two files as often as in the file that has it more
    often, under the same uids, so that whoever reads the files can leave the repetition out.
    """

    __slots__ = ("_here", "_next", "_nth", "_places")

    def __init__(self) -> None:
        self._places: dict[bytes, dict[bytes, int]] = {}
        self._here: dict[bytes, int] = {}
        self._nth: dict[bytes, int] = {}
        self._next: dict[bytes, int] = {}

    def next_file(self) -> None:
        """Another file begins."""
        self._here.clear()

    def ordinal(self, basis: str, place: str) -> int:
        """Number of a place (a digest, as is ``basis``) among those of one basis: the first gets 0."""
        places = self._places.setdefault(bytes.fromhex(basis)[:16], {})
        return places.setdefault(bytes.fromhex(place)[:12], len(places))

    def numbered(self, tool: str, record: Observation) -> Observation:
        """The record with an ``occurrence_uid`` that no other one of this tool and file has."""
        uid = record.occurrence_uid
        what = _short(tool, uid, json.dumps([getattr(record, c) for c in _COLUMNS], default=dict, sort_keys=True))
        again = self._here.get(what, 0)
        self._here[what] = again + 1
        twin = _short(what, again)
        if twin not in self._nth:
            base = _short(tool, uid)
            self._nth[twin] = self._next.get(base, 0)
            self._next[base] = self._nth[twin] + 1
        nth = self._nth[twin]
        if nth == 0:
            return record
        return replace(record, occurrence_uid=occurrence_uid(anchor_uid=uid, path="", line=None, blob=None, nth=nth))


def _short(*parts: object) -> bytes:
    return bytes.fromhex(digest(*parts))[:16]


def is_finding(observation: Observation) -> bool:
    """Whether an observation is held against the code. Passed checks and what a baseline had are kept, not counted."""
    extra = observation.extra
    return extra.get("result_kind") not in _NO_FINDING and extra.get("baseline_state") != "absent"


def tool_name(said: str) -> str:
    """A tool's name as part of a scope: lower case, letters, digits, dots, dashes; ``unnamed`` if nothing is left."""
    return _ODD.sub("-", said.lower()).strip("-._")[:60].strip("-._") or "unnamed"
