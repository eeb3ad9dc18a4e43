"""The one place that runs git: always sandboxed, always with a configuration of ours (design rule 5).

A discovered repository's own configuration, hooks, filters and alternates never take effect: nothing runs inside
it, only ``upload-pack`` reads it, with our global configuration, no system configuration and nothing else visible.
"""

from __future__ import annotations

import re
import shutil
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from tasks.core.errors import ScanGapError
from tasks.core.origins import GitCredential, RemoteAccess
from tasks.core.process import ProcessRunner, Sink
from tasks.core.text import one_line
from tasks.core.types import Command, Completed, Mount

#: Transports that may be used; everything else (``ext::`` runs commands) is refused.
PROTOCOLS = ("file", "https", "http")

# ``safe.directory`` must stand in a file: the local transport strips configuration given in the environment.
_CONFIG = """\
[safe]
\tdirectory = *
[core]
\thooksPath = /dev/null
\tfsmonitor = false
\taskPass = /bin/false
\talternateRefsCommand = /bin/false
\tattributesFile = /dev/null
\texcludesFile = /dev/null
[credential]
\thelper =
[gc]
\tauto = 0
[maintenance]
\tauto = false
[protocol]
\tallow = never
[protocol "file"]
\tallow = always
[protocol "https"]
\tallow = always
[protocol "http"]
\tallow = always
[fetch]
\trecurseSubmodules = false
\twriteCommitGraph = false
[http]
\tfollowRedirects = initial
[uploadpack]
\thideRefs = refs/pull
[diff]
\tnoprefix = false
"""
_CA_FILE = "/etc/nightwarden.ca.pem"
_ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "/bin/false",
    "SSH_ASKPASS": "/bin/false",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_ALLOW_PROTOCOL": ":".join(PROTOCOLS),
    "GIT_PROTOCOL_FROM_USER": "0",
}
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
#: What git says, in the order in which it is looked for; its words of version 2.39 to 2.50.
_SAYINGS = (
    ("disk_full", re.compile(r"No space left on device|File too large|Disk quota exceeded")),
    ("memory", re.compile(r"[Oo]ut of memory|Cannot allocate memory")),
    ("too_deep", re.compile(r"exceeded maximum allowed tree depth")),
    ("protocol", re.compile(r"transport '.*' not allowed|is not a valid protocol|Unable to find remote helper")),
    (
        "incomplete",
        re.compile(
            r"missing (?:blob|tree|commit|object|necessary)|unable to read [0-9a-f]{40}|did not send all necessary"
            r"|Could not read [0-9a-f]{40}|remote did not send|unable to read tree|bad tree object"
            r"|bad object [0-9a-f]{40}|Failed to traverse parents|invalid index-pack output"
            r"|missing object referenced|promisor|lazy fetching|object directory .* does not exist"
        ),
    ),
    (
        "corrupt",
        re.compile(
            r"corrupt|inflate|hash mismatch|sha1 mismatch|bad (?:object|signature|ref)|not a valid object"
            r"|garbage at end|unable to parse object|packfile .* cannot|invalid object|unable to unpack|bogus"
            r"|unable to stream|index-pack failed|unpack-objects error|broken"
        ),
    ),
)

#: What git and curl say of a connection that failed or was cut off, or of a server that could not answer just then.
_CUT_OFF = re.compile(
    r"Could not resolve|Failed to connect|Connection (?:refused|reset|timed out)|[Oo]peration timed out|Empty reply"
    r"|transfer closed|early EOF|unexpected disconnect|remote end hung up|RPC failed|Recv failure|Send failure"
    r"|SSL_ERROR_SYSCALL|GnuTLS recv error|HTTP/2 stream|returned error: (?:429|5\d\d)"
)
#: What a pack that was cut off makes git say as well: it is no fault of the repository then.
_OF_A_CUT = re.compile(r"[^\n]*(?:invalid index-pack output|index-pack failed)[^\n]*")


class ConnectionGapError(ScanGapError):
    """The network or the server failed, and nobody refused: the same call may go well a moment later."""


