"""Mistakes in the configuration: where each is, what is wrong, and what to do about it. All are told at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from tasks.core.errors import UsageError
from tasks.core.text import one_line

#: The path of a key, from the top: names of mappings, numbers of lists.
Key = tuple[str | int, ...]
#: What names of our variables begin with.
PREFIX = "NIGHTWARDEN_"
_SHOWN = 50
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something of the configuration stands: in the file (from 1), or in a variable or an option."""

    line: int = 0
    column: int = 0
    outside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One thing that is wrong. ``what`` and ``remedy`` never quote a value that could be a secret.

    ``stays``: it must go from the file, even where a variable or an option overrules what stands there.
    """

    place: Place
    key: Key
    what: str
    remedy: str
    stays: bool = False

    def told(self, file: str) -> str:
        """Two lines: place, key and what; the remedy."""
        p = self.place
        where = p.outside or (f"{file}:{p.line}:{p.column}" if p.line else file)
        named = f"{shown_key(self.key)}: " if self.key and not p.outside else ""
        return f"{one_line(f'{where}: {named}{self.what}', 600)}\n  {one_line(self.remedy, 600)}"


class ConfigurationError(UsageError):
    """All mistakes of a configuration, those of the file by line."""

    def __init__(self, file: str, mistakes: Iterable[Mistake]) -> None:
        own = sorted(mistakes, key=lambda m: (m.place.outside, m.place.line, m.place.column, shown_key(m.key)))
        blocks = [m.told(file) for m in own[:_SHOWN]]
        if len(own) > 1:
            more = f"; the first {_SHOWN} are shown" if len(own) > _SHOWN else ""
            blocks.insert(0, f"{len(own)} mistakes in the configuration{more}")
        super().__init__("\n".join(blocks))
        self.mistakes = tuple(own)


def shown_key(key: Key) -> str:
    """A key's path as people write it, ``sources[2].github.token``. A name that is no plain word is not shown."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _WORD.fullmatch(part) else "<<" if part == "<<" else "…")
    return text


def nearest_variable(name: str, known: Iterable[str]) -> str:
    """The known variable that a wrong one is so like that it must be meant; empty if none is."""
    stems = {k.removeprefix(PREFIX): k for k in known}
    near = get_close_matches(name.upper().removeprefix(PREFIX), list(stems), n=1, cutoff=0.8)
    return stems[near[0]] if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that a wrong one is most like, as a question; empty if none is."""
    near = get_close_matches(name.lower().replace("-", "_"), list(known), n=1, cutoff=0.6)
    near = near or get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}? " if near else ""
