"""Scans of units tree and file: a safe checkout of what the tool reads, whole or (unit file) what changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import ScanGapError
from tasks.core.ports import Scanner
from tasks.core.types import Gap, Observation, Outcome, Parsed, ToolHome, TreeEntry, Unit, display_path
from tasks.patrol.look import MAX_PARTS, Base, Look, judged, look_of, whole
from tasks.patrol.plan import Planned, revision_of
from tasks.repos.checkout import write_checkout
from tasks.repos.trees import Tree, gaps_for, links_of, read_tree

if TYPE_CHECKING:
    from tasks.patrol.scanning import Scanning


def scan(ctx: Scanning, p: Planned, scanner: Scanner, tool: ToolHome, mirror: Path) -> Look:
    """Scan one commit. A tool of unit file reads only what differs from the scope's last result."""
    assert p.commit is not None
    tree = read_tree(ctx.means.git, mirror, p.commit)
    entries = _read_by(tree, scanner)
    unread = gaps_for(tree, scanner.reads, links_of(ctx.means.git, mirror, tree, scanner.reads))
    base, before = _base(ctx, p, scanner, mirror)
    fresh = [e for path, e in entries.items() if before.get(path) != e]
    observations, gaps = _still_standing(base, before, entries)
    if base is not None and not fresh:
        # Only removals: what is left was read before.
        return Look(parsed=judged(observations, gaps + unread), raw_parts=base.raw_parts, base=base.result_name)
    ctx.control(scanner, tool)
    with ctx.folder(scanner, tool) as folder:
        checkout = whole(write_checkout(ctx.means.git, mirror, fresh, folder, scanner.limits))
        execution = ctx.execute(scanner, tool, ctx.target(p, folder, checkout)) if checkout.files else None
    parsed = execution.parsed if execution is not None else Parsed(outcome=Outcome.PARTIAL)
    raw_parts = ctx.keep(execution.raw, p, checkout.files) if execution is not None else ()
    if parsed.outcome not in (Outcome.OK, Outcome.PARTIAL):
        return look_of(execution, parsed, raw_parts, checkout)
    seen = judged(
        observations + parsed.observations,
        (*gaps, *parsed.gaps, *checkout.gaps, *unread),
        detail=parsed.detail,
    )
    look = look_of(execution, seen, (base.raw_parts if base else ()) + raw_parts, checkout)
    return look if base is None else replace(look, base=base.result_name)


def reread(ctx: Scanning, p: Planned, scanner: Scanner, tool: ToolHome, mirror: Path) -> Look | None:
    """Read the kept report with today's parser; no tool is started. None if it is gone or was extended."""
    assert p.scan_name is not None and p.commit is not None
    row = ctx.patrol.snapshot.ledger_lookup([p.scan_name]).get(p.scan_name)
    raw_store = ctx.means.lake.raw
    if row is None or len(row["raw_parts"]) != 1 or not raw_store.has(row["raw_parts"][0]):
        return None
    raw, _ = raw_store.get(row["raw_parts"][0])
    tree = read_tree(ctx.means.git, mirror, p.commit)
    with ctx.folder(scanner, tool) as folder:
        checkout = write_checkout(ctx.means.git, mirror, _read_by(tree, scanner).values(), folder, scanner.limits)
        try:
            parsed = scanner.parse(raw, ctx.target(p, folder, checkout), ctx.means.key)
        except ScanGapError:
            return None
    if parsed.outcome not in (Outcome.OK, Outcome.PARTIAL):
        return None  # today's parser refuses it: the tool has to look again
    unread = gaps_for(tree, scanner.reads, links_of(ctx.means.git, mirror, tree, scanner.reads))
    # What crashed the tool was not in the report, so only the old result knows of it.
    old = ctx.patrol.snapshot.gaps_of([row["result_name"]]).get(row["result_name"], ())
    crashed = tuple(g for g in old if g.reason_code == "crashes_tool")
    gaps = (*parsed.gaps, *checkout.gaps, *unread, *crashed)
    return Look(parsed=judged(parsed.observations, gaps), raw_parts=tuple(row["raw_parts"]))


def _read_by(tree: Tree, scanner: Scanner) -> dict[bytes, TreeEntry]:
    return {e.path: e for e in tree.entries if scanner.reads(e.path)}


def _base(ctx: Scanning, p: Planned, scanner: Scanner, mirror: Path) -> tuple[Base | None, dict[bytes, TreeEntry]]:
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
    if row is None or len(row["raw_parts"]) >= MAX_PARTS:
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
    return base, _read_by(tree, scanner)


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
