"""Scan one changed repository: its planned scans one after another, each durable in the spool when it ends."""

from __future__ import annotations

import shutil
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tasks.core.around import Around
from tasks.core.disk import is_full, reason_of
from tasks.core.errors import LakeError, NightwardenError, ScanGapError
from tasks.core.ports import Scanner
from tasks.core.types import (
    Cause,
    FailedScan,
    Outcome,
    Parsed,
    RawReport,
    Scan,
    ScanResult,
    Target,
    ToolHome,
    TreeEntry,
    Unit,
)
from tasks.patrol import history_scan, settings_round, tree_scan
from tasks.patrol.look import Job, Look, reader, result_of, row_of
from tasks.patrol.naming import DAMAGED
from tasks.patrol.plan import Action, Planned, needs_work
from tasks.patrol.scratch import fits, link_or_copy
from tasks.patrol.session import Patrol, RepoState
from tasks.patrol.sharing import Sharing
from tasks.repos.checkout import Checkout
from tasks.scanners.execute import Execution, execute_bisecting, run_control
from tasks.scanners.service import ServicePool

#: Ends that say nothing of the repository: whoever ends a whole group of processes meets the tools first. Such a
#: failure is not kept for the run that finishes the work.
_TOLD_TO_END = frozenset({-signal.SIGTERM, -signal.SIGINT})


#: What a helper whose tool was killed may take to end.
_HELPERS_END_S = 10.0


