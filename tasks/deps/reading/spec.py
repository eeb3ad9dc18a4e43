"""What a manifest asks for in one place, whatever words its ecosystem has for it."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.deps.manifest import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is asked for: ``name`` differs from the one it is asked by where that is an alias."""

    name: str
    version: str | None = None
    requirement: str | None = None
    source: Source = Source.REGISTRY
    revision: str | None = None
