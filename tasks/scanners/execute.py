"""Run one tool over one target and judge what happened; narrow a crash down to the files that cause it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.keys import HmacKey
from tasks.core.ports import Scanner
from tasks.core.process import ProcessRunner
from tasks.core.types import (
    Completed,
    Gap,
    Outcome,
    Parsed,
    RawReport,
    Target,
    ToolHome,
    TreeEntry,
    display_path,
)
from tasks.scanners.masking import told
from tasks.scanners.narrowing import Attempt, Narrowing, NotNarrowedError
from tasks.scanners.service import ServicePool

#: A failure is followed to at most so many files.
MAX_CULPRITS = 3
#: Failures that one file can cause.
_FILE_FAULTS = frozenset(
    {"timeout", "signal", "memory", "output_limit", "tool_error", "report_invalid", "report_empty"}
)

Subset = Callable[[Sequence[str]], AbstractContextManager[Target]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What one run of a tool came to. ``raw`` is the masked report, None when there was none."""

    parsed: Parsed
    raw: RawReport | None
    exit_code: int | None
    duration_s: float
    sandbox: str
    peak_rss_bytes: int


def execute(
    scanner: Scanner,
    tool: ToolHome,
    target: Target,
    runner: ProcessRunner,
    key: HmacKey,
    service: ServicePool | None,
    *,
    timeout_s: float | None = None,
) -> Execution:
    """Run, mask, parse. Every failure becomes an outcome with a reason; only ``cancelled`` is raised.

    ``timeout_s`` shortens the tool's own limit; it never lengthens it.
    """
    if service is not None:
        done = service.scan(target, timeout_s=timeout_s)
        ok_codes = frozenset({0})
    else:
        command = scanner.command(tool, target)
        if timeout_s is not None:
            command = replace(command, timeout_s=min(timeout_s, command.timeout_s))
        done, ok_codes = runner.run(command), command.ok_codes
    raw: RawReport | None = None
    try:
        parsed = _ended_badly(done, ok_codes)
        if parsed is None:
            stdout, stderr = (_as_mounted(said, target, runner) for said in (done.stdout, done.stderr))
            body = scanner.mask(stdout, stderr, key)
            raw = RawReport(tool=scanner.name, tool_version=tool.version, exit_code=done.exit_code, body=body)
            parsed = scanner.parse(raw, target, key)
    except ScanGapError as e:
        if e.reason_code == "cancelled":
            raise
        parsed = Parsed(outcome=Outcome.FAILED, reason_code=e.reason_code, detail=e.detail)
    return Execution(
        parsed=parsed,
        raw=raw,
        exit_code=done.exit_code,
        duration_s=done.duration_s,
        sandbox=done.sandbox,
        peak_rss_bytes=done.peak_rss_bytes,
    )


def _as_mounted(said: bytes, target: Target, runner: ProcessRunner) -> bytes:
    """What a tool said with paths as a sandbox shows them, so that where nothing isolates the report is the same."""
    seen = runner.sandbox.seen_at(target.root, target.inside)
    if seen == target.inside:
        return said
    for form in {seen, json.dumps(seen)[1:-1]}:
        said = said.replace(form.encode(), target.inside.encode())
    return said


def _ended_badly(done: Completed, ok_codes: frozenset[int]) -> Parsed | None:
    """The failure of a process that was killed, died by a signal or ended with a code that means no report."""
    if done.cancelled:
        raise ScanGapError("cancelled", "the run was cancelled")
    said = told(done.stderr[-2000:].decode("utf-8", "replace").strip())
    if done.timed_out:
        return Parsed(
            outcome=Outcome.TIMEOUT, reason_code="timeout", detail=f"killed after {done.duration_s:.0f} s; {said}"
        )
    if done.out_of_memory:
        peak = done.peak_rss_bytes // 1024**2
        return Parsed(outcome=Outcome.FAILED, reason_code="memory", detail=f"killed at {peak} MB; {said}")
    if done.disk_full:
        return Parsed(outcome=Outcome.FAILED, reason_code="disk_full", detail="killed: the disk is all but full")
    if done.output_overflow:
        return Parsed(outcome=Outcome.FAILED, reason_code="output_limit", detail="killed: it wrote too much")
    if done.exit_code is None or done.exit_code < 0:
        return Parsed(
            outcome=Outcome.FAILED, reason_code="signal", detail=f"ended by signal {-(done.exit_code or 0)}; {said}"
        )
    if done.exit_code not in ok_codes:
        return Parsed(outcome=Outcome.FAILED, reason_code="tool_error", detail=f"exit {done.exit_code}; {said}")
    return None


