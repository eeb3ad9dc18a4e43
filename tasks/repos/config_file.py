"""A file of the organisation's configuration repository: its text as committed, and which commit each entry is from.

``git blame`` cannot tell it: a line that was taken out leaves no trace in the lines that stand, so an entry without its
``repository:`` would still look as it was approved. An entry is from the commit since which its whole text stands
unchanged, and a merge that chose between two versions of it is such a commit itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.types import Mount, digest
from tasks.repos.git import Git

#: Versions of the file read at a time.
_VERSIONS = 50
_ITEM = re.compile(r"( *)- ")
_ID = re.compile(r" *(?:- +)? *id: *(['\"]?)([A-Za-z0-9._-]+)\1 *(?:#.*)?$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An item of the list: its id, and a digest of its whole text (without what follows it)."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The commit since which an entry stands as it does, and the merges that brought that to the branch."""

    commit: str
    merges: tuple[str, ...]


def items(text: str, key: str = "decisions") -> dict[int, Entry]:
    """The items of a top list by their first line, from 1, as far as each begins with ``- `` on a line of its own."""
    lines = text.splitlines()
    top = next((n for n, line in enumerate(lines) if re.fullmatch(rf"{key}: *(#.*)?", line)), None)
    if top is None:
        return {}
    starts: list[int] = []
    indent, end = None, len(lines)
    for n in range(top + 1, len(lines)):
        line = lines[n]
        item = _ITEM.match(line)
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if item is not None and indent in (None, len(item[1])):
            indent = len(item[1])
            starts.append(n)
        elif len(line) - len(line.lstrip()) <= (indent or 0):
            end = n
            break
    found = {}
    for start, after in zip(starts, [*starts, end][1:], strict=True):
        body = [line.rstrip() for line in lines[start:after]]
        while not body[-1] or body[-1].lstrip().startswith("#"):
            body.pop()
        ident = next((m[2] for line in body if (m := _ID.match(line))), "")
        found[start + 1] = Entry(id=ident, text=digest("\n".join(body)))
    return found


