"""Settings of GitHub's repositories.

https://docs.github.com/en/rest: /branches (whether one is protected, and the classic protection, which takes
Administration: read), /repos/rules (rules of rulesets for a branch, told to everybody), /collaborators, /deploy-keys,
and /orgs (``two_factor_requirement_enabled``, told to owners). Who may pass by a ruleset is told to writers only and
is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    told.ask(PROTECTION, _ADMINISTRATION, lambda: _protection(ask, pages, place, branch, unprotected))
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
    unprotected: Callable[[], bool],
) -> Row:
    name = quote(branch, safe="")
    if ask(f"{place}/branches/{name}").get("protected") is not True:
        return {"protected": False}
    rules = pages(f"{place}/rules/branches/{name}", {})
    kinds = {answers.text(r, "type") for r in rules}
    approvals = [
        answers.count(answers.mapping(r.get("parameters") or {}), "required_approving_review_count") or 0
        for r in rules
        if r.get("type") == "pull_request"
    ]
    classic: Row | None = None
    try:
        classic = ask(f"{place}/branches/{name}/protection")
    except ForgeError as e:
        if e.reason_code != "forge_denied" or not unprotected():
            raise
    found: dict[str, Any] = {
        "protected": True,
        "reviews": max(approvals, default=0),
        "force_push": "non_fast_forward" not in kinds,
        "deletion": "deletion" not in kinds,
        # Who may pass by a ruleset is not told.
        "binds_administrators": None,
    }
    if classic is not None:
        reviews = answers.mapping(classic.get("required_pull_request_reviews") or {})
        found["reviews"] = max(found["reviews"], answers.count(reviews, "required_approving_review_count") or 0)
        found["force_push"] &= _enabled(classic, "allow_force_pushes")
        found["deletion"] &= _enabled(classic, "allow_deletions")
        found["binds_administrators"] = True if rules else _enabled(classic, "enforce_admins")
    return found


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
