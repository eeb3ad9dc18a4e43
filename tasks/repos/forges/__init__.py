"""Forges: one adapter a file, each asked through its own library. They are imported when one is opened, not before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tasks.core.errors import UsageError
from tasks.core.origins import ForgeAccess, ForgeKind
from tasks.core.ports import Forge, Secrets
from tasks.repos.web_origins import origin_of

if TYPE_CHECKING:
    from tasks.repos.forges.pacing import Timing


def open_forge(
    access: ForgeAccess,
    secrets: Secrets,
    *,
    patience_s: float,
    cancelled: Callable[[], bool] | threading.Event,
    timing: Timing | None = None,
) -> Forge:
    """The forge that ``access`` names. Nothing is asked and no secret read before it is used.

    ``patience_s`` is how long limits of requests are waited for, in total. Every wait ends within a quarter of a second
    when ``cancelled`` says so: then ForgeError(cancelled). Raises UsageError: the address of the API is none.
    """
    from tasks.repos.forges.pacing import Patience, Timing

    if not origin_of(access.api_url) or "@" in access.api_url:
        raise UsageError(
            "the address of a forge's API is no http(s) address without a login",
            advice="Write it as in https://forge.example; a token is given by reference.",
        )
    timing = timing or Timing()
    patience = Patience(
        patience_s=patience_s,
        cancelled=cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled,
        timing=timing,
    )
    if access.kind is ForgeKind.GITHUB:
        from tasks.repos.forges.github import GithubForge

        return GithubForge(access, secrets, patience=patience, timing=timing)
    if access.kind is ForgeKind.GITLAB:
        from tasks.repos.forges.gitlab import GitlabForge

        return GitlabForge(access, secrets, patience=patience, timing=timing)
    from tasks.repos.forges.gitea import GiteaForge

    return GiteaForge(access, secrets, patience=patience, timing=timing)
