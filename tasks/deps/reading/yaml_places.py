"""The part of YAML that lock files are written in, with lines: mappings, lists and texts, without anchors and tags.

The events of libyaml are read one by one, so nothing is built before it was looked at, and no bomb is expanded.
All scalars are texts: ``lockfileVersion: 9.0`` is one of two spellings of the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tasks.deps.manifest import MalformedError, Unread, Why
from tasks.deps.reading.text import MAX_DEPTH, MAX_VALUES, too_deep
from tasks.deps.reading.values import Read, Table


def read_yaml(text: str) -> Read:
    """The mappings that the documents of a text are. Of a key that stands twice the last counts, and a row tells it.

    Raises MalformedError: no YAML, no mapping, anchors or tags, nested too deeply, too many values.
    """
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._twice: list[Unread] = []
        self._values = 0

    def read(self) -> Read:
        tables: list[Table] = []
        try:
            for event in self._events:
                if isinstance(event, yaml.DocumentStartEvent):
                    table = self._document(next(self._events))
                    if table is not None:
                        tables.append(table)
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            raise MalformedError("no YAML from here on", line=mark.line + 1 if mark else None) from None
        except yaml.YAMLError:
            raise MalformedError("no YAML: a character that none may have") from None
        return Read(tables=tuple(tables), twice=tuple(self._twice))

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
                key = self._key(event, inside)
                value, is_open = self._begun(next(self._events))
                inside[key] = value
            else:
                value, is_open = self._begun(event)
                inside.append(value)
            if is_open:
                if len(stack) >= MAX_DEPTH:
                    raise too_deep(_line(event))
                stack.append(value)

    def _key(self, event: Any, inside: Table) -> str:
        key, is_open = self._begun(event)
        line = _line(event)
        if is_open:
            raise MalformedError("a key that is no text", line=line)
        if key in inside:
            self._twice.append(Unread(why=Why.MALFORMED, detail="a key stands twice; the last counts", line=line))
        inside.lines[key] = line
        return str(key)

    def _begun(self, event: Any) -> tuple[Any, bool]:
        """The value that an event begins, and whether more of it follows."""
        self._values += 1
        if self._values > MAX_VALUES:
            raise MalformedError(f"more than {MAX_VALUES} values", why=Why.TOO_LARGE)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise MalformedError("anchors and aliases are not read", why=Why.UNSUPPORTED, line=_line(event))
        if event.tag is not None and event.tag != "!":
            raise MalformedError("tags are not read", why=Why.UNSUPPORTED, line=_line(event))
        if isinstance(event, yaml.ScalarEvent):
            return event.value, False
        return (Table(_line(event)) if isinstance(event, yaml.MappingStartEvent) else []), True


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1
