"""Reviews of GitHub's pull requests (https://docs.github.com/en/rest/pulls/reviews and /commits)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tasks.core.origins import Review
from tasks.repos.forges import answers

#: Who may write to a repository, or may be; a review by anybody else approves nothing.
_INSIDERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
_DECIDING = frozenset({"APPROVED", "CHANGES_REQUESTED", "DISMISSED"})

Row = Mapping[str, Any]


def review_of(ask: Callable[[str], Row], pages: Callable[[str], Sequence[Row]], slug: str, commit: str) -> Review:
    """Who approved the merged pull request of a commit. Raises ForgeError.

    ``ask`` gets an object and ``pages`` the elements of a list. Only what was merged counts: an approval of an earlier
    state of the branch is none of what was pushed later.
    """
    place = f"/repos/{quote(slug)}"
    pulls = [p for p in pages(f"{place}/commits/{commit}/pulls") if p.get("merged_at")]
    if not pulls:
        return Review(problem="no merged pull request brought its commit")
    written = ask(f"{place}/commits/{commit}")
    author = written.get("author")
    authors = {answers.identity(author)} if isinstance(author, dict) and author.get("id") else set()
    for pull in pulls:
        number = answers.count(pull, "number")
        head = answers.text(answers.mapping(pull.get("head")), "sha")
        if number is None or head is None:
            raise answers.unexpected("a pull request has no number or no head")
        opened_by = answers.identity(answers.mapping(pull.get("user")))
        found = _approver(pages(f"{place}/pulls/{number}/reviews"), head, {*authors, opened_by})
        if found is not None:
            return Review(approver=found)
    return Review(problem="nobody but its author approved its pull request as it was merged")


def _approver(reviews: Sequence[Row], head: str, authors: set[str]) -> str | None:
    last: dict[str, Row] = {}
    for review in reviews:
        user = review.get("user")  # None of an account that is gone
        if isinstance(user, dict) and review.get("state") in _DECIDING:
            last[answers.identity(user)] = review
    for who, review in last.items():
        user = answers.mapping(review["user"])
        is_person = user.get("type") == "User" and review.get("author_association") in _INSIDERS
        if review["state"] == "APPROVED" and review.get("commit_id") == head and is_person and who not in authors:
            return answers.text(user, "login")
    return None
