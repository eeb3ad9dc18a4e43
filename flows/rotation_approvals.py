"""Which configured secrets are dangerous to rotate, what an approval of one is about, and the approvals in force.

A rotation is dangerous where something goes wrong that nobody can take back, or that consumers notice: one identity
whose value is changed under them (``in_place``), an executable of one's own (``program``), keys that AWS deletes
(``iam``), certificates that are revoked (``revokes``), and kinds that ``rotation.dangerous`` names. Two users that
alternate are not: the old one works until its grace is over, and can be let in again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows.org_models import AwsSettings, VaultSettings
from flows.org_rotation import BACKENDS, TARGETS, RotatedSettings, RotationSettings
from flows.settings import Settings
from tasks.core.secret_refs import SecretRef
from tasks.core.types import digest
from tasks.patrol.approving import MISSING, UNREAD, Approval, Subject, read_approvals, refused_all

#: Raise it when the same settings mean something else.
_REVISION = 1
#: Of a policy, what says how soon an old value is refused.
_WAITS = frozenset({"grace_minutes", "leak_grace_minutes", "hold_days"})
_ONE_USER = ("postgresql", "mysql", "static_role")


def dangers(told: RotatedSettings, kinds: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Why it is dangerous to rotate a secret, for people; empty: it is not. ``kinds`` are so by configuration."""
    found = []
    if any((t := getattr(told, name)) is not None and t.in_place is not None for name in _ONE_USER):
        found.append("one user is changed under its consumers")
    if told.program is not None:
        found.append("an executable of yours does it")
    if told.iam is not None:
        found.append("keys of AWS are deleted")
    if told.certificate is not None and told.certificate.revokes:
        found.append("certificates are revoked")
    if told.kind in kinds:
        found.append(f"`rotation.dangerous` names {told.kind}")
    return tuple(found)


def subjects(settings: Settings) -> dict[str, Subject]:
    """What needs an approval, by the name of the secret."""
    section = settings.rotation or RotationSettings()
    return {
        name: Subject(digest=subject_digest(settings, name, told), dangers=why)
        for name, told in section.secrets.items()
        if (why := dangers(told, section.dangerous))
    }


def subject_digest(settings: Settings, name: str, told: RotatedSettings) -> str:
    """What is approved of a secret: its name, its place with the store, what accepts it, and how long its old value
    works, as far as they are set otherwise than by default. References are named, not read; paths of the
    configuration's repository count from its top, so that each checkout gives the same. An executable that lies in that
    repository is approved with what it holds; of another only the path is."""
    top = _top(settings)
    what: dict[str, Any] = {
        part: _plain(value, top) for part in {*BACKENDS, *TARGETS} if (value := getattr(told, part)) is not None
    }
    if told.program is not None and (held := _held(told.program.executable, top)) is not None:
        what["executable"] = held
    if told.vault is not None or told.static_role is not None:
        store = settings.vault or VaultSettings()
        what["store"] = {"address": store.address, "namespace": store.namespace}
    if told.aws is not None or told.iam is not None:
        aws = settings.aws or AwsSettings()
        what["store"] = {"region": aws.region, "endpoint": aws.endpoint}
    if told.static_role is None and (policy := (settings.rotation or RotationSettings()).policies.get(told.policy)):
        waits = {k: v for k, v in _changed(policy, top) if k in _WAITS}
        what |= {"waits": waits} if waits else {}
    return digest("rotation", _REVISION, name, json.dumps(what, sort_keys=True, ensure_ascii=False))


def approvals(settings: Settings, at: datetime | None = None) -> dict[str, Approval]:
    """Of each dangerous secret whether it is approved now. Git is asked, and the forge with ``approval: reviewed``;
    nothing is where none is dangerous. What cannot be read is told of each."""
    wanted = subjects(settings)
    if not wanted:
        return {}
    if settings.decisions is None:
        return refused_all(
            wanted, MISSING, "nobody can approve it: the configuration does not say where. Add to org.yaml "
            "`decisions: {allowed_signers: FILE}`; then `nightwarden rotate approve NAME`"
        )  # fmt: skip
    if os.environ.get("NIGHTWARDEN_DEPLOYED") and settings.decisions.approval == "none":
        return refused_all(
            wanted, MISSING, "`decisions.approval` is none, which is for a trial on one machine: write signed or "
            "reviewed"
        )  # fmt: skip
    from flows.means import open_forges
    from tasks.core.process import ProcessRunner
    from tasks.core.sandbox import detect
    from tasks.repos.git import Git

    try:
        runner = ProcessRunner(detect())
        # What git tells of histories is remembered beside its configuration: a patrol asks about other entries.
        git = Git(runner, timeout_s=settings.fetch_timeout_s, config_dir=settings.home / "git-approvals")
        forges: Mapping[str, Any] = {}
        if settings.decisions.approval == "reviewed":
            forges = open_forges(settings, [s.source() for s in settings.sources], settings.secrets(), runner)
    except Exception as e:  # as in ``read_approvals``: what is under way is finished all the same
        return refused_all(wanted, UNREAD, f"{settings.decisions.file.name}: {type(e).__name__}")
    return read_approvals(settings.decisions.place(), git, wanted, at or datetime.now(UTC), forges.values())


def _top(settings: Settings) -> Path | None:
    """The folder of the configuration's repository; None: nobody says which it is."""
    if settings.decisions is None:
        return None
    folder = settings.decisions.file.parent.resolve()
    return next((p for p in (folder, *folder.parents) if (p / ".git").exists()), folder)


def _held(executable: Path, top: Path | None) -> str | None:
    """The digest of what an executable of the configuration's repository holds; None of another one."""
    if top is None or not executable.resolve().is_relative_to(top):
        return None
    try:
        return digest(executable.read_bytes())
    except OSError:
        return "it cannot be read"


def _plain(value: Any, top: Path | None) -> Any:
    if isinstance(value, BaseModel):
        return dict(_changed(value, top))
    if isinstance(value, SecretRef):
        is_file = value.scheme == "file"
        return str(SecretRef(scheme="file", place=_path(Path(value.place), top))) if is_file else str(value)
    if isinstance(value, Path):
        return _path(value, top)
    if isinstance(value, Mapping):
        return {str(k): _plain(v, top) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v, top) for v in value]
    return value


def _changed(model: BaseModel, top: Path | None) -> Iterator[tuple[str, Any]]:
    """What is set otherwise than by default: a setting that a later version adds changes nothing."""
    for name, about in type(model).model_fields.items():
        value = getattr(model, name)
        if about.is_required() or value != about.get_default(call_default_factory=True):
            yield name, _plain(value, top)


def _path(path: Path, top: Path | None) -> str:
    if top is None:
        return str(path)
    real = path.parent.resolve() / path.name
    return str(real.relative_to(top)) if real.is_relative_to(top) else str(path)
