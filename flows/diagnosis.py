"""What ``nightwarden doctor`` looks at."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.lake_location import lake_location
from flows.means import pack_problems, ready, unused_tools, without_rules
from flows.org_models import ToolSettings
from flows.settings import Settings
from tasks.core.errors import NightwardenError
from tasks.core.keys import load_or_create
from tasks.core.ports import UsesDatabase
from tasks.core.process import ProcessRunner
from tasks.core.reasons import REASONS
from tasks.core.sandbox import detect
from tasks.core.text import one_line
from tasks.core.types import Command, ToolHome
from tasks.lake.lake import Lake
from tasks.scanners import SCANNERS
from tasks.scanners.databases import is_old
from tasks.scanners.execute import run_control
from tasks.scanners.rule_preparing import Prepared
from tasks.scanners.service import ServicePool


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    fine: bool
    found: str
    remedy: str = ""


def diagnose(settings: Settings) -> Iterator[Check]:
    """Look at everything a patrol needs, one after another."""
    version = ".".join(str(n) for n in sys.version_info[:3])
    yield Check(name="python", fine=sys.version_info >= (3, 11), found=version, remedy="Use Python 3.11 or newer.")
    box = detect()
    yield Check(
        name="sandbox",
        fine=box.backend != "none",
        found=box.label + (f" ({box.why_not})" if box.why_not else ""),
        remedy="Install bubblewrap, or allow unprivileged user name spaces.",
    )
    runner = ProcessRunner(box)
    git = shutil.which("git")
    if git is None:
        yield Check(name="git", fine=False, found="not found", remedy="Install git 2.39 or newer.")
    else:
        done = runner.run(Command(argv=(git, "--version"), timeout_s=20))
        yield Check(name="git", fine=done.exit_code == 0, found=done.stdout.decode(errors="replace").strip())
    try:
        key = load_or_create(settings.key_path)
    except NightwardenError as e:
        yield Check(name="key", fine=False, found=e.message, remedy=e.advice)
        return
    yield Check(name="key", fine=True, found=f"{key.key_id} ({settings.key_path})")
    unused = unused_tools(settings)
    homes, prepared = ready(settings, runner)
    yield from _packs(settings, prepared)
    with tempfile.TemporaryDirectory(prefix="nightwarden-doctor-") as scratch:
        for scanner in SCANNERS:
            home = homes[scanner.name]
            if scanner.name in unused:
                off = not settings.tools.get(scanner.name, ToolSettings()).enabled
                found = "switched off" if off else str(home)
                yield Check(name=scanner.name, fine=True, found=found)
                continue
            if not isinstance(home, ToolHome):
                yield Check(name=scanner.name, fine=False, found=home, remedy="Run `nightwarden tools install`.")
                continue
            if isinstance(scanner, UsesDatabase) and home.database is None:
                reason = REASONS["database_missing"]
                yield Check(name=scanner.name, fine=False, found=f"{home.version}, no data base", remedy=reason.remedy)
                continue
            if is_old(home, settings.database_max_age_days, datetime.now(UTC)):
                found = f"its data base is of {home.database_at:%Y-%m-%d} (database_old)"
                yield Check(name=scanner.name, fine=False, found=found, remedy=REASONS["database_old"].remedy)
            root = Path(scratch) / scanner.name
            root.mkdir()
            service = ServicePool(runner, home, scanner, root=root, size=1) if scanner.long_lived else None
            work = root / "control"
            work.mkdir()
            try:
                run_control(scanner, home, runner, key, service, work)
            except NightwardenError as e:
                yield Check(name=scanner.name, fine=False, found=e.message, remedy=e.advice)
            else:
                yield Check(name=scanner.name, fine=True, found=f"{home.version}, finds its planted flaw")
            finally:
                if service is not None:
                    service.close()
    try:
        location = lake_location(settings)
        if not Lake(location, key.key_id).exists:
            yield Check(name="lake", fine=True, found=f"none yet in {location}")
            return
        run = Lake.open(location, key_id=key.key_id, create=False).snapshot().run
    except NightwardenError as e:
        yield Check(name="lake", fine=False, found=e.message, remedy=e.advice)
        return
    yield Check(name="lake", fine=True, found=f"{location}, {run['seq'] if run else 0} runs")


def _packs(settings: Settings, prepared: Prepared | None) -> Iterator[Check]:
    if why := without_rules(settings, prepared):
        yield Check(name="rules", fine=False, found=f"semgrep: {why}", remedy=REASONS["no_rules"].remedy)
    for name, faults in pack_problems(settings, prepared).items():
        if faults:
            code, detail = prepared.problems[name] if prepared is not None else ("rule_broken", "")
            yield Check(
                name=f"pack {name}", fine=False, found=f"{code}: {one_line(detail, 400)}", remedy=REASONS[code].remedy
            )
