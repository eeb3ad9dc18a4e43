"""A task run for each name of a run. A task is given an id and a name, never the run itself: Prefect walks through
arguments and records them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from prefect import Task
from prefect.task_runners import ThreadPoolTaskRunner

Run = TypeVar("Run")


@contextmanager
def active(runs: MutableMapping[str, Run], run: Run) -> Iterator[str]:
    """The id by which tasks find a run in ``runs``, for as long as it lasts."""
    run_id = uuid4().hex
    runs[run_id] = run
    try:
        yield run_id
    finally:
        runs.pop(run_id, None)


def each(task: Task[[str, str], Any], run_id: str, arguments: Iterable[dict[str, str]], *, workers: int) -> None:
    """Run a task for each of the arguments, so many at a time, and wait for all. What it raises is in its state."""
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
    with runner:
        futures = [runner.submit(task, {"run_id": run_id, **more}, []) for more in arguments]
        for future in futures:
            future.wait()
