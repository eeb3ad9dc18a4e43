"""Prefect tasks and artifacts of rotations: names, tags and states over ``tasks.patrol.rotation_run``.

A task is given the run's id and the secret's name, never the run itself: Prefect walks through arguments and records
them. Nothing that a task returns or says holds a value.
"""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger
from prefect.states import Completed, Failed

from tasks.core.rotations import Transition
from tasks.core.text import for_artifact, one_line
from tasks.patrol.leaks import Leak
from tasks.patrol.rotating import Look
from tasks.patrol.rotation_run import Choice, RotationRun, why_nothing

#: The runs of this process by their ids.
ACTIVE: dict[str, RotationRun] = {}
_TOLD = 300


@task(name="rotate secret", task_run_name="{name}", tags=["rotate"], cache_policy=NO_CACHE, persist_result=False)
def rotate_secret(run_id: str, name: str) -> State[Any]:
    """Go on with one secret; the state says what became of it."""
    run = ACTIVE[run_id]
    done = run.one(name)
    state = done.standing.state if done.standing is not None else None
    said = one_line(f"{name}: {state or done.reason_code or 'nothing to do'} {done.detail}".strip(), _TOLD)
    if any(d.name == name for d in run.troubles()):
        return Failed(name="Gaps", message=said)
    return Completed(message=said)


@task(name="answer leaks", task_run_name="leaks", tags=["rotate"], cache_policy=NO_CACHE, persist_result=False)
def answer_leaks(run_id: str) -> State[Any]:
    """Rotate those secrets whose values were found in repositories, and try what they were before."""
    run = ACTIVE[run_id]
    run.look()
    run.choose(Choice(leaks_only=True))
    run.all()
    said = one_line(run.sentence(), _TOLD)
    return Failed(name="Gaps", message=said) if run.troubles() else Completed(message=said)


def tell_step(step: Transition) -> None:
    """A line in the log of the task run, as it happens."""
    try:
        log: Any = get_run_logger()
    except MissingContextError:  # in a thread that Prefect did not begin
        log = get_logger("rotate")
    log.info("%s", one_line(f"{step.secret}: {step.state} {step.identity}".rstrip(), _TOLD))


def _steps(run: RotationRun, seen: Look) -> list[tuple[str, str]]:
    """What would be done to a secret, or why nothing is, or that it could not be looked at."""
    if seen.current is None:
        return [("unknown", f"{seen.reason_code}: {seen.detail}")]
    found, why_not = run.planned(seen)
    if found or why_not:
        return [(str(s.state), s.what) for s in found] or [("unknown", why_not)]
    return [("none", why_nothing(seen))]


def plan_artifact(run: RotationRun) -> None:
    """Each step that a run would do, and for each secret that nothing would be done to, why."""
    rows = []
    for seen in run.looks:
        told = [("leaked", leaked(leak)) for leak in seen.leaks] + _steps(run, seen)
        rows += [{"secret": seen.managed.name, "step": step, "what": for_artifact(what, _TOLD)} for step, what in told]
    create_table_artifact(
        rows or [{"secret": "none", "what": "nothing is to be done"}], key="rotation-plan",
        description="what a run would do; nothing was done",
    )  # fmt: skip


def leaked(leak: Leak) -> str:
    """What has leaked, and where it was found."""
    where = ", ".join(leak.flaw.slugs) or "findings that are gone"
    what = "by decisions nothing is done about it" if not leak.flaw.is_open else f"it is the {leak.role} value"
    findings = ", ".join(uid[:12] for uid in leak.flaw.finding_uids)
    return f"the field {leak.field} stands in {where}: {what} (finding {findings})"


def done_artifact(run: RotationRun, sentence: str) -> None:
    """What was done: a row a secret, those first that somebody must look at."""
    bad = {d.name for d in run.troubles()}
    rows = []
    for seen in sorted(run.looks, key=lambda s: (s.managed.name not in bad, s.managed.name)):
        done = run.done.get(seen.managed.name)
        standing = done.standing if done is not None else seen.standing
        until = standing.until if standing is not None else None
        answers = run.leaks.get(seen.managed.name, ())
        rows.append(
            {
                "secret": seen.managed.name,
                "place": for_artifact(seen.managed.backend.place, _TOLD),
                "identity": for_artifact(seen.identity or "", _TOLD),
                "state": str(standing.state or "") if standing is not None else "",
                "due": str(seen.due or "unknown"),
                "leak": for_artifact(", ".join(f"{a.leak.field} {a.state}" for a in answers), _TOLD),
                "until": f"{until:%Y-%m-%d %H:%M} UTC" if until is not None else "",
                "reason": (done.reason_code if done is not None else None) or seen.reason_code or "",
                "detail": for_artifact((done.detail if done is not None else "") or seen.detail, _TOLD),
            }
        )
        rows += [
            {
                "secret": seen.managed.name,
                "state": f"leak {a.state}",
                "identity": for_artifact(a.leak.identity or "", _TOLD),
                "reason": a.reason_code or "",
                "detail": for_artifact(f"{leaked(a.leak)}; {a.detail}", _TOLD),
            }
            for a in answers
        ]
    create_table_artifact(
        rows or [{"secret": "none"}], key="rotations", description=for_artifact(sentence, 500)
    )  # fmt: skip
