"""JSON (RFC 8259) with lines, and bun's kind of it with comments and trailing commas.

``json`` of Python tells no places and recurses. This reader keeps a stack of its own, so nesting ends at a limit.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tasks.deps.manifest import MalformedError, Unread, Why
from tasks.deps.reading.text import MAX_DEPTH, MAX_VALUES, line_at, too_deep
from tasks.deps.reading.values import Read, Table

_STRING = r'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_BLANK = r"[ \t\n\r]*+"
_KEY = re.compile(rf"{_BLANK}({_STRING}){_BLANK}:")
_VALUE = re.compile(rf"{_BLANK}(?:({_STRING})|([{{\[])|(true|false|null)|(-?(?:0|[1-9]\d*+)(\.\d++)?([eE][+-]?\d++)?))")
_AFTER = re.compile(rf"{_BLANK}([,}}\]])")
_CLOSE = re.compile(rf"{_BLANK}([}}\]])")
_END = re.compile(rf"{_BLANK}\Z")
#: A string with its end or without: what is looked at once is not looked at again.
_ANY_STRING = rf'{_STRING[:-1]}(?:"|(?=[\x00-\x1f])|\Z)'
_EXTRAS = re.compile(rf"({_ANY_STRING})|//[^\n]*+|/\*(?:[^*]++|\*(?!/))*+(?:\*/|\Z)")
_TRAILING = re.compile(rf"({_ANY_STRING})|,(?={_BLANK}[}}\]])")
_NAMED = {"true": True, "false": False, "null": None}
_NOT_BREAKS = re.compile(r"[^\n]")
#: Digits of a number that is read as one; no format has a longer one.
_MAX_DIGITS = 300


def read_json(text: str, *, comments: bool = False) -> Read:
    """The object that a text is. Of a key that stands twice the last wins, as for npm and Composer, and a row tells it.

    Raises MalformedError: no JSON, no object, nested too deeply, too many values.
    """
    if comments:
        text = _EXTRAS.sub(lambda m: m[1] or _NOT_BREAKS.sub(" ", m[0]), text)
        text = _TRAILING.sub(lambda m: m[1] or " ", text)
    if text.count(",") + text.count("[") + text.count("{") > MAX_VALUES:
        raise MalformedError(f"more than {MAX_VALUES} values", why=Why.TOO_LARGE)
    return _Reader(text).read()


class _Reader:
    """One pass over a text; ``_line`` is the line of ``_at``."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1
        self._twice: list[Unread] = []

    def read(self) -> Read:
        root = self._value()
        if not isinstance(root, Table):
            raise MalformedError("no object of JSON", line=1)
        stack: list[Table | list[Any]] = [root]
        if not self._closed(root):
            self._fill(stack)
        if not _END.match(self._text, self._at):
            raise self._wrong("something follows the end")
        return Read(tables=(root,), twice=tuple(self._twice))

    def _fill(self, stack: list[Table | list[Any]]) -> None:
        """Read on until the first container is closed. All that are open stand on the stack and expect a value."""
        while stack:
            inside = stack[-1]
            if isinstance(inside, Table):
                key = self._key(inside)
                value = inside[key] = self._value()
            else:
                value = self._value()
                inside.append(value)
            if isinstance(value, Table | list) and not self._closed(value):
                if len(stack) >= MAX_DEPTH:
                    raise too_deep(self._line)
                stack.append(value)
                continue
            self._after(stack)

    def _after(self, stack: list[Table | list[Any]]) -> None:
        """What follows a value: a comma, or the ends of what is open."""
        while stack:
            found = _AFTER.match(self._text, self._at)
            if found is None:
                raise self._wrong("a comma or the end of what is open is missing")
            self._move(found.end())
            if found[1] == ",":
                return
            if (found[1] == "}") != isinstance(stack.pop(), Table):
                raise self._wrong("another bracket is open")

    def _key(self, inside: Table) -> str:
        found = _KEY.match(self._text, self._at)
        if found is None:
            raise self._wrong("a key is missing")
        self._move(found.start(1))
        key = self._string(found[1])
        if key in inside:
            self._twice.append(Unread(why=Why.MALFORMED, detail="a key stands twice; the last counts", line=self._line))
        inside.lines[key] = self._line
        self._move(found.end())
        return key

    def _value(self) -> Any:
        found = _VALUE.match(self._text, self._at)
        if found is None:
            raise self._wrong("a value is missing")
        string, bracket, named, number, part, power = found.groups()
        self._move(found.end())
        if string is not None:
            return self._string(string)
        if bracket is not None:
            return Table(self._line) if bracket == "{" else []
        if named is not None:
            return _NAMED[named]
        if len(number) > _MAX_DIGITS:
            raise self._wrong("a number is too long")
        return float(number) if part or power else int(number)

    def _closed(self, value: Table | list[Any]) -> bool:
        """Whether what was opened just now is empty; then its end is read, too."""
        found = _CLOSE.match(self._text, self._at)
        if found is None or (found[1] == "}") != isinstance(value, Table):
            return False
        self._move(found.end())
        return True

    def _string(self, token: str) -> str:
        if "\\" not in token:
            return token[1:-1]
        try:
            return str(json.loads(token))
        except ValueError:
            raise self._wrong("an escape is unknown") from None

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _wrong(self, what: str) -> MalformedError:
        rest = len(self._text) - len(self._text[self._at :].lstrip(" \t\n\r"))
        return MalformedError(f"no JSON: {what}", line=line_at(self._text, rest))
