"""Reviews of GitHub's pull requests (https://docs.github.com/en/rest/pulls/reviews, /pulls and /commits).

A commit has an account where GitHub knows its e-mail. Of one without, nobody can say that it is not the reviewer's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from tasks.core.origins import Review
from tasks.repos.forges import answers
from tasks.repos.forges.answers import MissingError

#: Who may write to a repository, or may be; a review by anybody else approves nothing.
_INSIDERS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})
_DECIDING = frozenset({"APPROVED", "CHANGES_REQUESTED", "DISMISSED"})
#: GitHub lists no more commits of a pull request.
_MOST_COMMITS = 250

Row = Mapping[str, Any]
Ask = Callable[[str], Row]


def review_of(
    ask: Ask, pages: Callable[[str], Sequence[Row]], slug: str, commit: str, branch: str | None = None
) -> Review:
    """Who approved the pull request that brought a commit to a branch (None: the default one). Raises ForgeError.

    ``ask`` gets an object and ``pages`` the elements of a list. Only what was merged counts: an approval of an earlier
    state is none of what was pushed later. Whoever opened it, or is an author or committer of one of its commits,
    approves nothing; and nobody does where one of those has no account.
    """
    place = f"/repos/{quote(slug)}"
    repository = ask(place)
    number, wanted = answers.identity(repository), branch or answers.text(repository, "default_branch")
    try:
        pulls = pages(f"{place}/commits/{commit}/pulls")
        written = ask(f"{place}/commits/{commit}")
    except MissingError:
        return Review(problem="GitHub does not know it: push it")
    problem = f"no pull request that was merged into {wanted} brought it"
    for pull in pulls:
        base = answers.mapping(pull.get("base"))
        owner = base.get("repo")
        is_here = isinstance(owner, dict) and answers.identity(owner) == number and base.get("ref") == wanted
        if pull.get("merged_at") and is_here:
            told = _of_pull(pages, place, pull, written)
            if told.approver is not None:
                return told
            problem = told.problem
    return Review(problem=problem)


def content_of(ask: Ask, slug: str, path: str, commit: str) -> bytes | None:
    """A file at a commit (https://docs.github.com/en/rest/repos/contents); None if it is not there. Raises
    ForgeError, ValueError."""
    place = f"/repos/{quote(slug)}"
    try:
        row = ask(f"{place}/contents/{quote(path)}?ref={commit}")
        if row.get("encoding") != "base64":  # above a megabyte
            row = ask(f"{place}/git/blobs/{quote(answers.text(row, 'sha') or '')}")
    except MissingError:
        return None
    return answers.base64_of(row, "content")


def _of_pull(pages: Callable[[str], Sequence[Row]], place: str, pull: Row, written: Row) -> Review:
    number = answers.count(pull, "number")
    head = answers.text(answers.mapping(pull.get("head")), "sha")
    if number is None or head is None:
        raise answers.unexpected("a pull request has no number or no head")
    commits = [answers.mapping(c) for c in pages(f"{place}/pulls/{number}/commits")]
    if len(commits) >= _MOST_COMMITS or head not in [c.get("sha") for c in commits]:
        return Review(problem=f"GitHub does not list all commits of its pull request {number}: split it")
    if not isinstance(opened_by := pull.get("user"), dict):
        return Review(
            problem=f"the account that opened its pull request {number} is gone, so it may be another one now"
        )
    people = {answers.identity(opened_by)}
    # The committer of what was merged is who merged it, and not of what was reviewed.
    for row, role in [(c, role) for c in commits for role in ("author", "committer")] + [(written, "author")]:
        account = row.get(role)
        if not isinstance(account, dict) or not account.get("id"):
            name = str(row.get("sha"))[:12]
            return Review(
                problem=f"the {role} of commit {name} of its pull request {number} has no account that GitHub knows, "
                "so whoever approved it may be the same: commit under an e-mail of the account"
            )
        people.add(answers.identity(account))
    approver = _approver(pages(f"{place}/pulls/{number}/reviews"), head, people)
    if approver is None:
        return Review(problem=f"nobody but who wrote it approved its pull request {number} as it was merged")
    return Review(approver=approver, head=head)


def _approver(reviews: Sequence[Row], head: str, people: set[str]) -> str | None:
    last: dict[str, Row] = {}
    for review in reviews:
        user = review.get("user")  # None of an account that is gone
        if isinstance(user, dict) and review.get("state") in _DECIDING:
            last[answers.identity(user)] = review
    for who, review in last.items():
        user = answers.mapping(review["user"])
        is_person = user.get("type") == "User" and review.get("author_association") in _INSIDERS
        if review["state"] == "APPROVED" and review.get("commit_id") == head and is_person and who not in people:
            return answers.text(user, "login")
    return None
