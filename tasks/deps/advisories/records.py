"""One OSV record: what of it becomes columns. The record itself is kept beside them, so that nothing is lost.

https://ossf.github.io/osv-schema/ (1.7). Unknown fields are kept in the record and otherwise passed over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from tasks.deps.advisories.export import dated
from tasks.deps.advisories.ranges import Interval, Key, intervals
from tasks.deps.advisories.severities import scores
from tasks.deps.naming import normal, without_repository

#: Raised when the same record gives other columns: what is kept is then read again, without the network.
PARSE_REVISION = 2
_LONGEST_TEXT = 2_000
_MAX_LISTED = 2_000
_DIGEST_CHARS = 32

#: Why nothing of an entry can be compared with a version.
GIT_ONLY, NO_VERSIONS, MALFORMED, NO_PACKAGE = "git_only", "no_versions", "malformed", "no_package"


@dataclass(frozen=True, slots=True, kw_only=True)
class Affected:
    """One row of ``advisory_ranges``: an interval, a list of versions, or what cannot be compared, with its ``reason``.

    ``type`` is ECOSYSTEM, SEMVER, GIT, or VERSIONS for an explicit list. ``n`` counts the rows of an advisory.
    """

    n: int
    ecosystem: str
    package: str | None
    type: str
    introduced: str | None = None
    fixed: str | None = None
    last_affected: str | None = None
    limit_version: str | None = None
    versions: tuple[str, ...] | None = None
    repo: str | None = None
    last_known: str | None = None
    ordered: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One advisory, as one ecosystem's feed has it. ``reason`` says why none of its rows can be compared; None: some
    can. ``digest`` is of all it says, ``match_digest`` of what decides which versions it is about."""

    advisory_id: str
    digest: str
    match_digest: str
    aliases: tuple[str, ...]
    related: tuple[str, ...]
    summary: str | None
    published_at: datetime | None
    modified_at: datetime | None
    withdrawn_at: datetime | None
    is_withdrawn: bool
    cvss_v4: str | None
    cvss_v3: str | None
    cvss_v2: str | None
    cvss_score: float | None
    cvss_malformed: int
    severity: str | None
    cwes: tuple[str, ...]
    url: str | None
    reason: str | None
    modified: str
    affected: tuple[Affected, ...]


class NoRecordError(ValueError):
    """It is no record of OSV, or not the one that its name says."""


def parse(content: bytes, name: str, ecosystem: str, key: Key | None = None) -> Record:
    """The record in ``content``, as far as it is about ``ecosystem`` (Debian: all its releases).

    What a record says of other ecosystems is told by their feeds. Raises NoRecordError.
    """
    try:
        raw = orjson.loads(content)  # refuses what nests deeper than 1,024, half surrogates and what is not UTF-8
    except orjson.JSONDecodeError as e:
        raise NoRecordError(f"it is no JSON: {e.msg}") from None
    if not isinstance(raw, dict):
        raise NoRecordError("it is no object")
    if raw.get("id") != name:
        raise NoRecordError("its id is another than its file's name")
    if not isinstance(raw.get("modified"), str):
        raise NoRecordError("it says no `modified`")
    affected = tuple(_numbered(raw.get("affected"), ecosystem, key))
    comparable = any(a.reason is None for a in affected)
    entries = [a for a in _dicts(raw.get("affected")) if _is_of(a, ecosystem)]
    cvss = scores(raw.get("severity"), *(a.get("severity") for a in entries))
    own = raw.get("database_specific")
    own = own if isinstance(own, dict) else {}
    # A date that is none still says that it was withdrawn.
    withdrawn = raw.get("withdrawn")
    # The order of keys says nothing; the one in the zip and the file beside it may differ in it.
    canonical = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
    return Record(
        advisory_id=name,
        digest=_digest(canonical),
        match_digest=_digest(orjson.dumps([bool(withdrawn), [_plain(a) for a in affected]])),
        aliases=_texts(raw.get("aliases"), without=name),
        related=_texts(raw.get("related"), without=name),
        summary=_text(raw.get("summary")),
        published_at=dated(raw.get("published")),
        modified_at=dated(raw["modified"]),
        withdrawn_at=dated(withdrawn),
        is_withdrawn=bool(withdrawn),
        cvss_v4=cvss.v4,
        cvss_v3=cvss.v3,
        cvss_v2=cvss.v2,
        cvss_score=cvss.score,
        cvss_malformed=cvss.malformed,
        severity=_text(own.get("severity")),
        cwes=_texts(own.get("cwe_ids")),
        url=_url(raw.get("references")),
        reason=None if comparable else next((a.reason for a in affected if a.reason), NO_PACKAGE),
        modified=raw["modified"],
        affected=affected,
    )


