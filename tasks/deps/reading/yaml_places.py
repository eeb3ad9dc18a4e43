"""YAML with lines: of lock files mappings, lists and texts alone; of what people write, anchors, tags and comments too.

The events of libyaml are read one by one, so nothing is built before it was looked at, and no bomb is expanded: an
alias is the value it names, never a copy. All scalars are texts: ``lockfileVersion: 9.0`` is one of two spellings of
the same. (``strict_yaml`` in core reads our own configuration.)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from tasks.deps.manifest import MalformedError, Why
from tasks.deps.reading.text import MAX_DEPTH, MAX_VALUES, too_deep
from tasks.deps.reading.values import Gaps, Read, Table

_COMMENT = re.compile(r"[ \t]*+(#[^\n]*+)")


class Text(str):
    """A scalar that people wrote: the line from 1 in which it begins, and what follows it in its last, ``#`` included.

    It is one object however many aliases name it.
    """

    __slots__ = ("comment", "line")
    line: int
    comment: str


def read_yaml(text: str) -> Read:
    """The mappings that the documents of a lock file are. Of a key that stands twice the last counts, and a row tells.

    Raises MalformedError: no YAML, no mapping, anchors or tags, nested too deeply, too many values.
    """
    return _Reader(text).read()


def read_written_yaml(text: str) -> Read:
    """The first mapping of a file that people write, and what was not read of it: merge keys, a further document.

    Its scalars are ``Text``. Aliases name values that others name, too, and may lead in circles: who walks must visit
    each table and list once (by ``id``). Tags are passed over. Raises MalformedError as ``read_yaml`` does.
    """
    return _WrittenReader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._gaps = Gaps()
        self._values = 0

    def read(self) -> Read:
        tables: list[Table] = []
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    if tables and self._ends_at(event):
                        break
                    table = self._document(next(self._events))
                    if table is not None:
                        tables.append(table)
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            raise MalformedError("no YAML from here on", line=mark.line + 1 if mark else None) from None
        except yaml.YAMLError:
            raise MalformedError("no YAML: a character that none may have") from None
        return Read(tables=tuple(tables), gaps=self._gaps)

    def _ends_at(self, _event: Any) -> bool:
        """Whether what is read ends where a further document begins."""
        return False

    def _document(self, event: Any) -> Table | None:
        value, is_open = self._begun(event)
        if isinstance(value, Table):
            self._fill(value)
            return value
        if is_open or value:
            raise MalformedError("no mapping of YAML", line=_line(event))
        return None

    def _fill(self, root: Table) -> None:
        stack: list[Table | list[Any]] = [root]
        while stack:
            inside = stack[-1]
            event = next(self._events)
            if isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
                stack.pop()
                continue
            if isinstance(inside, Table):
                key, line = self._key(event), _line(event)
                event = next(self._events)
                value, is_open = self._begun(event)
                self._put(inside, key, value, line)
            else:
                value, is_open = self._begun(event)
                inside.append(value)
            if is_open:
                if len(stack) >= MAX_DEPTH:
                    raise too_deep(_line(event))
                stack.append(value)

    def _key(self, event: Any) -> str:
        key, is_open = self._begun(event)
        if is_open or not isinstance(key, str):
            raise MalformedError("a key that is no text", line=_line(event))
        return str(key)

    def _put(self, inside: Table, key: str, value: Any, line: int) -> None:
        if key in inside:
            self._gaps.twice(line)
        inside.lines[key] = line
        inside[key] = value

    def _begun(self, event: Any) -> tuple[Any, bool]:
        """The value that an event begins, and whether more of it follows."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise MalformedError(f"more than {MAX_VALUES} values", why=Why.TOO_LARGE)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            return self._named(event)
        if event.tag is not None and event.tag != "!":
            self._tagged(event)
        return self._value(event)

    def _value(self, event: Any) -> tuple[Any, bool]:
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event), False
        return (Table(_line(event)) if isinstance(event, yaml.MappingStartEvent) else []), True

    def _named(self, event: Any) -> tuple[Any, bool]:
        raise MalformedError("anchors and aliases are not read", why=Why.UNSUPPORTED, line=_line(event))

    def _tagged(self, event: Any) -> None:
        raise MalformedError("tags are not read", why=Why.UNSUPPORTED, line=_line(event))

    def _scalar(self, event: Any) -> str:
        return str(event.value)


class _WrittenReader(_Reader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._anchors: dict[str, Any] = {}

    def _ends_at(self, event: Any) -> bool:
        self._note("a second document begins here, which is not read", _line(event))
        return True

    def _put(self, inside: Table, key: str, value: Any, line: int) -> None:
        if key == "<<":
            self._note("a merge key, which is not read", line)
        else:
            super()._put(inside, key, value, line)

    def _named(self, event: Any) -> tuple[Any, bool]:
        if not isinstance(event, yaml.AliasEvent):
            found = self._value(event)
            self._anchors[event.anchor] = found[0]
            return found
        if event.anchor not in self._anchors:
            raise MalformedError("an alias of nothing", line=_line(event))
        return self._anchors[event.anchor], False

    def _tagged(self, event: Any) -> None:
        """Tags change no name and no version."""

    def _scalar(self, event: Any) -> str:
        made = Text(event.value)
        made.line = _line(event)
        behind = _COMMENT.match(self._text, event.end_mark.index)
        made.comment = behind[1].rstrip() if behind else ""
        return made

    def _note(self, detail: str, line: int) -> None:
        self._gaps.add(Why.UNSUPPORTED, detail, line)


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
