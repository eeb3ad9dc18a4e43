"""Who has an advisory: matched when it is asked, so that an answer needs no run of ``assess`` since the last sync.

The advisories of the flaw are compared with the distinct versions of the packages that they name, by the match that
``assess`` makes, and the versions joined to the inventories as they stand. What ``assess`` keeps because nobody can
tell any more (of a manifest that cannot be read, or of an ecosystem that is not fetched) is told from the lake.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tasks.deps import ordering
from tasks.deps.matching import PACKAGES, RANGES, match_prepared
from tasks.deps.prepared import Kind, Prepared, prepare
from tasks.deps.requiring import Interval
from tasks.lake.lake import Snapshot
from tasks.lake.package_tables import INVENTORY, SBOM, SBOM_PATH
from tasks.lake.views import GONE_REASONS, arrow_of
from tasks.patrol.answers import Answer, answer_of
from tasks.patrol.asking_unpinned import place_of, unpinned
from tasks.patrol.feed_dates import advisories_as_of, feeds_of
from tasks.patrol.vulnerable import KNOWN_TO_BE_THERE
from tasks.policy.severity import quoted

_AFFECTED, _UNKNOWN = "affected", "unknown"

_KNOWN = """
    SELECT advisory_id, is_withdrawn, unmatchable_reason, present FROM advisories
    WHERE group_id IN (SELECT group_id FROM advisories WHERE advisory_id IN ({ids}) OR group_id IN ({ids})
                       OR list_has_any(aliases, [{ids}]))
    ORDER BY advisory_id"""
_RANGES = f"""
    SELECT {", ".join(RANGES.names)}, unmatchable_reason FROM advisory_ranges
    WHERE advisory_id IN ({{ids}}) AND present AND package IS NOT NULL"""
_VERSIONS = "SELECT DISTINCT ecosystem, package, version FROM packages p WHERE {of_packages}"
#: A judged version is joined to the places that have it; as in ``assess``, a manifest tells of a version once.
_PLACES = """
    WITH here AS (
        SELECT i.repo_id, i.slug, i.ref, i.manifest, i.ecosystem, i.package, i.version, j.fixed_version, j.advisory_id,
               bool_or(i.is_direct) AS is_direct, bool_and(i.is_development) AS is_development, min(i.line) AS line,
               min(i.requirement) AS requirement, j.status, j.reason_code
        FROM inventory i JOIN judged j ON j.ecosystem = i.ecosystem AND j.package = i.package
            AND j.version IS NOT DISTINCT FROM i.version
        WHERE {of_packages} GROUP BY ALL
    ), known AS (
        SELECT repo_id, ref, manifest, ecosystem, package, version, advisory_id, first_seen_at,
               fixed_version AS fixed_before
        FROM vulnerabilities WHERE present AND advisory_id IN ({ids})
    )
    SELECT h.*, k.first_seen_at,
           k.first_seen_at IS NULL OR k.fixed_before IS DISTINCT FROM h.fixed_version AS is_other
    FROM here h LEFT JOIN known k USING (repo_id, ref, manifest, ecosystem, package, version, advisory_id)"""
#: What the last ``assess`` said and is not found so now.
_LEFT = """
    SELECT repo_id, slug, ref, manifest, ecosystem, package, version, fixed_version, advisory_id, is_direct,
           is_development, line, NULL::VARCHAR AS requirement, 'affected' AS status, NULL::VARCHAR AS reason_code,
           first_seen_at, false AS is_other
    FROM vulnerable ANTI JOIN here USING (repo_id, ref, manifest, ecosystem, package, version, advisory_id)
    WHERE advisory_id IN ({ids})"""
_SHOWN = """
    SELECT slug, ref, manifest, ecosystem, package, version, fixed_version, advisory_id, is_direct, is_development,
           line, first_seen_at, requirement, status, reason_code
    FROM told ORDER BY status, slug, ref, manifest, ecosystem, package, version, advisory_id"""
_INVENTORIES = f"""
    SELECT count(*) AS n, count(*) FILTER (outcome IN ('failed', 'timeout', 'stale', 'missing')) AS late FROM scopes
    WHERE (tool = '{INVENTORY}' OR starts_with(tool, '{SBOM}'))
        AND coalesce(reason_code, '') NOT IN ({", ".join(map(quoted, (*GONE_REASONS, "ref_unwatched")))})"""
_JUDGED = pa.schema(
    [
        (c, pa.string())
        for c in ("ecosystem", "package", "version", "advisory_id", "fixed_version", "status", "reason_code")
    ]
)
#: One place, as it is told; ``is_other``: the last ``assess`` did not say so.
_KINDS = {"is_direct": pa.bool_(), "is_development": pa.bool_(), "line": pa.int64(), "is_other": pa.bool_(),
          "first_seen_at": pa.timestamp("us", "UTC")}  # fmt: skip
_FOUND = pa.schema(
    [
        (c, _KINDS.get(c, pa.string()))
        for c in ("repo_id", "slug", "ref", "manifest", "ecosystem", "package", "version", "fixed_version",
                  "advisory_id", "is_direct", "is_development", "line", "requirement", "status", "reason_code",
                  "first_seen_at", "is_other")
    ]
)  # fmt: skip
#: Why it is not known of a package that is there, by reason.
_WHY = {
    "version_unpinned": "no exact version is told (version_unpinned)",
    "version_unjudged": "its version follows no grammar of the ecosystem (version_unjudged)",
    "advisory_unjudged": "what the advisory says of versions cannot be compared (advisory_unjudged)",
}
_Row = dict[str, Any]
_Package = tuple[str, str]


def who_has(snapshot: Snapshot, one: str) -> Answer:
    """The places that an advisory is about, by any of its ids, in any case: rows ``affected``, and ``unknown`` ones
    where the package is there and its version cannot be told or compared (``reason_code``).

    Not whole where something is unknown, no advisory is called so, an inventory could not be read as it stands, or
    advisories are old. Raises LakeError.
    """
    names = ", ".join(dict.fromkeys(map(quoted, (one, folded(one)))))
    known = arrow_of(snapshot, _KNOWN.format(ids=names)).to_pylist()
    ids = ", ".join(quoted(r["advisory_id"]) for r in known)
    feeds = feeds_of(snapshot)
    notes, is_whole = list(_notes_of(folded(one), known, feeds)), _is_matched(known)
    table, more = _told(snapshot, known, ids, feeds) if known else (_FOUND.empty_table(), [])
    is_old = any(f["reason_code"] for f in feeds if f["feed"].startswith("osv/"))
    missing = list(inventories_missing(snapshot))
    unknown = table.column("status").to_pylist().count(_UNKNOWN)
    return answer_of(
        arrow_of(snapshot, _SHOWN, told=table),
        [*notes, *more, *missing],
        is_whole=is_whole and not (unknown or is_old or missing),
        as_of=advisories_as_of(feeds, datetime.now(UTC)),
    )


def folded(one: str) -> str:
    """An id as data bases write it, whatever its case: the body of GHSA's is in lower case, others are in upper case.

    Ids of data bases that mix them are found as they are written.
    """
    prefix, _, rest = one.partition("-")
    return f"GHSA-{rest.lower()}" if prefix.upper() == "GHSA" else one.upper()


def inventories_missing(snapshot: Snapshot) -> Iterator[str]:
    """Says whether there are inventories that are not of what stands now. Raises LakeError."""
    (row,) = arrow_of(snapshot, _INVENTORIES).to_pylist()
    if not row["n"]:
        yield "no repository has an inventory yet: run `nightwarden patrol`"
    elif row["late"]:
        yield (
            f"{row['late']} of {row['n']} inventories could not be made of what stands now:"
            " `nightwarden query --saved gaps` says why"
        )


def _is_matched(known: Collection[_Row]) -> bool:
    """Whether an advisory is known, and what it says can be compared (or it was taken back)."""
    there = [r for r in known if r["present"] and not r["is_withdrawn"]]
    return any(not r["unmatchable_reason"] for r in there) if there else any(r["is_withdrawn"] for r in known)


def _notes_of(one: str, known: Collection[_Row], feeds: Collection[_Row]) -> Iterator[str]:
    there = [r for r in known if r["present"] and not r["is_withdrawn"]]
    if not any(f["records"] for f in feeds if f["feed"].startswith("osv/")):
        yield "there are no advisories yet: run `nightwarden advisories sync`"
    elif not known:
        yield (
            f"no advisory of the last sync is called {one}: nobody was matched with it. It may be too new, or of an"
            " ecosystem that is not fetched"
        )
    elif not there:
        if any(r["is_withdrawn"] for r in known):
            yield f"{one} was withdrawn: it is matched with nothing"
        else:
            yield f"{one} is in no feed any more: it is matched with nothing, and what was known before stands"
    elif all(r["unmatchable_reason"] for r in there):
        yield f"{one} names no versions that can be compared ({there[0]['unmatchable_reason']})"


def _told(snapshot: Snapshot, known: Collection[_Row], ids: str, feeds: Collection[_Row]) -> tuple[pa.Table, list[str]]:
    """The rows (``_FOUND``), and what should be known of them."""
    in_force = {r["advisory_id"]: r["unmatchable_reason"] for r in known if r["present"] and not r["is_withdrawn"]}
    ranges = [r for r in arrow_of(snapshot, _RANGES.format(ids=ids)).to_pylist() if r["advisory_id"] in in_force]
    said = [r for r in ranges if r["unmatchable_reason"] is None and in_force[r["advisory_id"]] is None]
    prepared = prepare(pa.Table.from_pylist(said, schema=RANGES), ordering.key)
    found = _found(snapshot, ranges, said, prepared, ids) if ranges else []
    left = arrow_of(snapshot, _LEFT.format(ids=ids), here=pa.Table.from_pylist(found, schema=_FOUND)).to_pylist()
    kept = _kept(snapshot, left, found, {f["feed"].partition("/")[2] for f in feeds if f["records"]}) if left else []
    found = list(_untold(snapshot, found, prepared))
    notes = []
    # `assess` makes the same rows; where they are others, it has not run since the last patrol or sync.
    if len(kept) != len(left) or any(r["status"] == _AFFECTED and r["is_other"] for r in found):
        notes.append("not assessed yet: run `nightwarden assess`. This was matched just now; it is in no finding")
    for reason, n in sorted(Counter(r["reason_code"] for r in found if r["status"] == _UNKNOWN).items()):
        notes.append(
            f"in {n} {'place' if n == 1 else 'places'} it is there and not known to be affected: {_WHY[reason]}"
        )
    return pa.Table.from_pylist([*found, *kept], schema=_FOUND), notes


def _found(
    snapshot: Snapshot, ranges: Collection[_Row], said: Collection[_Row], prepared: Prepared, ids: str
) -> list[_Row]:
    """The places whose version an advisory is about, or whose version nobody can judge by itself."""
    packages = {(r["ecosystem"], r["package"]) for r in ranges}
    versions = arrow_of(snapshot, _VERSIONS.format(of_packages=_named("p", packages)))
    judged = pa.Table.from_pylist(list(_judged(ranges, said, prepared, versions)), schema=_JUDGED)
    if not judged.num_rows:
        return []
    sql = _PLACES.format(of_packages=_named("i", packages), ids=ids)
    return list(arrow_of(snapshot, sql, judged=judged).to_pylist())


def _named(relation: str, packages: Collection[_Package]) -> str:
    """A condition that holds for the packages that are named. Names are written out: of files in which a package's rows
    lie beside each other most is not read then."""
    columns = zip(("ecosystem", "package"), zip(*packages, strict=True), strict=True)
    return " AND ".join(
        f"{relation}.{column} IN ({', '.join(map(quoted, sorted(set(names))))})" for column, names in columns
    )


def _judged(ranges: Iterable[_Row], said: Iterable[_Row], prepared: Prepared, versions: pa.Table) -> Iterator[_Row]:
    """What the advisories say of distinct versions (``_JUDGED``); of a version that none is about, nothing.

    ``said`` are the ranges that can be compared, made ready in ``prepared``.
    """
    names: dict[_Package, set[str]] = defaultdict(set)
    for r in said:
        names[r["ecosystem"], r["package"]].add(r["advisory_id"])
    #: Packages of which an advisory tells no versions that can be compared, and no other one does.
    silent: dict[_Package, set[str]] = defaultdict(set)
    for r in ranges:
        if (r["ecosystem"], r["package"]) not in names:
            silent[r["ecosystem"], r["package"]].add(r["advisory_id"])
    answer = match_prepared(versions.cast(PACKAGES), prepared, ordering.key)
    hit = set()
    for row in answer.matches.to_pylist():
        hit.add((row["ecosystem"], row["package"], row["version"]))
        yield {**row, "status": _AFFECTED}
    odd, unjudged = set(), silent
    for row in answer.unjudged.to_pylist():
        if row["what"] == "version":
            odd.add((row["ecosystem"], row["package"], row["version"]))
        else:
            unjudged[row["ecosystem"], row["package"]].add(row["advisory_id"])
    for row in versions.to_pylist():
        package, whole = (row["ecosystem"], row["package"]), (row["ecosystem"], row["package"], row["version"])
        if whole in hit:
            continue
        if package in unjudged:
            yield {**row, "advisory_id": min(unjudged[package]), "status": _UNKNOWN, "reason_code": "advisory_unjudged"}
        elif package in names and (row["version"] is None or whole in odd):
            reason = "version_unpinned" if row["version"] is None else "version_unjudged"
            yield {**row, "advisory_id": min(names[package]), "status": _UNKNOWN, "reason_code": reason}


def _untold(snapshot: Snapshot, found: Collection[_Row], prepared: Prepared) -> Iterator[_Row]:
    """What was found without the rows of no exact version of which a lock file or a range tells that it is not so."""
    packages = {(r["ecosystem"], r["package"]) for r in found if r["version"] is None}
    places = {u.place: u for u in unpinned(snapshot, _named("i", packages))} if packages else {}
    affected = _intervals(prepared, packages)
    for row in found:
        if row["version"] is None:
            place = places.get(place_of(row))
            if place is None:
                continue
            is_ranged = row["reason_code"] == "version_unpinned"
            if is_ranged and not place.may_be_in(affected.get((row["ecosystem"], row["package"]))):
                continue
        yield row


def _intervals(prepared: Prepared, packages: Collection[_Package]) -> dict[_Package, list[Interval] | None]:
    """The keys of all that is affected of some packages; None: it is not all known by keys."""
    intervals: dict[_Package, list[Interval] | None] = {package: [] for package in packages}
    for row in prepared.rows.to_pylist() if packages else ():
        package = (row["ecosystem"], row["package"])
        if row["kind"] in (Kind.SPELLING, Kind.UNJUDGED):
            intervals[package] = None
        elif row["kind"] == Kind.PIECE and (known := intervals.get(package)) is not None:
            known.append((row["low"], row["high"]))
    return intervals


def _kept(snapshot: Snapshot, left: Collection[_Row], found: Collection[_Row], covered: Collection[str]) -> list[_Row]:
    """Of what the last ``assess`` said and is not found so now, what nobody can tell otherwise: ``assess`` keeps it."""
    unknown = {place_of(r) for r in found if r["status"] == _UNKNOWN}
    scopes = snapshot.table(
        "scopes", {"repo_id": {r["repo_id"] for r in left}}, ["repo_id", "ref", "tool", "result_name"]
    ).to_pylist()
    results = {(s["repo_id"], s["ref"], s["tool"]): s["result_name"] for s in scopes if s["result_name"]}
    gaps = snapshot.gaps_of(sorted({name for r in left if (name := results.get(_scope(r)))}))
    unread = {(n, g.path) for n, some in gaps.items() for g in some if g.reason_code not in KNOWN_TO_BE_THERE}
    return [
        r for r in left
        if r["ecosystem"].partition(":")[0] not in covered or place_of(r) in unknown
        or (results.get(_scope(r)), r["manifest"]) in unread
    ]  # fmt: skip


def _scope(row: _Row) -> tuple[str, str, str]:
    """The scope of the inventory in which a row's manifest is."""
    manifest = row["manifest"]
    tool = SBOM + manifest.removeprefix(SBOM_PATH) if manifest.startswith(SBOM_PATH) else INVENTORY
    return row["repo_id"], row["ref"], tool
