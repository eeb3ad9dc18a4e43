"""Approvals of GitLab's merge requests (https://docs.gitlab.com/api/merge_request_approvals, /commits)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tasks.core.origins import Review
from tasks.repos.forges import answers

_UNTIMED = "its GitLab does not tell when a merge request was approved, so it may have been an earlier state of it"


def review_of(ask: Callable[[str], object], pages: Callable[[str], Iterable[object]], slug: str, commit: str) -> Review:
    """Who approved the merged merge request of a commit. Raises ForgeError, ValueError.

    GitLab keeps an approval when more is pushed, unless the project is set otherwise: one counts only if it is younger
    than the newest version of the request.
    """
    project = f"/projects/{quote(slug, safe='')}"
    found = [answers.mapping(m) for m in pages(f"{project}/repository/commits/{commit}/merge_requests")]
    merged = [m for m in found if m.get("state") == "merged"]
    if not merged:
        return Review(problem="no merged merge request brought its commit")
    problem = "nobody but its author approved its merge request as it was merged"
    for request in merged:
        number, author = answers.count(request, "iid"), answers.identity(answers.mapping(request.get("author")))
        if number is None:
            raise answers.unexpected("a merge request has no number")
        place = f"{project}/merge_requests/{number}"
        pushed = [_time(answers.mapping(v)["created_at"]) for v in pages(f"{place}/versions")]
        for approval in answers.mapping(ask(f"{place}/approvals")).get("approved_by") or ():
            row = answers.mapping(approval)
            user, at = answers.mapping(row.get("user")), row.get("approved_at")
            if answers.identity(user) == author:
                continue
            if at is None or not pushed:
                problem = _UNTIMED
            elif _time(at) > max(pushed):
                return Review(approver=answers.text(user, "username"))
    return Review(problem=problem)


def _time(value: Any) -> datetime:
    at = datetime.fromisoformat(value)
    if at.tzinfo is None:
        raise ValueError
    return at
