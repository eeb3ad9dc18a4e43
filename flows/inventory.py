"""The inventory of stores of secrets, as a Prefect flow: ask each store, judge what it told, tell the lake."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.inventory_stores import inventory_of, opened_run
from flows.means import opened_lake
from flows.prefect_api import keep_trying
from flows.settings import current
from tasks import inventory as looking
from tasks.core.text import one_line


@flow(
    name="inventory",
    description="Look at all that stores of secrets hold and how they are kept; no value is read, nothing changed.",
    log_prints=False,
    persist_result=False,
    validate_parameters=True,
)
def inventory(store: str | None = None) -> State[Any]:
    """Look at all that stores of secrets hold, and how they are kept.

    Ends Completed, CompletedWithGaps (of type FAILED, because the UI colours by type) or Failed.

    Args:
        store: Only vault, or aws, or the configured store of this name; all when empty.
    """
    settings = current()
    if inventory_of(settings) is None:
        return Completed(message="no store of secrets is configured to be looked at")
    with keep_trying(), opened_run(settings, store or None) as run:
        run_id = uuid4().hex
        looking.ACTIVE[run_id] = run
        try:
            runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=4)
            with runner:
                futures = [
                    runner.submit(looking.read_store, {"run_id": run_id, "label": label}, []) for label in run.labels
                ]
                for future in futures:
                    future.wait()
        finally:
            looking.ACTIVE.pop(run_id, None)
        with opened_lake(settings) as (lake, _key):
            done = run.publish(lake)
        sentence = f"{run.sentence()}; findings: {done.opened} new, {done.fixed} fixed; run {done.run_id}"
        looking.inventory_artifact(run, sentence)
        get_run_logger().info("%s", one_line(sentence, 500))
        if done.gaps > done.accepted:
            why = dict.fromkeys(gap.reason_code for _, gap in run.gaps)
            return Failed(name="CompletedWithGaps", message="; ".join((sentence, *why)))
        return Completed(message=sentence)
