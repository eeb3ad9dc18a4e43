"""Which packages are vulnerable: one columnar join of an inventory's versions with every range and list of advisories.

A version is affected where it is listed, or where it lies in an interval, by the evaluation of
https://ossf.github.io/osv-schema/#evaluation: from ``introduced`` on, until before ``fixed`` or ``limit``, or until
``last_affected`` and no further (local builds of a version of PyPI are that version there and in lists). Order and
equality are the ecosystem's own, given as a key whose bytes compare alike.

Only distinct (ecosystem, package, version) are judged, and of them only those of packages that some advisory names:
rows, repositories and nights are joined to the answer afterwards (``vulnerable_rows``).
What advisories say is made ready once (``prepared``); names and versions are numbers as soon as they are read.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core import duck
from tasks.deps.prepared import RANGES, Key, Kind, Prepared, prepare, remembering

__all__ = [
    "MATCHES", "PACKAGES", "RANGES", "UNJUDGED", "Judge", "Key", "Matched", "judging", "match", "match_prepared",
]  # fmt: skip

PACKAGES = pa.schema({"ecosystem": pa.string(), "package": pa.string(), "version": pa.string()})
#: ``fixed_version``: the lowest version above this one from which on the advisory does not apply, as far as it says.
MATCHES = pa.schema(
    {
        "ecosystem": pa.string(),
        "package": pa.string(),
        "version": pa.string(),
        "advisory_id": pa.string(),
        "fixed_version": pa.string(),
    }
)
#: ``what``: ``version`` (of a package that has advisories, and none of their intervals can be judged by it) or
#: ``range`` (a bound is no version of its ecosystem, so that the interval is not judged at all).
UNJUDGED = pa.schema(
    {
        "what": pa.string(),
        "ecosystem": pa.string(),
        "package": pa.string(),
        "version": pa.string(),
        "advisory_id": pa.string(),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """``matches`` has a row for each (ecosystem, package, version, advisory), ``unjudged`` what was not compared. Both
    are in the order of their packages and versions as texts."""

    matches: pa.Table
    unjudged: pa.Table
    #: Distinct versions that were judged: those of packages that some advisory names.
    judged: int


def match(packages: pa.Table, ranges: pa.Table, key: Key) -> Matched:
    """Match all ``packages`` (``PACKAGES``, in any order, repeated or not; a version may be null) with all ``ranges``
    (``RANGES``; withdrawn advisories left out). ``key`` is asked once for each version that matters. Pure.
    """
    asked = remembering(key)
    return match_prepared(packages, prepare(ranges, asked), asked)


def match_prepared(packages: pa.Table, prepared: Prepared, key: Key) -> Matched:
    """The same with ranges that were made ready before, with this ``key``. Pure."""
    texts = packages["version"].cast(pa.string())
    # In the order of texts, so that numbers order as what they stand for.
    versions = pc.unique(texts.drop_null())
    versions = versions.take(pc.sort_indices(versions))
    with judging(prepared, key) as judge:
        answer = judge.ask(packages, pc.index_in(texts, versions), versions)
        unjudged = pa.concat_tables([judge.unjudged_ranges(), judge.unjudged_versions(answer)])
        return Matched(matches=judge.matches(answer), unjudged=unjudged, judged=len(answer.named))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What prepared advisories say of some packages.

    Package ``rows[i]`` is the distinct version ``of[i]`` of a package that an advisory names; others are left out.
    Distinct version ``h`` is ``versions[v[h]]`` of package ``named[h]`` (of ``Judge.names``), and its key is
    ``keys[h]``. ``hits`` says that the row ``place`` (of ``Prepared.rows``) is about ``h``, once for each advisory, in
    this order.
    """

    rows: pa.Array
    of: pa.Array
    named: pa.Array
    v: pa.Array
    keys: pa.Array
    versions: pa.Array
    hits: pa.Table

    def expanded(self) -> tuple[pa.Array, pa.Array, pa.Array]:
        """For each given package and advisory that is about it: the package, its distinct version, the row that says
        so. In the order of packages."""
        runs = pc.run_end_encode(self.hits["h"].combine_chunks())
        starts = pa.concat_arrays([pa.array([0], pa.int32()), runs.run_ends])
        lists = pa.ListArray.from_arrays(starts, self.hits["place"].combine_chunks())
        where = pc.index_in(self.of, runs.values)
        hit = pc.is_valid(where)
        lists = lists.take(where.filter(hit))
        each = pc.list_parent_indices(lists)
        return self.rows.filter(hit).take(each), self.of.filter(hit).take(each), pc.list_flatten(lists)


