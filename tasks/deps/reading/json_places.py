"""JSON (RFC 8259) with lines, and bun's kind of it with comments and trailing commas.

The values are decoded by the standard library, which is fast and tells no places. A look at the brackets and keys goes
before it: it holds nesting to a limit, for ``json`` recurses, and gives the lines in the order in which the library
ends its objects.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from tasks.deps.manifest import MalformedError, Why
from tasks.deps.reading.text import MAX_DEPTH, MAX_VALUES, line_at, too_deep
from tasks.deps.reading.values import Gaps, Read, Table

_STRING = r'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_BLANK = r"[ \t\n\r]*+"
#: A string with its end or without: what is looked at once is not looked at again.
_ANY_STRING = rf'{_STRING[:-1]}(?:"|(?=[\x00-\x1f])|\Z)'
#: A key with its value where that is a string, another string, or a bracket.
_TOKEN = re.compile(rf"{_ANY_STRING}(?:{_BLANK}(:)(?:{_BLANK}{_ANY_STRING})?+)?+|([{{\[])|([}}\]])")
_EXTRAS = re.compile(rf"({_ANY_STRING})|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)")
_TRAILING = re.compile(rf"({_ANY_STRING})|,(?={_BLANK}[}}\]])")
_NOT_BREAKS = re.compile(r"[^\n]")
#: Digits of a number that is read as one; no format has a longer one.
_MAX_DIGITS = 300
_LONG_NUMBER = re.compile(rf"{_ANY_STRING}|([\d.eE+-]{{{_MAX_DIGITS + 1},}}+)")
_NO_NUMBER = re.compile(rf"{_ANY_STRING}|(-?(?:NaN|Infinity))")
#: Where an object begins, and its keys.
_Lines = tuple[int, list[int]]


def read_json(text: str, *, comments: bool = False, most: int = MAX_VALUES) -> Read:
    """The object that a text is. Of a key that stands twice the last wins, as for npm and Composer, and a row tells it.

    Raises MalformedError: no JSON, no object, nested too deeply, more than ``most`` values.
    """
    if comments:
        text = _EXTRAS.sub(lambda m: m[1] or _NOT_BREAKS.sub(" ", m[0]), text)
        text = _TRAILING.sub(lambda m: m[1] or " ", text)
    if text.count(",") + text.count("[") + text.count("{") > most:
        raise MalformedError(f"more than {most} values", why=Why.TOO_LARGE)
    if not text.strip():
        raise MalformedError("empty", line=1)
    ended = iter(_lines(text))
    gaps = Gaps()

    def hook(pairs: list[tuple[str, Any]]) -> Table:
        line, lines = next(ended)
        table = Table(line)
        table.update(pairs)
        table.lines = dict(zip(table, lines, strict=False))
        if len(table) < len(pairs):  # a key stands twice, so its last line counts
            table.lines = dict(zip((key for key, _ in pairs), lines, strict=True))
            _note(pairs, lines, gaps)
        return table

    def number(said: str) -> int | float:
        if len(said) > _MAX_DIGITS:
            raise _wrong("a number is too long", text, _LONG_NUMBER)
        return int(said) if said.lstrip("-").isdigit() else float(said)

    def constant(_said: str) -> NoReturn:
        raise _wrong("a value is missing", text, _NO_NUMBER)

    try:
        value = json.loads(text, object_pairs_hook=hook, parse_int=number, parse_float=number, parse_constant=constant)
    except json.JSONDecodeError as e:
        raise MalformedError("no JSON from here on", line=e.lineno) from None
    if not isinstance(value, Table):
        raise MalformedError("no object of JSON", line=1)
    return Read(tables=(value,), gaps=gaps)


def _lines(text: str) -> list[_Lines]:
    """The lines of each object and its keys, in the order in which objects end. Of what is no JSON it may tell wrongly.

    Raises MalformedError: nested too deeply.
    """
    ended: list[_Lines] = []
    keys: list[int] = []  # of the innermost object
    stack: list[tuple[int, list[int]]] = []  # where each bracket that is open stands, and the keys around it
    line, at = 1, 0
    count = text.count
    for token in _TOKEN.finditer(text):
        kind = token.lastindex
        if kind is None:
            continue
        start = token.start()
        line += count("\n", at, start)
        at = start
        if kind == 1:
            keys.append(line)
        elif kind == 2:
            if len(stack) >= MAX_DEPTH:
                raise too_deep(line)
            stack.append((line, keys))
            keys = []
        elif stack:
            begun, around = stack.pop()
            if text[start] == "}":
                ended.append((begun, keys))
            keys = around
    return ended


def _note(pairs: list[tuple[str, Any]], lines: list[int], gaps: Gaps) -> None:
    seen: set[str] = set()
    for (key, _), line in zip(pairs, lines, strict=True):
        if key in seen:
            gaps.twice(line)
        seen.add(key)


def _wrong(what: str, text: str, pattern: re.Pattern[str]) -> MalformedError:
    at = next((found.start() for found in pattern.finditer(text) if found[1]), None)
    return MalformedError(f"no JSON: {what}", line=None if at is None else line_at(text, at))
