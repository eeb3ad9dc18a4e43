"""What one manifest says: packages, what could not be read of it, and what only other files of its repository can tell.

A format judges a file by its bytes alone, so that a file seen before, anywhere, is not parsed again. What depends on
other files (a parent's properties, central versions, constraints) is left open here and closed by ``resolving``, which
reads results and never files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Source(StrEnum):
    """Where a package comes from, as far as its manifest says."""

    REGISTRY = "registry"  # the ecosystem's own or one declared in its place
    GIT = "git"
    ADDRESS = "address"  # an archive at an address
    FOLDER = "folder"  # a path in or beside the repository: the package is the repository's own


class Why(StrEnum):
    """Why something of a manifest is not in the inventory, or not with a version."""

    UNPINNED = "unpinned"  # a range or nothing; no lock file of the same folder may say more
    UNRESOLVED = "unresolved"  # a property, parent, variable or include that no file in reach explains
    UNSUPPORTED = "unsupported"  # a construct or version of the format that is not read
    MALFORMED = "malformed"  # not of the format's grammar: truncated, conflict markers, another encoding, two of a key
    TOO_LARGE = "too_large"  # past a limit of bytes, depth or count


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """One thing that a manifest has and the inventory has not. ``detail`` never quotes an address or a login."""

    why: Why
    detail: str
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """One package of one manifest.

    ``name`` is as the ecosystem's advisories write it (``naming.normal``). ``version`` is exact or None, then
    ``requirement`` is what the file says in its place. ``direct`` and ``development`` are None where the format does
    not tell. ``line`` is from 1, of the declaration. ``parents`` are keys (``name@version``) of the packages in the
    same file that ask for it. The project itself is no dependency.
    """

    ecosystem: str
    name: str
    version: str | None = None
    requirement: str | None = None
    direct: bool | None = None
    development: bool | None = None
    line: int | None = None
    source: Source = Source.REGISTRY
    parents: tuple[str, ...] = ()
    #: More that identifies it: a git commit, a digest of an image.
    revision: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one file says.

    ``refers`` names other files by what they are for (``parent``, ``constraints``, ``include``, ``catalog``), relative
    to the file's folder. ``offers`` holds what others may take from it: properties, managed versions, aliases of a
    catalog (keys begin with ``property:``, ``managed:``, ``alias:``, ``own:``, ``workspace:``), and of a file that it
    refers to the line (``line:NAME``). ``open`` are
    dependencies whose version is written with such a name and waits for ``resolving``.
    """

    format: str
    dependencies: tuple[Dependency, ...] = ()
    unread: tuple[Unread, ...] = ()
    refers: tuple[tuple[str, str], ...] = ()
    offers: Mapping[str, str] = field(default_factory=dict)
    open: tuple[Dependency, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of manifest. An adapter is a file in ``formats`` ending in a tuple of these.

    ``matches`` judges a path in the repository (``/`` between folders). ``parse`` takes the bytes and the file's own
    name, and raises ``MalformedError`` where nothing at all can be read of it; a part that cannot be read is an
    ``Unread``. It holds to ``limits``, follows no reference, and opens nothing. Raise ``revision`` when the same bytes
    give another result.
    """

    name: str
    ecosystem: str
    revision: int
    matches: Callable[[str], bool]
    parse: Callable[[bytes, str], Manifest]
    #: Whether it pins everything, transitive ones too.
    is_lock: bool = False
    #: Names of lock files that, in the same folder or one above, say more than this does.
    locked_by: tuple[str, ...] = ()
    #: Names of files that, read in the same folder, tell what a manifest of this kind asks for: then nothing of it is
    #: told as unsupported.
    covered_by: tuple[str, ...] = ()


class MalformedError(ValueError):
    """The file is none of its format; ``why`` and ``line`` say what is wrong with it."""

    def __init__(self, detail: str, *, why: Why = Why.MALFORMED, line: int | None = None) -> None:
        super().__init__(detail)
        self.why, self.line = why, line
