"""Scans of units tree and file: a safe checkout of what the tool reads, whole or (unit file) what changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import ScanGapError
from tasks.core.ports import Accountable, Scanner
from tasks.core.types import Gap, Observation, Outcome, Parsed, ToolHome, TreeEntry, Unit, display_path
from tasks.patrol import by_blob
from tasks.patrol.look import MAX_PARTS, Base, Job, Look, judged, kept_reports, look_of, whole
from tasks.patrol.plan import Planned, revision_of
from tasks.patrol.surroundings import around_of
from tasks.repos.checkout import Checkout, write_checkout
from tasks.repos.trees import Tree, gaps_for, links_of, read_tree
from tasks.scanners.execute import Execution

if TYPE_CHECKING:
    from tasks.patrol.scanning import Scanning


#: Gaps of files that no report speaks of, and of files that a limit left out.
_PASSED_OVER = frozenset({"crashes_tool", "unreadable_by_tool"})
_LIMITS = frozenset({"too_many_files", "total_size"})


def prepare(ctx: Scanning, p: Planned, scanner: Scanner, tool: ToolHome, mirror: Path) -> Job:
    """Find the files to read. A tool of unit file reads only what differs from the scope's last result."""
    assert p.commit is not None
    tree = read_tree(ctx.means.git, mirror, p.commit)
    entries = _read_by(tree, scanner)
    unread = gaps_for(tree, scanner.reads, links_of(ctx.means.git, mirror, tree, scanner.reads))
    base, before = _base(ctx, p, scanner, mirror, entries)
    observations, gaps = _still_standing(base, before, entries)
    said = {} if _over_limits(entries, scanner) else by_blob.said_of(ctx, p, scanner, entries.values())
    return Job(
        planned=p,
        scanner=scanner,
        tool=tool,
        mirror=mirror,
        base=base,
        read=tuple(e for path, e in entries.items() if before.get(path) != e and e not in said),
        observations=observations,
        gaps=gaps + unread,
        around=around_of(ctx.means.git, mirror, tree, scanner, ctx.patrol.started_at),
        said=said,
    )


def scan(ctx: Scanning, job: Job) -> Look:
    """Scan one commit."""
    if job.base is not None and not job.read:
        # Only removals: what is left was read before.
        parsed = judged(job.observations, job.gaps)
        return Look(parsed=parsed, raw_parts=job.base.raw_parts, base=job.base.result_name)
    ctx.control(job.scanner, job.tool)
    with ctx.folder(job.scanner, job.tool, job.size_bytes) as folder:
        checkout = whole(write_checkout(ctx.means.git, job.mirror, job.read, folder, job.scanner.limits))
        target = ctx.target(job.planned, folder, checkout, job.around)
        # What looks around is asked of an empty folder, too.
        wanted = checkout.files or job.around is not None
        execution = ctx.execute(job.scanner, job.tool, target) if wanted else None
    return finish(ctx, job, execution, checkout)


def finish(ctx: Scanning, job: Job, execution: Execution | None, checkout: Checkout) -> Look:
    """Join what was read with what is known. Without an execution nothing could be written: all is a gap."""
    base = job.base
    execution = by_blob.whole(ctx, job, execution, checkout)
    parsed = execution.parsed if execution is not None else Parsed(outcome=Outcome.PARTIAL)
    raw_parts = ctx.keep(execution.raw, job.planned, checkout.files) if execution is not None else ()
    if parsed.outcome not in (Outcome.OK, Outcome.PARTIAL):
        return look_of(execution, parsed, raw_parts, checkout)
    seen = judged(
        job.observations + parsed.observations,
        (*job.gaps, *parsed.gaps, *checkout.gaps),
        detail=parsed.detail,
    )
    look = look_of(execution, seen, (base.raw_parts if base else ()) + raw_parts, checkout)
    return look if base is None else replace(look, base=base.result_name)


