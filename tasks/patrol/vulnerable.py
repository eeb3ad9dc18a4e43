"""Which rows of inventories advisories are about, and what a finding says of them.

All is joined in DuckDB: what leaves it is the distinct versions of packages that some advisory names, and the rows that
are vulnerable.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from tasks.core.identity import alias_group, dependency_anchor, dependency_carry, finding_uid, occurrence_uid
from tasks.core.masking import short
from tasks.core.types import Gap, Kind, Observation
from tasks.deps.matching import RANGES, match
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of

Row = dict[str, Any]
#: What a vulnerable row of one scope is known by: manifest, ecosystem, package, version, advisory.
RowKey = tuple[str, str, str, str, str]
Package = tuple[str, str]
_KEY = ("manifest", "ecosystem", "package", "version", "advisory_id")
#: Of an advisory, what findings tell.
_TOLD = ("advisory_id", "summary", "severity", "cvss_score", "cwes", "url")


def row_key(row: Mapping[str, Any]) -> RowKey:
    """The key of a row in its scope."""
    manifest, ecosystem, package, version, advisory = (row[c] for c in _KEY)
    return (manifest, ecosystem, package, version, advisory)


@dataclass(slots=True, kw_only=True)
class Found:
    """What was matched, by result of an inventory.

    ``rows`` lack what only a scope knows. ``unknown`` are (manifest, ecosystem, package) that are there with a version
    that nobody can tell or compare.
    """

    rows: dict[str, list[Row]] = field(default_factory=dict)
    unknown: dict[str, set[tuple[str, str, str]]] = field(default_factory=dict)
    gaps: dict[str, list[Gap]] = field(default_factory=dict)
    packages: int = 0
    judged: int = 0


def matched(
    snapshot: Snapshot,
    whole: Iterable[str],
    parts: Iterable[str],
    named: Iterable[Package],
    *,
    key: Callable[[str, str], bytes | None],
    covered: Iterable[str],
) -> Found:
    """Match the packages of some inventories with the advisories in force: all of ``whole``, of ``parts`` those that
    are ``named``. ``covered`` are the ecosystems that advisories are fetched of; what is of another one is a gap.
    """
    wanted = pa.table(
        {"result_name": [*(whole := sorted(whole)), *(parts := sorted(parts))],
         "whole": [True] * len(whole) + [False] * len(parts)},
        schema=pa.schema({"result_name": pa.string(), "whole": pa.bool_()}),
    )  # fmt: skip
    found = Found()
    if not wanted.num_rows:
        return found
    given = {"wanted": wanted, "named": _named(named)}
    triples = arrow_of(snapshot, _TRIPLES, **given)
    ranges = arrow_of(snapshot, _RANGES, triples=triples)
    done = match(triples, ranges.select(RANGES.names), key)
    found.packages, found.judged = triples.num_rows, done.judged
    for row in arrow_of(snapshot, _HITS, **given, matches=done.matches).to_pylist():
        found.rows.setdefault(row.pop("result_name"), []).append(row)
    odd = done.unjudged
    for row in arrow_of(snapshot, _UNKNOWN, **given, odd=odd).to_pylist():
        place = (row["manifest"], row["ecosystem"], row["package"])
        found.unknown.setdefault(row["result_name"], set()).add(place)
        if row["version"] is not None:
            detail = f"{row['package']} {row['version']}: it follows no grammar of {row['ecosystem']}"
            _add(found, row, "version_unjudged", row["package"], detail)
    for row in arrow_of(snapshot, _UNJUDGED_RANGES, **given, odd=odd).to_pylist():
        detail = f"{row['advisory_id']}: a bound of its versions follows no grammar of {row['ecosystem']}"
        _add(found, row, "advisory_unjudged", row["package"], detail)
    for row in arrow_of(
        snapshot, _UNCOVERED, **given, covered=pa.table({"e": pa.array(covered, pa.string())})
    ).to_pylist():
        _add(found, row, "no_advisories", row["ecosystem"], f"{row['packages']} packages of {row['ecosystem']}")
    return found


def _named(named: Iterable[Package]) -> pa.Table:
    pairs = sorted(named)
    return pa.table(
        {"ecosystem": [e for e, _ in pairs], "package": [p for _, p in pairs]},
        schema=pa.schema({"ecosystem": pa.string(), "package": pa.string()}),
    )


def _add(found: Found, row: Mapping[str, Any], reason: str, about: str, detail: str) -> None:
    """A gap of a part of a manifest. Its path is not the manifest's own: the rest of that was judged."""
    path = f"{row['manifest']} ({about})"
    gaps = found.gaps.setdefault(row["result_name"], [])
    if gaps and (gaps[-1].path, gaps[-1].reason_code) == (path, reason):  # one row for all of it
        gaps[-1] = replace(gaps[-1], detail=short(f"{gaps[-1].detail}; {detail}", 500))
    else:
        gaps.append(Gap(path=path, reason_code=reason, detail=short(detail, 500)))


