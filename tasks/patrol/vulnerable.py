"""Which rows of inventories advisories are about, and what a finding says of them.

What leaves the lake is the rows of packages that some advisory names; only those that are vulnerable become Python's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from tasks.core.identity import alias_group, dependency_anchor, dependency_carry, finding_uid, occurrence_uid
from tasks.core.masking import short
from tasks.core.types import Gap, Kind, Observation
from tasks.deps.locking import is_locked
from tasks.deps.matching import MATCHES, judging
from tasks.deps.prepared import Key, Prepared, prepare, remembering
from tasks.deps.vulnerable_rows import plain, vulnerable_rows
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_batches, arrow_of
from tasks.patrol.advised_ranges import in_force
from tasks.patrol.through import tell_ways
from tasks.policy.severity import quoted

Row = dict[str, Any]
#: What a vulnerable row of one scope is known by: manifest, ecosystem, package, version, advisory.
RowKey = tuple[str, str, str, str, str]
Package = tuple[str, str]
_KEY = ("manifest", "ecosystem", "package", "version", "advisory_id")
#: Of an advisory, what findings tell.
_TOLD = ("advisory_id", "summary", "severity", "cvss_score", "cwes", "url")
#: Of a package, what a vulnerable row tells beside its version.
_CARRIED = ("result_name", "manifest", "purl", "is_direct", "is_development", "line", "parents")
_KINDS = {"is_direct": pa.bool_(), "is_development": pa.bool_(), "line": pa.int64(), "parents": pa.list_(pa.string())}
_NO_HITS = pa.schema([*((c, _KINDS.get(c, pa.string())) for c in _CARRIED), *MATCHES]).empty_table()
#: Rows that are judged at a time.
_BATCH = 500_000
#: Packages that are so few that a query names them.
_FEW = 500
#: Gaps of an inventory after which it is known all the same what is there, if not in which version.
KNOWN_TO_BE_THERE = frozenset({"version_unpinned", "version_unresolved"})
#: Gaps of a package, and not of all of its ecosystem.
_OF_PACKAGES = frozenset({"version_unjudged", "advisory_unjudged"})
#: Times that packages of inventories are named; so few are read once, and all questions asked of what was read.
_FEW_TIMES = 100_000
#: Whoever has the lake's advisories made ready gives them, if anybody has.
Ready = Callable[[], Prepared | None]


def row_key(row: Mapping[str, Any]) -> RowKey:
    """The key of a row in its scope."""
    manifest, ecosystem, package, version, advisory = (row[c] for c in _KEY)
    return (manifest, ecosystem, package, version, advisory)


@dataclass(slots=True, kw_only=True)
class Found:
    """What was matched, by result of an inventory.

    ``rows`` lack what only a scope knows. ``unknown`` are (manifest, ecosystem, package) that are there with a version
    that nobody can tell or compare. ``judged`` counts the distinct versions of packages that some advisory names.
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    unknown: dict[str, set[tuple[str, str, str]]] = field(default_factory=dict)
    gaps: dict[str, list[Gap]] = field(default_factory=dict)
    judged: int = 0