class ConfigFile:
    """One file at HEAD of the repository it lies in. Reads by the sandboxed git; obeys nothing of a working tree."""

    def __init__(self, git: Git, path: Path) -> None:
        """``path`` is the file. Raises ScanGapError: it lies in no repository, or in one without its whole history."""
        self._git, self.path = git, path
        self.git_dir, self._mounts, top = _located(path)
        self.name = path.resolve().relative_to(top.resolve()).as_posix()
        for cut in ("shallow", "info/grafts"):
            if any((place / cut).exists() for place in (self.git_dir, *(m.source for m in self._mounts))):
                raise ScanGapError(
                    "decisions_unread",
                    f"the repository of {path.name} is a shallow or grafted clone: who wrote what cannot be told",
                    advice="Clone it whole (`git fetch --unshallow`).",
                )

    def read(self) -> bytes:
        """What HEAD holds. Raises ScanGapError."""
        done = self._run("cat-file", "blob", f"HEAD:{self.name}")
        if done is None:
            raise ScanGapError(
                "decisions_unread",
                f"{self.path.name} is not in the newest commit of its repository",
                advice="Commit it: what is not committed is not in force.",
            )
        return done

    def remote(self) -> str:
        """The address of its remote ``origin``; empty without one."""
        return (self._run("config", "--get", "remote.origin.url") or b"").decode("utf-8", "replace").strip()

    def is_changed(self, committed: bytes) -> bool:
        """Whether the file on the disk says something else than what is committed."""
        try:
            return self.path.read_bytes() != committed
        except OSError:
            return True

    def origins(self, text: str, lines: Collection[int]) -> Mapping[str, Origin]:
        """By id, where the entries of HEAD's ``text`` are from; ``lines`` are the first lines of all entries there are.

        One is left out where it cannot be told. Raises ScanGapError.
        """
        now = items(text)
        if set(now) != set(lines):
            return {}  # entries in brackets, or two in a line
        wanted = {e.id: e.text for e in now.values() if e.id}
        history = self._history()
        if not history:
            return {}
        versions = self._versions(list(history), wanted)
        return {ident: _Walk(self, history, versions, ident, text).origin() for ident, text in wanted.items()}

    def base(self, one: str, other: str) -> str | None:
        """The commit that two commits have grown from; None if it is not one."""
        said = self._run("merge-base", "--all", one, other)
        bases = said.decode().split() if said is not None else []
        return bases[0] if len(bases) == 1 else None

    def versions(self, commits: Collection[str], wanted: Collection[str]) -> dict[str, dict[str, frozenset[str]]]:
        """Of each commit, the texts of the entries of these ids."""
        return self._versions(list(commits), dict.fromkeys(wanted, ""))

    def run(self, *args: str, mounts: tuple[Mount, ...] = (), stdin: bytes | None = None) -> bytes:
        """Git on the repository, read only. Raises ScanGapError."""
        return self._git.check([*args], mirror=self.git_dir, mounts=(*self._mounts, *mounts), stdin=stdin)

    @property
    def git(self) -> Git:
        """The git it is read by."""
        return self._git

    def _run(self, *args: str) -> bytes | None:
        done = self._git.run([*args], mirror=self.git_dir, mounts=self._mounts)
        return done.stdout if done.exit_code == 0 else None

    def _history(self) -> dict[str, list[str]]:
        """Commits that touch the file and all merges, newest first, each with its parents among them."""
        # Without --full-history git follows the side of a merge that agrees with it, and hides what the other said.
        out = self.run("rev-list", "--topo-order", "--full-history", "--parents", "HEAD", "--", self.name)
        return {c: parents for c, *parents in (line.split() for line in out.decode().splitlines())}

    def _versions(self, commits: list[str], wanted: Mapping[str, str]) -> dict[str, dict[str, frozenset[str]]]:
        asked = "".join(f"{c}:{self.name}\n" for c in commits).encode()
        said = self.run("cat-file", "--batch-check=%(objectname) %(objecttype)", stdin=asked).decode("utf-8", "replace")
        told = [line.split(" ") for line in said.splitlines()]
        blobs = [line[0] if line[1:] == ["blob"] else "" for line in told]
        by_blob: dict[str, dict[str, frozenset[str]]] = {"": {}}
        todo = sorted(set(blobs) - {""})
        for k in range(0, len(todo), _VERSIONS):
            some = todo[k : k + _VERSIONS]
            for blob, data in zip(some, self._contents(some), strict=True):
                texts: dict[str, set[str]] = {}
                for e in items(data.decode("utf-8-sig", "replace")).values():
                    if e.id in wanted:
                        texts.setdefault(e.id, set()).add(e.text)
                by_blob[blob] = {i: frozenset(t) for i, t in texts.items()}
        return {c: by_blob[b] for c, b in zip(commits, blobs, strict=True)}

    def _contents(self, blobs: list[str]) -> list[bytes]:
        out = self.run("cat-file", "--batch", stdin="".join(f"{b}\n" for b in blobs).encode())
        found = []
        for _ in blobs:
            head, _, out = out.partition(b"\n")
            size = int(head.split()[2])
            found.append(out[:size])
            out = out[size + 1 :]
        return found


class _Walk:
    """The way back from HEAD to the commit that an entry is from."""

    def __init__(
        self,
        file: ConfigFile,
        history: Mapping[str, list[str]],
        versions: Mapping[str, Mapping[str, frozenset[str]]],
        ident: str,
        text: str,
    ) -> None:
        self._file, self._history, self._versions = file, history, versions
        self._ident, self._text = ident, frozenset({text})

    def origin(self) -> Origin:
        commit = next(iter(self._history))
        merges: list[str] = []
        while True:
            parents = self._history[commit]
            same = [p for p in parents if self._at(p) == self._text]
            if not same:
                return Origin(commit=commit, merges=tuple(merges))
            others = [p for p in parents if p not in same]
            # A side that says otherwise gave way by itself only if it never touched the entry.
            if any(not self._untouched(p, same[0]) for p in others):
                return Origin(commit=commit, merges=tuple(merges))
            if parents[0] in others:
                merges.append(commit)
            commit = same[0]

    def _at(self, commit: str) -> frozenset[str]:
        return self._versions.get(commit, {}).get(self._ident, frozenset())

    def _untouched(self, side: str, other: str) -> bool:
        base = self._file.base(side, other)
        if base is None:
            return False
        at_base = self._file.versions([base], [self._ident])[base].get(self._ident, frozenset())
        return self._at(side) == at_base


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