_CHOSEN = """
    packages p JOIN wanted w USING (result_name)
    WHERE (w.whole OR EXISTS (FROM named n WHERE n.ecosystem = p.ecosystem AND n.package = p.package))"""
_TRIPLES = f"SELECT DISTINCT p.ecosystem, p.package, p.version FROM {_CHOSEN} AND p.version IS NOT NULL"
#: Those in force, of packages that are there.
_RANGES = """
    SELECT r.* FROM advisory_ranges r JOIN advisories a USING (advisory_id)
    SEMI JOIN triples t ON t.ecosystem = r.ecosystem AND t.package = r.package
    WHERE r.present AND a.present AND NOT a.is_withdrawn AND r.unmatchable_reason IS NULL"""
_HITS = f"""
    SELECT p.result_name, p.manifest, p.ecosystem, p.package, p.version, min(p.purl) AS purl, m.advisory_id,
           a.group_id, any_value(a.aliases) AS aliases, m.fixed_version, bool_or(p.is_direct) AS is_direct,
           bool_and(p.is_development) AS is_development, min(p.line) AS line,
           list_sort(list_distinct(flatten(list(coalesce(p.parents, []))))) AS parents
    FROM (SELECT p.* FROM {_CHOSEN}) p JOIN matches m USING (ecosystem, package, version)
    JOIN advisories a ON a.advisory_id = m.advisory_id GROUP BY ALL"""
_UNKNOWN = f"""
    SELECT DISTINCT p.result_name, p.manifest, p.ecosystem, p.package, p.version
    FROM (SELECT p.* FROM {_CHOSEN}) p
    LEFT JOIN (FROM odd WHERE what = 'version') o USING (ecosystem, package, version)
    WHERE p.version IS NULL OR o.what IS NOT NULL ORDER BY ALL"""
_UNJUDGED_RANGES = f"""
    SELECT DISTINCT p.result_name, p.manifest, p.ecosystem, p.package, o.advisory_id
    FROM (SELECT p.* FROM {_CHOSEN}) p
    JOIN (FROM odd WHERE what = 'range') o ON o.ecosystem = p.ecosystem AND o.package = p.package ORDER BY ALL"""
_UNCOVERED = f"""
    SELECT p.result_name, p.manifest, p.ecosystem, count(DISTINCT p.package) AS packages
    FROM (SELECT p.* FROM {_CHOSEN} AND w.whole) p
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
        if old is None or {**old, "parents": old["parents"] or []} != {**made, "parents": made["parents"] or []}:
            changed.append(made)
    for key, row in before.items():
        if key in fresh or not row["present"]:
            continue
        if not judged(row) or key[:3] in unknown:
            there.append(row)  # not looked at, or nobody can tell any more
        else:
            changed.append({**row, "present": False, "gone_at": now})
    return Differences(changed=tuple(changed), there=tuple(there))
