"""YAML of manifests as nodes with lines, from the events of libyaml's parser.

An alias is the node it names, never a copy: who walks the nodes must visit each once. ``strict_yaml`` in core reads our
own configuration, where aliases are refused; manifests of others have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from tasks.deps.decoding import text_of
from tasks.deps.manifest import MalformedError, Unread, Why

MAX_DEPTH = 100
MAX_NODES = 200_000


@dataclass(slots=True, eq=False)
class Node:
    """A value: its line from 1; ``text`` of a scalar, ``pairs`` of a mapping (first of equal keys), or ``items``."""

    line: int
    text: str | None = None
    pairs: dict[str, Node] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    #: What follows a scalar in its last line, ``#`` included.
    comment: str = ""

    def get(self, *path: str) -> Node | None:
        """The value at a path of keys."""
        found: Node | None = self
        for key in path:
            found = found.pairs.get(key) if found is not None else None
        return found


def read_yaml_nodes(data: bytes, most: int) -> tuple[Node, list[Unread]]:
    """The first document, and a row for each key that stands twice, merge key and further document.

    Raises MalformedError: too large, nested too deeply, no YAML, or no mapping.
    """
    text = text_of(data, most)
    reader = _Reader(text)
    try:
        top = reader.read()
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        raise MalformedError("no YAML from here on", line=mark.line + 1 if mark else None) from None
    except yaml.YAMLError:
        raise MalformedError("no YAML: a control character") from None
    if top is None or not top.pairs:
        raise MalformedError("no YAML mapping", line=top.line if top else None)
    return top, reader.unread


class _Reader:
    def __init__(self, text: str) -> None:
        self._lines = text.split("\n")
        self._events: Iterator[Any] = yaml.parse(text, Loader=yaml.CSafeLoader)
        self._anchors: dict[str, Node] = {}
        self._count = 0
        self.unread: list[Unread] = []

    def read(self) -> Node | None:
        top: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if top is not None:
                    self._note(Why.UNSUPPORTED, "a second document begins here, which is not read", event)
                    return top
                top = self._node(next(self._events), 0)
        return top

    def _node(self, event: Any, depth: int) -> Node:
        line = event.start_mark.line + 1
        self._count += 1
        if depth > MAX_DEPTH or self._count > MAX_NODES:
            raise MalformedError(f"nested deeper than {MAX_DEPTH}, or more than {MAX_NODES} values",
                                 why=Why.TOO_LARGE, line=line)  # fmt: skip
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in self._anchors:
                raise MalformedError("an alias of nothing", line=line)
            return self._anchors[event.anchor]
        node = Node(line)
        if event.anchor:
            self._anchors[event.anchor] = node
        if isinstance(event, yaml.ScalarEvent):
            node.text = event.value
            mark: Any = event.end_mark
            rest = self._lines[mark.line][mark.column :].strip() if mark.line < len(self._lines) else ""
            node.comment = rest if rest.startswith("#") else ""
        elif isinstance(event, yaml.SequenceStartEvent):
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                node.items.append(self._node(event, depth + 1))
        else:
            self._pairs(node, depth)
        return node

    def _pairs(self, node: Node, depth: int) -> None:
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if key.text is None:
                self._note(Why.UNSUPPORTED, "a key that is no text", event)
            elif key.text == "<<":
                self._note(Why.UNSUPPORTED, "a merge key, which is not read", event)
            elif key.text in node.pairs:
                self._note(Why.MALFORMED, "a key that stands here for the second time", event)
            else:
                node.pairs[key.text] = value

    def _note(self, why: Why, detail: str, event: Any) -> None:
        self.unread.append(Unread(why=why, detail=detail, line=event.start_mark.line + 1))
