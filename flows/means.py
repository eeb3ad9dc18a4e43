"""Open what a run works with, from the settings: lake, mirrors, sandbox, scanners, key."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from flows.lake_location import lake_location, tell_other_run
from flows.org_models import ToolSettings
from flows.registries import listing_of
from flows.settings import Settings
from tasks.core.disk import told_when_full
from tasks.core.errors import NightwardenError, ToolMissingError, UsageError
from tasks.core.keys import HmacKey, load_if_there, load_or_create, passing
from tasks.core.origins import PackSource, Source
from tasks.core.ports import Forge, PlatformTool, Scanner, Secrets
from tasks.core.process import ProcessRunner
from tasks.core.sandbox import detect
from tasks.core.types import Limits, ToolHome
from tasks.deps.advisories.keyed import ready_in
from tasks.lake.lake import Lake
from tasks.patrol.owning import Files
from tasks.patrol.read_before import ReadBefore
from tasks.patrol.rule_sources import fetch_packs, load_packs
from tasks.patrol.session import Means
from tasks.repos.forges import open_forge
from tasks.repos.git import Git
from tasks.repos.mirrors import Mirrors
from tasks.repos.remotes import Remotes
from tasks.scanners import SCANNERS
from tasks.scanners.limited import with_limits
from tasks.scanners.rule_packs import OWN_PACK, own_pack
from tasks.scanners.rule_preparing import Prepared, equipped, prepare
from tasks.scanners.semgrep import SEMGREP, Semgrep
from tasks.scanners.tools import on_path, resolve

#: Where Linux keeps a file system in memory.
_MEMORY = Path("/dev/shm")  # noqa: S108


@contextmanager
def opened(settings: Settings, *, write: bool = True, asked: Collection[str] = ()) -> Iterator[Means]:
    """The means of one run, the lake locked while it lasts (``write``); a publish that was cut off is finished first.

    Without ``write`` only mirrors and packs are written: neither lake nor key is made. ``asked`` are the scanners of
    the run, all when empty: rule packs are fetched and prepared only where semgrep is used.

    Raises UsageError, LakeError; a tool that is not there becomes the reason of its scans, not an error.
    """
    pack_sources(settings)  # one that is configured wrongly is told whether it is used or not
    box = detect()
    if box.backend == "none" and os.environ.get("NIGHTWARDEN_DEPLOYED") and not settings.allow_no_sandbox:
        raise UsageError(
            f"no sandbox works here: {box.why_not}",
            advice="Install bubblewrap, or set allow_no_sandbox: true if you accept that tools see this machine.",
        )
    if os.environ.get("NIGHTWARDEN_DEPLOYED") and settings.decisions and settings.decisions.approval == "none":
        raise UsageError(
            "decisions.approval is none, so whoever can write the file decides",
            advice="Write `approval: signed` or `reviewed`: none is for a trial on one machine.",
        )
    runner = ProcessRunner(box, reserve_bytes=int(settings.disk_reserve_gb * 1e9))
    with ExitStack() as stack:
        lake, key = stack.enter_context(opened_lake(settings, write=write))
        work = settings.home / "work" / hashlib.sha256(str(lake_location(settings)).encode()).hexdigest()[:12]
        if write:
            shutil.rmtree(work, ignore_errors=True)  # what a killed run left; the lock says nobody uses it
        memory = stack.enter_context(_in_memory(_MEMORY)) if write else None
        git = Git(runner, timeout_s=settings.fetch_timeout_s, config_dir=settings.home / "git")
        sources, secrets = tuple(s.source() for s in settings.sources), settings.secrets()
        forges = open_forges(settings, sources, secrets, runner)
        mirrors = Mirrors(
            settings.home / "mirrors",
            git,
            access=Remotes(sources, forges, secrets).access,
            per_host=settings.connections_per_host,
        )
        tools, packs_dir = tool_homes(settings, runner), settings.packs_dir
        prepared = None
        if _used(settings, asked):
            tools, prepared = _with_rules(settings, tools, runner, lambda p: fetch_packs(p, packs_dir, mirrors, git))
        scanners = tuple(_limited(_reading(s, prepared), settings.tools.get(s.name)) for s in SCANNERS)
        read_before = ReadBefore(settings.home / "read-before.sqlite")
        if write:
            stack.callback(lambda: read_before.forget(datetime.now(UTC)))
        yield Means(
            lake=lake,
            runner=runner,
            git=git,
            mirrors=mirrors,
            scanners=scanners,
            tools=tools,
            key=key,
            work=work,
            read_before=read_before,
            advisories=ready_in(settings.home / "advisories"),
            memory=memory,
            workers=settings.workers,
            writes=write,
            unused_mirror_days=settings.unused_mirror_days,
            unused=unused_tools(settings),
            switched_off=frozenset(name for name, t in settings.tools.items() if not t.enabled),
            packs=prepared.problems if prepared is not None else None,
            not_run={SEMGREP.name: prepared.not_run} if prepared is not None else {},
            without_rules={SEMGREP.name: why} if (why := without_rules(settings, prepared)) else {},
            upgrade_s=settings.upgrade_minutes * 60,
            settings_days=settings.forge_settings_days,
            forges=forges,
            classification=settings.rules(),
            sla=settings.sla_text(),
            decisions=settings.decisions.place() if settings.decisions is not None else None,
            teams=settings.team_list(),
            listing=listing_of(settings),
        )


def open_forges(
    settings: Settings, sources: Collection[Source], secrets: Secrets, runner: ProcessRunner
) -> dict[str, Forge]:
    """The forge of each source that is one. Nothing is asked and no secret read before one is used."""
    return {
        s.name: open_forge(
            s.forge, secrets, patience_s=settings.forge_patience_minutes * 60, cancelled=lambda: runner.cancelled
        )
        for s in sources
        if s.forge is not None
    }


def owner_files(settings: Settings) -> tuple[Files, Mirrors]:
    """What reads CODEOWNERS from the mirrors of this home; nothing is fetched."""
    git = Git(ProcessRunner(detect()), timeout_s=settings.fetch_timeout_s, config_dir=settings.home / "git")
    return Files(git), Mirrors(settings.home / "mirrors", git)


def key_if_there(settings: Settings) -> HmacKey | None:
    """The key, for what may be done without it and never makes one. Raises UsageError: others may read it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return load_if_there(settings.key_path)


