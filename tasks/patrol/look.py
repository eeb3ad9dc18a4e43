"""What one look at a repository came to, and the steps every kind of look shares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from tasks.core.around import Around
from tasks.core.errors import LakeError, ScanGapError
from tasks.core.origins import OddTag
from tasks.core.ports import Scanner
from tasks.core.types import Gap, Observation, Outcome, Parsed, RawReport, Scan, ScanResult, ToolHome, TreeEntry
from tasks.lake.raw import RawStore
from tasks.patrol.plan import Planned
from tasks.repos.checkout import Checkout
from tasks.scanners.execute import Execution

#: After so many extensions a result is made anew, so that its list of kept reports stays short.
MAX_PARTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one scan came to, before it is named: the parts of a ScanResult that the look decides."""

    parsed: Parsed
    raw_parts: tuple[str, ...] = ()
    exit_code: int | None = None
    duration_s: float = 0.0
    sandbox: str = ""
    files_read: int = 0
    bytes_read: int = 0
    peak_rss_bytes: int = 0
    base: str | None = None
    #: Whether the call served other scans too; ``duration_s`` is then this one's share of it.
    shared: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A completed result that a new scan extends: what it saw, and up to where (unit blob: ``raws`` say it)."""

    result_name: str
    observations: tuple[Observation, ...]
    gaps: tuple[Gap, ...]
    raw_parts: tuple[str, ...]
    raws: tuple[RawReport, ...] = field(default=(), repr=False)
    tips: tuple[str, ...] = ()
    commit: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A planned scan made ready: what has to be read, and what is known without reading it.

    ``read`` are the files (unit blob: blobs, under the names they are written by) that the tool must see now;
    ``observations`` and ``gaps`` hold whatever the tool says of them. ``odd`` is ``Mirror.odd`` (unit blob).
    """

    planned: Planned
    scanner: Scanner
    tool: ToolHome
    mirror: Path
    base: Base | None
    read: tuple[TreeEntry, ...]
    observations: tuple[Observation, ...] = ()
    gaps: tuple[Gap, ...] = ()
    odd: Mapping[str, OddTag] = field(default_factory=dict)
    #: What a scanner that looks around is told; None for the others.
    around: Around | None = None
    #: Files that are not read, for what the tool says of them is known: entry → that (``ports.ByBlob``).
    said: Mapping[TreeEntry, bytes] = field(default_factory=dict, repr=False)

    @property
    def size_bytes(self) -> int:
        """Bytes to read."""
        return sum(e.size_bytes for e in self.read)


def kept_reports(store: RawStore, shas: Iterable[str]) -> list[RawReport] | None:
    """Kept reports in their order; None if one is gone or damaged: then the tool has to look again."""
    try:
        return [store.get(sha)[0] for sha in shas]
    except LakeError:
        return None


def judged(observations: Iterable[Observation], gaps: Iterable[Gap], *, detail: str = "") -> Parsed:
    """A completed look: ``ok``, or ``partial`` when some path was not read."""
    kept = {(g.path, g.reason_code, g.blob): g for g in gaps}
    return Parsed(
        outcome=Outcome.PARTIAL if kept else Outcome.OK,
        observations=tuple(observations),
        gaps=tuple(kept.values()),
        detail=detail,
    )


def whole(checkout: Checkout) -> Checkout:
    """The checkout. Raises ScanGapError(incomplete) when our mirror lacks objects: that must not complete a name."""
    lost = sum(1 for g in checkout.gaps if g.reason_code == "object_missing")
    if lost:
        raise ScanGapError("incomplete", f"{lost} objects are missing in our mirror; it is made anew")
    return checkout


def chunks(entries: Iterable[TreeEntry], *, max_bytes: int, max_count: int) -> Iterator[list[TreeEntry]]:
    """Cut files into runs that stay below both bounds; a single larger one goes alone."""
    piece: list[TreeEntry] = []
    total = 0
    for e in entries:
        if piece and (total + e.size_bytes > max_bytes or len(piece) >= max_count):
            yield piece
            piece, total = [], 0
        piece.append(e)
        total += e.size_bytes
    if piece:
        yield piece


