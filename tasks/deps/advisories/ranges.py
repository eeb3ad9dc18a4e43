"""Ranges of an OSV record as intervals that a join can use.

Source of the rules: https://ossf.github.io/osv-schema/#affectedrangesevents-fields and the evaluation given there:
events are sorted by version; a version is affected from an ``introduced`` on until the next ``fixed`` (which is not) or
``last_affected`` (which is). "0" is before every version. With ``limit`` events a version counts only below one of
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

#: A sort key of a version in an ecosystem; None for one that follows no grammar (``tasks.deps.ordering``).
Key = Callable[[str, str], bytes | None]
INTRODUCED, FIXED, LAST_AFFECTED, LIMIT = "introduced", "fixed", "last_affected", "limit"
_KINDS = (INTRODUCED, FIXED, LAST_AFFECTED, LIMIT)
_EVERY = "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Versions from ``introduced`` on, until what ends them, if anything does. ``limit`` bounds it as well.

    ``ordered`` says that the events are known to stand in the order of versions; else that of the file was kept.
    """

    introduced: str
    fixed: str | None = None
    last_affected: str | None = None
    limit: str | None = None
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class _Event:
    kind: str
    version: str
    key: bytes = b""


def intervals(events: object, ecosystem: str, key: Key | None = None) -> list[Interval] | None:
    """The intervals of one range, lowest first; None when its events are none of OSV's.

    An ``introduced`` while another one is open changes nothing, as little as an end while none is.
    """
    found = _events(events)
    if not found or all(e.kind != INTRODUCED for e in found):
        return None
    ordered, found = _sorted(found, ecosystem, key)
    limits = [e for e in found if e.kind == LIMIT]
    made = list(_paired([e for e in found if e.kind != LIMIT], ordered))
    if limits and all(e.version != _EVERY for e in limits):
        # Below any of them is enough: the highest bounds.
        highest = max(limits, key=lambda e: e.key) if ordered else limits[-1]
        made = [replace(i, limit=highest.version) for i in made]
    return made


def _events(events: object) -> list[_Event]:
    """The events, each of exactly one kind; empty if any is none."""
    found: list[_Event] = []
    if not isinstance(events, list):
        return found
    for event in events:
        told = _told(event)
        if told is None:
            return []
        found.append(told)
    return found


def _told(event: Any) -> _Event | None:
    if not isinstance(event, dict):
        return None
    kinds = [k for k in _KINDS if isinstance(event.get(k), str) and event[k]]
    return _Event(kinds[0], event[kinds[0]]) if len(kinds) == 1 else None


def _sorted(found: list[_Event], ecosystem: str, key: Key | None) -> tuple[bool, list[_Event]]:
    """The events in the order of their versions, if every one of them has a key."""
    if key is None:
        return False, found
    keyed = []
    for e in found:
        lowest, endless = e.kind == INTRODUCED and e.version == "0", e.kind == LIMIT and e.version == _EVERY
        made = b"" if lowest or endless else key(ecosystem, e.version)
        if made is None:
            return False, found
        # A byte before it, so that nothing is below "0".
        keyed.append(replace(e, key=b"\x00" if lowest else b"\x01" + made))
    return True, sorted(keyed, key=lambda e: e.key)


def _paired(found: Sequence[_Event], ordered: bool) -> Iterator[Interval]:
    begun: str | None = None
    for same in _at_one_version(found, ordered):
        # Where one interval ends at the version at which another begins, the end comes first; where none is open, what
        # begins and ends there is an interval of its own, which "fixed" leaves empty.
        ends_first = begun is not None
        for e in sorted(same, key=lambda e: (e.kind == INTRODUCED) == ends_first) if ordered else same:
            if e.kind == INTRODUCED:
                begun = e.version if begun is None else begun
            elif begun is not None:
                if e.version != begun or e.kind != FIXED:
                    yield Interval(introduced=begun, **{e.kind: e.version}, ordered=ordered)
                begun = None
    if begun is not None:
        yield Interval(introduced=begun, ordered=ordered)


def _at_one_version(found: Sequence[_Event], ordered: bool) -> Iterator[list[_Event]]:
    for _, same in groupby(found, key=lambda e: e.key) if ordered else ((None, found),):
        yield list(same)
