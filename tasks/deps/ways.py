"""Through which direct dependencies a package comes into a manifest, so that somebody knows what to raise.

Whether a newer release of the direct one asks for a safe version of the other cannot be known without that release's
own requirements, which lists of versions do not tell (of a lock file, the range that was asked for is often not kept
either). So the answer is two things to try and no promise: refresh the lock, which is enough where the range allows a
safe version, else raise the direct one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tasks.deps.manifest import Dependency
from tasks.deps.naming import package_key


class What(StrEnum):
    """What is to be done in a manifest about a package of it."""

    RAISE = "raise"  # the manifest asks for it itself
    REFRESH_OR_RAISE = "refresh_or_raise"  # refresh the lock, else raise what it comes through
    UNKNOWN = "unknown"  # the manifest does not tell who asks for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How one package of a manifest came there. ``through`` are direct dependencies (``name@version``) other than
    itself, in order; where the package is direct, too, they may hold it where it is."""

    what: What
    through: tuple[str, ...] = ()


def key_of(dependency: Dependency) -> str:
    """How ``Dependency.parents`` names a package."""
    return package_key(dependency.name, dependency.version)


def ways(dependencies: Sequence[Dependency], wanted: Collection[str]) -> dict[str, Way]:
    """The way of each of ``wanted`` (``key_of``) that the manifest has. Circles end; what grows with the size of the
    manifest is once through its graph, and a bit for each direct dependency at each package above a wanted one."""
    by_key: dict[str, list[Dependency]] = {}
    for d in dependencies:
        by_key.setdefault(key_of(d), []).append(d)
    above = _above(by_key, wanted)
    # Where nothing asks for a package, the project does: so lock files say it that do not name their roots.
    direct = [k for k in above if any(d.direct or (d.direct is None and not d.parents) for d in by_key[k])]
    certain = {k for k in above if any(d.direct for d in by_key[k])}
    reached = _reached(by_key, above, direct)
    names = dict(enumerate(direct))
    found = {}
    for key in wanted:
        if key in by_key:
            bits = reached[key]
            through = tuple(sorted(name for n, name in names.items() if bits >> n & 1 and name != key))
            what = What.RAISE if key in certain else What.REFRESH_OR_RAISE if through else What.UNKNOWN
            found[key] = Way(what=what, through=through)
    return found


def _above(by_key: dict[str, list[Dependency]], wanted: Collection[str]) -> dict[str, None]:
    """The wanted packages, and whatever asks for them, however far above."""
    seen = dict.fromkeys(k for k in wanted if k in by_key)
    waiting = deque(seen)
    while waiting:
        for d in by_key[waiting.popleft()]:
            for parent in d.parents:
                if parent in by_key and parent not in seen:
                    seen[parent] = None
                    waiting.append(parent)
    return seen


def _reached(by_key: dict[str, list[Dependency]], above: Collection[str], direct: Sequence[str]) -> dict[str, int]:
    """Of each package, a bit for each direct one that leads to it, itself included."""
    children: dict[str, list[str]] = {}
    for key in above:
        for d in by_key[key]:
            for parent in d.parents:
                if parent in by_key:
                    children.setdefault(parent, []).append(key)
    bits = dict.fromkeys(above, 0) | {name: 1 << n for n, name in enumerate(direct)}
    waiting = deque(direct)
    inside = set(direct)
    while waiting:
        key = waiting.popleft()
        inside.discard(key)
        for child in children.get(key, ()):
            if bits[child] | bits[key] != bits[child]:
                bits[child] |= bits[key]
                if child not in inside:
                    inside.add(child)
                    waiting.append(child)
    return bits
