"""JSON of manifests with the line of every object.

The values are decoded by the standard library. It calls its hook for each object where the object ends; a second look
at the (then valid) text gives the lines in that same order, which costs less than a decoder of our own.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tasks.deps.decoding import text_of
from tasks.deps.manifest import MalformedError, Unread, Why

MAX_DEPTH = 200
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\]\n]')


class Object(dict[str, Any]):
    """A JSON object, and the line from 1 in which it begins."""

    __slots__ = ("line",)
    line: int


def read_json(data: bytes, most: int) -> tuple[Object, list[Unread]]:
    """The outermost object, and a row for each object that has a key twice (the last one counts).

    Raises MalformedError: too large, nested too deeply, no JSON, or no object.
    """
    text = text_of(data, most)
    if not text.strip():
        raise MalformedError("empty")
    made: list[Object] = []
    doubled: list[Object] = []

    def hook(pairs: list[tuple[str, Any]]) -> Object:
        found = Object(pairs)
        made.append(found)
        if len(found) < len(pairs):
            doubled.append(found)
        return found

    try:
        value = json.loads(text, object_pairs_hook=hook)
    except json.JSONDecodeError as e:
        raise MalformedError(f"no JSON: {e.msg}", line=e.lineno) from None
    except RecursionError:
        raise MalformedError(f"nested deeper than {MAX_DEPTH}", why=Why.TOO_LARGE) from None
    except ValueError:  # an integer of more digits than Python reads
        raise MalformedError("a number of too many digits", why=Why.TOO_LARGE) from None
    _number(text, made)
    if not isinstance(value, Object):
        raise MalformedError("no JSON object", line=1)
    return value, [Unread(why=Why.MALFORMED, detail="a key stands twice in this object", line=o.line) for o in doubled]


def _number(text: str, made: list[Object]) -> None:
    line, opened, ends = 1, [], iter(made)
    for token in _TOKENS.finditer(text):
        mark = text[token.start()]
        if mark == "\n":
            line += 1
        elif mark in "{[":
            opened.append(line)
            if len(opened) > MAX_DEPTH:
                raise MalformedError(f"nested deeper than {MAX_DEPTH}", why=Why.TOO_LARGE, line=line)
        elif mark == "}":
            next(ends).line = opened.pop()
        elif mark == "]":
            opened.pop()


def text_in(value: Any) -> str:
    """A value that should be text; empty where it is none."""
    return value if isinstance(value, str) else ""


def objects(value: Any) -> list[Object]:
    """The objects of a value that should be a list of them."""
    return [item for item in value if isinstance(item, Object)] if isinstance(value, list) else []
