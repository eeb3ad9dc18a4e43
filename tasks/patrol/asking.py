"""Who has it: an advisory or a package, asked of the inventories as they stand. Nothing is matched anew for an advisory
that was judged; a package and a range are compared here."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.core.errors import UsageError
from tasks.core.text import one_line
from tasks.deps import ordering
from tasks.deps.naming import PURL_TYPES, normal
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.policy.severity import quoted

_ID = re.compile(r"[A-Za-z]{2,12}-[A-Za-z0-9:._-]{3,60}")
_BOUND = re.compile(r"(<=|>=|==|=|<|>)?\s*([^\s<>=,]+)")
_NUMBERS = re.compile(r"v?\d+(\.\d+)?")
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "=": operator.eq,
    "": operator.eq,
}  # fmt: skip
_ADVISORY = """
    SELECT slug, ref, manifest, ecosystem, package, version, fixed_version, advisory_id, is_direct, is_development,
           line, first_seen_at
    FROM vulnerable WHERE advisory_id = $$ID$$ OR group_id = $$ID$$ OR list_contains(aliases, $$ID$$) ORDER BY ALL"""
#: The name is written out: of files in which a package's rows lie beside each other most is not read then.
_OF_PACKAGE = "package = {package} AND split_part(ecosystem, ':', 1) = {ecosystem}"
_VERSIONS = f"SELECT DISTINCT version FROM inventory WHERE {_OF_PACKAGE}"
_PACKAGE = f"""
    SELECT slug, ref, manifest, ecosystem, package, version, requirement, is_direct, is_development, line
    FROM inventory WHERE {_OF_PACKAGE} AND ({{every}} OR version IN (FROM versions)) ORDER BY ALL"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows with their columns, and what should be known of them. ``is_whole``: nothing that was asked is unknown."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: tuple[str, ...] = ()
    is_whole: bool = True


def ask(snapshot: Snapshot, what: str) -> Answer:
    """Who has an advisory (by any of its ids) or a package (``ECOSYSTEM/NAME``, ``@`` and a version or range).

    Raises UsageError: it is neither, or a bound is no version of the ecosystem.
    """
    text = what.strip()
    found = package_of(text)
    if found is not None:
        return _package(snapshot, *found)
    if _ID.fullmatch(text):
        return _advisory(snapshot, text)
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


def _advisory(snapshot: Snapshot, one: str) -> Answer:
    table = arrow_of(snapshot, _ADVISORY.replace("$$ID$$", f"'{one}'"))
    notes = []
    known = arrow_of(
        snapshot,
        f"SELECT is_withdrawn, unmatchable_reason, present FROM advisories WHERE advisory_id = '{one}'"
        f" OR group_id = '{one}' OR list_contains(aliases, '{one}')",
    ).to_pylist()
    if not known:
        notes.append(f"no advisory of the last sync is called {one}: nobody was matched with it")
    elif all(r["is_withdrawn"] or not r["present"] for r in known):
        notes.append(f"{one} was withdrawn: it is matched with nothing")
    elif all(r["unmatchable_reason"] for r in known):
        notes.append(f"{one} names no versions that can be compared ({known[0]['unmatchable_reason']})")
    return answer_of(table, notes)


def _package(snapshot: Snapshot, ecosystem: str, name: str, bounds: str) -> Answer:
    asked = {"package": quoted(name), "ecosystem": quoted(ecosystem), "every": not bounds}
    judge = _judge(ecosystem, bounds) if bounds else None
    notes, versions = [], []
    for version in arrow_of(snapshot, _VERSIONS.format(**asked)).column("version").to_pylist():
        if version is None:
            notes.append("some have it without an exact version: whether that is in the range is not known")
        elif judge is not None:
            key = ordering.key(ecosystem, version)
            if key is None:
                notes.append(f"{version} follows no grammar of {ecosystem}: it was not compared")
            elif judge(key):
                versions.append(version)
    given = pa.table({"version": pa.array(versions, pa.string())})
    return answer_of(arrow_of(snapshot, _PACKAGE.format(**asked), versions=given), notes if bounds else [])


def _judge(ecosystem: str, bounds: str) -> Callable[[bytes], bool]:
    """Whether a key lies in all of the bounds, which stand between commas."""
    tests = []
    for bound in bounds.split(","):
        found = _BOUND.fullmatch(bound.strip())
        key = _key(ecosystem, found[2]) if found else None
        if found is None or key is None:
            raise UsageError(
                f"{one_line(bound, 60)!r} is no bound of versions of {ecosystem}", advice="As @<2.33 or @>=1,<2.33."
            )
        tests.append((_OPERATORS[found[1] or ""], key))
    return lambda mine: all(compare(mine, theirs) for compare, theirs in tests)


def _key(ecosystem: str, bound: str) -> bytes | None:
    """The key of a bound. Where versions have three numbers, people write fewer."""
    for text in (bound, f"{bound}.0", f"{bound}.0.0"):
        if (key := ordering.key(ecosystem, text)) is not None or not _NUMBERS.fullmatch(bound):
            return key
    return None


def answer_of(table: pa.Table, notes: Iterable[str], *, is_whole: bool = True) -> Answer:
    """The answer that a table is."""
    rows = list(zip(*(table.column(c).to_pylist() for c in table.column_names), strict=True))
    return Answer(columns=table.column_names, rows=rows, notes=tuple(notes), is_whole=is_whole)
