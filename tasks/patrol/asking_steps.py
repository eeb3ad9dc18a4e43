"""What to raise: across the organisation, in a repository, or of a package; asked of the lake as it stands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa

from tasks.core.errors import UsageError
from tasks.core.reasons import REASONS
from tasks.core.text import one_line
from tasks.deps.naming import PURL_TYPES
from tasks.deps.ways import What
from tasks.lake.lake import Snapshot
from tasks.lake.views import arrow_of
from tasks.patrol.answers import Answer, answer_of
from tasks.patrol.asking import package_of
from tasks.patrol.feed_dates import advisories_as_of, feeds_of
from tasks.patrol.listing import in_trouble
from tasks.policy import POLICY
from tasks.policy.upgrade_views import ORDER

_PLACES = """
    SELECT slug, ref, manifest, min(line) AS line, ecosystem, package, version, any_value(outcome) AS outcome,
           any_value(to_version) AS to_version, any_value(step) AS step, any_value(is_breaking) AS is_breaking,
           list_sort(list(DISTINCT group_id) FILTER (is_cleared)) AS clears,
           list_sort(list(DISTINCT group_id) FILTER (NOT is_cleared)) AS leaves, any_value(reason) AS reason,
           any_value(way) AS way, any_value(through) AS through, any_value(basis) AS basis, any_value(word) AS word,
           any_value(unjudged) AS unjudged
    FROM fixes SEMI JOIN chosen USING (repo_id) GROUP BY ALL
    ORDER BY slug, ref, manifest, line NULLS LAST, ecosystem, package, version"""
_VERSIONS = """
    SELECT u.ecosystem, u.package, u.version, coalesce(w.repositories, 0) AS repositories, u.outcome, u.to_version,
           u.step, u.is_breaking, u.cleared AS clears, u.remaining AS leaves, u.reason, u.releases_skipped,
           u.days_behind, u.newest, u.word, u.unjudged, u.basis, u.reason_code, u.asked_at,
           coalesce(w.slugs, []) AS slugs
    FROM upgrades u LEFT JOIN (
        SELECT ecosystem, package, version, count(DISTINCT repo_id) AS repositories,
               list_sort(list(DISTINCT slug)) AS slugs FROM fixes GROUP BY ecosystem, package, version
    ) w USING (ecosystem, package, version)
    WHERE u.present AND u.package = (SELECT package FROM asked)
      AND split_part(u.ecosystem, ':', 1) = (SELECT ecosystem FROM asked)
    ORDER BY u.ecosystem, u.version"""
_COUNTS = """
    SELECT count(DISTINCT (repo_id, finding_uid)) FILTER (outcome IS NOT NULL AND NOT is_cleared) AS unmended,
           count(DISTINCT (ecosystem, package, version)) FILTER (outcome IS NULL) AS unasked,
           count(DISTINCT (ecosystem, package)) FILTER (basis = 'advisories') AS unchecked,
           count(DISTINCT (ecosystem, package)) FILTER (len(unjudged) > 0) AS unjudged FROM fixes"""
_REASONS = "SELECT DISTINCT ecosystem, package, reason_code FROM fixes WHERE outcome IS NOT NULL"

#: Of a registry's word, and of advisories that are named.
_SHOWN_CHARS, _NAMED = 120, 3


def what_to_raise(snapshot: Snapshot, *, repo: str = "", package: str = "") -> Answer:
    """The changes of the organisation, or the places of the repositories that ``repo`` matches, or the versions of a
    ``package`` (``ECOSYSTEM/NAME``); of both, the places of the package there.

    Not whole where a step is not known, or a registry could not be asked. Raises UsageError: no repository matches, or
    it is no package. Raises LakeError.
    """
    asked = _asked(package)
    if repo:
        table = _places(snapshot, repo, asked)
    elif asked is not None:
        table = arrow_of(snapshot, _VERSIONS, POLICY, asked=pa.table({"ecosystem": [asked[0]], "package": [asked[1]]}))
    else:
        table = arrow_of(snapshot, f"SELECT * FROM changes ORDER BY {ORDER}", POLICY)
    counts = arrow_of(snapshot, _COUNTS, POLICY).to_pylist()[0]
    told = [(r["ecosystem"], r["reason_code"]) for r in arrow_of(snapshot, _REASONS, POLICY).to_pylist()]
    notes = _notes(counts, Counter(reason for _, reason in told if reason))
    return answer_of(
        table, notes, is_whole=not counts["unasked"] and not in_trouble(told),
        as_of=advisories_as_of(feeds_of(snapshot), datetime.now(UTC)),
    )  # fmt: skip


def _asked(package: str) -> tuple[str, str] | None:
    if not package:
        return None
    found = package_of(package)
    if found is None or found[2]:
        raise UsageError(
            f"{one_line(package, 80)!r} is no package",
            advice=f"Give ECOSYSTEM/NAME, as PyPI/requests; ecosystems: {', '.join(PURL_TYPES)}.",
        )
    return found[0], found[1]


def _places(snapshot: Snapshot, pattern: str, asked: tuple[str, str] | None) -> pa.Table:
    """One row a version of a package of a manifest, with what to do about it in words."""
    rows = arrow_of(snapshot, "SELECT DISTINCT repo_id, slug FROM scopes").to_pylist()
    chosen = sorted({r["repo_id"] for r in rows if fnmatchcase(r["slug"], pattern)})
    if not chosen:
        raise UsageError(
            f"no repository of the lake is called {one_line(pattern, 80)!r}",
            advice="`nightwarden query 'SELECT DISTINCT slug FROM scopes'` lists them; patterns as 'shop/*' match.",
        )
    table = arrow_of(snapshot, _PLACES, POLICY, chosen=pa.table({"repo_id": chosen}))
    told = [r for r in table.to_pylist() if asked is None or (r["ecosystem"].partition(":")[0], r["package"]) == asked]
    words = [to_do(r) for r in told]
    found = pa.Table.from_pylist(told, schema=table.schema)
    return found.add_column(found.column_names.index("outcome"), "to_do", pa.array(words, pa.string()))


def to_do(place: dict[str, Any]) -> str:
    """What is to be done about a row of ``fixes``, or several of one place, in a sentence."""
    name, to, way = place["package"], place["to_version"], place["way"]
    if place["outcome"] is None:
        return "nobody has looked for a step: run `nightwarden assess`"
    if to is None:
        return f"no step: {_meaning(place['reason'])}"
    through = ", ".join(place["through"] or ())
    if way == What.REFRESH_OR_RAISE and through:
        told = f"refresh the lock so that it takes {name} {to}; if that leaves it, raise {through}"
    elif way == What.UNKNOWN or way is None:
        told = f"raise {name} to {to}" + ("" if through else ", here or in what asks for it")
    else:
        told = f"raise {name} to {to}" + (f"; {through} may hold it where it is" if through else "")
    breaks = "" if place["is_breaking"] is False else "; the step may break"
    return told + breaks + (f"; {len(place['leaves'])} remain" if place["leaves"] else "") + "".join(_doubts(place))


def _doubts(place: dict[str, Any]) -> Iterator[str]:
    """What speaks against the version to go to."""
    if place["word"]:
        yield f"; its registry speaks against it: {one_line(place['word'], _SHOWN_CHARS)}"
    if unjudged := place["unjudged"]:
        more = f" and {len(unjudged) - _NAMED} more" if len(unjudged) > _NAMED else ""
        yield f"; nobody can tell whether it has {', '.join(unjudged[:_NAMED])}{more}"


def _meaning(code: str | None) -> str:
    return REASONS[code].meaning.rstrip(".") if code in REASONS else "the reason is not known"


def _packages(n: int) -> str:
    return f"{n} package{'s' if n != 1 else ''}"


def _notes(counts: dict[str, Any], reasons: Mapping[str, int]) -> Iterator[str]:
    if counts["unasked"]:
        yield f"of {counts['unasked']} versions nobody has looked for a step yet: run `nightwarden assess`"
    if counts["unmended"]:
        yield f"{counts['unmended']} findings have no step that mends them: `nightwarden query --saved without-fix`"
    if counts["unchecked"]:
        yield (
            f"of {_packages(counts['unchecked'])} only advisories name versions, no registry told: newer ones are not"
            " known, and one may have been withdrawn"
        )
    if counts["unjudged"]:
        yield (
            f"of {_packages(counts['unjudged'])} an advisory cannot be compared with versions: it may be about the"
            " version to go to (`unjudged`)"
        )
    for code, n in sorted(reasons.items()):
        yield f"{code}: {_packages(n)}. {REASONS[code].meaning}" if code in REASONS else f"{code}: {_packages(n)}"
