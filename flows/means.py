"""Open what a run works with, from the settings: lake, mirrors, sandbox, scanners, key."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from flows.settings import Settings, ToolSettings
from tasks.core.errors import NightwardenError, ToolMissingError, UsageError
from tasks.core.keys import load_or_create, passing
from tasks.core.ports import PlatformTool, Scanner
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Limits, ToolHome
from tasks.lake.lake import Lake
from tasks.patrol.session import Means
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.scanners import SCANNERS
from tasks.scanners.limited import with_limits
from tasks.scanners.tools import on_path, resolve

#: Where Linux keeps a file system in memory.
_MEMORY = Path("/dev/shm")  # noqa: S108


@contextmanager
def opened(settings: Settings, *, write: bool = True) -> Iterator[Means]:
    """The means of one run, the lake locked while it lasts (``write``); a publish that was cut off is finished first.

    Without ``write`` only mirrors are written: neither lake nor key is made.

    Raises UsageError, LakeError; a tool that is not there becomes the reason of its scans, not an error.
    """
    # Secret values pass through this process: no core dump of it or of what it starts.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    box = detect()
    if box.backend == "none" and os.environ.get("NIGHTWARDEN_DEPLOYED") and not settings.allow_no_sandbox:
        raise UsageError(
            f"no sandbox works here: {box.why_not}",
            advice="Install bubblewrap, or set allow_no_sandbox = true if you accept that tools see this machine.",
        )
    key = load_or_create(settings.key_path) if write or settings.key_path.exists() else passing()
    lake = Lake(settings.lake_dir, key.key_id)
    if write or lake.exists:
        lake = Lake.open(settings.lake_dir, key_id=key.key_id)
    runner = ProcessRunner(box)
    with ExitStack() as stack:
        if write:
            stack.enter_context(lake.lock())
            lake.adopt()
        work = settings.home / "work" / hashlib.sha256(str(settings.lake_dir).encode()).hexdigest()[:12]
        if write:
            shutil.rmtree(work, ignore_errors=True)  # what a killed run left; the lock says nobody uses it
        memory = stack.enter_context(_in_memory(_MEMORY)) if write else None
        git = Git(runner, timeout_s=settings.fetch_timeout_s, config_dir=settings.home / "git")
        scanners = tuple(_limited(s, settings.tools.get(s.name)) for s in SCANNERS)
        yield Means(
            lake=lake,
            runner=runner,
            git=git,
            mirrors=Mirrors(settings.home / "mirrors", git),
            scanners=scanners,
            tools=tool_homes(settings, runner),
            key=key,
            work=work,
            memory=memory,
            workers=settings.workers,
            writes=write,
            unused_mirror_days=settings.unused_mirror_days,
            unused=unused_tools(settings),
            switched_off=frozenset(name for name, t in settings.tools.items() if not t.enabled),
        )


@contextmanager
def _in_memory(shm: Path) -> Iterator[Path | None]:
    """A folder of our own in memory, where the system has such a place; removed afterwards.

    It is locked while we live: what a killed run left has no holder any more, and is removed by the next one.
    """
    stem = f"nightwarden-{os.getuid()}-"
    fd = -1
    try:
        for left in shm.glob(f"{stem}*"):
            _remove_unheld(left)
        place = shm / f"{stem}{uuid.uuid4().hex[:12]}"
        place.mkdir(mode=0o700)
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        if fd >= 0:
            os.close(fd)
        yield None
        return
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(fd)


def _remove_unheld(place: Path) -> None:
    with suppress(OSError):
        fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(fd).st_uid == os.getuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place, ignore_errors=True)
        finally:
            os.close(fd)


def tool_homes(settings: Settings, runner: ProcessRunner | None = None) -> dict[str, ToolHome | str]:
    """The home of every scanner, or why it is not there."""
    runner = runner or ProcessRunner(detect())
    return {s.name: _home(s, settings, runner) for s in SCANNERS}


def unused_tools(settings: Settings) -> frozenset[str]:
    """Platform tools that nobody has here or wants: neither on PATH nor named by ``binary``, or switched off."""
    unused = set()
    for s in SCANNERS:
        given = settings.tools.get(s.name, ToolSettings())
        if isinstance(s, PlatformTool) and (not given.enabled or (given.binary is None and on_path(s) is None)):
            unused.add(s.name)
    return frozenset(unused)


def _home(scanner: Scanner, settings: Settings, runner: ProcessRunner) -> ToolHome | str:
    own = settings.tools.get(scanner.name, ToolSettings()).binary
    try:
        return resolve(scanner, settings.tools_dir, {scanner.name: own} if own else {}, runner)
    except (ToolMissingError, NightwardenError) as e:
        return e.message


def _limited(scanner: Scanner, given: ToolSettings | None) -> Scanner:
    if given is None:
        return scanner
    limits = scanner.limits
    changes: dict[str, float | int] = {}
    if given.timeout_s is not None:
        changes["timeout_s"] = given.timeout_s
    if given.memory_mb is not None:
        changes["memory_bytes"] = given.memory_mb * 1024**2
    if given.max_file_mb is not None:
        changes["max_file_bytes"] = given.max_file_mb * 1024**2
    if given.max_total_mb is not None:
        changes["max_total_bytes"] = given.max_total_mb * 1024**2
    if given.max_files is not None:
        changes["max_files"] = given.max_files
    if not changes:
        return scanner
    fresh: Limits = replace(limits, **changes)  # type: ignore[arg-type]
    return with_limits(scanner, fresh)
