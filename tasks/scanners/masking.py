"""Masking of what tools say (design rule 4): quoted text, likely values, control characters."""

from __future__ import annotations

import json
import re
from typing import Any

from tasks.core.errors import ScanGapError
from tasks.core.text import one_line

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`""", re.DOTALL)
_TOKEN = re.compile(r"[A-Za-z0-9+=_\-.~!@#$%^&*]{12,}")
MASK = "[masked]"


def mask_quoted(text: str) -> str:
    """The text with every quoted piece masked."""
    return _QUOTED.sub(MASK, text)


def scrub(text: str, limit: int = 300) -> str:
    """What a tool said, fit to be kept: quoted text and long tokens that mix letters and digits masked, one line."""

    def token(match: re.Match[str]) -> str:
        word = match.group()
        mixed = any(c.isdigit() for c in word) and any(c.isalpha() for c in word)
        return MASK if mixed else word

    return one_line(_TOKEN.sub(token, mask_quoted(text)), limit)


def first_json(stdout: bytes, tool: str) -> dict[str, Any]:
    """The first JSON document of a tool's output, which must be an object.

    Raises ScanGapError: ``report_empty`` when there is no output, ``report_invalid`` when it is cut off or no JSON.
    The message never quotes the output.
    """
    text = stdout.decode("utf-8", "replace").lstrip()
    if not text:
        raise ScanGapError("report_empty", f"{tool} wrote no report")
    try:
        document, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as e:
        place = e.pos if isinstance(e, json.JSONDecodeError) else 0
        raise ScanGapError("report_invalid", f"{tool}: no JSON at character {place} of {len(text)}") from None
    if not isinstance(document, dict):
        raise ScanGapError("report_invalid", f"{tool}: the report is no JSON object")
    return document


def compact(document: Any) -> bytes:
    """Canonical JSON, so that the same report has the same digest."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def kept(body: bytes, tool: str) -> dict[str, Any]:
    """A masked report read back. Raises ScanGapError(report_invalid)."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ScanGapError("report_invalid", f"{tool}: the kept report cannot be read")
    return document
