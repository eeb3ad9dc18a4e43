"""The text of a policy of Vault or OpenBao, in HCL version 1 or JSON, as rules of paths.

https://openbao.org/docs/concepts/policies/#policy-syntax and https://github.com/hashicorp/hcl/tree/hcl1. HCL 1 is what
policies are written in; it is another language than HCL 2. Nothing is evaluated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DENY = "deny"
_MAX_DEPTH = 32
_MAX_CHARACTERS = 4_000_000
_READ = ("read", "list")
_WRITE = ("create", "read", "update", "delete", "list")
#: What `policy = "…"` of old policies means.
_OLD = {DENY: (DENY,), "read": _READ, "write": _WRITE, "sudo": (*_WRITE, "sudo")}
_TOKEN = re.compile(
    r"(?P<blank>[ \t\r\n\ufeff]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)"
    r"|<<(?P<dash>-?)(?P<word>[^\s\"{}\[\]]+)[ \t\r]*\n"
    r"|(?P<quote>\")"
    r"|(?P<number>[+-]?[0-9][0-9a-fA-FxX.eE+-]*)"
    r"|(?P<name>[^\W\d][\w.-]*)"
    r"|(?P<sign>[{}\[\],=])",
    re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u(?P<four>[0-9a-fA-F]{4})|U(?P<eight>[0-9a-fA-F]{8})|x(?P<two>[0-9a-fA-F]{2})"
                     r"|(?P<octal>[0-7]{3})|(?P<one>[abfnrtv\\\"']))")  # fmt: skip
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


class PolicyTextError(Exception):
    """A text that is no policy as we know them. Says nothing of what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRule:
    """What a policy says of one pattern of paths.

    ``path`` is written as in the policy, without a ``/`` at its beginning. ``capabilities`` is ``deny`` alone, or none
    of it. ``expires_at``: the server forgets it then (OpenBao).
    """

    path: str
    capabilities: frozenset[str]
    expires_at: datetime | None = None

    @property
    def is_templated(self) -> bool:
        """Whether parts of the path are filled in for who asks."""
        return "{{" in self.path

    @property
    def is_segmented(self) -> bool:
        """Whether a ``+`` of it stands for any one part of a path."""
        return self.path == "+" or "/+" in self.path or self.path.startswith("+/")

    @property
    def is_glob(self) -> bool:
        """Whether it ends in ``*``, which stands for anything."""
        return self.path.endswith("*")


def read_policy(text: str) -> tuple[PathRule, ...]:
    """The rules of a policy, as they stand. Raises PolicyTextError."""
    if len(text) > _MAX_CHARACTERS:
        raise PolicyTextError("it is too long")
    try:
        pairs = _of_json(json.loads(text, object_pairs_hook=_Pairs)) if text.lstrip().startswith("{") else _Hcl(text)
        return tuple(rule for rule in map(_rule, _paths(list(pairs))) if rule is not None)
    except (ValueError, OverflowError, RecursionError):  # OverflowError: the number of a sign that there is none of
        pass
    raise PolicyTextError("it is neither HCL nor JSON")


class _Pairs(list[tuple[str, Any]]):
    """An object: names and values in order, so that what stands twice is seen."""


#: An entry of an object: its names (a block has labels) and its value.
_Item = tuple[tuple[str, ...], Any]


def _paths(items: Iterable[_Item]) -> Iterator[tuple[str, list[_Item]]]:
    for names, value in items:
        if names == ("name",):
            continue
        if len(names) != 2 or names[0] != "path" or not isinstance(value, list):
            raise PolicyTextError("it says something else than `path`")
        yield names[1], value


def _rule(of: tuple[str, list[_Item]]) -> PathRule | None:
    path, items = of
    told: dict[str, Any] = {}
    for names, value in items:
        if len(names) == 1:
            if names[0] in told:
                raise PolicyTextError("a setting stands twice for one path")
            told[names[0]] = value
    capabilities = told.get("capabilities", [])
    capabilities = [capabilities] if isinstance(capabilities, str) else capabilities
    if not isinstance(capabilities, list) or not all(isinstance(c, str) for c in capabilities):
        raise PolicyTextError("capabilities that are none")
    if (old := told.get("policy")) is not None and old != "":
        if not isinstance(old, str) or old not in _OLD:
            raise PolicyTextError("capabilities that are none")
        capabilities = [*capabilities, *_OLD[old]] if old != DENY else [DENY]
    path = path.removeprefix("/")
    granted = frozenset((DENY,)) if DENY in capabilities else frozenset(capabilities)
    return PathRule(path=path, capabilities=granted, expires_at=_expires_at(told.get("expiration")))


