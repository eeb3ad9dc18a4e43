"""The words of the house: frozen, slotted, keyword-only; UTC; units in names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from tasks.core.around import Around


class Outcome(StrEnum):
    """What became of one expected scan: a closed list (`nightwarden explain OUTCOME` tells each)."""

    OK = "ok"
    UNCHANGED = "unchanged"
    NOTHING_TO_READ = "nothing_to_read"
    PARTIAL = "partial"
    FAILED = "failed"
    TIMEOUT = "timeout"
    STALE = "stale"
    MISSING = "missing"
    SKIPPED = "skipped"


class Unit(StrEnum):
    """How much a tool looks at before it decides: the whole tree, one file, one blob of the history; or settings."""

    TREE = "tree"
    FILE = "file"
    BLOB = "blob"
    SETTINGS = "settings"


class Kind(StrEnum):
    """What an observation is about; it decides the anchor (see ``tasks.core.identity``)."""

    CODE = "code"
    SECRET = "secret"
    IAC = "iac"
    DEPENDENCY = "dependency"
    WEB = "web"
    HOST = "host"
    PACKAGE = "package"  # an entry of an inventory: known to be there, never a finding
    POSTURE = "posture"  # how a repository is kept: what it lacks, who may do what
    SECRET_HYGIENE = "secret-hygiene"  # how a stored secret, or the store itself, is kept


class Cause(StrEnum):
    """Why a scan is planned (or, ``none``, why it isn't)."""

    NEW = "new"
    CHANGED = "changed"
    TOOL = "tool"
    RULES = "rules"
    RETRY = "retry"
    FORCED = "forced"
    PARSER = "parser"
    NONE = "none"


def digest(*parts: object) -> str:
    """SHA-256 (hex) of the parts, each prefixed by its length so that no two lists collide."""
    h = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        h.update(len(data).to_bytes(8, "big"))
        h.update(data)
    return h.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Repo:
    """One repository as discovered. ``slug`` is what people read, ``url`` a path or URL without credentials."""

    repo_id: str
    slug: str
    url: str
    source: str
    default_branch: str | None = None
    owner: str | None = None
    criticality: str | None = None
    exposure: str | None = None
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeEntry:
    """One regular file of a git tree. ``path`` is the raw bytes of git; ``blob`` its object id (hex)."""

    path: bytes
    mode: str
    blob: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One place where a blob stands in the history: the oldest commit that put it at ``path`` (where only a tag of a
    tree or a blob holds it, that tree or blob)."""

    path: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What one scan looks at. ``root`` is the folder on this machine that holds the written files (a safe checkout
    for units tree and file; files named by blob id for unit blob); ``inside`` is where the tool sees that folder in
    its sandbox. ``files`` maps the path as written below ``root`` to its entry. ``read(path)`` returns a file's bytes,
    or None if it was not part of the target. ``occurrences`` maps a blob id to its places (unit blob only), None: not
    known yet, so each hit is reported once, with its blob alone. ``around`` is for ``ports.LooksAround``.
    """

    repo_id: str
    ref: str
    commit: str
    root: Path
    inside: str = "/nightwarden/checkout"
    files: Mapping[str, TreeEntry] = field(default_factory=dict)
    read: Callable[[str], bytes | None] = field(default=lambda _path: None, repr=False)
    occurrences: Mapping[str, Sequence[Occurrence]] | None = field(default=None, repr=False)
    around: Around | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one tool run. They are part of the scan's name: another limit may give another result."""

    timeout_s: float = 600.0
    memory_bytes: int = 4 * 1024**3
    stdout_bytes: int = 512 * 1024**2
    max_files: int = 50_000
    max_file_bytes: int = 10 * 1024**2
    max_total_bytes: int = 2 * 1024**3

    def label(self) -> str:
        """The form that enters a scan name."""
        return (
            f"t={self.timeout_s:g};m={self.memory_bytes};o={self.stdout_bytes};"
            f"n={self.max_files};f={self.max_file_bytes};s={self.max_total_bytes}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Roughly how long a look takes: it orders the first night, before there is any history to go by."""

    start_s: float
    file_s: float = 0.0
    megabyte_s: float = 0.0

    def seconds(self, files: int, size_bytes: int) -> float:
        """For so many files, or so much packed history."""
        return self.start_s + self.file_s * files + self.megabyte_s * size_bytes / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A path that the sandboxed process may see. ``inside`` defaults to the same path."""

    source: Path
    inside: str = ""
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One process: an argv list (never a shell line), what it may see, and its limits."""

    argv: tuple[str, ...]
    ok_codes: frozenset[int] = frozenset({0})
    timeout_s: float = 600.0
    memory_bytes: int = 4 * 1024**3
    stdout_bytes: int = 512 * 1024**2
    stderr_bytes: int = 1024**2
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    mounts: tuple[Mount, ...] = ()
    cwd: str = "/"
    network: bool = False
    stdin: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """How a process ended. ``exit_code`` is negative when a signal ended it; None when we killed it."""

    exit_code: int | None
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)
    duration_s: float
    peak_rss_bytes: int
    sandbox: str
    timed_out: bool = False
    out_of_memory: bool = False
    disk_full: bool = False
    output_overflow: bool = False
    cancelled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReport:
    """A tool's report after masking: the only form that is kept or parsed."""

    tool: str
    tool_version: str
    exit_code: int | None
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One thing one named scan saw. ``blob`` is the object it was read from (None if the tool read the tree),
    ``carry_uid`` its anchor without the path, by which it is known again when its file is renamed, ``flaw_uid`` what
    tools that see the same flaw name alike (None where there is none)."""

    anchor_uid: str
    occurrence_uid: str
    kind: Kind
    rule_id: str
    title: str
    severity_tool: str | None = None
    path: str | None = None
    line_start: int | None = None
    line_end: int | None = None
    blob: str | None = None
    commit: str | None = None
    purl: str | None = None
    version: str | None = None
    resource: str | None = None
    url: str | None = None
    carry_uid: str | None = None
    flaw_uid: str | None = None
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One path that was not read, and why (``reason_code`` of ``tasks.core.reasons``)."""

    path: str
    reason_code: str
    detail: str = ""
    blob: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """An adapter's judgement of one report."""

    outcome: Outcome
    observations: tuple[Observation, ...] = ()
    gaps: tuple[Gap, ...] = ()
    reason_code: str | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a tool as it was in force: one row of ``rules``. None where the tool does not say."""

    rule_id: str
    title: str = ""
    severity_tool: str | None = None
    cwe: str | None = None
    remedy: str | None = None
    url: str | None = None
    pack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolHome:
    """An installed tool: where it lies, what version it says it has, and the digest of its rules.

    ``rules`` are its rules where it can list them (None: unknown); ``rules_file`` those it is started with, if it is.
    ``database`` is the folder of its data base (``ports.UsesDatabase``), fetched ``database_at``; None: it has none.
    The folder is among ``mounts``, its digest in ``rules_digest``.
    """

    name: str
    version: str
    executable: Path
    mounts: tuple[Mount, ...]
    rules_digest: str
    origin: str
    rules: tuple[Rule, ...] | None = field(default=None, repr=False)
    rules_file: Path | None = None
    database: Path | None = None
    database_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """A planted flaw the tool must find before its silence counts (design rule 1)."""

    files: Mapping[str, bytes]
    rule_id: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """One expected (repository, ref, tool) of one run: the coverage record, one row of ``scans``."""

    scan_name: str | None
    result_name: str | None
    repo_id: str
    slug: str
    ref: str
    commit: str | None
    tool: str
    tool_version: str | None
    unit: Unit
    config_digest: str | None
    rules_digest: str | None
    cause: Cause
    outcome: Outcome
    reason_code: str | None = None
    detail: str = ""
    started_at: datetime | None = None
    duration_s: float = 0.0
    exit_code: int | None = None
    raw_sha256: str | None = None
    sandbox: str | None = None
    files_read: int = 0
    bytes_read: int = 0
    observations: int = 0
    gaps: int = 0
    peak_rss_bytes: int = 0
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedScan:
    """A scan that ended badly and that no run has published; back-off counts from ``tried_at``, its run's start."""

    row: Scan
    tried_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PathFilter:
    """Which files a tool reads, by lower-cased name, so that a git tree is asked without a checkout: ``names`` are
    the whole base name, ``prefixes`` its beginning, ``suffixes`` its end. With ``folder`` these count only for files
    directly in a folder that ends so, at any depth; ``endings`` count in every folder. Bytes, as git's names are."""

    suffixes: tuple[bytes, ...] = ()
    names: frozenset[bytes] = frozenset()
    prefixes: tuple[bytes, ...] = ()
    folder: bytes = b""
    endings: tuple[bytes, ...] = ()

    def __call__(self, path: bytes) -> bool:
        place, _, base = path.lower().rpartition(b"/")
        by_suffix = base.endswith(self.suffixes) and (b"/" + place).endswith(self.folder)
        return base in self.names or by_suffix or base.startswith(self.prefixes) or base.endswith(self.endings)

    def label(self) -> str:
        """The form that enters a scan name."""
        more = (sorted(self.endings),) if self.endings else ()
        return repr((sorted(self.suffixes), sorted(self.names), sorted(self.prefixes), self.folder, *more))


def tree_digest(entries: Iterable[TreeEntry]) -> str:
    """Digest of (path, mode, blob) in path order: what a tool of unit tree or file reads."""
    h = hashlib.sha256()
    for e in sorted(entries, key=lambda e: e.path):
        h.update(len(e.path).to_bytes(4, "big") + e.path + e.mode.encode() + e.blob.encode())
    return h.hexdigest()


def display_path(path: bytes) -> str:
    """A git path as stored text: UTF-8 as it is, otherwise each byte that is not UTF-8 as ``\\xNN``."""
    return path.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanResult:
    """A completed scan name: what ledger, observations and scan gaps keep once, for all nights. ``result_name`` is
    ``<scan_name>.<parse_revision>``: a later reading of the same report is another result. ``raw_parts`` are digests
    of the kept reports it is made of, oldest first (units file and blob: one for each extension, else one).
    ``commit`` and ``tips`` (see ``Mirror.tips``) say which history it covers.
    What it saw may lie in the spool and be read each time it is gone through: ask for ``len`` where that will do.
    """

    scan_name: str
    result_name: str
    tool: str
    tool_version: str
    kind: Kind
    unit: Unit
    config_digest: str
    rules_digest: str
    parse_revision: int
    repo_id: str
    ref: str
    commit: str
    tips: tuple[str, ...] = ()
    outcome: Outcome
    observations: Sequence[Observation] = ()
    gaps: Sequence[Gap] = ()
    raw_parts: tuple[str, ...] = ()
    base_result_name: str | None = None
    started_at: datetime
    duration_s: float
    exit_code: int | None
    sandbox: str
    files_read: int
    bytes_read: int
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeState:
    """What is known of one scope (repo_id, ref, tool) between nights: one row of ``scopes``.
    ``scan_name`` … ``evidence_at`` describe the last *completed* look (None before the first one);
    ``failed_name`` … ``next_attempt_at`` the failures since, if any. ``result_part`` is the month in which the result
    was published; None while it is not, or when only the ledger knows: publishing fills it in. ``duration_s`` is the
    time of the last look that started a tool, ``whole_duration_s`` of the last one that extended nothing. From
    ``again_at`` on the same files may be judged otherwise (None: never)."""

    repo_id: str
    ref: str
    tool: str
    slug: str
    source: str
    scan_name: str | None = None
    result_name: str | None = None
    result_part: str | None = None
    config_digest: str | None = None
    tool_version: str | None = None
    rules_digest: str | None = None
    commit: str | None = None
    tips: tuple[str, ...] = ()
    evidence_at: datetime | None = None
    duration_s: float | None = None
    whole_duration_s: float | None = None
    observations: int = 0
    gaps: int = 0
    outcome: Outcome
    reason_code: str | None = None
    detail: str = ""
    failed_name: str | None = None
    attempts: int = 0
    last_attempt_at: datetime | None = None
    next_attempt_at: datetime | None = None
    again_at: datetime | None = None
