"""A file of the organisation's configuration repository: its text as committed, and what git tells of its history.

Where each of its entries is from is found by ``entry_origins``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.types import Mount
from tasks.repos.config_entries import by_id, entries
from tasks.repos.git import Git, failure

#: Bytes of versions that are read at a time, and of all that one run takes apart: once only, then what is known is
#: remembered (``entry_origins``).
_AT_A_TIME_BYTES = 32 * 1024**2
_MOST_READ_BYTES = 512 * 1024**2
_BLOB = re.compile(r"([0-9a-f]{40,64}) blob (\d+)")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LOG = ("-c", "log.showSignature=false", "log", "-z", "--no-color")
#: What a merge says of the entries that its signer has looked at.
APPROVES = "Approves"


class ConfigFile:
    """One file at HEAD of the repository it lies in. Reads by the sandboxed git; obeys nothing of a working tree.

    HEAD is asked for once: what is read and what is said of it are of one commit.
    """

    def __init__(self, git: Git, path: Path, *, most_bytes: int = 6 * 1024**2) -> None:
        """``path`` is the file; versions larger than ``most_bytes`` hold no entries.

        Raises ScanGapError: it lies in no repository, or in one without its whole history.
        """
        self._git, self.path, self._most_bytes = git, path, most_bytes
        self.git_dir, self._mounts, top = _located(path)
        self.name = path.resolve().relative_to(top.resolve()).as_posix()
        self._read_bytes = 0
        self._by_blob: dict[str, Mapping[str, frozenset[str]]] = {"": {}}
        for cut in ("shallow", "info/grafts"):
            if any((place / cut).exists() for place in (self.git_dir, *(m.source for m in self._mounts))):
                raise ScanGapError(
                    "decisions_unread",
                    f"the repository of {path.name} is a shallow or grafted clone: who wrote what cannot be told",
                    advice="Clone it whole (`git fetch --unshallow`).",
                )

    @property
    def git(self) -> Git:
        """The git it is read by."""
        return self._git

    @cached_property
    def head(self) -> str:
        """The commit that is in force. Raises ScanGapError: there is none."""
        done = self._run("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if done is None:
            raise self._not_committed()
        return done.decode().strip()

    def branch(self) -> str | None:
        """The branch that is in force, as its upstream calls it; None of a checkout without one."""
        name = (self._run("symbolic-ref", "--quiet", "--short", "HEAD") or b"").decode("utf-8", "replace").strip()
        upstream = self._run("config", "--get", f"branch.{name}.merge") if name else None
        return (upstream or name.encode()).decode("utf-8", "replace").strip().removeprefix("refs/heads/") or None

    def read(self) -> bytes:
        """What HEAD holds. Raises ScanGapError."""
        found = self.at(self.head)
        if found is None:
            raise self._not_committed()
        return found

    def at(self, commit: str) -> bytes | None:
        """What a commit holds; None if it does not have the file. Raises ScanGapError: it is too large."""
        blob, size = self._blobs([commit])[0]
        if not blob:
            return None
        if size > self._most_bytes:
            what = f"{self.path.name} is larger than {self._most_bytes // 1024} KiB"
            raise ScanGapError("decisions_unread", what, advice="Remove what has expired.")
        return self._contents([(blob, size)])[0]

    def has(self, commit: str) -> bool:
        """Whether the repository holds a commit, on a branch or not."""
        return bool(_COMMIT.fullmatch(commit)) and self._run("cat-file", "-e", f"{commit}^{{commit}}") is not None

    def remote(self) -> str:
        """The address of its remote ``origin``; empty without one."""
        return (self._run("config", "--get", "remote.origin.url") or b"").decode("utf-8", "replace").strip()

    def is_changed(self, committed: bytes) -> bool:
        """Whether the file on the disk says something else than what is committed."""
        try:
            return self.path.read_bytes() != committed
        except OSError:
            return True

    def history(self) -> dict[str, list[str]]:
        """Commits that touch the file and all merges, newest first, each with its parents among them."""
        # Without --full-history git follows the side of a merge that agrees with it, and hides what the other said.
        out = self.run("rev-list", "--topo-order", "--full-history", "--parents", self.head, "--", self.name)
        return {c: parents for c, *parents in (line.split() for line in out.decode().splitlines())}

    def versions(self, commits: Sequence[str]) -> dict[str, Mapping[str, frozenset[str]]]:
        """Of each commit its entries: by id the digests of all that have it. What cannot be read has none.

        Raises ScanGapError: all that was asked for is more than a run may read.
        """
        blobs = self._blobs(commits)
        todo = {b: n for b, n in blobs if b not in self._by_blob}
        for blob, size in todo.items():
            if size > self._most_bytes:
                self._by_blob[blob] = {}
        some: list[tuple[str, int]] = []
        for blob, size in [(b, n) for b, n in todo.items() if n <= self._most_bytes] + [("", _AT_A_TIME_BYTES + 1)]:
            if some and sum(n for _, n in some) + size > _AT_A_TIME_BYTES:
                for (known, _), data in zip(some, self._contents(some), strict=True):
                    self._by_blob[known] = by_id(entries(data))
                some = []
            some.append((blob, size))
        return {c: self._by_blob[b] for c, (b, _) in zip(commits, blobs, strict=True)}

    def naming(self, merges: Collection[str]) -> dict[str, frozenset[str]]:
        """Of each merge the ids that its message names as approved (``Approves: ID``, in the trailers of git)."""
        if not merges:
            return {}
        args = (*_LOG, "--no-walk=unsorted", "--stdin")
        form = f"--format=%H%x00%(trailers:key={APPROVES},valueonly,separator=%x20)"
        out = self.run(*args, form, stdin="".join(f"{c}\n" for c in sorted(merges)).encode())
        words = out.decode("utf-8", "replace").split("\0")
        return {c: frozenset(re.split(r"[,\s]+", ids)) for c, ids in zip(words[::2], words[1::2], strict=False)}

    def people(self, merge: str) -> set[str]:
        """The e-mails of all authors and committers of what a merge brought of the file, in lower case."""
        out = self.run(
            *_LOG, "--full-history", "--format=%ae%x00%ce", f"{merge}^@", f"^{merge}^1", "--", self.name,
        )  # fmt: skip
        return {e.lower() for e in out.decode("utf-8", "replace").split("\0") if e}

    def run(self, *args: str, mounts: tuple[Mount, ...] = (), stdin: bytes | None = None) -> bytes:
        """Git on the repository, read only. Raises ScanGapError."""
        return self._git.check([*args], mirror=self.git_dir, mounts=(*self._mounts, *mounts), stdin=stdin)

    def _run(self, *args: str) -> bytes | None:
        """What git says; None where it says no. Raises ScanGapError: it could not be asked."""
        done = self._git.run([*args], mirror=self.git_dir, mounts=self._mounts)
        if done.cancelled or done.timed_out or done.out_of_memory or done.disk_full:
            raise failure(done)
        return done.stdout if done.exit_code == 0 else None

    def _blobs(self, commits: Sequence[str]) -> list[tuple[str, int]]:
        """Of each commit the object that the file is there, with its size in bytes; "" if it is none."""
        asked = "".join(f"{c}:{self.name}\n" for c in commits).encode()
        form = "--batch-check=%(objectname) %(objecttype) %(objectsize)"
        told = self.run("cat-file", form, stdin=asked).decode("utf-8", "replace").split("\n")
        found = [_BLOB.fullmatch(line) for line in told[: len(commits)]]
        return [(m[1], int(m[2])) if m is not None else ("", 0) for m in found]

    def _contents(self, blobs: Sequence[tuple[str, int]]) -> list[bytes]:
        self._read_bytes += sum(size for _, size in blobs)
        if self._read_bytes > _MOST_READ_BYTES:
            what = f"the versions of {self.path.name} are more than {_MOST_READ_BYTES // 1024**2} MiB"
            raise ScanGapError("decisions_unread", what, advice="Begin a new file; its entries need approval anew.")
        out = self.run("cat-file", "--batch", stdin="".join(f"{b}\n" for b, _ in blobs).encode())
        found, at = [], 0
        for _ in blobs:
            start = out.index(b"\n", at) + 1
            size = int(out[at:start].split()[2])
            found.append(out[start : start + size])
            at = start + size + 1
        return found

    def _not_committed(self) -> ScanGapError:
        return ScanGapError(
            "decisions_unread",
            f"{self.path.name} is not in the newest commit of its repository",
            advice="Commit it: what is not committed is not in force.",
        )


def _located(path: Path) -> tuple[Path, tuple[Mount, ...], Path]:
    """The git directory of a file's repository, what must be seen beside it, and the top of the working tree."""
    for top in path.resolve().parents:
        place = top / ".git"
        if place.is_dir():
            return place, (), top
        if place.is_file():  # a work tree beside others, or a submodule
            told = place.read_text("utf-8", "replace").partition("gitdir:")[2].strip()
            git_dir = (top / told).resolve()
            common = git_dir / "commondir"
            if not common.is_file():
                return git_dir, (), top
            return git_dir, (Mount(source=(git_dir / common.read_text().strip()).resolve()),), top
    raise ScanGapError(
        "decisions_unread",
        f"{path.name} lies in no git repository, so nobody can say who approved it",
        advice="Keep it in the repository of org.yaml; `approval: none` is for a trial on one machine.",
    )
