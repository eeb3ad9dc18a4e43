"""Policies of IAM as statements that can be asked: does one reach this action on this resource?

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html and _grammar.html. Actions are
compared without regard to case, resources with it. In an ARN ``*`` and ``?`` stay within one part between colons, but
for a ``*`` at the end of a part, which goes on beyond (reference_policies_elements_resource.html).

A condition is not evaluated: nobody knows the request. What depends on one, or on a policy variable, is MAYBE. The one
exception is ``aws:SecureTransport``: AWS's own endpoints are always asked over TLS.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

#: The version of the language that knows policy variables; without it ``${`` is text.
_WITH_VARIABLES = "2012-10-17"
#: What a variable may stand for: the three characters that have a meaning of their own.
_ESCAPED = frozenset("*?$")
_TYPES = frozenset({"AWS", "Service", "Federated", "CanonicalUser"})
#: The parts of the ARN of a secret: arn, partition, service, region, account, ``secret``, name.
ARN_PARTS = 7
#: The type of a principal that is everybody, signed in or not, with the services of AWS.
EVERYBODY: Final = "*"


class PolicyError(ValueError):
    """A text is no policy as IAM's grammar has it; what it allows is not known."""


class Answer(IntEnum):
    """Whether something holds: no, only under a condition that we do not know, or always."""

    NO = 0
    MAYBE = 1
    YES = 2


