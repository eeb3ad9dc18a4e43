"""Which commit each entry of a file is from.

``git blame`` cannot tell it: a line that was taken out leaves no trace in the lines that stand, so an entry without its
``repository:`` would still look as it was approved. An entry is from the commit since which all that it says stands
unchanged, and a merge that chose between two versions of it is such a commit itself.

What was found is remembered by commit beside git's configuration, so that a night reads only the versions that are new.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.core.types import digest
from tasks.repos.config_entries import entries
from tasks.repos.config_file import ConfigFile

#: Raise it when the same history gives other origins.
_REVISION = 1
#: Commits whose versions are read at a time.
_AT_A_TIME = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The commit since which an entry says what it says (``text``, a digest), and the merges it came through later
    whose messages name it as approved."""

    commit: str
    text: str
    merges: tuple[str, ...] = ()


def origins(file: ConfigFile, data: bytes, wanted: Mapping[str, int]) -> dict[str, Origin]:
    """By id, where entries of what HEAD holds (``data``) are from; ``wanted`` are their ids with their first lines.

    One that cannot be told is left out: its id is not its alone, or stands elsewhere. Raises ScanGapError.
    """
    at_head: dict[str, list[tuple[int, str]]] = {}
    for e in entries(data):
        at_head.setdefault(e.id, []).append((e.line, e.text))
    texts = {i: at_head[i][0][1] for i, line in wanted.items() if [n for n, _ in at_head.get(i, ())] == [line]}
    known = _Remembered.of(file)
    if known.head == file.head and all(i in known.entries and known.entries[i].text == t for i, t in texts.items()):
        return {i: known.entries[i] for i in texts}
    walk = _Walk(file, known)
    if not walk.tip:
        return {}
    found = {i: walk.origin(i, text) for i, text in texts.items()}
    told = {i: frozenset(o.merges) for i, o in known.entries.items()}
    naming = file.naming({m for i, o in found.items() for m in o.merges if m not in told.get(i, ())})
    found = {i: _named(i, o, naming, told.get(i, frozenset())) for i, o in found.items()}
    _Remembered(head=file.head, tip=walk.tip, entries=found).keep(file)
    return found


def _named(ident: str, origin: Origin, naming: Mapping[str, frozenset[str]], known: frozenset[str]) -> Origin:
    merges = tuple(m for m in origin.merges if ident in naming.get(m, ()) or m in known)
    return Origin(commit=origin.commit, text=origin.text, merges=merges)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Remembered:
    """What an earlier run found at a HEAD, whose newest commit of the history is ``tip``."""

    head: str = ""
    tip: str = ""
    entries: Mapping[str, Origin]

    @classmethod
    def of(cls, file: ConfigFile) -> _Remembered:
        """Of a file; nothing where nothing is kept, or what is kept cannot be read."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            kept = json.loads(_place(file).read_bytes())
            if kept["revision"] == _REVISION:
                told = {
                    str(i): Origin(commit=str(commit), text=str(text), merges=tuple(str(m) for m in merges))
                    for i, (commit, text, merges) in kept["entries"].items()
                }
                return cls(head=str(kept["head"]), tip=str(kept["tip"]), entries=told)
        return cls(entries={})

    def keep(self, file: ConfigFile) -> None:
        """Keep it for the next run. Without it that one only reads more, so nothing is said where it cannot be."""
        told = {i: [o.commit, o.text, o.merges] for i, o in self.entries.items()}
        made = {"revision": _REVISION, "head": self.head, "tip": self.tip, "entries": told}
        place = _place(file)
        part = place.with_name(f"{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps(made), "utf-8")
            part.replace(place)
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _place(file: ConfigFile) -> Path:
    return file.git.folder / "origins" / f"{digest(file.git_dir, file.name)[:32]}.json"


class _Walk:
    """The ways back from HEAD to the commits that entries are from."""

    def __init__(self, file: ConfigFile, known: _Remembered) -> None:
        self._file, self._known = file, known
        self._parents = file.history()
        self._order = list(self._parents)
        self._number = {c: n for n, c in enumerate(self._order)}
        self._versions: dict[str, Mapping[str, frozenset[str]]] = {}
        self._bases: dict[tuple[str, str], str | None] = {}
        #: The newest commit that touches the file, or is a merge.
        self.tip = self._order[0] if self._order else ""

    def origin(self, ident: str, text: str) -> Origin:
        """Where an entry that HEAD holds is from, with all merges on the way."""
        commit, merges = self.tip, list[str]()
        same_text = frozenset({text})
        while True:
            known = self._known.entries.get(ident) if commit == self._known.tip else None
            if known is not None and known.text == text:
                return Origin(commit=known.commit, text=text, merges=(*merges, *known.merges))
            parents = self._parents[commit]
            same = [p for p in parents if self._at(p, ident) == same_text]
            # A side that says otherwise gave way by itself only if it never touched the entry.
            if not same or any(not self._untouched(p, same[0], ident) for p in parents if p not in same):
                return Origin(commit=commit, text=text, merges=tuple(merges))
            if len(parents) > 1:
                merges.append(commit)
            commit = same[0]

    def _at(self, commit: str, ident: str) -> frozenset[str]:
        if commit not in self._versions:
            first = self._number[commit]
            some = [c for c in self._order[first : first + _AT_A_TIME] if c not in self._versions]
            self._versions |= self._file.versions(some)
        return self._versions[commit].get(ident, frozenset())

    def _untouched(self, side: str, other: str, ident: str) -> bool:
        if (side, other) not in self._bases:
            self._bases[side, other] = self._base(side, other)
        base = self._bases[side, other]
        return base is not None and self._at(side, ident) == self._at(base, ident)

    def _base(self, one: str, other: str) -> str | None:
        """The commit of the history that two have grown from; None if it is not one.

        What was left out of the history says of the file what the commit before it says, so git need not be asked.
        """
        common = self._before(one) & self._before(other)
        best = common - {p for c in common for p in self._parents[c]}
        return next(iter(best)) if len(best) == 1 else None

    def _before(self, commit: str) -> set[str]:
        found, todo = {commit}, [commit]
        while todo:
            new = [p for p in self._parents[todo.pop()] if p not in found]
            found.update(new)
            todo += new
        return found
