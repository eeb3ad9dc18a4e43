"""Scans of unit blob: the reachable blobs of all heads and tags, minus those a completed scan has read.

A tag of a blob or a tree reaches blobs as well as a tag of a commit does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import ScanGapError
from tasks.core.origins import Mirror, OddTag
from tasks.core.ports import Scanner
from tasks.core.types import (
    Gap,
    Limits,
    Observation,
    Occurrence,
    Outcome,
    Parsed,
    RawReport,
    Target,
    ToolHome,
    TreeEntry,
)
from tasks.patrol.look import MAX_PARTS, Base, Job, Look, chunks, judged, kept_reports, look_of, whole
from tasks.patrol.plan import Planned
from tasks.repos.checkout import Checkout, write_blobs
from tasks.repos.history import blobs_between, occurrences
from tasks.scanners.execute import Execution

if TYPE_CHECKING:
    from tasks.patrol.scanning import Scanning

#: A history is read in pieces of at most this size, so that disk and memory stay bounded.
CHUNK_BYTES = 256 * 1024**2
CHUNK_BLOBS = 20_000


def prepare(ctx: Scanning, p: Planned, scanner: Scanner, tool: ToolHome, mirror: Mirror) -> Job:
    """Find the blobs that no completed scan has read."""
    base = _base(ctx, p)
    new = blobs_between(ctx.means.git, mirror.path, p.tips, base.tips if base else ())
    entries = [TreeEntry(path=f"{o[:2]}/{o}".encode(), mode="100644", blob=o, size_bytes=n) for o, n in new]
    read, over = _within(entries, scanner.limits)
    return Job(
        planned=p,
        scanner=scanner,
        tool=tool,
        mirror=mirror.path,
        odd=mirror.odd,
        base=base,
        read=read,
        gaps=(*(base.gaps if base else ()), *over),
    )


def scan(ctx: Scanning, job: Job) -> Look:
    """Read the new blobs, in pieces; archives apart, because they are not counted as files."""
    runs: list[tuple[Execution, Checkout]] = []
    gaps: list[Gap] = []
    if job.read:
        ctx.control(job.scanner, job.tool)
    for piece in chunks(job.read, max_bytes=CHUNK_BYTES, max_count=CHUNK_BLOBS):
        with ctx.folder(job.scanner, job.tool, sum(e.size_bytes for e in piece)) as folder:
            blobs = write_blobs(ctx.means.git, job.mirror, piece, folder, job.scanner.limits)
            gaps += whole(blobs.plain).gaps
            for kind, checkout in (("plain", blobs.plain), ("packed", blobs.packed)):
                if not checkout.files:
                    continue
                run = ctx.execute(job.scanner, job.tool, ctx.target(job.planned, folder / kind, checkout))
                if run.parsed.outcome not in (Outcome.OK, Outcome.PARTIAL) or run.raw is None:
                    return look_of(run, run.parsed, (), checkout)
                runs.append((run, checkout))
    return finish(ctx, job, runs, gaps)


def finish(ctx: Scanning, job: Job, runs: Sequence[tuple[Execution, Checkout]], gaps: Iterable[Gap]) -> Look:
    """Join what was read with what is known; a hit counts only where a head or a tag reaches it."""
    p, base = job.planned, job.base
    unread = [*job.gaps, *gaps]
    raws: list[tuple[RawReport, str]] = list(zip(base.raws, base.raw_parts, strict=True)) if base else []
    for run, checkout in runs:
        assert run.raw is not None
        unread += run.parsed.gaps
        raws.append((run.raw, ctx.keep(run.raw, p, checkout.files)[0]))
    return Look(
        parsed=_placed(ctx, p, job.scanner, job.mirror, job.odd, [raw for raw, _ in raws], unread),
        raw_parts=tuple(sha for _, sha in raws),
        exit_code=max((r.exit_code or 0 for r, _ in runs), default=None),
        sandbox=runs[-1][0].sandbox if runs else "",
        files_read=sum(len(c.files) for _, c in runs),
        bytes_read=sum(c.size_bytes for _, c in runs),
        peak_rss_bytes=max((r.peak_rss_bytes for r, _ in runs), default=0),
        base=base.result_name if base else None,
    )


def reread(ctx: Scanning, p: Planned, scanner: Scanner, mirror: Mirror) -> Look | None:
    """Read the kept reports with today's parser; no tool is started. None if one of them is gone."""
    row = ctx.patrol.snapshot.ledger_lookup([p.scan_name or ""]).get(p.scan_name or "")
    store = ctx.means.lake.raw
    raws = kept_reports(store, row["raw_parts"]) if row is not None else None
    if row is None or raws is None:
        return None
    raw_parts = tuple(row["raw_parts"])
    gaps = ctx.patrol.snapshot.gaps_of([row["result_name"]]).get(row["result_name"], ())
    try:
        parsed = _placed(ctx, p, scanner, mirror.path, mirror.odd, raws, gaps)
    except ScanGapError:
        return None  # today's parser refuses it: the tool has to look again
    return Look(parsed=parsed, raw_parts=raw_parts)


