"""What a grammar of versions offers. Each is a file of its own that ends in one typed constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def never(_: str) -> bool:
    """Of versions whose contents stay."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """One ecosystem's versions. No function raises on any text, and each answers None for what is no version.

    ``key`` gives bytes: bytewise order and equality are those of the ecosystem. ``is_prerelease`` tells whether the
    ecosystem (or, where it has no such word, common usage) calls it one. ``release`` gives the numbers by which people
    call a step major, minor or patch: the epoch ("0" where there is none), then the leading numbers, as digits without
    leading zeros ("0" for zero). ``is_moving`` tells whether it is a name under which other contents come later.
    """

    key: Callable[[str], bytes | None]
    is_prerelease: Callable[[str], bool | None]
    release: Callable[[str], tuple[str, ...] | None]
    is_moving: Callable[[str], bool] = never


def plain(numbers: list[str] | tuple[str, ...], epoch: str = "0") -> tuple[str, ...]:
    """The form of ``release``."""
    return (epoch.lstrip("0") or "0", *(number.lstrip("0") or "0" for number in numbers))
