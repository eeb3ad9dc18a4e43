"""One call of a tool for several small scans, where its start-up would cost more than the scans.

Whoever needs a small scan first takes waiting ones of other repositories along, writes all their files side by side,
starts the tool once and takes its masked report apart. Every scan keeps its own result, kept report and row, the same
as if it had been alone; where anything goes wrong, each is done alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import ScanGapError
from tasks.core.ports import Divisible
from tasks.core.types import Outcome, RawReport, Scan, Target, TreeEntry, Unit
from tasks.patrol import history_scan, tree_scan
from tasks.patrol.look import Job, Look, reader, whole
from tasks.patrol.plan import Action, Planned, needs_work
from tasks.patrol.session import RepoState, ScopeKey
from tasks.repos.checkout import Checkout, write_blobs, write_checkout
from tasks.scanners.execute import Execution, execute

if TYPE_CHECKING:
    from tasks.patrol.scanning import Scanning

#: A scan that reads more is worth a call of its own.
SMALL_BYTES = 8 * 1024**2
SMALL_FILES = 2_000
#: What one call serves at most.
MAX_SCANS = 50
MAX_BYTES = 64 * 1024**2
MAX_FILES = 10_000
#: Seconds a call may take: it is short if all is well, and if not, each scan has its own limit.
TIMEOUT_S = 120.0
#: What it should take by the tool's rough pace: one that is killed was for nothing.
MAX_SECONDS = TIMEOUT_S / 2
#: Weight of a file beside its bytes when the seconds of a call are divided among its scans.
_FILE_BYTES = 4096

#: Finishes a scan that was looked at together with others: makes its row and keeps its result.
Finish = Callable[[Job, Look], Scan]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """The files of one job in the folder of a call: ``names`` maps their names there to their own."""

    job: Job
    root: Path
    checkout: Checkout
    names: Mapping[str, str]

    @property
    def weight(self) -> int:
        return self.checkout.size_bytes + _FILE_BYTES * len(self.checkout.files)


class Sharing:
    """Which scans wait for a call, and which are in one. Thread-safe."""

    def __init__(self, ctx: Scanning, finish: Finish) -> None:
        self._ctx = ctx
        self._finish = finish
        self._lock = threading.Lock()
        self._waiting: dict[str, dict[ScopeKey, tuple[RepoState, Planned]]] = {}
        self._taken: dict[ScopeKey, Future[Scan | None]] = {}
        #: All that nobody has begun, with the seconds it will take.
        self._open: dict[ScopeKey, tuple[float, RepoState, Planned]] = {}
        self._ready: dict[ScopeKey, Job] = {}
        #: Scans whose common call did not work: the one that spoilt it must not spoil another.
        self._alone: set[ScopeKey] = set()

    def expect(self, states: Iterable[RepoState]) -> None:
        """The repositories that will be scanned, in the order in which they will be."""
        divisible = {s.name for s in self._ctx.means.scanners if isinstance(s, Divisible)}
        for state in states:
            for p in filter(needs_work, state.plans):
                self._open[p.scope] = (self._ctx.patrol.scan_s(p), state, p)
                if p.action is Action.RUN and p.tool in divisible:
                    self._waiting.setdefault(p.tool, {})[p.scope] = (state, p)

    def taken(self, p: Planned) -> Future[Scan | None] | None:
        """The outcome of a scan that another repository's thread has taken along (None: it is to be done alone)."""
        with self._lock:
            return self._taken.get(p.scope)

    def ready(self, p: Planned) -> Job | None:
        """What was made ready of a scan that then was not taken along."""
        with self._lock:
            return self._ready.pop(p.scope, None)

    def claim(self, p: Planned) -> bool:
        """Take a scan out of those that may be taken along. False when it is taken already."""
        with self._lock:
            if p.scope in self._taken:
                return False
            self._waiting.get(p.tool, {}).pop(p.scope, None)
            self._open.pop(p.scope, None)
            return True

    def borrow(self) -> tuple[RepoState, Planned] | None:
        """The longest scan that nobody has begun, for a thread without a repository; it must be settled. None: no more.

        Its repository's thread goes on with the others and then waits for this one.
        """
        with self._lock:
            if not self._open:
                return None
            scope = max(self._open, key=lambda s: self._open[s][0])
            _, state, p = self._open.pop(scope)
            self._waiting.get(p.tool, {}).pop(scope, None)
            self._taken[scope] = Future()
            return state, p

    def look(self, own: Job) -> Look | None:
        """Look at a claimed scan together with waiting ones of the same tool, and finish those.

        None if it is better done alone: it is not small, nobody waits, or the common call did not work.
        """
        if not isinstance(own.scanner, Divisible) or not own.read or not _is_small(own):
            return None
        if own.planned.scope in self._alone:
            return None
        with self._company(own) as jobs:
            if not jobs:
                return None
            try:
                looks = self._together([own, *jobs])
            except Exception as e:  # whatever it is, a neighbour may have caused it
                if isinstance(e, ScanGapError) and e.reason_code == "cancelled":
                    raise
                looks = {}  # each alone tells best what is wrong
            self._alone |= {job.planned.scope for job in (own, *jobs)} - looks.keys()
            for job in jobs:
                if (look := looks.get(job.planned.scope)) is not None:
                    self.settle(job.planned.scope, self._finish(job, look))
            return looks.get(own.planned.scope)

    # -- who comes along ----------------------------------------------------------------------------------

    @contextmanager
    def _company(self, own: Job) -> Iterator[list[Job]]:
        """Waiting scans made ready, small ones only; whoever is left without a result is released at the end."""
        tool = own.scanner.name
        with self._lock:
            queue = self._waiting.get(tool, {})
            # An equal share for each worker: the others shall not sit idle meanwhile.
            count = min(MAX_SCANS - 1, -(-len(queue) // self._ctx.means.workers))
            chosen = [queue.pop(scope) for scope in list(queue)[:count]]
            for _, p in chosen:
                self._taken[p.scope] = Future()
                self._open.pop(p.scope, None)
        jobs: list[Job] = []
        size, files = own.size_bytes, len(own.read)
        try:
            for n, (state, p) in enumerate(chosen):
                job = self.ready(p) or self._prepared(state, p)
                if job is None:
                    continue
                if not job.read or not _is_small(job):
                    with self._lock:
                        self._ready[p.scope] = job
                    self.settle(p.scope, None)
                    continue
                size, files = size + job.size_bytes, files + len(job.read)
                if not _fits(own, size, files):
                    self._put_back(chosen[n:], job)
                    del chosen[n:]  # from here on they are another's
                    break
                jobs.append(job)
            yield jobs
        finally:
            for _, p in chosen:
                self.settle(p.scope, None)

    def _put_back(self, chosen: Sequence[tuple[RepoState, Planned]], ready: Job) -> None:
        """For the next call; the first of them is ``ready``."""
        with self._lock:
            for state, p in chosen:
                self._waiting.setdefault(p.tool, {})[p.scope] = (state, p)
                self._open[p.scope] = (self._ctx.patrol.scan_s(p), state, p)
            self._ready[chosen[0][1].scope] = ready
        for _, p in chosen:
            self.settle(p.scope, None)

    def _prepared(self, state: RepoState, p: Planned) -> Job | None:
        try:
            return self._ctx.prepare(state, p)
        except Exception as e:  # its own thread meets the same and says so
            if isinstance(e, ScanGapError) and e.reason_code == "cancelled":
                raise
            return None

    def settle(self, scope: ScopeKey, row: Scan | None) -> None:
        """Tell whoever waits for a scan; without a row it is free again, to be done alone."""
        with self._lock:
            future = self._taken.get(scope)
            if future is None or future.done():
                return
            if row is None:
                del self._taken[scope]
        future.set_result(row)

    # -- one call -----------------------------------------------------------------------------------------

    def _together(self, jobs: Sequence[Job]) -> dict[ScopeKey, Look]:
        """One call for all; nothing of a scan that turns out to need one of its own."""
        scanner, tool = jobs[0].scanner, jobs[0].tool
        self._ctx.control(scanner, tool)
        with self._ctx.folder(scanner, tool, sum(job.size_bytes for job in jobs)) as folder:
            root, files, parts = (self._blobs if scanner.unit is Unit.BLOB else self._trees)(jobs, folder)
            if not parts:
                return {}
            target = Target(repo_id="", ref="", commit="", root=root, files=files, read=reader(root, files))
            whole_call = self.call(jobs, target)
            if whole_call.parsed.outcome not in (Outcome.OK, Outcome.PARTIAL) or whole_call.raw is None:
                return {}
            weight = sum(part.weight for part in parts)
            looks = {}
            for part in parts:
                look = self._look(part, whole_call, whole_call.raw, target, part.weight / weight)
                if look is not None:
                    looks[part.job.planned.scope] = look
            return looks

    def call(self, jobs: Sequence[Job], target: Target) -> Execution:
        """Start the tool on the files of several jobs."""
        means, job = self._ctx.means, jobs[0]
        return execute(job.scanner, job.tool, target, means.runner, means.key, None, timeout_s=TIMEOUT_S)

    def _look(self, part: _Written, done: Execution, raw: RawReport, target: Target, share: float) -> Look | None:
        """What one scan gets of the call: its part of the report, and of the seconds its share by size.

        None if the tool left out any of its files: that may be a neighbour's doing.
        """
        ctx, job, scanner = self._ctx, part.job, part.job.scanner
        assert isinstance(scanner, Divisible)
        own = scanner.part(raw, target, part.names)
        mine = ctx.target(job.planned, part.root, part.checkout)
        parsed = scanner.parse(own, mine, ctx.means.key)
        if parsed.outcome is not Outcome.OK:
            return None
        execution = replace(
            done,
            raw=own,
            parsed=parsed,
            exit_code=own.exit_code,
            duration_s=done.duration_s * share,
        )
        if scanner.unit is Unit.BLOB:
            look = history_scan.finish(ctx, job, [(execution, part.checkout)], part.checkout.gaps)
        else:
            look = tree_scan.finish(ctx, job, execution, part.checkout)
        return replace(look, duration_s=execution.duration_s, shared=True)

    def _blobs(self, jobs: Sequence[Job], folder: Path) -> tuple[Path, dict[str, TreeEntry], list[_Written]]:
        """The blobs of all jobs in one folder, each once. Archives are not counted as files: alone with those."""
        written: dict[str, TreeEntry] = {}
        parts = []
        for job in jobs:
            new = [e for e in job.read if e.path.decode() not in written]
            blobs = write_blobs(self._ctx.means.git, job.mirror, new, folder, job.scanner.limits)
            written |= whole(blobs.plain).files
            mine = {name: written[name] for e in job.read if (name := e.path.decode()) in written}
            if not mine or blobs.packed.files or len(mine) + len(blobs.plain.gaps) != len(job.read):
                continue
            checkout = replace(blobs.plain, files=mine, size_bytes=sum(e.size_bytes for e in mine.values()))
            names = {name: name for name in mine}
            parts.append(_Written(job=job, root=folder / "plain", checkout=checkout, names=names))
        return folder / "plain", written, parts

    def _trees(self, jobs: Sequence[Job], folder: Path) -> tuple[Path, dict[str, TreeEntry], list[_Written]]:
        """The files of each job in a folder of its own."""
        files: dict[str, TreeEntry] = {}
        parts = []
        for n, job in enumerate(jobs):
            root = folder / str(n)
            root.mkdir()
            checkout = whole(write_checkout(self._ctx.means.git, job.mirror, job.read, root, job.scanner.limits))
            if not checkout.files:
                continue
            names = {f"{n}/{name}": name for name in checkout.files}
            files |= {there: checkout.files[name] for there, name in names.items()}
            parts.append(_Written(job=job, root=root, checkout=checkout, names=names))
        return folder, files, parts


def _fits(own: Job, size_bytes: int, files: int) -> bool:
    """Whether a call may take so much, by size and by the tool's rough pace."""
    seconds = own.scanner.pace.seconds(files, size_bytes)
    return size_bytes <= MAX_BYTES and files <= MAX_FILES and seconds <= MAX_SECONDS


def _is_small(job: Job) -> bool:
    return len(job.read) <= SMALL_FILES and job.size_bytes <= SMALL_BYTES
