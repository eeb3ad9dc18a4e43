"""Import of report files into the lake: one scope ``import/<tool>`` a tool, of its own.

What one import reads of a tool is all that this tool says of the repository and ref: several files or runs of one tool
add up, a record that several files hold counts once, and what an earlier import had and this one lacks is fixed. A
scanner's own scope is never touched. No patrol expects an imported scope, until its repository or branch is gone; its
age is in the view ``freshness``.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import os
import stat
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast

from tasks.core.errors import UsageError
from tasks.core.keys import HmacKey
from tasks.core.ports import Importer
from tasks.core.reports import RecordNames, Reported, ReportedTool, ReportError, tool_name
from tasks.core.sealing import written
from tasks.core.text import one_line
from tasks.core.types import Cause, Gap, Kind, Observation, Outcome, Scan, ScanResult, ScopeState, Unit, digest
from tasks.importers import IMPORTERS
from tasks.lake.changes import Change, Origin
from tasks.lake.lake import Lake, Snapshot
from tasks.lake.publish import PublishBatch, publish
from tasks.patrol.deciding import Deciding
from tasks.patrol.owning import COLUMNS, OwnersIn, import_owners
from tasks.patrol.plan import SCOPE_PREFIX

#: The source of repositories that only imports know; no configured source can be called so.
IMPORT_SOURCE = "(import)"
_HEAD_BYTES = 4096

#: Called with (bytes read, bytes in all) while files are read; each is read twice.
Watcher = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to import. ``repo`` is a slug or a repo_id, ``ref`` a branch (None: the default one)."""

    files: tuple[Path, ...]
    repo: str
    tool: str | None = None
    ref: str | None = None
    new_repo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolImport:
    """What became of one tool's records. ``known`` says that the scope holds exactly this already; ``repeated`` are
    records beside ``records`` that stand in several of the files."""

    tool: str
    records: int
    repeated: int
    gaps: tuple[Gap, ...]
    known: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSummary:
    """What an import did; ``run_id`` None means that nothing was written."""

    slug: str
    ref: str
    run_id: str | None
    tools: tuple[ToolImport, ...]
    opened: int = 0
    fixed: int = 0

    @property
    def has_gaps(self) -> bool:
        """Whether something of the files was not read."""
        return any(t.gaps for t in self.tools)


@dataclass(slots=True)
class ToolReport:
    """What the files say of one tool; ``content`` digests it in the order of the files.

    ``repeated`` counts records that an earlier file holds already, the same in every column: they are left out.
    """

    tool: ReportedTool
    importer: Importer
    observations: list[Observation] = field(default_factory=list)
    gaps: dict[tuple[str, str], Gap] = field(default_factory=dict)
    content: Any = field(default_factory=hashlib.sha256)
    repeated: int = 0
    uids: set[str] = field(default_factory=set)

    def add(self, record: Reported) -> None:
        """One more record."""
        self.tool = _newer(self.tool, record.tool)
        item = record.item
        if isinstance(item, Gap):
            old = self.gaps.get((item.path, item.reason_code))
            if old is not None and item.detail not in old.detail:
                item = replace(item, detail=one_line(f"{old.detail}; {item.detail}", 1000))
            self.gaps[item.path, item.reason_code] = item
        elif item is not None and item.occurrence_uid in self.uids:
            self.repeated += 1
        elif item is not None:
            self.uids.add(item.occurrence_uid)
            self.content.update(form_of(item))
            self.observations.append(item)

    def scan_name(self, scope_tool: str) -> str:
        """Digest of what was read, masked, and of the importer."""
        gaps = [f"{g.path}|{g.reason_code}|{g.detail}" for g in self.gaps.values()]
        return digest(
            "import", self.importer.name, self.importer.revision, scope_tool, self.tool.version,
            self.tool.commit, self.content.hexdigest(), *gaps,
        )  # fmt: skip


