"""Path patterns of CODEOWNERS files, and an index that finds those of thousands that match a path. Pure.

A pattern is cut at its slashes. Between two ``**`` stands a block of segments, and blocks are looked for from the left,
each as early as it may stand: no pattern makes that slow, for a later place of one block never helps the next.
Wildcards inside a segment go by the same rule (atomic groups).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import takewhile

#: A longer pattern matches no path of Linux (PATH_MAX), and is no rule.
MAX_PATTERN = 4096


class End(Enum):
    """What a pattern says of what lies below the place it names."""

    EXACT = 0  #: it matches that place alone
    OR_BELOW = 1  #: and all that lies below it
    BELOW = 2  #: only what lies below it


@dataclass(frozen=True, slots=True)
class Segment:
    """One part of a pattern between slashes: a name, or with wildcards an expression (None: any name)."""

    name: str | None
    expression: re.Pattern[str] | None = None
    #: What every name that it matches ends in, from its last dot on; empty if that is not known.
    ending: str = ""

    def matches(self, name: str) -> bool:
        """Whether it matches the name of a file or folder."""
        if self.name is not None:
            return self.name == name
        return self.expression is None or self.expression.fullmatch(name) is not None


@dataclass(frozen=True, slots=True)
class Pattern:
    """Blocks of segments with any number of folders between them, before the first one too where it ``floats``."""

    blocks: tuple[tuple[Segment, ...], ...]
    floats: bool
    end: End

    @property
    def is_plain(self) -> bool:
        """Whether it names its place without wildcards inside of names."""
        return all(s.name is not None for block in self.blocks for s in block) and len(self.blocks) == 1

    def matches(self, names: Sequence[str]) -> bool:
        """Whether it matches a path, cut at its slashes."""
        at, last = 0, len(self.blocks) - 1
        for n, block in enumerate(self.blocks):
            latest = len(names) - len(block)
            if n == last and self.end is End.EXACT:
                # Here it must end, so it can begin at one place only.
                if latest < at or (n == 0 and not self.floats and latest != 0):
                    return False
                return _stands(block, names, latest)
            if n == 0 and not self.floats:
                latest = min(latest, 0)
            found = next((k for k in range(at, latest + 1) if _stands(block, names, k)), None)
            if found is None:
                return False
            at = found + len(block)
        return self.end is not End.BELOW or at < len(names)


def _stands(block: Sequence[Segment], names: Sequence[str], at: int) -> bool:
    return all(s.matches(names[at + k]) for k, s in enumerate(block))


def as_github(text: str) -> Pattern:
    """A pattern as GitHub reads it (``tasks.repos.codeowners`` names the sources). Raises ValueError with the reason.

    ``*`` and ``?`` stay within a name, ``**`` between slashes is any number of folders, ``\\`` takes the next
    character as it is. Without a slash but at its end, a pattern holds at any depth. What names a folder holds for
    all below it, but for a last ``*``, which stays at its own level.
    """
    if "***" in text:
        raise ValueError("three * in a row")
    if text == "/":
        raise ValueError("a slash alone matches nothing")
    parts = text.split("/")
    if parts[0] == "":
        parts = parts[1:]
    elif len(parts) == 1 or (len(parts) == 2 and parts[1] == ""):
        parts = ["**", *parts]
    if "" in parts[:-1]:
        raise ValueError("two slashes in a row")
    below = parts[-1] in ("", "**")
    blocks = _blocks(parts[:-1] if below else parts, classes=False)
    floats = parts[0] == "**"
    if not blocks:
        # `**` is everything, `**/` everything in a folder.
        return Pattern((), True, End.OR_BELOW) if parts[-1] else Pattern(((_ANY,),), True, End.BELOW)
    return Pattern(blocks, floats, End.BELOW if below else End.EXACT if parts[-1] == "*" else End.OR_BELOW)


def gitlab_form(text: str) -> str:
    """A pattern in the form in which GitLab compares it with paths, which begin with a slash, and with others."""
    if text == "*":
        return "/**/*"
    text = re.sub(r"\\\s+", " ", text[1:] if text.startswith("\\#") else text)
    text = text if text.startswith("/") else f"/**/{text}"
    return f"{text}**/*" if text.endswith("/") else text


def as_gitlab(form: str) -> Pattern:
    """What ``gitlab_form`` gives, as Ruby's ``File.fnmatch`` with FNM_DOTMATCH and FNM_PATHNAME reads it.

    Sets as ``[a-z]`` and ``[!a]`` are read, ``**`` is any number of folders only before a slash, and nothing holds
    for what lies below a folder unless it ends in a slash.
    """
    *parts, last = form.split("/")[1:]
    # A last `**` has no slash after it, so it is a plain wildcard.
    last = re.sub(r"\*+", "*", last)
    return Pattern(_blocks([*parts, last], classes=True), bool(parts) and parts[0] == "**", End.EXACT)


def _blocks(parts: Sequence[str], *, classes: bool) -> tuple[tuple[Segment, ...], ...]:
    blocks: list[list[Segment]] = [[]]
    for part in parts:
        if part == "**":
            blocks.append([])
        else:
            blocks[-1].append(_segment(part, classes))
    return tuple(tuple(b) for b in blocks if b)


_ANY = Segment(None)


@lru_cache(maxsize=50_000)
def _segment(text: str, classes: bool) -> Segment:
    if text and not text.strip("*"):
        return _ANY
    parts, wild = [""], False
    literal: list[str] = [""]
    at = 0
    while at < len(text):
        c = text[at]
        at += 1
        if c == "*":
            parts.append("")
            literal.append("")
            wild = True
        elif c == "?":
            parts[-1] += "."
            literal[-1] = ""
            wild = True
        elif c == "[" and classes:
            found, at = _set(text, at)
            parts[-1] += found
            literal[-1] = ""
            wild = True
        else:
            if c == "\\" and at < len(text):
                c = text[at]
                at += 1
            parts[-1] += re.escape(c)
            literal[-1] += c
    if not wild:
        return Segment(literal[0])
    first, *others = parts
    # Each middle part as early as it may stand; only the last one must end where the name ends.
    middle = "".join(f"(?>.*?{p})" for p in others[:-1] if p)
    tail = f".*{others[-1]}" if others else ""
    dot = literal[-1].rfind(".")
    return Segment(None, re.compile(first + middle + tail, re.DOTALL), literal[-1][dot:] if dot >= 0 else "")


_NOTHING = "(?!)"


def _set(text: str, at: int) -> tuple[str, int]:
    """A set of characters, after its ``[``, as Ruby reads it: the first ``]`` ends it; one without matches nothing."""
    negated = at < len(text) and text[at] in "!^"
    at += negated
    found = ""
    while at < len(text):
        if text[at] == "]":
            if not found:
                return ("." if negated else _NOTHING), at + 1
            return f"[{'^' if negated else ''}{found}]", at + 1
        low, at = _one(text, at)
        if at + 1 < len(text) and text[at] == "-" and text[at + 1] != "]":
            high, at = _one(text, at + 1)
            found += f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
        else:
            found += re.escape(low)
    return _NOTHING, at


def _one(text: str, at: int) -> tuple[str, int]:
    at += text[at] == "\\" and at + 1 < len(text)
    return text[at], at + 1


class PatternIndex:
    """Patterns by something that a path must hold for them to match, so that most are never looked at.

    That is a beginning (``/`` before it), a name, or what a name ends in; of several that which the fewest patterns ask
    for.
    """

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        self._patterns = patterns
        asked = [_needs(p) for p in patterns]
        count = Counter(need for needs in asked for need in needs)
        self._by_need: defaultdict[str, list[int]] = defaultdict(list)
        for n, needs in enumerate(asked):
            self._by_need[min(needs, key=count.__getitem__, default="")].append(n)

    def matching(self, path: str) -> Iterator[int]:
        """The numbers of the patterns that match a path, the last one first."""
        names, start, by_need = path.split("/"), "", self._by_need
        found = [*by_need.get("", ())]
        for name in names:
            start = f"{start}/{name}"
            found += by_need.get(start, ())
        for name in set(names):
            found += by_need.get(name, ())
        for ending in {name[name.rfind(".") :] for name in names if "." in name}:
            found += by_need.get(f"*{ending}", ())
        found.sort(reverse=True)
        return (n for n in found if self._patterns[n].matches(names))


def _needs(p: Pattern) -> set[str]:
    """What a path must hold: ``/beginning``, ``name``, ``*.ending``."""
    segments = [s for block in p.blocks for s in block]
    needs = {s.name for s in segments if s.name is not None} | {f"*{s.ending}" for s in segments if s.ending}
    if not p.floats and p.blocks:
        start = [name for name in takewhile(lambda name: name is not None, (s.name for s in p.blocks[0])) if name]
        needs |= {f"/{'/'.join(start)}"} if start else set()
    return needs
