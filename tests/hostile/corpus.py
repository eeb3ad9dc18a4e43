"""What a hostile repository is to these tests: how it is made, what it tries, and what the patrol must say of it.

The repositories themselves are in ``corpus_*.py``, by theme; ``test_corpus`` patrols all of them in one night.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.builders import Repository, git

#: Set to ``full``, the giants have the size of the real thing; else one that a test run can afford.
FULL = os.environ.get("NIGHTWARDEN_HOSTILE") == "full"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#: Where the planted secret lies, in every repository that does not say otherwise.
SECRET_PATH = "deploy/secret.txt"
KINGFISHER, ALL = "kingfisher", "*"


def secret(name: str) -> bytes:
    """A line with a secret of its own for each name: findings of one value count once."""
    digest = hashlib.sha512(name.encode("utf-8", "surrogateescape")).digest()
    return b"token = gh" + b"p_" + "".join(_LETTERS[n % len(_LETTERS)] for n in digest[:36]).encode() + b"\n"


SECRET = secret("planted")
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


def committed(repo: Repository, files: Mapping[str, bytes], message: str = "work") -> str:
    """Commit some files on top of ``main`` and return the commit. Nothing is added by way of a work tree, where the
    repository's own attributes and ignore files would have their say."""
    repo._clock += 60
    tip = repo.git_dir / "refs/heads/main"
    stream = [
        b"commit refs/heads/main\ncommitter Ada <ada@example.invalid> %d +0000\n" % repo._clock,
        data(message.encode()),
    ]
    stream += [b"from refs/heads/main^0\n"] if tip.exists() else []
    for name, body in files.items():
        stream += [b'M 100644 inline "%s"\n' % name.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"'), data(body)]
    imported(repo, b"".join(stream))
    return repo.git("rev-parse", "refs/heads/main")


def planted(repo: Repository, files: Mapping[str, bytes], message: str = "work") -> str:
    """Commit some files, and the secret beside them."""
    return committed(repo, {**files, SECRET_PATH: SECRET}, message)


def data(content: bytes) -> bytes:
    """A piece of content as ``git fast-import`` reads it."""
    return b"data %d\n%s\n" % (len(content), content)


def imported(repo: Repository, stream: bytes) -> None:
    """Feed ``git fast-import``: what would take an hour one by one takes seconds."""
    git(repo.path, "fast-import", "--quiet", "--force", stdin=stream)
