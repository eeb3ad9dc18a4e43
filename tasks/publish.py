"""Prefect tasks and artifacts around the end of a run: progress, publish, coverage and gaps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectConcurrentFuture

from tasks.core.reasons import OUTCOMES
from tasks.core.text import for_artifact
from tasks.patrol.assessing import Assessed
from tasks.patrol.assessing import assess as judge
from tasks.patrol.publishing import publish_run
from tasks.patrol.scanning import ACTIVE
from tasks.patrol.session import Patrol
from tasks.patrol.summary import MAX_ROWS, RunSummary

_TICK_S = 0.2


@task(name="publish", task_run_name="publish", tags=["patrol"], cache_policy=NO_CACHE, persist_result=False)
def publish(run_id: str) -> RunSummary:
    """Write the run to the lake, whole or not at all."""
    return publish_run(ACTIVE[run_id].patrol)


@task(name="assess", task_run_name="assess", tags=["patrol"], cache_policy=NO_CACHE, persist_result=False)
def assess(run_id: str) -> Assessed:
    """Match what the run found with the advisories, and look for the steps that mend it."""
    means = ACTIVE[run_id].patrol.means
    return judge(means.lake, listing=means.listing, advisories=means.advisories)


def follow(
    run: Patrol, futures: Sequence[PrefectConcurrentFuture[Any]], *, every_s: float, lend: Callable[[int], None]
) -> None:
    """Wait for the scans, keeping the progress artifact up to date; ``lend`` is told how many workers are idle."""
    artifact = create_progress_artifact(0.0 if futures else 100.0, key="progress", description="repositories scanned")
    if not futures:
        return
    next_update = time.monotonic() + every_s
    # The threads' own futures: asking a Prefect future for its state asks the API.
    left = {f.wrapped_future for f in futures}
    while left:
        left = wait(left, timeout=_TICK_S).not_done
        lend(run.means.workers - len(left))
        if time.monotonic() >= next_update:
            next_update = time.monotonic() + every_s
            look = run.progress.look()
            assert isinstance(artifact, UUID)
            update_progress_artifact(artifact, 100.0 * look.done / max(1, look.total))
    assert isinstance(artifact, UUID)
    update_progress_artifact(artifact, 100.0)


def plan_artifact(text: str) -> None:
    """The plan as an artifact."""
    body = "\n".join(f"    {for_artifact(line, 400)}" for line in text.splitlines())
    create_markdown_artifact(f"# Plan\n\n{body}\n", key="plan", description="what a run would do")


def artifacts(summary: RunSummary) -> None:
    """Coverage (a row a tool) and gaps (a row a reason, new ones first)."""
    coverage = [{"tool": tool, **{o: counts.get(o, 0) for o in OUTCOMES}} for tool, counts in summary.coverage.items()]
    create_table_artifact(coverage, key="coverage", description=for_artifact(summary.sentence(), 500))
    rows = [
        {
            "new": "new" if g.is_new else "",
            "outcome": g.outcome,
            "reason": g.reason_code,
            "count": g.count,
            "repositories": for_artifact(", ".join(g.repositories), 300)
            + (
                f" and {g.repository_count - len(g.repositories)} more"
                if g.repository_count > len(g.repositories)
                else ""
            ),
            "tool": g.tool,
            "remedy": g.remedy,
        }
        for g in summary.gaps[:MAX_ROWS]
    ]
    create_table_artifact(
        rows or [{"outcome": "none", "remedy": "everything expected was looked at"}],
        key="gaps",
        description=f"{summary.gap_rows} scans name something that was not looked at",
    )
