"""Gitea and Forgejo, through py-gitea.

Of py-gitea are the requests and the authentication. Its session is ours (``pacing``: it has no time limit of its own).
Its paging is not used: it stops at the first empty page, and a page is empty where the credential sees none of its
fifty repositories while later ones follow, because the server filters a page after it was cut.

The API is described by the server itself at ``/api/swagger``; what ``X-Total-Count`` counts and how pages are cut was
read in ``routers/api/v1/user/repo.go``: all repositories of the account, in the order of their ids.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import requests
from gitea import Gitea

from tasks.core.errors import ForgeError
from tasks.core.forge_settings import ForgeSettings
from tasks.core.origins import ForgeAccess, GitCredential, ListedRepo, Listing
from tasks.core.ports import Secrets
from tasks.core.types import Repo
from tasks.repos.forges import answers
from tasks.repos.forges.gitea_settings import settings_of
from tasks.repos.forges.pacing import Patience, Timing, session_to
from tasks.repos.web_origins import host_of, place_of

#: The most that a server gives unless it is told otherwise; one that gives less says so by its links.
_PAGE = 50


class _Client(Gitea):  # type: ignore[misc]
    """py-gitea with an answer's headers in sight: it hands on the body alone."""

    def ask(self, path: str, **parameters: int) -> requests.Response:
        """One request, answered below status 400."""
        answer = self._requests_get(path, parameters)
        assert isinstance(answer, requests.Response)
        return answer


class GiteaForge:
    """One organisation's or user's repositories at Gitea or Forgejo (port ``Forge``)."""

    def __init__(self, access: ForgeAccess, secrets: Secrets, *, patience: Patience, timing: Timing) -> None:
        self._access, self._secrets = access, secrets
        self._url = access.api_url.rstrip("/")
        self._lock = threading.Lock()
        self._refused = 0
        self._session = session_to(access, patience=patience, timing=timing, judge=self._judge)

    def credential(self) -> GitCredential | None:
        """See the port. Gitea takes a token as the password of any user name."""
        return answers.credential(self._access, self._secrets)

    def listing(self) -> Listing:
        """See the port."""
        with self._lock:
            self._session.transport.moved.clear()
            return self._listing(self._client())

    def settings(self, repo: Repo, branch: str, *, account: bool) -> ForgeSettings:
        """See the port ``SettledForge``."""
        with self._lock:
            self._session.transport.spare()
            client = self._client()
            return settings_of(
                lambda path: _read(client.ask(path)),
                lambda path: self._rows(client, path, []),
                repo.slug,
                branch,
                organization=self._access.owner_kind != "user",
                account=account,
                status=lambda: self._refused,
            )

    def _client(self) -> _Client:
        token = self._access.token
        secret = answers.token(self._secrets, token).reveal() if token is not None else None
        client = _Client(self._url, token_text=secret, log_level="CRITICAL")
        client.requests = self._session
        return client

    def _listing(self, client: _Client) -> Listing:
        user = self._access.owner_kind == "user"
        kind, name_field = ("users", "login") if user else ("orgs", "name")
        account = answers.mapping(_read(client.ask(f"/{kind}/{quote(self._access.owner, safe='')}")))
        name = answers.text(account, name_field) or answers.text(account, "username")
        if name is None:
            raise answers.unexpected("an account has no name")
        totals: list[int] = []
        cloning = answers.Cloning(self._url)
        rows = self._rows(client, f"/{kind}/{quote(name, safe='')}/repos", totals)
        repos, notes = answers.gather(rows, lambda row: _repo(row, cloning))
        return Listing(
            host=place_of(self._url),
            repos=repos,
            total=totals[0] if totals else None,
            total_from="X-Total-Count" if totals else "",
            notes=(*answers.moves(self._access.owner, name, self._session.transport.moved), *notes, *cloning.notes),
        )

    def _rows(self, client: _Client, path: str, totals: list[int]) -> Iterator[Mapping[str, Any]]:
        """The rows of all pages, however few of a page are shown. Totals go into the list given."""
        page, pages = 0, answers.Pages()
        more = True
        while more:
            page += 1
            answer = client.ask(path, page=page, limit=_PAGE)
            rows = pages.read(_read(answer))
            total = answers.stated(answer.headers, "X-Total-Count")
            if total is not None:
                totals.append(total)
            yield from rows
            if "Link" in answer.headers:
                more = "next" in answer.links
            else:
                more = len(rows) == _PAGE or (bool(totals) and totals[0] > page * _PAGE)

    def _judge(self, answer: requests.Response) -> ForgeError | None:
        host, who = host_of(self._url), answers.bearer(self._access)
        self._refused = answer.status_code
        if answer.status_code == 401:
            return ForgeError(
                "forge_denied",
                f"{host} does not accept {who}: it is wrong, expired or revoked",
                advice="Make a new one with the permissions read of repository, organization and user, and store it in "
                "the same place.",
            )
        if answer.status_code == 403:
            return ForgeError(
                "forge_denied",
                f"{host} does not let {who} list {self._access.owner}",
                advice="It needs the permissions read of repository, organization and user.",
            )
        if answer.status_code == 404:
            return ForgeError(
                "forge_denied",
                f"{host} shows no {self._access.owner_kind} {self._access.owner} to {who}",
                advice="Check the name, and whether it is an organisation or a user.",
            )
        return None


def _read(answer: requests.Response) -> object:
    try:
        return answer.json()
    except (ValueError, RecursionError):
        raise answers.unexpected("a page cannot be read") from None


def _repo(row: Mapping[str, Any], cloning: answers.Cloning) -> ListedRepo:
    """A public repository of an owner that not all see is internal."""
    owner = row.get("owner")
    hidden = isinstance(owner, dict) and owner.get("visibility") in ("limited", "private")
    visibility = None
    if isinstance(row.get("private"), bool):
        visibility = "private" if row["private"] else "internal" if row.get("internal") is True or hidden else "public"
    empty, disabled = row.get("empty") is True, row.get("has_code") is False
    return answers.repository(row, cloning, visibility=visibility, disabled=disabled, empty=empty)
