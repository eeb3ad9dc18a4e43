"""A secret of a key-value mount of version 2 as a backend: HashiCorp Vault or OpenBao.

CURRENT is the latest version at the secret's own path, where consumers read it as ever; the mark is one more field.
PENDING is a secret beside it, of which one version is kept; once a rotation ended it holds no value, only the ids of
rotations that ended. Every write names the version it replaces (``cas``), which the server compares.

**Fields.** Text is text. Anything else that people stored (a port, a list) is given as its JSON text, and is written
back as it was unless the rotation changes it; so are fields that the rotation does not name.

**Marks** name the version that they were written as: ``vault kv patch`` and ``rollback`` copy them on to versions that
somebody else made, and such a copy is none.

**Versions** are ``NUMBER@TIME``: numbers begin anew when somebody deletes a secret and writes it again.

https://openbao.org/api-docs/secret/kv/kv-v2/.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import quote

from tasks.core.errors import UsageError
from tasks.core.rotations import BESIDE, MARK, ConflictError, Held, Mark, RotationError, SpentError, read_mark
from tasks.core.secret_refs import Secret
from tasks.rotation.vault_session import VaultSession
from tasks.rotation.vault_wire import Answer, fault, moment

_OK, _REFUSED, _NOT_FOUND = 200, 400, 404
#: What the server says when the version is another one.
_MOVED_ON = "check-and-set parameter did not match"
#: Ended rotations that are remembered: more than one slot can have.
_REMEMBERED = 200
#: Times that what others do meanwhile is followed in one call.
_ROUNDS = 10
#: Of PENDING: the fields that are staged, and the rotations that ended; custom metadata: the version without a value.
_FIELDS, _ENDED, _EMPTY_VERSION = "fields", "ended", "nightwarden-ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPlace:
    """Where a secret lies: ``mount`` and ``path`` as in ``vault kv get -mount=MOUNT PATH``, and ``pending_path``, where
    its next value waits, of the same mount; the path with ``-nightwarden`` unless it is given."""

    mount: str
    path: str
    pending_path: str = ""

    def __post_init__(self) -> None:
        pending = self.pending_path or f"{self.path.strip('/')}{BESIDE}"
        for name, path in (("mount", self.mount), ("path", self.path), ("pending_path", pending)):
            # Doubled slashes are read as one on the way; dots would leave the mount.
            if any(part in ("", ".", "..") for part in path.strip("/").split("/")):
                raise UsageError(f"`{name}` of a secret in Vault is none", advice="Write it as in `vault kv get`.")
            object.__setattr__(self, name, path.strip("/"))
        if self.pending_path == self.path:
            raise UsageError("`pending_path` is the path of the secret itself", advice="Leave it out.")

    def __str__(self) -> str:
        return f"vault:{self.mount}/{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Version:
    """A version as it lies there. ``raw`` None: its value was deleted. ``goes``: the mount deletes it by itself."""

    number: int
    created: str
    raw: Mapping[str, Any] | None = field(repr=False)
    goes: bool = False
    empty_version: str | None = None

    @property
    def name(self) -> str:
        return f"{self.number}@{self.created}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """What is staged; ``number`` is what the next write replaces."""

    number: int
    held: Held | None
    ended: tuple[str, ...]


class VaultKv:
    """``tasks.core.rotations.Backend`` over one secret of a key-value mount of version 2."""

    def __init__(self, session: VaultSession, place: KvPlace) -> None:
        self._session, self._at = session, place
        #: Whether the mount answered as one of version 2; version 1 takes writes of any form, and keeps no versions.
        self._is_v2 = False

    @property
    def place(self) -> str:
        """``vault:MOUNT/PATH``."""
        return str(self._at)

    def current(self) -> Held:
        """The value in force. Raises RotationError(secret_missing, secret_shape, backend_…)."""
        return self._current()[1]

    def staged(self) -> Held | None:
        """The value that is staged. Raises RotationError(secret_missing): somebody deleted it; secret_shape: what lies
        there is not ours."""
        return self._pending().held

    def at(self, version: str) -> Held | None:
        """A version that is kept, and was neither deleted nor destroyed. Raises RotationError(secret_shape)."""
        number, _, _ = version.partition("@")
        if not number.isascii() or not number.isdigit():
            return None
        there = self._read(self._at.path, {"version": number})
        return self._held(there) if there is not None and there.name == version and there.raw is not None else None

    def stage(self, fields: Mapping[str, Secret], mark: Mark, *, over: Held | None = None) -> Held:
        """Stage a value unless one is, but for ``over``, which must be there then. Raises SpentError."""
        if not self._is_v2:
            self._current()
        for _ in range(_ROUNDS):
            there = self._pending()
            if mark.rotation_id in there.ended or (there.held is None and over is not None):
                raise SpentError
            if there.held is not None and (over is None or there.held.version != over.version):
                return there.held
            ended = there.ended
            if there.held is not None and there.held.rotation_id not in (None, mark.rotation_id):
                ended = (*ended, str(there.held.rotation_id))
            if not there.number:
                self._keep_one_version()
            plain = {name: value.reveal() for name, value in fields.items()}
            body = {MARK: mark.text(), _FIELDS: plain, _ENDED: list(ended[-_REMEMBERED:])}
            written = self._write(self._at.pending_path, body, there.number)
            if written is not None:
                return Held(fields=dict(fields), version=written.name, mark=mark)
        raise self._busy()

    def promote(self, staged: Held) -> Held:
        """Bring it into force. Raises ConflictError."""
        assert staged.mark is not None and staged.fields
        for _ in range(_ROUNDS):
            there, held = self._current()
            if held.rotation_id == staged.rotation_id:
                return held
            if held.version != staged.mark.base:
                raise self._conflict(held, staged.mark)
            written = self._write(self._at.path, _replaced(there, staged.fields, staged.mark), there.number)
            if written is not None:
                return self._held(written)
        raise self._busy()

    def refuse(self, staged: Held, identity: str) -> bool:
        """Give CURRENT a version with the same value that refuses the staged one. False: that is in force. Raises
        ConflictError."""
        assert staged.mark is not None and staged.rotation_id is not None
        for _ in range(_ROUNDS):
            there, held = self._current()
            if held.rotation_id == staged.rotation_id:
                return False
            if held.mark is not None and held.mark.refused == staged.rotation_id:
                return True
            if held.version != staged.mark.base:
                raise self._conflict(held, staged.mark)
            refusing = held.refusing(staged.rotation_id, identity=identity)
            if self._write(self._at.path, _replaced(there, {}, refusing), there.number) is not None:
                return True
        raise self._busy()

    def forget(self, rotation_id: str) -> None:
        """Write over the staged value, of which no version is kept, and remember its rotation."""
        for _ in range(_ROUNDS):
            there = self._pending()
            if there.held is None or there.held.rotation_id != rotation_id:
                return
            self._keep_one_version()  # somebody may have changed that
            ended = [*there.ended, rotation_id][-_REMEMBERED:]
            written = self._write(self._at.pending_path, {_ENDED: ended}, there.number)
            if written is None:
                continue
            if written.goes:  # that it does means nothing
                self._metadata({"custom_metadata": {_EMPTY_VERSION: str(written.number)}})
            return
        raise self._busy()

    def now(self) -> datetime:
        """The time by Vault's clock, in whole seconds that have passed: a grace never ends early by it."""
        return self._session.now()

    # -- what lies there ----------------------------------------------------------------------------------------

    def _current(self) -> tuple[_Version, Held]:
        there = self._read(self._at.path)
        if there is None:
            raise self._missing()
        if there.raw is None:
            raise RotationError(
                "secret_missing",
                f"{self.place}: version {there.number}, the last one, was deleted",
                advice="`vault kv undelete` brings it back, unless it was destroyed; else write a value.",
            )
        return there, self._held(there)

    def _held(self, there: _Version) -> Held:
        raw = there.raw or {}
        try:
            fields = {
                name: Secret(value if isinstance(value, str) else json.dumps(value))
                for name, value in raw.items()
                if name != MARK
            }
        except TypeError:
            raise self._shape("holds a number that would not be written back as it is", "Store it as text.") from None
        if not fields:
            raise self._shape("has no fields", "Write its first value.")
        return Held(fields=fields, version=there.name, mark=self._mark(there, raw), since=moment(there.created))

    def _mark(self, there: _Version, raw: Mapping[str, Any]) -> Mark | None:
        """The mark of a version; None where there is none, or one of another version."""
        if MARK not in raw:
            return None
        try:
            told = json.loads(raw[MARK])
            version = told.pop("version")
            mark = read_mark(json.dumps(told))
        except (ValueError, TypeError, KeyError, AttributeError):
            mark = None
        if mark is None:
            raise self._shape(f"has a field `{MARK}` that no rotation wrote", "Call it something else.")
        return mark if version == there.number else None

    def _pending(self) -> _Pending:
        there = self._read(self._at.pending_path)
        if there is None:
            return _Pending(number=0, held=None, ended=())
        if there.raw is None:
            if there.empty_version == str(there.number):
                return _Pending(number=there.number, held=None, ended=())
            path = self._at.pending_path
            raise RotationError(
                "secret_missing",
                f"{self.place}: the staged value at {path} was deleted",
                advice=f"`vault kv undelete -versions={there.number}` brings it back; if nothing of the rotation is to"
                " be finished, `vault kv metadata delete` both forgets it and lets the next one begin.",
            )
        raw = there.raw
        mark = read_mark(text) if isinstance(text := raw.get(MARK), str) else None
        fields, ended = raw.get(_FIELDS), raw.get(_ENDED)
        if not isinstance(ended, list) or (MARK in raw) != (mark is not None) or (mark is None) != (fields is None):
            raise self._shape(
                f"what lies at {self._at.pending_path} is no staged value", "Configure another `pending_path`."
            )
        if mark is None:
            return _Pending(number=there.number, held=None, ended=tuple(map(str, ended)))
        secret = {str(k): Secret(str(v)) for k, v in (fields if isinstance(fields, dict) else {}).items()}
        held = Held(fields=secret, version=there.name, mark=mark)
        return _Pending(number=there.number, held=held, ended=tuple(map(str, ended)))

    # -- calls --------------------------------------------------------------------------------------------------

    def _url(self, kind: str, path: str) -> str:
        return f"{quote(self._at.mount)}/{kind}/{quote(path)}"

    def _read(self, path: str, params: Mapping[str, str] | None = None) -> _Version | None:
        """The latest version, or the one that ``params`` name; None: there was never one."""
        answer = self._session.ask("get", self._url("data", path), params=params, accepts=(_OK, _NOT_FOUND))
        told = answer.data.get("metadata")
        if not answer.data and answer.status == _NOT_FOUND:
            return None
        version = _version(told, answer.data.get("data"))
        if version is None:
            raise self._no_v2()
        self._is_v2 = True
        return version

    def _write(self, path: str, body: Mapping[str, Any], replaces: int) -> _Version | None:
        """The version that was written; None: the one there is another than was to be replaced."""
        url = self._url("data", path)
        answer = self._session.ask(
            "post", url, body={"data": body, "options": {"cas": replaces}}, accepts=(_OK, _REFUSED)
        )
        if answer.status == _REFUSED:
            if answer.says(_MOVED_ON):
                return None
            raise fault(answer, url)
        written = _version(answer.data, body)
        if written is None:
            raise self._no_v2()
        return written

    def _keep_one_version(self) -> None:
        """No value of PENDING outlives the next that is written there."""
        self._metadata({"max_versions": 1, "cas_required": True})

    def _metadata(self, body: Mapping[str, Any]) -> None:
        self._session.ask("post", self._url("metadata", self._at.pending_path), body=body)

    # -- words --------------------------------------------------------------------------------------------------

    def _missing(self) -> RotationError:
        mounted = self._mounted()
        told = mounted.data.get("path")
        if _kv_version(mounted) == "1":
            return self._no_v2()
        if isinstance(told, str) and told.strip("/") != self._at.mount:
            return RotationError(
                "secret_missing",
                f"{self.place}: the mount ends elsewhere: it is {told.strip('/')}",
                advice="Write `mount` and `path` as in `vault kv get -mount=MOUNT PATH`.",
            )
        return RotationError(
            "secret_missing",
            f"{self.place}: there is no such secret",
            advice="Compare mount and path, and their case; write a first value if there was none.",
        )

    def _no_v2(self) -> RotationError:
        is_v1 = _kv_version(self._mounted()) == "1"
        what = "is of version 1, which keeps no versions" if is_v1 else "does not answer as key-value of version 2"
        return RotationError(
            "backend_error",
            f"{self.place}: the mount {self._at.mount} {what}",
            advice="`vault kv enable-versioning MOUNT` makes one of version 1 a mount of version 2.",
        )

    def _mounted(self) -> Answer:
        """What the server says of the mount to who may read in it."""
        path = f"sys/internal/ui/mounts/{quote(self._at.mount)}/{quote(self._at.path)}"
        return self._session.ask("get", path, accepts=(_OK, _REFUSED, 403, _NOT_FOUND))

    def _shape(self, what: str, advice: str) -> RotationError:
        return RotationError("secret_shape", f"{self.place}: {what}", advice=advice)

    def _busy(self) -> RotationError:
        return RotationError(
            "rotation_busy", f"{self.place}: others change it faster than we can follow", is_passing=True
        )

    def _conflict(self, held: Held, mark: Mark) -> ConflictError:
        return ConflictError(
            f"{self.place}: version {held.version} is in force, the rotation began with {mark.base}",
            advice="Look at who changed it; `nightwarden rotate resume --withdraw NAME` keeps theirs.",
        )