def read_files(files: Iterable[Path], key: HmacKey, watch: Watcher = lambda _done, _all: None) -> dict[str, ToolReport]:
    """The reports of some files, by tool. Raises ReportError naming the file, UsageError when one cannot be read."""
    paths = list(files)
    sizes = [size_of(p) for p in paths]
    total, before = 2 * sum(sizes), 0
    reports: dict[str, ToolReport] = {}
    names = RecordNames()
    for path, size in zip(paths, sizes, strict=True):
        with opened(path) as raw:
            importer = importer_of(raw, path)
            counted = cast(BinaryIO, io.BufferedReader(_Counted(raw, before, total, watch), 1 << 20))
            try:
                for record in importer.parse(counted, key, names):
                    report = reports.get(record.tool.name)
                    if report is None:
                        report = reports[record.tool.name] = ToolReport(tool=record.tool, importer=importer)
                    report.add(record)
            except ReportError as e:
                raise ReportError(f"{path}: {e.message}", advice=e.advice) from None
        before += 2 * size
    return reports


def importer_of(raw: BinaryIO, path: Path) -> Importer:
    """The importer whose format a file has, by its first bytes. Raises ReportError."""
    head = raw.read(_HEAD_BYTES)
    raw.seek(0)
    found = next((i for i in IMPORTERS if i.sniff(head)), None)
    if found is None:
        raise ReportError(
            f"{path}: no known report format" if head else f"{path}: the file is empty",
            advice=f"Formats that are read: {', '.join(i.name for i in IMPORTERS)}. An SBOM goes to `nightwarden assess"
            " --sbom`.",
        )
    return found


def import_reports(
    lake: Lake,
    request: Request,
    reports: dict[str, ToolReport],
    *,
    dry_run: bool,
    owners_in: OwnersIn | None = None,
) -> ImportSummary:
    """Write what was read as one run; nothing if every scope holds it already. The lake's lock is held by the caller
    unless ``dry_run``. ``owners_in`` opens what CODEOWNERS is read with, where mirrors are on this machine; else the
    next patrol says whose the findings are. Raises UsageError: the repository is not known, or the tool cannot be
    called so.
    """
    began = datetime.now(UTC)
    snapshot = lake.snapshot()
    row, is_new = repository_of(snapshot, request.repo, new_repo=request.new_repo, now=began)
    ref = ref_of(request.ref, row)
    states = snapshot.scope_states([row["repo_id"]])
    told: list[ToolImport] = []
    work: list[tuple[ScopeState | None, ScanResult]] = []
    for name, report in sorted(_named(reports, request.tool).items()):
        tool = f"{SCOPE_PREFIX}{name}"
        before = states.get((row["repo_id"], ref, tool))
        result = _result(report, tool, row, ref, began)
        known = before is not None and _holds(before, result, report.tool.looked_at)
        count = len(result.observations)
        gaps = tuple(result.gaps)
        told.append(ToolImport(tool=tool, records=count, repeated=report.repeated, gaps=gaps, known=known))
        if not known:
            work.append((before, result))
    summary = ImportSummary(slug=row["slug"], ref=ref, run_id=None, tools=tuple(told))
    if dry_run or not work:
        return summary
    run_id = uuid.uuid4().hex
    batch = _batch(run_id, request, row, is_new, work, began)
    # What was decided about its findings holds on.
    judge = Deciding(snapshot, batch.run["finished_at"]).judge()
    assign, open_row = import_owners(row, owners_in)
    rows = batch.repositories if open_row is None else [open_row]
    published = publish(lake, snapshot, replace(batch, judge=judge, assign=assign, repositories=rows))
    return replace(summary, run_id=run_id, opened=published.opened, fixed=published.fixed)


def _holds(before: ScopeState, result: ScanResult, looked_at: datetime | None) -> bool:
    """The same content; a report that says it was made later is newer evidence all the same."""
    same = before.result_name == result.result_name
    return same and (looked_at is None or before.evidence_at is None or looked_at <= before.evidence_at)


def _named(reports: dict[str, ToolReport], given: str | None) -> dict[str, ToolReport]:
    if given is None:
        return reports
    if len(reports) != 1:
        raise UsageError(
            f"--tool names one tool, the files hold {len(reports)}: {', '.join(sorted(reports)) or 'none'}",
            advice="Leave --tool out, or import the tools' files one by one.",
        )
    return {tool_name(given): next(iter(reports.values()))}


