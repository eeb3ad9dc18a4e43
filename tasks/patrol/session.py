"""One run of the patrol: what was discovered, mirrored and planned. Lives in one process, shared by its threads."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.disk import reason_of
from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.origins import Classification, DecisionPlace, Mirror, Source, Team
from tasks.core.ports import Forge, Scanner
from tasks.core.process import ProcessRunner
from tasks.core.text import one_line
from tasks.core.types import Cause, FailedScan, Repo, Scan, ScanResult, ScopeState, ToolHome, Unit
from tasks.deps.prepared import Prepared
from tasks.lake.lake import Lake, Snapshot
from tasks.patrol.discovering import Discovery
from tasks.patrol.listing import Listing
from tasks.patrol.naming import PACK, PACK_SOURCE, name_imports, name_scans
from tasks.patrol.owning import Owning
from tasks.patrol.plan import (
    Action,
    Estimates,
    Options,
    Planned,
    decide,
    follow_twins,
    is_beside,
    needs_work,
    result_name,
    revision_of,
    waits,
    within_budget,
)
from tasks.patrol.progress import Progress
from tasks.patrol.read_before import ReadBefore
from tasks.patrol.settings_round import SettingsRound
from tasks.repos.discovery import normalised
from tasks.repos.git import Git
from tasks.repos.history import is_reached
from tasks.repos.mirrors import Mirrors
from tasks.scanners.semgrep import Semgrep

ScopeKey = tuple[str, str, str]
#: Repositories refreshed at a time: they wait for the network, and ``Mirrors`` bounds what one host sees of it.
REFRESHES = 16


@dataclass(slots=True)
class RepoState:
    """What this run knows of one repository; ``reason_code`` is set when it could not be refreshed."""

    repo: Repo
    found: bool
    mirror: Mirror | None = None
    reason_code: str | None = None
    detail: str = ""
    #: Sources that patrol it too: what their ``refs`` ask for is watched as well.
    also: tuple[str, ...] = ()
    #: Sources of the same account that would patrol it too and do not see it tonight.
    unseen_by: tuple[str, ...] = ()
    plans: list[Planned] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What a run works with. ``tools`` maps a scanner's name to its home, or to the reason it is not there."""

    lake: Lake
    runner: ProcessRunner
    git: Git
    mirrors: Mirrors
    scanners: tuple[Scanner, ...]
    tools: Mapping[str, ToolHome | str]
    key: HmacKey
    work: Path
    workers: int
    #: What was said of files before; None: nothing is kept of them.
    read_before: ReadBefore | None = None
    #: The advisories of a snapshot made ready, by its id; None: nobody has them here.
    advisories: Callable[[str], Prepared | None] = lambda _id: None
    #: A folder in memory for what is written for tools and soon removed; None where there is none.
    memory: Path | None = None
    #: Whether the lake's lock is held; a plan only reads.
    writes: bool = True
    unused_mirror_days: float = 30.0
    switched_off: frozenset[str] = frozenset()
    #: What of rule packs does not run: pack → (reason code, detail). None: nobody looked, the tool is not used.
    packs: Mapping[str, tuple[str, str]] | None = None
    #: Rules that should have run and did not, by tool (``tasks.lake.findings.Change.not_run``).
    not_run: Mapping[str, frozenset[str]] = field(default_factory=dict)
    #: Tools for which no rule runs, so that they must not be started, and why.
    without_rules: Mapping[str, str] = field(default_factory=dict)
    #: Seconds of tools that a night may give to files that are the same, but whose tool or rules are newer.
    upgrade_s: float = 7200.0
    #: Platform tools that nobody has here or wants: expected only where the lake knows scopes of them.
    unused: frozenset[str] = frozenset()
    #: The forge of each source that is one.
    forges: Mapping[str, Forge] = field(default_factory=dict)
    #: After so many days a forge is asked anew for settings of a repository.
    settings_days: float = 7.0
    #: What repositories are worth, by rules.
    classification: tuple[Classification, ...] = ()
    #: The rules of the SLA as the lake keeps them; None: the built-in ones.
    sla: str | None = None
    #: Where people decide about findings; None: what the lake knows of decisions stays.
    decisions: DecisionPlace | None = None
    #: The teams of the organisation; None: those that the lake knows stay.
    teams: tuple[Team, ...] | None = None
    #: What knows which versions of packages are published.
    listing: Listing = field(default_factory=Listing)


