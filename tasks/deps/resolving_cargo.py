"""What a member of a Cargo workspace inherits (``name = { workspace = true }``) from the workspace above it.

https://doc.rust-lang.org/cargo/reference/workspaces.html#the-dependencies-table: the nearest ``Cargo.toml`` that has
``[workspace.dependencies]`` of that name says where the package comes from, its name and its range.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import replace

from tasks.deps.manifest import Dependency, Manifest, Source

WORKSPACE = "workspace:"


class Cargo:
    """The workspaces of one repository."""

    def __init__(self, manifests: Mapping[str, Manifest]) -> None:
        self._manifests = manifests

    def close(self, path: str, dependency: Dependency) -> tuple[Dependency, str]:
        """The dependency as its workspace has it, and what is missing ('' where nothing is)."""
        folder, key = posixpath.dirname(path), f"{WORKSPACE}{dependency.name}"
        while True:
            above = self._manifests.get(posixpath.join(folder, "Cargo.toml"))
            if above is not None and (said := above.offers.get(key)) is not None:
                return _told(dependency, said), ""
            if not folder:
                return dependency, f"{dependency.name}: no workspace above declares it"
            folder = posixpath.dirname(folder)


def offered(source: Source, name: str, version: str | None, requirement: str | None) -> str:
    """What ``Manifest.offers`` says of a dependency of a workspace."""
    return "\n".join((source, name, version or "", requirement or ""))


def _told(dependency: Dependency, said: str) -> Dependency:
    source, name, version, requirement = said.split("\n")
    return replace(
        dependency, name=name, source=Source(source), version=version or None,
        requirement=None if version else requirement or None,
    )  # fmt: skip
