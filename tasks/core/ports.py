"""Ports: what an adapter offers. An adapter is one file ending in one typed constant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from tasks.core.forge_settings import ForgeSettings
from tasks.core.keys import HmacKey
from tasks.core.origins import GitCredential, Listing, Review
from tasks.core.reports import RecordNames, Reported
from tasks.core.secret_refs import Secret, SecretRef
from tasks.core.types import (
    Command,
    Control,
    Kind,
    Limits,
    Pace,
    Parsed,
    PathFilter,
    RawReport,
    Repo,
    Rule,
    Target,
    ToolHome,
    TreeEntry,
    Unit,
)


class Scanner(Protocol):
    """A tool that is run on a target.

    ``revision`` is the adapter's own: raise it when the command or the masking changes what is found.
    ``parse_revision`` is raised when only the reading of a kept report changes: reports are then read again
    and no tool is started.
    """

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def unit(self) -> Unit: ...
    @property
    def revision(self) -> int: ...
    @property
    def parse_revision(self) -> int: ...
    @property
    def summary(self) -> str:
        """One line for people: what it looks for."""
        ...

    @property
    def licence(self) -> str: ...
    @property
    def reads(self) -> PathFilter:
        """The files it reads (ignored for unit blob, which reads every blob)."""
        ...

    @property
    def limits(self) -> Limits: ...
    @property
    def pace(self) -> Pace: ...
    @property
    def control(self) -> Control: ...
    @property
    def long_lived(self) -> bool:
        """Whether ``command`` starts a server process that takes one checkout after another on its stdin.

        The protocol is in ``tasks.scanners.service``.
        """
        ...

    def argv_label(self) -> str:
        """The options that can change the result, as they enter the scan name (no paths of this machine)."""
        ...

    def command(self, tool: ToolHome, target: Target) -> Command:
        """The process to start for ``target``. Switches off configuration of the repository, live validation,
        telemetry and update checks. Pure: starts nothing."""
        ...

    def mask(self, stdout: bytes, stderr: bytes, key: HmacKey) -> bytes:
        """The report without any secret value: values become keyed HMACs, quoted source is dropped.

        Raises ScanGapError(report_invalid | report_empty) when it is no report. Only its result is kept.
        """
        ...

    def parse(self, report: RawReport, target: Target, key: HmacKey) -> Parsed:
        """Judge a masked report: outcome, observations, gaps. The exit code alone never says clean."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A scanner whose masked report can be taken apart by files, because it judges each file for itself.

    One call may then serve several small targets (start-up dominates them), and a result that was extended over many
    nights can be read again from the kept reports.
    """

    def part(self, report: RawReport, target: Target, names: Mapping[str, str]) -> RawReport:
        """The masked report as the tool would have given it for some files of ``target`` alone, byte for byte.

        ``names`` maps their names in ``target`` to their names in the part, whose ``inside`` is the same. ``report``
        has been judged complete for ``target``. Raises ScanGapError(report_invalid).
        """
        ...


@runtime_checkable
class Accountable(Divisible, Protocol):
    """A divisible scanner whose report names each file it was given."""

    def accounted(self, report: RawReport, target: Target) -> frozenset[str]:
        """Names of ``target`` that the report says it read or could not read. Raises ScanGapError(report_invalid)."""
        ...


@runtime_checkable
class ByBlob(Protocol):
    """A scanner whose report says of a file nothing but what stands in it; what files mean together, ``parse`` tells.

    A file that was read before, in whatever repository, is not handed to the tool again: what was said of it then is
    joined to the report.
    """

    def blob_key(self, entry: TreeEntry) -> str:
        """What decides what is said of a file; the same for all files of which the same is said."""
        ...

    def apart(self, report: RawReport) -> Mapping[str, bytes]:
        """What a masked report says of each file, without its name, by that name. Raises ScanGapError(report_invalid).

        A file that it passes over is not among them.
        """
        ...

    def joined(self, report: RawReport, known: Mapping[str, bytes]) -> RawReport:
        """The report with what ``apart`` gave of other files, by their names. Raises ScanGapError(report_invalid)."""
        ...

    def empty(self, tool: ToolHome) -> RawReport:
        """The report over no file."""
        ...


@runtime_checkable
class PlatformTool(Protocol):
    """A scanner without a lock of ours: the platform's own program is used where there is one.

    It is expected in a run when the program is on PATH or ``tools.<name>.binary`` names it, or when the lake knows
    scopes of it.
    """

    @property
    def programs(self) -> tuple[str, ...]:
        """Names of the program on PATH, best first."""
        ...

    @property
    def version_args(self) -> tuple[str, ...]:
        """What makes it print its version."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """Absolute patterns of what else of the system it must see in the sandbox, beside ``/usr`` and its own folder
        (read-only; what is not there is left out)."""
        ...


@runtime_checkable
class UsesDatabase(Protocol):
    """A scanner that needs a vulnerability data base: fetched by ``nightwarden tools update``, never by a scan."""

    @property
    def database_files(self) -> tuple[str, ...]:
        """Patterns below the folder; a data base that lacks a file for one of them is not complete."""
        ...

    @property
    def database_links(self) -> tuple[tuple[str, str], ...]:
        """Links that are made in the folder of a complete data base: (name, where it leads)."""
        ...

    def update_command(self, tool: ToolHome, place: Path) -> Command:
        """The process that fills the empty folder ``place``, mounted writable at its own path, from the network.
        Pure."""
        ...


@runtime_checkable
class BuiltIn(Protocol):
    """A scanner whose program is ours: nothing is installed, our own Python runs it in the sandbox."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All its rules."""
        ...


