"""The value of a secret as it is stored: a JSON object of fields, the mark of its rotation being one more.

AWS's own secrets of data bases have numbers among their fields (the port); they are text for a target, and stay
numbers in the store.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_secret_json_structure.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tasks.core.rotations import MARK, Mark, RotationError, read_mark
from tasks.core.secret_refs import Secret

_ADVICE = "Store a JSON object whose fields are texts, or numbers."


def read_text(text: object, place: str) -> tuple[dict[str, Secret], Mark | None]:
    """The fields and the mark. Raises RotationError(secret_shape), which names a field at most."""
    found = _object(text, place)
    told = found.pop(MARK, None)
    for name, value in found.items():
        if not isinstance(value, str | int | float):
            raise RotationError("secret_shape", f"{place}: the field {name[:80]!r} is no text", advice=_ADVICE)
    fields = {k: Secret(_plain(v)) for k, v in found.items()}
    return fields, read_mark(told) if isinstance(told, str) else None


def write_text(fields: Mapping[str, Secret], mark: Mark, *, like: object, place: str) -> str:
    """What is stored of a value. What is no text in ``like``, the value in force as it is stored, stays what it is."""
    kinds = _object(like, place)
    written: dict[str, Any] = {}
    for name, value in fields.items():
        text, there = value.reveal(), kinds.get(name)
        written[name] = there if there is not None and _plain(there) == text else text
    return json.dumps({**written, MARK: mark.text()})


def marked_text(text: object, mark: Mark, place: str) -> str:
    """The same value with another mark."""
    return json.dumps({**_object(text, place), MARK: mark.text()})


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _object(text: object, place: str) -> dict[str, Any]:
    found: Any = None
    with suppress(ValueError, RecursionError):  # the message quotes the text
        found = json.loads(text, object_pairs_hook=_unique) if isinstance(text, str) else None
    if not isinstance(found, dict):
        raise RotationError("secret_shape", f"{place}: the value is no JSON object", advice=_ADVICE)
    return found


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; one with the same field twice is read as another by others."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found
