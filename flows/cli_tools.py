"""The commands around the patrol: scanners, the local server, the deployment, and the doctor."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from flows import server as prefect_server
from flows.cli_patrol import ConfigOption, LakeOption
from flows.settings import load
from tasks.core.errors import NightwardenError, UsageError
from tasks.core.ports import PlatformTool, UsesDatabase
from tasks.core.text import one_line

app = typer.Typer(help="The scanners: install them, list them.", no_args_is_help=True, rich_markup_mode=None)
server_app = typer.Typer(help="The local Prefect server.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def install(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Scanners; all when empty.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Install again what is there.")] = False,
    config: ConfigOption = None,
) -> None:
    """Put each scanner into an environment of its own, from its hash-pinned lock."""
    from tasks.core.process import ProcessRunner
    from tasks.core.sandbox import detect
    from tasks.scanners import SCANNERS
    from tasks.scanners.rule_preparing import forget_trials
    from tasks.scanners.semgrep import SEMGREP
    from tasks.scanners.tools import install as install_tool

    settings = load(config)
    every = {s.name: s for s in SCANNERS}
    _refuse_unknown(names or [], every)
    known = {n: s for n, s in every.items() if not isinstance(s, PlatformTool)}
    own = sorted(set(names or []) - set(known))
    if own:
        raise UsageError(
            f"{', '.join(own)} cannot be installed by us",
            advice="It is used where the platform has it on PATH, or where `tools.<name>.binary` names it.",
        )
    runner = ProcessRunner(detect())
    for name in names or known:
        home = install_tool(known[name], settings.tools_dir, runner, force=force, progress=print)
        print(f"{name} {home.version}: ready")
        if force and name == SEMGREP.name:
            forget_trials(settings.tools_dir, settings.packs_dir)


@app.command()
def update(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Scanners; all that use one when empty.")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Fetch the vulnerability data bases of the platform's tools. Scans never touch the network."""
    from flows.means import tool_homes, unused_tools
    from tasks.core.process import ProcessRunner
    from tasks.core.sandbox import detect
    from tasks.scanners import SCANNERS
    from tasks.scanners.databases import update as update_database

    settings = load(config)
    known = {s.name: s for s in SCANNERS if isinstance(s, UsesDatabase)}
    _refuse_unknown(names or [], known)
    runner = ProcessRunner(detect())
    homes, unused = tool_homes(settings, runner), unused_tools(settings)
    failed = []
    for name in names or [n for n in known if n not in unused]:
        home = homes[name]
        try:
            if isinstance(home, str):
                raise NightwardenError(f"{name}: {home}")
            print(f"{name} {home.version}: fetching its data base", flush=True)
            fresh = update_database(known[name], home, settings.tools_dir, runner)
            print(f"{name}: the data base of {fresh.updated_at:%Y-%m-%d %H:%M} UTC is in force")
        except NightwardenError as e:  # the others are fetched all the same
            failed.append(name)
            print(one_line(str(e), 400), file=sys.stderr)
    if failed:
        raise NightwardenError(f"not updated: {', '.join(failed)}", advice="Each line above says why.")