def matched(
    snapshot: Snapshot,
    whole: Iterable[str],
    parts: Iterable[str],
    named: Iterable[Package],
    *,
    key: Callable[[str, str], bytes | None],
    covered: Iterable[str],
    ready: Ready = lambda: None,
) -> Found:
    """Match the packages of some inventories with the advisories in force: all of ``whole``, of ``parts`` those that
    are ``named``. ``covered`` are the ecosystems that advisories are fetched of; what is of another one is a gap.
    ``ready`` may have the advisories of the lake made ready, which is worth asking where inventories are judged whole.
    """
    whole, parts, named = sorted(set(whole)), sorted(set(parts)), sorted(set(named))
    found = Found()
    if not whole and not (parts and named):
        return found
    given = {
        "wanted": pa.table(
            {"result_name": [*whole, *parts], "whole": [True] * len(whole) + [False] * len(parts)},
            schema=pa.schema({"result_name": pa.string(), "whole": pa.bool_()}),
        ),
        "named": _named(named),
    }
    chosen = _chosen(whole, parts, named)
    if not whole and len(parts) * len(named) <= _FEW_TIMES:
        given["few"] = arrow_of(snapshot, f"SELECT {', '.join(_ASKED)} FROM {chosen}", **given)
        chosen = "few"
    names = arrow_of(snapshot, _NAMES.format(chosen=chosen), **given)
    all_of_it = ready() if whole else None
    prepared = all_of_it.about(names) if all_of_it else prepare(in_force(snapshot, names), key)
    hits, odd, found.judged = _judged(snapshot, chosen, prepared, key, given)
    for row in arrow_of(snapshot, _HITS, hits=hits).to_pylist():
        found.rows.setdefault(row.pop("result_name"), []).append(row)
    tell_ways(snapshot, found.rows)
    for row in arrow_of(snapshot, _UNKNOWN.format(chosen=chosen), **given, odd=odd).to_pylist():
        if row["version"] is None and is_locked(row["manifest"], row["format"] or "", set(row["files"])):
            continue  # the lock file's own row is judged
        place = (row["manifest"], row["ecosystem"], row["package"])
        found.unknown.setdefault(row["result_name"], set()).add(place)
        if row["version"] is not None:
            detail = f"{row['package']} {row['version']}: it {_grammar(row['ecosystem'])}"
            _add(found, row, "version_unjudged", row["package"], detail)
    for row in arrow_of(snapshot, _UNJUDGED_RANGES.format(chosen=chosen), **given, odd=odd).to_pylist():
        detail = f"{row['advisory_id']}: a bound of its versions {_grammar(row['ecosystem'])}"
        _add(found, row, "advisory_unjudged", row["package"], detail)
    ecosystems = pa.table({"e": pa.array(covered, pa.string())})
    for row in arrow_of(snapshot, _UNCOVERED.format(chosen=chosen), **given, covered=ecosystems).to_pylist():
        _add(found, row, "no_advisories", row["ecosystem"], f"{row['n']} packages of {row['ecosystem']}")
    return found


def _judged(
    snapshot: Snapshot, chosen: str, prepared: Prepared, key: Key, given: Mapping[str, pa.Table]
) -> tuple[pa.Table, pa.Table, int]:
    """The vulnerable rows, what could not be judged (``UNJUDGED``), and how many distinct versions were. Rows are read
    some hundred thousand at a time."""
    hits, odd, versions = [], [], []
    with judging(prepared, remembering(key)) as judge:
        sql = _ROWS.format(chosen=chosen)
        odd.append(judge.unjudged_ranges())
        for rows in arrow_batches(snapshot, sql, _BATCH, **given, names=judge.names):
            table, answer = vulnerable_rows(judge, rows, _CARRIED)
            hits.append(plain(table.drop_columns("row")))
            odd.append(judge.unjudged_versions(answer))
            versions.append(pa.table({"named": answer.named, "version": answer.versions.take(answer.v)}))
    distinct = pa.concat_tables(versions).group_by(["named", "version"]).aggregate([]).num_rows if versions else 0
    return pa.concat_tables(hits) if hits else _NO_HITS, pa.concat_tables(odd), distinct


def _chosen(whole: Sequence[str], parts: Sequence[str], named: Sequence[Package]) -> str:
    """A relation of the packages that are judged."""
    if not parts:
        return "(SELECT p.*, w.whole FROM packages p JOIN wanted w USING (result_name))"
    few = "true" if whole else few_of([{"ecosystem": e, "package": p} for e, p in named])
    return (
        f"(SELECT p.*, w.whole FROM packages p JOIN wanted w USING (result_name) WHERE {few} AND "
        "(w.whole OR EXISTS (FROM named n WHERE n.ecosystem = p.ecosystem AND n.package = p.package)))"
    )


def few_of(named: Collection[Mapping[str, str]]) -> str:
    """A condition on ``packages p`` that holds for all that are named. Where they are few it writes their names out,
    which rules out groups of rows before these are read."""
    if len(named) > _FEW:
        return "true"
    columns = {c: sorted({row[c] for row in named}) for c in ("ecosystem", "package")}
    return " AND ".join(f"p.{c} IN ({', '.join(map(quoted, v))})" if v else "false" for c, v in columns.items())


def _named(named: Iterable[Package]) -> pa.Table:
    pairs = sorted(named)
    return pa.table(
        {"ecosystem": [e for e, _ in pairs], "package": [p for _, p in pairs]},
        schema=pa.schema({"ecosystem": pa.string(), "package": pa.string()}),
    )


