"""The names of the expected scans: what each repository and tool would read, and why where that cannot be told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from tasks.core.errors import ScanGapError
from tasks.core.forge_settings import ForgeSettings
from tasks.core.ports import JudgesSettings, LooksAround, Scanner, UsesDatabase
from tasks.core.types import Cause, Outcome, ScopeState, ToolHome, Unit, display_path
from tasks.lake.changes import PRESENT, did_not_run
from tasks.patrol.plan import (
    ALL_REFS,
    SETTINGS_REF,
    UNKNOWN_REF,
    Action,
    Planned,
    config_digest,
    history_scan_name,
    settings_scan_name,
    tree_scan_name,
)
from tasks.patrol.surroundings import around_of, named_with
from tasks.repos.trees import Tree, read_tree, unwritten

if TYPE_CHECKING:
    from tasks.patrol.session import Patrol, RepoState

#: Reasons that a mirror which was whole can only have by damage on our side.
DAMAGED = frozenset({"corrupt", "incomplete"})
#: Reasons of what is not expected again.
_FORGOTTEN = frozenset({"repository_gone", "gap_gone"})
#: Beginning of the id of what stands in for a rule pack.
PACK = "pack:"
#: The source of rule packs, fetched ones and what stands in for others: no configuration can name it, and every run
#: knows it.
PACK_SOURCE = "(packs)"


def name_scans(patrol: Patrol, s: RepoState, scanner: Scanner) -> list[Planned]:
    """The expected scans of one repository by one tool, named where the tree can be read."""
    repo, known = s.repo, patrol.known.get((s.repo.repo_id, scanner.name), [])
    head = s.mirror.head_ref if s.mirror else None
    settings = [_name_settings(patrol, s, scanner)] if isinstance(scanner, JudgesSettings) else []
    if scanner.unit is Unit.BLOB:
        refs = [ALL_REFS]
    else:
        watched = {ref for ref in (s.mirror.refs if s.mirror else ()) if _is_asked_for(patrol, s, ref)}
        known = [k for k in known if k.ref != SETTINGS_REF]
        refs = sorted({k.ref for k in known if k.reason_code != "ref_gone"} | watched)
        if head is not None:
            refs = sorted({head, *refs})
        elif s.mirror is not None:
            # There are refs, but no default branch: that is a gap, whatever becomes of those known before.
            refs = sorted({UNKNOWN_REF, *refs})
        refs = refs or [repo.default_branch or UNKNOWN_REF]
    return [_name_scan(patrol, s, scanner, ref) for ref in refs] + [p for p in settings if p is not None]


def _name_settings(patrol: Patrol, s: RepoState, scanner: Scanner) -> Planned | None:
    """The expected look at what the forge tells of a repository; None where nobody asked for it, then or now.

    What was not asked tonight stands as it was told. Where the forge could not be asked it is ``stale``, or was never
    told at all; that only requests were short is no matter for what was told before.
    """
    state = patrol.states.get((s.repo.repo_id, SETTINGS_REF, scanner.name))
    if state is None and not patrol.settings.wanted(s):
        return None
    base = Planned(
        repo_id=s.repo.repo_id, slug=s.repo.slug, ref=SETTINGS_REF, tool=scanner.name, unit=Unit.SETTINGS,
        action=Action.RUN, cause=Cause.NONE,
    )  # fmt: skip
    if s.reason_code is not None:
        return _given_up_for(patrol, s, base)
    if (idle := _idle(patrol, scanner, base)) is not None:
        return idle
    if not patrol.settings.wanted(s):
        return _give_up(base, Outcome.SKIPPED, "settings_off", "the source does not ask for settings")
    assert s.mirror is not None
    head = s.mirror.refs.get(s.mirror.head_ref or "")
    if head is None:
        return _give_up(base, Outcome.FAILED, "no_default_branch", "HEAD names no existing branch")
    config = config_digest(scanner, patrol.tool(scanner.name))
    told = patrol.settings.told.get(s.repo.repo_id)
    if isinstance(told, ForgeSettings):
        name = settings_scan_name(config, told.document())
        return replace(base, commit=head, config_digest=config, scan_name=name, told_at=patrol.started_at)
    if state is not None and state.result_name is not None and (told is None or told.reason_code == "forge_limited"):
        return replace(base, action=Action.KEEP, commit=head, scan_name=state.scan_name, result_name=state.result_name,
                       config_digest=state.config_digest)  # fmt: skip
    if told is None:
        # A plan asks no forge, and of a night in which one was asked nobody is left out without a reason.
        return _give_up(base, Outcome.FAILED, "forge_limited", "not asked yet") if patrol.means.writes else None
    outcome = Outcome.STALE if state is not None and state.result_name is not None else Outcome.FAILED
    return _give_up(base, outcome, told.reason_code, told.message)


def name_imports(patrol: Patrol, s: RepoState) -> list[Planned]:
    """What is expected of imported reports: nothing, until their repository or branch is gone. Then, once, that there
    is nothing to read any more, for no import would say so."""
    found = []
    for state in patrol.imported.get(s.repo.repo_id, ()):
        gone = (s.reason_code or "", s.detail) if s.reason_code == "repository_gone" else None
        if s.reason_code is None and s.mirror is not None and state.ref.startswith(("refs/heads/", "refs/tags/")):
            there = state.ref in s.mirror.refs or state.ref in s.mirror.odd
            gone = None if there else ("ref_gone", f"{state.ref} is gone")
        if gone is None or state.result_name is None:
            continue
        base = Planned(
            repo_id=s.repo.repo_id,
            slug=s.repo.slug,
            ref=state.ref,
            tool=state.tool,
            unit=Unit.TREE,
            action=Action.EMPTY,
            cause=Cause.NONE,
        )
        found.append(replace(_give_up(base, Outcome.NOTHING_TO_READ, *gone), action=Action.EMPTY))
    return found


def _is_asked_for(patrol: Patrol, s: RepoState, ref: str) -> bool:
    """Whether a pattern of a source that patrols the repository asks for a ref."""
    return _matches(patrol, ref, (s.repo.source, *s.also))


def _matches(patrol: Patrol, ref: str, sources: Iterable[str]) -> bool:
    return any(fnmatchcase(ref, p) for name in sources for p in patrol.ref_patterns.get(name, ()))


def _is_unwatched(patrol: Patrol, s: RepoState, base: Planned) -> bool:
    """Whether a ref was looked at once and is watched no more: neither the default branch nor asked for.

    Where the default branch cannot be told tonight, or a source is not in the run, was not read or shows the repository
    no more, only what was unwatched last night is: else a HEAD that is broken, or a token that has expired, would make
    findings count no more.
    """
    if base.unit is Unit.BLOB or base.ref == UNKNOWN_REF or _is_asked_for(patrol, s, base.ref):
        return False
    head = s.mirror.head_ref if s.mirror is not None else None
    if s.mirror is not None and head is not None and (base.ref == head or base.ref not in s.mirror.refs):
        return False
    if head is not None and patrol.all_read and not _matches(patrol, base.ref, s.unseen_by):
        return True
    before = patrol.states.get(base.scope)
    return before is not None and before.reason_code == "ref_unwatched" and base.ref != s.repo.default_branch


def _name_scan(patrol: Patrol, s: RepoState, scanner: Scanner, ref: str) -> Planned:
    base = Planned(
        repo_id=s.repo.repo_id,
        slug=s.repo.slug,
        ref=ref,
        tool=scanner.name,
        unit=scanner.unit,
        action=Action.RUN,
        cause=Cause.NONE,
    )
    if s.repo.repo_id.startswith(PACK) and (idle := _idle(patrol, scanner, base)) is not None:
        return idle
    if s.reason_code not in _FORGOTTEN and _is_unwatched(patrol, s, base):
        return _give_up(base, Outcome.SKIPPED, "ref_unwatched", "no pattern of `refs` asks for it any more")
    if s.reason_code is not None:
        return _given_up_for(patrol, s, base)
    if (idle := _idle(patrol, scanner, base)) is not None:
        return idle
    if (why := patrol.means.without_rules.get(scanner.name)) is not None:
        return _give_up(base, Outcome.FAILED, "no_rules", why)
    tool = patrol.tool(scanner.name)
    if isinstance(scanner, UsesDatabase) and tool.database is None:
        return _give_up(base, Outcome.FAILED, "database_missing", f"{scanner.name} has no data base yet")
    assert s.mirror is not None
    config = config_digest(scanner, tool)
    state = patrol.states.get(base.scope)
    if scanner.unit is Unit.BLOB:
        tips, refs = s.mirror.tips, s.mirror.refs
        head = refs.get(s.mirror.head_ref or "") or max(refs.values(), default=tips[-1])
        name = history_scan_name(config, tips, s.mirror.odd)
        same = state is not None and state.scan_name is not None and set(state.tips) == set(tips)
        return replace(base, commit=head, tips=tips, config_digest=config, scan_name=name, same_files=same)
    commit = s.mirror.refs.get(ref)
    if commit is None:
        if ref == UNKNOWN_REF and s.mirror.head_ref is None:
            return _give_up(base, Outcome.FAILED, "no_default_branch", "HEAD names no existing branch")
        return replace(_give_up(base, Outcome.NOTHING_TO_READ, "ref_gone", f"{ref} is gone"), action=Action.EMPTY)
    base = replace(base, commit=commit, config_digest=config)
    if _still_names(state, commit, config, patrol.started_at):
        assert state is not None
        # Same commit, same configuration: the tree need not be read to know the name.
        if state.scan_name is None and state.outcome is Outcome.NOTHING_TO_READ:
            return replace(base, action=Action.EMPTY, outcome=Outcome.NOTHING_TO_READ, detail=state.detail)
        if state.scan_name is not None:
            return replace(base, scan_name=state.scan_name)
    return _name_tree(patrol, s, scanner, base, config)


def _given_up_for(patrol: Patrol, s: RepoState, base: Planned) -> Planned:
    """What is said of every scan of a repository that could not be refreshed."""
    assert s.reason_code is not None
    outcome = _outcome_of(s.reason_code)
    before = patrol.states.get(base.scope)
    if s.reason_code == "empty_repository" and before is not None and before.result_name is not None:
        # It held commits when it was last read: an accident until somebody says otherwise.
        outcome = Outcome.FAILED
    given_up = _give_up(base, outcome, s.reason_code, s.detail)
    # Of what is gone for good the findings are closed, as of a tree that holds nothing any more.
    return replace(given_up, action=Action.EMPTY) if s.reason_code == "repository_gone" else given_up


def _still_names(state: ScopeState | None, commit: str, config: str, now: datetime) -> bool:
    """Whether a commit is named as in the scope's last look: same configuration, and its answer has not aged."""
    if state is None or state.commit != commit or state.config_digest != config or state.failed_name:
        return False
    return state.again_at is None or state.again_at > now


