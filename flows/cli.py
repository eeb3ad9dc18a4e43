"""The command line. Heavy imports stay inside the commands, so that ``--help`` answers at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import packages_distributions
from typing import Annotated

import typer
from rich.console import Console

from flows import (
    cli_advisories,
    cli_assess,
    cli_config,
    cli_decide,
    cli_exports,
    cli_lake,
    cli_patrol,
    cli_report,
    cli_reports,
    cli_rotate,
    cli_tools,
)
from tasks.core.errors import NightwardenError, UsageError
from tasks.core.mistakes import ConfigurationError
from tasks.core.reasons import OUTCOMES, REASONS
from tasks.core.text import one_line

#: 0 complete, 3 complete with gaps, 4 a gate refuses, 1 failed, 2 usage.
EXIT_FAILED, EXIT_USAGE = 1, 2

app = typer.Typer(
    name="nightwarden",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Patrol an organisation's repositories: scan what changed, name what was not scanned, keep it queryable.\n\n"
    "Start with `nightwarden tools install`, then `nightwarden patrol --repos DIR`, or `nightwarden config init`.\n\n"
    "Exit codes: 0 complete, 3 complete with gaps, 1 failed, 2 usage, 130 and 143 ended by a signal.",
)
app.command("patrol")(cli_patrol.patrol)
app.command("demo")(cli_patrol.demo)
app.command("import")(cli_reports.import_)
app.command("report")(cli_report.report)
app.add_typer(cli_exports.export_app, name="export")
app.add_typer(cli_decide.app, name="decide")
app.command("query")(cli_lake.query)
app.command("status")(cli_lake.status)
app.add_typer(cli_config.app, name="config")
app.add_typer(cli_lake.app, name="lake")
app.add_typer(cli_advisories.app, name="advisories")
app.command("assess")(cli_assess.assess)
app.command("affected")(cli_assess.affected)
app.command("upgrades")(cli_assess.upgrades)
app.add_typer(cli_rotate.app, name="rotate")
app.add_typer(cli_tools.app, name="tools")
app.add_typer(cli_tools.server_app, name="server")
app.command("doctor")(cli_tools.doctor)
app.command("deploy")(cli_tools.deploy)


@app.command()
def explain(
    code: Annotated[
        str,
        typer.Argument(
            help="An outcome (partial, …), a reason code (too_large, …), `severity` (of a TOOL), `priority`,"
            " `dependencies`, `sla`, or `finding` UID."
        ),
    ] = "",
    about: Annotated[
        str,
        typer.Argument(metavar="[TOOL|UID]", help="Of `severity` a tool, of `finding` the beginning of a finding_uid."),
    ] = "",
    lake: cli_patrol.LakeOption = None,
    config: cli_patrol.ConfigOption = None,
) -> None:
    """Say what an outcome or a reason code means and what to do about it, how severity, priority and deadlines come
    about, or what the lake knows of one finding; without a code, list them all."""
    from flows import explaining

    if about and code not in ("severity", "finding"):
        raise UsageError("only `severity` takes a tool", advice="`nightwarden explain` lists what can be explained.")
    out = Console(highlight=False)
    topics: dict[str, Callable[[], Iterator[str]]] = {
        "severity": lambda: explaining.severity(about),
        "priority": explaining.priority,
        "dependencies": explaining.dependencies,
        "sla": explaining.sla,
        "finding": lambda: explaining.finding(about, lake, config),
    }
    if code in topics:
        for line in topics[code]():
            out.print(line, markup=False, soft_wrap=True)
    if code in OUTCOMES:
        out.print(f"outcome {code}\n  {OUTCOMES[code]}", markup=False)
    if code in REASONS:
        out.print(f"reason {code}\n  {REASONS[code].meaning}\n  Remedy: {REASONS[code].remedy}", markup=False)
    if not code:
        for name, text in OUTCOMES.items():
            out.print(f"outcome {name:<20} {text}", markup=False)
        for reason in REASONS.values():
            out.print(f"reason  {reason.code:<20} {reason.meaning}", markup=False)
        for name, text in explaining.TOPICS.items():
            out.print(f"topic   {name:<20} {text}", markup=False)
    elif code not in OUTCOMES and code not in REASONS and code not in topics:
        raise UsageError(
            f"no outcome or reason is called {one_line(code, 60)!r}",
            advice="`nightwarden explain` lists them all.",
        )


def _foreign_owner() -> str | None:
    """Another distribution that owns the package names ``flows`` or ``tasks``, if there is one."""
    owners = packages_distributions()
    for name in ("flows", "tasks"):
        foreign = sorted(set(owners.get(name, ())) - {"nightwarden"})
        if foreign:
            return f"the package name {name!r} belongs to {', '.join(foreign)} here"
    return None


def main() -> None:
    """Console script: errors become one clear message and an exit code."""
    # Prefect's client reports its use to its maker where a terminal starts it, unless this is set before its import.
    os.environ.setdefault("DO_NOT_TRACK", "1")
    try:
        foreign = _foreign_owner()
        if foreign:
            raise UsageError(foreign, advice="Install nightwarden in an environment of its own.")
        app()
    except UsageError as e:
        _say(e)
        sys.exit(EXIT_USAGE)
    except NightwardenError as e:
        _say(e)
        sys.exit(EXIT_FAILED)


def _say(error: NightwardenError) -> None:
    err = Console(stderr=True, highlight=False)
    if isinstance(error, ConfigurationError):  # each mistake has lines of its own, made for showing
        err.print(f"nightwarden: {error.message}", markup=False, soft_wrap=True)
        return
    for start, text in (("nightwarden: ", error.message), ("  ", error.advice)):
        if text:
            err.print(start + one_line(" ".join(text.split()), 2000), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
