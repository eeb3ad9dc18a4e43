"""Versions as bytes that order as their ecosystem orders them, so that whole columns are compared as BLOBs.

DuckDB and pyarrow compare BLOBs bytewise: ``affected.introduced <= package.key AND package.key < affected.fixed`` is
the ecosystem's own comparison. Keys of different ecosystems must not be compared. The formats stand in the files of the
grammars; a stored key is only good with the ``REVISION`` it was made by. Ecosystems are named as OSV does it, with or
without a release (``Debian:12``).

A version that follows no grammar of its ecosystem has no key: no range can hold it or leave it out, so only an
explicit list of versions in an advisory can match it. OSV's bound "0" of an ``introduced`` is before every version; it
is no version and its key is ``LOWEST``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from tasks.deps.ordering.actions import ACTIONS
from tasks.deps.ordering.alpine import ALPINE
from tasks.deps.ordering.debian import DEBIAN
from tasks.deps.ordering.golang import GO
from tasks.deps.ordering.grammar import Grammar, following
from tasks.deps.ordering.maven import MAVEN
from tasks.deps.ordering.npm import NPM
from tasks.deps.ordering.nuget import NUGET
from tasks.deps.ordering.packagist import PACKAGIST
from tasks.deps.ordering.pypi import PYPI
from tasks.deps.ordering.rubygems import RUBYGEMS
from tasks.deps.ordering.semver import CRATES

#: Raised when a key of the same version changes.
REVISION = 1
#: Before the key of every version.
LOWEST = b""

_GRAMMARS = {
    "PyPI": PYPI, "npm": NPM, "Go": GO, "crates.io": CRATES, "Maven": MAVEN, "NuGet": NUGET, "RubyGems": RUBYGEMS,
    "Packagist": PACKAGIST, "GitHub Actions": ACTIONS, "Debian": DEBIAN, "Alpine": ALPINE,
}  # fmt: skip
#: All whose versions are ordered; what is not here has neither keys nor steps.
ECOSYSTEMS = frozenset(_GRAMMARS)


class Step(StrEnum):
    """How far an upgrade goes. In 0.x a minor one counts as major: nobody promises there that it breaks nothing."""

    PATCH = "patch"
    MINOR = "minor"
    MAJOR = "major"
    #: None of these: down, to an equal version, or one of the two has no key or no numbers.
    NONE = "none"


def key(ecosystem: str, version: str) -> bytes | None:
    """The bytes of a version, or None where it has no order: no version of the ecosystem, longer than 4,096
    characters, or of an ecosystem that is not in ``ECOSYSTEMS``. Raises on no text.
    """
    grammar = _grammar(ecosystem)
    return None if grammar is None else grammar.key(version)


def keys(ecosystem: str, versions: Iterable[str]) -> list[bytes | None]:
    """``key`` of many, which is quicker. They should be distinct: nothing is remembered."""
    grammar = _grammar(ecosystem)
    return [None for _ in versions] if grammar is None else list(map(grammar.key, versions))


def above(ecosystem: str, version: str, key: bytes) -> bytes:
    """The lowest bytes above the keys of all that counts as ``version`` (whose ``key`` it is) where that is a bound:
    ``== version`` holds the keys from ``key`` on and below these, ``<= version`` all below these, ``> version`` the
    others. Of PyPI those are also its local builds (2.10.0+cu121 of 2.10.0); elsewhere what counts as it has its key.
    """
    grammar = _grammar(ecosystem)
    return following(version, key) if grammar is None else grammar.above(version, key)


def is_prerelease(ecosystem: str, version: str) -> bool | None:
    """Whether it is a pre-release or a development version; None where ``key`` is None."""
    grammar = _grammar(ecosystem)
    return None if grammar is None else grammar.is_prerelease(version)


def is_moving(ecosystem: str, version: str) -> bool:
    """Whether what it names changes without its name (``v4`` of a GitHub action): a key does not say what is in use."""
    grammar = _grammar(ecosystem)
    return grammar is not None and grammar.is_moving(version)


def line(ecosystem: str, version: str) -> tuple[str, str, str] | None:
    """What a step is told by, of a version that has a key: epoch, major and minor number, as digits without leading
    zeros; what is missing is zero. None for a version without numbers.
    """
    grammar = _grammar(ecosystem)
    told = grammar.release(version) if grammar is not None else None
    if told is None:
        return None
    epoch, major, minor = (*told, "0", "0")[:3]
    return epoch, major, minor


def step(ecosystem: str, before: str, after: str) -> Step:
    """The step between two versions, by the first number in which they differ; PATCH where only what is behind the
    third number does. Another epoch is MAJOR.
    """
    old_key, new_key = key(ecosystem, before), key(ecosystem, after)
    if old_key is None or new_key is None or new_key <= old_key:
        return Step.NONE
    return step_up(line(ecosystem, before), line(ecosystem, after))


def step_up(old: tuple[str, str, str] | None, new: tuple[str, str, str] | None) -> Step:
    """The step from a version of one ``line`` to a higher one of another."""
    if old is None or new is None:
        return Step.NONE
    if old == new:
        return Step.PATCH
    return Step.MINOR if old[:2] == new[:2] and old[1] != "0" else Step.MAJOR


def _grammar(ecosystem: str) -> Grammar | None:
    return _GRAMMARS.get(ecosystem) or _GRAMMARS.get(ecosystem.partition(":")[0])