class Git:
    """Runs git. Thread-safe; ``timeout_s`` bounds each call unless the call says otherwise."""

    def __init__(self, runner: ProcessRunner, *, timeout_s: float = 900.0, config_dir: Path | None = None) -> None:
        binary = shutil.which("git")
        if binary is None:
            raise ScanGapError("fetch", "git is not installed", advice="Install git 2.39 or newer.")
        self._binary = binary
        self._runner = runner
        self.timeout_s = timeout_s
        self._config = _write_config(config_dir)

    def pause(self, seconds: float) -> None:
        """Wait before a call is made again. Raises ScanGapError(cancelled)."""
        self._runner.pause(seconds)

    def require_room(self, place: Path) -> None:
        """Refuse to write where the disk is all but full. Raises ScanGapError(disk_full)."""
        self._runner.require_room(place)

    @property
    def folder(self) -> Path:
        """Where our configuration of git lies, and beside it what is remembered of repositories."""
        return self._config.parent

    def seen_at(self, source: Path, inside: str) -> str:
        """Where git sees what is mounted at ``inside``."""
        return self._runner.sandbox.seen_at(source, inside)

    def run(
        self,
        args: Sequence[str],
        *,
        mirror: Path | None = None,
        writable: bool = False,
        mounts: tuple[Mount, ...] = (),
        network: bool = False,
        access: RemoteAccess | None = None,
        stdin: bytes | None = None,
        sink: Sink | None = None,
        timeout_s: float | None = None,
        stdout_bytes: int = 1024**3,
        memory_bytes: int = 4 * 1024**3,
    ) -> Completed:
        """Run ``git --git-dir=MIRROR ARGS``; the mirror is read-only unless ``writable``. Judges nothing.

        The credential of ``access`` is shown to its own host only; no redirect is followed with it.
        """
        access = access or RemoteAccess()
        visible = (Mount(source=self._config, inside="/etc/nightwarden.gitconfig"), *mounts)
        prefix: tuple[str, ...] = (self._binary,)
        if mirror is not None:
            visible = (*visible, Mount(source=mirror, writable=writable))
            prefix = (self._binary, f"--git-dir={mirror}")
        sandboxed = self._runner.sandbox.backend != "none"
        trusted: dict[str, str] = {}
        if access.ca_file is not None:
            visible = (*visible, Mount(source=access.ca_file, inside=_CA_FILE))
            trusted["GIT_SSL_CAINFO"] = _CA_FILE if sandboxed else str(access.ca_file)
        config = "/etc/nightwarden.gitconfig" if sandboxed else str(self._config)
        return self._runner.run(
            Command(
                argv=(*prefix, *args),
                timeout_s=timeout_s or self.timeout_s,
                stdout_bytes=stdout_bytes,
                memory_bytes=memory_bytes,
                env={**_ENVIRONMENT, "GIT_CONFIG_GLOBAL": config, **trusted, **_shown(access.credential)},
                mounts=visible,
                network=network,
                stdin=stdin,
            ),
            sink=sink,
        )

    def check(
        self,
        args: Sequence[str],
        *,
        mirror: Path | None = None,
        writable: bool = False,
        mounts: tuple[Mount, ...] = (),
        network: bool = False,
        access: RemoteAccess | None = None,
        stdin: bytes | None = None,
        sink: Sink | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """As ``run``, but returns stdout and raises ScanGapError with a classified reason when git failed."""
        done = self.run(
            args,
            mirror=mirror,
            writable=writable,
            mounts=mounts,
            network=network,
            access=access,
            stdin=stdin,
            sink=sink,
            timeout_s=timeout_s,
        )
        if done.exit_code != 0:
            raise failure(done, network=network)
        return done.stdout


def failure(done: Completed, *, network: bool = False) -> ScanGapError:
    """The reason of a git that did not end with 0, with its words scrubbed of credentials.

    A ConnectionGapError where it went over the network and that, or the server, failed.
    """
    if done.cancelled:
        return ScanGapError("cancelled", "the run was cancelled")
    if done.timed_out:
        return ScanGapError("fetch_timeout", f"git did not end in {done.duration_s:.0f} s")
    if done.out_of_memory:
        return ScanGapError("memory", "git went over its memory limit")
    if done.disk_full:
        return ScanGapError("disk_full", "git was ended: the disk is all but full")
    said = done.stderr.decode("utf-8", "replace")
    cut_off = network and _CUT_OFF.search(said) is not None
    judged = _OF_A_CUT.sub("", said) if cut_off else said
    reason = next((code for code, words in _SAYINGS if words.search(judged)), "fetch")
    # Both ends write to stderr in no fixed order: sorted, the same failure always reads the same.
    lines = sorted({line.strip() for line in said.splitlines() if line.startswith(("fatal:", "error:", "ERR"))})
    # What the other end says of its end is cut off now and then, and tells nothing that the rest does not.
    lines = [line for line in lines if "aborting due to" not in line] or lines
    detail = scrubbed(" | ".join(lines[:3]) or said.strip() or f"exit {done.exit_code}")
    return ConnectionGapError(reason, detail) if cut_off and reason == "fetch" else ScanGapError(reason, detail)


def _shown(credential: GitCredential | None) -> dict[str, str]:
    """A credential as git's configuration in the environment, where no process list shows it (git-config(1)).

    A header is sent at once, so that no repository that is private looks as if it were not there; with a name in the
    address, or a helper, it would be written down or asked for.
    """
    if credential is None:
        return {}
    pair = f"{credential.username}:{credential.password.reveal()}".encode()
    place = f"http.{credential.base_url.rstrip('/')}/"
    settings = {
        f"{place}.extraHeader": f"Authorization: Basic {b64encode(pair).decode()}",
        "http.followRedirects": "false",
    }
    env = {"GIT_CONFIG_COUNT": str(len(settings))}
    for n, (key, value) in enumerate(settings.items()):
        env |= {f"GIT_CONFIG_KEY_{n}": key, f"GIT_CONFIG_VALUE_{n}": value}
    return env


def scrubbed(text: str) -> str:
    """One printable line without the user part of any URL."""
    return one_line(_USERINFO.sub("", text), 300)


def _write_config(config_dir: Path | None) -> Path:
    """Our git configuration as a file, made once a process."""
    import tempfile

    folder = config_dir or Path(tempfile.mkdtemp(prefix="nightwarden-git-"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "gitconfig"
    path.write_text(_CONFIG, "utf-8")
    return path
