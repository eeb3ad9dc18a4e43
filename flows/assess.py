"""What is vulnerable, as a Prefect flow: bring the advisories up to date, match what is new, look for steps."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.advisory_feeds import folder_of, synced
from flows.means import opened_lake
from flows.registries import listing_of
from flows.settings import current
from tasks.core.text import one_line
from tasks.deps.advisories.keyed import ready_in
from tasks.patrol.assessing import assess as judge


@flow(
    name="assess",
    description="Bring the advisories up to date, match what is new, look for steps; no repository is touched.",
    log_prints=False,
    persist_result=False,
    validate_parameters=True,
)
def assess(sync: bool = True, everything: bool = False) -> State[Any]:
    """Match the packages that the last patrols found with the advisories.

    Ends Completed, CompletedWithGaps (of type FAILED, because the UI colours by type) or Failed.

    Args:
        sync: Ask the feeds for what is new first.
        everything: Judge all packages, also those that are as before.
    """
    settings, log = current(), get_run_logger()
    late: list[str] = []
    if sync:
        report, _ = synced(settings, tell=lambda o: log.info("%s: %s", o.name, one_line(o.how, 300)))
        late = [f"{o.name}: {o.reason_code}" for o in report.outcomes if o.reason_code]
    listing = listing_of(settings)
    with opened_lake(settings, write=False) as (lake, _key):
        listing.warm(lake)
    with opened_lake(settings) as (lake, _key):
        told = judge(lake, listing=listing, everything=everything, advisories=ready_in(folder_of(settings)))
    sentence = told.sentence()
    gaps = list(dict.fromkeys((*late, *told.late())))
    if gaps or told.gaps:
        return Failed(name="CompletedWithGaps", message="; ".join((sentence, *gaps)))
    return Completed(message=sentence)
