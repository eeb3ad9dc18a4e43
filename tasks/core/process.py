"""The one place that starts a process.

Both pipes are drained at once, time, memory and output are limited, and on a limit or a cancellation the whole
tree is killed: the process group from outside, and, because the sandbox has its own PID name space whose first
process dies with its parent, everything in it. ``--die-with-parent`` follows the *thread* that forked, so a
long-lived process is started and waited for by a thread of its own.
"""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tasks.core.disk import free_bytes
from tasks.core.errors import ScanGapError
from tasks.core.sandbox import Sandbox
from tasks.core.types import Command, Completed

_CHUNK = 1 << 16
_TICK_S = 0.1
_REAP_S = 10.0

Sink = Callable[[bytes], None]


def _tree(pid: int) -> Iterator[int]:
    """The process and its descendants, as far as /proc still tells."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_bytes().split()
    except OSError:
        return
    for child in children:
        yield from _tree(int(child))


def tree_rss_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants; 0 when it is gone."""
    pages = 0
    for p in _tree(pid):
        with contextlib.suppress(OSError, IndexError, ValueError):
            pages += int(Path(f"/proc/{p}/statm").read_bytes().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Watch:
    """Limits of one running process: who went over, and the kill."""

    def __init__(self, proc: subprocess.Popen[bytes], cmd: Command, reserve_bytes: int) -> None:
        self.proc = proc
        self.cmd = cmd
        self.reserve_bytes = reserve_bytes
        self.started = time.monotonic()
        self.peak = 0
        self.timed_out = self.out_of_memory = self.disk_full = self.overflow = self.cancelled = False
        self.killed = False
        self._next_sample = 0.0

    def kill(self) -> None:
        """Kill the group; the PID name space takes the rest with it."""
        self.killed = True
        # bubblewrap's inner process has a session of its own and, while it starts, follows nobody's death.
        below = list(_tree(self.proc.pid))[1:]
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.proc.pid, signal.SIGKILL)
        for pid in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def check(self, cancel: threading.Event) -> None:
        """Sample memory and disks (at most five times a second) and act on a limit."""
        if self.killed:
            return
        now = time.monotonic()
        if now >= self._next_sample:
            self._next_sample = now + 2 * _TICK_S
            self.peak = max(self.peak, tree_rss_bytes(self.proc.pid))
            self.disk_full = any(_lacks_room(m.source, self.reserve_bytes) for m in self.cmd.mounts if m.writable)
        if cancel.is_set():
            self.cancelled = True
        elif now - self.started > self.cmd.timeout_s:
            self.timed_out = True
        elif self.peak > self.cmd.memory_bytes:
            self.out_of_memory = True
        elif not self.disk_full:
            return
        self.kill()


def _lacks_room(place: Path, reserve_bytes: int) -> bool:
    try:
        return free_bytes(place) < reserve_bytes
    except OSError:  # it went away: whoever needs it says so
        return False


