"""Any target by a user's own executable: a JSON request on its standard input, a JSON answer on its standard output.

The protocol is described, with a session and an example, in ``docs/rotation-program.md``; ``PROTOCOL`` is its version.
Every call starts the executable once, so it can be killed at any time and remembers nothing.

The executable sees the system, itself and the configured places, by the sandbox of the runner it is started with; its
environment is an allow-list, it inherits nothing, and it ends with all that it started. Secrets go over the two pipes
alone. Of what it says otherwise (messages, standard error) every secret value that we know is masked, in the forms in
which programs quote; where a value is made, which we cannot know, nothing of it is told.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.errors import ScanGapError, UsageError
from tasks.core.masking import ValueMask
from tasks.core.process import ProcessRunner
from tasks.core.rotations import Held, RotationError
from tasks.core.secret_refs import Secret
from tasks.core.text import one_line
from tasks.core.types import Command, Completed, Mount
from tasks.rotation.runner_lock import alone

PROTOCOL = 1
#: What an executable may give as the reason of an error: codes of ``tasks.core.rotation_reasons``.
REASONS = frozenset(
    {
        "target_unreachable", "target_denied", "target_missing", "target_error", "secret_shape", "value_rejected",
        "value_not_issued", "rotation_busy",
    }
)  # fmt: skip
#: Operations that make values: what is said beside the answer may hold one that nobody has told us.
_MAKING = frozenset({"propose", "issue"})
_STDOUT_BYTES = 1024**2
_STDERR_BYTES = 64 * 1024
_TOLD = 300
_IDENTITY = 512
#: Shorter values stand in names by chance.
_LONG = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What the executable says of its target. ``public`` are those of its fields that are no secret."""

    is_issued: bool
    in_place: bool
    proposes: bool
    locks: bool
    fields: frozenset[str]
    public: frozenset[str]
    value: str


