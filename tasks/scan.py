"""Prefect tasks of the patrol: names, tags and states over ``tasks.patrol``. No logic of their own.

A task is given the run's id and names, never the run itself: Prefect walks through arguments and records them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.core.types import Outcome
from tasks.patrol.scanning import ACTIVE

#: Task runs submitted by each flow run, to be compared with what the API recorded.
SUBMITTED: dict[UUID, int] = {}
_FINE = frozenset({Outcome.OK, Outcome.UNCHANGED, Outcome.NOTHING_TO_READ, Outcome.SKIPPED})


@task(name="discover", task_run_name="discover", tags=["patrol"], cache_policy=NO_CACHE, persist_result=False)
def discover(run_id: str) -> int:
    """Find the repositories of the sources."""
    return ACTIVE[run_id].patrol.discover()


@task(
    name="refresh mirrors",
    task_run_name="refresh mirrors",
    tags=["patrol"],
    cache_policy=NO_CACHE,
    persist_result=False,
)
def refresh(run_id: str) -> int:
    """Fetch what moved."""
    return ACTIVE[run_id].patrol.refresh()


@task(name="plan", task_run_name="plan", tags=["patrol"], cache_policy=NO_CACHE, persist_result=False)
def plan(run_id: str) -> int:
    """Decide every expected scan; returns how many there are."""
    return len(ACTIVE[run_id].patrol.plan())


# The tags of all tasks are the same: for each set of tags Prefect connects anew before the first task of it begins, and
# a first connection that is refused is not tried again, as others are.
@task(name="scan", task_run_name="scan {what}", tags=["patrol"], cache_policy=NO_CACHE, persist_result=False)
def scan(run_id: str, repo_ids: list[str], what: str) -> State[Any]:
    """Scan some changed repositories, one after another; the state says what became of their scans."""
    scanning = ACTIVE[run_id]
    outcomes: Counter[str] = Counter()
    bad = False
    for repo_id in repo_ids:
        for row in scanning.scan_repository(scanning.patrol.repos[repo_id]):
            outcomes[f"{row.tool} {row.outcome}" + (f" ({row.reason_code})" if row.reason_code else "")] += 1
            bad = bad or row.outcome not in _FINE
    said = ", ".join(f"{n}x {what}" if n > 1 else what for what, n in sorted(outcomes.items()))
    return Failed(name="Gaps", message=said) if bad else Completed(message=said)