class ProcessRunner:
    """Runs commands in a sandbox. Thread-safe; ``cancel()`` ends everything in flight, for good.

    A process is killed when less than ``reserve_bytes`` are free on a disk that it may write to.
    """

    def __init__(self, sandbox: Sandbox, *, reserve_bytes: int = 0) -> None:
        self.sandbox = sandbox
        self.reserve_bytes = reserve_bytes
        self._cancel = threading.Event()

    def cancel(self) -> None:
        """Kill what runs now and refuse what is asked later."""
        self._cancel.set()

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancel.is_set()

    def require_room(self, place: Path, size_bytes: int = 0) -> None:
        """Refuse to write so many bytes where the reserve would not stay free. Raises ScanGapError(disk_full)."""
        if self.reserve_bytes and _lacks_room(place, self.reserve_bytes + size_bytes):
            raise ScanGapError("disk_full", f"{self.reserve_bytes / 1e9:g} GB of the disk are to stay free")

    def pause(self, seconds: float) -> None:
        """Wait, unless the run is cancelled meanwhile. Raises ScanGapError(cancelled)."""
        if self._cancel.wait(seconds):
            raise ScanGapError("cancelled", "the run was cancelled")

    def spawn(self, cmd: Command) -> subprocess.Popen[bytes]:
        """Start ``cmd`` wrapped, in a session of its own, with three pipes and nothing inherited.

        Raises ScanGapError: ``cancelled``, or ``sandbox`` when the wrapper cannot be started.
        """
        if self._cancel.is_set():
            raise ScanGapError("cancelled", "the run was cancelled")
        try:
            return subprocess.Popen(
                self.sandbox.wrap(cmd),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.sandbox.environment(cmd),
                cwd="/" if self.sandbox.backend != "none" else cmd.cwd,
                start_new_session=True,
                close_fds=True,
                pass_fds=self.sandbox.inherited,
            )
        except OSError as e:
            raise ScanGapError("sandbox", f"could not start {cmd.argv[0]}: {e}") from e

    def run(self, cmd: Command, *, sink: Sink | None = None) -> Completed:
        """Run to the end. ``sink`` receives stdout in chunks instead of it being kept (then no output limit).

        Never raises for what the process does: the result says timeout, memory, disk, overflow, signal. An
        exception of ``sink`` kills the process and goes on to the caller.
        """
        proc = self.spawn(cmd)
        # The kernel counts our own size as a child's until the child's program is loaded: its word on the peak is good
        # only above that. Below it there is what was sampled.
        ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        watch = _Watch(proc, cmd, self.reserve_bytes)
        try:
            out, err = self._pump(proc, cmd, watch, sink)
        except BaseException:
            watch.kill()
            raise
        finally:
            code, rss = _reap(proc, watch)
        return Completed(
            exit_code=None if watch.killed else code,
            stdout=out,
            stderr=err,
            duration_s=time.monotonic() - watch.started,
            peak_rss_bytes=max(watch.peak, rss if rss > ours else 0),
            sandbox=self.sandbox.label_for(cmd),
            timed_out=watch.timed_out,
            out_of_memory=watch.out_of_memory,
            disk_full=watch.disk_full and watch.killed,
            output_overflow=watch.overflow,
            cancelled=watch.cancelled,
        )

    def _pump(
        self, proc: subprocess.Popen[bytes], cmd: Command, watch: _Watch, sink: Sink | None
    ) -> tuple[bytes, bytes]:
        assert proc.stdin and proc.stdout and proc.stderr
        out, err = bytearray(), bytearray()
        pending = memoryview(cmd.stdin or b"")
        with selectors.DefaultSelector() as sel:
            for pipe in (proc.stdin, proc.stdout, proc.stderr):
                os.set_blocking(pipe.fileno(), False)
            if pending:
                sel.register(proc.stdin, selectors.EVENT_WRITE)
            else:
                proc.stdin.close()
            sel.register(proc.stdout, selectors.EVENT_READ)
            sel.register(proc.stderr, selectors.EVENT_READ)
            while sel.get_map():
                for key, _ in sel.select(_TICK_S):
                    ready: object = key.fileobj
                    if ready is proc.stdin:
                        try:
                            pending = pending[os.write(proc.stdin.fileno(), pending[:_CHUNK]) :]
                        except BrokenPipeError:
                            pending = pending[:0]
                        if not pending:
                            sel.unregister(proc.stdin)
                            proc.stdin.close()
                        continue
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        sel.unregister(key.fileobj)
                    elif ready is proc.stderr:
                        # Drained to the end; only the head is kept.
                        err += chunk[: max(0, cmd.stderr_bytes - len(err))]
                    elif sink is not None:
                        sink(chunk)
                    elif len(out) + len(chunk) > cmd.stdout_bytes:
                        watch.overflow = True
                        watch.kill()
                    else:
                        out += chunk
                watch.check(self._cancel)
                if watch.killed and proc.poll() is not None:
                    break
        return bytes(out), bytes(err)


def _reap(proc: subprocess.Popen[bytes], watch: _Watch) -> tuple[int, int]:
    """Wait for the end (killing a process that closed its pipes and stays) and return (code, peak bytes)."""
    for pipe in (proc.stdin, proc.stdout, proc.stderr):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    end = min(time.monotonic() + _REAP_S, watch.started + watch.cmd.timeout_s + _REAP_S)
    while proc.returncode is None:
        pid, status, usage = os.wait4(proc.pid, os.WNOHANG)
        if pid:
            proc.returncode = os.waitstatus_to_exitcode(status)
            code = proc.returncode
            # bubblewrap and shells report the death of their child by signal N as 128 + N.
            if code > 128 and code - 128 in set(signal.Signals) and watch.cmd.ok_codes.isdisjoint({code}):
                code = 128 - code
            return code, usage.ru_maxrss * 1024
        if time.monotonic() > end and not watch.killed:
            watch.timed_out = True
            watch.kill()
        time.sleep(0.002)
    return proc.returncode, 0