def _add(found: Found, row: Mapping[str, Any], reason: str, about: str, detail: str) -> None:
    """A gap of a part of a manifest. Its path is not the manifest's own: the rest of that was judged."""
    path = f"{row['manifest']}{_part(about)}"
    gaps = found.gaps.setdefault(row["result_name"], [])
    if gaps and (gaps[-1].path, gaps[-1].reason_code) == (path, reason):  # one row for all of it
        gaps[-1] = replace(gaps[-1], detail=short(f"{gaps[-1].detail}; {detail}", 500))
    else:
        gaps.append(Gap(path=path, reason_code=reason, detail=short(detail, 500)))


def _part(about: str) -> str:
    return f" ({about})"


def is_about(gap: Gap, packages: Iterable[Package]) -> bool:
    """Whether a gap that ``matched`` found is about one of these packages."""
    return gap.reason_code in _OF_PACKAGES and any(
        gap.path.endswith(_part(name)) and _grammar(ecosystem) in gap.detail for ecosystem, name in packages
    )


def _grammar(ecosystem: str) -> str:
    return f"follows no grammar of {ecosystem}"


#: What is asked of the packages that are judged.
_ASKED = ("ecosystem", "package", "version", "revision", "format", "source", "whole", *_CARRIED)
_NAMES = "SELECT DISTINCT ecosystem, package FROM {chosen} WHERE version IS NOT NULL"
_ROWS = f"""
    SELECT ecosystem, package, version, {", ".join(_CARRIED)} FROM {{chosen}} p
    SEMI JOIN names n ON n.ecosystem = p.ecosystem AND n.package = p.package"""
# A package that stands in a manifest several times is direct if it is once, and for development if it always is;
# bool_or and bool_and pass over NULL, and would make known what nobody knows.
_HITS = """
    SELECT h.result_name, h.manifest, h.ecosystem, h.package, h.version, min(h.purl) AS purl, h.advisory_id,
           a.group_id, any_value(a.aliases) AS aliases, h.fixed_version,
           CASE WHEN bool_or(h.is_direct) THEN true WHEN count(h.is_direct) = count(*) THEN false END AS is_direct,
           CASE WHEN NOT bool_and(h.is_development) THEN false
                WHEN count(h.is_development) = count(*) THEN true END AS is_development, min(h.line) AS line,
           list_sort(list_distinct(flatten(list(coalesce(h.parents, []))))) AS parents
    FROM hits h JOIN advisories a USING (advisory_id) GROUP BY ALL"""
#: What has no version, or one that cannot be judged; and of the first the files of its inventory that tell one.
_UNKNOWN = """
    WITH unknown AS (
        SELECT DISTINCT p.result_name, p.manifest, p.format, p.ecosystem, p.package, p.version FROM {chosen} p
        LEFT JOIN (FROM odd WHERE what = 'version') o USING (ecosystem, package, version)
        WHERE p.version IS NULL OR o.what IS NOT NULL
    ), pinned AS (
        SELECT result_name, ecosystem, package, list(DISTINCT manifest) AS files
        FROM {chosen} m SEMI JOIN (FROM unknown WHERE version IS NULL) USING (result_name, ecosystem, package)
        WHERE version IS NOT NULL OR revision IS NOT NULL GROUP BY ALL
    )
    SELECT u.*, coalesce(p.files, []) AS files
    FROM unknown u LEFT JOIN pinned p USING (result_name, ecosystem, package) ORDER BY ALL"""
_UNJUDGED_RANGES = """
    SELECT DISTINCT p.result_name, p.manifest, p.ecosystem, p.package, o.advisory_id FROM {chosen} p
    JOIN (FROM odd WHERE what = 'range') o ON o.ecosystem = p.ecosystem AND o.package = p.package ORDER BY ALL"""
_UNCOVERED = """
    SELECT p.result_name, p.manifest, p.ecosystem, count(DISTINCT p.package) AS n
    FROM (FROM {chosen} WHERE whole) p
    ANTI JOIN covered c ON c.e = split_part(p.ecosystem, ':', 1)
    WHERE p.source <> 'folder' GROUP BY ALL ORDER BY ALL"""


def told_of(snapshot: Snapshot, ids: Iterable[str]) -> dict[str, Row]:
    """What advisories say, by id."""
    wanted = sorted(set(ids))
    rows = snapshot.table("advisories", {"advisory_id": wanted}, _TOLD).to_pylist() if wanted else []
    return {r["advisory_id"]: r for r in rows}