def _expires_at(told: Any) -> datetime | None:
    """None also where it is not understood: then the rule is thought to hold."""
    try:
        if isinstance(told, str) and not told.isdigit():
            at = datetime.fromisoformat(told)
            return at if at.tzinfo is not None else None
        if isinstance(told, int | str) and not isinstance(told, bool):
            return datetime.fromtimestamp(int(told), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None


# -- JSON ---------------------------------------------------------------------------------------------------------


def _of_json(told: Any) -> Iterator[_Item]:
    for name, value in told if isinstance(told, _Pairs) else ():
        if name != "path":
            yield (name,), value
            continue
        for some in value if isinstance(value, list) and not isinstance(value, _Pairs) else [value]:
            if not isinstance(some, _Pairs):
                raise PolicyTextError("`path` is no object")
            for path, body in some:
                if not isinstance(body, _Pairs):
                    raise PolicyTextError("a path is no object")
                yield ("path", path), [((key,), content) for key, content in body]


# -- HCL ----------------------------------------------------------------------------------------------------------


class _Hcl:
    """The entries of a text, outermost first."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def __iter__(self) -> Iterator[_Item]:
        yield from self._items(0)
        if self._at < len(self._tokens):
            raise PolicyTextError("a bracket closes what is not open")

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "")

    def _next(self) -> tuple[str, str]:
        token = self._peek()
        self._at += 1
        return token

    def _items(self, depth: int) -> list[_Item]:
        """Entries until what closes around them, which stays."""
        if depth > _MAX_DEPTH:
            raise PolicyTextError("it is nested too deeply")
        items: list[_Item] = []
        while self._peek()[0] in ("name", "text"):
            names = [self._next()[1]]
            while self._peek()[0] in ("name", "text"):
                names.append(self._next()[1])
            token = self._next()
            if token == ("sign", "=") and len(names) == 1:
                items.append((tuple(names), self._value(depth)))
            elif token == ("sign", "{"):
                items.append((tuple(names), self._object(depth)))
            else:
                raise PolicyTextError("neither a block nor a setting")
            if self._peek() == ("sign", ","):
                self._next()
        return items

    def _object(self, depth: int) -> list[_Item]:
        items = self._items(depth + 1)
        if self._next() != ("sign", "}"):
            raise PolicyTextError("a bracket that is not closed")
        return items

    def _value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise PolicyTextError("it is nested too deeply")
        kind, text = self._next()
        if kind == "text":
            return text
        if kind == "number":
            return int(text) if text.isdigit() else text
        if kind == "name" and text in ("true", "false"):
            return text == "true"
        if (kind, text) == ("sign", "{"):
            return self._object(depth)
        if (kind, text) == ("sign", "["):
            values = []
            while self._peek() != ("sign", "]"):
                values.append(self._value(depth + 1))
                if self._peek() == ("sign", ","):
                    self._next()
                elif self._peek() != ("sign", "]"):
                    raise PolicyTextError("a bracket that is not closed")
            self._next()
            return values
        raise PolicyTextError("a setting without a value")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise PolicyTextError("a sign that does not belong here")
        at = found.end()
        if found["quote"]:
            value, at = _string(text, at)
            yield "text", value
        elif found["word"] is not None:
            closing = re.compile(rf"^[ \t]*{re.escape(found['word'])}[ \t\r]*$", re.MULTILINE).search(text, at)
            if closing is None:
                raise PolicyTextError("a text that is not closed")
            yield "text", text[at : closing.start()]
            at = closing.end()
        elif found.lastgroup != "blank":
            yield str(found.lastgroup), found[0]


def _string(text: str, at: int) -> tuple[str, int]:
    """(What stands to the quotation mark that ends it, where that is). Marks within ``${…}`` do not end it."""
    parts: list[str] = []
    inside = 0
    while at < len(text):
        sign = text[at]
        if sign == '"' and not inside:
            return "".join(parts), at + 1
        if sign == "\n" and not inside:
            break
        if sign == "\\" and not inside:
            found = _ESCAPE.match(text, at)
            if found is None:
                break
            parts.append(_unescaped(found))
            at = found.end()
            continue
        if sign == "{" and (inside or text[at - 1] == "$"):
            inside += 1
        elif sign == "}" and inside:
            inside -= 1
        parts.append(sign)
        at += 1
    raise PolicyTextError("a text that is not closed")


def _unescaped(found: re.Match[str]) -> str:
    if found["one"]:
        return _ESCAPED.get(found["one"], found["one"])
    digits = found["four"] or found["eight"] or found["two"]
    return chr(int(digits, 16) if digits else int(found["octal"], 8))
