"""Vulnerability data bases of the platform's tools: fetched once for all, by ``nightwarden tools update``.

``<tools home>/databases/<tool>/`` holds a folder for each of the last two updates and a link ``current`` to the newer
one. A folder counts only with its ``nightwarden.json``, written last; the link is replaced in one step, so a scan sees
the old data base or the new one, whole. The one before stays for scans that have it mounted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tasks.core.errors import NightwardenError, ToolMissingError
from tasks.core.ports import Scanner, UsesDatabase
from tasks.core.process import ProcessRunner
from tasks.core.types import Mount, ToolHome, digest
from tasks.scanners.masking import told

_MANIFEST = "nightwarden.json"
#: Settings of the machine's way to the network, passed on to an update and to nothing else.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A complete data base."""

    place: Path
    digest: str
    updated_at: datetime


def current(home: Path, name: str) -> Database | None:
    """The newest complete data base of a tool; None when there is none.

    Raises ToolMissingError when it is damaged.
    """
    link = home / "databases" / name / "current"
    if not link.is_symlink():
        return None
    folder = link.resolve()
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
        updated_at = datetime.fromisoformat(manifest["updated_at"])
        found = Database(place=folder / "data", digest=str(manifest["digest"]), updated_at=updated_at)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ToolMissingError(
            f"the data base of {name} is damaged", advice=f"Run `nightwarden tools update {name}`."
        ) from e
    return found if found.place.is_dir() else None


def with_database(scanner: Scanner, tool: ToolHome, home: Path) -> ToolHome:
    """The tool with its data base, if it uses one and there is one: mounted read-only, and part of what names scans."""
    if not isinstance(scanner, UsesDatabase):
        return tool
    found = current(home, scanner.name)
    if found is None:
        return tool
    return replace(
        tool,
        mounts=(*tool.mounts, Mount(source=found.place)),
        rules_digest=digest(tool.rules_digest, found.digest),
        database=found.place,
        database_at=found.updated_at,
    )


def is_old(tool: ToolHome, max_age_days: float, now: datetime) -> bool:
    """Whether a tool's data base is older than it may be."""
    return tool.database_at is not None and (now - tool.database_at).total_seconds() > max_age_days * 86_400


def update(scanner: Scanner, tool: ToolHome, home: Path, runner: ProcessRunner) -> Database:
    """Fetch a tool's data base anew. The old one stays in force until the new one is complete.

    Raises NightwardenError when it fails, saying what stays in force, or when another update of it is running.
    """
    assert isinstance(scanner, UsesDatabase)
    name = scanner.name
    base = home / "databases" / name
    base.mkdir(parents=True, exist_ok=True)
    with _alone(base, name):
        _sweep(base)
        folder = base / uuid.uuid4().hex
        data = folder / "data"
        data.mkdir(parents=True)
        try:
            _fetch(scanner, tool, data, runner)
        except NightwardenError as e:
            shutil.rmtree(folder, ignore_errors=True)
            raise NightwardenError(f"{e.message}; {_in_force(home, name)}", advice=e.advice) from None
        for name_of_link, there in scanner.database_links:
            (data / name_of_link).symlink_to(there)
        manifest = {"digest": _digest_of(data), "updated_at": datetime.now(UTC).isoformat(), "tool": tool.version}
        _written(folder / _MANIFEST, json.dumps(manifest))
        before = (base / "current").resolve()
        fresh = base / f".{folder.name}"
        fresh.symlink_to(folder.name)
        fresh.replace(base / "current")
        _sweep(base, keep=before)
    found = current(home, name)
    assert found is not None
    return found


def _fetch(scanner: Scanner, tool: ToolHome, data: Path, runner: ProcessRunner) -> None:
    assert isinstance(scanner, UsesDatabase)
    command = scanner.update_command(tool, data)
    proxies = {n: os.environ[n] for n in _PROXIES if os.environ.get(n)}
    done = runner.run(replace(command, network=True, env={**command.env, **proxies}))
    advice = "Check that this machine reaches the tool's data source, then run `nightwarden tools update` again."
    if done.timed_out:
        raise NightwardenError(f"{scanner.name}: the update did not end in {command.timeout_s:.0f} s", advice=advice)
    if done.exit_code not in command.ok_codes:
        said = told((done.stderr or done.stdout)[-2000:].decode("utf-8", "replace"))
        raise NightwardenError(f"{scanner.name}: the update failed (exit {done.exit_code}; {said})", advice=advice)
    for pattern in scanner.database_files:
        if not any(p.is_file() and p.stat().st_size for p in data.glob(pattern)):
            raise NightwardenError(f"{scanner.name}: the update left no {pattern}", advice=advice)


def _in_force(home: Path, name: str) -> str:
    try:
        old = current(home, name)
    except ToolMissingError as e:
        return e.message
    return f"that of {old.updated_at:%Y-%m-%d %H:%M} UTC stays in force" if old else "there is none yet"


@contextmanager
def _alone(base: Path, name: str) -> Iterator[None]:
    with (base / "lock").open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NightwardenError(
                f"{name}: another update of its data base is running", advice="Wait until it has ended."
            ) from None
        yield


def _sweep(base: Path, keep: Path | None = None) -> None:
    """Remove what is neither current nor ``keep``: older data bases, and what updates that were cut off left."""
    stay = {(base / "current").resolve(), keep}
    for p in base.iterdir():
        if p.is_symlink() and p.name != "current":
            p.unlink()
        # Without ``keep`` the last complete one before may still be mounted by a scan: only unfinished ones go.
        elif p.is_dir() and not p.is_symlink() and p not in stay and (keep or not (p / _MANIFEST).is_file()):
            shutil.rmtree(p, ignore_errors=True)


def _written(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())


def _digest_of(data: Path) -> str:
    parts: list[str] = []
    for p in sorted(q for q in data.rglob("*") if q.is_file() and not q.is_symlink()):
        with p.open("rb") as f:
            parts += (p.relative_to(data).as_posix(), hashlib.file_digest(f, "sha256").hexdigest())
    return digest(*parts)
