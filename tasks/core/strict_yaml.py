"""Reads ``org.yaml`` and ``decisions.yaml``: plain YAML with the place of every key, and what is wrong with its form.

YAML 1.1 as PyYAML reads it, a part of it: one document, no anchors, aliases and tags, no key twice. Nothing is
expanded: ``${VAR}`` is text. The events of libyaml's parser are read, so that nothing is built before it was looked at.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.resolver import Resolver

from tasks.core.literal_secrets import literal_secret
from tasks.core.mistakes import ConfigurationError, Key, Mistake, Place

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 20
_MAX_DIGITS = 18
#: How many values (keys too) a file may have for each item that a list may.
_VALUES_PER_ITEM = 30
_RESOLVER: Any = Resolver()
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
#: What libyaml says of an error, and what it mostly means. Its own words can quote the file.
_SYNTAX = (
    ("mapping values are not allowed", "a colon stands where none may be", "Indent the key, or quote the text."),
    ("could not find expected ':'", "a key has no colon", "Write `key: value`, with a space after the colon."),
    ("did not find expected key", "this line does not fit the lines above", "Indent it as its neighbours are."),
    ("block sequence entries are not allowed", "a list begins where none may", "Begin it on a line of its own."),
    ("did not find expected '-'", "this line does not fit the list above", "Indent it as its neighbours are."),
    ("did not find expected ',' or", "a bracket is not closed, or a comma is missing", "Close what is open."),
    ("did not find expected node content", "a value is missing, or a bracket is not closed", "Close what is open."),
    ("unexpected end of stream", "a quotation mark is not closed", "Close it with the same mark."),
    ("cannot start any token", "this character cannot begin a value", "Put the text in quotes."),
    ("unknown escape character", "an escape is unknown", "Use single quotes, in which a backslash is plain."),
)  # fmt: skip
_OTHER_SYNTAX = "it is no YAML from here on"
#: The command whose help shows a right file.
_HELP = "nightwarden config init"


@dataclass(slots=True)
class Document:
    """What a file says: plain values, the place of each key, and the mistakes of its form.

    ``spoilt`` are keys about whose values nothing more can be said. ``whole`` says whether it was read to its end.
    """

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    spoilt: set[Key] = field(default_factory=set)
    whole: bool = True

    def place(self, key: Key) -> Place:
        """The place of a key, or of the nearest one above it."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, Place())


def read_yaml(path: Path) -> Document:
    """Read a configuration. Raises ConfigurationError where nothing can be looked at: no file, too large, empty."""
    try:
        data = _content(path)
    except OSError as e:
        raise _no_file(path, e.strerror or "it cannot be read", "Name a file that is there, or make one: "
                       "`nightwarden config init`.") from None  # fmt: skip
    return parse(decoded(data, path), path)


