"""Scans of unit blob: the reachable blobs of all heads and tags, minus those a completed scan has read.

A tag of a blob or a tree reaches blobs as well as a tag of a commit does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import ScanGapError
from tasks.core.ports import Scanner
from tasks.core.types import Gap, Mirror, Observation, Occurrence, Outcome, Parsed, RawReport, Target, ToolHome
from tasks.patrol.look import MAX_PARTS, Base, Look, chunks, judged, look_of, whole
from tasks.patrol.plan import Planned
from tasks.repos.checkout import write_blobs
from tasks.repos.history import blobs_between, occurrences
from tasks.scanners.execute import Execution

if TYPE_CHECKING:
    from tasks.patrol.scanning import Scanning

#: A history is read in pieces of at most this size, so that disk and memory stay bounded.
CHUNK_BYTES = 256 * 1024**2
CHUNK_BLOBS = 20_000


def scan(ctx: Scanning, p: Planned, scanner: Scanner, tool: ToolHome, mirror: Mirror) -> Look:
    """Read the new blobs and join them with what is known; a hit counts only where a head or a tag reaches it."""
    git = ctx.means.git
    base = _base(ctx, p)
    new = blobs_between(git, mirror.path, p.tips, base.tips if base else ())
    runs: list[Execution] = []
    raws: list[tuple[RawReport, str]] = []
    gaps: list[Gap] = list(base.gaps) if base else []
    files_read = bytes_read = 0
    if new:
        ctx.control(scanner, tool)
    for piece in chunks(new, max_bytes=CHUNK_BYTES, max_count=CHUNK_BLOBS):
        with ctx.folder(scanner, tool) as folder:
            checkout = whole(write_blobs(git, mirror.path, piece, folder, scanner.limits))
            gaps += checkout.gaps
            if not checkout.files:
                continue
            run = ctx.execute(scanner, tool, ctx.target(p, folder, checkout))
        if run.parsed.outcome not in (Outcome.OK, Outcome.PARTIAL) or run.raw is None:
            return look_of(run, run.parsed, (), checkout)
        runs.append(run)
        gaps += run.parsed.gaps
        raws.append((run.raw, ctx.keep(run.raw, p, checkout.files)[0]))
        files_read += len(checkout.files)
        bytes_read += checkout.size_bytes
    old = [(ctx.means.lake.raw.get(sha)[0], sha) for sha in (base.raw_parts if base else ())]
    return Look(
        parsed=_placed(ctx, p, scanner, mirror, [raw for raw, _ in (*old, *raws)], gaps),
        raw_parts=tuple(sha for _, sha in (*old, *raws)),
        exit_code=max((r.exit_code or 0 for r in runs), default=None),
        sandbox=runs[-1].sandbox if runs else "",
        files_read=files_read,
        bytes_read=bytes_read,
        peak_rss_bytes=max((r.peak_rss_bytes for r in runs), default=0),
        base=base.result_name if base else None,
    )


def reread(ctx: Scanning, p: Planned, scanner: Scanner, mirror: Mirror) -> Look | None:
    """Read the kept reports with today's parser; no tool is started. None if one of them is gone."""
    row = ctx.patrol.snapshot.ledger_lookup([p.scan_name or ""]).get(p.scan_name or "")
    store = ctx.means.lake.raw
    if row is None or not all(store.has(sha) for sha in row["raw_parts"]):
        return None
    raw_parts = tuple(row["raw_parts"])
    gaps = ctx.patrol.snapshot.gaps_of([row["result_name"]]).get(row["result_name"], ())
    try:
        parsed = _placed(ctx, p, scanner, mirror, [store.get(sha)[0] for sha in raw_parts], gaps)
    except ScanGapError:
        return None  # today's parser refuses it: the tool has to look again
    return Look(parsed=parsed, raw_parts=raw_parts)


def _placed(
    ctx: Scanning, p: Planned, scanner: Scanner, mirror: Mirror, raws: Sequence[RawReport], gaps: Iterable[Gap]
) -> Parsed:
    """Read the masked reports with the places of the blobs that matter; unreachable blobs drop out."""
    gaps = list(gaps)
    blank = Target(repo_id=p.repo_id, ref=p.ref, commit=p.commit or "", root=Path("/nonexistent"), occurrences=None)
    hits = {o.blob for raw in raws for o in _read(ctx, scanner, raw, blank).observations if o.blob}
    wanted = hits | {g.blob for g in gaps if g.blob}
    places: Mapping[str, Sequence[Occurrence]] = {}
    if wanted:
        places = occurrences(ctx.means.git, mirror.path, p.tips, wanted, mirror.odd)
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
        if len(row["raw_parts"]) < MAX_PARTS and all(store.has(sha) for sha in row["raw_parts"]):
            name = row["result_name"]
            return Base(
                result_name=name,
                observations=(),
                gaps=snapshot.gaps_of([name]).get(name, ()),
                raw_parts=tuple(row["raw_parts"]),
                tips=tuple(row["tips"]),
            )
    return None