class Judge:
    """Prepared advisories that packages are asked of, a table of them at a time (``judging`` opens one)."""

    def __init__(self, con: duckdb.DuckDBPyConnection, prepared: Prepared, key: Key) -> None:
        self._con, self._rows, self._key = con, prepared.rows, key
        names = prepared.packages().sort_by([("ecosystem", "ascending"), ("package", "ascending")])
        self.names: pa.Table = names.combine_chunks()
        self._ecosystems, self._packages = (pc.unique(names[c]) for c in ("ecosystem", "package"))
        self._pairs = self._paired(
            pc.index_in(names["ecosystem"], self._ecosystems), pc.index_in(names["package"], self._packages)
        )
        con.register("names", names.append_column("named", _numbers(names.num_rows)))
        con.register("told", self._rows.append_column("place", _numbers(self._rows.num_rows)))
        con.execute(_NAMED)
        self._spelled: pa.Table = con.sql("SELECT named, version, place FROM spellings").to_arrow_table()

    def _paired(self, ecosystem: pa.ChunkedArray, package: pa.ChunkedArray) -> pa.Array:
        return _pair(ecosystem.combine_chunks(), package.combine_chunks(), len(self._packages))

    def ask(self, packages: pa.Table, coded: pa.ChunkedArray, versions: pa.Array) -> Answer:
        """Judge ``packages``, whose versions are places in ``versions``, or null."""
        pairs = self._paired(
            places(packages["ecosystem"], self._ecosystems), places(packages["package"], self._packages)
        )
        both = _pair(pc.index_in(pairs, self._pairs), coded.combine_chunks(), len(versions))
        rows = pc.indices_nonzero(pc.is_valid(both))
        distinct = both.drop_null().dictionary_encode()
        named, v = _unpaired(distinct.dictionary, len(versions))
        keys = self._keys(named, v, versions)
        have = {"h": _numbers(len(named)), "named": named, "key": keys}
        spelled = _pair(
            self._spelled["named"].combine_chunks(),
            pc.index_in(self._spelled["version"], versions).combine_chunks(),
            len(versions),
        )
        self._con.register("have", pa.table(have))
        self._con.register(
            "spelled", pa.table({"h": pc.index_in(spelled, distinct.dictionary), "place": self._spelled["place"]})
        )
        above = (pc.max(keys).as_py() or b"") + b"\x00"
        hits = self._con.sql(_HITS, params={"above": above}).to_arrow_table()
        return Answer(rows=rows, of=distinct.indices, named=named, v=v, keys=keys, versions=versions, hits=hits)

    def _keys(self, named: pa.Array, v: pa.Array, versions: pa.Array) -> pa.Array:
        """The key of each version; each is asked for once an ecosystem."""
        ecosystem = pc.index_in(self.names["ecosystem"].combine_chunks(), self._ecosystems).take(named)
        distinct = _pair(ecosystem, v, len(versions)).dictionary_encode()
        e, each = _unpaired(distinct.dictionary, len(versions))
        found = map(self._key, self._ecosystems.take(e).to_pylist(), versions.take(each).to_pylist())
        return pa.array(found, pa.binary()).take(distinct.indices)

    def said(self, column: str, place: pa.Array) -> pa.DictionaryArray:
        """``advisory_id`` or ``fixed_version`` of rows of ``Prepared.rows``."""
        told = self._rows[column].combine_chunks().dictionary_encode()
        return pa.DictionaryArray.from_arrays(told.indices.take(place), told.dictionary)

    def matches(self, answer: Answer) -> pa.Table:
        """``MATCHES`` of the distinct versions."""
        h, place = (answer.hits[c].combine_chunks() for c in ("h", "place"))
        named, v = answer.named.take(h), answer.v.take(h)
        order = pc.sort_indices(
            pa.table({"named": named, "v": v, "place": place}), [(c, "ascending") for c in ("named", "v", "place")]
        )
        table = self._texts(answer, named.take(order), v.take(order))
        for column in ("advisory_id", "fixed_version"):
            table = table.append_column(column, self.said(column, place.take(order)))
        return table.cast(MATCHES)

    def _texts(self, answer: Answer, named: pa.Array, v: pa.Array) -> pa.Table:
        names = self.names.select(["ecosystem", "package"]).take(named)
        return names.append_column("version", answer.versions.take(v))

    def unjudged_ranges(self) -> pa.Table:
        """``UNJUDGED`` of all advisories: those that cannot be judged."""
        told = self._rows.filter(pc.equal(self._rows["kind"], Kind.UNJUDGED))
        return _unjudged("range", told.select(["ecosystem", "package", "advisory_id"]))

    def unjudged_versions(self, answer: Answer) -> pa.Table:
        """``UNJUDGED`` of the distinct versions that were asked about."""
        lost = pc.and_(pc.is_null(answer.keys), self.names["is_ranged"].combine_chunks().take(answer.named))
        return _unjudged("version", self._texts(answer, answer.named.filter(lost), answer.v.filter(lost)))


