"""pydantic's errors in the words of the configuration. Nothing of a value is quoted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from flows.org_schema import known_names
from flows.org_types import NAME_PATTERN, TOLD
from tasks.core.mistakes import Key, nearest

Fault = tuple[Key, str, str]
_SEEN = {
    "string_type": "text is expected",
    "bool_type": "true or false is expected",
    "int_type": "a whole number is expected",
    "int_from_float": "a whole number is expected",
    "float_type": "a number is expected",
    "tuple_type": "a list is expected",
    "dict_type": "a section is expected",
    "model_type": "a section is expected",
    "path_type": "a path is expected",
}
_WRITE = {
    "string_type": "Put it in quotes if it is text that looks like something else: yes, no, a number.",
    "bool_type": "Write true or false, without quotes.",
    "int_type": "Write it in digits, without quotes.",
    "int_from_float": "Write it in digits, without a decimal point.",
    "float_type": "Write it in digits, without quotes.",
    "tuple_type": "Write each entry on a line of its own after `- `, or all in brackets: [a, b].",
    "dict_type": "Write its settings below it, indented: `name: value`.",
    "model_type": "Write its settings below it, indented: `name: value`.",
    "path_type": "Write it as text, in quotes if it looks like something else.",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def faults_of(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """Key, what and remedy of each error, in words."""
    return [
        (tuple(e["loc"]), *_words(e, tuple(e["loc"]), model))
        for e in error.errors(include_url=False, include_input=True)
    ]


def _words(error: Mapping[str, Any], key: Key, model: type[BaseModel]) -> tuple[str, str]:
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind == TOLD:
        return str(context["what"]), str(context["remedy"])
    if kind == "extra_forbidden":
        known, name = known_names(model, key[:-1]), str(key[-1])
        hint = "Is the space after its colon missing? " if ":" in name else nearest(name, known)
        return "there is no such setting", f"{hint}Known here: {', '.join(known)}."
    if kind == "missing":
        return "it is missing", f"Add `{key[-1]}:`; `nightwarden config init` shows an example."
    if kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        return (
            f"the number must be {word} {context[name]:g}",
            "Change it, or remove the line for the default.",
        )
    if kind in _SEEN:
        return f"{_SEEN[kind]}, this is {_is(error.get('input'))}", _WRITE[kind]
    if kind == "literal_error":
        return "it is none of the words known here", f"Write one of: {context['expected']}."
    if kind == "string_pattern_mismatch":
        return _pattern(str(key[-1]), str(context.get("pattern")))
    if kind == "string_too_long":
        return f"the text is longer than {context['max_length']} characters", "Shorten it."
    # Words of pydantic's own for what is left: they hold no input.
    return str(error["msg"]), "Compare `nightwarden config schema`."


def _pattern(name: str, pattern: str) -> tuple[str, str]:
    if name == "commit":
        return "it is no whole id of a commit", "Write all 40 (or 64) hexadecimal digits, in small letters."
    if name == "name":
        small = pattern != NAME_PATTERN
        return "it is no name", (
            f"Write up to {31 if small else 63} {'small letters' if small else 'letters'}, digits"
            f"{' and dashes' if small else ', dots, dashes and underscores'}; the first is a letter or a digit."
        )
    return "it holds characters that cannot be in it", "Write it as its owner does; no address, nothing around it."


def _is(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number" if isinstance(value, int) else "a decimal number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list | tuple) else "a section"