class Scanning:
    """Runs planned scans. One for a run; thread-safe."""

    def __init__(self, patrol: Patrol) -> None:
        self.patrol = patrol
        self.means = patrol.means
        self.home = self.means.work / patrol.run_id
        self._controls: dict[str, NightwardenError | None] = {}
        self._control_locks = {s.name: threading.Lock() for s in self.means.scanners}
        self._services: dict[str, ServicePool] = {}
        self._lock = threading.Lock()
        self._sharing: Sharing | None = None
        self._unkept: Exception | None = None
        self._helpers: list[threading.Thread] = []
        #: Whether somebody has used up the memory that checkouts may lie in.
        self._memory_full = False

    def close(self) -> None:
        """End the long-lived processes and remove the run's work folder."""
        for helper in self._helpers:
            helper.join(_HELPERS_END_S)
        for service in self._services.values():
            service.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def expect(self, states: Iterable[RepoState]) -> None:
        """Say which repositories will be scanned, in their order, so that small scans may share calls of a tool."""
        self._sharing = Sharing(self, self._finish_shared)
        self._sharing.expect(states)

    def lend(self, idle: int) -> None:
        """Let so many workers that have no repository left take over scans of those that are still at work: one
        large repository must not be the end of the night alone, its tools one after another. Call it again and again.
        """
        with self._lock:
            self._helpers = [h for h in self._helpers if h.is_alive()]
            for _ in range(idle - len(self._helpers)):
                if self._sharing is None or (found := self._sharing.borrow()) is None:
                    return
                helper = threading.Thread(target=self._help, args=(self._sharing, *found), name="helper", daemon=True)
                self._helpers.append(helper)
                helper.start()

    def _help(self, sharing: Sharing, state: RepoState, p: Planned) -> None:
        row: Scan | None = None
        try:
            row = self._scan(state, p, sharing)
        except ScanGapError:
            pass  # the run was cancelled: the repository's own thread meets the same
        finally:
            sharing.settle(p.scope, row)

    def scan_repository(self, state: RepoState) -> list[Scan]:
        """Do the planned scans of one repository; every one leaves a row, whatever happens to it."""
        with self._lock:
            if self._sharing is None:
                self.expect(self.patrol.changed())
        assert self._sharing is not None
        rows: list[Scan] = []
        elsewhere: list[Planned] = []
        self.patrol.progress.begin(state.repo.slug)
        try:
            # The longest first: the others' threads take the small ones along meanwhile.
            for p in sorted(filter(needs_work, state.plans), key=self.patrol.scan_s, reverse=True):
                if self._sharing.claim(p):
                    rows.append(self._scan(state, p, self._sharing))
                else:
                    elsewhere.append(p)
            for p in elsewhere:
                row: Scan | None = None
                while row is None:
                    future = self._sharing.taken(p)
                    row = future.result() if future is not None else None
                    if row is None and self._sharing.claim(p):  # else somebody has taken it along once more
                        row = self._scan(state, p, self._sharing)
                rows.append(row)
        finally:
            bad = any(r.outcome in (Outcome.FAILED, Outcome.TIMEOUT) for r in rows)
            self.patrol.progress.end(state.repo.slug, failed=bad)
        return rows

    def prepare(self, state: RepoState, p: Planned) -> Job:
        """Make a planned scan ready. Raises ScanGapError when the repository cannot be read."""
        assert state.mirror is not None
        scanner, tool = self._scanner(p.tool), self.patrol.tool(p.tool)
        if scanner.unit is Unit.BLOB:
            return history_scan.prepare(self, p, scanner, tool, state.mirror)
        return tree_scan.prepare(self, p, scanner, tool, state.mirror.path)

    def _scan(self, state: RepoState, p: Planned, sharing: Sharing) -> Scan:
        began, clock = datetime.now(UTC), time.monotonic()
        try:
            self.means.runner.require_room(self.means.lake.path)
            look = self._tried(state, p, sharing)
        except ScanGapError as e:
            if e.reason_code == "cancelled":
                raise
            if e.reason_code in DAMAGED:
                self.means.mirrors.doubt(p.repo_id)
            look = Look(parsed=Parsed(outcome=Outcome.FAILED, reason_code=e.reason_code, detail=e.detail))
        except Exception as e:  # a fault of ours on one repository must not take the others' night
            # The message may quote what was read, so only the type and the place are kept.
            look = Look(parsed=Parsed(outcome=Outcome.FAILED, reason_code=reason_of(e), detail=_place(e)))
        if not look.shared:
            look = replace(look, duration_s=time.monotonic() - clock)
        return self._finish(p, look, began)

    def _tried(self, state: RepoState, p: Planned, sharing: Sharing) -> Look:
        """A look; once more on the disk where it was the memory that had no room left."""
        full = self._memory_full
        try:
            return self._look(state, p, sharing)
        except OSError as e:
            if not is_full(e) or full == self._memory_full:
                raise
        return self._look(state, p, sharing)

    def _look(self, state: RepoState, p: Planned, sharing: Sharing) -> Look:
        """The kept report read again, or a new look: shared with others, or alone."""
        assert state.mirror is not None
        scanner, mirror = self._scanner(p.tool), state.mirror
        if p.unit is Unit.SETTINGS:
            return settings_round.look(self, p, scanner)
        again: Look | None = None
        if p.action is Action.REREAD and scanner.unit is Unit.BLOB:
            again = history_scan.reread(self, p, scanner, mirror)
        elif p.action is Action.REREAD:
            again = tree_scan.reread(self, p, scanner, self.patrol.tool(p.tool), mirror.path)
        if again is not None:
            return again
        job = sharing.ready(p) or self.prepare(state, p)
        together = sharing.look(job)
        if together is not None:
            return together
        return history_scan.scan(self, job) if scanner.unit is Unit.BLOB else tree_scan.scan(self, job)

    def _finish_shared(self, job: Job, look: Look) -> Scan:
        return self._finish(job.planned, look, datetime.now(UTC) - timedelta(seconds=look.duration_s))

    def _finish(self, p: Planned, look: Look, began: datetime) -> Scan:
        """Make the row of a scan, which is durable from here on, completed or failed.

        Raises ScanGapError(cancelled): it cannot be kept, which ends the run (``_keeping``).
        """
        row = self._kept(p, look, began)
        with self.patrol.lock:
            self.patrol.rows[p.scope] = row
        return row

    def _kept(self, p: Planned, look: Look, began: datetime) -> Scan:
        scanner, home = self._scanner(p.tool), self.means.tools[p.tool]
        tool = home if isinstance(home, ToolHome) else None
        row = row_of(p, look, tool, began)
        if tool is not None and look.parsed.outcome in (Outcome.OK, Outcome.PARTIAL):
            result = self._named(p, result_of(p, look, scanner, tool, began))
            row = replace(row, result_name=result.result_name)
            with self._keeping():
                result = self.means.lake.spool.put(result)
            with self.patrol.lock:
                self.patrol.results[p.result_name or ""] = result
        elif look.exit_code not in _TOLD_TO_END:
            with self._keeping():
                self.means.lake.spool.put_failed(FailedScan(row=row, tried_at=self.patrol.started_at))
        return row

    def _scanner(self, name: str) -> Scanner:
        return next(s for s in self.means.scanners if s.name == name)

    def _named(self, p: Planned, result: ScanResult) -> ScanResult:
        """A forced scan that saw something else than the ledger says is a result of its own."""
        if p.cause is not Cause.FORCED:
            return result
        known = self.patrol.snapshot.results([result.result_name]).get(result.result_name)
        if known is None or (_seen(known) == _seen(result)):
            return result
        return replace(result, result_name=f"{result.result_name}+{self.patrol.run_id[:8]}")

    # -- what both kinds of look use --------------------------------------------------------------------

    def control(self, scanner: Scanner, tool: ToolHome) -> None:
        """The tool must find its planted flaw once in a run before its word counts (design rule 1)."""
        with self._control_locks[scanner.name]:
            if scanner.name not in self._controls:
                error: NightwardenError | None = None
                try:
                    with self.folder(scanner, tool) as work:
                        run_control(
                            scanner, tool, self.means.runner, self.means.key, self._service(scanner, tool), work
                        )
                except NightwardenError as e:
                    if isinstance(e, ScanGapError) and e.reason_code == "disk_full":
                        raise  # that passes, and says nothing of the tool
                    error = e
                self._controls[scanner.name] = error
            error = self._controls[scanner.name]
        if error is not None:
            raise error

    @contextmanager
    def folder(self, scanner: Scanner, tool: ToolHome, size_bytes: int = 0) -> Iterator[Path]:
        """A fresh folder for one target of about so many bytes; removed afterwards.

        Below the service's root where there is one; else in memory, where there is room: writing and removing
        thousands of small files takes a disk longer than some tools take to read them.

        Raises ScanGapError(disk_full).
        """
        service = self._service(scanner, tool)
        if service is not None:
            place = service.root
        elif self.means.memory is not None and not self._memory_full and fits(self.means.memory, size_bytes):
            place = self.means.memory
        else:
            place = self.home / "one-shot"
        if place != self.means.memory:
            self.means.runner.require_room(place, size_bytes)
        folder = place / uuid.uuid4().hex[:16]
        try:
            folder.mkdir(parents=True)
            yield folder
        except OSError as e:
            self._memory_full = self._memory_full or (place == self.means.memory and is_full(e))
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _service(self, scanner: Scanner, tool: ToolHome) -> ServicePool | None:
        if not scanner.long_lived:
            return None
        with self._lock:
            if scanner.name not in self._services:
                root = self.home / scanner.name
                root.mkdir(parents=True, exist_ok=True)
                self._services[scanner.name] = ServicePool(
                    self.means.runner, tool, scanner, root=root, size=self.means.workers
                )
            return self._services[scanner.name]

    def target(self, p: Planned, folder: Path, checkout: Checkout, around: Around | None = None) -> Target:
        """The target over a written checkout."""
        return Target(
            repo_id=p.repo_id,
            ref=p.ref,
            commit=p.commit or "",
            root=folder,
            files=checkout.files,
            read=reader(folder, checkout.files),
            around=around,
        )

    def execute(self, scanner: Scanner, tool: ToolHome, target: Target) -> Execution:
        """Run the tool on a target. A crash is narrowed down to the files that cause it, and the rest is scanned
        without them."""
        means = self.means

        @contextmanager
        def subset(names: Sequence[str]) -> Iterator[Target]:
            size_bytes = sum(target.files[n].size_bytes for n in names)
            with self.folder(scanner, tool, size_bytes) as folder:
                files = {n: target.files[n] for n in names}
                for name in files:
                    place = folder / name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(target.root / name, place)
                yield replace(target, root=folder, files=files, read=reader(folder, files))

        return execute_bisecting(
            scanner, tool, target, means.runner, means.key, self._service(scanner, tool), subset=subset
        )

    def keep(self, raw: RawReport | None, p: Planned, files: Mapping[str, TreeEntry]) -> tuple[str, ...]:
        """Keep a masked report; its digest, or nothing when there was none."""
        if raw is None:
            return ()
        header = {
            "repo_id": p.repo_id,
            "ref": p.ref,
            "commit": p.commit or "",
            "scan_name": p.scan_name or "",
            "files": str(len(files)),
        }
        with self._keeping():
            return (self.means.lake.raw.put(raw, header),)

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        """What cannot be kept (a full disk, a storage that is gone) ends the run: it says nothing of a repository.

        Raises ScanGapError(cancelled); ``ended_well`` tells why.
        """
        try:
            yield
        except (OSError, LakeError) as e:
            with self._lock:
                self._unkept = self._unkept or e
            self.means.runner.cancel()
            raise ScanGapError("cancelled", "the lake cannot keep what is found") from e

    def ended_well(self) -> None:
        """Call when all scans have ended. Raises the OSError or LakeError that kept a scan from being kept."""
        if self._unkept is not None:
            raise self._unkept


def _seen(result: ScanResult) -> tuple[frozenset[str], frozenset[tuple[str, str]]]:
    """What two results of one scan name are compared by."""
    return (
        frozenset(o.occurrence_uid for o in result.observations),
        frozenset((g.path, g.reason_code) for g in result.gaps),
    )


def _place(error: BaseException) -> str:
    """Type, file name and line of the innermost frame of an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "unknown"
    return f"{type(error).__name__} at {place}"


#: The runs of this process, by run id: tasks are given the id, never the run itself.
ACTIVE: dict[str, Scanning] = {}