def reread(ctx: Scanning, p: Planned, scanner: Scanner, tool: ToolHome, mirror: Path) -> Look | None:
    """Read the kept reports with today's parser; no tool is started. None if one is gone or it refuses one.

    Of an extended result each file is judged by the newest report that speaks of it: an extension reads exactly the
    files that changed, so that report saw the file as it is now.
    """
    assert p.scan_name is not None and p.commit is not None
    row = ctx.patrol.snapshot.ledger_lookup([p.scan_name]).get(p.scan_name)
    store = ctx.means.lake.raw
    if row is None or not row["raw_parts"]:
        return None
    raws = kept_reports(store, row["raw_parts"])
    if raws is None:
        return None
    if len(raws) > 1 and not isinstance(scanner, Accountable):
        return None
    tree = read_tree(ctx.means.git, mirror, p.commit)
    observations: list[Observation] = []
    gaps: list[Gap] = []
    entries = _read_by(tree, scanner).values()
    # What a report passes over only the old result knows; an older report speaks of the file as it was.
    old = ctx.patrol.snapshot.gaps_of([row["result_name"]]).get(row["result_name"], ())
    passed_over = {g.path: g for g in old if g.reason_code in _PASSED_OVER}
    with ctx.folder(scanner, tool, sum(e.size_bytes for e in entries)) as folder:
        checkout = whole(write_checkout(ctx.means.git, mirror, entries, folder, scanner.limits))
        around = around_of(ctx.means.git, mirror, tree, scanner, ctx.patrol.started_at)
        target = ctx.target(p, folder, checkout, around)
        left = {f: e for f, e in target.files.items() if display_path(e.path) not in passed_over}
        for n, raw in reversed(list(enumerate(raws))):
            mine, part = left, raw
            try:
                if isinstance(scanner, Accountable):
                    # The oldest report was of the whole tree: what no report speaks of is its gap.
                    spoken = scanner.accounted(raw, target)
                    mine = left if n == 0 else {f: e for f, e in left.items() if f in spoken}
                    part = scanner.part(raw, target, {f: f for f in mine})
                parsed = scanner.parse(part, replace(target, files=mine), ctx.means.key)
            except ScanGapError:
                return None
            if parsed.outcome not in (Outcome.OK, Outcome.PARTIAL):
                return None  # today's parser refuses it: the tool has to look again
            left = {f: e for f, e in left.items() if f not in mine}
            observations += parsed.observations
            gaps += parsed.gaps
    unread = gaps_for(tree, scanner.reads, links_of(ctx.means.git, mirror, tree, scanner.reads))
    gaps = [g for g in gaps if g.path not in passed_over]
    return Look(
        parsed=judged(observations, (*gaps, *checkout.gaps, *unread, *passed_over.values())),
        raw_parts=tuple(row["raw_parts"]),
    )


def _read_by(tree: Tree, scanner: Scanner) -> dict[bytes, TreeEntry]:
    return {e.path: e for e in tree.entries if scanner.reads(e.path)}


def _base(
    ctx: Scanning, p: Planned, scanner: Scanner, mirror: Path, entries: Mapping[bytes, TreeEntry]
) -> tuple[Base | None, dict[bytes, TreeEntry]]:
    """The scope's last result and the files it had read, if this scan may extend it.

    It may when the tool looks at one file at a time, configuration and reading are the same, and the commit it
    was made from is still in the mirror; otherwise everything is read.
    """
    state, nothing = ctx.patrol.states.get(p.scope), (None, dict[bytes, TreeEntry]())
    if scanner.unit is not Unit.FILE or ctx.patrol.options.force or state is None:
        return nothing
    if state.scan_name is None or state.result_name is None or state.commit is None:
        return nothing
    if state.config_digest != p.config_digest or revision_of(state.result_name) != scanner.parse_revision:
        return nothing
    row = ctx.patrol.snapshot.ledger_lookup([state.scan_name]).get(state.scan_name)
    if row is None or len(row["raw_parts"]) >= MAX_PARTS or _over_limits(entries, scanner):
        return nothing
    try:
        tree = read_tree(ctx.means.git, mirror, state.commit)
    except ScanGapError:
        return nothing  # a rewritten history
    name = state.result_name
    base = Base(
        result_name=name,
        observations=ctx.patrol.snapshot.observations_of([name]).get(name, ()),
        gaps=ctx.patrol.snapshot.gaps_of([name]).get(name, ()),
        raw_parts=tuple(row["raw_parts"]),
        commit=state.commit,
    )
    # What a limit left out of the base is read now, where the limit no longer bites.
    limited = {g.path for g in base.gaps if g.reason_code in _LIMITS}
    return base, {path: e for path, e in _read_by(tree, scanner).items() if display_path(path) not in limited}


def _over_limits(entries: Mapping[bytes, TreeEntry], scanner: Scanner) -> bool:
    """Whether a limit bites on the whole: which files it leaves out must not depend on what was read before."""
    limits = scanner.limits
    return len(entries) > limits.max_files or sum(e.size_bytes for e in entries.values()) > limits.max_total_bytes


def _still_standing(
    base: Base | None, before: dict[bytes, TreeEntry], entries: dict[bytes, TreeEntry]
) -> tuple[tuple[Observation, ...], tuple[Gap, ...]]:
    """What the base saw in files that are the same now."""
    if base is None:
        return (), ()
    same = {display_path(path) for path, e in entries.items() if before.get(path) == e}
    return (
        tuple(o for o in base.observations if o.path in same),
        tuple(g for g in base.gaps if g.path in same),
    )
