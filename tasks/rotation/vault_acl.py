"""What policies of Vault or OpenBao allow on a path: the same answer as the server's ``sys/capabilities``.

https://openbao.org/docs/concepts/policies/#priority-matching: a rule that names the path wins over patterns; among
patterns the one whose first ``+`` or ``*`` comes latest, then one that does not end in ``*``, then fewer ``+``, then
the longer, then the greater. Rules of the same pattern add up, over all policies; ``deny`` among them denies.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from tasks.rotation.vault_policy_text import DENY, PathRule

_DENIED = frozenset((DENY,))
_TEMPLATE = re.compile(r"\{\{.*?\}\}")


class Acl:
    """Some rules together. Templated ones are left out: see ``may_by_template``."""

    def __init__(self, rules: Iterable[PathRule], now: datetime) -> None:
        self._exact: dict[str, frozenset[str]] = {}
        self._globs: dict[str, frozenset[str]] = {}
        self._segmented: dict[str, frozenset[str]] = {}
        self._templated: list[tuple[re.Pattern[str], frozenset[str]]] = []
        for rule in rules:
            if rule.expires_at is not None and rule.expires_at < now:
                continue
            if rule.is_templated:
                self._templated.append((_by_template(rule), rule.capabilities))
            elif rule.is_segmented:
                _add(self._segmented, rule.path, rule.capabilities)
            elif rule.is_glob:
                _add(self._globs, rule.path[:-1], rule.capabilities)
            else:
                _add(self._exact, rule.path, rule.capabilities)

    def capabilities(self, path: str) -> frozenset[str]:
        """What is allowed on a path; empty or ``deny`` alone: nothing. ``path`` ends in no ``/``."""
        named = self._exact.get(path)
        return named if named is not None else self._by_pattern(path)

    def may(self, path: str, *capabilities: str) -> bool:
        """Whether one of these is allowed on a path, whoever holds the policies."""
        return not self.capabilities(path).isdisjoint(capabilities)

    def may_by_template(self, path: str, *capabilities: str) -> bool:
        """Whether a rule that is filled in for who asks could allow one of these: for somebody, if at all."""
        return any(not some.isdisjoint(capabilities) and pattern.fullmatch(path) for pattern, some in self._templated)

    def _by_pattern(self, path: str) -> frozenset[str]:
        found: list[tuple[tuple[int, bool, int, int, str], frozenset[str]]] = []
        for end in range(len(path), -1, -1) if self._globs else ():
            if (granted := self._globs.get(path[:end])) is not None:
                size = _size(path[:end])
                found.append(((size, False, 0, size, path[:end]), granted))
                break
        parts = path.split("/")
        for pattern, granted in self._segmented.items():
            if _fits(pattern, parts):
                bare = pattern.removesuffix("*")
                pluses = bare.split("/").count("+")
                rank = (_size(pattern[: pattern.index("+")]), bare == pattern, -pluses, _size(bare), bare)
                found.append((rank, granted))
        return max(found, key=lambda f: f[0])[1] if found else frozenset()


class Patterns:
    """Finds which of many patterns say something of a path. They are looked up by how they begin, so that few are
    tried."""

    def __init__(self, rules: Iterable[PathRule]) -> None:
        self._exact: set[str] = set()
        self._globs: dict[str, str] = {}
        self._others: dict[str, list[tuple[str, re.Pattern[str] | None]]] = defaultdict(list)
        for rule in {rule.path: rule for rule in rules}.values():
            if rule.is_templated or rule.is_segmented:
                begins = min(n for n in map(rule.path.find, ("{{", "+")) if n >= 0)
                pattern = _by_template(rule) if rule.is_templated else None
                self._others[rule.path[:begins]].append((rule.path, pattern))
            elif rule.is_glob:
                self._globs[rule.path[:-1]] = rule.path
            else:
                self._exact.add(rule.path)
        self._ends = sorted({len(begins) for begins in (*self._globs, *self._others)})

    def of(self, path: str) -> frozenset[str]:
        """The patterns, as they are written. Rules that are written alike say the same of every path of which the same
        patterns say something."""
        found = {path} & self._exact
        parts = path.split("/")
        for end in self._ends:
            if end > len(path):
                break
            if (glob := self._globs.get(path[:end])) is not None:
                found.add(glob)
            for written, pattern in self._others.get(path[:end], ()):
                if pattern.fullmatch(path) if pattern is not None else _fits(written, parts):
                    found.add(written)
        return frozenset(found)


def _add(to: dict[str, frozenset[str]], path: str, granted: frozenset[str]) -> None:
    together = to.get(path, frozenset()) | granted
    to[path] = _DENIED if DENY in together else together


def _size(text: str) -> int:
    """The server counts bytes."""
    return len(text.encode("utf-8", "surrogatepass"))


def _fits(pattern: str, parts: list[str]) -> bool:
    bare = pattern.removesuffix("*")
    wanted, is_glob = bare.split("/"), bare != pattern
    if len(parts) < len(wanted) or (not is_glob and len(parts) != len(wanted)):
        return False
    last = len(wanted) - 1
    return all(
        part in ("+", parts[n]) or (is_glob and n == last and parts[n].startswith(part))
        for n, part in enumerate(wanted)
    )


def _by_template(rule: PathRule) -> re.Pattern[str]:
    """A pattern that takes anything where something is filled in, and for ``+`` and a final ``*`` what they take.

    What stands between templates is looked for from left to right and never again: if anything matches, then also with
    each of it as early as it comes. So the time grows with the path and not with the ways to divide it.
    """
    bare = rule.path[:-1] if rule.is_glob else rule.path
    pieces = [re.sub(r"(?:(?<=^)|(?<=/))\\\+(?=/|$)", "[^/]*?", re.escape(piece)) for piece in _TEMPLATE.split(bare)]
    if len(pieces) == 1:  # two brackets that nothing closes
        return re.compile(pieces[0] + (".*" if rule.is_glob else ""), re.DOTALL)
    first, *between, last = pieces
    found = f"(?>{first})" + "".join(f"(?>.+?{piece})" for piece in between)
    return re.compile(found + (f"(?>.+?{last}).*" if rule.is_glob else f".+{last}"), re.DOTALL)


def reaches(rule: PathRule, folder: str) -> bool:
    """Whether a rule may say something of a path below a folder, which is written ``secret/data/``."""
    if rule.is_templated:
        before = rule.path[: rule.path.index("{{")]
        return folder.startswith(before) or before.startswith(folder) or "+" in before
    bare = rule.path[:-1] if rule.is_glob else rule.path
    wanted, parts = bare.split("/"), folder.rstrip("/").split("/")
    for n, part in enumerate(parts):
        if n == len(wanted) - 1 and rule.is_glob and part.startswith(wanted[n]):
            return True  # what follows may be anything
        if n >= len(wanted) or wanted[n] not in (part, "+"):
            return False
    return len(wanted) > len(parts)


def sample(rule: PathRule, folder: str, filler: str) -> str | None:
    """A path below a folder that a rule says something of, with ``filler`` for what may be anything; None: there is
    none."""
    if not reaches(rule, folder):
        return None
    parts = folder.rstrip("/").split("/")
    bare = _TEMPLATE.sub(filler, rule.path[:-1] if rule.is_glob else rule.path)
    rest = [filler if part == "+" else part for part in bare.split("/")[len(parts) :]]
    if rule.is_glob:
        rest = [*rest[:-1], rest[-1] + filler] if rest else [filler]
    return "/".join([*parts, *(rest or [filler])])
