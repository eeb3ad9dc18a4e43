"""GitLab, on gitlab.com or an instance of one's own, through python-gitlab.

Of python-gitlab are the requests, the authentication and the pages; waiting and redirects are ours (``pacing``: its own
wait for a limit sleeps through a cancellation).

The API is described at https://docs.gitlab.com/api/rest, ``/groups`` and ``/projects``. Projects of a group are not
among the resources with keyset pagination, so pages are by number, ordered by id: what is created meanwhile comes
last and shifts none. Projects that another group shares with this one (``with_shared``) are the other group's and
are not listed. ``X-Total`` counts what the credential sees; above 10,000 GitLab leaves it out: the total is unknown.
Sizes are not in a group's list, whatever ``statistics`` asks for (https://gitlab.com/gitlab-org/gitlab/-/issues/38544):
where they are wanted each project is asked, and only the role Reporter is told.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import requests
from gitlab import Gitlab
from gitlab.exceptions import GitlabError

from tasks.core.errors import ForgeError
from tasks.core.forge_settings import ForgeSettings
from tasks.core.origins import ForgeAccess, GitCredential, ListedRepo, Listing, Review
from tasks.core.ports import Secrets
from tasks.core.text import one_line
from tasks.core.types import Repo
from tasks.repos.classification import filtered
from tasks.repos.forges import answers
from tasks.repos.forges.gitlab_reviews import Asking, content_of, review_of
from tasks.repos.forges.gitlab_settings import settings_of
from tasks.repos.forges.pacing import USER_AGENT, Patience, Timing, session_to
from tasks.repos.web_origins import host_of, place_of, slug_at

_PAGE = 100
#: How many projects are asked for their size in one listing, and after how many refusals in a row no more are.
_MOST_SIZES = 5_000
_REFUSALS = 5


class GitlabForge:
    """One group's projects at GitLab (port ``Forge``)."""

    def __init__(self, access: ForgeAccess, secrets: Secrets, *, patience: Patience, timing: Timing) -> None:
        self._access, self._secrets, self._timing = access, secrets, timing
        self._url = access.api_url.rstrip("/")
        self._lock = threading.Lock()
        self._refused = 0
        self._session = session_to(access, patience=patience, timing=timing, judge=self._judge)

    def credential(self) -> GitCredential | None:
        """See the port. GitLab takes a token as the password of ``oauth2``."""
        return answers.credential(self._access, self._secrets)

    def listing(self) -> Listing:
        """See the port."""
        with self._lock:
            self._session.transport.moved.clear()
            client = self._client()
            fault = ""
            try:
                return self._listing(client)
            except (GitlabError, ValueError, TypeError, LookupError, AttributeError):
                fault = "a page cannot be read"
            except RecursionError:
                fault = "its pages have no end"
        raise answers.unexpected(fault)

    def holds(self, address: str) -> str | None:
        """See the port ``ReviewingForge``."""
        return slug_at(self._url, address)

    def owns(self, slug: str) -> bool:
        """See the port ``ReviewingForge``."""
        return slug.lower().startswith(f"{self._access.owner.lower()}/")

    def review(self, slug: str, commit: str, branch: str | None) -> Review:
        """See the port ``ReviewingForge``."""
        fault = ""
        with self._lock:
            client = self._client()
            asking = Asking(
                client.http_get,
                lambda path: client.http_list(path, get_all=True),
                lambda word: client.http_list("/users", query_data={"search": word}, get_all=False),
                urlsplit(self._url).hostname or "",
            )
            try:
                return review_of(asking, slug, commit, branch)
            except (GitlabError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
                fault = "what it says of a merge request cannot be read"
        raise answers.unexpected(fault)

    def content(self, slug: str, path: str, commit: str) -> bytes | None:
        """See the port ``ReviewingForge``."""
        fault = ""
        with self._lock:
            client = self._client()
            try:
                return content_of(client.http_get, slug, path, commit)
            except (GitlabError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
                fault = "what it says of a file cannot be read"
        raise answers.unexpected(fault)

    def settings(self, repo: Repo, branch: str, *, account: bool) -> ForgeSettings:
        """See the port ``SettledForge``."""
        fault = ""
        with self._lock:
            self._session.transport.spare()
            client = self._client()
            try:
                return settings_of(
                    client.http_get,
                    lambda path: client.http_list(path, get_all=True),
                    repo.slug,
                    branch,
                    self._access.owner,
                    account=account,
                    status=lambda: self._refused,
                )
            except (GitlabError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
                fault = "what it says of a project's settings cannot be read"
        raise answers.unexpected(fault)

    def _client(self) -> Gitlab:
        token = self._access.token
        return Gitlab(
            self._url,
            private_token=answers.token(self._secrets, token).reveal() if token is not None else None,
            session=self._session,
            timeout=self._timing.read_s,
            per_page=_PAGE,
            user_agent=USER_AGENT,
            # Links of pages carry the address that the instance believes to have.
            keep_base_url=True,
        )

    def _listing(self, client: Gitlab) -> Listing:
        ordered: dict[str, Any] = {"order_by": "id", "sort": "asc"}
        group = client.groups.get(self._access.owner, with_projects=False)
        projects = group.projects.list(
            iterator=True, with_shared=False, include_subgroups=self._access.subgroups, **ordered
        )
        total = answers.count({"X-Total": projects.total}, "X-Total")
        cloning = answers.Cloning(self._url)
        repos, notes = answers.gather(
            answers.bounded(project.attributes for project in projects), lambda row: _repo(row, cloning)
        )
        repos, unsized = self._with_sizes(client, repos)
        return Listing(
            host=place_of(self._url),
            repos=repos,
            total=total,
            total_from="X-Total" if total is not None else "",
            notes=(
                *answers.moves(self._access.owner, str(group.full_path), self._session.transport.moved),
                *notes,
                *cloning.notes,
                *unsized,
            ),
        )

    def _with_sizes(
        self, client: Gitlab, repos: tuple[ListedRepo, ...]
    ) -> tuple[tuple[ListedRepo, ...], tuple[str, ...]]:
        """The projects with their sizes, where those are wanted, and a note of those whose size is not known.

        A size that is not told costs no repository: nothing is raised but a cancellation.
        """
        filters = self._access.sized
        if filters is None:
            return repos, ()
        wanted = [r.forge_id for r in repos if not (r.empty or r.disabled or filtered(r.slug, filters, r))]
        sizes: dict[str, float] = {}
        refused, why = 0, ""
        for forge_id in wanted[:_MOST_SIZES]:
            try:
                size = _size_mb(client.http_get(f"/projects/{forge_id}", query_data={"statistics": "true"}))
            except ForgeError as e:
                if e.reason_code == "cancelled":
                    raise
                # One project may be gone meanwhile; what holds for all is not asked of thousands.
                refused += 1
                if e.reason_code != "forge_denied" or refused == _REFUSALS:
                    why = f": {e.message}"
                    break
                continue
            except (GitlabError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
                continue
            refused = 0
            if size is not None:
                sizes[forge_id] = size
        unknown = len(wanted) - len(sizes)
        note = f"the sizes of {unknown} projects are not known, so filters.max_size_mb leaves none of them out{why}"
        return tuple(replace(r, size_mb=sizes.get(r.forge_id)) for r in repos), ((one_line(note),) if unknown else ())

    def _judge(self, answer: requests.Response) -> ForgeError | None:
        who = answers.bearer(self._access)
        self._refused = answer.status_code
        if answer.status_code == 401:
            return ForgeError(
                "forge_denied",
                f"{host_of(self._url)} does not accept {who}: it is wrong, expired or revoked",
                advice="Make a new one with the scopes `read_api` and `read_repository`; store it in the same place.",
            )
        if answer.status_code == 403:
            return ForgeError(
                "forge_denied",
                f"{host_of(self._url)} does not let {who} list {self._access.owner}",
                advice="Its scopes must be `read_api` and `read_repository`, its role at least Reporter.",
            )
        if answer.status_code == 404:
            return answers.MissingError(
                "forge_denied",
                f"{host_of(self._url)} shows no {self._access.owner_kind} {self._access.owner} to {who}",
                advice="Check the full path, and that the token's user is a member or the group is public.",
            )
        return None


def _repo(row: Mapping[str, Any], cloning: answers.Cloning) -> ListedRepo:
    path = answers.slug(row, "path_with_namespace")
    return ListedRepo(
        forge_id=answers.identity(row),
        slug=path,
        clone_url=cloning.address(answers.text(row, "http_url_to_repo"), path),
        archived=row.get("archived") is True,
        fork=row.get("forked_from_project") is not None,
        empty=row.get("empty_repo") is True,
        disabled=row.get("repository_access_level") == "disabled",
        visibility=answers.text(row, "visibility"),
        topics=answers.texts(row, "topics"),
    )


def _size_mb(project: object) -> float | None:
    """The size of a project's repository, which GitLab gives in bytes."""
    statistics = project.get("statistics") if isinstance(project, dict) else None
    size = answers.count(statistics, "repository_size") if isinstance(statistics, dict) else None
    return size / 1024**2 if size is not None else None