@runtime_checkable
class LooksAround(Protocol):
    """A scanner that judges by more than what stands in files: by what is not there, and by how old files are.

    It looks at every commit, also one that holds nothing it reads. Unit tree, and not divisible.
    """

    @property
    def dated(self) -> PathFilter:
        """The files whose age it judges by."""
        ...

    def turns_at(self, changed_at: Mapping[bytes, datetime | None]) -> datetime | None:
        """When the same files and dates (``Around.changed_at``) begin to be judged otherwise; None: never. Pure."""
        ...


@runtime_checkable
class JudgesSettings(Protocol):
    """A scanner that also judges what forges tell of a repository's settings."""

    def judge_settings(self, document: bytes) -> Parsed:
        """Judge ``ForgeSettings.document``: what is unread is a gap of its topic. Pure.

        Raises ScanGapError(report_invalid).
        """
        ...


class Importer(Protocol):
    """A reader of a report file made elsewhere: lossless, one observation a record.

    ``revision`` is raised when the same file gives other observations.
    """

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> int: ...
    def sniff(self, head: bytes) -> bool:
        """Whether the first bytes of a file (4 KiB are enough) look like this format."""
        ...

    def parse(self, stream: BinaryIO, key: HmacKey, names: RecordNames | None = None) -> Iterator[Reported]:
        """The records of a seekable file, each said of its tool; every tool is named at least once.

        ``names`` is one for all files of a call (None: the file is alone); no two records of a tool in a file have one
        ``occurrence_uid``.

        A record that cannot be read is a gap with its place. A gap with an empty path says that more than that may be
        missing: then nothing closes. No snippet and no secret value is handed over. Raises ReportError: it is another
        format.
        """
        ...


class Secrets(Protocol):
    """Reads the secrets that a configuration refers to. Thread-safe."""

    def get(self, ref: SecretRef) -> Secret:
        """The value now. Raises SecretError, which names the reference and never a value."""
        ...


class Forge(Protocol):
    """One account of a forge (GitHub, GitLab, Gitea), asked by its API. Thread-safe."""

    def listing(self) -> Listing:
        """All repositories of the account that the credential sees.

        Waits as long as the forge's rate limit says, up to the patience it was made with. Raises ForgeError.
        """
        ...

    def credential(self) -> GitCredential | None:
        """What git shows to the forge, fresh for at least some minutes; None without authentication.

        Raises ForgeError or SecretError.
        """
        ...


@runtime_checkable
class SettledForge(Protocol):
    """A forge that tells settings of its repositories. Thread-safe."""

    def settings(self, repo: Repo, branch: str, *, account: bool) -> ForgeSettings:
        """The settings of a repository and its default branch; with ``account`` those of the account too.

        What the forge refuses is unread in the answer. Raises ForgeError where it cannot be asked, or where so many
        requests are used up that the rest is left to listing.
        """
        ...


@runtime_checkable
class ReviewingForge(Protocol):
    """A forge that tells who approved a commit. Thread-safe."""

    def holds(self, address: str) -> str | None:
        """The name of the repository at an address, if it lies at this forge; of any account."""
        ...

    def owns(self, slug: str) -> bool:
        """Whether a repository is of the account that it is asked about: its credential is for that."""
        ...

    def review(self, slug: str, commit: str, branch: str | None) -> Review:
        """Who approved the pull request that brought a commit to a branch (None: the default one), as it was merged.

        Never who opened it or is an author or committer of one of its commits, and nobody where the account of one of
        those is not known. Raises ForgeError.
        """
        ...

    def content(self, slug: str, path: str, commit: str) -> bytes | None:
        """What a file is at a commit; None if it is not there. Raises ForgeError."""
        ...
