"""Approvals of GitLab's merge requests (https://docs.gitlab.com/api/merge_request_approvals, /merge_requests, /commits,
/users).

GitLab's API tells of a commit the e-mails of author and committer, and no account. An account is known by its private
commit e-mail (``ID-NAME@users.noreply.HOST``) or by its public one; administrators are shown the others. Of a commit
whose account is not known, nobody can say that it is not the reviewer's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tasks.core.origins import Review
from tasks.repos.forges import answers
from tasks.repos.forges.answers import MissingError

_UNTIMED = "its GitLab does not tell when a merge request was approved, so it may have been an earlier state of it"
#: More commits of a merge request than are looked at.
_MOST_COMMITS = 250
_EMAILS = ("public_email", "email", "commit_email")

Ask = Callable[[str], object]


class Asking:
    """What is asked of one GitLab: objects, lists, and users by a word."""

    def __init__(self, ask: Ask, pages: Callable[[str], Iterable[object]], find: Callable[[str], Iterable[object]],
                 host: str) -> None:  # fmt: skip
        """``find`` gives the first users that a word finds; ``host`` is the instance's, without a port."""
        self.ask, self.pages, self._find = ask, pages, find
        self._private = re.compile(r"([0-9]+)-[^@]+@users\.noreply\." + re.escape(host), re.IGNORECASE)
        self._accounts: dict[str, set[str]] = {}

    def person(self, user: Mapping[str, Any]) -> bool:
        """Whether an account is a person's, not that of a token or a service."""
        return answers.mapping(self.ask(f"/users/{answers.identity(user)}")).get("bot") is False

    def accounts(self, email: str) -> set[str]:
        """The accounts that have an e-mail; none if GitLab does not tell of any."""
        if email not in self._accounts:
            self._accounts[email] = self._with(email)
        return self._accounts[email]

    def _with(self, email: str) -> set[str]:
        if (private := self._private.fullmatch(email)) is not None:
            return {str(int(private[1]))}
        if "@" not in email:
            return set()
        ids = [answers.identity(answers.mapping(row)) for row in self._find(email)]
        users = [answers.mapping(self.ask(f"/users/{i}")) for i in ids]
        return {answers.identity(u) for u in users if email.lower() in {str(u.get(n) or "").lower() for n in _EMAILS}}


def review_of(asking: Asking, slug: str, commit: str, branch: str | None = None) -> Review:
    """Who approved the merge request that brought a commit to a branch (None: the default one). Raises ForgeError,
    ValueError.

    GitLab keeps an approval when more is pushed, unless the project is set otherwise: one counts only if it is younger
    than the newest version of the request. Whoever opened it, or is an author or committer of one of its commits,
    approves nothing; and nobody does where the account of one of those is not known.
    """
    place = f"/projects/{quote(slug, safe='')}"
    project = answers.mapping(asking.ask(place))
    number, wanted = answers.identity(project), branch or answers.text(project, "default_branch")
    try:
        found = [answers.mapping(m) for m in asking.pages(f"{place}/repository/commits/{commit}/merge_requests")]
        written = answers.mapping(asking.ask(f"{place}/repository/commits/{commit}"))
    except MissingError:
        return Review(problem="GitLab does not know it: push it")
    problem = f"no merge request that was merged into {wanted} brought it"
    for request in found:
        is_here = str(request.get("target_project_id")) == number and request.get("target_branch") == wanted
        if request.get("state") == "merged" and is_here:
            told = _of_request(asking, place, request, written)
            if told.approver is not None:
                return told
            problem = told.problem
    return Review(problem=problem)


def content_of(ask: Ask, slug: str, path: str, commit: str) -> bytes | None:
    """A file at a commit (https://docs.gitlab.com/api/repository_files); None if it is not there. Raises ForgeError,
    ValueError."""
    try:
        row = ask(f"/projects/{quote(slug, safe='')}/repository/files/{quote(path, safe='')}?ref={commit}")
    except MissingError:
        return None
    return answers.base64_of(answers.mapping(row), "content")


def _of_request(asking: Asking, project: str, request: Mapping[str, Any], written: Mapping[str, Any]) -> Review:
    number, head = answers.count(request, "iid"), answers.text(request, "sha")
    if number is None or head is None:
        raise answers.unexpected("a merge request has no number or no head")
    if not isinstance(opened_by := request.get("author"), dict):
        return Review(
            problem=f"the account that opened its merge request {number} is gone, so it may be another one now"
        )
    author = answers.identity(opened_by)
    place = f"{project}/merge_requests/{number}"
    pushed = [_time(answers.mapping(v)["created_at"]) for v in asking.pages(f"{place}/versions")]
    problem = f"nobody but who wrote it approved its merge request {number} as it was merged"
    others: dict[str, Mapping[str, Any]] = {}
    for approval in answers.mapping(asking.ask(f"{place}/approvals")).get("approved_by") or ():
        row = answers.mapping(approval)
        user, at = answers.mapping(row.get("user")), row.get("approved_at")
        if answers.identity(user) == author:
            continue
        if at is None or not pushed:
            problem = _UNTIMED
        elif _time(at) > max(pushed):
            others[answers.identity(user)] = user
    if not others:
        return Review(problem=problem)
    commits = [answers.mapping(c) for c in asking.pages(f"{place}/commits")]
    if len(commits) > _MOST_COMMITS or head not in [c.get("id") for c in commits]:
        return Review(problem=f"its merge request {number} has too many commits, or not its newest: split it")
    people: set[str] = set()
    for row, role in [(c, role) for c in commits for role in ("author", "committer")] + [(written, "author")]:
        known = asking.accounts(answers.text(row, f"{role}_email") or "")
        if not known:
            name = str(row.get("id"))[:12]
            return Review(
                problem=f"GitLab tells no account of the {role} of commit {name} of its merge request {number}, so "
                "whoever approved it may be the same: commit under the account's private e-mail, or its public one"
            )
        people |= known
    for who, user in others.items():
        if who not in people and asking.person(user):
            return Review(approver=answers.text(user, "username"), head=head)
    return Review(problem=f"no person but who wrote it approved its merge request {number} as it was merged")


def _time(value: Any) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError
    return at