def repository_of(snapshot: Snapshot, repo: str, *, new_repo: bool, now: datetime) -> tuple[dict[str, Any], bool]:
    """(row of ``repositories``, whether it is made now). Raises UsageError: none is called so, or several are."""
    rows: list[dict[str, Any]] = snapshot.table("repositories").to_pylist()
    found = [r for r in rows if r["repo_id"] == repo] or [r for r in rows if r["slug"] == repo]
    if len(found) > 1:
        raise UsageError(
            f"{len(found)} repositories are called {one_line(repo, 80)!r}",
            advice=f"Give one of their ids to --repo: {one_line(', '.join(r['repo_id'] for r in found), 800)}.",
        )
    if found:
        return found[0], False
    if not new_repo:
        near = difflib.get_close_matches(repo, [r["slug"] for r in rows], n=5, cutoff=0.4)
        hint = f"Near names: {one_line(', '.join(near), 400)}." if near else f"The lake has {len(rows)} repositories."
        raise UsageError(
            f"no repository is called {one_line(repo, 80)!r}", advice=f"{hint} --new-repo makes a row of it."
        )
    slug = one_line(repo.strip(), 200)
    if not slug:
        raise UsageError("a repository needs a name", advice="Give --repo SLUG.")
    return {
        "repo_id": f"import:{slug}", "slug": slug, "source": IMPORT_SOURCE, "url": f"import:{slug}",
        "default_branch": None, "head": None, "owner": None, "criticality": None, "exposure": None, "scopes": [],
        "present": True, "reason_code": None, "first_seen_at": now, "changed_at": now, **dict.fromkeys(COLUMNS),
    }, True  # fmt: skip


def ref_of(given: str | None, row: dict[str, Any]) -> str:
    """The whole name of the branch that is given, else of the default one."""
    if given:
        name = one_line(given, 200)
        return name if name.startswith("refs/") or name == "HEAD" else f"refs/heads/{name}"
    return str(row["default_branch"] or "HEAD")


def _result(report: ToolReport, tool: str, row: dict[str, Any], ref: str, began: datetime) -> ScanResult:
    importer, gaps = report.importer, tuple(report.gaps.values())
    scan_name = report.scan_name(tool)
    return ScanResult(
        scan_name=scan_name,
        result_name=f"{scan_name}.{importer.revision}",
        tool=tool,
        tool_version=report.tool.version,
        kind=Kind.CODE,
        unit=Unit.TREE,
        config_digest=digest("import", importer.name, importer.revision),
        rules_digest=digest("import", tool, report.tool.version),
        parse_revision=importer.revision,
        repo_id=row["repo_id"],
        ref=ref,
        commit=report.tool.commit or "",
        outcome=Outcome.PARTIAL if gaps else Outcome.OK,
        observations=tuple(report.observations),
        gaps=gaps,
        started_at=report.tool.looked_at or began,
        duration_s=0.0,
        exit_code=None,
        sandbox="imported",
        files_read=0,
        bytes_read=0,
        peak_rss_bytes=0,
    )


def _batch(
    run_id: str,
    request: Request,
    row: dict[str, Any],
    is_new: bool,
    work: list[tuple[ScopeState | None, ScanResult]],
    began: datetime,
) -> PublishBatch:
    finished = datetime.now(UTC)
    scans = [scan_of(before, result, row) for before, result in work]
    outcomes = Counter(str(s.outcome) for s in scans)
    partial = sum(1 for s in scans if s.gaps)
    run: dict[str, Any] = {
        "run_id": run_id,
        "started_at": began,
        "finished_at": finished,
        "state": "CompletedWithGaps" if partial else "Completed",
        "sources": [IMPORT_SOURCE],
        "filters": json.dumps({"import": [one_line(p.name, 100) for p in request.files], "repo": row["slug"]}),
        "config_digest": digest(*(r.config_digest for _, r in work)),
        "versions": json.dumps({r.tool: r.tool_version for _, r in work}),
        "sandbox": "imported",
        "repositories": 1,
        "expected": len(scans),
        "tools_started": 0,
        "gaps": partial,
        "outcomes": json.dumps(dict(sorted(outcomes.items()))),
        "duration_s": (finished - began).total_seconds(),
        "scan_s": 0.0,
    }
    return PublishBatch(
        run=run,
        repositories=[row] if is_new else [],
        scans=scans,
        results=[r for _, r in work],
        scopes=[scope_of(before, result, row) for before, result in work],
        changes=[
            Change(
                repo_id=result.repo_id,
                ref=result.ref,
                tool=result.tool,
                slug=row["slug"],
                commit=result.commit or None,
                result=result,
                before=before.result_name if before else None,
                origin=Origin.IMPORT,
                other_tool=before is not None and _differs(before, result),
                same_paths=lambda: None,  # a report does not say which files it read
            )
            for before, result in work
            if before is None or before.result_name != result.result_name
        ],
    )


