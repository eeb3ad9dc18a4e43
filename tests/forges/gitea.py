"""A fake of Gitea's API (``/api/v1``), which Forgejo has too. Shapes are those of the server's own swagger file."""

from __future__ import annotations

import re
from typing import Any

from tests.forges.server import Answer, Call, FakeForge, FakeRepo, Grant, paged


class FakeGitea(FakeForge):
    """Organisations and users come to be with their first repository.

    As in ``routers/api/v1/user/repo.go`` a page is cut first and then filtered by what the token sees, and
    X-Total-Count counts all. ``largest`` is the server's own limit of a page; ``renamed`` maps old names to new ones;
    ``users`` are the names that are no organisations.
    """

    api_path = "/api/v1"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.renamed: dict[str, str] = {}
        self.users: set[str] = set()
        self.largest = 50
        #: The branch, its protection, permissions of collaborators by name, members of the organisation, deploy keys.
        self.branch: dict[str, Any] = {"name": "main", "protected": False}
        self.protection: dict[str, Any] | None = None
        self.permissions: dict[str, str] = {}
        self.members: list[str] = []
        self.keys: list[dict[str, Any]] = []

    @property
    def api_url(self) -> str:
        """The instance itself."""
        return self.web_url

    def not_authenticated(self) -> Answer:
        """See the base."""
        return Answer(status=401, body={"message": "invalid username, password or token"})

    def api(self, call: Call, path: str, grant: Grant | None) -> Answer:
        """See the base."""
        if (
            found := re.match(r"^/(?:repos/[^/]+/[^/]+|orgs/[^/]+)/(branch|collab|keys|members)(.*)$", path)
        ) is not None:
            return self._setting(call, found[1], found[2])
        if (found := re.match(r"^/(orgs|users)/([^/]+)(/repos)?$", path)) is None:
            return Answer(status=404, body={"message": "not found"})
        kind, name, repos = found.groups()
        if name in self.renamed:
            url = self.web_url + call.path.replace(f"/{name}", f"/{self.renamed[name]}")
            return Answer(status=307, headers={"Location": url}, body={})
        owned = sorted(
            (r for r in self.repos.values() if r.slug.split("/")[0].lower() == name.lower()), key=lambda r: r.order
        )
        if not owned or (kind == "users") != (name.lower() in self.users):
            return Answer(status=404, body={"message": "GetUserByName"})
        if not repos:
            known = owned[0].slug.split("/")[0]
            return Answer(body={"id": 5, "login": known} if kind == "users" else {"id": 5, "name": known})
        counted = owned if grant is not None else [r for r in owned if not r.private]
        size = min(int(call.query.get("limit", "30")), self.largest)
        page, headers, _ = paged(counted, call, self.web_url, size=size, size_name="limit")
        rows = [self.row(r) for r in page if self.shown(r, grant)]
        return Answer(body=rows, headers={**headers, "X-Total-Count": str(len(counted))})

    def _setting(self, call: Call, what: str, rest: str) -> Answer:
        if what == "branch":
            found = self.branch if rest.startswith("es/") else self.protection
            return Answer(body=found) if found is not None else Answer(status=404, body={"message": "not found"})
        if rest.endswith("/permission"):
            return Answer(body={"permission": self.permissions[rest.split("/")[1]]})
        names = self.permissions if what == "collab" else self.members
        rows = self.keys if what == "keys" else [{"id": n, "login": login} for n, login in enumerate(names)]
        page, headers, _ = paged(rows, call, self.web_url, size=2, size_name="limit")
        return Answer(body=page, headers={**headers, "X-Total-Count": str(len(rows))})

    def row(self, repo: FakeRepo) -> dict[str, Any]:
        """A repository as lists have it."""
        owner, name = repo.slug.split("/")
        return {
            "id": repo.number,
            "name": name,
            "full_name": repo.slug,
            "owner": {"id": 5, "login": owner, "visibility": "public"},
            "private": repo.private,
            "internal": False,
            "empty": False,
            "fork": False,
            "archived": False,
            "has_code": True,
            "clone_url": self.clone_url(repo.slug),
            "default_branch": "main",
            "topics": [],
            "size": 24,
            **repo.row,
        }