class Pattern:
    """One pattern of an action or a resource. ``prefix`` is what stands before its first wildcard, ``needle`` stands in
    all that it matches; ``varies``: a policy variable stands in it, which is taken for any text. ``name_prefix`` is
    what the seventh part begins with, where the pattern has just seven: no wildcard of it goes beyond a colon of a text
    of seven parts, since there are no more.

    Matched by a set of positions kept as the bits of a number, so no pattern takes long, whatever its wildcards.
    """

    __slots__ = (
        "_any_one", "_beyond", "_literal", "_size", "_within", "is_exact", "name_prefix", "needle", "prefix", "text",
        "varies",
    )  # fmt: skip

    def __init__(self, text: str, *, is_arn: bool, with_variables: bool = True) -> None:
        self.text = text
        self.varies = False
        # Bits of positions: by which character they go on, by any one, and those that stay with any: of a part, of all.
        self._literal: dict[str, int] = {}
        self._any_one = self._within = self._beyond = 0
        self._size = at = 0
        self.prefix = ""
        self.is_exact = True
        while at < len(text):
            one, at, is_wild = self._token(text, at, with_variables)
            bit = 1 << self._size
            if not is_wild:
                self._literal[one] = self._literal.get(one, 0) | bit
                self.prefix += one if self.is_exact else ""
            elif one == "?":
                self._any_one |= bit
            else:
                if bit >> 1 & self._within:  # two in a row are one
                    self._size -= 1
                    bit >>= 1
                self._within |= bit
                if not is_arn or one == "$" or at >= len(text) or text[at] == ":":
                    self._beyond |= bit
            self.is_exact &= not is_wild
            self._size += 1
        # NUL stands for every wildcard: in no ARN and no action is one.
        plain = self._plain(text, with_variables)
        parts = plain.split(":")
        # Of whole ARNs the names tell more than what stands before them, which is the same for most.
        where = parts[-1] if len(parts) == ARN_PARTS and parts[-1].strip("\0") else plain
        self.needle = max(where.split("\0"), key=len)
        self.name_prefix = parts[-1].partition("\0")[0] if len(parts) == ARN_PARTS and not self.varies else None

    def _plain(self, text: str, with_variables: bool) -> str:
        found, at = [], 0
        while at < len(text):
            one, at, is_wild = self._token(text, at, with_variables)
            found.append("\0" if is_wild else one)
        return "".join(found)

    def _token(self, text: str, at: int, with_variables: bool) -> tuple[str, int, bool]:
        """What stands at a place, where it ends, and whether it is a wildcard (``$``: a variable)."""
        if with_variables and text.startswith("${", at) and (end := text.find("}", at)) > 0:
            name = text[at + 2 : end]
            if name in _ESCAPED:
                return name, end + 1, False
            self.varies = True
            return "$", end + 1, True
        return text[at], at + 1, text[at] in "*?"

    def matches(self, text: str) -> bool:
        """Whether it stands for a text."""
        if self.is_exact:
            return text == self.prefix
        if not text.startswith(self.prefix) or self.needle not in text:
            return False
        stays = self._within
        # The first positions are those of the prefix, which has been compared.
        now = 1 << len(self.prefix)
        now |= (now & stays) << 1
        for one in text[len(self.prefix) :]:
            takes = self._literal.get(one, 0)
            if one == ":":
                # ``?`` stays within a part too, also in actions: theirs is the colon behind the service.
                now = ((now & takes) << 1) | (now & self._beyond)
            else:
                now = ((now & (takes | self._any_one)) << 1) | (now & stays)
            now |= (now & stays) << 1
            if not now:
                return False
        return bool(now >> self._size & 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Test:
    """One test of a condition: ``operator`` and ``key`` in lower case, and the values it compares with."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement. ``principals`` are (type, value), and None in a policy of an identity; the ``not_`` flags tell
    that the element is the one which names everything else."""

    allows: bool
    actions: tuple[Pattern, ...]
    not_actions: bool
    resources: tuple[Pattern, ...]
    not_resources: bool
    principals: tuple[tuple[str, str], ...] | None
    not_principals: bool
    condition: tuple[Test, ...]

    def has_action(self, action: str) -> bool:
        """Whether it is about an action, written ``service:Action``."""
        return any(p.matches(action.lower()) for p in self.actions) != self.not_actions

    def reach(self, arn: str) -> Answer:
        """Whether it is about a resource, its condition taken into account."""
        if self._never():
            return Answer.NO
        hits = [p.varies for p in self.resources if p.matches(arn)]
        found = Answer.NO if not hits else Answer.MAYBE if all(hits) else Answer.YES
        if self.not_resources:
            found = Answer(Answer.YES - found)
        return min(found, Answer.MAYBE if self.is_conditional() else Answer.YES)

    def is_conditional(self) -> bool:
        """Whether it holds under a condition only."""
        return any(not _is_transport(t, "true") for t in self.condition)

    def _never(self) -> bool:
        """Whether its condition never holds: no request is without TLS."""
        return any(_is_transport(t, "false") for t in self.condition)


def _is_transport(test: Test, value: str) -> bool:
    return test.operator in ("bool", "boolifexists") and test.key == "aws:securetransport" and test.values == (value,)


def read_policy(document: Any) -> tuple[Statement, ...]:
    """The statements of a policy, from its JSON or what was read from it. Raises PolicyError, which quotes nothing."""
    if isinstance(document, str | bytes):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            document = None
    if not isinstance(document, Mapping):
        raise PolicyError("it is no JSON object")
    told = document.get("Statement")
    statements = [told] if isinstance(told, Mapping) else told
    if not isinstance(statements, list):
        raise PolicyError("it has no statements")
    with_variables = document.get("Version") == _WITH_VARIABLES
    return tuple(_statement(one, with_variables) for one in statements)


def _statement(one: Any, with_variables: bool) -> Statement:
    if not isinstance(one, Mapping) or one.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError("a statement has no effect")
    actions, not_actions = _either(one, "Action")
    resources, not_resources = _either(one, "Resource")
    principals, not_principals = _either(one, "Principal", needed=False)
    return Statement(
        allows=one["Effect"] == "Allow",
        # No variables in actions; colons stand in them once, so parts are of no matter.
        actions=tuple(Pattern(a.lower(), is_arn=False, with_variables=False) for a in _texts(actions)),
        not_actions=not_actions,
        resources=tuple(Pattern(r, is_arn=True, with_variables=with_variables) for r in _texts(resources)),
        not_resources=not_resources,
        principals=None if principals is None else _principals(principals),
        not_principals=not_principals,
        condition=tuple(_condition(one.get("Condition"))),
    )


def _either(one: Mapping[str, Any], name: str, *, needed: bool = True) -> tuple[Any, bool]:
    """An element or its ``Not`` form, and which of them it is."""
    found = [(one[key], key != name) for key in (name, f"Not{name}") if key in one]
    if len(found) > 1 or (needed and not found):
        raise PolicyError(f"a statement has not exactly one of {name} and Not{name}")
    return found[0] if found else (None, False)


def _texts(told: Any) -> list[str]:
    found = told if isinstance(told, list) else [told]
    if not all(isinstance(text, str) for text in found):
        raise PolicyError("a list of a statement holds something else than text")
    return found


def _principals(told: Any) -> tuple[tuple[str, str], ...]:
    if told == "*":
        return ((EVERYBODY, "*"),)
    if not isinstance(told, Mapping) or not told.keys() <= _TYPES:
        raise PolicyError("a statement has principals of an unknown type")
    return tuple((kind, value) for kind, values in told.items() for value in _texts(values))


def _condition(told: Any) -> Iterable[Test]:
    if told is None:
        return
    if not isinstance(told, Mapping) or not all(isinstance(tests, Mapping) for tests in told.values()):
        raise PolicyError("a condition is no object of objects")
    for operator, tests in told.items():
        for key, values in tests.items():
            texts = [_plain(v) for v in (values if isinstance(values, list) else [values])]
            yield Test(operator=str(operator).lower(), key=str(key).lower(), values=tuple(texts))


def _plain(value: Any) -> str:
    """A value of a condition as text; IAM takes numbers and truth values with and without quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise PolicyError("a condition compares with something else than text")
