"""A fake of GitLab's REST API (``/api/v4``). Shapes are those of https://docs.gitlab.com/api/groups and /projects."""

from __future__ import annotations

import base64
import re
from typing import Any
from urllib.parse import unquote

from tests.forges.server import Answer, Call, FakeForge, FakeRepo, Grant, paged


class FakeGitlab(FakeForge):
    """Groups come to be with their first project, subgroups with theirs.

    ``shared`` are slugs of projects of other groups that are shared with every group; ``renamed`` maps old full paths
    to new ones. Above ``counted`` projects X-Total is left out. A group's list has no statistics, whatever is asked
    (https://gitlab.com/gitlab-org/gitlab/-/issues/38544); a project has them if it is asked for, to who may read them:
    ``add(…, statistics=…)`` says what they are.
    """

    api_path = "/api/v4"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.renamed: dict[str, str] = {}
        self.shared: set[str] = set()
        self.counted = 10_000
        #: Merge requests of commits, and by their number the approvals, the times of pushes and the commits; of each
        #: commit the e-mails of author and committer; users by their number; files by commit and path.
        self.requests: dict[str, list[dict[str, Any]]] = {}
        self.approvals: dict[int, list[dict[str, Any]]] = {}
        self.pushed: dict[int, list[str]] = {}
        self.inside: dict[int, list[str]] = {}
        self.emails: dict[str, tuple[str, str]] = {}
        self.people: dict[int, dict[str, Any]] = {}
        self.files: dict[tuple[str, str], bytes] = {}
        #: Lists by the end of their path, as ``protected_branches`` or ``members/all``; ``group members`` are the
        #: group's. Without ``approval_rules`` it is an edition that has none.
        self.settings: dict[str, list[dict[str, Any]]] = {}
        self.two_factor: bool | None = True
        #: Of groups that say otherwise.
        self.two_factor_of: dict[str, bool] = {}

    @property
    def api_url(self) -> str:
        """The instance itself."""
        return self.web_url

    def not_authenticated(self) -> Answer:
        """See the base."""
        return Answer(status=401, body={"message": "401 Unauthorized"})

    def api(self, call: Call, path: str, grant: Grant | None) -> Answer:
        """See the base."""
        if (found := re.match(r"^/projects/(\d+)$", path)) is not None:
            project = next((r for r in self.repos.values() if r.number == int(found[1]) and self.shown(r, grant)), None)
            told = grant is not None and call.query.get("statistics", "").lower() in ("true", "1")
            return Answer(body=self.row(project, statistics=told)) if project is not None else self._not_found()
        if (found := re.match(r"^/groups/[^/]+/members/all$", path)) is not None:
            return self._setting(call, "group members")
        lists = r"^/projects/[^/]+/(protected_branches|approval_rules|members|members/all|deploy_keys)$"
        if (found := re.match(lists, path)) is not None:
            return self._setting(call, found[1])
        if (found := re.match(r"^/projects/([^/]+)(/.*)?$", path)) is not None:
            repo = self.repos.get(unquote(found[1]))
            if repo is None or not self.shown(repo, grant):
                return self._not_found()
            return self._inside(call, found[2]) if found[2] else Answer(body=self.row(repo))
        if (found := re.match(r"^/users(?:/(\d+))?$", path)) is not None:
            users = [{"id": n, **u} for n, u in self.people.items()]
            if found[1]:
                return Answer(body=next(u for u in users if u["id"] == int(found[1])))
            word = unquote(call.query.get("search", ""))
            hits = [{"id": u["id"]} for u in users if word.lower() in str([*u.values()]).lower()]
            return Answer(body=hits)
        if (found := re.match(r"^/groups/([^/]+)(/projects)?$", path)) is None:
            return self._not_found()
        group = unquote(found[1])
        if group in self.renamed:
            target = self.renamed[group].replace("/", "%2F")
            return Answer(status=301, headers={"Location": f"{self.web_url}/api/v4/groups/{target}"}, body={})
        groups = {self._number(g): g for r in self.repos.values() for g in self._groups(r)}
        group = groups.get(int(group), "") if group.isdecimal() else group
        if group not in groups.values():
            return self._not_found()
        if not found[2]:
            required = self.two_factor_of.get(group, self.two_factor)
            more = {} if required is None else {"require_two_factor_authentication": required}
            return Answer(body={"id": self._number(group), "full_path": group, "name": group.split("/")[-1], **more})
        deep = call.query.get("include_subgroups", "false").lower() in ("true", "1")
        inside = [
            r
            for r in self.repos.values()
            if (group in self._groups(r) if deep else r.slug.rpartition("/")[0] == group)
            or (r.slug in self.shared and call.query.get("with_shared", "true").lower() in ("true", "1"))
        ]
        return self._list(call, inside, grant)

    def _inside(self, call: Call, path: str) -> Answer:
        """Commits, merge requests and files of a project."""
        if (found := re.match(r"^/repository/commits/(\w+)(/merge_requests)?$", path)) is not None:
            if found[1] not in self.emails:
                return Answer(status=404, body={"message": "404 Commit Not Found"})
            return Answer(body=self.requests.get(found[1], []) if found[2] else self._commit(found[1]))
        if (found := re.match(r"^/merge_requests/(\d+)/(approvals|versions|commits)$", path)) is not None:
            number = int(found[1])
            return Answer(
                body={
                    "approvals": {"approved_by": self.approvals.get(number)},
                    "versions": [{"id": n, "created_at": at} for n, at in enumerate(self.pushed.get(number, []))],
                    "commits": [self._commit(c) for c in self.inside.get(number, [])],
                }[found[2]]
            )
        place = (call.query.get("ref", ""), unquote(path.removeprefix("/repository/files/")))
        if place in self.files:
            content = base64.b64encode(self.files[place]).decode()
            return Answer(body={"file_path": place[1], "encoding": "base64", "content": content})
        return Answer(status=404, body={"message": "404 File Not Found"})

    def _commit(self, name: str) -> dict[str, Any]:
        author, committer = self.emails[name]
        return {"id": name, "author_email": author, "committer_email": committer}

    def _setting(self, call: Call, name: str) -> Answer:
        if name == "approval_rules" and name not in self.settings:
            return self._not_found()
        page, headers, _ = paged(self.settings.get(name, []), call, self.web_url, size=2, size_name="per_page")
        return Answer(body=page, headers=headers)

    def _not_found(self) -> Answer:
        return Answer(status=404, body={"message": "404 Group Not Found"})

    def _groups(self, repo: FakeRepo) -> list[str]:
        parts = repo.slug.split("/")[:-1]
        return ["/".join(parts[: n + 1]) for n in range(len(parts))]

    def _number(self, group: str) -> int:
        return 20_000 + sum(ord(c) * (n + 1) for n, c in enumerate(group))

    def _list(self, call: Call, repos: list[FakeRepo], grant: Grant | None) -> Answer:
        down = call.query.get("sort", "desc") == "desc"
        shown = sorted((r for r in repos if self.shown(r, grant)), key=lambda r: r.order, reverse=down)
        size = min(int(call.query.get("per_page", "20")), 100)
        page, headers, last = paged(shown, call, self.web_url, size=size, size_name="per_page")
        headers |= {"X-Page": call.query.get("page", "1"), "X-Per-Page": str(size)}
        if len(shown) <= self.counted:
            headers |= {"X-Total": str(len(shown)), "X-Total-Pages": str(last)}
        return Answer(body=[self.row(r) for r in page], headers=headers)

    def row(self, repo: FakeRepo, *, statistics: bool = False) -> dict[str, Any]:
        """A project as lists have it, or with its statistics as it is shown alone."""
        more = {k: v for k, v in repo.row.items() if statistics or k != "statistics"}
        return {
            "id": repo.number,
            "path_with_namespace": repo.slug,
            "http_url_to_repo": self.clone_url(repo.slug),
            "web_url": f"{self.web_url}/{repo.slug}",
            "default_branch": "main",
            "archived": False,
            "empty_repo": False,
            "visibility": "private" if repo.private else "public",
            "repository_access_level": "enabled",
            "topics": [],
            **more,
        }
