"""What a hostile repository is to these tests: how it is made, what it tries, and what the patrol must say of it.

The repositories themselves are in ``corpus_*.py``, by theme; ``test_corpus`` patrols all of them in one night.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders import Repository, git
from tests.hostile.repositories import TOKEN

#: Set to ``full``, the giants have the size of the real thing; else one that a test run can afford.
FULL = os.environ.get("NIGHTWARDEN_HOSTILE") == "full"
SECRET = b"token = " + TOKEN + b"\n"
#: Where the planted secret lies, in every repository that does not say otherwise.
SECRET_PATH = "deploy/secret.txt"
KINGFISHER, ALL = "kingfisher", "*"

Said = tuple[str, str | None]
Place = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where a repository is made, and where whatever of it is executed leaves its trace."""

    org: Path
    #: A line of shell that leaves a trace, and a program in Python that does; each says what it was called from.
    shell: Callable[[str], str]
    python: Callable[[str], bytes]
    #: An address on loopback; whoever asks it leaves a trace.
    url: str

    def repository(self, slug: str, *, bare: bool = False) -> Repository:
        """An empty one."""
        return Repository(self.org / slug, bare=bare)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One hostile repository.

    ``tries`` says in a sentence what it is after. ``said`` is what each tool's row must be: one of several pairs of
    outcome and reason; a tool that is not named must have ended well (``WELL``). ``found`` are findings (path, rule;
    an empty rule is any) that must be open, ``unread`` the gaps (path, reason) that must be named, by tool.
    ``whole`` says that a tool's gaps are exactly those.
    """

    slug: str
    tries: str
    build: Callable[[Ground], None]
    said: Mapping[str, Sequence[Said]] = field(default_factory=dict)
    found: Mapping[str, frozenset[Place]] = field(default_factory=dict)
    unread: Mapping[str, frozenset[Place]] = field(default_factory=dict)
    whole: bool = False


#: Rows of a tool that read all there is for it.
WELL: tuple[Said, ...] = (("ok", None), ("nothing_to_read", None))


def planted(repo: Repository, files: Mapping[str | bytes, bytes], message: str = "work") -> str:
    """Commit some files, and the secret beside them."""
    return repo.commit({**files, SECRET_PATH: SECRET}, message)


def imported(repo: Repository, stream: bytes) -> None:
    """Feed ``git fast-import``: what would take an hour one by one takes seconds."""
    git(repo.path, "fast-import", "--quiet", "--force", stdin=stream)
