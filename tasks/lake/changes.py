"""What publishing knows of a changed scope, and the words of a finding's life."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tasks.core.types import ScanResult

ScopeKey = tuple[str, str, str]
#: Paths at which a result saw each anchor: result name → anchor → paths.
Places = Mapping[str, Mapping[str, frozenset[str]]]
#: Tells the paths of a commit (None: they could not be told).
Paths = Callable[[], frozenset[str] | None]

#: Tells, of a rule at a path, whether it finds something there for no other reason than that time has passed.
Aged = Callable[[str, str], bool]
#: Tells, of a rule at a path, the path of the gap because of which it was not judged there; None: it was.
Unjudged = Callable[[str, str], str | None]


def _never(_rule_id: str, _path: str) -> bool:
    return False


class Status(StrEnum):
    """Where a finding is in its life: a closed list. The first four are what scans say, the others are judged over what
    is there: by decisions, or (revoked) because its value was proved to work no more."""

    OPEN = "open"
    REOPENED = "reopened"
    FIXED = "fixed"
    ARCHIVED = "archived"
    ACCEPTED = "accepted"
    FALSE_POSITIVE = "false_positive"
    WONT_FIX = "wont_fix"
    REVOKED = "revoked"


class Origin(StrEnum):
    """Why a finding came: a closed list."""

    CODE = "code"
    RULES = "rules"
    ADVISORY = "advisory"
    IMPORT = "import"
    BACKLOG = "backlog"
    TIME = "time"
    SETTINGS = "settings"


#: What scans say of a finding that is there.
PRESENT = frozenset({Status.OPEN, Status.REOPENED})
#: Why a finding moved from one status to another, with what each means: the closed list of ``finding_events.cause``.
CAUSES = {
    "first_scan": "its repository, or its file, was looked at for the first time (origin backlog)",
    "code_changed": "its code came, was changed, or came back",
    "rules_changed": "a tool or a rule is new that sees it; the code is older (origin rules)",
    "advisory": "an advisory is new; the manifest is older (origin advisory)",
    "import": "an imported report names it, or names it no more",
    "branched": "another branch of its repository holds it, or held it until it was deleted: it is as old here",
    "time_passed": "it goes by a date, and its day has come: commit and tool are the same (origin time)",
    "settings_changed": "settings of the forge, or what a store of secrets holds and how, are others than they were"
    " (origin settings)",
    "moved": "its file was renamed: the same flaw goes on under another finding, which names this one in moved_from",
    "file_gone": "its file left the tree",
    "rule_gone": "its rule is no longer in force",
    "tool_changed": "its file is the same; the tool, its rules or its parser are not",
    "code_or_tool": "its file and the tool have both changed",
    "ref_gone": "its branch was deleted (archived)",
    "archived": "its repository was deleted, moved away or archived (archived)",
    "restored": "its branch or repository is back",
    "decision": "a decision was made, changed or withdrawn",
    "expiry": "the decision about it has expired",
    "revoked": "its value was rotated, and what accepted it refuses it: who, when and how is in the table leaks",
    "works_again": "its value is in force again, or the proof that it is refused holds no more",
}
#: Reasons of a scope with nothing to read any more that say nothing of the code: its findings are archived.
_ARCHIVED = {"ref_gone": "ref_gone", "repository_gone": "archived", "sbom_withdrawn": "import"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A scope that now refers to another result; ``result`` is None when there is nothing to read any more.

    ``before`` names the result it referred to until now.
    """

    repo_id: str
    ref: str
    tool: str
    slug: str
    commit: str | None
    result: ScanResult | None
    before: str | None = None
    #: Why there is nothing to read.
    empty_reason: str = "nothing_to_read"
    #: The origin of all that is new here; None: it is told of each finding.
    origin: Origin | None = None
    #: Whether tool, rules, options or parser are others than those of the result before.
    other_tool: bool = False
    #: Of those cases, paths whose file is the same as then; asked only where something came or is gone, for it may be
    #: all of a tree.
    same_paths: Paths = field(default=frozenset, repr=False, compare=False)
    #: Paths that the result before had not read.
    unread_before: frozenset[str] = frozenset()
    #: Whether the commit is that of the result before, and whether it is about settings of a forge, not about files.
    same_commit: bool = False
    of_settings: bool = False
    #: The rules in force (None: the tool does not list them), and a way to know those of the result before.
    rules: frozenset[str] | None = None
    rules_before: Paths = field(default=lambda: None, repr=False, compare=False)
    #: Rules, or beginnings of rules that end in ``*``, that should have run and did not: their findings stay while
    #: one of their files is there.
    not_run: frozenset[str] = frozenset()
    #: For what has a place a finding, and gaps that are about many places: then this alone says what was not read.
    unjudged: Unjudged | None = field(default=None, repr=False, compare=False)
    aged: Aged = field(default=_never, repr=False, compare=False)
    #: The paths of the commit, and of the commit before; asked only where something is gone.
    paths: Paths = field(default=lambda: None, repr=False, compare=False)
    paths_before: Paths = field(default=lambda: None, repr=False, compare=False)

    @property
    def key(self) -> ScopeKey:
        """The scope's key."""
        return (self.repo_id, self.ref, self.tool)

    @property
    def archives(self) -> str | None:
        """The cause, if its findings are archived, not fixed."""
        return _ARCHIVED.get(self.empty_reason) if self.result is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The run in whose name findings change. ``seq`` is the order of events; ``at`` the run's clock, UTC."""

    run_id: str
    seq: int
    at: datetime
    key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is judged of a finding that is there: by a decision in force one of the deciding words of ``Status`` and
    until when, or by a proof that its value works no more (``revoked``, of no decision and without an end)."""

    decision_id: str | None = None
    status: Status
    until: datetime | None = None


#: The verdict on a row of ``findings`` at the moment of the run, None without one.
Judge = Callable[[Mapping[str, Any]], Verdict | None]


def undecided(_row: Mapping[str, Any]) -> Verdict | None:
    """The judge where nobody decides."""
    return None


def key_of(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """The key of a row of ``findings``."""
    return (row["finding_uid"], row["ref"], row["tool"])


def scope_of(row: Mapping[str, Any]) -> ScopeKey:
    """The scope that a row of ``findings`` lies in."""
    return (row["repo_id"], row["ref"], row["tool"])


def places_of(seen: Iterable[tuple[str, str, str | None]]) -> Places:
    """The places of (result name, anchor, path)."""
    found: dict[str, dict[str, frozenset[str]]] = {}
    for name, anchor, path in seen:
        by_anchor = found.setdefault(name, {})
        by_anchor[anchor] = by_anchor.get(anchor, frozenset()) | {path or ""}
    return found


def did_not_run(rule_id: str, not_run: Collection[str], rules: Collection[str] | None) -> bool:
    """Whether a rule should have run and did not; ``not_run`` and ``rules`` as in ``Change``.

    One in force did run, whatever else of its pack is at fault.
    """
    return (rules is None or rule_id not in rules) and any(
        rule_id.startswith(rule[:-1]) if rule.endswith("*") else rule_id == rule for rule in not_run
    )