def _replaced(there: _Version, fields: Mapping[str, Secret], mark: Mark) -> dict[str, Any]:
    """What the version after ``there`` holds: its fields, those that change, and the mark with its number."""
    raw = dict(there.raw or {})
    for name, value in fields.items():
        text = value.reveal()
        before = raw.get(name)
        if name not in raw or isinstance(before, str) or json.dumps(before) != text:
            raw[name] = text
    raw[MARK] = json.dumps({**json.loads(mark.text()), "version": there.number + 1}, sort_keys=True)
    return raw


def _version(told: Any, raw: Any) -> _Version | None:
    """A version by its metadata; None: it is none."""
    if not isinstance(told, dict):
        return None
    number, created, custom = told.get("version"), told.get("created_time"), told.get("custom_metadata")
    if not isinstance(number, int) or not isinstance(created, str) or moment(created) is None:
        return None
    empty = custom.get(_EMPTY_VERSION) if isinstance(custom, dict) else None
    return _Version(
        number=number, created=created, raw=raw if isinstance(raw, dict) else None,
        goes=bool(told.get("deletion_time")), empty_version=empty,
    )  # fmt: skip


def _kv_version(mounted: Answer) -> str | None:
    """The version of a key-value mount, if the server tells."""
    options = mounted.data.get("options")
    kind = mounted.data.get("type")
    if kind != "kv":
        return None
    return str(options.get("version", "1")) if isinstance(options, dict) else "1"
