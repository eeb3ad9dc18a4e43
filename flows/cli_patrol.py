"""The commands that run a patrol, and how they look in a terminal."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flows import server as prefect_server
from flows.interruption import Terminated, told
from flows.lake_location import lake_location
from flows.org_models import SourceSettings
from flows.settings import Settings, activate, load
from tasks.core.errors import NightwardenError, UsageError
from tasks.core.literal_secrets import address_fault
from tasks.core.text import one_line

if TYPE_CHECKING:
    from flows.leaks import Answered
    from tasks.patrol.assessing import Assessed
    from tasks.patrol.progress import Standing
    from tasks.patrol.summary import RunSummary

EXIT_GAPS = 3
_LOG_WIDTH = 180
_URL = ("http://", "https://", "ssh://", "file://", "git@")

ReposOption = Annotated[
    list[str] | None,
    typer.Option(
        "--repos",
        metavar="DIR|URL",
        help="A folder tree of git repositories, or one address (https, http, file) that needs no login. Repeatable.",
    ),
]
# Text, for a path has no two slashes in s3://.
LakeOption = Annotated[
    str | None, typer.Option("--lake", metavar="PLACE", help="The lake: a folder or s3://… (or NIGHTWARDEN_LAKE).")
]
WaitOption = Annotated[
    float | None,
    typer.Option("--wait", metavar="MINUTES", help="Wait so long for another run of this lake; 0: end at once.", min=0),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="The org.yaml (or NIGHTWARDEN_CONFIG).")
]


def patrol(
    repos: ReposOption = None,
    source: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A source of the configuration. Repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Only repositories of this pattern, as shop/*.")
    ] = None,
    tool: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this scanner. Repeatable.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Scan again what is known.")] = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Retry failures without back-off.")] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan",
            "--dry-run",
            help="Print what would be scanned, and why. Mirrors are brought up to date; no tool is started and nothing "
            "is written to the lake.",
        ),
    ] = False,
    lake: LakeOption = None,
    config: ConfigOption = None,
    wait: WaitOption = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="Repositories at a time.")] = None,
    keep_server: Annotated[
        bool, typer.Option("--keep-server", help="Leave the local Prefect server running for the next run.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Prefect's own log as well.")] = False,
) -> None:
    """Scan what changed in every repository, and name what was not scanned.

    The first run reads everything; later runs read what changed. Stop it at any moment: finished scans are kept.
    Without PREFECT_API_URL a local Prefect server is started, so that the run can be watched in its UI.
    """
    settings = load(config, lake=lake, workers=workers, wait_minutes=wait, **_sources(repos))
    names = [s.name for s in settings.sources] if repos else (source or [])
    settings.select(names)
    parameters = {
        "sources": names,
        "only": only or [],
        "tools": _known_tools(tool or []),
        "force": force,
        "retry_failed": retry_failed,
    }
    with told("finished scans are kept, the same command goes on with the rest"):
        if plan:
            print(_plan(settings, parameters))
            return
        raise typer.Exit(run(settings, parameters, keep_server=keep_server, verbose=verbose))


def _plan(settings: Settings, parameters: dict[str, Any]) -> str:
    """What a run would do. Needs no Prefect: only mirrors are brought up to date, no tool and no server is started."""
    from flows.means import opened
    from tasks.patrol.plan import Options
    from tasks.patrol.session import Patrol
    from tasks.patrol.summary import plan_text

    options = Options(
        only=tuple(parameters["only"]),
        all_sources=not parameters["sources"],
        tools=tuple(parameters["tools"]),
        force=parameters["force"],
        retry_failed=parameters["retry_failed"],
    )
    with opened(settings, write=False, asked=options.tools) as means:
        run = Patrol(means, settings.select(parameters["sources"]), options)
        run.discover()
        run.refresh()
        run.plan()
        return plan_text(run)


def _known_tools(names: list[str]) -> list[str]:
    from tasks.scanners import SCANNERS

    known = [s.name for s in SCANNERS]
    for name in names:
        if name not in known:
            raise UsageError(f"no scanner is called {one_line(name, 40)!r}", advice=f"There are: {', '.join(known)}.")
    return names


def _sources(repos: list[str] | None) -> dict[str, Any]:
    """Sources from --repos: named by their full place, so that the next run knows them again."""
    if not repos:
        return {}
    import hashlib

    entries = []
    for place in repos:
        where = place if place.startswith(_URL) or (":" in place and not Path(place).exists()) else None
        if where is not None and (fault := address_fault(where)):
            raise UsageError(f"an address of --repos is not used: {fault[0]}", advice=fault[1])
        full = where or str(Path(place).expanduser().resolve())
        stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in full.rstrip("/").rsplit("/", 1)[-1]).lstrip(
            "._-"
        )
        name = f"{stem[:40] or 'repos'}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"
        entries.append(SourceSettings(name=name, url=where, path=None if where else Path(full)))
    return {"sources": tuple(entries)}


def run(settings: Settings, parameters: dict[str, Any], *, keep_server: bool, verbose: bool) -> int:
    """Run the flow here and now, with a server of our own if no API is configured. Returns the exit code."""
    out = Console(stderr=True, highlight=False, markup=False)
    _quiet_prefect(verbose)
    with ExitStack() as stack:
        stack.enter_context(activate(settings))
        # Prefect reads .env and prefect.toml of the working directory, which may be a cloned repository.
        stack.enter_context(chdir(stack.enter_context(TemporaryDirectory(prefix="nightwarden-"))))
        if not os.environ.get("PREFECT_API_URL"):
            stack.enter_context(_local_server(settings, out, keep=keep_server))
        from prefect import tags  # here, because Prefect reads its environment when it is imported

        from flows import patrol as flow_module
        from flows.prefect_api import keep_trying, wait_for_api

        wait_for_api(out)
        stack.enter_context(keep_trying())

        stop = threading.Event()
        watcher = threading.Thread(target=_watch, args=(flow_module.LAST, stop, out), daemon=True)
        watcher.start()
        try:
            with tags("nightwarden", "patrol"):
                state = flow_module.patrol(**parameters, return_state=True)
        except Exception as e:
            raise _cut_off(e, flow_module.LAST) from e
        finally:
            stop.set()
            watcher.join(5)
        summary: RunSummary | None = flow_module.LAST.get("summary")
        if summary is None:
            raise _failure(state)
        _every_task_recorded(state, out)
        assessed: Assessed | None = flow_module.LAST.get("assessed")
        answered: Answered | None = flow_module.LAST.get("leaks")
    _print_summary(summary, settings)
    if assessed is not None:
        print(assessed.sentence())
        for line in assessed.late():
            print(f"not up to date: {one_line(line)}")
    has_gaps = summary.has_gaps or (assessed is not None and assessed.has_gaps)
    if answered is not None:
        print(one_line(answered.sentence, 1000))
        for line in answered.lines:
            print(one_line(line, 1000))
        has_gaps = has_gaps or answered.has_gaps
    return EXIT_GAPS if has_gaps else 0


def _cut_off(error: Exception, last: dict[str, Any]) -> BaseException:
    """What to raise when Prefect could not end the run in order, which is when its API is gone."""
    from prefect.exceptions import TerminationSignal

    # A signal that ended the run is the reason; that Prefect then could not report it is not.
    if last.get("ended_by") is TerminationSignal:
        return Terminated()
    if last.get("ended_by") is KeyboardInterrupt:
        return KeyboardInterrupt()
    kept = "The run is published" if "summary" in last else "Nothing was published; finished scans are kept"
    return NightwardenError(
        f"the Prefect API was lost: {type(error).__name__}: {one_line(str(error), 500)}",
        advice=f"{kept}. Run the same command again.",
    )


def _failure(state: Any) -> NightwardenError:
    try:
        error = state.result(raise_on_failure=False)
    except Exception as e:
        error = e
    if _is_full(error):
        said = error.message if isinstance(error, NightwardenError) else str(error)
        return NightwardenError(
            f"the run failed, a disk is full: {one_line(' '.join(said.split()), 500)}",
            advice="Make room, then run the same command again: finished scans are kept.",
        )
    if isinstance(error, NightwardenError):
        return error
    return NightwardenError(
        f"the run failed: {type(error).__name__}: {one_line(str(error), 500)}",
        advice="Nothing was published; finished scans are kept. Run again with --verbose.",
    )


def _is_full(error: Any) -> bool:
    """Whether there was no room on a disk; libraries tell it in words alone."""
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or os.strerror(errno.ENOSPC) in str(error)


def _quiet_prefect(verbose: bool) -> None:
    if not verbose:
        os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")
        # The summary says it better than a log line that a flow in a state of type FAILED causes.
        logging.getLogger("prefect.flow_runs").setLevel(logging.CRITICAL)
        os.environ.setdefault("PREFECT_LOGGING_LOGGERS_PREFECT_FLOW_RUNS_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL", "CRITICAL")
        # Of a server that restarts Prefect says a line of its own; its library would show where it was at the time.
        logging.getLogger("websockets").setLevel(logging.CRITICAL)


@contextmanager
def _local_server(settings: Settings, out: Console, *, keep: bool) -> Iterator[None]:
    home = settings.home
    with prefect_server.used(home, keep=keep) as server, prefect_server.client_of(server, home):
        import prefect  # noqa: F401  while the server starts

        prefect_server.wait(server, home)
        out.print(
            f"Prefect UI {server.ui_url}  (sign in with the `auth` of {prefect_server.state_file(home)})",
            soft_wrap=True,
        )
        yield
    if keep:
        out.print("the server goes on; `nightwarden server stop` ends it")


def _every_task_recorded(state: Any, out: Console) -> None:
    """Wait until the API shows every task run of this flow run, and say how many it shows."""
    from flows.recorded import task_runs

    runs = task_runs(state)
    if runs is None:
        out.print("the Prefect API does not answer, so its record of this run may lack its end; the lake is complete")
        return
    lost = f"; {runs.missing} did not reach it, the lake is complete all the same" if runs.missing else ""
    out.print(
        f"{runs.submitted} task runs submitted, {runs.recorded} recorded by the Prefect API{lost}", soft_wrap=True
    )


def _watch(last: dict[str, Any], stop: threading.Event, out: Console) -> None:
    """Show the progress: a bar in a terminal, a line every 30 s elsewhere."""
    if out.is_terminal:
        with Progress(
            TextColumn("{task.fields[phase]:<8}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=out,
            transient=True,
        ) as bar:
            item = bar.add_task("patrol", total=None, phase="starting", note="")
            while not stop.wait(0.2):
                if "patrol" in last:
                    look = last["patrol"].progress.look()
                    bar.update(item, total=look.total or None, completed=look.done, phase=look.phase, note=_note(look))
        return
    while not stop.wait(30):
        if "patrol" in last:
            look = last["patrol"].progress.look()
            out.print(f"{look.phase}: {look.done} of {look.total} repositories, {_note(look)}", soft_wrap=True)


def _note(look: Standing) -> str:
    parts = [f"{len(look.running)} running"] if look.running else []
    parts += [f"{look.failed} failed"] if look.failed else []
    parts += [f"about {look.left_s:.0f} s left"] if look.left_s is not None else []
    if look.running:
        parts.append(one_line(look.running[0], 40))
    return ", ".join(parts)


def _print_summary(summary: RunSummary, settings: Settings) -> None:
    """Gaps first, then what was done."""
    out = Console(highlight=False, markup=False)
    if not out.is_terminal:
        out.width = _LOG_WIDTH
    if summary.gaps:
        table = Table(
            "", "outcome", "reason", "tool", "count", "where", "remedy", title="Not looked at", title_justify="left"
        )
        for g in summary.gaps[:40]:
            more = g.repository_count - len(g.repositories)
            where = one_line(", ".join(g.repositories), 120) + (f" and {more} more" if more else "")
            table.add_row("new" if g.is_new else "", g.outcome, g.reason_code, g.tool, str(g.count), where, g.remedy)
        out.print(table)
    else:
        out.print("Everything expected was looked at.")
    table = Table("tool", *_used_outcomes(summary), title="Coverage", title_justify="left")
    for tool, counts in summary.coverage.items():
        table.add_row(tool, *[str(counts.get(o, 0)) for o in _used_outcomes(summary)])
    out.print(table)
    out.print(
        f"{summary.repositories} repositories, {summary.tools_started} scans run, {summary.duration_s:.1f} s; "
        f"findings: {summary.open_findings} open, {summary.opened} new, {summary.fixed} fixed{summary.awaiting_note()}",
        soft_wrap=True,
    )
    if summary.accepted_gaps:
        out.print(f"{summary.accepted_gaps} of {summary.gap_rows} scans with gaps are accepted by decisions")
    for note in summary.decision_notes:
        out.print(f"decisions: {note}", soft_wrap=True)
    for note in summary.owner_notes:
        out.print(f"owners: {note}", soft_wrap=True)
    if note := summary.sandbox_note():
        out.print(note, soft_wrap=True)
    out.print(f"lake: {lake_location(settings)}", soft_wrap=True, markup=False)


def _used_outcomes(summary: RunSummary) -> list[str]:
    return [o for o in summary.outcomes if summary.outcomes[o]]


def demo(
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Make the organisation and the lake here and leave them.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Prefect's own log as well.")] = False,
) -> None:
    """Make a small organisation, patrol it twice, and check what was found against the truth written beforehand."""
    import tempfile

    from flows.demo import play

    place = Path(tempfile.mkdtemp(prefix="nightwarden-demo-")) if keep is None else keep.expanduser().resolve()
    with told("what was made is removed" if keep is None else f"what was made stays in {place}"):
        try:
            raise typer.Exit(play(place, verbose=verbose, keep=keep is not None))
        finally:
            if keep is None:
                shutil.rmtree(place, ignore_errors=True)
            sys.stdout.flush()