def _refuse_unknown(names: list[str], known: Mapping[str, object]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise UsageError(f"no scanner is called {', '.join(unknown)}", advice=f"There are: {', '.join(known)}.")


@app.command("list")
def list_tools(config: ConfigOption = None) -> None:
    """List the scanners: what they look for, their version and licence, and where they come from."""
    from flows.means import tool_homes
    from tasks.scanners import SCANNERS

    settings = load(config)
    homes = tool_homes(settings)
    table = Table("tool", "version", "licence", "unit", "looks for", "from")
    for s in SCANNERS:
        home = homes[s.name]
        if isinstance(home, str):
            table.add_row(s.name, "–", s.licence, s.unit, s.summary, one_line(home, 120))
        else:
            table.add_row(s.name, home.version, s.licence, s.unit, s.summary, home.origin)
    Console(highlight=False, markup=False).print(table)


@app.command()
def packs(config: ConfigOption = None) -> None:
    """List the rule packs of semgrep: origin, number of rules that run, and all that does not. Fetches nothing."""
    from flows.means import pack_problems, pack_sources, ready, without_rules
    from tasks.core.process import ProcessRunner
    from tasks.core.reasons import REASONS
    from tasks.core.sandbox import detect
    from tasks.scanners.rule_packs import OWN_PACK

    settings = load(config)
    homes, prepared = ready(settings, ProcessRunner(detect()))
    if prepared is None:
        raise NightwardenError(f"semgrep: {homes['semgrep']}", advice="Packs are tried with it.")
    counts = Counter(rule.pack for rule in prepared.rules)
    origins = {OWN_PACK: "comes with this project"}
    for s in pack_sources(settings):
        origins[s.name] = " ".join(filter(None, (s.location, s.commit and s.commit[:12], s.folder)))
    table = Table("pack", "rules", "digest", "from")
    problems = pack_problems(settings, prepared)
    for name in problems:
        table.add_row(name, str(counts[name]), prepared.digests[name][:12], one_line(origins[name], 200))
    out = Console(highlight=False, markup=False)
    out.print(table)
    for name, own in problems.items():
        for fault in own:
            out.print(f"{name}: {one_line(fault, 400)}", soft_wrap=True)
    faults = sum(map(len, problems.values()))
    if why := without_rules(settings, prepared):
        told = f"semgrep: {why}" + (f", {faults} faults" if faults else "")
        raise NightwardenError(told, advice=REASONS["no_rules"].remedy)
    if faults:
        raise NightwardenError(f"{faults} faults", advice="Each line above names one; all other rules run.")


@server_app.command("start")
def server_start(config: ConfigOption = None) -> None:
    """Start the local server and leave it running."""
    settings = load(config)
    server = prefect_server.keep_running(settings.home)
    print(f"{server.ui_url}  (sign in with the `auth` of {prefect_server.state_file(settings.home)})")


@server_app.command("stop")
def server_stop(config: ConfigOption = None) -> None:
    """Stop the local server."""
    print("stopped" if prefect_server.stop(load(config).home) else "no server was running")


@server_app.command("status")
def server_status(config: ConfigOption = None) -> None:
    """Say whether the local server runs."""
    server = prefect_server.running(load(config).home)
    print(f"{server.ui_url}, pid {server.pid}" if server else "not running")


def doctor(lake: LakeOption = None, config: ConfigOption = None) -> None:
    """Check this machine: Python, git, sandbox, scanners with their controls, key, lake. Exit 1 names faults."""
    from flows.diagnosis import diagnose

    settings = load(config, lake=lake)
    out = Console(highlight=False, markup=False)
    faults = 0
    for check in diagnose(settings):
        faults += not check.fine
        out.print(f"{'ok   ' if check.fine else 'FAULT'} {check.name:<12} {check.found}", soft_wrap=True)
        if not check.fine and check.remedy:
            out.print(f"      {check.remedy}", soft_wrap=True)
    if faults:
        raise NightwardenError(f"{faults} faults", advice="Each line above says what to do.")


def deploy(
    pool: Annotated[
        str, typer.Option(metavar="NAME", help="The process work pool; made if it is not there.")
    ] = "nightwarden",
) -> None:
    """Register the deployments with the Prefect API that PREFECT_API_URL names.

    \b
      patrol/nightly            02:00
      assess/advisories         every four hours
      inventory/stored-secrets  04:30
      rotate/rotation           every hour

    Times are those of Europe/Berlin. Of each one run goes on at a time. All are in one work pool.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise UsageError(
            "no Prefect API is configured",
            advice="Set PREFECT_API_URL (and PREFECT_API_AUTH_STRING), as for any Prefect client.",
        )
    # Prefect reads .env and prefect.toml of the working directory, which may be a cloned repository.
    with TemporaryDirectory(prefix="nightwarden-") as empty, chdir(empty):
        from deployments.register import register

        for line in register(pool):
            print(line)
    print(f"start a worker with: {Path(sys.executable).name} -m prefect worker start --pool {pool}")
