"""The mounts of a Vault or OpenBao: engines of secrets, and ways to sign in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core.secret_stores import StoreGap
from tasks.rotation.vault_asking import Asking, RefusedError, is_name, shown

#: What the server mounts for itself.
_ITS_OWN = frozenset({"system", "identity", "cubbyhole", "token"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount: its path without a ``/`` at the end, the name of its plugin, and how it is set up."""

    path: str
    plugin: str
    options: Mapping[str, Any]
    config: Mapping[str, Any]
    accessor: str = ""

    @property
    def kind(self) -> str:
        """``kv-v1`` or ``kv-v2``, else the name of the plugin."""
        if self.plugin in ("kv", "generic"):
            return "kv-v2" if str(self.options.get("version")) == "2" and self.plugin == "kv" else "kv-v1"
        return self.plugin

    @property
    def is_its_own(self) -> bool:
        """Whether the server has it for itself, so that nobody's secrets are there."""
        return self.plugin in _ITS_OWN


def engines(asking: Asking, only: tuple[str, ...] | None) -> Iterator[Mount | StoreGap]:
    """The engines of secrets, or those of ``only``. Where the list is refused, those that we may reach are told by
    what is there for user interfaces; a gap says so. Raises RotationError."""
    try:
        told: Mapping[str, Any] = _mounts(asking, "sys/mounts")
    except RefusedError as refused:
        yield StoreGap(
            topic="inventory/mounts",
            reason_code=refused.reason_code,
            detail=f"{refused.detail}; mounts that our policy does not reach are not known",
        )
        try:
            reached = asking.told("sys/internal/ui/mounts").get("secret")
            told = reached if isinstance(reached, dict) else {}
        except RefusedError:
            told = {}
    found = dict(_read(told))
    for path in sorted(found) if only is None else dict.fromkeys(o.strip("/") for o in only):
        mount = found.get(path)
        if mount is not None:
            yield mount
        else:
            is_known = only is not None and path not in found
            yield StoreGap(
                topic=f"inventory/{shown((path,))}",
                reason_code="secret_missing" if is_known else "backend_error",
                detail="there is no such mount" if is_known else "what Vault says of this mount cannot be read",
            )


def sign_ins(asking: Asking) -> list[Mount]:
    """The ways to sign in. Raises RefusedError, RotationError."""
    found = dict(_read(_mounts(asking, "sys/auth")))
    if None in found.values():
        raise RefusedError("backend_error", "sys/auth: what Vault says of a mount cannot be read")
    return [found[path] for path in sorted(found) if found[path] is not None]  # type: ignore[misc]


def _mounts(asking: Asking, path: str) -> Mapping[str, Any]:
    """A list of mounts. What is none of a Vault lacks what each has for itself: RefusedError."""
    told = asking.told(path)
    if not any(mount is not None and mount.is_its_own for _, mount in _read(told)):
        raise RefusedError("backend_error", f"{path}: what Vault answers is no list of mounts")
    return told


def _read(told: Mapping[str, Any]) -> Iterator[tuple[str, Mount | None]]:
    for path, what in told.items():
        bare = path.strip("/")
        plugin = what.get("type") if isinstance(what, dict) else None
        if not isinstance(plugin, str) or not all(map(is_name, bare.split("/"))):
            yield bare, None
            continue
        options, config, accessor = what.get("options"), what.get("config"), what.get("accessor")
        yield (
            bare,
            Mount(
                path=bare,
                plugin=plugin.removeprefix("ns_"),  # so they are called inside a namespace
                options=options if isinstance(options, dict) else {},
                config=config if isinstance(config, dict) else {},
                accessor=accessor if isinstance(accessor, str) else "",
            ),
        )