def _differs(before: ScopeState, result: ScanResult) -> bool:
    """Whether another version of the tool or another revision of the importer speaks."""
    return (before.rules_digest, before.config_digest) != (result.rules_digest, result.config_digest)


def scan_of(before: ScopeState | None, result: ScanResult, row: dict[str, Any]) -> Scan:
    """The row of the coverage record of what was read."""
    same = (
        "scan_name", "result_name", "repo_id", "ref", "tool", "tool_version", "unit", "config_digest",
        "rules_digest", "outcome", "sandbox",
    )  # fmt: skip
    return Scan(
        **{n: getattr(result, n) for n in same},
        slug=row["slug"],
        commit=result.commit or None,
        cause=Cause.NEW if before is None else Cause.CHANGED,
        started_at=result.started_at,
        observations=len(result.observations),
        gaps=len(result.gaps),
    )


def scope_of(before: ScopeState | None, result: ScanResult, row: dict[str, Any]) -> ScopeState:
    """The scope that refers to it."""
    same = (
        "repo_id", "ref", "tool", "scan_name", "result_name", "config_digest", "tool_version", "rules_digest",
        "outcome",
    )  # fmt: skip
    return ScopeState(
        **{n: getattr(result, n) for n in same},
        slug=row["slug"],
        source=row["source"],
        commit=result.commit or None,
        evidence_at=result.started_at,
        observations=len(result.observations),
        gaps=len(result.gaps),
        reason_code=result.gaps[0].reason_code if result.gaps else None,
        result_part=before.result_part if before and before.result_name == result.result_name else None,
    )


def _newer(a: ReportedTool, b: ReportedTool) -> ReportedTool:
    """Of two that speak for one tool the one that looked later; a commit counts only if both name it."""
    if a == b:
        return a
    newest = max((a, b), key=lambda t: (t.looked_at is not None, t.looked_at or datetime.min.replace(tzinfo=UTC)))
    return replace(newest, commit=a.commit if a.commit == b.commit else None)


def form_of(o: Observation) -> bytes:
    """An observation as it enters the name of a result."""
    told = [o.anchor_uid, o.occurrence_uid, o.rule_id, sorted(written(o).items())]
    return json.dumps(told, sort_keys=True).encode() + b"\n"


# -- files -----------------------------------------------------------------------------------------------------


def size_of(path: Path) -> int:
    """Bytes of a regular file. Raises UsageError: it is none, or cannot be read."""
    try:
        info = path.stat()
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {os.strerror(e.errno or 0)}", advice="Give report files.") from None
    if not stat.S_ISREG(info.st_mode):
        raise UsageError(f"{path} is no regular file", advice="A report is read twice: write it to a file first.")
    return info.st_size


def opened(path: Path) -> BinaryIO:
    """A file to be read. Raises UsageError."""
    try:
        return path.open("rb")
    except OSError as e:
        raise UsageError(f"{path} cannot be read: {os.strerror(e.errno or 0)}", advice="Check its rights.") from None


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, raw: BinaryIO, before: int, total: int, watch: Watcher) -> None:
        self._raw, self._done, self._total, self._watch = raw, before, total, watch

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._raw.seek(offset, whence)

    def tell(self) -> int:
        return self._raw.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._raw.read(len(buffer))
        buffer[: len(data)] = data
        self._done += len(data)
        self._watch(self._done, self._total)
        return len(data)
