"""Settings of GitHub's repositories.

https://docs.github.com/en/rest: /branches (whether one is protected, and the classic protection, which takes
Administration: read), /repos/rules (rules of rulesets for a branch, told to everybody), /rulesets (``bypass_actors``:
who may pass by one, told only to who may write rulesets), /collaborators, /deploy-keys, and /orgs
(``two_factor_requirement_enabled``, told to owners).

A protection holds for administrators where what binds them (rulesets without a role or an owner among those who may
pass by, classic protection with ``enforce_admins``) says as much as all of it; where that turns on a ruleset of which
nobody tells who may pass by, it is unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tasks.core.errors import ForgeError
from tasks.core.forge_settings import (
    ADMINISTRATORS,
    DEPLOY_KEYS,
    OUTSIDERS,
    PROTECTION,
    TWO_FACTOR,
    ForgeSettings,
)
from tasks.repos.forges import answers
from tasks.repos.forges.told import Told

Row = Mapping[str, Any]
_ADMINISTRATION = "`Administration: read` (fine-grained token or app), or a classic token of an administrator"
_WRITE = "a token of somebody who may write to the repository (app: `Administration: read`)"


def settings_of(
    ask: Callable[[str], Row],
    pages: Callable[[str, Mapping[str, str]], Sequence[Row]],
    slug: str,
    branch: str,
    *,
    organization: str | None,
    account: bool,
    status: Callable[[], int],
    unprotected: Callable[[], bool],
) -> ForgeSettings:
    """The settings of a repository; ``organization`` is its owner, if that is one. Raises ForgeError.

    ``status`` is that of the last refusal; ``unprotected`` whether it said that there is no classic protection, which
    is no lack of a right.
    """
    told, place = Told(status), f"/repos/{quote(slug)}"
    told.ask(PROTECTION, _ADMINISTRATION, lambda: _protection(ask, pages, place, branch, status, unprotected))
    told.ask(
        ADMINISTRATORS,
        _WRITE,
        lambda: {"logins": _logins(pages(f"{place}/collaborators", {"permission": "admin"}), ("admin",))},
    )
    if organization is not None:
        outside = {"affiliation": "outside"}
        told.ask(
            OUTSIDERS,
            _WRITE,
            lambda: {"logins": _logins(pages(f"{place}/collaborators", outside), ("push", "maintain", "admin"))},
        )
    told.ask(DEPLOY_KEYS, _ADMINISTRATION, lambda: {"writable": _writable(pages(f"{place}/keys", {}))})
    if account and organization is not None:
        owner = quote(organization, safe="")
        told.ask(TWO_FACTOR, "a token of an owner of the organisation", lambda: _two_factor(ask(f"/orgs/{owner}")))
    return told.settings()


def _protection(
    ask: Callable[[str], Row],
    pages: Callable[[str, Mapping[str, str]], Sequence[Row]],
    place: str,
    branch: str,
    status: Callable[[], int],
    unprotected: Callable[[], bool],
) -> Row:
    name = quote(branch, safe="")
    protected = ask(f"{place}/branches/{name}").get("protected") is True
    rules = [answers.mapping(r) for r in pages(f"{place}/rules/branches/{name}", {})]
    # Rules protect, whatever the branch says of itself.
    if not protected and not rules:
        return {"protected": False}
    sources, passing = _rulesets(ask, place, rules, status)
    try:
        classic = ask(f"{place}/branches/{name}/protection")
    except ForgeError as e:
        if e.reason_code != "forge_denied" or not unprotected():
            raise
    else:
        sources.append(_classic(classic))
    everybody = _effect(sources)
    sure = _effect(s for s in sources if s.binds is True) == everybody
    possible = _effect(s for s in sources if s.binds is not False) == everybody
    return {
        "protected": True,
        **everybody,
        "binds_administrators": True if sure else None if possible else False,
        "passing": passing,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """What one ruleset, or the classic protection, says; ``binds``: whether also to administrators, None unknown."""

    reviews: int
    force_push: bool
    deletion: bool
    binds: bool | None


def _effect(sources: Iterable[_Source]) -> dict[str, Any]:
    """What several say together: the strictest of each."""
    told = list(sources)
    return {
        "reviews": max((s.reviews for s in told), default=0),
        "force_push": all(s.force_push for s in told),
        "deletion": all(s.deletion for s in told),
    }


def _rulesets(
    ask: Callable[[str], Row], place: str, rules: Sequence[Row], status: Callable[[], int]
) -> tuple[list[_Source], list[str] | None]:
    """The rulesets of these rules, and who may pass by one without being an administrator; None where a ruleset does
    not tell."""
    by_number: dict[int | None, list[Row]] = {}
    for rule in rules:
        by_number.setdefault(answers.count(rule, "ruleset_id"), []).append(rule)
    sources, passing, is_told = [], set[str](), True
    for number, own in by_number.items():
        actors = _actors(ask, f"{place}/rulesets/{number}", status) if number is not None else None
        kinds = {answers.text(r, "type") for r in own}
        approvals = [
            answers.count(answers.mapping(r.get("parameters") or {}), "required_approving_review_count") or 0
            for r in own
            if r.get("type") == "pull_request"
        ]
        sources.append(
            _Source(
                reviews=max(approvals, default=0),
                force_push="non_fast_forward" not in kinds,
                deletion="deletion" not in kinds,
                binds=all(kind not in _ADMINISTER for kind, _ in actors) if actors is not None else None,
            )
        )
        is_told = is_told and actors is not None
        passing |= {f"{kind} {of or ''}".strip() for kind, of in actors or () if kind not in _ADMINISTER}
    return sources, sorted(passing) if is_told else None


#: Actors that are administrators, or a role that administrators have, too.
_ADMINISTER = frozenset(("OrganizationAdmin", "EnterpriseOwner", "RepositoryRole"))


def _actors(ask: Callable[[str], Row], ruleset: str, status: Callable[[], int]) -> list[tuple[str, int | None]] | None:
    """Who may pass by a ruleset: (kind, number); None where that is not told."""
    try:
        listed = ask(ruleset).get("bypass_actors")
    except ForgeError as e:
        if e.reason_code != "forge_denied" or status() not in (403, 404):
            raise
        return None
    if not isinstance(listed, list):
        return None
    return [(answers.text(a, "actor_type") or "", answers.count(a, "actor_id")) for a in map(answers.mapping, listed)]


def _classic(told: Row) -> _Source:
    reviews = answers.mapping(told.get("required_pull_request_reviews") or {})
    return _Source(
        reviews=answers.count(reviews, "required_approving_review_count") or 0,
        force_push=_enabled(told, "allow_force_pushes"),
        deletion=_enabled(told, "allow_deletions"),
        binds=_enabled(told, "enforce_admins"),
    )


def _enabled(protection: Row, name: str) -> bool:
    return answers.mapping(protection.get(name) or {}).get("enabled") is True


def _logins(rows: Sequence[Row], permissions: tuple[str, ...]) -> list[str]:
    found = set()
    for row in rows:
        login, allowed = answers.text(row, "login"), answers.mapping(row.get("permissions") or {})
        if login is None:
            raise answers.unexpected("a collaborator has no login")
        if any(allowed.get(p) is True for p in permissions):
            found.add(login)
    return sorted(found)


def _writable(rows: Sequence[Row]) -> list[str]:
    return sorted(answers.identity(row) for row in rows if row.get("read_only") is not True)


def _two_factor(organization: Row) -> Row | None:
    required = organization.get("two_factor_requirement_enabled")
    return {"required": required} if isinstance(required, bool) else None