@dataclass(frozen=True, kw_only=True)
class ProgramTarget:
    """A ``Target`` by an executable. ``name`` is that of the secret; ``lock_file`` keeps other runners of this machine
    away (of other hosts: the executable, ``docs/rotation-program.md``).

    ``settings`` are handed over in every request: what the executable needs to administer its target. ``reads`` and
    ``writes`` are files and folders that it may use, ``lease_s`` how long a lock that it gives may last. Raises
    UsageError when its path is not absolute.
    """

    name: str
    executable: Path
    runner: ProcessRunner = field(repr=False, compare=False)
    lock_file: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Secret] = field(default_factory=dict, repr=False)
    reads: tuple[Path, ...] = ()
    writes: tuple[Path, ...] = ()
    network: bool = True
    timeout_s: float = 30.0
    memory_bytes: int = 512 * 1024**2
    lease_s: float = 300.0
    _described: list[Described] = field(default_factory=list, init=False, repr=False, compare=False)
    #: The lock that this thread holds at the target.
    _held: threading.local = field(default_factory=threading.local, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.executable.is_absolute():
            raise UsageError(
                f"the executable of {self.name} is a relative path: {one_line(str(self.executable))}",
                advice="Write its whole path: what it would lead to depends on where we are started.",
            )

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def described(self) -> Described:
        """What the executable says of its target, asked once."""
        if not self._described:  # without a lock: two that ask at once hear the same
            self._described.append(self._describe())
        return self._described[0]

    def _describe(self) -> Described:
        told = self._ask("describe")
        if told.get("protocol") != PROTOCOL:
            raise self._wrong("describe", f"speaks another version of the protocol than {PROTOCOL}")
        flags = {k: told.get(k, False) for k in ("is_issued", "in_place", "proposes", "locks")}
        names = {k: told.get(k, []) for k in ("fields", "public")}
        for key, flag in flags.items():
            if not isinstance(flag, bool):
                raise self._wrong("describe", f"{key} is neither true nor false")
        for key, listed in names.items():
            if not isinstance(listed, list) or not all(isinstance(n, str) and n for n in listed):
                raise self._wrong("describe", f"{key} is no list of names")
        fields, public = frozenset(names["fields"]), frozenset(names["public"])
        if not fields - public:
            raise self._wrong("describe", "fields names no secret one")
        value = told.get("value", min(fields - public) if len(fields - public) == 1 else None)
        if not isinstance(value, str) or value not in fields - public:
            if flags["in_place"] and not flags["proposes"]:
                raise self._wrong("describe", "value does not name the field that a fresh value goes into")
            value = ""
        if not (flags["is_issued"] or flags["in_place"] or flags["proposes"]):
            raise self._wrong("describe", "of alternating identities only the executable can propose the next one")
        return Described(**flags, fields=fields, public=public, value=value)

    @property
    def is_issued(self) -> bool:
        """Whether the executable makes the values."""
        return self.described.is_issued

    @property
    def in_place(self) -> bool:
        """Whether there is one identity only."""
        return self.described.in_place

    # -- the port -----------------------------------------------------------------------------------------------

    @property
    def issued_fields(self) -> frozenset[str] | None:
        """It does not tell."""
        return None

    def identity(self, fields: Mapping[str, Secret]) -> str:
        """As the executable names it. Raises RotationError(secret_shape) when a described field is missing."""
        self._require(fields)
        found = self._ask("identity", fields=fields).get("identity")
        if not isinstance(found, str) or not _is_name(found):
            raise self._wrong("identity", "identity is no printable name")
        # It is told everywhere: better none than one that gives the secret away.
        for key in fields.keys() - self.described.public:
            value = fields[key].reveal()
            if value and (found == value or (len(value) >= _LONG and value in found)):
                raise self._wrong("identity", f"it holds the value of {one_line(key)}")
        return found

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Alone on this machine by a lock of the file, and among hosts by ``lock`` where the executable has it."""
        if self.described.is_issued:
            yield
            return
        with alone(self.lock_file, self.name):
            if not self.described.locks:
                yield
                return
            token = uuid.uuid4().hex
            self._ask("lock", lock=token, lease_s=self.lease_s)
            self._held.token = token
            try:
                yield
            except BaseException:
                with contextlib.suppress(RotationError):  # what happened counts; the lease ends by itself
                    self._ask("unlock")
                raise
            else:
                self._ask("unlock")
            finally:
                self._held.token = None

    def propose(self, current: Mapping[str, Secret], *, instead_of: str | None, value: Secret) -> dict[str, Secret]:
        """By the executable where it proposes; else the value in force with another in its field."""
        if not self.described.proposes:
            return {**current, self.described.value: value}
        answer = self._ask("propose", current=current, instead_of=instead_of, value=value)
        return self._fields("propose", answer)

    def issued(self) -> frozenset[str]:
        """Where it issues, all identities that it tells."""
        if not self.described.is_issued:
            return frozenset()
        told = self._ask("issued").get("identities")
        if not isinstance(told, list) or not all(_is_name(n) for n in told):
            raise self._wrong("issued", "identities is no list of printable names")
        return frozenset(told)

    def revoke(self, identities: frozenset[str]) -> None:
        """Not started for none."""
        if identities:
            self._ask("revoke", identities=sorted(identities))

    def issue(self, rotation_id: str, current: Mapping[str, Secret]) -> dict[str, Secret]:
        """The issued fields. Whatever else the executable says meanwhile is not told: the new value may stand in it."""
        return self._fields("issue", self._ask("issue", rotation_id=rotation_id, current=current))

    def apply(self, staged: Held, current: Held) -> None:
        """With the rotation's id, the version that it began with and when it was staged (by the store's clock, rising
        from rotation to rotation), so that the executable can tell a repeated or late call."""
        mark = staged.mark
        assert mark is not None
        if self.described.is_issued:  # it was made with it
            return
        self._ask(
            "apply", rotation_id=mark.rotation_id, base=mark.base, staged_at=mark.staged_at, identity=mark.identity,
            fields=staged.fields, current=current.fields,
        )  # fmt: skip

    def probe(self, fields: Mapping[str, Secret]) -> bool:
        """Whether the executable says that it is accepted."""
        found = self._ask("probe", fields=fields).get("accepted")
        if not isinstance(found, bool):
            raise self._wrong("probe", "accepted is neither true nor false")
        return found

    def is_refused(self, fields: Mapping[str, Secret]) -> bool:
        """Whether the executable says that it is not accepted."""
        return not self.probe(fields)

    def used_since(self, identity: str, since: datetime) -> bool | None:
        """As the executable says; null is None."""
        answer = self._ask("used_since", identity=identity, since=since.astimezone(UTC).isoformat())
        used = answer.get("used", "")
        if used is not None and not isinstance(used, bool):
            raise self._wrong("used_since", "used is neither true nor false nor null")
        return used

    def retire(self, identity: str, *, in_force: str) -> None:
        """Refused for the one in force, without asking."""
        if identity == in_force:
            raise RotationError("target_error", f"{self.name}: {one_line(identity)} is in force and is not retired")
        self._ask("retire", identity=identity, in_force=in_force)

    def restore(self, current: Held) -> None:
        """With the value in force."""
        self._ask("restore", rotation_id=current.rotation_id, fields=current.fields)

    # -- one call -----------------------------------------------------------------------------------------------

    def _ask(self, operation: str, **given: Any) -> dict[str, Any]:
        """Start the executable with a request, and take its answer."""
        request = {
            "protocol": PROTOCOL, "operation": operation, "name": self.name, "rotation_id": None,
            "lock": getattr(self._held, "token", None), "settings": self.settings, **given,
        }  # fmt: skip
        done = self._run(operation, json.dumps({k: _plain(v) for k, v in request.items()}).encode() + b"\n")
        answer = _parsed(done.stdout) if done.exit_code is not None else None
        if done.exit_code == 0 and answer is not None and "error" not in answer:
            return answer
        mask = ValueMask(self._secrets(given))
        if answer is not None and "error" in answer:
            raise self._refused(operation, answer["error"], mask)
        said = (
            ""
            if operation in _MAKING
            else mask.tail(done.stderr, is_cut=len(done.stderr) >= _STDERR_BYTES, limit=_TOLD)
        )
        advice = f"It said: {said}" if said else ""
        if done.timed_out or done.cancelled:
            why = f"took longer than {self.timeout_s:g} s" if done.timed_out else "was cancelled"
            raise RotationError(
                "target_unreachable", f"{self.name}: {operation} {why} and was ended", advice=advice, is_passing=True
            )
        raise RotationError(
            "target_error", f"{self.name}: {operation} {_ending(done)}", advice=advice,
            is_passing=done.disk_full or (done.exit_code or 0) < 0,
        )  # fmt: skip

    def _run(self, operation: str, request: bytes) -> Completed:
        why_not = _why_not(self.executable)
        if why_not:
            raise RotationError(
                "target_error", f"{self.name}: {one_line(str(self.executable))} {why_not}",
                advice="It must be a file that we may execute and that not everybody may write.",
            )  # fmt: skip
        command = Command(
            argv=(str(self.executable), *self.arguments),
            timeout_s=self.timeout_s,
            memory_bytes=self.memory_bytes,
            stdout_bytes=_STDOUT_BYTES,
            stderr_bytes=_STDERR_BYTES,
            env=self.environment,
            mounts=(
                *(Mount(source=p) for p in self.reads),
                *(Mount(source=p, writable=True) for p in self.writes),
                Mount(source=self.executable.resolve(), inside=str(self.executable)),
            ),
            network=self.network,
            stdin=request,
        )
        try:
            return self.runner.run(command)
        except ScanGapError as e:
            is_ours = e.reason_code == "cancelled"
            reason = "target_unreachable" if is_ours else "target_error"
            raise RotationError(
                reason, f"{self.name}: {operation} was not begun: {one_line(e.detail)}", is_passing=is_ours
            ) from None

    def _refused(self, operation: str, error: object, mask: ValueMask) -> RotationError:
        """The executable's own error, as one of ours."""
        reason = error.get("reason") if isinstance(error, dict) else None
        passing = error.get("passing", False) if isinstance(error, dict) else None
        message = error.get("message", "") if isinstance(error, dict) else None
        if not isinstance(reason, str) or not isinstance(passing, bool) or not isinstance(message, str):
            return self._wrong(operation, "error is not as the protocol has it")
        if reason not in REASONS:
            return self._wrong(operation, "error gives a reason that the protocol does not know")
        said = "" if operation in _MAKING else mask.head(message, limit=_TOLD)
        return RotationError(
            reason, f"{self.name}: {operation} was refused" + (f": {said}" if said else ""), is_passing=passing
        )

    def _wrong(self, operation: str, why: str) -> RotationError:
        return RotationError(
            "target_error", f"{self.name}: what the executable answers to {operation} is wrong: {why}",
            advice="docs/rotation-program.md describes the answers.",
        )  # fmt: skip

    def _fields(self, operation: str, answer: dict[str, Any]) -> dict[str, Secret]:
        told = answer.get("fields")
        if not isinstance(told, dict) or not all(isinstance(v, str) and _is_text(v) for v in told.values()):
            raise self._wrong(operation, "fields is no object of texts")
        made = {k: Secret(v) for k, v in told.items()}
        missing = sorted(n for n in self.described.fields if not told.get(n))
        if missing:
            raise self._wrong(operation, f"fields lacks {one_line(', '.join(missing))}")
        return made

    def _require(self, fields: Mapping[str, Secret]) -> None:
        missing = sorted(n for n in self.described.fields if n not in fields)
        if missing:
            raise RotationError(
                "secret_shape", f"{self.name}: the value has no field {one_line(', '.join(missing))}",
                advice="Store the fields that the executable describes.",
            )  # fmt: skip

    def _secrets(self, given: Mapping[str, Any]) -> Iterator[str]:
        """Every secret value of a request; of credentials those fields that are not public."""
        public = self._described[0].public if self._described else frozenset()
        yield from (s.reveal() for s in self.settings.values())
        for value in given.values():
            if isinstance(value, Secret):
                yield value.reveal()
            elif isinstance(value, Mapping):
                yield from (v.reveal() for k, v in value.items() if isinstance(v, Secret) and k not in public)


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return value.reveal()
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _parsed(stdout: bytes) -> dict[str, Any] | None:
    """The answer; None for what is no JSON object. The error of the parser holds the whole text, so it ends here."""
    try:
        answer = json.loads(stdout)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _ending(done: Completed) -> str:
    if done.output_overflow:
        return f"answered with more than {_STDOUT_BYTES // 1024**2} MiB and was ended"
    if done.out_of_memory:
        return "took more memory than it may and was ended"
    if done.disk_full:
        return "filled the disk and was ended"
    code = done.exit_code or 0
    if code < 0:
        return f"was ended by signal {-code}"
    return f"ended with exit code {code}" if code else "did not answer with one JSON object"


def _why_not(executable: Path) -> str:
    """Why a file is not started; empty if it is."""
    try:
        found = executable.stat()
    except OSError as e:
        return f"cannot be read: {e.strerror}"
    if not stat.S_ISREG(found.st_mode) or not os.access(executable, os.X_OK):
        return "is not executable"
    return "may be written by everybody" if found.st_mode & stat.S_IWOTH else ""


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _IDENTITY and value.isprintable()
