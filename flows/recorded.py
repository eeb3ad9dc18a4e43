"""Counts what the API recorded against what was submitted: the UI must not lose task runs silently."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, TaskRunFilter
from prefect.client.schemas.objects import State
from prefect.exceptions import PrefectException

from tasks.scan import SUBMITTED

_WAIT_S = 30.0
_LOOK_EVERY_S = 0.1
_PAGE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRuns:
    """Task runs of one flow run: how many were submitted, and how many of them the API shows as ended."""

    submitted: int
    recorded: int

    @property
    def missing(self) -> int:
        """Those that the API does not show."""
        return max(0, self.submitted - self.recorded)


def task_runs(state: State[Any]) -> TaskRuns | None:
    """The task runs of a flow run, after at most 30 s of waiting for the API to show them all.

    They reach the database through the server's event queue, a moment after they end. None: the API did not answer
    within that time, so nobody can tell.
    """
    flow_run_id = state.state_details.flow_run_id
    if flow_run_id is None:
        return TaskRuns(submitted=0, recorded=0)
    wanted = SUBMITTED.pop(flow_run_id, 0)
    only_this = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    end = time.monotonic() + _WAIT_S
    ended: int | None = None
    while True:
        try:
            with get_client(sync_client=True) as client:
                while True:
                    ended = ended_task_runs(client, only_this)
                    if ended >= wanted or time.monotonic() > end:
                        return TaskRuns(submitted=wanted, recorded=ended)
                    time.sleep(_LOOK_EVERY_S)
        except (httpx.HTTPError, PrefectException):
            # Prefect's client tries again only where it was connected once, and the lake is complete already.
            if time.monotonic() > end:
                return None if ended is None else TaskRuns(submitted=wanted, recorded=ended)
            time.sleep(_LOOK_EVERY_S)


def ended_task_runs(client: Any, flow_runs: FlowRunFilter) -> int:
    """How many task runs of some flow runs the API shows as ended."""
    count, offset = 0, 0
    while True:
        page = client.read_task_runs(
            flow_run_filter=flow_runs, task_run_filter=TaskRunFilter(), limit=_PAGE, offset=offset
        )
        count += sum(1 for r in page if r.state is not None and r.state.is_final())
        if len(page) < _PAGE:
            return count
        offset += _PAGE
