"""First process inside the name spaces that ``unshare`` made: builds a small root, gives up all rights, starts it.

Runs as a script in isolated mode, before the old root is gone; imports nothing of the project. Its arguments, as
``tasks.core.sandbox`` gives them: ``--cwd DIR --scratch BYTES --leash FD``, any number of ``--ro SRC DST`` and
``--rw SRC DST``, then ``--`` and the tool's argv. Ends as the tool did: its exit code, or 128 + N when signal N ended
it, as bubblewrap does. Exit 125 means that the root could not be built, or that the leash ended.
"""

import ctypes
import os
import select
import sys

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_REMOUNT, _MS_BIND = 1, 2, 4, 32, 4096
_MS_REC, _MS_PRIVATE = 16384, 1 << 18
_MNT_DETACH = 2
_PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_PDEATHSIG = 24, 38, 1
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_LAST_CAP = 63
_FAILED = 125
_DEVICES = ("null", "zero", "full", "random", "urandom")
_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _check(
        _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None),
        f"mount {target}",
    )


def _bind(source: str, target: str, *, writable: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    _mount(source, target, "", _MS_BIND | _MS_REC)
    if writable:
        return
    # In a user name space the flags the mount has already must be kept.
    flags = os.statvfs(target).f_flag & (_MS_NOSUID | _MS_NODEV | 8 | 1024 | 2048)
    _mount("", target, "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | flags)


def _build(root: str, binds: list[tuple[str, str, bool]], scratch_bytes: str) -> None:
    _mount("", "/", "", _MS_REC | _MS_PRIVATE)
    # Opened first: the new root is mounted over a place where some of them may lie.
    held = [(f"/proc/self/fd/{os.open(source, os.O_PATH)}", target, rw) for source, target, rw in binds]
    held += [(f"/proc/self/fd/{os.open(f'/dev/{n}', os.O_PATH)}", f"/dev/{n}", True) for n in _DEVICES]
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755")
    for name in ("proc", "dev", "tmp", "home", "old"):
        os.mkdir(f"{root}/{name}")
    # Scratch space first: what is bound below it stays visible.
    for name in ("tmp", "home"):
        _mount("tmpfs", f"{root}/{name}", "tmpfs", _MS_NOSUID | _MS_NODEV, f"mode=0777,size={scratch_bytes}")
    for source, target, writable in held:
        _bind(source, root + target, writable=writable)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{root}/dev/{name}")
    _mount("proc", f"{root}/proc", "proc", _MS_NOSUID | _MS_NODEV | 8)
    _check(_libc.syscall(_SYS_PIVOT_ROOT[os.uname().machine], root.encode(), f"{root}/old".encode()), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/old", _MNT_DETACH), "umount /old")
    os.rmdir("/old")
    _mount("", "/", "", _MS_BIND | _MS_REMOUNT | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _give_up_rights() -> None:
    for capability in range(_LAST_CAP + 1):
        _libc.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0)
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0), "no_new_privs")
    # An empty permitted set; the bounding set above keeps execve from filling it again.
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    data = (ctypes.c_uint32 * 6)()
    _check(_libc.capset(header, data), "capset")


def _start(argv: list[str]) -> int:
    """Become the tool; returns only when that fails. ``os.execvp`` would import modules that are out of reach now."""
    names = [argv[0]]
    if "/" not in argv[0]:
        names = [f"{folder}/{argv[0]}" for folder in os.environ.get("PATH", "").split(":") if folder]
    reason = "not found"
    for name in names:
        try:
            os.execv(name, argv)  # noqa: S606  an argv list, no shell
        except OSError as e:
            reason = str(e.strerror)
    os.write(2, f"sandbox: {argv[0]}: {reason}\n".encode())
    return 127


def _wait(child: int, leash: int) -> int:
    """The end of the tool; or, when the leash ends first, ours, which takes everything in the PID name space along."""
    ends = select.poll()
    ends.register(os.pidfd_open(child), select.POLLIN)
    ends.register(leash, select.POLLIN | select.POLLHUP)
    while True:
        if any(fd == leash for fd, _ in ends.poll()):
            return _FAILED
        pid, status = os.waitpid(-1, os.WNOHANG)
        while pid:
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code
            pid, status = os.waitpid(-1, os.WNOHANG)


def main(argv: list[str]) -> int:
    """Build the root, start the tool as a child (process 1 would ignore its own signals), end as it ends."""
    cwd, scratch_bytes, leash, binds = "/", "0", -1, []
    while argv and argv[0] != "--":
        if argv[0] == "--cwd":
            cwd, argv = argv[1], argv[2:]
        elif argv[0] == "--leash":
            leash, argv = int(argv[1]), argv[2:]
        elif argv[0] == "--scratch":
            scratch_bytes, argv = argv[1], argv[2:]
        else:
            binds.append((argv[1], argv[2], argv[0] == "--rw"))
            argv = argv[3:]
    try:
        _build("/tmp", binds, scratch_bytes)  # noqa: S108  a mount point that exists everywhere; in this name space only
        os.chdir(cwd)
        _give_up_rights()
    except (OSError, KeyError) as e:
        sys.stderr.write(f"sandbox: {e}\n")
        return _FAILED
    child = os.fork()
    if child == 0:
        os.close(leash)
        _libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(9), 0, 0, 0)
        os._exit(_start(argv[1:]))
    for fd in (0, 1, 2):
        os.close(fd)  # so that the pipes end when the tool ends
    return _wait(child, leash)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
