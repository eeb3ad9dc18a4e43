"""What advisories say of versions, made ready once: intervals of keys that do not overlap, so that one join decides.

All that one advisory says of one package becomes *pieces*: a version is affected if ``low <= key < high`` for one of
them (``high`` null: no bound), by the evaluation of https://ossf.github.io/osv-schema/#evaluation. For that

* an end that is affected itself (``last_affected``) is the bound above it and all that counts as it
  (``ordering.above``: local builds of PyPI; else the key one byte longer, for no bytes lie between the two);
* a listed version is a piece that holds the same, and is left out where an interval holds it; a local build that the
  advisory itself names as fixed ends it;
* pieces are cut where the lowest fix above changes, so that each knows its ``fixed_version``.

A listed version that follows no grammar has no key and is compared as it is written. An interval with a bound that has
no key is not judged: to leave the bound out would widen or narrow it unseen.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby, islice
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.deps import ordering

#: A version as bytes that compare as its ecosystem orders versions; None: it follows no grammar of its ecosystem.
Key = Callable[[str, str], bytes | None]

#: The columns of ``advisory_ranges`` that decide.
RANGES = pa.schema(
    {
        "advisory_id": pa.string(),
        "ecosystem": pa.string(),
        "package": pa.string(),
        "range_type": pa.string(),
        "introduced": pa.string(),
        "fixed": pa.string(),
        "last_affected": pa.string(),
        "limit_version": pa.string(),
        "versions": pa.list_(pa.string()),
    }
)
#: Raised when the same ranges and keys give other rows.
REVISION = 2
#: ``low``, ``high`` and ``fixed_version`` are of a piece, ``version`` is of a spelling.
ROWS = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("ecosystem", pa.string(), nullable=False),
        pa.field("package", pa.string(), nullable=False),
        pa.field("advisory_id", pa.string(), nullable=False),
        ("low", pa.binary()),
        ("high", pa.binary()),
        ("fixed_version", pa.string()),
        ("version", pa.string()),
    ]
)
#: Types of ranges that are intervals of versions, and of those that list them.
_INTERVALS, _LIST = ("ECOSYSTEM", "SEMVER"), "VERSIONS"
#: What OSV writes for "before every version" and for "no limit".
_BEGINNING, _ENDLESS = "0", "*"
#: Rows that are Python's at a time, and keys that are remembered.
_CHUNK, _REMEMBERED = 4_000, 1 << 19


class Kind(StrEnum):
    """What a row is. Each package of each advisory has one row that names it: ranged, if it has an interval."""

    RANGED = "ranged"
    LISTED = "listed"
    PIECE = "piece"
    SPELLING = "spelling"
    #: An interval of it cannot be judged.
    UNJUDGED = "unjudged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """``rows`` (``ROWS``): all of one advisory and package beside each other. Good for the key it was made with."""

    rows: pa.Table

    def about(self, packages: pa.Table) -> Prepared:
        """What is said of some packages (``ecosystem``, ``package``)."""
        mine, theirs = (_name(t) for t in (self.rows, packages))
        return Prepared(rows=self.rows.filter(pc.is_in(mine, pc.unique(theirs))))

    def packages(self) -> pa.Table:
        """``ecosystem``, ``package`` and ``is_ranged`` of each package that an advisory names."""
        told = self.rows.filter(pc.is_in(self.rows["kind"], pa.array([Kind.RANGED, Kind.LISTED])))
        told = told.append_column("is_ranged", pc.equal(told["kind"], Kind.RANGED))
        found = told.group_by(["ecosystem", "package"], use_threads=False).aggregate([("is_ranged", "any")])
        return found.rename_columns(["ecosystem", "package", "is_ranged"])


def _name(table: pa.Table) -> pa.ChunkedArray:
    # Neither has a zero byte in it.
    return pc.binary_join_element_wise(table["ecosystem"].cast(pa.string()), table["package"].cast(pa.string()), "\0")


class _Row(NamedTuple):
    kind: str
    ecosystem: str
    package: str
    advisory_id: str
    low: bytes | None = None
    high: bytes | None = None
    fixed_version: str | None = None
    version: str | None = None


class _Span(NamedTuple):
    low: bytes
    high: bytes | None


def prepare(ranges: pa.Table, key: Key) -> Prepared:
    """Make rows of ``RANGES`` ready. Rows without a package say nothing. Pure, if ``key`` is."""
    named = ranges.select(RANGES.names).filter(pc.is_valid(ranges["package"]))
    ordered = named.sort_by([(column, "ascending") for column in ("ecosystem", "package", "advisory_id")])
    rows = (row for batch in ordered.to_batches(max_chunksize=_CHUNK) for row in batch.to_pylist())
    asked = remembering(key)
    made = (row for of, some in groupby(rows, key=_of) for row in _said(of, some, asked))
    tables = []
    while chunk := list(islice(made, _CHUNK)):
        columns = dict(zip(ROWS.names, zip(*chunk, strict=True), strict=True))
        tables.append(pa.table({n: pa.array(columns[n], ROWS.field(n).type) for n in ROWS.names}, schema=ROWS))
    return Prepared(rows=pa.concat_tables(tables) if tables else ROWS.empty_table())


def _of(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["ecosystem"], row["package"], row["advisory_id"]


def remembering(key: Key) -> Key:
    """``key`` that is asked once for each version, as long as there are not too many."""
    known: dict[tuple[str, str], bytes | None] = {}

    def asked(ecosystem: str, version: str) -> bytes | None:
        place = (ecosystem, version)
        if place not in known:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[place] = key(ecosystem, version)
        return known[place]

    return asked


def _said(of: tuple[str, str, str], rows: Iterable[dict[str, Any]], key: Key) -> Iterator[_Row]:
    """What one advisory says of one package."""
    ecosystem = of[0]
    spans: list[_Span] = []
    fixes: dict[bytes, str] = {}
    listed: dict[str, bytes | None] = {}
    is_ranged = is_unjudged = False
    for row in rows:
        if row["range_type"] == _LIST:
            listed |= {v: key(ecosystem, v) for v in row["versions"] or () if v is not None}
        elif row["range_type"] in _INTERVALS:
            is_ranged = True
            fix = key(ecosystem, row["fixed"]) if row["fixed"] is not None else None
            if fix is not None:
                fixes[fix] = min(row["fixed"], fixes.get(fix, row["fixed"]))
            span = _span(row, fix, ecosystem, key)
            is_unjudged |= span is None
            spans += [span] if span is not None else []
    yield _Row(Kind.RANGED if is_ranged else Kind.LISTED, *of)
    if is_unjudged:
        yield _Row(Kind.UNJUDGED, *of)
    points = _points(ecosystem, listed, fixes)
    for low, high, fixed in _cut(_joined([*spans, *points]), fixes):
        yield _Row(Kind.PIECE, *of, low, high, fixed)
    for version in sorted(v for v, k in listed.items() if k is None):
        yield _Row(Kind.SPELLING, *of, version=version)


def _points(ecosystem: str, listed: dict[str, bytes | None], fixes: dict[bytes, str]) -> Iterator[_Span]:
    """What listed versions hold."""
    # No other fix lies between a version and what counts as it.
    builds = sorted(key for key, version in fixes.items() if "+" in version)
    for version, key in listed.items():
        if key is not None:
            high = ordering.above(ecosystem, version, key)
            yield _Span(key, min([high, *(b for b in builds if b > key)]) if builds else high)


def _span(row: dict[str, Any], fix: bytes | None, ecosystem: str, key: Key) -> _Span | None:
    """The keys of an interval; None where a bound has none."""
    introduced, last, limit = row["introduced"], row["last_affected"], row["limit_version"]
    low = b"" if introduced in (None, _BEGINNING) else key(ecosystem, introduced)
    highs = [fix] if row["fixed"] is not None else []
    if last is not None:
        end = key(ecosystem, last)
        highs.append(ordering.above(ecosystem, last, end) if end is not None else None)
    if limit not in (None, _ENDLESS):
        highs.append(key(ecosystem, limit))
    known = [h for h in highs if h is not None]
    return _Span(low, min(known, default=None)) if low is not None and len(known) == len(highs) else None


def _joined(spans: Iterable[_Span]) -> list[_Span]:
    """The same keys as spans that neither overlap nor touch, lowest first; those that hold nothing left out."""
    found: list[_Span] = []
    for span in sorted((s for s in spans if s.high is None or s.low < s.high), key=lambda s: s.low):
        last = found[-1] if found else None
        if last is None or (last.high is not None and last.high < span.low):
            found.append(span)
        elif last.high is not None and (span.high is None or span.high > last.high):
            found[-1] = _Span(last.low, span.high)
    return found


def _cut(spans: Iterable[_Span], fixes: dict[bytes, str]) -> Iterator[tuple[bytes, bytes | None, str | None]]:
    """Spans in pieces, each with the lowest fix that is above all of its keys."""
    places = sorted(fixes)
    for low, high in spans:
        for place in places[bisect_right(places, low) :]:
            if high is not None and place >= high:
                break
            yield low, place, fixes[place]
            low = place
        above = bisect_right(places, low)
        yield low, high, fixes[places[above]] if above < len(places) else None
