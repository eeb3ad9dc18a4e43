"""Prefect tasks and artifacts of the inventory of secrets: names, tags and states over ``tasks.patrol.inventory_run``.

A task is given the run's id and the store's name, never the run itself: Prefect walks through arguments and records
them. No value is ever read.
"""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.core.text import for_artifact, one_line
from tasks.patrol.inventory_run import InventoryRun

#: The runs of this process by their ids.
ACTIVE: dict[str, InventoryRun] = {}
_TOLD = 300
#: Rows of an artifact: who looks for one thing among more asks the lake.
_ROWS = 500


@task(name="read store", task_run_name="{label}", tags=["inventory"], cache_policy=NO_CACHE, persist_result=False)
def read_store(run_id: str, label: str) -> State[Any]:
    """Ask one store for all that it tells; the state says whether it stopped."""
    reading = ACTIVE[run_id].read(label)
    stop = reading.inventory_stop or reading.audit_stop
    said = f"{label}: {len(reading.secrets)} secrets, {len(reading.flaws)} flaws of the store"
    if stop is not None:
        return Failed(name="Gaps", message=one_line(f"{said}; {stop.reason_code}: {stop.detail}", _TOLD))
    return Completed(message=one_line(said, _TOLD))


def inventory_artifact(run: InventoryRun, sentence: str) -> None:
    """What is wrong: a row each, first what was not told."""
    rows = [
        {"store": slug, "what": gap.path or "anything", "wrong": gap.reason_code, "detail": gap.detail}
        for slug, gap in run.gaps
    ]
    for look in run.looked:
        rows += [
            {"store": look.slug, "what": f.resource, "wrong": f.rule_id, "detail": f.detail} for f in look.reading.flaws
        ]
        for place, judgement in look.judged.items():
            rows += [
                {"store": look.slug, "what": place, "wrong": rule, "detail": ""} for rule in sorted(judgement.found)
            ]
    more = f"; {len(rows) - _ROWS} more in the lake: nightwarden query --saved secret-hygiene" if rows[_ROWS:] else ""
    shown = [{name: for_artifact(text, _TOLD) for name, text in row.items()} for row in rows[:_ROWS]]
    create_table_artifact(
        shown or [{"store": "all", "what": "nothing is wrong"}], key="secret-hygiene",
        description=for_artifact(sentence + more, 500),
    )  # fmt: skip
