"""Which forge is asked who reviewed the commits of the configuration repository."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tasks.core.errors import ForgeError
from tasks.core.ports import Forge, ReviewingForge
from tasks.repos.approvals import Reviews
from tasks.repos.config_file import ConfigFile

_T = TypeVar("_T")


def reviews_of(file: ConfigFile, forges: Iterable[Forge]) -> Reviews | None:
    """What tells the reviews of a configuration repository: the forges that its remote is at; None without one.

    The source of the repository's own account is asked first, for another's token is shown nothing of it; the next one
    only where that fails.
    """
    address, branch = file.remote(), file.branch()
    found: list[tuple[ReviewingForge, str]] = []
    for forge in forges:
        slug = forge.holds(address) if isinstance(forge, ReviewingForge) else None
        if isinstance(forge, ReviewingForge) and slug is not None:
            found.append((forge, slug))
    if not found:
        return None
    found.sort(key=lambda f: not f[0].owns(f[1]))
    return Reviews(
        ask=lambda commit: _first(found, lambda forge, slug: forge.review(slug, commit, branch)),
        content=lambda commit: _first(found, lambda forge, slug: forge.content(slug, file.name, commit)),
    )


def _first(forges: Sequence[tuple[ReviewingForge, str]], ask: Callable[[ReviewingForge, str], _T]) -> _T:
    """The answer of the first that can be asked. Raises ForgeError: that of the first, if none can."""
    failed: ForgeError | None = None
    for forge, slug in forges:
        try:
            return ask(forge, slug)
        except ForgeError as e:
            if e.reason_code == "cancelled":
                raise
            failed = failed or e
    assert failed is not None
    raise failed
