"""The sandbox every scanner and every git runs in (design rule 5).

bubblewrap, else ``unshare``: own user, PID, mount, network, IPC and UTS name spaces, only the listed mounts
visible, an allow-listed environment, an empty HOME, no core files. What was in force is a label that lands in
``scans.sandbox``.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.core.errors import ScanGapError
from tasks.core.types import Command

Backend = Literal["bubblewrap", "unshare", "none"]

#: Read-only parts of the system a tool needs to start. Absent ones are left out.
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.conf.d")
#: In addition, for a command that may use the network.
_NETWORK = ("/etc/ssl", "/etc/ca-certificates", "/etc/pki", "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf")
_BASE_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home", "LANG": "C.UTF-8", "TZ": "UTC", "TMPDIR": "/tmp"}  # noqa: S108  inside
_NOFILE = 4096
_PROBE_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A way to wrap a command. ``label`` names it in ``scans.sandbox``; ``why_not`` says why a better one is absent."""

    backend: Backend
    label: str
    why_not: str = ""
    sized_tmpfs: bool = False

    @property
    def inherited(self) -> tuple[int, ...]:
        """Descriptors the wrapper must inherit: bubblewrap follows our death by itself, unshare by this pipe's end."""
        return (_leash(),) if self.backend == "unshare" else ()

    def wrap(self, cmd: Command) -> list[str]:
        """The argv that runs ``cmd`` inside. Raises ScanGapError(sandbox) when one mount would hide another."""
        _refuse_hiding(cmd)
        limits = _limits(cmd)
        if self.backend == "bubblewrap":
            return [*limits, *self._bubblewrap(cmd)]
        if self.backend == "unshare":
            return [*limits, *_unshare(cmd)]
        return [*limits, *(self._real(a, cmd) for a in cmd.argv)]

    def seen_at(self, source: Path, inside: str) -> str:
        """Where a command sees what is mounted at ``inside``: there, or in its own place if nothing isolates."""
        return str(source) if self.backend == "none" else inside

    def _real(self, argument: str, cmd: Command) -> str:
        """An argument that names a mount or a file below it, by the name it has where nothing is mounted."""
        for m in cmd.mounts:
            if m.inside and (argument == m.inside or argument.startswith(m.inside.rstrip("/") + "/")):
                return f"{m.source}{argument[len(m.inside.rstrip('/')) :]}"
        return argument

    def environment(self, cmd: Command) -> dict[str, str]:
        """The whole environment of the command: an allow-list, nothing inherited."""
        return {**_BASE_ENV, **cmd.env}

    def label_for(self, cmd: Command) -> str:
        """The label with what this command was allowed on top."""
        return self.label + (",network-shared" if cmd.network and self.backend != "none" else "")

    def _bubblewrap(self, cmd: Command) -> list[str]:
        argv = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"]
        argv += ["--uid", "65534", "--gid", "65534", "--hostname", "nightwarden"]
        if cmd.network:
            argv.append("--share-net")
        for path in _SYSTEM + (_NETWORK if cmd.network else ()):
            place = Path(path)
            if place.is_symlink() and not path.startswith("/etc/"):
                argv += ["--symlink", str(place.readlink()), path]
            elif place.exists():
                argv += ["--ro-bind", str(place.resolve()), path]
        argv += ["--proc", "/proc", "--dev", "/dev"]
        for writable in ("/tmp", "/home"):  # noqa: S108  inside
            if self.sized_tmpfs:
                argv += ["--size", str(cmd.memory_bytes)]
            argv += ["--tmpfs", writable]
        for m in cmd.mounts:
            argv += ["--bind" if m.writable else "--ro-bind", str(m.source), m.inside or str(m.source)]
        argv += ["--remount-ro", "/"]  # the root itself is scratch space without a limit otherwise
        for name, value in self.environment(cmd).items():
            argv += ["--setenv", name, value]
        return [*argv, "--chdir", cmd.cwd, "--", *cmd.argv]


def _refuse_hiding(cmd: Command) -> None:
    """A tool that lies below what is mounted over it would look broken: better said than found out."""
    places = [m.inside or str(m.source) for m in cmd.mounts]
    for n, later in enumerate(places):
        for earlier in places[:n]:
            if earlier == later or earlier.startswith(later.rstrip("/") + "/"):
                raise ScanGapError("sandbox", f"what is mounted at {later} would hide {earlier}")


@functools.cache
def _leash() -> int:
    """The reading end of a pipe whose other end is held by this process alone: it ends when this process does."""
    return os.pipe()[0]


def _limits(cmd: Command) -> list[str]:
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        return []
    # RLIMIT_DATA is the backstop of the watcher in `process`, which counts the whole tree.
    data = cmd.memory_bytes + cmd.memory_bytes // 4
    size = [] if cmd.file_bytes is None else [f"--fsize={cmd.file_bytes}"]
    return [prlimit, "--core=0", f"--nofile={_NOFILE}", f"--data={data}", *size, "--"]


def _unshare(cmd: Command) -> list[str]:
    init = Path(__file__).with_name("sandbox_init.py")
    argv = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child=KILL", "--mount", "--ipc", "--uts"]
    if not cmd.network:
        argv.append("--net")
    spec = [sys.executable, "-I", "-S", str(init), "--cwd", cmd.cwd, "--scratch", str(cmd.memory_bytes)]
    spec += ["--leash", str(_leash())]
    for path in _SYSTEM + (_NETWORK if cmd.network else ()):
        if Path(path).exists():
            spec += ["--ro", str(Path(path).resolve()), path]
    for m in cmd.mounts:
        spec += ["--rw" if m.writable else "--ro", str(m.source), m.inside or str(m.source)]
    return [*argv, "--", *spec, "--", *cmd.argv]


def _works(box: Sandbox) -> str:
    """Empty if ``true`` runs inside and exits 0, else the reason."""
    argv = box.wrap(Command(argv=("/usr/bin/true",)))
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
            env=_BASE_ENV,
            pass_fds=box.inherited,
        )
    except FileNotFoundError:
        return f"{argv[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} did not answer in {_PROBE_TIMEOUT_S} s"
    if done.returncode == 0:
        return ""
    return f"{argv[0]}: {done.stderr.decode(errors='replace').strip()[:200] or f'exit {done.returncode}'}"


@functools.cache
def detect(only: Backend | None = None) -> Sandbox:
    """Try the backends on this machine, best first, by running ``true`` in each; ``only`` asks for one.

    Raises ScanGapError(sandbox) if ``only`` is asked for and does not work.
    """
    why: list[str] = []
    if only in (None, "bubblewrap"):
        for sized in (True, False):
            box = Sandbox(
                backend="bubblewrap", label="bubblewrap:user,pid,mount,net,ipc,uts,env,nocore", sized_tmpfs=sized
            )
            if not (reason := _works(box)):
                return box
        why.append(reason)
    if only in (None, "unshare"):
        box = Sandbox(backend="unshare", label="unshare:user,pid,mount,net,ipc,uts,env,nocore", why_not="; ".join(why))
        if not (reason := _works(box)):
            return box
        why.append(reason)
    if only not in (None, "none"):
        raise ScanGapError("sandbox", "; ".join(why), advice="`nightwarden doctor` says what is missing.")
    return Sandbox(backend="none", label="none", why_not="; ".join(why))
