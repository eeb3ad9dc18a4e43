"""The entries of a file of decisions as YAML means them: an id, a line, and a digest of all values. Pure.

Not by lines: a quoted text may go on in the first column, and what looks like an entry may stand inside a text. Two
entries with one digest say the same to ``tasks.policy.decisions``; comments and layout are not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from tasks.core.types import digest

#: More entries than a file may have; a version with more is read as one without any.
MOST_ENTRIES = 10_000
#: Values of a file, keys and lists and all: ten thousand entries have no more.
_MOST_EVENTS = 400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An item of the list: its id ("" without one), its first line from 1, and a digest of all that it says."""

    id: str
    line: int
    text: str


def entries(data: bytes, key: str = "decisions") -> list[Entry]:
    """The items of the list below a top key, in their order.

    None of a file that cannot be read to the end of the list: who wants to know since when an entry stands must take it
    as one without entries. Raises nothing.
    """
    try:
        return list(_entries(_limited(yaml.parse(data.decode("utf-8-sig"), Loader=yaml.CSafeLoader)), key))
    except (yaml.YAMLError, UnicodeDecodeError, _TooMuchError):
        return []


def by_id(found: Iterable[Entry]) -> dict[str, frozenset[str]]:
    """By id the digests of all entries that have it: of one that stands twice with the same words there are two."""
    texts: dict[str, set[str]] = {}
    for entry in found:
        known = texts.setdefault(entry.id, set())
        known.add(f"{entry.text} again" if entry.text in known else entry.text)
    return {i: frozenset(t) for i, t in texts.items()}


class _TooMuchError(Exception):
    """More than a file may have."""


def _limited(events: Iterator[Any]) -> Iterator[Any]:
    for number, event in enumerate(events):
        if number > _MOST_EVENTS:
            raise _TooMuchError
        yield event


def _entries(events: Iterator[Any], key: str) -> Iterator[Entry]:
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            break
    if not isinstance(next(events, None), yaml.MappingStartEvent):
        return
    while not isinstance(name := next(events), yaml.MappingEndEvent):
        value_of_key = [*_node(name, events)]
        first = next(events)
        if len(value_of_key) > 1 or getattr(name, "value", None) != key:
            for _ in _node(first, events):
                pass
            continue
        # A second key of this name is a mistake, and says nothing.
        if isinstance(first, yaml.SequenceStartEvent):
            number = 0
            while not isinstance(item := next(events), yaml.SequenceEndEvent):
                if (number := number + 1) > MOST_ENTRIES:
                    raise _TooMuchError
                yield _entry([*_node(item, events)])
        return


def _node(first: Any, events: Iterator[Any]) -> Iterator[Any]:
    """All events of the node that begins with one."""
    depth = 0
    event = first
    while True:
        yield event
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if not depth:
            return
        event = next(events)


def _entry(node: list[Any]) -> Entry:
    ident, depth, is_key = "", 0, True
    for event, following in zip(node, [*node[1:], None], strict=True):
        # Keys and values of the entry itself take turns; what is deeper is passed over.
        if depth == 1 and not isinstance(event, yaml.CollectionEndEvent):
            if is_key and not ident and getattr(event, "value", None) == "id":
                ident = str(getattr(following, "value", ""))
            is_key = not is_key
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    is_mapping = isinstance(node[0], yaml.MappingStartEvent)
    said = digest(*(word for event in node for word in _said(event)))
    return Entry(id=ident if is_mapping else "", line=node[0].start_mark.line + 1, text=said)


def _said(event: Any) -> tuple[str, ...]:
    """What an event says, whatever it looks like: plain text may be a number or a truth, quoted text is none."""
    tag, anchor = getattr(event, "tag", None) or "", getattr(event, "anchor", None) or ""
    if isinstance(event, yaml.ScalarEvent):
        return "text", event.value, "plain" if event.implicit[0] else "quoted", tag, anchor
    return type(event).__name__, tag, anchor