class Patrol:
    """The state of one run. Call in order: discover, refresh, plan, scan (each repository), publish."""

    def __init__(self, means: Means, sources: Iterable[Source], options: Options) -> None:
        self.means = means
        self.sources = tuple(sources)
        self.options = options
        self.run_id = uuid.uuid4().hex
        self.started_at = datetime.now(UTC)
        self.progress = Progress()
        self.repos: dict[str, RepoState] = {}
        #: The whole names of refs that are watched beside the default branch, as patterns, by source.
        self.ref_patterns = {
            s.name: tuple(p if p.startswith("refs/") else f"refs/heads/{p}" for p in s.refs) for s in self.sources
        }
        #: Whether all sources there are were asked and answered: else nobody knows all patterns of a repository.
        self.all_read = False
        #: What came of each source: the rows of ``discoveries``, but for the run.
        self.tallies: list[dict[str, Any]] = []
        self.snapshot: Snapshot = means.lake.snapshot()
        self.spooled: dict[str, ScanResult] = means.lake.spool.load(tidy=means.writes)
        #: Scans that failed in a killed run, by scope.
        self.failed: dict[ScopeKey, FailedScan] = means.lake.spool.load_failed(tidy=means.writes)
        self._failed_names = {f.row.scan_name: f for f in self.failed.values()}
        #: What the lake knows of all repositories, by id.
        self.known_repositories = self.snapshot.repository_rows(None)
        #: Who answers for paths.
        self.owning = Owning(
            means.git, {s.name: s.forge.kind for s in self.sources if s.forge is not None}, self.known_repositories
        )
        #: Sources of the run, as the lake knows them.
        self.known_sources = self._known_sources()
        #: The scopes of the repositories that are expected, or may be; and by repository and tool.
        self.states: dict[ScopeKey, ScopeState] = {}
        self.known: dict[tuple[str, str], list[ScopeState]] = {}
        #: Scopes that no patrol looks at, by repository: of imported reports, of what advisories say.
        self.imported: dict[str, list[ScopeState]] = {}
        #: The scanners that this run expects something of.
        self.scanners: tuple[Scanner, ...] = ()
        mine = (i for i, row in self.known_repositories.items() if row["source"] in self.known_sources)
        self._recall(None if options.all_sources else set(mine))
        self.rows: dict[ScopeKey, Scan] = {}
        #: Results of this run and of a killed one before it, by the name that plans know them by.
        self.results = {result_name(r.scan_name, r.parse_revision): r for r in self.spooled.values()}
        self.unpublished = frozenset(r.scan_name for r in self.spooled.values())
        #: What forges tell of settings tonight.
        self.settings = SettingsRound(self)
        self.lock = threading.Lock()

    def _known_sources(self) -> tuple[str, ...]:
        """Those of the run. Where it is all of the configuration, also those that are configured no more: renamed or
        removed, they must not take their repositories along. Names in brackets no configuration can have."""
        found = {s.name for s in self.sources}
        if self.options.all_sources:
            found |= {r["source"] for r in self.known_repositories.values() if not r["source"].startswith("(")}
        return (*sorted(found), PACK_SOURCE)

    def _recall(self, repo_ids: set[str] | None) -> None:
        """Load the scopes of some repositories (of all when None), which were not loaded before."""
        states = self.snapshot.scope_states(repo_ids)
        self.states |= states
        for state in states.values():
            self.known.setdefault((state.repo_id, state.tool), []).append(state)
            if is_beside(state.tool):
                self.imported.setdefault(state.repo_id, []).append(state)
        known = {tool for _, _, tool in self.states} | set(self.options.tools)
        self.scanners = tuple(s for s in self.means.scanners if s.name not in self.means.unused or s.name in known)

    # -- discover ---------------------------------------------------------------------------------------

    def discover(self) -> int:
        """Find the repositories of the sources and add those the last run knew. Returns how many are expected."""
        Discovery(self).run()
        if not self.options.all_sources:
            # A repository of this source may be known as one of a source that is not in this run.
            known = self.known_repositories
            elsewhere = {i for i in self.repos if i in known and known[i]["source"] not in self.known_sources}
            self._recall(elsewhere)
            for s in (self.repos[i] for i in elsewhere):
                # When it cannot be fetched, nothing else tells which branch it is about.
                default = s.repo.default_branch or known[s.repo.repo_id]["default_branch"]
                s.repo = replace(s.repo, default_branch=default)
        return len(self.repos)

    # -- refresh ----------------------------------------------------------------------------------------

    def refresh(self) -> int:
        """Bring every mirror up to date; a failure becomes the repository's reason. Returns how many were fetched."""
        todo = [s for s in self.repos.values() if s.reason_code is None]
        self.progress.start("refresh", {s.repo.slug: 1.0 for s in todo})
        self.each(todo, self._refresh_one, threads=max(REFRESHES, self.means.workers))
        return sum(1 for s in todo if s.mirror is not None and s.mirror.fetched)

    def _refresh_one(self, state: RepoState) -> None:
        slug = state.repo.slug
        self.progress.begin(slug)
        try:
            state.mirror = self.means.mirrors.refresh(state.repo)
            state.repo = replace(state.repo, default_branch=state.mirror.head_ref)
            self._keep_apart(state, state.mirror)
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
            state.reason_code, state.detail = e.reason_code, e.detail
        except Exception as e:  # a fault of ours on one repository is that one's reason
            state.reason_code, state.detail = reason_of(e), type(e).__name__
        finally:
            self.progress.end(slug, failed=state.reason_code is not None)

    def _keep_apart(self, state: RepoState, mirror: Mirror) -> None:
        """Tell a repository that was renamed from another one that has its number, as on a forge that was set up anew.

        A rename changes name and address, too, but not the commits. The row keeps the old name until that is settled.
        """
        repo, before = state.repo, self.known_repositories.get(state.repo.repo_id)
        is_of_forge = any(s.forge is not None for s in self.sources if s.name == repo.source)
        if before is None or not is_of_forge or self.options.force:
            return
        if before["slug"].lower() == repo.slug.lower() or normalised(before["url"]) == normalised(repo.url):
            return
        read = {k.commit for (repo_id, _, _), k in self.states.items() if repo_id == repo.repo_id and k.commit}
        if not read or any(is_reached(self.means.git, mirror.path, commit) for commit in sorted(read)):
            return
        state.reason_code, state.mirror = "another_repository", None
        state.detail = one_line(f"its number is that of {repo.slug} now", 200)
        state.repo = replace(repo, slug=before["slug"], url=before["url"], default_branch=before["default_branch"])

    def each(
        self, items: Iterable[RepoState], work: Callable[[RepoState], None], *, threads: int | None = None
    ) -> None:
        """Run ``work`` for every item on threads, as many as there are workers unless told otherwise.

        A fault of ours on one repository is that one's reason; an interruption kills what runs and ends the phase."""

        def guarded(item: RepoState) -> None:
            try:
                work(item)
            except ScanGapError:
                raise
            except Exception as e:  # must not take the others' night; a message may quote what was read
                item.reason_code, item.detail = reason_of(e), type(e).__name__

        with ThreadPoolExecutor(threads or self.means.workers, thread_name_prefix="patrol") as pool:
            try:
                for future in [pool.submit(guarded, item) for item in items]:
                    future.result()
            except BaseException:
                self.means.runner.cancel()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    # -- plan -------------------------------------------------------------------------------------------

    def plan(self) -> list[Planned]:
        """Decide every expected scan; forges are asked for settings that are due. Starts no tool."""
        todo = list(self.repos.values())
        self.settings.ask()
        self.progress.start("plan", {s.repo.slug: 1.0 for s in todo})
        self.each(todo, self._name_one)
        estimates = Estimates(self.states.values())
        named = [p for s in todo for p in s.plans if p.outcome is None and p.action is Action.RUN]
        done = self._done_names(named)
        for s in todo:
            s.plans = [
                self._decided(p, done, estimates) if p.outcome is None and p.action is Action.RUN else p
                for p in s.plans
            ]
        flat = within_budget(
            follow_twins(p for s in todo for p in s.plans), self._awaiting, self.scan_s, self.means.upgrade_s
        )
        by_repo: dict[str, list[Planned]] = {}
        for p in flat:
            by_repo.setdefault(p.repo_id, []).append(p)
        for s in todo:
            s.plans = by_repo.get(s.repo.repo_id, [])
        return flat

    def _awaiting(self, p: Planned) -> ScopeState | None:
        """The scope of a plan that only a newer tool or newer rules ask for, and that can wait; else None."""
        state = self.states.get(p.scope)
        if p.cause not in (Cause.TOOL, Cause.RULES) or p.action is not Action.RUN or state is None:
            return None
        return state if p.same_files and state.result_name is not None and state.failed_name is None else None

    def _decided(self, p: Planned, done: Mapping[str, str], estimates: Estimates) -> Planned:
        failure = self.failure_of(p)
        decided = decide(
            p,
            state=self.states.get(p.scope),
            scanner=self._scanner(p.tool),
            tool=self.tool(p.tool),
            done=done,
            unpublished=self.unpublished,
            options=self.options,
            now=self.started_at,
            failed=failure.row if failure is not None else None,
        )
        return replace(decided, estimate_s=estimates.of(decided.scope, decided.cause))

    def _done_names(self, plans: Iterable[Planned]) -> dict[str, str]:
        """Completed names, of plans whose scope does not hold today's reading of them, with their newest result.

        A name that waits for its next try is not looked for meanwhile: the ledger grows with every night, and a night
        in which nothing is tried must not read it.
        """
        names = []
        for p in plans:
            state = self.states.get(p.scope)
            if waits(state, p.scan_name, self.options, self.started_at):
                continue
            if (
                state is None
                or state.scan_name != p.scan_name
                or state.failed_name is not None
                or revision_of(state.result_name or ".0") != self._scanner(p.tool).parse_revision
            ):
                names.append(p.scan_name or "")
        found = {name: str(row["result_name"]) for name, row in self.snapshot.ledger_lookup(names).items()}
        for r in self.spooled.values():
            if r.scan_name not in found or revision_of(found[r.scan_name]) <= r.parse_revision:
                found[r.scan_name] = result_name(r.scan_name, r.parse_revision)
        return found

    def _name_one(self, s: RepoState) -> None:
        try:
            self.owning.look(s)
            s.plans = self._named(s)
        except ScanGapError:
            raise
        except Exception as e:  # a fault of ours on one repository: its scans fail, the others go on
            s.reason_code, s.detail = reason_of(e), type(e).__name__
            s.plans = self._named(s)
        finally:
            self.progress.end(s.repo.slug, failed=s.reason_code is not None)

    def _named(self, s: RepoState) -> list[Planned]:
        plans = [p for scanner in self._expected(s) for p in name_scans(self, s, scanner)]
        return plans + name_imports(self, s)

    def _expected(self, s: RepoState) -> list[Scanner]:
        """The tools that are to look at a repository; a pack concerns the one whose rules it holds."""
        pack = s.repo.repo_id.startswith(PACK)
        return [scanner for scanner in self.scanners if not pack or isinstance(scanner, Semgrep)]

    def failure_of(self, p: Planned) -> FailedScan | None:
        """What a killed run left of a scan of this name that failed: its own, else that of a twin."""
        own = self.failed.get(p.scope)
        if own is not None and own.row.scan_name == p.scan_name:
            return own
        twin, state = self._failed_names.get(p.scan_name), self.states.get(p.scope)
        if twin is None or state is None or state.failed_name != p.scan_name or state.last_attempt_at is None:
            return twin
        # The twin may never decide on it itself (its repository is gone): it counts here once, then comes the next try.
        return None if state.last_attempt_at >= twin.tried_at else twin

    # -- small questions --------------------------------------------------------------------------------

    def _scanner(self, name: str) -> Scanner:
        return next(s for s in self.means.scanners if s.name == name)

    def tool(self, name: str) -> ToolHome:
        """The home of an installed tool. Raises ScanGapError(tool_missing)."""
        tool = self.means.tools[name]
        if isinstance(tool, str):
            raise ScanGapError("tool_missing", tool)
        return tool

    def changed(self) -> list[RepoState]:
        """Repositories with at least one scan to run or read again, the longest expected first."""
        changed = [s for s in self.repos.values() if any(needs_work(p) for p in s.plans)]
        return sorted(changed, key=self.expected_s, reverse=True)

    def expected_s(self, s: RepoState) -> float:
        """Seconds that a repository's scans will take: by history, else by the pace of the tools."""
        return sum(self.scan_s(p) for p in s.plans if needs_work(p))

    def scan_s(self, p: Planned) -> float:
        """Seconds that one scan will take."""
        if p.estimate_s is not None:
            return p.estimate_s
        mirror, packed = self.repos[p.repo_id].mirror, 0
        packs = mirror.path / "objects" / "pack" if mirror is not None else None
        if p.unit is Unit.BLOB and packs is not None and packs.is_dir():
            packed = sum(f.stat().st_size for f in packs.iterdir())
        return self._scanner(p.tool).pace.seconds(p.files, packed)