def _idle(patrol: Patrol, scanner: Scanner, base: Planned) -> Planned | None:
    """Why a tool does not work in this run; None if it does."""
    if patrol.options.tools and scanner.name not in patrol.options.tools:
        return _give_up(base, Outcome.SKIPPED, "switched_off", "not among the tools asked for")
    if scanner.name in patrol.means.switched_off:
        return _give_up(base, Outcome.SKIPPED, "switched_off", "switched off in the configuration")
    tool = patrol.means.tools[scanner.name]
    return _give_up(base, Outcome.FAILED, "tool_missing", tool) if isinstance(tool, str) else None


def _name_tree(patrol: Patrol, s: RepoState, scanner: Scanner, base: Planned, config: str) -> Planned:
    """Name a scan of unit tree or file by the files of its commit."""
    assert s.mirror is not None
    assert base.commit is not None
    try:
        tree = read_tree(patrol.means.git, s.mirror.path, base.commit)
    except ScanGapError as e:
        if e.reason_code in DAMAGED:
            patrol.means.mirrors.doubt(s.repo.repo_id)
        return _give_up(base, Outcome.FAILED, e.reason_code, e.detail)
    # Links it would read and submodules are gaps of the result, so they are part of its name.
    entries = [e for e in tree.entries if scanner.reads(e.path)] + unwritten(tree, scanner.reads)
    if not entries and not isinstance(scanner, LooksAround):
        if count := _withheld(patrol, base, tree):
            detail = f"{count} findings stand in files that only rules which do not run would read"
            return _give_up(base, Outcome.FAILED, "rule_broken", detail)
        # Of a pack that is gone nobody knows the languages.
        unknown = any(rule.endswith("*") for rule in patrol.means.not_run.get(base.tool, ()))
        detail = "rules that did not run may read files of it" if unknown else ""
        return replace(base, action=Action.EMPTY, outcome=Outcome.NOTHING_TO_READ, detail=detail)
    around = around_of(patrol.means.git, s.mirror.path, tree, scanner, patrol.started_at)

    def name(config: str) -> tuple[str, datetime | None]:
        return named_with(tree_scan_name(config, entries), around, scanner)

    before = patrol.states.get(base.scope)
    # Rules of another language read other files; of the commit that was looked at they are the same all the same.
    same = (
        before is not None
        and before.scan_name is not None
        and before.config_digest not in (None, config)
        and (before.commit == base.commit or before.scan_name == name(before.config_digest or "")[0])
    )
    scan_name, again_at = name(config)
    return replace(base, scan_name=scan_name, files=len(entries), same_files=same, again_at=again_at)


