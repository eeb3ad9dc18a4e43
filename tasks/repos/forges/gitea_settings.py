"""Settings of Gitea's and Forgejo's repositories.

The server's own /api/swagger: /branches (``protected``, ``effective_branch_protection_name``), /branch_protections
(told to administrators, as is the rule's name; force pushes are ``enable_force_push``, absent before 1.23, where a
protected branch takes none), /collaborators with their /permission, /keys, and /members of an organisation. Approvals
are of pull requests: where everybody who may write may push (``enable_push`` without a list), none is required. Rights
that come by a team are not among those of collaborators. A protected branch cannot be deleted. Whether a second factor
is required the API tells nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

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

_ADMINISTERS = "the permission read of repository, and a user who administers the repository"
#: Collaborators of one repository that are asked about, each by a request.
_MOST = 100

Ask = Callable[[str], object]
Pages = Callable[[str], Iterable[Mapping[str, Any]]]


def settings_of(
    ask: Ask, pages: Pages, slug: str, branch: str, *, organization: bool, account: bool, status: Callable[[], int]
) -> ForgeSettings:
    """The settings of a repository. Raises ForgeError."""
    told, place = Told(status), f"/repos/{quote(slug)}"
    permissions: dict[str, str] = {}

    def collaborators() -> dict[str, str] | None:
        if not permissions:
            names = [answers.text(row, "login") for row in pages(f"{place}/collaborators")]
            if None in names:
                raise answers.unexpected("a collaborator has no name")
            if len(names) > _MOST:
                return None
            for name in names:
                row = answers.mapping(ask(f"{place}/collaborators/{quote(name or '', safe='')}/permission"))
                permissions[name or ""] = answers.text(row, "permission") or ""
        return permissions

    told.ask(PROTECTION, _ADMINISTERS, lambda: _protection(ask, place, branch))

    def administrators() -> Mapping[str, Any] | None:
        found = collaborators()
        if found is None:
            return None
        return {"logins": sorted(n for n, may in found.items() if may in ("admin", "owner"))}

    def outsiders() -> Mapping[str, Any] | None:
        found = collaborators()
        return {"logins": _outside(pages, slug, found)} if found is not None else None

    few = f"{_ADMINISTERS}, and at most {_MOST} collaborators, for each takes a request"
    told.ask(ADMINISTRATORS, few, administrators)
    if organization:
        told.ask(OUTSIDERS, few, outsiders)
    told.ask(DEPLOY_KEYS, _ADMINISTERS, lambda: {"writable": _writable(pages(f"{place}/keys"))})
    if account and organization:
        told.never(TWO_FACTOR, "Gitea's API does not tell whether a second factor is required")
    return told.settings()


def _protection(ask: Ask, place: str, branch: str) -> Mapping[str, Any] | None:
    found = answers.mapping(ask(f"{place}/branches/{quote(branch, safe='')}"))
    if found.get("protected") is not True:
        return {"protected": False}
    name = answers.text(found, "effective_branch_protection_name")
    if name is None:
        return None  # the forge names the rule to administrators alone: what it allows is unknown
    rule = answers.mapping(ask(f"{place}/branch_protections/{quote(name, safe='')}"))
    blocked = rule.get("block_admin_merge_override")
    pushed = rule.get("enable_push") is True and rule.get("enable_push_whitelist") is not True
    return {
        "protected": True,
        "reviews": 0 if pushed else answers.count(rule, "required_approvals"),
        "force_push": rule.get("enable_force_push") is True,
        "deletion": False,
        "binds_administrators": blocked if isinstance(blocked, bool) else None,
    }


def _outside(pages: Pages, slug: str, permissions: Mapping[str, str]) -> list[str]:
    """Collaborators who may write and are no members of the organisation."""
    organization = quote(slug.partition("/")[0], safe="")
    members = {answers.text(row, "login") for row in pages(f"/orgs/{organization}/members")}
    return sorted(n for n, may in permissions.items() if may in ("write", "admin", "owner") and n not in members)


def _writable(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return sorted(answers.identity(row) for row in rows if row.get("read_only") is not True)
