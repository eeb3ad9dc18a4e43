"""The step out of every version that is vulnerable somewhere, and how far behind is what is in use.

Steps are judged again where something is new that they go by: the version, the flaws of it, an advisory that names the
package, or the published versions. All of these go through one join; what is left as it was is compared and no more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tasks.deps import ordering
from tasks.deps.registries.asking import Answer
from tasks.deps.upgrades import Reason, Releases
from tasks.deps.upgrading import GROUPED, VULNERABLE, Advised, Basis, safe_upgrades, undated, with_days
from tasks.lake.lake import Snapshot
from tasks.lake.schema import TABLES
from tasks.lake.views import arrow_of
from tasks.patrol.advised_ranges import in_force, named_by
from tasks.patrol.listing import Listing, Version, in_use, judged_over

#: Raised when the same versions and advisories give another step.
REVISION = 2
Row = dict[str, Any]
Package = tuple[str, str]
_KEY = ("ecosystem", "package", "version")
#: What is vulnerable when this run's rows are in the lake, at places that are looked at.
_NOW = """
    WITH there AS (
        SELECT v.repo_id, v.ref, v.ecosystem, v.package, v.version, v.group_id FROM vulnerabilities v
        ANTI JOIN fresh f ON f.repo_id = v.repo_id AND f.ref = v.ref AND f.manifest = v.manifest
            AND f.ecosystem = v.ecosystem AND f.package = v.package AND f.version = v.version
            AND f.advisory_id = v.advisory_id
        WHERE v.present
        UNION ALL SELECT repo_id, ref, ecosystem, package, version, group_id FROM fresh WHERE present
    )
    SELECT DISTINCT ecosystem, package, version, group_id FROM there SEMI JOIN standing USING (repo_id, ref)"""
_PLACES = pa.schema({"repo_id": pa.string(), "ref": pa.string()})
_FRESH = (*TABLES["vulnerabilities"].key, "group_id", "present")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stepped:
    """Rows of the tables ``upgrades`` and ``releases`` that differ from what the lake has; ``judged`` counts the
    versions whose step was looked for anew."""

    upgrades: tuple[Row, ...]
    releases: tuple[Row, ...]
    judged: int


def stepped(
    snapshot: Snapshot,
    fresh: Sequence[Row],
    standing: Iterable[tuple[str, str]],
    changed: Collection[str] | None,
    listing: Listing,
) -> Stepped:
    """``fresh`` are the rows of ``vulnerabilities`` that this run writes, ``standing`` the (repo_id, ref) that are
    looked at, ``changed`` the advisories that are others than in the last run (None: all may be).

    Raises LakeError. Raises UsageError: answers of registries cannot be kept.
    """
    now = _vulnerable(snapshot, fresh, standing)
    used = in_use(snapshot, listing.ecosystems) | {v for v in now if v[0] in listing.ecosystems}
    answers = listing.of(sorted({(e, name) for e, name, _ in (*now, *used)}))
    over = {p: judged_over(REVISION, a) for p, a in answers.items()}
    upgrades, judged = _upgrades(snapshot, now, changed, listing, answers, over)
    return Stepped(upgrades=upgrades, releases=_releases(snapshot, used, answers, over), judged=judged)


def _vulnerable(
    snapshot: Snapshot, fresh: Sequence[Row], standing: Iterable[tuple[str, str]]
) -> dict[Version, frozenset[str]]:
    """The groups about each version."""
    fields = [TABLES["vulnerabilities"].schema.field(c) for c in _FRESH]
    rows = arrow_of(
        snapshot,
        _NOW,
        fresh=pa.Table.from_pylist([{c: r[c] for c in _FRESH} for r in fresh], schema=pa.schema(fields)),
        standing=pa.Table.from_pylist([{"repo_id": r, "ref": ref} for r, ref in standing], schema=_PLACES),
    )
    found: dict[Version, set[str]] = {}
    for ecosystem, name, version, group in zip(*rows.to_pydict().values(), strict=True):
        found.setdefault((ecosystem, name, version), set()).add(group)
    return {v: frozenset(groups) for v, groups in found.items()}


def _upgrades(
    snapshot: Snapshot,
    now: Mapping[Version, frozenset[str]],
    changed: Collection[str] | None,
    listing: Listing,
    answers: Mapping[Package, Answer],
    over: Mapping[Package, str],
) -> tuple[tuple[Row, ...], int]:
    held = _held(snapshot, "upgrades")
    named = {(r["ecosystem"], r["package"]) for r in named_by(snapshot, changed).to_pylist()} if changed else set()

    def is_new(version: Version, groups: frozenset[str]) -> bool:
        was, package = held.get(version), version[:2]
        if changed is None or was is None or not was["present"] or package in named:
            return True
        return was["judged_over"] != over[package] or groups != {*(was["cleared"] or ()), *(was["remaining"] or ())}

    wanted = {v: groups for v, groups in now.items() if is_new(v, groups)}
    made = {
        version: _held_row(was, answers[version[:2]])
        for version, was in held.items()
        if version in now and version not in wanted
    }
    for a in _advised(snapshot, wanted, answers, listing):
        package = (a.ecosystem, a.package)
        made[(*package, a.upgrade.version)] = _upgrade_row(a, answers[package], over[package])
    return _different(held, made), len(wanted)


def _advised(
    snapshot: Snapshot, wanted: Mapping[Version, frozenset[str]], answers: Mapping[Package, Answer], listing: Listing
) -> list[Advised]:
    if not wanted:
        return []
    rows = [(*version, group) for version, groups in wanted.items() for group in groups]
    vulnerable = pa.table([pa.array(c, pa.string()) for c in zip(*rows, strict=True)], schema=VULNERABLE)
    packages = sorted({v[:2] for v in wanted})
    judged = pa.table([pa.array(c, pa.string()) for c in zip(*packages, strict=True)], names=["ecosystem", "package"])
    ranges = in_force(snapshot, judged).select(GROUPED.names)
    advised = safe_upgrades(vulnerable, ranges, {p: answers[p].versions for p in packages if answers[p].versions})
    return with_days(advised, listing.dated(undated(advised)))


def _upgrade_row(a: Advised, answer: Answer, over: str) -> Row:
    u = a.upgrade
    return {
        "ecosystem": a.ecosystem, "package": a.package, "version": u.version, "outcome": str(u.outcome),
        "to_version": u.to, "reason": str(u.reason) if u.reason else None, "step": str(u.step),
        "is_breaking": u.is_breaking, "cleared": list(u.cleared), "remaining": list(u.remaining),
        "unjudged": list(a.unjudged), "releases_skipped": u.releases_skipped, "days_behind": u.days_behind,
        "newest": u.newest, "word": u.word or (answer.word if a.basis is Basis.REGISTRY else None),
        "basis": str(a.basis), **_said(answer), "judged_over": over, "present": True,
    }  # fmt: skip


def _said(answer: Answer) -> Row:
    return {
        "reason_code": str(answer.reason) if answer.reason else None, "detail": answer.detail or None,
        "asked_at": answer.asked_at,
    }  # fmt: skip


def _held_row(was: Row, answer: Answer) -> Row:
    return {**was, **_said(answer), "present": True}


def _releases(
    snapshot: Snapshot, used: Iterable[Version], answers: Mapping[Package, Answer], over: Mapping[Package, str]
) -> tuple[Row, ...]:
    held, made = _held(snapshot, "releases"), {}
    of: dict[Package, Releases] = {}
    for version in sorted(used):
        package, was = version[:2], held.get(version)
        answer = answers[package]
        if was is not None and was["judged_over"] == over[package]:
            made[version] = _held_row(was, answer)
            if was["reason_code"] == Reason.UNKNOWN_VERSION and answer.reason is None:
                made[version]["reason_code"] = was["reason_code"]
            continue
        if package not in of:
            of[package] = Releases(package[0], answer.versions, {})
        made[version] = _release_row(version, answer, of[package], over[package])
    return _different(held, made)


def _release_row(version: Version, answer: Answer, releases: Releases, over: str) -> Row:
    ecosystem, name, number = version
    told, is_known = releases.standing(number), bool(answer.versions)
    row = {
        "ecosystem": ecosystem, "package": name, "version": number, "newest": told.newest,
        "releases_behind": told.releases_behind if is_known else None, "days_behind": told.days_behind,
        "is_withdrawn": told.is_withdrawn, "word": told.word, "package_word": answer.word, "unread": answer.unread,
        **_said(answer), "judged_over": over, "present": True,
    }  # fmt: skip
    if is_known and ordering.key(ecosystem, number) is None:
        row |= {"releases_behind": None, "reason_code": row["reason_code"] or str(Reason.UNKNOWN_VERSION)}
    return row


def _held(snapshot: Snapshot, name: str) -> dict[Version, Row]:
    return {(r["ecosystem"], r["package"], r["version"]): r for r in snapshot.table(name).to_pylist()}


def _different(held: Mapping[Version, Row], made: Mapping[Version, Row]) -> tuple[Row, ...]:
    """What is to be written: rows that say something else than the lake's, and those that are no more."""
    rows = [row for key, row in made.items() if (was := held.get(key)) is None or _meant(was) != _meant(row)]
    rows += [{**was, "present": False} for key, was in held.items() if key not in made and was["present"]]
    return tuple(rows)


def _meant(row: Row) -> Row:
    """When a registry said the same again is no difference; an empty list is none."""
    return {c: v or None if isinstance(v, list) else v for c, v in row.items() if c != "asked_at"}
