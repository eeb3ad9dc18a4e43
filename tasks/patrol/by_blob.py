"""Scans of tools that say of a file what stands in it and nothing else: what was read before is not read again.

The report that is kept is whole, as if the tool had been given every file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.ports import ByBlob, Scanner
from tasks.core.types import Outcome, Target, TreeEntry, display_path
from tasks.patrol.look import Job
from tasks.patrol.plan import Planned
from tasks.repos.checkout import Checkout
from tasks.scanners.execute import Execution

if TYPE_CHECKING:
    from tasks.patrol.scanning import Scanning


def said_of(ctx: Scanning, p: Planned, scanner: Scanner, entries: Iterable[TreeEntry]) -> Mapping[TreeEntry, bytes]:
    """What is known of files without reading them."""
    kept = ctx.means.read_before
    if kept is None or not isinstance(scanner, ByBlob) or ctx.patrol.options.force or p.config_digest is None:
        return {}
    keys = {e: scanner.blob_key(e) for e in entries}
    found = kept.get(p.config_digest, set(keys.values()))
    return {e: found[key] for e, key in keys.items() if key in found}


def whole(ctx: Scanning, job: Job, execution: Execution | None, checkout: Checkout) -> Execution | None:
    """The execution over all files, of which the tool has seen those of ``checkout``; what it said of them is kept.

    Any other scanner's is returned as it is, and so is one that failed.
    """
    scanner, p = job.scanner, job.planned
    if not isinstance(scanner, ByBlob) or (execution is None and not job.said):
        return execution
    if execution is not None and execution.raw is None:
        return execution
    raw = execution.raw if execution is not None and execution.raw is not None else scanner.empty(job.tool)
    if ctx.means.read_before is not None and p.config_digest is not None:
        fresh = {
            scanner.blob_key(checkout.files[name]): body
            for name, body in scanner.apart(raw).items()
            if name in checkout.files
        }
        ctx.means.read_before.put(p.config_digest, fresh)
    if not job.said:
        return execution
    crashed = [g for g in (execution.parsed.gaps if execution else ()) if g.reason_code == "crashes_tool"]
    lost = {g.path for g in crashed}
    files = {name: e for name, e in checkout.files.items() if display_path(e.path) not in lost}
    names = {os.fsdecode(e.path): e for e in job.said}
    joined = scanner.joined(raw, {name: job.said[e] for name, e in names.items()})
    target = Target(repo_id=p.repo_id, ref=p.ref, commit=p.commit or "", root=Path(), files={**files, **names})
    parsed = scanner.parse(joined, target, ctx.means.key)
    if crashed:
        parsed = replace(parsed, outcome=Outcome.PARTIAL, gaps=(*parsed.gaps, *crashed))
    if execution is not None:
        return replace(execution, raw=joined, parsed=parsed)
    # No tool was started: all was known.
    return Execution(parsed=parsed, raw=joined, exit_code=None, duration_s=0.0, sandbox="", peak_rss_bytes=0)
