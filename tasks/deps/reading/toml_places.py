"""TOML: the values as ``tomllib`` of Python reads them, and the lines, which it does not tell, by a scan of our own.

The scan goes first and holds to limits: ``tomllib`` recurses into brackets, and takes quadratic time for a key of
many parts. It judges nothing else; where it could not follow, a line is unknown.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from tasks.deps.manifest import MalformedError, Why
from tasks.deps.reading.text import MAX_DEPTH, MAX_VALUES, line_at, too_deep

_BARE = r"[A-Za-z0-9_-]++"
_BASIC = r'"(?:[^"\\\n]++|\\.)*+"'
_LITERAL = r"'[^'\n]*+'"
_PART = rf"(?:{_BARE}|{_BASIC}|{_LITERAL})"
_PATH = rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+"
_SPACE = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
_HEADER = re.compile(rf"(\[\[?+)[ \t]*+({_PATH})[ \t]*+\]\]?+")
_PAIR = re.compile(rf"({_PATH})[ \t]*+=[ \t]*+")
_PARTS = re.compile(_PART)
#: Strings end with their mark, or where they must: what is looked at once is not looked at again.
_TOKEN = re.compile(
    r'("""(?:[^"\\]++|\\.|"(?!""))*+(?:"{3,5}|\Z)'
    r"|'''(?:[^']++|'(?!''))*+(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]++|\\.)*+(?:"|(?=\n)|\Z)'
    r"|'[^'\n]*+(?:'|(?=\n)|\Z)"
    r"|[^\"'#\[\]{},\s][^\"'#\[\]{},\n]*+)|#[^\n]*+|([\[{])|([\]}])|(,)|(\s++)|(.)",
    re.DOTALL,
)
_REST = re.compile(r"[^\n]*+")
_LINE_SAID = re.compile(r"at line (\d+)")
_ESCAPE = re.compile(r'\\([btnfr"\\])')
_ESCAPED = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
#: Parts of one dotted key.
_MAX_PARTS = 20
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Toml:
    """The values of a text. ``places`` are lines of keys, tables, and items of the lists that are values of keys."""

    values: dict[str, Any]
    places: dict[Place, int]

    def line(self, *place: str | int) -> int | None:
        """The line of a value, or of the nearest one above it; None where the scan did not see it."""
        while place:
            if (line := self.places.get(place)) is not None:
                return line
            place = place[:-1]
        return None

    def table(self, *place: str) -> dict[str, Any]:
        """The table at a place; an empty one where there is none."""
        found: Any = self.values
        for part in place:
            found = found.get(part) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}

    def tables(self, key: str) -> list[tuple[int, dict[str, Any]]]:
        """The tables of a list at the top, with their numbers; what is no table is left out."""
        found = self.values.get(key)
        return [(n, t) for n, t in enumerate(found) if isinstance(t, dict)] if isinstance(found, list) else []

    def lists_tables(self, key: str) -> bool:
        """Whether nothing else than a list of tables is at the top under a key."""
        found = self.values.get(key, [])
        return isinstance(found, list) and all(isinstance(one, dict) for one in found)


def read_toml(text: str) -> Toml:
    """Read a text. Raises MalformedError: no TOML (two of a key, too), nested too deeply, too many values."""
    if text.count("=") + text.count(",") + text.count("[") > MAX_VALUES:
        raise MalformedError(f"more than {MAX_VALUES} values", why=Why.TOO_LARGE)
    places = _Scan(text).places()
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        said = _LINE_SAID.search(str(e))
        line = int(said[1]) if said else text.count("\n") + 1
        raise MalformedError("no TOML, or two of a key", line=line) from None
    return Toml(values=values, places=places)


def texts(table: dict[str, Any], key: str) -> list[str]:
    """The texts of the list under a key."""
    found = table.get(key)
    return [t for t in found if isinstance(t, str)] if isinstance(found, list) else []


def text_in(table: dict[str, Any], key: str) -> str | None:
    """The text under a key."""
    found = table.get(key)
    return found if isinstance(found, str) else None


class _Scan:
    def __init__(self, text: str) -> None:
        self._text, self._at, self._line = text, 0, 1
        self._places: dict[Place, int] = {}
        #: How many tables a list of tables has so far.
        self._counts: dict[Place, int] = {}

    def places(self) -> dict[Place, int]:
        """The lines of what can be told."""
        table: Place = ()
        while True:
            self._to(_SPACE.match(self._text, self._at))
            if self._at >= len(self._text):
                return self._places
            if header := _HEADER.match(self._text, self._at):
                table = self._header(header)
                self._to(header)
            elif pair := _PAIR.match(self._text, self._at):
                place = (*table, *self._parts(pair[1]))
                for end in range(len(table) + 1, len(place) + 1):  # ``a.b = 1`` is where ``a`` begins, too
                    self._places.setdefault(place[:end], self._line)
                self._to(pair)
                self._value(place)
            else:
                self._to(_REST.match(self._text, self._at))
                if self._at < len(self._text) and self._text[self._at] != "\n":
                    self._at += 1

    def _header(self, header: re.Match[str]) -> Place:
        place: Place = ()
        for part in self._parts(header[2]):
            if place in self._counts:
                place = (*place, self._counts[place] - 1)
            place = (*place, part)
        if header[1] == "[[":
            self._counts[place] = self._counts.get(place, 0) + 1
            place = (*place, self._counts[place] - 1)
        elif place in self._counts:
            place = (*place, self._counts[place] - 1)
        self._places.setdefault(place, self._line)
        return place

    def _value(self, place: Place) -> None:
        """Go over one value; items of a list get places."""
        depth, item, is_list = 0, 0, self._text.startswith("[", self._at)
        while found := _TOKEN.match(self._text, self._at):
            plain, opens, closes, comma, blank, _ = found.groups()
            if blank and depth == 0:
                return
            if is_list and depth == 1:
                if plain or opens:
                    self._places.setdefault((*place, item), self._line)
                item += 1 if comma else 0
            depth += 1 if opens else -1 if closes else 0
            self._to(found)
            if depth > MAX_DEPTH:
                raise too_deep(self._line)
            if depth <= 0:
                return

    def _parts(self, path: str) -> list[str]:
        parts = _PARTS.findall(path)
        if len(parts) > _MAX_PARTS:
            raise too_deep(line_at(self._text, self._at))
        return [_unquoted(p) for p in parts]

    def _to(self, found: re.Match[str] | None) -> None:
        if found is not None:
            self._line += self._text.count("\n", self._at, found.end())
            self._at = found.end()


def _unquoted(part: str) -> str:
    if part[0] == '"':
        return _ESCAPE.sub(lambda m: _ESCAPED[m[1]], part[1:-1])
    return part[1:-1] if part[0] == "'" else part
