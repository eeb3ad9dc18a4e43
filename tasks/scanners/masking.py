"""Masking of what tools say (design rule 4): quoted text, likely values, control characters."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tasks.core.errors import ScanGapError

_ERROR_NAME = re.compile(r"\b(?:[A-Z][a-z]+)+(?:Error|Exception|Exit|Interrupt)\b")
#: Sentences of systems and tools that hold nothing of what was read. Everything else a tool says is dropped.
_PHRASES = (
    *sorted({os.strerror(code) for code in errno.errorcode}),
    "syntax error while parsing AST from file",
    "exception while scanning file",
    "Out of memory",
    "Killed",
    "is not installed",
    "command not found",
    "not found",
)
_LARGEST = 2**31 - 1


def told(text: str) -> str:
    """What of a tool's own words may be kept: names of errors and known sentences.

    A message can quote the file it is about, and a password may look like any word, so nothing else is passed on.
    """
    names = dict.fromkeys(_ERROR_NAME.findall(text))
    lowered = text.lower()
    phrases = [p for p in _PHRASES if p.lower() in lowered]
    longest = [p for p in phrases if not any(p != q and p.lower() in q.lower() for q in phrases)]
    return ", ".join((*names, *longest)) or (f"{len(text)} characters, not kept" if text else "it said nothing")


def first_json(stdout: bytes, tool: str) -> dict[str, Any]:
    """The first JSON document of a tool's output, which must be an object.

    Raises ScanGapError: ``report_empty`` when there is no output, ``report_invalid`` when it is cut off or no JSON.
    The message never quotes the output.
    """
    document = _first(stdout, tool)
    if not isinstance(document, dict):
        raise ScanGapError("report_invalid", f"{tool}: the report is no JSON object")
    return document


def first_list(stdout: bytes, tool: str) -> list[Any]:
    """As ``first_json``, for a report that must be a list."""
    document = _first(stdout, tool)
    if not isinstance(document, list):
        raise ScanGapError("report_invalid", f"{tool}: the report is no JSON list")
    return document


def _first(stdout: bytes, tool: str) -> Any:
    text = stdout.decode("utf-8", "replace").lstrip()
    if not text:
        raise ScanGapError("report_empty", f"{tool} wrote no report")
    try:
        return json.JSONDecoder().raw_decode(text)[0]
    except (ValueError, RecursionError) as e:
        place = e.pos if isinstance(e, json.JSONDecodeError) else 0
        raise ScanGapError("report_invalid", f"{tool}: no JSON at character {place} of {len(text)}") from None


@contextmanager
def form_checked(tool: str) -> Iterator[None]:
    """Around (also as a decorator) what reads a report: one of another form is a gap with a reason, never a crash.

    Raises ScanGapError(report_invalid). Its message quotes nothing of the report.
    """
    try:
        yield
    except (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        raise ScanGapError("report_invalid", f"{tool}: the report has another form") from None


def string(value: object) -> str:
    """A report's string as it is. Raises TypeError for anything else: ``str()`` of it would pass for what was said."""
    if not isinstance(value, str):
        raise TypeError("no string")
    return value


def storable(value: object) -> str:
    """A report's string, lone surrogates escaped (JSON can hold them, tables cannot). Raises TypeError."""
    return string(value).encode("utf-8", "backslashreplace").decode("utf-8")


def number(value: object, *, least: int = 0) -> int:
    """A report's number, of a size that the lake can hold. Raises TypeError, ValueError."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("no number")
    if not least <= value <= _LARGEST:
        raise ValueError("number out of range")
    return value


def compact(document: Any) -> bytes:
    """Canonical JSON, so that the same report has the same digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def kept(body: bytes, tool: str) -> dict[str, Any]:
    """A masked report read back. Raises ScanGapError(report_invalid)."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise ScanGapError("report_invalid", f"{tool}: the kept report cannot be read")
    return document
