"""Who asks GitHub: a token, or an app's installation whose token is renewed; and PyGithub's requester on our session.

Described at https://docs.github.com/en/apps, "Authenticating as a GitHub App installation": a JWT signed with the app's
key gives a token for an hour.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from github import Auth
from github.GithubException import GithubException
from github.Requester import HTTPSRequestsConnectionClass, Requester

from tasks.core.errors import ForgeError
from tasks.core.origins import AppAuth, ForgeAccess
from tasks.core.ports import Secrets
from tasks.core.secret_refs import Secret
from tasks.repos.forges import answers
from tasks.repos.forges.pacing import USER_AGENT, Session, Timing

#: Elements of a page, the most that GitHub gives.
PAGE = 100
_API_VERSION = "2022-11-28"
#: A token of an installation lives for an hour; one that is handed out lives for at least this long.
_FRESH_S = 300.0
#: How long a token that could not be made is not tried again: each of thousands of repositories would wait for it.
REFUSED_S = 120.0
_SILENT = logging.Logger("github", logging.CRITICAL + 1)


class ExpiredError(ForgeError):
    """Status 401: the token is not, or no longer, valid."""


class Bearer(Auth.Auth):
    """Whatever token is valid when a request is made."""

    def __init__(self, supply: Callable[[], Secret]) -> None:
        self._supply = supply

    @property
    def token_type(self) -> str:
        """The word before the token."""
        return "Bearer"

    @property
    def token(self) -> str:
        """The token as it is now."""
        return self._supply().reveal()


def requester_on(session: Session, api_url: str, auth: Auth.Auth | None, timing: Timing) -> Requester:
    """PyGithub's requester on our session. What is injected into the class of its own is no other requester's."""

    class Https(HTTPSRequestsConnectionClass):
        scheme = "https"

        def __init__(self, host: str, port: int | None = None, **_options: Any) -> None:
            self.host, self.protocol = host, self.scheme
            self.port = port or urlsplit(api_url).port or (443 if self.scheme == "https" else 80)
            self.session, self.timeout, self.verify = session, int(timing.read_s), True

        def close(self) -> None:
            """The session outlives a connection."""

    class Http(Https):
        scheme = "http"

    class Own(Requester):
        pass

    Own.injectConnectionClasses(Http, Https)  # type: ignore[arg-type]
    Own.injectLogger(_SILENT)
    return Own(
        auth=auth,
        base_url=api_url,
        timeout=int(timing.read_s),
        user_agent=USER_AGENT,
        per_page=PAGE,
        verify=True,
        retry=None,
        pool_size=None,
        api_version=_API_VERSION,
    )


def asked(requester: Requester, verb: str, path: str, parameters: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """One request whose answer is an object. Raises ForgeError."""
    try:
        _, data = requester.requestJsonAndCheck(verb, path, parameters=dict(parameters or {}))
    except (GithubException, ValueError, AssertionError, RecursionError):
        data = None
    return answers.mapping(data)


class FixedToken:
    """A token by reference: as it is when the work begins."""

    def __init__(self, access: ForgeAccess, secrets: Secrets) -> None:
        assert access.token is not None
        self._ref, self._secrets = access.token, secrets
        self._token: Secret | None = None

    def current(self) -> Secret:
        """The token, read once for all pages of a listing."""
        if self._token is None:
            self._token = answers.token(self._secrets, self._ref)
        return self._token

    def anew(self) -> Secret:
        """The token as it is stored now."""
        self._token = None
        return self.current()

    def renew(self) -> bool:
        """A token that GitHub refuses stays refused."""
        return False


class InstallationToken:
    """The token of an app's installation: made from the app's key, renewed before it expires. Thread-safe."""

    def __init__(self, access: ForgeAccess, app: AppAuth, secrets: Secrets, session: Session, timing: Timing) -> None:
        self._access, self._app, self._secrets = access, app, secrets
        self._session, self._timing = session, timing
        self._lock = threading.Lock()
        self._token: Secret | None = None
        self._expires = 0.0
        self._failed: ForgeError | None = None
        self._failed_at = 0.0
        #: The installation as GitHub describes it, and whether it is for selected repositories only.
        self.installation: Mapping[str, Any] = {}
        self.selected = False

    def current(self) -> Secret:
        """A token that lives for five minutes more. Raises ForgeError (which may be two minutes old), SecretError."""
        with self._lock:
            if self._token is None or self._expires - self._timing.now() < _FRESH_S:
                if self._failed is None or self._timing.now() - self._failed_at >= REFUSED_S:
                    self._failed = self._made()
                    self._failed_at = self._timing.now()
                if self._failed is not None:
                    raise ForgeError(self._failed.reason_code, self._failed.message, advice=self._failed.advice)
            assert self._token is not None
            return self._token

    def _made(self) -> ForgeError | None:
        """Make a token; what is said instead, without the frames. Raises SecretError, ForgeError(cancelled)."""
        try:
            self._make()
        except ForgeError as e:
            if e.reason_code == "cancelled":
                raise
            # As no ExpiredError: the key itself is refused, which no renewal would help.
            return ForgeError(e.reason_code, e.message, advice=e.advice)
        return None

    anew = current

    def renew(self) -> bool:
        """Forget the token: the next request makes a new one."""
        with self._lock:
            self._token = None
        return True

    def _make(self) -> None:
        requester = requester_on(self._session, self._access.api_url.rstrip("/"), self._signed(), self._timing)
        if not self.installation:
            self.installation = self._find(requester)
        number = answers.identity(self.installation)
        if self.installation.get("suspended_at"):
            raise ForgeError(
                "forge_denied",
                f"installation {number} of the app {self._app.app_id} is suspended",
                advice="Unsuspend it in the settings of the organisation, under installed GitHub Apps.",
            )
        made = asked(requester, "POST", f"/app/installations/{number}/access_tokens")
        value, expires = answers.text(made, "token"), answers.text(made, "expires_at")
        if value is None or expires is None:
            raise answers.unexpected("an installation's token has no value or no end")
        try:
            until = datetime.fromisoformat(expires)
        except ValueError:
            raise answers.unexpected("an installation's token has no end") from None
        self._expires = (until if until.tzinfo is not None else until.replace(tzinfo=UTC)).timestamp()
        self._token = Secret(value)
        self.selected = made.get("repository_selection", self.installation.get("repository_selection")) == "selected"

    def _find(self, requester: Requester) -> Mapping[str, Any]:
        if self._app.installation_id is not None:
            return asked(requester, "GET", f"/app/installations/{self._app.installation_id}")
        kind = "users" if self._access.owner_kind == "user" else "orgs"
        return asked(requester, "GET", f"/{kind}/{quote(self._access.owner, safe='')}/installation")

    def _signed(self) -> Auth.AppAuthToken:
        """What proves for some minutes that we are the app."""
        key = self._secrets.get(self._app.private_key)
        jwt = ""
        # Whatever the library says of a key may quote it.
        with contextlib.suppress(Exception):
            jwt = Auth.AppAuth(self._app.app_id, key.reveal() or "-").create_jwt()
        if not jwt:
            raise ForgeError(
                "forge_denied",
                f"what {self._app.private_key} holds is no private key of a GitHub App",
                advice="Store the whole PEM file that GitHub gave when the key was made.",
            )
        return Auth.AppAuthToken(jwt)
