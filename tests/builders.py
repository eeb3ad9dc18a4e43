"""Builders that several test modules share: commands and real repositories."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.core.types import Command, Mount, Repo

#: What real git sees when a test builds a repository: no configuration of this machine, fixed people and dates.
GIT_ENVIRONMENT = {
    "PATH": os.environ.get("PATH", os.defpath),
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.invalid",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.invalid",
}
FIRST_DATE = 1_700_000_000


# -- processes ----------------------------------------------------------------------------------------------


def shell(script: str, **options: Any) -> Command:
    """A command that runs a line of sh inside the sandbox."""
    return Command(argv=("/bin/sh", "-c", script), **options)


def python(code: str, *, mounts: tuple[Mount, ...] = (), **options: Any) -> Command:
    """A command that runs Python inside the sandbox, with the installation it needs in sight."""
    executable, prefix = Path(sys.executable).resolve(), Path(sys.base_prefix)
    home = () if prefix == Path("/usr") else (Mount(source=prefix),)
    return Command(argv=(str(executable), "-I", "-S", "-c", code), mounts=(*home, *mounts), **options)


def processes_with(marker: str) -> list[int]:
    """The running processes whose command line holds ``marker``."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            line, status = (place / "cmdline").read_bytes(), (place / "stat").read_text()
        except (OSError, UnicodeDecodeError):
            continue
        if marker.encode() in line and status.rsplit(") ", 1)[-1][0] not in "ZX":
            found.append(int(place.name))
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until something holds; False when it did not in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return holds()


# -- repositories -------------------------------------------------------------------------------------------


class Repository:
    """A real git repository in a folder of its own; every commit is a minute after the one before."""

    def __init__(self, path: Path, *, bare: bool = False) -> None:
        self.path = path
        self.bare = bare
        self._clock = FIRST_DATE
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "--quiet", "--initial-branch=main", "--template=", *(["--bare"] if bare else []), ".")

    @property
    def git_dir(self) -> Path:
        return self.path if self.bare else self.path / ".git"

    def git(self, *args: str | bytes, stdin: bytes = b"") -> str:
        """Run real git here; returns what it said."""
        return git(self.path, *args, stdin=stdin, date=self._clock)

    def commit(
        self, files: Mapping[str | bytes, bytes | None] | None = None, message: str = "work", *, index: bool = False
    ) -> str:
        """Write (or, for None, delete) files, commit everything; returns the commit. ``index`` takes it as it is."""
        self._clock += 60
        for name, data in (files or {}).items():
            place = self.path / os.fsdecode(name)
            if data is None:
                place.unlink()
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        if not index:
            self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def blob(self, data: bytes) -> str:
        """Store a blob."""
        return self.git("hash-object", "-w", "--stdin", stdin=data)

    def tree(self, *entries: tuple[str, str, str, bytes]) -> str:
        """Store a tree of (mode, kind, object, name) exactly as told, names that git refuses to check out included."""
        body = b"\0".join(f"{mode} {kind} {oid}\t".encode() + name for mode, kind, oid, name in entries)
        return self.git("mktree", "-z", "--missing", stdin=body + b"\0")

    def raw_tree(self, *entries: tuple[bytes, bytes, str]) -> str:
        """Store the bytes of a tree object of (mode, name, object) without any check of git."""
        body = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
        return self.git("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=body)

    def commit_tree(self, tree: str, *parents: str, branch: str = "main", message: str = "tree") -> str:
        """Commit a tree object and point a branch at it."""
        self._clock += 60
        asked = [a for p in parents for a in ("-p", p)]
        commit = self.git("commit-tree", tree, *asked, "-m", message)
        self.git("update-ref", f"refs/heads/{branch}", commit)
        return commit

    def loose(self, oid: str) -> Path:
        """The file of a loose object."""
        return self.git_dir / "objects" / oid[:2] / oid[2:]

    def repo(self, repo_id: str = "team/app") -> Repo:
        """The repository as discovery would tell it."""
        return Repo(repo_id=repo_id, slug=repo_id, url=str(self.git_dir), source="test")


def git(where: Path, *args: str | bytes, stdin: bytes = b"", date: int = FIRST_DATE) -> str:
    """Run real git in a folder, without any configuration of this machine."""
    stamp = f"{date} +0000"
    done = subprocess.run(
        [b"git", *(os.fsencode(a) for a in args)],
        cwd=where,
        env={**GIT_ENVIRONMENT, "GIT_AUTHOR_DATE": stamp, "GIT_COMMITTER_DATE": stamp},
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, (args, done.stderr.decode(errors="replace"))
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n")