def _within(entries: Sequence[TreeEntry], limits: Limits) -> tuple[tuple[TreeEntry, ...], tuple[Gap, ...]]:
    """What the limits of one scan let through, in order, and one gap that counts the rest.

    The rest may be millions of blobs, and the next scan takes them for done: the gap stays until a whole new look.
    """
    total = 0
    for n, e in enumerate(entries):
        total += e.size_bytes
        reason = "too_many_files" if n >= limits.max_files else "total_size" if total > limits.max_total_bytes else None
        if reason is not None:
            detail = f"{len(entries) - n} of {len(entries)} blobs were not read"
            return tuple(entries[:n]), (Gap(path="", reason_code=reason, detail=detail),)
    return tuple(entries), ()


def _placed(
    ctx: Scanning,
    p: Planned,
    scanner: Scanner,
    mirror: Path,
    odd: Mapping[str, OddTag],
    raws: Sequence[RawReport],
    gaps: Iterable[Gap],
) -> Parsed:
    """Read the masked reports with the places of the blobs that matter; unreachable blobs drop out."""
    # Whether that is still so, this reading tells.
    gaps = [g for g in gaps if g.reason_code != "too_many_places"]
    blank = Target(repo_id=p.repo_id, ref=p.ref, commit=p.commit or "", root=Path("/nonexistent"), occurrences=None)
    hits = {o.blob for raw in raws for o in _read(ctx, scanner, raw, blank).observations if o.blob}
    wanted = hits | {g.blob for g in gaps if g.blob}
    places: Mapping[str, Sequence[Occurrence]] = {}
    if wanted:
        cut: list[str] = []
        places = occurrences(ctx.means.git, mirror, p.tips, wanted, odd, limited=cut.append)
        gaps += [Gap(path="", reason_code="too_many_places", detail=why) for why in sorted(set(cut))]
    target = replace(blank, occurrences=places)
    found: dict[str, Observation] = {}
    for raw in raws:
        for o in _read(ctx, scanner, raw, target).observations:
            found.setdefault(o.occurrence_uid, o)
    placed = [replace(g, path=place.path) for g in gaps if g.blob for place in places.get(g.blob, ())]
    return judged(found.values(), placed + [g for g in gaps if not g.blob])


def _read(ctx: Scanning, scanner: Scanner, raw: RawReport, target: Target) -> Parsed:
    """A kept report as today's parser reads it. Raises ScanGapError when it is no good: it must not look clean."""
    parsed = scanner.parse(raw, target, ctx.means.key)
    if parsed.outcome not in (Outcome.OK, Outcome.PARTIAL):
        raise ScanGapError(parsed.reason_code or "report_invalid", parsed.detail)
    return parsed


def _base(ctx: Scanning, p: Planned) -> Base | None:
    """A completed scan of the same configuration to extend: the scope's own, else one that shares a tip (a fork)."""
    if ctx.patrol.options.force or p.config_digest is None:
        return None
    snapshot, store = ctx.patrol.snapshot, ctx.means.lake.raw
    state = ctx.patrol.states.get(p.scope)
    own = snapshot.ledger_lookup([state.scan_name or ""]) if state is not None else {}
    rows = [row for row in own.values() if row["config_digest"] == p.config_digest]
    for row in rows or snapshot.history_bases(p.tool, p.config_digest, p.tips):
        raws = kept_reports(store, row["raw_parts"]) if len(row["raw_parts"]) < MAX_PARTS else None
        if raws is not None:
            name = row["result_name"]
            return Base(
                result_name=name,
                observations=(),
                gaps=snapshot.gaps_of([name]).get(name, ()),
                raw_parts=tuple(row["raw_parts"]),
                raws=tuple(raws),
                tips=tuple(row["tips"]),
            )
    return None
