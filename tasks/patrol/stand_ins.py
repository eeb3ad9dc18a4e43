"""Rows that stand in for repositories nobody could look at: a source that is unread, what a forge hides, a manifest's
mistakes. Their ids are their own, never one that a repository could have in another source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from tasks.core.origins import Listing, Source
from tasks.core.types import Repo
from tasks.repos.discovery import Discovered, normalised
from tasks.repos.manifest import Entry

#: Reasons that only stand-ins have: nothing was ever read of them.
STAND_INS = frozenset(
    {"source_unread", "forge_unreachable", "forge_denied", "forge_limited", "forge_hidden", "forge_difference",
     "not_listed", "manifest_entry", "gap_gone"}
)  # fmt: skip


def is_stand_in(repo: Repo, reason_code: str | None) -> bool:
    """Whether a row stands in for others: by its reason, or because it is the row of a source itself."""
    return reason_code in STAND_INS or repo.repo_id == _of_source(repo.source)


def source_row(source: Source, reason: str, detail: str) -> Discovered:
    """What is said of a source that could not be asked, or holds nothing."""
    name = f"source {source.name}"
    repo = Repo(repo_id=_of_source(source.name), slug=name, url=source.location, source=source.name)
    return Discovered(repo=repo, reason_code=reason, detail=detail)


def _of_source(name: str) -> str:
    return f"source:{name}"


def manifest_row(source: Source, detail: str) -> Discovered:
    """What is said of the manifest beside a forge when it cannot be read."""
    return _of_manifest(source, f"{source.name} manifest", detail)


def entry_rows(source: Source, entries: Iterable[Entry]) -> Iterator[Discovered]:
    """What is said of the entries that cannot be used; several may stand in one line."""
    told: Counter[int] = Counter()
    for e in entries:
        if e.problem:
            told[e.line] += 1
            which = f" ({told[e.line]})" if told[e.line] > 1 else ""
            yield _of_manifest(source, f"{source.name} manifest line {e.line}{which}", e.problem)


def _of_manifest(source: Source, name: str, detail: str) -> Discovered:
    repo = Repo(repo_id=f"source:{name}", slug=name, url=str(source.manifest), source=source.name)
    return Discovered(repo=repo, reason_code="manifest_entry", detail=detail)


def same_id_row(source: Source, repo: Repo, other: Repo) -> Discovered:
    """What is said of a repository that bears the id of another: two forges behind one address, as it seems."""
    name = f"{source.name} {repo.slug} ({repo.repo_id} twice)"
    detail = f"{other.slug} of source {other.source} has its number; it is not read"
    row = Repo(repo_id=f"source:{name}", slug=name, url=repo.url, source=source.name)
    return Discovered(repo=row, reason_code="forge_difference", detail=detail)


def missing_of_manifest(source: Source, listing: Listing, expected: Iterable[Entry]) -> Iterator[Discovered]:
    """What the manifest beside a forge names and the forge does not list."""
    there = {normalised(r.clone_url).lower() for r in listing.repos}
    expected = list(expected)
    yield from entry_rows(source, expected)
    for e in expected:
        if not e.problem and (name := normalised(e.url)).lower() not in there:
            repo = Repo(repo_id=f"source:{source.name} expects {name}", slug=name, url=e.url, source=source.name)
            yield Discovered(repo=repo, reason_code="not_listed", detail=f"line {e.line} of the manifest")


def differences(source: Source, listing: Listing) -> Iterator[Discovered]:
    """What the forge's own total, and its hints, say of repositories that are not listed."""
    assert source.forge is not None
    owner, seen, hidden = source.forge.owner, len(listing.repos), list(listing.doubts)
    app = "; the app is installed on a selection of repositories" if listing.selected else ""
    if listing.total is None:
        if listing.selected:
            yield _difference(source, listing, "forge_difference", f"{seen} seen, no total{app}")
    elif listing.total > seen:
        said = f"{owner} has {listing.total} repositories ({listing.total_from}), {seen} are seen"
        hidden.insert(0, f"{said}: {listing.total - seen} are not{app}")
    elif listing.total < seen:
        said = f"{owner} has {listing.total} repositories ({listing.total_from}), {seen} are listed"
        yield _difference(source, listing, "forge_difference", said)
    if hidden:
        yield _difference(source, listing, "forge_hidden", "; ".join(hidden))


def _difference(source: Source, listing: Listing, reason: str, detail: str) -> Discovered:
    assert source.forge is not None
    place = f"{listing.host}/{source.forge.owner}"
    what = "not visible" if reason == "forge_hidden" else "difference"
    repo = Repo(repo_id=f"{place} ({what})", slug=f"{place} ({what})", url=source.location, source=source.name)
    return Discovered(repo=repo, reason_code=reason, detail=detail)
