"""What a repository is worth to the organisation, and whether it is patrolled, by rules of the configuration. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from tasks.core.origins import Classification, Filters, ListedRepo
from tasks.core.types import Repo


def classified(repo: Repo, rules: Iterable[Classification], listed: ListedRepo | None = None) -> Repo:
    """The repository with owner, criticality, exposure and compliance scopes by the rules.

    What it says of itself already (a manifest's words) stays; of several rules that hold, the first that says a word
    wins for that word, and their scopes are added up. ``listed`` is what its forge says; without it, rules that ask for
    topics or a visibility do not hold.
    """
    found = [r for r in rules if _holds(r, repo, listed)]

    def first(word: str) -> str | None:
        said = (getattr(r, word) for r in found)
        return getattr(repo, word) or next((w for w in said if w), None)

    return replace(
        repo,
        owner=first("owner"),
        criticality=first("criticality"),
        exposure=first("exposure"),
        scopes=tuple(sorted({*repo.scopes, *(s for r in found for s in r.scopes)})),
    )


def _holds(rule: Classification, repo: Repo, listed: ListedRepo | None) -> bool:
    topics, visibility = (listed.topics, listed.visibility) if listed is not None else ((), None)
    return (
        (not rule.match or _matches(repo.slug, rule.match))
        and (not rule.sources or repo.source in rule.sources)
        and (not rule.topics or bool(set(rule.topics) & set(topics)))
        and (not rule.visibility or visibility in rule.visibility)
    )


def filtered(slug: str, filters: Filters, listed: ListedRepo | None = None) -> str:
    """Why a repository is not patrolled, in words; empty when it is. What its forge does not tell filters nothing."""
    if filters.include and not _matches(slug, filters.include):
        return "no pattern of filters.include matches"
    if _matches(slug, filters.exclude):
        return "a pattern of filters.exclude matches"
    if listed is None:
        return ""
    if listed.archived and not filters.archived:
        return "archived (filters.archived)"
    if listed.fork and not filters.forks:
        return "a fork (filters.forks)"
    if filters.topics and not set(filters.topics) & set(listed.topics):
        return "none of filters.topics"
    if filters.visibility and listed.visibility is not None and listed.visibility not in filters.visibility:
        return f"{listed.visibility} (filters.visibility)"
    if filters.max_size_mb is not None and (listed.size_mb or 0) > filters.max_size_mb:
        return f"{listed.size_mb:.0f} MB (filters.max_size_mb)"
    return ""


def _matches(slug: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(slug, p) for p in patterns)