def observations(
    rows: Iterable[Row], told: Mapping[str, Row], highest: Callable[[str, Iterable[str]], str | None]
) -> Iterator[Observation]:
    """One observation for each flaw of each version of a package of a manifest, whatever number of ids it has.

    ``highest`` tells the greatest of some versions of an ecosystem.
    """
    flaws: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        flaws[row["manifest"], row["purl"], row["version"], row["group_id"]].append(row)
    nth: Counter[str] = Counter()
    for (manifest, purl, version, group), some in sorted(flaws.items()):
        anchor = dependency_anchor(purl=purl, manifest=manifest, advisory=group)
        count, nth[anchor] = nth[anchor], nth[anchor] + 1
        ids = sorted({r["advisory_id"] for r in some} | {a for r in some for a in r["aliases"] or ()} | {group})
        says = [told[r["advisory_id"]] for r in sorted(some, key=row_key) if r["advisory_id"] in told]
        score = max((s["cvss_score"] for s in says if s["cvss_score"] is not None), default=None)
        fixed = highest(some[0]["ecosystem"], {r["fixed_version"] for r in some if r["fixed_version"]})
        extra = {
            "advisories": " ".join(ids),
            "fixed_in": fixed,
            "cwe": " ".join(sorted({c for s in says for c in s["cwes"] or ()})) or None,
            "security_severity": f"{score:g}" if score is not None else None,
            "direct": _word(some[0]["is_direct"]),
            "development": _word(some[0]["is_development"]),
        }
        title = next((s["summary"] for s in says if s["summary"]), None) or f"{some[0]['package']}: {group}"
        yield Observation(
            anchor_uid=anchor,
            occurrence_uid=occurrence_uid(anchor_uid=anchor, path=manifest, line=None, blob=version, nth=count),
            kind=Kind.DEPENDENCY,
            rule_id=group,
            title=short(title, 200),
            severity_tool=next((s["severity"] for s in says if s["severity"]), None),
            path=manifest,
            line_start=min((r["line"] for r in some if r["line"] is not None), default=None),
            purl=purl,
            version=version,
            url=next((s["url"] for s in says if s["url"]), None),
            carry_uid=dependency_carry(purl=purl, advisory=group),
            # Other tools name a flaw by its CVE; the group keeps its first id.
            flaw_uid=dependency_anchor(purl=purl, manifest=manifest, advisory=alias_group(ids)),
            extra={k: v for k, v in extra.items() if v is not None},
        )


def _word(truth: bool | None) -> str | None:
    return None if truth is None else str(truth).lower()


def _listed(row: Row) -> Row:
    """An empty list is none."""
    return {**row, "parents": row["parents"] or [], "through": row["through"] or []}


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Rows of ``vulnerabilities`` of one scope: those that differ from the lake's, and all that are there now."""

    changed: tuple[Row, ...]
    there: tuple[Row, ...]


def differences(
    repo_id: str,
    ref: str,
    new: Iterable[Row],
    known: Iterable[Row],
    *,
    judged: Callable[[Row], bool],
    unknown: set[tuple[str, str, str]],
    now: datetime,
) -> Differences:
    """Compare what was matched with the lake's rows of the scope. ``judged`` tells which of those were looked at."""
    before = {row_key(r): r for r in known}
    fresh = {row_key(r): r for r in new}
    changed: list[Row] = []
    there: list[Row] = []
    for key, row in fresh.items():
        old = before.get(key)
        anchor = dependency_anchor(purl=row["purl"], manifest=row["manifest"], advisory=row["group_id"])
        made = {
            **row, "repo_id": repo_id, "ref": ref, "finding_uid": finding_uid(repo_id=repo_id, anchor_uid=anchor),
            "first_seen_at": old["first_seen_at"] if old is not None else now, "gone_at": None, "present": True,
        }  # fmt: skip
        there.append(made)
        if old is None or _listed(old) != _listed(made):
            changed.append(made)
    for key, row in before.items():
        if key in fresh or not row["present"]:
            continue
        if not judged(row) or key[:3] in unknown:
            there.append(row)  # not looked at, or nobody can tell any more
        else:
            changed.append({**row, "present": False, "gone_at": now})
    return Differences(changed=tuple(changed), there=tuple(there))