@contextmanager
def opened_lake(settings: Settings, *, write: bool = True) -> Iterator[tuple[Lake, HmacKey]]:
    """The lake and its key alone, for what starts no tool; locked, and a publish that was cut off finished (``write``).

    Without ``write`` nothing is made: a lake that is not there reads as an empty one. Raises UsageError, LakeError.
    """
    # Secret values pass through this process: no core dump of it or of what it starts.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    key = load_or_create(settings.key_path) if write or settings.key_path.exists() else passing()
    location = lake_location(settings)
    lake = Lake(location, key.key_id)
    if write or lake.exists:
        lake = Lake.open(location, key_id=key.key_id)
    with ExitStack() as stack:
        if write:
            stack.enter_context(locked(lake, settings))
        yield lake, key


@contextmanager
def locked(lake: Lake, settings: Settings) -> Iterator[None]:
    """The lake for us alone, after waiting for who has it; what was cut off is finished first. Raises LakeError."""
    with lake.lock(wait_s=settings.wait_minutes * 60, tell=tell_other_run):
        with told_when_full("a run that was cut off could not be published"):
            lake.adopt(tell_other_run)
        yield


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


def pack_sources(settings: Settings) -> tuple[PackSource, ...]:
    """The user's rule packs. Raises UsageError for one that is configured wrongly, or two of one name."""
    sources = tuple(p.source() for p in settings.packs)
    twice = [name for name, n in Counter(s.name for s in sources).items() if n > 1]
    if twice:
        raise UsageError(f"two rule packs are called {twice[0]!r}", advice="Names stand before the ids of rules.")
    return sources


def pack_problems(settings: Settings, prepared: Prepared | None) -> dict[str, tuple[str, ...]]:
    """Everything of each rule pack that does not run; of a pack that is well, nothing. Empty without semgrep."""
    names = [*([OWN_PACK] if settings.own_pack else []), *(p.name for p in settings.packs)]
    return {name: prepared.faults.get(name, ()) for name in names} if prepared is not None else {}


def without_rules(settings: Settings, prepared: Prepared | None) -> str:
    """Why semgrep, where it is used, has no rule to run; empty when it has one, or is not there."""
    if prepared is None or not prepared.is_empty or not _used(settings, ()):
        return ""
    return "no rule of the packs runs" if settings.own_pack or settings.packs else "no rule pack is configured"


def _prepared_dir(settings: Settings) -> Path:
    """Our own rules are prepared once for all homes that share the tools, where that place may be written."""
    shared = not settings.packs and os.access(settings.tools_dir, os.W_OK)
    return settings.tools_dir if shared else settings.packs_dir


def _reading(scanner: Scanner, prepared: Prepared | None) -> Scanner:
    """Semgrep reads the languages of the rules of all packs."""
    if isinstance(scanner, Semgrep) and prepared is not None:
        return replace(scanner, reads=prepared.reads, in_force=prepared.in_force)
    return scanner


def ready_homes(settings: Settings, runner: ProcessRunner | None = None) -> dict[str, ToolHome | str]:
    """As ``tool_homes``, semgrep with the rules of the packs that are here."""
    runner = runner or ProcessRunner(detect())
    return ready(settings, runner)[0]


def ready(settings: Settings, runner: ProcessRunner) -> tuple[dict[str, ToolHome | str], Prepared | None]:
    """As ``ready_homes``, with the rules; None where semgrep is not, or cannot be asked. Nothing is fetched."""
    return _with_rules(settings, tool_homes(settings, runner), runner)


def _used(settings: Settings, asked: Collection[str]) -> bool:
    return settings.tools.get(SEMGREP.name, ToolSettings()).enabled and (not asked or SEMGREP.name in asked)


def _with_rules(
    settings: Settings,
    homes: Mapping[str, ToolHome | str],
    runner: ProcessRunner,
    fetch: Callable[[tuple[PackSource, ...]], dict[str, str]] = lambda _: {},
) -> tuple[dict[str, ToolHome | str], Prepared | None]:
    """The homes, semgrep's with the rules in force; why not, where they cannot be prepared.

    Raises ScanGapError(cancelled), and UsageError for a pack that is configured wrongly.
    """
    home = homes[SEMGREP.name]
    if isinstance(home, str):
        return dict(homes), None
    sources = pack_sources(settings)
    packs = load_packs(sources, settings.packs_dir, fetch(sources))
    own = [own_pack()] if settings.own_pack else []
    try:
        prepared = prepare([*own, *packs], home, _prepared_dir(settings), runner)
    except ToolMissingError as e:
        return {**homes, SEMGREP.name: e.message}, None
    except OSError as e:
        return {**homes, SEMGREP.name: f"its rules could not be written: {e.strerror}"}, None
    return {**homes, SEMGREP.name: equipped(home, prepared)}, prepared


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
