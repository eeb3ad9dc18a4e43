"""Settings of GitLab's projects.

https://docs.gitlab.com/api: /protected_branches (names may hold ``*``; of several that fit the least strict counts, as
GitLab says; a protected branch cannot be deleted by git), /approval_rules (of Premium and Ultimate alone, so that
elsewhere it is unread; those of reports ask only when a report finds something), /members/all, /deploy_keys, and
/groups (``require_two_factor_authentication``, told to members; that of a group above holds, too, what the whole
instance asks for is told to nobody). Approvals are of merge requests: who may push (``push_access_levels``) needs none.
So where Developers may, no review is required, and where Maintainers may, it does not hold for administrators. Whoever
administers a project has the role Maintainer (40) or Owner (50); from outside is who is a member of the project with
the role Developer (30) or more and not of its group, or of one above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
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

_DEVELOPER, _MAINTAINER = 30, 40
_ONE = ("user_id", "group_id", "deploy_key_id")
_MAINTAINS = "the scope `read_api` and the role Maintainer of the project"

Ask = Callable[[str], object]
Pages = Callable[[str], Iterable[object]]


def settings_of(
    ask: Ask, pages: Pages, slug: str, branch: str, group: str, *, account: bool, status: Callable[[], int]
) -> ForgeSettings:
    """The settings of a project below ``group``. Raises ForgeError, and what python-gitlab raises."""
    told, project = Told(status), f"/projects/{quote(slug, safe='')}"
    own_group = quote(slug.rpartition("/")[0], safe="")
    told.ask(PROTECTION, _MAINTAINS, lambda: _protection(ask, pages, project, branch, status))
    told.ask(
        ADMINISTRATORS,
        "the scope `read_api` and membership of the project",
        lambda: {"logins": sorted(_members(pages(f"{project}/members/all"), _MAINTAINER))},
    )
    told.ask(
        OUTSIDERS,
        "the scope `read_api` and membership of the group",
        lambda: {"logins": _outside(pages, project, own_group)},
    )
    told.ask(DEPLOY_KEYS, _MAINTAINS, lambda: {"writable": _writable(pages(f"{project}/deploy_keys"))})
    if account:
        told.ask(TWO_FACTOR, "membership of the group and of those above it", lambda: _two_factor(ask, group))
    return told.settings()


def _protection(ask: Ask, pages: Pages, project: str, branch: str, status: Callable[[], int]) -> Mapping[str, Any]:
    rules = [answers.mapping(r) for r in pages(f"{project}/protected_branches")]
    mine = [r for r in rules if _fits(branch, answers.text(r, "name") or "")]
    if not mine:
        return {"protected": False}
    entries = [e for r in mine for e in _entries(r, "push_access_levels")]
    # Those of one person, group or key are no role.
    pushing = [answers.count(e, "access_level") for e in entries if not any(e.get(k) for k in _ONE)]
    reviews = 0 if _DEVELOPER in pushing else _approvals(pages, project, branch, status)
    return {
        "protected": True,
        "reviews": reviews,
        "force_push": any(r.get("allow_force_push") is True for r in mine),
        "deletion": False,
        # Without a review there is nothing else to pass by.
        "binds_administrators": not any(level and level >= _MAINTAINER for level in pushing) if reviews else None,
    }


def _entries(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of objects, empty where the forge says nothing."""
    found = row.get(name)
    return [answers.mapping(entry) for entry in found] if isinstance(found, list) else []


def _fits(branch: str, pattern: str) -> bool:
    """``*`` is GitLab's only wildcard."""
    return fnmatchcase(branch, pattern.replace("[", "[[]").replace("?", "[?]"))


def _approvals(pages: Pages, project: str, branch: str, status: Callable[[], int]) -> int | None:
    try:
        rules = [answers.mapping(r) for r in pages(f"{project}/approval_rules")]
    except ForgeError as e:
        if e.reason_code != "forge_denied" or status() not in (403, 404):
            raise
        return None
    required = [
        answers.count(r, "approvals_required") or 0
        for r in rules
        if r.get("rule_type") != "report_approver"
        and (
            not r.get("protected_branches")
            or any(_fits(branch, answers.text(answers.mapping(b), "name") or "") for b in r["protected_branches"])
        )
    ]
    return max(required, default=0)


def _members(rows: Iterable[object], least: int) -> set[str]:
    found = set()
    for row in map(answers.mapping, rows):
        login, level = answers.text(row, "username"), answers.count(row, "access_level")
        if login is None or level is None:
            raise answers.unexpected("a member has no name or no role")
        if level >= least and row.get("state", "active") == "active":
            found.add(login)
    return found


def _outside(pages: Pages, project: str, group: str) -> list[str]:
    mine = _members(pages(f"{project}/members"), _DEVELOPER)
    return sorted(mine - _members(pages(f"/groups/{group}/members/all"), 0))


def _writable(rows: Iterable[object]) -> list[str]:
    return sorted(answers.identity(row) for row in map(answers.mapping, rows) if row.get("can_push") is True)


def _two_factor(ask: Ask, group: str) -> Mapping[str, Any] | None:
    """Whether the group, or one above it, requires a second factor: that holds for what lies below."""
    names = group.split("/")
    for depth in range(len(names), 0, -1):
        found = answers.mapping(ask(f"/groups/{quote('/'.join(names[:depth]), safe='')}"))
        required = found.get("require_two_factor_authentication")
        if required is not False:
            return {"required": True} if required is True else None
    return {"required": False}
