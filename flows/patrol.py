"""The night patrol as a Prefect flow: discover → refresh → plan → scan → publish → assess → answer leaks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.leaks import answer_leaks, is_answering
from flows.means import opened
from flows.prefect_api import keep_trying
from flows.settings import Settings, current
from tasks import publish as publishing
from tasks import scan as scanning
from tasks.core.text import one_line
from tasks.patrol.assessing import is_ready
from tasks.patrol.plan import Options, needs_work
from tasks.patrol.scanning import ACTIVE, Scanning
from tasks.patrol.session import Patrol, RepoState
from tasks.patrol.summary import RunSummary, plan_text
from tasks.scanners import SCANNERS

#: More task runs than this in one flow run overflow the server's event queue: repositories share tasks beyond it.
MAX_TASKS = 2000
_ARTIFACT_EVERY_S = 5.0
#: discover, refresh, plan and publish are task runs too.
_PHASES = 4

ToolName = StrEnum("ToolName", {s.name: s.name for s in SCANNERS})  # type: ignore[misc]


def _run_name() -> str:
    given = flow_run.parameters
    parts = [",".join(given.get("sources") or []) or "all sources"]
    parts += [f"only {','.join(given['only'])}"] if given.get("only") else []
    parts += [word for word in ("force", "retry_failed", "plan_only") if given.get(word)]
    return "patrol " + " · ".join(parts)


@flow(
    name="patrol",
    flow_run_name=_run_name,
    description="Scan what changed in every repository, name what was not scanned, publish to the lake.",
    log_prints=False,
    persist_result=False,
    validate_parameters=True,
)
def patrol(
    sources: list[str] = [],  # noqa: B006  Prefect shows the default in its form
    only: list[str] = [],  # noqa: B006
    tools: list[ToolName] = [],  # noqa: B006
    force: bool = False,
    retry_failed: bool = False,
    plan_only: bool = False,
) -> State[Any]:
    """Scan what changed in every repository, name what was not scanned, publish to the lake.

    Ends Completed, CompletedWithGaps (of type FAILED, because the UI colours by type) or Failed.

    Args:
        sources: Names of configured sources; empty means all.
        only: Patterns of repository names, such as shop/*; empty means all.
        tools: Scanners to use; empty means all.
        force: Scan again what is known.
        retry_failed: Retry failed scans now, without back-off.
        plan_only: Start no tool and publish nothing; the plan becomes an artifact.
    """
    settings = current()
    options = Options(
        only=tuple(only),
        all_sources=not sources,
        tools=tuple(str(t) for t in tools),
        force=force,
        retry_failed=retry_failed,
    )
    with keep_trying():
        with opened(settings, write=not plan_only, asked=options.tools) as means:
            run = Patrol(means, settings.select(sources), options)
            work = Scanning(run)
            ACTIVE[run.run_id] = work
            LAST.clear()
            LAST["patrol"] = run
            try:
                state = _phases(run, work, settings, plan_only=plan_only)
            except BaseException as e:
                means.runner.cancel()
                LAST["ended_by"] = type(e)
                raise
            finally:
                work.close()
                ACTIVE.pop(run.run_id, None)
        # A rotation may take its time: the lake is nobody's meanwhile.
        return state if plan_only or not is_answering(settings, run.run_id) else _answering(state, settings)


#: The latest run of this process: the CLI reads its progress, its summary and what cut it off from here.
LAST: dict[str, Any] = {}


def _phases(run: Patrol, work: Scanning, settings: Settings, *, plan_only: bool) -> State[Any]:
    log = get_run_logger()
    if torn := run.means.lake.spool.rejected_names:
        log.warning("%d finished scans of a killed run were torn; they are set aside and done again", len(torn))
    found = scanning.discover(run.run_id)
    fetched = scanning.refresh(run.run_id)
    expected = scanning.plan(run.run_id)
    changed = run.changed()
    log.info(
        "%d repositories, %d fetched; %d scans expected, %d repositories to scan",
        found,
        fetched,
        expected,
        len(changed),
    )
    if plan_only:
        text = plan_text(run)
        publishing.plan_artifact(text)
        return Completed(message=f"planned {expected} scans; nothing was started")
    run.progress.start("scan", {s.repo.slug: run.expected_s(s) for s in changed})
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=settings.workers)
    with runner, _cancelled_first(run):
        work.expect(changed)
        shares = _shares(changed)
        if flow_run.id is not None:
            scanning.SUBMITTED[UUID(str(flow_run.id))] = len(shares) + _PHASES
        futures = [
            runner.submit(scanning.scan, {"run_id": run.run_id, "repo_ids": ids, "what": what}, [])
            for ids, what in shares
        ]
        publishing.follow(run, futures, every_s=_ARTIFACT_EVERY_S, lend=work.lend)
    work.ended_well()
    summary: RunSummary = publishing.publish(run.run_id)
    LAST["summary"] = summary
    publishing.artifacts(summary)
    told, assessed = summary.sentence(), None
    if is_ready(run.means.lake):
        if flow_run.id is not None:
            scanning.SUBMITTED[UUID(str(flow_run.id))] += 1
        assessed = LAST["assessed"] = publishing.assess(run.run_id)
        told = f"{told}; {assessed.sentence()}"
    if summary.has_gaps or (assessed is not None and assessed.has_gaps):
        return Failed(name="CompletedWithGaps", message=told)
    return Completed(message=told)


def _answering(state: State[Any], settings: Settings) -> State[Any]:
    """Rotate what the patrol has found to have leaked. What goes wrong with that is told, and no failure of the
    patrol."""
    if flow_run.id is not None:
        scanning.SUBMITTED[UUID(str(flow_run.id))] += 1
    answer = LAST["leaks"] = answer_leaks(settings)
    told = f"{state.message}; {answer.sentence}"
    if answer.has_gaps or not state.is_completed():
        return Failed(name="CompletedWithGaps", message=told)
    return Completed(message=told)


@contextmanager
def _cancelled_first(run: Patrol) -> Iterator[None]:
    """On an interruption kill the tools before the task runner waits for its threads."""
    try:
        yield
    except BaseException:
        run.means.runner.cancel()
        raise


def _shares(ordered: list[RepoState]) -> list[tuple[list[str], str]]:
    """The task runs: one a repository, in their order; past MAX_TASKS several repositories share one.

    The text names the task run: which repository, and by which tools.
    """
    if len(ordered) <= MAX_TASKS:
        return [
            ([s.repo.repo_id], one_line(f"{s.repo.slug} ({', '.join(p.tool for p in s.plans if needs_work(p))})", 120))
            for s in ordered
        ]
    shares = [ordered[i::MAX_TASKS] for i in range(MAX_TASKS)]
    return [
        (
            [s.repo.repo_id for s in share],
            one_line(f"{len(share)} repositories: {share[0].repo.slug} … {share[-1].repo.slug}", 120),
        )
        for share in shares
    ]
