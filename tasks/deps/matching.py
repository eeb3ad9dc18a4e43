"""Which packages are vulnerable: one columnar join of an inventory's versions with every range and list of advisories.

A version is affected where it is listed, or where it lies in an interval, by the evaluation of
https://ossf.github.io/osv-schema/#evaluation: from ``introduced`` on, until before ``fixed`` or ``limit``, or until
``last_affected`` and no further. Order and equality are the ecosystem's own, given as a key whose bytes compare alike.

Only distinct (ecosystem, package, version) are judged, and of them only those of packages that some advisory names:
rows, repositories and nights are joined to the answer afterwards, by whoever holds them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import duckdb
import pyarrow as pa

#: A version as bytes that compare as its ecosystem orders versions; None: it follows no grammar of its ecosystem.
Key = Callable[[str, str], bytes | None]

PACKAGES = pa.schema({"ecosystem": pa.string(), "package": pa.string(), "version": pa.string()})
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
#: Types of ranges that are intervals of versions.
_INTERVALS = "('ECOSYSTEM', 'SEMVER')"
#: What OSV writes for "before every version".
_BEGINNING = "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matched:
    """``matches`` has a row for each (ecosystem, package, version, advisory), ``unjudged`` what was not compared."""

    matches: pa.Table
    unjudged: pa.Table
    #: Distinct versions that were judged: those of packages that some advisory names.
    judged: int


def match(packages: pa.Table, ranges: pa.Table, key: Key) -> Matched:
    """Match all ``packages`` (``PACKAGES``, in any order, repeated or not; a version may be null) with all ``ranges``
    (``RANGES``; withdrawn advisories left out). ``key`` is asked once for each version that matters. Pure.
    """
    con = duckdb.connect(":memory:")
    try:
        con.register("packages", packages.select(PACKAGES.names))
        con.register("given", ranges.select(RANGES.names))
        con.execute(_NAMES)
        con.execute(_WANTED)
        con.register("keys", _keys(con.sql(_VERSIONS).to_arrow_table(), key))
        con.execute(_KEYED)
        con.execute(_INTERVAL)
        matches = con.sql(_MATCHES).to_arrow_table().cast(MATCHES)
        unjudged = con.sql(_UNJUDGED).to_arrow_table().cast(UNJUDGED)
        judged = con.execute("SELECT count(*) FROM wanted").fetchall()[0][0]
        return Matched(matches=matches, unjudged=unjudged, judged=judged)
    finally:
        con.close()


def _keys(versions: pa.Table, key: Key) -> pa.Table:
    """The key of each (ecosystem, version)."""
    found: Iterable[bytes | None] = (
        key(ecosystem, version)
        for ecosystem, version in zip(versions["ecosystem"].to_pylist(), versions["version"].to_pylist(), strict=True)
    )
    return versions.append_column("key", pa.array(found, pa.binary()))


#: Packages are numbers from here on: names are compared once.
_NAMES = """
    CREATE TABLE names AS
    SELECT *, row_number() OVER () AS named
    FROM (SELECT DISTINCT ecosystem, package FROM given WHERE package IS NOT NULL)
"""
_WANTED = """
    CREATE TABLE wanted AS
    SELECT n.named, n.ecosystem, p.version FROM packages p JOIN names n USING (ecosystem, package)
    WHERE p.version IS NOT NULL GROUP BY ALL
"""
_VERSIONS = f"""
    SELECT ecosystem, version FROM (
        SELECT ecosystem, version FROM wanted UNION
        SELECT ecosystem, unnest([nullif(introduced, '{_BEGINNING}'), fixed, last_affected, limit_version]) AS version
        FROM given WHERE range_type IN {_INTERVALS} UNION
        SELECT ecosystem, unnest(versions) AS version FROM given WHERE range_type = 'VERSIONS'
    ) WHERE version IS NOT NULL
"""
_KEYED = "CREATE TABLE keyed AS FROM keys"
#: ``low``: null is before all. ``high`` is excluded, ``last`` included; null is no bound. A bound that has no key makes
#: the interval unjudged: to leave it out would widen or narrow it unseen.
_INTERVAL = f"""
    CREATE TABLE intervals AS
    SELECT g.advisory_id, n.named, g.fixed, i.key AS low, f.key AS fixed_key, l.key AS last, u.key AS limit_key,
           (g.introduced IS NULL OR g.introduced = '{_BEGINNING}' OR i.key IS NOT NULL)
           AND (g.fixed IS NULL OR f.key IS NOT NULL) AND (g.last_affected IS NULL OR l.key IS NOT NULL)
           AND (g.limit_version IS NULL OR g.limit_version = '*' OR u.key IS NOT NULL) AS judged
    FROM given g JOIN names n USING (ecosystem, package)
    LEFT JOIN keyed i ON i.ecosystem = g.ecosystem AND i.version = g.introduced AND g.introduced <> '{_BEGINNING}'
    LEFT JOIN keyed f ON f.ecosystem = g.ecosystem AND f.version = g.fixed
    LEFT JOIN keyed l ON l.ecosystem = g.ecosystem AND l.version = g.last_affected
    LEFT JOIN keyed u ON u.ecosystem = g.ecosystem AND u.version = g.limit_version
    WHERE g.range_type IN {_INTERVALS}
"""
_MATCHES = """
    WITH have AS (SELECT w.*, k.key FROM wanted w LEFT JOIN keyed k USING (ecosystem, version)),
    listed AS (
        SELECT g.advisory_id, n.named, g.ecosystem, unnest(g.versions) AS version
        FROM given g JOIN names n USING (ecosystem, package) WHERE g.range_type = 'VERSIONS'
    ),
    hits AS (
        SELECT h.named, h.version, i.advisory_id FROM have h JOIN intervals i USING (named)
        WHERE i.judged AND h.key IS NOT NULL AND (i.low IS NULL OR h.key >= i.low)
          AND (i.fixed_key IS NULL OR h.key < i.fixed_key) AND (i.last IS NULL OR h.key <= i.last)
          AND (i.limit_key IS NULL OR h.key < i.limit_key)
        UNION
        SELECT h.named, h.version, l.advisory_id FROM have h JOIN listed l USING (named, version)
        UNION
        SELECT h.named, h.version, l.advisory_id FROM have h JOIN (
            SELECT l.*, k.key FROM listed l JOIN keyed k USING (ecosystem, version)
        ) l ON l.named = h.named AND l.key = h.key
    ),
    above AS (
        SELECT t.named, t.version, t.advisory_id, arg_min(i.fixed, i.fixed_key) AS fixed_version
        FROM hits t JOIN have h ON h.named = t.named AND h.version = t.version
        JOIN intervals i ON i.named = t.named AND i.advisory_id = t.advisory_id
        WHERE i.fixed_key > h.key GROUP BY ALL
    )
    SELECT n.ecosystem, n.package, t.version, t.advisory_id, a.fixed_version
    FROM hits t JOIN names n USING (named) LEFT JOIN above a USING (named, version, advisory_id)
    ORDER BY ALL
"""
_UNJUDGED = """
    SELECT 'version' AS what, n.ecosystem, n.package, w.version, NULL AS advisory_id
    FROM wanted w JOIN names n USING (named, ecosystem) LEFT JOIN keyed k USING (ecosystem, version)
    WHERE k.key IS NULL AND w.named IN (SELECT named FROM intervals)
    UNION ALL
    SELECT DISTINCT 'range', n.ecosystem, n.package, NULL, i.advisory_id
    FROM intervals i JOIN names n USING (named) WHERE NOT i.judged
    ORDER BY ALL
"""
