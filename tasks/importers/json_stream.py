"""Large JSON files read piece by piece: memory grows with the largest wanted piece, never with the file.

The tokens are those of ijson (yajl): a NaN or a number that no float holds is a fault of the file, a lone surrogate
becomes ``?``.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, BinaryIO

import ijson

Path = tuple[str | int, ...]
#: A piece that is nested deeper is not built: no format read here has more than a dozen levels.
MAX_DEPTH = 64
_CHUNK = 1 << 18
_ENDS = frozenset({"end_map", "end_array"})
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))


class Want(Enum):
    """What to do with the value at a path."""

    BUILD = "build"  # hand it over whole
    ENTER = "enter"  # look at its members
    NOTE = "note"  # tell that it is there
    SKIP = "skip"


class Mark(Enum):
    """Handed over in the place of what is not built."""

    LIST = "list"
    OBJECT = "object"
    DEEP = "deep"


class BrokenError(Exception):
    """The text ends early or is no JSON from here on. Quotes nothing of it."""


def walk(stream: BinaryIO, wanted: Callable[[Path], Want]) -> Iterator[tuple[Path, Any]]:
    """(path, value) of what is wanted, in the order of the file; an array or object that is entered or noted gives its
    mark first. Raises BrokenError after everything that stands before the fault.
    """
    events = ijson.basic_parse(_Utf8(stream), use_float=True)
    try:
        yield from _walk(events, wanted)
    except (ijson.JSONError, ValueError, OverflowError, UnicodeError) as e:
        raise BrokenError(_what(e)) from None


def _what(error: Exception) -> str:
    text = str(error)
    known = ("premature EOF", "trailing garbage", "invalid char in json text", "numeric (floating point) overflow")
    return next((k for k in known if k in text), "no JSON")


def _walk(events: Iterator[tuple[str, Any]], wanted: Callable[[Path], Want]) -> Iterator[tuple[Path, Any]]:
    at: list[str | int] = []
    for event, value in events:
        if event == "map_key":
            at[-1] = value
            continue
        if event in _ENDS:
            at.pop()
            continue
        if at and isinstance(at[-1], int):
            at[-1] += 1
        here = tuple(at)
        want = wanted(here)
        container = event in ("start_map", "start_array")
        if want is Want.BUILD:
            yield here, _built(event, value, events)
        elif not container:
            if want is not Want.SKIP:
                yield here, value
        else:
            mark = Mark.LIST if event == "start_array" else Mark.OBJECT
            if want is not Want.SKIP:
                yield here, mark
            if want is Want.ENTER:
                at.append(-1 if mark is Mark.LIST else "")
            else:
                _pass_over(events)


def _pass_over(events: Iterator[tuple[str, Any]]) -> None:
    depth = 1
    while depth:
        event, _ = next(events, ("", None))
        if event.startswith("start_"):
            depth += 1
        elif event in _ENDS:
            depth -= 1
        elif not event:
            return


def _built(first: str, given: Any, events: Iterator[tuple[str, Any]]) -> Any:
    """The value that begins with ``first``; of a key that stands twice the last value counts, as everywhere."""
    if first not in ("start_map", "start_array"):
        return given
    root: Any = {} if first == "start_map" else []
    stack: list[tuple[Any, str]] = [(root, "")]
    for event, value in events:
        holder, name = stack[-1]
        if event == "map_key":
            stack[-1] = (holder, value)
            continue
        if event in _ENDS:
            stack.pop()
            if not stack:
                return root
            continue
        item: Any = {} if event == "start_map" else [] if event == "start_array" else value
        if isinstance(holder, dict):
            holder[name] = item
        else:
            holder.append(item)
        if event in ("start_map", "start_array"):
            if len(stack) >= MAX_DEPTH:
                for _ in range(len(stack) + 1):
                    _pass_over(events)
                return Mark.DEEP
            stack.append((item, ""))
    return root


class _Utf8:
    """The file as UTF-8, whatever UTF it is in; bytes that are no text become ``�``."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        head = stream.read(4)
        encoding = "utf-16-le" if head[1:2] == b"\0" else "utf-16-be" if head[:1] == b"\0" else "utf-8"
        for bom, name in _BOMS:
            if head.startswith(bom):
                head, encoding = head[len(bom) :], name
        self._head = head
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def read(self, size: int = -1) -> bytes:
        """At least one byte until the file ends."""
        if size == 0:
            return b""
        while True:
            raw, self._head = self._head or self._stream.read(min(size, _CHUNK) if size > 0 else _CHUNK), b""
            text = self._decoder.decode(raw, final=not raw)
            if text or not raw:
                return text.encode("utf-8")
