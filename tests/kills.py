"""A process that ends at a step: what goes past every handler, and a watcher that raises it there."""

from __future__ import annotations

from collections.abc import Callable


class KilledError(BaseException):
    """Goes past every handler, as a kill does."""


def kill_at(step: str) -> Callable[[str], None]:
    """For ``watch`` of a publish, a collection or a migration: dies just before this step."""

    def watch(now: str) -> None:
        if now == step:
            raise KilledError(step)

    return watch