def reader(folder: Path, files: Mapping[str, TreeEntry]) -> Callable[[str], bytes | None]:
    """``Target.read`` for files written below ``folder``: bytes of a listed file, None for any other name."""

    def read(path: str) -> bytes | None:
        return (folder / path).read_bytes() if path in files else None

    return read


def look_of(execution: Execution | None, parsed: Parsed, raw_parts: tuple[str, ...], checkout: Checkout) -> Look:
    """The look of one execution over one checkout."""
    if execution is None:
        return Look(parsed=parsed, raw_parts=raw_parts)
    return Look(
        parsed=parsed,
        raw_parts=raw_parts,
        exit_code=execution.exit_code,
        duration_s=execution.duration_s,
        sandbox=execution.sandbox,
        files_read=len(checkout.files),
        bytes_read=checkout.size_bytes,
        peak_rss_bytes=execution.peak_rss_bytes,
    )


def row_of_result(p: Planned, result: ScanResult) -> Scan:
    """The row of ``scans`` for a scan that a killed run had finished."""
    fields = ("raw_parts", "exit_code", "duration_s", "sandbox", "files_read", "bytes_read", "peak_rss_bytes")
    parsed = Parsed(outcome=result.outcome)
    look = Look(parsed=parsed, **{name: getattr(result, name) for name in fields})
    row = row_of(p, look, None, result.started_at)
    return replace(
        row,
        result_name=result.result_name,
        tool_version=result.tool_version,
        rules_digest=result.rules_digest,
        observations=len(result.observations),
        gaps=len(result.gaps),
    )


def row_of(p: Planned, look: Look, tool: ToolHome | None, began: datetime) -> Scan:
    """The row of ``scans`` for a scan that was tried."""
    parsed = look.parsed
    complete = parsed.outcome in (Outcome.OK, Outcome.PARTIAL)
    return Scan(
        scan_name=p.scan_name,
        result_name=p.result_name if complete else None,
        repo_id=p.repo_id,
        slug=p.slug,
        ref=p.ref,
        commit=p.commit,
        tool=p.tool,
        tool_version=tool.version if tool else None,
        unit=p.unit,
        config_digest=p.config_digest,
        rules_digest=tool.rules_digest if tool else None,
        cause=p.cause,
        outcome=parsed.outcome,
        reason_code=parsed.reason_code,
        detail=parsed.detail,
        started_at=began,
        duration_s=look.duration_s,
        exit_code=look.exit_code,
        raw_sha256=look.raw_parts[-1] if look.raw_parts else None,
        sandbox=look.sandbox or None,
        files_read=look.files_read,
        bytes_read=look.bytes_read,
        observations=len(parsed.observations),
        gaps=len(parsed.gaps),
        peak_rss_bytes=look.peak_rss_bytes,
    )


def result_of(p: Planned, look: Look, scanner: Scanner, tool: ToolHome, began: datetime) -> ScanResult:
    """The completed scan name that goes to the spool and the ledger."""
    assert p.scan_name and p.result_name and p.config_digest and p.commit
    return ScanResult(
        scan_name=p.scan_name,
        result_name=p.result_name,
        tool=p.tool,
        tool_version=tool.version,
        kind=scanner.kind,
        unit=p.unit,
        config_digest=p.config_digest,
        rules_digest=tool.rules_digest,
        parse_revision=scanner.parse_revision,
        repo_id=p.repo_id,
        ref=p.ref,
        commit=p.commit,
        tips=p.tips,
        outcome=look.parsed.outcome,
        observations=look.parsed.observations,
        gaps=look.parsed.gaps,
        raw_parts=look.raw_parts,
        base_result_name=look.base,
        started_at=began,
        duration_s=look.duration_s,
        exit_code=look.exit_code,
        sandbox=look.sandbox,
        files_read=look.files_read,
        bytes_read=look.bytes_read,
        peak_rss_bytes=look.peak_rss_bytes,
    )
