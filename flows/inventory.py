"""The inventory of stores of secrets, as a Prefect flow: ask each store, judge what it told, tell the lake."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.each_task import active, each
from flows.inventory_stores import AT_ONCE, inventory_of, opened_run
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
        with active(looking.ACTIVE, run) as run_id:
            each(looking.read_store, run_id, ({"label": label} for label in run.labels), workers=AT_ONCE)
        with opened_lake(settings) as (lake, _key):
            done = run.publish(lake)
        sentence = f"{run.sentence()}; findings: {done.opened} new, {done.fixed} fixed; run {done.run_id}"
        looking.inventory_artifact(run, sentence)
        get_run_logger().info("%s", one_line(sentence, 500))
        if done.gaps > done.accepted:
            why = dict.fromkeys(gap.reason_code for _, gap in run.gaps)
            return Failed(name="CompletedWithGaps", message="; ".join((sentence, *why)))
        return Completed(message=sentence)
