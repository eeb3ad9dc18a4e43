"""A runner in a process of its own, which can be told to wait at a step of a rotation, to be killed or frozen there.

A step is ``before CALL`` or ``after CALL``, CALL being one of backend or target. A runner that is told to stop at the
n-th time that it comes to a step says ``("at", step)`` over its pipe and waits for a word. In the end it says
``("end", state, reason, detail)``.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

from tasks.patrol.rotating import Classes, Managed, go_on
from tasks.patrol.rotation_log import RotationLog
from tests.chaos.rotation_stage import Shop, Site

#: What passes by itself, or with the server that is started again: the runner asks again. Anything else ends it.
PASSING = ("rotation_busy", "backend_unreachable", "backend_sealed", "backend_limited", "target_unreachable")
#: A runner gives up after so long, and says so.
_MOST_S = 90.0
#: Longer pauses of the product are cut short, so that it comes to something within minutes.
_PAUSE_S = 0.4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Where a runner waits: at the n-th time of a step."""

    step: str
    nth: int = 1


def run(site: Site, shop: Shop, slot: str, stop: Stop | None, pipe: Connection) -> None:
    """Go on with one secret until its rotation in a slot is finished, whatever goes wrong meanwhile."""
    _say_all_to(site, shop)
    passed = 0

    def hook(step: str) -> None:
        nonlocal passed
        if stop is None or step != stop.step:
            return
        passed += 1
        if passed == stop.nth:
            pipe.send(("at", step))
            pipe.recv()

    try:
        with site.managed(shop, hook) as secret:
            told = _until_finished(secret, slot, RotationLog(site.steps))
        pipe.send(("end", *told))
    except (EOFError, BrokenPipeError):  # who started us is gone
        os._exit(1)


def _until_finished(secret: Managed, slot: str, log: RotationLog) -> tuple[str | None, str | None, str]:
    end = time.monotonic() + _MOST_S
    while True:
        done = go_on(secret, slot, log, Classes(), sleep=lambda s: time.sleep(min(s, _PAUSE_S)))
        standing = done.standing
        state = str(standing.state) if standing is not None and standing.state is not None else None
        waits = done.is_passing or done.reason_code in PASSING if standing is None else not standing.is_finished
        if not waits or time.monotonic() > end:
            return state, done.reason_code, done.detail
        left = (standing.until - datetime.now(UTC)).total_seconds() if standing and standing.until else 0.0
        time.sleep(min(max(left, 0.2), 5.0))


def _say_all_to(site: Site, shop: Shop) -> None:
    """All that this process says, and all that libraries log at DEBUG, goes to a file."""
    path = site.said / f"{shop.name}-{os.getpid()}-{time.monotonic_ns()}.log"
    with path.open("ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    logging.basicConfig(level=logging.DEBUG, filename=path, force=True)


def told(pipe: Connection) -> Any:
    """The next word of a process; None: it is gone."""
    try:
        return pipe.recv()
    except (EOFError, ConnectionError):
        return None