def _withheld(patrol: Patrol, base: Planned, tree: Tree) -> int:
    """Open findings of a scope, by rules that should have run and did not, whose file is still there.

    It may be that nothing of the tree is read for want of these rules: that is not the same as an empty tree.
    """
    not_run, home = patrol.means.not_run.get(base.tool), patrol.means.tools[base.tool]
    before = patrol.states.get(base.scope)
    if not not_run or before is None or before.result_name is None or not isinstance(home, ToolHome):
        return 0
    rules = {rule.rule_id for rule in home.rules} if home.rules is not None else None
    there = {display_path(e.path) for e in tree.entries}
    columns = ("repo_id", "ref", "tool", "scan_status", "rule_id", "path")
    rows = patrol.snapshot.table("findings", {"repo_id": [base.repo_id]}, columns).to_pylist()
    return sum(
        (r["repo_id"], r["ref"], r["tool"]) == base.scope
        and r["scan_status"] in PRESENT
        and r["path"] in there
        and did_not_run(r["rule_id"], not_run, rules)
        for r in rows
    )


def _give_up(base: Planned, outcome: Outcome, reason_code: str, detail: str) -> Planned:
    return replace(base, action=Action.GIVE_UP, outcome=outcome, reason_code=reason_code, detail=detail)


def _outcome_of(reason_code: str) -> Outcome:
    """The outcome of every scan of a repository that could not be refreshed."""
    return {
        "not_found": Outcome.MISSING,
        "not_listed": Outcome.MISSING,
        "gone_unconfirmed": Outcome.MISSING,
        "source_removed": Outcome.MISSING,
        "repository_gone": Outcome.NOTHING_TO_READ,
        "gap_gone": Outcome.NOTHING_TO_READ,
        "filtered": Outcome.SKIPPED,
        "fetch_stale": Outcome.STALE,
        "pack_stale": Outcome.STALE,
        "empty_repository": Outcome.NOTHING_TO_READ,
    }.get(reason_code, Outcome.FAILED)