def execute_bisecting(
    scanner: Scanner,
    tool: ToolHome,
    target: Target,
    runner: ProcessRunner,
    key: HmacKey,
    service: ServicePool | None,
    *,
    subset: Subset,
) -> Execution:
    """As ``execute``; if the tool fails on the whole, find the files it fails on and scan the rest without them.

    ``subset`` gives a target that holds only the named files. Found culprits are gaps (``crashes_tool``). When no
    file can be named within the budget of ``Narrowing``, more than MAX_CULPRITS would be needed, or every file is
    one, the failure stands and its detail says so.
    """
    whole = execute(scanner, tool, target, runner, key, service)
    if whole.parsed.reason_code not in _FILE_FAULTS or len(target.files) < 2:
        return whole

    def attempt(names: Sequence[str], timeout_s: float) -> Attempt:
        with subset(names) as part:
            done = execute(scanner, tool, part, runner, key, service, timeout_s=timeout_s)
        return Attempt(fault=_file_fault(done), duration_s=done.duration_s)

    sizes = {name: entry.size_bytes for name, entry in target.files.items()}
    narrowing = Narrowing(sizes, timeout_s=scanner.limits.timeout_s, attempt=attempt)
    gaps: list[Gap] = []
    rest = sorted(target.files)
    try:
        while len(gaps) < MAX_CULPRITS:
            found = narrowing.culprit(rest)
            gaps.append(_culprit(target.files[found.name], found.detail))
            rest.remove(found.name)
            if not rest:
                raise NotNarrowedError("it fails on every file")
            # The scan itself, so with the full limit; as long as it fails it is part of the search.
            with subset(rest) as part:
                done = execute(scanner, tool, part, runner, key, service)
            if done.parsed.outcome in (Outcome.OK, Outcome.PARTIAL):
                parsed = replace(done.parsed, outcome=Outcome.PARTIAL, gaps=(*done.parsed.gaps, *gaps))
                return replace(done, parsed=parsed)
            narrowing.count(done.duration_s)
        raise NotNarrowedError(f"it fails on more than {MAX_CULPRITS} files")
    except NotNarrowedError as e:
        said = f"{whole.parsed.detail}; not narrowed down: {e}".removeprefix("; ")
        return replace(whole, parsed=replace(whole.parsed, detail=said))


def _file_fault(done: Execution) -> str | None:
    return done.parsed.reason_code if done.parsed.reason_code in _FILE_FAULTS else None


def _culprit(entry: TreeEntry, detail: str) -> Gap:
    return Gap(path=display_path(entry.path), blob=entry.blob, reason_code="crashes_tool", detail=detail)


def run_control(
    scanner: Scanner, tool: ToolHome, runner: ProcessRunner, key: HmacKey, service: ServicePool | None, work: Path
) -> None:
    """Let the tool find the flaw planted in its control checkout. Raises ScanGapError(control) when it does not."""
    files: dict[str, TreeEntry] = {}
    for name, body in scanner.control.files.items():
        place = work / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(body)
        oid = name.rsplit("/", 1)[-1]
        files[name] = TreeEntry(path=name.encode(), mode="100644", blob=oid, size_bytes=len(body))
    target = Target(
        repo_id="control",
        ref="control",
        commit="control",
        root=work,
        files=files,
        read=lambda name: (work / name).read_bytes() if name in files else None,
    )
    done = execute(scanner, tool, target, runner, key, service)
    wanted = scanner.control
    for o in done.parsed.observations:
        if (o.path or o.blob) == wanted.path and (not wanted.rule_id or o.rule_id == wanted.rule_id):
            return
    why = done.parsed.detail or "it reported something else or nothing"
    reason = f" ({done.parsed.reason_code})" if done.parsed.reason_code else ""
    raise ScanGapError("control", f"{scanner.name} did not find its planted flaw{reason}: {why}")
