"""Which versions a requirement lets in, as far as its ecosystem's ranges are read here: specifiers of Python's
(https://packaging.python.org/specifications/version-specifiers/), by ``packaging``.
"""

from __future__ import annotations

from packaging.specifiers import InvalidSpecifier, Specifier, SpecifierSet
from packaging.version import Version

from tasks.deps import ordering

#: From a key on, and below another one (None: without end).
Interval = tuple[bytes, bytes | None]
_MAX = 2000


def interval(ecosystem: str, requirement: str) -> Interval | None:
    """Keys (``ordering``) of which none outside is let in. It may hold some that are not: what lies between is not cut
    out. None: it cannot be told, so it may be any version.
    """
    if ecosystem != "PyPI" or len(requirement) > _MAX:
        return None
    try:
        specifiers = list(SpecifierSet(requirement))
    except InvalidSpecifier:
        return None  # ranges of Poetry have a grammar of their own
    low, high = ordering.LOWEST, None
    for each in specifiers:
        if each.operator == "!=":
            continue
        if (one := _interval(each)) is None:
            return None
        low = max(low, one[0])
        high = one[1] if high is None or (one[1] is not None and one[1] < high) else high
    return low, high


def meets(one: Interval, other: Interval) -> bool:
    """Whether some version may lie in both."""
    return (other[1] is None or one[0] < other[1]) and (one[1] is None or other[0] < one[1])


def _interval(specifier: Specifier) -> Interval | None:
    operator, text = specifier.operator, specifier.version
    if operator == "===":
        return None
    if text.endswith(".*"):
        return _within(text.removesuffix(".*"), f"{text.removesuffix('.*')}.dev0", 0)
    if operator == "~=":
        return _within(text, text, 1)
    key = ordering.key("PyPI", text)
    if key is None:
        return None
    after = ordering.above("PyPI", text, key)
    return {
        "<": (ordering.LOWEST, key), "<=": (ordering.LOWEST, after), ">": (key, None), ">=": (key, None),
        "==": (key, after),
    }.get(operator)  # fmt: skip


def _within(text: str, first: str, less: int) -> Interval | None:
    """From ``first`` on, below the next release of as many numbers as ``text`` has, without the last ``less``."""
    version = Version(text)
    *some, last = version.release[: len(version.release) - less]
    after = f"{version.epoch}!{'.'.join(map(str, (*some, last + 1)))}.dev0"
    low, high = ordering.key("PyPI", first), ordering.key("PyPI", after)
    return (low, high) if low is not None and high is not None else None
