"""Who has it: an advisory or a package, asked of the inventories as they stand. Ranges are compared here."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa

from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.deps import ordering
from tasks.deps.naming import PURL_TYPES, normal
from tasks.deps.requiring import Interval
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.patrol.answers import Answer, answer_of
from tasks.patrol.asking_advisory import inventories_missing, who_has
from tasks.patrol.asking_unpinned import unpinned
from tasks.policy.severity import quoted

_ID = re.compile(r"[A-Za-z]{2,12}-[A-Za-z0-9:._-]{3,60}")
_BOUND = re.compile(r"(<=|>=|==|=|<|>)?\s*([^\s<>=,]+)")
_NUMBERS = re.compile(r"v?\d+(\.\d+)?")
#: Whether a key meets a bound: that key, its bound's, and the lowest bytes above all that counts as the bound.
_OPERATORS: dict[str, Callable[[bytes, bytes, bytes], bool]] = {
    "<": lambda key, low, _high: key < low,
    "<=": lambda key, _low, high: key < high,
    ">": lambda key, _low, high: key >= high,
    ">=": lambda key, low, _high: key >= low,
    "=": lambda key, low, high: low <= key < high,
}
_OPERATORS |= {"==": _OPERATORS["="], "": _OPERATORS["="]}
#: The name is written out: of files in which a package's rows lie beside each other most is not read then.
_OF_PACKAGE = "package = {package} AND split_part(ecosystem, ':', 1) = {ecosystem}"
_VERSIONS = f"SELECT DISTINCT version FROM inventory WHERE {_OF_PACKAGE}"
_PACKAGE = f"""
    SELECT slug, ref, manifest, ecosystem, package, version, requirement, is_direct, is_development, line
    FROM inventory WHERE {_OF_PACKAGE} AND ({{every}} OR version IN (FROM versions)) ORDER BY ALL"""


def ask(snapshot: Snapshot, what: str) -> Answer:
    """Who has an advisory (by any of its ids) or a package (``ECOSYSTEM/NAME``, ``@`` and a version or range).

    Raises UsageError: it is neither, or a bound is no version of the ecosystem.
    """
    text = what.strip()
    found = package_of(text)
    if found is not None:
        return _package(snapshot, *found)
    if _ID.fullmatch(text):
        return who_has(snapshot, text)
    raise UsageError(
        f"{one_line(text, 80)!r} is neither an advisory nor a package",
        advice=f"Give CVE-…, GHSA-… or ECOSYSTEM/NAME[@RANGE]; ecosystems: {', '.join(PURL_TYPES)}.",
    )


def package_of(what: str) -> tuple[str, str, str] | None:
    """(ecosystem, normalised name, bounds) of ``ECOSYSTEM/NAME[@RANGE]``; None where it is no such text.

    Raises UsageError: the package has no name.
    """
    ecosystem, slash, rest = what.strip().partition("/")
    known = {e.lower(): e for e in PURL_TYPES}
    if not slash or ecosystem.lower() not in known:
        return None
    ecosystem = known[ecosystem.lower()]
    # A scope of npm begins with an @ of its own.
    name, _, bounds = rest[1:].partition("@") if rest.startswith("@") else rest.partition("@")
    name = normal(ecosystem, ("@" if rest.startswith("@") else "") + name)
    if not name:
        raise UsageError("the package has no name", advice="As PyPI/requests@<2.33.")
    return ecosystem, name, bounds


def _package(snapshot: Snapshot, ecosystem: str, name: str, bounds: str) -> Answer:
    asked = {"package": quoted(name), "ecosystem": quoted(ecosystem), "every": not bounds}
    notes: list[str] = []
    versions: list[str] = []
    if bounds:
        is_asked, intervals = _judge(ecosystem, bounds)
        for version in arrow_of(snapshot, _VERSIONS.format(**asked)).column("version").to_pylist():
            if version is None:
                unknown = sum(u.may_be_in(intervals) for u in unpinned(snapshot, _OF_PACKAGE.format(**asked)))
                if unknown:
                    places = f"{unknown} {'place has' if unknown == 1 else 'places have'}"
                    notes.append(f"{places} it without an exact version: whether that is in the range is not known")
            elif (told := is_asked(version)) is None:
                notes.append(f"{version} follows no grammar of {ecosystem}: it was not compared")
            elif told:
                versions.append(version)
    given = pa.table({"version": pa.array(versions, pa.string())})
    notes += inventories_missing(snapshot)
    table = arrow_of(snapshot, _PACKAGE.format(**asked), versions=given)
    return answer_of(table, notes, is_whole=not notes)


def _judge(ecosystem: str, bounds: str) -> tuple[Callable[[str], bool | None], list[Interval] | None]:
    """Whether a version lies in all of the bounds, which stand between commas; None: it cannot be compared. And the
    interval of keys that they are; None: they have none.

    Where versions have no order one of them can be asked for, as it is written.
    """
    if ecosystem not in ordering.ECOSYSTEMS:
        found = _BOUND.fullmatch(bounds.strip())
        if found is None or (found[1] or "=") not in ("=", "=="):
            raise UsageError(
                f"versions of {ecosystem} have no order that is known: {one_line(bounds, 60)!r} cannot be compared",
                advice="Ask for one version, as @3.11, or leave it out.",
            )
        asked = found[2]
        return lambda version: version == asked, None
    tests = []
    low, high = ordering.LOWEST, None
    for bound in bounds.split(","):
        found = _BOUND.fullmatch(bound.strip())
        keys = _keys(ecosystem, found[2]) if found else None
        if found is None or keys is None:
            raise UsageError(
                f"{one_line(bound, 60)!r} is no bound of versions of {ecosystem}", advice="As @<2.33 or @>=1,<2.33."
            )
        tests.append((_OPERATORS[found[1] or ""], *keys))
        low, high = _narrowed((low, high), found[1] or "=", *keys)

    def judge(version: str) -> bool | None:
        mine = ordering.key(ecosystem, version)
        return all(compare(mine, low, high) for compare, low, high in tests) if mine is not None else None

    return judge, [(low, high)]


def _narrowed(interval: Interval, operator: str, key: bytes, after: bytes) -> Interval:
    """The interval with one more bound."""
    low, high = interval
    if operator not in ("<", "<="):
        low = max(low, after if operator == ">" else key)
    if operator not in (">", ">="):
        end = key if operator == "<" else after
        high = end if high is None else min(high, end)
    return low, high


def _keys(ecosystem: str, bound: str) -> tuple[bytes, bytes] | None:
    """The key of a bound, and the lowest bytes above all that counts as it (``ordering.above``). Where versions have
    three numbers, people write fewer."""
    for text in (bound, f"{bound}.0", f"{bound}.0.0"):
        if (key := ordering.key(ecosystem, text)) is not None:
            return key, ordering.above(ecosystem, text, key)
        if not _NUMBERS.fullmatch(bound):
            return None
    return None