@contextmanager
def judging(prepared: Prepared, key: Key) -> Iterator[Judge]:
    """A judge, whose memory is given back at the end."""
    con = duck.connection()
    try:
        with duck.interruptible():
            yield Judge(con, prepared, key)
    except duckdb.Error:
        duck.forget()
        raise
    finally:
        con.close()


def places(column: pa.ChunkedArray, wanted: pa.Array) -> pa.ChunkedArray:
    """Where each text of a column stands among those wanted; null: it does not. Of a column of dictionaries each text
    is looked up once."""
    found = []
    for chunk in column.chunks:
        if isinstance(chunk, pa.DictionaryArray):
            found.append(pc.index_in(chunk.dictionary.cast(pa.string()), wanted).take(chunk.indices))
        else:
            found.append(pc.index_in(chunk.cast(pa.string()), wanted))
    return pa.chunked_array(found, pa.int32())


def _unjudged(what: str, table: pa.Table) -> pa.Table:
    given = table.append_column("what", pa.repeat(what, table.num_rows))
    empty = UNJUDGED.empty_table()
    made = pa.concat_tables([empty, given], promote_options="default").select(UNJUDGED.names).cast(UNJUDGED)
    return made.sort_by([(column, "ascending") for column in UNJUDGED.names])


def _numbers(size: int) -> pa.Array:
    return pa.arange(0, size).cast(pa.int32())


def _pair(high: pa.Array, low: pa.Array, size: int) -> pa.Array:
    """Two numbers as one, the second of which is below ``size``; null where one of them is."""
    return pc.add(pc.multiply(high.cast(pa.int64()), max(size, 1)), low.cast(pa.int64()))


def _unpaired(pairs: pa.Array, size: int) -> tuple[pa.Array, pa.Array]:
    high = pc.divide(pairs, max(size, 1))
    low = pc.subtract(pairs, pc.multiply(high, max(size, 1)))
    return high.cast(pa.int32()), low.cast(pa.int32())


#: Packages are numbers from here on: names are compared once.
_NAMED = f"""
    CREATE TEMP TABLE pieces AS SELECT n.named, t.low, t.high, t.place
    FROM told t JOIN names n USING (ecosystem, package) WHERE t.kind = '{Kind.PIECE}';
    CREATE TEMP TABLE spellings AS SELECT n.named, t.version, t.place
    FROM told t JOIN names n USING (ecosystem, package) WHERE t.kind = '{Kind.SPELLING}'
"""
#: Neither of the two can say twice that one advisory is about one version, nor both: pieces do not overlap, and what is
#: compared as it is written has no key. No bound is one above all keys: with an OR the join takes three times as long.
_HITS = """
    SELECT h, p.place FROM have JOIN pieces p
    ON have.named = p.named AND have.key >= p.low AND have.key < coalesce(p.high, $above)
    UNION ALL
    SELECT h, place FROM spelled WHERE h IS NOT NULL
    ORDER BY h, place
"""
