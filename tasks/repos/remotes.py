"""How git goes to the remotes of a run's sources: each source's own credential and certificates, read when needed."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from tasks.core.addresses import in_the_clear
from tasks.core.errors import SecretError, UsageError
from tasks.core.origins import GitCredential, RemoteAccess, Source
from tasks.core.ports import Forge, Secrets
from tasks.core.types import Repo
from tasks.repos.manifest import read_manifest
from tasks.repos.web_origins import origin_of

#: GitHub asks for this name beside a token of an app; GitLab, Gitea and Bitbucket's tokens take any.
_USERNAME = "x-access-token"


class Remotes:
    """Answers by the repository's source; ``forges`` by the name of theirs. Thread-safe.

    A token goes to the scheme, host and port of its source's own address, or of all that its manifest names.
    Repositories of last night may lie elsewhere, for names of sources are used again: they are asked for without it.
    """

    def __init__(self, sources: Iterable[Source], forges: Mapping[str, Forge], secrets: Secrets) -> None:
        self._sources = {s.name: s for s in sources}
        self._forges = forges
        self._secrets = secrets
        self._of_manifests: dict[str, str] = {}
        self._lock = threading.Lock()

    def access(self, repo: Repo) -> RemoteAccess:
        """For one call of git. Raises ForgeError or SecretError: the credential cannot be had."""
        source = self._sources.get(repo.source)
        if source is None:
            return RemoteAccess()
        forge = self._forges.get(source.name)
        if forge is not None:
            ca_file = source.forge.ca_file if source.forge is not None else None
            return RemoteAccess(credential=forge.credential(), ca_file=ca_file)
        origin = origin_of(repo.url)
        if source.token is None or not origin or origin != self._bound(source):
            return RemoteAccess(ca_file=source.ca_file)
        if in_the_clear(repo.url) and not source.allow_http:
            raise SecretError(
                f"the token of source {source.name} would go over http, without TLS",
                advice="Write the address with https://, or set `allow_http: true` for the source.",
            )
        password = self._secrets.get(source.token)
        if not password.reveal().isprintable():
            raise SecretError(
                f"what {source.token} holds is no token: it has a line break or another control character in it",
                advice="Store the token alone, as the server shows it.",
            )
        credential = GitCredential(base_url=origin, username=_USERNAME, password=password)
        return RemoteAccess(credential=credential, ca_file=source.ca_file)

    def _bound(self, source: Source) -> str:
        """The place that a source's token is for; "" where nobody says."""
        if source.manifest is None:
            return origin_of(source.location)
        with self._lock:
            if source.name not in self._of_manifests:
                try:
                    found = {origin_of(e.url) for e in read_manifest(source.manifest) if not e.problem} - {""}
                except UsageError:
                    found = set()
                self._of_manifests[source.name] = found.pop() if len(found) == 1 else ""
            return self._of_manifests[source.name]
