"""Each fake with what is needed to open it: what tests of all adapters are run with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tasks.core.origins import ForgeAccess, ForgeKind
from tasks.core.ports import Forge
from tasks.core.secret_refs import parse_ref
from tasks.repos.forges import open_forge
from tests.forges.clock import FakeClock, MemorySecrets
from tests.forges.gitea import FakeGitea
from tests.forges.github import FakeGithub
from tests.forges.gitlab import FakeGitlab
from tests.forges.server import FakeForge

#: The token of every test, sought where none may be.
CANARY = "canary_4f1d9c0b7e"
FAKES: dict[ForgeKind, type[FakeForge]] = {
    ForgeKind.GITHUB: FakeGithub,
    ForgeKind.GITLAB: FakeGitlab,
    ForgeKind.GITEA: FakeGitea,
}
_OWNERS = {ForgeKind.GITLAB: "group"}
#: Parts of the paths of lists of repositories and of the account.
LISTS = {ForgeKind.GITHUB: r"/repos$", ForgeKind.GITLAB: r"/projects$", ForgeKind.GITEA: r"/repos$"}


@dataclass(slots=True, kw_only=True)
class Case:
    """A running fake, the access to its account ``acme``, and a clock that nothing waits for."""

    fake: FakeForge
    access: ForgeAccess
    clock: FakeClock
    secrets: MemorySecrets = field(default_factory=lambda: MemorySecrets(TOKEN=CANARY))

    @property
    def lists(self) -> str:
        """What the paths of lists match."""
        return LISTS[self.access.kind]

    def open(
        self,
        *,
        patience_s: float = 600.0,
        cancelled: Callable[[], bool] = lambda: False,
        read_s: float = 10.0,
        **access: Any,
    ) -> Forge:
        """The forge, with the access changed as told."""
        return open_forge(
            replace(self.access, **access),
            self.secrets,
            patience_s=patience_s,
            cancelled=cancelled,
            timing=self.clock.timing(read_s=read_s),
        )


@contextmanager
def running(kind: ForgeKind, root: Path, **options: Any) -> Iterator[Case]:
    """A fake of this kind that knows the token ``CANARY``, at ``env:TOKEN``."""
    clock = FakeClock()
    with FAKES[kind](root, now=clock.now, **options) as fake:
        fake.token(CANARY, scopes="repo, read:org" if kind is ForgeKind.GITHUB else None)
        access = ForgeAccess(
            kind=kind,
            api_url=fake.api_url,
            owner="acme",
            owner_kind=_OWNERS.get(kind, "organization"),
            token=parse_ref("env:TOKEN"),
        )
        yield Case(fake=fake, access=access, clock=clock)
