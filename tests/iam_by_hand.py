"""IAM's decisions once more, the slow way: every statement of every policy for one identity at a time, with conditions
tried in every way that they can come out. Written from the guide's text, apart from ``tasks.rotation.iam_readers``."""

from __future__ import annotations

import itertools
from typing import Any

ACTION = "secretsmanager:GetSecretValue"


def glob(pattern: str, text: str, *, parts: bool) -> bool:
    """Whether a pattern stands for a text; ``parts``: colons part it, and only a ``*`` at the end of a part goes on."""
    if not pattern:
        return not text
    first, rest = pattern[0], pattern[1:]
    if first == "*":
        if rest.startswith("*"):
            return glob(rest, text, parts=parts)
        goes_on = not parts or not rest or rest[0] == ":"
        return glob(rest, text, parts=parts) or (
            text != "" and (goes_on or text[0] != ":") and glob(pattern, text[1:], parts=parts)
        )
    if first == "?":
        return text != "" and text[0] != ":" and glob(rest, text[1:], parts=parts)
    return text != "" and text[0] == first and glob(rest, text[1:], parts=parts)


def listed(told: Any) -> list[Any]:
    return told if isinstance(told, list) else [told]


def applies(statement: dict[str, Any], arn: str, action: str = ACTION) -> bool:
    """Whether a statement is about the action and the resource."""
    for name, text, parts in (("Action", action, False), ("Resource", arn, True)):
        negated = f"Not{name}" in statement
        patterns = listed(statement[f"Not{name}" if negated else name])
        if name == "Action":
            patterns, text = [p.lower() for p in patterns], text.lower()
        if any(glob(p, text, parts=parts) for p in patterns) == negated:
            return False
    return True


def names(statement: dict[str, Any], identity: dict[str, Any], account: str) -> tuple[bool, bool]:
    """Whether the principals of a resource's statement are this identity, and its account."""
    told = statement.get("Principal", statement.get("NotPrincipal"))
    if told == "*":
        return True, True
    values = listed(told.get("AWS", []))
    root = {account, f"arn:aws:iam::{account}:root"}
    return bool({"*", identity["arn"], identity["id"]} & set(values)), bool(root & set(values))


def may_read(world: dict[str, Any], identity: dict[str, Any], arn: str) -> str:
    """``yes``, ``no``, or ``maybe``: it depends on how conditions come out."""
    own = [s for key in identity["policies"] for s in world["documents"][key]]
    boundary = world["documents"][identity["boundary"]] if identity["boundary"] else None
    of_secret = world["policies"][arn]
    every = [s for s in (*own, *(boundary or []), *of_secret) if "Condition" in s]
    numbers = {id(s): n for n, s in enumerate(every)}
    outcomes = set()
    for truth in itertools.product((True, False), repeat=len(every)):

        def holds(s: dict[str, Any], truth: tuple[bool, ...] = truth) -> bool:
            return applies(s, arn) and (id(s) not in numbers or truth[numbers[id(s)]])

        outcomes.add(_decision(own, boundary, of_secret, identity, world["account"], holds))
    return "maybe" if len(outcomes) == 2 else "yes" if outcomes == {True} else "no"


def _decision(
    own: list[Any], boundary: list[Any] | None, of_secret: list[Any], identity: Any, account: str, holds: Any
) -> bool:  # fmt: skip
    for s in (*own, *(boundary or [])):
        if s["Effect"] == "Deny" and holds(s):
            return False
    for s in of_secret:
        itself, its_account = names(s, identity, account)
        if s["Effect"] == "Deny" and holds(s):
            if "Principal" in s and (itself or its_account):
                return False
            if "NotPrincipal" in s and not itself:
                return False
    limit = boundary is None or any(s["Effect"] == "Allow" and holds(s) for s in boundary)
    named = any(s["Effect"] == "Allow" and holds(s) and names(s, identity, account)[0] for s in of_secret)
    if named and (identity["name"].startswith("user/") or limit):
        return True
    return limit and any(s["Effect"] == "Allow" and holds(s) for s in own)