class LongLived:
    """A sandboxed process that answers one line of JSON for each line it is given.

    It is started, fed and waited for by one thread, because the kernel ties its life to that thread. ``ask``
    may be called from any thread, one at a time.
    """

    def __init__(self, runner: ProcessRunner, cmd: Command) -> None:
        self._runner = runner
        self._cmd = cmd
        self._requests: queue.SimpleQueue[tuple[bytes, float, queue.SimpleQueue[Completed]] | None]
        self._requests = queue.SimpleQueue()
        self._lock = threading.Lock()
        self.alive = True
        self.served = 0
        #: Resident memory of the process tree after the latest answer.
        self.rss_bytes = 0
        self._thread = threading.Thread(target=self._serve, name="long-lived", daemon=True)
        self._thread.start()

    def ask(self, line: bytes, *, timeout_s: float) -> Completed:
        """Send one line, wait for one line, at most ``timeout_s`` (the command's own limit does not count).

        A dead, hung or over-large process gives the Completed that says so.
        """
        with self._lock:
            answer: queue.SimpleQueue[Completed] = queue.SimpleQueue()
            self._requests.put((line, timeout_s, answer))
            return answer.get()

    def close(self) -> None:
        """End the process."""
        self._requests.put(None)
        self._thread.join(_REAP_S)

    def _serve(self) -> None:
        proc: subprocess.Popen[bytes] | None = None
        watch: _Watch | None = None
        try:
            while (request := self._requests.get()) is not None:
                line, timeout_s, answer = request
                began = time.monotonic()
                try:
                    if proc is None:
                        proc = self._runner.spawn(self._cmd)
                        watch = _Watch(proc, self._cmd, self._runner.reserve_bytes)
                    assert watch is not None
                    answer.put(self._exchange(proc, watch, line, timeout_s, began))
                except Exception as e:  # the asker must never wait for ever
                    self.alive = False
                    answer.put(
                        Completed(
                            exit_code=1,
                            stdout=b"",
                            stderr=str(e).encode(),
                            duration_s=time.monotonic() - began,
                            peak_rss_bytes=0,
                            sandbox=self._runner.sandbox.label_for(self._cmd),
                            cancelled=self._runner.cancelled,
                        )
                    )
        finally:
            self.alive = False
            if proc is not None and watch is not None:
                watch.kill()
                _reap(proc, watch)

    def _exchange(
        self, proc: subprocess.Popen[bytes], watch: _Watch, line: bytes, timeout_s: float, began: float
    ) -> Completed:
        assert proc.stdin and proc.stdout and proc.stderr
        out, err = bytearray(), bytearray()
        pending = memoryview(line + b"\n")
        watch.started, watch.peak = began, 0
        # One process takes requests of different limits: what counts is that of the request, not the command's.
        watch.cmd = replace(self._cmd, timeout_s=timeout_s)
        code: int | None = 0
        with selectors.DefaultSelector() as sel:
            for pipe in (proc.stdin, proc.stdout, proc.stderr):
                os.set_blocking(pipe.fileno(), False)
            sel.register(proc.stdin, selectors.EVENT_WRITE)
            sel.register(proc.stdout, selectors.EVENT_READ)
            sel.register(proc.stderr, selectors.EVENT_READ)
            while not out.endswith(b"\n"):
                for key, _ in sel.select(_TICK_S):
                    if key.fileobj is proc.stdin:
                        with contextlib.suppress(BrokenPipeError):
                            pending = pending[os.write(proc.stdin.fileno(), pending[:_CHUNK]) :]
                        if not pending or proc.poll() is not None:
                            sel.unregister(proc.stdin)
                        continue
                    chunk = os.read(key.fd, _CHUNK)
                    if not chunk:
                        sel.unregister(key.fileobj)
                    elif key.fileobj is proc.stderr:
                        err += chunk[: max(0, self._cmd.stderr_bytes - len(err))]
                    elif len(out) + len(chunk) > self._cmd.stdout_bytes:
                        watch.overflow = True
                        watch.kill()
                    else:
                        out += chunk
                watch.check(self._runner._cancel)
                if proc.stdout not in [k.fileobj for k in sel.get_map().values()]:
                    code, _ = _reap(proc, watch)
                    code = None if watch.killed else code
                    self.alive = False
                    break
                if watch.killed:
                    code = None
                    self.alive = False
                    break
        self.served += 1
        self.rss_bytes = tree_rss_bytes(proc.pid) if self.alive else 0
        return Completed(
            exit_code=code,
            stdout=bytes(out),
            stderr=bytes(err),
            duration_s=time.monotonic() - began,
            peak_rss_bytes=watch.peak,
            sandbox=self._runner.sandbox.label_for(self._cmd),
            timed_out=watch.timed_out,
            out_of_memory=watch.out_of_memory,
            disk_full=watch.disk_full and watch.killed,
            output_overflow=watch.overflow,
            cancelled=watch.cancelled,
        )