def decoded(data: bytes, path: Path, most: int = MAX_BYTES) -> str:
    """The text of a file of ``most`` bytes. Raises ConfigurationError: too large, not UTF-8, control characters."""
    if len(data) > most:
        raise _no_file(path, f"it is larger than {most // 1024} KiB", "A configuration is smaller: is it another?")
    if b"\0" in data:
        raise _no_file(path, "it is no text in UTF-8", "Name the configuration, a YAML file; save it as UTF-8.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        place = _place_of(data[: e.start].decode("utf-8", "replace"))
        raise _wrong(path, place, "it is not UTF-8", "Save it as UTF-8.") from None
    if odd := _ODD.search(text):
        place = _place_of(text[: odd.start()])
        raise _wrong(path, place, "a control character stands here", "Remove it.")
    return text


def parse(text: str, path: Path, shown_by: str = _HELP, *, most_items: int | None = None) -> Document:
    """Read the text of a file; ``shown_by`` is the command that shows a right one.

    With ``most_items`` a list, or the settings of one thing, may be so long, and the file hold thirty times as many
    values: what is longer is not read to its end. Raises ConfigurationError when it holds nothing.
    """
    reader = _Reader(text, shown_by, most_items)
    document = reader.read()
    if document.whole and not document.values and not document.mistakes:
        raise _no_file(path, "it holds no setting", f"Fill it, or make one: `{shown_by}`.")
    return document


def _content(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe would hold us for ever
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(0, "it is no regular file")
        return os.read(fd, MAX_BYTES + 1)
    finally:
        os.close(fd)


def _no_file(path: Path, why: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(
        str(path),
        [Mistake(place=Place(outside=f"cannot read the configuration {path}"), key=(), what=why, remedy=remedy)],
    )


def _wrong(path: Path, place: Place, what: str, remedy: str) -> ConfigurationError:
    return ConfigurationError(str(path), [Mistake(place=place, key=(), what=what, remedy=remedy)])


def _place_of(before: str) -> Place:
    return Place(line=before.count("\n") + 1, column=len(before) - (before.rfind("\n") + 1) + 1)


class _StoppedError(Exception):
    """What follows cannot be read."""


class _Reader:
    """Builds a document from the parser's events."""

    def __init__(self, text: str, shown_by: str, most_items: int | None) -> None:
        self._text, self._shown_by, self._most = text, shown_by, most_items
        self._values = 0
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._document = Document()

    def read(self) -> Document:
        """The document, as far as it can be read."""
        try:
            self._documents()
        except yaml.MarkedYAMLError as e:
            self._document.whole = False
            self._syntax(e)
        except _StoppedError:
            self._document.whole = False
        self._literal_secrets()
        return self._document

    def _documents(self) -> None:
        seen = False
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if seen:
                    self._wrong(event, (), "a second document begins here", "Keep one; `---` stands at most on top.")
                    return
                seen = True
                top = next(self._events)
                value = self._value(top, ())
                if isinstance(value, dict):
                    self._document.values = value
                elif value is not None:
                    self._wrong(top, (), "settings are expected, as `name: value`", f"See `{self._shown_by}`.")

    def _value(self, event: Any, key: Key) -> Any:
        """The plain value that begins with an event. Raises _StoppedError: nested too deeply, or too many."""
        self._values += 1
        if self._most is not None and self._values > _VALUES_PER_ITEM * self._most:
            self._too_many(event, key, _VALUES_PER_ITEM * self._most)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            self._spoil(event, key, "anchors and aliases are not read", "Write the value out where it is meant.")
        elif event.tag is not None and (not isinstance(event, yaml.ScalarEvent) or event.tag != "!"):
            self._spoil(event, key, "tags are not read", "Write the value without what begins with `!`.")
        if isinstance(event, yaml.AliasEvent):
            return ""
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, key)
        if len(key) >= MAX_DEPTH:
            self._spoil(event, key, "it is nested too deeply", f"No setting is deeper than {MAX_DEPTH} levels.")
            raise _StoppedError
        return self._list(key) if isinstance(event, yaml.SequenceStartEvent) else self._mapping(key)

    def _list(self, key: Key) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            inside = (*key, len(items))
            if self._most is not None and len(items) >= self._most:
                self._too_many(event, key, self._most)
            self._document.places[inside] = _mark(event)
            items.append(self._value(event, inside))
        return items

    def _mapping(self, key: Key) -> dict[str, Any]:
        made: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            name = self._value(event, (*key, "…"))
            if not isinstance(name, str):
                self._wrong(event, key, "a key that is no text stands here", "Put it in quotes, if it is meant.")
                self._value(next(self._events), (*key, "…"))
                continue
            inside = (*key, name)
            if name == "<<":
                self._spoil(event, inside, "merging is not read", "Write the settings out where they are meant.")
            if (*key, "…") in self._document.spoilt:
                self._document.spoilt.add(inside)
            if name in made:
                first = self._document.places[inside].line
                self._wrong(event, inside, f"it stands here a second time; first in line {first}", "Keep one of them.")
                self._value(next(self._events), (*key, "…"))
                continue
            if self._most is not None and len(made) >= self._most:
                self._too_many(event, key, self._most)
            made[name] = None
            self._document.places[inside] = _mark(event)
            made[name] = self._value(next(self._events), inside)
        return made

    def _scalar(self, event: Any, key: Key) -> Any:
        text: str = event.value
        if found := literal_secret(text):
            self._spoil(event, key, *found, stays=True)
        elif _CONTROL.search(text):
            self._spoil(event, key, "the text has a line break or a control character", "Write it in one line.")
        if not event.implicit[0]:
            return text  # in quotes, or a block
        tag = str(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False))).rpartition(":")[2]
        if tag == "null":
            return None
        if tag == "bool":
            return _BOOLEANS[text.lower()]
        if tag in ("int", "float"):
            return self._number(event, key)
        return text

    def _number(self, event: Any, key: Key) -> Any:
        text = event.value.lstrip("+")
        if re.fullmatch(r"-?(0|[1-9][0-9]*)", text) and len(text) <= _MAX_DIGITS:
            return int(text)
        if re.fullmatch(r"-?(0|[1-9][0-9]*)\.[0-9]+", text) and len(text) <= _MAX_DIGITS:
            return float(text)
        self._spoil(
            event, key, "YAML reads this as a number", "Put it in quotes if it is text; write numbers in plain digits."
        )
        return event.value

    def _too_many(self, event: Any, key: Key, most: int) -> NoReturn:
        self._wrong(event, key, f"more than {most} stand here", "Remove what is not needed any more.")
        raise _StoppedError

    def _spoil(self, event: Any, key: Key, what: str, remedy: str, *, stays: bool = False) -> None:
        self._wrong(event, key, what, remedy, stays=stays)
        self._document.spoilt.add(key)

    def _wrong(self, event: Any, key: Key, what: str, remedy: str, *, stays: bool = False) -> None:
        self._document.mistakes.append(Mistake(place=_mark(event), key=key, what=what, remedy=remedy, stays=stays))

    def _syntax(self, error: yaml.MarkedYAMLError) -> None:
        # What was opened and never closed is told where it was opened.
        said = error.problem or ""
        is_open = error.context_mark is not None and ("end of stream" in said or "','" in said)
        mark = error.context_mark if is_open else error.problem_mark or error.context_mark
        place = Place(line=mark.line + 1, column=mark.column + 1) if mark else Place()
        lines = self._text.splitlines()
        line = lines[place.line - 1] if 0 < place.line <= len(lines) else ""
        other = (_OTHER_SYNTAX, f"Compare it with what `{self._shown_by}` shows.")
        what, remedy = next(((w, r) for start, w, r in _SYNTAX if start in said), other)
        if "\t" in line[: len(line) - len(line.lstrip())]:
            what, remedy = "a tab indents this line", "Indent with spaces."
        self._document.mistakes.append(Mistake(place=place, key=(), what=what, remedy=remedy))

    def _literal_secrets(self) -> None:
        """In comments, and where the file could not be read."""
        told = {m.place.line for m in self._document.mistakes}
        for number, line in enumerate(self._text.splitlines(), start=1):
            if (found := literal_secret(line)) and number not in told:
                place = Place(line=number, column=len(line) - len(line.lstrip()) + 1)
                self._document.mistakes.append(Mistake(place=place, key=(), what=found[0], remedy=found[1]))


def _mark(event: Any) -> Place:
    return Place(line=event.start_mark.line + 1, column=event.start_mark.column + 1)
