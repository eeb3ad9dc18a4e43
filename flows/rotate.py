"""The rotation of secrets, as a Prefect flow: what has leaked, what is under way, what is due; tell the lake."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.each_task import active, each
from flows.leaks import known_secrets
from flows.prefect_api import keep_trying
from flows.rotations import log_of, opened, section_of, told_to_lake
from flows.settings import Settings, current
from tasks import rotate as rotating
from tasks.core.text import one_line
from tasks.patrol.rotation_run import Choice, RotationRun


def _run_name() -> str:
    given = flow_run.parameters
    parts = [",".join(given.get("names") or []) or "all secrets"]
    parts += ["dry run"] if given.get("dry_run") else []
    return one_line("rotate " + " · ".join(parts), 200)


@flow(
    name="rotate",
    flow_run_name=_run_name,
    description="Rotate what has leaked, finish rotations that are under way, begin those that are due, tell the lake.",
    log_prints=False,
    persist_result=False,
    validate_parameters=True,
)
def rotate(names: list[str] | None = None, dry_run: bool = False) -> State[Any]:
    """Rotate what has leaked, finish rotations that are under way, begin those that are due, tell the lake.

    Ends Completed where nobody has to do anything: a grace that consumers have, and what `max_per_run` left to the next
    run, are no gaps. Ends CompletedWithGaps (of type FAILED, because the UI colours by type) where somebody has to: a
    failure, a secret that could not be read, one that is due and not approved, a lake that was locked (the next run
    publishes); or Failed. `nightwarden rotate run` asks another question, whether anything is left: it exits with 3
    also for a grace.

    Args:
        names: Names of configured secrets; empty means all.
        dry_run: Change nothing; the steps become an artifact.
    """
    settings = current()
    section = section_of(settings)
    if not section.secrets:
        return Completed(message="no secret is configured to be rotated")
    with keep_trying(), opened(settings, names) as managed:
        run = RotationRun(
            managed, log_of(settings), configured=section.secrets, workers=section.concurrency,
            known=known_secrets(settings), tell=rotating.tell_step,
        )  # fmt: skip
        run.look()
        run.choose(Choice(most=section.max_per_run))
        if dry_run:
            rotating.plan_artifact(run)
            return _state(run, f"{len(run.chosen)} of {len(run.looks)} secrets would be gone on with")
        return _phases(run, settings)


def _phases(run: RotationRun, settings: Settings) -> State[Any]:
    try:
        with active(rotating.ACTIVE, run) as run_id:
            names, workers = ({"name": name} for name in run.chosen), section_of(settings).concurrency
            each(rotating.rotate_secret, run_id, names, workers=workers)
    finally:
        is_published, lake = told_to_lake(run, settings)
        get_run_logger().info("%s", lake)
    sentence = f"{run.sentence()}; {lake}"
    rotating.done_artifact(run, sentence)
    return _state(run, sentence, is_whole=is_published)


def _state(run: RotationRun, sentence: str, *, is_whole: bool = True) -> State[Any]:
    """The end of the flow: what somebody must look at makes it one with gaps."""
    bad = [f"{d.name}: {d.reason_code}" for d in run.troubles()]
    bad += [f"{s.managed.name}: {s.reason_code}" for s in (*run.unread(), *run.unapproved())]
    if bad or not is_whole:
        return Failed(name="CompletedWithGaps", message="; ".join((sentence, *dict.fromkeys(bad))))
    return Completed(message=sentence)
