"""A fake of GitHub's REST API, as an Enterprise server has it (below ``/api/v3``).

Shapes are those of https://docs.github.com/en/rest, with the fields that a client of lists needs.
"""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

import jwt

from tests.forges.server import Answer, Call, FakeForge, FakeRepo, Grant, paged


class FakeGithub(FakeForge):
    """Organisations and users come to be with their first repository.

    ``counts_private`` tells whether the account's row has numbers of private repositories (owners see them);
    ``renamed`` maps old logins to new ones; ``users`` are the logins, in lower case, that are no organisations.
    ``app`` installs an app.
    """

    api_path = "/api/v3"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.counts_private = True
        self.renamed: dict[str, str] = {}
        self.users: set[str] = set()
        self.installations: dict[int, dict[str, Any]] = {}
        #: Pull requests of commits; reviews and commits by the request's number; of each commit the numbers of author
        #: and committer (None: an e-mail without an account); files by commit and path.
        self.pulls: dict[str, list[dict[str, Any]]] = {}
        self.reviews: dict[int, list[dict[str, Any]]] = {}
        self.inside: dict[int, list[str]] = {}
        self.people: dict[str, tuple[int | None, int | None]] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        #: Of a repository by slug: ``protected``, ``protection`` (classic), ``rules``, ``rulesets``, ``collaborators``,
        #: ``keys``; and whether the organisation requires two factors (None: it is not told).
        self.settings: dict[str, dict[str, Any]] = {}
        self.two_factor: bool | None = True
        self.minted = 0
        #: How long a token of an installation lives.
        self.lifetime_s = 3600.0
        self._key = ""
        self._app_id = 0

    def app(self, app_id: int, public_key: str, owner: str, *, number: int = 77, selection: str = "all") -> None:
        """Install an app with a public key (PEM) for an owner."""
        self._app_id, self._key = app_id, public_key
        self.installations[number] = {"owner": owner, "selection": selection, "suspended_at": None}

    def account_id(self, login: str) -> int:
        """The immutable number of an account; a renamed one keeps it."""
        first = {new: old for old, new in self.renamed.items()}.get(login, login)
        return 10_000 + sum(ord(c) * (n + 1) for n, c in enumerate(first.lower()))

    # -- the API ---------------------------------------------------------------------------------------------

    def answer(self, call: Call) -> Answer:
        """Requests of the app itself show a JWT, which is no token."""
        path = call.path.removeprefix(self.api_path)
        if re.match(r"^/app/|^/(?:orgs|users)/[^/]+/installation$", path):
            with self._lock:
                return self._as_app(call, path)
        return super().answer(call)

    def api(self, call: Call, path: str, grant: Grant | None) -> Answer:
        """See the base."""
        headers = {"X-OAuth-Scopes": grant.scopes} if grant is not None and grant.scopes is not None else {}
        answer = self._api(call, path, grant)
        answer.headers = {**headers, **answer.headers}
        return answer

    def _api(self, call: Call, path: str, grant: Grant | None) -> Answer:
        for old, new in self.renamed.items():
            if re.match(rf"^/(?:orgs|users)/{re.escape(old)}(?:/|$)", path):
                return self._moved(self.api_url + path.replace(f"/{old}", f"/{new}", 1))
        if path == "/user" and grant is not None and grant.installation is None:
            return Answer(body=self._account(grant.login, own=True))
        if path == "/user/repos" and grant is not None:
            mine = [r for r in self._of(grant.login) if r.visible]
            return self._list(call, mine)
        if path == "/installation/repositories" and grant is not None and grant.installation is not None:
            return self._installed(call, grant.installation)
        if found := re.match(
            r"^/repos/([^/]+/[^/]+)/(branches/.+|rules/branches/.+|rulesets/.+|collaborators|keys)$", path
        ):
            return self._set(call, found[1], found[2])
        if (found := re.match(r"^/repos/([^/]+/[^/]+)(/.*)?$", path)) is not None:
            repo = self.repos.get(found[1])
            if repo is not None and self.shown(repo, grant):
                return self._inside(call, found[2]) if found[2] else Answer(body=self.row(repo))
        if (found := re.match(r"^/(orgs|users)/([^/]+)(/repos)?$", path)) is not None:
            kind, login, repos = found.groups()
            owned = self._of(login)
            if not owned or (kind == "users") != (login.lower() in self.users):
                return Answer(status=404, body={"message": "Not Found", "status": "404"})
            if not repos:
                return Answer(body=self._account(login, own=kind == "orgs" and grant is not None))
            shown = [r for r in owned if self.shown(r, grant) and (kind == "orgs" or not r.private)]
            return self._list(call, shown)
        return Answer(status=404, body={"message": "Not Found", "status": "404"})

    def _inside(self, call: Call, path: str) -> Answer:
        """Commits, pull requests and files of a repository."""
        if (found := re.match(r"^/(commits|pulls)/(\w+)(/pulls|/reviews|/commits)?$", path)) is not None:
            kind, name, what = found.groups()
            if kind == "commits" and name not in self.people:
                return Answer(status=422, body={"message": f"No commit found for SHA: {name}", "status": "422"})
            if what is None:
                return Answer(body=self._commit(name))
            rows: list[dict[str, Any]] = self.pulls.get(name, [])
            if kind == "pulls":
                made = [self._commit(c) for c in self.inside.get(int(name), [])]
                rows = made if what == "/commits" else self.reviews.get(int(name), [])
            page, headers, _ = paged(rows, call, self.web_url, size=10, size_name="per_page")
            return Answer(body=page, headers=headers)
        blobs = {str(n): data for n, data in enumerate(self.files.values())}
        if (found := re.match(r"^/git/blobs/(\w+)$", path)) is not None and found[1] in blobs:
            return Answer(body={"encoding": "base64", "content": base64.encodebytes(blobs[found[1]]).decode()})
        place = (call.query.get("ref", ""), path.removeprefix("/contents/"))
        if (data := self.files.get(place)) is not None:
            is_small = len(data) <= 1024**2
            content = base64.encodebytes(data).decode() if is_small else ""
            number = str([*self.files].index(place))
            return Answer(body={"sha": number, "encoding": "base64" if is_small else "none", "content": content})
        return Answer(status=404, body={"message": "Not Found", "status": "404"})

    def _commit(self, name: str) -> dict[str, Any]:
        accounts = [{"login": f"user{n}", "id": n} if n is not None else None for n in self.people[name]]
        return {"sha": name, "author": accounts[0], "committer": accounts[1]}

    def _set(self, call: Call, slug: str, what: str) -> Answer:
        """Settings, as somebody who may see all of them is told."""
        known = self.settings.get(slug, {})
        if what.startswith("branches/") and what.endswith("/protection"):
            classic = known.get("protection")
            found: Any = classic if classic is not None else None
            return Answer(body=found) if found else Answer(status=404, body={"message": "Branch not protected"})
        if what.startswith("rulesets/"):
            return Answer(body={"id": 1, "name": "x", **known.get("rulesets", {}).get(int(what.split("/")[1]), {})})
        if what.startswith("branches/"):
            return Answer(body={"name": "main", "protected": bool(known.get("protected"))})
        if what == "collaborators":
            wanted = call.query.get("permission"), call.query.get("affiliation", "all")
            rows = [
                {"login": login, "id": n, "permissions": dict.fromkeys(permissions.split(), True)}
                for n, (login, permissions, outside) in enumerate(known.get("collaborators", []))
                if (wanted[0] is None or wanted[0] in permissions.split()) and (wanted[1] != "outside" or outside)
            ]
        else:
            rows = known.get("keys" if what == "keys" else "rules", [])
        page, headers, _ = paged(rows, call, self.web_url, size=2, size_name="per_page")
        return Answer(body=page, headers=headers)

    def _moved(self, url: str) -> Answer:
        body = {"message": "Moved Permanently", "url": url}
        return Answer(status=301, headers={"Location": url}, body=body)

    def _of(self, login: str) -> list[FakeRepo]:
        return [r for r in self.repos.values() if r.slug.split("/")[0].lower() == login.lower()]

    def _list(self, call: Call, repos: list[FakeRepo]) -> Answer:
        newest_first = call.query.get("direction", "desc") == "desc"
        ordered = sorted(repos, key=lambda r: r.order, reverse=newest_first)
        size = min(int(call.query.get("per_page", "30")), 100)
        page, headers, _ = paged(ordered, call, self.web_url, size=size, size_name="per_page")
        return Answer(body=[self.row(r) for r in page], headers=headers)

    def _installed(self, call: Call, number: int) -> Answer:
        installation = self.installations[number]
        repos = sorted((r for r in self._of(installation["owner"]) if r.visible), key=lambda r: r.order)
        size = min(int(call.query.get("per_page", "30")), 100)
        page, headers, _ = paged(repos, call, self.web_url, size=size, size_name="per_page")
        body = {
            "total_count": len(repos),
            "repository_selection": installation["selection"],
            "repositories": [self.row(r) for r in page],
        }
        return Answer(body=body, headers=headers)

    def _account(self, login: str, *, own: bool) -> dict[str, Any]:
        owned = self._of(login)
        private = sum(r.private for r in owned)
        row = {
            "login": owned[0].slug.split("/")[0] if owned else login,
            "id": self.account_id(login),
            "type": "User" if login.lower() in self.users else "Organization",
            "public_repos": len(owned) - private,
        }
        if own and self.two_factor is not None:
            row["two_factor_requirement_enabled"] = self.two_factor
        if own and self.counts_private:
            row |= {"total_private_repos": private, "owned_private_repos": private}
        return row

    def row(self, repo: FakeRepo) -> dict[str, Any]:
        """A repository as lists have it."""
        owner, name = repo.slug.split("/")
        return {
            "id": repo.number,
            "name": name,
            "full_name": repo.slug,
            "private": repo.private,
            "owner": {"login": owner, "id": self.account_id(owner)},
            "html_url": f"{self.web_url}/{repo.slug}",
            "clone_url": self.clone_url(repo.slug),
            "fork": False,
            "archived": False,
            "disabled": False,
            "visibility": "private" if repo.private else "public",
            "default_branch": "main",
            "topics": [],
            "size": 512,
            **repo.row,
        }

    # -- the app ---------------------------------------------------------------------------------------------

    def _as_app(self, call: Call, path: str) -> Answer:
        try:
            claims = jwt.decode(call.token or "", self._key, algorithms=["RS256"], options={"verify_iss": False})
        except (jwt.InvalidTokenError, ValueError):
            return Answer(status=401, body={"message": "A JSON web token could not be decoded"})
        if claims["iss"] != str(self._app_id) or claims["exp"] - claims["iat"] > 660:
            return Answer(status=401, body={"message": "'Issuer' claim ('iss') must be an Integer"})
        if (found := re.match(r"^/app/installations/(\d+)(/access_tokens)?$", path)) is not None:
            number = int(found[1])
            if number not in self.installations:
                return Answer(status=404, body={"message": "Not Found"})
            return self._mint(number) if found[2] and call.method == "POST" else Answer(body=self._installation(number))
        login = path.split("/")[2]
        for number, installation in self.installations.items():
            if self.renamed.get(login, login).lower() == installation["owner"].lower():
                return Answer(body=self._installation(number))
        return Answer(status=404, body={"message": "Not Found"})

    def _installation(self, number: int) -> dict[str, Any]:
        known = self.installations[number]
        return {
            "id": number,
            "app_id": self._app_id,
            "account": {"login": known["owner"], "id": self.account_id(known["owner"])},
            "repository_selection": known["selection"],
            "suspended_at": known["suspended_at"],
        }

    def _mint(self, number: int) -> Answer:
        self.minted += 1
        until = self.now() + self.lifetime_s
        value = self.token(f"ghs_canary{self.minted:04}", login="app[bot]", installation=number, until=until)
        body = {
            "token": value,
            "expires_at": f"{datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}",
            "permissions": {"contents": "read", "metadata": "read"},
            "repository_selection": self.installations[number]["selection"],
        }
        return Answer(status=201, body=body)
