"""GitHub and GitHub Enterprise, through PyGithub.

Of PyGithub are the requests and the authentication with its JWT. Not of it: waiting and redirects (``pacing``: its own
retry sleeps through a cancellation, its redirect drops the query and knows 301 only), its pages (``null`` is their
end, and empty ones can have none), its objects of repositories (one that lacks a field asks for it, a request a
repository), and its log, which at level DEBUG prints answers, and with them the token that an installation is given.

The API is described at https://docs.github.com/en/rest: organisations (``/orgs``), users, repositories
(``/repos``), app installations (``/apps``), and "Best practices for using the REST API" for its limits.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import requests
from github.GithubException import GithubException
from requests.utils import parse_header_links

from tasks.core.errors import ForgeError
from tasks.core.forge_settings import ForgeSettings
from tasks.core.origins import ForgeAccess, GitCredential, ListedRepo, Listing, Review
from tasks.core.ports import Secrets
from tasks.core.types import Repo
from tasks.repos.forges import answers
from tasks.repos.forges.github_access import (
    PAGE,
    Bearer,
    ExpiredError,
    FixedToken,
    InstallationToken,
    asked,
    requester_on,
)
from tasks.repos.forges.github_reviews import content_of, review_of
from tasks.repos.forges.github_settings import settings_of
from tasks.repos.forges.pacing import Patience, Timing, session_to
from tasks.repos.web_origins import host_of, origin_of, place_of, slug_at

#: How often a token that expired before its time is renewed for one request.
_RENEWALS = 5
#: What is created while pages are read comes last and shifts none.
_OLDEST_FIRST = {"sort": "created", "direction": "asc"}
_FINE_GRAINED = "github_pat_"
#: How tokens begin that have permissions instead of scopes: fine-grained ones, and those of apps.
_WITHOUT_SCOPES = (_FINE_GRAINED, "ghs_", "ghu_")
_PERMISSIONS = re.compile(r"^[a-z_=,; ]{1,200}$")

_T = TypeVar("_T")


class GithubForge:
    """One organisation's or user's account at GitHub (port ``Forge``)."""

    def __init__(self, access: ForgeAccess, secrets: Secrets, *, patience: Patience, timing: Timing) -> None:
        self._access = access
        self._api = access.api_url.rstrip("/")
        self._web = web_address(self._api)
        self._scopes: str | None = None
        self._refused, self._unprotected = 0, False
        self._session = session_to(access, patience=patience, timing=timing, judge=self._judge)
        self._tokens: InstallationToken | FixedToken | None = None
        if access.app is not None:
            self._tokens = InstallationToken(access, access.app, secrets, self._session, timing)
        elif access.token is not None:
            self._tokens = FixedToken(access, secrets)
        auth = Bearer(self._tokens.current) if self._tokens is not None else None
        self._requester = requester_on(self._session, self._api, auth, timing)
        self._lock = threading.Lock()

    def credential(self) -> GitCredential | None:
        """See the port. GitHub takes any token as the password of ``x-access-token``."""
        if self._tokens is None:
            return None
        return GitCredential(base_url=self._web, username="x-access-token", password=self._tokens.anew())

    def listing(self) -> Listing:
        """See the port."""
        with self._lock:
            if self._tokens is not None:
                self._tokens.anew()
            self._scopes = None
            self._session.transport.moved.clear()
            return self._listing()

    def holds(self, address: str) -> str | None:
        """See the port ``ReviewingForge``."""
        slug = slug_at(self._web, address)
        return slug if slug is not None and slug.count("/") == 1 else None

    def owns(self, slug: str) -> bool:
        """See the port ``ReviewingForge``."""
        return slug.partition("/")[0].lower() == self._access.owner.lower()

    def review(self, slug: str, commit: str, branch: str | None) -> Review:
        """See the port ``ReviewingForge``."""
        with self._asking() as ask:
            return review_of(ask, lambda p: self._pages(p, {})[0], slug, commit, branch)

    def content(self, slug: str, path: str, commit: str) -> bytes | None:
        """See the port ``ReviewingForge``."""
        with self._asking() as ask, contextlib.suppress(ValueError):
            return content_of(ask, slug, path, commit)
        raise answers.unexpected("a file has no content")

    @contextlib.contextmanager
    def _asking(self) -> Iterator[Callable[[str], Mapping[str, Any]]]:
        """What gets an object, by the token as it is now."""
        with self._lock:
            if self._tokens is not None:
                self._tokens.anew()
            whole = partial(asked, self._requester, "GET")
            yield lambda p: self._renewing(lambda: whole(p))

    def settings(self, repo: Repo, branch: str, *, account: bool) -> ForgeSettings:
        """See the port ``SettledForge``."""
        with self._lock:
            self._session.transport.spare()
            if self._tokens is not None:
                self._tokens.anew()
            whole = partial(asked, self._requester, "GET")
            return settings_of(
                lambda path: self._renewing(lambda: whole(path)),
                lambda path, query: self._pages(path, query)[0],
                repo.slug,
                branch,
                organization=repo.slug.partition("/")[0] if self._access.owner_kind != "user" else None,
                account=account,
                status=lambda: self._refused,
                unprotected=lambda: self._unprotected,
            )

    def _listing(self) -> Listing:
        kind = "users" if self._access.owner_kind == "user" else "orgs"
        account = self._renewing(lambda: asked(self._requester, "GET", f"/{kind}/{self._quoted(self._access.owner)}"))
        login, number = answers.text(account, "login"), answers.identity(account)
        if login is None:
            raise answers.unexpected("an account has no login")
        own: Mapping[str, Any] | None = None
        app = self._tokens if isinstance(self._tokens, InstallationToken) else None
        installed: int | None = None
        if app is not None:
            self._same_account(app, number)
            rows, installed = self._pages("/installation/repositories", {}, inside="repositories")
        elif kind == "orgs":
            rows, _ = self._pages(f"/orgs/{self._quoted(login)}/repos", {"type": "all", **_OLDEST_FIRST})
        elif (own := self._own_account(number)) is not None:
            account = own
            rows, _ = self._pages("/user/repos", {"affiliation": "owner", **_OLDEST_FIRST})
        else:
            rows, _ = self._pages(f"/users/{self._quoted(login)}/repos", {"type": "owner", **_OLDEST_FIRST})
        cloning = answers.Cloning(self._web)
        owned = [r for r in rows if str(answers.mapping(r.get("owner")).get("id")) == number]
        repos, notes = answers.gather(owned, lambda r: _repo(r, cloning))
        total, total_from = _total(account)
        if total is None and app is not None and not app.selected and installed is not None:
            total, total_from = installed, "total_count of the installation"
        moved = self._session.transport.moved
        # Of another user no token sees more, whatever its scopes.
        blind = self._scope_missing() if kind == "orgs" or own is not None else ()
        selected = self._perhaps_selected(total) if kind == "orgs" or own is not None else ()
        doubts = (
            *self._unseen_public(account, repos),
            *(blind if total is None or total > len(repos) else ()),
            *selected,
        )
        return Listing(
            host=place_of(self._web + urlsplit(self._api).path.removesuffix("/api/v3")),
            repos=repos,
            total=total,
            total_from=total_from,
            counts_all=True,
            selected=app.selected if app is not None else None,
            notes=(
                *answers.moves(self._access.owner, login, moved),
                *notes,
                *cloning.notes,
                *dict.fromkeys((*blind, *doubts)),
            ),
            doubts=doubts,
        )

    def _pages(
        self, path: str, parameters: Mapping[str, str], *, inside: str | None = None
    ) -> tuple[list[Mapping[str, Any]], int | None]:
        """All elements, and the number of them where the pages themselves tell it: objects with the list ``inside``."""
        found: list[Mapping[str, Any]] = []
        told: int | None = None
        pages = answers.Pages()
        url, query = path, {**parameters, "per_page": str(PAGE)}
        while url:
            following, data = self._renewing(partial(self._page, url, query))
            if inside is not None:
                page = answers.mapping(data)
                told, data = answers.count(page, "total_count"), page.get(inside)
            found += [answers.mapping(row) for row in pages.read(data) if row is not None]
            url, query = following, {}
        return found, told

    def _page(self, url: str, query: dict[str, str]) -> tuple[str, Any]:
        """Where the next page is ("" after the last one), and what one holds. Raises ForgeError."""
        fault = ""
        try:
            headers, data = self._requester.requestJsonAndCheck("GET", url, parameters=query)
            links = parse_header_links(str(headers.get("link", "")))
            return next((link["url"] for link in links if link.get("rel") == "next"), ""), data
        except AssertionError:
            fault = "a page links to a place outside of the API"
        except (GithubException, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            fault = "a page cannot be read"
        raise answers.unexpected(fault)

    def _renewing(self, ask: Callable[[], _T]) -> _T:
        """Ask, again with a new token where one has expired meanwhile."""
        for _ in range(_RENEWALS):
            try:
                return ask()
            except ExpiredError:
                if self._tokens is None or not self._tokens.renew():
                    raise
        return ask()

    def _own_account(self, number: str) -> Mapping[str, Any] | None:
        """The account as its own token sees it, if the token is the account's."""
        if self._tokens is None:
            return None
        me = self._renewing(lambda: asked(self._requester, "GET", "/user"))
        return me if answers.identity(me) == number else None

    def _same_account(self, app: InstallationToken, number: str) -> None:
        account = answers.mapping(app.installation.get("account"))
        if answers.identity(account) != number:
            raise ForgeError(
                "forge_denied",
                f"installation {answers.identity(app.installation)} is not one of {self._access.owner}",
                advice="Correct `installation_id`, or leave it out: then the owner's installation is found.",
            )

    def _scope_missing(self) -> tuple[str, ...]:
        """That a classic token sees public repositories only; GitHub sends no scopes of other tokens, or empty ones."""
        if not isinstance(self._tokens, FixedToken) or self._scopes is None:
            return ()
        if self._tokens.current().reveal().startswith(_WITHOUT_SCOPES) or "repo" in re.split(r"[,\s]+", self._scopes):
            return ()
        return ("the token has no scope `repo`: it sees public repositories only",)

    def _unseen_public(self, account: Mapping[str, Any], repos: tuple[ListedRepo, ...]) -> tuple[str, ...]:
        """That public repositories, which all may see, are not listed; an app is listed those that it was given."""
        told = answers.count(account, "public_repos")
        public = sum(r.visibility == "public" for r in repos)
        if told is None or told <= public or isinstance(self._tokens, InstallationToken):
            return ()
        return (f"the account counts {told} public repositories, {public} were listed",)

    def _perhaps_selected(self, total: int | None) -> tuple[str, ...]:
        """That nobody tells whether a fine-grained token is for all repositories or for a selection."""
        token = self._tokens.current().reveal() if isinstance(self._tokens, FixedToken) else ""
        if total is not None or not token.startswith(_FINE_GRAINED):
            return ()
        return ("the token is fine-grained, perhaps for selected repositories only, and the account tells no total",)

    def _judge(self, answer: requests.Response) -> ForgeError | None:
        headers, who = answer.headers, answers.bearer(self._access)
        self._refused = answer.status_code
        self._unprotected = answer.status_code == 404 and b"Branch not protected" in answer.content
        self._scopes = headers.get("X-OAuth-Scopes", self._scopes)
        sign_on = headers.get("X-GitHub-SSO", "")
        if sign_on.startswith("required") or (
            sign_on.startswith("partial-results") and self._access.owner_kind != "user"
        ):
            return ForgeError(
                "forge_denied",
                f"{who} is not authorised for the organisation's single sign-on",
                advice="Authorise it: settings of its owner, Developer settings, the token, Configure SSO.",
            )
        if answer.status_code == 401:
            return ExpiredError(
                "forge_denied",
                f"{host_of(self._api)} does not accept {who}: it is wrong, expired or revoked",
                advice="Make a new one and store it in the same place."
                if self._access.app is None
                else "Check the app's id, and that the key is one of this app and the machine's clock is right.",
            )
        if answer.status_code == 403:
            wanted = headers.get("X-Accepted-GitHub-Permissions", "")
            named = f" (GitHub names: {wanted})" if _PERMISSIONS.fullmatch(wanted) else ""
            return ForgeError(
                "forge_denied",
                f"{host_of(self._api)} does not let {who} list {self._access.owner}{named}",
                advice="It needs: a classic token the scope `repo`, and `read:org` for an organisation; a fine-grained "
                "token or an app read access to Metadata and Contents of the repositories.",
            )
        if answer.status_code == 404:
            return answers.MissingError(
                "forge_denied",
                f"{host_of(self._api)} shows no {self._access.owner_kind} {self._access.owner} to {who}"
                + (", or the app is not installed there" if self._access.app is not None else ""),
                advice="Check the name, whether it was renamed, and whether it is an organisation or a user.",
            )
        return None

    @staticmethod
    def _quoted(name: str) -> str:
        return quote(name, safe="")