def _numbered(entries: object, ecosystem: str, key: Key | None) -> Iterator[Affected]:
    n = 0
    for entry in _dicts(entries):
        if _is_of(entry, ecosystem):
            for row in _rows(entry, ecosystem, key):
                yield Affected(n=n, **row)
                n += 1


def _is_of(entry: dict[str, Any], ecosystem: str) -> bool:
    """Whether an entry is about the feed's ecosystem; one without a package is of every feed that has its record."""
    package = entry.get("package")
    named = package.get("ecosystem") if isinstance(package, dict) else None
    return named is None or (isinstance(named, str) and named.partition(":")[0] == ecosystem)


def _rows(entry: dict[str, Any], feed: str, key: Key | None) -> Iterator[dict[str, Any]]:
    found = entry.get("package")
    package: dict[str, Any] = found if isinstance(found, dict) else {}
    name, ecosystem = _text(package.get("name")), without_repository(_text(package.get("ecosystem")) or feed)
    base: dict[str, Any] = {
        "ecosystem": ecosystem,
        "package": normal(ecosystem, name) if name else None,
        "last_known": _last_known(entry),
    }
    made: list[dict[str, Any]] = []
    for one in _dicts(entry.get("ranges")):
        made += _of_range(one, ecosystem, key)
    if versions := _texts(entry.get("versions"), most=None):
        made.append({"type": "VERSIONS", "versions": versions})
    if not made:
        made.append({"type": "NONE", "reason": NO_VERSIONS})
    # Commits beside versions are no reason: what can be compared is.
    for row in made:
        if not name and row.get("reason") is None:
            row["reason"] = NO_PACKAGE
        yield base | row


def _of_range(found: dict[str, Any], ecosystem: str, key: Key | None) -> list[dict[str, Any]]:
    kind, repo = _text(found.get("type")) or "", _text(found.get("repo"))
    if kind == "GIT":
        # Commits: their order is the repository's, which nobody asks here.
        made = intervals(found.get("events"), ecosystem)
        reason: str | None = GIT_ONLY
    else:
        made = intervals(found.get("events"), ecosystem, key) if kind in ("ECOSYSTEM", "SEMVER") else None
        reason = None if made is not None else MALFORMED
    if made is None:
        return [{"type": kind or "NONE", "repo": repo, "reason": reason or MALFORMED}]
    return [{"type": kind, "repo": repo, "reason": reason, **_columns(i)} for i in made]


def _columns(interval: Interval) -> dict[str, Any]:
    return {
        "introduced": interval.introduced,
        "fixed": interval.fixed,
        "last_affected": interval.last_affected,
        "limit_version": interval.limit,
        "ordered": interval.ordered,
    }


def _last_known(entry: dict[str, Any]) -> str | None:
    """GitHub's word for the last version known to be affected where none is fixed, as ``<= 1.2.3``."""
    own = entry.get("database_specific")
    return _text(own.get("last_known_affected_version_range")) if isinstance(own, dict) else None


def _plain(a: Affected) -> list[Any]:
    return [getattr(a, name) for name in _MATCHED]


_MATCHED = (
    "ecosystem",
    "package",
    "type",
    "introduced",
    "fixed",
    "last_affected",
    "limit_version",
    "versions",
    "reason",
)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_CHARS]


def _dicts(value: object) -> list[dict[str, Any]]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value[:_LONGEST_TEXT] if isinstance(value, str) and value else None


def _texts(value: object, *, without: str = "", most: int | None = _MAX_LISTED) -> tuple[str, ...]:
    """Each text of a list once, in its order."""
    if not isinstance(value, list):
        return ()
    return tuple(dict.fromkeys(v for v in value[:most] if isinstance(v, str) and v and v != without))


def _url(references: object) -> str | None:
    """The advisory's own page, else the first web address that it names."""
    found = [(r.get("type"), r.get("url")) for r in _dicts(references)]
    web = [(kind, url) for kind, url in found if isinstance(url, str) and url.startswith(("https://", "http://"))]
    return next((_text(url) for kind, url in web if kind == "ADVISORY"), _text(web[0][1]) if web else None)