def web_address(api_url: str) -> str:
    """Where people and git go, from the address of the API.

    https://api.github.com has https://github.com, https://api.NAME.ghe.com has https://NAME.ghe.com, and
    https://HOST/api/v3 of an Enterprise server has https://HOST.
    """
    origin = origin_of(api_url)
    scheme, _, host = origin.partition("://")
    if urlsplit(api_url).path.strip("/") == "" and host.startswith("api.") and host.count(".") >= 2:
        return f"{scheme}://{host.removeprefix('api.')}"
    return origin


def _total(account: Mapping[str, Any]) -> tuple[int | None, str]:
    """How many repositories the account has, by its own numbers.

    Those of private ones are shown to owners only; without them the total is not known. ``owned_private_repos``
    counts what the account owns; ``total_private_repos``, for a user, what others let it see too.
    """
    public = answers.count(account, "public_repos")
    for name in ("owned_private_repos", "total_private_repos"):
        private = answers.count(account, name)
        if public is not None and private is not None:
            return public + private, f"public_repos + {name}"
    return None, ""


def _repo(row: Mapping[str, Any], cloning: answers.Cloning) -> ListedRepo:
    """GitHub says of no repository that it is empty."""
    visibility = answers.text(row, "visibility")
    if visibility is None and isinstance(row.get("private"), bool):
        visibility = "private" if row["private"] else "public"
    return answers.repository(row, cloning, visibility=visibility, disabled=row.get("disabled") is True)
